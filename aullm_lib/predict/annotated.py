"""An annotated video of a prediction: the frame with its face, the aligned face, and traces of the AUs with a playhead.

The video is read a second time, one frame in memory at a time, and shown ``PAGE`` seconds of traces at a time. What is
drawn is what the models had: the box and the aligned face come from the matrix of the window in whose middle a frame
lies.

The ending chooses the format. OpenCV's wheel writes no H.264, so there is none that every program shows:

- ``.mp4`` (MPEG-4 part 2): desktop players (VLC, QuickTime, Windows Media Player, mpv), not browsers.
- ``.webm`` (VP8): browsers, notebooks and most desktop players; it takes some 20 times as long to write.
- ``.gif``: everywhere, also in slides and README files; small, so with fewer frames.
"""

import errno
import itertools
import math
import os
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from aullm_lib.predict import tables
from aullm_lib.predict.prediction import SYNTHETIC, Timeline
from aullm_lib.predict.reading import open_source
from aullm_lib.preprocess import alignment
from aullm_lib.support import files
from aullm_lib.support.video import FrameSource

CODECS = {".mp4": "mp4v", ".webm": "VP80"}
PAGE = 20.0  # seconds, or 500 frames where the rate is unknown
GIF_FRAMES, GIF_BYTES, GIF_SECONDS = 48, 1_000_000, (4.0, 12.0)
INK, GREY, BLUE, ORANGE, PALE = (0, 0, 0), (107, 107, 107), (0, 114, 178), (213, 94, 0), (232, 232, 232)
LIGHT = (204, 227, 240)
COLOURS = (INK, GREY, BLUE, ORANGE, PALE, LIGHT)
MARGIN = 8
Spans = Mapping[str, Sequence[tuple[int, int]]]


def overlay(
    timeline: Timeline,
    path: str | Path,
    *,
    onset: int | None = None,
    offset: int | None = None,
    annotation: Spans | None = None,
) -> Path:
    """Writes an annotated video of a timeline, whole or not at all.

    Args:
        timeline: Of ``predict.video``; its video must still be there.
        path: The file: .mp4, .webm or .gif. A GIF has at most ``GIF_FRAMES`` frames, evenly spread, and about
            ``GIF_BYTES``; it takes 4 to 12 seconds, and says how much slower or faster that is.
        onset, offset: First and last frame to show, by number; the whole that the timeline has by default.
        annotation: By AU, the first and the last frame of each of its occurrences, as an expert annotated them.

    Raises:
        ValueError: ``path`` is an input, no file, or of another ending; a wrong annotation; no such frames.
        FileNotFoundError, BadVideo, BadImage: The video cannot be read any more.
        OSError: The file cannot be written.
    """
    inputs = [timeline.source, *([timeline.path] if timeline.path else [])]
    path = tables.writable(path, [*CODECS, ".gif"], inputs)
    first, last = int(timeline.table["start_frame"].iloc[0]), int(timeline.table["end_frame"].iloc[-1])
    low, high = first if onset is None else onset, last if offset is None else offset
    if not first <= low <= high <= last:
        raise ValueError(f"onset={low}, offset={high}: expected frames from {first} to {last}, in order")
    gif, fps = path.suffix.lower() == ".gif", timeline.fps or 25.0
    step = -(-(high - low + 1) // GIF_FRAMES) if gif else 1
    source, picture = open_source(timeline.source), _Picture(timeline, low, high, _checked(annotation or {}), gif)
    images = (
        picture.drawn(number, source.read(number, True))
        for number in tqdm(_between(source, low, high), desc=path.name, total=high - low + 1, unit="frame")
        if (number - low) % step == 0
    )
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix.lower()}")
    try:
        with files.explained(path.parent, "the annotated video"):
            if gif:
                _write_gif(temporary, images, (high - low + 1) / fps)
            else:
                _write_video(temporary, images, fps)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _between(source: FrameSource, low: int, high: int) -> Iterator[int]:
    for number in source:
        if number > high:
            return
        if number >= low:
            yield number


def _checked(annotation: Spans) -> Spans:
    """Raises ValueError for an annotation that is not by AU, or not of pairs of frames in order."""
    for au, spans in annotation.items():
        if not re.fullmatch(r"AU[1-9][0-9]?", au):
            raise ValueError(f"annotation: {au!r} is no action unit; expected AU1, AU2, ...")
        for span in spans:
            if len(span) != 2 or not all(isinstance(end, int | np.integer) for end in span) or span[0] > span[1]:
                raise ValueError(f"annotation of {au}: {span!r}; expected the first and the last frame")
    return annotation


def _write_video(path: Path, images: Iterator[np.ndarray], fps: float) -> None:
    writer, count = cv2.VideoWriter(), 0
    try:
        for image in images:
            size = image.shape[1::-1]
            if not count and not writer.open(
                str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODECS[path.suffix]), fps, size
            ):
                raise OSError(f"{path}: OpenCV cannot write this format here; give another ending, such as .gif")
            writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            count += 1
    finally:
        writer.release()
    written = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)  # a full disk stops no writer of OpenCV's
    whole = 0
    while written.grab():
        whole += 1
    if whole != count:
        raise OSError(errno.ENOSPC, "not written to its end")


