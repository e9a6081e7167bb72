"""The kit's own test that nothing leaks and that training trains: a whole leave-one-subject-out at two intensities."""

import pytest

from aullm_lib import datasets, engine, facs, metrics, preprocess
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run


@pytest.fixture(scope="module")
def scored(session_folder):
    """Intensity -> (scores, trivial classifiers) of the backbone with a linear head, on one plan of clips."""
    recipe = Recipe.paper(epochs=24, batch_size=8, lr=2e-3, loss="bce")
    experiment = Experiment(name="curve", aus=facs.BENCHMARK["casme2"], recipe=recipe, variant="backbone")
    scores = {}
    for level in (0.0, 3.0):
        root = session_folder / f"intensity-{level:g}"
        datasets.synthesize(root, "casme2", subjects=6, clips_per_subject=8, intensity=level, seed=3)
        store = preprocess.build(datasets.load("casme2", root), session_folder / f"store-{level:g}")
        predictions = Run(engine.run(experiment, store, out=session_folder / "results")).predictions()
        scores[level] = metrics.score(predictions), metrics.trivial(predictions)
    return scores


def test_without_motion_the_score_is_at_chance_level(scored):
    score, trivial = scored[0.0]
    assert score.loc["mean", "f1_macro_low"] <= trivial["base-rate random"].loc["mean", "f1_macro"]
    assert score.loc["mean", "f1_macro"] < 0.55


def test_with_motion_it_exceeds_every_trivial_classifier(scored):
    score, trivial = scored[3.0]
    assert score.loc["mean", "f1_macro"] > max(f.loc["mean", "f1_macro"] for f in trivial.values()) + 0.10
    assert score.loc["mean", "f1_macro_low"] > trivial["always-negative"].loc["mean", "f1_macro"]
