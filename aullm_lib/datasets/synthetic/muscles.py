"""How action units move a synthetic face: sums of the head's face units, each AU's own combination, scaled in mm.

The face units are named as ARKit's blend shapes; which of them make an AU follows their descriptions beside FACS.
"""

from functools import lru_cache

import numpy as np

from aullm_lib.datasets.synthetic import head
from aullm_lib.datasets.synthetic.anatomy import Array, base_points
from aullm_lib.datasets.synthetic.raster import rasterise

# Peak displacement of the skin in mm at strength 1: micro-expressions move it by about a millimetre, which is one to
# two pixels of these cameras.
AMPLITUDE = {
    1: 1.2, 2: 1.2, 4: 1.1, 5: 0.9, 6: 1.0, 7: 0.95, 9: 0.95, 10: 1.0, 12: 1.5, 14: 1.4, 15: 1.2, 17: 1.3,
    20: 1.15, 24: 0.95, 25: 0.95, 26: 1.3,
}  # fmt: skip
# The face units of each AU and their weights; "*" stands for Left and Right.
_UNITS: dict[int, dict[str, float]] = {
    1: {"browInnerUp": 1.0},
    2: {"browOuterUp*": 1.0},
    4: {"browDown*": 1.0},
    5: {"eyeWide*": 1.0},
    6: {"cheekSquint*": 1.0, "eyeSquint*": 0.4},
    7: {"eyeSquint*": 1.0, "eyeBlink*": 0.06},
    9: {"noseSneer*": 1.0, "mouthUpperUp*": 0.3},
    10: {"mouthUpperUp*": 1.0},
    12: {"mouthSmile*": 1.0},
    14: {"mouthDimple*": 1.0},
    15: {"mouthFrown*": 1.0},
    17: {"mouthShrugLower": 1.0},
    20: {"mouthStretch*": 1.0},
    24: {"mouthPress*": 1.0, "mouthRollUpper": 0.25, "mouthRollLower": 0.25},
    25: {"mouthLowerDown*": 1.0, "mouthUpperUp*": 0.4},
    26: {"jawOpen": 1.0},
}
# Motion that no coder would write down: units, peak in mm.
HABITS: tuple[tuple[dict[str, float], float], ...] = (
    ({"jawOpen": 1.0}, 0.5),
    ({"mouthPucker": 1.0}, 0.35),
    ({"mouthLeft": 1.0}, 0.3),
    ({"noseSneer*": 1.0}, 0.25),
    ({"eyeSquint*": 1.0}, 0.2),
    ({"browInnerUp": 1.0, "browOuterUp*": 0.7}, 0.25),
)
# Inner and outer canthus of the left eye on the base mesh, mm: where the margins of upper and lower lid meet, read off
# its picture.  The inner one lies behind the caruncle, further in than any place that shows the eyeball.
_CORNERS = ((17.5, -1.0, 13.5), (43.9, 0.3, 11.3))
# Points of the face, each the vertex that a face unit moves most.
LANDMARKS = (
    "browInnerUp", "browOuterUp*", "browDown*", "eyeWide*", "eyeSquint*", "cheekSquint*", "noseSneer*", "mouthUpperUp*",
    "mouthSmile*", "mouthLowerDown*", "mouthShrugLower",
)  # fmt: skip


@lru_cache(maxsize=1)
def _seen() -> Array:
    """Which vertices a camera in front of the base mesh sees, bool [n]."""
    skin, points = head.load().only(head.SKIN).triangles, base_points()
    which = rasterise(points[:, :2] * (2, -2) + (300, 300), points[:, 2], skin, (700, 600)).which
    seen = np.zeros(len(points), bool)
    seen[skin[np.unique(which[which >= 0])]] = True
    return seen


def _sided(unit: str) -> list[str]:
    return [unit.replace("*", side) for side in ("Left", "Right")] if "*" in unit else [unit]


@lru_cache(maxsize=1)
def landmarks() -> dict[str, int]:
    """The vertex of each landmark."""
    mesh, seen = head.load(), _seen()
    found = {}
    for unit in (name for starred in LANDMARKS for name in _sided(starred)):
        index, shift = mesh.targets[unit]
        found[unit] = int(index[np.argmax(np.linalg.norm(shift, axis=1) * seen[index])])
    return found


@lru_cache(maxsize=1)
def corners() -> Array:
    """Vertices at the corners of the eyes [2, 2]: of the person's right eye, on the image's left, then of the left."""
    places = np.array(_CORNERS) * [[[-1, 1, 1]], [[1, 1, 1]]]
    return np.asarray(np.linalg.norm(base_points() - places[:, :, None], axis=-1).argmin(-1))


def moved(units: dict[str, float], peak: float) -> Array:
    """Displacement [n, 3] in mm by face units ("*": of both sides), such that the skin in sight moves by `peak`."""
    shift = head.load().moved({name: w for unit, w in units.items() for name in _sided(unit)})
    return np.asarray(shift * (peak / np.linalg.norm(shift[_seen()], axis=1).max()))


def displacement(au: int, left: float = 1.0, right: float = 1.0) -> Array:
    """Displacement [n, 3] of every vertex in mm by one AU at strength 1.

    Args:
        au: a key of `AMPLITUDE`.
        left, right: strength of either side, 0..1.  Left is the person's own left, which is right in the image.

    Raises:
        ValueError: an AU that is not rendered.
    """
    if au not in AMPLITUDE:
        raise ValueError(f"au={au} is none of the rendered action units {sorted(AMPLITUDE)}")
    t = np.clip(base_points()[:, :1] / 10 + 0.5, 0, 1)
    return moved(_UNITS[au], AMPLITUDE[au]) * (right + (left - right) * t * t * (3 - 2 * t))
