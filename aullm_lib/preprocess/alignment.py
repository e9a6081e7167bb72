"""Where a clip's face is aligned: its face found, the affine map that puts the face in place, and the warp.

A clip has one map, found in its onset frame and applied to all its frames: a map per frame would move with the detector
and hide the motion that the AUs make. Every map is one affine matrix [2, 3] from frame pixels to stored pixels,
(x, y, 1) -> (x, y), where pixel (0, 0) has its centre at (0, 0).
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from aullm_lib.preprocess import faces
from aullm_lib.support.frame_files import read

ALIGNMENTS = ("none", "whole-frame", "crop", "similarity")
# Of the stored side. CASME II's own registered crops have 107 / 280 and 112 / 340; in a square, eyes a little closer
# together leave room for every chin.
EYES_APART, EYES_DOWN = 0.34, 0.33
MARGIN = 0.06  # around the face in "crop": of its larger side, on each side
OUTSIDE = 0.25  # share of a face's box beyond the frame from which on it is of no use
TURNED = 45  # degrees from upright from which on it is remarked
PARTS = {"mouth": np.s_[40:58, 18:46], "eyes": np.s_[14:28, 8:56]}  # rows and columns of 64×64
ALIKE = 0.5
LATER = 5  # frames after the onset that are searched if the onset frame shows no face


class NoFace(ValueError):
    """No usable face was found in the frames that were searched; the message names the first."""


def align_clip(
    paths: tuple[Path, ...],
    align: str,
    size: int,
    look: Callable[[Path, bool], np.ndarray] = read,
    person: faces.Person | None = None,
) -> tuple[np.ndarray | None, dict[str, Any]]:
    """Finds a clip's map.

    Args:
        paths: the clip's frames.
        align: one of ``ALIGNMENTS``.
        size: side of the stored frames in pixels.
        look: opens a frame, as ``images.read`` does.
        person: whose face, where there are several; the largest unless given.

    Returns:
        The matrix [2, 3], or None where the whole frame is stored, whatever its size; and "found_in", "score" and
        "remarks" of the face.

    Raises:
        NoFace, BadImage, OSError: as ``locate``.
    """
    if align in ("none", "whole-frame"):
        return None, {"found_in": "", "score": None, "remarks": ""}
    face, path, remarks = locate(paths, align == "similarity", look, person)
    return place(face, align, size), {"found_in": path.name, "score": round(face.score, 4), "remarks": remarks}


def place(face: faces.Face, align: str, size: int) -> np.ndarray:
    """The matrix [2, 3] of a face, for ``align`` "similarity" or "crop"."""
    return cut(around(face.box), size) if align == "crop" else level(np.asarray(face.eyes), size)


def locate(
    paths: tuple[Path, ...],
    eyes: bool = True,
    look: Callable[[Path, bool], np.ndarray] = read,
    person: faces.Person | None = None,
) -> tuple[faces.Face, Path, str]:
    """Finds the face of a clip: in the onset frame, strictly and then leniently, then in LATER frames over the rest.

    Args:
        paths: the clip's frames.
        eyes: whether a face must have eyes.
        look: opens a frame, as ``images.read`` does.
        person: whose face, where there are several; the largest unless given. Is told where it was seen.

    Returns:
        The face, the frame that it was found in, and remarks ("" if there are none).

    Raises:
        NoFace: naming the onset frame and why.
        BadImage, OSError: a frame cannot be read.
    """
    person, align = person or faces.Person(), "similarity" if eyes else "crop"
    positions = spread(len(paths))
    reasons: dict[str, None] = {}  # in order, each once
    for position in positions:
        face, words = pick(look(paths[position], True), align, person)
        if face is not None:
            person.last = face
            later = f"face found in {paths[position].name}, not in the onset frame" * (position > 0)
            return face, paths[position], "; ".join(filter(None, (later, words)))
        reasons[words] = None
    if len(reasons) > 1:
        reasons.pop("no face found", None)  # the other reason says more
    raise NoFace(
        f"{paths[0]}: {', '.join(reasons)} (in this and {len(positions) - 1} later frames); crop it by hand or leave "
        "the clip out"
    )


def spread(count: int) -> list[int]:
    """The positions of the first of ``count`` frames, and of LATER more over the rest."""
    return sorted({round(i * (count - 1) / LATER) for i in range(LATER + 1)})


def pick(image: np.ndarray, align: str, person: faces.Person) -> tuple[faces.Face | None, str]:
    """A person's face in an image, strictly and then leniently, and remarks; or None, and why there is none."""
    found, reason = faces.find_all(image, person.rank + 1), ""
    for threshold in (faces.STRICT, faces.LENIENT):
        face, words = person.choose([one for one in found if one.score >= threshold])
        if face is None or (reason := unusable(face, image.shape, align)):
            reason = reason or words
            continue
        turned = 0.0 if face.eyes is None else math.degrees(faces.tilt(face.eyes))
        remarks = {
            words: bool(words),
            f"face found leniently (score {face.score:.2f})": threshold < faces.STRICT,
            f"face turned by {turned:.0f}°; aligned upright": abs(turned) > TURNED,
            "face found by OpenCV's cascades": face.points is None,
        }
        return face, "; ".join(text for text, holds in remarks.items() if holds)
    return None, reason


