"""A release's workbook, clip folders and images, wherever its archive was unpacked.

Archives nest their own folder once or twice, lie beside other releases, carry what an operating system leaves behind,
and are renamed by those who copy them: nothing here depends on where below the root something lies, nor on upper or
lower case; where names do not say what something is, its contents decide. A name that comes from a workbook is never
joined to a path: it is looked up among the folders that exist.
"""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from aullm_lib.datasets.contents import describe
from aullm_lib.datasets.workbook import ReleaseError, Row, Rows, clean, read_sheet
from aullm_lib.support import frame_files
from aullm_lib.support.frame_files import is_video
from aullm_lib.support.images import IMAGES, BadImage
from aullm_lib.support.video import VIDEOS, BadVideo

MARKER = "SYNTHETIC"  # the folder that datasets.synthesize leaves in a release that it wrote
DEPTH = 5  # levels of folders, including the root, in which a workbook or a frame folder is searched
BOOKS = 20  # workbooks that are looked into where none has the release's name
OTHERS = r"depth|flow|mask|^(?!.*micro).*macro"  # in the name of a folder of other images, which are never taken
OTHER = "other"  # their kind
EMOTION = r"anger|contempt|disgust|fear|happiness|negative|others?|positive|repression|sadness|surprise"  # a folder
SEPARATOR = r"(?:[ _.,-]+|(?<=\d)(?=[a-z]))"  # of subject and clip in the name of a flattened folder
FULL = 0.9  # of the most clips that any frame folder holds: a few missing ones do not make another kind of frames

Identity = tuple[str, str, Sequence[tuple[str, ...]]]  # subject, clip, keys of its frame folder (ClipFolders.take)


# The parts of a release


class ClipFolders:
    """The clip folders or videos below a frame folder by their keys (lower-case names); remembers which are asked for.

    An archive may nest each clip's folder or video in one more folder.
    """

    def __init__(self, root: Path, keyed: Iterable[tuple[tuple[str, ...], Path]]):
        self.root, self._paths, self._twice = root, dict[tuple[str, ...], Path](), dict[tuple[str, ...], Path]()
        for names, path in keyed:
            key = _fold(names)
            if key in self._paths:
                self._twice[key] = path
            self._paths.setdefault(key, path)
        self._asked: set[Path] = set()

    def holds(self, clips: Iterable[Sequence[tuple[str, ...]]]) -> int:
        """How many clips, each given by its keys, have a folder with an image in it."""
        paths = Counter(next((self._paths[_fold(k)] for k in keys if _fold(k) in self._paths), None) for keys in clips)
        return sum(count for path, count in paths.items() if path and has_images(_inner(path), closed=True))

    def first(self) -> Path | None:
        """The first clip folder with an image in it, or video."""
        return next((inner for path in self._paths.values() if has_images(inner := _inner(path))), None)

    def take(self, *keys: tuple[str, ...], where: str) -> Path:
        """The folder under the first key that exists.

        Raises:
            ReleaseError: naming ``where``: there is none, there are two, or it is a link out of the release.
        """
        for name in (name for key in keys for name in key):
            if not name or name in (".", "..") or re.search(r"^[=+@-]|[/\\\x00]", name):
                raise ReleaseError(f"{where}: {name!r} is not a plain file name")
        for key in map(_fold, keys):
            if key in self._twice:
                raise ReleaseError(f"{where}: two frame folders, {self._paths[key]} and {self._twice[key]}")
            if key in self._paths:
                self._asked.add(self._paths[key])
                path = _inner(self._paths[key])
                check_inside(path, self.root, where)
                return path
        raise ReleaseError(
            f"{where}: no frame folder {'/'.join(keys[0])} below {self.root}; check the clip's name, or unpack its "
            "frames there"
        )

    def unlabelled(self) -> list[str]:
        """Folders that no row of the sheet asked for, relative to the root."""
        rest = {*self._paths.values(), *self._twice.values()} - self._asked
        return sorted(str(path.relative_to(self.root)) for path in rest)


