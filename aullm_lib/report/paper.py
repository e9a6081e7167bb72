"""The publication's Tables 1 to 4 and Figure 2 anew, from the results of recorded runs."""

from collections.abc import Sequence

import pandas as pd

from aullm_lib import facs
from aullm_lib.report import listing, published, results
from aullm_lib.report.results import RELEASES, Result, title
from aullm_lib.report.sheet import TUNED, Column, Made, Slot, made
from aullm_lib.report.tables import NAN

DIRECTIONS = ("casme2 → samm", "samm → casme2")


def per_release(number: int, found: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Made:
    """Table 1 (CASME II) or 2 (SAMM): F1 an AU of the whole model, leave-one-subject-out."""
    release = RELEASES[number - 1]
    printed = published.table(number)
    columns = [
        Column(release, "mean" if name == published.AVERAGE else name, name, printed=name) for name in printed.columns
    ]
    mine = [r for r in found if r.where == release and r.whole]
    return made(number, columns, _slots(number, columns, mine), mine, policies)


def ablations(found: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Made:
    """Table 3: the average F1 of every ablation, by LLM, on both releases; further variants of ours below.

    The published numbers share their columns with licensed runs only; beside a synthetic release they have their own.
    Baselines are in Tables 1 and 2.
    """
    found = [r for r in found if not r.baseline]
    columns, methods = _columns_by_llm(found)
    printed = published.table(3)
    variants = [*published.VARIANTS, *dict.fromkeys(r.variant for r in found if r.variant not in published.VARIANTS)]
    rows: dict[str, list[Slot]] = {published.VARIANTS.get(variant, variant): [] for variant in variants}
    used = []
    for column, method in zip(columns, methods, strict=True):
        here = [r for r in found if r.where == column.place and r.name == method] if column.ours else []
        for variant, (name, slots) in zip(variants, rows.items(), strict=True):
            result = next((r for r in here if r.variant == variant), None)
            used += [result] if result else []
            what = f"{variant!r}, {method}" if here else method
            why = f"no run of {what} on {title(column.place)} is recorded under this profile (04_ablations)"
            known = column.printed is not None and name in printed.index
            number = float(printed.loc[name, column.printed]) if known else NAN
            slots.append(Slot(result, "mean", number, why if column.ours else ""))
    return made(3, columns, rows, used, policies, stub="Variant")


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
        for method, result in listing.au_llm(here).items():
            known = listing.known(method, result)
            if apart and result is None:
                continue
            span = f"synthetic, as {name}" if apart else name
            key = (name, known[1]) if known and not apart else None
            columns.append(Column(release, "mean", listing.short(method, known), span, key))
            methods.append(method)
    return columns, methods


def cross_domain(found: Sequence[Result], policies: Sequence[str] = ("fixed",)) -> Made:
    """Table 4: trained on one release and tested on the other, both directions, on the AUs that they share."""
    aus = {f"AU{n}": f"AU{n}" for n in facs.BENCHMARK["samm"]} | {"mean": published.AVERAGE}
    columns = [
        Column(place, au, name, title(place), (title(place), name)) for place in DIRECTIONS for au, name in aus.items()
    ]
    mine = [r for r in found if r.where in DIRECTIONS and r.whole]
    policies = [policy for policy in policies if policy != "nested"]  # there is no second fold to choose on
    return made(4, columns, _slots(4, columns, mine), mine, policies or ["fixed"])


def _slots(number: int, columns: Sequence[Column], mine: Sequence[Result]) -> dict[str, list[Slot]]:
    """The rows of ours in Tables 1, 2 and 4."""
    printed = published.table(number)
    by_name: dict[tuple[str, str], Result] = {}
    for r in sorted(mine, key=lambda r: bool(r.why)):  # one with a score, if there is one
        by_name.setdefault((r.where, r.name), r)
    return {
        row.label: [
            Slot(
                by_name.get((c.place, row.name)),
                c.au,
                float(printed.loc[row.printed, c.printed]) if row.printed else NAN,
                row.why(c.place),
            )
            for c in columns
        ]
        for row in listing.rows(number, mine)
    }


def ablation_panels(found: Sequence[Result], policy: str = "fixed") -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    """Figure 2 for ``fig2.figure2``: panels, and the best trivial classifier, by data set.

    Each panel has one row per (llm, variant): the average two-class macro F1 as score, low, high, published, in
    percent; NaN where it was not run, and published only for licensed runs.
    """
    panels, trivial = {}, {}
    printed = published.table(3)
    for release in RELEASES:
        here = [r for r in found if r.where == release and not r.baseline]
        licensed, rows = not any(r.synthetic for r in here), []
        for method, one in listing.au_llm(here).items():
            known = listing.known(method, one)
            for variant, name in published.VARIANTS.items() if one or licensed else ():
                result = next((r for r in here if r.name == method and r.variant == variant), None)
                cell = Slot(result, "mean").cell("f1_macro", policy)
                compare = known and licensed and not cell.empty
                number = float(printed.loc[name, (title(release), known[1])]) if known and compare else NAN
                ours = {"score": cell.value, "low": cell.low, "high": cell.high, "published": number}
                rows.append({"llm": listing.short(method, known), "variant": name} | ours)
        scored = [r for r in here if not r.why]
        name = results.in_words(scored) or title(release)
        panels[name] = pd.DataFrame(rows)
        if scored:
            fair = [frame for key, frame in scored[0].trivial.items() if policy == TUNED or TUNED not in key]
            trivial[name] = max(100 * float(frame.loc["mean", "f1_macro"]) for frame in fair)
    return panels, trivial
