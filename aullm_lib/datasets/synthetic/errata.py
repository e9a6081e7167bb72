"""What is known to be odd in the true releases: clips by name, and the notations of their AU strings.

The names, and the numbers marked true, are those that the releases' public loaders correct.  Where no public source has
a number (the wrong value in a sheet, most of all) it is ours.  Clips stand most important first within a subject.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["ERRATA", "STRINGS", "Erratum"]


@dataclass(frozen=True)
class Erratum:
    """One clip of a true release that differs from what its sheet says, or that no sheet lists."""

    subject: int
    name: str
    onset: int  # true, as are the next two
    apex: int
    offset: int
    quirks: tuple[str, ...]  # "quirk" or "quirk: detail"; details are made from what differs if not given
    cells: Mapping[str, Any] = field(default_factory=dict)  # what the sheet says instead, by column
    coded: str | None = None  # the sheet's AU string; any if None
    shown: str | None = None  # the AUs that the clip really shows; those of `coded` if None
    digits: int | None = None  # frame numbers are padded to this many; as usual if None
    files: Mapping[str, Any] = field(default_factory=dict)  # fields of `Staged`
    labelled: bool = True  # an unlabelled clip comes beside the subject's others and counts for none


def _unknown(subject: int, name: str, onset: int, apex: int, offset: int) -> Erratum:
    return Erratum(subject, name, onset, apex, offset, ("unknown AUs",), coded="?")


def _unpadded(subject: int, name: str, onset: int, apex: int, offset: int, coded: str | None = None) -> Erratum:
    # Each passes a power of ten, where names sort otherwise than numbers do.
    quirks = ("zero padding", "alternatives") if coded else ("zero padding",)
    return Erratum(subject, name, onset, apex, offset, quirks, coded=coded, digits=0)


def _either(subject: int, name: str, onset: int, apex: int, offset: int, coded: str) -> Erratum:
    return Erratum(subject, name, onset, apex, offset, ("alternatives",), coded=coded)


def _faceless(subject: int, name: str, onset: int, apex: int, offset: int) -> Erratum:
    return Erratum(subject, name, onset, apex, offset, ("no face",), files={"faceless": True})


def _wrong(subject: int, name: str, onset: int, apex: int, offset: int, **cells: int) -> Erratum:
    return Erratum(subject, name, onset, apex, offset, ("wrong frame numbers",), cells=cells)


def _range(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


ERRATA: dict[str, tuple[Erratum, ...]] = {
    "casme2": (
        Erratum(4, "EP12_01f", 261, 279, 321, ("unknown apex",), {"ApexFrame": "/"}),
        Erratum(5, "EP09_05f", 69, 81, 110, ("apex is the onset",), {"ApexFrame": 69}),
        Erratum(
            16,
            "EP01_08",
            73,
            88,
            96,
            ("crops end early",),
            {"ApexFrame": 94, "OffsetFrame": 110},
            files={"extra": _range(97, 110)},  # the full frames go on; the crops show where it ends
        ),
        Erratum(7, "EP06_01", 56, 78, 91, ("offset beyond the frames",), {"OffsetFrame": 101}),
        Erratum(9, "EP02_02f", 46, 70, 101, ("unlabelled folder",), coded="4", labelled=False),
        Erratum(24, "EP02_07", 61, 80, 106, ("unlabelled folder",), coded="4+7", labelled=False),
        _unknown(5, "EP05_03", 40, 65, 100),
        _unknown(5, "EP07_01", 50, 77, 110),
        _unknown(5, "EP13_04f", 200, 220, 250),
        _unknown(19, "EP11_01f", 30, 60, 95),
        _unknown(26, "EP13_01", 80, 110, 140),
    ),
    "samm": (
        Erratum(
            13,
            "013_1_9",
            5658,
            5690,
            5739,
            ("offset beyond the frames",),
            {"Offset Frame": 5793, "Duration": 136},
        ),
        _unpadded(13, "013_1_12", 960, 990, 1030),
        _unpadded(13, "013_1_8", 9960, 9992, 10040),
        _unpadded(17, "017_3_2", 95, 130, 170),
        _unpadded(26, "026_1_1", 990, 1020, 1060),
        _unpadded(26, "026_1_2", 60, 90, 125),
        _unpadded(35, "035_7_2", 9970, 10000, 10035, "R14A or 17A"),
        _either(7, "007_6_1", 3100, 3130, 3170, "R12+R15 or 17"),
        _either(7, "007_6_5", 4200, 4240, 4290, "R12+R15 or 17"),
        _either(11, "011_4_2", 5010, 5040, 5080, "L14 or 15"),
        _either(14, "014_5_2", 2050, 2080, 2120, "R14 or 17"),
        Erratum(28, "028_4_1", 1071, 1105, 1134, ("apex outside the clip",), {"Apex Frame": 1150}),
        Erratum(32, "032_3_1", 4896, 4945, 4970, ("apex outside the clip",), {"Apex Frame": 4988}),
        Erratum(32, "032_3_2", 5126, 5130, 5207, ("wrong apex",), {"Apex Frame": 5180}),
    ),
    "casme": (
        _wrong(3, "EP07_1", 100, 120, 149, OnsetF=108, ApexF1=128, OffsetF=157),
        _wrong(3, "EP09_3", 101, 110, 119, OnsetF=110, ApexF1=119, OffsetF=128),
        _wrong(3, "EP09_4", 57, 65, 74, OnsetF=66, ApexF1=74, OffsetF=83),
        _wrong(6, "EP02_7", 27, 31, 40, OffsetF=60),
        _wrong(13, "EP13_5", 99, 110, 142, OffsetF=182),
    ),
    "casme3": (
        Erratum(1, "a_355", 355, 360, 368, ("shared folder",), files={"extra": (*_range(350, 354), *_range(369, 401))}),
        Erratum(
            1,
            "a_402",
            402,
            403,
            405,
            ("shared folder", "fewer than 6 frames: 402-405", "letter case: sheet 'A', folder 'a'"),
            {"Filename": "A"},
            files={"extra": _range(406, 410)},
        ),
        _faceless(2, "e_138", 138, 144, 152),
        _faceless(39, "j_855", 855, 861, 868),
        Erratum(40, "e_1812", 1812, 1825, 1845, ("wrong frame numbers",), {"Offset": 0}),
        Erratum(40, "e_2327", 2327, 2350, 2403, ("wrong frame numbers",), {"Offset": 0}),
        _faceless(40, "j_1016", 1016, 1022, 1030),
        Erratum(149, "d_112", 112, 123, 130, ("wrong frame numbers",), {"Apex": 83}),
        _faceless(184, "c_466", 466, 472, 480),
        Erratum(214, "c_5", 5, 15, 34, ("wrong frame numbers",), {"Offset": 0}),
        Erratum(
            216,
            "e_0",
            1,
            1,
            25,
            ("wrong frame numbers", "missing frame: 0, the sheet's onset"),
            {"Onset": 0, "Apex": 0},
            files={"extra": _range(26, 28)},  # its recording has no frame 0
        ),
        Erratum(216, "d_2747", 2647, 2668, 2694, ("wrong frame numbers",), {"Onset": 2747}),
    ),
    "4dme": (
        Erratum(49, "S49_001_01_1", 12, 20, 33, ("AU strings swapped",), coded="AU4+7+12", shown="AU4+7"),
        Erratum(49, "S49_001_01_2", 40, 49, 60, ("AU strings swapped",), coded="AU4+7", shown="AU4+7+12"),
    ),
    "mmew": (
        _wrong(4, "S04-01-001", 1, 40, 75, ApexFrame=85, OffsetFrame=95),
        _wrong(4, "S04-02-002", 1, 15, 54, ApexFrame=55, OffsetFrame=40),
        *(
            _wrong(4, f"S04-{name}", 1, apex, offset, ApexFrame=apex + 5, OffsetFrame=offset + 10)
            for name, apex, offset in (
                *(("02-003", 46, 59), ("03-001", 20, 98), ("03-002", 25, 80), ("03-003", 20, 93)),
                *(("04-001", 23, 58), ("04-002", 28, 61), ("06-001", 32, 68)),
            )
        ),
        _wrong(13, "S13-01-001", 1, 56, 88, ApexFrame=26, OffsetFrame=58),
        _wrong(13, "S13-02-001", 1, 27, 85, ApexFrame=127, OffsetFrame=185),
        *(
            _wrong(13, f"S13-{name}", 1, apex, offset, ApexFrame=apex + 5, OffsetFrame=offset + 10)
            for name, apex, offset in (
                *(("01-002", 32, 80), ("02-002", 22, 61), ("02-004", 29, 108), ("03-006", 31, 72)),
                ("04-001", 38, 106),
            )
        ),
    ),
}

# Every notation that a release's sheet is known to hold.  SAMM's list ends with those of the other releases, so that
# one release can try a parser on all of them.
STRINGS: dict[str, tuple[str, ...]] = {
    "casme2": ("L12", "4+R10", "R2+15", "4+7+6", " 4+7 ", "L14+L15"),
    "samm": (
        *("7B", "43C", "A12", "A1B+A2C", "A9E+ref(10)", "T18", "B18", "T23", "10A/B", "4A/B", "A/L12", "ref(7B)+43"),
        *("12A+ref(24)", "R14+17+soft focus", "L12 + 61", "12+15 ", "R12 + R15", "ref(L10)+A12B", "7B+ ref(43)", "?"),
        *("4+7+6", "L14+L15", "A10", "12", "AUR1+2+ L4+45", "AU4(k)+4+7", "AU4+12(offset)+45", "20L"),
    ),
    "casme": (),
    "casme3": ("4,7", "1，2"),
    "4dme": ("AUR1+2+ L4+45", "AU4(k)+4+7", "AU4(k)+7", "AU4+12(offset)+45"),
    "mmew": ("12L", "4R+7", "R4+7"),
}
