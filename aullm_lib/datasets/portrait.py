"""A neutral synthetic face painted from identity parameters: the still half of the synthetic releases.

Nothing here comes from a photograph or a model of real faces: a head is an ellipsoid-like relief with a nose,
sockets, lips and so on added as smooth bumps, lit by one lamp (Lambert with an ambient share), over an albedo of
skin, brows, lips and hair.  The unit of length is `R`, half the width of the face; `u` runs right in the image, `v`
down, with the origin midway between the eyes.  Images are BGR float32 in grey levels 0..255.
"""

from dataclasses import dataclass

import cv2
import numpy as np

__all__ = ["Anatomy", "Portrait", "bump", "draw_anatomy", "outline", "paint", "ramp"]

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


@dataclass(frozen=True)
class Portrait:
    """A painted face: `image` float32 [H, W, 3]; `lids`, an eye each, what a blink needs to shut it.

    A lid is `(slice, shut, height)`: the patch of `image`, the same patch with the eye closed [h, w, 3], and the
    height in the opening [h, w]: 0 at the upper lid's edge, 1 at the lower one's.
    """

    image: Array
    lids: tuple[tuple[tuple[slice, slice], Array, Array], ...]


def ramp(x: Array, width: float) -> Array:
    """Smooth step 0 -> 1 about x = 0, over `width` on either side; float32, the shape of x."""
    t = np.clip(x * (0.5 / width) + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def bump(u: Array, v: Array, at: tuple[float, float], size: tuple[float, float], turn: float = 0.0) -> Array:
    """Gaussian of height 1 at `at`, standard deviations `size` in R, turned by `turn` radians (clockwise in the image)."""
    x, y = u - at[0], v - at[1]
    if turn:
        c, s = np.cos(turn), np.sin(turn)
        x, y = c * x + s * y, c * y - s * x
    return np.asarray(np.exp(-0.5 * ((x / size[0]) ** 2 + (y / size[1]) ** 2)), dtype=np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Smooth noise of unit deviation: a coarse grid `cells` (rows, columns) stretched over `shape`."""
    coarse = rng.standard_normal((max(cells[0], 2), max(cells[1], 2))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _blend(image: Array, colour: Array | tuple[float, ...], mask: Array) -> None:
    image += (np.asarray(colour, dtype=np.float32) - image) * mask[..., None]


def outline(u: Array, v: Array, a: Anatomy) -> Array:
    """About the signed distance in R to the head's outline, positive inside."""
    low = np.clip((v - 0.15) / (a.chin_v - 0.15), 0, 1.2)
    width = 1.0 - a.jaw * low**1.6
    height = np.where(v > 0.15, a.chin_v - 0.15, 1.62)
    power = 2.25
    f = (np.abs(u) / width) ** power + (np.abs(v - 0.15) / height) ** power
    return (1.0 - f ** (1 / power)) * np.minimum(width, height)


def _relief(u: Array, v: Array, a: Anatomy, inside: Array) -> Array:
    """Height of the face towards the camera, in R [H, W]."""
    z = 0.95 * np.sqrt(np.clip(inside, 0.0, None) * (2 - np.clip(inside, 0, 1)) + 1e-4)
    z += 0.07 * bump(u, v, (0, -0.62), (0.6, 0.3))
    for side in (-1, 1):
        z += 0.07 * bump(u, v, (side * a.eye_x, a.brow_v + 0.06), (0.3, 0.09), side * 0.1)
        z -= 0.12 * bump(u, v, (side * 0.38, 0.0), (0.24, 0.16))
        z += 0.07 * bump(u, v, (side * a.eye_x, 0.01), (0.17, 0.1))
        z += 0.09 * bump(u, v, (side * 0.55, 0.42), (0.24, 0.2), side * 0.5)
        z += 0.085 * bump(u, v, (side * a.nose_w * 0.72, a.nose_v - 0.07), (0.07, 0.075))
        z -= 0.035 * bump(u, v, (side * (a.nose_w + 0.17), a.nose_v + 0.16), (0.035, 0.2), side * -0.55)
        z -= 0.03 * bump(u, v, (side * (a.mouth_w + 0.05), a.mouth_v + 0.02), (0.06, 0.06))
    along = np.clip((v + 0.1) / (a.nose_v + 0.02), 0, 1)
    bridge = along**1.3 * ramp(a.nose_v + 0.02 - v, 0.13) * ramp(v + 0.15, 0.2)
    z += a.nose_high * bridge * np.exp(-0.5 * (u / (0.075 + 0.05 * along)) ** 2)
    z += 0.1 * bump(u, v, (0, a.nose_v - 0.1), (0.11, 0.09))
    z += 0.05 * bump(u, v, (0, a.mouth_v), (0.4, 0.22))
    shape = np.clip(1 - (np.abs(u) / a.mouth_w) ** 2, 0, 1)
    z += 0.05 * shape * bump(0 * u, v, (0, a.mouth_v - a.lip_up * 0.6), (1, a.lip_up * 0.55))
    z += 0.07 * shape * bump(0 * u, v, (0, a.mouth_v + a.lip_low * 0.55), (1, a.lip_low * 0.5))
    z -= 0.05 * bump(u, v, (0, a.mouth_v + a.lip_low + 0.09), (0.22, 0.06))
    z += 0.09 * bump(u, v, (0, a.chin_v - 0.2), (0.2, 0.14))
    z -= 0.022 * bump(u, v, (0, a.nose_v + 0.14), (0.035, 0.1))
    return np.asarray(z, dtype=np.float32)


def _shade(z: Array, a: Anatomy, per_unit: float) -> Array:
    """Light on a relief [H, W], about 1 where it faces the camera."""
    z = cv2.GaussianBlur(z, (0, 0), 0.012 * per_unit)
    dx, dy = (cv2.Sobel(z, cv2.CV_32F, *d, ksize=3, scale=per_unit / 8) for d in ((1, 0), (0, 1)))
    norm = 1 / np.sqrt(1 + dx * dx + dy * dy)
    lamp = (np.sin(a.light_side) * np.cos(a.light_up), -np.sin(a.light_up), np.cos(a.light_side) * np.cos(a.light_up))
    facing = (lamp[2] - lamp[0] * dx - lamp[1] * dy) * norm
    light = a.ambient * (0.55 + 0.45 * norm) + (1.02 - a.ambient) * np.clip((facing + 0.25) / 1.15, 0, None)
    hollow = cv2.GaussianBlur(z, (0, 0), 0.09 * per_unit) - z  # > 0 in a hollow: less of the room's light comes in
    return np.asarray(light * (1 - np.clip(1.6 * hollow, -0.08, 0.3)), dtype=np.float32)


def _hair(u: Array, v: Array, a: Anatomy, inside: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Hair behind the head, hair over the forehead (both masks), and its shade [H, W]."""
    crown = outline(u * 0.95, np.minimum(v * 0.955, 0.2), a) + 0.006 * _noise(rng, u.shape, (30, 60))
    behind = ramp(crown, 0.02) * (v < 0.6)
    if a.long_hair:
        round_top = np.sqrt(np.clip(1 - np.clip(-v / 1.6, 0, 1) ** 2.3, 0, 1))
        width = 1.16 * round_top - 0.04 + 0.06 * np.clip(v, 0, 2) + 0.03 * np.sin(4 * v + a.parting) * ramp(v, 0.5)
        behind = ramp(width - np.abs(u) + 0.006 * _noise(rng, u.shape, (40, 60)), 0.02) * ramp(2.6 - v, 0.3)
    else:
        behind = behind * ramp(0.0 - v, 0.05)
    part = a.hairline + 0.2 * np.clip(np.abs(u - 0.35 * a.parting), 0, 1.3) ** 2.2
    ragged = 0.012 * _noise(rng, u.shape, (5, 110)) + 0.02 * _noise(rng, u.shape, (3, 24))
    edge = (0.86 if a.long_hair else 0.9) + 0.1 * np.clip(v + 0.5, 0, 1)
    temple = ramp(np.abs(u) - edge + ragged, 0.035) * ramp((1.5 if a.long_hair else 0.12) - v, 0.12)
    front = np.maximum(ramp(part + ragged - v, 0.05), temple) * np.maximum(behind, ramp(inside, 0.02))
    angle = np.arctan2(u - 0.35 * a.parting, 1.2 - np.clip(v, -2, 0.3))
    strands = _noise(rng, (64, 720), (6, 300))
    where = np.stack([(angle + np.pi) * (719 / (2 * np.pi)), np.clip((v + 1.8) * 17, 0, 63)], -1).astype(np.float32)
    strand = cv2.remap(strands, where, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    gloss = bump(u, v, (0.5 * a.light_side, -1.18), (0.7, 0.14))
    return behind, front, np.asarray(0.9 + 0.16 * strand + 0.9 * gloss, dtype=np.float32)


def _lids(u: Array, v: Array, a: Anatomy, side: int) -> tuple[Array, Array, Array]:
    """Distance across the eye (-1 inner .. 1 outer corner), and the edges of the upper and the lower lid in R."""
    s = (u * side - a.eye_x) / a.eye_w
    t = np.clip(np.abs(s), 0, 1)
    skew = s + 0.18
    line = -a.eye_tilt * s
    upper = line - 1.12 * a.eye_open * (1 - t**2.4) * (1 - 0.12 * np.clip(skew, -1, 1))
    lower = line + 0.8 * a.eye_open * (1 - t**2.2)
    return s, upper, lower


def _paint_eye(image: Array, u: Array, v: Array, a: Anatomy, side: int, px: float) -> tuple[Array, Array]:
    """Paint one eye into `image`; return the same patch with the eye shut and the height in the opening."""
    s, upper, lower = _lids(u, v, a, side)
    span = ramp(1.04 - np.abs(s), 0.1)
    fold = np.exp(-0.5 * ((v - upper + 0.055 * (1.15 - 0.3 * np.abs(s))) / 0.014) ** 2) * ramp(1.12 - np.abs(s), 0.25)
    image *= 1 - (0.26 * a.crease * fold)[..., None]
    bag = np.exp(-0.5 * ((v - lower - 0.085) / 0.02) ** 2) * ramp(1.0 - np.abs(s + 0.1), 0.5)
    image *= 1 - (0.07 * bag)[..., None]
    shut = image.copy()
    shut *= (1 + 0.05 * bump(s, v, (0, -0.03), (0.6, 0.05)))[..., None]
    seam = np.exp(-0.5 * ((v - lower) / 0.017) ** 2) * span
    _blend(shut, (30, 30, 38), 0.75 * seam)

    inside = ramp(np.minimum(v - upper, lower - v), 1.3 * px) * (np.abs(s) < 1)
    ball = 0.86 - 0.3 * np.abs(s) ** 2.5 - 0.32 * np.exp(-0.5 * ((v - upper) / 0.032) ** 2)
    _blend(image, np.array((188, 194, 204), dtype=np.float32) * ball[..., None], inside)
    x, y = u - side * a.eye_x, v + 0.012
    r = np.sqrt(x * x + y * y)
    rim = 0.75 + 0.55 * np.clip(r / a.iris, 0, 1) * (y > -0.02) * 0.6 - 0.5 * ramp(r - 0.85 * a.iris, 0.012)
    shadow = 1 - 0.45 * np.exp(-0.5 * ((v - upper) / 0.035) ** 2)
    iris = np.array((26, 40, 62), dtype=np.float32) * (rim * shadow)[..., None]
    _blend(image, iris, inside * ramp(a.iris - r, 1.5 * px))
    _blend(image, (10, 10, 12), inside * ramp(0.42 * a.iris - r, 1.5 * px))
    glint = bump(x, y, (0.03 * np.sign(a.light_side + 1e-6), -0.03), (0.014, 0.014))
    _blend(image, (250, 250, 250), inside * np.clip(1.3 * glint, 0, 0.95))
    lash = np.exp(-0.5 * ((v - upper + 0.008) / (0.013 + 0.005 * np.clip(s, -1, 1))) ** 2) * span
    _blend(image, (20, 20, 24), 0.9 * lash)
    _blend(image, (70, 75, 105), 0.35 * np.exp(-0.5 * ((v - lower - 0.006) / 0.01) ** 2) * span)
    return shut, np.asarray((v - upper) / np.maximum(lower - upper, 0.02), dtype=np.float32)


def _paint_features(image: Array, u: Array, v: Array, a: Anatomy, rng: np.random.Generator) -> None:
    """Brows, nostrils and mouth."""
    for side in (-1, 1):
        x = (u * side - 0.16) / 0.58  # 0 at the inner end, 1 at the outer
        arch = a.brow_v - a.brow_arch * np.sin(np.pi * np.clip(x, 0, 1) ** 1.25) + 0.06 * np.clip(x, 0, 1) ** 3
        thick = a.brow_thick * (1.05 - 0.6 * np.clip(x, 0, 1) ** 1.5)
        hairs = 1 + 0.14 * _noise(rng, u.shape, (90, 260))
        body = np.exp(-((np.abs(v - arch) / thick) ** 2.4)) * ramp(x, 0.1) * ramp(1.0 - x, 0.14)
        _blend(image, np.asarray(a.hair) * 0.9 + 12, np.clip(a.brow_dark * body * hairs, 0, 0.95))
        hole = bump(u, v, (side * a.nose_w * 0.46, a.nose_v - 0.005), (0.06, 0.024), side * 0.3)
        _blend(image, (36, 38, 60), 0.85 * np.clip(1.25 * hole, 0, 1))
        wing = bump(u, v, (side * a.nose_w * 1.0, a.nose_v - 0.06), (0.018, 0.075), side * -0.2)
        image *= 1 - (0.2 * wing)[..., None]
    image *= 1 - (0.1 * bump(u, v, (0, a.nose_v + 0.045), (0.2, 0.05)))[..., None]  # the nose's shadow
    t = np.clip(np.abs(u) / a.mouth_w, 0, 1)
    bow = 0.72 + 0.28 * np.exp(-(((t - 0.26) / 0.2) ** 2)) - 0.16 * np.exp(-((t / 0.1) ** 2))
    line = a.mouth_v + 0.012 * np.cos(3 * np.pi * t) * (1 - t) + 0.012 * t**2
    top = line - a.lip_up * bow * (1 - t**2.2)
    bottom = line + a.lip_low * (1 - t**2.4) ** 0.9
    lips = ramp(np.minimum(v - top, bottom - v), 0.02) * ramp(1 - np.abs(u) / a.mouth_w, 0.05)
    red = np.asarray((0.80, 0.70, 0.93)) * a.lip_red + np.asarray((0.92, 0.86, 0.96)) * (1 - a.lip_red)
    tone = red * np.where(v < line, 0.88, 1.02)[..., None] * (1 + 0.03 * _noise(rng, u.shape, (4, 180)))[..., None]
    image *= 1 + lips[..., None] * (tone.astype(np.float32) - 1)
    seam = np.exp(-0.5 * ((v - line) / 0.013) ** 2) * ramp(1.03 - np.abs(u) / a.mouth_w, 0.08)
    _blend(image, (42, 40, 72), 0.8 * seam)
    for side in (-1, 1):
        image *= 1 - (0.22 * bump(u, v, (side * (a.mouth_w + 0.01), a.mouth_v + 0.012), (0.032, 0.028)))[..., None]


def _paint_skin(u: Array, v: Array, a: Anatomy, rng: np.random.Generator) -> Array:
    """Albedo of the skin [H, W, 3]: blotches, flush, pores and a few moles, which is what shows a warp."""
    shape = u.shape
    albedo = np.ones((*shape, 3), np.float32) * np.asarray(a.skin, dtype=np.float32)
    tone = 0.018 * _noise(rng, shape, (14, 11)) + 0.012 * _noise(rng, shape, (60, 46))
    pores = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), 1.3)
    albedo *= (1 + tone + 0.035 * pores)[..., None]
    flush = sum(bump(u, v, (s * 0.58, 0.45), (0.22, 0.2)) for s in (-1, 1)) + 0.8 * bump(
        u, v, (0, a.nose_v - 0.1), (0.13, 0.1)
    )
    albedo *= 1 - np.asarray(flush)[..., None] * np.asarray((0.09, 0.075, 0.0), dtype=np.float32)
    for _ in range(int(rng.integers(3, 9))):
        at = (float(rng.uniform(-0.75, 0.75)), float(rng.uniform(-0.75, 1.35)))
        size = float(rng.uniform(0.008, 0.018))
        albedo *= 1 - float(rng.uniform(0.12, 0.4)) * bump(u, v, at, (size, size))[..., None]
    return albedo


def paint(a: Anatomy, shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Portrait:
    """Paint a neutral, frontal face.

    Args:
        a: who.
        shape: height and width of the image in pixels.
        centre: x and y in pixels of the point midway between the eyes.
        radius: R in pixels.
    """
    rng = np.random.default_rng(a.texture)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32)
    u, v, px = (x - centre[0]) / radius, (y - centre[1]) / radius, 1 / radius
    image = np.ones((*shape, 3), np.float32) * np.asarray(a.wall, dtype=np.float32)
    image *= (1 + 0.05 * np.sin(a.light_side) * u - 0.03 * v + 0.008 * _noise(rng, shape, (5, 6)))[..., None]

    inside = outline(u, v, a)
    behind, front, strand = _hair(u, v, a, inside, rng)
    hair = np.asarray(a.hair, dtype=np.float32) * strand[..., None] + 8
    _blend(image, hair * 0.75, behind)
    shoulder = ramp(v - (a.chin_v + 0.42 + 0.13 * np.abs(u) ** 1.5), 0.03)
    collar = ramp(v - (a.chin_v + 0.62 - 0.9 * np.clip(np.abs(u) - 0.3, 0, 0.5) ** 1.2), 0.02)
    albedo = _paint_skin(u, v, a, rng)
    neck = ramp(0.68 + 0.06 * (v - a.chin_v) - np.abs(u), 0.03) * ramp(v - 0.6, 0.2)
    turn = np.clip(1 - (np.abs(u) / 0.85) ** 2, 0, 1) ** 0.5
    cast = 0.52 + 0.3 * ramp(v - a.chin_v - 0.38, 0.35)
    _blend(image, albedo * (cast * (0.6 + 0.4 * turn))[..., None], neck)
    folds = 0.9 + 0.06 * _noise(rng, shape, (6, 18)) - 0.12 * np.abs(u)[:] * 0.5
    _blend(
        image,
        np.asarray(a.cloth, dtype=np.float32) * folds[..., None],
        np.maximum(shoulder * (np.abs(u) > 0.6), collar),
    )
    if not a.long_hair:
        for side in (-1, 1):
            ear = np.hypot((u - side * 1.0) / 0.13, (v - 0.22 + 0.1 * (u * side - 1)) / 0.29)
            tone = 0.78 - 0.25 * np.exp(-(((ear - 0.45) / 0.22) ** 2)) + 0.08 * side * np.sin(a.light_side)
            _blend(image, albedo * tone[..., None], ramp(1 - ear, 0.08))

    light = _shade(_relief(u, v, a, inside), a, radius)
    face = albedo * light[..., None]
    gloss = np.clip(light - 0.98, 0, 0.5)
    face += 60 * gloss[..., None]
    _paint_features(face, u, v, a, rng)
    lids = []
    for side in (-1, 1):
        rows = slice(round(centre[1] - 0.24 * radius), round(centre[1] + 0.24 * radius))
        columns = slice(*sorted(round(centre[0] + side * k * radius) for k in (a.eye_x - 0.3, a.eye_x + 0.3)))
        at = (rows, columns)
        shut, height = _paint_eye(face[at], u[at], v[at], a, side, px)
        lids.append((at, shut, height))
    _blend(image, face, ramp(inside, 0.018))
    shadow = 1 - 0.35 * cv2.GaussianBlur(front, (0, 0), 0.05 * radius) * ramp(inside, 0.05)
    image *= shadow[..., None]
    _blend(image, hair, front)
    np.clip(image, 0, 255, out=image)
    return Portrait(image, tuple((at, np.clip(shut * shadow[at][..., None], 0, 255), h) for at, shut, h in lids))
