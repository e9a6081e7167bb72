"""Scores against scikit-learn, a naive bootstrap, jackknife and swap test, and constants of the label counts."""

import tracemalloc
from itertools import product

import numpy as np
import pandas as pd
import pytest
from helpers import naive_f1
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from aullm_lib import facs, metrics
from aullm_lib.metrics import scores, thresholds

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


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 40), st.integers(1, 4), st.floats(0.05, 0.95), st.sampled_from((1, 2, 16)))
def test_equal_to_scikit_learn(seed, clips, aus, threshold, ties):
    rng = np.random.default_rng(seed)
    labels, scores = rng.integers(0, 2, (clips, aus)), rng.random((clips, aus)).round(ties)
    labels[0], labels[1] = 1, 0
    table = metrics.score(predictions(labels, scores), threshold, interval="none")
    present = (scores >= threshold).astype(int)
    for j in range(aus):
        row = table.loc[AUS[j]]
        assert row["f1"] == pytest.approx(f1_score(labels[:, j], present[:, j], zero_division=0), abs=1e-15)
        macro = f1_score(labels[:, j], present[:, j], average="macro", labels=[0, 1], zero_division=0)
        assert row["f1_macro"] == pytest.approx(macro, abs=1e-15)
        assert naive_f1(labels[:, j], present[:, j]) == pytest.approx((row["f1"], macro), abs=1e-15)
        for name, reference in (("precision", precision_score), ("recall", recall_score)):
            assert row[name] == pytest.approx(reference(labels[:, j], present[:, j], zero_division=0), abs=1e-15)
        for name, reference in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
            # Last digits: scikit-learn adds the same areas in another order.
            assert row[name] == pytest.approx(reference(labels[:, j], scores[:, j]), abs=2e-15)
        tn, fp, fn, tp = confusion_matrix(labels[:, j], present[:, j], labels=[0, 1]).ravel()
        assert row[["TP", "FP", "FN", "TN"]].tolist() == [tp, fp, fn, tn]
    for name in metrics.MEASURES:
        assert table.loc["mean", name] == pytest.approx(table[name][:-1].mean())


def test_bootstrap_intervals_equal_naive_ones_over_subjects():
    rng = np.random.default_rng(3)
    labels, scores = rng.integers(0, 2, (30, 2)), rng.random((30, 2))
    frame = predictions(labels, scores, [f"s{i // 5}" for i in range(30)])
    table = metrics.score(frame, interval="bootstrap", resamples=100, seed=7)
    draws = np.random.default_rng(7).multinomial(6, np.full(6, 1 / 6), 100)
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
    frame = predictions(labels, scores, [f"s{i // 2}" for i in range(16)])
    table = metrics.score(frame, interval="bootstrap")
    assert table.loc["AU1", "f1_macro"] == 1
    assert table.loc["mean", "f1_macro_high"] < 0.75 + 1e-9
    assert table.loc["mean", "f1_high"] == 0.5
    assert np.isnan(metrics.score(frame).loc["mean", "f1_high"])


def test_macro_f1_without_a_negative_is_undefined():
    table = metrics.score(predictions(np.ones((4, 1), int), np.full((4, 1), 0.9)))
    assert table.loc["AU1", "f1"] == 1
    assert table.loc["AU1", ["f1_macro", "roc_auc"]].isna().all()


@given(st.integers(0, 10**6), st.sampled_from(list(thresholds.POLICIES)))
@settings(max_examples=20)
def test_neither_the_order_of_rows_nor_the_names_of_subjects_matter(seed, policy):
    rng = np.random.default_rng(seed)
    frame = predictions(rng.integers(0, 2, (21, 3)), rng.random((21, 3)).round(1), [f"s{i % 7}" for i in range(21)])
    want = metrics.score(frame, policy=policy)
    shuffled = frame.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(metrics.score(shuffled, policy=policy), want)
    renamed = frame.assign(subject=frame["subject"].map({f"s{i}": f"s{(5 * i + 1) % 7}" for i in range(7)}))
    pd.testing.assert_frame_equal(metrics.score(renamed, policy=policy), want)


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
    table = metrics.score(frame, policy="test-tuned", interval="bootstrap", resamples=50, seed=3)
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
        naive.append([max(naive_f1(y[:, j], p[:, j] >= t)[1] for t in thresholds.GRID) for j in range(2)])
    assert table["f1_macro"].to_numpy()[:2] == pytest.approx(naive[0])
    assert table["f1_macro_low"].to_numpy()[:2] == pytest.approx(np.quantile(naive[1:], 0.025, axis=0))
    assert table["f1_macro_high"].to_numpy()[:2] == pytest.approx(np.quantile(naive[1:], 0.975, axis=0))


