"""How well faces are found and aligned: found share, eye and tilt error, and how much of a motion survives.

``make bench``, or ``python tests/benchmarks/faces.py [--subjects 8]``. The pictures need no licence: rendered faces
whose eyes are known, and NASA's portrait of an astronaut (``skimage.data.astronaut``, public domain), whose eye corners
were marked by hand. Each is put into a Full HD frame before a photograph of a table, at the widths and with the faults
of user videos. The eye error is the larger of both eyes', in hundredths of the distance between them. The gain is that
of a lip corner moved by half a stored pixel: how much of the change that exact area means would show is in the aligned
frames (the projection of one change on the other).
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import skimage.data

from aullm_lib import datasets
from aullm_lib.preprocess import alignment, faces
from aullm_lib.support import images

FRAME = (1080, 1920)
WIDTHS = (1 / 3, 1 / 4, 1 / 6, 1 / 8, 1 / 10, 1 / 12, 1 / 16)  # of the face, in widths of the frame
ASTRONAUT = np.array([[202.9, 101.6], [247.1, 103.7]]), np.array([244.0, 140.5]), 88.0  # by hand


@dataclass(frozen=True, eq=False)
class Portrait:
    """A picture [H, W, 3] RGB with its truth: eyes [2, 2], lip corner on the image's right, and width of the face."""

    name: str
    image: np.ndarray
    eyes: np.ndarray
    lip: np.ndarray
    width: float


def portraits(folder: Path, subjects: int) -> list[Portrait]:
    """The astronaut, and the first frame of as many synthetic subjects."""
    root = datasets.synthesize(folder / "release", subjects=subjects, clips_per_subject=1)
    made = [Portrait("astronaut", skimage.data.astronaut(), *ASTRONAUT)]
    for row in pd.read_csv(root / "SYNTHETIC" / "faces.csv").itertuples():
        eyes = np.array([[row.eye_left_x, row.eye_left_y], [row.eye_right_x, row.eye_right_y]])
        lip = np.array([row.x + 0.67 * row.width, row.y + 0.8 * row.height])  # about there
        made.append(Portrait(row.subject, images.read(root / row.image, rgb=True), eyes, lip, row.width))
    return made


def background() -> np.ndarray:
    return cv2.resize(skimage.data.coffee(), FRAME[::-1], interpolation=cv2.INTER_CUBIC)