def _fold(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(clean(name).casefold() for name in names)


def two_deep(root: Path, subject: Callable[[str], str | None]) -> ClipFolders:
    """The clip folders of ``root/<subject>/<clip>``, or of flattened copies, ``root/<subject>_<clip>``.

    Either may lie in folders by emotion.

    Args:
        subject: a folder's name -> its key, None for other folders.
    """
    keyed: list[tuple[tuple[str, ...], Path]] = []
    emotions = [path for name, path in places(root) if re.fullmatch(EMOTION, name, re.IGNORECASE)]
    for name, path in [place for folder in (root, *emotions) for place in places(folder)]:
        if (key := subject(name)) is not None:
            keyed += (((key, clip), inside) for clip, inside in places(path))
            continue
        for mark in re.finditer(SEPARATOR, name, re.IGNORECASE) if has_images(path) else ():
            if (key := subject(name[: mark.start()])) is not None:  # a clip's own name may begin with the subject
                keyed += [((key, name[mark.end() :]), path), ((key, name), path)]
                break
    return ClipFolders(root, keyed)


def _inner(clip: Path) -> Path:
    """A clip's folder or video, or what alone lies in that folder."""
    if has_images(clip):
        return clip
    inside = [path for name, path in places(clip) if not re.search(OTHERS, name, re.IGNORECASE)]
    return inside[0] if len(inside) == 1 else clip


@dataclass(frozen=True)
class Sources:
    """The workbook and the frames of a release that were taken, and what else there was."""

    workbook: Path
    rows: list[Row]
    kind: str  # of the frames, one of the choices
    folders: ClipFolders
    passed_over: Sequence[str] = ()  # other workbooks and frame folders, relative to the root
    instead: str = ""  # why the frames are not of the preferred kind
    sheet: str = ""  # of the workbook
    remarks: Sequence[str] = ()  # on how the workbook and the frames were recognised


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
    others: str = OTHERS,
) -> Sources:
    """Finds the workbook and the frames of a release.

    A workbook that no file name tells is known by its columns and by clips that have folders, frames by their images
    (``_by_contents``). Of the frame folders that hold nearly as many of the sheet's clips as any (FULL), those of
    images come before those of videos, then those with a telling name, then the one nearest to the workbook, the first
    of the kinds, the fullest, the shallowest, the one with the release's name in its path.

    Args:
        title: the release's name, in messages.
        workbook: regular expression of its file name, in any case; the shallowest counts, of several the last by name.
        columns, sheet: see ``read_sheet``.
        inner: regular expression of the folders that a frame folder directly contains; their images lie up to ``deep``
            folders down.
        clips: a frame folder -> its clip folders.
        identify: a row -> its subject, clip and keys.
        kinds: kind of frames -> regular expression that the name of the folder, or of the nearest one around it,
            contains; "" takes what no other name matches.
        wanted: one kind alone.
        others: regular expression that the names of folders with other images contain, which are never taken.

    Raises:
        ValueError: an unknown kind.
        FileNotFoundError: there is no workbook or frame folder.
        ReleaseError: a workbook that cannot be used, or something that would be the release in another form.
    """
    if wanted is not None and wanted not in kinds:
        raise ValueError(f"images={wanted!r}: choose one of {', '.join(kinds)} (or None for the fullest one there)")
    tree = _scan(root, f"{title} workbook", inner, deep)
    kind_of = {folder: _kind(folder, root, {**kinds, OTHER: others}) for folder, subjects in tree.items() if subjects}
    frame_folders = {folder: clips(folder) for folder, kind in kind_of.items() if kind != OTHER}
    books = [path for folder in tree for path in _files(folder, workbook)]
    remarks: list[str] = []
    if books:
        book = min(books, key=lambda path: len(path.parts))
        shallow = (path for path in books if len(path.parts) == len(book.parts))
        book = max(shallow, key=lambda path: path.name.casefold())  # dates sort
        rows = read_sheet(book, columns, sheet=sheet)
        keys = _keys(rows, identify)
    else:
        found = _by_columns(tree, columns, sheet, identify, frame_folders.values())
        if found is None:
            raise _dead_end(
                root, tree, f"found no {title} workbook in it or {DEPTH - 1} folders down",
                f"Looked for an .xlsx file named like {workbook!r}, or any with the columns "
                f"{', '.join(columns.values())} and clips that have folders; give the folder that holds the workbook "
                "and the frames",
            )  # fmt: skip
        book, rows, keys = found
        books = [book]
        remarks.append(f"{book.name}: known for the workbook by its columns, not by its name")
    order, name = list(kinds), re.sub(r"\W", "", title).casefold()
    ranked = []
    for folder, held in frame_folders.items():
        count, kind = held.holds(keys), kind_of[folder]
        named = kind is not None
        if not named and count:
            kind, what = _by_contents(held, kinds)
        if kind is not None and wanted in (None, kind):
            below = folder.relative_to(root)
            near = len(os.path.commonpath([folder, book.parent]))
            later = (len(below.parts), name not in str(below).casefold())
            why = "" if named else f"{below}: known for {kind} frames by {what}, not by the folder's name"
            place = held.first()
            lossy = place is not None and is_video(place)
            ranked.append(((-count, lossy, not named, -near, order.index(kind), *later), str(below), kind, held, why))
    most = max((-rank[0] for rank, *_ in ranked), default=0)
    if not most:
        names = " or ".join(repr(kinds[k]) for k in kinds if wanted in (None, k) and kinds[k])
        error = _dead_end(
            root, tree, f"found no {title} frame folder{f' ({wanted})' if wanted else ''}",
            f"Looked for a folder{names and f' named like {names}, or any other,'} with images of the sheet's clips in "
            f"folders named like {inner!r}; unpack the frames beside the workbook",
        )  # fmt: skip
        if not ranked or isinstance(error, ReleaseError):
            raise error
    ranked.sort(key=lambda candidate: (-candidate[0][0] < FULL * most, candidate[0][1:5], *candidate[:2]))
    unused = [path for path in books if path != book] + [held.root for *_, held, _ in ranked[1:]]
    unused += [folder for folder in kind_of if folder not in frame_folders]
    (rank, inside, kind, held, why), instead = ranked[0], ""
    taken = {held.root / path.name for path in unused if re.fullmatch(EMOTION, path.name, re.IGNORECASE)}
    passed_over = sorted(path.relative_to(root).as_posix() for path in unused if path not in taken)
    first = min(ranked, key=lambda candidate: (not candidate[0][0], order.index(candidate[2]), candidate[0][1:]))
    if first[2] != kind:
        instead = (
            f"took the {kind} frames in {inside}, with {-rank[0]} of the sheet's clips, not the {first[2]} ones in "
            f"{first[1]}, with {-first[0][0]}; images={first[2]!r} takes those"
        )
    remarks += [*rows.notes, *filter(None, [why])]
    return Sources(book, rows, kind, held, passed_over, instead, rows.sheet, remarks)


