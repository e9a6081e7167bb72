"""How often intervals hold the truth and tests reject a true null: the kit's statistics beside the bootstrap's.

``make bench``, or ``python tests/benchmarks/coverage.py [--replicates 400]``: no data are needed. Predictions are drawn
for subjects with the clips and base rates of a release, the true score is that of very many such subjects, and both
ways see the same predictions. Two-class macro F1 at a fixed threshold, averaged over AUs; nine methods of equal skill,
of which the first is compared with the other eight, as AU-LLM is with the rows of a table. Printed for each release:

- how often 95 % intervals of a score hold the truth: of the average, and of the rarest AU alone, where the kit gives
  one;
- how often a test at 5 % rejects a true null: one comparison, and any of eight after Holm's correction;
- the smallest difference that is found with a power of 80 % by Student's t, and the share of cases in which the
  swap test finds a true difference of just that size.

Documented are the clips per subject and the positives per AU of CASME II (256 rows) and SAMM (159); synthetic releases
have any number of subjects, here of 8 clips each, and deal out CASME II's AUs without regard to the subject. The rest
is chosen. A clip's score is normal with standard deviation 1, half of ``SKILL`` above 0 if it shows the AU and as far
below if not; present is decided where a calibrated scorer would be at 0.5. Subjects differ in how well they are read
(``SKILL_SD``) and in where the scores of an AU lie (``OFFSET_SD``). Of each of these variances ``SHARED`` is the same
for all methods, which err on the same clips and subjects. A subject's propensity to show an AU is log-normal
(``UNEVEN``): about as many subjects show it as is documented.
"""

import argparse
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aullm_lib.datasets import documented
from aullm_lib.metrics import bootstrap, significance
from aullm_lib.metrics.f1 import f1, with_mean
from aullm_lib.metrics.scores import FEWEST_POSITIVE

SKILL, SKILL_SD, OFFSET_SD = 2.0, 0.7, 0.5
SHARED = 0.7  # of each variance: the same for all methods
UNEVEN = 1.5  # standard deviation of the log-propensity
RESAMPLES, DRAWS, ROWS = 1000, 2000, 8
POPULATION = 40_000  # clips from which a true score is computed


