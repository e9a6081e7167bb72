"""Tables in the paper's layout: a row a method, a column an AU, the average; always with the floors."""

import html
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from aullm_lib import files

HEADINGS = {"f1_macro": "two-class macro F1", "f1": "F1 of Eq. 5"}
_STYLE = (
    ".aullm{font:15px/1.5 system-ui,sans-serif;max-width:60em}"
    ".aullm div{overflow-x:auto}"
    ".aullm table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid;margin:.3em 0 1em;"
    "font-variant-numeric:tabular-nums}"
    ".aullm :is(th,td){padding:.25em .7em;text-align:right;white-space:nowrap;border:0}"
    ".aullm :is(th,td):first-child{text-align:left}.aullm thead{border-bottom:1px solid}"
    ".aullm td.floor{color:#767676}.aullm caption{text-align:left;padding:.3em 0}"
    ".aullm footer{opacity:.75;font-size:13px}"
)


def results(scores: Mapping[str, pd.DataFrame], measure: str) -> pd.DataFrame:
    """Method -> ``metrics.score`` frame, to a table in percent: a row a method, a column an AU, then Avg.

    measure: "f1_macro" or "f1". An AU without a positive is NaN.
    """
    rows = {method: 100 * frame[measure] for method, frame in scores.items()}
    return pd.DataFrame(rows).T.rename(columns={"mean": "Avg."}).rename_axis(index="Method", columns=None)


def _cells(table: pd.DataFrame, floor: pd.Series) -> list[list[tuple[str, str]]]:
    """Each cell as (text, kind): the best of a column above its floor is "best", one not above the floor "floor"."""
    best = table.max()
    out = []
    for method, row in table.iterrows():
        line = [(str(method), "")]
        for column, value in row.items():
            text = "–" if pd.isna(value) else f"{value:.1f}"
            known = not pd.isna(value)
            kind = "floor" if known and value <= floor[column] else "best" if known and value == best[column] else ""
            line.append((text, kind))
        out.append(line)
    return out


def page(scores: Mapping[str, pd.DataFrame], floors: Mapping[str, pd.DataFrame], title: str, notes: list[str]) -> str:
    """The tables as one HTML section whose style touches nothing outside it; all text is escaped.

    The best cell of a column is bold, and cells that do not exceed the best floor are grey.
    """
    tags = {"best": "<td><b>{}</b></td>", "floor": '<td class="floor">{}</td>', "": "<td>{}</td>"}
    out = [f'<section class="aullm"><style>{_STYLE}</style><h2>{html.escape(title)}</h2>']
    for measure, heading in HEADINGS.items():
        table = results({**floors, **scores}, measure)
        cells = _cells(table, results(floors, measure).max())
        out += [
            f"<div><table><caption>{heading} (%), pooled over folds, threshold 0.5</caption><thead><tr>",
            "".join(f"<th>{html.escape(str(h))}</th>" for h in ["Method", *table.columns]) + "</tr></thead><tbody>",
            *("<tr>" + "".join(tags[k].format(html.escape(t)) for t, k in line) + "</tr>" for line in cells),
            "</tbody></table></div>",
        ]
    out += ["<footer>", *(f"<p>{html.escape(note)}</p>" for note in notes), "</footer></section>"]
    return "\n".join(out) + "\n"


def markdown(
    scores: Mapping[str, pd.DataFrame], floors: Mapping[str, pd.DataFrame], title: str, notes: list[str]
) -> str:
    """The tables in Markdown: the best cell of a column in bold, cells that do not exceed the best floor in italics."""
    marks = {"best": "**", "floor": "*", "": ""}
    out = [f"**{title}**", ""]
    for measure, heading in HEADINGS.items():
        table = results({**floors, **scores}, measure)
        cells = _cells(table, results(floors, measure).max())
        out += [f"{heading} (%), pooled over folds, threshold 0.5", ""]
        out += ["| " + " | ".join(["Method", *table.columns]) + " |", "| --- |" + " ---: |" * len(table.columns)]
        out += ["| " + " | ".join(f"{marks[k]}{t}{marks[k]}" for t, k in line) + " |" for line in cells] + [""]
    return "\n".join([*out, *(f"{note}  " for note in notes)]) + "\n"


def write(
    path: Path, scores: Mapping[str, pd.DataFrame], floors: Mapping[str, pd.DataFrame], *, title: str, notes: list[str],
    provenance: dict,
) -> list[Path]:  # fmt: skip
    """Writes ``path``.md, .html, .csv (full precision, with intervals) and .json (provenance); returns them.

    scores: method -> ``metrics.score``; floors: ``metrics.floors``.
    """
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    head += '<meta name="viewport" content="width=device-width"><body style="margin:2em">'
    texts = {
        ".md": markdown(scores, floors, title, notes),
        ".html": head + page(scores, floors, title, notes),
        ".csv": pd.concat({**floors, **scores}, names=["method", "au"]).to_csv(),
    }
    with files.explained(path.parent, "the table"):
        for suffix, text in texts.items():
            files.write_text(path.with_suffix(suffix), text)
        files.write_json(path.with_suffix(".json"), provenance)
    return [path.with_suffix(suffix) for suffix in (*texts, ".json")]