def unusable(face: faces.Face, shape: tuple[int, ...], align: str) -> str:
    """Why a face of an image of this shape (height, width, ...) cannot be aligned; "" if it can, or need not be."""
    if align == "similarity" and face.eyes is None:
        return "no pair of eyes found in the face"
    if align in ("similarity", "crop") and face.outside(shape) > OUTSIDE:
        return "more than a quarter of the face lies outside the frame"
    return ""


def shift(first: faces.Face, later: faces.Face) -> float:
    """How far a face has moved: the farther eye's way, in distances between the eyes of the first face.

    Where a cascade found no eyes, the way of the middle of the face in thirds of its width, about as much.
    """
    if first.eyes is None or later.eyes is None:
        return float(np.linalg.norm(later.centre - first.centre) / (first.box[2] / 3))
    apart = np.linalg.norm(first.eyes[1] - first.eyes[0])
    return float(np.linalg.norm(later.eyes - first.eyes, axis=1).max() / apart)


def portrait(image: np.ndarray, face: faces.Face) -> np.ndarray | None:
    """A face of an image, [64, 64] or [64, 64, 3], around its own eyes, wherever they are; None where it has none."""
    return None if face.eyes is None else warp(image, level(face.eyes, 64), 64)


def unlike(first: np.ndarray, later: np.ndarray) -> str:
    """The part of an aligned face that is unlike an earlier frame's, by grey levels less their mean; "" if none is.

    Within a window only little of a face moves. The likeness 2ab / (aa + bb) around the mouth was never below 0.9 in
    synthetic micro-expressions and never above 0.4 between two persons; a hand before it, and speech, lie between.
    """
    pair = [cv2.resize(one, (64, 64), interpolation=cv2.INTER_AREA) for one in (first, later)]
    pair = [one if one.ndim == 2 else cv2.cvtColor(one, cv2.COLOR_RGB2GRAY) for one in pair]
    for name, part in PARTS.items():
        a, b = (np.ravel(one[part]).astype(float) - one[part].mean() for one in pair)
        if 2 * (a @ b) < ALIKE * (a @ a + b @ b):
            return name
    return ""


def squash(shape: tuple[int, ...], size: int) -> np.ndarray:
    """The matrix [2, 3] that takes a whole frame of this shape (height, width, ...) to [size, size]."""
    return cut((0, 0, shape[1], shape[0]), size)


def cut(box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """The matrix [2, 3] that takes a box (left, top, width, height; pixels' edges) to [size, size]."""
    left, top, width, height = box
    x, y = size / width, size / height
    return np.array([[x, 0, (0.5 - left) * x - 0.5], [0, y, (0.5 - top) * y - 0.5]])


def around(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """The square of whole pixels around a face's box, with a margin."""
    left, top, width, height = box
    side = round((1 + 2 * MARGIN) * max(width, height))
    return round(left + (width - side) / 2), round(top + (height - side) / 2), side, side


def level(eyes: np.ndarray, size: int) -> np.ndarray:
    """The similarity [2, 3] that puts eyes [2, 2] level, EYES_APART and EYES_DOWN in [size, size]."""
    across, down = np.asarray(eyes[1] - eyes[0], np.float64)
    scale = EYES_APART * size / (across**2 + down**2)
    turn = scale * np.array([[across, down], [-down, across]])
    target = np.array([0.5 * size - 0.5, EYES_DOWN * size - 0.5])
    return np.c_[turn, target - turn @ np.mean(eyes, axis=0)]


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """Applies a map: [H, W] or [H, W, 3] uint8 -> the same with [size, size]; the image's border is repeated.

    A box of whole pixels is cut and shrunk exactly, by area means. Any other map is sampled bilinearly on a grid about
    as fine as the image's, k by k samples per stored pixel, which are then averaged.
    """
    scale = matrix[[0, 1], [0, 1]]
    box = np.r_[0.5 - (matrix[:, 2] + 0.5) / scale, size / scale] if matrix[0, 1] == matrix[1, 0] == 0 else np.inf
    if np.all(np.isfinite(box)) and np.allclose(box, np.rint(box), rtol=0, atol=1e-3):
        left, top, width, height = np.rint(box).astype(int).tolist()
        pad = max(0, -left, -top, left + width - image.shape[1], top + height - image.shape[0])
        if pad:
            image = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        part = image[top + pad : top + pad + height, left + pad : left + pad + width]
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA)
    k = max(1, math.ceil(1 / math.sqrt(abs(np.linalg.det(matrix[:, :2]))) - 0.25))  # then shrunk by 1.25 at most
    fine = k * matrix
    fine[:, 2] += (k - 1) / 2
    fine_size = (k * size, k * size)
    large = cv2.warpAffine(image, fine, fine_size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)


def outline(matrix: np.ndarray, size: int) -> np.ndarray:
    """The part of the frame that is stored: its corners [4, 2] in frame pixels, clockwise from top left."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]]) - 0.5
    return (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
