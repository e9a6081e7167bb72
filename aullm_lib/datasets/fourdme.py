"""4DME (Li et al., IEEE TAFFC 2022), the grey 2-D stream, 267 micro-expressions of 42 subjects -> the clip table."""

from pathlib import Path

import pandas as pd

from aullm_lib.datasets import archive
from aullm_lib.datasets.table import Identity, collect

COLUMNS = {
    "subject": "sub_ID", "clip": "fold_name", "onset": "Onset", "apex": "Apex", "offset": "Offset", "aus": "AUs",
    "emotion": "Emotion",
}  # fmt: skip
FOLDERS = {"raw": r"gray_micro", "cropped": r"gray_micro_crop(ped)?"}
SUBJECT = r"S\d+"


def load(root: Path, *, images: str | None = None, count_held: bool = False, errata: bool = True) -> pd.DataFrame:
    """The clip table of 4DME.

    images: "raw" (the release's frames) or "cropped" (crops of the user's own making); None takes the first there is.
    count_held: whether an AU that was there before the onset, "4(k)", counts (the public evaluations leave it out).
    errata: whether known errors of the sheet are corrected (``errata.py``).
    Raises FileNotFoundError, ValueError, ``ReleaseError``.
    """
    workbook = archive.find_workbook(root, r"4dme_labelling_micro.*\.xlsx", "4DME workbook", inner=SUBJECT)
    kind, folder = archive.find_frames(root, FOLDERS, images, "4DME frame folder", inner=SUBJECT)
    return collect(
        "4dme", archive.read_sheet(workbook, COLUMNS), archive.two_deep(folder, str), _identify,
        root=root, workbook=workbook, errata=errata, images=kind, cropped=kind == "cropped", count_held=count_held,
        choose=lambda clip, units: [unit for unit in units if count_held or not unit.held],
    )  # fmt: skip


def _identify(row: archive.Row) -> Identity:
    subject = archive.match(SUBJECT, row["subject"], row.at("subject"), "S49")[0].upper()
    clip = archive.text(row["clip"])
    return subject, clip, [(subject, clip)]
