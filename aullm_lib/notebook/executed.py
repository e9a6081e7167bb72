"""The executed notebooks of a profile: what each one does, what it recorded, and whether it ran to its end."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from aullm_lib.notebook import parameters
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.report import claims
from aullm_lib.support import files

UNFINISHED = ".unfinished.ipynb"  # behind the name of a notebook that is running, or failed


@dataclass(frozen=True)
class Executed:
    """An executed notebook, and what it recorded."""

    name: str
    book: NotebookNode
    record: Mapping[str, Any]

    @property
    def opening(self) -> str:
        """The Markdown of its first cell with a title."""
        return next((c.source for c in self.book.cells if c.cell_type == "markdown" and c.source.startswith("# ")), "")

    @property
    def title(self) -> str:
        return _plain(self.opening.partition("\n")[0].removeprefix("# ")) or self.name

    @property
    def summary(self) -> str:
        """The first sentence of its paragraph "What it does"."""
        sentence = re.search(r"\*\*What it does\.\*\*\s*(.+?\.(?=\s|$))", self.opening)
        return _plain(sentence[1]) if sentence else ""

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Its parameters as recorded, or as papermill injected them."""
        return self.record.get("parameters") or self.book.metadata.get("papermill", {}).get("parameters", {})

    @property
    def written(self) -> list[str]:
        """The files that it recorded."""
        return list(self.record.get("results", {}).get("files", []))

    @cached_property
    def synthetic(self) -> frozenset[bool]:
        """Whether its data are synthetic, by its parameters and by the provenance of the files that it wrote."""
        statements = [provenance(Path(path)).get("synthetic") for path in self.written]
        statements.append({"synthetic": True, "licensed": False}.get(self.parameters.get("data", "")))
        return frozenset(value for value in statements if isinstance(value, bool))

    @property
    def revision(self) -> str:
        """The revision of the code that ran it."""
        git = self.record.get("git")
        return f"revision {git['revision'][:10]}{', with changes' if git['changed'] else ''}" if git else "no revision"

    @property
    def problem(self) -> str:
        """Why it is not to be relied on, or nothing."""
        code = [cell for cell in self.book.cells if cell.cell_type == "code" and cell.source.strip()]
        errors = [output for cell in code for output in cell.outputs if output.output_type == "error"]
        if errors:
            return f"stopped by an error, {errors[0].ename}: what came after did not run"
        if any(cell.execution_count is None for cell in code):
            return "unfinished: some cells did not run"
        return "" if self.record else "left no record of its parameters and results"


def _plain(markdown: str) -> str:
    return re.sub(r"[*`]", "", markdown).strip()


def load(work: Workspace) -> list[Executed]:
    """Reads the notebooks of a profile of which some cell was run, in their order.

    Raises:
        ValueError: The profile does not exist, or a file is no notebook.
    """
    books, folder = [], work.folder / "notebooks"
    for path in sorted(folder.glob("*.ipynb")):
        name = path.name.removesuffix(UNFINISHED).removesuffix(".ipynb")
        if path.name.endswith(UNFINISHED) and (folder / f"{name}.ipynb").is_file():
            continue  # an attempt after the one that finished
        try:
            book = nbformat.read(path, as_version=4)
        except (ValueError, nbformat.ValidationError) as error:
            raise ValueError(f"{path}: not readable as a notebook ({error}); delete it and run it again") from None
        if any(cell.get("execution_count") for cell in book.cells) and name != "index":
            books.append(Executed(name, book, work.read(name)))
    if not books:
        profiles = sorted(path.stem for path in (parameters.SOURCE / "profiles").glob("*.yaml"))
        if work.profile not in profiles and not work.folder.exists():
            raise ValueError(f"unknown profile {work.profile!r}; there are {', '.join(profiles)}, and cells of a grid")
    return books


def command(profile: str) -> str:
    """The command that runs a profile; paths of data and language models are left out."""
    targets = {name: f"make {name}" for name in ("demo", "demo-llm", "demo-full")}
    if profile == "paper":
        own = parameters.profile(profile)["02_train_loso"]
        given = own | Workspace(profile).read("02_train_loso").get("parameters", {})
        roots = [f"{parameters.ROOTS[release].upper()}=..." for release in given["releases"]]
        chosen = [f"RELEASES={','.join(given['releases'])}"] if given["releases"] != own["releases"] else []
        chosen += ["LLM=..."] if given["llm"] != own["llm"] else []  # under another name it would be another run
        targets["paper"] = " ".join(["make paper", *roots, *chosen])
    if not (parameters.SOURCE / "profiles" / f"{profile}.yaml").is_file():
        return "make grid GRID=..., of which it is a cell"
    return targets.get(profile, f".venv/bin/aullm batch {profile}")


def not_run(profile: str, notebooks: Iterable[str], *settings: str) -> str:
    """That something was not run, and the command that runs it, as Markdown.

    Args:
        profile: Its profile.
        notebooks: The names of those that run and show it.
        settings: Parameters that it takes, as ``name=value``.
    """
    given = " ".join([*(f"--only {name}" for name in notebooks), *(f"-p '{setting}'" for setting in settings)])
    return f"*Not run. To run it:* `{claims.filled(command(profile), given)}`"


def provenance(path: Path) -> dict:
    """The provenance that lies beside a figure or table; empty for other files."""
    if path.parts[:1] != ("figures",):
        return {}
    content = files.read_json(path.with_name(f"{path.stem.removesuffix('_scores')}.json"), missing={})
    return content if isinstance(content, dict) else {}
