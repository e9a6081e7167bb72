"""Intervals, p values and power with subjects as the units: the jackknife, whole subjects swapped, Holm's correction.

Clips of one subject resemble each other, so whole subjects are left out or swapped, never clips. With 8 to 32 subjects
percentile bootstrap intervals are too narrow (a 95 % interval of two-class macro F1 covers 84 to 93 % in simulations
with the releases' clips per subject) and bootstrapped p values too small (7 to 12 % of true nulls are below 0.05); the
delete-one-subject jackknife with Student's t covers 94 to 96 %, and the swap test rejects 4 to 5 %
(``tests/benchmarks/coverage.py``).
"""

import numpy as np
import pandas as pd
from scipy import special

FEWEST = 6
"""Subjects below which there is no interval."""
DETECTABLE = 2.8
"""Standard errors of the smallest difference that a two-sided test at 5 % finds with a power of 80 % (1.96 + 0.84)."""
EXACT = 16
"""Subjects up to which every pattern of swaps is tried."""
LEVEL = 0.05
"""Of every test and, after Holm's correction, of a family of tests."""
_BLOCK = 1024


def jackknife(
    point: np.ndarray, left_out: np.ndarray, seeds: np.ndarray | None = None, level: float = 1 - LEVEL
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The delete-one-subject jackknife with Student's t, s - 1 degrees of freedom (Efron and Tibshirani 1993, ch. 11).

    Args:
        point: The statistic of all subjects [...].
        left_out: The same without each of them in turn [s, ...]; NaN where it is undefined without one.
        seeds: The statistic of each of k trainings [k, ...], whose mean ``point`` is: what varies with the seed is
            added to the variance. None, or k = 1, adds nothing.
        level: Of the interval.

    Returns:
        Low and high end, and the standard error, each [...]; NaN with fewer subjects than FEWEST, and where a
        statistic is undefined.
    """
    subjects = len(left_out)
    if subjects < FEWEST:
        low, high, error = np.full((3, *np.shape(point)), np.nan)
        return low, high, error
    variance = (subjects - 1) * left_out.var(0)
    if seeds is not None and len(seeds) > 1:
        variance = variance + seeds.var(0, ddof=1) / len(seeds)
    error = np.sqrt(variance)
    reach = special.stdtrit(subjects - 1, (1 + level) / 2) * error
    return point - reach, point + reach, error


def patterns(subjects: int, draws: int = 20_000, seed: int = 0) -> np.ndarray:
    """Which subjects are swapped between two methods: bool [r, s], the first row none of them.

    Swapping all of them turns every difference over and so says nothing new: the last subject is never swapped. Up to
    EXACT subjects these are all 2^(s - 1) patterns that differ so, beyond them ``draws`` random ones.
    """
    if subjects <= EXACT:
        rows = np.arange(2 ** max(subjects - 1, 0))[:, None]
        return (rows >> np.arange(subjects)) & 1 == 1
    drawn = np.random.default_rng(seed).integers(0, 2, (draws, subjects), dtype=bool)
    drawn[0], drawn[:, -1] = False, False
    return drawn


def blocks(swaps: np.ndarray) -> list[np.ndarray]:
    """``patterns`` in parts whose statistics fit into memory."""
    return np.array_split(swaps, -(-len(swaps) // _BLOCK))


def p_value(differences: np.ndarray) -> np.ndarray:
    """The two-sided p value of a difference under ``patterns``: [r, ...], the first without a swap -> [...].

    It is the share of patterns whose difference is at least as large, the pattern without a swap among them: exact
    where all were tried, and valid where they were drawn (Phipson and Smyth 2010). NaN where there is no difference.
    """
    size = np.abs(differences)
    p = (size >= size[0] * (1 - 1e-9) - 1e-12).mean(0)  # rounding must not part equal ones
    return np.where(np.isnan(differences[0]), np.nan, p)


def smallest_p(subjects: int) -> float:
    """The smallest p value that the swap test of so many subjects can give."""
    return 1 / len(patterns(subjects))


def of_values(values: pd.DataFrame) -> pd.Series:
    """The paired difference between the means of two values per clip.

    Args:
        values: One row per clip, or per clip and AU; columns ``subject``, ``a``, ``b``.

    Returns:
        ``difference`` (mean of a - mean of b), ``low`` and ``high`` (95 % jackknife), ``p`` (swap test), ``detectable``
        (the smallest difference that would be found with a power of 80 %) and ``subjects``.
    """
    by_subject = (values["a"] - values["b"]).groupby(values["subject"]).agg(["sum", "size"])
    total, size = by_subject.to_numpy(float).T
    point = total.sum() / size.sum()
    with np.errstate(invalid="ignore"):  # one subject: nothing is left without it
        left_out = (total.sum() - total) / (size.sum() - size)
    low, high, error = jackknife(point, left_out)
    swapped = np.concatenate([(1.0 - 2.0 * swaps) @ total for swaps in blocks(patterns(len(total)))])
    p = p_value(swapped / size.sum())
    return pd.Series(
        {
            "difference": point,
            "low": low,
            "high": high,
            "p": p,
            "detectable": DETECTABLE * error,
            "subjects": len(total),
        }
    ).astype(float)


def holm(p: pd.Series) -> pd.Series:
    """Holm's (1979) correction of p values that are read together, for the family-wise error.

    Args:
        p: Values from 0 to 1, for example all comparisons of a claim. NaN stays NaN and is not counted.

    Returns:
        The adjusted p values with the same index. The smallest of m is multiplied by m: it can fall below LEVEL only
        where m times ``smallest_p`` does.

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
