"""A release on disk -> the clip table. One adapter a release; ``table.py`` holds the schema and its checks."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from aullm_lib.datasets import casme2, samm
from aullm_lib.datasets.synthetic import synthesize

ADAPTERS: dict[str, Callable[..., pd.DataFrame]] = {"casme2": casme2.load, "samm": samm.load}

TITLES = {"casme2": "CASME II", "samm": "SAMM"}

__all__ = ["ADAPTERS", "TITLES", "load", "synthesize"]


def load(name: str, root: str | Path, **options) -> pd.DataFrame:
    """The clip table of a release (schema: ``table.py``).

    name: "casme2" or "samm"; root: the folder that the archive was unpacked into; options: see the adapter.
    Raises ValueError for an unknown name, FileNotFoundError where the release's files are not below ``root``,
    ``table.ReleaseError`` for annotations that cannot be trusted.
    """
    if name not in ADAPTERS:
        raise ValueError(f"unknown release {name!r}; known: {', '.join(sorted(ADAPTERS))}")
    return ADAPTERS[name](Path(root).expanduser(), **options)
