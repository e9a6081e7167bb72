"""Only faces that a release's licence lets be shown are drawn, and its notice goes with them."""

import pandas as pd
import pytest

from aullm_lib.report import licence

SUBJECTS = {
    "casme2": ["sub01", "sub12", "sub22", "sub26"], "samm": ["006", "011"], "casme": ["sub03", "sub12"],
    "casme3": ["spNO.1", "spNO.149"], "4dme": ["S49", "S50"], "mmew": ["S04", "S12"],
}  # fmt: skip


def release(name, synthetic=False, subjects=None):
    names = subjects or SUBJECTS[name]
    facts = {"dataset": name, "synthetic": synthetic, "rendered": synthetic}
    return pd.DataFrame({"subject": [*names, *reversed(names)]}).assign(**facts)


def test_casme2_shows_all_but_two_subjects():
    assert licence.showable(release("casme2")) == ["sub01", "sub26"]
    assert licence.showable(release("casme2"), ["sub26"]) == ["sub01", "sub26"]


@pytest.mark.parametrize("subject", ["sub12", "sub22"])
@pytest.mark.parametrize("subjects", [None, ["sub01"]])
def test_nobody_opens_the_two_subjects_that_casme2_withholds(subject, subjects):
    with pytest.raises(ValueError, match=rf"{subject}.*licence of CASME II.*sub12 and sub22"):
        licence.showable(release("casme2", subjects=subjects), ["sub01", subject])


@pytest.mark.parametrize("name", sorted(set(SUBJECTS) - {"casme2"}))
def test_other_releases_show_nobody_until_the_user_says_who(name):
    first, second = SUBJECTS[name]
    assert licence.showable(release(name)) == []
    assert licence.showable(release(name), [second]) == [second]
    assert licence.showable(release(name), (second, first)) == [first, second]  # CASME's own sub12 is another person


@pytest.mark.parametrize("name", sorted(SUBJECTS))
def test_rendered_faces_are_all_shown(name):
    assert licence.showable(release(name, synthetic=True)) == sorted(SUBJECTS[name])


@pytest.mark.parametrize("synthetic", [True, False])
@pytest.mark.parametrize(("name", "wrong"), [("samm", "6"), ("samm", 6), ("casme2", "12"), ("mmew", "S99")])
def test_a_subject_that_the_release_lacks_is_named(name, wrong, synthetic):
    with pytest.raises(ValueError, match=rf"publishable names {wrong!r}, no subject"):
        licence.showable(release(name, synthetic), [SUBJECTS[name][0], wrong])


def test_one_name_in_place_of_a_list_is_refused():
    with pytest.raises(ValueError, match="expected a list"):
        licence.showable(release("samm"), "006")


@pytest.mark.parametrize("synthetic", [None, "yes", 1])
def test_a_table_that_does_not_say_it_is_synthetic_is_taken_for_real(synthetic):
    table = release("samm", synthetic)
    assert licence.showable(table) == []
    assert licence.showable(table.drop(columns="rendered")) == []
    assert licence.showable(release("casme2", synthetic)) == ["sub01", "sub26"]


def test_a_table_of_two_releases_is_refused():
    for synthetic in (False, True):
        both = pd.concat([release("casme2", synthetic=True), release("samm", synthetic)])
        for ask in (licence.showable, licence.credit):
            with pytest.raises(ValueError, match="casme2, samm"):
                ask(both)


def test_the_credit_is_what_the_release_asks_for():
    assert licence.credit(release("casme2")) == "CASME II, Copyright Xiaolan Fu"
    assert licence.credit(release("samm")) == "SAMM, shown under the user’s licence"
    for name in SUBJECTS:
        made = licence.credit(release(name, synthetic=True))
        assert "rendered" in made
        assert "not CASME II or SAMM" in made
        assert "Copyright" not in made


def test_a_part_of_a_table_and_a_store_answer_as_the_whole_table_does(hand_table, hand_store):
    assert licence.showable(hand_table) == licence.showable(hand_store.table) == []
    assert licence.showable(hand_store.table, ["s1"]) == ["s1"]
    assert licence.showable(hand_table[hand_table["subject"] == "s1"], ["s1"]) == ["s1"]
    assert licence.credit(hand_store.table) == "hand, shown under the user’s licence"


def test_real_frames_beside_a_synthetic_workbook_are_not_rendered():
    table = release("samm", synthetic=True).assign(rendered=False)
    assert licence.showable(table) == []
    assert "rendered" not in licence.credit(table)
