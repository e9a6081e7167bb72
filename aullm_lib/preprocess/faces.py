"""One face in one image: its box and the centres of its eyes.

MediaPipe's short-range detector (BlazeFace, 128×128) proposes faces and its mesh (192×192) puts 468 points on one. The
two networks are run by OpenCV's DNN module; MediaPipe itself is never installed. Their weights are Apache-2.0 files
inside MediaPipe's wheel, which ``python -m aullm_lib.preprocess`` (part of ``make setup``) downloads once
through pip; they are checked against the digests below whenever they are loaded. Where they are missing, OpenCV's
bundled cascades (``haarcascade_frontalface_alt2`` and ``haarcascade_eye``) do the work, less exactly.

Departures from MediaPipe's own graphs: the image is shrunk by area averaging and not by bilinear sampling, and the
mesh is laid twice, the second time on the square that the first one found. Pixel (0, 0) has its centre at (0, 0).
"""

import math
import os
import sys
from dataclasses import dataclass
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
FOLDER = Path(sys.prefix) / "share" / "aullm_lib" / f"mediapipe-{MEDIAPIPE}"
CASCADES = ("haarcascade_frontalface_alt2.xml", "haarcascade_eye.xml")
COMMAND = "python -m aullm_lib.preprocess"

STRICT, LENIENT = 0.5, 0.3  # least score of the detector and of the mesh; 0.5 is MediaPipe's
NEIGHBOURS = {STRICT: 6, LENIENT: 2}  # agreeing boxes that the frontal cascade needs
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

    def outside(self, shape: tuple[int, ...]) -> float:
        """The share of the box, 0 to 1, that lies beyond an image of this shape (height, width, ...)."""
        left, top, width, height = self.box
        across = min(left + width, shape[1]) - max(left, 0)
        down = min(top + height, shape[0]) - max(top, 0)
        return 1 - max(across, 0) * max(down, 0) / (width * height)


def installed() -> bool:
    """Whether both weight files are there; their content is checked when they are loaded."""
    return all((FOLDER / name).is_file() for name in WEIGHTS)


def detector() -> dict:
    """What ``find`` uses on this machine: a name, the sha256 of its weights by file, and its thresholds."""
    scores = {"strict": STRICT, "lenient": LENIENT}
    if installed():
        return {"name": f"mediapipe {MEDIAPIPE}", "weights": WEIGHTS} | scores
    names = " + ".join(Path(name).stem for name in CASCADES)
    return {"name": names, "weights": None, "neighbours": list(NEIGHBOURS.values())} | scores


def find(image: np.ndarray, threshold: float = STRICT) -> Face | None:
    """The largest face of an image, or None.

    Args:
        image: uint8 [H, W] grey or [H, W, 3] RGB.
        threshold: STRICT or LENIENT.

    Raises:
        ValueError: naming a weight file that is not the one expected.
    """
    return _find_mesh(image, threshold) if installed() else _find_cascade(image, threshold)


def _load(name: str) -> cv2.dnn.Net:
    """This thread's network from a weight file."""
    nets = vars(_nets)
    if name not in nets:
        content = (FOLDER / name).read_bytes()
        digest = wheels.digest(content)
        if digest != WEIGHTS[name]:
            raise ValueError(
                f"{FOLDER / name}: its sha256 begins {digest[:12]}, not {WEIGHTS[name][:12]} as MediaPipe "
                f"{MEDIAPIPE}'s does; fetch it again: {COMMAND}"
            )
        nets[name] = cv2.dnn.readNetFromTFLite(np.frombuffer(content, np.uint8))
    return nets[name]


def _run(name: str, blob: np.ndarray) -> dict[int, np.ndarray]:
    """The network's outputs, flat, by their number of elements: their names and order depend on OpenCV's version."""
    net = _load(name)
    net.setInput(blob)
    return {output.size: output.reshape(-1) for output in net.forward(net.getUnconnectedOutLayersNames())}


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


def _mesh(rgb: np.ndarray, centre: np.ndarray, side: float, angle: float) -> tuple[np.ndarray, float]:
    """Mesh points [468, 2] in pixels and the score of a face being there, from a square turned by angle (radians)."""
    step = side / 192
    turn = step * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    to_image = np.c_[turn, centre - turn @ (95.5, 95.5)]  # input's pixels -> image's
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    square = cv2.warpAffine(rgb, to_image, (192, 192), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    outputs = _run("face_landmark.tflite", cv2.dnn.blobFromImage(square, 1 / 255))
    points = outputs[1404].reshape(468, 3)[:, :2] - 0.5  # the network counts from the pixels' edges
    return points @ turn.T + to_image[:, 2], float(_sigmoid(outputs[1])[0])


def _find_mesh(image: np.ndarray, threshold: float) -> Face | None:
    rgb = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    faces = _detect(rgb, threshold)
    for score, (centre, size), eyes in faces:
        side = 1.5 * float(size.max())
        for _ in range(2):
            across = eyes[1] - eyes[0]
            points, sure = _mesh(rgb, centre, side, math.atan2(across[1], across[0]))
            eyes = np.stack([points[list(pair)].mean(0) for pair in CORNERS])
            low, high = points.min(0), points.max(0)
            centre, side = (low + high) / 2, 1.5 * float((high - low).max())
        if sure >= threshold:
            box = (float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1]))
            return Face(box, eyes, min(score, sure), len(faces), points)
    return None


def _cascade(name: str) -> cv2.CascadeClassifier:
    cascades = vars(_nets)
    if name not in cascades:
        cascades[name] = cv2.CascadeClassifier(str(Path(cv2.__file__).parent / "data" / name))
    return cascades[name]


def _find_cascade(image: np.ndarray, threshold: float) -> Face | None:
    grey = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    smallest = min(grey.shape) // 6
    boxes = _cascade(CASCADES[0]).detectMultiScale(grey, 1.1, NEIGHBOURS[threshold], minSize=(smallest, smallest))
    if not len(boxes):
        return None
    left, top, side, _ = max(np.asarray(boxes).tolist(), key=lambda box: (box[2], -box[0], -box[1]))
    return Face((left, top, side, side), _eyes(grey, left, top, side, NEIGHBOURS[threshold]), 1.0, len(boxes))


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
