"""Where a release keeps its frames, what its camera sees, and how its coding workbook is laid out.

One `Sheet` and one `Layout` per release. What facts are known of the trees and sheets comes from the releases' public
loaders; where they are silent (how large a face is in the frame, say) the numbers are ours.
"""

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import openpyxl

from aullm_lib.datasets.synthetic.anatomy import Population
from aullm_lib.datasets.synthetic.plan import PlannedClip
from aullm_lib.datasets.synthetic.portrait import Lamp, Studio
from aullm_lib.datasets.synthetic.specs import SPECS
from aullm_lib.facs import parse_aus

# CASME and CASME II: four LED lamps, even light. SAMM: two lamps.  The rest is ours.
_FOUR_LAMPS = Studio(
    lamps=tuple(
        Lamp((x, y, 1.0), share)
        for x, y, share in ((0.7, 0.5, 0.22), (-0.7, 0.5, 0.22), (0.3, 0.9, 0.18), (-0.3, 0.9, 0.18))
    ),
    ambient=0.3,
    wall=150,
)
_TWO_LAMPS = Studio(lamps=(Lamp((1.0, 0.35, 0.8), 0.42), Lamp((-1.0, 0.4, 0.7), 0.3)), ambient=0.34, wall=118)
_OFFICE = Studio(lamps=(Lamp((0.3, 1.0, 0.7), 0.5), Lamp((-0.8, 0.2, 0.9), 0.15)), ambient=0.38, wall=170)
# CASME, CASME II, CAS(ME)3 and MMEW: students in China, 22 years on average. SAMM: 13 ethnicities, 19 to 57 years, half
# of them women. 4DME: 22 to 57 years. The shares of ancestries in SAMM and 4DME are ours.
_STUDENTS = Population({"asian": 1.0}, women=0.5, age=(19, 30))
_MIXED = Population({"asian": 0.25, "caucasian": 0.55, "african": 0.2}, women=0.5, age=(19, 57))
_VARIED = Population({"asian": 0.4, "caucasian": 0.5, "african": 0.1}, women=0.4, age=(22, 57))

CROP = (340, 280)  # height and width of the registered crops of CASME II, in pixels
Row = Mapping[str, Any]  # cells by column; a column that it lacks stays empty

_SAMM_NOTES = (
    "Synthetic micro-movement codes in the layout of the SAMM release",
    None,
    "Notes",
    "Frame numbers at 200 fps",
    "A-E after an action unit: its intensity",
    "L or R before it: seen on that side of the face alone",
)
_SAMM_CLASSES = {
    "Happiness": 1,
    "Surprise": 2,
    "Anger": 3,
    "Disgust": 4,
    "Sadness": 5,
    "Fear": 6,
    "Other": 7,
    "Contempt": 7,
}
# 4DME's one-hot columns; a blink (45) is no action unit of ours, and only strings of the true sheet name it.
_FLAGS = sorted({au for aus, _ in SPECS["4dme"].combinations for au in aus} | {45})
_PROPERTIES = (
    b'<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>aullm_lib</dc:creator></cp:coreProperties>'
)


@dataclass(frozen=True)
class Sheet:
    """One coding workbook: its file, the name and the columns of its sheet, and what stands before them."""

    file: str
    columns: tuple[str, ...]  # "" for a column without a name
    row: Callable[[PlannedClip], Row]
    title: str = "Sheet1"
    notes: tuple[str | None, ...] = ()  # lines above the header
    header: int = 1  # its row


@dataclass(frozen=True)
class Layout:
    """One release's camera, tree and workbook.

    `frames` and `crops` are paths below the root with the fields {subject}, {number} (the subject's), {clip}, {letter}
    (the clip's name up to "_"), {emotion} and {frame}.
    """

    shape: tuple[int, int]  # height and width of a frame in pixels
    centre: tuple[float, float]  # x and y between the eyes of a typical subject, in pixels
    sway: tuple[float, float]  # how far others sit from there, at most
    radius: float  # half the width of a typical face, in pixels
    spread: float  # how far others' differs, at most
    subject: str  # a subject's name, in folders and in the truth
    frames: str
    sheet: Sheet
    crops: str = ""
    grey: bool = False
    people: Population = _STUDENTS
    studio: Studio = _FOUR_LAMPS

    def name(self, subject: int) -> str:
        """A subject's name, such as "sub01"."""
        return self.subject.format(subject)

    def path(self, template: str, clip: PlannedClip, frame: int) -> PurePosixPath:
        """Where a frame of a clip lies, below the release's root; template: `frames` or `crops`."""
        return PurePosixPath(
            template.format(
                subject=self.name(clip.subject),
                number=clip.subject,
                clip=clip.name,
                letter=clip.name.split("_")[0],
                emotion=clip.emotion,
                frame=f"{frame:0{clip.digits}d}",
            )
        )


