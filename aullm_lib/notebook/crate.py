"""What a profile has made, in one file that a stranger can check: ``aullm crate demo`` writes an RO-Crate.

``figures/<profile>/crate.zip`` holds run folders without weights, tables, figures, executed notebooks and the
replication report, described as RO-Crate 1.1 and its profile Process Run Crate 0.5 ask: each executed notebook is an
action with its parameters, the runs that it made and read, the files that it wrote, its time and its packages. Whatever
is missing or mixed, the crate is written, and its README.md says so, with the command that fills it.

Files go in by their kind, and no other file does. Of a profile of which not everything is known to be rendered, only
this goes in: of each run its settings and its scores over all people, tables and figures of averages (``AVERAGES``),
the report with such figures only, and notebooks without parameters and outputs; no clip, person, annotation or frame.
"""

import hashlib
import json
import logging
import os
import re
import tempfile
from argparse import Namespace
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from aullm_lib import __version__, metrics
from aullm_lib.datasets.table import rendered
from aullm_lib.notebook import executed, parameters, site
from aullm_lib.notebook.executed import Executed
from aullm_lib.notebook.workspace import Workspace, enter_home, home
from aullm_lib.report import document, replication, results
from aullm_lib.report.document import Block, Figure, Heading, Items
from aullm_lib.runs import OldFormat, Run
from aullm_lib.support import files

log = logging.getLogger("aullm")

NAME = "crate.zip"
PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
RUNS = ("results", "intensity", "explored", "explained")  # folders of run folders
OF_RUN = ("run.json", "README.md", "predictions.csv")
OF_FOLD = ("fold.json", "predictions.csv", "log.csv", "probe.csv", "trace.csv")
BESIDE = ("records/*.json", "localisation/*.csv", "localisation/*.json", "integrity/*.csv")
AVERAGES = re.compile(
    r"(table\d_[a-z0-9_]+|tables|controls(_\d+)?|claims|verdicts|differences|calibration_[a-z0-9]+|reliability_[a-z0-9]+"
    r"|scores_per_au|fig2_ablations|baselines|cross_domain|audit_policies|tuning_gain)(_scores)?"
)
"""Names of tables and figures in which nobody's clip is shown by itself."""
FORMATS = {
    ".json": "application/json", ".csv": "text/csv", ".md": "text/markdown", ".html": "text/html",
    ".tex": "application/x-tex", ".ipynb": "application/x-ipynb+json", ".png": "image/png", ".pdf": "application/pdf",
    ".txt": "text/plain",
}  # fmt: skip
PICTURES = (".png", ".pdf")

_PART = r"[^\s\"'<>|:;,()\[\]{}*?\\/]+"
_PATH = re.compile(  # absolute ones, and relative ones that lead out of ``home``; no part of an address or of base64
    r"(?<![\w+/.<~*?-])(?<!base64,)(?<!/jpeg\": \")(?:file://)?"
    rf"(?:/|[A-Za-z]:[\\/]+|(?:\.\./){{5,}})(?:{_PART}[\\/]+)+({_PART})?"
)
_QUOTED = re.compile(r"(?<!jpeg\": )(\\?[\"'])(?:/|[A-Za-z]:/)[^\"'\n\\]*/([^\"'/\n\\]+)\1")  # it may have blanks


