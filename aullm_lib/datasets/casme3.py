"""CAS(ME)3 part A (Li et al., IEEE TPAMI 2022), 860 micro-expressions of 94 subjects -> the clip table.

Frames come either as one folder a micro-expression (``spNo.1_a_355``: subject, recording, onset) or as whole recordings
(``spNO.1/a/color``). Several micro-expressions share a recording, so a clip's name is the recording with the sheet's
onset, whether errata are applied or not.
"""

import re
from pathlib import Path

from aullm_lib.datasets import folders, workbook
from aullm_lib.datasets.table import Release, collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "Onset", "apex": "Apex", "offset": "Offset", "aus": "AU",
    "emotion": "emotion",
}  # fmt: skip
WORKBOOK = r"cas\(?me\)?[\^_]?3[_ -]part[_ -]?a.*\.xlsx"
SUBJECT = r"spno\.?(\d+)"


def load(root: Path, *, errata: bool = True) -> Release:
    """Reads CAS(ME)3, part A, whose frames are whole pictures.

    Args:
        errata: whether known errors of the sheet are corrected (``errata.py``).
    """
    sources = folders.find(
        root, "CAS(ME)3 part A", workbook=WORKBOOK, columns=COLUMNS, sheet="label", kinds={"raw": ""}, deep=2,
        inner=SUBJECT + r"(_[a-z]+_\d+)?", clips=_folders, identify=_identify,
    )  # fmt: skip
    whole = any(re.fullmatch(SUBJECT, p.name, re.IGNORECASE) for p in folders.subfolders(sources.folders.root))
    return collect("casme3", sources, _identify, root=root, options={"errata": errata}, whole_recordings=whole)


def _folders(root: Path) -> folders.ClipFolders:
    keyed: list[tuple[tuple[str, ...], Path]] = []
    for name, folder in folders.places(root):
        if re.fullmatch(SUBJECT, name, re.IGNORECASE):
            for recording, path in folders.places(folder):
                colour = [p for n, p in folders.places(path) if re.fullmatch(r"colou?r|rgb", n, re.IGNORECASE)]
                keyed.append(((name, recording), (colour or [path])[0]))
        else:
            keyed.append((tuple(name.split("_")), folder))
    return folders.ClipFolders(root, keyed)


def _identify(row: workbook.Row) -> folders.Identity:
    subject = f"spNO.{int(workbook.match(SUBJECT, row['subject'], row.at('subject'), 'spNO.12')[1])}"
    recording = workbook.match(r"[a-z]+", row["clip"], row.at("clip"), "a")[0].lower()
    onset = workbook.number(row["onset"], row.at("onset"))
    return subject, f"{recording}_{onset}", [(subject, recording, str(onset)), (subject, recording)]
