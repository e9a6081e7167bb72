"""The executed notebooks of a profile: what each one says of itself, what it recorded, and whether it went through."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from aullm_lib.notebook import parameters
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.support import files

WORDS = {
    frozenset({True}): "synthetic data",
    frozenset({False}): "licensed data",
    frozenset({True, False}): "licensed and synthetic data",
    frozenset(): "data not stated",
}


@dataclass(frozen=True)
class Executed:
    """An executed notebook, and what it recorded."""

    name: str
    book: NotebookNode
    record: Mapping[str, Any]

    @property
    def first(self) -> str:
        """Its opening text."""
        return next((c.source for c in self.book.cells if c.cell_type == "markdown" and c.source.startswith("# ")), "")

    @property
    def title(self) -> str:
        return _plain(self.first.partition("\n")[0].removeprefix("# ")) or self.name

    @property
    def what(self) -> str:
        """The first sentence of what it says that it does."""
        found = re.search(r"\*\*What it does\.\*\*\s*(.+?\.(?=\s|$))", self.first)
        return _plain(found[1]) if found else ""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """As it recorded them, or as it was given them."""
        return self.record.get("parameters") or self.book.metadata.get("papermill", {}).get("parameters", {})

    @property
    def written(self) -> list[str]:
        return list(self.record.get("results", {}).get("files", []))

    @cached_property
    def synthetic(self) -> frozenset[bool]:
        """Whether its data are: by its parameters, and by what lies beside the files that it wrote."""
        known = [provenance(Path(path)).get("synthetic") for path in self.written]
        known.append({"synthetic": True, "licensed": False}.get(self.parameters.get("data", "")))
        return frozenset(value for value in known if isinstance(value, bool))

    @property
    def revision(self) -> str:
        """Of the code that ran it."""
        git = self.record.get("git")
        return f"revision {git['revision'][:10]}{', with changes' if git['changed'] else ''}" if git else "no revision"

    @property
    def state(self) -> str:
        """Why it is not to be relied on, or nothing."""
        code = [cell for cell in self.book.cells if cell.cell_type == "code" and cell.source.strip()]
        for cell in code:
            for output in cell.outputs:
                if output.output_type == "error":
                    return f"stopped by an error, {output.ename}: what came after did not run"
        if any(cell.execution_count is None for cell in code):
            return "unfinished: some cells did not run"
        return "" if self.record else "left no record of its parameters and results"


def _plain(markdown: str) -> str:
    return re.sub(r"[*`]", "", markdown).strip()


def load(work: Workspace) -> list[Executed]:
    """The notebooks of which some cell was run, in their order.

    Raises ValueError for a name that is no profile or a file that is no notebook, FileNotFoundError where no notebook
    was executed; each says what to run.
    """
    found = []
    for path in sorted((work.folder / "notebooks").glob("*.ipynb")):
        try:
            book = nbformat.read(path, as_version=4)
        except (ValueError, nbformat.ValidationError) as error:
            raise ValueError(f"{path}: not readable as a notebook ({error}); delete it and run it again") from None
        if any(cell.get("execution_count") for cell in book.cells) and path.stem != "index":
            record = files.read_json(work.folder / "records" / f"{path.stem}.json", missing={})
            found.append(Executed(path.stem, book, record))
    if not found:
        known = sorted(path.stem for path in (parameters.SOURCE / "profiles").glob("*.yaml"))
        if work.profile not in known and not work.folder.exists():
            raise ValueError(f"unknown profile {work.profile!r}; there are {', '.join(known)}, and the cells of a grid")
        raise FileNotFoundError(
            f"no executed notebook in {work.folder / 'notebooks'}: first {command(work.profile)}, then "
            f"make report PROFILE={work.profile}"
        )
    return found


def command(profile: str) -> str:
    """What runs a profile."""
    named = {"demo": "make demo", "demo-full": "make demo-full", "paper": "make paper CASME2_ROOT=... SAMM_ROOT=..."}
    if not (parameters.SOURCE / "profiles" / f"{profile}.yaml").is_file():
        return "make grid GRID=..., of which it is a cell"
    return named.get(profile, f".venv/bin/python -m aullm_lib.notebook.batch {profile}")


def provenance(path: Path) -> dict:
    """What ``figures.save`` and ``render.write`` leave beside a figure or table; nothing for other files."""
    if path.parts[:1] != ("figures",):
        return {}
    made = files.read_json(path.with_name(f"{path.stem.removesuffix('_scores')}.json"), missing={})
    return made if isinstance(made, dict) else {}
