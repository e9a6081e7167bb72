"""CASME II (Yan et al., PLOS ONE 2014): the coding workbook and the frame folders -> the clip table.

Sources differ in their number of clips: 255 rows in the released sheets, 256 in one widely used corrected sheet, and
247 or 246 without the emotions sadness and fear. ``variant`` picks one; it is recorded with every run.
"""

import warnings
from pathlib import Path

import pandas as pd

from aullm_lib import facs
from aullm_lib.datasets import table as tables

FIELDS = ("Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion")
EXTRA_CLIP = ("24", "EP02_07")  # labelled in the 256-row sheet only
RARE_EMOTIONS = ("sadness", "fear")
FOLDERS = {"cropped": r"cropped(-updated)?", "raw_selected": r"casme2[_-]raw[_-]selected"}


def load(root: Path, *, variant: int | None = None, images: str = "cropped") -> pd.DataFrame:
    """The clip table of CASME II.

    variant: None (all rows of the sheet found), or 255, 256, 247, 246; a count that differs is a warning.
    images: "cropped" (the release's registered faces) or "raw_selected" (full frames, onset to offset).
    Raises FileNotFoundError, ValueError, ``tables.ReleaseError``.
    """
    if variant not in (None, 246, 247, 255, 256):
        raise ValueError(f"CASME II has the variants 246, 247, 255 and 256 (or None), not {variant!r}")
    if images not in FOLDERS:
        raise ValueError(f"images={images!r}: choose one of {', '.join(FOLDERS)}")
    workbook = tables.find(root, r"casme2-coding.*\.xlsx", "CASME II coding workbook")
    folder = tables.unnest(tables.find(root, FOLDERS[images], f"CASME II frame folder ({images})"), FOLDERS[images])
    sheet = tables.read_workbook(workbook, header=0).rename(columns=lambda name: str(name).strip())
    missing = [name for name in FIELDS if name not in sheet.columns]
    if missing:
        raise tables.ReleaseError(f"{workbook.name}: no column {missing[0]!r}; found {list(sheet.columns)}")
    rows = []
    for line, record in enumerate(sheet.to_dict("records"), start=2):
        where = f"{workbook.name}, row {line}"
        if pd.isna(record["Subject"]) and pd.isna(record["Filename"]):
            continue
        subject = f"{tables.number(record['Subject'], where + ', Subject'):02d}"
        clip, emotion = str(record["Filename"]).strip(), str(record["Estimated Emotion"]).strip()
        if variant in (246, 247) and emotion.lower() in RARE_EMOTIONS:
            continue
        if variant in (246, 255) and (subject, clip) == EXTRA_CLIP:
            continue
        onset = tables.number(record["OnsetFrame"], f"{where}, OnsetFrame")
        offset = tables.number(record["OffsetFrame"], f"{where}, OffsetFrame")
        apex = record["ApexFrame"]
        try:
            units = facs.parse_aus(record["Action Units"])
        except ValueError as error:
            raise tables.ReleaseError(f"{where}, Action Units: {error}") from None
        path = tables.clip_folder(folder, (f"sub{subject}", f"{int(subject)}", subject), clip, where=where)
        rows.append(
            {
                "subject": f"sub{subject}",
                "clip": clip,
                "onset": onset,
                "apex": None
                if pd.isna(apex) or str(apex).strip() == "/"
                else tables.number(apex, f"{where}, ApexFrame"),
                "offset": offset,
                "emotion": emotion,
                "aus": "" if pd.isna(record["Action Units"]) else str(record["Action Units"]).strip(),
                "frames": tables.frames(path, onset, offset),
                "units": units,
            }
        )
    table = tables.finish(
        rows, dataset="casme2", root=workbook.parent, workbook=workbook.name, images=images,
        cropped=images == "cropped", variant=variant,
    )  # fmt: skip
    if variant is not None and len(table) != variant:
        warnings.warn(f"{workbook}: {len(table)} clips where variant {variant} has {variant}", stacklevel=3)
    return table
