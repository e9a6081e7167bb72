"""A release's workbook: its rows by field, and single cells. Every message names the file, the row and the column."""

import codecs
import io
import re
import unicodedata
import warnings
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from difflib import get_close_matches
from itertools import islice, zip_longest
from pathlib import Path

import openpyxl

HEADER_ROWS = 40  # of a sheet, in which its header is searched: SAMM's is the 14th
ROWS = 10_000  # annotated ones: the largest release has 860
CELL = 500  # characters; the longest annotation of any release has about 30
UNPACKED = 1 << 27  # bytes of a workbook: the releases' have about a million, one with a million blank rows 60 million
FRAMES = 1_000_000  # the highest number of a frame: 83 minutes at 200 frames per second
FORMULA = re.compile(r"[=@]|[+-].")  # how text begins that a spreadsheet would calculate
STRICT = (b"http://purl.oclc.org/ooxml/", b"http://schemas.openxmlformats.org/")  # namespaces: strict, and the usual
FORMATS = {  # how a file begins that is no .xlsx, and what it is
    b"\xd0\xcf\x11\xe0": "a workbook of Excel 97-2003, or one with a password",
    b"<": "a web page or XML under a workbook's name",
    b"": "no Excel workbook (.xlsx)",
}


class ReleaseError(ValueError):
    """An annotation that cannot be trusted; the message names the file, the row and the field."""


@dataclass(frozen=True)
class Row:
    """One annotated clip as its workbook has it: cells by field, and where they are."""

    cells: Mapping[str, object]
    where: str  # "CASME2-coding-20140508.xlsx, row 12"
    columns: Mapping[str, str]  # field -> the column's name

    def __getitem__(self, field: str) -> object:
        """A cell. Raises ReleaseError for text that is longer than any annotation."""
        value = self.cells[field]
        if isinstance(value, str) and len(value) > CELL:
            raise ReleaseError(f"{self.at(field)}: more than {CELL} characters, which no annotation has")
        return value

    def at(self, field: str) -> str:
        return f"{self.where}, {self.columns[field]}"


class Rows(list[Row]):
    """The annotated rows of a sheet, and what is worth knowing of it."""

    sheet = ""
    notes: Sequence[str] = ()  # hidden parts, and other sheets with the same columns


