"""A table of scores as one structure, which ``render`` turns into Markdown, HTML, LaTeX and CSV.

A table has blocks (one a measure), a block has groups of rows (trivial classifiers, published, ours), a row has
one cell per column.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, groupby

import pandas as pd

NAN = float("nan")


@dataclass(frozen=True)
class Cell:
    """A number in percent, with its interval where there is one; or empty, with the reason."""

    value: float = NAN
    low: float = NAN
    high: float = NAN
    bold: bool = False  # the best of those it is compared with, or printed so
    grey: bool = False  # not above the best trivial classifier
    why: str = ""  # why it is empty

    @property
    def empty(self) -> bool:
        return pd.isna(self.value)


@dataclass(frozen=True)
class Group:
    """Rows that are compared with each other. signed: the numbers are differences."""

    label: str
    rows: Mapping[str, Sequence[Cell]]
    signed: bool = False


@dataclass(frozen=True)
class Block:
    """One measure."""

    heading: str
    groups: Sequence[Group]


@dataclass(frozen=True)
class Table:
    """columns: (span, name) each, the span over neighbouring columns or ""; notes: lines under the table; number: the
    publication's, if it is one of its tables.
    """

    title: str
    columns: Sequence[tuple[str, str]]
    blocks: Sequence[Block]
    notes: Sequence[str] = field(default_factory=tuple)
    stub: str = "Method"
    number: int | None = None

    @property
    def heading(self) -> str:
        return f"Table {self.number}: {self.title}" if self.number else self.title

    def __post_init__(self) -> None:
        for block in self.blocks:
            for group in block.groups:
                for name, cells in group.rows.items():
                    if len(cells) != len(self.columns):
                        raise ValueError(f"{name}: {len(cells)} cells for {len(self.columns)} columns")

    def reasons(self) -> dict[str, str]:
        """Why cells are empty -> the letter that stands in them, in order of appearance."""
        found = dict.fromkeys(
            cell.why for b in self.blocks for g in b.groups for row in g.rows.values() for cell in row if cell.why
        )
        return {why: _letters(i) for i, why in enumerate(found)}

    def narrowed(self) -> Iterator[tuple[Sequence[tuple[str, str]], Block]]:
        """Each block with its columns, without those that are blank throughout it."""
        for block in self.blocks:
            rows = [cells for group in block.groups for cells in group.rows.values()]
            kept = [any(cell.why or not cell.empty for cell in cells) for cells in zip(*rows, strict=True)]
            groups = [
                dataclasses.replace(g, rows={name: list(compress(cells, kept)) for name, cells in g.rows.items()})
                for g in block.groups
            ]
            yield list(compress(self.columns, kept)), Block(block.heading, groups)

    def frame(self) -> pd.DataFrame:
        """A row a cell, in full precision: measure, group, row, span, column, value, low, high, bold, grey, why."""
        return pd.DataFrame(
            [
                {"measure": block.heading, "group": group.label, "row": name, "span": span, "column": column}
                | dataclasses.asdict(cell)
                for block in self.blocks
                for group in block.groups
                for name, cells in group.rows.items()
                for (span, column), cell in zip(self.columns, cells, strict=True)
            ]
        )


def spans(columns: Sequence[tuple[str, str]]) -> list[tuple[str, int]]:
    """The heads over the columns, each with how many columns it is over."""
    return [(span, len(list(same))) for span, same in groupby(span for span, _ in columns)]


def _letters(i: int) -> str:
    """0 -> a, 25 -> z, 26 -> aa."""
    return (_letters(i // 26 - 1) if i > 25 else "") + chr(ord("a") + i % 26)


def compared(group: Group, trivial: Iterable[Group] = ()) -> Group:
    """The best of each column in bold, if it exceeds the trivial classifiers and is not alone; grey where it does not.

    The best to the decimal that is shown, as the publication has it: of equal ones, all.
    """
    columns = list(zip(*group.rows.values(), strict=True))
    lows = zip(*(row for classifiers in trivial for row in classifiers.rows.values()), strict=True)
    out = []
    for cells, low in zip(columns, list(lows) or [()] * len(columns), strict=True):
        known = [cell.value for cell in cells if not cell.empty]
        level = max((cell.value for cell in low if not cell.empty), default=-float("inf"))
        best = max(known) if len(known) > 1 else NAN
        out.append(
            [
                dataclasses.replace(
                    cell,
                    bold=bool(level < cell.value) and f"{cell.value:.1f}" == f"{best:.1f}",
                    grey=bool(cell.value <= level),
                )
                for cell in cells
            ]
        )
    return dataclasses.replace(group, rows=dict(zip(group.rows, map(list, zip(*out, strict=True)), strict=True)))
