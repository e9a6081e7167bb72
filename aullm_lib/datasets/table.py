"""The clip table: one row a sample, the same columns for every release.

Index ``clip_id`` = ``dataset/subject/clip``, unique. Columns: ``dataset subject clip`` (text), ``onset apex offset``
(frame numbers of the recording; the apex may be missing), ``n_frames`` (images found), ``emotion`` and ``aus`` (as
annotated), ``frames`` (tuple of paths in temporal order), and one 0/1 column ``AU<number>`` for each AU that occurs.
``table.attrs`` says which files it came from and whether the release is synthetic.
"""

import json
import re
import warnings
from collections.abc import Iterable
from pathlib import Path
from zipfile import BadZipFile

import pandas as pd
from openpyxl.utils.exceptions import InvalidFileException

from aullm_lib import facs

COLUMNS = ["dataset", "subject", "clip", "onset", "apex", "offset", "n_frames", "emotion", "aus", "frames"]
IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}
MARKER = "SYNTHETIC"  # the folder that datasets.synthesize leaves in a release that it wrote


class ReleaseError(ValueError):
    """An annotation that cannot be trusted; the message names the file, the row and the field."""


def au_columns(table: pd.DataFrame) -> list[str]:
    """The label columns, in numerical order."""
    return sorted((c for c in table.columns if re.fullmatch(r"AU\d+", str(c))), key=lambda c: int(c[2:]))


def find(root: Path, pattern: str, what: str) -> Path:
    """The first path at or below ``root`` whose name matches the regular expression, shallowest first, any case.

    Raises FileNotFoundError that says what was looked for, and where.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder (looked for {what}); give the folder of the unpacked release")
    level = [root]
    for _ in range(4):  # archives nest their own name up to twice
        below = sorted(p for d in level for p in d.iterdir())
        hits = [p for p in below if re.fullmatch(pattern, p.name, re.IGNORECASE)]
        if hits:
            return hits[-1]  # of several dated workbooks, the latest
        level = [p for p in below if p.is_dir() and p.name != MARKER]
    raise FileNotFoundError(f"{root}: found no {what} (a name like {pattern!r}) in it or three folders down")


def unnest(folder: Path, pattern: str) -> Path:
    """``Cropped/Cropped`` -> the inner one: archives often repeat the folder's name, or a variant of it."""
    inner = [p for p in folder.iterdir() if p.is_dir()]
    return inner[0] if len(inner) == 1 and re.fullmatch(pattern, inner[0].name, re.IGNORECASE) else folder


def read_workbook(path: Path, *, header: int | None) -> pd.DataFrame:
    """The first sheet, cells as they are. Raises ReleaseError naming the file if it is not an Excel workbook."""
    try:
        return pd.read_excel(path, header=header, dtype=object, engine="openpyxl")
    except (BadZipFile, InvalidFileException, KeyError, ValueError) as error:
        raise ReleaseError(f"{path}: not a readable Excel workbook ({error})") from None


def clip_folder(root: Path, subjects: tuple[str, ...], clip: str, *, where: str) -> Path:
    """The frame folder of a clip, under whichever of the names ``subjects`` its subject folder has."""
    paths = [inside(root, subject, clip, where=where) for subject in subjects]
    for path in paths:
        if path.is_dir():
            return path
    raise ReleaseError(f"{where}: no frame folder {paths[0]}; check the clip's name, or unpack its frames there")


def number(value: object, where: str) -> int:
    """A frame number from a cell. Raises ReleaseError naming ``where`` for anything but a whole number."""
    try:
        result = int(str(value).strip().removesuffix(".0"))
    except ValueError:
        raise ReleaseError(f"{where}: expected a frame number, found {value!r}") from None
    if result < 0:
        raise ReleaseError(f"{where}: frame numbers are not negative, found {value!r}")
    return result


def frames(folder: Path, onset: int, offset: int) -> tuple[Path, ...]:
    """The images of a clip from onset to offset, by the last integer of each file name (``img100`` after ``img46``)."""
    numbered = []
    for path in folder.iterdir():
        digits = re.findall(r"\d+", path.stem)
        if path.suffix.lower() in IMAGES and digits and onset <= int(digits[-1]) <= offset:
            numbered.append((int(digits[-1]), path))
    return tuple(path for _, path in sorted(numbered))


