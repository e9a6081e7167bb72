"""Intervals, p values and power with subjects as the units: the jackknife, whole subjects swapped, Holm's correction.

Clips of one subject resemble each other, so whole subjects are left out or swapped, never clips. With 8 to 32 subjects
percentile bootstrap intervals are too narrow (a 95 % interval of two-class macro F1 covers 84 to 93 % in simulations
with the releases' clips per subject) and bootstrapped p values too small (7 to 12 % of true nulls are below 0.05); the
delete-one-subject jackknife with Student's t covers 94 to 96 %, and the swap test rejects 4 to 5 %
(``tests/benchmarks/coverage.py``).

Neither knows what another training would give, unless each subject had a training of its own, as in
leave-one-subject-out. Where one training serves all subjects, several seeds must tell (``student``).
"""

import numpy as np
import pandas as pd
from scipy import special

FEWEST = 6
"""Subjects below which there is no interval."""
POWER = 0.8
"""With which one test at LEVEL would find what is called detectable."""
EXACT = 16
"""Subjects up to which every pattern of swaps is tried."""
LEVEL = 0.05
"""Of every test and, after Holm's correction, of a family of tests."""
_BLOCK = 1024


def jackknife(
    point: np.ndarray, left_out: np.ndarray, seeds: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The delete-one-subject jackknife (Efron and Tibshirani 1993, ch. 11).

    Args:
        point: The statistic of all subjects [...].
        left_out: The same without each of them in turn [s, ...]; NaN where it is undefined without one.
        seeds: As ``student``.

    Returns:
        As ``student``.
    """
    return student(point, (len(left_out) - 1) * left_out.var(0), len(left_out), seeds)


def student(
    point: np.ndarray, variance: np.ndarray, subjects: int, seeds: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The interval of Student's t around a statistic, and the smallest one that would be found.

    Args:
        point: The statistic [...].
        variance: Its variance over subjects, with one degree of freedom less than there are.
        subjects: How many.
        seeds: The statistic of each of k trainings [k, ...], whose mean ``point`` is. What varies with a seed that all
            subjects share is no part of the first variance and is added, with degrees of freedom by Satterthwaite.
            None, or k = 1, adds nothing: then the interval is that of these trainings.

    Returns:
        Low and high end of the 95 % interval, and the smallest statistic that one test at LEVEL would tell from 0 with
        a power of 80 % (about 2.8 standard errors where there are many subjects), each [...]; NaN with fewer subjects
        than FEWEST, and where a variance is undefined.
    """
    error, freedom = standard_error(variance, subjects, seeds)
    reach = special.stdtrit(freedom, 1 - LEVEL / 2)
    return point - reach * error, point + reach * error, (reach + special.stdtrit(freedom, POWER)) * error


def student_p(point: np.ndarray, variance: np.ndarray, subjects: int, seeds: np.ndarray) -> np.ndarray:
    """The two-sided p value of the interval of ``student``, which has the arguments; 1 where neither varies."""
    error, freedom = standard_error(variance, subjects, seeds)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * special.stdtr(freedom, -np.abs(point) / error)
    return np.where((error == 0) & (point == 0), 1.0, p)


def standard_error(variance: np.ndarray, subjects: int, seeds: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """The standard error of ``student``, which has the arguments, and its degrees of freedom."""
    freedom = np.full(np.shape(variance), subjects - 1.0)
    if subjects < FEWEST:
        return np.full(np.shape(variance), np.nan), freedom
    if seeds is not None and len(seeds) > 1:
        more = seeds.var(0, ddof=1) / len(seeds)
        both = variance**2 / freedom + more**2 / (len(seeds) - 1)
        variance = variance + more
        freedom = np.where(both > 0, variance**2 / np.where(both > 0, both, 1), freedom)
    return np.sqrt(variance), freedom


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


def swap_variance(differences: np.ndarray, subjects: int) -> np.ndarray:
    """The variance of a difference from its values under ``patterns``: [r, ...] -> [...].

    Swaps turn each subject's share of the difference over, so that their mean square is the variance and the
    difference's own square over the number of subjects. It serves where thresholds are chosen from the data: a choice
    jumps as subjects come and go, and the jackknife of what jumps is far too wide, or too narrow if it is held fixed.
    """
    share = differences[0] ** 2 / subjects
    return np.maximum(0, (differences**2).mean(0) - share) * subjects / max(subjects - 1, 1)


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
    low, high, detectable = jackknife(point, left_out)
    swapped = np.concatenate([(1.0 - 2.0 * swaps) @ total for swaps in blocks(patterns(len(total)))])
    p = p_value(swapped / size.sum())
    return pd.Series(
        {
            "difference": point,
            "low": low,
            "high": high,
            "p": p,
            "detectable": detectable,
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
