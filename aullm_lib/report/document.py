"""A document of headings, text, tables and figures, drawn as Markdown, HTML and LaTeX from the same blocks.

All text is escaped when it is drawn; addresses are relative to the folder of the document. A table of scores is drawn
by ``tables``. The same blocks give the same bytes.
"""

import base64
import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

import pandas as pd
from PIL import Image

from aullm_lib.report import tables
from aullm_lib.report.tables import MARKDOWN, Table, tex
from aullm_lib.support.markdown import drawn


class Link(NamedTuple):
    """Words that lead somewhere: a relative path, an anchor of the document such as "#costs", or an address."""

    text: str
    target: str


class Code(NamedTuple):
    """A name or a command, as it is typed."""

    text: str


Text: TypeAlias = str | Link | Code | Sequence["str | Link | Code"]
"""What a line of the document is made of: parts are put together with blanks, but for punctuation."""


class Heading(NamedTuple):
    """Level 2 is a numbered section, level 3 one of its parts."""

    text: str
    level: int = 2


class Items(NamedTuple):
    items: Sequence[Text]


class Command(NamedTuple):
    text: str


@dataclass(frozen=True, eq=False)
class Grid:
    """A table of texts: each cell a ``Text``, the columns' names the heads, the index unused."""

    caption: str
    frame: pd.DataFrame


class Figure(NamedTuple):
    """A figure beside the document.

    Attributes:
        path: Without its ending; there are a .png and a .pdf of it.
        alt: What is seen, for those who cannot see it.
    """

    path: Path
    caption: str
    alt: str

    def file(self, end: str) -> Path:
        return self.path.with_name(self.path.name + end)


Block: TypeAlias = Heading | Items | Command | Grid | Figure | Table | Text


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def place(block: Block) -> tuple[str, str] | None:
    """The anchor of a table or figure and its first words; None for other blocks."""
    match block:
        case Grid():
            return anchor(block.caption), block.caption
        case Figure():
            return block.path.name, re.split(r"\. |\n", block.caption)[0]
        case Table():
            return block.name, block.heading
    return None


def _headings(blocks: Iterable[Block]) -> dict[int, str]:
    """Sections with their numbers: identity of the block -> "2. Data"."""
    sections = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    return {id(block): f"{number}. {block.text}" for number, block in enumerate(sections, 1)}


def _parts(text: Text) -> Sequence[str | Link | Code]:
    return [text] if isinstance(text, str | Link | Code) else text


def _joined(drawn: Iterable[str]) -> str:
    """Parts in one line, with blanks between them but before punctuation."""
    return re.sub(r" +([,.;:)])", r"\1", " ".join(part for part in drawn if part)).replace("( ", "(")


# Markdown


def _md(text: Text) -> str:
    def draw(part: str | Link | Code) -> str:
        if isinstance(part, Link):
            return f"[{MARKDOWN.escape(part.text)}]({_address(part.target)})"
        return f"`{part.text.replace('`', ' ')}`" if isinstance(part, Code) else MARKDOWN.escape(part)

    return _joined(map(draw, _parts(text)))


def _address(target: str) -> str:
    return quote(target, safe="/#:.,-_~?=&")


def markdown(title: str, blocks: Sequence[Block]) -> str:
    """The document as GitHub's Markdown, with a list of its sections."""
    sections = _headings(blocks)
    out = [f"# {MARKDOWN.escape(title)}", "\n".join(f"- [{text}](#{anchor(text)})" for text in sections.values())]
    for block in blocks:
        match block:
            case Heading():
                out.append(f"{'#' * block.level} {MARKDOWN.escape(sections.get(id(block), block.text))}")
            case Items():
                out.append("\n".join(f"- {_md(item)}" for item in block.items))
            case Command():
                out.append(f"```\n{block.text}\n```")
            case Grid():
                rows = [list(block.frame.columns), *block.frame.itertuples(index=False, name=None)]
                out += [f"**{MARKDOWN.escape(block.caption)}**", drawn(map(_cell, row) for row in rows)]
            case Figure():
                name = _address(f"{block.path.name}.png")
                out += [f"![{MARKDOWN.escape(block.alt)}]({name})", f"*{MARKDOWN.escape(block.caption)}*"]
            case Table():
                out.append(tables.markdown(block).strip())
            case _:
                out.append(_md(block))
    return "\n\n".join(out) + "\n"


def _cell(text: Text) -> str:
    return _md(text).replace("\\|", "|").replace("|", "\\|")


# HTML

HAN = re.compile(r"[\u2e80-\u9fff\uff00-\uffef]+")


def escaped(text: str) -> str:
    """Text for HTML, in which Chinese says that it is: for its font, its line breaks, and those who have it read."""
    return HAN.sub(r'<span lang="zh">\g<0></span>', html.escape(text))


def _html(text: Text, base: str = "") -> str:
    def draw(part: str | Link | Code) -> str:
        if isinstance(part, Link):
            target = part.target if part.target.startswith("#") or "://" in part.target else base + part.target
            return f'<a href="{html.escape(_address(target))}">{escaped(part.text)}</a>'
        return f"<code>{escaped(part.text)}</code>" if isinstance(part, Code) else escaped(part)

    return _joined(map(draw, _parts(text)))


