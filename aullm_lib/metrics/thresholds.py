"""From probabilities to decisions: the threshold policies, confusion counts over thresholds, and their F1.

The paper gives no threshold. Its released script takes, for each AU, the best of 16 thresholds on the pooled test
labels, the very labels that it then scores; the baselines beside it take a fixed decision. Random scores gain 2 to 6
points of two-class macro F1 that way, and skilled scores that are not calibrated 10 and more (``metrics.tuning``), so
each policy is scored and named apart.
"""

from collections.abc import Hashable

import numpy as np
import pandas as pd

from aullm_lib.metrics.f1 import f1
from aullm_lib.metrics.predictions import Arrays

POLICIES = {
    "fixed": "threshold 0.5",
    "nested": "threshold chosen per AU on the other subjects",
    "test-tuned": "threshold tuned on the test labels (released script)",
}
GRID = np.round(0.10 + 0.05 * np.arange(16), 2)
"""The released script's 16 thresholds, 0.10 to 0.85; nested chooses among the same."""

# Nearest 0.5 first, of two equally near the lower: ``argmax`` takes the first of equally good ones.
_ORDER = np.lexsort((GRID, np.round(abs(GRID - 0.5), 2)))


def on_grid(arrays: Arrays) -> np.ndarray:
    """Confusion counts per subject at each threshold of GRID: [s, 16, a, 4]."""
    return arrays.by_subject(arrays.probability[:, None] >= GRID[:, None])


def best(counts: np.ndarray) -> np.ndarray:
    """Confusion counts over GRID [..., 16, a, 4] -> index of the threshold with the best two-class macro F1 [..., a].

    Ties go to the threshold nearest 0.5, of two equally near to the lower. An AU of one class keeps 0.5.
    """
    macro = np.nan_to_num(f1(counts)[..., 1], nan=-1.0)
    # Rounded, so that equal fractions that differ in their last bit still tie.
    return _ORDER[np.round(macro[..., _ORDER, :], 12).argmax(-2)]


def tuned(counts: np.ndarray) -> np.ndarray:
    """Confusion counts over GRID [..., 16, a, 4] -> those at each AU's best threshold [..., a, 4]."""
    return np.take_along_axis(counts, best(counts)[..., None, :, None], -3)[..., 0, :, :]


def limits(arrays: Arrays, policy: str, threshold: float = 0.5) -> np.ndarray:
    """The thresholds [f, a] of a policy. Raises as ``chosen``."""
    shape = len(arrays.folds), len(arrays.aus)
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
    # By subject, not by clip: a subject with clips in two folds is held out of the choice for both.
    held_out = np.zeros((shape[0], len(arrays.subjects)), bool)  # f s
    held_out[arrays.fold, arrays.subject] = True
    if held_out.all(1).any():
        raise ValueError(
            f"fold {arrays.folds[held_out.all(1)][0]}: no subject outside it to choose a threshold on; the policy "
            "'nested' needs several folds, and a cross-domain run has one"
        )
    return GRID[best(np.tensordot((~held_out).astype(float), counts, 1))]


def chosen(predictions: pd.DataFrame, policy: str = "fixed", *, threshold: float = 0.5) -> pd.DataFrame:
    """The thresholds of a policy; an AU is predicted present where its probability is at least its threshold.

    - "fixed": one threshold for all.
    - "nested": for each fold (column ``fold``, else ``subject``) and AU, the threshold of GRID with the best pooled
      two-class macro F1 on the held-out predictions of all other subjects. No label of a subject affects the decisions
      on that subject's clips, but the models behind the other subjects' predictions were trained on them; only an inner
      training loop would make the thresholds wholly independent.
    - "test-tuned": for each AU the threshold of GRID with the best two-class macro F1 on the very labels that are
      scored, as in the released script. For comparison with the paper's numbers only.

    Args:
        predictions: As ``metrics.score``.
        policy: One of POLICIES.
        threshold: For "fixed".

    Returns:
        One row per fold, one column per AU.

    Raises:
        ValueError: As ``predictions.check``; an unknown policy; a threshold outside 0 to 1, or other than 0.5 for a
            policy that chooses its own; "nested" with a fold that holds every subject.
    """
    arrays = Arrays.of(predictions)
    index: pd.Index[Hashable] = arrays.folds.rename("fold")
    return pd.DataFrame(limits(arrays, policy, threshold), index=index, columns=pd.Index(arrays.aus, name="au"))
