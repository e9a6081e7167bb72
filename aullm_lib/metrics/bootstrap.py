"""The bootstrap over subjects: resamples, percentile intervals, p values, and Holm's correction.

Clips of one subject resemble each other, so subjects are resampled, not clips. A resample is a weight per subject (how
often it was drawn), and its score is computed from weighted counts. An interval describes how the score varies with the
subjects for predictors as they were trained; training again is what several seeds are for (``metrics.over_seeds``).
Percentile intervals of few subjects are too narrow.
"""

import numpy as np
import pandas as pd

DEFINED = 0.5
"""The share of resamples in which a score must be defined for an interval or a p value."""


def draws(subjects: int, resamples: int, seed: int) -> np.ndarray:
    """How often each subject is in each resample, drawn with replacement: int [resamples, subjects].

    There are no resamples of fewer than two subjects.

    Raises:
        ValueError: The number of resamples is negative.
    """
    if resamples < 0:
        raise ValueError(f"resamples={resamples}: expected 0 or more")
    share = np.full(subjects, 1 / subjects)
    return np.random.default_rng(seed).multinomial(subjects, share, resamples if subjects > 1 else 0)


def with_mean(scores: np.ndarray, over: np.ndarray | None = None) -> np.ndarray:
    """Appends the mean over AUs: [..., a, m] -> [..., a + 1, m].

    Args:
        scores: NaN where undefined; the mean is over the defined AUs, NaN where there is none.
        over: bool [a, m], AUs without which the mean is undefined too. A resample without positives of some AU has no
            mean over all AUs.
    """
    defined = ~np.isnan(scores)
    mean = np.where(defined, scores, 0).sum(-2) / np.maximum(defined.sum(-2), 1)
    undefined = ~defined.any(-2)
    if over is not None:
        undefined |= (over & ~defined).any(-2)
    return np.concatenate([scores, np.where(undefined, np.nan, mean)[..., None, :]], -2)


def interval(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """The percentile interval over the first axis: [r, ...] -> low and high [2, ...].

    NaN is left out, and the interval is NaN where too few resamples (DEFINED) are left: with a handful of subjects the
    few that hold every AU are nearly the same one.
    """
    if not len(values):
        return np.full((2, *values.shape[1:]), np.nan)
    flat = pd.DataFrame(values.reshape(len(values), -1))
    ends = flat.quantile([(1 - level) / 2, (1 + level) / 2])
    return np.where(flat.count() >= DEFINED * len(values), ends, np.nan).reshape(2, *values.shape[1:])


def p_value(differences: np.ndarray) -> np.ndarray:
    """Two-sided p value of bootstrapped differences, by inverting their percentile interval: [r, ...] -> [...].

    It is twice the smaller share of resamples on either side of 0 (0 itself on both), with one resample added as in
    Monte Carlo tests (Davison and Hinkley 1997, section 4.2): at least 2 / (r + 1), and 1 for methods that always
    agree. Nothing is resampled under the null hypothesis, so it is as approximate as the interval. NaN where too few
    resamples are defined (DEFINED).
    """
    defined = (~np.isnan(differences)).sum(0)
    below, above = (differences <= 0).sum(0), (differences >= 0).sum(0)  # NaN is on neither side
    p = np.minimum(1.0, 2 * (np.minimum(below, above) + 1) / (defined + 1))
    return np.where(defined >= max(1.0, DEFINED * len(differences)), p, np.nan)


def holm(p: pd.Series) -> pd.Series:
    """Holm's (1979) correction of p values that are read together, for the family-wise error.

    Args:
        p: Values from 0 to 1, for example all comparisons of a table. NaN stays NaN and is not counted.

    Returns:
        The adjusted p values with the same index. The smallest of m is multiplied by m: with r resamples (``p_value``)
        it can fall below 0.05 only where r exceeds 40 m.

    Raises:
        ValueError: Names the first entry outside 0 to 1.
    """
    values = p.to_numpy(dtype=float, na_value=np.nan)
    outside = (values < 0) | (values > 1)
    if outside.any():
        raise ValueError(f"{p.index[outside][0]}: p {values[outside][0]}, expected 0 to 1")
    order = np.argsort(values, kind="stable")[: np.count_nonzero(~np.isnan(values))]  # NaN sorts last
    adjusted = np.full(len(values), np.nan)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(np.arange(len(order), 0, -1) * values[order]))
    return pd.Series(adjusted, index=p.index, name=p.name)
