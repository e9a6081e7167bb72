"""``tables.Table`` as Markdown, HTML and LaTeX. All text from data is escaped; the same table gives the same bytes."""

import html
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from aullm_lib.report.tables import Block, Cell, Group, Table, spans
from aullm_lib.support import files

_STYLE = (
    ".aullm{font:15px/1.5 system-ui,sans-serif;max-width:75em}"
    ".aullm div{overflow-x:auto}"
    ".aullm table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid;margin:.3em 0 1em;"
    "font-variant-numeric:tabular-nums}"
    ".aullm :is(th,td){padding:.25em .7em;text-align:right;white-space:nowrap;border:0;font-weight:400;"
    "vertical-align:top}"
    ".aullm :is(th,td):first-child{text-align:left}.aullm thead{border-bottom:1px solid}"
    ".aullm thead th{font-weight:600}"
    ".aullm th.span{text-align:center}"
    ".aullm tbody th.group{font-style:italic;padding-top:.7em}.aullm tbody+tbody{border-top:1px solid #bbb}"
    ".aullm td.trivial{color:#767676}.aullm td.empty{color:#767676}"
    ".aullm small{display:block;font-size:11px;line-height:1.2;opacity:.8}"
    ".aullm caption{text-align:left;padding:.3em 0;font-weight:600}"
    ".aullm footer{opacity:.75;font-size:13px}.aullm footer p{margin:.2em 0;overflow-wrap:anywhere}"
)
_MINUS = "−"
_MARKS = "Bold: the best of its group, or bold in print. {}: not above the best trivial classifier."


def number(value: float, signed: bool = False) -> str:
    """81.4; signed: +3.0 or −3.0, and 0.0 without a sign."""
    text = f"{abs(value):.1f}"
    if text == "0.0":
        return text
    return (_MINUS if value < 0 else "+" if signed else "") + text


def interval(cell: Cell) -> str:
    """As in [70.1, 85.2], or nothing."""
    if cell.empty or pd.isna(cell.low) or pd.isna(cell.high):
        return ""
    return f"[{number(cell.low)}, {number(cell.high)}]"


def _legend(table: Table) -> list[str]:
    return [*table.notes, *(f"({letter}) {why}" for why, letter in table.reasons().items())]