def _keys(rows: Iterable[Row], identify: Callable[[Row], Identity]) -> list[Sequence[tuple[str, ...]]]:
    keys = []
    for row in rows:
        try:
            keys.append(identify(row)[2])
        except ReleaseError:
            continue  # reported where the table is made
    return keys


def _by_columns(
    tree: Iterable[Path],
    columns: Mapping[str, str],
    sheet: str | None,
    identify: Callable[[Row], Identity],
    frame_folders: Iterable[ClipFolders],
) -> tuple[Path, Rows, list[Sequence[tuple[str, ...]]]] | None:
    """The workbook with the columns whose clips most often have a folder."""
    found = []
    for path in [path for folder in tree for path in _files(folder, r"(?!~\$).*\.xls[xm]?")][:BOOKS]:
        try:
            rows = read_sheet(path, columns, sheet=sheet)
        except ReleaseError:
            continue
        keys = _keys(rows, identify)
        held = max((clips.holds(keys) for clips in frame_folders), default=0)
        if held:
            found.append(((held, -len(path.parts), path.name.casefold()), path, rows, keys))
    return max(found, key=lambda candidate: candidate[0])[1:] if found else None


def _by_contents(clips: ClipFolders, kinds: Mapping[str, str]) -> tuple[str | None, str]:
    """The kind of frames by one image: registered crops are called so, and crops are not wider than high."""
    place = clips.first()
    try:
        image = next(iter(listed(place)[0].values())) if place else Path()
        width, height = frame_files.size_of(image)
    except (BadImage, ReleaseError, OSError, StopIteration):
        return None, ""
    cropped = image.name.startswith("reg") or height >= width
    kind = next((kind for kind in kinds if (kind == "cropped") == cropped), next(iter(kinds)))
    return kind, f"an image, {image.name} of {width}×{height} pixels"


