"""The faces of an image: their boxes and the centres of their eyes, upright, whatever their size and tilt.

MediaPipe's short-range detector (BlazeFace, 128×128) proposes faces and its mesh (192×192) puts 468 points on one. The
two networks are run by OpenCV's DNN module; MediaPipe itself is never installed. Their weights are Apache-2.0 files
inside MediaPipe's wheel, which ``python -m aullm_lib.preprocess`` (part of ``make setup``) downloads once
through pip; they are checked against the digests below whenever they are loaded. Where they are missing, OpenCV's
bundled cascades (``haarcascade_frontalface_alt2`` and ``haarcascade_eye``) do the work, less exactly.

Departures from MediaPipe's own graphs: the image is shrunk by area averaging and not by bilinear sampling. A face that
the detector proposes is searched again in a square of three times its side, levelled and upside down, until it is found
in the same place twice: faces narrower than an eighth of the image are else placed 15 % off or more, tilted up to 33°,
and those upside down are taken for upright ones. Where the whole image shows no sure face, squares of a half, a quarter
... of it are searched, down to faces of some 60 pixels. (The wheel's full-range detector, for small faces, has an
operator that OpenCV does not know.) The mesh is laid twice, the second time on the square that the first one found.
Pixel (0, 0) has its centre at (0, 0).
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import local

import cv2
import numpy as np

from aullm_lib.support import wheels

MEDIAPIPE = "0.10.21"  # the last release whose wheel holds the models
WEIGHTS = {
    "face_detection_short_range.tflite": "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    "face_landmark.tflite": "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814",
}
FOLDER = wheels.folder("mediapipe", MEDIAPIPE)
CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_eye.xml")

STRICT, LENIENT = 0.5, 0.3  # least score of the detector and of the mesh; 0.5 is MediaPipe's
NEIGHBOURS = {1.0: 6, LENIENT: 2}  # agreeing boxes that the frontal cascade needs for a score
# Least score of a place that is looked at again, and of the face there: in the whole image, and in its tiles, which are
# so many that in one of them there is always something that is hardly a face.
WHOLE, TILED = (0.2, LENIENT), (0.5, 0.7)
AROUND = 3.0  # side of the square around such a place, in sides of its box
LOOKS = 4  # until place, size and tilt are the same as in the look before
SMALLEST, SMALLEST_SHARE = 64, 1 / 9  # side of the smallest face, in pixels; and in sides of what the detector is shown
CORNERS = ((33, 133), (362, 263))  # mesh points: outer and inner corner of the eye on the image's left, then the other
_nets = local()  # a cv2.dnn net or a cascade must not be shared between threads


@dataclass(frozen=True, eq=False)
class Face:
    """A face in an image, in that image's pixels.

    Attributes:
        box: left, top, width, height, from the forehead to the chin; may reach beyond the image.
        eyes: [2, 2] float, (x, y) of the middle between the two corners of each eye, the one on the image's left first;
            None where a cascade found a face but no plausible pair of eyes.
        score: 0 to 1, the lower of detector and mesh; 1 from a cascade.
        count: faces in the image, of which this is the largest.
        points: [468, 2] float, MediaPipe's mesh; None from a cascade.
    """

    box: tuple[float, float, float, float]
    eyes: np.ndarray | None
    score: float
    count: int
    points: np.ndarray | None = None

    @property
    def centre(self) -> np.ndarray:
        """(x, y) of the middle of the box."""
        left, top, width, height = self.box
        return np.array([left + width / 2, top + height / 2])

    def holds(self, point: np.ndarray) -> bool:
        """Whether a point (x, y) lies in the box."""
        return bool((np.abs(point - self.centre) < np.array(self.box[2:]) / 2).all())

    def near(self, other: "Face") -> bool:
        """Whether another face's middle lies in this one's box, as a face's does in the frame after."""
        return self.holds(other.centre)

    def outside(self, shape: tuple[int, ...]) -> float:
        """The share of the box, 0 to 1, that lies beyond an image of this shape (height, width, ...)."""
        left, top, width, height = self.box
        across = min(left + width, shape[1]) - max(left, 0)
        down = min(top + height, shape[0]) - max(top, 0)
        return 1 - max(across, 0) * max(down, 0) / (width * height)


