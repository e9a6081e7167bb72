"""A long video in windows: their length and stride, and the aligned frames of each."""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from aullm_lib.clips import frame_positions
from aullm_lib.preprocess import alignment, faces
from aullm_lib.support.images import BadImage
from aullm_lib.support.video import FrameSource
from aullm_lib.trained import Ensemble

UNITS = ("frames", "seconds")
# How far an eye may move within a window, in distances between both. From MOVED on a remark says so; beyond GONE it is
# nearer to the other eye's place than to its own, and nothing of the face is where the first frame's matrix puts it.
MOVED, GONE = 0.25, 0.75
STILL = "all frames that the model reads are byte for byte the same: a still picture, in which nothing moves"


def windowing(
    model: Ensemble, fps: float | None, length: float | None, stride: float | None, unit: str
) -> tuple[int, int, str]:
    """Length and stride of a video's windows in frames, and in words where they come from.

    Takes the arguments of ``predict.video``.

    Raises:
        ValueError: One of them is wrong, or is needed; the message names it.
    """
    if unit not in UNITS:
        raise ValueError(f"unit={unit!r}: choose one of {', '.join(UNITS)}")
    if unit == "seconds" and fps is None:
        raise ValueError("unit='seconds': the video does not say how many frames it has a second; give fps")
    rate = fps if unit == "seconds" and fps else 1.0
    for name, value in (("length", length), ("stride", stride)):
        if value is not None and not (0 < value < float("inf") and (unit == "seconds" or value == int(value))):
            raise ValueError(f"{name}={value!r}: expected {'whole ' * (unit == 'frames')}{unit}, above 0")
    source = "as asked for"
    if length is None:
        median = model.median_frames
        if median is None:
            raise ValueError("length=None: the weights do not say how long their training's clips are; give length")
        source = f"as long as the median clip of the run, {median:g} frames"
        ratio = fps / model.fps if fps and model.fps else 1.0
        source += f" at {model.fps} a second" if fps and model.fps else ", whatever the rate"
        frames = max(2, round(median * ratio))
    else:
        frames = round(length * rate)
    step = max(1, frames // 2) if stride is None else max(1, round(stride * rate))
    if frames < 2:
        raise ValueError(f"length={length!r} {unit}: a window needs at least 2 frames")
    seconds = f" ({frames / fps:.2f} s)" if fps else ""
    description = f"windows of {frames} frames{seconds}, {source}; one begins every {step} frames"
    sampled = model.experiment.recipe.frames
    return frames, step, f"{description}; the model takes {sampled} of each" + ", so some repeat" * (frames < sampled)


@dataclass(frozen=True, eq=False)
class Sight:
    """A face in a frame, its portrait (``alignment.portrait``), and remarks on how it was found."""

    number: int
    face: faces.Face
    portrait: np.ndarray | None
    remark: str


@dataclass(eq=False)
class Window:
    """Consecutive frames of a video, both ends included, with the few of them that a model reads.

    Attributes:
        frames: [S, S] uint8 each, aligned.
        remark: Anything remarkable; of a window without success, which has no frames, why.
        success: Whether each frame that a model reads could be read, with a face in its place.
        confidence: The lowest score, 0 to 1, of the face in those frames; NaN where one of them shows none.
        sight: The face in the first frame.
    """

    first: int
    last: int
    matrix: np.ndarray | None = None
    frames: list[np.ndarray] = field(default_factory=list)
    prints: set[int] = field(default_factory=set)  # hashes of the video's frames that the model reads
    remark: str = ""
    success: bool = True
    confidence: float = math.nan
    sight: Sight | None = None

    def reject(self, reason: str, confidence: float = math.nan) -> None:
        self.success, self.remark, self.frames, self.confidence = False, reason, [], confidence

    def finish(self, frames: int) -> None:
        """Brings the frames to their number where the video has fewer in this time; says where nothing moves."""
        if self.success and self.frames:
            self.frames += self.frames[-1:] * (frames - len(self.frames))
        if self.success and len(self.prints) == 1:
            self.remark = "; ".join(filter(None, (self.remark, STILL)))

    def look(self, source: FrameSource, number: int, align: str, person: faces.Person) -> None:
        """Looks for the face in a frame that a model reads, as ``look`` does; without it the window is rejected."""
        try:
            self.see(look(source, number, align, person, anew=False), align)
        except alignment.NoFace as error:
            self.reject(_absent(error, f"frame {number}"))

    def see(self, sight: Sight, align: str) -> None:
        """Takes note of the face in one of the frames that a model reads, which rejects the window if it has gone."""
        if self.sight is None:
            self.sight, self.remark, self.confidence = sight, sight.remark, round(sight.face.score, 4)
            return
        self.confidence = min(self.confidence, round(sight.face.score, 4))
        moved = alignment.shift(self.sight.face, sight.face) if align in ("similarity", "crop") else 0.0
        way = f"in frame {sight.number} the face has moved by {moved:.0%} of the distance between its eyes"
        if moved > GONE:
            self.reject(f"{way}: another place, or another person", self.confidence)
            return
        remarks = [way] if moved > MOVED and "has moved" not in self.remark else []
        if self.sight.portrait is not None and sight.portrait is not None and "looks different" not in self.remark:
            part = alignment.unlike(self.sight.portrait, sight.portrait)
            why = f"looks different in frame {sight.number} (speech, a hand before the face, another person?)"
            remarks += [f"the region of the {part} {why}"] if part else []
        self.remark = "; ".join(filter(None, (self.remark, *remarks)))


def look(source: FrameSource, number: int, align: str, person: faces.Person, *, anew: bool) -> Sight:
    """A person's face in a frame.

    Args:
        source: the video.
        number: of the frame.
        align: as in ``preprocess.build``.
        person: whose face; is told where it was seen.
        anew: whether to search the whole frame; else where the face was before, and elsewhere only if it is gone.

    Raises:
        NoFace: there is no usable one.
        BadImage: the frame cannot be read.
    """
    image, last = source.read(number, True), person.last
    followed = faces.follow(image, last) if last and not anew else None
    face, words = (followed, "") if followed else alignment.pick(image, align, person)
    if anew and face and last and not last.near(face) and (followed := faces.follow(image, last)):
        face, words = followed, "several faces, the one followed so far taken"  # a larger one is elsewhere
    if face is None or (reason := alignment.unusable(face, image.shape, align)):
        raise alignment.NoFace(words if face is None else reason)
    person.last = face
    return Sight(number, face, alignment.portrait(image, face), words)


def _absent(error: alignment.NoFace, where: str) -> str:
    return f"no usable face in {where}" + f" ({error})" * (str(error) != "no face found")


def windows(
    source: FrameSource,
    numbers: Iterable[int],
    length: int,
    stride: int,
    *,
    align: str,
    size: int,
    frames: int,
    face: int = 0,
    clock: Callable[[int], int] | None = None,
) -> Iterator[Window]:
    """The whole windows of ``length`` frames that begin every ``stride`` frames, each as soon as it is over.

    In memory are one frame of the video, and the sampled frames of the length / stride windows that are under way. The
    face is looked for in every frame that a model reads, once, whatever windows share it.

    Args:
        source: the video.
        numbers: of its frames, in order.
        length, stride: in frames.
        align, size: as in ``preprocess.build``; a window's matrix comes from the face in its first frame.
        frames: how many of each window are sampled, evenly spread (``clips.frame_positions``).
        face: 0 for the largest where the first is seen, 1 for the second largest, ...; it is then followed.
        clock: where a frame lies in time, in frames of an even rate; by default they are as even as their order.

    Raises:
        BadVideo: the frames change in size.
        ValueError: a wrong ``face``.
    """
    positions = frame_positions(torch.tensor([length]), frames)[0].tolist()
    running: deque[tuple[int, Window]] = deque()  # each with the position where it begins
    person = faces.Person(face)

    def finished() -> Window:
        _, window = running.popleft()
        window.finish(frames)
        return window

    at = -1
    for index, number in enumerate(numbers):
        before, at = at, clock(number) if clock else index
        while running and at - running[0][0] >= length:
            yield finished()
        begins = at // stride > before // stride
        if begins:
            running.append((at // stride * stride, Window(number, number)))
        due = {begin: bisect_right(positions, at - begin) for begin, _ in running}
        sampling = [(begin, one) for begin, one in running if one.success and due[begin] > len(one.frames)]
        try:
            if sampling:
                image = source.read(number)
                sight = look(source, number, align, person, anew=begins)
                fingerprint = hash(image.tobytes())
                for begin, window in sampling:
                    window.prints.add(fingerprint)
                    window.see(sight, align)
                    if window.matrix is None:
                        fixed = align in ("none", "whole-frame")
                        window.matrix = (
                            alignment.squash(image.shape, size) if fixed else alignment.place(sight.face, align, size)
                        )
                    if window.success:
                        aligned = alignment.warp(image, window.matrix, size)
                        window.frames += [aligned] * (due[begin] - len(window.frames))
        except alignment.NoFace as error:
            for _, window in sampling:
                first = window.first == number
                window.reject(_absent(error, "its first frame" if first else f"frame {number}"))
        except BadImage as error:
            for _, window in sampling:
                window.reject(str(error))
        for _, window in running:
            window.last = number
    while running and at - running[0][0] >= length - 1:
        yield finished()
