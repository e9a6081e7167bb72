"""Scores against scikit-learn, a naive bootstrap, and the published constants of the label counts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from aullm_lib import metrics


def predictions(labels, probabilities, subjects=None):
    """labels, probabilities: [clips, AUs]."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, float)
    clips, aus = labels.shape
    subjects = subjects if subjects is not None else [f"s{i % 3}" for i in range(clips)]
    rows = [
        (f"d/{subjects[i]}/c{i}", subjects[i], f"AU{j + 1}", labels[i, j], probabilities[i, j])
        for i in range(clips) for j in range(aus)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(1, 4), st.floats(0.05, 0.95))
def test_equal_to_scikit_learn(seed, clips, aus, threshold):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, (clips, aus)), rng.random((clips, aus))
    labels[0], labels[1] = 1, 0
    table = metrics.score(predictions(labels, scores), threshold, resamples=5)
    said = (scores >= threshold).astype(int)
    for j in range(aus):
        row = table.loc[f"AU{j + 1}"]
        assert row["f1"] == pytest.approx(f1_score(labels[:, j], said[:, j], zero_division=0), abs=1e-15)
        macro = f1_score(labels[:, j], said[:, j], average="macro", labels=[0, 1], zero_division=0)
        assert row["f1_macro"] == pytest.approx(macro, abs=1e-15)
        tn, fp, fn, tp = confusion_matrix(labels[:, j], said[:, j], labels=[0, 1]).ravel()
        assert row[["TP", "FP", "FN", "TN"]].tolist() == [tp, fp, fn, tn]
    assert table.loc["mean", "f1"] == pytest.approx(table["f1"][:-1].mean())


@pytest.mark.parametrize(("positives", "clips", "percent"), [(130, 256, 32.98), (22, 256, 47.76), (46, 159, 41.54)])
def test_all_absent_scores_of_the_published_label_counts(positives, clips, percent):
    labels = np.zeros((clips, 1), int)
    labels[:positives] = 1
    floor = metrics.floors(predictions(labels, np.full((clips, 1), 0.7)))["all-absent"]
    assert round(100 * floor.loc["AU1", "f1_macro"], 2) == percent
    assert floor.loc["AU1", "f1"] == 0


def test_random_guesses_at_the_base_rate_equal_a_naive_simulation():
    labels = np.zeros((40, 2), int)
    labels[:6, 0] = labels[:20, 1] = 1
    rng = np.random.default_rng(5)
    naive = []
    for _ in range(3000):
        said = rng.random((40, 2)) < labels.mean(0)
        naive.append([f1_score(labels[:, j], said[:, j], average="macro", zero_division=0) for j in range(2)])
    got = metrics.floors(predictions(labels, np.full((40, 2), 0.5)))["prior-random"]
    assert got["f1_macro"].to_numpy()[:2] == pytest.approx(np.mean(naive, 0), abs=0.01)
    assert got["f1_macro_low"].to_numpy()[:2] == pytest.approx(np.quantile(naive, 0.025, axis=0), abs=0.02)
    assert got.loc["mean", "f1_macro"] == pytest.approx(got["f1_macro"][:-1].mean())
    assert got.loc["AU1", ["TP", "FN"]].sum() == 6


def test_intervals_equal_a_naive_bootstrap_over_subjects():
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, (30, 2)), rng.random((30, 2))
    frame = predictions(labels, scores, [f"s{i // 5}" for i in range(30)])
    table = metrics.score(frame, resamples=400, seed=7)
    draws = np.random.default_rng(7).multinomial(6, np.full(6, 1 / 6), 400)
    naive = []
    for draw in draws:
        rows = np.concatenate([np.tile(np.arange(5 * s, 5 * s + 5), n) for s, n in enumerate(draw)])
        said = (scores[rows] >= 0.5).astype(int)
        naive.append([f1_score(labels[rows, j], said[:, j], zero_division=0) for j in range(2)])
    low, high = np.quantile(naive, [0.025, 0.975], axis=0)
    assert table["f1_low"].to_numpy()[:2] == pytest.approx(low)
    assert table["f1_high"].to_numpy()[:2] == pytest.approx(high)
    assert (table["f1_low"] <= table["f1"]).all()
    assert (table["f1"] <= table["f1_high"]).all()


def test_an_au_without_a_positive_is_undefined_not_zero():
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    table = metrics.score(predictions(labels, np.full((3, 2), 0.9)))
    assert table.loc["AU2", ["f1", "f1_macro", "f1_low"]].isna().all()
    assert table.loc["mean", "f1"] == table.loc["AU1", "f1"]


def test_the_interval_of_the_mean_holds_every_au():
    """AU1 is perfect, AU2 always missed and all its positives are one subject's: without it no mean is taken."""
    labels = np.array([[i % 2, int(i == 0)] for i in range(16)])
    scores = np.stack([labels[:, 0], np.zeros(16)], 1)
    table = metrics.score(predictions(labels, scores, [f"s{i // 2}" for i in range(16)]))
    assert table.loc["AU1", "f1_macro"] == 1
    assert table.loc["mean", "f1_macro_high"] < 0.75 + 1e-9
    assert table.loc["mean", "f1_high"] == 0.5


def test_macro_f1_without_a_negative_is_undefined():
    table = metrics.score(predictions(np.ones((4, 1), int), np.full((4, 1), 0.9)))
    assert table.loc["AU1", "f1"] == 1
    assert np.isnan(table.loc["AU1", "f1_macro"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="au"), "lack the columns"),
        (lambda f: f.iloc[:0], "no predictions"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "d/s0/c0, AU1: predicted twice"),
        (lambda f: f.assign(label=2), "d/s0/c0, AU1: label 2"),
        (lambda f: f.assign(probability=np.nan), "d/s0/c0, AU1: probability"),
        (lambda f: f.assign(probability=1.2), "probability"),
        (lambda f: f.iloc[1:], "d/s0/c0: some of its AUs"),
    ],
)
def test_bad_predictions_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(change(predictions([[1, 0], [0, 1]], [[0.5, 0.5], [0.1, 0.9]])))
