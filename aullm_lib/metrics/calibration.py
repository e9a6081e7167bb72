"""Calibration: whether an AU that is given 30 % is there in 30 % of such clips.

A reliability table and the expected calibration error (Naeini et al. 2015; Guo et al. 2017), of the probability of
"present", not of the confidence in the more likely class, which says nothing about the rare one. The asymmetric loss
(Eq. 4) plays down easy negatives, which moves probabilities away from frequencies: this is where that shows.
"""

import numpy as np
import pandas as pd

from aullm_lib.metrics.predictions import Arrays


def reliability(predictions: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """A row an AU and bin, AUs by number, all bins: the points of a reliability diagram.

    predictions: ``Run.predictions()``, pooled. bins: of equal width over 0 to 1, each with its lower edge, the last
    also with 1. Columns: ``au``, ``bin`` (from 0), ``mean_probability`` and ``frequency`` (of label 1; both 0 to 1,
    NaN in an empty bin), ``count`` (clips). An AU without a positive is kept: its frequencies are 0, and rightly so.
    Raises ValueError: as ``thresholds.check``; fewer than one bin.
    """
    if bins != int(bins) or bins < 1:
        raise ValueError(f"bins={bins!r}: expected a whole number from 1")
    arrays = Arrays.of(predictions)
    # Edges as k / bins, correctly rounded: those of linspace put 0.3 into the bin below 0.3.
    where = np.searchsorted(np.arange(1, bins) / bins, arrays.probability, side="right")  # [n, a]
    cell = where + bins * np.arange(len(arrays.units))  # [n, a] into AUs times bins
    count, probability, positives = (
        np.bincount(cell.ravel(), weights, bins * len(arrays.units))
        for weights in (np.ones(cell.size), arrays.probability.ravel(), arrays.label.ravel().astype(float))
    )
    some = np.where(count > 0, count, np.nan)
    return pd.DataFrame(
        {
            "au": np.repeat(arrays.units, bins),
            "bin": np.tile(np.arange(bins), len(arrays.units)),
            "mean_probability": probability / some,
            "frequency": positives / some,
            "count": count.astype(int),
        }
    )


def expected_error(predictions: pd.DataFrame, bins: int = 10) -> pd.Series:
    """Expected calibration error of each AU, 0 (calibrated) to 1: index AUs by number.

    The gap between mean probability and frequency of a bin of ``reliability``, averaged over the clips. It is never
    quite 0 on few clips: a gap remains by chance even where the probabilities are right. Raises as ``reliability``.
    """
    table = reliability(predictions, bins)
    gap = (table["mean_probability"] - table["frequency"]).abs().fillna(0) * table["count"]
    by_au = table.assign(gap=gap).groupby("au", sort=False)[["gap", "count"]].sum()
    return (by_au["gap"] / by_au["count"]).rename("expected_error")
