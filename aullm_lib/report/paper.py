"""The publication's Tables 1 to 4 and Figure 2 anew: floors, the published numbers, ours, and the difference.

A difference to a published number is given only for a run on the licensed release: a synthetic run is no result on
CASME II or SAMM, and its numbers stand beside the published ones without being compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from aullm_lib import facs
from aullm_lib.report import published, results
from aullm_lib.report.results import Result, title
from aullm_lib.report.tables import NAN, Block, Cell, Group, Table, compared
from aullm_lib.thresholds import POLICIES

HEADINGS = {"f1_macro": "Two-class macro F1 (%)", "f1": "F1 of Eq. 5 (%)"}
RELEASES = ("casme2", "samm")
DIRECTIONS = ("casme2 → samm", "samm → casme2")
NAMES = {1: "table1_casme2", 2: "table2_samm", 3: "table3_ablations", 4: "table4_cross_domain"}
TUNED = "test-tuned"


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
        return Cell(why=f"no clip of these data shows {au}, so it has no score")
    value, low, high = (100 * float(frame.loc[au, f"{measure}{end}"]) for end in ("", "_low", "_high"))
    return Cell(value, low, high) if spread else Cell(value)


def per_release(number: int, found: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Made:
    """Table 1 (CASME II) or 2 (SAMM): F1 an AU of the whole model, leave-one-subject-out."""
    release = RELEASES[number - 1]
    printed = published.table(number)
    columns = [
        Column(release, "mean" if name == published.AVERAGE else name, name, printed=name) for name in printed.columns
    ]
    mine = [r for r in found if r.where == release and r.variant == "all"]
    rows = {}
    for method, result in results.methods(mine).items():
        known = results.known(method, result)
        why = f"no run of it on {title(release)} is recorded under this profile (llm in 02_train_loso)"
        numbers = [float(printed.loc[known[0], c.printed]) if known else NAN for c in columns]
        rows[method] = [Slot(result, c.au, n, why) for c, n in zip(columns, numbers, strict=True)]
    return _made(number, columns, rows, mine, policies)


def ablations(found: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Made:
    """Table 3: the average F1 of every ablation, by LLM, on both releases; further variants of ours below.

    The published numbers share their columns with licensed runs only; beside a synthetic release they have their own.
    """
    columns, methods = _columns_by_llm(found)
    printed = published.table(3)
    variants = [*published.VARIANTS, *dict.fromkeys(r.variant for r in found if r.variant not in published.VARIANTS)]
    rows: dict[str, list[Slot]] = {published.VARIANTS.get(variant, variant): [] for variant in variants}
    used = []
    for column, method in zip(columns, methods, strict=True):
        here = [r for r in found if r.where == column.place and r.method == method] if column.ours else []
        for variant, (name, slots) in zip(variants, rows.items(), strict=True):
            result = next((r for r in here if r.variant == variant), None)
            used += [result] if result else []
            what = f"{variant!r}, {method}" if here else method
            why = f"no run of {what} on {title(column.place)} is recorded under this profile (04_ablations)"
            known = column.printed is not None and name in printed.index
            number = float(printed.loc[name, column.printed]) if known else NAN
            slots.append(Slot(result, "mean", number, why if column.ours else ""))
    return _made(3, columns, rows, used, policies, stub="Variant")


def _columns_by_llm(found: Sequence[Result]) -> tuple[list[Column], list[str]]:
    """The columns of Table 3, and each one's method."""
    columns, methods = [], []
    for release in RELEASES:
        here = [r for r in found if r.where == release]
        apart, name = any(r.synthetic for r in here), title(release)
        if apart:
            columns += [
                Column(release, "mean", short, f"published, {name}", (name, short), False)
                for _, short in published.LLMS.values()
            ]
            methods += [row for row, _ in published.LLMS.values()]
        for method, result in results.methods(here).items():
            known = results.known(method, result)
            if apart and result is None:
                continue
            span = f"synthetic, as {name}" if apart else name
            key = (name, known[1]) if known and not apart else None
            columns.append(Column(release, "mean", results.short(method, known), span, key))
            methods.append(method)
    return columns, methods