def _dead_end(root: Path, tree: Iterable[Path], missing: str, looked_for: str) -> Exception:
    there, other_forms = describe(root, tree)
    return (ReleaseError if other_forms else FileNotFoundError)(f"{root}: {missing}: {there}. {looked_for}")


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
            inside = subfolders(folder)
            named = [
                {path for name, path in places(folder) if re.fullmatch(pattern, name, re.IGNORECASE)}
                for pattern in (f"{inner}|{EMOTION}", f"(?:{inner}){SEPARATOR}.+")
            ]
            subjects, flat = named[0], set(filter(has_images, named[1]))
            tree[folder] = bool(subjects or flat)
            full = any(has_images(path, deep) for path in subjects)
            below += [path for path in inside if path not in flat and not (full and path in subjects)]
        level = below
    return tree


def _files(folder: Path, pattern: str) -> list[Path]:
    try:
        paths = list(folder.iterdir())
    except OSError:
        return []
    return [path for path in paths if re.fullmatch(pattern, path.name, re.IGNORECASE) and is_file(path)]


def _kind(folder: Path, root: Path, kinds: Mapping[str, str]) -> str | None:
    """The kind that the folder's name tells, or that of the nearest folder around it below the root."""
    for name in (folder.name, *(p.name for p in folder.parents if p != root and p.is_relative_to(root))):
        for kind, pattern in kinds.items():
            if pattern and re.search(pattern, name, re.IGNORECASE):
                return kind
    return next((kind for kind, pattern in kinds.items() if not pattern), None)


# Folders and files, whatever is wrong with them


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted, without hidden ones and what is no part of a release; none if it is closed."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if _is_folder(e) and not e.name.startswith((".", "__MACOSX"))]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if name != MARKER]


def places(folder: Path) -> list[tuple[str, Path]]:
    """The subfolders of a folder and the videos without a folder of their name beside them, each with its name."""
    inside = [(path.name, path) for path in subfolders(folder)]
    names = {name for name, _ in inside}
    videos = _files(folder, rf"[^.].*({'|'.join(VIDEOS)})")
    return inside + sorted((path.stem, path) for path in videos if path.stem not in names)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a closed folder
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file, its links followed; False too where that cannot be known."""
    try:
        return path.is_file()
    except OSError:
        return False


def has_images(folder: str | Path, deep: int = 0, closed: bool = False) -> bool:
    """Whether there is a video, or a folder that holds an image, there or up to ``deep`` folders down.

    Returns:
        ``closed`` for a folder that cannot be listed.
    """
    if is_video(Path(folder)):
        return True
    inside = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_image(entry.name):
                    return True
                if deep and (_is_folder(entry) or Path(entry.name).suffix.lower() in VIDEOS):
                    inside.append(entry.path)
    except OSError:
        return closed
    return any(has_images(path, deep - 1) for path in inside)


def check_inside(path: Path, root: Path, where: str) -> None:
    """Raises ReleaseError if a path, its links followed, leads out of the release's folder."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise ReleaseError(f"{where}: {path} is a link that leads out of {root}; copy the files there instead")


# Images by number


def frame_number(name: str) -> int | None:
    """The last integer of a file name's stem: 46 for ``reg_img46.jpg``, 73 for ``EP01_12-73.jpg``."""
    digits = re.findall(r"\d+", name.rpartition(".")[0])
    return int(digits[-1]) if digits else None


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGES


