"""MMEW (Ben et al., IEEE TPAMI 2022), 300 micro-expressions of 30 subjects -> the clip table.

The frames are cropped faces, in folders by emotion. Sheets and folders disagree on the name of one emotion ("others",
"repression"), so a clip is found by its own name in whichever folder.
"""

import re
from pathlib import Path

from aullm_lib.datasets import folders, workbook
from aullm_lib.datasets.table import Release, collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "OnsetFrame", "apex": "ApexFrame", "offset": "OffsetFrame",
    "aus": "Action Units", "emotion": "Estimated Emotion",
}  # fmt: skip
CLIP = r"S(\d+)-\d+-\d+"


def load(root: Path, *, errata: bool = True) -> Release:
    """Reads MMEW. errata: whether known errors of the sheet are corrected (``errata.py``)."""
    sources = folders.find(
        root, "MMEW", workbook=r"mmew_micro_exp.*\.xlsx", columns=COLUMNS, inner=CLIP,
        kinds={"cropped": r"micro"}, clips=_folders, identify=_identify,
    )  # fmt: skip
    return collect("mmew", sources, _identify, root=root, options={"errata": errata})


def _folders(root: Path) -> folders.ClipFolders:
    keyed: list[tuple[tuple[str, ...], Path]] = []
    for name, path in folders.places(root):
        clip = re.fullmatch(rf"(?:(?:{folders.EMOTION}){folders.SEPARATOR})?({CLIP})", name, re.IGNORECASE)
        if clip:  # flattened
            keyed.append(((clip[1],), path))
        else:
            keyed += (((clip,), inside) for clip, inside in folders.places(path))
    return folders.ClipFolders(root, keyed)


def _identify(row: workbook.Row) -> folders.Identity:
    clip = workbook.match(CLIP, row["clip"], row.at("clip"), "S04-01-001")
    subject = int(clip[1])
    if not re.fullmatch(rf"S?0*{subject}", workbook.text(row["subject"])):
        raise workbook.ReleaseError(f"{row.at('subject')}: {row['subject']!r} is not the subject of {clip[0]}")
    return f"S{subject:02d}", clip[0], [(clip[0],)]
