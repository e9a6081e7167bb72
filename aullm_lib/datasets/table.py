"""The clip table: one row per sample, the same columns for every release.

The index ``clip_id`` is ``dataset/subject/clip`` and unique. Columns:

    dataset subject clip: text.
    onset apex offset: frame numbers of the recording; the apex may be missing.
    n_frames: number of images found.
    emotion aus: as annotated.
    frames: tuple of paths in temporal order.
    synthetic rendered cropped: the same for every clip of a release: whether its workbook or its frames come from
        ``datasets.synthesize``, whether its frames do, and whether its frames are face crops.
    source: the same for every clip of a release: JSON text with the options that it was read with, and with the
        settings of a synthetic release ("made"), which part of it alone is synthetic ("only"), and how many clips are
        read from videos ("videos").
    AU<number>: 0 or 1, one column for each AU that occurs.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from aullm_lib import facs
from aullm_lib.datasets import documented, folders, workbook
from aullm_lib.datasets.contents import describe
from aullm_lib.datasets.errata import MISSING, correct
from aullm_lib.datasets.folders import DEPTH, MARKER, Identity, Sources
from aullm_lib.datasets.workbook import ReleaseError, Row
from aullm_lib.facs import au_columns
from aullm_lib.support import frame_files

CONSTANT = ["synthetic", "rendered", "cropped", "source"]
COLUMNS = ["dataset", "subject", "clip", "onset", "apex", "offset", "n_frames", "emotion", "aus", "frames", *CONSTANT]

Choice = Callable[[str, tuple[facs.ActionUnit, ...]], Iterable[facs.ActionUnit]]  # clip, all AUs -> those that count


@dataclass(frozen=True)
class Release:
    """A release as it was read: its clip table, where its parts were found, and what was not used."""

    table: pd.DataFrame
    root: Path = Path()  # the folder of the workbook
    workbook: str = ""  # this and the next relative to the folder that was given
    folder: str = ""  # of the frames
    options: Mapping[str, object] = field(default_factory=dict)  # that it was read with
    version: int | None = None  # of CASME II: which of the documented ones the sheet is
    sheet: str = ""  # of the workbook
    whole_recordings: bool = False  # the frame folders hold more than the clips
    applied: Sequence[str] = ()  # errata
    left_out: Sequence[str] = ()  # rows that cannot be trusted, each with the reason
    notes: Sequence[str] = ()  # cells that were not used
    unlabelled: Sequence[str] = ()  # frame folders that no row names
    passed_over: Sequence[str] = ()  # other workbooks and frame folders
    instead: str = ""  # why the frames are not of the preferred kind
    remarks: Sequence[str] = ()  # on how the workbook and the frames were recognised

    @property
    def dataset(self) -> str:
        return self.table["dataset"].iloc[0]

    @property
    def synthetic(self) -> bool:
        return bool(self.table["synthetic"].any())


def rendered(release: Mapping[str, Any]) -> bool:
    """Whether faces and annotations of a release are both known to be rendered, so that nothing of it is licensed.

    Args:
        release: As a clip store (``settings``) or a run (``data``) describes it; of a joined one, every part counts.
    """
    parts = [part["release"] for part in release.get("parts", ())]
    if parts:
        return all(map(rendered, parts))
    return release.get("synthetic") is True and release.get("rendered") is True and "only" not in release


def collect(
    dataset: str,
    sources: Sources,
    identify: Callable[[Row], Identity],
    *,
    root: Path,
    options: Mapping[str, object],
    keep: Callable[[str, str, str], bool] = lambda subject, clip, emotion: True,
    choose: Choice = lambda clip, units: units,
    version: int | None = None,
    whole_recordings: bool = False,
) -> Release:
    """Reads the annotated rows and frame folders that ``folders.find`` found below ``root``.

    A row that cannot be trusted is left out, with the reason in ``left_out``; the others go on.

    Args:
        identify: a row -> its subject, clip and frame folder.
        options: of the adapter; "errata" says whether known errors of the sheet are corrected.
        keep: which clips (subject, clip, emotion) this variant has.
        choose: which of a clip's parsed AUs count.
        version, whole_recordings: see ``Release``.

    Raises:
        ReleaseError: no row can be used; the message has the first reason.
    """
    rows: dict[tuple[str, str], dict] = {}
    left_out: list[str] = []
    applied: list[str] = []
    notes: list[str] = []
    book, clips = sources.workbook, sources.folders
    of_workbook, of_frames = (_made(_marks(root, place)) for place in (book.parent, clips.root))
    only = ""
    if (of_workbook is None) != (of_frames is None):
        only = "workbook" if of_workbook else "frame folder"
        notes.append(f"only the {only} is part of a synthetic release")
    for row in sources.rows:
        try:
            subject, clip, keys = identify(row)
            folder = clips.take(*keys, where=row.where)
            emotion = workbook.text(row["emotion"])
            if workbook.FORMULA.match(emotion):
                notes.append(f"{row.at('emotion')}: the formula {emotion!r}; taken for missing")
                emotion = ""
            if not keep(subject, clip, emotion):
                continue
            log: list[str] = []
            unused: list[str] = []
            row = correct(dataset, subject, row, log) if options["errata"] else row
            record = _read(row, folder, clips.root, unused)
            key = subject.casefold(), clip.casefold()
            if key in rows:
                spelled = "" if rows[key]["clip"] == clip else f" as {rows[key]['clip']}, one frame folder with it"
                raise ReleaseError(
                    f"{row.where}: clip {subject}/{clip} is there already{spelled}, from {rows[key]['where']}"
                )
            record["units"] = tuple(choose(clip, record["units"]))
            rows[key] = record | {"subject": subject, "clip": clip, "emotion": emotion, "where": row.where}
            applied += log
            notes += unused
        except ReleaseError as error:
            left_out.append(str(error))
    if not rows:
        raise ReleaseError(left_out[0] if left_out else f"{book}: no clip of this variant in it")
    made = of_frames or of_workbook
    firsts = [row["frames"][0] for row in rows.values()]
    videos = [path for first in firsts if (path := frame_files.file_of(first)) != first]
    remarks = list(sources.remarks)
    if videos:
        remarks.append(
            f"{len(videos)} clips are read from videos, such as {videos[0].relative_to(root)}: compressed, so not the "
            "pixels of the release's images"
        )
    table = from_rows(
        rows.values(),
        dataset,
        cropped=sources.kind == "cropped",
        synthetic=made is not None,
        rendered=of_frames is not None,
        source=dict(options)
        | ({"made": made} if made else {})
        | ({"only": only} if only else {})
        | ({"videos": len(videos)} if videos else {}),
    )
    return Release(
        table,
        root=book.parent,
        workbook=book.relative_to(root).as_posix(),
        sheet=sources.sheet,
        folder=clips.root.relative_to(root).as_posix(),
        options=options,
        version=version,
        whole_recordings=whole_recordings,
        applied=applied,
        left_out=left_out,
        notes=notes,
        unlabelled=clips.unlabelled(),
        passed_over=sources.passed_over,
        remarks=remarks,
        instead=sources.instead,
    )


def _marks(root: Path, place: Path) -> list[Path]:
    """Where a synthetic release has its marker: in a place or a folder around it up to the root; behind a link that
    leads out of the root, in the folders around its target."""
    around = [folder for folder in (place, *place.parents) if folder.is_relative_to(root)]
    real = place.resolve()
    return around if real.is_relative_to(root.resolve()) else [*around, *[real, *real.parents][:DEPTH]]


def _read(row: Row, folder: Path, root: Path, notes: list[str]) -> dict:
    """The numbers, AUs and frames of one row; cells that are not used are added to ``notes``. Raises ReleaseError."""
    onset, offset = (workbook.number(row[name], row.at(name)) for name in ("onset", "offset"))
    if offset < onset:
        raise ReleaseError(f"{row.at('offset')}: offset {offset} precedes its onset {onset}")
    apex = None
    if workbook.text(row["apex"]) not in MISSING:
        try:
            apex = workbook.number(row["apex"], row.at("apex"))
        except ReleaseError as error:  # nothing is trained on the apex
            notes.append(f"{error}; taken for missing")
    try:
        units = facs.parse_aus(row["aus"])
    except ValueError as error:
        raise ReleaseError(f"{row.at('aus')}: {error}{workbook.hint(row['aus'])}") from None
    try:
        frames = folders.frames(folder, onset, offset)
    except OSError as error:
        raise ReleaseError(f"{row.where}: {folder} cannot be listed ({error.strerror})") from None
    links = {path for path in frames if path.is_symlink()}
    for path in links:
        folders.check_inside(path, root, row.where)
    frames = tuple(path for path in frames if path not in links or folders.is_file(path))  # no broken links
    if not frames:
        there, other_forms = describe(folder, [folder])
        hint = there if other_forms else "check that frame folder"
        raise ReleaseError(f"{row.where}: no image from {onset} to {offset} in {folder}; {hint}")
    text = workbook.text(row["aus"]).lstrip("+")  # which a spreadsheet would take for a formula
    return {"onset": onset, "apex": apex, "offset": offset, "aus": text, "frames": frames, "units": units}


def from_rows(
    rows: Iterable[dict],
    dataset: str,
    *,
    cropped: bool,
    synthetic: bool = False,
    rendered: bool = False,
    source: Mapping[str, object] | None = None,
) -> pd.DataFrame:
    """Makes a clip table from dictionaries of its columns; "units" has a clip's parsed AUs. Checks the schema."""
    constant = {"dataset": dataset, "synthetic": synthetic, "rendered": rendered, "cropped": cropped}
    constant["source"] = json.dumps(source or {})
    table = pd.DataFrame(
        {c: row[c] for c in COLUMNS if c in row}
        | {"n_frames": len(row["frames"])}
        | constant
        | {f"AU{unit.number}": 1 for unit in row["units"]}
        for row in rows
    )
    labels = au_columns(table)
    table[labels] = table[labels].fillna(0).astype("int8")
    table["apex"] = table["apex"].astype("Int64")
    table.index = pd.Index(table["dataset"] + "/" + table["subject"] + "/" + table["clip"], name="clip_id")
    table = table[COLUMNS + labels]
    check(table)
    return table


