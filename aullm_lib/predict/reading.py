"""User videos: a video file (``support.video``) or a folder of numbered images, one frame in memory at a time.

Frames go by number: those of a video count from 0, those of a folder are the numbers in the files' names. Images are
read as a release's are (``images.read``).
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aullm_lib.datasets import folders
from aullm_lib.datasets.workbook import ReleaseError
from aullm_lib.support import images
from aullm_lib.support.video import BadVideo, FrameSource, VideoFile


class ImageFolder(FrameSource):
    """A folder of images (JPEG, PNG, BMP), in the order of the number in which their names differ."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._paths, others = folders.numbered(path)
        except ReleaseError as error:
            raise BadVideo(str(error)) from None
        except OSError as error:
            raise BadVideo(f"{path}: this folder cannot be listed ({error.strerror})") from None
        if not self._paths:
            raise BadVideo(f"{path}: no numbered picture in this folder, such as img001.jpg (JPEG, PNG or BMP)")
        self.announced = len(self._paths)
        if others:
            self.remarks.append(f"{len(others)} other images in the folder are left out: {_some(others)}")
        numbers = list(self._paths)
        step = int(np.median(np.diff(numbers))) if len(numbers) > 1 else 1
        gaps = [(a, b) for a, b in itertools.pairwise(numbers) if b - a >= 2 * step]
        if gaps:
            what = _some([f"between {a} and {b}" for a, b in gaps])
            self.remarks.append(f"images seem to be missing: {what}; the others are taken as if they were consecutive")

    def __iter__(self) -> Iterator[int]:
        return iter(self._paths)

    def name(self, number: int) -> Path:
        return self._paths[number]

    def _read(self, number: int, rgb: bool) -> np.ndarray:
        return images.read(self._paths[number], rgb)


def _some(items: list[str]) -> str:
    return ", ".join(items[:5]) + f" and {len(items) - 5} more" * (len(items) > 5)


def open_source(source: str | Path) -> FrameSource:
    """A video file or a folder of images.

    Raises:
        FileNotFoundError: There is neither.
        BadVideo: The file is no video or has no frames, or the folder has no numbered images.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return ImageFolder(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder" + ", but a pipe or device" * path.exists())
    return VideoFile(path)
