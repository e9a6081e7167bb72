"""The publication's Tables 1 to 4 anew: each is one long data frame, drawn as Markdown, HTML and LaTeX.

Trivial classifiers, the published numbers, ours, and the difference stand in one table. A difference to a published
number is given only for a run on the licensed release: a synthetic run is no result on CASME II or SAMM, and its
numbers stand beside the published ones without being compared. All text from data is escaped, and the same table gives
the same bytes.
"""

import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from scipy import special

from aullm_lib import facs
from aullm_lib.experiment import AU_LLM
from aullm_lib.metrics.scores import FEWEST_POSITIVE
from aullm_lib.metrics.thresholds import POLICIES
from aullm_lib.metrics.trivial import OUTSIDE
from aullm_lib.report import printed, published
from aullm_lib.report.results import CROSS_DOMAIN, PLAIN, RELEASES, Result, au_llm, in_words, made_by, title
from aullm_lib.report.results import line as provenance_line
from aullm_lib.support import files
from aullm_lib.support.markdown import escape as _md

NAN = float("nan")
TUNED = "test-tuned"  # of ``thresholds.POLICIES``, and in the name of the trivial classifier that is tuned so
MEASURES = {"f1_macro": "Two-class macro F1 (%)", "f1": "F1 of Eq. 5 (%)"}
NAMES = {1: "table1_casme2", 2: "table2_samm", 3: "table3_ablations", 4: "table4_cross_domain", 5: "table5_cd6me"}
COLUMN = ["span", "column"]
KEY = ["test_set", "method", "variant", "policy", "au"]  # of a score
CELL = {"value": NAN, "low": NAN, "high": NAN, "printed": NAN, "bold": False, "grey": False, "why": ""}
FRAME = ["measure", "group", "kind", "policy", "row", "test_set", *COLUMN, *CELL]
MARKS = (
    "Bold: the best of its group, or bold in print. {}: not above the best trivial classifier (a random one at the "
    "97.5 % quantile of its draws)."
)


@dataclass(frozen=True, repr=False)
class Table:
    """A table with what goes beside it.

    Attributes:
        frame: One row per cell, in the order in which they are drawn. ``measure`` is a part of the table, ``group`` the
            heading over rows that are compared with each other, ``kind`` what they are ("trivial", "documented
            trivial", "published", "ours", "difference"); ``policy`` and ``test_set``; ``row``, ``span`` (over several
            columns, or "") and ``column``; ``value``, ``low``, ``high`` in percent; ``printed``: the published number
            that ours is compared with; ``bold``: the best, or bold in print; ``grey``: not above the level of the
            trivial classifiers (``level``); ``why`` a cell is empty.
        notes: Lines under the table.
        scores: ``metrics.score`` of every result and trivial classifier; index: test_set, method, variant, policy, au.
    """

    title: str
    frame: pd.DataFrame
    notes: Sequence[str] = ()
    number: int | None = None
    provenance: dict = field(default_factory=dict)
    scores: pd.DataFrame | None = None

    @property
    def name(self) -> str:
        """The name of its files."""
        return NAMES[self.number] if self.number else "table"

    @property
    def stub(self) -> str:
        """The heading over the rows' names."""
        return "Variant" if self.number == 3 else "Method"

    @property
    def heading(self) -> str:
        return f"Table {self.number}: {self.title}" if self.number else self.title

    @property
    def reasons(self) -> dict[str, str]:
        """Why cells are empty -> the letter that stands in them, in order of appearance."""
        return {why: _letters(i) for i, why in enumerate(dict.fromkeys(self.frame["why"][self.frame["why"] != ""]))}

    def __repr__(self) -> str:
        return markdown(self)

    def _repr_html_(self) -> str:
        return page(self)


