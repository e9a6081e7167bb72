"""The AU grammar: every form that the six releases use, and properties of what is built from it."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aullm_lib import facs
from aullm_lib.facs import ActionUnit


def numbers(text):
    return [unit.number for unit in facs.parse_aus(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("?", []), ("", []), (None, []), (math.nan, []), (12, [12]), (12.0, [12]), ("12", [12]),
        ("4+7+6", [4, 7, 6]), ("L14+L15", [14, 15]), ("A10", [10]), ("10A/B", [10]), ("A/L12", [12]),
        ("ref(L10)+A12B", [10, 12]), ("7B+ ref(43)", [7, 43]), ("R14+17+soft focus", [14, 17]), ("L12 + 61", [12, 61]),
        ("AUR1+2+ L4+45", [1, 2, 4, 45]), ("AU4(k)+4+7", [4, 4, 7]), ("AU4+12(offset)+45", [4, 12, 45]), ("20L", [20]),
        ("T18", [18]), ("B18", [18]), ("A9E+ref(10)", [9, 10]), ("R14A or 17A", [14, 17]), ("1,2", [1, 2]),
        ("1，2", [1, 2]), ("12+15 ", [12, 15]), ("4（k）＋7", [4, 7]), ("AU1, 2", [1, 2]),
        ("7B+ ref(43)", [7, 43]), ("R12 + R15", [12, 15]), ("A1B+A2C", [1, 2]), ("R2+15", [2, 15]), ("4A/B", [4]),
        ("R14 OR 17", [14, 17]),
    ],
)  # fmt: skip
def test_every_form_of_the_releases(text, expected):
    assert numbers(text) == expected


def test_fields():
    assert facs.parse_aus("A/L12B") == (ActionUnit(12, side="A/L", intensity="B"),)
    assert facs.parse_aus("ref(7B)+43C") == (
        ActionUnit(7, intensity="B", referenced=True),
        ActionUnit(43, intensity="C"),
    )
    assert facs.parse_aus("AU4(k)+12(offset)") == (ActionUnit(4, held=True), ActionUnit(12, at_offset=True))
    assert facs.parse_aus("R14A or 17A")[1] == ActionUnit(17, intensity="A", alternative=1)
    assert facs.parse_aus("12L")[0].side == "L"


@pytest.mark.parametrize(
    "text", ["3", "99", "4++Q7", "ref(", "ref()", "AU", "1417", "L12R", "-4", "4.5", 4.5, True, [4]]
)
def test_refuses_what_it_does_not_know(text):
    with pytest.raises(ValueError, match="AU"):
        facs.parse_aus(text)


units = st.builds(
    lambda n, side, intensity, ref: ("ref({})" if ref else "{}").format(f"{side}{n}{intensity}"),
    st.sampled_from(sorted(facs.NAMES)),
    st.sampled_from(["", "L", "R", "A", "T", "A/L"]),
    st.sampled_from(["", "A", "E", "B/C"]),
    st.booleans(),
)


@given(st.lists(units, min_size=1, max_size=6), st.sampled_from(["+", " + ", ",", "+ "]))
def test_what_is_joined_is_read_back(parts, glue):
    read = facs.parse_aus(glue.join(parts))
    assert len(read) == len(parts)
    for unit, part in zip(read, parts, strict=True):
        assert (f"ref({unit.side}{unit.number}{unit.intensity})" if unit.referenced else
                f"{unit.side}{unit.number}{unit.intensity}") == part  # fmt: skip


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_as_a_value_error(text):
    try:
        assert all(unit.number in facs.NAMES for unit in facs.parse_aus(text))
    except ValueError as error:
        assert repr(text) in str(error)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("R14+17+soft focus", ["soft focus"]), ("LIZ+4", ["LIZ"]), ("4+twelve or Lid+7", ["twelve", "Lid"]),
     ("none", ["none"]),
     ("4+R14", []), ("ref(L10)+A12B", []), ("A/L12", []), ("?", []), ("", []), (None, []), (12, [])],
)  # fmt: skip
def test_remarks_are_passed_over_and_reported(text, expected):
    assert facs.remarks(text) == expected
    facs.parse_aus(text)
