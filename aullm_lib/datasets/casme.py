"""CASME (Yan et al., FG 2013), 189 clips of 19 subjects: the workbook and the frame folders -> the clip table.

The sheet has two apexes; the first counts. File names carry the clip's name, and the frame number last.
"""

from pathlib import Path

from aullm_lib.datasets import casme2, folders
from aullm_lib.datasets.table import Release, collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "OnsetF", "apex": "ApexF1", "offset": "OffsetF", "aus": "AU",
    "emotion": "Emotion",
}  # fmt: skip
FOLDERS = {"cropped": r"crop", "raw_selected": r"select"}


def load(root: Path, *, images: str | None = None, errata: bool = True) -> Release:
    """Reads CASME.

    Args:
        images: "cropped", "raw_selected", or None for the one with most of the sheet's clips.
        errata: whether known errors of the sheet are corrected (``errata.py``).
    """
    sources = folders.find(
        root, "CASME", workbook=r"casme\.xlsx", columns=COLUMNS, inner=casme2.SUBJECT, kinds=FOLDERS, wanted=images,
        clips=lambda folder: folders.two_deep(folder, casme2.key), identify=casme2.identify,
    )  # fmt: skip
    options = {"images": sources.kind, "errata": errata}
    return collect("casme", sources, casme2.identify, root=root, options=options)
