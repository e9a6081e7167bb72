"""Trivial (no-skill) classifiers: what a method must exceed before its score says anything about the clips.

None of them uses a clip. Where thresholds are tuned on the test labels chance level rises too, hence "random scores,
test-tuned", which is the reference for numbers that were tuned that way and for no others.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import special

from aullm_lib import facs
from aullm_lib.metrics import bootstrap
from aullm_lib.metrics.f1 import f1, with_mean
from aullm_lib.metrics.scores import decided, score, table
from aullm_lib.metrics.thresholds import GRID, tuned

CHANCE = "base-rate random"  # the classifier whose score is called chance level
OUTSIDE = "training base rate"  # and the one whose ROC-AUC is, where folds are pooled


def trivial(predictions: pd.DataFrame, *, draws: int = 2000, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Scores of the trivial classifiers on the labels of some predictions, whose probabilities are not used.

    - "always-negative" and "always-positive" are constant, with intervals over subjects.
    - "base-rate random" guesses each AU at its own base rate.
    - "random scores, test-tuned" draws scores around the base rate (their logit is normal with standard deviation 1)
      and decides at the threshold that is best on these labels, as in the released script.
    - "training base rate" gives every clip of a fold the share of positives among the clips of the other folds. That is
      lower where the fold holds more positives, so that over pooled folds its ROC-AUC is below 0.5: it is the level of
      ``roc_auc`` without knowledge of a clip. Its F1 is that of a constant, but for an AU of half of the clips. With
      one fold (cross-domain) it is constant, and the level 0.5.

    Args:
        predictions: As ``score``; folds are those of ``score``, too.
        draws: Simulations of each random classifier.
        seed: Of the simulations.

    Returns:
        Classifier -> a table as ``score`` gives it. The random ones have means and mean counts over the draws, with
        2.5 % and 97.5 % quantiles as ``_low`` and ``_high``; ``roc_auc`` and ``average_precision``, which no threshold
        changes, are NaN there: those of any constant, 0.5 and the base rate, are in the rows of the constant ones.

    Raises:
        ValueError: As ``score``; fewer than one draw.
    """
    answers = {"always-negative": 0.0, "always-positive": 1.0}
    constant = {name: score(predictions.assign(probability=p)) for name, p in answers.items()}
    counts = constant["always-positive"].drop(index="mean")
    n = counts[["TP", "FP"]].sum(axis=1).astype(int).to_dict()
    outside = score(predictions.assign(probability=_outside(predictions)))
    return trivial_of_counts(counts["TP"].to_dict(), n, draws=draws, seed=seed) | constant | {OUTSIDE: outside}


def _outside(predictions: pd.DataFrame) -> pd.Series:
    """The share of positives of a row's AU outside its fold; 0 where there is nothing outside."""
    fold = "fold" if "fold" in predictions else "subject"
    of_au, of_fold = (predictions.groupby(keys)["label"] for keys in (["au"], ["au", fold]))
    positives, clips = (of_au.transform(what) - of_fold.transform(what) for what in ("sum", "count"))
    return positives / clips.where(clips > 0, 1)


def trivial_of_counts(
    positives: Mapping[str, int], n: int | Mapping[str, int], *, draws: int = 2000, seed: int = 0
) -> dict[str, pd.DataFrame]:
    """``trivial`` from label counts alone: ``positives`` (AU -> clips that show it) of ``n`` clips, or AU -> n.

    Without subjects the constant classifiers have no interval (NaN).

    Raises:
        ValueError: There is no AU, one that FACS does not have, an impossible count, or fewer than one draw.
    """
    aus, present, absent = _classes(positives, n)
    zero = np.zeros_like(present)
    rate = present / np.maximum(present + absent, 1)
    ranks = np.stack([np.where(present * absent > 0, 0.5, np.nan), np.where(present > 0, rate, np.nan)], -1)
    out = {}
    for name, cells in {
        "always-negative": (zero, zero, present, absent),
        "always-positive": (present, absent, zero, zero),
    }.items():
        counts = np.stack(cells, -1)  # a 4
        point = with_mean(np.concatenate([decided(counts), ranks], -1))
        out[name] = table(aus, point, np.full((2, *point.shape), np.nan), counts)
    rng = np.random.default_rng(seed)
    tp, fp = (rng.binomial(k, rate, (draws, len(aus))) for k in (present, absent))
    guessed = np.stack([tp, fp, present - tp, absent - fp], -1)  # draws a 4
    best = tuned(_random_scores(present, absent, draws, seed))
    for name, counts in {CHANCE: guessed, "random scores, test-tuned": best}.items():
        unranked = np.full((*counts.shape[:-1], ranks.shape[-1]), np.nan)
        scores = with_mean(np.concatenate([decided(counts), unranked], -1))
        out[name] = table(aus, scores.mean(0), bootstrap.interval(scores), counts.mean(0))
    return out