def _made(places: Iterable[Path]) -> dict | None:
    """How a synthetic release was made, from the first marker that there is; None for any other release."""
    marker = next((path for place in places if folders.is_file(path := place / MARKER / "release.json")), None)
    try:
        return None if marker is None else json.loads(marker.read_text())
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{marker}: not a readable marker of a synthetic release ({error})") from None


def warnings_of(release: Release) -> list[str]:
    """What to warn a user of: rows left out, missing frames, a number of clips that is not documented."""
    table, name, messages = release.table, release.dataset, []
    if release.instead:
        messages.append(f"{name}: {release.instead}")
    count = len(release.left_out)
    if count:
        rest = f" (the first of {count} rows left out)" if count > 1 else " (row left out)"
        messages.append(f"{name}: {release.left_out[0]}{rest}")
    short = table[table["n_frames"] < table["offset"] - table["onset"] + 1]
    if len(short):
        clip = short.iloc[0]
        messages.append(
            f"{name}: {len(short)} clips lack frames between onset and offset, first {short.index[0]} with "
            f"{clip['n_frames']} of {clip['offset'] - clip['onset'] + 1}; was the archive unpacked whole?"
        )
    counts = documented.counts(release.dataset, release.version)
    if counts and len(table) != counts.clips and (not release.synthetic or release.options.get("variant")):
        messages.append(
            f"{name}: {len(table)} clips where {counts.source} has {counts.clips}; scores then compare with nobody's"
        )
    return messages


