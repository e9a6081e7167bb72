"""CASME (Yan et al., FG 2013), 189 clips of 19 subjects: the workbook and the frame folders -> the clip table.

The sheet has two apexes; the first counts. File names carry the clip's name, and the frame number last.
"""

from pathlib import Path

import pandas as pd

from aullm_lib.datasets import archive, casme2
from aullm_lib.datasets.table import collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "OnsetF", "apex": "ApexF1", "offset": "OffsetF", "aus": "AU",
    "emotion": "Emotion",
}  # fmt: skip
FOLDERS = {"cropped": r"cropped([_-].*)?", "raw_selected": r"(casme[_-])?raw[_-]selected"}


def load(root: Path, *, images: str | None = None, errata: bool = True) -> pd.DataFrame:
    """The clip table of CASME. images: "cropped", "raw_selected", or None for the first of these that is there.

    errata: whether known errors of the sheet are corrected (``errata.py``).
    Raises FileNotFoundError, ValueError, ``ReleaseError``.
    """
    workbook = archive.find_workbook(root, r"casme\.xlsx", "CASME workbook", inner=casme2.SUBJECT)
    kind, folder = archive.find_frames(root, FOLDERS, images, "CASME frame folder", inner=casme2.SUBJECT)
    return collect(
        "casme", archive.read_sheet(workbook, COLUMNS), archive.two_deep(folder, casme2.key), casme2.identify,
        root=root, workbook=workbook, errata=errata, images=kind, cropped=kind == "cropped",
    )  # fmt: skip
