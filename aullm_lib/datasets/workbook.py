"""A release's workbook: its rows by field, and single cells. Every message names the file, the row and the column."""

import re
import unicodedata
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path

import openpyxl

HEADER_ROWS = 40  # of a sheet, in which its header is searched: SAMM's is the 14th


class ReleaseError(ValueError):
    """An annotation that cannot be trusted; the message names the file, the row and the field."""


@dataclass(frozen=True)
class Row:
    """One annotated clip as its workbook has it: cells by field, and where they are."""

    cells: Mapping[str, object]
    where: str  # "CASME2-coding-20140508.xlsx, row 12"
    columns: Mapping[str, str]  # field -> the column's name

    def __getitem__(self, field: str) -> object:
        return self.cells[field]

    def at(self, field: str) -> str:
        return f"{self.where}, {self.columns[field]}"


def read_sheet(path: Path, columns: Mapping[str, str], *, sheet: str | None = None) -> list[Row]:
    """The rows of a workbook below its header, by field, without blank rows.

    Args:
        columns: field -> the column's name, compared without regard to case, blanks and punctuation; the header is the
            row that names most of them, wherever it stands.
        sheet: its name; where there is none of that name or no header in it, the sheet whose header names most of the
            columns is read.

    Raises:
        ReleaseError: naming the file: it is no workbook, lacks a column or has one twice.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl's, about styles and validations that it does not keep
            with path.open("rb") as file:
                book = openpyxl.load_workbook(file, read_only=True)  # formulas stay formulas, for the checks to refuse
                headers = []
                for page in book.worksheets:
                    page.reset_dimensions()  # some programs write a wrong one
                    named, top, header = _header(page.iter_rows(max_row=HEADER_ROWS, values_only=True), columns)
                    asked = named > 1 and page.title.strip().casefold() == (sheet or "").casefold()
                    headers.append((asked, named, top, header, page))
                _, named, top, header, page = max(headers, key=lambda candidate: candidate[:2])
                if named < 2:
                    raise ReleaseError(
                        f"{path.name}: no header row: none of the first {HEADER_ROWS} rows of a sheet names "
                        f"{list(columns.values())}"
                    )
                position = _positions(header, columns, f"{path.name}, row {top}")
                lines = page.iter_rows(min_row=top + 1, max_col=max(position.values()) + 1, values_only=True)
                rows = list(_rows(lines, position, columns, path.name, top + 1))
    except ReleaseError:
        raise
    except Exception as error:  # a damaged workbook raises whatever its part of zipfile, XML or openpyxl raises
        raise ReleaseError(f"{path}: not a readable Excel workbook ({error or type(error).__name__})") from None
    if not rows:
        raise ReleaseError(f"{path}: no annotated clip in it")
    return rows


def _header(lines: Iterable[tuple], columns: Mapping[str, str]) -> tuple[int, int, list]:
    """The line that names most columns: how many it names, its number from 1, and its cells."""
    names = {_plain(name) for name in columns.values()}
    counted = (
        (len({_plain(value) for value in line} & names), at, list(line))
        for at, line in enumerate(islice(lines, HEADER_ROWS), 1)
    )
    return max(counted, key=lambda header: header[0], default=(0, 0, []))


def _positions(header: list, columns: Mapping[str, str], where: str) -> dict[str, int]:
    names = [_plain(value) for value in header]
    position = {}
    for field, name in columns.items():
        count = names.count(_plain(name))
        if count > 1:
            raise ReleaseError(f"{where}: {count} columns {name!r}; delete the one that does not count")
        if not count:
            present = [text(value) for value in header if text(value)]
            near = get_close_matches(name, present, 1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise ReleaseError(f"{where}: no column {name!r}{hint} (found {present})")
        position[field] = names.index(_plain(name))
    return position


def _rows(
    lines: Iterable[tuple], position: Mapping[str, int], columns: Mapping[str, str], name: str, first: int
) -> Iterable[Row]:
    """Read one by one: a stray cell at the end of a sheet makes a million blank lines."""
    for at, values in enumerate(lines, first):
        record = {field: values[i] if i < len(values) else None for field, i in position.items()}
        if any(text(value) for value in record.values()):
            yield Row(record, f"{name}, row {at}", columns)


def _plain(value: object) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", str(value))).casefold()


def text(value: object) -> str:
    """A cell as text, "" for an empty one; a whole number without its decimal point."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def number(value: object, where: str) -> int:
    """A frame number, 0 or more, from a cell. Raises ReleaseError naming ``where`` for anything else."""
    if text(value) == "":
        raise ReleaseError(f"{where}: expected a frame number, found an empty cell")
    if not re.fullmatch(r"\d{1,9}", text(value)):
        raise ReleaseError(f"{where}: expected a frame number (0 or more), found {value!r}")
    return int(text(value))


def match(pattern: str, value: object, where: str, example: str) -> re.Match:
    """A cell that must look like ``example``. Raises ReleaseError naming ``where``."""
    matched = re.fullmatch(pattern, text(value), re.IGNORECASE)
    if matched is None:
        raise ReleaseError(f"{where}: expected something like {example}, found {value!r}")
    return matched
