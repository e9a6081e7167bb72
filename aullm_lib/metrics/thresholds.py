"""From stored probabilities to decisions: predictions checked, the threshold policies, confusion counts, their F1.

The paper gives no threshold. Its released script takes, for each AU, the best of 16 thresholds on the pooled test
labels, the very labels that it then scores; the baselines beside it take a fixed decision. Random scores
gain 3 to 4 points of two-class macro F1 that way (``metrics.tuning``). Each policy is therefore a column of its own,
from the same probabilities and by name.
"""

from collections.abc import Hashable

import numpy as np
import pandas as pd

from aullm_lib.metrics.predictions import Arrays

POLICIES = {
    "fixed": "threshold 0.5",
    "nested": "threshold chosen per AU on the other subjects",
    "test-tuned": "threshold tuned on the test labels (released script)",
}
GRID = np.round(0.10 + 0.05 * np.arange(16), 2)
"""[16] the released script's thresholds, 0.10 to 0.85. Nested takes the same: only the labels it looks at differ."""

# Nearest 0.5 first, of two equally near the lower: the first maximum in this order is the one that ties are left to.
_ORDER = np.lexsort((GRID, np.round(abs(GRID - 0.5), 2)))


def on_grid(arrays: Arrays) -> np.ndarray:
    """Confusion counts of each subject at each threshold of GRID: [s, 16, a, 4]."""
    return arrays.by_subject(arrays.probability[:, None] >= GRID[:, None])


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


def best(counts: np.ndarray) -> np.ndarray:
    """Confusion counts over GRID [..., 16, a, 4] -> which threshold has the best two-class macro F1: int [..., a].

    Ties go to the threshold nearest 0.5, of two equally near to the lower; so does an AU of one class, for which there
    is nothing to choose by: it keeps 0.5.
    """
    macro = np.nan_to_num(f1(counts)[..., 1], nan=-1.0)
    # Rounded, so that equal fractions that differ in their last bit still tie.
    return _ORDER[np.round(macro[..., _ORDER, :], 12).argmax(-2)]


def tuned(counts: np.ndarray) -> np.ndarray:
    """Confusion counts over GRID [..., 16, a, 4] -> those at each AU's best threshold [..., a, 4]."""
    return np.take_along_axis(counts, best(counts)[..., None, :, None], -3)[..., 0, :, :]


def limits(arrays: Arrays, policy: str, threshold: float = 0.5) -> np.ndarray:
    """The thresholds [f, a] of a policy; see ``decide``. Raises ValueError."""
    shape = len(arrays.folds), len(arrays.units)
    if policy not in POLICIES:
        raise ValueError(f"policy={policy!r}: expected one of {list(POLICIES)}")
    if policy != "fixed" and threshold != 0.5:
        raise ValueError(f"threshold={threshold!r}: the policy {policy!r} chooses its own")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold!r}: expected a probability between 0 and 1")
    if policy == "fixed":
        return np.full(shape, float(threshold))
    counts = on_grid(arrays)
    if policy == "test-tuned":
        return np.broadcast_to(GRID[best(counts.sum(0))], shape)
    # By subject, not by clip: a subject that has clips in two folds is held out of the choice for both.
    held = np.zeros((shape[0], len(arrays.subjects)), bool)  # [f, s]
    held[arrays.fold, arrays.subject] = True
    if held.all(1).any():
        alone = arrays.folds[held.all(1)][0]
        raise ValueError(
            f"fold {alone}: no subject outside it to choose a threshold on; the policy 'nested' needs several folds, "
            "and a cross-domain run has one"
        )
    return GRID[best(np.tensordot((~held).astype(float), counts, 1))]


def decide(predictions: pd.DataFrame, policy: str = "fixed", *, threshold: float = 0.5) -> pd.Series:
    """Whether each (clip, AU) is said to be present: bool, aligned with the rows of ``predictions``.

    An AU is said to be present where its probability is at least the threshold.

    - "fixed": ``threshold`` for all.
    - "nested": for each held-out fold (column ``fold``, else ``subject``) and each AU, the threshold of GRID that has
      the best two-class macro F1 (pooled) on the held-out predictions of all other subjects. It is honest: no label of
      a subject has a part in the decisions on that subject's clips. Its limit: the models that made the other
      subjects' predictions were trained with this subject's clips among theirs, so the thresholds are not wholly
      independent of it; only thresholds from an inner loop of training would be. An AU of which the other subjects
      hold one class only keeps 0.5.
    - "test-tuned": for each AU the threshold of GRID with the best two-class macro F1 on all labels here, the ones
      that are then scored. The released script's; for comparison with the paper's numbers only.

    Raises ValueError: as ``check``; an unknown policy; nested with a fold beside which there is no other subject.
    """
    arrays = Arrays.of(predictions)
    said = arrays.probability >= limits(arrays, policy, threshold)[arrays.fold]  # [n, a]
    return pd.Series(said[arrays.cells], index=predictions.index, name="present")


def chosen(predictions: pd.DataFrame, policy: str = "fixed", *, threshold: float = 0.5) -> pd.DataFrame:
    """The thresholds that ``decide`` takes: a row a fold, a column an AU. Raises as ``decide``."""
    arrays = Arrays.of(predictions)
    index: pd.Index[Hashable] = arrays.folds.rename("fold")
    return pd.DataFrame(limits(arrays, policy, threshold), index=index, columns=pd.Index(arrays.units, name="au"))