@pytest.mark.parametrize("policy", thresholds.POLICIES)
@pytest.mark.parametrize("measure", metrics.MEASURES)
def test_a_method_does_not_differ_from_itself(policy, measure):
    frame = skilled(1, subjects=6)
    table = metrics.compare(frame, frame.sample(frac=1, random_state=0), measure=measure, policy=policy)
    assert (table[["difference", "low", "high", "detectable"]] == 0).all(axis=None)
    assert (table["p"] == 1).all()


def naive_scores(measure, policy, frame):
    """A measure per AU, and their mean."""
    out = []
    for au in sorted(set(frame["au"])):
        y, p, limit = (frame.loc[frame["au"] == au, name].to_numpy() for name in ("label", "probability", "threshold"))
        if policy == "test-tuned":
            out.append(max(naive_f1(y, p >= t)[1] for t in thresholds.GRID))
        elif measure in metrics.SCORES:
            out.append(naive_f1(y, p >= limit)[metrics.SCORES.index(measure)])
        elif measure == "roc_auc":
            above, tied = (np.mean(compare.outer(p[y == 1], p[y == 0])) for compare in (np.greater, np.equal))
            out.append(above + tied / 2)
        else:
            out.append(np.mean([np.sum(p[y == 1] >= t) / np.sum(p >= t) for t in p[y == 1]]))
    return np.array([*out, np.mean(out)])


@pytest.mark.parametrize(
    ("measure", "policy"),
    [("f1_macro", "fixed"), ("f1_macro", "nested"), ("f1_macro", "test-tuned"), ("f1", "fixed"),
     ("roc_auc", "fixed"), ("average_precision", "fixed")],
)  # fmt: skip
def test_a_comparison_equals_a_naive_jackknife_and_naive_swaps(measure, policy):
    """Two seeds of each method; subjects are left out, and swapped, whole and in both seeds at once."""
    labels = (np.random.default_rng(0).random((36, 2)) < 0.4).astype(int)
    subjects = [f"s{i // 6}" for i in range(36)]
    rng = np.random.default_rng(1)
    a, b = (
        [predictions(labels, np.clip(rng.random(labels.shape) + gain * labels, 0, 1), subjects) for _ in range(2)]
        for gain in (0.3, 0.1)
    )
    sides = [a, b]
    if measure in metrics.RANKS:  # methods of different scales
        for frame in sides[1]:
            frame["probability"] = frame["probability"] ** 3
        ranked = [[f.assign(probability=f.groupby("au")["probability"].rank()) for f in side] for side in sides]
    else:
        ranked = sides

    def difference(swapped=(), without=()):
        def score(one, other):
            mixed = pd.concat([one[~one["subject"].isin(swapped)], other[other["subject"].isin(swapped)]])
            mixed = mixed[~mixed["subject"].isin(without)]
            limits = thresholds.chosen(frame, policy) if measure in metrics.RANKS else thresholds.chosen(mixed, policy)
            limits = limits.rename_axis("subject").melt(var_name="au", value_name="threshold", ignore_index=False)
            return naive_scores(measure, policy, mixed.merge(limits.reset_index()))

        return np.array([score(one, two) - score(two, one) for one, two in zip(*ranked, strict=True)])

    got = metrics.compare(*sides, measure=measure, policy=policy)
    names, seeds = sorted(set(subjects)), difference()
    point = seeds.mean(0)
    assert got["difference"].to_numpy() == pytest.approx(point)
    every = [difference([n for n, k in zip(names, row, strict=True) if k]).mean(0) for row in product((0, 1), repeat=6)]
    if policy == "fixed":
        left_out = np.array([difference(without=[name]).mean(0) for name in names])
        error = np.sqrt(5 / 6 * ((left_out - left_out.mean(0)) ** 2).sum(0))
    else:
        error = np.sqrt(np.maximum(0, 6 / 5 * (np.mean(np.square(every), 0) - point**2 / 6)))
    assert (got["high"] - point).to_numpy() == pytest.approx(2.570582 * error)  # Student's t, 5 degrees of freedom
    assert (point - got["low"]).to_numpy() == pytest.approx(2.570582 * error)
    assert got["detectable"].to_numpy() == pytest.approx((2.570582 + 0.919544) * error)  # and its 80 % quantile
    assert got["p"].to_numpy() == pytest.approx((np.abs(every) >= np.abs(point) - 1e-9).mean(0))
    turned = metrics.compare(*sides[::-1], measure=measure, policy=policy)
    assert turned["p"].to_numpy() == pytest.approx(got["p"].to_numpy())
    assert turned["low"].to_numpy() == pytest.approx(-got["high"].to_numpy())


