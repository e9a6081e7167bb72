"""Scores from stored probabilities: both F1s in use, precision, recall, ranking, intervals and comparisons.

The paper words its measure as the F1 of Eq. 5, averaged over AUs; its released script, like the LED baseline, takes for
each AU the mean of the F1 of "present" and the F1 of "absent" (two-class macro F1). Both are given, always from
predictions that are pooled over folds: a mean of per-subject F1s would average over folds that hold one class.
``thresholds`` says where the threshold comes from, and ``significance`` what intervals and p values mean.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from aullm_lib.metrics import bootstrap, significance
from aullm_lib.metrics.f1 import f1, with_mean
from aullm_lib.metrics.predictions import Arrays
from aullm_lib.metrics.thresholds import best, limits, on_grid, tuned

COUNTS = ["TP", "FP", "FN", "TN"]
SCORES = ["f1", "f1_macro"]
RANKS = ["roc_auc", "average_precision"]
MEASURES = [*SCORES, "precision", "recall", *RANKS]
INTERVALS = ("jackknife", "bootstrap", "none")
DRAWS = 20_000
"""Patterns of swapped subjects where there are too many to try all."""
PIECE = 2**18
"""Numbers of one array while curves of many weights are summed up, about: some ten of them are in memory at once."""
FEWEST_POSITIVE = 3
"""Subjects with a positive below which an AU has no interval."""

Predictions: TypeAlias = pd.DataFrame | Sequence[pd.DataFrame]  # of one run, or of several that differ in their seed


def score(
    predictions: Predictions, threshold: float = 0.5, *, policy: str = "fixed", interval: str = "jackknife",
    resamples: int = 1000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Scores pooled over folds, with 95 % intervals over subjects.

    Args:
        predictions: One row per (clip, AU), such as ``Run.predictions()`` (see ``predictions.COLUMNS``); or several
            such tables of the same clips, one per seed, whose scores are averaged.
        threshold: An AU is predicted present where its probability is at least this; for "fixed" only.
        policy: Where the threshold comes from; see ``thresholds.chosen``.
        interval: "jackknife" leaves out one subject at a time (``significance.jackknife``; where one training serves
            all subjects, it carries the variance of seeds too), "bootstrap" gives percentiles, which are too narrow
            with few subjects, "none" none.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Returns:
        One row per AU and the row "mean" (unweighted, over the AUs where the measure is defined). Columns, 0 to 1:
        ``f1`` (Eq. 5), ``f1_macro`` (two-class), ``precision``, ``recall``, and without a threshold ``roc_auc`` and
        ``average_precision``, each with ``_low`` and ``_high``; then TP, FP, FN, TN (means over seeds), summed in the
        last row, and ``positive_subjects``, in how many subjects the AU occurs, the fewest in the last row. Clips in
        which it is unknown whether an AU occurs (a missing label) are in none of its counts and scores. All are
        NaN for an AU without a positive, ``f1_macro`` and ``roc_auc`` also for one without a negative; precision is 0
        where no clip is predicted present. Of pooled folds the level of ``roc_auc`` without knowledge of a clip is not
        0.5 but below it: that of "training base rate" in ``trivial``.

        There is no interval (NaN) with fewer than six subjects, of an AU with positives in fewer than three, and of
        decisions without a true positive: that would tell how label counts vary, and nothing else. The mean has none
        where leaving out one subject leaves an AU undefined. (Intervals of single rare AUs are a little too narrow.)

        With "nested" the thresholds belong to a fold's predictor and stay with it. With "test-tuned" they are tuned
        anew without each subject: the interval shows how much a tuned number varies, and is as biased upwards.

    Raises:
        ValueError: As ``thresholds.chosen``; an unknown ``interval``; a negative number of resamples; no table, or the
            first sample in which two seeds differ.
    """
    if interval not in INTERVALS:
        raise ValueError(f"interval={interval!r}: expected one of {list(INTERVALS)}")
    runs = _runs(predictions, policy, threshold)
    first, subjects = runs[0].arrays, len(runs[0].arrays.subjects)

    def scored(weights: np.ndarray) -> np.ndarray:  # r s -> k r a m
        return np.stack([_scores([(run, weights)])[0] for run in runs])

    everyone = np.ones((1, subjects))
    counts = np.mean([_scores([(run, everyone)], ranked=False)[1][0] for run in runs], axis=0)
    point = scored(everyone)[:, 0]  # k a m
    defined, of_seeds = ~np.isnan(point[0]), with_mean(point)
    spread = np.full((2, *of_seeds.shape[1:]), np.nan)
    if interval == "jackknife" and subjects >= significance.FEWEST:
        left_out = with_mean(scored(1 - np.eye(subjects)).mean(0), over=defined)
        spread = np.clip(significance.jackknife(of_seeds.mean(0), left_out, _shared(first, of_seeds))[:2], 0, 1)
    elif interval == "bootstrap":
        drawn = scored(bootstrap.draws(subjects, resamples, seed)).mean(0)
        spread = bootstrap.interval(with_mean(drawn, over=defined))
    positive = first.positive_subjects()
    if interval == "jackknife":
        decisions = np.arange(len(MEASURES)) < MEASURES.index("roc_auc")
        silent = (positive < FEWEST_POSITIVE)[:, None] | (counts[:, :1] == 0) & decisions  # a m
        spread[:, :-1][:, silent] = np.nan
    out = table(first.aus, of_seeds.mean(0), spread, counts if len(runs) > 1 else counts.astype(int))
    return out.assign(positive_subjects=[*positive, positive.min()])