def objective_class(aus: Iterable[int]) -> int:
    """About the objective class 1..7 of Davison et al. (2018): AUs rather than emotions decide."""
    seen = set(aus)
    rules = (({6, 12}, 1), ({1, 2, 4}, 6), ({1, 2}, 2), ({1, 4}, 5), ({4, 9}, 4), ({4, 7}, 3))
    for wanted, number in rules:
        if wanted <= seen:
            return number
    singles = {12: 1, 5: 2, 25: 2, 26: 2, 4: 3, 23: 3, 9: 4, 10: 4, 1: 5, 15: 5, 20: 6}
    return next((singles[au] for au in sorted(seen) if au in singles), 7)


def _number_cell(coded: str) -> int | str:
    """A single AU is a number cell in most of the true sheets."""
    return int(coded) if coded.isdigit() else coded


def _casme2(clip: PlannedClip) -> Row:  # and MMEW, whose columns are called the same
    return {
        "Subject": clip.subject,
        "Filename": clip.name,
        "OnsetFrame": clip.onset,
        "ApexFrame": clip.apex,
        "OffsetFrame": clip.offset,
        "Action Units": _number_cell(clip.coded),
        "Estimated Emotion": clip.emotion,
    }


def _samm(clip: PlannedClip) -> Row:
    return {
        "Subject": f"{clip.subject:03d}",
        "Filename": clip.name,
        "Inducement Code": int(clip.name.split("_")[1]),
        "Onset Frame": clip.onset,
        "Apex Frame": clip.apex,
        "Offset Frame": clip.offset,
        "Duration": clip.offset - clip.onset + 1,
        "Micro": "Micro - 1/2",
        "Action Units": clip.coded,
        "Estimated Emotion": clip.emotion,
        "Objective Classes": _SAMM_CLASSES.get(clip.emotion, 7),
    }


def _casme(clip: PlannedClip) -> Row:
    return {
        "Subject": clip.subject,
        "Filename": clip.name,
        "OnsetF": clip.onset,
        "ApexF1": clip.apex,
        "OffsetF": clip.offset,
        "AU": _number_cell(clip.coded),
        "Emotion": clip.emotion,
    }


def _casme3(clip: PlannedClip) -> Row:
    return {
        "Subject": f"spNO.{clip.subject}",
        "Filename": clip.name.split("_")[0],
        "Onset": clip.onset,
        "Apex": clip.apex,
        "Offset": clip.offset,
        "AU": _number_cell(clip.coded),
        "Objective class": objective_class(action.au for action in clip.actions),
        "emotion": clip.emotion,
    }


def _4dme(clip: PlannedClip) -> Row:
    shown = {unit.number for unit in parse_aus(clip.coded) if not unit.held}
    return {
        "sub_ID": f"S{clip.subject}",
        "fold_name": clip.name,
        "Emotion": clip.emotion,
        "Onset": clip.onset,
        "Apex": clip.apex,
        "Offset": clip.offset,
        "AUs": clip.coded,
        **{f"AU{au}": int(au in shown) for au in _FLAGS},
    }


def _columns(names: str) -> tuple[str, ...]:
    return tuple(names.split("|"))