def test_one_seed_against_several_is_refused_and_so_are_other_labels():
    a, b = skilled(2), skilled(3).assign(label=skilled(2)["label"])
    with pytest.raises(ValueError, match="2 seeds of one method and 1 of the other"):
        metrics.compare([a, b], b)
    with pytest.raises(ValueError, match="its label differs"):
        metrics.compare([a, b], [b, b.assign(label=1 - b["label"])])


def test_a_training_that_serves_all_subjects_is_tested_with_the_variance_of_its_seeds():
    """The same method, whose skill depends on the training: swaps alone would tell it from itself."""
    frame, rng = skilled(3, subjects=12).assign(fold="all"), np.random.default_rng(0)
    logit = np.log(frame["probability"] / (1 - frame["probability"]))

    def trained():
        better = logit + rng.normal(0, 0.8) * (2 * frame["label"] - 1)
        return frame.assign(probability=1 / (1 + np.exp(-better)))

    p, alone = [], []
    for _ in range(40):
        a, b = ([trained() for _ in range(3)] for _ in range(2))
        p.append(metrics.compare(a, b).loc["mean", "p"])
        alone.append(metrics.compare(a[0], b[0]).loc["mean", "p"])
    assert np.mean(np.array(alone) < 0.05) > 0.3
    assert np.mean(np.array(p) < 0.05) < 0.15


def test_nested_thresholds_do_not_make_equal_methods_differ():
    """Folds share the luck of their thresholds: held fixed under swaps, p below 0.05 comes up about twice too often."""
    p = []
    for seed in range(150):
        labels = skilled(seed, subjects=8)["label"]
        a, b = (skilled(seed + 1000 * k, subjects=8).assign(label=labels) for k in (1, 2))
        p.append(metrics.compare(a, b, policy="nested").loc["mean", "p"])
    assert np.mean(np.array(p) <= 0.05) <= 0.1  # of 150: the standard error is 1.8 %


def test_a_clear_difference_has_the_smallest_p():
    labels = skilled(2, subjects=10)["label"]
    good, other = (skilled(2, subjects=10).assign(probability=p) for p in (0.2 + 0.6 * labels, 0.5 - 0.01 * labels))
    assert metrics.compare(good, other).loc["mean", "p"] == 1 / 2**9


def test_two_methods_of_many_subjects_are_compared_by_drawn_patterns():
    a, b = skilled(2, subjects=20), skilled(3, subjects=20)
    b = b.assign(label=a["label"])
    exact = metrics.compare(a, b, draws=40_000).loc["mean", "p"]
    assert metrics.compare(a, b, draws=4_000).loc["mean", "p"] == pytest.approx(exact, abs=0.03)


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
    table = metrics.compare(frame, frame)
    assert table.loc["AU2", ["difference", "low", "high", "p"]].isna().all()
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
    assert metrics.score(silent, interval="none").loc["AU1", "f1_macro"] == pytest.approx(0.5 * 90 / 95)


def test_seeds_are_summed_up():
    labels = skilled(0)["label"]
    frames = [skilled(0).assign(probability=skilled(seed)["probability"], label=labels) for seed in range(3)]
    table = metrics.over_seeds(frames, policy="test-tuned")
    each = [metrics.score(frame, policy="test-tuned", interval="none") for frame in frames]
    for name in ("f1", "f1_macro"):
        values = np.array([one[name] for one in each])
        for what, want in (("mean", values.mean(0)), ("std", values.std(0, ddof=1)), ("min", values.min(0))):
            assert table[f"{name}_{what}"].to_numpy() == pytest.approx(want)
    assert list(table.index) == list(each[0].index)
    assert metrics.over_seeds(frames[:1])["f1_std"].isna().all()
    with pytest.raises(ValueError, match="one per seed"):
        metrics.over_seeds([])


