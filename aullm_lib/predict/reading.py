"""A user's own footage: a video file (OpenCV, FFmpeg) or a folder of numbered pictures, one frame in memory at a time.

Frames go by number: those of a video count from 0, those of a folder are the numbers in the files' names. Pictures are
read as a release's are (``framing.read``).
"""

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from aullm_lib.clips import frame_positions
from aullm_lib.datasets import archive
from aullm_lib.preprocess import alignment, building
from aullm_lib.support import images
from aullm_lib.support.images import SIDES, BadImage


class BadFootage(ValueError):
    """Footage that cannot be used as it is, or frame numbers that it does not have; the message names both."""


class Footage(ABC):
    """Frames of one size, looked at by number; cheapest in order.

    path: the file or folder. fps: frames a second, None where the file does not say.
    """

    fps: float | None = None

    def __init__(self, path: Path) -> None:
        self.path, self._shape = path, tuple[int, ...]()

    @abstractmethod
    def __iter__(self) -> Iterator[int]:
        """The numbers of all frames in order, a video's as far as it can be read."""

    @abstractmethod
    def name(self, number: int) -> Path:
        """What messages call a frame."""

    @abstractmethod
    def _look(self, number: int, rgb: bool) -> np.ndarray: ...

    @property
    def announced(self) -> int:
        """How many frames there should be; of a video what its header says, 0 if nothing."""
        return 0

    def look(self, number: int, rgb: bool = False) -> np.ndarray:
        """A frame as [H, W] uint8 grey or [H, W, 3] uint8 RGB.

        Raises BadImage for one that cannot be read or trusted, BadFootage for one of another size than those before.
        """
        image = self._look(number, rgb)
        self._shape = self._shape or image.shape[:2]
        if image.shape[:2] != self._shape:
            (height, width), (tall, wide) = image.shape[:2], self._shape
            raise BadFootage(
                f"{self.name(number)}: {width}×{height}, but the frames before it have {wide}×{tall}; one face box "
                "cannot fit both: make all frames the same size"
            )
        return image

    def numbers(self, onset: int | None = None, offset: int | None = None) -> Sequence[int]:
        """The frames from onset to offset, both included, in order; the first and the last where None.

        Raises BadFootage for an onset after the offset, and for either outside the footage; ValueError for no number.
        """
        for end, value in (("onset", onset), ("offset", offset)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | np.integer)):
                raise ValueError(f"{end}={value!r}: expected a frame number, such as 12")
        if onset is not None and offset is not None and onset > offset:
            raise BadFootage(f"{self.path}: onset={onset} lies after offset={offset}")
        seen: list[int] = []
        for number in self:  # no farther into a video than is asked for
            seen.append(number)
            if offset is not None and number >= offset:
                break
        for end, value in (("onset", onset), ("offset", offset)):
            if value is not None and value < seen[0]:
                raise BadFootage(f"{self.path}: {end}={value}, but its first frame is {seen[0]}")
            if value is not None and value > seen[-1]:
                raise BadFootage(f"{self.path}: {end}={value}, but its last frame is {seen[-1]}")
        found = [n for n in seen if (onset is None or n >= onset) and (offset is None or n <= offset)]
        if not found:
            raise BadFootage(f"{self.path}: no frame from onset={onset} to offset={offset}")
        return found


