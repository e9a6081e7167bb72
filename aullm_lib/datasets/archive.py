"""Finding a release's workbook and frames wherever its archive was unpacked, and reading single cells and names.

Archives nest their own folder once or twice, are renamed by those who copy them, and carry what an operating system
leaves behind; nothing here depends on where in the root something lies, nor on upper or lower case. A name that comes
from a workbook is never joined to a path: it is looked up among the folders that are there.
"""

import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import openpyxl

IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}
MARKER = "SYNTHETIC"  # the folder that datasets.synthesize leaves in a release that it wrote
DEPTH = 5  # folders below the root in which a workbook or a frame folder is looked for
HEADER_ROWS = 40  # of a sheet, in which its header is looked for: SAMM's is the 14th


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


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; without hidden ones and what is no part of a release."""
    with os.scandir(folder) as entries:
        names = [e.name for e in entries if e.is_dir() and not e.name.startswith((".", "__MACOSX"))]
    return [folder / name for name in sorted(names) if name != MARKER]


def _levels(root: Path, what: str, inner: str) -> Iterable[list[Path]]:
    """The root, then the folders below it level by level; what matches ``inner`` (subjects) is not entered."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder (looked for {what}); give the folder of the unpacked release")
    level = [root]
    for _ in range(DEPTH):
        yield level
        level = [p for f in level if not re.fullmatch(inner, f.name, re.IGNORECASE) for p in folders(f)]


def find_workbook(root: Path, pattern: str, what: str, *, inner: str) -> Path:
    """The shallowest file whose name matches the regular expression, in any case; of several, the last by name.

    inner: regular expression of the subject folders' names, in which no workbook is looked for.
    Raises FileNotFoundError that says what was looked for, and where.
    """
    for level in _levels(root, what, inner):
        hits = [p for f in level for p in f.iterdir() if re.fullmatch(pattern, p.name, re.IGNORECASE) and p.is_file()]
        if hits:
            return max(hits, key=lambda path: path.name.casefold())  # the dates in the names sort
    raise FileNotFoundError(
        f"{root}: found no {what} (a file named like {pattern!r}) in it or {DEPTH - 1} folders down; "
        "give the folder that holds the workbook and the frames"
    )


def find_frames(
    root: Path, choices: Mapping[str, str], wanted: str | None, what: str, *, inner: str
) -> tuple[str, Path]:
    """Which kind of frames there is, and the folder of its subjects: ``("cropped", root/Cropped/Cropped)``.

    choices: kind -> regular expression of the name that tells it, of the folder or the nearest one around it, in order
    of preference; "" takes what no other name tells. wanted: one kind alone. inner: regular expression of the folders
    that the wanted folder directly contains.
    Raises ValueError for an unknown kind, FileNotFoundError if there is none.
    """
    if wanted is not None and wanted not in choices:
        raise ValueError(f"images={wanted!r}: choose one of {', '.join(choices)} (or None for the first that is there)")
    found: dict[str, Path] = {}
    for level in _levels(root, what, inner):
        for folder in level:
            if any(re.fullmatch(inner, p.name, re.IGNORECASE) for p in folders(folder)):
                kind = _kind(folder, root, choices)
                if kind is not None:
                    found.setdefault(kind, folder)
    for kind in choices if wanted is None else (wanted,):
        if kind in found:
            return kind, found[kind]
    names = " or ".join(repr(choices[k]) for k in choices if wanted in (None, k) and choices[k])
    raise FileNotFoundError(
        f"{root}: found no {what}{f' ({wanted})' if wanted else ''}: no folder{names and f' named like {names}'} "
        f"that holds folders named like {inner!r}; unpack the frames beside the workbook"
    )


def _kind(folder: Path, root: Path, choices: Mapping[str, str]) -> str | None:
    for name in (folder.name, *(p.name for p in folder.parents if p.is_relative_to(root))):
        for kind, pattern in choices.items():
            if pattern and re.fullmatch(pattern, name, re.IGNORECASE):
                return kind
    return next((kind for kind, pattern in choices.items() if not pattern), None)


class ClipFolders:
    """The clip folders of a release by their keys (lower-case names); remembers which were asked for."""

    def __init__(self, root: Path, found: Iterable[tuple[tuple[str, ...], Path]]):
        self.root, self._paths, self._twice = root, dict[tuple[str, ...], Path](), dict[tuple[str, ...], Path]()
        for names, path in found:
            key = tuple(name.casefold() for name in names)
            if key in self._paths:
                self._twice[key] = path
            self._paths.setdefault(key, path)
        self._asked: set[Path] = set()

    def take(self, *keys: tuple[str, ...], where: str) -> Path:
        """The folder under the first key that there is. Raises ReleaseError naming ``where`` if none is, if two are,
        or if it is a link that leads out of the release."""
        for key in keys:
            for name in key:
                if not name or name in (".", "..") or re.search(r"[/\\\x00]", name):
                    raise ReleaseError(f"{where}: {name!r} is not a plain file name")
        for key in keys:
            folded = tuple(name.casefold() for name in key)
            if folded in self._twice:
                raise ReleaseError(f"{where}: two frame folders, {self._paths[folded]} and {self._twice[folded]}")
            if folded in self._paths:
                path = self._paths[folded]
                stay(path, self.root, where)
                self._asked.add(path)
                return path
        raise ReleaseError(
            f"{where}: no frame folder {'/'.join(keys[0])} below {self.root}; check the clip's name, or unpack its "
            "frames there"
        )

    def unlabelled(self) -> list[str]:
        """Folders that no row of the sheet asked for, relative to the root."""
        rest = set(self._paths.values()) | set(self._twice.values())
        return sorted(str(path.relative_to(self.root)) for path in rest - self._asked)