@dataclass(frozen=True)
class Release:
    """Clips per subject [s], positives per AU of all clips, and how uneven they are spread over subjects."""

    clips: tuple[int, ...]
    positives: Mapping[int, int]
    uneven: float = 0.0

    def population(self) -> "Release":
        """Very many such subjects."""
        times = -(-POPULATION // sum(self.clips))
        return Release(self.clips * times, {au: n * times for au, n in self.positives.items()}, self.uneven)


def _rates(clips: int) -> dict[int, int]:
    return {au: max(3, round(count * clips / 256)) for au, count in documented.CASME2[256].positives.items()}


CASME2, SAMM = documented.CASME2[256], documented.OTHERS["samm"]
RELEASES = {
    "8 subjects": Release((8,) * 8, _rates(64)),
    "16 subjects": Release((8,) * 16, _rates(128)),
    "CASME II, 26": Release(tuple(CASME2.by_subject.values()), CASME2.positives, UNEVEN),
    "SAMM, 29": Release(tuple(SAMM.by_subject.values()), {au: SAMM.positives[au] for au in (2, 4, 7, 12)}, UNEVEN),
}


def labels(release: Release, replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Which clips show which AU: bool [r, n, a], with the release's positives of every AU."""
    s, a = len(release.clips), len(release.positives)
    propensity = release.uneven * rng.normal(size=(replicates, s, a)).repeat(release.clips, axis=1)
    drawn = propensity + rng.gumbel(size=propensity.shape)  # the largest are a weighted sample without replacement
    return np.argsort(np.argsort(-drawn, 1), 1) < np.array(list(release.positives.values()))


def counts(release: Release, replicates: int, methods: int, rng: np.random.Generator, gain: float = 0.0) -> np.ndarray:
    """Confusion counts of every method and subject [r, k, s, a, 4]; the first method is better by ``gain``."""
    r, k, s, a = replicates, methods, len(release.clips), len(release.positives)
    n = sum(release.clips)
    subject = np.repeat(np.arange(s), release.clips)
    starts = np.cumsum([0, *release.clips[:-1]])

    def normal(*shape: int) -> np.ndarray:
        return np.sqrt(SHARED) * rng.normal(size=(r, 1, *shape)) + np.sqrt(1 - SHARED) * rng.normal(size=(r, k, *shape))

    label = labels(release, r, rng)[:, None]
    skill = SKILL + SKILL_SD * normal(s)
    skill[:, 0] += gain
    score = (label - 0.5) * skill[:, :, subject, None] + OFFSET_SD * normal(s, a)[:, :, subject] + normal(n, a)
    rate = np.array(list(release.positives.values())) / n
    present = score > np.log((1 - rate) / rate) / SKILL
    cells = [present & label, present & ~label, ~present & label, ~present & ~label]
    return np.stack([np.add.reduceat(cell, starts, axis=2, dtype=float) for cell in cells], -1)


def macro(cells: np.ndarray) -> np.ndarray:
    """Confusion counts [..., a, 4] -> two-class macro F1 of each AU and their mean [..., a + 1]; NaN without an AU."""
    scores = f1(cells)[..., 1:]
    return with_mean(scores, over=np.ones(scores.shape[-2:], bool))[..., 0]


def jackknife(cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of subjects [..., s, a, 4] -> scores [..., a + 1] and those without each subject [s, ..., a + 1]."""
    whole = cells.sum(-3, keepdims=True)
    return macro(whole)[..., 0, :], np.moveaxis(macro(whole - cells), -2, 0)


def true_scores(release: Release, rng: np.random.Generator) -> np.ndarray:
    """Those of very many subjects, averaged over equal methods: [a + 1]."""
    return macro(counts(release.population(), 1, ROWS + 1, rng).sum(2))[0].mean(0)


def bootstrapped(cells: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Counts of subjects [k, s, a, 4] and weights [b, s] -> scores of resamples [b, k, a + 1]."""
    return macro(np.einsum("bs,ksac->bkac", draws, cells, optimize=True))


def bootstrap_p(differences: np.ndarray) -> np.ndarray:
    """Of resampled differences [b, ...], by inverting the percentile interval (Davison and Hinkley 1997, 4.2)."""
    defined = (~np.isnan(differences)).sum(0)
    fewer = np.minimum((differences <= 0).sum(0), (differences >= 0).sum(0))
    return np.minimum(1.0, 2 * (fewer + 1) / (defined + 1))


def swap_p(one: np.ndarray, other: np.ndarray, swaps: np.ndarray) -> float:
    """Of the means of two methods' scores, from their counts [s, a, 4] and patterns [r, s]."""
    apart = (other - one).reshape(len(one), -1)
    moved = (swaps.astype(float) @ apart).reshape(-1, *one.shape[1:])
    ones, others = one.sum(0) + moved, other.sum(0) - moved
    return float(significance.p_value((macro(ones) - macro(others))[:, -1]))


def simulate(release: Release, replicates: int, seed: int = 0) -> pd.Series:
    """The figures of a release in percent, or in points."""
    rng = np.random.default_rng(seed)
    s = len(release.clips)
    swaps, draws = significance.patterns(s, DRAWS), bootstrap.draws(s, RESAMPLES, seed).astype(float)
    truth = true_scores(release, rng)
    rarest = int(np.argmin(list(release.positives.values())))
    held: list[np.ndarray] = []  # jackknife, bootstrap; the mean, the rarest AU
    p: list[np.ndarray] = []  # swap test, bootstrap; of ROWS comparisons
    smallest = []
    for _ in range(replicates):
        cells = counts(release, 1, ROWS + 1, rng)[0]  # k s a 4
        point, left_out = jackknife(cells)
        drawn = bootstrapped(cells, draws)
        ends = significance.jackknife(point[0], left_out[:, 0])[:2], bootstrap.interval(drawn[:, 0])
        first = cells[0, :, rarest]  # s 4
        few = ((first[:, 0] + first[:, 2] > 0).sum() < FEWEST_POSITIVE) | (first[:, 0].sum() == 0)
        inside = np.array([(low <= truth) & (truth <= high) for low, high in ends])[:, [-1, rarest]].astype(float)
        none = np.isnan(ends[0][0][-1])  # all positives of an AU are one subject's
        held.append(np.where([none, few], np.nan, inside))
        others = range(1, ROWS + 1)
        swapped = [swap_p(cells[0], cells[k], swaps) for k in others]
        p.append(np.array([swapped, bootstrap_p(drawn[:, :1, -1] - drawn[:, 1:, -1])]))
        smallest.append(significance.jackknife(point[0] - point[1], left_out[:, 0] - left_out[:, 1])[2][-1])
    detectable = float(np.nanmean(smallest))
    gains = np.linspace(0, 3, 13)
    better = [macro(counts(release.population(), 1, 2, rng, gain).sum(2))[0, :, -1] for gain in gains]
    gain = float(np.interp(detectable, [first - second for first, second in better], gains))
    seen = [swap_p(*counts(release, 1, 2, rng, gain)[0], swaps) < significance.LEVEL for _ in range(replicates)]
    covered = np.nanmean(held, 0)  # jackknife and bootstrap, average and rarest AU
    rejected = np.mean(np.array(p) < significance.LEVEL, (0, 2))
    family = [[significance.holm(pd.Series(of)).min() < significance.LEVEL for of in one] for one in p]
    out = {}
    for j, name in enumerate(("average", "rarest AU")):
        out |= {(f"coverage, {name}", "jackknife-t"): covered[0, j], (f"coverage, {name}", "bootstrap"): covered[1, j]}
    out["rarest AU", "has an interval"] = np.mean(~np.isnan(np.array(held)[:, 0, 1]))
    for name, share in (("true nulls rejected", rejected), ("any of eight, after Holm", np.mean(family, 0))):
        out |= {(name, "swap test"): share[0], (name, "bootstrap"): share[1]}
    out |= {("detectable difference", "points"): detectable, ("detectable difference", "power"): np.mean(seen)}
    return 100 * pd.Series(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replicates", type=int, default=400)
    options = parser.parse_args()
    start = time.perf_counter()
    table = pd.DataFrame({name: simulate(release, options.replicates) for name, release in RELEASES.items()})
    print(table.round(1).to_string())
    error = 100 * (0.95 * 0.05 / options.replicates) ** 0.5
    taken = time.perf_counter() - start
    print(f"{options.replicates} replicates, {taken:.0f} s; the standard error of 95 % or 5 % is {error:.1f}")


if __name__ == "__main__":
    main()
