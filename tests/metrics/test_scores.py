"""Scores against scikit-learn, a naive bootstrap, and the published constants of the label counts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from aullm_lib import facs, metrics
from aullm_lib.metrics import thresholds

AUS = [f"AU{number}" for number in facs.NAMES]  # AU1, AU2, AU4, AU5, ...


def predictions(labels, probabilities, subjects=None):
    """labels, probabilities: [clips, AUs]."""
    labels, probabilities = np.asarray(labels), np.asarray(probabilities, float)
    clips, aus = labels.shape
    subjects = subjects if subjects is not None else [f"s{i % 3}" for i in range(clips)]
    rows = [
        (f"d/{subjects[i]}/c{i}", subjects[i], AUS[j], labels[i, j], probabilities[i, j])
        for i in range(clips) for j in range(aus)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(1, 4), st.floats(0.05, 0.95), st.sampled_from((1, 2, 16)))
def test_equal_to_scikit_learn(seed, clips, aus, threshold, ties):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, (clips, aus)), rng.random((clips, aus)).round(ties)
    labels[0], labels[1] = 1, 0
    table = metrics.score(predictions(labels, scores), threshold, resamples=5)
    present = (scores >= threshold).astype(int)
    for j in range(aus):
        row = table.loc[AUS[j]]
        assert row["f1"] == pytest.approx(f1_score(labels[:, j], present[:, j], zero_division=0), abs=1e-15)
        macro = f1_score(labels[:, j], present[:, j], average="macro", labels=[0, 1], zero_division=0)
        assert row["f1_macro"] == pytest.approx(macro, abs=1e-15)
        for name, reference in (("precision", precision_score), ("recall", recall_score)):
            assert row[name] == pytest.approx(reference(labels[:, j], present[:, j], zero_division=0), abs=1e-15)
        for name, reference in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
            # Last digits: scikit-learn adds the same areas in another order.
            assert row[name] == pytest.approx(reference(labels[:, j], scores[:, j]), abs=2e-15)
        tn, fp, fn, tp = confusion_matrix(labels[:, j], present[:, j], labels=[0, 1]).ravel()
        assert row[["TP", "FP", "FN", "TN"]].tolist() == [tp, fp, fn, tn]
    for name in metrics.MEASURES:
        assert table.loc["mean", name] == pytest.approx(table[name][:-1].mean())


def test_intervals_equal_a_naive_bootstrap_over_subjects():
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, (30, 2)), rng.random((30, 2))
    frame = predictions(labels, scores, [f"s{i // 5}" for i in range(30)])
    table = metrics.score(frame, resamples=400, seed=7)
    draws = np.random.default_rng(7).multinomial(6, np.full(6, 1 / 6), 400)
    naive, ranked, precise = [], [], []
    for draw in draws:
        rows = np.concatenate([np.tile(np.arange(5 * s, 5 * s + 5), n) for s, n in enumerate(draw)])
        present = (scores[rows] >= 0.5).astype(int)
        naive.append([f1_score(labels[rows, j], present[:, j], zero_division=0) for j in range(2)])
        ranked.append([roc_auc_score(labels[rows, j], scores[rows, j]) for j in range(2)])
        precise.append([average_precision_score(labels[rows, j], scores[rows, j]) for j in range(2)])
    for name, values in (("roc_auc", ranked), ("average_precision", precise)):
        assert table[f"{name}_low"].to_numpy()[:2] == pytest.approx(np.quantile(values, 0.025, axis=0))
        assert table[f"{name}_high"].to_numpy()[:2] == pytest.approx(np.quantile(values, 0.975, axis=0))
    low, high = np.quantile(naive, [0.025, 0.975], axis=0)
    assert table["f1_low"].to_numpy()[:2] == pytest.approx(low)
    assert table["f1_high"].to_numpy()[:2] == pytest.approx(high)
    assert (table["f1_low"] <= table["f1"]).all()
    assert (table["f1"] <= table["f1_high"]).all()


def test_an_au_without_a_positive_is_undefined_not_zero():
    labels = np.array([[1, 0], [0, 0], [1, 0]])
    table = metrics.score(predictions(labels, np.full((3, 2), 0.9)))
    assert table.loc["AU2", ["f1", "f1_macro", "f1_low", *metrics.MEASURES]].isna().all()
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
    assert table.loc["AU1", ["f1_macro", "roc_auc"]].isna().all()


@given(st.integers(0, 10**6), st.sampled_from(list(thresholds.POLICIES)))
@settings(max_examples=20)
def test_neither_the_order_of_rows_nor_the_names_of_subjects_matter(seed, policy):
    rng = np.random.default_rng(seed)
    frame = predictions(rng.integers(0, 2, (20, 3)), rng.random((20, 3)).round(1))
    want = metrics.score(frame, policy=policy, resamples=20)
    shuffled = frame.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(metrics.score(shuffled, policy=policy, resamples=20), want)
    # Other names draw other resamples: what is scored is the same.
    renamed = frame.assign(subject=frame["subject"].map({"s0": "z", "s1": "m", "s2": "a"}))
    points = [*metrics.MEASURES, *metrics.COUNTS]
    pd.testing.assert_frame_equal(metrics.score(renamed, policy=policy, resamples=0)[points], want[points])


def skilled(seed, *, skill=1.0, subjects=26, clips=8, aus=3):
    """Predictions of a detector of some skill, for subjects who differ in how easy they are."""
    rng = np.random.default_rng(seed)
    n = subjects * clips
    labels = (rng.random((n, aus)) < 0.3).astype(int)
    easy = np.repeat(rng.normal(skill, 1, subjects), clips)[:, None]
    logits = easy * (2 * labels - 1) + rng.normal(0, 1.5, (n, aus)) - 0.3
    return predictions(labels, 1 / (1 + np.exp(-logits)), [f"s{i // clips:02}" for i in range(n)])


def test_a_tuned_score_is_tuned_anew_in_each_resample():
    frame = skilled(0, subjects=5, clips=6, aus=2)
    table = metrics.score(frame, policy="test-tuned", resamples=50, seed=3)
    wide = {
        k: frame.set_index(["clip_id", "au"])[k].sort_index().to_numpy().reshape(-1, 2)
        for k in ("label", "probability")
    }
    subject = frame.drop_duplicates("clip_id").set_index("clip_id")["subject"].sort_index()
    member = [np.flatnonzero(subject == s) for s in sorted(set(subject))]
    everyone = np.ones((1, 5), int)
    draws = np.concatenate([everyone, np.random.default_rng(3).multinomial(5, np.full(5, 0.2), 50)])
    naive = []
    for draw in draws:
        rows = np.concatenate([np.tile(m, k) for m, k in zip(member, draw, strict=True)])
        y, p = wide["label"][rows], wide["probability"][rows]
        naive.append(
            [max(f1_score(y[:, j], p[:, j] >= t, average="macro", zero_division=0) for t in thresholds.GRID)
             for j in range(2)]
        )  # fmt: skip
    assert table["f1_macro"].to_numpy()[:2] == pytest.approx(naive[0])
    assert table["f1_macro_low"].to_numpy()[:2] == pytest.approx(np.quantile(naive[1:], 0.025, axis=0))
    assert table["f1_macro_high"].to_numpy()[:2] == pytest.approx(np.quantile(naive[1:], 0.975, axis=0))


@pytest.mark.parametrize("policy", thresholds.POLICIES)
@pytest.mark.parametrize("measure", metrics.MEASURES)
def test_a_method_does_not_differ_from_itself(policy, measure):
    frame = skilled(1, subjects=6)
    table = metrics.compare(frame, frame.sample(frac=1, random_state=0), measure=measure, policy=policy, resamples=50)
    assert (table[["difference", "low", "high"]] == 0).all(axis=None)
    assert (table["p"] == 1).all()
    assert not table["supported"].any()


def test_a_paired_comparison_equals_a_naive_one():
    labels = np.random.default_rng(0).integers(0, 2, (24, 2))
    rng = np.random.default_rng(1)
    subjects = [f"s{i // 4}" for i in range(24)]
    one, two = rng.random((24, 2)), np.clip(rng.random((24, 2)) + 0.2 * labels, 0, 1)
    a, b = predictions(labels, one, subjects), predictions(labels, two, subjects)
    table = metrics.compare(a, b, resamples=200, seed=5)
    naive = []
    for draw in np.random.default_rng(5).multinomial(6, np.full(6, 1 / 6), 200):
        rows = np.concatenate([np.tile(np.arange(4 * s, 4 * s + 4), n) for s, n in enumerate(draw)])
        scores = [[f1_score(labels[rows, j], side[rows, j] >= 0.5, average="macro", labels=[0, 1], zero_division=0)
                   for j in range(2)] for side in (one, two)]  # fmt: skip
        naive.append(np.subtract(*scores))
    naive = np.column_stack([naive, np.mean(naive, 1)])
    assert table["low"].to_numpy() == pytest.approx(np.quantile(naive, 0.025, axis=0))
    assert table["high"].to_numpy() == pytest.approx(np.quantile(naive, 0.975, axis=0))
    sides = np.minimum((naive <= 1e-12).sum(0), (naive >= -1e-12).sum(0))
    assert table["p"].to_numpy() == pytest.approx(np.minimum(1, 2 * (sides + 1) / 201))
    points = [metrics.score(side, resamples=0)["f1_macro"] for side in (a, b)]
    assert table["difference"].to_numpy() == pytest.approx((points[0] - points[1]).to_numpy())
    reverse = metrics.compare(b, a, resamples=200, seed=5)
    assert reverse["low"].to_numpy() == pytest.approx(-table["high"].to_numpy())
    assert reverse["p"].tolist() == table["p"].tolist()


def test_several_seeds_are_compared_by_their_mean_scores_on_the_same_resamples():
    a, b = [skilled(2), skilled(3), skilled(4)], [skilled(5), skilled(6)]
    labels = a[0]["label"]
    a, b = ([frame.assign(label=labels) for frame in side] for side in (a, b))
    table = metrics.compare(a, b, resamples=100, seed=5)
    scores = [[metrics.score(frame, resamples=0)["f1_macro"] for frame in side] for side in (a, b)]
    assert table["difference"].to_numpy() == pytest.approx((sum(scores[0]) / 3 - sum(scores[1]) / 2).to_numpy())
    subjects = sorted(labels.groupby(a[0]["subject"]).size().index)
    naive = []
    for draw in np.random.default_rng(5).multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), 100):
        means = []
        for side in (a, b):
            drawn = [
                pd.concat(frame[frame["subject"] == s].assign(clip_id=lambda f, k=k: f["clip_id"] + f"/{k}")
                          for s, n in zip(subjects, draw, strict=True) for k in range(n))
                for frame in side
            ]  # fmt: skip
            means.append(np.mean([metrics.score(frame, resamples=0).loc["mean", "f1_macro"] for frame in drawn]))
        naive.append(means[0] - means[1])
    ends = np.quantile(naive, [0.025, 0.975])
    assert table.loc["mean", ["low", "high"]].tolist() == pytest.approx(list(ends))
    with pytest.raises(ValueError, match="its label differs"):
        metrics.compare(a, [b[0], b[1].assign(label=1 - labels)])


def test_a_clear_difference_is_supported_and_a_chance_one_is_not():
    labels = skilled(2)["label"]
    good, other = (skilled(2).assign(probability=p) for p in (0.2 + 0.6 * labels, skilled(3)["probability"]))
    assert metrics.compare(good, other, resamples=200)["supported"].all()
    # Two methods of equal skill: "supported" about once in twenty, and as often in either direction.
    rng = np.random.default_rng(0)
    noise = [skilled(2).assign(probability=rng.random(len(labels))) for _ in range(300)]
    tables = [metrics.compare(a, b, resamples=200).loc["mean"] for a, b in zip(noise[::2], noise[1::2], strict=True)]
    signs = [row["supported"] * np.sign(row["difference"]) for row in tables]
    assert 0.01 <= np.mean(np.abs(signs)) <= 0.11  # of 150; percentile intervals of 26 subjects are a little narrow
    assert abs(np.mean(signs)) <= 0.06


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f[f["clip_id"] != "d/s1/c1"], "clip d/s1/c1: predicted in the first of two runs only"),
        (lambda f: f[f["au"] != "AU2"], "AU AU2: predicted in the first"),
        (lambda f: f.assign(label=1 - f["label"]), "clip d/s0/c0, AU1: its label differs"),
        (lambda f: f.assign(subject="x", fold=f["subject"]), "clip d/s0/c0: subject s0 in one of two runs, x in"),
        (lambda f: f.assign(fold="x"), "clip d/s0/c0: fold s0 in one of two runs, x in"),
    ],
)
def test_runs_of_other_samples_are_not_compared(change, message):
    frame = predictions([[1, 0], [0, 1], [1, 1]], np.full((3, 2), 0.5))
    with pytest.raises(ValueError, match=message):
        metrics.compare(frame, change(frame))
    with pytest.raises(ValueError, match=message):
        metrics.over_seeds([frame, change(frame)])


def test_an_unknown_measure_is_refused():
    frame = predictions([[1, 0], [0, 1]], np.full((2, 2), 0.5))
    with pytest.raises(ValueError, match="measure='accuracy'"):
        metrics.compare(frame, frame, measure="accuracy")


def test_an_undefined_au_is_undefined_in_a_comparison():
    frame = predictions([[1, 0], [0, 0], [1, 0]], np.full((3, 2), 0.9))
    table = metrics.compare(frame, frame, resamples=50)
    assert table.loc["AU2", ["difference", "low", "high", "p"]].isna().all()
    assert not table.loc["AU2", "supported"]
    assert table.loc["mean", "p"] == 1
    assert metrics.holm(table["p"]).isna().tolist() == [False, True, False]


def test_the_mean_over_subjects_is_that_of_scikit_learn():
    frame = skilled(4, subjects=10, clips=3)
    table = metrics.per_subject_mean(frame)
    for au, of_au in frame.groupby("au"):
        parts = [(part["label"], (part["probability"] >= 0.5).astype(int)) for _, part in of_au.groupby("subject")]
        assert table.loc[au, "f1"] == pytest.approx(np.mean([f1_score(y, p, zero_division=0) for y, p in parts]))
        macro = [f1_score(y, p, average="macro", zero_division=0) for y, p in parts]
        assert table.loc[au, "f1_macro"] == pytest.approx(np.mean(macro))
        assert table.loc[au, "one_class"] == sum(len(set(y)) == 1 for y, _ in parts)
    assert (table["subjects"] == 10).all()


def test_the_mean_over_subjects_misleads():
    """An AU that one of ten subjects shows: silence scores 90 % by subject, and 47.4 % when pooled."""
    labels = np.array([[int(i < 5)] for i in range(50)])
    silent = predictions(labels, np.zeros((50, 1)), [f"s{i // 5}" for i in range(50)])
    assert metrics.per_subject_mean(silent).loc["AU1", "f1_macro"] == pytest.approx(0.9)
    assert metrics.score(silent, resamples=0).loc["AU1", "f1_macro"] == pytest.approx(0.5 * 90 / 95)


def test_seeds_are_summed_up():
    labels = skilled(0)["label"]
    frames = [skilled(0).assign(probability=skilled(seed)["probability"], label=labels) for seed in range(3)]
    table = metrics.over_seeds(frames, policy="test-tuned", resamples=10)
    each = [metrics.score(frame, policy="test-tuned", resamples=0) for frame in frames]
    for name in ("f1", "f1_macro"):
        values = np.array([one[name] for one in each])
        for what, want in (("mean", values.mean(0)), ("std", values.std(0, ddof=1)), ("min", values.min(0))):
            assert table[f"{name}_{what}"].to_numpy() == pytest.approx(want)
    assert list(table.index) == list(each[0].index)
    assert metrics.over_seeds(frames[:1])["f1_std"].isna().all()
    with pytest.raises(ValueError, match="one frame a seed"):
        metrics.over_seeds([])


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """The truth is the score of very many subjects; 200 samples of 26 of them, 95 % intervals."""
    truth = metrics.score(skilled(1000, subjects=3000), resamples=0).loc["mean", "f1_macro"]
    tables = [metrics.score(skilled(seed), resamples=200).loc["mean"] for seed in range(200)]
    covered = np.mean([row["f1_macro_low"] <= truth <= row["f1_macro_high"] for row in tables])
    # Percentile intervals of 26 units fall a little short of 95 %; the standard error of 200 draws is 1.5 %.
    assert 0.88 <= covered <= 0.99


def test_without_resamples_or_with_one_subject_there_is_no_interval():
    frame = predictions([[1, 0], [0, 1], [1, 1]], np.full((3, 2), 0.5))
    assert metrics.score(frame, resamples=0)[["f1_low", "f1_macro_high"]].isna().all(axis=None)
    alone = frame.assign(subject="a")
    assert metrics.score(alone)[["f1_low", "f1_macro_high"]].isna().all(axis=None)
    assert metrics.compare(alone, alone)["p"].isna().all()
