"""SAMM (Davison et al., IEEE TAFFC 2018): the FACS workbook and the frame folders -> the clip table.

The workbook opens with a block of notes, so the header is found by its first cell, "Subject". The paper writes 32
subjects; micro-expressions exist for 29 of them, so leave-one-subject-out has 29 folds.
"""

from pathlib import Path

import pandas as pd

from aullm_lib import facs
from aullm_lib.datasets import table as tables

FIELDS = ("Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units", "Estimated Emotion")


def load(root: Path, *, count_ref: bool = True) -> pd.DataFrame:
    """The clip table of SAMM.

    count_ref: whether an AU that the coder only referenced, "ref(7B)", counts as present (the public evaluations do).
    Where a cell offers alternatives ("R14A or 17A"), the first reading counts.
    Raises FileNotFoundError, ``tables.ReleaseError``.
    """
    workbook = tables.find(root, r"samm_micro_facs_codes.*\.xlsx", "SAMM FACS workbook")
    cells = tables.read_workbook(workbook, header=None)
    starts = [i for i, value in enumerate(cells[0]) if str(value).strip() == "Subject"]
    if not starts:
        raise tables.ReleaseError(f"{workbook.name}: no header row (a first cell 'Subject')")
    sheet = cells.iloc[starts[0] + 1 :].set_axis([str(v).strip() for v in cells.iloc[starts[0]]], axis=1)
    missing = [name for name in FIELDS if name not in sheet.columns]
    if missing:
        raise tables.ReleaseError(f"{workbook.name}: no column {missing[0]!r}; found {list(sheet.columns)}")
    rows = []
    for line, record in enumerate(sheet.to_dict("records"), start=starts[0] + 2):
        where = f"{workbook.name}, row {line}"
        if pd.isna(record["Subject"]) and pd.isna(record["Filename"]):
            continue
        subject = f"{tables.number(record['Subject'], where + ', Subject'):03d}"
        clip = str(record["Filename"]).strip()
        onset = tables.number(record["Onset Frame"], f"{where}, Onset Frame")
        offset = tables.number(record["Offset Frame"], f"{where}, Offset Frame")
        try:
            units = facs.parse_aus(record["Action Units"])
        except ValueError as error:
            raise tables.ReleaseError(f"{where}, Action Units: {error}") from None
        path = tables.clip_folder(workbook.parent, (subject, f"{int(subject)}"), clip, where=where)
        rows.append(
            {
                "subject": subject,
                "clip": clip,
                "onset": onset,
                "apex": tables.number(record["Apex Frame"], f"{where}, Apex Frame"),
                "offset": offset,
                "emotion": str(record["Estimated Emotion"]).strip(),
                "aus": "" if pd.isna(record["Action Units"]) else str(record["Action Units"]).strip(),
                "frames": tables.frames(path, onset, offset),
                "units": [u for u in units if u.alternative == 0 and (count_ref or not u.referenced)],
            }
        )
    return tables.finish(
        rows, dataset="samm", root=workbook.parent, workbook=workbook.name, cropped=False, count_ref=count_ref
    )