def _write_gif(path: Path, images: Iterator[np.ndarray], seconds: float) -> None:
    pages = [Image.fromarray(image) for image in images]
    some = np.concatenate([np.asarray(page) for page in pages[:: max(1, len(pages) // 4)]])
    colours = Image.fromarray(some).quantize(128 - len(COLOURS)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*colours[: 3 * (128 - len(COLOURS))], *itertools.chain(*COLOURS)])
    pages = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
    while True:
        duration = max(20, 10 * round(100 * _played(seconds) / len(pages)))  # milliseconds, in hundredths of a second
        pages[0].save(path, save_all=True, append_images=pages[1:], duration=duration, loop=0)
        if path.stat().st_size <= GIF_BYTES or len(pages) < 12:
            return
        pages = pages[::2]


def _played(seconds: float) -> float:
    """How long a GIF of a part of so many seconds takes."""
    return min(max(seconds, GIF_SECONDS[0]), GIF_SECONDS[1])


class _Picture:
    """The pictures of a timeline, all with the same layout."""

    def __init__(self, timeline: Timeline, low: int, high: int, annotation: Spans, gif: bool) -> None:
        self.timeline, self.low, self.annotation = timeline, low, annotation
        rate = timeline.fps or 25.0
        self.across = min(high - low + 1, max(2, math.ceil(PAGE * rate)))  # frames on a page
        self.width, self.side, self.row = (360, 104, 15) if gif else (640, 176, 20)
        self.em, self.line = (8, 12) if gif else (11, 15)  # size of type, from line to line
        self.large, self.small = _font(self.em + 2), _font(self.em)
        windows = timeline.windows
        self.left, self.right = timeline.spans(seconds=False).T
        self.left[0], self.right[-1] = windows["start_frame"].iloc[0], windows["end_frame"].iloc[-1] + 1
        self.values = timeline.by_window(timeline.shown).to_numpy()  # window au
        self.remarks, self.success = windows["remark"].tolist(), windows["success"].to_numpy()
        speed = _played((high - low + 1) / rate) / ((high - low + 1) / rate) if gif else 1.0
        pace = f" Played {speed:.3g} times slower." if speed > 1.05 else f" Played {1 / speed:.3g} times faster."
        dotted = "the median" if timeline.shown == "neutral" else "threshold"
        self.note = [f"Trace: {timeline.meaning}; dotted: {dotted}." + pace * (abs(speed - 1) > 0.05)]
        if annotation:
            others = [au for au in annotation if au not in timeline.thresholds]
            also = f"; annotated, but not among the model's AUs: {', '.join(others)}" * bool(others)
            self.note.append(f"● and orange line: annotated{also}.")
        self.note += [f"{remark[0].upper()}{remark[1:]}." for remark in timeline.remarks]
        self.page, self.background = -1, np.empty(0, np.uint8)

    def drawn(self, number: int, frame: np.ndarray) -> np.ndarray:
        """The picture [H, W, 3] uint8 of a frame [h, w, 3]."""
        if (page := (number - self.low) // self.across) != self.page:
            self.page, self.background = page, self._paper(page, frame.shape)
        picture, at = self.background.copy(), self._window(number + 0.5)
        x, y, tall = MARGIN, self.top, self.tall
        shown = cv2.resize(frame, (self.width, tall), interpolation=cv2.INTER_AREA)
        seen = at is not None and bool(self.success[at])
        if at is not None and seen:
            scale = np.array([self.width / frame.shape[1], tall / frame.shape[0]])
            matrix, size = self.timeline.matrices[at], self.timeline.settings["experiment"]["recipe"]["size"]
            corner, sides = self.timeline.boxes[at].reshape(2, 2)
            box = corner + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * sides
            for outline, colour in ((box - 0.5, BLUE), (alignment.outline(matrix, size), ORANGE)):
                if np.isfinite(outline).all():
                    points = np.rint(16 * ((outline + 0.5) * scale - 0.5)).astype(np.int32)
                    cv2.polylines(shown, [points], True, colour, 1 + (self.width > 400), cv2.LINE_AA, 4)
            face = alignment.warp(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), matrix, size)
            face = cv2.resize(face, (self.side, self.side), interpolation=cv2.INTER_NEAREST)
            picture[y : y + self.side, self.beside : self.beside + self.side] = face[..., None]
        picture[y : y + tall, x : x + self.width] = shown
        share = (number - self.low - page * self.across + 0.5) / self.across
        play = self.start + round(share * (self.end - self.start))
        cv2.line(picture, (play, self.traces), (play, self.traces + self.row * len(self._aus)), INK, 1)
        image = Image.fromarray(picture)
        draw = ImageDraw.Draw(image)
        draw.text((self.full - MARGIN, MARGIN), self._time(number), INK, self.large, anchor="ra")
        if at is None or not seen:
            why = "no window" if at is None else self.remarks[at]
            draw.multiline_text((self.beside + 4, y + 4), textwrap.fill(why, 20), INK, self.small)
        for i, au in enumerate(self._aus):
            value = np.nan if at is None else self.values[at, i]
            text = "–" if np.isnan(value) else f"{value:.2f}"
            high = value >= self._limit(au)
            place = (self.full - MARGIN, self.traces + (i + 0.5) * self.row)
            draw.text(place, text, BLUE if high else GREY, self.small, anchor="rm")
        return np.asarray(image)

    @property
    def _aus(self) -> list[str]:
        return list(self.timeline.thresholds.index)

    def _limit(self, au: str) -> float:
        return 0.5 if self.timeline.shown == "neutral" else self.timeline.thresholds[au]

    def _window(self, number: float) -> int | None:
        """The window in whose middle a frame lies."""
        at = int(np.searchsorted(self.left, number, side="right")) - 1
        return at if at >= 0 and number < self.right[at] else None

    def _time(self, number: int, axis: bool = False) -> str:
        windows = self.timeline.windows
        frames = np.append(windows["start_frame"], windows["end_frame"].iloc[-1] + 1)
        times = np.append(windows["start_s"], windows["end_s"].iloc[-1])
        seconds = [f"{np.interp(number, frames, times):.2f} s"] if self.timeline.timed else []
        return ", ".join(seconds if axis and seconds else [f"frame {number}", *seconds])

    def _paper(self, page: int, shape: tuple[int, ...]) -> np.ndarray:
        """All that stays the same on a page of traces."""
        self.tall = round(self.width * shape[0] / shape[1])
        self.top = 2 * MARGIN + (self.em + 2)
        self.beside = self.width + 2 * MARGIN
        self.full = (self.beside + self.side + MARGIN) // 2 * 2
        self.traces = int(self.top + max(self.tall, self.side + 2 * self.em + 6) + MARGIN)
        self.start, self.end = MARGIN + 4 * self.em + 8, self.full - MARGIN - 3 * self.em
        low = self.traces + self.row * len(self._aus)
        lines = [line for text in self.note for line in self._wrapped(text)]
        synthetic = self._wrapped(SYNTHETIC) if self.timeline.synthetic else []
        height = int(low + self.line * (len(lines) + len(synthetic) + 1.5) + MARGIN) // 2 * 2
        image = Image.new("RGB", (self.full, height), "white")
        draw = ImageDraw.Draw(image)
        name = self.timeline.source.name
        draw.text((MARGIN, MARGIN), name if len(name) < 40 else f"{name[:39]}…", INK, self.large)
        draw.rectangle((self.beside, self.top, self.beside + self.side - 1, self.top + self.side - 1), PALE)
        draw.multiline_text((self.beside, self.top + self.side + 3), "aligned face\n(orange outline)", GREY, self.small)
        begin = self.low + page * self.across
        for i, au in enumerate(self._aus):
            self._trace(draw, i, au, begin)
        for share, anchor in ((0.0, "la"), (0.5, "ma"), (1.0, "ra")):
            place = (self.start + share * (self.end - self.start), low + 2)
            draw.text(place, self._time(round(begin + share * self.across), axis=True), GREY, self.small, anchor=anchor)
        y = low + 1.5 * self.line
        for texts, colour in ((synthetic, ORANGE), (lines, GREY)):
            for text in texts:
                draw.text((MARGIN, y), text, colour, self.small)
                y += self.line
        return np.asarray(image)

    def _wrapped(self, text: str) -> list[str]:
        return textwrap.wrap(text, int((self.full - 2 * MARGIN) / (0.56 * self.em)))

    def _trace(self, draw: ImageDraw.ImageDraw, i: int, au: str, begin: int) -> None:
        """The trace of the AU number i on the page that begins with this frame."""
        top, wide = self.traces + i * self.row, self.end - self.start
        floor, tall = top + self.row - 2, self.row - 4
        annotated = au in self.annotation
        draw.text((MARGIN, top + self.row / 2), f"{'● ' * annotated}{au}", ORANGE if annotated else INK, self.small,
                  anchor="lm")  # fmt: skip
        edges = begin + np.arange(wide + 1) / wide * self.across  # frames
        before: float | None = None
        for x, (low, high) in enumerate(itertools.pairwise(edges), start=self.start):
            some = range(int(np.searchsorted(self.left, low, side="right")) - 1, int(np.searchsorted(self.left, high)))
            values = [self.values[at, i] for at in some if at >= 0 and low < self.right[at]]
            value = max((value for value in values if not np.isnan(value)), default=None)  # a peak is not lost
            if value is None:
                draw.line((x, floor - tall, x, floor), PALE)
                before = None
                continue
            y = floor - value * tall
            draw.line((x, y, x, floor), LIGHT)
            draw.line((x - 1, y if before is None else before, x, y), BLUE)
            before = y
        for x in range(self.start, self.end, 4):
            draw.point((x, floor - self._limit(au) * tall), INK)
        for first, last in self.annotation.get(au, ()):
            left, right = (self.start + (end - begin) / self.across * wide for end in (first, last + 1))
            if left < self.end and right > self.start:
                draw.rectangle((max(left, self.start), floor - 1, min(right, self.end), floor + 1), ORANGE)
        draw.line((self.start, floor + 1, self.end, floor + 1), PALE)


def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
