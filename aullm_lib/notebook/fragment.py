"""HTML that can stand in a page of the report: executed notebooks as fragments, and foreign HTML made harmless.

What remains loads nothing and runs nothing: no script, no style, no handler, pictures only as ``data:`` addresses.
"""

import re
from functools import cache
from pathlib import Path

import bleach
from bs4 import BeautifulSoup, Tag
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode
from traitlets.config import Config

from aullm_lib.report import document

TEMPLATES = Path(__file__).parent / "template"
FORMATS = ("text/html", "text/markdown", "image/svg+xml", "image/png", "image/jpeg", "text/latex", "text/plain")
"""The formats of an output that a page can show, the preferred ones first."""
WIDGET = "application/vnd.jupyter.widget-view+json"
_TAGS = set(
    re.findall(
        r"\w+",
        "a abbr b blockquote br caption cite code col colgroup dd del details div dl dt em figcaption figure footer h1 "
        "h2 h3 h4 h5 h6 header hr i img ins kbd li mark ol p pre q s samp section small span strong sub summary sup "
        "table tbody td tfoot th thead tr u ul var wbr "
        "math mfrac mi mn mo mover mpadded mroot mrow mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr "
        "munder munderover",
    )
)
_MATHML = {"accent", "columnalign", "display", "fence", "form", "mathvariant", "stretchy"}
_ATTRIBUTES = _MATHML | {"alt", "class", "colspan", "height", "open", "rowspan", "scope", "start", "title", "width"}
_PLACES = {*(f"h{level}" for level in range(1, 7)), "section", "figure", "table"}  # which links may lead to
_NUMBERS = re.compile(r"[-–−+\d.,%\[\]()/ e]*|nan|NaN|None")
_LONG = 40  # characters of a cell, from which on its column has lines
_PROTOCOLS = ("http", "https", "mailto", "data")


def clean(text: str) -> str:
    """Reduces foreign HTML to its text, tables and embedded pictures; other tags become text, styles are dropped."""
    soup = BeautifulSoup(text, "html.parser")
    for style in soup("style"):
        style.decompose()
    for table in soup.select("table:not(section table, .grid)"):  # those of our own reports are arranged
        _arrange(table)
    for heading in soup.select(":is(h2, h3, h4):not([id], section *)"):
        heading["id"] = document.anchor(heading.get_text())
    for words in soup(string=document.HAN):
        if words.find_parent(lang=True) is None:
            words.replace_with(BeautifulSoup(document.escaped(words), "html.parser"))
    return bleach.clean(str(soup), tags=_TAGS, attributes=_allowed, protocols=_PROTOCOLS)


def _allowed(tag: str, name: str, value: str) -> bool:
    address = re.sub(r"[\s\x00-\x20\x7f-\xa0]", "", value).lower()  # a browser drops a tab or line end wherever it is
    if name == "src":
        return tag == "img" and value.startswith("data:image/")
    if name == "href":
        return tag == "a" and not address.startswith("data:")
    if name == "lang":
        return re.fullmatch("[A-Za-z-]+", value) is not None
    return name in _ATTRIBUTES or (name == "id" and tag in _PLACES)


def _arrange(table: Tag) -> None:
    """A data frame as one reads it: the index's names in the line of the columns' names, words at the left."""
    lines = [line("td") for line in table("tr") if line("td")]
    heads = [line for line in table("tr") if not line("td")]
    width = min(map(len, lines), default=0)
    if len(heads) > 1 and width:
        below, above = heads[-1]("th")[:-width], heads[-2]("th")
        if not any(cell.get_text(strip=True) for cell in [*heads[-1]("th")[-width:], *above[: len(below)]]):
            for cell, name in zip(above, below, strict=False):
                cell.string = name.get_text()
            heads.pop().decompose()
    for place in range(-width, 0):
        cells = [line[place] for line in lines]
        texts = [cell.get_text(strip=True) for cell in cells]
        if not all(map(_NUMBERS.fullmatch, texts)):
            for cell in [*cells, *(heads[-1]("th")[place:][:1] if heads else [])]:
                cell["class"] = "words long" if max(map(len, texts)) > _LONG else "words"


