"""How many clips, subjects and positives each release is documented to have, to hold a copy on disk against.

Counts were derived from the public evaluations' label tables (github.com/tvaranka/meb and the projects built on it) and
from public loaders and audits. A copy that differs is not wrong, but its scores compare with nobody's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

TITLES = {
    "casme2": "CASME II",
    "samm": "SAMM",
    "casme": "CASME",
    "casme3": "CAS(ME)3",
    "4dme": "4DME",
    "mmew": "MMEW",
}
"""How a release is called in text."""


@dataclass(frozen=True)
class Counts:
    """One version of a release."""

    source: str
    clips: int
    subjects: int
    positives: Mapping[int, int]  # by AU; only those that are documented
    by_subject: Mapping[str, int] = field(default_factory=dict)  # clips per subject, where documented
    note: str = ""
    empty: int | None = None  # clips that show none of the benchmark's AUs, where documented
    subjects_with: Mapping[int, int] = field(default_factory=dict)  # subjects with a positive, by AU, where documented


def _casme2(rows: int, source: str, positives: tuple[int, ...], by_subject: Mapping[str, int] | None = None) -> Counts:
    labels = dict(zip((1, 2, 4, 7, 12, 14, 15, 17), positives, strict=True))
    seen = {1: 10, 2: 9, 4: 24, 7: 12, 12: 14, 14: 15, 15: 7, 17: 10} if rows == 256 else {}
    return Counts(source, rows, 26, labels, by_subject or {}, empty=13 if by_subject else None, subjects_with=seen)


CASME2_SUBJECTS = {
    "sub01": 9, "sub02": 13, "sub03": 7, "sub04": 5, "sub05": 19, "sub06": 5, "sub07": 9, "sub08": 3, "sub09": 14,
    "sub10": 14, "sub11": 10, "sub12": 12, "sub13": 8, "sub14": 4, "sub15": 3, "sub16": 4, "sub17": 36, "sub18": 3,
    "sub19": 16, "sub20": 11, "sub21": 2, "sub22": 2, "sub23": 12, "sub24": 11, "sub25": 7, "sub26": 17,
}  # fmt: skip
SAMM_SUBJECTS = {
    "006": 11, "007": 10, "009": 4, "010": 4, "011": 20, "012": 3, "013": 6, "014": 11, "015": 3, "016": 5, "017": 6,
    "018": 4, "019": 3, "020": 9, "021": 2, "022": 5, "023": 1, "024": 1, "025": 4, "026": 13, "028": 3, "030": 3,
    "031": 1, "032": 6, "033": 5, "034": 3, "035": 9, "036": 1, "037": 3,
}  # fmt: skip

CASME2 = {
    256: _casme2(256, "the 256-row sheet", (26, 22, 130, 39, 34, 27, 16, 25), CASME2_SUBJECTS),
    255: _casme2(
        255, "the released sheet (255 rows)", (26, 22, 129, 38, 34, 27, 16, 25), CASME2_SUBJECTS | {"sub24": 10}
    ),
    247: _casme2(247, "the 256-row sheet without sadness and fear (247)", (19, 22, 129, 39, 34, 27, 16, 25)),
    246: _casme2(246, "the released sheet without sadness and fear (246)", (19, 22, 128, 38, 34, 27, 16, 25)),
}
OTHERS = {
    "samm": Counts(
        "the released sheet (159 clips)", 159, 29,
        {1: 6, 2: 18, 4: 23, 5: 10, 6: 3, 7: 46, 8: 1, 9: 5, 10: 6, 12: 28, 13: 3, 14: 13, 15: 4, 17: 6, 18: 4, 20: 7,
         21: 1, 23: 1, 24: 9, 25: 7, 26: 6, 31: 2, 38: 2, 39: 5, 43: 8, 56: 1, 61: 1},
        SAMM_SUBJECTS,
        "32 people were recorded, as the paper writes; micro-expressions exist for 29, so LOSO has 29 folds. Positives "
        "are documented with count_ref=True and alternatives='flow'.",
        56,
        {2: 9, 4: 10, 7: 16, 12: 8},
    ),
    "casme": Counts("the released sheet (189 clips)", 189, 19,
                    {1: 23, 2: 17, 4: 70, 9: 40, 12: 9, 14: 23, 15: 14, 17: 13}),
    "casme3": Counts("part A (860 clips)", 860, 94,
                     {1: 153, 2: 128, 4: 274, 5: 44, 7: 27, 9: 50, 12: 15, 14: 193, 17: 20, 24: 59}),
    "4dme": Counts("the released sheet (267 clips)", 267, 42,
                   {1: 46, 2: 54, 4: 102, 6: 25, 7: 89, 12: 53, 17: 11, 45: 34},
                   note="The documented counts use the sheet's one-hot columns and take an AU that is coded both as "
                   "held and as shown, '4(k)+4', for absent; this kit reads the AU strings and takes it for present. "
                   "So a genuine copy may have a few clips more for such an AU, as AU4 has. AU7 is documented both as "
                   "88 and as 89, for the same reason: a copy with either number is genuine."),
    "mmew": Counts("the released sheet (300 clips)", 300, 30,
                   {1: 50, 2: 41, 4: 109, 5: 70, 7: 47, 10: 38, 12: 37, 14: 17}),
}  # fmt: skip


def counts(dataset: str, version: int | None = None) -> Counts | None:
    """What is documented of a release; None for an unknown one. version: of CASME II, 255 (None), 256, 247 or 246."""
    return CASME2[version or 255] if dataset == "casme2" else OTHERS.get(dataset)
