"""User videos: a video file (OpenCV, FFmpeg) or a folder of numbered images, one frame in memory at a time.

Frames go by number: those of a video count from 0, those of a folder are the numbers in the files' names. Images are
read as a release's are (``images.read``).
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from aullm_lib.datasets import folders
from aullm_lib.support import images
from aullm_lib.support.images import SIDES, BadImage


class BadVideo(ValueError):
    """A video or folder that cannot be used, or frame numbers that it does not have; the message names both."""


class FrameSource(ABC):
    """Frames of one size, read by number; cheapest in order.

    Attributes:
        path: The file or folder.
        fps: Frames per second, None where the file does not say.
    """

    fps: float | None = None

    def __init__(self, path: Path) -> None:
        self.path, self._shape = path, tuple[int, ...]()

    @abstractmethod
    def __iter__(self) -> Iterator[int]:
        """The numbers of all frames in order, a video's as far as it can be read."""

    @abstractmethod
    def name(self, number: int) -> Path:
        """A frame's name in messages."""

    @abstractmethod
    def _read(self, number: int, rgb: bool) -> np.ndarray: ...

    @property
    def announced(self) -> int:
        """The number of frames; of a video what its header says, 0 if nothing."""
        return 0

    def read(self, number: int, rgb: bool = False) -> np.ndarray:
        """A frame as [H, W] uint8 grey or [H, W, 3] uint8 RGB.

        Raises:
            BadImage: The frame cannot be read or trusted.
            BadVideo: It is of another size than those before.
        """
        image = self._read(number, rgb)
        self._shape = self._shape or image.shape[:2]
        if image.shape[:2] != self._shape:
            (height, width), (tall, wide) = image.shape[:2], self._shape
            raise BadVideo(
                f"{self.name(number)}: {width}×{height}, but the frames before it have {wide}×{tall}; one face box "
                "cannot fit both: make all frames the same size"
            )
        return image

    def numbers(self, onset: int | None = None, offset: int | None = None) -> Sequence[int]:
        """The frames from onset to offset, both included, in order; the first and the last where None.

        Raises:
            BadVideo: The onset is after the offset, or either is outside the video.
            ValueError: One of them is not a number.
        """
        ends = [(name, value) for name, value in (("onset", onset), ("offset", offset)) if value is not None]
        for name, value in ends:
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise ValueError(f"{name}={value!r}: expected a frame number, such as 12")
        if onset is not None and offset is not None and onset > offset:
            raise BadVideo(f"{self.path}: onset={onset} lies after offset={offset}")
        numbers: list[int] = []
        for number in self:  # no farther into a video than is asked for
            numbers.append(number)
            if offset is not None and number >= offset:
                break
        for name, value in ends:
            if not numbers[0] <= value <= numbers[-1]:
                side, limit = ("first", numbers[0]) if value < numbers[0] else ("last", numbers[-1])
                raise BadVideo(f"{self.path}: {name}={value}, but its {side} frame is {limit}")
        low, high = (numbers[0] if onset is None else onset), (numbers[-1] if offset is None else offset)
        selected = [number for number in numbers if low <= number <= high]
        if not selected:
            raise BadVideo(f"{self.path}: no frame from onset={onset} to offset={offset}")
        return selected


class ImageFolder(FrameSource):
    """A folder of images (JPEG, PNG, BMP), in the order of the last number in each name."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        try:
            self._paths = folders.numbered(path)[0]
        except OSError as error:
            raise BadVideo(f"{path}: this folder cannot be listed ({error.strerror})") from None
        if not self._paths:
            raise BadVideo(f"{path}: no numbered picture in this folder, such as img001.jpg (JPEG, PNG or BMP)")

    announced = property(lambda self: len(self._paths))

    def __iter__(self) -> Iterator[int]:
        return iter(self._paths)

    def name(self, number: int) -> Path:
        return self._paths[number]

    def _read(self, number: int, rgb: bool) -> np.ndarray:
        return images.read(self._paths[number], rgb)


class VideoFile(FrameSource):
    """A video file. To go back opens it anew; frames that are not read are not converted."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if any("\ud800" <= character <= "\udfff" for character in str(path.resolve())):  # OpenCV would crash
            raise BadVideo(f"{str(path)!r}: a name with bytes that are no UTF-8; rename the file or its folder")
        if path.suffix.lower() in folders.IMAGES:
            raise BadVideo(f"{path}: one picture is no clip; give the folder of its frames, or a video file")
        self._open()
        if not self._capture.isOpened():
            raise BadVideo(f"{path}: not a video that OpenCV can read; convert it, to .mp4 (H.264) for one")
        if not self._grab():
            raise BadVideo(f"{path}: a video without a readable frame")
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if math.isfinite(fps) and 0 < fps < 1e5 else None
        wide, tall = (int(self._capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if wide * tall > SIDES[1] or min(wide, tall) < SIDES[0]:
            raise BadVideo(f"{path}: frames of {wide}×{tall} pixels are too large, or too small, for a face")

    def _open(self) -> None:
        # FFmpeg alone: OpenCV's other readers take a name with digits for a series of images
        self._capture = cv2.VideoCapture(str(self.path.resolve()), cv2.CAP_FFMPEG)
        self._position = -1  # of the decoded frame

    def _grab(self) -> bool:
        more = self._capture.grab()
        self._position += more
        return more

    @property
    def announced(self) -> int:
        return max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)))

    def __iter__(self) -> Iterator[int]:
        number = 0
        while self._seek(number):
            yield number
            number += 1

    def name(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}, frame {number}")

    def _seek(self, number: int) -> bool:
        """Decodes the frame of this number; whether the video has it."""
        if number < self._position:
            self._open()
        while self._position < number:
            if not self._grab():
                self._open()  # past its end nothing more can be asked of it
                return False
        return True

    def _read(self, number: int, rgb: bool) -> np.ndarray:
        decoded, image = self._capture.retrieve() if self._seek(number) else (False, None)
        if not decoded or image is None:
            raise BadImage(f"{self.name(number)}: cannot be decoded; convert the video anew or leave this part out")
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB if rgb else cv2.COLOR_BGR2GRAY)


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
        raise FileNotFoundError(f"{path}: no such file or folder")
    return VideoFile(path)
