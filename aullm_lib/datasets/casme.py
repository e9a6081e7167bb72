"""CASME (Yan et al., FG 2013), 189 clips of 19 subjects: the workbook and the frame folders -> the clip table.

The sheet has two apexes; the first counts. File names carry the clip's name, and the frame number last.
"""

from pathlib import Path

import pandas as pd

from aullm_lib.datasets import archive, casme2, finding
from aullm_lib.datasets.table import collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "OnsetF", "apex": "ApexF1", "offset": "OffsetF", "aus": "AU",
    "emotion": "Emotion",
}  # fmt: skip
FOLDERS = {"cropped": r"cropped([_-].*)?", "raw_selected": r"(casme[_-])?raw[_-]selected"}


def load(root: Path, *, images: str | None = None, errata: bool = True) -> pd.DataFrame:
    """The clip table of CASME. images: "cropped", "raw_selected", or None for the one with most of the clips.

    errata: whether known errors of the sheet are corrected (``errata.py``).
    Raises FileNotFoundError, ValueError, ``ReleaseError``.
    """
    found = finding.find(
        root, "CASME", workbook=r"casme\.xlsx", columns=COLUMNS, inner=casme2.SUBJECT, kinds=FOLDERS, wanted=images,
        clips=lambda folder: archive.two_deep(folder, casme2.key), identify=casme2.identify,
    )  # fmt: skip
    cropped = found.kind == "cropped"
    return collect("casme", found, casme2.identify, root=root, errata=errata, images=found.kind, cropped=cropped)