def cross_domain(found: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Made:
    """Table 4: trained on one release and tested on the other, both directions, on the AUs that they share."""
    printed = published.table(4)
    aus = {f"AU{n}": f"AU{n}" for n in facs.BENCHMARK["samm"]} | {"mean": published.AVERAGE}
    columns = [
        Column(place, au, name, title(place), (title(place), name)) for place in DIRECTIONS for au, name in aus.items()
    ]
    mine = [r for r in found if r.where in DIRECTIONS and r.variant == "all"]
    ran = {m: r for m, r in results.methods(mine).items() if r}
    rows: dict[str, list[Slot]] = {method: [] for method in ran or ["AU-LLM"]}
    for method, slots in rows.items():
        for column in columns:
            result = next((r for r in mine if r.where == column.place and r.method == method), None)
            known = results.known(method, result)
            number = float(printed.loc["AU-LLM (Ours)", column.printed]) if known else NAN
            why = f"no run of it, {title(column.place)}, is recorded under this profile (05_cross_domain)"
            slots.append(Slot(result, column.au, number, why))
    policies = [policy for policy in policies if policy != "nested"]  # there is no second fold to choose on
    return _made(4, columns, rows, mine, policies or ["fixed"])


def _made(
    number: int, columns: list[Column], rows: Mapping[str, list[Slot]], used: list[Result], policies: Sequence[str],
    stub: str = "Method",
) -> Made:  # fmt: skip
    places = list(dict.fromkeys(column.place for column in columns))
    scored = [r for r in used if not r.why]
    floors = {place: next((r.floors for r in scored if r.where == place), {}) for place in places}
    data, brief = results.in_words(scored), results.in_words(scored, brief=True)
    blocks = []
    for measure, heading in HEADINGS.items():
        chance = _chance(floors, columns, measure, [column.ours for column in columns])
        groups = [Group(f"looks at nothing, {brief}", chance)] if chance else []
        groups += _published(number, columns) if measure == "f1_macro" else []
        for policy in policies:
            fair = {name: cells for name, cells in chance.items() if policy == TUNED or TUNED not in name}
            label = f"ours, {brief}; {POLICIES[policy]}" if scored else "ours"
            kept = {m: s for m, s in rows.items() if policy == policies[0] or any(x.result for x in s)}
            ours = Group(label, {m: [slot.cell(measure, policy) for slot in slots] for m, slots in kept.items()})
            groups += [compared(ours, [Group("", fair)] if fair else [])] if kept else []
            if measure == "f1_macro":
                apart = {m: [slot.difference(measure, policy) for slot in slots] for m, slots in kept.items()}
                apart = {m: cells for m, cells in apart.items() if not all(cell.empty for cell in cells)}
                groups += [Group(f"ours − published; {POLICIES[policy]}", apart, signed=True)] if apart else []
        blocks.append(Block(heading, groups))
    made = results.made_by(scored)
    differences = any(group.signed for block in blocks for group in block.groups)
    table = Table(
        f"{data}, beside the published numbers" if scored else "published numbers, nothing run yet",
        [(column.span, column.name) for column in columns],
        blocks,
        [*results.notes(number, places, scored, differences), results.line(made)],
        stub,
        number,
    )
    scores: dict[tuple[str, ...], pd.DataFrame] = {
        (place, name, "", ""): frame for place, known in floors.items() for name, frame in known.items()
    }
    scores |= {(r.where, r.method, r.variant, policy): r.score(policy) for r in scored for policy in policies}
    return Made(NAMES[number], table, {"table": number, "published": published.place(number)} | made, scores)


def _published(number: int, columns: Sequence[Column]) -> list[Group]:
    """The published rows, bold as in print, grey where an answer without a look scores as much on the same labels."""
    aus: dict[str, dict[str, None]] = {}
    for column in columns:
        aus.setdefault(column.place, {}).update({column.au: None} if column.au != "mean" else {})
    floors = {place: published.floors(place.split(" → ")[-1], tuple(units)) for place, units in aus.items()}
    chance = _chance(floors, columns, "f1_macro", [column.printed is not None for column in columns])
    floor = [max(cells[i].value for name, cells in chance.items() if TUNED not in name) for i in range(len(columns))]
    printed, bold = published.table(number), published.bold(number)
    rows = {}
    for method in printed.index:
        numbers = [NAN if c.printed is None else float(printed.loc[method, c.printed]) for c in columns]
        rows[str(method)] = [
            Cell() if c.printed is None else Cell(n, bold=bool(bold.loc[method, c.printed]), grey=n <= round(low, 1))
            for c, n, low in zip(columns, numbers, floor, strict=True)
        ]
    names = " and ".join(title(release) for release in RELEASES if any(release in place for place in aus))
    return [Group(f"looks at nothing, documented labels of {names}", chance), Group(f"published, {names}", rows)]


def _chance(
    floors: Mapping[str, Mapping[str, pd.DataFrame]], columns: Sequence[Column], measure: str, shown: Sequence[bool]
) -> dict[str, list[Cell]]:
    """What each predictor that looks at nothing scores in each column. floors: place -> name -> score."""
    return {
        name: [
            _cell(floors[c.place][name], c.au, measure, spread="random" in name)
            if there and name in floors[c.place]
            else Cell()
            for c, there in zip(columns, shown, strict=True)
        ]
        for name in dict.fromkeys(name for known in floors.values() for name in known)
    }


def ablation_panels(found: Sequence[Result], policy: str = "fixed") -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    """Figure 2 for ``figures.ablation_bars``: panels and floors by data set, from the average two-class macro F1.

    Each panel has a row a (llm, variant): score, low, high, published, in percent; NaN where it was not run, and
    published only for licensed runs. The floor is the best of those that look at nothing, at the threshold's policy.
    """
    panels, floors = {}, {}
    printed = published.table(3)
    for release in RELEASES:
        here = [r for r in found if r.where == release]
        licensed, rows = not any(r.synthetic for r in here), []
        for method, one in results.methods(here).items():
            known = results.known(method, one)
            for variant, name in published.VARIANTS.items() if one or licensed else ():
                result = next((r for r in here if r.method == method and r.variant == variant), None)
                cell = Slot(result, "mean").cell("f1_macro", policy)
                compare = known and licensed and not cell.empty
                number = float(printed.loc[name, (title(release), known[1])]) if known and compare else NAN
                ours = {"score": cell.value, "low": cell.low, "high": cell.high, "published": number}
                rows.append({"llm": results.short(method, known), "variant": name} | ours)
        scored = [r for r in here if not r.why]
        name = results.in_words(scored) or title(release)
        panels[name] = pd.DataFrame(rows)
        if scored:
            fair = [frame for key, frame in scored[0].floors.items() if policy == TUNED or TUNED not in key]
            floors[name] = max(100 * float(frame.loc["mean", "f1_macro"]) for frame in fair)
    return panels, floors