class Pictures(Footage):
    """A folder of pictures (JPEG, PNG, BMP), in the order of the last number in each name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._paths = archive.images(path)
        except OSError as error:
            raise BadFootage(f"{path}: this folder cannot be listed ({error.strerror})") from None
        if not self._paths:
            raise BadFootage(f"{path}: no numbered picture in this folder, such as img001.jpg (JPEG, PNG or BMP)")

    announced = property(lambda self: len(self._paths))

    def __iter__(self) -> Iterator[int]:
        return iter(self._paths)

    def name(self, number: int) -> Path:
        return self._paths[number]

    def _look(self, number: int, rgb: bool) -> np.ndarray:
        return images.read(self._paths[number], rgb)


class Video(Footage):
    """A video file. To go back opens it anew; frames that nobody looks at are not converted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if path.suffix.lower() in archive.IMAGES:
            raise BadFootage(f"{path}: one picture is no clip; give the folder of its frames, or a video file")
        self._open()
        if not self._capture.isOpened():
            raise BadFootage(f"{path}: not a video that OpenCV can read; convert it, to .mp4 (H.264) for one")
        if not self._grab():
            raise BadFootage(f"{path}: a video without a readable frame")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps < 1e5 else None
        wide, tall = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if wide * tall > SIDES[1] or min(wide, tall) < SIDES[0]:
            raise BadFootage(f"{path}: frames of {wide}×{tall} pixels are too large, or too small, for a face")

    def _open(self) -> None:
        # FFmpeg alone: OpenCV's other readers take a name with digits for a row of pictures
        self._capture = cv2.VideoCapture(str(self.path.resolve()), cv2.CAP_FFMPEG)
        self._at = -1  # the frame that is decoded

    def _grab(self) -> bool:
        more = self._capture.grab()
        self._at += more
        return more

    @property
    def announced(self) -> int:
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[int]:
        number = 0
        while self._reach(number):
            yield number
            number += 1

    def name(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}, frame {number}")

    def _reach(self, number: int) -> bool:
        """Whether the video has this frame, which then is the one that is decoded."""
        if number < self._at:
            self._open()
        while self._at < number:
            if not self._grab():
                self._open()  # past its end nothing more can be asked of it
                return False
        return True

    def _look(self, number: int, rgb: bool) -> np.ndarray:
        there, image = self._capture.retrieve() if self._reach(number) else (False, None)
        if not there or image is None:
            raise BadImage(f"{self.name(number)}: cannot be decoded; convert the video anew or leave this part out")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if rgb else cv2.COLOR_BGR2GRAY)


def opened(source: str | Path) -> Footage:
    """A video file or a folder of pictures.

    Raises FileNotFoundError where there is neither, BadFootage for a file that is no video, a video without frames, and
    a folder without numbered pictures.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        return Pictures(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file or folder")
    return Video(path)


@dataclass(eq=False)
class Window:
    """Some frames of a footage in a row, both ends included, with the few of them that a model is given.

    kept: [S, S] uint8 each, aligned. remark: what is remarkable about it, and of a useless one, which keeps none, why.
    """

    first: int
    last: int
    matrix: np.ndarray | None = None
    kept: list[np.ndarray] = field(default_factory=list)
    remark: str = ""
    useless: bool = False

    def spoil(self, why: str) -> None:
        self.useless, self.remark, self.kept = True, why, []


def windows(
    shot: Footage, numbers: Iterable[int], length: int, stride: int, *, align: str, size: int, frames: int
) -> Iterator[Window]:
    """The whole windows of ``length`` frames that begin every ``stride`` frames, each as soon as it ends.

    numbers: of the footage's frames, in order. align, size: as in ``preprocess.build``; a window's matrix comes from
    the face in its first frame. frames: how many of each are kept, evenly spread (``clips.frame_positions``).
    In memory are one frame of the footage, and what the length / stride windows that are under way keep.
    Raises BadFootage where the frames change in size.
    """
    positions = frame_positions(torch.tensor([length]), frames)[0].tolist()
    running: deque[tuple[int, Window]] = deque()  # each with where it begins
    for at, number in enumerate(numbers):
        if at % stride == 0:
            running.append((at, _begun(shot, number, align, size)))
        takers = [pair for pair in running if at - pair[0] in positions and not pair[1].useless]
        try:
            image = shot.look(number) if takers else np.empty(0)
            for begin, window in takers:
                matrix = alignment.squash(image.shape, size) if window.matrix is None else window.matrix
                window.kept += [alignment.warp(image, matrix, size)] * positions.count(at - begin)
        except BadImage as error:
            for _, window in takers:
                window.spoil(str(error))
        for _, window in running:
            window.last = number
        if running and at - running[0][0] == length - 1:
            yield running.popleft()[1]


def _begun(shot: Footage, number: int, align: str, size: int) -> Window:
    window = Window(number, number)
    try:
        name = (shot.name(number),)
        window.matrix, notes = building.place(name, align, size, lambda _, rgb: shot.look(number, rgb))
        window.remark = notes["remarks"]
    except building.NoFace:
        window.spoil("no usable face in its first frame")
    except BadImage as error:
        window.spoil(str(error))
    return window
