"""A baseline that needs a teacher gets the one that is given, or one that is trained once; others stay as they are."""

import pytest

from aullm_lib import baselines
from aullm_lib.notebook import parameters
from aullm_lib.notebook.teachers import with_teachers
from aullm_lib.notebook.workspace import Workspace

SETTINGS = parameters.defaults("05_cross_domain")
SMALL = {"teacher_overrides": {"size": 32, "crop": 28, "width": 8, "epochs": 1}}


@pytest.mark.filterwarnings("ignore:the teacher cannot learn")  # of twelve clips
def test_a_teacher_is_trained_once_for_all_that_need_one(home, monkeypatch):
    monkeypatch.chdir(home)
    work, shape = Workspace("mine"), {"size": 32, "width": 8}
    recipes = {
        "resnet18": baselines.recipe("resnet18", weights="teacher", **shape),
        "at": baselines.recipe("at", weights="teacher", **shape),
        "sssnet-led": baselines.recipe("sssnet-led"),
    }
    ready = with_teachers(work, recipes, SETTINGS | SMALL)
    (folder,) = (work.folder / "teachers").iterdir()
    assert ready["at"].teacher == str(folder) and ready["resnet18"].weights.startswith(f"{folder}/")
    assert ready["sssnet-led"] == recipes["sssnet-led"]
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert with_teachers(work, recipes, SETTINGS | SMALL) == ready
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_teacher_that_is_given_is_taken(home):
    recipes = {"at": baselines.recipe("at"), "lbp-top": baselines.recipe("lbp-top")}
    ready = with_teachers(Workspace("mine"), recipes, SETTINGS | {"teacher": "some/folder"})
    assert ready["at"].teacher == "some/folder" and ready["lbp-top"] == recipes["lbp-top"]
    assert not list(home.iterdir())
