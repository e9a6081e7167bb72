"""The kit's own test that nothing leaks and that training trains: a whole leave-one-subject-out at two intensities."""

import nbformat
import pandas as pd
import pytest

from aullm_lib import datasets, engine, facs, metrics, preprocess
from aullm_lib.experiment import Experiment
from aullm_lib.notebook import parameters
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run


@pytest.fixture(scope="module")
def scored(session_folder):
    """Intensity -> (scores, trivial classifiers) of the backbone with a linear head, on one plan of clips."""
    recipe = Recipe.paper(epochs=14, batch_size=8, lr=2e-3, loss="bce")
    experiment = Experiment(name="curve", aus=facs.BENCHMARK["casme2"], recipe=recipe, variant="backbone")
    found = {}
    for level in (0.0, 2.0):
        root = session_folder / f"intensity-{level:g}"
        datasets.synthesize(root, "casme2", subjects=5, clips_per_subject=9, intensity=level, seed=3)
        store = preprocess.build(datasets.load("casme2", root), session_folder / f"store-{level:g}")
        predictions = Run(engine.run(experiment, store, out=session_folder / "results")).predictions()
        found[level] = metrics.score(predictions), metrics.trivial(predictions)
    return found


def test_without_motion_the_score_is_that_of_a_predictor_that_looks_at_nothing(scored):
    score, trivial = scored[0.0]
    assert score.loc["mean", "f1_macro_low"] <= trivial["base-rate random"].loc["mean", "f1_macro"]
    assert score.loc["mean", "f1_macro"] < 0.55


def test_with_motion_it_exceeds_every_trivial_classifier(scored):
    score, trivial = scored[2.0]
    assert score.loc["mean", "f1_macro"] > max(f.loc["mean", "f1_macro"] for f in trivial.values()) + 0.10
    assert score.loc["mean", "f1_macro_low"] > trivial["always-negative"].loc["mean", "f1_macro"]


@pytest.mark.parametrize(
    ("levels", "lows", "leaks", "words"),
    [
        ([0, 0, 1], [0.4, 0.6, 0.6], True, "THE LABELS LEAK"),
        ([0, 0, 1], [0.4, 0.5, 0.6], False, "no sign of a leak"),
        ([0, 1], [float("nan"), 0.6], None, "too few subjects to tell"),
        ([1], [0.6], None, "not run. \n"),
    ],
)
def test_the_quickstart_says_only_what_its_intervals_can_tell(capsys, levels, lows, leaks, words):
    book = nbformat.read(parameters.SOURCE / "00_quickstart.ipynb", as_version=4)
    (check,) = (cell.source for cell in book.cells if "leaks = " in cell.source)
    chance = {"base-rate random": 0.5, "always-negative": 0.45, "f1_macro": 0.5}
    known = {"points": pd.DataFrame({"intensity": levels, "f1_macro_low": lows} | chance)}
    exec(check, known)
    assert known["leaks"] is leaks and words in capsys.readouterr().out
