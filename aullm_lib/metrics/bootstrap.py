"""The percentile bootstrap over subjects: resamples and their intervals, and quantiles of simulated scores.

A resample is a weight per subject (how often it was drawn), and its score is computed from weighted counts. Percentile
intervals of few subjects are too narrow, so this is only an option of ``metrics.score`` (``significance`` has the
figures).
"""

import numpy as np
import pandas as pd

DEFINED = 0.5
"""The share of resamples in which a score must be defined for an interval."""


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
