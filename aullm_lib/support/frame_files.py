"""The frames of a clip as paths: image files, or frames of a video, ``EP02_01f.avi/frame 46``, counted from 1.

So does FFmpeg number the images that it unpacks from a video, and so do releases number those of a whole recording.
"""

import os
from functools import cache
from pathlib import Path
from threading import local

import numpy as np

from aullm_lib.support import images
from aullm_lib.support.images import BadImage
from aullm_lib.support.video import VIDEOS, BadVideo, VideoFile

_open = local()  # the video that a thread reads, so that frames in order are decoded in one pass


def is_video(path: Path) -> bool:
    """Whether there is a file with a video's ending; False too where that cannot be known."""
    try:
        return path.suffix.lower() in VIDEOS and path.is_file()
    except OSError:
        return False


def file_of(frame: Path) -> Path:
    """The file that holds a frame."""
    return frame.parent if not frame.suffix and frame.parent.suffix.lower() in VIDEOS else frame


def of_video(path: Path) -> dict[int, Path]:
    """The frames of a video by number. Raises BadVideo where it cannot be read or is damaged, and OSError."""
    stat = path.stat()
    return {number: path / f"frame {number}" for number in range(1, _count(path, stat.st_size, stat.st_mtime_ns) + 1)}


@cache
def _count(path: Path, size: int, changed: int) -> int:
    """How many frames can be decoded: what a file says of itself may be wrong."""
    video = VideoFile(path)
    count = sum(1 for _ in video)
    if video.damage:
        raise BadVideo(f"{path}: {video.damage}; copy it again")
    return count


def read(frame: Path, rgb: bool = False) -> np.ndarray:
    """Reads a frame, of a video cheapest in order; see ``images.read``."""
    path = file_of(frame)
    if path == frame:
        return images.read(frame, rgb)
    if not is_video(path) or not os.access(path, os.R_OK):
        raise BadImage(f"{path}: no video that may be read; copy it again")
    stat = path.stat()
    key = path, stat.st_size, stat.st_mtime_ns
    try:
        if getattr(_open, "key", None) != key:
            _open.video = VideoFile(path)
            _open.key = key
        return _open.video.read(int(frame.name.split()[-1]) - 1, rgb)
    except BadVideo as error:
        raise BadImage(str(error)) from None


def size_of(frame: Path) -> tuple[int, int]:
    """Width and height of a frame in pixels. Raises BadImage and OSError as ``images.read``."""
    if file_of(frame) == frame:
        return images.size_of(frame)
    height, width = read(frame).shape
    return width, height
