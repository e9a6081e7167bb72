"""Both definitions of F1 in use: that of the positive class (paper Eq. 5), and the mean over the two classes."""

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
