"""Trivial classifiers against naive simulations and the published constants of the label counts."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from aullm_lib import metrics
from aullm_lib.metrics import thresholds

CASME2 = {"AU1": 26, "AU2": 22, "AU4": 130, "AU7": 39, "AU12": 34, "AU14": 27, "AU15": 16, "AU17": 25}
SAMM = {"AU2": 18, "AU4": 23, "AU7": 46, "AU12": 28}


def predictions(labels):
    """labels: [clips, AUs]."""
    clips, aus = np.indices(np.shape(labels)).reshape(2, -1)
    return pd.DataFrame(
        {"clip_id": [f"c{i}" for i in clips], "subject": [f"s{i % 3}" for i in clips],
         "au": [["AU1", "AU2", "AU4"][j] for j in aus], "label": np.ravel(labels), "probability": 0.5}
    )  # fmt: skip


@pytest.mark.parametrize(("positives", "clips", "percent"), [(130, 256, 32.98), (22, 256, 47.76), (46, 159, 41.54)])
def test_always_negative_scores_of_the_published_label_counts(positives, clips, percent):
    labels = np.zeros((clips, 1), int)
    labels[:positives] = 1
    table = metrics.trivial(predictions(labels))["always-negative"]
    assert round(100 * table.loc["AU1", "f1_macro"], 2) == percent
    assert table.loc["AU1", "f1"] == 0


def test_random_guesses_at_the_base_rate_equal_a_naive_simulation():
    labels = np.zeros((40, 2), int)
    labels[:6, 0] = labels[:20, 1] = 1
    rng = np.random.default_rng(5)
    naive = []
    for _ in range(1000):
        present = rng.random((40, 2)) < labels.mean(0)
        naive.append([f1_score(labels[:, j], present[:, j], average="macro", zero_division=0) for j in range(2)])
    got = metrics.trivial(predictions(labels))["base-rate random"]
    assert got["f1_macro"].to_numpy()[:2] == pytest.approx(np.mean(naive, 0), abs=0.01)
    assert got["f1_macro_low"].to_numpy()[:2] == pytest.approx(np.quantile(naive, 0.025, axis=0), abs=0.02)
    assert got.loc["mean", "f1_macro"] == pytest.approx(got["f1_macro"][:-1].mean())
    assert got.loc["AU1", ["TP", "FN"]].sum() == 6


@pytest.mark.parametrize(("counts", "clips", "plain", "tuned"), [(CASME2, 256, 48.5, 51.7), (SAMM, 159, 48.3, 52.2)])
def test_what_tuning_on_test_labels_gives_random_scores(counts, clips, plain, tuned):
    """Against a naive simulation, score by score, and against the mean of 200 draws that was published to one decimal.

    The mean over AUs varies by 1.0 (CASME II) and 1.8 (SAMM) points from draw to draw, so that of 200 draws by 0.07 and
    0.13: three of those, and half of the last decimal, are 0.27 and 0.43.
    """
    rng = np.random.default_rng(2)
    positives = np.array(list(counts.values()))
    labels = np.arange(clips)[:, None] < positives  # [n, a]
    logit = np.log(positives / (clips - positives))
    p = 1 / (1 + np.exp(-rng.normal(logit, 1, (600, clips, len(counts)))))
    f1s = []
    for t in thresholds.GRID:
        tp, fp = ((p >= t) & labels).sum(1), ((p >= t) & ~labels).sum(1)
        f1s.append(
            tp / (tp + fp + positives) + (clips - positives - fp) / (2 * (clips - positives) + positives - tp - fp)
        )
    naive = 100 * np.array(f1s)  # [16, draws, a]
    spread = naive.max(0).mean(1).std()
    tolerance = 3 * spread / np.sqrt(200) + 0.05
    assert naive[8].mean() == pytest.approx(plain, abs=tolerance)
    table = metrics.trivial_of_counts(counts, clips)["random scores, test-tuned"]
    got = 100 * table.loc["mean", ["f1_macro", "f1_macro_low", "f1_macro_high"]].to_numpy()
    assert got[0] == pytest.approx(tuned, abs=tolerance)
    assert got[0] == pytest.approx(naive.max(0).mean(), abs=3 * spread / np.sqrt(600))
    assert 100 * table["f1_macro"].to_numpy()[:-1] == pytest.approx(naive.max(0).mean(0), abs=1)
    tuning = 100 * metrics.tuning(counts, clips)
    assert tuning.loc["test-tuned"].to_numpy() == pytest.approx(got)
    apart = {"threshold 0.5": naive[8].mean(1), "gain": (naive.max(0) - naive[8]).mean(1)}
    for name, drawn in apart.items():
        row = tuning.loc[name].to_numpy()
        assert row[0] == pytest.approx(drawn.mean(), abs=3 * drawn.std() / np.sqrt(600))
        assert row[1:] == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.5 * drawn.std())
    assert got[1:] == pytest.approx(np.quantile(naive.max(0).mean(1), [0.025, 0.975]), abs=0.3 * spread)


def test_what_tuning_gives_a_skilled_scorer_equals_a_naive_simulation():
    """Spread 2 and separation 4, two logits too low."""
    positives, clips, rng = 40, 120, np.random.default_rng(3)
    labels = np.arange(clips) < positives
    logit = np.log(positives / (clips - positives)) + rng.normal(np.where(labels, 2, -2), 2, (300, clips))
    p = 1 / (1 + np.exp(2 - logit))
    scores = np.array([[f1_score(labels, drawn >= t, average="macro") for t in thresholds.GRID] for drawn in p])
    tuning = metrics.tuning({"AU1": positives}, clips, spread=2, separation=4, offset=-2)
    expected = {"threshold 0.5": scores[:, 8], "test-tuned": scores.max(1), "gain": scores.max(1) - scores[:, 8]}
    for name, drawn in expected.items():
        assert tuning.loc[name, "f1_macro"] == pytest.approx(drawn.mean(), abs=3 * drawn.std() / np.sqrt(300))
        ends = tuning.loc[name, ["f1_macro_low", "f1_macro_high"]].to_numpy()
        assert ends == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.5 * drawn.std())
    with pytest.raises(ValueError, match="spread=0: expected a standard deviation above 0"):
        metrics.tuning({"AU1": 40}, 120, spread=0)


def test_classifiers_of_counts_are_those_of_labels():
    labels = np.zeros((60, 3), int)
    labels[:20, 0] = labels[5:12, 1] = 1  # AU4 is never shown
    counts = {"AU4": 0, "AU2": 7, "AU1": 20}
    of_labels, of_counts = (
        metrics.trivial(predictions(labels)),
        metrics.trivial_of_counts(counts, 60),
    )
    assert (
        list(of_counts)
        == list(of_labels)[:-1]
        == ["always-negative", "always-positive", "base-rate random", "random scores, test-tuned"]
    )
    for name, frame in of_counts.items():
        pd.testing.assert_frame_equal(frame[metrics.MEASURES], of_labels[name][metrics.MEASURES])
        pd.testing.assert_frame_equal(frame[metrics.COUNTS], of_labels[name][metrics.COUNTS])
        assert frame.loc["AU4", metrics.MEASURES].isna().all()
        assert frame.loc["AU1", "TP"] + frame.loc["AU1", "FN"] == pytest.approx(20)
    assert of_counts["always-negative"].loc["AU1", ["roc_auc", "average_precision"]].tolist() == [0.5, 1 / 3]


def test_the_base_rate_of_the_other_folds_has_a_pooled_auc_below_one_half():
    """Folds of two subjects; AU1 is shown by half of the clips of some folds, and by none of the others'."""
    labels = np.array([[(i // 6) % 2 and i % 2, i % 4 == 0, 0] for i in range(36)])
    frame = predictions(labels).assign(subject=[f"s{i // 3}" for i in range(36) for _ in range(3)])
    frame["fold"] = [f"f{i // 6}" for i in range(36) for _ in range(3)]
    table = metrics.trivial(frame.sample(frac=1, random_state=0))["training base rate"]
    for j, au in enumerate(("AU1", "AU2")):
        share = [np.mean([labels[k, j] for k in range(36) if k // 6 != i // 6]) for i in range(36)]
        pairs = [(share[i], share[k]) for i in range(36) for k in range(36) if labels[i, j] and not labels[k, j]]
        naive = np.mean([(one > other) + 0.5 * (one == other) for one, other in pairs])
        assert table.loc[au, "roc_auc"] == pytest.approx(naive)
        assert naive < 0.5
    assert table.loc["AU1", "roc_auc"] < 0.2
    assert table.loc["AU4", ["roc_auc", "f1"]].isna().all()
    assert (table[["TP", "FP"]] == 0).all(axis=None)
    across = metrics.trivial(frame.assign(fold="all"))
    pd.testing.assert_frame_equal(across["training base rate"], across["always-negative"])


@pytest.mark.parametrize(
    ("positives", "n", "message"),
    [
        ({}, 5, "no AU"),
        ({"AU3": 1}, 5, "AU3: not an AU"),
        ({"AU1": 6}, 5, "AU1: 6 positives"),
        ({"AU1": 1.5}, 5, "AU1: 1.5 positives"),
    ],
)
def test_impossible_counts_are_refused_by_name(positives, n, message):
    with pytest.raises(ValueError, match=message):
        metrics.trivial_of_counts(positives, n)
    with pytest.raises(ValueError, match=message):
        metrics.tuning(positives, n)