def markdown(table: Table) -> str:
    """Best in bold, not above the best trivial classifier in italics, intervals in brackets."""
    letters = table.reasons()

    def row(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def shown(cell: Cell, signed: bool) -> str:
        if cell.empty:
            return f"({letters[cell.why]})" if cell.why else ""
        mark = "**" * cell.bold + "*" * cell.grey
        return f"{mark}{number(cell.value, signed)}{mark} {interval(cell)}".strip()

    out = [f"**{_md(table.heading)}**", ""]
    for columns, block in table.narrowed():
        heads = [table.stub, *(f"{span}: {name}" if span else name for span, name in columns)]
        out += [_md(block.heading), "", row([_md(head) for head in heads]), "| --- |" + " ---: |" * len(columns)]
        for group in block.groups:
            out.append(row([f"**{_md(group.label)}**", *[""] * len(columns)]))
            out += [row([_md(name), *(shown(c, group.signed) for c in cells)]) for name, cells in group.rows.items()]
        out.append("")
    out.append(f"{_MARKS.format('Italics')}  ")
    return "\n".join([*out, *(f"{_md(note)}  " for note in _legend(table))]) + "\n"


def _md(text: str) -> str:
    return re.sub(r"([\\`*_<>\[|~])", r"\\\1", " ".join(text.split()))


def page(table: Table) -> str:
    """One HTML section whose style touches nothing outside it."""
    letters = table.reasons()
    out = [f'<section class="aullm"><style>{_STYLE}</style><h2>{html.escape(table.heading)}</h2>']
    for columns, block in table.narrowed():
        out += [f"<div><table><caption>{html.escape(block.heading)}</caption><thead>"]
        if any(span for span, _ in columns):
            over = (f'<th class="span" colspan="{n}">{html.escape(span)}</th>' for span, n in spans(columns))
            out.append("<tr><th></th>" + "".join(over) + "</tr>")
        heads = (f'<th scope="col">{html.escape(name)}</th>' for name in [table.stub, *(n for _, n in columns)])
        out.append("<tr>" + "".join(heads) + "</tr></thead>")
        for group in block.groups:
            label = html.escape(group.label)
            out.append(f'<tbody><tr><th class="group" colspan="{len(columns) + 1}">{label}</th></tr>')
            for name, cells in group.rows.items():
                line = "".join(_td(cell, group.signed, letters) for cell in cells)
                out.append(f'<tr><th scope="row">{html.escape(name)}</th>{line}</tr>')
            out.append("</tbody>")
        out.append("</table></div>")
    legend = _MARKS.format("Grey")
    notes = (f"<p>{html.escape(note)}</p>" for note in (legend, *_legend(table)))
    return "\n".join([*out, "<footer>", *notes, "</footer></section>"]) + "\n"


def _td(cell: Cell, signed: bool, letters: dict[str, str]) -> str:
    if cell.empty:
        return (
            f'<td class="empty" title="{html.escape(cell.why)}">({letters[cell.why]})</td>' if cell.why else "<td></td>"
        )
    text, spread = number(cell.value, signed), interval(cell)
    text = f"<b>{text}</b>" if cell.bold else text
    text += f"<small>{spread}</small>" if spread else ""
    return f'<td class="trivial">{text}</td>' if cell.grey else f"<td>{text}</td>"


def whole_page(table: Table) -> str:
    """``page`` as a document of its own."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(table.heading)}</title>'
    return f'{head}<meta name="viewport" content="width=device-width"><body style="margin:2em">{page(table)}'


_TEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#",
    "_": r"\_\allowbreak{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\char34{}", "`": r"\textasciigrave{}",
    "/": r"/\allowbreak{}", "[": "{[}", "]": "{]}",  # a "[" after "\\" would be read as its argument
    "–": "--", "—": "---", "−": r"\ensuremath{-}", "×": r"\ensuremath{\times}", "→": r"\ensuremath{\rightarrow}",
    "±": r"\ensuremath{\pm}", "·": r"\ensuremath{\cdot}", "…": r"\dots{}", "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}", "’": "'", "‘": "`", "“": "``", "”": "''", "³": r"\ensuremath{^3}",
    "²": r"\ensuremath{^2}", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ł": r"\l{}",
}  # fmt: skip
_ACCENTS = {
    "\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0304": "=", "\u0306": "u", "\u0307": ".",
    "\u0308": '"', "\u030a": "r", "\u030b": "H", "\u030c": "v", "\u0323": "d", "\u0327": "c",
}  # fmt: skip


def tex(text: str) -> str:
    """Text escaped for LaTeX, all ASCII; a character that LaTeX's own fonts lack is given by its code point."""
    plain = unicodedata.normalize("NFC", " ".join(text.split()))
    pairs = zip(" " + plain, plain, strict=False)  # two hyphens would be drawn as a dash
    return "".join("{}-" if before == char == "-" else _tex(char) for before, char in pairs)


def _tex(char: str) -> str:
    if char in _TEX:
        return _TEX[char]
    if " " <= char <= "~":
        return char
    base, *accents = list(unicodedata.normalize("NFD", char))
    if len(accents) == 1 and accents[0] in _ACCENTS and base.isascii():
        return f"\\{_ACCENTS[accents[0]]}{{{base}}}"
    return rf"\texttt{{U+{ord(char):04X}}}"


def latex(table: Table, label: str) -> str:
    r"""A complete ``\begin{table}...\end{table}`` for each measure; needs booktabs, xcolor and array."""
    head = "% needs \\usepackage{booktabs}, \\usepackage{xcolor} and \\usepackage{array}\n"
    return head + "\n".join(_floats(table, label))


def document(tables: dict[str, Table]) -> str:
    """A stand-alone LaTeX document of several tables. tables: label -> table."""
    head = (
        "\\documentclass[a4paper]{article}\n\\usepackage{booktabs}\n\\usepackage{xcolor}\n\\usepackage{array}\n"
        "\\setlength{\\textwidth}{19.6cm}\\setlength{\\oddsidemargin}{-1.84cm}\\setlength{\\evensidemargin}{-1.84cm}\n"
        "\\setlength{\\textheight}{25.5cm}\\setlength{\\topmargin}{-1.6cm}\\setlength{\\headheight}{0pt}"
        "\\setlength{\\headsep}{0pt}\n\\begin{document}\n"
    )
    floats = []
    for label, table in tables.items():
        for letter, text in zip("abcdefgh", _floats(table, label), strict=False):
            named = f"\\renewcommand{{\\thetable}}{{{table.number}{letter}}}\n" if table.number else ""
            floats.append(f"{named}{text}\\clearpage\n")
    return head + "\n".join(floats) + "\\end{document}\n"


def _floats(table: Table, label: str) -> list[str]:
    """A ``table`` each measure; one too long for a page goes on in another, between two groups."""
    parts: list[tuple[Sequence[tuple[str, str]], Block]] = []
    for columns, block in table.narrowed():
        groups: list[Group] = []
        heading = block.heading
        for group in block.groups:
            if groups and sum(map(_lines, [*groups, group])) > 56:
                parts.append((columns, Block(heading, groups)))
                groups, heading = [], f"{block.heading}, continued"
            groups.append(group)
        parts.append((columns, Block(heading, groups)))
    return [_float(table, columns, block, f"{label}-{i}") for i, (columns, block) in enumerate(parts, start=1)]


def _lines(group: Group) -> float:
    return 1 + sum(1.7 if any(interval(cell) for cell in cells) else 1 for cells in group.rows.values())


def _float(table: Table, columns: Sequence[tuple[str, str]], block: Block, label: str) -> str:
    letters, width = table.reasons(), len(columns)

    def line(name: str, cells: list[str]) -> str:
        return " & ".join([name, *cells]) + r" \\"

    out = [
        r"\begin{table}[t]", r"\centering\setlength{\belowcaptionskip}{5pt}",
        rf"\caption{{{tex(table.title)}. {tex(block.heading)}.}}",
        rf"\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', label)}}}",
        rf"\footnotesize\setlength{{\tabcolsep}}{{{2.5 if width < 10 else 1.5}pt}}",
        rf"\begin{{tabular}}{{@{{}}l*{{{width}}}{{r}}@{{}}}}", r"\toprule",
    ]  # fmt: skip
    if any(span for span, _ in columns):
        out.append(line("", [rf"\multicolumn{{{n}}}{{c}}{{{tex(span)}}}" for span, n in spans(columns)]))
        first = 2
        for span, n in spans(columns):
            out += [rf"\cmidrule(lr){{{first}-{first + n - 1}}}"] if span else []
            first += n
    out.append(line(tex(table.stub), [tex(name) for _, name in columns]))
    for group in block.groups:
        out += [r"\midrule", rf"\multicolumn{{{width + 1}}}{{@{{}}l}}{{\rlap{{\textit{{{tex(group.label)}}}}}}} \\*"]
        for name, cells in group.rows.items():
            spreads = [interval(cell) for cell in cells]
            end = "[-3pt]" if any(spreads) else ""
            out.append(line(tex(name), [_tex_cell(cell, group.signed, letters) for cell in cells]) + end)
            if any(spreads):
                out.append(line("", [rf"{{\tiny {tex(text)}}}" if text else "" for text in spreads]))
    legend = _MARKS.format("Grey")
    notes = [legend, *table.notes]
    used = {cell.why for group in block.groups for row in group.rows.values() for cell in row}
    notes += [f"({letter}) {why}" for why, letter in letters.items() if why in used]
    out += [
        r"\bottomrule", r"\end{tabular}", "", r"\smallskip",
        r"\parbox{\linewidth}{\scriptsize\raggedright " + "\\par\n".join(tex(note) for note in notes) + r"}",
        r"\end{table}",
    ]  # fmt: skip
    return "\n".join(out) + "\n"


def _tex_cell(cell: Cell, signed: bool, letters: dict[str, str]) -> str:
    if cell.empty:
        return rf"\textcolor{{black!55}}{{({letters[cell.why]})}}" if cell.why else ""
    text = tex(number(cell.value, signed))
    text = rf"\textbf{{{text}}}" if cell.bold else text
    return rf"\textcolor{{black!55}}{{{text}}}" if cell.grey else text


def write(
    path: Path, table: Table, provenance: dict, *, scores: Mapping[tuple[str, ...], pd.DataFrame] | None = None
) -> list[Path]:
    """Writes ``path``.md, .html, .tex (a ``table`` each measure), .csv (every cell) and .json (provenance).

    scores: (where, method, variant, policy) -> ``metrics.score``, written whole to ``path``_scores.csv.
    Returns what was written. Raises OSError where nothing can be.
    """
    texts = {
        f"{path.name}.md": markdown(table),
        f"{path.name}.html": whole_page(table),
        f"{path.name}.tex": latex(table, label=path.name),
        f"{path.name}.csv": table.frame().to_csv(index=False),
    }
    if scores:
        names = ["where", "method", "variant", "policy", "au"]
        texts[f"{path.name}_scores.csv"] = pd.concat(dict(scores), names=names).to_csv()
    with files.explained(path.parent, "the table"):
        for name, text in texts.items():
            files.write_text(path.parent / name, text)
        files.write_json(path.parent / f"{path.name}.json", provenance)
    return [path.parent / name for name in (*texts, f"{path.name}.json")]