class Person:
    """Whose face is meant where an image shows several, the same one along a video.

    Attributes:
        rank: 0 for the largest face where a face is first seen, 1 for the second largest, and so on.
        last: the face where it was last seen. Of an image's faces the nearest to it is taken, if one is near.
    """

    def __init__(self, rank: int = 0) -> None:
        if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or rank < 0:
            raise ValueError(f"face={rank!r}: expected 0 for the largest face, 1 for the second largest, and so on")
        self.rank = int(rank)
        self.last: Face | None = None

    def choose(self, found: list[Face]) -> tuple[Face | None, str]:
        """This person's face among those of an image, the largest first; and a remark, or why there is none."""
        last, order = self.last, "the largest" if self.rank == 0 else f"number {self.rank + 1} by size"
        near = [face for face in found if last is not None and last.near(face)]
        if last is not None and near:
            face = min(near, key=lambda face: float(np.linalg.norm(face.centre - last.centre)))
            return face, f"{len(found)} faces, the one followed so far taken" * (len(found) > 1)
        if self.rank >= len(found):
            return None, f"no face number {self.rank + 1}, only {len(found)}" if found else "no face found"
        remarks = [f"{len(found)} faces, {order} taken"] * (len(found) > 1)
        remarks += ["the face is not where it was before, perhaps another person's"] * (last is not None)
        return found[self.rank], "; ".join(remarks)


def installed() -> bool:
    """Whether both weight files are there; their content is checked when they are loaded."""
    return all((FOLDER / name).is_file() for name in WEIGHTS)


def detector() -> dict:
    """What ``find`` uses on this machine: a name, the sha256 of its weights by file, and its thresholds."""
    scores = {"strict": STRICT, "lenient": LENIENT}
    if installed():
        return {"name": f"mediapipe {MEDIAPIPE}", "weights": WEIGHTS, "around": AROUND} | scores
    names = " + ".join(Path(name).stem for name in CASCADES)
    return {"name": names, "weights": None, "neighbours": list(NEIGHBOURS.values())} | scores


def find(image: np.ndarray, threshold: float = STRICT) -> Face | None:
    """The largest face of an image whose score is at least ``threshold``, or None; else as ``find_all``."""
    found = [face for face in find_all(image) if face.score >= threshold]
    return replace(found[0], count=len(found)) if found else None


def find_all(image: np.ndarray, wanted: int = 1) -> list[Face]:
    """The faces of an image with a score of at least LENIENT, the largest first.

    Args:
        image: uint8 [H, W] grey or [H, W, 3] RGB.
        wanted: how many must be found before the search for smaller ones, in parts of the image, ends.

    Raises:
        ValueError: naming a weight file that is not the one expected.
    """
    found = _find_meshes(image, wanted) if installed() else _find_cascades(image)
    found.sort(key=lambda face: -face.box[2] * face.box[3])
    return [replace(face, count=len(found)) for face in found]


def follow(image: np.ndarray, last: Face) -> Face | None:
    """The face of an image where it was in a frame shortly before, or None; quicker than ``find_all``.

    Args:
        image: as in ``find_all``.
        last: the face in the frame before.
    """
    if last.points is None or last.eyes is None:
        return next((face for face in find_all(image) if last.near(face)), None)
    return _look_again(_rgb(image), last.centre, last.box[2], tilt(last.eyes), turns=(0.0,), passes=1)


