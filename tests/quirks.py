"""Quirks of the true releases, planted in a synthetic one, and a list of every one.

`synthesize` writes a release as `datasets.synthesize` does and then disturbs it: known errata and oddities, on the true
release's clips where these are known by name and as far as subjects and clips reach; folders without a label come
beside those. The archive nests as downloads do, and CAS(ME)3 comes as whole recordings. `SYNTHETIC/quirks.csv` lists
every quirk: subject, clip, quirk, detail.

`disturb` takes the plan of a release and gives a `Stage`. Clips known by name (`ERRATA`) take the places of a subject's
first ones; AU strings go to the clips that come next, and damages to those that have none. What the truth says is
always what was rendered. The names, and the numbers marked true, are those that the releases' public loaders correct.
Where no public source has a number (the wrong value in a sheet, most of all) it is ours.
"""

import csv
import shutil
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import openpyxl

from aullm_lib.datasets.synthetic import release as writer
from aullm_lib.datasets.synthetic.film import Action
from aullm_lib.datasets.synthetic.layouts import LAYOUTS, Layout, Row, objective_class, save_workbook, write_workbook
from aullm_lib.datasets.synthetic.muscles import AMPLITUDE
from aullm_lib.datasets.synthetic.plan import PlannedClip, emotion, plan, stream
from aullm_lib.datasets.synthetic.specs import SPECS
from aullm_lib.facs import parse_aus

SHORTEST = 8  # frames that a film needs; of a shorter clip only some of its frames are kept


# What is known to be odd in the true releases: clips by name, most important first within a subject.


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

# The trees as some archives unpack.
_VARIANTS: dict[str, dict[str, Any]] = {
    "casme2": {
        "frames": "CASME2_RAW_selected/" + LAYOUTS["casme2"].frames,
        "crops": "Cropped/" + LAYOUTS["casme2"].crops,
        "sheet": replace(LAYOUTS["casme2"].sheet, file="CASME2-coding-20190701.xlsx"),
    },
    "samm": {"crops": "SAMM_CROP/" + LAYOUTS["samm"].frames},
    "casme3": {"frames": "part_A/{subject}/{letter}/color/{frame}.jpg"},
}


def layout_of(release: str) -> Layout:
    """The layout of a release whose archive nests."""
    return replace(LAYOUTS[release], **_VARIANTS.get(release, {}))


@dataclass(frozen=True)
class Staged:
    """A planned clip, and all that its files and its row say against the truth (see `quirks`).

    Frame numbers are the recording's.  `clip.coded` and `clip.emotion` are the sheet's; `clip.actions`, `onset`, `apex`
    and `offset` are what is rendered.
    """

    clip: PlannedClip
    cells: Mapping[str, Any] = field(default_factory=dict)  # of its row, by column
    labelled: bool = True  # the sheet has a row
    missing: tuple[int, ...] = ()  # frames that are not there
    extra: tuple[int, ...] = ()  # frames before the onset or after the offset, in the frames' folder
    cut: tuple[int, ...] = ()  # frames whose files hold the first half of their bytes, crops too
    faceless: bool = False  # out of focus: no face can be found
    cropped: bool = True  # has crops, where the layout knows of any
    folder: str = ""  # of the emotion, where the release sorts by it; the sheet's if empty
    twin_of: PlannedClip | None = None  # the clip whose pictures it repeats, of another subject

    @property
    def filed(self) -> PlannedClip:
        """The clip as its folder is named."""
        return replace(self.clip, emotion=self.folder or self.clip.emotion)

    @property
    def filmed(self) -> PlannedClip:
        """The clip as it is rendered: long enough for a film, its apex behind the onset."""
        clip = self.filed
        offset = max(clip.offset, clip.onset + SHORTEST - 1)
        return replace(clip, apex=min(max(clip.apex, clip.onset + 1), offset - 1), offset=offset)


class Note(NamedTuple):
    """One quirk planted; subject and clip as in the truth, empty where it concerns the whole release."""

    subject: str
    clip: str
    quirk: str
    detail: str


