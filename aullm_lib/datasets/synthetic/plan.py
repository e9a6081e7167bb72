"""Which action units each clip of a synthetic release carries, and how the releases write them down.

Labels are dealt out over the whole release by quota (the tables in `specs`) and clustered over subjects about as much
as is documented. Who shows what is drawn apart from how a subject looks, so that a face tells nothing of its labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aullm_lib.datasets import documented
from aullm_lib.datasets.synthetic.film import Action
from aullm_lib.datasets.synthetic.specs import SPECS, SUBJECTS

# How often an AU is seen on one side alone.
_ONE_SIDED = {2: 0.2, 4: 0.06, 6: 0.15, 7: 0.12, 10: 0.3, 12: 0.3, 14: 0.45, 15: 0.2, 20: 0.3}
_SPREAD = 0.7  # of the logarithm of strength: many micro-expressions are hardly seen, and a few are plain
_GRADES = (0.35, 0.6, 0.9, 1.4)  # strength from which intensity is B, C, D and E
_KNOW_REPRESSION = ("casme2", "casme", "4dme")
_SWAPS = 6000  # tried to bring labels to the subjects that show them; most releases need fewer


def _documented(release: str) -> documented.Counts:
    counts = documented.counts(release, 256 if release == "casme2" else None)
    assert counts is not None
    return counts


def _quota(weights: np.ndarray, total: int, start: float) -> np.ndarray:
    """Whole numbers close to `total` * weights / sum, summing to `total` (systematic sampling: order matters)."""
    edges = np.concatenate([[0.0], np.cumsum(weights / weights.sum() * total)])
    edges[-1] = total
    return np.diff(np.floor(edges + start)).astype(int)


def clips_of_subjects(release: str, subjects: int, mean: int | None) -> list[int]:
    """How many clips each of the first `subjects` subjects has, at least one: int [subjects].

    They are as unequal as documented; where that is unknown (all but CASME II and SAMM), as unequal as in CASME II.

    Args:
        release: one of `SPECS`.
        subjects: how many.
        mean: clips per subject on average; None: the documented number of each.
    """
    counts = _documented(release)
    more = np.array(list(counts.by_subject.values())) - 1
    if not len(more):
        like = np.sort(list(documented.CASME2_SUBJECTS.values())) - 1
        curve = np.interp((np.arange(counts.subjects) + 0.5) / counts.subjects, np.linspace(0, 1, len(like)), like)
        order = np.random.default_rng(SPECS[release].code).permutation(counts.subjects)
        more = _quota(curve, counts.clips - counts.subjects, 0.5)[order]
    more = more[:subjects]
    return (1 + (more if mean is None else _quota(more, subjects * (mean - 1), 0.5))).tolist()


def _cover(dealt: list[tuple[int, ...]], release: str, rng: np.random.Generator) -> None:
    """Swap spare combinations for missing ones until each covered AU occurs often enough (in place)."""
    least = 3 if len(dealt) >= 30 else 1 if len(dealt) >= 12 else 0
    for au in SPECS[release].covered:
        options = [(c, w) for c, w in SPECS[release].combinations if au in c and len(c) <= 2]
        share = np.array([w for _, w in options], dtype=float)
        while sum(au in c for c in dealt) < least:
            counts = {k: sum(k in c for c in dealt) for k in SPECS[release].covered}
            spare = [i for i, c in enumerate(dealt) if all(counts.get(k, least + 1) > least for k in c)]
            dealt[int(rng.choice(spare))] = options[int(rng.choice(len(options), p=share / share.sum()))][0]
    if release == "casme2" and len(dealt) >= 30 and () not in dealt and dealt.count((4,)) > 3:
        dealt[dealt.index((4,))] = ()


def _goals(release: str, shown: np.ndarray, subjects: int) -> np.ndarray:
    """In how many of the subjects each covered AU should be seen, from the clips that show it; both int [a].

    An AU's clips fall on subjects as if every k-th brought a new one: 1 - (1 - s / n) ** (clips per subject, in
    documented ones), with s of n documented subjects. Where s is unknown, as in the releases where it is known,
    on average: 1 - exp(-0.5 * clips per subject). But 3 subjects, where there are.
    """
    counts = _documented(release)
    share = []
    for au, clips in zip(SPECS[release].covered, shown / subjects, strict=True):
        seen, of = counts.subjects_with.get(au), counts.positives[au] / counts.subjects
        share.append(1 - (1 - seen / counts.subjects) ** (clips / of) if seen else 1 - np.exp(-0.5 * clips))
    return np.maximum(np.rint(subjects * np.array(share)), np.minimum(np.minimum(3, subjects), shown)).astype(int)


def deal(release: str, clips: Sequence[int], rng: np.random.Generator) -> list[list[tuple[int, ...]]]:
    """AUs of every clip, one list per subject; () where the annotation will be unknown.

    With 30 clips or more each covered AU occurs in 3 clips of 3 subjects at least (as far as there are 3), with 12 or
    more at least once.

    Args:
        release: one of `SPECS`.
        clips: how many each subject has, 1 or more.
        rng: draws who shows what.
    """
    table, total = SPECS[release].combinations, sum(clips)
    order = rng.permutation(len(table)) if total < 60 else np.arange(len(table))
    counts = _quota(np.array([table[i][1] for i in order], dtype=float), total, rng.random())
    dealt = [table[i][0] for i, n in zip(order, counts, strict=True) for _ in range(n)]
    _cover(dealt, release, rng)
    dealt = [dealt[i] for i in rng.permutation(total)]
    starts = np.cumsum([0, *clips[:-1]])
    shows = np.array([[au in c for au in SPECS[release].covered] for c in dealt])  # clips a
    goals = _goals(release, shows.sum(0), len(clips))

    def missed() -> int:
        return int(np.abs(np.logical_or.reduceat(shows, starts).sum(0) - goals).sum())

    best = missed()
    for pair in rng.integers(total, size=(_SWAPS, 2)) if total > len(clips) else ():
        if not best:
            break
        shows[pair] = shows[pair[::-1]]
        now = missed()
        if now > best:
            shows[pair] = shows[pair[::-1]]
        else:
            best = now
            i, j = pair
            dealt[i], dealt[j] = dealt[j], dealt[i]
    return [dealt[k : k + n] for k, n in zip(starts, clips, strict=True)]


def draw_actions(aus: tuple[int, ...], strength: float, rng: np.random.Generator) -> tuple[Action, ...]:
    """How a clip's AUs are carried out: side, strength, asymmetry, delay; in the order in which they are written.

    strength: the median.
    """
    actions = []
    for au in (aus[i] for i in rng.permutation(len(aus))):
        left, right = (float(k) for k in rng.uniform(0.8, 1.0, 2))
        if rng.random() < _ONE_SIDED.get(au, 0.0):
            left, right = (left, 0.0) if rng.random() < 0.5 else (0.0, right)
        size = float(np.clip(strength * rng.lognormal(0, _SPREAD), 0.1, 1.6))
        actions.append(Action(au, left, right, size, float(rng.uniform(-0.1, 0.1))))
    return tuple(actions)


def annotation(actions: tuple[Action, ...], release: str, rng: np.random.Generator) -> str:
    """The AU string as the release writes it, e.g. "4+L12", "R14B", "AU4+7", "?"."""
    if not actions:
        return "?"
    spec = SPECS[release]
    graded = spec.grades and rng.random() < 0.75
    parts = []
    for action in actions:
        prefix = "" if action.side == "both" else action.side
        suffix = "ABCDE"[int(np.searchsorted(_GRADES, action.strength))] if graded else ""
        both = action.au == 14 and action.side == "both" and rng.random() < 0.3
        parts += [f"L14{suffix}", f"R14{suffix}"] if both else [f"{prefix}{action.au}{suffix}"]
    return spec.mark + "+".join(parts)


def emotion(aus: tuple[int, ...], release: str) -> str:
    """A rough emotion for a combination of AUs, in the release's own words; 4DME may name two, "Surprise+Positive"."""
    seen = set(aus)
    smiles, startles = 12 in seen, {1, 2} <= seen or 5 in seen
    recoils = bool({9, 10} & seen) or {4, 7} <= seen
    name = "others"
    if smiles:
        name = "happiness"
    elif startles:
        name = "surprise"
    elif recoils:
        name = "disgust"
    elif release in _KNOW_REPRESSION and {14, 15, 17} & seen and 4 not in seen:
        name = "repression"
    elif 1 in seen:
        name = "sadness" if 4 in seen else "fear"
    elif release == "samm":
        name = "contempt" if 14 in seen else "sadness" if 15 in seen else "anger" if {4, 7} & seen else "others"
    names = [name]
    if release == "4dme" and startles and (smiles or recoils or 4 in seen):
        names = ["surprise", "happiness" if smiles else "disgust"]
    return "+".join(SPECS[release].words.get(k, k) for k in names)