def stay(path: Path, root: Path, where: str) -> None:
    """Raises ReleaseError if a path, its links followed, leads out of the release's folder."""
    if not path.resolve().is_relative_to(root.resolve()):
        raise ReleaseError(f"{where}: {path} is a link that leads out of {root}; copy the files there instead")


def frame_number(name: str) -> int | None:
    """The last integer of a file name's stem: 46 for ``reg_img46.jpg``, 73 for ``EP01_12-73.jpg``."""
    digits = re.findall(r"\d+", name.rpartition(".")[0])
    return int(digits[-1]) if digits else None


def images(folder: Path) -> dict[int, Path]:
    """The numbered images of a folder in numerical order (``img100`` after ``img46``); of two with one number, the
    first by name."""
    found: dict[int, Path] = {}
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if not e.name.startswith("."))
    for name in names:
        number = frame_number(name)
        if number is not None and Path(name).suffix.lower() in IMAGES:
            found.setdefault(number, folder / name)
    return dict(sorted(found.items()))


def frames(folder: Path, onset: int, offset: int) -> tuple[Path, ...]:
    """The images of a clip from onset to offset.

    Some copies number each clip's images anew from 0 or 1: where no number fits and their count does, all are taken.
    """
    found = images(folder)
    chosen = tuple(path for number, path in found.items() if onset <= number <= offset)
    if not chosen and found and min(found) <= 1 and len(found) == offset - onset + 1:
        return tuple(found.values())
    return chosen


def read_sheet(path: Path, columns: Mapping[str, str], *, sheet: str | None = None) -> list[Row]:
    """The rows of a workbook below its header, by field; blank rows are left out.

    columns: field -> the column's name, compared without regard to case, blanks and punctuation; the header is the
    row that names most of them, wherever it stands. sheet: its name; the first sheet where there is none of that name.
    Raises ReleaseError naming the file if it is no workbook or lacks a column.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # openpyxl's, about styles and validations that it does not keep
            with path.open("rb") as file:
                book = openpyxl.load_workbook(file, read_only=True)  # formulas stay formulas, for the checks to refuse
                names = {page.title.strip().casefold(): page for page in book.worksheets}
                page = names.get((sheet or "").casefold(), book.worksheets[0])
                page.reset_dimensions()  # some programs write a wrong one
                cells = [list(line) for line in page.iter_rows(values_only=True)]
    except Exception as error:  # a damaged workbook raises whatever its part of zipfile, XML or openpyxl raises
        raise ReleaseError(f"{path}: not a readable Excel workbook ({error or type(error).__name__})") from None
    width = max(map(len, cells), default=0)
    cells = [line + [None] * (width - len(line)) for line in cells]
    wanted = {field: _plain(name) for field, name in columns.items()}
    tops = [[_plain(value) for value in line] for line in cells[:HEADER_ROWS]]
    header = max(tops, key=lambda names: len(set(names) & set(wanted.values())), default=[])
    if len(set(header) & set(wanted.values())) < 2:
        raise ReleaseError(
            f"{path.name}: no header row: none of its first {HEADER_ROWS} rows names {list(columns.values())}"
        )
    top = tops.index(header)
    position = {}
    for field, name in wanted.items():
        if name not in header:
            there = [text(value) for value in cells[top] if text(value)]
            near = get_close_matches(columns[field], there, 1)
            hint = f"; is it {near[0]!r}?" if near else ""
            raise ReleaseError(f"{path.name}, row {top + 1}: no column {columns[field]!r}{hint} (found {there})")
        position[field] = header.index(name)
    rows = []
    for line, values in enumerate(cells[top + 1 :], top + 2):
        record = {field: values[at] for field, at in position.items()}
        if any(text(value) for value in record.values()):
            rows.append(Row(record, f"{path.name}, row {line}", columns))
    if not rows:
        raise ReleaseError(f"{path}: no annotated clip in it")
    return rows


def _plain(value: object) -> str:
    return re.sub(r"[\W_]", "", unicodedata.normalize("NFKC", str(value))).casefold()


def text(value: object) -> str:
    """A cell as text, "" for an empty one; a whole number without its decimal point."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def number(value: object, where: str) -> int:
    """A frame number from a cell. Raises ReleaseError naming ``where`` for anything but a whole number from 0 up."""
    if text(value) == "":
        raise ReleaseError(f"{where}: expected a frame number, found an empty cell")
    if not re.fullmatch(r"\d{1,9}", text(value)):
        raise ReleaseError(f"{where}: expected a frame number (0 or more), found {value!r}")
    return int(text(value))


def match(pattern: str, value: object, where: str, example: str) -> re.Match:
    """A cell that must look like ``example``. Raises ReleaseError naming ``where``."""
    found = re.fullmatch(pattern, text(value), re.IGNORECASE)
    if found is None:
        raise ReleaseError(f"{where}: expected something like {example}, found {value!r}")
    return found


def two_deep(root: Path, subject: Callable[[str], str | None]) -> ClipFolders:
    """The clip folders of ``root/<subject>/<clip>``; subject: a folder's name -> its key, None for other folders."""
    found = []
    for folder in folders(root):
        key = subject(folder.name)
        if key is not None:
            found += [((key, clip.name), clip) for clip in folders(folder)]
    return ClipFolders(root, found)
