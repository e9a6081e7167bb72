"""Finding a release's workbook and frames wherever its archive was unpacked.

Archives nest their own folder once or twice, lie beside other releases and are renamed by those who copy them; nothing
here depends on where in the root something lies, nor on upper or lower case.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aullm_lib.datasets.archive import ClipFolders, folders, has_images, is_file
from aullm_lib.datasets.cells import ReleaseError, Row, read_sheet

DEPTH = 5  # levels of folders, the root's own included, in which a workbook or a frame folder is looked for

Identity = tuple[str, str, Sequence[tuple[str, ...]]]  # subject, clip, keys of its frame folder (ClipFolders.take)

FULL = 0.9  # of the most clips that any frame folder holds: a few missing ones do not make another kind of frames


@dataclass(frozen=True)
class Found:
    """The parts of a release that were taken, and what else was there."""

    workbook: Path
    rows: list[Row]
    kind: str  # of the frames, one of the choices
    folders: ClipFolders
    passed_over: Sequence[str] = ()  # other workbooks and frame folders, relative to the root
    instead: str = ""  # why it is not the kind that is preferred


def find(
    root: Path,
    title: str,
    *,
    workbook: str,
    columns: Mapping[str, str],
    inner: str,
    clips: Callable[[Path], ClipFolders],
    identify: Callable[[Row], Identity],
    kinds: Mapping[str, str],
    wanted: str | None = None,
    sheet: str | None = None,
    deep: int = 1,
) -> Found:
    """The workbook and the frames of a release.

    workbook: regular expression of its file name, in any case; the shallowest counts, of several the last by name.
    columns, sheet: see ``read_sheet``. inner: regular expression of the folders that a frame folder directly contains;
    their images lie up to ``deep`` folders down. clips: a frame folder -> its clip folders. identify: a row -> its
    subject, clip and keys.
    kinds: kind of frames -> regular expression of the name that tells it, of the folder or the nearest one around it;
    "" takes what no other name tells. wanted: one kind alone.
    Of the frame folders that hold nearly as many of the sheet's clips as any (FULL), the one nearest to the workbook is
    taken, then the first of the kinds, the fullest, the shallowest, the one with the release's name in its path.
    Raises ValueError for an unknown kind, FileNotFoundError where there is no workbook or frame folder, ReleaseError
    for a workbook that cannot be used.
    """
    if wanted is not None and wanted not in kinds:
        raise ValueError(f"images={wanted!r}: choose one of {', '.join(kinds)} (or None for the fullest one there)")
    tree = _scan(root, f"{title} workbook", inner, deep)
    books = [(len(path.parts), path) for folder in tree for path in _files(folder, workbook)]
    if not books:
        raise FileNotFoundError(
            f"{root}: found no {title} workbook (a file named like {workbook!r}) in it or {DEPTH - 1} folders down; "
            "give the folder that holds the workbook and the frames"
        )
    level = min(books)[0]
    book = max((path for depth, path in books if depth == level), key=lambda path: path.name.casefold())  # dates sort
    rows, keys = read_sheet(book, columns, sheet=sheet), []
    for row in rows:
        try:
            keys.append(identify(row)[2])
        except ReleaseError:
            continue  # told where the table is made
    order, name = list(kinds), re.sub(r"\W", "", title).casefold()
    ranked = []
    for folder, subjects in tree.items():
        kind = _kind(folder, root, kinds) if subjects else None
        if kind is not None and wanted in (None, kind):
            found, below = clips(folder), folder.relative_to(root)
            near = len(os.path.commonpath([folder, book.parent]))
            later = (-found.holds(keys), len(below.parts), name not in str(below).casefold())
            ranked.append(((-near, order.index(kind), *later), str(below), kind, found))
    if not ranked:
        names = " or ".join(repr(kinds[k]) for k in kinds if wanted in (None, k) and kinds[k])
        raise FileNotFoundError(
            f"{root}: found no {title} frame folder{f' ({wanted})' if wanted else ''}: no folder"
            f"{names and f' named like {names}'} that holds folders named like {inner!r}; unpack the frames beside the "
            "workbook"
        )
    most = max(-rank[2] for rank, *_ in ranked)
    ranked.sort(key=lambda candidate: (-candidate[0][2] < FULL * most, *candidate[:2]))
    over = [path for _, path in books if path != book] + [found.root for *_, found in ranked[1:]]
    passed_over = sorted(path.relative_to(root).as_posix() for path in over)
    (rank, inside, kind, found), instead = ranked[0], ""
    first = min(ranked, key=lambda candidate: (not candidate[0][2], order.index(candidate[2]), candidate[0]))
    if first[2] != kind:
        instead = (
            f"took the {kind} frames in {inside}, with {-rank[2]} of the sheet's clips, not the {first[2]} ones in "
            f"{first[1]}, with {-first[0][2]}; images={first[2]!r} takes those"
        )
    return Found(book, rows, kind, found, passed_over, instead)


def _scan(root: Path, what: str, inner: str, deep: int) -> dict[Path, bool]:
    """The folders in which something may lie, level by level from the root; whether each holds subjects' folders.

    Subjects' folders with images are not entered: there are thousands of folders in them.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder (looked for {what}); give the folder of the unpacked release")
    try:
        os.scandir(root).close()
    except PermissionError:
        raise PermissionError(f"{root}: you may not list this folder (looked for {what})") from None
    tree: dict[Path, bool] = {}
    seen: set[str] = set()  # a link may lead back
    level = [root]
    for _ in range(DEPTH):
        below: list[Path] = []
        for folder in level:
            if (real := os.path.realpath(folder)) in seen:
                continue
            seen.add(real)
            inside = folders(folder)
            subjects = {path for path in inside if re.fullmatch(inner, path.name, re.IGNORECASE)}
            tree[folder] = bool(subjects)
            full = any(has_images(path, deep) for path in subjects)
            below += [path for path in inside if not (full and path in subjects)]
        level = below
    return tree


def _files(folder: Path, pattern: str) -> list[Path]:
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    return [path for path in paths if re.fullmatch(pattern, path.name, re.IGNORECASE) and is_file(path)]


def _kind(folder: Path, root: Path, kinds: Mapping[str, str]) -> str | None:
    for name in (folder.name, *(p.name for p in folder.parents if p.is_relative_to(root))):
        for kind, pattern in kinds.items():
            if pattern and re.fullmatch(pattern, name, re.IGNORECASE):
                return kind
    return next((kind for kind, pattern in kinds.items() if not pattern), None)
