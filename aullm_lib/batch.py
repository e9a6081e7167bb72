"""The notebooks of a profile, one after the other, through papermill: ``python -m aullm_lib.batch demo``.

Executed copies go to ``runs/<profile>/notebooks``. A notebook whose source, parameters, library and predecessors are
unchanged, and whose record is there with every file that it names, is not run again.
"""

import argparse
import hashlib
import json
import logging
import sys
import time
from pathlib import Path

import papermill
from traitlets.config import Config

from aullm_lib import files, notebook
from aullm_lib.workspace import Workspace, check_data, enter_home, home

log = logging.getLogger("aullm")

# Kernels are spoken to over Unix sockets, which other users of a shared machine cannot listen to.
KERNEL = Config({} if sys.platform == "win32" else {"KernelManager": {"transport": "ipc"}})


def library_digest() -> str:
    """A hash of the library's sources: when they change, notebooks run again (finished folds are still kept)."""
    sources = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()


def run(profile: str, overrides: dict | None = None, only: list[str] | None = None) -> list[Path]:
    """Executes what is not done of a profile; returns the executed copies.

    overrides: parameters over the profile's, for every notebook that has them. only: names of notebooks.
    All parameters of all notebooks, and the data roots, are checked before the first one starts. Raises
    ``notebook.ParameterError`` and ValueError for those, ``papermill.PapermillExecutionError`` for a failing cell.
    """
    plan = notebook.profile(profile)
    for name in only or []:
        notebook.defaults(name)
    for key in overrides or {}:
        if key == "profile":
            raise notebook.ParameterError("profile is the first argument, no parameter to override")
        if not any(key in settings for settings in plan.values()):
            raise notebook.ParameterError(f"no notebook has the parameter {key!r}")
    for name, settings in plan.items():
        plan[name] = notebook.checked(name, settings | {k: v for k, v in (overrides or {}).items() if k in settings})
        if "releases" in settings:
            check_data(plan[name])
    enter_home()
    work = Workspace(profile)
    folder = work.folder / "notebooks"
    with files.explained(folder, "the executed notebooks"):
        folder.mkdir(parents=True, exist_ok=True)
    library, done = library_digest(), []
    for name, settings in plan.items():
        if only and name not in only:
            continue
        source, target, stamp = notebook.SOURCE / f"{name}.ipynb", folder / f"{name}.ipynb", folder / f".{name}.done"
        earlier = [[n, work.recorded(n)] for n in plan if n < name]  # what it may read
        digest = hashlib.sha256(library.encode() + source.read_bytes() + json.dumps([settings, earlier]).encode())
        done.append(target)
        if files.read_json(stamp, missing=None) == digest.hexdigest() and target.is_file() and _intact(work, name):
            log.info("%-16s up to date", name)
            continue
        log.info("%-16s running ...", name)
        started = time.perf_counter()
        stamp.unlink(missing_ok=True)
        with files.explained(folder, "the executed notebooks"):
            papermill.execute_notebook(
                source, target, parameters=settings, kernel_name="python3", cwd=str(home()),
                progress_bar=sys.stderr.isatty(), log_output=False, config=KERNEL,
            )  # fmt: skip
            if not _intact(work, name):
                raise RuntimeError(f"{target}: ended without its record, although no cell failed; look into that file")
            files.write_json(stamp, digest.hexdigest())
        log.info("%-16s %.0f s", name, time.perf_counter() - started)
    return done


def _intact(work: Workspace, name: str) -> bool:
    """Whether the notebook's record is there and every file that it names exists."""
    results = work.recorded(name)
    return results is not None and all(Path(path).exists() for path in results.get("files", []))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m aullm_lib.batch", description="Runs the notebooks of a profile.")
    parser.add_argument("profile", help="a file in notebooks/profiles, without .yaml")
    parser.add_argument("-p", metavar="NAME=VALUE", action="append", default=[], help="a parameter, as YAML")
    parser.add_argument("--only", metavar="NOTEBOOK", action="append", help="run this notebook (may be repeated)")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    started = time.perf_counter()
    try:
        pairs = [text.partition("=") for text in options.p]
        overrides = {key: notebook.parse_yaml(value, f"-p {key}") if value else "" for key, _, value in pairs}
        run(options.profile, overrides, options.only)
    except papermill.PapermillExecutionError as error:
        where = Workspace(options.profile).folder / "notebooks"
        log.error("%s: %s\nA cell failed; the executed copy in %s shows where.", error.ename, error.evalue, where)
        return 1
    except (ValueError, OSError, RuntimeError) as error:
        log.error("%s", error)
        return 2
    work = Workspace(options.profile)
    log.info("\n%s took %.0f s. Everything is in %s:", options.profile, time.perf_counter() - started, home())
    log.info("  executed notebooks  %s", work.folder / "notebooks")
    log.info("  run folders         %s", work.results)
    log.info("  tables and figures  %s", work.figures)
    for name in notebook.names():
        for path in (work.recorded(name) or {}).get("files", []):
            log.info("    %s", path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