def _letters(i: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa."""
    return (_letters(i // 26 - 1) if i > 25 else "") + chr(ord("a") + i % 26)


class Column(NamedTuple):
    test_set: str
    au: str  # or "mean"
    column: str
    span: str = ""
    key: Any = None  # of ``published.table``; None: nothing is published for it
    ours: bool = True  # False: it holds published numbers only


class Row(NamedTuple):
    """A row of ours in Table 1, 2 or 4, or one line for several methods that were not run."""

    label: str
    notebook: str  # that runs it
    name: str = ""  # of its results; "" where none was run
    printed: str = ""  # the publication's row, if it has one
    what: str = "it"  # that was not run


def per_release(number: int, results: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Table:
    """Table 1 (CASME II) or 2 (SAMM): the F1 of each AU, baselines and the whole model, leave-one-subject-out.

    Args:
        number: 1 or 2.
        results: Of ``results.load``; those that this table does not show are left out, in every table.
        policies: Of ``thresholds.POLICIES``, each a group of rows.
    """
    release, names = RELEASES[number - 1], published.table(number).columns
    columns = [Column(release, "mean" if name == published.AVERAGE else name, name, key=name) for name in names]
    return _by_method(number, columns, [r for r in results if r.test_set == release and r.whole], policies)


def cross_domain(results: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Table:
    """Table 4: trained on one release and tested on the other, in both directions, on the AUs that they share."""
    aus = {f"AU{n}": f"AU{n}" for n in facs.BENCHMARK["samm"]} | {"mean": published.AVERAGE}
    columns = [Column(t, au, name, title(t), (title(t), name)) for t in CROSS_DOMAIN for au, name in aus.items()]
    used = [r for r in results if r.test_set in CROSS_DOMAIN and r.whole]
    allowed = [policy for policy in policies if policy != "nested"]  # there is no second fold to choose on
    return _by_method(4, columns, used, allowed or ["fixed"])


def rows(number: int, results: Sequence[Result]) -> list[Row]:
    """The rows of a table: baselines in the printed order, those not run in one line, further ones, then AU-LLM's.

    A further baseline is one of which the printed table has nothing, and its row says so, as does the row of one that
    is not comparable (``Result.not_comparable``).
    """
    notebook = "05_cross_domain" if number == 4 else "03_baselines"
    ran = dict.fromkeys((r.method, r.name) for r in sorted(results, key=lambda r: r.method == AU_LLM) if r.baseline)
    not_comparable = {r.name for r in results if not r.comparable}

    def label(name: str, *remarks: str) -> str:
        remarks += ("not comparable",) * (name in not_comparable)
        return f"{name} ({'; '.join(remarks)})" if remarks else name

    out, missing = [], []
    for method in published.BASELINES:
        if row := published.baseline(number, method):
            same = [Row(label(name), notebook, name, row) for run, name in ran if run == method]
            out += same
            missing += [] if same else [row]
    if missing:
        every = ", ".join(missing)
        line = every if len(missing) < 3 else f"{len(missing)} {'other ' * bool(out)}baselines"
        out.append(Row(line, notebook, what=every))
    further = [name for method, name in ran if not published.baseline(number, method)]
    out += [Row(label(name, "no published number"), notebook, name) for name in further]
    named = au_llm(results)
    if number == 4:  # its printed row is that of no LLM in particular
        named = {name: row for name, row in named.items() if row[0]} or {"AU-LLM": (None, None)}
    for name, (_, names) in named.items():
        printed = "" if names is None else "AU-LLM (Ours)" if number == 4 else names[0]
        out.append(Row(name, notebook if number == 4 else "llm in 02_train_loso", name, printed))
    return out


def _by_method(number: int, columns: list[Column], used: list[Result], policies: Sequence[str]) -> Table:
    """Table 1, 2 or 4: one row per method, one column per AU."""
    by_name = {(r.test_set, r.name): r for r in sorted(used, key=lambda r: not r.why)}  # one with a score, if any
    cells = [
        _slot(row.label, c, by_name.get((c.test_set, row.name)), row.what, row.notebook, (number, row.printed))
        for row in rows(number, used)
        for c in columns
    ]
    return _table(number, columns, cells, used, policies)


def _slot(row: str, c: Column, result: Result | None, what: str, notebook: str, printed: tuple[int, str]) -> dict:
    """A cell of ours before it is scored. printed: table and row of the published number, "" if it has none."""
    why = result.why if result else f"no run of {what} on {title(c.test_set)} is in this profile's results ({notebook})"
    method, variant = (result.name, result.variant) if result and not why else ("", "")
    compared = method and printed[1] and c.key and not (result and result.synthetic)
    number = float(published.table(printed[0]).loc[printed[1], c.key]) if compared else NAN
    facts = {"row": row, "method": method, "variant": variant, "printed": number, "why": why * c.ours}
    return c._asdict() | CELL | facts


def ablations(results: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Table:
    """Table 3: the average F1 of every ablation, by LLM, on both releases; further variants are in ``controls.table``.

    The published numbers share their columns with licensed runs only; beside a synthetic release they have their own.
    Baselines are in Tables 1 and 2.
    """
    results = [r for r in results if r.test_set in RELEASES and not r.baseline and r.variant in published.VARIANTS]
    columns: dict[Column, str] = {}  # -> the name of its results
    for release in RELEASES:
        here, name = [r for r in results if r.test_set == release], title(release)
        if synthetic := any(r.synthetic for r in here):
            for _, short in published.LLMS.values():
                columns[Column(release, "mean", short, f"published, {name}", (name, short), ours=False)] = ""
        for method, (result, names) in au_llm(here).items():
            short = method.replace(*names) if names else method.removeprefix("AU-LLM, ")
            if not synthetic:
                columns[Column(release, "mean", short, name, (name, names[1]) if names else None)] = method
            elif result:
                columns[Column(release, "mean", short, f"synthetic, as {name}")] = method
    by_key = {(r.test_set, r.name, r.variant): r for r in sorted(results, key=lambda r: not r.why)}
    ran = {key[:2] for key in by_key}
    cells = []
    for variant, label in published.VARIANTS.items():
        for c, name in columns.items():
            what = f"{variant!r}, {name}" if (c.test_set, name) in ran else name
            cells.append(_slot(label, c, by_key.get((c.test_set, name, variant)), what, "04_ablations", (3, label)))
    return _table(3, list(columns), cells, results, policies)


def _table(number: int, columns: list[Column], slots: list[dict], used: list[Result], policies: Sequence[str]) -> Table:
    """The table. slots: of ``_slot``; used: the results behind it, those without a score too."""
    scored, heads, every = [r for r in used if not r.why], pd.DataFrame(columns).assign(**CELL), pd.DataFrame(slots)
    first = {r.test_set: r for r in reversed(scored)}
    frames = {(t, name, "", ""): frame for t, r in first.items() for name, frame in r.trivial.items()}
    frames |= {(r.test_set, r.name, r.variant, policy): r.score(policy) for r in scored for policy in policies}
    scores = pd.concat(frames, names=KEY) if frames else None
    brief = in_words(scored, brief=True)
    parts = []
    for measure in MEASURES:
        trivial = _trivial(heads, scores, measure, f"trivial classifiers, {brief}")
        parts += [trivial, *(_published(number, heads) if measure == "f1_macro" else ())]
        for policy in policies:
            lines = every if policy == policies[0] else every[every.groupby("row")["method"].transform("max") != ""]
            label = f"ours, {brief}; {POLICIES[policy]}" if scored else "ours"
            ours = _scored(lines.assign(kind="ours", policy=policy, group=label), scores, measure)
            apart = ours.assign(kind="difference", group=f"ours − published; {POLICIES[policy]}", why="")
            apart = _minus_published(apart, scored, measure)
            parts += [compared(ours, _fair(trivial, policy)), apart]
    frame = pd.concat([part for part in parts if len(part)], ignore_index=True)[FRAME]
    older = [str(run.path) for r in used for run in r.older]
    made = made_by(scored) | {"table": number, "published": published.place(number), "passed_over": older}
    notes = _notes(number, first, made["data"], scored, policies, "difference" in set(frame["kind"]), len(older))
    notes += _not_estimable(scores) if scores is not None and number != 3 else []
    data = f"{in_words(scored)}, beside the published numbers"
    caption = data if scored else "published numbers, nothing run yet"
    return Table(caption, frame, [*notes, provenance_line(made)], number, made, scores)


def _scored(cells: pd.DataFrame, scores: pd.DataFrame | None, measure: str) -> pd.DataFrame:
    """Cells with their scores in percent, by ``KEY``, or with the reason why there is none."""
    cells = cells.assign(measure=MEASURES[measure])
    if measure != "f1_macro":
        cells["printed"] = NAN
    if scores is None:
        return cells
    score = scores.reindex(pd.MultiIndex.from_frame(cells[KEY])).set_axis(cells.index)
    for name, end in {"value": "", "low": "_low", "high": "_high"}.items():
        cells[name] = 100 * score[f"{measure}{end}"]
    shown = np.where(score[["TP", "FN"]].sum(axis=1) > 0, "every", "no")
    names = cells["au"].replace("mean", "an AU")
    why = shown + " clip of these data shows " + names + ", so it has no score"
    return cells.assign(why=cells["why"].where(cells["value"].notna() | (cells["method"] == ""), why))


def _minus_published(ours: pd.DataFrame, scored: Sequence[Result], measure: str) -> pd.DataFrame:
    """The rows of ours that have a published number, less that.

    Both are scores on the same people, so what the difference varies with are the trainings, of which the published
    number is one more: its interval is Student's t of a prediction from our seeds, and one seed has none.
    """
    by_seed = {(r.test_set, r.name, r.variant): r for r in scored if len(r.runs) > 1}
    reach = []
    for cell in ours.itertuples():
        r = by_seed.get((cell.test_set, cell.method, cell.variant))
        n = len(r.runs) if r else 1
        spread = r.over_seeds(cell.policy).loc[cell.au, f"{measure}_std"] if r else NAN
        reach.append(100 * special.stdtrit(n - 1, 0.975) * spread * (1 + 1 / n) ** 0.5)
    apart = ours["value"] - ours["printed"]
    ours = ours.assign(value=apart, low=apart - reach, high=apart + reach)
    return ours[ours.groupby("row")["value"].transform("count") > 0]


def _trivial(heads: pd.DataFrame, scores: pd.DataFrame | None, measure: str, group: str) -> pd.DataFrame:
    """The rows of the trivial classifiers, in the columns that hold ours; intervals of the random ones only.

    "training base rate", of which only the ROC-AUC tells more than "always-negative", is in ``Table.scores`` alone.
    """
    names = [] if scores is None else scores.index[scores.index.get_level_values("policy") == ""].unique("method")
    names = [name for name in names if name != OUTSIDE]
    cells = pd.DataFrame({"row": names}, dtype=str).merge(heads, how="cross")
    cells = cells.assign(kind="trivial", group=group, method=cells["row"].where(cells["ours"], ""), variant="")
    cells = _scored(cells.assign(policy=""), scores, measure)
    cells.loc[~cells["row"].str.contains("random"), ["low", "high"]] = NAN
    return cells


def _fair(trivial: pd.DataFrame, policy: str) -> pd.DataFrame:
    """The trivial classifiers that a score is compared with: one tuned on the test labels only with its like."""
    return trivial if policy == TUNED else trivial[~trivial["row"].str.contains(TUNED)]


def _published(number: int, heads: pd.DataFrame) -> list[pd.DataFrame]:
    """The published rows, bold as in print, grey where they are not above ``level`` on the documented labels."""
    heads = heads.assign(ours=heads["key"].notna())
    frames: dict[tuple, pd.DataFrame] = {}
    for test_set, columns in heads.groupby("test_set", sort=False):
        aus = tuple(au for au in columns["au"].unique() if au != "mean")
        scores = printed.trivial(test_set.split(" → ")[-1], aus)
        frames |= {(test_set, name, "", ""): score for name, score in scores.items()}
    names = " and ".join(title(release) for release in RELEASES if heads["test_set"].str.contains(release).any())
    label = f"trivial classifiers, documented labels of {names}"
    trivial = _trivial(heads, pd.concat(frames, names=KEY), "f1_macro", label).assign(kind="documented trivial")
    table, bold = published.table(number), published.bold(number)
    cells = pd.DataFrame({"row": table.index}).merge(heads, how="cross")
    cells = cells.assign(measure=MEASURES["f1_macro"], kind="published", policy="", group=f"published, {names}")
    cells["value"] = [table.loc[c.row, c.key] if c.ours else NAN for c in cells.itertuples()]
    cells["bold"] = [bool(c.ours and bold.loc[c.row, c.key]) for c in cells.itertuples()]
    return [trivial, cells.assign(grey=cells["value"] <= level(_fair(trivial, ""), cells).round(1))]


def level(trivial: pd.DataFrame, cells: pd.DataFrame) -> pd.Series:
    """What each cell has to exceed: the highest of the trivial classifiers in its column; -inf where there is none.

    A constant classifier counts with its score, a random one with the 97.5 % quantile of its draws: up to there a score
    is one that guessing gives.
    """
    highest = trivial["high"].fillna(trivial["value"]).groupby([trivial[name] for name in COLUMN]).max()
    return cells.join(highest.rename("highest"), on=COLUMN)["highest"].fillna(-float("inf"))


def compared(cells: pd.DataFrame, trivial: pd.DataFrame) -> pd.DataFrame:
    """The cells of a group with the best of each column in bold, if it is above ``level`` and not alone.

    The best to the decimal that is shown, as the publication has it: of equal ones, all. Cells that are not above
    ``level`` are grey.
    """
    column, above = cells.groupby(COLUMN)["value"], cells["value"] - level(trivial, cells)
    best = column.transform("max").where(column.transform("count") > 1)
    equal = cells["value"].map("{:.1f}".format) == best.map("{:.1f}".format)
    return cells.assign(bold=equal & (above.fillna(0) > 0), grey=above.fillna(1) <= 0)


def _notes(
    number: int, first: Mapping[str, Result], data: Mapping[str, Mapping], scored: Sequence[Result],
    policies: Sequence[str], differences: bool, older: int,
) -> list[str]:  # fmt: skip
    """What a reader of the table has to know, one line each. first, data: a result and the data of each test set."""
    out = []
    for test_set, result in first.items():
        frame, synthetic = result.predictions[0], "Synthetic release in the layout of " * result.synthetic
        protocol = (
            "trained on the first, tested on the second" if " → " in test_set else "leave-one-subject-out, pooled"
        )
        splits = " or ".join(digest[:16] for digest in data[test_set]["splits"])
        out.append(
            f"{synthetic}{title(test_set)}: {frame['clip_id'].nunique()} clips of {frame['subject'].nunique()} "
            f"subjects scored; {protocol}; in brackets, 95 % intervals over subjects (jackknife). "
            f"Split (SHA-256 of each fold's clips): {splits}."
        )
    seeds = sorted({len(r.runs) for r in scored}) or [1]
    many = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
    not_comparable: dict[str, list[str]] = {}
    for r in scored:
        if r.not_comparable and r.name not in not_comparable.setdefault(r.not_comparable, []):
            not_comparable[r.not_comparable].append(r.name)
    reasons = "; ".join(f"{', '.join(names)} ({why})" for why, names in not_comparable.items())
    begun = sum(len(r.unfinished) for r in scored)
    shown = "as its" if number == 4 else "to go by Table 4, whose"
    lines = {
        "Tuned on the test labels: thresholds are tuned anew without each subject, so these intervals lie too high, as "
        "the numbers do. "
        f'The trivial classifier "random scores, {TUNED}" counts for them alone.': scored and TUNED in policies,
        "The synthetic release is rendered and a check of the path: its numbers are no result on CASME II or SAMM, and "
        "no difference to the published numbers is computed.": any(r.synthetic for r in scored),
        f"Ours is the mean of the scores of {many} seeds; an interval carries what varies with subjects and seeds.": (
            seeds[-1] > 1
        ),
        f"Seeds that have begun and do not count yet: {begun}.": begun,
        f"Older runs of the same configurations, for which newer ones count: {older}.": older,
        "Baselines of ours are written anew for this kit and trained by recipes of their own, on the same clips as "
        "AU-LLM, each in the frame size and colours that it reads.": any(r.method != AU_LLM for r in scored),
        "Not comparable, and a part of no claim: a baseline that began without the pretrained weights of its source. "
        f"Here {reasons}.": reasons,
        "3D-CNN: the plain network of the publication's Figure 3b, without a language model.": any(
            r.variant == PLAIN for r in scored
        ),
        "Ours − published is a difference on the same people: its interval is that of seeds, among which the published "
        "number counts as one more training; one seed has none.": differences,
        "The publication does not say which LLM its Table 4 is of.": differences and number == 4,
        f"Published: {published.place(number)}, as printed. Its F1 is two-class macro F1, {shown} constant predictors "
        f"show. {published.comment(number)}": True,
        f"As far as is known, thresholds of AU-LLM's published rows were tuned on the test labels: they compare with "
        f'the rows of "{POLICIES[TUNED]}".': True,
    }
    return out + [line for line, needed in lines.items() if needed]


def _not_estimable(scores: pd.DataFrame) -> list[str]:
    """Which cells have no interval for want of positives, one line per test set. scores: of ``Table``."""
    out = []
    ours = scores[scores.index.get_level_values("policy") != ""].drop("mean", level="au")
    for test_set, rows in ours.groupby(level="test_set", sort=False):
        positive = rows.groupby(level="au", sort=False)["positive_subjects"].first()
        rare = [f"{au} ({count:.0f})" for au, count in positive.items() if count < FEWEST_POSITIVE]
        silent = rows[(rows["TP"] == 0) & (rows["FN"] > 0)].groupby(level=["method", "policy"], sort=False)
        names = [f"{m}, {policy}: {' '.join(part.index.unique('au'))}" for (m, policy), part in silent]
        text = f"too few subjects with a positive, {', '.join(rare)}" * bool(rare)
        text += "; " * bool(rare and names) + f"no true positive, {'; '.join(names)}" * bool(names)
        out += [f"{title(str(test_set))}, not estimable and without an interval: {text}."] * bool(text)
    return out


def ablation_panels(table: Table, policy: str = "fixed") -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    """Figure 2 for ``figures.fig2.figure2``, from Table 3: panels, and the best trivial classifier, by data set.

    Each panel has one row per (llm, variant): the average two-class macro F1 as score, low, high, published, in
    percent; NaN where it was not run, and published only for licensed runs.
    """
    frame = table.frame[table.frame["measure"] == MEASURES["f1_macro"]]
    trivial = _fair(frame[frame["kind"] == "trivial"], policy).groupby("test_set")["value"].max()
    ours = frame[(frame["kind"] == "ours") & (frame["policy"] == policy)]
    ours = ours[ours["row"].isin(published.VARIANTS.values()) & (ours["value"].notna() | (ours["why"] != ""))]
    names = {"column": "llm", "row": "variant", "value": "score", "low": "low", "high": "high", "printed": "published"}
    panels: dict[str, pd.DataFrame] = {}
    best: dict[str, float] = {}
    for release in RELEASES:
        data = table.provenance["data"].get(release, {"synthetic": False})
        name = "synthetic release in the layout of " * (data.get("synthetic") is not False) + title(release)
        panels[name] = ours[ours["test_set"] == release].rename(columns=names)[list(names.values())]
        best |= {name: float(trivial[release])} if release in trivial else {}
    return panels, best


def number(value: float, signed: bool = False) -> str:
    """81.4; signed: +3.0 or −3.0, and 0.0 without a sign."""
    text = f"{abs(value):.1f}"
    return text if text == "0.0" else ("−" if value < 0 else "+" if signed else "") + text


def interval(low: float, high: float) -> str:
    """As in [70.1, 85.2], or nothing."""
    return "" if pd.isna(low) or pd.isna(high) else f"[{number(low)}, {number(high)}]"


class Form(NamedTuple):
    """How a format marks text, each mark around a ``{}``."""

    escape: Callable[[str], str]
    group: str  # a heading over rows
    bold: str
    grey: str
    empty: str  # the letter of a reason
    interval: str  # beside a number; LaTeX has it in a line of its own, which begins with ``line``
    line: str = ""


MARKDOWN = Form(_md, "**{}**", "**{}**", "*{}*", "{}", " {}")
_GREY = '<span class="grey">{}</span>'
HTML = Form(html.escape, '<span class="group">{}</span>', "<b>{}</b>", _GREY, _GREY, "<small>{}</small>")


def _wide(cells: pd.DataFrame, draw: Callable[[Any], str]) -> pd.DataFrame:
    """Cells as text: index (group, row), columns (span, column), in order of appearance."""
    text = cells.assign(text=[draw(cell) for cell in cells.itertuples()])
    index, columns = (pd.MultiIndex.from_frame(cells[keys].drop_duplicates()) for keys in (["group", "row"], COLUMN))
    wide = text.pivot(index=["group", "row"], columns=COLUMN, values="text")  # noqa: PD010
    return wide.reindex(index=index, columns=columns).fillna("")


def _parts(table: Table, form: Form) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Each measure: its heading, its numbers and its intervals (``_wide``), without the columns that are blank."""
    letters = table.reasons

    def draw(cell: Any) -> str:
        if pd.isna(cell.value):
            return form.empty.format(f"({letters[cell.why]})") if cell.why else ""
        text = form.escape(number(cell.value, cell.kind == "difference"))
        text = form.grey.format(text) if cell.grey else text
        return form.bold.format(text) if cell.bold else text

    def spread(cell: Any) -> str:
        text = interval(cell.low, cell.high)
        return form.interval.format(tex(text) if form.line else text) if text else ""

    for heading, cells in table.frame.groupby("measure", sort=False):
        wide, spreads = _wide(cells, draw), _wide(cells, spread)
        shown = wide.ne("").any()
        yield str(heading), wide.loc[:, shown], spreads.loc[:, shown]


def _lines(wide: pd.DataFrame, spreads: pd.DataFrame, form: Form) -> list[tuple[str, list[str]]]:
    """Label and cells of each line, ready to be shown."""
    lines = []
    for group, rows in wide.groupby(level="group", sort=False):
        lines.append((form.group.format(form.escape(group)), [""] * wide.shape[1]))
        for key, texts in rows.iterrows():
            beside = spreads.loc[key]
            lines.append((form.escape(key[1]), list(texts if form.line else texts + beside)))
            lines += [(form.line, list(beside))] if form.line and beside.any() else []
    return lines


def _legend(table: Table, form: Form, text: str = "") -> list[str]:
    """The lines under the table, escaped; text: what is drawn, if only the letters that are in it are needed."""
    marks = MARKS.format("Italics" if form is MARKDOWN else "Grey")
    reasons = (f"({letter}) {why}" for why, letter in table.reasons.items() if not text or f"({letter})" in text)
    return [form.escape(line) for line in (marks, *table.notes, *reasons)]


def _styled(lines: list[tuple[str, list[str]]], columns: pd.MultiIndex, stub: str, form: Form) -> Styler:
    """Lines below the names of columns, which are escaped."""
    spans, names = ([form.escape(text) for text in level] for level in zip(*columns, strict=True))
    heads = pd.MultiIndex.from_arrays([spans, names], names=[None, stub]) if any(spans) else pd.Index(names, name=stub)
    return Styler(pd.DataFrame([cells for _, cells in lines], [label for label, _ in lines], heads))


def markdown(table: Table) -> str:
    """Best in bold, not above a trivial classifier in italics, intervals in brackets."""

    def line(cells: Iterable[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    out = [f"**{_md(table.heading)}**", ""]
    for heading, wide, spreads in _parts(table, MARKDOWN):
        heads = [table.stub, *(f"{span}: {name}" if span else name for span, name in wide.columns)]
        out += [_md(heading), "", line(map(_md, heads)), "| --- |" + " ---: |" * wide.shape[1]]
        out += [*(line([label, *cells]) for label, cells in _lines(wide, spreads, MARKDOWN)), ""]
    return "\n".join([*out, *(f"{note}  " for note in _legend(table, MARKDOWN))]) + "\n"


def page(table: Table) -> str:
    """One HTML section whose style touches nothing outside it."""
    style = (resources.files(__package__) / "tables.css").read_text(encoding="utf-8")
    out = [f'<section class="aullm" id="{table.name}"><style>{style}</style><h2>{html.escape(table.heading)}</h2>']
    for heading, wide, spreads in _parts(table, HTML):
        styler = _styled(_lines(wide, spreads, HTML), wide.columns, table.stub, HTML).set_caption(html.escape(heading))
        out.append(f"<div>{styler.to_html(exclude_styles=True)}</div>")
    notes = (f"<p>{note}</p>" for note in _legend(table, HTML))
    return "\n".join([*out, "<footer>", *notes, "</footer></section>"]) + "\n"


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


_BLACK55 = r"\textcolor{{black!55}}{{{}}}"
_GROUP = "\\midrule\n\\rlap{{\\textit{{{}}}}}"
LATEX = Form(tex, _GROUP, r"\textbf{{{}}}", _BLACK55, _BLACK55, r"{{\tiny {}}}", line=r"\noalign{\vskip-3pt}")
PACKAGES = "\\usepackage{booktabs}\n\\usepackage{xcolor}\n"


def latex(table: Table, label: str) -> str:
    r"""A complete ``\begin{table}...\end{table}`` for each measure."""
    return "% needs\n% " + PACKAGES.strip().replace("\n", "\n% ") + "\n" + "\n".join(floats(table, label))


def document(tables: Iterable[Table]) -> str:
    """A stand-alone LaTeX document of several tables."""
    out = [
        f"\\documentclass[a4paper]{{article}}\n{PACKAGES}"
        "\\setlength{\\textwidth}{19.6cm}\\setlength{\\oddsidemargin}{-1.84cm}\\setlength{\\evensidemargin}{-1.84cm}\n"
        "\\setlength{\\textheight}{25.5cm}\\setlength{\\topmargin}{-1.6cm}\\setlength{\\headheight}{0pt}"
        "\\setlength{\\headsep}{0pt}\n\\begin{document}"
    ]
    for table in tables:
        for letter, text in zip("abcdefgh", floats(table, table.name), strict=False):
            named = f"\\renewcommand{{\\thetable}}{{{table.number}{letter}}}\n" if table.number else ""
            out.append(f"{named}{text}\\clearpage\n")
    return "\n".join([*out, "\\end{document}\n"])


def floats(table: Table, label: str) -> list[str]:
    """A ``table`` for each measure; one too long for a page goes on in another, between two groups."""
    floats: list[str] = []
    for heading, wide, spreads in _parts(table, LATEX):
        pages: dict[str, int] = {}  # group -> page
        height, page = 0.0, 0
        for group, rows in spreads.groupby(level="group", sort=False):
            more = 1 + len(rows) + 0.7 * rows.ne("").any(axis=1).sum()  # in lines
            page, height = (page + 1, more) if height and height + more > 56 else (page, height + more)
            pages[str(group)] = page
        for page, part in wide.groupby(wide.index.get_level_values("group").map(pages)):
            caption = f"{table.title}. {heading}{', continued' * (page > 0)}."
            stub, form = _rules(wide.columns) + tex(table.stub), f"@{{}}l*{{{wide.shape[1]}}}{{r}}@{{}}"
            styler = _styled(_lines(part, spreads, LATEX), wide.columns, stub, LATEX)
            body = styler.to_latex(hrules=True, column_format=form, multicol_align="c")
            body = body.replace("\\midrule\n\\midrule\n", "\\midrule\n")
            notes = "\\par\n".join(_legend(table, LATEX, body))
            floats.append(
                "\\begin{table}[t]\n\\centering\\setlength{\\belowcaptionskip}{5pt}\n"
                f"\\caption{{{tex(caption)}}}\n\\label{{tab:{re.sub('[^A-Za-z0-9-]', '-', label)}-{len(floats) + 1}}}\n"
                f"\\footnotesize\\setlength{{\\tabcolsep}}{{{2.5 if wide.shape[1] < 10 else 1.5}pt}}\n{body}\n"
                f"\\smallskip\n\\parbox{{\\linewidth}}{{\\scriptsize\\raggedright {notes}}}\n\\end{{table}}\n"
            )
    return floats


def _rules(columns: pd.MultiIndex) -> str:
    """A rule below each name that is over several columns."""
    rules, first = "", 2
    for span, same in groupby(span for span, _ in columns):
        last = first + len(list(same)) - 1
        rules += rf"\cmidrule(lr){{{first}-{last}}}" if span else ""
        first = last + 1
    return rules and f"{rules}\n"


def write(path: Path, table: Table) -> list[Path]:
    """Writes a table as ``path``.md, .html, .tex, .csv (every cell), .json (provenance) and _scores.csv.

    Returns:
        The files that were written.

    Raises:
        OSError: Nothing can be written there.
    """
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(table.heading)}</title>'
    head += '<meta name="viewport" content="width=device-width"><body style="margin:2em">'
    texts = {
        ".md": markdown(table), ".html": head + page(table), ".tex": latex(table, path.name),
        ".csv": table.frame.to_csv(index=False),
    }  # fmt: skip
    if table.scores is not None:
        texts["_scores.csv"] = table.scores.to_csv()
    written = [path.with_name(path.name + end) for end in (*texts, ".json")]
    with files.explained(path.parent, "the table"):
        for target, text in zip(written, texts.values(), strict=False):
            files.write_text(target, text)
        files.write_json(written[-1], table.provenance)
    return written
