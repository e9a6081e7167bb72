"""One subject before the camera, one clip onto the disk: frames, crops and masks."""

from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aullm_lib.datasets.synthetic.anatomy import Array, draw_anatomy
from aullm_lib.datasets.synthetic.face import Face
from aullm_lib.datasets.synthetic.film import Film
from aullm_lib.datasets.synthetic.layouts import CROP, Layout, layout_of
from aullm_lib.datasets.synthetic.plan import stream
from aullm_lib.datasets.synthetic.stage import Staged

__all__ = ["seat", "seat_of", "write_clip", "write_image"]

JPEG_QUALITY = 90
SHORTEST = 8  # frames that a film needs; of a shorter clip only some of its frames are written


def seat_of(settings: dict[str, Any], subject: int) -> tuple[tuple[float, float], float]:
    """Where a subject sits in the frame (x, y of the point between the eyes) and R, in pixels."""
    x, y, size = (float(k) for k in stream(settings, subject, 0, 6).uniform(-1, 1, 3))
    seat = layout_of(settings["release"], quirks=False)
    centre = (seat.centre[0] + seat.sway[0] * x, seat.centre[1] + seat.sway[1] * y)
    return centre, seat.radius + seat.spread * size


def seat(settings: dict[str, Any], subject: int) -> Face:
    """A subject before the camera.  Who it is depends on the seed and the number alone."""
    anatomy = draw_anatomy(stream(settings, subject, 0, 7))
    centre, radius = seat_of(settings, subject)
    seat = layout_of(settings["release"], quirks=False)
    return Face(anatomy, seat.shape, centre, radius, seat.grey)


def _registration(eyes: Array) -> Array:
    """Similarity [2, 3] that puts the eyes [2, 2] where CASME II's crops have them."""
    middle, apart = eyes.mean(0), eyes[1] - eyes[0]
    scale = 107.0 / float(np.hypot(*apart))
    c, s = scale * apart / np.hypot(*apart)
    turn = np.array([[c, s], [-s, c]])
    return np.c_[turn, np.array([CROP[1] / 2 - 0.5, 112.0]) - turn @ middle]


def write_clip(root: Path, settings: dict[str, Any], layout: Layout, staged: Staged, face: Future[Face]) -> list[Any]:
    """Write one clip's frames and masks; return its row of `faces.csv`."""
    clip, who = staged.clip, (staged.filmed.subject, staged.filmed.index)
    n = clip.offset - clip.onset + 1
    long = max(n, SHORTEST)
    picks = np.linspace(0, long - 1, n).round().astype(int)  # of the film's frames
    apex = int(np.clip(picks[clip.apex - clip.onset], 1, long - 2))
    film = Film(
        face.result(),
        clip.actions,
        n_frames=long,
        apex=apex,
        intensity=settings["intensity"],
        rng=stream(settings, *who, 8),
    )
    crop = _registration(film.eyes) if layout.crops and staged.cropped else None
    written: dict[int, Path] = {}
    for number, image in _footage(film, staged, picks.tolist(), stream(settings, *who, 9)):
        written[number] = root / layout.path(layout.frames, clip, number, staged.folder)
        pictures = {written[number]: image}
        if crop is not None and clip.onset <= number <= clip.offset and number not in staged.uncropped:
            small = cv2.warpAffine(image, crop, CROP[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            pictures[root / layout.path(layout.crops, clip, number)] = small
        for path, picture in pictures.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_image(path, picture)
            if number in staged.cut:
                whole = path.read_bytes()
                path.write_bytes(whole[: len(whole) // 2])
    subject = layout.name(clip.subject)
    for action in clip.actions:
        mask = film.mask(action.au)
        kinds = {"masks": mask}
        if crop is not None:
            kinds["masks_cropped"] = cv2.warpAffine(mask, crop, CROP[::-1], flags=cv2.INTER_NEAREST)
        for kind, picture in kinds.items():
            folder = root / "SYNTHETIC" / kind / subject / clip.name
            folder.mkdir(parents=True, exist_ok=True)
            write_image(folder / f"AU{action.au}.png", picture)
    first = min(number for number in written if number >= clip.onset)
    image_path = written[first].relative_to(root).as_posix()
    return [subject, clip.name, image_path, *film.face_box, *film.eyes.ravel().tolist()]


def _footage(film: Film, staged: Staged, picks: list[int], rng: np.random.Generator) -> Iterator[tuple[int, Array]]:
    """The clip's frames with their numbers; those before its onset and after its offset show the nearest one again."""
    clip = staged.clip
    before = [k for k in staged.extra if k < clip.onset]
    after = [k for k in staged.extra if k > clip.offset]
    number = clip.onset
    for k, sharp in enumerate(film.frames()):
        if k not in picks:
            continue
        image = _blurred(sharp) if staged.faceless else sharp
        numbers = [*(before if number == clip.onset else []), number, *(after if number == clip.offset else [])]
        for shown in numbers:
            if shown == number and number not in staged.missing:
                yield shown, image
            elif shown != number:  # with other noise: no two frames of a camera are equal
                noise = rng.integers(-2, 3, image.shape, dtype=np.int16)
                yield shown, np.clip(image + noise, 0, 255).astype(np.uint8)
        number += 1


def _blurred(image: Array) -> Array:
    """So far out of focus that nobody finds a face."""
    height, width = image.shape[:2]
    small = cv2.resize(image, (max(width // 80, 2), max(height // 80, 2)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR))


def write_image(path: Path, image: Array) -> None:
    """Write a JPEG or PNG, by the path's ending.

    Raises:
        OSError: the disk is full, say.
    """
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    # imencode and a plain write, since cv2.imwrite says nothing when the disk is full
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())