_CASME2 = Layout(
    shape=(480, 640),
    centre=(320, 214),
    sway=(15, 6),
    radius=122,
    spread=6,
    subject="sub{:02d}",
    frames="CASME2_RAW_selected/{subject}/{clip}/img{frame}.jpg",
    crops="Cropped/{subject}/{clip}/reg_img{frame}.jpg",
    sheet=Sheet(
        file="CASME2-coding-20140508.xlsx",
        columns=_columns("Subject|Filename||OnsetFrame|ApexFrame|OffsetFrame||Action Units|Estimated Emotion"),
        row=_casme2,
    ),
)
LAYOUTS = {
    "casme2": _CASME2,
    "samm": Layout(
        shape=(650, 960),
        centre=(480, 292),
        sway=(70, 22),
        radius=138,
        spread=12,
        subject="{:03d}",
        frames="{subject}/{clip}/{subject}_{frame}.jpg",
        grey=True,
        people=_MIXED,
        studio=_TWO_LAMPS,
        sheet=Sheet(
            file="SAMM_Micro_FACS_Codes_v2.xlsx",
            title="MICRO_ONLY",
            columns=_columns(
                "Subject|Filename|Inducement Code|Onset Frame|Apex Frame|Offset Frame|Duration|Micro|Action Units|"
                "Estimated Emotion|Objective Classes|Notes"
            ),
            row=_samm,
            notes=_SAMM_NOTES,
            header=14,
        ),
    ),
    "casme": replace(
        _CASME2,  # the same camera
        frames="CASME_raw_selected/{subject}/{clip}/{clip}-{frame}.jpg",
        crops="Cropped/{subject}/{clip}/reg_{clip}-{frame}.jpg",
        sheet=Sheet(
            file="casme.xlsx",
            columns=_columns("Subject|Filename||OnsetF|ApexF1|ApexF2|OffsetF||AU|Emotion"),
            row=_casme,
        ),
    ),
    "casme3": Layout(
        shape=(720, 1280),
        centre=(640, 318),
        sway=(60, 20),
        radius=140,
        spread=12,
        subject="spNO.{}",
        studio=_OFFICE,
        frames="Part_A_ME_clip/frame/spNo.{number}_{clip}/{frame}.jpg",
        sheet=Sheet(
            file="cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
            title="label",
            columns=_columns("Subject|Filename|Onset|Apex|Offset|AU|Objective class|emotion"),
            row=_casme3,
        ),
    ),
    "4dme": Layout(
        shape=(480, 640),
        centre=(320, 210),
        sway=(25, 10),
        radius=118,
        spread=8,
        subject="S{}",
        frames="gray_micro/{subject}/{clip}/{frame}.jpg",
        grey=True,
        people=_VARIED,
        studio=_TWO_LAMPS,
        sheet=Sheet(
            file="4DME_Labelling_Micro_release v1.xlsx",
            columns=(*_columns("sub_ID|fold_name|Emotion|Onset|Apex|Offset|AUs"), *(f"AU{au}" for au in _FLAGS)),
            row=_4dme,
        ),
    ),
    "mmew": Layout(
        shape=(231, 231),
        centre=(115, 93),
        sway=(2, 2),
        radius=76,
        spread=2,
        subject="S{:02d}",
        frames="Micro_Expression/{emotion}/{clip}/{frame}.jpg",
        sheet=Sheet(
            file="MMEW_Micro_Exp.xlsx",
            columns=_columns(
                "Subject|Filename|OnsetFrame|ApexFrame|OffsetFrame|Action Units|Estimated Emotion|remarks"
            ),
            row=_casme2,
        ),
    ),
}


def write_sheet(root: Path, sheet: Sheet, rows: Iterable[Row]) -> None:
    """Write a release's coding workbook into `root`. Raises KeyError for a cell of a column that the sheet lacks."""
    lines: list[Sequence[Any]] = [(note,) if note else () for note in sheet.notes]
    lines += [()] * (sheet.header - 1 - len(lines))
    lines.append(sheet.columns)
    for row in rows:
        unknown = set(row) - set(sheet.columns)
        if unknown:
            raise KeyError(f"{sheet.file} has no column {sorted(unknown)[0]!r}")
        lines.append([row.get(column) for column in sheet.columns])
    write_workbook(root / sheet.file, sheet.title, lines)


def write_workbook(path: Path, title: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write a workbook of one sheet."""
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    page.title = title
    for number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            if value not in (None, ""):
                page.cell(number, column, value)
    save_workbook(book, path)


def save_workbook(book: openpyxl.Workbook, path: Path) -> None:
    """Save a workbook without the time of saving, so that the same cells give the same bytes."""
    raw = io.BytesIO()
    book.save(raw)
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            # the properties carry the time of saving, and nothing that a reader of the codes needs
            data = _PROPERTIES if name == "docProps/core.xml" else source.read(name)
            target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
