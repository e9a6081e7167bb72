"""Both definitions of F1 in use: of the positive class (paper Eq. 5), and of both classes; and the mean over AUs."""

import numpy as np


def f1(counts: np.ndarray) -> np.ndarray:
    """Confusion counts [..., 4] (TP FP FN TN) -> F1 of Eq. 5 and two-class macro F1 [..., 2]; 0/0 counts as 0.

    Both are NaN without a positive, and macro F1 also without a negative.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, float), -1, 0)
    present = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    absent = 2 * tn / np.maximum(2 * tn + fp + fn, 1)
    positive, negative = tp + fn > 0, tn + fp > 0
    macro = np.where(positive & negative, (present + absent) / 2, np.nan)
    return np.stack([np.where(positive, present, np.nan), macro], -1)


def with_mean(scores: np.ndarray, over: np.ndarray | None = None) -> np.ndarray:
    """Appends the mean over AUs: [..., a, m] -> [..., a + 1, m].

    Args:
        scores: NaN where undefined; the mean is over the defined AUs, NaN where there is none.
        over: bool [a, m], AUs without which the mean is undefined too. A resample without positives of some AU has
            no mean over all AUs.
    """
    defined = ~np.isnan(scores)
    mean = np.where(defined, scores, 0).sum(-2) / np.maximum(defined.sum(-2), 1)
    undefined = ~defined.any(-2)
    if over is not None:
        undefined |= (over & ~defined).any(-2)
    return np.concatenate([scores, np.where(undefined, np.nan, mean)[..., None, :]], -2)
