"""The clip table: one row a sample, the same columns for every release.

Index ``clip_id`` = ``dataset/subject/clip``, unique. Columns: ``dataset subject clip`` (text), ``onset apex offset``
(frame numbers of the recording; the apex may be missing), ``n_frames`` (images found), ``emotion`` and ``aus`` (as
annotated), ``frames`` (tuple of paths in temporal order), and one 0/1 column ``AU<number>`` for each AU that occurs.
``table.attrs`` says which files it came from, which options and errata were applied, which rows had to be left out and
why, which cells were not used, which frame folders no row names, what else lay in the root, and whether the release is
synthetic.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd

from aullm_lib import facs
from aullm_lib.datasets import archive, cells, documented
from aullm_lib.datasets.archive import MARKER
from aullm_lib.datasets.cells import ReleaseError, Row
from aullm_lib.datasets.errata import MISSING, correct
from aullm_lib.datasets.finding import DEPTH, Found, Identity
from aullm_lib.facs import au_columns as au_columns

COLUMNS = ["dataset", "subject", "clip", "onset", "apex", "offset", "n_frames", "emotion", "aus", "frames"]

Choice = Callable[[str, tuple[facs.ActionUnit, ...]], Iterable[facs.ActionUnit]]  # clip, all AUs -> those that count


def collect(
    dataset: str,
    found: Found,
    identify: Callable[[Row], Identity],
    *,
    root: Path,
    errata: bool,
    keep: Callable[[str, str, str], bool] = lambda subject, clip, emotion: True,
    choose: Choice = lambda clip, units: units,
    **attrs: object,
) -> pd.DataFrame:
    """Annotated rows and frame folders, as found below ``root`` -> the clip table.

    A row that cannot be trusted is left out, with the reason in ``attrs["left_out"]``; the others go on.
    identify: a row -> its subject, clip and frame folder. keep: which clips (subject, clip, emotion) this variant has.
    choose: which of a clip's parsed AUs count. attrs: what else to record.
    Raises ReleaseError, with the first reason, if no row can be used.
    """
    rows: dict[tuple[str, str], dict] = {}
    left_out: list[str] = []
    fixed: list[str] = []
    notes: list[str] = []
    folders, workbook = found.folders, found.workbook
    made = [_made(_marks(root, place)) for place in (workbook.parent, folders.root)]
    if (made[0] is None) != (made[1] is None):
        notes.append(f"only the {'workbook' if made[0] else 'frame folder'} is part of a synthetic release")
    for row in found.rows:
        try:
            subject, clip, keys = identify(row)
            folder = folders.take(*keys, where=row.where)
            emotion = cells.text(row["emotion"])
            if not keep(subject, clip, emotion):
                continue
            log: list[str] = []
            said: list[str] = []
            record = _read(correct(dataset, subject, row, log) if errata else row, folder, folders.root, said)
            if (subject, clip) in rows:
                raise ReleaseError(
                    f"{row.where}: clip {subject}/{clip} is there already, from {rows[subject, clip]['where']}"
                )
            record["units"] = tuple(choose(clip, record["units"]))
            rows[subject, clip] = record | {"subject": subject, "clip": clip, "emotion": emotion, "where": row.where}
            fixed += log
            notes += said
        except ReleaseError as error:
            left_out.append(str(error))
    if not rows:
        raise ReleaseError(left_out[0] if left_out else f"{workbook}: no clip of this variant in it")
    return finish(
        rows.values(),
        dataset=dataset,
        root=workbook.parent,
        made=made[0] or made[1],
        rendered=made[1] is not None,
        workbook=_below(workbook, root),
        folder=_below(folders.root, root),
        errata=errata,
        applied=fixed,
        left_out=left_out,
        notes=notes,
        passed_over=list(found.passed_over),
        instead=found.instead,
        unlabelled=folders.unlabelled(),
        **attrs,
    )


def _below(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _marks(root: Path, place: Path) -> list[Path]:
    """Where a synthetic release has its marker: in a place or a folder around it up to the root; behind a link that
    leads out of the root, in the folders around its target."""
    around = [folder for folder in (place, *place.parents) if folder.is_relative_to(root)]
    real = place.resolve()
    return around if real.is_relative_to(root.resolve()) else [*around, *[real, *real.parents][:DEPTH]]


def _read(row: Row, folder: Path, root: Path, notes: list[str]) -> dict:
    """The numbers, AUs and frames of one row; what is not used is told in ``notes``.

    Raises ReleaseError naming the row and the field.
    """
    onset, offset = (cells.number(row[name], row.at(name)) for name in ("onset", "offset"))
    if offset < onset:
        raise ReleaseError(f"{row.at('offset')}: offset {offset} precedes its onset {onset}")
    apex = None
    if cells.text(row["apex"]) not in MISSING:
        try:
            apex = cells.number(row["apex"], row.at("apex"))
        except ReleaseError as error:  # nothing is trained on the apex
            notes.append(f"{error}; taken for missing")
    try:
        units = facs.parse_aus(row["aus"])
    except ValueError as error:
        raise ReleaseError(f"{row.at('aus')}: {error}") from None
    try:
        frames = archive.frames(folder, onset, offset)
    except OSError as error:
        raise ReleaseError(f"{row.where}: {folder} cannot be listed ({error.strerror})") from None
    for path in frames:
        if path.is_symlink():
            archive.stay(path, root, row.where)
    frames = tuple(path for path in frames if not path.is_symlink() or archive.is_file(path))  # no broken links
    if not frames:
        raise ReleaseError(f"{row.where}: no image from {onset} to {offset} in {folder}; check that frame folder")
    written = cells.text(row["aus"])
    return {"onset": onset, "apex": apex, "offset": offset, "aus": written, "frames": frames, "units": units}


def finish(
    rows: Iterable[dict], *, dataset: str, root: Path, made: dict | None = None, **attrs: object
) -> pd.DataFrame:
    """Rows of ``COLUMNS`` (without ``dataset`` and ``n_frames``) plus ``units``, the parsed AUs -> the clip table.

    root: the folder of the workbook. made: how a synthetic release was made; else a marker in the root says it.
    """
    table = pd.DataFrame(
        {c: row[c] for c in COLUMNS if c in row}
        | {"dataset": dataset, "n_frames": len(row["frames"])}
        | {f"AU{unit.number}": 1 for unit in row["units"]}
        for row in rows
    )
    labels = au_columns(table)
    table[labels] = table[labels].fillna(0).astype("int8")
    table["apex"] = table["apex"].astype("Int64")
    table.index = pd.Index(table["dataset"] + "/" + table["subject"] + "/" + table["clip"], name="clip_id")
    made = made or _made([root])
    table = table[COLUMNS + labels]
    table.attrs = {"dataset": dataset, "root": str(root), "synthetic": made is not None, "made": made} | attrs
    check(table)
    return table


def _made(places: Iterable[Path]) -> dict | None:
    """How a synthetic release was made, from the first marker that there is; None for any other release."""
    marker = next((path for place in places if archive.is_file(path := place / MARKER / "release.json")), None)
    try:
        return None if marker is None else json.loads(marker.read_text())
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{marker}: not a readable marker of a synthetic release ({error})") from None


def remarks(table: pd.DataFrame) -> list[str]:
    """What a user of the table must hear: rows left out, clips that lack frames, a number of clips not documented."""
    name, said = table.attrs["dataset"], []
    if table.attrs.get("instead"):
        said.append(f"{name}: {table.attrs['instead']}")
    left_out = table.attrs.get("left_out", [])
    if left_out:
        rest = f" (the first of {len(left_out)} rows left out)" if len(left_out) > 1 else " (row left out)"
        said.append(f"{name}: {left_out[0]}{rest}")
    short = table[table["n_frames"] < table["offset"] - table["onset"] + 1]
    if len(short):
        clip = short.iloc[0]
        said.append(
            f"{name}: {len(short)} clips lack frames between onset and offset, first {short.index[0]} with "
            f"{clip['n_frames']} of {clip['offset'] - clip['onset'] + 1}; was the archive unpacked whole?"
        )
    counts = documented.counts(table)
    if counts and len(table) != counts.clips and (not table.attrs["synthetic"] or table.attrs.get("variant")):
        said.append(
            f"{name}: {len(table)} clips where {counts.source} has {counts.clips}; scores then compare with nobody's"
        )
    return said


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