def numbered(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """The images of a folder that one number orders (``img100`` after ``img46``), one per number.

    The number that counts is the one in which the names of most files differ alone: ``46`` in ``img46_640x480.jpg``,
    ``73`` in ``EP01_12-73.jpg``. Times with a decimal point are replaced by their order, from 0 on. Of two with one
    number the first by name counts; a file manager's copy, ``1 (2).jpg`` beside ``1.jpg``, never does.

    Returns:
        Number -> path, and the names of the other images.

    Raises:
        ReleaseError: There are several series in the folder, or several numbers that order the files differently.
        OSError: The folder cannot be listed.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_image(entry.name) and not _is_folder(entry))
    numbers = max((_series(names, r"\d+"), _series(names, r"\d+(?:\.\d+)?")), key=len)
    if len(numbers) < 2:
        numbers = _counter(names) or numbers
    rest = [name for name in names if name not in numbers]
    others = [name for name in rest if frame_number(name) is not None]
    if len(others) > max(1, len(numbers) / 4):
        raise ReleaseError(
            f"{folder}: several series of images, such as {next(iter(numbers))} and {others[0]}, or several numbers in "
            "each name that change; put each series into a folder of its own, numbered by one number"
        )
    if any(value != int(value) for value in numbers.values()):
        numbers = {name: Decimal(order) for order, name in enumerate(sorted(numbers, key=numbers.__getitem__))}
    paths: dict[int, Path] = {}
    for name, number in numbers.items():
        if paths.setdefault(int(number), folder / name).name != name:
            rest.append(name)
    return dict(sorted(paths.items())), sorted(rest)


def listed(clip: Path) -> tuple[dict[int, Path], list[str]]:
    """The frames of a clip's folder (``numbered``) or video (``frame_files.of_video``). Raises as ``numbered``."""
    if not is_video(clip):
        return numbered(clip)
    try:
        return frame_files.of_video(clip), []
    except BadVideo as error:
        raise ReleaseError(str(error)) from None


def _series(names: Iterable[str], pattern: str) -> dict[str, Decimal]:
    """The most names that differ in one number alone, and in letter case, with that number; the last of several."""
    series = defaultdict[tuple[int, str], dict[str, Decimal]](dict)
    for name in names:
        stem = name.rpartition(".")[0].casefold()
        for place, match in enumerate(reversed(list(re.finditer(pattern, stem)))):
            series[place, f"{stem[: match.start()]}#{stem[match.end() :]}"][name] = Decimal(match[0])
    return max(series.values(), key=len, default={})


def _counter(names: list[str]) -> dict[str, Decimal]:
    """Names with several numbers that all grow together, and the one of those that counts by one; none if none does."""
    found = [[int(digits) for digits in re.findall(r"\d+", name.rpartition(".")[0])] for name in names]
    rows = sorted(zip(found, names, strict=True))
    places = list(zip(*(numbers for numbers, _ in rows), strict=False))
    changing = [place for place in places if len(set(place)) > 1]
    if len({len(numbers) for numbers in found}) != 1 or any(list(place) != sorted(place) for place in changing):
        return {}
    for place in changing:
        if list(place) == list(range(place[0], place[0] + len(place))):
            return {name: Decimal(number) for number, (_, name) in zip(place, rows, strict=True)}
    return {}


def renumbered(numbers: Iterable[int], onset: int, offset: int) -> bool:
    """Whether a copy numbers a clip's images anew: from 0 or 1, none as high as its offset, and (nearly) as many."""
    numbers, count = set(numbers), offset - onset + 1
    first, last = min(numbers, default=2), max(numbers, default=0)
    return first <= 1 and first < onset and last < offset and FULL * count <= last - first + 1 <= count


def frames(folder: Path, onset: int, offset: int) -> tuple[Path, ...]:
    """The images of a clip from onset to offset, or all of them where they are ``renumbered``.

    A video holds the clip's frames, all of them and no others, or those of the whole recording.

    Raises:
        ReleaseError: It is unclear which image is which frame: they are numbered anew in another way.
        OSError: The folder cannot be listed.
    """
    paths, count, video = listed(folder)[0], offset - onset + 1, is_video(folder)
    if renumbered(paths, onset, offset) and not (video and len(paths) != count):
        return tuple(paths.values())
    first, last = min(paths, default=onset), max(paths, default=offset)
    anew = first <= 1 and first < onset <= last < offset and len(paths) <= 1.5 * count
    shifted = len(paths) == count and (first - onset) * (last - offset) > 0 and onset <= last and first <= offset
    if video and last < offset:
        raise ReleaseError(
            f"{folder}: {last} frames where the clip has {count}, from {onset} to {offset}: neither this clip alone "
            "nor a whole recording; copy the original file"
        )
    if anew or shifted:
        raise ReleaseError(
            f"{folder}: {len(paths)} images from {first} to {last} for the {count} frames from {onset} to {offset}: "
            "numbered anew, it seems, so which is which cannot be told; unpack the original files"
        )
    return tuple(path for number, path in paths.items() if onset <= number <= offset)
