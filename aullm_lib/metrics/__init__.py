"""From stored probabilities to scores: both F1s, threshold policies, intervals over subjects, trivial classifiers."""

from aullm_lib.metrics import predictions
from aullm_lib.metrics.scores import COUNTS, MEASURES, RANKS, SCORES, compare, over_seeds, per_subject_mean, score
from aullm_lib.metrics.significance import holm
from aullm_lib.metrics.trivial import trivial, trivial_of_counts, tuning

__all__ = [
    "COUNTS", "MEASURES", "RANKS", "SCORES", "compare", "holm", "over_seeds", "per_subject_mean",
    "predictions", "score", "trivial", "trivial_of_counts", "tuning",
]  # fmt: skip
