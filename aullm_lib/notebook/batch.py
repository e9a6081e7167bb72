"""The notebooks of a profile, one after the other, through papermill: ``aullm batch demo``.

Executed copies go to ``runs/<profile>/notebooks``, under the notebook's name when they are finished; until then, and
where they fail, as ``<notebook>.unfinished.ipynb``. A notebook whose source, parameters, library and predecessors are
unchanged, and whose record is there with every file that it names, is not run again.

A grid, ``aullm grid demo "llm=a,b seeds=1,2"`` or a YAML file of lists, is every combination of some parameters'
values, one after the other. A cell is a profile of its own, such as ``paper-llm-a-seeds-1`` (with a hash behind it
where a value is a path): records, executed notebooks, figures and result folders of two cells never meet, but those of
one cell under other ``-p`` take each other's place. Releases and clip stores are the profile's own, and so are run
folders, to which each cell links those that it asked for: no clip store is built twice, a fold that one cell has
finished serves every other that needs it, and the tables of a cell show its own runs.
"""

import hashlib
import itertools
import json
import logging
import os
import re
import shlex
import time
from argparse import Namespace
from pathlib import Path

import nbformat
import papermill

from aullm_lib.engine.runner import in_words
from aullm_lib.notebook import disk, executed, kernel, parameters, site
from aullm_lib.notebook.parameters import ParameterError
from aullm_lib.notebook.workspace import Workspace, enter_home, home
from aullm_lib.report import replication
from aullm_lib.runs import POOL
from aullm_lib.support import files

log = logging.getLogger("aullm")

IN_A_GRID = ("02_train_loso", "07_paper")  # the notebooks of a cell, unless others are asked for


