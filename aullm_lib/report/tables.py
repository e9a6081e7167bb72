"""Tables in the paper's layout: a row a method, a column an AU, the average; always with the constants."""

import html
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from aullm_lib import files

HEADINGS = {"f1_macro": "two-class macro F1", "f1": "F1 of Eq. 5"}
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1a1a1a}"
    "table{border-collapse:collapse;border-top:2px solid;border-bottom:2px solid;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25em .7em;text-align:right;white-space:nowrap}th:first-child,td:first-child{text-align:left}"
    "thead{border-bottom:1px solid}td.floor{color:#767676}caption{text-align:left;padding:.5em 0}"
    "div{overflow-x:auto}footer{color:#555;font-size:13px}"
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


def write(
    path: Path, scores: Mapping[str, pd.DataFrame], floors: Mapping[str, pd.DataFrame], *, title: str, notes: list[str],
    provenance: dict,
) -> list[Path]:  # fmt: skip
    """Writes ``path``.md, .html, .csv (full precision, with intervals) and .json (provenance); returns them.

    scores: method -> scores; floors: the constant predictors. In the Markdown and HTML the best cell of a column is
    bold and cells that do not exceed the better constant predictor are grey (HTML) or in italics (Markdown).
    """
    markdown = [f"**{title}**", ""]
    page = [f"<h1>{html.escape(title)}</h1>"]
    for measure, heading in HEADINGS.items():
        table = results({**floors, **scores}, measure)
        cells = _cells(table, results(floors, measure).max())
        head = ["Method", *table.columns]
        markdown += [f"{heading} (%), pooled over folds, threshold 0.5", ""]
        markdown += ["| " + " | ".join(head) + " |", "|" + " --- |" + " ---: |" * len(table.columns)]
        marks = {"best": "**", "floor": "*", "": ""}
        markdown += ["| " + " | ".join(f"{marks[k]}{t}{marks[k]}" for t, k in line) + " |" for line in cells] + [""]
        tags = {"best": "<td><b>{}</b></td>", "floor": '<td class="floor">{}</td>', "": "<td>{}</td>"}
        page += [
            f"<div><table><caption>{heading} (%), pooled over folds, threshold 0.5</caption><thead><tr>",
            "".join(f"<th>{html.escape(str(h))}</th>" for h in head) + "</tr></thead><tbody>",
            *("<tr>" + "".join(tags[k].format(html.escape(t)) for t, k in line) + "</tr>" for line in cells),
            "</tbody></table></div>",
        ]
    markdown += [f"{note}  " for note in notes]
    page += ["<footer>" + "".join(f"<p>{html.escape(note)}</p>" for note in notes) + "</footer>"]
    head_tags = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
    head_tags += f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
    everything = pd.concat({**floors, **scores}, names=["method", "au"])
    texts = {
        ".md": "\n".join(markdown) + "\n",
        ".html": head_tags + "\n".join(page) + "\n",
        ".csv": everything.to_csv(),
    }
    with files.explained(path.parent, "the table"):
        for suffix, text in texts.items():
            files.write_text(path.with_suffix(suffix), text)
        files.write_json(path.with_suffix(".json"), provenance)
    return [path.with_suffix(suffix) for suffix in (*texts, ".json")]