def test_the_variance_of_seeds_is_in_the_interval_where_one_training_serves_all_subjects():
    one = skilled(4)
    rng = np.random.default_rng(0)
    seeds = [one.assign(probability=np.clip(one["probability"] + rng.normal(0, 0.2, len(one)), 0, 1)) for _ in range(3)]
    each, together = [metrics.score(frame) for frame in seeds], metrics.score(seeds)
    assert together["f1_macro"].to_numpy() == pytest.approx(np.mean([t["f1_macro"] for t in each], axis=0))
    assert together["TP"].to_numpy() == pytest.approx(np.mean([t["TP"] for t in each], axis=0))
    left_out = [
        [metrics.score(frame[frame["subject"] != s], interval="none").loc["mean", "f1_macro"] for frame in seeds]
        for s in sorted(set(one["subject"]))
    ]
    variance = 25 / 26 * ((np.mean(left_out, 1) - np.mean(left_out)) ** 2).sum()
    mean = together.loc["mean"]
    assert mean["f1_macro_high"] - mean["f1_macro"] == pytest.approx(2.059539 * np.sqrt(variance))  # 25 degrees
    across = metrics.score([frame.assign(fold="all") for frame in seeds]).loc["mean"]
    more = np.var([t.loc["mean", "f1_macro"] for t in each], ddof=1) / 3
    freedom = (variance + more) ** 2 / (variance**2 / 25 + more**2 / 2)
    reach = stats.t.ppf(0.975, freedom) * np.sqrt(variance + more)
    assert across["f1_macro_high"] - across["f1_macro"] == pytest.approx(reach)
    with pytest.raises(ValueError, match="no predictions"):
        metrics.score([])


def test_what_cannot_be_estimated_has_no_interval():
    frame = skilled(5, subjects=8, aus=2)
    assert metrics.score(frame).loc["AU1", "positive_subjects"] == frame[
        (frame["au"] == "AU1") & (frame["label"] == 1)]["subject"].nunique()  # fmt: skip
    rare = frame.assign(label=frame["label"].where((frame["au"] != "AU2") | frame["subject"].isin(["s01", "s02"]), 0))
    table = metrics.score(rare)
    assert table.loc["AU2", "positive_subjects"] == table.loc["mean", "positive_subjects"] == 2
    assert table.loc["AU2", ["f1_low", "roc_auc_high"]].isna().all()
    assert table.loc[["AU1", "mean"], ["f1_low", "roc_auc_high"]].notna().all(axis=None)
    silent = frame.assign(probability=frame["probability"].where(frame["au"] != "AU2", 0.0))
    table = metrics.score(silent)
    assert table.loc["AU2", ["f1_macro_low", "precision_low"]].isna().all()  # without a true positive
    assert table.loc["AU2", ["roc_auc_low"]].notna().all()
    few = frame[frame["subject"].isin([f"s{i:02}" for i in range(5)])]
    assert metrics.score(few)[["f1_low", "f1_macro_high"]].isna().all(axis=None)
    assert metrics.score(few, interval="bootstrap").loc["mean", ["f1_low", "f1_macro_high"]].notna().all()
    compared = metrics.compare(few, few.assign(probability=0.7))
    assert compared[["low", "high", "detectable"]].isna().all(axis=None)
    assert (compared["p"] >= 1 / 2**4).all()
    alone = frame[frame["subject"] == "s01"]
    assert metrics.score(alone)[["f1_low", "f1_macro_high"]].isna().all(axis=None)
    assert (metrics.compare(alone, alone)["p"].dropna() == 1).all()
    with pytest.raises(ValueError, match="interval='percentile'"):
        metrics.score(frame, interval="percentile")


@pytest.mark.parametrize("subjects", [10, 200])
def test_scores_without_a_threshold_are_counted_in_bounded_memory_and_give_the_same(monkeypatch, subjects):
    """300 clips, few or many of each subject; the curves of 20,000 resamples at once take 100 MB and more."""
    rng = np.random.default_rng(0)
    labels = rng.random((300, 2)) < 0.5
    frame = predictions(labels.astype(int), rng.random((300, 2)), [f"s{i % subjects:03}" for i in range(300)])
    other = frame.assign(probability=rng.random(600))

    def measured():
        tracemalloc.start()
        table = metrics.score(frame, interval="bootstrap", resamples=20_000)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        difference = metrics.compare(frame, other, measure="average_precision", draws=2000)
        return table.join(difference.add_prefix("compared_")), peak

    table, peak = measured()
    monkeypatch.setattr(scores, "PIECE", 10**9)
    whole, unbounded = measured()
    pd.testing.assert_frame_equal(table, whole, check_exact=True)
    assert unbounded - peak > 100 * 2**20