def tuning(
    positives: Mapping[str, int], n: int | Mapping[str, int], *, spread: float = 1.0, separation: float = 0.0,
    offset: float = 0.0, draws: int = 2000, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """What tuning thresholds on the test labels adds to simulated scores.

    The logits of an AU's positives and negatives are normal, with one standard deviation. Their means lie half a
    ``separation`` above and below the logit of the AU's base rate, both shifted by ``offset``. By default these are the
    uninformative "random scores, test-tuned". A scorer whose separation is the square of its spread is calibrated
    without an offset: its logit is the base rate's plus the log-likelihood ratio, and its ROC-AUC is
    Phi(spread / sqrt(2)), 0.92 for a spread of 2.

    Args:
        positives: As ``trivial_of_counts``, so is n.
        spread: Standard deviation of the logits, above 0.
        separation: Of the means of positives and negatives, in logits.
        offset: How many logits too high every score is; below 0, too low.
        draws: Simulated test sets.
        seed: Of the simulation.

    Returns:
        Rows "threshold 0.5", "test-tuned" and "gain", their difference draw by draw; columns ``f1_macro`` (mean over
        AUs and draws, 0 to 1), ``f1_macro_low`` and ``f1_macro_high`` (2.5 % and 97.5 % quantiles of the draws).

    Raises:
        ValueError: As ``trivial_of_counts``; a spread that is not above 0.
    """
    if not spread > 0:
        raise ValueError(f"spread={spread}: expected a standard deviation above 0")
    _, present, absent = _classes(positives, n)
    counts = _random_scores(present, absent, draws, seed, spread, separation, offset)
    fixed, best = (np.nanmean(f1(c)[..., 1], -1) for c in (counts[:, list(GRID).index(0.5)], tuned(counts)))
    drawn = np.stack([fixed, best, best - fixed], -1)  # draws 3
    low, high = bootstrap.interval(drawn)
    return pd.DataFrame(
        {"f1_macro": drawn.mean(0), "f1_macro_low": low, "f1_macro_high": high},
        index=pd.Index(["threshold 0.5", "test-tuned", "gain"]),
    )


def _random_scores(
    present: np.ndarray, absent: np.ndarray, draws: int, seed: int, spread: float = 1.0, separation: float = 0.0,
    offset: float = 0.0,
) -> np.ndarray:  # fmt: skip
    """Confusion counts over GRID [draws, 16, a, 4] of the scores of ``tuning``.

    Only the bin of GRID that a score falls into matters, so bins are drawn, not scores.
    """
    if draws < 1:
        raise ValueError(f"draws={draws}: expected 1 or more")
    rate = np.where((present > 0) & (absent > 0), present / (present + absent), 0.5)  # one class: NaN in the end
    edges, centres = (np.log(p / (1 - p)) for p in (GRID, rate))
    rng = np.random.default_rng([seed, 1])
    drawn = []
    for clips, side in ((present, 0.5), (absent, -0.5)):
        z = (edges - (centres + offset + side * separation)[:, None]) / spread  # a 16
        bins = np.diff(special.ndtr(z), axis=1, prepend=0.0, append=1.0)  # a 17
        counted = rng.multinomial(clips, bins, (draws, len(rate)))  # draws a 17
        drawn.append(np.cumsum(counted[..., :0:-1], -1)[..., ::-1].swapaxes(1, 2))  # draws 16 a
    tp, fp = drawn
    return np.stack([tp, fp, present - tp, absent - fp], -1)


def _classes(positives: Mapping[str, int], n: int | Mapping[str, int]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """The AUs in order, and how many of n clips (of each) show each and do not: int [a]."""
    if not positives:
        raise ValueError("positives: no AU given")
    for au, count in positives.items():
        if au not in {f"AU{number}" for number in facs.NAMES}:
            raise ValueError(f"{au}: not an AU that FACS has (AU1, AU2, ...)")
        of = n[au] if isinstance(n, Mapping) else n
        if count != int(count) or not 0 <= count <= of:
            raise ValueError(f"{au}: {count} positives, expected a whole number from 0 to n={of}")
    aus = sorted(positives, key=lambda au: int(au[2:]))
    present = np.array([int(positives[au]) for au in aus])
    return aus, present, np.array([int(n[au] if isinstance(n, Mapping) else n) for au in aus]) - present
