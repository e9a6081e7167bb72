"""What is particular to each release: combinations of action units, lengths, names, and its words for emotions.

The tables of combinations are made so that each action unit's share matches the counts derived from the public
annotations of CASME II (256 rows), SAMM (159), CASME (189), CAS(ME)3 part A (860), 4DME (267) and MMEW (300); they are
no copy of any.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from aullm_lib.facs import BENCHMARK

SUBJECTS = {
    "casme2": tuple(range(1, 27)),
    "samm": tuple(k for k in range(6, 38) if k not in (8, 27, 29)),
    "casme": tuple(range(1, 20)),
    "casme3": (*range(1, 91), 149, 184, 214, 216),  # 94, not numbered through: the last four have known errata
    "4dme": tuple(range(49, 91)),  # 42, from the one whose clips are known to be swapped
    "mmew": tuple(range(1, 31)),
}
MOST_CLIPS = 200  # of a subject, on average


@dataclass(frozen=True)
class Spec:
    """One release's share of the plan; lengths in frames.

    `name(subject, which, onset, f)` is a clip's name, `which` one of `names`; later rounds through the names lie later
    in the recording.  `f` is true in 28 % of clips.
    """

    code: int  # of its random streams
    combinations: tuple[tuple[tuple[int, ...], int], ...]
    covered: tuple[int, ...]  # AUs that even a small release holds
    median_length: float
    shortest: int
    longest: int
    onsets: tuple[int, int]  # from, to below
    names: int
    name: Callable[[int, int, int, bool], str]
    digits: tuple[int, int, int] = (0, 0, 0)  # frame numbers are padded to: usually, 4 % of clips, the sheet's 2nd half
    words: Mapping[str, str] = field(default_factory=dict)  # the release's own for emotions, where they differ
    grades: bool = False  # intensities A to E
    mark: str = ""  # before every AU string
    # Median strength of an AU, ours: so that optical flow with an SVM does not find everything. 0.3 where a release is
    # tested across releases only: training on five others makes up for half of CASME II's motion.
    strength: float = 0.3


SPECS = {
    "casme2": Spec(
        code=2,
        combinations=(
            ((4,), 70), ((4, 7), 22), ((4, 9), 7), ((4, 7, 9), 4), ((4, 10), 8), ((4, 7, 10), 3), ((4, 17), 2),
            ((4, 15), 1), ((4, 14), 2), ((1, 4), 2), ((1, 2, 4), 4), ((4, 5, 7), 1), ((4, 6, 7), 2), ((4, 15, 17), 2),
            ((7,), 5), ((6, 7, 12), 2), ((1, 2), 14), ((1, 2, 5), 1), ((1,), 5), ((2,), 3), ((12,), 19), ((6, 12), 9),
            ((12, 14), 1), ((12, 15), 1), ((12, 25), 1), ((10, 12), 1), ((14,), 21), ((10, 14), 2), ((14, 17), 1),
            ((15,), 7), ((15, 17), 5), ((17,), 15), ((), 5), ((9,), 2), ((10,), 2), ((20,), 1), ((24,), 2), ((25,), 1),
        ),
        covered=BENCHMARK["casme2"],
        median_length=61,
        shortest=24,
        longest=141,
        onsets=(20, 400),
        names=19 * 13,
        name=lambda _, which, __, f: f"EP{which // 13 + 1:02d}_{which % 13 + 1:02d}{'f' if f else ''}",
        strength=0.65,
    ),
    "samm": Spec(
        code=3,
        combinations=(
            ((7,), 31), ((4, 7), 6), ((4, 7, 9), 2), ((4, 9), 2), ((4,), 12), ((6, 7, 12), 1), ((7, 12), 1),
            ((2, 7), 1), ((7, 10), 2), ((7, 24), 2), ((12,), 22), ((6, 12), 2), ((12, 25), 2), ((2,), 8), ((1, 2), 4),
            ((1, 2, 4), 1), ((2, 5), 3), ((1, 2, 5), 1), ((14,), 12), ((14, 17), 1), ((5,), 6), ((10,), 4), ((15,), 3),
            ((15, 17), 1), ((17,), 4), ((20,), 6), ((20, 25), 1), ((24,), 7), ((25,), 4), ((9,), 1), ((26,), 6),
        ),
        covered=BENCHMARK["samm"],
        median_length=78,
        shortest=30,
        longest=101,
        onsets=(300, 9000),
        names=7 * 30,
        name=lambda subject, which, *_: f"{subject:03d}_{which // 30 + 1}_{which % 30 + 1}",
        digits=(5, 4, 5),
        words={
            name: name.capitalize()
            for name in ("happiness", "surprise", "disgust", "sadness", "fear", "contempt", "anger")
        }
        | {"others": "Other"},
        strength=0.5,  # methods score lower there than on CASME II
        grades=True,
    ),
    "casme": Spec(
        code=4,
        combinations=(
            ((4,), 38), ((4, 9), 18), ((9,), 20), ((4, 7), 6), ((1, 4), 3), ((1, 2, 4), 1), ((4, 14), 1), ((4, 15), 2),
            ((4, 17), 1), ((9, 10), 2), ((1, 2), 14), ((1,), 5), ((2,), 2), ((12,), 6), ((6, 12), 3), ((14,), 18),
            ((14, 17), 2), ((14, 15), 2), ((15,), 7), ((15, 17), 3), ((17,), 7), ((7,), 8), ((10,), 4), ((5,), 3),
            ((20,), 3), ((24,), 4), ((25,), 3), ((26,), 3),
        ),
        covered=(1, 2, 4, 9, 12, 14, 15, 17),
        median_length=19,
        shortest=9,
        longest=68,
        onsets=(20, 400),
        names=19 * 13,
        name=lambda _, which, *__: f"EP{which // 13 + 1:02d}_{which % 13 + 1}",
        digits=(0, 0, 3),
        words={"others": "tense"},
    ),
    "casme3": Spec(
        code=5,
        combinations=(
            ((1, 2), 90), ((1,), 45), ((2,), 25), ((1, 2, 4), 8), ((1, 4), 5), ((1, 2, 5), 5), ((4,), 205),
            ((4, 7), 15), ((4, 9), 20), ((4, 14), 14), ((4, 17), 3), ((4, 24), 4), ((5,), 39), ((7,), 12), ((9,), 30),
            ((12,), 10), ((6, 12), 5), ((14,), 165), ((14, 17), 7), ((14, 24), 7), ((17,), 10), ((24,), 48),
            ((10,), 20), ((15,), 15), ((20,), 12), ((25,), 21), ((26,), 20),
        ),
        covered=(1, 2, 4, 5, 7, 9, 14, 24),
        median_length=14,
        shortest=8,
        longest=40,
        onsets=(4000, 4060),
        names=26,
        name=lambda _, which, onset, __: f"{chr(97 + which % 26)}_{onset}",
        words={"happiness": "happy", "sadness": "sad"},
    ),
    "4dme": Spec(
        code=6,
        combinations=(
            ((4,), 35), ((4, 7), 40), ((7,), 22), ((4, 6, 7), 2), ((6, 7, 12), 8), ((6, 12), 10), ((12,), 26),
            ((7, 12), 5), ((1, 2), 23), ((1, 2, 12), 2), ((1, 2, 4), 8), ((1, 2, 7), 3), ((2,), 14), ((1,), 6),
            ((1, 4), 4), ((2, 4), 2), ((6,), 3), ((4, 17), 3), ((17,), 5), ((12, 17), 1), ((4, 7, 17), 2), ((6, 7), 2),
            ((4, 9), 3), ((4, 10), 3), ((7, 10), 2), ((7, 14), 3), ((12, 14), 1), ((2, 5), 2), ((14,), 9), ((10,), 6),
            ((24,), 5), ((15,), 4), ((5,), 3),
        ),
        covered=(1, 2, 4, 6, 7, 12, 17),
        median_length=20,
        shortest=8,
        longest=30,
        onsets=(5, 200),
        names=210,
        name=lambda subject, which, *_: f"S{subject}_{which // 14 + 1:03d}_{which // 7 % 2 + 1:02d}_{which % 7 + 1}",
        words={
            "happiness": "Positive",
            "surprise": "Surprise",
            "repression": "Repression",
            "others": "Others",
            **dict.fromkeys(("disgust", "sadness", "fear"), "Negative"),
        },
        mark="AU",
    ),
    "mmew": Spec(
        code=7,
        combinations=(
            ((4,), 35), ((4, 7), 30), ((4, 10), 12), ((4, 9), 8), ((4, 7, 10), 5), ((4, 15), 5), ((4, 17), 4),
            ((1, 4), 6), ((1, 2, 4), 4), ((1, 2), 15), ((1, 2, 5), 20), ((1, 5), 3), ((1,), 2), ((2,), 2), ((5,), 45),
            ((5, 7), 2), ((7,), 8), ((6, 7, 12), 2), ((10,), 19), ((10, 14), 2), ((12,), 25), ((6, 12), 10),
            ((14,), 14), ((14, 17), 1), ((15,), 5), ((17,), 6), ((20,), 2), ((24,), 4), ((9,), 4),
        ),
        covered=(1, 2, 4, 5, 7, 10, 12, 14),
        median_length=50,
        shortest=14,
        longest=108,
        onsets=(1, 2),
        names=7 * 30,
        name=lambda subject, which, *_: f"S{subject:02d}-{which // 30 + 1:02d}-{which % 30 + 1:03d}",
    ),
}  # fmt: skip
