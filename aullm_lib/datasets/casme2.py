"""CASME II (Yan et al., PLOS ONE 2014): the coding workbook and the frame folders -> the clip table.

Sources differ in their number of clips: 255 rows in the released sheets, 256 in one widely used corrected sheet, and
247 or 246 without the emotions sadness and fear. ``variant`` picks one; it is recorded with every run.
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
FOLDERS = {
    "cropped": r"cropped([_-](updated|original))?",
    "raw_selected": r"(casme2[_-])?raw[_-]selected",
    "raw": r"(casme2[_-])?raw",
}
SUBJECT = r"(?:sub)?0*(\d{1,2})"
VARIANTS = (246, 247, 255, 256)
EXTRA_CLIP = ("sub24", "EP02_07")  # labelled in the 256-row sheet only
RARE_EMOTIONS = ("sadness", "fear")


def load(root: Path, *, variant: int | None = None, images: str | None = None, errata: bool = True) -> pd.DataFrame:
    """The clip table of CASME II.

    variant: None (all rows of the sheet found), or 255, 256, 247, 246.
    images: "cropped" (the release's registered faces), "raw_selected" (full frames, onset to offset) or "raw" (whole
    recordings); None takes the first of these that is there.
    errata: whether known errors of the sheet are corrected (``errata.py``).
    Raises FileNotFoundError, ValueError, ``ReleaseError``.
    """
    if variant not in (None, *VARIANTS):
        raise ValueError(f"CASME II has the variants 246, 247, 255 and 256 (or None), not {variant!r}")
    workbook = archive.find_workbook(root, r"casme2?-coding.*\.xlsx", "CASME II coding workbook", inner=SUBJECT)
    kind, folder = archive.find_frames(root, FOLDERS, images, "CASME II frame folder", inner=SUBJECT)
    return collect(
        "casme2", archive.read_sheet(workbook, COLUMNS), archive.two_deep(folder, key), identify,
        root=root, workbook=workbook, errata=errata, variant=variant, images=kind, cropped=kind == "cropped",
        whole_recordings=kind == "raw",
        keep=lambda subject, clip, emotion: not (
            (variant in (246, 247) and emotion.lower() in RARE_EMOTIONS)
            or (variant in (246, 255) and (subject, clip) == EXTRA_CLIP)
        ),
    )  # fmt: skip


def key(name: str) -> str | None:
    """A subject folder's name, padded or not -> its key; None for other folders."""
    found = re.fullmatch(SUBJECT, name, re.IGNORECASE)
    return found and str(int(found[1]))


def identify(row: archive.Row) -> Identity:
    """A row -> its subject, clip and frame folder. Raises ReleaseError."""
    number = int(archive.match(SUBJECT, row["subject"], row.at("subject"), "12")[1])
    clip = archive.text(row["clip"])
    return f"sub{number:02d}", clip, [(str(number), clip)]
