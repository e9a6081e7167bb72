"""CAS(ME)3 part A (Li et al., IEEE TPAMI 2022), 860 micro-expressions of 94 subjects -> the clip table.

Frames come either as one folder a micro-expression (``spNo.1_a_355``: subject, recording, onset) or as whole recordings
(``spNO.1/a/color``). Several micro-expressions share a recording, so a clip's name is the recording with the sheet's
onset, whether errata are applied or not.
"""

import re
from pathlib import Path

from aullm_lib.datasets import archive, cells, finding
from aullm_lib.datasets.table import Release, collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "Onset", "apex": "Apex", "offset": "Offset", "aus": "AU",
    "emotion": "emotion",
}  # fmt: skip
WORKBOOK = r"cas\(?me\)?[\^_]?3[_ -]part[_ -]?a.*\.xlsx"
SUBJECT = r"spno\.?(\d+)"


def load(root: Path, *, errata: bool = True) -> Release:
    """The clip table of CAS(ME)3, part A; its frames are whole pictures.

    errata: whether known errors of the sheet are corrected (``errata.py``).
    Raises FileNotFoundError, ``ReleaseError``.
    """
    found = finding.find(
        root, "CAS(ME)3 part A", workbook=WORKBOOK, columns=COLUMNS, sheet="label", kinds={"raw": ""}, deep=2,
        inner=SUBJECT + r"(_[a-z]+_\d+)?", clips=_folders, identify=_identify,
    )  # fmt: skip
    whole = any(re.fullmatch(SUBJECT, p.name, re.IGNORECASE) for p in archive.folders(found.folders.root))
    return collect(
        "casme3", found, _identify, root=root, cropped=False, options={"errata": errata}, whole_recordings=whole
    )


def _folders(root: Path) -> archive.ClipFolders:
    found: list[tuple[tuple[str, ...], Path]] = []
    for folder in archive.folders(root):
        if re.fullmatch(SUBJECT, folder.name, re.IGNORECASE):
            for recording in archive.folders(folder):
                colour = [p for p in archive.folders(recording) if p.name.casefold() == "color"]
                found.append(((folder.name, recording.name), (colour or [recording])[0]))
        else:
            found.append((tuple(folder.name.split("_")), folder))
    return archive.ClipFolders(root, found)


def _identify(row: cells.Row) -> finding.Identity:
    subject = f"spNO.{int(cells.match(SUBJECT, row['subject'], row.at('subject'), 'spNO.12')[1])}"
    recording = cells.match(r"[a-z]+", row["clip"], row.at("clip"), "a")[0].lower()
    onset = cells.number(row["onset"], row.at("onset"))
    return subject, f"{recording}_{onset}", [(subject, recording, str(onset)), (subject, recording)]
