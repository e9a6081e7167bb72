"""The coding workbooks of the synthetic releases, cell for cell as the true ones are laid out."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import openpyxl

from aullm_lib.datasets.synthetic.plan import PlannedClip

__all__ = ["write_casme2_sheet", "write_samm_sheet"]

_CASME2_COLUMNS = "Subject|Filename||OnsetFrame|ApexFrame|OffsetFrame||Action Units|Estimated Emotion"
_SAMM_COLUMNS = (
    "Subject|Filename|Inducement Code|Onset Frame|Apex Frame|Offset Frame|Duration|Micro|Action Units|"
    "Estimated Emotion|Objective Classes|Notes"
)
_SAMM_HEADER_ROW = 14
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
_PROPERTIES = (
    b'<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>aullm_lib</dc:creator></cp:coreProperties>'
)


def write_casme2_sheet(root: Path, clips: list[PlannedClip], unknown_apex: int) -> None:
    """The coding workbook, with its two blank columns; one apex is "/" as in the true sheet."""
    rows: list[Sequence[Any]] = [_CASME2_COLUMNS.split("|")]
    for k, clip in enumerate(clips):
        coded = int(clip.coded) if clip.coded.isdigit() else clip.coded  # a single AU is a number cell there
        apex = "/" if k == unknown_apex else clip.apex
        rows.append((clip.subject, clip.name, None, clip.onset, apex, clip.offset, None, coded, clip.emotion))
    _write_workbook(root / "CASME2-coding-20140508.xlsx", "Sheet1", rows)


def write_samm_sheet(root: Path, clips: list[PlannedClip]) -> None:
    """The FACS codes, below a block of notes, the header on row 14."""
    notes = [
        "Synthetic micro-movement codes in the layout of the SAMM release",
        None,
        "Notes",
        "Frame numbers at 200 fps",
    ]
    notes += ["A-E after an action unit: its intensity", "L or R before it: seen on that side of the face alone"]
    rows: list[Sequence[Any]] = [(note,) for note in notes] + [()] * (_SAMM_HEADER_ROW - 1 - len(notes))
    rows.append(_SAMM_COLUMNS.split("|"))
    for clip in clips:
        code = int(clip.name.split("_")[1])
        length = clip.offset - clip.onset + 1
        numbers = (code, clip.onset, clip.apex, clip.offset, length, "Micro - 1/2")
        feeling = (clip.emotion, _SAMM_CLASSES[clip.emotion], None)
        rows.append((f"{clip.subject:03d}", clip.name, *numbers, clip.coded, *feeling))
    _write_workbook(root / "SAMM_Micro_FACS_Codes_v2.xlsx", "MICRO_ONLY", rows)


def _write_workbook(path: Path, sheet: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write a one-sheet workbook whose bytes do not hold the time of writing."""
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    page.title = sheet
    for number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            if value not in (None, ""):
                page.cell(number, column, value)
    raw = io.BytesIO()
    book.save(raw)
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            # the properties carry the time of saving, and nothing that a reader of the codes needs
            data = _PROPERTIES if name == "docProps/core.xml" else source.read(name)
            target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