def body(title: str, blocks: Sequence[Block], base: str = "") -> str:
    """The document as the content of an HTML page, with its pictures in it.

    Args:
        base: What leads from the page's folder to the document's, such as "../".
    """
    sections = _headings(blocks)
    out = [
        f"<h1>{html.escape(title)}</h1>",
        contents([(anchor(text), text) for text in sections.values()], filter(None, map(place, blocks))),
    ]
    for block in blocks:
        match block:
            case Heading():
                text = sections.get(id(block), block.text)
                out.append(f'<h{block.level} id="{anchor(text)}">{html.escape(text)}</h{block.level}>')
            case Items():
                out.append(f"<ul>{''.join(f'<li>{_html(item, base)}</li>' for item in block.items)}</ul>")
            case Command():
                out.append(f"<pre>{html.escape(block.text)}</pre>")
            case Grid():
                out.append(_grid(block, base))
            case Figure():
                out.append(figure(block, base))
            case Table():
                out.append(tables.page(block).strip())
            case _:
                out.append(f'<p class="text">{_html(block, base)}</p>')
    return "\n".join(out) + "\n"


def contents(sections: Iterable[tuple[str, str]], places: Iterable[tuple[str, str]]) -> str:
    """The list of sections, and, folded, that of tables and figures, each by its anchor and name."""

    def listed(lines: Iterable[tuple[str, str]]) -> str:
        return "".join(f'<li><a href="#{target}">{escaped(text)}</a></li>' for target, text in lines)

    marked = listed(places)
    folded = f"<details><summary>Tables and figures</summary><ul>{marked}</ul></details>" if marked else ""
    return f'<ul class="contents">{listed(sections)}</ul>{folded}'