def inside(root: Path, *names: str, where: str) -> Path:
    """``root/names...``, refused if an annotation would lead out of the release's folder."""
    for name in names:
        if not name or name in (".", "..") or re.search(r"[/\\\x00]", name):
            raise ReleaseError(f"{where}: {name!r} is not a plain file name")
    path = root.joinpath(*names)
    if not path.resolve().is_relative_to(root.resolve()):
        raise ReleaseError(f"{where}: {path} leads out of {root}")
    return path


def finish(rows: Iterable[dict], *, dataset: str, root: Path, **attrs) -> pd.DataFrame:
    """Rows of ``COLUMNS`` (without ``dataset`` and ``n_frames``) plus ``units``, the parsed AUs -> the clip table.

    root: the folder of the workbook, where a synthetic release has its marker. Clips with fewer images than their
    onset and offset say are a warning.
    """
    records = []
    for row in rows:
        units = {unit.number for unit in row["units"]}
        records.append(
            {c: row[c] for c in COLUMNS if c in row}
            | {"dataset": dataset, "n_frames": len(row["frames"])}
            | {f"AU{n}": 1 for n in units}
        )
    if not records:
        raise ReleaseError(f"{attrs.get('workbook', root)}: no annotated clip in it")
    table = pd.DataFrame(records)
    labels = au_columns(table)
    table[labels] = table[labels].fillna(0).astype("int8")
    table["apex"] = table["apex"].astype("Int64")
    table.index = pd.Index(table["dataset"] + "/" + table["subject"] + "/" + table["clip"], name="clip_id")
    marker = root / MARKER / "release.json"
    made = json.loads(marker.read_text()) if marker.is_file() else None
    table = table[COLUMNS + labels]
    table.attrs = {"dataset": dataset, "root": str(root), "synthetic": made is not None, "made": made} | attrs
    check(table)
    short = table[table["n_frames"] < table["offset"] - table["onset"] + 1]
    if len(short):
        clip = short.iloc[0]
        warnings.warn(
            f"{dataset}: {len(short)} clips lack frames between onset and offset, first {short.index[0]} with "
            f"{clip['n_frames']} of {clip['offset'] - clip['onset'] + 1}; was the archive unpacked whole?",
            stacklevel=4,
        )
    return table


def check(table: pd.DataFrame) -> None:
    """Raises ReleaseError naming the first clip and field that break the schema."""
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        raise ReleaseError(f"the clip table lacks the columns {missing}")
    repeated = table.index[table.index.duplicated()]
    if len(repeated):
        raise ReleaseError(f"clip_id {repeated[0]!r} occurs twice in the clip table")
    for column in ("dataset", "subject", "clip"):
        wrong = [i for i, value in table[column].items() if not isinstance(value, str) or not value]
        if wrong:
            raise ReleaseError(f"{wrong[0]}: {column} is {table.loc[wrong[0], column]}, expected text")
    wrong = table.index[table.index != table["dataset"] + "/" + table["subject"] + "/" + table["clip"]]
    if len(wrong):
        raise ReleaseError(f"clip_id {wrong[0]!r} is not its dataset/subject/clip")
    wrong = table.index[table["n_frames"] != table["frames"].map(len)]
    if len(wrong):
        raise ReleaseError(f"{wrong[0]}: n_frames is not the number of its frames")
    wrong = table.index[table["offset"] < table["onset"]]
    if len(wrong):
        raise ReleaseError(f"{wrong[0]}: offset {table.loc[wrong[0], 'offset']} precedes its onset")
    wrong = table.index[table["n_frames"] == 0]
    if len(wrong):
        raise ReleaseError(f"{wrong[0]}: no image between onset and offset; check the frame folder of that clip")
    for column in au_columns(table):
        wrong = table.index[~table[column].isin((0, 1))]
        if len(wrong):
            raise ReleaseError(f"{wrong[0]}: {column} is {table.loc[wrong[0], column]}, expected 0 or 1")
        if int(column[2:]) not in facs.NAMES:
            raise ReleaseError(f"{column}: FACS has no such action unit")