def read_sheet(path: Path, columns: Mapping[str, str], *, sheet: str | None = None) -> Rows:
    """The rows of a workbook below its header, by field, without blank rows.

    Rows that a filter hides are annotated, too: they are read, and said.

    Args:
        columns: field -> the column's name, compared without regard to case, blanks, punctuation and what stands beside
            it in another script, in brackets or behind a slash; the header is the row, or the pair of rows, that names
            most of them, wherever it stands.
        sheet: its name. Among the sheets whose header has all columns, or else most of them, a visible one counts
            first, then the one of this name, then the first.

    Raises:
        ReleaseError: naming the file: it is no workbook, lacks a column or has one twice, or is larger than any
            release's.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl's, about styles and validations that it does not keep
            content = _content(path)
            book = openpyxl.load_workbook(content, read_only=True)  # formulas stay formulas, for the checks to refuse
            headers = []
            for page in book.worksheets:
                page.reset_dimensions()  # some programs write a wrong one
                named, top, header = _header(page.iter_rows(max_row=HEADER_ROWS, values_only=True), columns)
                shown = page.sheet_state == "visible"
                asked = named > 1 and page.title.strip().casefold() == (sheet or "").casefold()
                headers.append(((named == len(columns), shown and named > 1, asked, named), top, header, page))
            (_, shown, _, named), top, header, page = max(headers, key=lambda candidate: candidate[0])
            if named < 2:
                raise ReleaseError(
                    f"{path.name}: no header row: none of the first {HEADER_ROWS} rows of a sheet names "
                    f"{list(columns.values())}"
                )
            position = _positions(header, columns, f"{path.name}, row {top}")
            lines = page.iter_rows(min_row=top + 1, max_col=max(position.values()) + 1, values_only=True)
            rows = Rows(islice(_rows(lines, position, columns, path.name, top + 1), ROWS + 1))
            rows.sheet = page.title
            rows.notes = [
                f"{path.name}: the sheet {other.title!r} has the columns, too; {page.title!r} was read"
                for (all_named, *_), *_, other in headers
                if other is not page and all_named
            ]
            if not shown:
                rows.notes.append(f"{path.name}: the sheet {page.title!r} is hidden; no visible one has the columns")
            if hidden := _hidden(content, page, top):
                rows.notes.append(f"{path.name}: {hidden} hidden rows (a filter?) were read like the others")
    except ReleaseError:
        raise
    except Exception as error:  # a damaged workbook raises whatever its part of zipfile, XML or openpyxl raises
        problem = str(error)[:200] or type(error).__name__
        raise ReleaseError(f"{path}: not a readable Excel workbook ({problem})") from None
    if len(rows) > ROWS:
        raise ReleaseError(f"{path}: more than {ROWS:,} annotated rows, which no release has")
    if not rows:
        raise ReleaseError(f"{path}: no annotated clip in it")
    return rows


def _content(path: Path) -> io.BytesIO:
    """A workbook's bytes, in the usual namespaces where it is a Strict Open XML one. Raises ReleaseError."""
    if (size := path.stat().st_size) <= UNPACKED:
        packed_bytes = path.read_bytes()
        if not packed_bytes.startswith(b"PK"):
            start = packed_bytes[:8].removeprefix(codecs.BOM_UTF8)
            what = next(what for begin, what in FORMATS.items() if start.startswith(begin))
            raise ReleaseError(f"{path}: {what}; open it and save it as a plain .xlsx (Excel workbook)")
        content = io.BytesIO(packed_bytes)
        with zipfile.ZipFile(content) as packed:
            size = sum(part.file_size for part in packed.infolist())
            names = packed.namelist()
    if size > UNPACKED:
        raise ReleaseError(
            f"{path}: {size / 1e6:,.0f} MB unpacked, which no release's workbook has; copy its rows into a new one"
        )
    usual = io.BytesIO()
    with zipfile.ZipFile(content) as packed:
        if "xl/workbook.xml" not in names or STRICT[0] not in packed.read("xl/workbook.xml"):
            return content
        with zipfile.ZipFile(usual, "w") as out:
            for name in names:
                part = packed.read(name)
                for word in (b"spreadsheetml", b"officeDocument", b"drawingml"):
                    part = part.replace(STRICT[0] + word + b"/", STRICT[1] + word + b"/2006/")
                out.writestr(name, part)
    return usual


def _hidden(content: io.BytesIO, page: openpyxl.worksheet.worksheet.Worksheet, top: int) -> int:
    """How many rows below the header are hidden; openpyxl, reading row by row, does not say."""
    with zipfile.ZipFile(content) as packed:
        part = packed.read(page._worksheet_path)
    rows = re.findall(rb"<(?:\w+:)?row\s[^>]*>", part)
    numbers = (re.search(rb'\sr="(\d+)"', row) for row in rows if re.search(rb'\shidden="(?:1|true)"', row))
    return sum(int(number[1]) > top for number in numbers if number)


def _header(lines: Iterable[tuple], columns: Mapping[str, str]) -> tuple[int, int, list]:
    """The line, or the pair of lines, that names most columns: how many, its number from 1, and its cells."""
    names = {_plain(name) for name in columns.values()}
    best: tuple[int, int, list] = (0, 0, [])
    above: list = []
    for at, line in enumerate(islice(lines, HEADER_ROWS), 1):
        pair = [
            next((form for form in (low, up, f"{text(up)} {text(low)}") if up and _forms(form) & names), low)
            for up, low in zip_longest(above, line)
        ]
        for header in (list(line), pair):
            named = len(set().union(*map(_forms, header)) & names)
            best = (named, at, header) if named > best[0] else best
        above = list(line)
    return best