def staged(face: Portrait, width: float, angle: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A Full HD frame with the portrait in it, turned by angle (degrees); its eyes and lip corner there.

    Args:
        face: the portrait.
        width: of its face, in widths of the frame.
        angle: clockwise.
    """
    scale = width * FRAME[1] / face.width
    a = np.radians(angle)
    turn = scale * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
    middle = face.eyes.mean(0) + np.array([0, 0.35 * face.width])
    matrix = np.c_[turn, np.array([0.55 * FRAME[1], 0.5 * FRAME[0]]) - turn @ middle]
    k = max(1, int(1 / scale))
    part = cv2.resize(face.image, None, fx=1 / k, fy=1 / k, interpolation=cv2.INTER_AREA) if k > 1 else face.image
    of_part = np.c_[matrix[:, :2] * k, matrix[:, 2] + matrix[:, :2] @ np.full(2, (k - 1) / 2)]
    frame = background()
    cv2.warpAffine(part, of_part, FRAME[::-1], dst=frame, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)
    return frame, face.eyes @ matrix[:, :2].T + matrix[:, 2], face.lip @ matrix[:, :2].T + matrix[:, 2]


def dark(image: np.ndarray) -> np.ndarray:
    """An eighth of the light, with the noise of so little."""
    noise = np.random.default_rng(0).normal(0, 3, image.shape)
    return np.clip(image / 8 + noise, 0, 255).astype(np.uint8)


def blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), 6)


def jpeg(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_COLOR)


def conditions() -> Iterator[tuple[str, float, float, Callable[[np.ndarray], np.ndarray]]]:
    """What is tried: in words, the face's width, its angle, and what is done to the frame."""
    for width in WIDTHS:
        yield f"1/{1 / width:.0f} of the width ({width * FRAME[1]:.0f} px)", width, 0.0, np.copy
    for angle, width in itertools.product((-30, 30, 90, 180, 270), (1 / 4, 1 / 10)):
        yield f"turned by {angle}°, 1/{1 / width:.0f}", width, angle, np.copy
    for change in (dark, blurred, jpeg):
        yield f"{'JPEG 10' if change is jpeg else change.__name__}, 1/4", 1 / 4, 0.0, change


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """The larger eye error in distances between the eyes, and the error of the eye line's tilt in degrees."""
    across = truth[1] - truth[0]
    far = np.linalg.norm(found - truth, axis=1).max() / np.linalg.norm(across)
    a, b = (complex(*v) for v in (found[1] - found[0], across))
    return float(far), abs(float(np.degrees(np.angle(a / b))))


def gain(frame: np.ndarray, lip: np.ndarray, matrix: np.ndarray, size: int = 64) -> float:
    """The share of a lip corner's motion by half a stored pixel that the aligned frames have."""
    scale = np.sqrt(np.linalg.det(matrix[:, :2]))
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    near = np.exp(-((x - lip[0]) ** 2 + (y - lip[1]) ** 2) * scale**2 / (2 * 4**2)) * (0.5 / scale)
    moved = cv2.remap(frame, x - np.float32(near * 0.8), y + np.float32(near * 0.6), cv2.INTER_CUBIC)
    change = [alignment.warp(image, matrix, size).astype(float) for image in (frame, moved)]
    fine = 16 * matrix + np.array([[0, 0, 7.5], [0, 0, 7.5]])
    exact = [
        cv2.warpAffine(image.astype(np.float32), fine, (16 * size,) * 2, borderMode=cv2.BORDER_REPLICATE)
        .reshape(size, 16, size, 16, -1).mean((1, 3))
        for image in (frame, moved)
    ]  # fmt: skip
    got, want = change[1] - change[0], exact[1] - exact[0]
    return float((got * want).sum() / (want * want).sum())


def measure(faces_shown: list[Portrait]) -> pd.DataFrame:
    """One row per condition: share found, median and largest errors, and the median gain."""
    rows = []
    for words, width, angle, change in conditions():
        far, tilt, gains, spent = [], [], [], []
        for face in faces_shown:
            frame, eyes, lip = staged(face, width, angle)
            frame = change(frame)
            start = time.perf_counter()
            one = faces.find(frame) or faces.find(frame, faces.LENIENT)
            spent.append(time.perf_counter() - start)
            if one is None or one.eyes is None:
                continue
            error = errors(one.eyes, eyes)
            far.append(100 * error[0])
            tilt.append(error[1])
            if width > 0.2 and not angle:
                gains.append(gain(frame, lip, alignment.level(one.eyes, 64)))
        rows.append(
            {"face": words, "found": len(far) / len(faces_shown), "eye error": np.median(far or np.nan),
             "largest": max(far, default=np.nan), "tilt": np.median(tilt or np.nan),
             "largest tilt": max(tilt, default=np.nan), "gain": np.median(gains or np.nan),
             "ms": 1000 * np.median(spent)}
        )  # fmt: skip
    return pd.DataFrame(rows).set_index("face")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subjects", type=int, default=8, help="synthetic faces")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        shown = portraits(Path(folder), options.subjects)
    print(f"{len(shown)} faces in {FRAME[1]}×{FRAME[0]}, found by {faces.detector()['name']}; errors in % of the eyes'")
    print("distance and in degrees, median and largest; gain of a lip corner moved by half a stored pixel")
    print(measure(shown).to_string(float_format="{:.2f}".format))


if __name__ == "__main__":
    main()
