"""Paths of a workspace: the same for the same arguments, another for each other one; records come back."""

import itertools

import pandas as pd
import pytest
from helpers import make_table
from matplotlib.figure import Figure

from aullm_lib.baselines.teacher import TeacherRecipe
from aullm_lib.notebook import batch, parameters
from aullm_lib.notebook.workspace import Workspace

WORK = Workspace("mine")


def test_a_synthetic_release_has_a_folder_for_each_of_its_settings():
    settings = {"subjects": 3, "clips_per_subject": 4, "intensity": 1.0, "seed": 1}
    paths = {WORK.release("casme2", **settings), WORK.release("samm", **settings)}
    paths |= {WORK.release("casme2", **settings | {name: 2}) for name in settings}
    assert len(paths) == 6
    assert {path.parent for path in paths} == {WORK.folder / "releases"}
    assert WORK.release("casme2", **settings) == Workspace("mine").release("casme2", **settings | {"intensity": 1})


def test_a_clip_store_has_a_folder_for_each_table_and_shape(hand_table):
    shapes = [{"size": size, "rgb": rgb} for size, rgb in itertools.product((24, 32), (False, True))]
    paths = [WORK.clips(table, **shape) for table in (hand_table, hand_table[1:]) for shape in shapes]
    assert len(set(paths)) == len(paths)
    assert paths == [WORK.clips(table, **shape) for table in (hand_table, hand_table[1:]) for shape in shapes]


def test_joined_stores_and_teachers_are_named_after_what_they_are_made_from(
    hand_table, hand_store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b").mkdir()
    two = [hand_table, make_table(tmp_path / "b", subjects=2).assign(dataset="b")]
    two[1].index = ("b/" + two[1]["subject"] + "/" + two[1]["clip"]).rename("clip_id")
    first, other = WORK.joined(two, size=24), WORK.joined(two[::-1], size=24)
    assert WORK.joined(two, size=24).path == first.path != other.path and set(first.ids) == set(other.ids)
    absent = WORK.joined(two, size=24, count_missing="absent")
    assert absent.path != first.path and absent.release["count_missing"] == "absent"
    assert WORK.teacher(TeacherRecipe(), hand_store) == WORK.teacher(TeacherRecipe(), hand_store)
    assert WORK.teacher(TeacherRecipe(), hand_store) != WORK.teacher(TeacherRecipe(epochs=1), hand_store)
    assert WORK.teacher(TeacherRecipe(), hand_store) != WORK.teacher(TeacherRecipe(), first)


def test_a_record_holds_parameters_results_and_provenance(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert WORK.recorded("02_train_loso") is None
    path = WORK.record("02_train_loso", {"seeds": [1]}, files=["a"])
    assert WORK.recorded("02_train_loso") == {"files": ["a"]}
    assert '"seeds"' in path.read_text() and '"versions"' in path.read_text()
    assert Workspace("other").recorded("02_train_loso") is None


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", "/tmp/x", "a b", "a\n", "a\0", "é", "~", "C:x"])
def test_a_profiles_name_never_leads_out_of_its_folders(name):
    with pytest.raises(ValueError, match=r"profile is .*; expected letters, digits and hyphens"):
        Workspace(name)


@pytest.mark.parametrize("name", ["../profiles/demo", "./demo", "/etc/passwd", "demo.yaml", "..", "", "Demo"])
def test_a_profile_is_read_from_its_folder_only(name):
    message = "unknown profile" if name == "Demo" else "expected letters, digits and hyphens"
    with pytest.raises(ValueError, match=message):
        parameters.profile(name)
    with pytest.raises(ValueError, match=message):
        batch.plan(name)


def test_figures_and_tables_are_saved_with_what_they_are_made_from_as_far_as_there_are_any(home, monkeypatch):
    monkeypatch.chdir(home)
    frame = pd.DataFrame({"a": [1, 2]}, index=pd.Index(["x", "y"], name="key"))
    files = WORK.save({"of": "a run"}, picture=Figure(figsize=(1, 1)), numbers=frame, nothing=None)
    names = [f"picture.{end}" for end in ("pdf", "png", "json", "txt")] + ["numbers.csv", "numbers.json"]
    assert files == [str(WORK.figures / name) for name in names] and all((home / file).is_file() for file in files)
    assert pd.read_csv(files[4], index_col="key").equals(frame)
    assert '"of": "a run"' in (home / files[5]).read_text() and len(list(WORK.figures.iterdir())) == len(names)
