"""One table of the publication: trivial classifiers, the published numbers, ours, and the difference.

A difference to a published number is given only for a run on the licensed release: a synthetic run is no result on
CASME II or SAMM, and its numbers stand beside the published ones without being compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from aullm_lib.metrics.thresholds import POLICIES
from aullm_lib.report import listing, published, results
from aullm_lib.report.listing import TUNED
from aullm_lib.report.results import RELEASES, Result, title
from aullm_lib.report.tables import NAN, Block, Cell, Group, Table, compared

HEADINGS = {"f1_macro": "Two-class macro F1 (%)", "f1": "F1 of Eq. 5 (%)"}
NAMES = {1: "table1_casme2", 2: "table2_samm", 3: "table3_ablations", 4: "table4_cross_domain"}


@dataclass(frozen=True)
class Column:
    place: str  # "casme2", or "casme2 → samm"
    au: str  # or "mean"
    name: str
    span: str = ""
    printed: Any = None  # its key in ``published.table``; None: nothing is published for it
    ours: bool = True  # False: it holds published numbers only


@dataclass(frozen=True)
class Slot:
    """Where a number of ours comes from, and what is published in its place."""

    result: Result | None
    au: str
    printed: float = NAN
    why: str = ""  # why there is no result

    def cell(self, measure: str, policy: str) -> Cell:
        if self.result is None or self.result.why:
            return Cell(why=self.result.why if self.result else self.why)
        return _cell(self.result.score(policy), self.au, measure)

    def difference(self, measure: str, policy: str) -> Cell:
        """Ours minus the published number, for a licensed run."""
        ours = self.cell(measure, policy)
        if self.result is None or self.result.synthetic or ours.empty or np.isnan(self.printed):
            return Cell()
        return Cell(ours.value - self.printed, ours.low - self.printed, ours.high - self.printed)


@dataclass(frozen=True)
class Made:
    """A table with what goes beside it: ``render.write(folder / m.name, m.table, m.provenance, scores=m.scores)``."""

    name: str
    table: Table
    provenance: dict
    scores: dict[tuple[str, ...], pd.DataFrame] = field(repr=False)


def _cell(frame: pd.DataFrame, au: str, measure: str, spread: bool = True) -> Cell:
    if au not in frame.index or pd.isna(frame.loc[au, measure]):
        whole = au in frame.index and frame.loc[au, ["TP", "FN"]].sum() > 0
        named = "an AU" if au == "mean" else au
        return Cell(why=f"{'every' if whole else 'no'} clip of these data shows {named}, so it has no score")
    value, low, high = (100 * float(frame.loc[au, f"{measure}{end}"]) for end in ("", "_low", "_high"))
    return Cell(value, low, high) if spread else Cell(value)


def made(
    number: int, columns: list[Column], rows: Mapping[str, list[Slot]], used: list[Result], policies: Sequence[str],
    stub: str = "Method",
) -> Made:  # fmt: skip
    """The table. rows: name -> a slot a column; used: the results behind it, those without a score too."""
    places = list(dict.fromkeys(column.place for column in columns))
    scored = [r for r in used if not r.why]
    trivial = {place: next((r.trivial for r in scored if r.where == place), {}) for place in places}
    data, brief = results.in_words(scored), results.in_words(scored, brief=True)
    blocks = []
    for measure, heading in HEADINGS.items():
        classifiers = _trivial(trivial, columns, measure, [column.ours for column in columns])
        groups = [Group(f"trivial classifiers, {brief}", classifiers)] if classifiers else []
        groups += _published(number, columns) if measure == "f1_macro" else []
        for policy in policies:
            fair = {name: cells for name, cells in classifiers.items() if policy == TUNED or TUNED not in name}
            label = f"ours, {brief}; {POLICIES[policy]}" if scored else "ours"
            kept = {m: s for m, s in rows.items() if policy == policies[0] or any(x.result for x in s)}
            ours = Group(label, {m: [slot.cell(measure, policy) for slot in slots] for m, slots in kept.items()})
            groups += [compared(ours, [Group("", fair)] if fair else [])] if kept else []
            if measure == "f1_macro":
                apart = {m: [slot.difference(measure, policy) for slot in slots] for m, slots in kept.items()}
                apart = {m: cells for m, cells in apart.items() if not all(cell.empty for cell in cells)}
                groups += [Group(f"ours − published; {POLICIES[policy]}", apart, signed=True)] if apart else []
        blocks.append(Block(heading, groups))
    origin = results.made_by(scored)
    differences = any(group.signed for block in blocks for group in block.groups)
    table = Table(
        f"{data}, beside the published numbers" if scored else "published numbers, nothing run yet",
        [(column.span, column.name) for column in columns],
        blocks,
        [*listing.notes(number, places, scored, policies, differences), results.line(origin)],
        stub,
        number,
    )
    scores: dict[tuple[str, ...], pd.DataFrame] = {
        (place, name, "", ""): frame for place, frames in trivial.items() for name, frame in frames.items()
    }
    scores |= {(r.where, r.name, r.variant, policy): r.score(policy) for r in scored for policy in policies}
    return Made(NAMES[number], table, {"table": number, "published": published.place(number)} | origin, scores)


def _published(number: int, columns: Sequence[Column]) -> list[Group]:
    """The published rows, bold as in print, grey where a trivial classifier scores as much on the same labels."""
    aus: dict[str, dict[str, None]] = {}
    for column in columns:
        aus.setdefault(column.place, {}).update({column.au: None} if column.au != "mean" else {})
    trivial = {place: published.trivial(place.split(" → ")[-1], tuple(units)) for place, units in aus.items()}
    classifiers = _trivial(trivial, columns, "f1_macro", [column.printed is not None for column in columns])
    level = [
        max(cells[i].value for name, cells in classifiers.items() if TUNED not in name) for i in range(len(columns))
    ]
    printed, bold = published.table(number), published.bold(number)
    rows = {}
    for method in printed.index:
        numbers = [NAN if c.printed is None else float(printed.loc[method, c.printed]) for c in columns]
        rows[str(method)] = [
            Cell() if c.printed is None else Cell(n, bold=bool(bold.loc[method, c.printed]), grey=n <= round(low, 1))
            for c, n, low in zip(columns, numbers, level, strict=True)
        ]
    names = " and ".join(title(release) for release in RELEASES if any(release in place for place in aus))
    return [
        Group(f"trivial classifiers, documented labels of {names}", classifiers),
        Group(f"published, {names}", rows),
    ]


def _trivial(
    trivial: Mapping[str, Mapping[str, pd.DataFrame]], columns: Sequence[Column], measure: str, shown: Sequence[bool]
) -> dict[str, list[Cell]]:
    """What each trivial classifier scores in each column. trivial: place -> name -> score."""
    return {
        name: [
            _cell(trivial[c.place][name], c.au, measure, spread="random" in name)
            if there and name in trivial[c.place]
            else Cell()
            for c, there in zip(columns, shown, strict=True)
        ]
        for name in dict.fromkeys(name for frames in trivial.values() for name in frames)
    }
