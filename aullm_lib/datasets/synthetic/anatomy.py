"""Who a synthetic face is: identity parameters, the outline of the head, and the smooth shapes all else is made of.

The unit of length is `R`, half the width of the face; `u` runs right in the image, `v` down, with the origin midway
between the eyes.
"""

import math
from dataclasses import dataclass

import numpy as np

Array = np.ndarray
_SKINS = ((150, 180, 224), (135, 168, 215), (120, 155, 205), (105, 140, 192), (160, 188, 228), (88, 120, 172))
_CLOTHS = ((60, 58, 56), (92, 66, 52), (120, 116, 112), (58, 60, 88), (74, 88, 70), (150, 140, 128))
_HAIRS = ((22, 22, 26), (26, 30, 38), (28, 36, 50), (18, 18, 20), (36, 48, 66))


@dataclass(frozen=True)
class Anatomy:
    """Identity parameters of one face; lengths in R (half the face's width), colours BGR 0..255, angles in radians."""

    eye_x: float  # half the distance between the pupils
    eye_w: float  # half the width of an eye
    eye_open: float  # half the height of an eye
    eye_tilt: float  # outer corner above (+) the inner one
    crease: float  # darkness of the lid's fold, 0..1
    iris: float  # radius
    brow_v: float
    brow_thick: float
    brow_arch: float
    brow_dark: float  # 0..1
    nose_v: float  # underside of the nose
    nose_w: float  # half the width at the wings
    nose_high: float
    mouth_v: float
    mouth_w: float  # half the width
    lip_up: float
    lip_low: float
    lip_red: float
    chin_v: float
    jaw: float  # how much the face narrows towards the chin
    hairline: float
    parting: float  # -1..1, where the hair parts
    long_hair: bool
    skin: tuple[float, float, float]
    hair: tuple[float, float, float]
    cloth: tuple[float, float, float]
    wall: tuple[float, float, float]
    light_side: float  # azimuth of the lamp, + from the image's right
    light_up: float  # elevation
    ambient: float
    texture: int  # seed of pores, strands and moles


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one identity.

    Args:
        rng: the subject's own generator; the same state gives the same person.
    """

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def colour(base: tuple[int, int, int], spread: float) -> tuple[float, float, float]:
        b, g, r = (float(c) for c in np.clip(np.asarray(base) * (1 + rng.uniform(-spread, spread, 3)), 0, 245))
        return b, g, r

    wall = between(105, 205)
    return Anatomy(
        eye_x=between(0.415, 0.465),
        eye_w=between(0.19, 0.225),
        eye_open=between(0.066, 0.092),
        eye_tilt=between(-0.02, 0.045),
        crease=between(0.1, 1.0),
        iris=between(0.082, 0.092),
        brow_v=between(-0.37, -0.295),
        brow_thick=between(0.036, 0.058),
        brow_arch=between(0.03, 0.09),
        brow_dark=between(0.55, 0.9),
        nose_v=between(0.62, 0.73),
        nose_w=between(0.21, 0.265),
        nose_high=between(0.27, 0.4),
        mouth_v=between(0.98, 1.07),
        mouth_w=between(0.34, 0.42),
        lip_up=between(0.06, 0.09),
        lip_low=between(0.085, 0.12),
        lip_red=between(0.35, 1.0),
        chin_v=between(1.5, 1.64),
        jaw=between(0.2, 0.38),
        hairline=between(-1.06, -0.88),
        parting=between(-0.8, 0.8),
        long_hair=bool(rng.random() < 0.4),
        skin=colour(_SKINS[rng.integers(len(_SKINS))], 0.03),
        hair=colour(_HAIRS[rng.integers(len(_HAIRS))], 0.1),
        cloth=colour(_CLOTHS[rng.integers(len(_CLOTHS))], 0.2),
        wall=(wall * between(0.93, 1.07), wall * between(0.97, 1.03), wall * between(0.93, 1.07)),
        light_side=between(-0.6, 0.6),
        light_up=between(0.35, 0.85),
        ambient=between(0.42, 0.55),
        texture=int(rng.integers(2**31)),
    )


def ramp(x: Array, width: float) -> Array:
    """Smooth step 0 -> 1 about x = 0, over `width` on either side; float32, the shape of x."""
    t = np.clip(x * (0.5 / width) + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def bump(u: Array, v: Array, at: tuple[float, float], size: tuple[float, float], turn: float = 0.0) -> Array:
    """A Gaussian of height 1 on a grid of positions.

    Args:
        u, v: positions in R, of shapes that broadcast; open grids [1, W] and [H, 1] are much the fastest.
        at: its middle.
        size: its standard deviations in R.
        turn: radians, clockwise in the image.
    """
    x, y = u - at[0], v - at[1]
    if turn:
        c, s = math.cos(turn), math.sin(turn)
        x, y = c * x + s * y, c * y - s * x
        return np.asarray(np.exp(-0.5 * ((x / size[0]) ** 2 + (y / size[1]) ** 2)), dtype=np.float32)
    across, down = np.exp(-0.5 * (x / size[0]) ** 2), np.exp(-0.5 * (y / size[1]) ** 2)
    return np.asarray(across * down, dtype=np.float32)


def outline(u: Array, v: Array, a: Anatomy) -> Array:
    """About the signed distance in R to the head's outline, positive inside."""
    low = np.clip((v - 0.15) / (a.chin_v - 0.15), 0, 1.2)
    width = 1.0 - a.jaw * low**1.6
    height = np.where(v > 0.15, np.float32(a.chin_v - 0.15), np.float32(1.62))
    power = 2.25
    f = (np.abs(u) / width) ** power + (np.abs(v - 0.15) / height) ** power
    return (1.0 - f ** (1 / power)) * np.minimum(width, height)
