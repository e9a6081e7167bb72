"""The replication report of a profile, and a static site of it: ``aullm report demo``.

Each page is one file that holds its pictures and its style, loads nothing and runs nothing: text from data is escaped,
HTML from data is reduced to text, tables and pictures that are part of the page, and a Content-Security-Policy forbids
the rest. Nothing is executed and nothing is dated: the same notebooks and files give the same bytes.
"""

import base64
import hashlib
import logging
import shutil
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from bs4 import BeautifulSoup
from markupsafe import Markup

from aullm_lib.datasets import TITLES
from aullm_lib.notebook import executed, fragment, parameters
from aullm_lib.notebook.executed import Executed
from aullm_lib.notebook.workspace import Workspace, enter_home
from aullm_lib.report import document, replication
from aullm_lib.support import files

log = logging.getLogger("aullm")

POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
DATA = {
    frozenset({True}): "synthetic data",
    frozenset({False}): "licensed data",
    frozenset({True, False}): "licensed and synthetic data",
    frozenset(): "data not stated",
}
_KEEP = "annotations are quoted, so do not publish these pages; make crate packs what may be."
WARNINGS = {
    frozenset({True}): ": faces are rendered, and no number here is a result on CASME II or SAMM.",
    frozenset({False}): f": {_KEEP}",
    frozenset({True, False}): f": {_KEEP} No number from the synthetic part is a result on CASME II or SAMM.",
    frozenset(): ": take no number here for a result.",
}
FACTS = {
    "releases": "Releases",
    "subjects": "Subjects",
    "clips_per_subject": "Clips per subject",
    "recipe": "Recipe",
    "overrides": "Changed in it",
    "llm": "Language model",
    "seeds": "Seeds",
}
"""Parameter -> its name on the first page."""
SECTIONS = ("What was run", "Tables", "Figures")
"""Of the first page."""


def build(profile: str) -> Path:
    """Writes the replication report, then ``figures/<profile>/report``, whole or not at all, in place of earlier ones.

    Both are written whatever is missing, which they say.

    Returns:
        The path of the site's first page.

    Raises:
        ValueError: The profile does not exist, or a run folder or notebook of it is damaged.
    """
    work = Workspace(profile)
    enter_home()
    books = executed.load(work)
    report = document.body(replication.TITLE, replicate(work, books), base="../")
    pages = _pages(work, books, fragment.clean(report))
    target = work.figures / "report"
    with files.alone(work.figures / ".report.lock", "the report"), files.explained(target, "the report"):
        new, old = (target.with_name(f".report.{end}") for end in ("new", "old"))
        _tidy(target, new, old)  # after a run that was killed
        try:
            for name, text in pages.items():
                files.write_text(new / f"{name}.html", text)
            if target.exists():
                target.rename(old)
            new.rename(target)
        finally:
            _tidy(target, new, old)
    return target / "index.html"


def replicate(work: Workspace, books: list[Executed]) -> list[document.Block]:
    """Writes the replication report of a profile, of which these notebooks were executed; returns what is in it."""
    finished = {book.name for book in books if not book.problem}
    profile = replication.Profile(
        name=work.profile, command=executed.command(work.profile), figures=work.figures, results=work.results,
        localisation=work.folder / "localisation", integrity=work.folder / "integrity",
        not_run=[name for name in parameters.names() if name not in finished],
    )  # fmt: skip
    content = replication.blocks(profile)
    replication.write(profile, content)
    return content


def _tidy(target: Path, new: Path, old: Path) -> None:
    """Brings the earlier report back where no new one took its place, and removes what is left over."""
    if old.exists() and not target.exists():
        old.rename(target)
    for folder in (new, old):
        shutil.rmtree(folder, ignore_errors=True)