class _Renderer(IPythonRenderer):
    """Formulas become MathML, which a browser sets without a script; one that cannot be read stays as it is typed."""

    def block_math(self, body: str) -> str:
        return self._formula(body, "block") or super().block_math(body)

    def inline_math(self, body: str) -> str:
        return self._formula(body, "inline") or super().inline_math(body)

    @staticmethod
    def _formula(body: str, display: str) -> str:
        body = re.sub(r"(\\math\w+) (\w)", r"\1{\2}", body)  # the converter needs the braces, LaTeX does not
        try:
            return convert(body, display=display)
        except Exception:  # whatever it stumbles over: its errors have no base of their own
            return ""


def _to_html(source: str) -> str:
    return MarkdownWithMath(renderer=_Renderer(escape=False, exclude_anchor_links=True)).render(source)


@cache
def _exporter() -> HTMLExporter:
    exporter = HTMLExporter(
        config=Config({"NbConvertBase": {"display_data_priority": list(FORMATS)}}),
        extra_template_basedirs=[str(TEMPLATES.parent)],
        template_name=TEMPLATES.name,
        exclude_anchor_links=True,
    )
    exporter.register_filter("cleaned", clean)
    exporter.register_filter("markdown2html", _to_html)
    return exporter


def of_notebook(book: NotebookNode) -> str:
    """Converts an executed notebook's text, folded code and outputs.

    The alternative text of a picture is its own, or the sentence before its cell. A widget is shown by its picture; one
    that has none is named, or left out if it is a progress bar.
    """
    states = book.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    cells, caption, pictures = [], "", 0
    for cell in book.cells:
        if cell.cell_type == "markdown":
            caption = re.sub(r"[#*`]", "", cell.source).strip().partition("\n")[0] or caption
        if cell.cell_type == "code":
            outputs = (_output(output, states, caption) for output in cell.outputs)
            cell = NotebookNode(cell | {"outputs": [output for output in outputs if output]})
            for output in cell.outputs:
                if any(kind.startswith("image/") for kind in output.get("data", ())):
                    pictures += 1
                    output.metadata["place"] = f"picture-{pictures}"
        cells.append(cell)
    metadata = {key: value for key, value in book.metadata.items() if key != "widgets"}
    return _exporter().from_notebook_node(NotebookNode(book | {"cells": cells, "metadata": metadata}))[0]


def _output(output: NotebookNode, states: dict, caption: str) -> NotebookNode | None:
    if output.output_type == "stream":
        text = re.sub(r"[^\n]*\r(?!\n)", "", output.text)  # which a terminal would have overwritten
        text = re.sub(r"(?m)^.*\d%\|.*\n?", "", text)  # progress bars
        text = re.sub(r"(?m)^\S*ipykernel_\d+\S*: (\w+: .*)\n  .*\n?", r"\1\n", text)  # a warning's line of code
        return NotebookNode(output | {"text": text}) if text.strip() else None
    if output.output_type == "error":
        return output
    data = {kind: output.data[kind] for kind in FORMATS if kind in output.data}
    alt = next((entry["alt"] for entry in output.metadata.values() if isinstance(entry, dict) and entry.get("alt")), "")
    if WIDGET in output.data and not any(kind.startswith("image/") for kind in data):
        if _shows_progress(output.data[WIDGET]["model_id"], states):
            return None
        data = {"text/plain": "A control that needs a kernel: open the notebook with make lab to use it."}
    data = data or {"text/plain": f"An output of {', '.join(output.data)}, which a page cannot show."}
    return NotebookNode(output | {"data": NotebookNode(data), "metadata": NotebookNode({"alt": alt or caption})})


def _shows_progress(model: str, states: dict) -> bool:
    """Whether a widget, or one inside it, is a progress bar; also where the notebook did not keep its state."""
    state = states.get(model, {})
    children = [child.removeprefix("IPY_MODEL_") for child in state.get("state", {}).get("children", [])]
    return "Progress" in state.get("model_name", "Progress") or any(
        _shows_progress(child, states) for child in children
    )