def compare(
    a: Predictions, b: Predictions, *, measure: str = "f1_macro", policy: str = "fixed", threshold: float = 0.5,
    draws: int = 0, per_seed: int = 1,
) -> pd.DataFrame:  # fmt: skip
    """The paired difference between two methods on the same clips and folds.

    Args:
        a: Predictions of the first method; or several, one per seed, whose scores are averaged before anything is
            tested.
        b: Those of the second, as many, of the same clips, subjects, folds, AUs and labels.
        measure: One of MEASURES.
        policy: As ``score``, for both; so is threshold.
        draws: Patterns of swapped subjects, where there are too many to try all (``significance.patterns``); by default
            DRAWS, and a tenth of them where thresholds are chosen anew for each.
        per_seed: How many tables in a row are of one seed. With 2, the first method being (A, b, A, b, ...) and the
            second (a, B, a, B, ...), the difference is half of the interaction (A - a) - (B - b).

    Returns:
        One row per AU and the row "mean": ``difference`` (a - b, -1 to 1); ``low`` and ``high``, its 95 % interval;
        ``p`` of the test that swaps whole subjects between the methods (correct several with ``holm``); ``detectable``,
        the smallest difference that one such test would find with a power of 80 %; ``freedom``, the interval's degrees
        of freedom; and ``subjects``. NaN where the measure is undefined.

        Thresholds of "nested" and "test-tuned" are chosen anew for each pattern of swaps, since folds share the luck of
        their choice; the variance of the difference is then that under swaps (``significance.swap_variance``), else
        the jackknife's. Where one training serves all subjects, as across domains, swaps do not know what varies with
        the seed: p of several seeds is then that of Student's t with the variance of seeds, where that is larger, and
        one seed speaks of this training only. For ``roc_auc`` and ``average_precision`` probabilities count by their
        rank within a method, which changes neither, so that methods of different scales can be swapped.

    Raises:
        ValueError: As ``score``; an unknown measure; more seeds on one side; the first AU, clip, subject, fold or label
            that differs.
    """
    if measure not in MEASURES:
        raise ValueError(f"measure={measure!r}: expected one of {MEASURES}")
    k, ranked = MEASURES.index(measure), measure in RANKS
    ones, twos = (_runs(side, policy, threshold, anew=True) for side in (a, b))
    if len(ones) != len(twos):
        raise ValueError(f"{len(ones)} seeds of one method and {len(twos)} of the other: expected as many of both")
    first, subjects = ones[0].arrays, len(ones[0].arrays.subjects)
    first.same_samples(twos[0].arrays)
    if ranked:
        ones, twos = ([run._replace(arrays=run.arrays.by_rank()) for run in runs] for runs in (ones, twos))

    def apart(own: np.ndarray, swapped: np.ndarray) -> np.ndarray:  # weights r s, twice -> k r a 1
        """The first minus the second, each with ``swapped`` of the other's subjects in the place of its own."""
        mixed = [
            [_scores([(run, own), (other, swapped)], ranked=ranked)[0][..., k : k + 1] for run, other in pair]
            for pair in (zip(ones, twos, strict=True), zip(twos, ones, strict=True))
        ]
        return np.subtract(*map(np.stack, mixed))

    everyone, nobody = np.ones((1, subjects)), np.zeros((1, subjects))
    of_seeds = apart(everyone, nobody)[:, 0]  # k a 1
    defined, of_seeds = ~np.isnan(of_seeds[0]), with_mean(of_seeds)[..., 0]  # a 1, k a+1
    of_seeds = of_seeds.reshape(-1, per_seed, of_seeds.shape[-1]).mean(1)
    point, seeds = of_seeds.mean(0), _shared(first, of_seeds)
    swaps = significance.blocks(significance.patterns(subjects, draws or (DRAWS if policy == "fixed" else DRAWS // 10)))
    swapped = with_mean(np.concatenate([apart(1.0 - block, 1.0 * block).mean(0) for block in swaps]))[..., 0]
    if policy == "fixed" or ranked:
        left_out = with_mean(apart(1 - np.eye(subjects), 0 * np.eye(subjects)).mean(0), over=defined)[..., 0]
        variance = (subjects - 1) * left_out.var(0)
    else:
        variance = significance.swap_variance(swapped, subjects)
    low, high, detectable = significance.student(point, variance, subjects, seeds)
    p = significance.p_value(swapped)
    if seeds is not None and len(seeds) > 1:
        p = np.fmax(p, significance.student_p(point, variance, subjects, seeds))
    freedom = significance.standard_error(variance, subjects, seeds)[1]
    out = {"difference": point, "low": low, "high": high, "p": p, "detectable": detectable, "freedom": freedom}
    frame = pd.DataFrame(out, index=pd.Index([*first.aus, "mean"], name="au"))
    rare = [*(first.positive_subjects() < FEWEST_POSITIVE), False]
    frame.loc[rare, ["low", "high", "detectable"]] = np.nan
    return frame.assign(subjects=subjects)


def _shared(arrays: Arrays, of_seeds: np.ndarray) -> np.ndarray | None:
    """The scores of seeds where one training serves several subjects.

    In leave-one-subject-out each subject has one of its own, whose luck is in what varies with the subjects.
    """
    return of_seeds if len(arrays.folds) < len(arrays.subjects) else None


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
    out = pd.DataFrame(with_mean(scores), index=index, columns=pd.Index(SCORES))
    return out.assign(subjects=len(arrays.subjects), one_class=[*one_class, one_class.mean()])


def over_seeds(predictions: Sequence[pd.DataFrame], **options: Any) -> pd.DataFrame:
    """The spread over trainings that differ in their seed.

    Args:
        predictions: One table per seed, of the same clips.
        **options: Of ``score``, but for its interval.

    Returns:
        One row per AU and the row "mean" (of each seed's mean over AUs): ``f1_mean``, ``f1_std`` (n - 1; NaN for one
        seed), ``f1_min``, ``f1_max``, the same for ``f1_macro``, and ``seeds``.

    Raises:
        ValueError: As ``score``; no predictions; the first sample in which two seeds differ.
    """
    score(predictions, **options, interval="none")  # raises for samples that differ
    tables = [score(frame, **options, interval="none")[SCORES] for frame in predictions]
    out = pd.concat(tables).groupby(level="au", sort=False).agg(["mean", "std", "min", "max"])
    out.columns = pd.Index([f"{name}_{statistic}" for name, statistic in out.columns])
    return out.assign(seeds=len(tables))


def table(aus: Sequence[str], point: np.ndarray, spread: np.ndarray, counts: np.ndarray) -> pd.DataFrame:
    """The table of ``score`` from measures [a + 1, 6], ends of their intervals [2, a + 1, 6], and counts [a, 4]."""
    out = pd.DataFrame(index=pd.Index([*aus, "mean"], name="au"))
    for i, name in enumerate(MEASURES):
        out[name], out[f"{name}_low"], out[f"{name}_high"] = point[:, i], *spread[..., i]
    out[COUNTS] = np.vstack([counts, counts.sum(0)])
    return out


def decided(counts: np.ndarray) -> np.ndarray:
    """Confusion counts [..., 4] -> both F1s, precision, recall [..., 4]; NaN without a positive."""
    tp, fp, fn, _ = np.moveaxis(counts, -1, 0)
    # Precision is 0 where nothing is predicted present: undefined, it would drop a method's silent AUs from the mean.
    shares = [np.where(tp + fn > 0, tp / np.maximum(tp + other, 1), np.nan) for other in (fp, fn)]
    return np.concatenate([f1(counts), np.stack(shares, -1)], -1)


class _Run(NamedTuple):
    """Predictions, and confusion counts per subject at the policy's thresholds, or at each of ``thresholds.GRID``.

    Where nested thresholds are chosen anew, counts are those of each subject's clips of a fold, its units.
    """

    arrays: Arrays
    counts: np.ndarray  # s a 4, or s 16 a 4, or u 16 a 4
    subject: np.ndarray  # u, the subject of each unit
    fold: np.ndarray | None = None  # u, the fold of each unit


def _runs(predictions: Predictions, policy: str, threshold: float, *, anew: bool = False) -> list[_Run]:
    """One or several tables, which must be of the same samples. anew: whether nested thresholds are chosen anew."""
    tables = [predictions] if isinstance(predictions, pd.DataFrame) else list(predictions)
    if not tables:
        raise ValueError("no predictions: expected one table, or one per seed")
    runs: list[_Run] = []
    for arrays in map(Arrays.of, tables):
        (runs[0].arrays if runs else arrays).same_samples(arrays)
        limit, subject, fold = limits(arrays, policy, threshold), np.arange(len(arrays.subjects)), None
        if policy == "nested" and anew:
            (fold, subject), unit = np.unique([arrays.fold, arrays.subject], axis=1, return_inverse=True)
            counts = on_grid(replace(arrays, subject=unit, subjects=pd.RangeIndex(len(subject))))
        elif policy == "test-tuned":
            counts = on_grid(arrays)
        else:
            counts = arrays.by_subject(arrays.probability >= limit[arrays.fold])
        runs.append(_Run(arrays, counts, subject, fold))
    return runs


def _pooled(parts: Sequence[tuple[_Run, np.ndarray]]) -> np.ndarray:
    """Confusion counts [r, a, 4] of predictions of the same clips, each with weights of its subjects [r, s]."""

    def total(units: np.ndarray) -> np.ndarray:
        return np.sum([np.tensordot(w[:, run.subject] * units, run.counts, 1) for run, w in parts], axis=0)

    (run, _), *_ = parts
    if run.fold is None:
        counts = total(np.ones(len(run.subject)))
        return tuned(counts) if counts.ndim == 4 else counts
    counts = np.zeros(())
    for fold in range(len(run.arrays.folds)):
        own = run.fold == fold
        chosen = best(total(~np.isin(run.subject, run.subject[own])))  # on the other subjects
        counts = counts + np.take_along_axis(total(own), chosen[..., None, :, None], -3)[..., 0, :, :]
    return counts


def _scores(parts: Sequence[tuple[_Run, np.ndarray]], *, ranked: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of the same clips, each with weights of its subjects [r, s], pooled.

    Returns:
        MEASURES [r, a, 6] (without ``ranked`` the first 4) and counts [r, a, 4].
    """
    counts = _pooled(parts)
    if not ranked:
        return decided(counts), counts
    # Subjects of the second part are other units than those of the first.
    everyone = np.concatenate([weights.astype(float) for _, weights in parts], 1)  # r u
    units = np.concatenate([run.arrays.subject + i * len(run.arrays.subjects) for i, (run, _) in enumerate(parts)])  # n
    label, probability, known = (
        np.concatenate([getattr(run.arrays, name) for run, _ in parts]) for name in ("label", "probability", "known")
    )
    of_au = ((k, label[k, j], probability[k, j]) for j, k in enumerate(known.T))
    ranks = [_ranked(values, labels, units[k], everyone) for k, labels, values in of_au]
    return np.concatenate([decided(counts), np.stack(ranks, 1)], -1), counts


def _ranked(probability: np.ndarray, label: np.ndarray, units: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """ROC-AUC and average precision of one AU: [r, 2].

    Both are sums over the probabilities of the positives, so that only there need clips be counted, once per unit.
    Clips of equal probability are one step of the curve. AUC is NaN without both classes, average precision without a
    positive.

    Args:
        probability: Of each clip [n]; so is label.
        units: The column of the weights that each clip has [n].
        weights: [r, u].
    """
    steps = np.unique(probability[label])  # g

    def reaching(of: np.ndarray, side: Literal["left", "right"]) -> np.ndarray:
        """Of each unit, clips in all, then those at or above ("right") or strictly above ("left") each step: u g+1."""
        table = np.zeros((weights.shape[1], len(steps) + 1))
        np.add.at(table, (units[of], np.searchsorted(steps, probability[of], side)), 1)
        return table[:, ::-1].cumsum(1)[:, ::-1]

    tables = reaching(label, "right"), reaching(~label, "right"), reaching(~label, "left")
    pieces = np.array_split(weights, max(1, weights.shape[0] * (len(steps) + 1) // PIECE))  # bounds the memory
    return np.concatenate([_areas(*(piece @ table for table in tables)) for piece in pieces])


def _areas(tp: np.ndarray, fp: np.ndarray, beyond: np.ndarray) -> np.ndarray:
    """ROC-AUC and average precision [r, 2] from clips in all and from each step on, as ``_ranked`` counts them."""
    positives, negatives = tp[:, 0], fp[:, 0]
    tp, fp, beyond = tp[:, 1:], fp[:, 1:], beyond[:, 1:]  # r g
    gained = -np.diff(tp, axis=1, append=0)
    area = (gained * (negatives[:, None] - (fp + beyond) / 2)).sum(1) / np.maximum(positives * negatives, 1)
    precision = (gained * tp / np.maximum(tp + fp, 1)).sum(1) / np.maximum(positives, 1)
    area = np.where((positives > 0) & (negatives > 0), area, np.nan)
    return np.stack([area, np.where(positives > 0, precision, np.nan)], -1)
