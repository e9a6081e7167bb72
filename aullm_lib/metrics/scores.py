"""Scores from stored probabilities: both F1s in use, precision, recall, ranking, intervals, comparisons.

The paper words its measure as the F1 of Eq. 5 averaged over AUs; its released script, and the LED baseline, take for
each AU the mean of the F1 of "present" and the F1 of "absent" (two-class macro F1) on predictions pooled over all
folds. Both are given, always together, and always from pooled predictions: a mean of per-subject F1s would average
over folds that hold a single class. Where the threshold comes from is in ``thresholds``, what an interval means in
``intervals``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from aullm_lib.metrics import bootstrap
from aullm_lib.metrics.predictions import Arrays
from aullm_lib.metrics.thresholds import f1, limits, on_grid, tuned

COUNTS = ["TP", "FP", "FN", "TN"]
SCORES = ["f1", "f1_macro"]
RANKS = ["roc_auc", "average_precision"]
MEASURES = [*SCORES, "precision", "recall", *RANKS]


def decided(counts: np.ndarray) -> np.ndarray:
    """Confusion counts [..., 4] -> [..., 4]: both F1s, precision, recall; NaN where there is no positive."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    # Nothing said to be present: precision is 0, as in F1. Undefined, it would spare a method its silent AUs in a mean.
    shares = [np.where(tp + fn > 0, tp / np.maximum(tp + other, 1), np.nan) for other in (fp, fn)]
    return np.concatenate([f1(counts), np.stack(shares, -1)], -1)


