"""MMEW (Ben et al., IEEE TPAMI 2022), 300 micro-expressions of 30 subjects -> the clip table.

The frames are cropped faces, in folders by emotion. Sheets and folders disagree on the name of one emotion ("others",
"repression"), so a clip is found by its own name in whichever folder.
"""

import re
from pathlib import Path

import pandas as pd

from aullm_lib.datasets import archive
from aullm_lib.datasets.table import Identity, collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "OnsetFrame", "apex": "ApexFrame", "offset": "OffsetFrame",
    "aus": "Action Units", "emotion": "Estimated Emotion",
}  # fmt: skip
EMOTION = r"anger|disgust|fear|happiness|others?|repression|sadness|surprise"
CLIP = r"S(\d+)-\d+-\d+"


def load(root: Path, *, errata: bool = True) -> pd.DataFrame:
    """The clip table of MMEW. errata: whether known errors of the sheet are corrected (``errata.py``).

    Raises FileNotFoundError, ``ReleaseError``.
    """
    workbook = archive.find_workbook(root, r"mmew_micro_exp.*\.xlsx", "MMEW workbook", inner=EMOTION)
    named = {"cropped": r"micro[_-]expression"}
    _, folder = archive.find_frames(root, named, None, "MMEW frame folder", inner=EMOTION)
    found = [((clip.name,), clip) for emotion in archive.folders(folder) for clip in archive.folders(emotion)]
    return collect(
        "mmew", archive.read_sheet(workbook, COLUMNS), archive.ClipFolders(folder, found), _identify,
        root=root, workbook=workbook, errata=errata, cropped=True,
    )  # fmt: skip


def _identify(row: archive.Row) -> Identity:
    clip = archive.match(CLIP, row["clip"], row.at("clip"), "S04-01-001")
    subject = int(clip[1])
    if archive.text(row["subject"]) != str(subject) and not re.fullmatch(
        rf"S?0*{subject}", archive.text(row["subject"])
    ):
        raise archive.ReleaseError(f"{row.at('subject')}: {row['subject']!r} is not the subject of {clip[0]}")
    return f"S{subject:02d}", clip[0], [(clip[0],)]
