"""CASME II (Yan et al., PLOS ONE 2014): the coding workbook and the frame folders -> the clip table.

Sources differ in their number of clips: 255 rows in the released sheets, 256 in one widely used corrected sheet, and
247 or 246 without the emotions sadness and fear. ``variant`` picks one; it is recorded with every run.
"""

import re
from pathlib import Path

from aullm_lib.datasets import folders, workbook
from aullm_lib.datasets.table import Release, collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "OnsetFrame", "apex": "ApexFrame", "offset": "OffsetFrame",
    "aus": "Action Units", "emotion": "Estimated Emotion",
}  # fmt: skip
FOLDERS = {
    "cropped": r"crop",
    "raw_selected": r"select",
    "raw": r"(?<![a-z])raw|compress|video",  # the compressed videos are whole recordings, too
}
SUBJECT = r"(?:s(?:ub(?:ject)?)?[ _-]?)?0*(\d{1,2})"
VARIANTS = (246, 247, 255, 256)
EXTRA_CLIP = ("sub24", "EP02_07")  # labelled in the 256-row sheet only
RARE_EMOTIONS = ("sadness", "fear")


def load(root: Path, *, variant: int | None = None, images: str | None = None, errata: bool = True) -> Release:
    """Reads CASME II.

    Args:
        variant: None (all rows of the sheet), or 255, 256, 247, 246.
        images: "cropped" (the release's registered faces), "raw_selected" (full frames, onset to offset) or "raw"
            (whole recordings); None takes the one with most of the sheet's clips, of equals the first.
        errata: whether known errors of the sheet are corrected (``errata.py``).
    """
    if variant not in (None, *VARIANTS):
        raise ValueError(f"CASME II has the variants 246, 247, 255 and 256 (or None), not {variant!r}")
    sources = folders.find(
        root, "CASME II", workbook=r"casme2?-coding.*\.xlsx", columns=COLUMNS, inner=SUBJECT, kinds=FOLDERS,
        wanted=images, clips=lambda folder: folders.two_deep(folder, key), identify=identify,
    )  # fmt: skip
    return collect(
        "casme2", sources, identify, root=root, whole_recordings=sources.kind == "raw",
        options={"images": sources.kind, "variant": variant, "errata": errata},
        version=variant or (256 if any(map(_is_extra, sources.rows)) else 255),
        keep=lambda subject, clip, emotion: not (
            (variant in (246, 247) and emotion.lower() in RARE_EMOTIONS)
            or (variant in (246, 255) and (subject, clip) == EXTRA_CLIP)
        ),
    )  # fmt: skip


def key(name: str) -> str | None:
    """A subject folder's name, padded or not -> its key; None for other folders."""
    matched = re.fullmatch(SUBJECT, name, re.IGNORECASE)
    return matched and str(int(matched[1]))


def identify(row: workbook.Row) -> folders.Identity:
    """A row -> its subject, clip and frame folder. Raises ReleaseError."""
    number = int(workbook.match(SUBJECT, row["subject"], row.at("subject"), "12")[1])
    clip = workbook.text(row["clip"])
    return f"sub{number:02d}", clip, [(str(number), clip)]


def _is_extra(row: workbook.Row) -> bool:
    try:
        return identify(row)[:2] == EXTRA_CLIP
    except workbook.ReleaseError:
        return False
