"""Video files (OpenCV, FFmpeg), one frame in memory at a time; frames count from 0."""

import contextlib
import math
import os
import re
import tempfile
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aullm_lib.support.images import IMAGES, SIDES, BadImage

VIDEOS = {
    *(".3gp", ".asf", ".avi", ".dv", ".flv", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg"),
    *(".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv"),
}
"""Endings of the files that are taken for videos in a folder; a user video that is named itself may have any."""
LOOK_AHEAD = 250  # frames in which a video must show something else than in its first
ENOUGH = 30  # frames whose time stamps give the rate
RATES = (1, 240)  # frames a second that a header may claim where the first time stamps do not agree
BARE = re.compile(rb"\xff\xd8|\x00?\x00\x00\x01[^\xba\xb3](?![a-z]{3})")  # JPEG, H.264, ...: a stream in no container
CONVERT = "convert the video anew, by ffmpeg -i IN -vf yadif OUT.mp4 for one"
_STDERR = threading.Lock()


class BadVideo(ValueError):
    """A video or folder that cannot be used, or frame numbers that it does not have; the message names both."""


class FrameSource(ABC):
    """Frames of one size, read by number; cheapest in order.

    Attributes:
        path: The file or folder.
        fps: Frames per second, None where the file does not say, or nothing that can be.
        announced: The number of frames; of a video what its header says, 0 if nothing.
        remarks: In words, what is remarkable; grows while frames are read.
    """

    fps: float | None = None
    announced = 0

    def __init__(self, path: Path) -> None:
        self.path, self._shape = path, tuple[int, ...]()
        self.remarks: list[str] = []

    def time(self, number: int) -> float | None:
        """When a frame that was reached is shown, in seconds from the first, by the file; None where it does not say.

        The frame after those that were reached has the time at which they end.
        """
        return None

    @abstractmethod
    def __iter__(self) -> Iterator[int]:
        """The numbers of all frames in order, a video's as far as it can be read."""

    @abstractmethod
    def name(self, number: int) -> Path:
        """A frame's name in messages."""

    @abstractmethod
    def _read(self, number: int, rgb: bool) -> np.ndarray: ...

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


class _Pass:
    """One pass of OpenCV through a video, frame after frame.

    Attributes:
        position: Of the decoded frame.
        buffer: What OpenCV's own buffer holds: the picture that it gave last. Where it cannot convert a frame (an
            interlaced one, for one), it says that it could, and gives that picture again.
        heard: What FFmpeg wrote to standard error during the last call; only there does it say what went wrong.
    """

    def __init__(self, path: Path) -> None:
        self.position, self.buffer, self.heard = -1, np.empty(0, np.uint8), ""
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  # as long as the pass itself
        weakref.finalize(self, self._log.close)
        quiet = os.environ.pop("OPENCV_FFMPEG_LOGLEVEL", None)  # read when OpenCV opens its first video
        try:
            # FFmpeg alone: OpenCV's other readers take a name with digits for a series of images. In one thread: others
            # would write what is wrong with a frame at any time.
            arguments = (str(path.resolve()), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            self.capture = self._listen(lambda: cv2.VideoCapture(*arguments))
        finally:
            if quiet is not None:
                os.environ["OPENCV_FFMPEG_LOGLEVEL"] = quiet

    def _listen(self, call: Callable[[], Any]) -> Any:
        log = self._log.fileno()
        with _STDERR:
            stderr = os.dup(2)
            os.dup2(log, 2)
            try:
                result = call()
            finally:
                os.dup2(stderr, 2)
                os.close(stderr)
        self.heard = ""
        if length := os.lseek(log, 0, os.SEEK_CUR):
            os.lseek(log, 0, os.SEEK_SET)
            self.heard = os.read(log, length).decode(errors="replace")
            os.lseek(log, 0, os.SEEK_SET)
            os.ftruncate(log, 0)
        return result

    def grab(self) -> bool:
        """Decodes the next frame; whether there is one."""
        more = self._listen(self.capture.grab)
        self.position += more
        return more

    def retrieve(self) -> bool:
        """Takes the decoded frame into the buffer; whether that is sure, since the buffer changed."""
        before = self.buffer
        taken, image = self._listen(self.capture.retrieve)
        if not taken or image is None or "Cannot convert" in self.heard:
            raise BadImage("OpenCV cannot convert it")
        self.buffer = image
        return not np.array_equal(image, before)

    def get(self, name: int) -> float:
        value = self.capture.get(name)
        return value if math.isfinite(value) else 0.0


class VideoFile(FrameSource):
    """A video file. To go back opens it anew; frames that are not read are not converted.

    Attributes:
        damage: In words, what was found to be damaged so far; among the remarks, too.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if any("\ud800" <= character <= "\udfff" for character in str(path.resolve())):  # OpenCV would crash
            raise BadVideo(f"{str(path)!r}: a name with bytes that are no UTF-8; rename the file or its folder")
        if path.suffix.lower() in IMAGES:
            raise BadVideo(f"{path}: one picture is no clip; give the folder of its frames, or a video file")
        self._stamps: list[float] = []  # of each frame so far, in seconds from the first
        self._zero = self._counted = 0.0
        self.damage = ""
        self._check: _Pass | None = None
        self._shown, self._image, self._still = -1, np.empty(0, np.uint8), 0
        self._open()
        if not self._pass.capture.isOpened():
            raise BadVideo(f"{path}: not a video that OpenCV can read; convert it, to .mp4 (H.264) for one")
        if self._pass.position < 0:
            raise BadVideo(f"{path}: a video without a readable frame")
        wide, tall = (int(self._pass.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if wide * tall > SIDES[1] or min(wide, tall) < SIDES[0]:
            raise BadVideo(f"{path}: frames of {wide}×{tall} pixels are too large, or too small, for a face")
        self.announced = max(0, int(self._pass.get(cv2.CAP_PROP_FRAME_COUNT)))
        self._size = self._square(wide, tall)
        self._look_ahead()
        if not _audible():
            self.remarks.append(
                "OPENCV_FFMPEG_LOGLEVEL was set when OpenCV opened its first video: errors in this one are not noticed"
            )
        self.fps = self._rate()
        self._open()

    def _open(self) -> None:
        self._pass = _Pass(self.path)
        if self._grab():
            with contextlib.suppress(BadImage):
                self._pass.retrieve()  # from here on it is known what its buffer holds

    def _grab(self) -> bool:
        """Decodes the next frame and notes its time stamp."""
        more, number = self._pass.grab(), self._pass.position
        errors = [line for line in self._pass.heard.splitlines() if line.startswith("[")]
        if errors and not self.damage:
            what = re.sub(r"^\[[^]]*\] *", "", errors[0])
            self.damage = (
                f"FFmpeg reports errors in the video from frame {max(number, 0)} on ({what}): what it shows there may "
                "be wrong"
            )
            self.remarks.append(self.damage)
        if more:
            self._counted = self._pass.get(cv2.CAP_PROP_PTS)
        if more and number == len(self._stamps):
            self._note(number, self._pass.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        return more

    def _note(self, number: int, stamp: float) -> None:
        if number == 0:
            self._zero = stamp
        time, last = stamp - self._zero, self._stamps[-1] if self._stamps else -1.0
        if time <= last:  # none, or it goes back, as where files were joined: counted on
            time = last + (self._step if number > 1 else 0.0)
            if self.fps and not any("time stamps" in remark for remark in self.remarks):
                self.remarks.append(
                    f"time stamps are missing or go back from frame {number} on: its time is counted on from there"
                )
            self._zero = stamp - time
        elif self.fps and time - last > max(1.0, 10 * self._step):
            self.remarks.append(f"time stamps leap by {time - last:.2f} s from frame {number - 1} to {number}")
        self._stamps.append(time)

    @property
    def _step(self) -> float:
        """The usual time between frames, in seconds."""
        steps = np.diff(self._stamps[:LOOK_AHEAD])
        return float(np.median(steps)) if len(steps) else 0.0

    def _square(self, wide: int, tall: int) -> tuple[int, int]:
        """The size of frames with square pixels, of which none is lost."""
        ratio = self._pass.get(cv2.CAP_PROP_SAR_NUM) / (self._pass.get(cv2.CAP_PROP_SAR_DEN) or 1)
        angle = int(self._pass.get(cv2.CAP_PROP_ORIENTATION_META))
        if angle % 180 == 90:
            ratio = ratio and 1 / ratio
        if angle % 90:
            self.remarks.append(f"the video says that it is to be turned by {angle} degrees, which was not done")
        elif angle:
            self.remarks.append(f"turned by {angle} degrees, as the video says")
        size = (round(wide * max(ratio, 1)), round(tall / min(ratio, 1))) if ratio else (wide, tall)
        if size == (wide, tall):
            return size
        if not 0.2 <= ratio <= 5:
            raise BadVideo(f"{self.path}: pixels {ratio:.3g} times as wide as tall; convert the video to square ones")
        self.remarks.append(
            f"its pixels are not square (sample aspect ratio): {wide}×{tall} are widened to {size[0]}×{size[1]}"
        )
        return size

    def _look_ahead(self) -> None:
        """Raises BadVideo unless a frame differs from the first: only then is it sure that OpenCV converts them."""
        try:
            self._pass.retrieve()
            while more := self._pass.position + 1 < LOOK_AHEAD and self._grab():
                if self._pass.retrieve():
                    break
        except BadImage:
            raise BadVideo(
                f"{self.name(self._pass.position)}: OpenCV cannot convert it (interlaced?); {CONVERT}"
            ) from None
        if not more:
            count = self._pass.position + 1
            same = f"its first {count} frames are byte for byte the same" if count > 1 else "a single frame"
            raise BadVideo(
                f"{self.path}: {same}: a still picture, or one that OpenCV cannot convert (interlaced?). Cut off its "
                f"beginning, or {CONVERT}"
            )
        while self._pass.position < ENOUGH and self._grab():  # for the rate
            pass

    def _rate(self) -> float | None:
        """Frames per second that can be believed; without time stamps there are none, and no times."""
        header, step = self._pass.get(cv2.CAP_PROP_FPS), self._step
        with self.path.open("rb") as file:
            if step <= 0 or BARE.match(file.read(16)):
                self._stamps = []
                self.remarks.append("the video has no time stamps, so its rate is not known; give fps")
                return None
        if abs(header * step - 1) < 0.1:
            return header
        if RATES[0] <= header <= RATES[1] and 0.2 < header * step < 5:
            self.remarks.append(
                f"its rate varies ({header:.4g} frames a second, {1 / step:.4g} in the beginning): times are those of "
                "its time stamps"
            )
            return header
        rate = round(1 / step, 3)
        self.remarks.append(f"a rate of {header:g} frames a second is not believed; by its time stamps it is {rate:g}")
        return rate

    def time(self, number: int) -> float | None:
        known = len(self._stamps)
        if not self.fps or not known:
            return None
        return self._stamps[number] if number < known else self._stamps[-1] + (number - known + 1) * self._step

    def __iter__(self) -> Iterator[int]:
        number = 0
        while self._seek(number):
            yield number
            number += 1

    def name(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}, frame {number}")

    def _seek(self, number: int) -> bool:
        """Decodes the frame of this number; whether the video has it."""
        if number < self._pass.position:
            self._open()
        while self._pass.position < number:
            if not self._grab():
                self._end()
                self._open()  # past its end nothing more can be asked of it
                return False
        return True

    def _end(self) -> None:
        """Remarks on a video that ends too early."""
        count = self._pass.position + 1
        damaged = any(self._pass.grab() for _ in range(LOOK_AHEAD))  # then it was no end
        broken = _breaks_off(self.path)
        if broken is None or self.damage:  # what is announced is the duration times the rate; time stamps count so too
            broken = broken or (count < self.announced and 0 <= self._counted < self.announced - 3)
        if (damaged or broken) and not any("could be read" in remark for remark in self.remarks):
            announced = f"the video announces {self.announced} frames, of which " if self.announced > count else ""
            where = "it is damaged there" if damaged else "it breaks off"
            self.damage = f"{announced}{count}{' frames' * (not announced)} could be read: {where}"
            self.remarks.append(self.damage)

    def _read(self, number: int, rgb: bool) -> np.ndarray:
        if number != self._shown:
            image = self._decode(number)
            if self._size != image.shape[1::-1]:
                image = cv2.resize(image, self._size, interpolation=cv2.INTER_LINEAR)
            self._shown, self._image = number, image
        return cv2.cvtColor(self._image, cv2.COLOR_BGR2RGB if rgb else cv2.COLOR_BGR2GRAY)

    def _decode(self, number: int) -> np.ndarray:
        """A frame in BGR, as OpenCV gives it. Raises BadImage where it is not sure that OpenCV converted it."""
        try:
            if self._seek(number):
                self._still = 0 if self._pass.retrieve() or number == 0 else self._still + 1
                # A still picture is verified after 1, 2, 4, 8, ... frames: each time may cost a pass
                if self._still & (self._still - 1) or not self._still or self._same_again(number):
                    return self._pass.buffer
        except BadImage:
            pass
        self._still = 0
        raise BadImage(f"{self.name(number)}: cannot be decoded (interlaced?); {CONVERT}, or leave this part out")

    def _same_again(self, number: int) -> bool:
        """Whether another pass, whose buffer held another picture before, gives the same for this frame."""
        image, check = self._pass.buffer, self._check
        if check is None or check.position >= number or np.array_equal(check.buffer, image):
            check = self._check = _Pass(self.path)
            check.grab()
            check.retrieve()
            while np.array_equal(check.buffer, image):
                if check.position + 1 >= number or not check.grab():
                    return _audible()  # the video began with a still picture
                check.retrieve()
        while check.position < number:
            if not check.grab():
                return False
        check.retrieve()
        return np.array_equal(check.buffer, image)


@cache
def _audible() -> bool:
    """Whether FFmpeg says what goes wrong: not where OpenCV was told to keep it silent before its first video."""
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "empty.mp4").write_bytes(b"\0\0\0\x10ftypisom\0\0\0\0")
        return "moov" in _Pass(path).heard


def _breaks_off(path: Path) -> bool | None:
    """Whether a file is shorter than its container says; None where that says nothing."""
    size = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(64)
        if begin[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):  # MP4, QuickTime: boxes in a row
            at = 0
            while at + 8 <= size:
                file.seek(at)
                head = file.read(16)
                length = int.from_bytes(head[:4], "big")
                if length == 1:
                    length = int.from_bytes(head[8:16], "big")
                if length < 8:  # 0: to the end
                    return False
                at += length
            return at > size
        if begin[:4] == b"RIFF":  # AVI
            return int.from_bytes(begin[4:8], "little") + 8 > size
        if begin[:4] == b"\x1aE\xdf\xa3":  # Matroska, WebM: a header, then a segment
            header, width = _ebml_size(begin[4:])
            at = 4 + width + header
            file.seek(at)
            segment = file.read(12)
            length, width = _ebml_size(segment[4:])
            if segment[:4] == b"\x18S\x80g" and length < (1 << 7 * width) - 1:  # else written without a size
                return at + 4 + width + length > size
    return None


def _ebml_size(content: bytes) -> tuple[int, int]:
    """A size as Matroska writes it, and the bytes that it takes."""
    width = 9 - content[0].bit_length() if content else 1
    return int.from_bytes(content[:width], "big") & ((1 << 7 * width) - 1), width
