"""Where a profile keeps what it makes: paths that are the same in every notebook, and the notebooks' records.

    <home>/runs/<profile>/releases/<release>   synthetic releases (licensed ones stay where they are)
    <home>/runs/<profile>/clips/<store>        clip stores
    <home>/runs/<profile>/teachers/            networks that baselines learn from
    <home>/runs/<profile>/results/             run folders: leave-one-subject-out and cross-domain
    <home>/runs/<profile>/more_data/           run folders of one release tested by ever more others
    <home>/runs/<profile>/intensity/           run folders of the intensity curve
    <home>/runs/<profile>/explored/            run folders made for the explorer alone
    <home>/runs/<profile>/explained/           run folders that were trained again to keep their weights
    <home>/runs/<profile>/localisation/        scores of heat maps and of SE's weights, and of which runs they are
    <home>/runs/<profile>/records/             each notebook's parameters and files
    <home>/runs/<profile>/notebooks/           executed copies of the notebooks
    <home>/runs/llm/                           language models built here
    <home>/figures/<profile>/                  tables and figures

``home`` is the repository, or the folder that the environment variable AULLM_HOME names.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from aullm_lib import datasets, preprocess
from aullm_lib.clips import ClipStore, join
from aullm_lib.recipe import Settings
from aullm_lib.report import figures
from aullm_lib.support import files
from aullm_lib.support.provenance import provenance


def home() -> Path:
    """The folder that holds ``runs`` and ``figures``."""
    return Path(os.environ.get("AULLM_HOME") or Path(__file__).resolve().parents[2])


def enter_home() -> None:
    """Goes to ``home``, made if it is not there, and pins it for the processes that are started from here."""
    folder = home().expanduser().resolve()
    with files.explained(folder, "runs and figures"):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ["AULLM_HOME"] = str(folder)
    os.chdir(folder)


@dataclass(frozen=True)
class Workspace:
    """The paths and records of one profile, relative to ``home``.

    The folders of releases, clip stores and teachers are named after all that they are made from, so that nothing is
    made twice and nothing is overwritten by something else.

    Raises:
        ValueError: The profile's name is not of letters, digits and hyphens, and might lead out of these folders.
    """

    profile: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9-]+", self.profile):
            raise ValueError(f"profile is {self.profile!r}; expected letters, digits and hyphens")

    @property
    def folder(self) -> Path:
        return Path("runs") / self.profile

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def figures(self) -> Path:
        return Path("figures") / self.profile

    def release(self, name: str, *, subjects: int, clips_per_subject: int, intensity: float, seed: int) -> Path:
        """The folder of a synthetic release, for ``datasets.synthesize`` with the same arguments."""
        size = f"{subjects}x{clips_per_subject}"
        return self.folder / "releases" / f"{name}-{size}-intensity{intensity:g}-seed{seed}"

    def synthetic(self, name: str, **size: Any) -> Path:
        """Renders a synthetic release where it is not there; arguments and folder as ``release``."""
        return datasets.synthesize(self.release(name, **size), name, **size)

    def clips(self, table: pd.DataFrame, size: int, *, align: str | None = None, rgb: bool = False) -> Path:
        """The folder of a clip store, for ``preprocess.build`` with the same arguments."""
        key = _key(preprocess.settings(table, size, align=align, rgb=rgb))
        kind = f"{size}px-rgb" if rgb else f"{size}px"
        return self.folder / "clips" / f"{table['dataset'].iloc[0]}-{len(table)}-{kind}-{key}"

    def store(self, table: pd.DataFrame, **shape: Any) -> ClipStore:
        """The clip store of a release, made if it is not there. Arguments and errors as ``preprocess.build``."""
        return preprocess.build(table, self.clips(table, **shape), **shape)

    def joined(self, tables: Iterable[pd.DataFrame], *, count_missing: str = "unknown", **shape: Any) -> ClipStore:
        """Several releases in one clip store, made as far as it is not there.

        Args:
            tables: Of the releases' clips.
            count_missing: As ``clips.join``.
            shape: How frames are stored, as in ``preprocess.build``.

        Raises:
            ValueError, OSError: As ``preprocess.build`` and ``clips.join``.
        """
        stores = [self.store(table, **shape) for table in tables]
        names = "+".join(store.release["dataset"] for store in stores)
        identity = [store.fingerprint for store in stores] + ["absent"] * (count_missing == "absent")
        return join(stores, self.folder / "clips" / f"{names}-{_key(identity)}", count_missing=count_missing)

    def teacher(self, recipe: Settings, store: ClipStore) -> Path:
        """The folder of a teacher, for ``baselines.teacher.train``."""
        return self.folder / "teachers" / _key([recipe.to_dict(), store.fingerprint])

    @property
    def llms(self) -> Path:
        """The folder of the tiny random language models, for ``tiny.checkpoint``; all profiles share it."""
        return Path("runs/llm")

    def save(self, provenance: dict[str, Any], **content: Figure | pd.DataFrame | None) -> list[str]:
        """Writes figures (``figures.save``) and tables (.csv, .json) by name, as far as there are any.

        Returns:
            The files, for ``record``.
        """
        written = list[Path]()
        for name, what in content.items():
            path = self.figures / name
            if isinstance(what, Figure):
                written += figures.save(what, path, provenance)
            elif what is not None:
                written += [path.with_suffix(".csv"), path.with_suffix(".json")]
                files.write_text(written[-2], what.to_csv())
                files.write_json(written[-1], provenance)
        return [str(path) for path in written]

    def record(self, notebook: str, settings: Mapping, **results: object) -> Path:
        """Stores a notebook's parameters, the ``files`` that it wrote and a few facts, with their provenance."""
        path = self._record(notebook)
        with files.explained(path, "the record"):
            files.write_json(path, {"parameters": dict(settings), "results": results} | provenance())
        return path

    def noted(self, notebook: str) -> int | None:
        """When a notebook left its record (in nanoseconds), or None if it has not run."""
        path = self._record(notebook)
        return path.stat().st_mtime_ns if path.is_file() else None

    def recorded(self, notebook: str) -> dict | None:
        """The results that a notebook recorded under this profile, or None if it has not run."""
        record = self.read(notebook)
        return record["results"] if record else None

    def read(self, notebook: str) -> dict:
        """All that ``record`` stored for a notebook: parameters, results and provenance; {} if it has not run."""
        return files.read_json(self._record(notebook), missing={})

    def _record(self, notebook: str) -> Path:
        return self.folder / "records" / f"{notebook}.json"


def _key(identity: Any) -> str:
    """Eight hex digits that name what JSON-able values identify."""
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:8]