@dataclass(frozen=True)
class PlannedClip:
    """One clip as planned: everything but the pictures."""

    subject: int
    index: int  # 1-based within the subject
    name: str
    onset: int
    apex: int
    offset: int
    digits: int  # the frame number is padded to this many
    actions: tuple[Action, ...]
    coded: str  # the AU string
    emotion: str


def stream(settings: dict[str, Any], subject: int, clip: int, tag: int) -> np.random.Generator:
    """An independent random stream; always five numbers, since a shorter seed is one padded with zeros."""
    return np.random.default_rng([settings["seed"], SPECS[settings["release"]].code, subject, clip, tag])


def plan(settings: dict[str, Any]) -> list[PlannedClip]:
    """Every clip of the release, subject by subject."""
    release = settings["release"]
    spec = SPECS[release]
    numbers = SUBJECTS[release][: settings["subjects"]]
    counts = clips_of_subjects(release, len(numbers), settings["clips_per_subject"])
    dealt = deal(release, counts, stream(settings, 0, 0, 1))
    clips: list[PlannedClip] = []
    for subject, combinations in zip(numbers, dealt, strict=True):
        # The pool has a fixed size, so that the k-th name does not depend on how many are used.
        pool = stream(settings, subject, 0, 2).permutation(spec.names)
        for index, aus in enumerate(combinations, 1):
            # Labels and everything else come from streams of their own: length, numbers and names cannot tell labels.
            labels, rest = stream(settings, subject, index, 3), stream(settings, subject, index, 4)
            actions = draw_actions(aus, spec.strength, labels)
            # Densest at the median, on either side of which half of the lengths reach to the end of the range.
            t = rest.uniform(-1, 1)
            reach = spec.longest - spec.median_length if t > 0 else spec.median_length - spec.shortest
            length = round(spec.median_length + t * abs(t) * reach)
            turn, place = divmod(index - 1, len(pool))
            onset = int(rest.integers(*spec.onsets)) + 120 * turn  # further apart than any clip of such a pool is long
            apex = onset + round(float(rest.uniform(0.3, 0.6)) * (length - 1))
            suffix, odd = rest.random() < 0.28, rest.random() < 0.04
            name = spec.name(subject, int(pool[place]) + turn * spec.names, onset, suffix)
            digits = spec.digits[1 if odd else 2 if len(clips) >= sum(counts) // 2 else 0]
            coded = annotation(actions, release, labels)
            where = (subject, index, name, onset, apex, onset + length - 1, digits)
            clips.append(PlannedClip(*where, actions, coded, emotion(aus, release)))
    return clips
