"""4DME (Li et al., IEEE TAFFC 2022), the grey 2-D stream, 267 micro-expressions of 42 subjects -> the clip table."""

import re
from pathlib import Path

from aullm_lib.datasets import folders, workbook
from aullm_lib.datasets.table import Release, collect

COLUMNS = {
    "subject": "sub_ID", "clip": "fold_name", "onset": "Onset", "apex": "Apex", "offset": "Offset", "aus": "AUs",
    "emotion": "Emotion",
}  # fmt: skip
FOLDERS = {"raw": r"gr[ae]y(?!.*crop)", "cropped": r"gr[ae]y.*crop"}
STREAMS = folders.OTHERS + r"|colou?r|rgb|kinect|3d"  # the others that the release has
SUBJECT = r"S\d+"


def load(root: Path, *, images: str | None = None, count_held: bool = False, errata: bool = True) -> Release:
    """Reads 4DME.

    Args:
        images: "raw" (the release's frames) or "cropped" (crops that the user made); None takes the one with most of
            the sheet's clips, of equals the first.
        count_held: whether an AU that is held from before the onset, "4(k)", counts (the public evaluations leave it
            out).
        errata: whether known errors of the sheet are corrected (``errata.py``).
    """
    sources = folders.find(
        root, "4DME", workbook=r"4dme_labelling_micro.*\.xlsx", columns=COLUMNS, inner=SUBJECT, kinds=FOLDERS,
        others=STREAMS, wanted=images, clips=lambda folder: folders.two_deep(folder, _key),
        identify=_identify,
    )  # fmt: skip
    return collect(
        "4dme", sources, _identify, root=root,
        options={"images": sources.kind, "count_held": count_held, "errata": errata},
        choose=lambda clip, units: [unit for unit in units if count_held or not unit.held],
    )  # fmt: skip


def _key(name: str) -> str | None:
    return name if re.fullmatch(SUBJECT, name, re.IGNORECASE) else None


def _identify(row: workbook.Row) -> folders.Identity:
    subject = workbook.match(SUBJECT, row["subject"], row.at("subject"), "S49")[0].upper()
    clip = workbook.text(row["clip"])
    return subject, clip, [(subject, clip)]