def _load(name: str) -> cv2.dnn.Net:
    """This thread's network from a weight file."""
    nets = vars(_nets)
    if name not in nets:
        content = (FOLDER / name).read_bytes()
        digest = wheels.digest(content)
        if digest != WEIGHTS[name]:
            raise ValueError(
                f"{FOLDER / name}: its sha256 begins {digest[:12]}, not {WEIGHTS[name][:12]} as MediaPipe "
                f"{MEDIAPIPE}'s does; fetch it again: {wheels.COMMAND}"
            )
        nets[name] = cv2.dnn.readNetFromTFLite(np.frombuffer(content, np.uint8))
    return nets[name]


def _run(name: str, blob: np.ndarray) -> dict[int, np.ndarray]:
    """The network's outputs, flat, by their number of elements: their names and order depend on OpenCV's version."""
    net = _load(name)
    net.setInput(blob)
    return {output.size: output.reshape(-1) for output in net.forward(net.getUnconnectedOutLayersNames())}


def _rgb(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -50, 50)))


def _anchors() -> np.ndarray:
    """Centres [896, 2] of the detector's anchors in units of its input: 2 per cell of 16×16, then 6 per cell of 8×8."""
    grids = []
    for cells, each in ((16, 2), (8, 6)):
        ticks = (np.arange(cells) + 0.5) / cells
        grids.append(np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2).repeat(each, 0))  # row by row
    return np.concatenate(grids)


def _detect(rgb: np.ndarray, threshold: float) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Faces of [H, W, 3]: score, box [2, 2] (centre; width and height), eyes [2, 2], in pixels, the largest first."""
    height, width = rgb.shape[:2]
    scale = 128 / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    pad = ((128 - inner[0]) // 2, (128 - inner[1]) // 2)
    square = np.zeros((128, 128, 3), np.uint8)
    shrunk = cv2.resize(rgb, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    square[pad[1] : pad[1] + inner[1], pad[0] : pad[0] + inner[0]] = shrunk
    blob = cv2.dnn.blobFromImage(square, 1 / 127.5, mean=(127.5,) * 3)  # [1, 3, 128, 128] in [-1, 1]
    outputs = _run("face_detection_short_range.tflite", blob)
    scores = _sigmoid(outputs[896])
    likely = np.flatnonzero(scores >= threshold)
    likely = likely[np.argsort(-scores[likely], kind="stable")]
    scores, raw = scores[likely], outputs[896 * 16].reshape(896, 8, 2)[likely] / 128  # centre, size, 6 key points
    places = raw + _anchors()[likely, None]
    places[:, 1] = raw[:, 1]  # the size is no place
    low, high = places[:, 0] - places[:, 1] / 2, places[:, 0] + places[:, 1] / 2
    area = places[:, 1].prod(-1)
    free = np.ones(len(likely), bool)
    detected = []
    for i in range(len(likely)):
        if free[i]:  # weighted suppression: boxes that overlap the best one are averaged, weighted by score
            shared = np.clip(np.minimum(high, high[i]) - np.maximum(low, low[i]), 0, None).prod(-1)
            same = free & (shared / (area + area[i] - shared) > 0.3)
            same[i] = True
            free &= ~same
            mean = (places[same] * scores[same, None, None]).sum(0) / scores[same].sum()  # [8, 2]
            pixels = (mean * 128 - pad) * (width, height) / inner - 0.5
            detected.append((float(scores[i]), np.stack([pixels[0], mean[1] * 128 / scale]), pixels[2:4]))
    return sorted(detected, key=lambda face: -float(face[1][1].max()))


def _square(rgb: np.ndarray, centre: np.ndarray, side: float, angle: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A square of the image, turned by angle (radians), as [size, size, 3], and the map [2, 3] back to the image."""
    step = side / size
    turn = step * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    to_image = np.c_[turn, centre - turn @ np.full(2, (size - 1) / 2)]
    k = max(1, min(int(step), *rgb.shape[:2]))  # the part that matters is shrunk by area averaging first
    reach = side * (abs(math.cos(angle)) + abs(math.sin(angle))) / 2 + k
    limits = np.array(rgb.shape[1::-1])
    low = np.clip(centre - reach, 0, limits - k).astype(int)
    high = np.clip(np.ceil(centre + reach), low + k, limits).astype(int)
    across, down = ((high - low) // k).tolist()
    part = rgb[low[1] : low[1] + down * k, low[0] : low[0] + across * k]
    part = cv2.resize(part, (across, down), interpolation=cv2.INTER_AREA) if k > 1 else np.ascontiguousarray(part)
    to_part = np.c_[turn / k, (to_image[:, 2] - low + 0.5) / k - 0.5]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, to_part, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE), to_image


