"""Which baselines began without the pretrained weights of their sources, by what a run records of itself."""

import dataclasses

import pytest

from aullm_lib import baselines, datasets, engine, preprocess
from aullm_lib.baselines import teacher
from aullm_lib.experiment import Experiment
from aullm_lib.report import results

RANDOM = "weights random, its source's from ImageNet"


@pytest.mark.parametrize("method", baselines.METHODS)
def test_every_field_that_may_name_weights_says_what_the_source_has(method):
    recipe = baselines.recipe(method)
    named = {f.name for f in dataclasses.fields(recipe) if f.type == "str" or f.type is str if f.default == ""}
    assert named == set(baselines.PRETRAINED.get(method, {}))
    for field, (of, example) in baselines.PRETRAINED.get(method, {}).items():
        assert of and dataclasses.replace(recipe, **{field: example})


@pytest.mark.parametrize(
    ("method", "recipe", "identities", "synthetic", "why"),
    [
        ("au-llm", {"llm": ""}, {}, False, ""),
        ("sssnet-led", {}, {}, False, ""),
        ("flow-svm", {}, {}, False, ""),
        ("resnet18", {"weights": ""}, {}, False, RANDOM),
        ("resnet18", {"weights": ""}, {}, True, RANDOM),
        ("resnet34", {"weights": "microsoft/resnet-34"}, {"weights": "ab12"}, False, ""),
        ("resnet18", {"weights": "t/view1"}, {"weights": "ab (trained on synthetic casme2, seed 3)"}, True, ""),
        ("resnet18", {"weights": "t/view1"}, {"weights": "ab (trained on synthetic casme2, seed 3)"}, False,
         "weights from synthetic faces, its source's from ImageNet"),
        ("sca", {"weights": "", "subtract_mean": True}, {}, True,
         "weights random, its source's from Kinetics and UCF101"),
        ("dvasp", {"weights": "teacher", "teacher": "t"}, {"teacher": "ab (trained on synthetic x)"}, True, ""),
        ("dvasp", {"weights": "teacher", "teacher": "t"}, {"teacher": "ab (trained on synthetic x)"}, False,
         "weights from synthetic faces, its source's from ImageNet; "
         "teacher from synthetic faces, its source's from EmotioNet and web faces"),
        ("dvasp", {"weights": "teacher", "teacher": "t"}, {"teacher": "ab (trained on mmew)"}, False, ""),
        ("sp", {"weights": "", "teacher": "t"}, {"teacher": "ab (trained on mmew)"}, False, RANDOM),
        ("infusenet", {"weights": "r", "magnifier": ""}, {"weights": "ab"}, False,
         "magnifier random, its source's from learning-based motion magnification"),
    ],
)  # fmt: skip
def test_a_run_is_comparable_with_what_its_source_had(method, recipe, identities, synthetic, why):
    assert baselines.not_comparable(method, recipe, identities, synthetic) == why


def test_a_run_that_began_as_a_synthetic_teacher_counts_on_synthetic_clips_only(hand_table, tmp_path):
    """The identity that ``teacher.train`` leaves is the one that is looked for."""
    root = datasets.synthesize(tmp_path / "macro", "casme2", subjects=2, clips_per_subject=2, intensity=3.0, seed=9)
    macro = preprocess.build(datasets.load("casme2", root), tmp_path / "macro-store", size=32, rgb=True)
    settings = {"size": 32, "crop": 30, "depth": 18, "width": 4, "batch_size": 4, "epochs": 1, "labelled": 1.0}
    with pytest.warns(UserWarning, match="cannot learn"):
        taught = teacher.train(macro, tmp_path / "t", teacher.TeacherRecipe(**settings), (1, 4, 12), device="cpu")
    small = {"size": 32, "width": 4, "batch_size": 4, "epochs": 1}
    store = preprocess.build(hand_table, tmp_path / "store", size=32, rgb=True)
    for name, weights in {"taught": str(taught / "view1"), "random": ""}.items():
        recipe = baselines.recipe("resnet18", weights=weights, **small)
        engine.run(Experiment(name=name, aus=(4, 12), recipe=recipe, method="resnet18"), store, out=tmp_path / name)
    (one,), (other,) = (results.load(tmp_path / name) for name in ("taught", "random"))
    assert not one.synthetic and not one.comparable
    assert one.not_comparable == "weights from synthetic faces, its source's from ImageNet"
    assert other.not_comparable == RANDOM


def test_advice_names_what_will_be_lacking_and_how_to_give_it():
    given = {"resnet18": {"weights": "x"}, "fitnet": {"weights": "x", "teacher": "t"}, "sca": {"weights": "f"}}
    assert baselines.advice([("lbp-top", {}), ("sssnet-led", {}), ("flow-svm", {}), *given.items()], False) == []
    chosen = [("resnet18", {}), ("resnet18", {}), ("lbp-top", {}), ("fitnet", {}), ("sca", {"epochs": 3})]
    told = baselines.advice(chosen, False)
    assert [line.split()[0] for line in told[1:-1]] == ["resnet18", "fitnet", "sca"]
    assert told[1].endswith("{weights: microsoft/resnet-18}  (its source's: ImageNet)")
    assert "{weights: microsoft/resnet-18, teacher: /path/to/teacher}" in told[2]
    assert "-p 'baseline_overrides={resnet18: {weights: microsoft/resnet-18}, ...}'" in told[-1]
    shared = [("at", {"weights": "teacher"}), ("resnet34", {"weights": "teacher"})]
    assert baselines.advice(shared, True) == []
    assert len(baselines.advice(shared, False)) == 4  # trained on synthetic faces, for licensed clips
    folder = [(method, fields | {"teacher": "folder"}) for method, fields in shared]
    assert baselines.advice(folder, False) == []
    assert "{weights: microsoft/resnet-18}" in baselines.advice([("at", {"teacher": "folder"})], False)[1]