def build(profile: str) -> Path:
    """Writes the crate, whole or not at all, in place of an earlier one, and the replication report, which is in it.

    Raises:
        ValueError: The profile does not exist, or a run folder or notebook of it is damaged.
    """
    work = Workspace(profile)
    enter_home()
    books = executed.load(work)
    report = site.replicate(work, books)
    runs, unread = _runs(work)
    licensed = not _rendered(work, runs, books)
    members = _averages(runs, work, report) if licensed else _everything(runs, work, books)
    for book in books:
        members[f"notebooks/{book.name}.ipynb"] = _source(book)
    members = {path: _without_paths(path, content) for path, content in sorted(members.items())}
    withheld = _withheld(members, runs) if licensed else []
    members = {path: content for path, content in members.items() if path not in withheld}
    members["README.md"] = _readme(work, report, licensed, [*unread, *withheld]).encode()
    target = work.figures / NAME
    temporary = target.with_name(f".{NAME}.{os.getpid()}")
    with files.explained(target, "the crate"), tempfile.TemporaryDirectory() as folder:
        for path, content in members.items():
            Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
            Path(folder, path).write_bytes(content)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            _described(work, books, runs, members, licensed, Path(folder)).write_zip(temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    return target


# What goes in


def _runs(work: Workspace) -> tuple[list[Run], list[str]]:
    """The runs of a profile, and those that are left out: of an older version, or behind a link that leads outside."""
    runs, unread = list[Run](), list[str]()
    for kind in RUNS:
        for path in sorted((work.folder / kind).glob("[!.]*/run.json")):
            try:
                runs += [Run(path.parent)] if _inside(path) else []
                unread += [] if _inside(path) else [str(path.parent)]
            except OldFormat:
                unread.append(str(path.parent))
    return runs, unread


def _inside(path: Path) -> bool:
    """Whether a file lies in ``home``, and is no link that leads out of it."""
    return any(path.resolve().is_relative_to(Path(top).resolve()) for top in ("runs", "figures"))


def _rendered(work: Workspace, runs: Iterable[Run], books: Iterable[Executed]) -> bool:
    """Whether all that a profile holds is known to be rendered, so that no face and no annotation is licensed."""
    begun = [files.read_json(path) for path in (work.folder / "clips").glob("*/settings.json")]
    stores = [settings.get("settings", {}).get("release", {}) for settings in begun]
    told = [files.read_json(path, missing={}) for path in work.figures.glob("[!.]*.json")]
    return (
        all(rendered(release) for release in [*stores, *(run.info["data"] for run in runs)])
        and all(book.parameters.get("data", "synthetic") == "synthetic" for book in books)
        and all(isinstance(made, dict) and made.get("synthetic", False) in (True, None) for made in told)
    )


def _everything(runs: Iterable[Run], work: Workspace, books: Iterable[Executed]) -> dict[str, bytes]:
    """All files of a rendered profile, by kind."""
    paths = [path for pattern in BESIDE for path in work.folder.glob(pattern)]
    for run in runs:
        paths += [run.path / name for name in OF_RUN]
        paths += [run.fold(fold) / name for fold in run.done for name in OF_FOLD]
    paths += [path for path in work.figures.glob("[!.]*") if path.suffix in FORMATS and _has_provenance(path)]
    content = {path.as_posix(): path.read_bytes() for path in paths if path.is_file() and _inside(path)}
    for book in books:
        book.book.metadata.pop("widgets", None)
        content[(work.folder / "notebooks" / f"{book.name}.ipynb").as_posix()] = nbformat.writes(book.book).encode()
    return content


def _has_provenance(path: Path) -> bool:
    return path.name == "tables.tex" or bool(executed.provenance(path))


def _averages(runs: Iterable[Run], work: Workspace, report: list[Block]) -> dict[str, bytes]:
    """What holds no clip, person, annotation or frame."""
    content = {
        path.as_posix(): path.read_bytes()
        for path in work.figures.glob("[!.]*")
        if AVERAGES.fullmatch(path.stem) and path.suffix in FORMATS and _has_provenance(path) and _inside(path)
    }
    blocks = [one for one in report if not isinstance(one, Figure) or AVERAGES.fullmatch(one.path.name)]
    for suffix, draw in ((".md", document.markdown), (".html", document.page), (".tex", document.latex)):
        content[f"{work.figures.as_posix()}/{replication.NAME}{suffix}"] = draw(replication.TITLE, blocks).encode()
    for run in runs:
        made = results.made_by([run]) | {"folds": len(run.folds), "finished": len(run.done)}
        made |= {"per_fold": {key: value for key, value in run.costs().mean().items() if pd.notna(value)}}
        content[(run.path / "configuration.json").as_posix()] = _json(made)
        if not run.missing:
            policies = ["fixed", "nested"] if len(run.folds) > 1 else ["fixed"]
            scores = {policy: metrics.score(run.predictions(), policy=policy) for policy in policies}
            content[(run.path / "scores.csv").as_posix()] = pd.concat(scores, names=["policy"]).to_csv().encode()
    return content


def _source(book: Executed) -> bytes:
    """The notebook that was executed, without parameters and outputs."""
    cells = [cell for cell in book.book.cells if "injected-parameters" not in cell.metadata.get("tags", [])]
    plain = [cell | ({"outputs": [], "execution_count": None} if cell.cell_type == "code" else {}) for cell in cells]
    metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nbformat.writes(nbformat.from_dict(dict(book.book) | {"cells": plain, "metadata": metadata})).encode()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _without_paths(path: str, content: bytes) -> bytes:
    """A text without the paths of this machine, of which only the last part stays; pictures as they are."""
    if path.endswith(PICTURES):
        return content
    text = content.decode()
    for folder, short in ((home().resolve(), "."), (parameters.SOURCE.parent, "."), (Path.home(), "...")):
        if len(folder.parts) > 1:
            text = re.sub(re.escape(str(folder)) + r"(?![\w-])", short, text)
    text = _QUOTED.sub(r"\1.../\2\1", text)
    return _PATH.sub(lambda match: f".../{match[1] or ''}", text).encode()


def _withheld(members: Mapping[str, bytes], runs: Iterable[Run]) -> list[str]:
    """Texts that name a clip or a person of these runs, whatever their kind."""
    names: set[str] = set()
    for run in runs:
        if run.done:
            rows = run.predictions()
            names |= {*rows["clip_id"], *rows["clip_id"].str.rpartition("/")[2], *rows["subject"]}
    telling = sorted(map(re.escape, (name for name in names if len(name) > 3 and not name.isdigit())))
    if not telling:
        return []
    pattern = re.compile(rf"(?<!\w)(?:{'|'.join(telling)})(?!\w)")
    return [path for path, text in members.items() if not path.endswith(PICTURES) and pattern.search(text.decode())]


def _readme(work: Workspace, report: list[Block], licensed: bool, left_out: list[str]) -> str:
    """What is in the crate, what is not, and what is missing or mixed."""
    blocks: list[Block] = [_contents(licensed)]
    if left_out:
        blocks.append(f"Left out: {', '.join(left_out)}.")
    at = next((i for i, one in enumerate(report) if isinstance(one, Heading) and one.text == replication.GAPS), None)
    gaps: list[Block] = [] if at is None else [one for one in report[at + 1 : at + 2] if isinstance(one, Items)]
    blocks += [Heading(replication.GAPS), *(gaps or ["Nothing."])]
    text = document.markdown(_title(work), blocks)
    return text.replace("](../../", "](")  # links of the report, which lies two folders deeper


def _title(work: Workspace) -> str:
    return f"AU-LLM: what the profile {work.profile} has made"


def _contents(licensed: bool) -> str:
    if licensed:
        return (
            "Not everything here is known to be rendered, so that it is treated as licensed: of each run there are its "
            "settings and its scores over all people, beside tables and figures of averages, the replication report, "
            "and the notebooks without parameters and outputs. No clip, person, annotation or frame is in this crate, "
            "and no weights."
        )
    return (
        "Run folders without weights, tables, figures, executed notebooks and the replication report. Everything comes "
        "from synthetic releases: faces are rendered, and no number is a result on CASME II or SAMM."
    )


# How it is described


def _described(
    work: Workspace, books: list[Executed], runs: list[Run], members: Mapping[str, bytes], licensed: bool, folder: Path
) -> ROCrate:
    """The crate of the files in a folder."""
    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append("https://w3id.org/ro/terms/workflow-run/context")  # sha256

    def entity(identifier: str, kind: str, **properties: Any) -> ContextEntity:
        there = crate.dereference(identifier)
        return there or crate.add(ContextEntity(crate, identifier, properties={"@type": kind} | properties))

    ends = [end for book in books if (end := _times(book).get("endTime"))]
    crate.name, crate.description = _title(work), _contents(licensed) + " README.md says what is missing or mixed."
    crate.datePublished = max(ends, default=datetime.now(UTC).isoformat(timespec="seconds"))
    crate.license = entity("https://spdx.org/licenses/MIT", "CreativeWork", name="MIT License")
    person = entity("#whoever-ran-it", "Person", name=f"Not named: whoever ran the profile {work.profile}")
    crate.root_dataset["author"] = person
    crate.root_dataset["conformsTo"] = entity(PROFILE, "CreativeWork", name="Process Run Crate", version="0.5")
    folders = {
        run.path.as_posix(): crate.add_dataset(
            dest_path=f"{run.path.as_posix()}/", properties={"name": run.path.name, "description": _of_run(run)}
        )
        for run in runs
    }
    for path, content in members.items():
        about: dict[str, Any] = {
            "name": Path(path).name, "encodingFormat": FORMATS[Path(path).suffix], "contentSize": str(len(content)),
            "sha256": hashlib.sha256(content).hexdigest(),
        }  # fmt: skip
        if path.startswith("notebooks/"):
            about["@type"] = ["File", "SoftwareSourceCode"]
        file = crate.add_file(folder / path, path, properties=about)
        for parent in Path(path).parents:
            if parent.as_posix() in folders:
                folders[parent.as_posix()].append_to("hasPart", file)
    for book in books:
        instrument = crate.dereference(f"notebooks/{book.name}.ipynb")
        if instrument is None:  # it named somebody
            instrument = entity(f"#{book.name}.ipynb", "SoftwareSourceCode", name=book.title)
        instrument["name"], instrument["version"] = book.title, f"aullm_lib {__version__}, {book.revision}"
        instrument["softwareRequirements"] = [
            entity(f"pkg:pypi/{name}@{version.partition('+')[0]}", "SoftwareApplication", name=name, version=version)
            for name, version in book.record.get("versions", {}).items()
            if name not in ("aullm_lib", "python")
        ]  # fmt: skip
        made, read = _made_and_read(book, runs)
        given = [
            entity(f"#{book.name}/{key}", "PropertyValue", name=key, value=_plain(value))
            for key, value in book.parameters.items()
            if not licensed or _harmless(book.name, key, value)
        ]
        written = [path for path in book.written if Path(path).parent.as_posix() not in folders]
        written.append((work.folder / "notebooks" / f"{book.name}.ipynb").as_posix())
        outputs = [crate.dereference(path) for path in written if path in members]
        action = crate.add_action(
            instrument,
            f"#run-of-{book.name}",
            object=[*given, *(folders[path] for path in read)],
            result=[*outputs, *(folders[path] for path in made)],
            properties={
                "name": f"{book.title} ({book.name}), profile {work.profile}",
                "description": f"{executed.command(work.profile)}, of it the notebook {book.name}",
                "actionStatus": f"http://schema.org/{'Failed' if book.problem else 'Completed'}ActionStatus",
            }
            | _times(book)
            | ({"error": book.problem} if book.problem else {}),
        )
        action["agent"] = person
        crate.root_dataset.append_to("mentions", action)
    return crate


def _times(book: Executed) -> dict[str, str]:
    """When papermill ran a notebook, in ISO 8601."""
    noted, times = book.book.metadata.get("papermill", {}), dict[str, str]()
    for name, key in (("startTime", "start_time"), ("endTime", "end_time")):
        with suppress(TypeError, ValueError):  # it was not run to its end
            times[name] = datetime.fromisoformat(noted.get(key)).isoformat(timespec="milliseconds")
    return times


def _of_run(run: Run) -> str:
    key = results.configuration(run)
    what = ", ".join(filter(None, (key.method, key.variant, _plain(key.llm), f"recipe {key.recipe}")))
    return (
        f"{results.in_words([run])}: {what}, seed {run.info['experiment']['seed']}; {run.info['protocol']}, "
        f"{len(run.done)} of {len(run.folds)} folds, whose clips have the SHA-256 {run.split_sha256}."
    )


def _made_and_read(book: Executed, runs: Iterable[Run]) -> tuple[list[str], list[str]]:
    """The run folders of which a notebook wrote some fold, and the others that are behind the files it wrote."""
    times = [datetime.fromisoformat(time).timestamp() for time in _times(book).values()]
    begin, end = times if len(times) == 2 else (0, 0)
    made = [
        run.path.as_posix()
        for run in runs
        if any(begin <= (run.fold(fold) / "fold.json").stat().st_mtime <= end for fold in run.done)
    ]
    named = {name for path in book.written for name in executed.provenance(Path(path)).get("runs", ())}
    named |= {Path(path).parent.as_posix() for path in book.written}
    return made, [path for run in runs if (path := run.path.as_posix()) in named and path not in made]


def _plain(value: Any) -> str:
    text = _without_paths("", json.dumps(value, ensure_ascii=False).encode()).decode()
    return json.loads(text) if isinstance(value, str) else text


def _harmless(notebook: str, key: str, value: Any) -> bool:
    """Whether a parameter names nothing of a release: numbers, and what the notebook itself has."""
    return all(isinstance(leaf, int | float) for leaf in _leaves(value)) or (
        notebook in parameters.names() and parameters.defaults(notebook).get(key) == value
    )


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def main(options: Namespace) -> int:
    """``aullm crate``."""
    log.info("%s", build(options.profile).resolve())
    return 0
