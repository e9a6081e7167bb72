"""From stored probabilities to scores: both definitions of F1, threshold policies, intervals over subjects, chance."""

from aullm_lib.metrics.bootstrap import holm
from aullm_lib.metrics.scores import (
    COUNTS,
    MEASURES,
    RANKS,
    SCORES,
    compare,
    floors,
    floors_of_counts,
    over_seeds,
    per_subject_mean,
    score,
    tuning,
)  # fmt: skip

__all__ = [
    "COUNTS", "MEASURES", "RANKS", "SCORES", "compare", "floors", "floors_of_counts", "holm", "over_seeds",
    "per_subject_mean", "score", "tuning",
]  # fmt: skip
