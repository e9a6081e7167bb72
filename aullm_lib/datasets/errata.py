"""Known errors of the released sheets, each with its source; ``load(..., errata=False)`` leaves the sheets as they are.

A correction is found by subject and clip. Where the sheet's wrong value is documented it is given too, and a sheet that
says something else is left alone; a cell that has the right value already is no news. ``sources``: [meb] the data set
classes of github.com/tvaranka/meb; [clean] and [eda] the public loaders and audits that compared sheets with files.
"""

import dataclasses
from dataclasses import dataclass

from aullm_lib.datasets.workbook import Row, text

UNKNOWN = object()  # the replaced value is not documented
MISSING = ("", "/")  # cells without a value


@dataclass(frozen=True)
class Erratum:
    """``right`` replaces ``wrong`` in one field ("onset", "apex", "offset" or "aus") of one clip."""

    subject: str
    clip: str
    field: str
    right: int | str
    source: str
    wrong: object = UNKNOWN  # a value; "" for an empty cell or "/"; UNKNOWN
    where: dict[str, int] = dataclasses.field(default_factory=dict)  # other cells, where rows share a clip name


def _apexes(source: str, wrong: object, apexes: dict[tuple[str, str], int]) -> list[Erratum]:
    return [Erratum(s, c, "apex", value, source, wrong) for (s, c), value in apexes.items()]


def _extents(source: str, clips: dict[tuple[str, str], dict[str, int]]) -> list[Erratum]:
    return [Erratum(s, c, name, value, source) for (s, c), fixes in clips.items() for name, value in fixes.items()]


ERRATA: dict[str, list[Erratum]] = {
    "casme": _extents(
        "[meb], after the frame folders",
        {
            ("sub03", "EP07_1"): {"onset": 100, "apex": 120, "offset": 149},
            ("sub03", "EP09_3"): {"onset": 101, "apex": 110, "offset": 119},
            ("sub03", "EP09_4"): {"onset": 57, "apex": 65, "offset": 74},
            ("sub06", "EP02_7"): {"offset": 40},
            ("sub13", "EP13_5"): {"offset": 142},
        },
    ),
    "casme2": [
        Erratum("sub05", "EP09_05f", "apex", 81, "[meb], by optical flow; the sheet has the onset", 69),
        Erratum("sub16", "EP01_08", "offset", 96, "[eda], after the cropped frames", 110),
        Erratum("sub16", "EP01_08", "apex", 88, "[meb], by optical flow", 94),
        Erratum("sub07", "EP06_01", "offset", 91, "[meb], after the frame folder"),
        # No apex: one clip of the released sheets, these of the 256-row one.
        *_apexes(
            "[meb], by optical flow",
            "",
            {
                ("sub04", "EP12_01f"): 279, ("sub05", "EP03_01"): 68, ("sub05", "EP07_01"): 77,
                ("sub05", "EP09_05f"): 81, ("sub05", "EP16_04f"): 166, ("sub06", "EP01_01"): 100,
                ("sub07", "EP06_01"): 78, ("sub12", "EP09_02"): 187, ("sub12", "EP09_06"): 89,
                ("sub13", "EP09_10"): 80, ("sub16", "EP01_08"): 88, ("sub17", "EP03_09"): 134,
                ("sub17", "EP06_07"): 231, ("sub17", "EP13_09"): 53, ("sub17", "EP15_03"): 329,
                ("sub18", "EP19_01"): 111, ("sub20", "EP16_01"): 91, ("sub20", "EP16_04"): 103,
                ("sub25", "EP09_02"): 98, ("sub25", "EP12_01"): 153, ("sub25", "EP18_04f"): 98,
            },
        ),
    ],
    "samm": [
        Erratum("013", "013_1_9", "offset", 5739, "[meb]"),
        Erratum("028", "028_4_1", "apex", 1105, "[meb], by optical flow; the sheet's lies outside the clip"),
        Erratum("032", "032_3_1", "apex", 4945, "[meb], by optical flow; the sheet's lies outside the clip"),
        Erratum("032", "032_3_2", "apex", 5130, "[meb], by optical flow"),
    ],
    "casme3": [
        Erratum("spNO.149", "d", "apex", 123, "[meb]", where={"onset": 112}),
        Erratum("spNO.214", "c", "offset", 34, "[meb]", where={"onset": 5}),
        Erratum("spNO.216", "d", "onset", 2647, "[meb]", where={"apex": 2668, "offset": 2694}),
        Erratum("spNO.216", "e", "onset", 1, "[meb]; there is no frame 0", where={"offset": 25}),
        Erratum("spNO.216", "e", "apex", 1, "[meb]; there is no frame 0", where={"offset": 25}),
        Erratum("spNO.40", "e", "offset", 1845, "[meb]", where={"onset": 1812}),
        Erratum("spNO.40", "e", "offset", 2403, "[meb]", where={"onset": 2327}),
    ],
    "4dme": [  # the AU codes of two neighbouring rows stand in each other's place
        Erratum("S49", "S49_001_01_1", "aus", "AU4+7", "[meb]", "AU4+7+12"),
        Erratum("S49", "S49_001_01_2", "aus", "AU4+7+12", "[meb]", "AU4+7"),
    ],
    "mmew": _extents(
        "[meb]",
        {
            ("S04", "S04-01-001"): {"apex": 40, "offset": 75}, ("S04", "S04-02-002"): {"apex": 15, "offset": 54},
            ("S04", "S04-02-003"): {"apex": 46, "offset": 59}, ("S04", "S04-03-001"): {"apex": 20, "offset": 98},
            ("S04", "S04-03-002"): {"apex": 25, "offset": 80}, ("S04", "S04-03-003"): {"apex": 20, "offset": 93},
            ("S04", "S04-04-001"): {"apex": 23, "offset": 58}, ("S04", "S04-04-002"): {"apex": 28, "offset": 61},
            ("S04", "S04-06-001"): {"apex": 32, "offset": 68}, ("S13", "S13-01-001"): {"apex": 56, "offset": 88},
            ("S13", "S13-01-002"): {"apex": 32, "offset": 80}, ("S13", "S13-02-001"): {"apex": 27, "offset": 85},
            ("S13", "S13-02-002"): {"apex": 22, "offset": 61}, ("S13", "S13-02-004"): {"apex": 29, "offset": 108},
            ("S13", "S13-03-006"): {"apex": 31, "offset": 72}, ("S13", "S13-04-001"): {"apex": 38, "offset": 106},
        },
    ),
}  # fmt: skip


def correct(release: str, subject: str, row: Row, log: list[str]) -> Row:
    """A row with the release's errata for its clip applied; each one applied is added to ``log``."""
    cells, clip = dict(row.cells), text(row["clip"])
    for fix in ERRATA.get(release, ()):
        same = (fix.subject.casefold(), fix.clip.casefold()) == (subject.casefold(), clip.casefold())
        if not same or any(text(row[name]) != str(value) for name, value in fix.where.items()):
            continue
        value = text(cells[fix.field])
        wrong = fix.wrong is UNKNOWN or value == str(fix.wrong) or (fix.wrong == "" and value in MISSING)
        if wrong and value != str(fix.right):
            cells[fix.field] = fix.right
            log.append(f"{subject}/{clip}: {fix.field} {value or 'empty'} -> {fix.right} ({fix.source})")
    return dataclasses.replace(row, cells=cells)
