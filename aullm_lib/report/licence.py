"""Whose faces may be drawn, and the line that goes under them.

Each release has its own terms. Unless the user states more, only faces are drawn that are known to be allowed: rendered
ones, and CASME II's except two subjects.
"""

from collections.abc import Collection

import pandas as pd

from aullm_lib.datasets import TITLES

WITHHELD = {"casme2": ("sub12", "sub22")}
"""Subjects whose faces a release's licence does not allow to be published; ``publishable`` cannot name them."""
COPYRIGHT = {"casme2": "Copyright Xiaolan Fu"}
"""The notice that a release's licence asks for under each picture."""


def showable(table: pd.DataFrame, publishable: Collection[str] = ()) -> list[str]:
    """The subjects of one release whose faces may be drawn, sorted.

    Args:
        table: Clips of one release, as ``datasets.load`` or a store's ``table`` gives them.
        publishable: Subjects, as the table names them, whose pictures the user states that the licence allows. A real
            release other than CASME II shows no others.

    Raises:
        ValueError: Clips of several releases, a subject that is not in the table or that the licence withholds.
    """
    release, rendered = _release(table), _rendered(table)
    title = TITLES.get(release, release)
    if isinstance(publishable, str):
        raise ValueError(f"publishable={publishable!r}: expected a list of subject names")
    subjects, named = set(table["subject"]), set(publishable)
    withheld = set() if rendered else set(WITHHELD.get(release, ()))
    if named & withheld:
        raise ValueError(
            f"publishable names {min(named & withheld)}: the licence of {title} does not let the faces of "
            f"{' and '.join(sorted(withheld))} be published, whoever asks"
        )
    if named - subjects:
        raise ValueError(
            f"publishable names {min(named - subjects, key=str)!r}, no subject of this table of {title}; it has "
            f"{', '.join(sorted(subjects))}"
        )
    return sorted(subjects - withheld if rendered or release in WITHHELD else named)


def credit(table: pd.DataFrame) -> str:
    """The line to put under a figure that shows faces of this release. Raises ValueError as ``showable`` does."""
    name = _release(table)
    if _rendered(table):
        return "Synthetic release: the faces are rendered, not CASME II or SAMM"
    return f"{TITLES.get(name, name)}, {COPYRIGHT.get(name, 'shown under the user’s licence')}"


def _release(table: pd.DataFrame) -> str:
    """The one release that a table is of."""
    names = sorted(set(table["dataset"]))
    if len(names) != 1:
        raise ValueError(f"a table of {', '.join(names) or 'no clip'}: give the table of one release")
    return names[0]


def _rendered(table: pd.DataFrame) -> bool:
    """Whether all faces are rendered; a table that does not say so is taken for real."""
    return "rendered" in table and table["rendered"].dtype == bool and bool(table["rendered"].all())
