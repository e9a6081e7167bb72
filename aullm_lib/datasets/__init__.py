"""A release on disk -> the clip table: one adapter per release; ``table.py`` holds the schema and its checks."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from aullm_lib.datasets import casme, casme2, casme3, croissant, fourdme, mmew, samm, table
from aullm_lib.datasets.documented import TITLES
from aullm_lib.datasets.synthetic import synthesize
from aullm_lib.datasets.synthetic.layouts import LAYOUTS
from aullm_lib.datasets.table import Release

ADAPTERS: dict[str, Callable[..., Release]] = {
    "casme2": casme2.load,
    "samm": samm.load,
    "casme": casme.load,
    "casme3": casme3.load,
    "4dme": fourdme.load,
    "mmew": mmew.load,
}

__all__ = ["ADAPTERS", "TITLES", "Release", "counted", "load", "read", "synthesize"]


def load(name: str, root: str | Path, **options) -> pd.DataFrame:
    """The clip table of a release (schema: ``table.py``); arguments, warnings and errors are those of ``read``."""
    return _read(name, root, options).table


def read(name: str, root: str | Path, **options) -> Release:
    """Reads a release on disk.

    Rows that cannot be trusted are left out and counted in a warning, as are clips that lack frames and a number of
    clips that is not documented; ``integrity.report`` has them all.

    Args:
        name: "casme2", "samm", "casme", "casme3" (part A), "4dme" or "mmew".
        root: the folder that the archive was unpacked into.
        options: see the adapter.

    Returns:
        The clip table, and where it came from.

    Raises:
        ValueError: an unknown name or option.
        FileNotFoundError: the release's files are not below ``root``.
        table.ReleaseError: a workbook that cannot be used at all.
    """
    return _read(name, root, options)


def _read(name: str, root: str | Path, options: dict) -> Release:
    if name not in ADAPTERS:
        raise ValueError(f"unknown release {name!r}; known: {', '.join(sorted(ADAPTERS))}")
    release = ADAPTERS[name](Path(root).expanduser(), **options)
    for message in table.warnings_of(release):
        warnings.warn(message, stacklevel=3)  # at the caller of load or read
    return release


def counted(release: Release) -> dict[str, Any]:
    """The Croissant metadata of a licensed release, as JSON values: structure and counts only.

    Names of subjects, clips and files, annotations, and pictures stay out, and so do hashes of files. File names are
    those that are publicly documented of the release, whatever they are in this copy.
    """
    return croissant.counted(release, LAYOUTS[release.dataset])