def _positions(header: list, columns: Mapping[str, str], where: str) -> dict[str, int]:
    position = {}
    for field, name in columns.items():
        plain = _plain(name)
        found = [i for i, value in enumerate(header) if _plain(value) == plain]
        found = found or [i for i, value in enumerate(header) if plain in _forms(value)]
        if len(found) > 1:
            raise ReleaseError(f"{where}: {len(found)} columns {name!r}; delete the one that does not count")
        if not found:
            present = [text(value)[:60] for value in header if text(value)][:40]
            near = get_close_matches(name, present, 1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise ReleaseError(f"{where}: no column {name!r}{hint} (found {present})")
        position[field] = found[0]
    return position


def _rows(
    lines: Iterable[tuple], position: Mapping[str, int], columns: Mapping[str, str], name: str, first: int
) -> Iterable[Row]:
    """Read one by one: a stray cell at the end of a sheet makes a million blank lines."""
    for at, values in enumerate(lines, first):
        record = {field: values[i] if i < len(values) else None for field, i in position.items()}
        if any(text(value) for value in record.values()):
            cells = {field: clean(value) if isinstance(value, str) else value for field, value in record.items()}
            yield Row(cells, f"{name}, row {at}", columns)


def _plain(value: object) -> str:
    """A header as its Latin letters and digits: "Subject 被试" is "subject"."""
    return re.sub(r"[^a-z0-9]", "", clean(str(value)).casefold())


def _forms(value: object) -> set[str]:
    if value is None:
        return set()
    return {_plain(value), *(_plain(part) for part in re.split(r"[/|\n(\[,;:]", clean(str(value))))} - {""}


def clean(value: str) -> str:
    """Text without what nobody sees: invisible characters, blanks around it, full-width forms, and ".0" of a number.

    Of text that no annotation is as long as, the beginning, as it is.
    """
    if len(value) > 10 * CELL:
        return value[: 10 * CELL]
    if not value.isascii():
        value = unicodedata.normalize("NFKC", value)
        value = "".join(c for c in value if unicodedata.category(c) != "Cf")  # zero-width space, byte-order mark
    value = re.sub(r"[^\S\n]+", " ", value).strip()
    return re.sub(r"^(\d+)\.0+$", r"\1", value)


def text(value: object) -> str:
    """A cell as text, "" for an empty one; a whole number without its decimal point."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else clean(str(value))


def number(value: object, where: str) -> int:
    """A frame number, 0 to FRAMES, from a cell. Raises ReleaseError naming ``where`` for anything else."""
    if text(value) == "":
        raise ReleaseError(f"{where}: expected a frame number, found an empty cell")
    if not re.fullmatch(r"\d{1,9}", text(value)):
        raise ReleaseError(f"{where}: expected a frame number (0 or more), found {_quoted(value)}")
    if int(text(value)) > FRAMES:
        raise ReleaseError(f"{where}: frame {text(value)}, where no recording has more than {FRAMES:,}")
    return int(text(value))


def match(pattern: str, value: object, where: str, example: str) -> re.Match:
    """A cell that must look like ``example``. Raises ReleaseError naming ``where``."""
    matched = re.fullmatch(pattern, text(value), re.IGNORECASE)
    if matched is None:
        raise ReleaseError(f"{where}: expected something like {example}, found {_quoted(value)}")
    return matched


def _quoted(value: object) -> str:
    quoted = repr(value)
    return (quoted if len(quoted) <= 100 else quoted[:100] + "...") + hint(value)


def hint(value: object) -> str:
    """What to do about a cell that a spreadsheet took for a date; "" for any other."""
    is_date = isinstance(value, date | time)
    return "; Excel made a date of it: format the cell as text and type it again" if is_date else ""
