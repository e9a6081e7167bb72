"""Scores from stored probabilities: both F1s in use, precision, recall, ranking, intervals and comparisons.

The paper words its measure as the F1 of Eq. 5, averaged over AUs; its released script, like the LED baseline, takes for
each AU the mean of the F1 of "present" and the F1 of "absent" (two-class macro F1). Both are given, always from
predictions that are pooled over folds: a mean of per-subject F1s would average over folds that hold one class.
``thresholds`` says where the threshold comes from, and ``bootstrap`` what an interval means.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pandas as pd

from aullm_lib.metrics import bootstrap
from aullm_lib.metrics.f1 import f1
from aullm_lib.metrics.predictions import Arrays
from aullm_lib.metrics.thresholds import limits, on_grid, tuned

COUNTS = ["TP", "FP", "FN", "TN"]
SCORES = ["f1", "f1_macro"]
RANKS = ["roc_auc", "average_precision"]
MEASURES = [*SCORES, "precision", "recall", *RANKS]


def score(
    predictions: pd.DataFrame, threshold: float = 0.5, *, policy: str = "fixed", resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Scores pooled over folds, with 95 % percentile bootstrap intervals over subjects.

    Args:
        predictions: One row per (clip, AU), such as ``Run.predictions()``; see ``predictions.COLUMNS``.
        threshold: An AU is predicted present where its probability is at least this; for "fixed" only.
        policy: Where the threshold comes from; see ``thresholds.chosen``.
        resamples: Bootstrap resamples; 0 gives no intervals.
        seed: Of the resamples.

    Returns:
        One row per AU and the row "mean" (unweighted, over the AUs where the measure is defined). Columns, 0 to 1:
        ``f1`` (Eq. 5), ``f1_macro`` (two-class), ``precision``, ``recall``, and without a threshold ``roc_auc`` and
        ``average_precision``, each with ``_low`` and ``_high``; then TP, FP, FN, TN, summed in the last row. All are
        NaN for an AU without a positive, ``f1_macro`` and ``roc_auc`` also for one without a negative; precision is 0
        where no clip is predicted present. Intervals are NaN for one subject; the mean's is over resamples that hold
        every AU.

        With "nested" the thresholds belong to a fold's predictor, and resamples keep them. With "test-tuned" every
        resample is tuned anew: the interval shows how much a tuned number varies, and is as biased upwards.

    Raises:
        ValueError: As ``thresholds.chosen``; a negative number of resamples.
    """
    arrays = Arrays.of(predictions)
    (point,), (counts,) = _scores(arrays, policy, threshold, np.ones((1, len(arrays.subjects))))
    drawn, _ = _scores(arrays, policy, threshold, bootstrap.draws(len(arrays.subjects), resamples, seed))
    resampled = bootstrap.with_mean(drawn, over=~np.isnan(point))
    return table(arrays.aus, bootstrap.with_mean(point), resampled, counts.astype(int))


