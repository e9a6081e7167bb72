"""SAMM (Davison et al., IEEE TAFFC 2018): the FACS workbook and the frame folders -> the clip table.

The workbook opens with a block of notes, so the header is found by its first cell, "Subject". The paper writes 32
subjects; micro-expressions exist for 29 of them, so leave-one-subject-out has 29 folds.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from aullm_lib import facs
from aullm_lib.datasets import folders, workbook
from aullm_lib.datasets.table import Release, collect

COLUMNS = {
    "subject": "Subject", "clip": "Filename", "onset": "Onset Frame", "apex": "Apex Frame", "offset": "Offset Frame",
    "aus": "Action Units", "emotion": "Estimated Emotion",
}  # fmt: skip
CROPS = r"crop"  # there is no official crop; users make their own
SUBJECT = r"(?:s(?:ub(?:ject)?)?[ _-]?)?0*(\d{1,3})"
ALTERNATIVES = ("flow", "first", "any")
# What the public evaluations (github.com/tvaranka/meb) chose, by optical flow, for the five cells with an "or".
FLOW = {"007_6_1": "R12+R15", "007_6_5": "R12+R15", "011_4_2": "L14", "014_5_2": "R14", "035_7_2": "R14A"}


def load(
    root: Path,
    *,
    images: str | None = None,
    count_ref: bool = True,
    alternatives: str = "flow",
    errata: bool = True,
) -> Release:
    """Reads SAMM.

    Args:
        images: "raw" (the release's frames) or "cropped" (crops that the user made); None takes the one with most of
            the sheet's clips, of equals the first.
        count_ref: whether an AU that the coder only referenced, "ref(7B)", counts as present (in the public
            evaluations it does).
        alternatives: which reading counts where a cell offers two ("R14A or 17A", five cells): "flow", the choice of
            the public evaluations; "first", as written; "any", all of them.
        errata: whether known errors of the sheet are corrected (``errata.py``).
    """
    if alternatives not in ALTERNATIVES:
        raise ValueError(f"alternatives={alternatives!r}: choose one of {', '.join(ALTERNATIVES)}")
    sources = folders.find(
        root, "SAMM", workbook=r"samm_micro_facs_codes.*\.xlsx", columns=COLUMNS, sheet="MICRO_ONLY", inner=SUBJECT,
        kinds={"raw": "", "cropped": CROPS}, wanted=images, clips=lambda folder: folders.two_deep(folder, key),
        identify=identify,
    )  # fmt: skip

    def choose(clip: str, units: tuple[facs.ActionUnit, ...]) -> Iterable[facs.ActionUnit]:
        if alternatives == "flow" and clip in FLOW and any(unit.alternative for unit in units):
            units = facs.parse_aus(FLOW[clip])
        return [u for u in units if (alternatives == "any" or not u.alternative) and (count_ref or not u.referenced)]

    return collect(
        "samm", sources, identify, root=root, choose=choose,
        options={"images": sources.kind, "count_ref": count_ref, "alternatives": alternatives, "errata": errata},
    )  # fmt: skip


def key(name: str) -> str | None:
    """A subject folder's name, padded or not -> its key; None for other folders."""
    matched = re.fullmatch(SUBJECT, name, re.IGNORECASE)
    return matched and f"{int(matched[1]):03d}"


def identify(row: workbook.Row) -> folders.Identity:
    """A row -> its subject, clip and frame folder. Raises ReleaseError."""
    subject = f"{int(workbook.match(SUBJECT, row['subject'], row.at('subject'), '006')[1]):03d}"
    clip = workbook.text(row["clip"])
    return subject, clip, [(subject, clip)]