def _ranked(probability: np.ndarray, label: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Probabilities and labels [n] of one AU, weights of clips [r, n] -> [r, 2]: ROC-AUC, average precision.

    Clips of equal probability are one step of the curve, whatever their order. AUC is NaN where a class is missing,
    average precision where there is no positive.
    """
    order = np.argsort(-probability, kind="stable")
    last = np.flatnonzero(np.diff(probability[order], append=-1.0))  # [g] the end of each run of equal probabilities
    w, true = weights[:, order], label[order]
    tp, fp = (np.cumsum(w * of, axis=1)[:, last] for of in (true, ~true))  # [r, g]
    gained, cost = (np.diff(x, axis=1, prepend=0) for x in (tp, fp))
    positives, negatives = tp[:, -1], fp[:, -1]
    area = (cost * (tp - gained / 2)).sum(1) / np.maximum(positives * negatives, 1)
    precision = (gained * tp / np.maximum(tp + fp, 1)).sum(1) / np.maximum(positives, 1)
    return np.stack(
        [
            np.where((positives > 0) & (negatives > 0), area, np.nan),
            np.where(positives > 0, precision, np.nan),
        ],
        -1,
    )


def _scores(
    arrays: Arrays, policy: str, threshold: float, weights: np.ndarray, *, ranked: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Weights of subjects [r, s] -> the MEASURES [r, a, 6] and the confusion counts [r, a, 4] of each resample.

    Without ``ranked`` only the first four measures.
    """
    taken = limits(arrays, policy, threshold)  # also raises for a policy that cannot be
    if policy == "test-tuned":
        counts = tuned(np.tensordot(weights, on_grid(arrays), 1))
    else:
        counts = np.tensordot(weights, arrays.by_subject(arrays.probability >= taken[arrays.fold]), 1)
    if not ranked:
        return decided(counts), counts
    clips = weights[:, arrays.subject].astype(float)  # [r, n]
    ranks = [_ranked(arrays.probability[:, j], arrays.label[:, j], clips) for j in range(len(arrays.units))]
    return np.concatenate([decided(counts), np.stack(ranks, 1)], -1), counts


def table(units: Sequence[str], point: np.ndarray, resampled: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
    """The table of ``score``: measures [a + 1, m], the same in each resample [r, a + 1, m], counts [a, 4]."""
    low, high = bootstrap.interval(resampled)
    out = pd.DataFrame(index=pd.Index([*units, "mean"], name="au"))
    for i, name in enumerate(MEASURES):
        out[name], out[f"{name}_low"], out[f"{name}_high"] = point[:, i], low[:, i], high[:, i]
    out[COUNTS] = np.vstack([counts, counts.sum(0)])
    return out


def score(
    predictions: pd.DataFrame, threshold: float = 0.5, *, policy: str = "fixed", resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Scores pooled over folds, a row an AU and the row "mean" (unweighted, over the AUs where it is defined).

    predictions: ``Run.predictions()``. policy: where the threshold comes from, ``thresholds.decide``; "fixed" takes
    ``threshold``, and an AU is said to be present where its probability is at least that.

    Columns, all from 0 to 1: ``f1`` (Eq. 5), ``f1_macro`` (two-class), ``precision``, ``recall``, ``roc_auc``,
    ``average_precision`` (these two look at no threshold), each with ``_low`` and ``_high``; then TP FP FN TN, clips,
    summed in the last row. NaN where an AU has no positive, and ``f1_macro`` and ``roc_auc`` also where it has no
    negative; precision is 0 where nothing was said to be present.

    The interval is the 95 % percentile bootstrap over subjects (the mean's over resamples that hold every AU); NaN for
    ``resamples=0`` or one subject. With "nested" the thresholds stay as they were chosen: they belong to a fold's
    predictor as its weights do. With "test-tuned" every resample is tuned anew on itself: the interval of a number
    that is tuned on the labels it is scored on. It shows how much such a number varies; it does not take away that it
    is too high. Raises ValueError as ``thresholds.decide``.
    """
    arrays = Arrays.of(predictions)
    (point,), (counts,) = _scores(arrays, policy, threshold, np.ones((1, len(arrays.subjects))))
    drawn, _ = _scores(arrays, policy, threshold, bootstrap.draws(len(arrays.subjects), resamples, seed))
    resampled = bootstrap.with_mean(drawn, over=~np.isnan(point))
    return table(arrays.units, bootstrap.with_mean(point), resampled, counts.astype(int))


def compare(
    a: pd.DataFrame, b: pd.DataFrame, *, measure: str = "f1_macro", policy: str = "fixed", threshold: float = 0.5,
    resamples: int = 10_000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """How much better a is than b on the same clips and folds: a row an AU and the row "mean".

    a, b: predictions of two methods. measure: one of MEASURES. policy, threshold: as ``score``, for both.

    Columns: ``difference`` (a - b, from -1 to 1), ``low`` and ``high`` (95 % percentile interval of the difference,
    paired: both methods on the same resampled subjects), ``p`` (two-sided, ``intervals.p_value``; at least
    2 / (resamples + 1); correct a table of them with ``holm``), ``supported`` (whether the interval leaves 0 out). NaN,
    and not supported, where the measure is undefined. Raises ValueError: as ``score``; an unknown measure; the first
    AU, clip, subject, fold or label in which the two differ.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r}: expected one of {MEASURES}")
    sides = Arrays.of(a), Arrays.of(b)
    sides[0].same_samples(sides[1])
    one, k, ranked = sides[0], MEASURES.index(measure), measure in RANKS
    everyone, weights = np.ones((1, len(one.subjects))), bootstrap.draws(len(one.subjects), resamples, seed)
    points, drawn = (
        [_scores(side, policy, threshold, w, ranked=ranked)[0] for side in sides] for w in (everyone, weights)
    )
    point = bootstrap.with_mean(points[0] - points[1])[0, :, k]  # [a + 1]
    resampled = bootstrap.with_mean(drawn[0] - drawn[1], over=~np.isnan(points[0][0]))[..., k]  # [r, a + 1]
    low, high = bootstrap.interval(resampled)
    return pd.DataFrame(
        {
            "difference": point, "low": low, "high": high, "p": bootstrap.p_value(resampled),
            "supported": (low > 0) | (high < 0),
        },
        index=pd.Index([*one.units, "mean"], name="au"),
    )  # fmt: skip


def per_subject_mean(predictions: pd.DataFrame, threshold: float = 0.5, *, policy: str = "fixed") -> pd.DataFrame:
    """The mean over subjects of each subject's own F1s. For comparison with other papers only: it misleads.

    Most subjects never show a given AU. There "present" has nothing to find and its F1 is 0 whatever the predictor
    does, while two-class macro F1, taken as scikit-learn takes it over the classes that occur, is 1 for a predictor
    that stays silent and at most 0.5 for one false alarm. The mean then says how many subjects hold one class rather
    than how well the AU is detected, and the same predictions score several points higher or lower than pooled.

    Columns ``f1``, ``f1_macro`` (0 to 1, NaN for an AU without a positive), ``subjects``, ``one_class`` (of those, how
    many hold one class of the AU; in the row "mean" their mean). Raises as ``score``.
    """
    arrays = Arrays.of(predictions)
    said = arrays.probability >= limits(arrays, policy, threshold)[arrays.fold]
    counts = arrays.by_subject(said)  # [s, a, 4]
    tp, fp, fn, tn = np.moveaxis(counts, -1, 0)
    wrong = fp + fn
    present, absent = (2 * right / np.maximum(2 * right + wrong, 1) for right in (tp, tn))
    classes = (tp + wrong > 0).astype(int) + (tn + wrong > 0)  # one of a class that never occurs adds 0 above
    scores = np.stack([present, (present + absent) / classes], -1).mean(0)  # [a, 2]
    scores[~arrays.label.any(0)] = np.nan
    single = ((tp + fn == 0) | (tn + fp == 0)).sum(0)  # [a]
    out = pd.DataFrame(
        bootstrap.with_mean(scores), index=pd.Index([*arrays.units, "mean"], name="au"), columns=pd.Index(SCORES)
    )
    return out.assign(subjects=len(arrays.subjects), one_class=[*single, single.mean()])


def over_seeds(predictions: Sequence[pd.DataFrame], **options: Any) -> pd.DataFrame:
    """The spread over trainings that differ in their seed: a row an AU and the row "mean".

    predictions: one frame a seed, of the same clips. options: ``score``'s. Columns ``f1_mean``, ``f1_std`` (n - 1; NaN
    for one seed), ``f1_min``, ``f1_max``, the same for ``f1_macro``, and ``seeds``. In the row "mean" they are of each
    seed's mean over AUs. Raises ValueError: none given; as ``score``; the first sample in which two seeds differ.
    """
    if not len(predictions):
        raise ValueError("no predictions: expected one frame a seed")
    sides = [Arrays.of(frame) for frame in predictions]
    for side in sides[1:]:
        sides[0].same_samples(side)
    tables = [score(frame, **options | {"resamples": 0})[SCORES] for frame in predictions]  # no interval is shown
    out = pd.concat(tables).groupby(level="au", sort=False).agg(["mean", "std", "min", "max"])
    out.columns = pd.Index([f"{name}_{what}" for name, what in out.columns])
    return out.assign(seeds=len(tables))
