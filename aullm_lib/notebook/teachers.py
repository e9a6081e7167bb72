"""The teachers of baselines, for the notebooks that train them: given, or trained on synthetic macro-expressions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aullm_lib import datasets, facs
from aullm_lib.baselines import distil, teacher
from aullm_lib.notebook.workspace import Workspace


def with_teachers(work: Workspace, recipes: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Recipes with the folders of the teachers that they still need.

    Where none is given, a teacher is trained on a synthetic release of strong expressions, by other people than those
    of the release that baselines are tested on. It is trained once.

    Args:
        work: Where teachers and their release are kept.
        recipes: By method.
        settings: The notebook's parameters ``teacher``, ``teacher_overrides``, ``macro_subjects``,
            ``macro_clips_per_subject``, ``macro_intensity`` and ``data_seed``.

    Raises:
        TypeError, ValueError: A setting of the teacher does not fit, or a method cannot have one.
    """
    out = dict(recipes)
    for method, recipe in recipes.items():
        if depth := distil.teacher_depth(method, recipe):
            folder = Path(settings["teacher"]) if settings["teacher"] else _trained(work, depth, settings)
            out[method] = distil.with_teacher(method, recipe, folder)
    return out


def _trained(work: Workspace, depth: int, settings: Mapping[str, Any]) -> Path:
    """The folder of a teacher of ResNets of a depth."""
    macro = {name: settings[f"macro_{name}"] for name in ("subjects", "clips_per_subject", "intensity")}
    macro |= {"seed": settings["data_seed"] + 1000}  # other people
    recipe = teacher.TeacherRecipe(**{"depth": depth} | settings["teacher_overrides"])
    store = work.store(datasets.load("casme2", work.synthetic("casme2", **macro)), size=recipe.size, rgb=True)
    return teacher.train(store, work.teacher(recipe, store), recipe, facs.BENCHMARK["casme2"])
