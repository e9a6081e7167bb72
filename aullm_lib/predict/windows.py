"""A long video in windows: their length and stride, and the aligned frames of each."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from aullm_lib.clips import frame_positions
from aullm_lib.predict.reading import FrameSource
from aullm_lib.preprocess import alignment
from aullm_lib.support.images import BadImage
from aullm_lib.trained import Ensemble

UNITS = ("frames", "seconds")


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


@dataclass(eq=False)
class Window:
    """Consecutive frames of a video, both ends included, with the few of them that a model reads.

    Attributes:
        frames: [S, S] uint8 each, aligned.
        remark: Anything remarkable; of an unusable window, which has no frames, why.
    """

    first: int
    last: int
    matrix: np.ndarray | None = None
    frames: list[np.ndarray] = field(default_factory=list)
    remark: str = ""
    usable: bool = True

    def reject(self, reason: str) -> None:
        self.usable, self.remark, self.frames = False, reason, []


def windows(
    source: FrameSource, numbers: Iterable[int], length: int, stride: int, *, align: str, size: int, frames: int
) -> Iterator[Window]:
    """The whole windows of ``length`` frames that begin every ``stride`` frames, each as soon as it ends.

    In memory are one frame of the video, and the sampled frames of the length / stride windows that are under way.

    Args:
        source: the video.
        numbers: of its frames, in order.
        length, stride: in frames.
        align, size: as in ``preprocess.build``; a window's matrix comes from the face in its first frame.
        frames: how many of each window are sampled, evenly spread (``clips.frame_positions``).

    Raises:
        BadVideo: the frames change in size.
    """
    positions = frame_positions(torch.tensor([length]), frames)[0].tolist()
    running: deque[tuple[int, Window]] = deque()  # each with the position where it begins
    for at, number in enumerate(numbers):
        if at % stride == 0:
            running.append((at, _start(source, number, align, size)))
        sampling = [(begin, window) for begin, window in running if at - begin in positions and window.usable]
        try:
            image = source.read(number) if sampling else np.empty(0)
            for begin, window in sampling:
                matrix = alignment.squash(image.shape, size) if window.matrix is None else window.matrix
                window.frames += [alignment.warp(image, matrix, size)] * positions.count(at - begin)
        except BadImage as error:
            for _, window in sampling:
                window.reject(str(error))
        for _, window in running:
            window.last = number
        if running and at - running[0][0] == length - 1:
            yield running.popleft()[1]


def _start(source: FrameSource, number: int, align: str, size: int) -> Window:
    """The window that begins with a frame, aligned by the face in it."""
    window = Window(number, number)
    try:
        paths = (source.name(number),)
        window.matrix, notes = alignment.align_clip(paths, align, size, lambda _, rgb: source.read(number, rgb))
        window.remark = notes["remarks"]
    except alignment.NoFace:
        window.reject("no usable face in its first frame")
    except BadImage as error:
        window.reject(str(error))
    return window