def _mesh(rgb: np.ndarray, centre: np.ndarray, side: float, angle: float) -> tuple[np.ndarray, float]:
    """Mesh points [468, 2] in pixels and the score of a face being there, from a square turned by angle (radians)."""
    square, to_image = _square(rgb, centre, side, angle, 192)
    outputs = _run("face_landmark.tflite", cv2.dnn.blobFromImage(square, 1 / 255))
    points = outputs[1404].reshape(468, 3)[:, :2] - 0.5  # the network counts from the pixels' edges
    return _apply(to_image, points), float(_sigmoid(outputs[1])[0])


def tilt(eyes: np.ndarray) -> float:
    """The angle of the eye line in radians, clockwise."""
    return math.atan2(*(eyes[1] - eyes[0])[::-1])


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _tilings(height: int, width: int) -> Iterator[list[tuple[int, int, int]]]:
    """The whole image, then ever smaller squares that overlap by half: left, top and side of each."""
    side = max(height, width)
    yield [(0, 0, side)]
    while (side := side // 2) * SMALLEST_SHARE * 2 > SMALLEST:
        lefts, tops = (
            np.linspace(0, max(0, length - side), 1 + max(0, math.ceil((length - side) / (side / 2)))).astype(int)
            for length in (width, height)
        )
        yield [(left, top, side) for top in tops.tolist() for left in lefts.tolist()]


def _find_meshes(image: np.ndarray, wanted: int) -> list[Face]:
    rgb = _rgb(image)
    found: list[Face] = []
    for level, tiles in enumerate(_tilings(*rgb.shape[:2])):
        proposed, least = TILED if level else WHOLE
        for left, top, side in tiles:
            for _, (centre, size), eyes in _detect(rgb[top : top + side, left : left + side], proposed):
                middle = centre + np.array([left, top])
                if not any(face.score >= STRICT and face.holds(middle) for face in found):
                    face = _look_again(rgb, middle, float(size.max()), tilt(eyes), turns=(0.0, math.pi), passes=2)
                    found += [face] if face and face.score >= least else []
        found = _distinct(found)
        if sum(face.score >= STRICT for face in found) >= wanted:  # smaller ones would be somebody in the background
            break
    return found


def _distinct(found: list[Face]) -> list[Face]:
    """The surest of the faces that lie in each other."""
    distinct: list[Face] = []
    for face in sorted(found, key=lambda face: -face.score):
        if not any(face.near(other) or other.near(face) for other in distinct):
            distinct.append(face)
    return distinct


def _look_again(
    rgb: np.ndarray, centre: np.ndarray, side: float, angle: float, *, turns: tuple[float, ...], passes: int
) -> Face | None:
    """The face in a square of AROUND sides about a place, levelled, and turned further by each of ``turns``.

    Where a face is small in what the detector saw at first, its place, size and tilt are vague, and a face upside down
    is taken for an upright one. Seen large and upright it has the highest score, and is found in the same place again.
    """
    for _ in range(LOOKS):
        seen: list[tuple[float, np.ndarray, float, np.ndarray]] = []
        for turn in turns:
            square, to_image = _square(rgb, centre, AROUND * side, angle + turn, 128)
            for score, (middle, size), eyes in _detect(square, LENIENT):
                if np.abs(middle - 63.5).max() < size.max() / 2:
                    found_side = float(size.max()) * AROUND * side / 128
                    seen.append((score, _apply(to_image, middle), found_side, _apply(to_image, eyes)))
        if not seen:
            return None
        before = centre, side, angle
        score, centre, side, eyes = max(seen, key=lambda one: one[0])
        angle = tilt(eyes)
        moved = float(np.abs(centre - before[0]).max()) / side
        turned = abs(math.remainder(angle - before[2], 2 * math.pi))
        if moved < 0.2 and 0.8 < side / before[1] < 1.25 and turned < 0.3:
            break
    else:
        return None
    side *= 1.5
    for _ in range(passes):
        points, sure = _mesh(rgb, centre, side, tilt(eyes))
        eyes = np.stack([points[list(pair)].mean(0) for pair in CORNERS])
        low, high = points.min(0), points.max(0)
        centre, side = (low + high) / 2, 1.5 * float((high - low).max())
    if sure < LENIENT:
        return None
    box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
    return Face(box, eyes, min(score, sure), 1, points)


def _cascade(name: str) -> cv2.CascadeClassifier:
    cascades = vars(_nets)
    if name not in cascades:
        cascades[name] = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / name))
    return cascades[name]


