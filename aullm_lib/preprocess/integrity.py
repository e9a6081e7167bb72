"""The integrity report: everything odd about a release on disk, compared with what is documented of it.

A published score rests on a list of clips. Copies of these releases differ in rows, in frames and in how their
annotations were read, and the same frames under two names are a leak between folds. The report stops no run: a
researcher reads it and decides.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, combinations, groupby
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from tqdm.auto import tqdm

from aullm_lib import facs, metrics
from aullm_lib.clips import ClipStore
from aullm_lib.datasets import documented, folders
from aullm_lib.datasets.table import Release
from aullm_lib.datasets.workbook import ReleaseError
from aullm_lib.facs import au_columns
from aullm_lib.support.frame_files import file_of, read
from aullm_lib.support.images import BadImage, contents, inspect

FRAMES = 6  # that the model samples (paper 3.1); shorter clips repeat some
CROWD = 10  # clips that share a frame, above which its pairs, which grow with the square, are not listed
SHOWN = 10  # findings of one kind in ``summary``
COLUMNS = ["check", "item", "found", "expected", "status", "detail"]


class _File(NamedTuple):
    """One frame: a digest of its file's bytes, or its pixels in a video; its size in pixels; what is wrong with it."""

    digest: str
    size: str
    problem: str


def stored(store: ClipStore) -> dict[str, Any]:
    """What a clip store holds, as a column of a table."""
    return {
        "clips": len(store), "left out": len(store.failed), "remarks": len(store.remarks),
        "align": store.info["settings"]["align"], "frames": len(store.frames),
        "megabytes": round(store.frames.nbytes / 1e6, 1),
    }  # fmt: skip


def in_words(store: ClipStore, findings: pd.DataFrame) -> str:
    """What is in a clip store, and how many warnings its release's ``report`` has."""
    name = "Synthetic " * store.release["synthetic"] + documented.TITLES[store.release["dataset"]]
    return (
        f"{name}: {len(store)} clips of {store.table['subject'].nunique()} subjects are stored, "
        f"{len(store.failed)} left out; the integrity report has {(findings['status'] == 'warning').sum()} warnings."
    )


