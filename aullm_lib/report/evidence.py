"""What recorded scores bear: differences between methods, calibration, and the spread over seeds.

Methods are compared with one row of AU-LLM that is chosen by its name. The best one would be chosen by the very scores
that are then compared.
"""

import html
from collections.abc import Iterable, Sequence

import pandas as pd

from aullm_lib import metrics
from aullm_lib.metrics import calibration
from aullm_lib.report import audit, listing, render, results
from aullm_lib.report.results import RELEASES, Result
from aullm_lib.report.tables import Cell

GREY = ' style="opacity:.6"'  # of a table's row
MEASURES = {"f1_macro": "two-class macro F1", "f1": "F1 of Eq. 5"}
SPREAD = ("mean", "std", "min", "max")


def whole(found: Iterable[Result], release: str) -> list[Result]:
    """The results of Table 1 or 2, in its order."""
    here = [r for r in found if r.where == release and r.whole]
    order = [row.name for row in listing.rows(results.number(release), here)]
    return sorted(here, key=lambda r: order.index(r.name))


def reference(found: Iterable[Result]) -> Result | None:
    """AU-LLM's first whole one that has a score, the publication's three LLMs in its order before any other."""
    return next((r for r in listing.au_llm(r for r in found if r.whole).values() if r and not r.why), None)


def differences(found: Sequence[Result]) -> pd.DataFrame:
    """Every row of Tables 1 and 2 against AU-LLM's first (``reference``) on the same clips: ``audit.paired``.

    Runs of the same seed are compared, a row a seed: averaged, seeds that disagree would look like one finding. Index:
    data, method, against, seed ("" for a result without a score). Empty where AU-LLM or everything else was not run.
    """
    pairs: dict[tuple, tuple[pd.DataFrame, pd.DataFrame] | str] = {}
    for release in RELEASES:
        here = whole(found, release)
        one = reference(here)
        if one is None:
            continue
        own, data = _by_seed(one), results.in_words([one])
        for r in here:
            if r.why:
                pairs[data, r.name, one.name, ""] = r.why
            elif r is not one:
                for seed, predictions in _by_seed(r).items():
                    other = own.get(seed)
                    why = f"{one.name} was not run with seed {seed}"
                    pairs[data, r.name, one.name, seed] = why if other is None else (predictions, other)
    return audit.paired(pairs, ["data", "method", "against", "seed"])


def _by_seed(result: Result) -> dict[int, pd.DataFrame]:
    seeds = [run.experiment.seed for run in result.runs]
    return dict(zip(seeds, result.predictions, strict=True))


def page(frame: pd.DataFrame) -> str:
    """``differences`` as HTML, a table a data set, grey where they are not supported; text from data is escaped."""
    head = _line("th", ["method", "seed", "difference", "95 % interval", "p (Holm)", "supported"])
    out = []
    for (data, against), rows in frame.groupby(level=["data", "against"], sort=False):
        out.append(f"<table><caption>{html.escape(f'{data}: method minus {against}')}</caption>{head}")
        for (_, method, _, seed), row in rows.iterrows():
            cell = Cell(row["difference"], row["low"], row["high"])
            shown = "" if cell.empty else render.number(cell.value, signed=True)
            p = "" if pd.isna(row["p (Holm)"]) else f"{row['p (Holm)']:.4f}"
            cells = [method, str(seed), shown, render.interval(cell), p, row["supported"]]
            out.append(_line("td", cells, "" if row["supported"] == "yes" else GREY))
        out.append("</table>")
    return "\n".join(out)


def _line(tag: str, cells: Sequence[str], style: str = "") -> str:
    """A row of ``page``, words at the left and numbers at the right."""
    sides = ["left", *["right"] * (len(cells) - 2), "left"]
    line = (f'<{tag} style="text-align:{a}">{html.escape(c)}</{tag}>' for a, c in zip(sides, cells, strict=True))
    return f"<tr{style}>{''.join(line)}</tr>"


def calibration_errors(found: Iterable[Result]) -> pd.DataFrame:
    """Expected calibration error in percent, the mean over seeds: a row a method, a column an AU, then their mean."""
    rows = {}
    for r in found:
        if not r.why:
            by_seed = [calibration.expected_error(frame) for frame in r.predictions]
            rows[r.name] = 100 * pd.concat(by_seed, axis=1).mean(axis=1)
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.assign(mean=frame.mean(axis=1)).round(1)


def spread(found: Iterable[Result]) -> pd.DataFrame:
    """The average over AUs in percent, over trainings that differ in their seed (``metrics.over_seeds``).

    A row a (data, method, variant, seeds) of more than one seed; columns: (measure, mean, std, min or max). Empty where
    everything was run with one seed.
    """
    many = [r for r in found if len(r.runs) > 1 and not r.why]
    places = list(dict.fromkeys(r.where for r in many))
    rows = {}
    for r in sorted(many, key=lambda r: places.index(r.where)):
        mean = 100 * metrics.over_seeds(r.predictions).loc["mean"]
        cells = [float(mean[f"{measure}_{what}"]) for measure in MEASURES for what in SPREAD]
        rows[results.in_words([r]), r.name, r.variant, len(r.runs)] = cells
    index = pd.MultiIndex.from_tuples(rows, names=["data", "method", "variant", "seeds"])
    columns = pd.MultiIndex.from_product([MEASURES.values(), SPREAD])
    return pd.DataFrame(rows.values(), index=index, columns=columns).round(1)
