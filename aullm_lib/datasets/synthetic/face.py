"""A synthetic person before a camera, and still pictures of one.

A face is painted once, at twice the frame's resolution; `film` then warps that picture into moving ones.
"""

from collections.abc import Mapping

import cv2
import numpy as np

from aullm_lib.datasets.synthetic.anatomy import Anatomy, Array, draw_anatomy
from aullm_lib.datasets.synthetic.muscles import field
from aullm_lib.datasets.synthetic.portrait import paint

__all__ = ["Face", "render_still"]


class Face:
    """One person seated before one camera.

    Args:
        anatomy: who.
        shape: height and width of a full frame in pixels.
        centre: x and y in pixels of the point midway between the eyes.
        radius: R, half the face's width, in pixels.
        grey: one channel rather than three (BGR).
    """

    def __init__(
        self, anatomy: Anatomy, shape: tuple[int, int], centre: tuple[float, float], radius: float, grey: bool = False
    ) -> None:
        self.anatomy, self.shape, self.centre, self.radius, self.grey = anatomy, shape, centre, radius, grey
        twice = (2 * centre[0] + 0.5, 2 * centre[1] + 0.5)  # pixel centres lie at half steps of the finer grid
        portrait = paint(anatomy, (2 * shape[0], 2 * shape[1]), twice, 2 * radius)
        picture = portrait.image
        self.still = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA)
        x0, x1 = (int(np.clip(centre[0] + k * 1.34 * radius, 0, shape[1])) for k in (-1, 1))
        y0, y1 = (int(np.clip(centre[1] + k * radius, 0, shape[0])) for k in (-1.8, 1.92))
        self.box = (slice(y0, y1), slice(x0, x1))  # the part of the frame that moves
        self.picture = np.ascontiguousarray(picture[2 * y0 : 2 * y1, 2 * x0 : 2 * x1])
        self.lids = [
            ((slice(at[0].start - 2 * y0, at[0].stop - 2 * y0), slice(at[1].start - 2 * x0, at[1].stop - 2 * x0)), s, h)
            for at, s, h in portrait.lids
        ]
        if grey:
            self.still = cv2.cvtColor(self.still, cv2.COLOR_BGR2GRAY)
            self.picture = cv2.cvtColor(self.picture, cv2.COLOR_BGR2GRAY)
            self.lids = [(at, cv2.cvtColor(shut, cv2.COLOR_BGR2GRAY), height) for at, shut, height in self.lids]


def render_still(
    identity_seed: int, aus: Mapping[int, float] | None = None, size: tuple[int, int] = (480, 640), grey: bool = False
) -> Array:
    """One noiseless picture of a face holding some AUs, for figures.

    Args:
        identity_seed: who; any integer >= 0.
        aus: strength of each AU, 1 being a typical micro-expression's peak; none for a neutral face.
        size: height and width in pixels.
        grey: one channel rather than three.

    Returns:
        uint8 [H, W, 3] (BGR) or [H, W].

    Raises:
        ValueError: an AU that is not rendered.
    """
    anatomy = draw_anatomy(np.random.default_rng(identity_seed))
    face = Face(anatomy, size, (size[1] / 2, 0.45 * size[0]), 0.255 * size[0], grey)
    rows, columns = face.box
    y, x = np.mgrid[rows, columns].astype(np.float32)
    u, v = (
        (x - np.float32(face.centre[0])) / np.float32(face.radius),
        (y - np.float32(face.centre[1])) / np.float32(face.radius),
    )
    warp = np.stack([2 * (x - columns.start) + 0.5, 2 * (y - rows.start) + 0.5], -1)
    shade = np.ones_like(x)
    for au, strength in (aus or {}).items():
        move = field(au, anatomy, u, v)
        warp -= np.float32(2 * face.radius * strength) * move.shift
        shade += np.float32(strength) * move.shade
    warp = np.ascontiguousarray(warp)
    moved = cv2.remap(face.picture, warp, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    canvas = face.still.copy()
    canvas[face.box] = moved * (shade if grey else shade[..., None])
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8)