def check(table: pd.DataFrame) -> None:
    """Checks the schema. Raises ReleaseError naming the first clip and field that break it."""
    missing = [c for c in COLUMNS if c not in table]
    if missing:
        raise ReleaseError(f"the clip table lacks the columns {missing}")

    def refuse(wrong: pd.Series | np.ndarray, problem: str, column: str = "") -> None:
        if np.any(wrong):
            first = table.iloc[int(np.argmax(wrong))]
            raise ReleaseError(f"{first.name}: {f'{column} is {first[column]}, ' if column else ''}{problem}")

    refuse(table.index.duplicated(), "this clip_id occurs twice in the clip table")
    for column in ("dataset", "subject", "clip"):
        text = table[column].map(lambda value: isinstance(value, str) and value != "")
        refuse(~text, "expected text", column)
    names = table["dataset"] + "/" + table["subject"] + "/" + table["clip"]
    refuse(table.index != names, "this clip_id is not its dataset/subject/clip")
    refuse(table["n_frames"] != table["frames"].map(len), "not the number of its frames", "n_frames")
    refuse(table["offset"] < table["onset"], "before its onset", "offset")
    refuse(table["n_frames"] == 0, "no image between onset and offset; check the frame folder of that clip")
    for column in au_columns(table):
        refuse(~table[column].isin((0, 1)), "expected 0 or 1", column)
        if int(column[2:]) not in facs.NAMES:
            raise ReleaseError(f"{column}: FACS has no such action unit")