@dataclass
class Stage:
    """The release as it will be put onto the disk."""

    settings: dict[str, Any]
    layout: Layout
    clips: list[Staged]
    notes: list[Note] = field(default_factory=list)
    blank_rows: bool = False  # in the middle of the sheet and at its end
    busy: set[tuple[int, str]] = field(default_factory=set)  # clips whose files or numbers are odd already

    def rows(self) -> list[Row]:
        """The sheet, row by row."""
        rows: list[Row] = [{**self.layout.sheet.row(s.clip), **s.cells} for s in self.clips if s.labelled]
        return [*rows[: len(rows) // 2], {}, *rows[len(rows) // 2 :], {}] if self.blank_rows else rows

    def note(self, clip: PlannedClip | None, quirk: str, detail: str) -> None:
        """Write a quirk down; `clip` None: of the whole release."""
        names = (self.layout.name(clip.subject), clip.name) if clip else ("", "")
        self.notes.append(Note(*names, quirk, detail))

    def against(self, clip: PlannedClip, cells: Row) -> str:
        """What cells say that differ from the truth, in words."""
        true = self.layout.sheet.row(clip)
        return "; ".join(f"{column}: sheet {value!r}, true {true.get(column)!r}" for column, value in cells.items())

    def next(self) -> int | None:
        """The place of the next labelled clip whose files and numbers are as they should be; from now on it is busy."""
        for k, staged in enumerate(self.clips):
            key = (staged.clip.subject, staged.clip.name)
            if key not in self.busy and staged.labelled:
                self.busy.add(key)
                return k
        return None

    def cell(self, k: int, quirk: str, cells: Row) -> None:
        """Change cells of the row of the clip at place k."""
        self.note(self.clips[k].clip, quirk, self.against(self.clips[k].clip, cells))
        self.clips[k] = replace(self.clips[k], cells={**self.clips[k].cells, **cells})

    def damage(self, quirk: str, how: Callable[[PlannedClip], dict[str, tuple[int, ...]]]) -> None:
        """Change the files of the next clip, if there is one; `how` gives fields of `Staged`."""
        k = self.next()
        if k is not None:
            changes = how(self.clips[k].clip)
            self.clips[k] = replace(self.clips[k], **changes)  # type: ignore[arg-type]
            self.note(self.clips[k].clip, quirk, in_words(changes))

    def rename_emotion(self, name: str, quirk: str, of: str = "") -> None:
        """Let a clip have another emotion in the sheet: the first one of emotion `of`, or else the first of any."""
        noted = {(note.subject, note.clip) for note in self.notes if note.quirk == quirk}
        places = [
            k
            for k, staged in enumerate(self.clips)
            if staged.labelled and (self.layout.name(staged.clip.subject), staged.clip.name) not in noted
        ]
        if places:
            k = next((k for k in places if self.clips[k].clip.emotion == of), places[0])
            clip = self.clips[k].clip
            self.note(clip, quirk, f"sheet {name!r}, by its action units {clip.emotion!r}")
            self.clips[k] = replace(self.clips[k], clip=replace(clip, emotion=name))


def in_words(files: Mapping[str, Any]) -> str:
    """Frames whose files are odd, such as "extra 97-110"."""
    words = []
    for kind, numbers in files.items():
        if isinstance(numbers, tuple) and numbers:
            runs = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)
            words.append(f"{kind} {', '.join(str(r[0]) if len(r) == 1 else f'{r[0]}-{r[-1]}' for r in runs)}")
    return "; ".join(words)


def disturb(settings: dict[str, Any], layout: Layout, clips: list[PlannedClip]) -> Stage:
    """Stage a plan with the quirks of its release."""
    release = settings["release"]
    stage = Stage(settings, layout, [Staged(clip) for clip in clips])
    _name_clips(stage, ERRATA[release])
    _write_strings(stage, STRINGS[release])
    _PLANT[release](stage)
    noted = {(note.subject, note.clip) for note in stage.notes if note.quirk == "unknown AUs"}
    for staged in stage.clips:
        clip = staged.clip
        if clip.coded == "?" and (layout.name(clip.subject), clip.name) not in noted:
            stage.note(clip, "unknown AUs", _string_detail(clip))
        for column in ("Action Units", "AU"):
            cell = {**layout.sheet.row(clip), **staged.cells}.get(column)
            if staged.labelled and isinstance(cell, int):
                stage.note(clip, "number in AU cell", f"{column}: {cell}")
    return stage


def _acting(text: str, rng: np.random.Generator) -> tuple[Action, ...]:
    """Actions for an AU string: its first reading, without AUs that are not rendered or were there before the onset."""
    units = [u for u in parse_aus(text) if not u.alternative and not u.held and u.number in AMPLITUDE]
    actions = []
    for au in dict.fromkeys(unit.number for unit in units):
        sides = {unit.side[-1:] for unit in units if unit.number == au}
        left, right = (float(k) for k in rng.uniform(0.8, 1.0, 2))
        left, right = (left, 0.0) if sides == {"L"} else (0.0, right) if sides == {"R"} else (left, right)
        actions.append(Action(au, left, right, float(rng.uniform(0.5, 1.4)), float(rng.uniform(-0.1, 0.1))))
    return tuple(actions)


def _recode(settings: dict[str, Any], clip: PlannedClip, coded: str, shown: str) -> PlannedClip:
    """The clip with the sheet's string `coded`, showing the AUs of `shown`."""
    actions = _acting(shown, stream(settings, clip.subject, clip.index, 10))
    feeling = emotion(tuple(action.au for action in actions), settings["release"])
    return replace(clip, coded=coded, actions=actions, emotion=feeling)


def _string_detail(clip: PlannedClip) -> str:
    """What the sheet says and what was rendered; the AUs in which they differ."""
    rendered = {action.au for action in clip.actions}
    written = {unit.number for unit in parse_aus(clip.coded)}
    detail = f"sheet {clip.coded!r}, rendered {'+'.join(map(str, sorted(rendered))) or 'nothing'}"
    for words, aus in (("not rendered", written - rendered), ("not in the sheet", rendered - written)):
        detail += f"; {words} {', '.join(map(str, sorted(aus)))}" if aus else ""
    return detail


def _name_clips(stage: Stage, errata: Iterable[Erratum]) -> None:
    """Put the clips known by name into their subjects' first places, unlabelled ones behind the last."""
    release = stage.settings["release"]
    for subject in dict.fromkeys(staged.clip.subject for staged in stage.clips):
        known = [e for e in errata if e.subject == subject]
        places = [k for k, staged in enumerate(stage.clips) if staged.clip.subject == subject]
        labelled = [e for e in known if e.labelled][: len(places)]
        for count, k in enumerate(places):
            clip = stage.clips[k].clip
            if count < len(labelled):
                stage.clips[k] = _name(stage, clip, labelled[count])
            elif clip.name in {e.name for e in known}:
                # drawn for a clip of ours, but it is a named one's: a name from beyond the pool instead
                beyond = SPECS[release].name(subject, SPECS[release].names + count, clip.onset, False)
                stage.clips[k] = Staged(replace(clip, name=beyond))
        unlabelled = [e for e in known if not e.labelled]
        for count, erratum in enumerate(unlabelled, 1):
            model = replace(stage.clips[places[0]].clip, index=10_000 + count)
            stage.clips.insert(places[-1] + count, _name(stage, model, erratum))


def _name(stage: Stage, clip: PlannedClip, erratum: Erratum) -> Staged:
    """A planned clip as the erratum has it; notes its quirks."""
    digits = clip.digits if erratum.digits is None else erratum.digits
    clip = replace(
        clip, name=erratum.name, onset=erratum.onset, apex=erratum.apex, offset=erratum.offset, digits=digits
    )
    details = [stage.against(clip, erratum.cells), in_words(erratum.files)]
    if erratum.coded is not None:
        clip = _recode(stage.settings, clip, erratum.coded, erratum.shown or erratum.coded)
        details.append(_string_detail(clip))
    if erratum.digits is not None:
        details.append("frame numbers not padded")
    if erratum.files.get("faceless"):
        details.append("out of focus")
    for text in erratum.quirks:
        quirk, _, detail = text.partition(": ")
        stage.note(clip, quirk, detail or "; ".join(filter(None, details)))
    stage.busy.add((clip.subject, clip.name))
    return Staged(clip, cells=erratum.cells, labelled=erratum.labelled, **erratum.files)


def _write_strings(stage: Stage, strings: tuple[str, ...]) -> None:
    """Give one notation each to the first clips whose AU string no erratum sets."""
    release = stage.settings["release"]
    fixed = {(e.subject, e.name) for e in ERRATA[release] if e.coded is not None}
    places = [k for k, s in enumerate(stage.clips) if s.labelled and (s.clip.subject, s.clip.name) not in fixed]
    for k, text in zip(places, strings, strict=False):
        staged = stage.clips[k]
        clip = _recode(stage.settings, staged.clip, text, text)
        # SAMM's sheet holds text but for this
        number = {"Action Units": int(text)} if release == "samm" and text.isdigit() else {}
        stage.clips[k] = replace(staged, clip=clip, cells={**staged.cells, **number})
        stage.note(clip, "AU string", _string_detail(clip))


def _middle(clip: PlannedClip) -> int:
    return (clip.onset + clip.offset) // 2


def _plant_casme2(stage: Stage) -> None:
    for name in ("sadness", "fear"):
        having = [staged.clip for staged in stage.clips if staged.clip.emotion == name and staged.labelled]
        if not having:
            stage.rename_emotion(name, "rare emotion", of="others")
        for clip in having:
            stage.note(clip, "rare emotion", f"sheet {name!r}")
    stage.damage("missing frame", lambda clip: {"missing": (_middle(clip),)})
    stage.damage("truncated image", lambda clip: {"cut": (_middle(clip),)})
    _plant_twin(stage)
    stage.damage("frames beyond the clip", lambda clip: {"extra": (clip.offset + 1,)})
    stage.blank_rows = True
    stage.note(None, "blank row", "one in the middle of the sheet, one at its end")
    stage.note(None, "subject without zeros", "Subject cells are numbers, folders sub01")
    stage.note(None, "nested folders", "CASME2_RAW_selected/CASME2_RAW_selected, Cropped/Cropped")
    for file in (_LOCK, _RESOURCE):
        stage.note(None, "stray file", file)


def _plant_twin(stage: Stage) -> None:
    """The next clip that is as it should be, under a second name of the subject after its own."""
    subjects = list(dict.fromkeys(staged.clip.subject for staged in stage.clips))
    k = stage.next()
    if k is None or stage.clips[k].clip.subject == subjects[-1]:
        return
    clip = stage.clips[k].clip
    other = subjects[subjects.index(clip.subject) + 1]
    twin = Staged(replace(clip, subject=other, name="EP99_01"), twin_of=clip)
    last = max(i for i, staged in enumerate(stage.clips) if staged.clip.subject == other)
    stage.clips.insert(last + 1, twin)
    stage.busy.add((other, twin.clip.name))
    stage.note(twin.clip, "duplicate clip", f"the pictures of {stage.layout.name(clip.subject)}/{clip.name}")


def _plant_samm(stage: Stage) -> None:
    stage.damage(
        "frames beyond the clip",
        lambda clip: {"extra": (*range(clip.onset - 5, clip.onset), *range(clip.offset + 1, clip.offset + 6))},
    )
    stage.rename_emotion("Others", "emotion spelled otherwise", of="Other")
    for k, staged in enumerate(stage.clips):
        clip = staged.clip
        stage.clips[k] = replace(staged, cropped=k < 3)  # a few clips of crops, made by users
        if k < 3:
            stage.note(clip, "crops beside", "SAMM_CROP")
        if clip.digits == 4:
            stage.note(clip, "zero padding", "frame numbers padded to 4")
        if k % 3 == 1:
            stage.cell(k, "subject cell is a number", {"Subject": clip.subject})


def _plant_casme(stage: Stage) -> None:
    stage.rename_emotion("comtempt", "emotion misspelled")
    for k in range(0, len(stage.clips), 3):
        clip = stage.clips[k].clip
        stage.cell(k, "second apex", {"ApexF2": min(clip.apex + 2, clip.offset)})


def _plant_casme3(stage: Stage) -> None:
    for k, staged in enumerate(stage.clips):
        clip = staged.clip
        if not staged.extra:
            around = (*range(max(clip.onset - 3, 0), clip.onset), *range(clip.offset + 1, clip.offset + 4))
            stage.clips[k] = replace(staged, extra=around)
        if k % 4 == 3:
            stage.cell(k, "letter case", {"Filename": clip.name.split("_")[0].upper()})
    stage.note(None, "folders of whole recordings", "part_A/spNO.1/a/color holds frames before, between and after")
    stage.note(None, "second sheet", "the sheet 'label' comes second")
    stage.damage("missing frame", lambda clip: {"missing": (_middle(clip),)})
    for quirk, apex in (("apex outside the clip", 20), ("apex is the onset", None)):
        place = stage.next()
        if place is not None:
            clip = stage.clips[place].clip
            stage.cell(place, quirk, {"Apex": clip.onset if apex is None else clip.offset + apex})


def _plant_mmew(stage: Stage) -> None:
    """Clips of the emotion "others" live in two folders."""
    others = [k for k, staged in enumerate(stage.clips) if staged.clip.emotion == "others"]
    for k in others[::2]:
        stage.clips[k] = replace(stage.clips[k], folder="repression")
        stage.note(stage.clips[k].clip, "emotion folder", "sheet 'others', folder 'repression'")


_PLANT: dict[str, Callable[[Stage], None]] = {
    "casme2": _plant_casme2,
    "samm": _plant_samm,
    "casme": _plant_casme,
    "casme3": _plant_casme3,
    "4dme": lambda stage: None,  # all of its quirks are AU strings
    "mmew": _plant_mmew,
}
_LOCK, _RESOURCE = "~$CASME2-coding-20190701.xlsx", "__MACOSX/Cropped/._sub01"


def _write_stray_files(root: Path, release: str, stage: Stage) -> None:
    """What archives and desktops leave in a release: CASME II's second workbook, Excel's lock file, a resource fork."""
    if release != "casme2":
        return
    rows: list[tuple[Any, ...]] = [("Subject", "Filename", "Objective Class")]
    for staged in stage.clips:
        if staged.labelled:
            clip = staged.clip
            rows.append((clip.subject, clip.name, objective_class(action.au for action in clip.actions)))
    write_workbook(root / "CASME2-ObjectiveClasses.xlsx", "Sheet1", rows)
    (root / _LOCK).write_bytes(b"\x07someone".ljust(165, b" "))
    (root / _RESOURCE).parent.mkdir(parents=True)
    (root / _RESOURCE).write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")


def synthesize(root: Path, release: str, *, subjects: int, clips_per_subject: int, seed: int = 1) -> Path:
    """Write a synthetic release with every quirk of the true one; returns `root`."""
    settings = {"synthetic": True, "release": release, "subjects": subjects, "clips_per_subject": clips_per_subject}
    settings |= {"intensity": 1.0, "seed": seed, "version": writer.VERSION}
    root.mkdir(parents=True)
    stage = disturb(settings, layout_of(release), plan(settings))
    single = [staged for staged in stage.clips if staged.twin_of is None]
    writer.write(root, settings, stage.layout, [staged.filmed for staged in single], stage.rows())
    for staged in single:
        _disturb_files(root, stage, staged)
    for staged in stage.clips:
        if staged.twin_of:
            _copy_clip(root, stage.layout, staged.twin_of, staged.clip)
    _disturb_workbook(root / stage.layout.sheet.file, stage)
    _write_stray_files(root, release, stage)
    with (root / "SYNTHETIC" / "quirks.csv").open("w", newline="") as file:
        csv.writer(file).writerows([Note._fields, *stage.notes])
    return root


def write_clip(root: Path, stage: Stage, staged: Staged) -> None:
    """One staged clip onto the disk."""
    face: Future = Future()
    face.set_result(writer.seat(stage.settings, staged.clip.subject))
    writer.write_clip(root, stage.settings, stage.layout, staged.filmed, face)
    _disturb_files(root, stage, staged)


def _disturb_files(root: Path, stage: Stage, staged: Staged) -> None:
    """Damage, remove or add files of a clip that was rendered."""
    clip, layout, filmed = staged.clip, stage.layout, staged.filmed
    rng = stream(stage.settings, clip.subject, clip.index, 9)

    def frame(number: int) -> Path:
        return root / layout.path(layout.frames, staged.filed, number)

    def crop(number: int) -> Path:
        return root / layout.path(layout.crops, staged.filed, number)

    rendered = range(filmed.onset, filmed.offset + 1)
    if staged.faceless:
        for number in rendered:
            writer.write_image(frame(number), _blurred(_read(frame(number))))
    for number in set(staged.extra) - set(rendered):  # with other noise: no two frames of a camera are equal
        image = _read(frame(clip.onset if number < clip.onset else filmed.offset))
        noise = rng.integers(-2, 3, image.shape, dtype=np.int16)
        writer.write_image(frame(number), np.clip(image + noise, 0, 255).astype(np.uint8))
    for number in {*staged.missing, *range(clip.offset + 1, filmed.offset + 1)} - set(staged.extra):
        frame(number).unlink()
        if layout.crops:
            crop(number).unlink()
    for path in [place(number) for number in staged.cut for place in ((frame, crop) if layout.crops else (frame,))]:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    if layout.crops and not staged.cropped:
        masks = root / "SYNTHETIC" / "masks_cropped" / layout.name(clip.subject) / clip.name
        for folder in (crop(clip.onset).parent, masks):
            shutil.rmtree(folder, ignore_errors=True)  # a clip without AUs has no masks
            if folder.parent.is_dir() and not any(folder.parent.iterdir()):
                folder.parent.rmdir()


def _read(path: Path) -> np.ndarray:
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


def _blurred(image: np.ndarray) -> np.ndarray:
    """So far out of focus that nobody finds a face."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(width // 80, 2), max(height // 80, 2)), interpolation=cv2.INTER_AREA)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def _copy_clip(root: Path, layout: Layout, clip: PlannedClip, twin: PlannedClip) -> None:
    """Another clip's pictures, masks and truth under the names of a twin."""
    old, new = ((layout.name(one.subject), one.name) for one in (clip, twin))
    for template in (layout.frames, layout.crops):
        paths = (root / layout.path(template, one, clip.onset) for one in (clip, twin))
        source, target = (path.parent for path in paths)
        shutil.copytree(source, target)
    for kind in ("masks", "masks_cropped"):
        masks = root / "SYNTHETIC" / kind
        if (masks / "/".join(old)).is_dir():
            shutil.copytree(masks / "/".join(old), masks / "/".join(new))
    for name in ("faces.csv", "clips.csv"):
        path = root / "SYNTHETIC" / name
        lines = path.read_text().splitlines()
        copies = [line for line in lines if line.startswith(",".join(old) + ",")]
        copies = [line.replace(",".join(old), ",".join(new)).replace("/".join(old), "/".join(new)) for line in copies]
        path.write_text("\n".join([*lines, *copies]) + "\n")


def _disturb_workbook(path: Path, stage: Stage) -> None:
    """A sheet of notes before CAS(ME)3's codes; blank rows that somebody has touched are there."""
    book = openpyxl.load_workbook(path)
    if stage.settings["release"] == "casme3":
        book.create_sheet("Sheet1", 0)["A1"] = "Synthetic codes: see the next sheet"
    for number, row in enumerate(stage.rows(), stage.layout.sheet.header + 1):
        if not row:
            book.worksheets[0].cell(number, 1).number_format = "@"
    save_workbook(book, path)