def report(release: Release, store: ClipStore | None = None) -> pd.DataFrame:
    """Checks a release.

    Args:
        release: from ``datasets.read``; every image file of it is read once and hashed, not decoded, and every video
            is decoded once.
        store: its clip store, if one was built, whose failed clips are then reported too.

    Returns:
        One row per finding: ``check item found expected status detail``. ``status`` is "ok", "note" (worth knowing) or
        "warning" (differs from what is documented, or cannot be trusted). A check that found nothing odd has one row
        that says so.
    """
    table = release.table
    files = _read(table)
    rows = [
        *_source(release),
        *_counts(release),
        *_labels(release),
        *_numbers(table),
        *_frames(release),
        *_images(table, files, store),
        *_duplicates(table, files),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def summary(findings: pd.DataFrame) -> pd.DataFrame:
    """The first ``SHOWN`` findings of each check and status, and a row with the number of the others, if there are any.

    Args:
        findings: of ``report``.
    """
    groups = findings.groupby(["check", "status"], sort=False)
    rows = [
        row
        for (check, status), group in groups
        for row in (
            *group[COLUMNS].head(SHOWN).itertuples(index=False),
            *[_row(check, f"and {len(group) - SHOWN} more", "", "", status, "see the CSV file")][: len(group) > SHOWN],
        )
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(check: str, item: object, found: object, expected: object = "", status: str = "ok", detail: str = "") -> tuple:
    return check, str(item), found, expected, status, detail


def _against(check: str, item: object, found: int, expected: int | None, detail: str = "") -> tuple:
    differs = expected is not None and found != expected
    return _row(check, item, found, "" if expected is None else expected, "warning" if differs else "ok", detail)


def _each(check: str, findings: Iterable[tuple[str, object, str]], status: str) -> Iterator[tuple]:
    """One row per finding (item, found, detail), or one that says there is none."""
    rows = [_row(check, item, found, "", status, detail) for item, found, detail in findings]
    yield from rows or [_row(check, "none", 0)]


def _source(release: Release) -> Iterator[tuple]:
    yield _row("source", "release", release.dataset, detail="synthetic" if release.synthetic else "")
    for name in ("workbook", "folder"):
        yield _row("source", name, getattr(release, name), detail="below the folder that was given")
    if release.sheet:
        yield _row("source", "sheet", release.sheet, detail="of the workbook")
    for remark in release.remarks:
        yield _row("source", "remark", "", status="note", detail=remark)
    for path in release.passed_over:
        yield _row("source", "also there", path, status="note", detail="a workbook or frame folder that was not taken")
    for name, value in release.options.items():
        yield _row("source", name, str(value), detail=release.instead if name == "images" else "")
    yield from _each("row left out", (("", 1, reason) for reason in release.left_out), "warning")
    applied = (line.split(": ", 1) for line in release.applied)
    yield from _each("erratum applied", ((clip, 1, change) for clip, change in applied), "note")
    yield from _each("cell not used", (("", 1, reason) for reason in release.notes), "note")
    unlabelled = ((name, 1, "has frames, no annotation") for name in release.unlabelled)
    yield from _each("folder without a row", unlabelled, "note")


def _counts(release: Release) -> Iterator[tuple]:
    table, counts = release.table, documented.counts(release.dataset, release.version)
    by_subject = table["subject"].value_counts()
    if release.synthetic:
        counts = None  # a synthetic release is as large as it was asked to be
    yield _against("clips", "all", len(table), counts.clips if counts else None, counts.source if counts else "")
    yield _against("subjects", "with clips", len(by_subject), counts.subjects if counts else None)
    if counts and counts.note:
        yield _row("documented", "note", "", "", "note", counts.note)
    expected = dict(counts.by_subject) if counts else {}
    for subject in sorted({*by_subject.index, *expected}):
        clips = int(by_subject.get(subject, 0))
        yield _against("clips of a subject", subject, clips, expected.get(subject, 0) if expected else None)
    labels = table[au_columns(table)].sum()
    positives = counts.positives if counts else {}
    for n in sorted({int(name[2:]) for name in labels.index} | set(positives)):
        clips = int(labels.get(f"AU{n}", 0))
        yield _against("positive clips", f"AU{n}", clips, positives.get(n), facs.NAMES.get(n, ""))


def _labels(release: Release) -> Iterator[tuple]:
    table = release.table
    remarks = ((i, len(words), ", ".join(words)) for i, text in table["aus"].items() if (words := facs.remarks(text)))
    yield from _each("remark in an AU cell", remarks, "note")
    scored = facs.BENCHMARK.get(release.dataset)
    counts = documented.counts(release.dataset, release.version)
    over = "the AUs of the paper"
    if scored is None:
        if counts is None:
            return
        scored = tuple(counts.positives)
        over = f"the documented AUs of this release: {', '.join(map(str, scored))}"
    labels = table.reindex(columns=[f"AU{n}" for n in scored], fill_value=0)
    empty = list(table.index[labels.sum(axis=1) == 0])
    expected = None if counts is None or release.synthetic else counts.empty
    differs = expected is not None and len(empty) != expected
    yield _row(
        "clips without a benchmark AU", "all", len(empty), "" if expected is None else expected,
        "warning" if differs else "note" if empty else "ok",
        f"kept, as all-zero rows: {_some(empty)}; over {over}" if empty else f"over {over}",
    )  # fmt: skip
    negative = metrics.trivial_of_counts(labels.sum().to_dict(), len(table))["always-negative"]
    yield _row(
        "always-negative classifier", "two-class macro F1 (%)", round(100 * negative.loc["mean", "f1_macro"], 2), "",
        "note", f"what it scores on these labels, over {over}",
    )  # fmt: skip


def _numbers(table: pd.DataFrame) -> Iterator[tuple]:
    apex = table["apex"]
    missing = table.index[apex.isna()]
    outside = table.index[((apex < table["onset"]) | (apex > table["offset"])).fillna(False)]
    yield from _each("apex missing", ((i, 1, "") for i in missing), "note")
    yield from _each(
        "apex outside onset and offset",
        ((i, int(apex[i]), f"onset {table.loc[i, 'onset']}, offset {table.loc[i, 'offset']}") for i in outside),
        "warning",
    )
    at_onset = table.index[(apex == table["onset"]).fillna(False)]
    yield from _each("apex at the onset", ((i, int(apex[i]), "") for i in at_onset), "note")


def _frames(release: Release) -> Iterator[tuple]:
    table, whole = release.table, release.whole_recordings  # then a folder holds more than the clip
    missing, extra, renumbered, twice = [], [], [], []
    listed: dict[Path, tuple[dict[int, Path], list[str]]] = {}  # several clips may share a recording
    for clip_id, row in table.iterrows():
        wanted = set(range(row["onset"], row["offset"] + 1))
        folder = row["frames"][0].parent
        if folder not in listed:
            listed[folder] = _numbered(folder)
        images, doubled = listed[folder]
        taken = set(row["frames"])
        numbers = {number for number, path in images.items() if path in taken}
        names = [name for name in doubled if not whole or folders.frame_number(name) in wanted]
        if names:
            twice.append(
                (clip_id, len(names), f"not used, another image has the number or the usual name: {_some(names)}")
            )
        if folders.renumbered(numbers, row["onset"], row["offset"]):
            short = len(wanted) - len(numbers)
            fewer = f", {short} fewer than the clip has frames; all are taken" if short else ""
            renumbered.append((clip_id, len(numbers), f"its files are numbered anew from 0 or 1{fewer}"))
            continue
        if gap := sorted(wanted - numbers):
            where = "inside the clip" if any(n < max(numbers) and n > min(numbers) for n in gap) else "at its ends"
            missing.append((clip_id, len(gap), f"{where}: {_some(gap)}"))
        if not whole and (beyond := sorted(set(images) - wanted)):
            extra.append((clip_id, len(beyond), f"outside onset and offset, not used: {_some(beyond)}"))
    yield from _each("frames missing", missing, "warning")
    yield from _each("frames extra", extra, "note")
    yield from _each("frames renumbered", renumbered, "note")
    yield from _each("frame number twice", twice, "note")
    short = table.index[table["n_frames"] < FRAMES]
    yield from _each(
        f"clip of fewer than {FRAMES} frames",
        ((i, int(table.loc[i, "n_frames"]), "sampling repeats frames, evenly") for i in short),
        "note",
    )


def _numbered(folder: Path) -> tuple[dict[int, Path], list[str]]:
    try:
        return folders.listed(folder)
    except (OSError, ReleaseError):  # closed, gone or changed since the table was made; reported as unreadable
        return {}, []


def _read(table: pd.DataFrame) -> dict[Path, _File]:
    paths = dict.fromkeys(path for frames in table["frames"] for path in frames)
    clips = [list(clip) for _, clip in groupby(paths, key=lambda path: path.parent)]  # a video is read by one thread
    with ThreadPoolExecutor() as pool:
        inspected = pool.map(lambda clip: [(path, _file(path)) for path in clip], clips)
        return dict(chain.from_iterable(tqdm(inspected, total=len(clips), desc="reading files", unit="clip")))


def _file(path: Path) -> _File:
    try:
        if file_of(path) != path:
            pixels = read(path, rgb=True)
            return _File(
                hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest(), "{1}×{0}".format(*pixels.shape), ""
            )
        content = contents(path)
    except OSError as error:
        return _File("", "", f"{path.name}: unreadable image: {error.strerror or error}")
    except BadImage as error:
        return _File("", "", f"{path.name}: unreadable image: {str(error).removeprefix(f'{path}: ')}")
    digest = hashlib.blake2b(content, digest_size=16).hexdigest() if content else ""
    problem, (width, height) = inspect(content)
    return _File(digest, f"{width}×{height}", f"{path.name}: {problem}" if problem else "")


def _images(table: pd.DataFrame, files: dict[Path, _File], store: ClipStore | None) -> Iterator[tuple]:
    bad = []
    for clip_id, frames in table["frames"].items():
        problems = [files[path].problem for path in frames if files[path].problem]
        if problems:
            bad.append((clip_id, len(problems), problems[0]))
    yield from _each("image unreadable", bad, "warning")
    for size, count in Counter(file.size for file in files.values() if not file.problem).most_common():
        yield _row("image size", size, count, detail="pixels, width × height")
    if store is not None:
        yield from _each("clip left out of the store", ((i, 1, why) for i, why in store.failed.items()), "warning")


def _duplicates(table: pd.DataFrame, files: dict[Path, _File]) -> Iterator[tuple]:
    """Clips that share frames, byte for byte: between subjects that is a leak between folds."""
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for clip_id, frames in table["frames"].items():
        for path in frames:
            if files[path].digest:
                holders[files[path].digest].add(clip_id)
    shared: Counter[tuple[str, str]] = Counter()
    crowded: Counter[str] = Counter()
    for clips in holders.values():
        if len(clips) > CROWD:
            crowded.update(clips)
        else:
            shared.update(combinations(sorted(clips), 2))
    subjects = table["subject"]
    leaks = {pair: n for pair, n in shared.items() if subjects[pair[0]] != subjects[pair[1]]}
    yield from _each(
        "same frames, two subjects",
        ((f"{a} and {b}", n, "a leak between folds: leave one of them out") for (a, b), n in leaks.items()),
        "warning",
    )
    within = {pair: n for pair, n in shared.items() if pair not in leaks}
    yield from _each("same frames, one subject", ((f"{a} and {b}", n, "") for (a, b), n in within.items()), "note")
    many = f"each in more than {CROWD} clips: black or damaged?"
    yield from _each("same frames, many clips", ((i, crowded[i], many) for i in table.index if crowded[i]), "warning")


def _some(items: list) -> str:
    names = [str(item) for item in items[:8]]
    return ", ".join(names) + (f" and {len(items) - 8} more" if len(items) > 8 else "")
