"""The executed notebooks, tables and figures of a profile as a static site: ``python -m aullm_lib.notebook.site demo``.

Each page is one file that holds its pictures and its style, loads nothing and runs nothing: text from data is escaped,
HTML from data is reduced to text, tables and pictures that are part of the page, and a Content-Security-Policy forbids
the rest. Nothing is executed and nothing is dated: the same notebooks and files give the same bytes.
"""

import argparse
import base64
import hashlib
import logging
import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jinja2
from bs4 import BeautifulSoup
from markupsafe import Markup
from PIL import Image

from aullm_lib.datasets import TITLES
from aullm_lib.notebook import executed, fragment, parameters
from aullm_lib.notebook.executed import WORDS, Executed
from aullm_lib.notebook.workspace import Workspace, enter_home
from aullm_lib.support import files

log = logging.getLogger("aullm")

POLICY = "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"


def build(profile: str) -> Path:
    """Writes ``figures/<profile>/report``, whole or not at all, in place of an earlier one; returns its first page.

    Raises ValueError for a name that is no profile, FileNotFoundError where none of its notebooks was executed; both
    say what to run first.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+", profile):
        raise ValueError(f"profile is {profile!r}; expected letters, digits and hyphens")
    enter_home()
    work = Workspace(profile)
    pages = _pages(work, executed.load(work))
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


def _tidy(target: Path, new: Path, old: Path) -> None:
    """Brings the earlier report back where no new one took its place, and removes what is left over."""
    if old.exists() and not target.exists():
        old.rename(target)
    for left in (new, old):
        shutil.rmtree(left, ignore_errors=True)


def _pages(work: Workspace, books: list[Executed]) -> dict[str, str]:
    """The name of each page, and the page."""
    loader = jinja2.FileSystemLoader(fragment.TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    style = (fragment.TEMPLATES / "site.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    names = ["index", *(one.name for one in books)]
    common = {
        "style": Markup(style),
        "policy": f"{POLICY}; style-src 'sha256-{digest}'",
        "pages": {"index": "Overview"} | {name: name.replace("_", " ") for name in names[1:]},
        "profile": work.profile,
    }
    every = frozenset[bool]().union(*(one.synthetic for one in books))
    out = {
        "index": environment.get_template("overview.html.j2").render(
            common, here="index", before=None, after=names[1], title=f"AU-LLM, profile {work.profile}",
            label=_label(every), facts=_facts(books), notebooks=books, tables=_tables(work),
            missing=[name for name in parameters.names() if name not in names], command=executed.command(work.profile),
            figures=_figures(work, books), words=WORDS, revision=_joined(one.revision for one in books),
        )
    }  # fmt: skip
    template = environment.get_template("page.html.j2")
    for one, before, after in zip(books, names, [*names[2:], None], strict=False):
        out[one.name] = template.render(
            common, here=one.name, before=before, after=after, title=one.title, label=_label(one.synthetic),
            state=one.state, body=Markup(fragment.of_notebook(one.book)), revision=one.revision,
        )  # fmt: skip
    return out


def _label(synthetic: frozenset[bool]) -> str:
    """The line that says on every page what its numbers are worth."""
    warnings = {
        frozenset({True}): ": faces are rendered, and no number here is a result on CASME II or SAMM.",
        frozenset({True, False}): ": no number from the synthetic part is a result on CASME II or SAMM.",
        frozenset(): ": take no number here for a result.",
    }
    return WORDS[synthetic].capitalize() + warnings.get(synthetic, ".")


def _joined(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(word for word in words if word))


def _facts(books: list[Executed]) -> dict[str, str]:
    """What the notebooks were given, a line a parameter; they mostly agree, otherwise all values are given."""

    called = TITLES | {"tiny": "tiny (two layers, random weights)"}

    def said(value: Any) -> str:
        if isinstance(value, dict):
            return ", ".join(f"{key} {said(one)}" for key, one in value.items())
        return ", ".join(map(said, value)) if isinstance(value, list) else f"{called.get(value, value)}"

    names = {
        "releases": "Releases", "subjects": "Subjects", "clips_per_subject": "Clips a subject", "recipe": "Recipe",
        "overrides": "Changed in it", "llm": "Language model", "seeds": "Seeds",
    }  # fmt: skip
    facts = {"Data": _joined(WORDS[one.synthetic] for one in books if one.synthetic)}
    for key, name in names.items():
        licensed_only = key in ("subjects", "clips_per_subject") and not any(True in one.synthetic for one in books)
        if not licensed_only:
            facts[name] = _joined(said(one.parameters[key]) for one in books if key in one.parameters)
    facts["Code"] = _joined(one.revision for one in books)
    facts["Versions"] = _joined(said(one.record.get("versions", {})) for one in books)
    return {name: text for name, text in facts.items() if text}


def _tables(work: Workspace) -> list[Markup]:
    """What ``render.write`` wrote, as sections below a heading of ours."""
    out = []
    for path in sorted(work.figures.glob("table*.html")):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for heading in soup("h2"):
            heading.name = "h3"
        out += [Markup(fragment.clean(str(section))) for section in soup("section")]
    return out


def _figures(work: Workspace, books: list[Executed]) -> list[dict]:
    """The figures by the notebook that wrote them, then the others; in their printed size."""
    found = {path: _figure(path) for path in sorted(work.figures.rglob("*.png"))}
    groups = []
    for one in books:
        mine = [found.pop(path) for path in map(Path, one.written) if path in found]
        groups.append({"title": one.title, "figures": mine})
    groups.append({"title": "Recorded by none of these notebooks", "figures": list(found.values())})
    return [group for group in groups if group["figures"]]


def _figure(path: Path) -> dict:
    with Image.open(path) as image:
        scale = 96 / image.info.get("dpi", (96, 96))[0]
        width, height = (round(side * scale) for side in image.size)
    synthetic = executed.provenance(path).get("synthetic")
    return {
        "path": path, "name": path.stem.replace("_", " "), "width": width, "height": height,
        "content": base64.b64encode(path.read_bytes()).decode(),
        "data": WORDS[frozenset(set() if synthetic is None else {synthetic})],
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m aullm_lib.notebook.site", description="Writes the report of a profile's executed notebooks."
    )
    parser.add_argument("profile", help="a profile that was run, such as demo")
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    try:
        log.info("%s", build(options.profile).resolve())
    except (ValueError, OSError) as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
