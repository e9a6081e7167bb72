"""Calibration: do AUs with a predicted probability of 30 % occur in 30 % of such clips?

Both measures (Naeini et al. 2015; Guo et al. 2017) are of the probability that the AU is present, not of the confidence
in the likelier class, which hides the rare one. The asymmetric loss (Eq. 4) weighs easy negatives less, which moves
probabilities away from frequencies.
"""

import numpy as np
import pandas as pd

from aullm_lib.metrics.predictions import Arrays


def reliability(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """The points of a reliability diagram.

    Args:
        predictions: As ``metrics.score``, pooled over folds.
        bins: Number of bins of equal width over 0 to 1; each holds its lower edge, and the last also 1.

    Returns:
        One row per AU (by number) and bin: ``au``, ``bin`` (from 0), ``mean_probability`` and ``frequency`` of label 1
        (0 to 1; NaN in an empty bin), ``count`` of clips.

    Raises:
        ValueError: As ``predictions.check``; fewer than one bin.
    """
    if bins != int(bins) or bins < 1:
        raise ValueError(f"bins={bins!r}: expected a whole number from 1")
    arrays = Arrays.of(predictions)
    # Edges as k / bins, correctly rounded: those of linspace put 0.3 into the bin below 0.3.
    cell = np.searchsorted(np.arange(1, bins) / bins, arrays.probability, side="right")  # n a
    rows = pd.MultiIndex.from_product([arrays.aus, range(bins)], names=["au", "bin"])
    clips = pd.DataFrame(
        {
            "au": np.tile(arrays.aus, len(arrays.clips)), "bin": cell.ravel(),
            "mean_probability": arrays.probability.ravel(), "frequency": arrays.label.ravel().astype(float),
        }
    )  # fmt: skip
    by_bin = clips[arrays.known.ravel()].groupby(["au", "bin"])
    table = by_bin.mean().assign(count=by_bin.size()).reindex(rows)
    return table.assign(count=table["count"].fillna(0).astype(int)).reset_index()


def expected_error(predictions: pd.DataFrame, bins: int = 10) -> pd.Series:
    """The expected calibration error of each AU, 0 (calibrated) to 1.

    It is the gap between mean probability and frequency in a bin of ``reliability``, averaged over clips. On few clips
    a gap remains by chance even where the probabilities are right.

    Returns:
        One value per AU, by number.

    Raises:
        ValueError: As ``reliability``.
    """
    table = reliability(predictions, bins)
    gap = (table["mean_probability"] - table["frequency"]).abs() * table["count"]
    by_au = table.assign(gap=gap).groupby("au", sort=False)[["gap", "count"]].sum()
    return (by_au["gap"] / by_au["count"]).rename("expected_error")