def _pages(work: Workspace, books: list[Executed], report: str) -> dict[str, str]:
    """The text of each page by its name. report: The replication report as HTML."""
    loader = jinja2.FileSystemLoader(fragment.TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    style = (fragment.TEMPLATES / "site.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    names = ["index", replication.NAME, *(book.name for book in books)]
    environment.globals |= {
        "style": Markup(style),
        "policy": f"{POLICY}; style-src 'sha256-{digest}'",
        "pages": {"index": "Overview"} | {name: name.replace("_", " ") for name in names[1:]},
        "profile": work.profile,
        "data": DATA,
    }
    synthetic = frozenset[bool]().union(*(book.synthetic for book in books))
    made, drawn = _tables(work), _figures(work, books)
    places = [*(table["place"] for table in made), *(place for group in drawn for place in group["places"])]
    contents = Markup(document.contents([(document.anchor(text), text) for text in SECTIONS], places))
    pages = {
        "index": environment.get_template("overview.html.j2").render(
            here="index", before=None, after=replication.NAME, title=f"AU-LLM, profile {work.profile}",
            label=_label(synthetic), facts=_facts(books), notebooks=books, tables=made, contents=contents,
            missing=[name for name in parameters.names() if name not in names], command=executed.command(work.profile),
            figures=drawn, revision=_joined(book.revision for book in books),
        )
    }  # fmt: skip
    template = environment.get_template("page.html.j2")
    pages[replication.NAME] = template.render(
        here=replication.NAME, before="index", after=names[2] if books else None, title=replication.TITLE,
        label=_label(synthetic), problem="", body=Markup(report),
        revision=_joined(book.revision for book in books),
    )  # fmt: skip
    for book, before, after in zip(books, names[1:], [*names[3:], None], strict=False):
        body = fragment.of_notebook(book.book)
        body = body.replace("</h1>", f"</h1>{_sections(body)}", 1)
        pages[book.name] = template.render(
            here=book.name, before=before, after=after, title=book.title, label=_label(book.synthetic),
            problem=book.problem, body=Markup(body), revision=book.revision,
        )  # fmt: skip
    return pages


def _label(synthetic: frozenset[bool]) -> str:
    """The line on every page that says what its numbers are worth."""
    return DATA[synthetic].capitalize() + WARNINGS.get(synthetic, ".")


def _joined(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(word for word in words if word))


def _facts(books: list[Executed]) -> dict[str, str]:
    """The notebooks' main parameters, code and versions; where notebooks differ, every value is given."""
    facts = {"Data": _joined(DATA[book.synthetic] for book in books if book.synthetic)}
    for key, name in FACTS.items():
        licensed_only = key in ("subjects", "clips_per_subject") and not any(True in book.synthetic for book in books)
        if not licensed_only:
            facts[name] = _joined(_text(book.parameters[key]) for book in books if key in book.parameters)
    facts["Code"] = _joined(book.revision for book in books)
    facts["Versions"] = _joined(_text(book.record.get("versions", {})) for book in books)
    return {name: text for name, text in facts.items() if text}


def _text(value: Any) -> str:
    """A parameter's value in words."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str((TITLES | {"tiny": "tiny (two layers, random weights)"}).get(value, value))


def _sections(body: str) -> str:
    """The list of a notebook's sections, where it has several, and of its tables that have a name."""
    soup = BeautifulSoup(body, "html.parser")
    sections = [(str(heading["id"]), heading.get_text()) for heading in soup.select("h2[id]:not(section *)")]
    named = [(str(part["id"]), part.h2.get_text()) for part in soup("section", id=True) if part.h2]
    return document.contents(sections, named) if len(sections) + len(named) > 1 else ""


def _tables(work: Workspace) -> list[dict]:
    """The tables that ``07_paper`` wrote, as sections below a heading of the page, with their files."""
    found = []
    for path in sorted(work.figures.glob("table*.html")):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        ends = {".csv": "CSV", "_scores.csv": "every score", ".tex": "LaTeX", ".md": "Markdown", ".json": "provenance"}
        beside = {name: path.with_name(path.stem + end) for end, name in ends.items()}
        for section in soup("section"):
            section["id"] = path.stem
            heading = section.h2
            if heading:
                heading.name = "h3"
            found.append(
                {
                    "content": Markup(fragment.clean(str(section))),
                    "place": (path.stem, heading.get_text() if heading else path.stem),
                    "files": {name: f"../{file.name}" for name, file in beside.items() if file.is_file()},
                }
            )
    return found


def _figures(work: Workspace, books: list[Executed]) -> list[dict]:
    """The figures in their printed size, by the notebook that wrote them, then the others."""
    figures = {path: _figure(path, work.figures) for path in sorted(work.figures.rglob("*.png"))}
    groups = []
    for book in books:
        written = [figures.pop(path) for path in map(Path, book.written) if path in figures]
        groups.append((book.title, written))
    groups.append(("Recorded by none of these notebooks", list(figures.values())))
    return [
        {
            "title": title,
            "figures": [Markup(document.figure(block, base)) for block, base in written],
            "places": [place for block, _ in written if (place := document.place(block))],
        }
        for title, written in groups
        if written
    ]


def _figure(path: Path, folder: Path) -> tuple[document.Figure, str]:
    """A figure with its caption (``figures.save``), and what leads from the site to its folder."""
    name, text = path.stem.replace("_", " "), path.with_suffix(".txt")
    caption = text.read_text(encoding="utf-8").strip() if text.is_file() else ""
    synthetic = executed.provenance(path).get("synthetic")
    data = DATA[frozenset() if synthetic is None else frozenset({synthetic})]
    below = path.parent.relative_to(folder).as_posix()
    words = f"{name}: {caption}" if caption else f"{name}."
    block = document.Figure(path.with_suffix(""), f"{words}\n{path}, {data}", caption.partition("\n")[0] or name)
    return block, "../" if below == "." else f"../{below}/"


def main(options: Namespace) -> int:
    """``aullm report``."""
    site = build(options.profile).resolve()
    log.info("%s\n%s", site.parents[1] / f"{replication.NAME}.html", site)
    return 0
