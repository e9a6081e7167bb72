"""The folders and images of a release: which clip lies where, and which images a clip has.

Copies carry what an operating system leaves behind, and change names and case. A name that comes from a workbook is
never joined to a path: it is looked up among the folders that are there.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from aullm_lib.datasets.cells import ReleaseError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp"}
MARKER = "SYNTHETIC"  # the folder that datasets.synthesize leaves in a release that it wrote


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

    def holds(self, clips: Iterable[Sequence[tuple[str, ...]]]) -> int:
        """How many of some clips, each given by its keys, have a folder with an image in it."""
        folded = ([tuple(name.casefold() for name in key) for key in keys] for keys in clips)
        paths = Counter(next((self._paths[key] for key in keys if key in self._paths), None) for keys in folded)
        return sum(count for path, count in paths.items() if path and has_images(path, closed=True))

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


def folders(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; without hidden ones and what is no part of a release; none if it is closed."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if _is_folder(e) and not e.name.startswith((".", "__MACOSX"))]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if name != MARKER]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a closed folder
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file, its links followed; False too where that cannot be told."""
    try:
        return path.is_file()
    except OSError:
        return False


def has_images(folder: str | Path, deep: int = 0, closed: bool = False) -> bool:
    """Whether a folder, or one up to ``deep`` folders down, holds an image; closed: what to say of one not readable."""
    inside = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_image(entry.name):
                    return True
                if deep and _is_folder(entry):
                    inside.append(entry.path)
    except OSError:
        return closed
    return any(has_images(path, deep - 1) for path in inside)


def two_deep(root: Path, subject: Callable[[str], str | None]) -> ClipFolders:
    """The clip folders of ``root/<subject>/<clip>``; subject: a folder's name -> its key, None for other folders."""
    found = []
    for folder in folders(root):
        key = subject(folder.name)
        if key is not None:
            found += [((key, clip.name), clip) for clip in folders(folder)]
    return ClipFolders(root, found)


def stay(path: Path, root: Path, where: str) -> None:
    """Raises ReleaseError if a path, its links followed, leads out of the release's folder."""
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root)):
        raise ReleaseError(f"{where}: {path} is a link that leads out of {root}; copy the files there instead")


def frame_number(name: str) -> int | None:
    """The last integer of a file name's stem: 46 for ``reg_img46.jpg``, 73 for ``EP01_12-73.jpg``."""
    digits = re.findall(r"\d+", name.rpartition(".")[0])
    return int(digits[-1]) if digits else None


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGES


def images(folder: Path) -> dict[int, Path]:
    """The numbered images of a folder in numerical order (``img100`` after ``img46``), one a number. Raises OSError."""
    return numbered(folder)[0]


def numbered(folder: Path) -> tuple[dict[int, Path], list[str]]:
    """``images``, and the names of those that have another's number.

    Of two with one number the one counts that is named like most files of the folder (``reg_img39`` among
    ``reg_img38``, ``reg_img40``, ...); a file manager's copy, ``1 (2).jpg`` beside ``1.jpg``, never does.
    """
    with os.scandir(folder) as entries:
        names = sorted(e.name for e in entries if _is_image(e.name) and (e.is_symlink() or e.is_file()))
    names = [name for name in names if frame_number(name) is not None]
    common = Counter(map(_pattern, names))
    found: dict[int, Path] = {}
    rest = []
    for name in sorted(names, key=lambda name: (-common[_pattern(name)], name)):
        number = frame_number(name) or 0
        copied = re.sub(r" ?\(\d+\)(?=\.\w+$)", "", name)
        if number in found or (copied != name and copied in names):
            rest.append(name)
        else:
            found[number] = folder / name
    return dict(sorted(found.items())), rest


def _pattern(name: str) -> str:
    return re.sub(r"\d+(?=\D*\.[^.]*$)", "#", name.casefold(), count=1)


def renumbered(numbers: Iterable[int], onset: int, offset: int) -> bool:
    """Whether a copy numbers a clip's images anew: as many as the clip has, from 0 or 1, none as high as its offset."""
    numbers = set(numbers)
    return len(numbers) == offset - onset + 1 and min(numbers) <= 1 and max(numbers) < offset


def frames(folder: Path, onset: int, offset: int) -> tuple[Path, ...]:
    """The images of a clip from onset to offset, or all of them where they are ``renumbered``. Raises OSError."""
    found = images(folder)
    if renumbered(found, onset, offset):
        return tuple(found.values())
    return tuple(path for number, path in found.items() if onset <= number <= offset)