def compare(
    a: pd.DataFrame | Sequence[pd.DataFrame], b: pd.DataFrame | Sequence[pd.DataFrame], *, measure: str = "f1_macro",
    policy: str = "fixed", threshold: float = 0.5, resamples: int = 10_000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """The paired difference between two methods on the same clips and folds.

    Args:
        a: Predictions of the first method; or several, one per seed, whose scores are averaged.
        b: Those of the second, of the same clips, subjects, folds, AUs and labels.
        measure: One of MEASURES.
        policy: As ``score``, for both; so are threshold, resamples and seed.

    Returns:
        One row per AU and the row "mean": ``difference`` (a - b, -1 to 1), ``low`` and ``high`` (95 % percentile
        interval over subjects; both methods on the same resamples), ``p`` (``bootstrap.p_value``; correct several with
        ``holm``), ``supported`` (the interval excludes 0). NaN and not supported where the measure is undefined.

    Raises:
        ValueError: As ``score``; an unknown measure; the first AU, clip, subject, fold or label that differs.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r}: expected one of {MEASURES}")
    sides = [[Arrays.of(frame) for frame in ([x] if isinstance(x, pd.DataFrame) else x)] for x in (a, b)]
    (first, *_), k, ranked = sides[0], MEASURES.index(measure), measure in RANKS
    for side in chain(*sides):
        first.same_samples(side)

    def mean(side: list[Arrays], weights: np.ndarray) -> np.ndarray:
        scores = [_scores(seed, policy, threshold, weights, ranked=ranked)[0][..., k : k + 1] for seed in side]
        return np.mean(scores, axis=0)

    subjects = len(first.subjects)
    (point, drawn) = (
        mean(sides[0], weights) - mean(sides[1], weights)
        for weights in (np.ones((1, subjects)), bootstrap.draws(subjects, resamples, seed))
    )  # 1 a 1, r a 1
    difference = bootstrap.with_mean(point)[0, :, 0]  # a + 1
    resampled = bootstrap.with_mean(drawn, over=~np.isnan(point[0]))[..., 0]  # r a + 1
    low, high = bootstrap.interval(resampled)
    return pd.DataFrame(
        {
            "difference": difference, "low": low, "high": high, "p": bootstrap.p_value(resampled),
            "supported": (low > 0) | (high < 0),
        },
        index=pd.Index([*first.aus, "mean"], name="au"),
    )  # fmt: skip


def per_subject_mean(predictions: pd.DataFrame, threshold: float = 0.5, *, policy: str = "fixed") -> pd.DataFrame:
    """The mean over subjects of each subject's own F1s, which misleads; for comparison with other papers only.

    Most subjects never show a given AU. Their F1 of "present" is 0 whatever is predicted, and their macro F1, which
    scikit-learn takes over the classes that occur, is 1 without a false alarm and at most 0.5 with one. The mean then
    says how many subjects hold one class rather than how well the AU is detected.

    Args:
        predictions: As ``score``; so are threshold and policy.

    Returns:
        One row per AU and the row "mean": ``f1``, ``f1_macro`` (0 to 1, NaN for an AU without a positive),
        ``subjects``, ``one_class`` (how many subjects hold one class of the AU).

    Raises:
        ValueError: As ``score``.
    """
    arrays = Arrays.of(predictions)
    counts = arrays.by_subject(arrays.probability >= limits(arrays, policy, threshold)[arrays.fold])  # s a 4
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    present, absent = (2 * right / np.maximum(2 * right + fp + fn, 1) for right in (tp, tn))
    classes = (tp + fp + fn > 0).astype(int) + (tn + fp + fn > 0)  # the F1 of a class that never occurs is 0 above
    scores = np.stack([present, (present + absent) / classes], -1).mean(0)  # a 2
    scores[~arrays.label.any(0)] = np.nan
    one_class = ((tp + fn == 0) | (tn + fp == 0)).sum(0)  # a
    index = pd.Index([*arrays.aus, "mean"], name="au")
    out = pd.DataFrame(bootstrap.with_mean(scores), index=index, columns=pd.Index(SCORES))
    return out.assign(subjects=len(arrays.subjects), one_class=[*one_class, one_class.mean()])


def over_seeds(predictions: Sequence[pd.DataFrame], **options: Any) -> pd.DataFrame:
    """The spread over trainings that differ in their seed.

    Args:
        predictions: One table per seed, of the same clips.
        **options: Of ``score``.

    Returns:
        One row per AU and the row "mean" (of each seed's mean over AUs): ``f1_mean``, ``f1_std`` (n - 1; NaN for one
        seed), ``f1_min``, ``f1_max``, the same for ``f1_macro``, and ``seeds``.

    Raises:
        ValueError: As ``score``; no predictions; the first sample in which two seeds differ.
    """
    if not len(predictions):
        raise ValueError("no predictions: expected one frame a seed")
    first, *others = [Arrays.of(frame) for frame in predictions]
    for other in others:
        first.same_samples(other)
    tables = [score(frame, **options | {"resamples": 0})[SCORES] for frame in predictions]  # no interval is shown
    out = pd.concat(tables).groupby(level="au", sort=False).agg(["mean", "std", "min", "max"])
    out.columns = pd.Index([f"{name}_{statistic}" for name, statistic in out.columns])
    return out.assign(seeds=len(tables))


def table(aus: Sequence[str], point: np.ndarray, resampled: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
    """The table of ``score`` from measures [a + 1, 6], the same per resample [r, a + 1, 6], and counts [a, 4]."""
    low, high = bootstrap.interval(resampled)
    out = pd.DataFrame(index=pd.Index([*aus, "mean"], name="au"))
    for i, name in enumerate(MEASURES):
        out[name], out[f"{name}_low"], out[f"{name}_high"] = point[:, i], low[:, i], high[:, i]
    out[COUNTS] = np.vstack([counts, counts.sum(0)])
    return out


def decided(counts: np.ndarray) -> np.ndarray:
    """Confusion counts [..., 4] -> both F1s, precision, recall [..., 4]; NaN without a positive."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    # Precision is 0 where nothing is predicted present: undefined, it would drop a method's silent AUs from the mean.
    shares = [np.where(tp + fn > 0, tp / np.maximum(tp + other, 1), np.nan) for other in (fp, fn)]
    return np.concatenate([f1(counts), np.stack(shares, -1)], -1)


def _scores(
    arrays: Arrays, policy: str, threshold: float, weights: np.ndarray, *, ranked: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of subjects [r, s] -> MEASURES [r, a, 6] (without ``ranked`` the first 4) and counts [r, a, 4]."""
    limit = limits(arrays, policy, threshold)  # also raises for a policy that cannot be
    if policy == "test-tuned":
        counts = tuned(np.tensordot(weights, on_grid(arrays), 1))
    else:
        counts = np.tensordot(weights, arrays.by_subject(arrays.probability >= limit[arrays.fold]), 1)
    if not ranked:
        return decided(counts), counts
    clips = weights[:, arrays.subject].astype(float)  # r n
    ranks = [_ranked(arrays.probability[:, j], arrays.label[:, j], clips) for j in range(len(arrays.aus))]
    return np.concatenate([decided(counts), np.stack(ranks, 1)], -1), counts


def _ranked(probability: np.ndarray, label: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probabilities and labels [n] of one AU, weights of clips [r, n] -> ROC-AUC, average precision [r, 2].

    Clips of equal probability are one step of the curve. AUC is NaN without both classes, average precision without a
    positive.
    """
    order = np.argsort(-probability, kind="stable")
    last = np.flatnonzero(np.diff(probability[order], append=-1.0))  # g, the end of each run of equal probabilities
    w, true = weights[:, order], label[order]
    tp, fp = (np.cumsum(w * of, axis=1)[:, last] for of in (true, ~true))  # r g
    gained, cost = (np.diff(x, axis=1, prepend=0) for x in (tp, fp))
    positives, negatives = tp[:, -1], fp[:, -1]
    area = (cost * (tp - gained / 2)).sum(1) / np.maximum(positives * negatives, 1)
    precision = (gained * tp / np.maximum(tp + fp, 1)).sum(1) / np.maximum(positives, 1)
    area = np.where((positives > 0) & (negatives > 0), area, np.nan)
    return np.stack([area, np.where(positives > 0, precision, np.nan)], -1)