def _find_cascades(image: np.ndarray) -> list[Face]:
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    smallest = min(grey.shape) // 6
    for score, neighbours in NEIGHBOURS.items():
        boxes = _cascade(CASCADES[0]).detectMultiScale(grey, 1.1, neighbours, minSize=(smallest, smallest))
        if len(boxes):
            squares = [(left, top, side, side) for left, top, side, _ in np.asarray(boxes).tolist()]
            return [Face(box, _eyes(grey, *box[:3], neighbours), score, 1) for box in squares]
    return []


def _eyes(grey: np.ndarray, left: int, top: int, side: int, neighbours: int) -> np.ndarray | None:
    """Centres [2, 2] of the most plausible pair of eyes in the upper half of a frontal cascade's box."""
    upper = grey[top : top + side // 2 + side // 10, left : left + side]
    boxes = _cascade(CASCADES[1]).detectMultiScale(upper, 1.05, neighbours, minSize=(side // 8, side // 8))
    centres = [(left + x + w / 2, top + y + h / 2) for x, y, w, h in map(list, boxes)]
    pairs = []
    for a in centres:
        for b in centres:
            across, down = (b[0] - a[0]) / side, (b[1] - a[1]) / side
            if 0.3 < across < 0.6 and abs(down) < 0.35 * across:
                middle = (a[0] + b[0]) / 2 - left - side / 2  # the pair sits in the middle of the face
                pairs.append((abs(middle) / side + abs(across - 0.42), a, b))
    return np.array(min(pairs)[1:]) if pairs else None


def fetch(folder: Path | None = None) -> str:
    """Puts the weights into ``folder`` (FOLDER unless given), each written whole; returns what was done.

    Raises:
        ConnectionError: pip could not bring the wheel (35 MB, of which 1.5 MB are kept).
        ValueError: the wheel holds other files than those whose digests are given here.
    """
    folder = folder or FOLDER
    if all(
        (folder / name).is_file() and wheels.digest((folder / name).read_bytes()) == WEIGHTS[name] for name in WEIGHTS
    ):
        return f"face weights: already in {folder}"
    # one fixed wheel for every platform: only two data files are taken from it
    platform = "--implementation cp --python-version 3.12 --abi cp312 --platform manylinux_2_28_x86_64"
    contents = wheels.read(f"mediapipe=={MEDIAPIPE}", WEIGHTS, platform)
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        temporary = folder / f".{name}.{os.getpid()}"
        temporary.write_bytes(content)
        temporary.replace(folder / name)
    return f"face weights: MediaPipe {MEDIAPIPE}'s detector and mesh are now in {folder}"