def _grid(block: Grid, base: str) -> str:
    """A column of long texts is so wide that they can be read; the table scrolls in its box."""
    texts = [[len(_plain(cell)) for cell in block.frame.iloc[:, i]] for i in range(block.frame.shape[1])]
    long = [' class="long"' * (max(lengths, default=0) > 40) for lengths in texts]
    heads = "".join(f'<th scope="col"{wide}>{escaped(str(n))}</th>' for n, wide in zip(block.frame, long, strict=True))
    lines = (
        "<tr>" + "".join(f"<td>{_html(cell, base)}</td>" for cell in row) + "</tr>"
        for row in block.frame.itertuples(index=False, name=None)
    )
    return (
        f'<div class="grid"><table class="grid" id="{anchor(block.caption)}">'
        f"<caption><span>{escaped(block.caption)}</span></caption>"
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _size(block: Figure) -> tuple[int, int]:
    """Width and height at the size in which it is printed, in units of 1/96 inch."""
    with Image.open(block.file(".png")) as image:
        scale = 96 / image.info.get("dpi", (96, 96))[0]
        return round(image.width * scale), round(image.height * scale)


def figure(block: Figure, base: str = "") -> str:
    """A figure in its printed size, which leads to the picture itself, with links to its files. base: As ``body``."""
    width, height = _size(block)
    address = html.escape(_address(base + block.path.name))
    content = base64.b64encode(block.file(".png").read_bytes()).decode()
    ends = {".png": "full size", ".pdf": "PDF", ".csv": "CSV", ".txt": "caption", ".json": "provenance"}
    links = [f'<a href="{address}{end}">{name}</a>' for end, name in ends.items() if block.file(end).is_file()]
    return (
        f'<figure id="{html.escape(block.path.name)}"><a href="{address}.png">'
        f'<img src="data:image/png;base64,{content}" width="{width}" height="{height}" '
        f'alt="{html.escape(block.alt)}"></a>'
        f"<figcaption>{escaped(block.caption)} <small>{', '.join(links)}</small></figcaption></figure>"
    )


def page(title: str, blocks: Sequence[Block]) -> str:
    """The document as one HTML file that loads nothing and runs nothing."""
    style = (resources.files(__package__) / "document.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">\n'
        f"<style>{style}</style></head><body><main>\n{body(title, blocks)}</main></body></html>\n"
    )


# LaTeX

_PREAMBLE = r"""\documentclass[a4paper]{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\usepackage{xcolor}
\usepackage{graphicx}
\usepackage{array}
\usepackage{longtable}
\usepackage[hidelinks]{hyperref}
\setlength{\textwidth}{18cm}\setlength{\oddsidemargin}{-1.04cm}\setlength{\evensidemargin}{-1.04cm}
\setlength{\textheight}{25.5cm}\setlength{\topmargin}{-1.6cm}\setlength{\headheight}{0pt}\setlength{\headsep}{0pt}
\setlength{\parindent}{0pt}\setlength{\parskip}{5pt}\renewcommand{\arraystretch}{1.1}\setlength{\LTpre}{2pt}\setlength{\LTpost}{6pt}
\setcounter{secnumdepth}{1}\setcounter{tocdepth}{1}\emergencystretch=3em\sloppy
"""
_FULL = 128  # characters of \footnotesize in a line of the page
_WIDTH = 18 / 2.54 * 96  # of the page's text, as ``_size``


def _latex(text: Text) -> str:
    """Chinese, for which LaTeX's own fonts have no letters, is replaced by a remark; the other forms have it."""

    def draw(part: str | Link | Code) -> str:
        if isinstance(part, Link):
            target = _address(part.target)
            if target.startswith("#"):
                return tex(part.text)
            escaped = re.sub(r"([%#&_])", r"\\\1", target)
            return rf"\href{{{escaped}}}{{\textcolor{{blue!60!black}}{{{tex(part.text)}}}}}"
        if isinstance(part, Code):
            pieces = re.sub(r"(\w{16})(?=\w)", r"\1\n", part.text).split("\n")  # where a hash may be broken
            return r"\texttt{" + r"\allowbreak{}".join(map(tex, pieces)) + "}"
        return tex(HAN.sub(lambda han: f"({len(han[0])} Chinese characters)", part))

    return _joined(map(draw, _parts(text)))


def latex(title: str, blocks: Sequence[Block]) -> str:
    """The document as a LaTeX file that pdflatex compiles beside its figures (booktabs, longtable, graphicx)."""
    out = [
        f"{_PREAMBLE}\\title{{\\vspace{{-1cm}}{tex(title)}\\vspace{{-1cm}}}}\\date{{}}\n\\begin{{document}}\n\\maketitle\n"
    ]
    out.append("{\\parskip=0pt\\tableofcontents}\n")
    for block in blocks:
        match block:
            case Heading():
                command = "section" if block.level == 2 else "subsection*"
                out.append(f"\\{command}{{{tex(block.text)}}}")
            case Items():
                lines = "\n".join(rf"\item {_latex(item)}" for item in block.items)
                out.append(f"\\begin{{itemize}}\\setlength{{\\itemsep}}{{1pt}}\n{lines}\n\\end{{itemize}}")
            case Command():
                out.append(rf"{{\small\texttt{{{tex(block.text)}}}}}")
            case Grid():
                out.append(_longtable(block))
            case Figure():
                size = "[width=\\linewidth]" if _size(block)[0] > _WIDTH else ""
                out.append(
                    f"\\begin{{center}}\n\\includegraphics{size}{{{block.path.name}.pdf}}\\par\n"
                    f"\\parbox{{.9\\linewidth}}{{\\footnotesize {tex(block.caption)}}}\n\\end{{center}}"
                )
            case Table():
                for text in tables.floats(block, block.name):  # a wide one reaches into both margins
                    text = text.replace("[t]", "[!htp]", 1).replace(
                        r"\begin{tabular}", r"\makebox[\linewidth]{\begin{tabular}"
                    )
                    text = text.replace(r"\end{tabular}", r"\end{tabular}}")
                    out.append(f"\\renewcommand{{\\thetable}}{{{block.number}}}\n{text}")
            case _:
                out.append(_latex(block) + "\\par")
    return "\n".join([*out, "\\end{document}\n"])


def _longtable(grid: Grid) -> str:
    """A table over as many pages as it takes; where its lines are too long for a page, its cells are broken."""
    heads = [rf"\textbf{{{tex(name)}}}" for name in grid.frame.columns]
    form = "l" * len(heads)
    columns = [[name, *map(_plain, grid.frame.iloc[:, i])] for i, name in enumerate(grid.frame.columns)]
    longest = [max(map(len, texts)) + 2 for texts in columns]
    if sum(longest) > _FULL:  # each as wide as its longest word, and of the rest what its longest text would take
        words = [max(min(len(word), 36) for text in texts for word in re.split("[ _/]", text)) + 3 for texts in columns]
        more = [min(length, 60) - min(length, word) for length, word in zip(longest, words, strict=True)]
        rest = max(_FULL - sum(words), 0) / max(sum(more), 1)
        widths = [word + rest * extra for word, extra in zip(words, more, strict=True)]
        shares = [(1 - 0.012 * len(widths)) * width / sum(widths) for width in widths]
        form = "".join(rf">{{\raggedright\arraybackslash}}p{{{share:.3f}\linewidth}}" for share in shares)
    rows = (
        " & ".join(map(_latex, row)) + r" \\\addlinespace[2pt]" for row in grid.frame.itertuples(index=False, name=None)
    )
    head = f"\\toprule\n{' & '.join(heads)} \\\\\n\\midrule\n"
    return (
        f"{{\\footnotesize\\setlength{{\\tabcolsep}}{{3pt}}\n\\begin{{longtable}}[l]{{@{{}}{form}@{{}}}}\n"
        f"\\multicolumn{{{len(heads)}}}{{@{{}}p{{\\linewidth}}@{{}}}}{{\\textbf{{{tex(grid.caption)}}}}} \\\\[2pt]\n"
        f"{head}\\endfirsthead\n{head}\\endhead\n" + "\n".join(rows) + "\n\\bottomrule\n\\end{longtable}}"
    )


def _plain(text: Text) -> str:
    return _joined(part if isinstance(part, str) else part.text for part in _parts(text))