def library_digest() -> str:
    """A hash of the library's sources: when they change, notebooks run again (finished folds are still kept)."""
    sources = sorted(Path(__file__).parents[1].rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def plan(profile: str, overrides: dict | None = None, only: list[str] | None = None, name: str = "") -> dict[str, dict]:
    """The checked parameters of every notebook that is to run.

    Args:
        profile: A file in ``notebooks/profiles``.
        overrides: Parameters that replace the profile's. With ``claims``, notebooks of which they need nothing are left
            out.
        only: Names of notebooks; all by default.
        name: The name of the results; the profile's by default.

    Raises:
        ParameterError: A notebook or parameter does not exist, or has the wrong type.
        ValueError: The data cannot be had (``parameters.check``).
    """
    overrides, settings = overrides or {}, parameters.profile(profile)
    for notebook in only or []:
        parameters.defaults(notebook)
    for key in overrides:
        if key == "profile":
            raise ParameterError("profile is the first argument, no parameter to override")
        if not any(key in values for values in settings.values()):
            raise ParameterError(f"no notebook has the parameter {key!r}")
    for notebook, values in settings.items():
        values |= {key: value for key, value in overrides.items() if key in values} | {"profile": name or profile}
        settings[notebook] = parameters.checked(notebook, values)
    chosen = {notebook: values for notebook, values in settings.items() if not only or notebook in only}
    for values in chosen.values():
        parameters.check(values)
    keys = overrides.get("claims", [])
    needed = {notebook: parameters.of_claims(notebook, values, keys) for notebook, values in chosen.items()}
    if not any(needed.values()):
        raise ParameterError(f"the claims {', '.join(keys)} need nothing of {', '.join(chosen)}")
    return {notebook: values for notebook, values in needed.items() if values}


def run(profile: str, overrides: dict | None = None, only: list[str] | None = None, name: str = "") -> list[Path]:
    """Executes the notebooks of a ``plan``, which takes the same arguments, as far as they are not up to date.

    All parameters of all notebooks, and the data roots, are checked before the first one starts.

    Returns:
        The paths of the executed copies.

    Raises:
        papermill.PapermillExecutionError: A cell failed.
        RuntimeError: A kernel died; and what ``plan`` raises.
    """
    notebooks = plan(profile, overrides, only, name)
    enter_home()
    work = Workspace(name or profile)
    folder = work.folder / "notebooks"
    library, copies, executed_now = library_digest(), [], False
    lines = [*parameters.missing_weights(notebooks), *parameters.undecided(notebooks)]
    for line in [*lines, *disk.advice(notebooks, home())]:
        log.info(line)
    with files.explained(folder, "the executed notebooks"):
        folder.mkdir(parents=True, exist_ok=True)
    expected = {} if overrides else parameters.seconds(profile)
    if all(notebook in expected for notebook in notebooks):
        whole = in_words(sum(expected[notebook] for notebook in notebooks))
        log.info("%s: %d notebooks, about %s on two cores if nothing is done yet", work.profile, len(notebooks), whole)
    for number, (notebook, settings) in enumerate(notebooks.items(), start=1):
        source, target = parameters.SOURCE / f"{notebook}.ipynb", folder / f"{notebook}.ipynb"
        stamp, begun = folder / f".{notebook}.done", folder / f"{notebook}{executed.UNFINISHED}"
        earlier = [[other, work.recorded(other)] for other in parameters.names() if other < notebook]  # it may read
        cells = [cell.source for cell in nbformat.read(source, as_version=4).cells]
        content = library.encode() + json.dumps([cells, settings, earlier]).encode()
        digest = hashlib.sha256(content).hexdigest()
        copies.append(target)
        place = f"{notebook:16} {number} of {len(notebooks)}"
        if files.read_json(stamp, missing=None) == digest and target.is_file() and _intact(work, notebook):
            log.info("%s, up to date", place)
            continue
        log.info("%s%s ...", place, f", about {in_words(expected[notebook])}" if notebook in expected else "")
        started, before = time.perf_counter(), work.noted(notebook)
        stamp.unlink(missing_ok=True)
        with files.explained(folder, "the executed notebooks"):
            kernel.execute(source, begun, settings, home())
            if work.noted(notebook) == before or not _intact(work, notebook):
                raise RuntimeError(f"{begun}: ended without its record, although no cell failed; look into that file")
            begun.replace(target)  # an earlier copy stays until there is a whole one
            files.write_json(stamp, digest)
        executed_now = True
        log.info("%-16s done in %.0f s", notebook, time.perf_counter() - started)
    report = work.figures / f"{replication.NAME}.html"
    if "07_paper" in notebooks and (executed_now or not report.is_file()):
        site.replicate(work, executed.load(work))
    return copies


def _intact(work: Workspace, notebook: str) -> bool:
    """Whether the notebook's record is there and every file that it names exists."""
    results = work.recorded(notebook)
    return results is not None and all(Path(path).exists() for path in results.get("files", []))


def grid(profile: str, text: str, notebooks: list[str]) -> dict[str, dict]:
    """The cells of a grid: the name of each, and its parameters.

    Args:
        profile: The profile whose parameters the cells change.
        text: Pairs ``name=value,value``, quoted as in a shell where they have blanks, or the name of a YAML file with a
            list for each parameter. A single value of a parameter that is a list, such as ``seeds``, is a list of one.
        notebooks: The notebooks of a cell; each parameter must be one of theirs.

    Raises:
        ParameterError: The text is no grid, or names an unknown parameter.
    """
    if "=" in text and not os.path.isfile(text):  # noqa: PTH113  # which raises nothing where the text is long
        try:
            pairs = [pair.partition("=") for pair in shlex.split(text)]
        except ValueError as error:
            raise ParameterError(f"GRID={text!r}: {error}") from None
        axes = {key: [parameters.parse(key, v, f"GRID: {key}") for v in values.split(",")] for key, _, values in pairs}
    else:
        with files.explained(Path(text), "the grid"):
            axes = parameters.parse_yaml(Path(text).read_text(encoding="utf-8"), text)
    if not isinstance(axes, dict) or not axes or not all(isinstance(v, list) and v for v in axes.values()):
        raise ParameterError(f"GRID={text!r}: expected parameters, each with its values")
    defaults = {key: value for notebook in notebooks for key, value in parameters.defaults(notebook).items()}
    for key, values in axes.items():
        if key not in defaults:
            raise ParameterError(f"GRID: {', '.join(notebooks)} have no parameter {key!r}")
        if isinstance(defaults[key], list):
            axes[key] = [value if isinstance(value, list) else [value] for value in values]
    cells: dict[str, dict] = {}
    for combination in itertools.product(*axes.values()):
        cell = dict(zip(axes, combination, strict=True))
        words = [profile]
        for key, value in cell.items():
            parts = [str(part).rstrip("/").split("/")[-1] for part in (value if isinstance(value, list) else [value])]
            words += [key, *parts]
        name = re.sub(r"[^A-Za-z0-9]+", "-", "-".join(words)).strip("-")
        # Too long for a folder; of a path its last part, one of many; or another cell's name, for all that differs.
        if len(name) > 80 or "/" in json.dumps(cell) or cells.get(name, cell) != cell:
            name = f"{name[:80]}-{hashlib.sha256(json.dumps(cell).encode()).hexdigest()[:6]}"
        cells[name] = cell
    return {name: parameters.from_here(cell) for name, cell in cells.items()}


def run_grid(profile: str, cells: dict[str, dict], overrides: dict | None, notebooks: list[str]) -> dict[str, str]:
    """Runs every cell of a grid, and goes on with the next one where one fails.

    All parameters of all cells are checked before the first one starts; raises what ``plan`` raises for them.

    Returns:
        The failed cells, each with its reason.
    """
    for name, cell in cells.items():
        plan(profile, (overrides or {}) | cell, notebooks, name)
    enter_home()
    failed = {}
    for number, (name, cell) in enumerate(cells.items(), start=1):
        log.info("%s  (%d of %d)", name, number, len(cells))
        try:
            _share(Workspace(profile), Workspace(name))
            run(profile, (overrides or {}) | cell, notebooks, name)
        except (papermill.PapermillExecutionError, ValueError, OSError, RuntimeError) as error:
            failed[name] = _reason(error)
        if name in failed:
            log.error("%s", failed[name])
    return failed


def _reason(error: Exception) -> str:
    """An error in a line: of a cell that failed, that of the cell."""
    return f"{error.ename}: {error.evalue}" if isinstance(error, papermill.PapermillExecutionError) else str(error)


def _share(profile: Workspace, cell: Workspace) -> None:
    """Links a cell to its profile's releases, clip stores and teachers, and each folder of runs to a pool of runs."""
    links = {name: name for name in ("releases", "clips", "teachers")}
    links |= {f"{name}/{POOL}": name for name in ("results", "more_data", "intensity", "explored", "explained")}
    with files.explained(cell.folder, "the grid's folders"):
        for name, target in links.items():
            link, folder = cell.folder / name, profile.folder / target
            folder.mkdir(parents=True, exist_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                link.symlink_to(os.path.relpath(folder, link.parent), target_is_directory=True)


def main(options: Namespace) -> int:
    """``aullm demo``, ``batch`` and ``grid``."""
    started = time.perf_counter()
    for text in options.p:
        if "=" not in text:
            raise ParameterError(f"-p {text}: expected NAME=VALUE")
    pairs = [text.partition("=") for text in options.p]
    overrides = parameters.from_here({key: parameters.parse(key, value, f"-p {key}") for key, _, value in pairs})
    if options.grid is not None:
        notebooks = options.only or list(IN_A_GRID)
        cells = grid(options.profile, options.grid, notebooks)
        enter_home()  # where a profile's own relative folders lie
        failed = run_grid(options.profile, cells, overrides, notebooks)
        seconds = time.perf_counter() - started
        log.info("\n%d of %d cells are done (%.0f s)", len(cells) - len(failed), len(cells), seconds)
        for name in cells:
            log.info("  %-7s %s", "FAILED" if name in failed else "done", Workspace(name).folder)
        return int(len(failed) > 0)
    enter_home()
    work = Workspace(options.profile)
    try:
        run(options.profile, overrides, options.only)
    except (papermill.PapermillExecutionError, RuntimeError) as error:
        log.error("%s", _reason(error))
        log.error("%s/*%s shows where; what is finished is kept", work.folder / "notebooks", executed.UNFINISHED)
        return 1
    report = work.figures / f"{replication.NAME}.html"
    log.info("\n%s is done after %.0f s. In %s:", options.profile, time.perf_counter() - started, home())
    log.info("  look first at         %s", report if report.is_file() else work.figures)
    log.info("  tables and figures    %s", work.figures)
    log.info("  executed notebooks    %s", work.folder / "notebooks")
    log.info("  a website of it all   make report PROFILE=%s", options.profile)
    log.info("  to go on from here    make lab")
    return 0
