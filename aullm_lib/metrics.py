"""Scores from stored probabilities: F1 of Eq. 5, two-class macro F1, intervals over subjects, floors.

The paper words its measure as the F1 of Eq. 5 averaged over AUs; its released script, and the LED baseline, take for
each AU the mean of the F1 of "present" and the F1 of "absent" (two-class macro F1) on predictions pooled over all
folds. Both are given, always together, and always from pooled predictions: a mean of per-subject F1s would average
over folds that hold a single class.
"""

import numpy as np
import pandas as pd

COUNTS = ["TP", "FP", "FN", "TN"]
SCORES = ["f1", "f1_macro"]


def check(predictions: pd.DataFrame) -> None:
    """Raises ValueError naming the field or the clip that cannot be scored."""
    missing = [c for c in ("clip_id", "subject", "au", "label", "probability") if c not in predictions]
    if missing:
        raise ValueError(f"predictions lack the columns {missing}")
    if not len(predictions):
        raise ValueError("no predictions to score")
    twice = predictions[predictions.duplicated(["clip_id", "au"])]
    if len(twice):
        raise ValueError(f"{twice.iloc[0].clip_id}, {twice.iloc[0].au}: predicted twice")
    wrong = predictions[~predictions["label"].isin((0, 1))]
    if len(wrong):
        raise ValueError(f"{wrong.iloc[0].clip_id}, {wrong.iloc[0].au}: label {wrong.iloc[0].label}, expected 0 or 1")
    wrong = predictions[~predictions["probability"].between(0, 1)]
    if len(wrong):
        first = wrong.iloc[0]
        raise ValueError(f"{first.clip_id}, {first.au}: probability {first.probability}, expected 0 to 1")
    sizes = predictions.groupby("clip_id")["au"].nunique()
    short = sizes.index[sizes < predictions["au"].nunique()]
    if len(short):
        raise ValueError(f"{short[0]}: some of its AUs were not predicted")


def f1(counts: np.ndarray) -> np.ndarray:
    """Confusion counts [..., 4] (TP FP FN TN) -> [..., 2]: F1 of Eq. 5, and two-class macro F1; 0/0 counts as 0.

    Both are NaN where there is no positive, and macro F1 also where there is no negative: a score for a class that the
    sample does not hold means nothing.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, float), -1, 0)
    present = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    absent = 2 * tn / np.maximum(2 * tn + fp + fn, 1)
    some, both = tp + fn > 0, (tp + fn > 0) & (tn + fp > 0)
    return np.stack([np.where(some, present, np.nan), np.where(both, (present + absent) / 2, np.nan)], -1)


def score(predictions: pd.DataFrame, threshold: float = 0.5, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Scores pooled over folds, a row an AU and the row "mean" (unweighted, over the AUs that have a positive).

    predictions: ``Run.predictions()``. threshold: an AU is predicted where its probability is at least this.
    Columns: ``f1`` (Eq. 5), ``f1_macro`` (two-class), each with ``_low`` and ``_high`` (95 % percentile bootstrap
    over subjects; the mean's over resamples that hold every AU), then TP FP FN TN; F1s from 0 to 1, NaN where no clip
    has the AU. Raises ValueError (``check``).
    """
    check(predictions)
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold!r}: expected a probability between 0 and 1")
    said, true = predictions["probability"] >= threshold, predictions["label"] == 1
    cells = pd.DataFrame({"TP": said & true, "FP": said & ~true, "FN": ~said & true, "TN": ~said & ~true})
    units = sorted(predictions["au"].unique(), key=lambda au: int(au[2:]))
    by_subject = cells.groupby([predictions["subject"], predictions["au"]]).sum()
    subjects = by_subject.index.unique("subject")
    cube = np.stack([by_subject.xs(au, level="au").reindex(subjects, fill_value=0) for au in units], 1)  # [s, au, 4]
    # A resample draws subjects with replacement; its counts are a weighted sum, so no prediction is touched again.
    draws = np.random.default_rng(seed).multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), resamples)
    total = cube.sum(0)
    point = _with_mean(f1(total))  # [au + 1, 2]
    resampled = f1(np.einsum("rs,sac->rac", draws, cube))  # [r, au, 2]
    # A resample without the positives of some AU says nothing about the mean over all of them.
    partial = (np.isnan(resampled) & ~np.isnan(point[:-1])).any(1)  # [r, 2]
    resampled = _with_mean(resampled)  # [r, au + 1, 2]
    resampled[:, -1] = np.where(partial, np.nan, resampled[:, -1])
    low, high = (_quantile(resampled, q) for q in (0.025, 0.975))
    out = pd.DataFrame(index=pd.Index([*units, "mean"], name="au"))
    for i, name in enumerate(SCORES):
        out[name], out[f"{name}_low"], out[f"{name}_high"] = point[:, i], low[:, i], high[:, i]
    out[COUNTS] = pd.DataFrame(np.vstack([total, total.sum(0)]), index=out.index).astype(int)
    return out


def _with_mean(scores: np.ndarray) -> np.ndarray:
    """[..., AUs, 2] -> [..., AUs + 1, 2]: the mean over defined AUs behind them."""
    known = ~np.isnan(scores)
    mean = np.where(known, scores, 0).sum(-2) / np.maximum(known.sum(-2), 1)
    mean = np.where(known.any(-2), mean, np.nan)
    return np.concatenate([scores, mean[..., None, :]], -2)


def _quantile(values: np.ndarray, q: float) -> np.ndarray:
    """Quantiles over the first axis, without the resamples that hold no positive; NaN where all are such."""
    some = ~np.isnan(values).all(0)
    out = np.full(values.shape[1:], np.nan)
    out[some] = np.nanquantile(values[:, some], q, axis=0)
    return out


def floors(predictions: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> dict[str, pd.DataFrame]:
    """What predictors that never look at a clip score on these labels, as ``score`` frames.

    "all-absent" and "all-present" are constant. "prior-random" guesses each AU at its own base rate: the mean over
    simulated draws (seeded), with their 2.5 % and 97.5 % quantiles and mean counts.
    """
    absent, present = (score(predictions.assign(probability=p)) for p in (0.0, 1.0))
    positives, negatives = present["TP"].to_numpy()[:-1], present["FP"].to_numpy()[:-1]
    rate = positives / (positives + negatives)
    rng = np.random.default_rng(seed)
    tp, fp = (rng.binomial(n, rate, (draws, len(rate))) for n in (positives, negatives))
    counts = np.stack([tp, fp, positives - tp, negatives - fp], -1)  # [draws, au, 4]
    scores = _with_mean(f1(counts))  # [draws, au + 1, 2]
    chance = present.copy()
    for i, name in enumerate(SCORES):
        values = scores[..., i]
        chance[name], chance[f"{name}_low"], chance[f"{name}_high"] = (
            values.mean(0), _quantile(values, 0.025), _quantile(values, 0.975),
        )  # fmt: skip
    means = counts.mean(0)
    chance[COUNTS] = np.vstack([means, means.sum(0)])
    return {"all-absent": absent, "all-present": present, "prior-random": chance}
