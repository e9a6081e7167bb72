"""A neutral synthetic face painted from identity parameters: the still half of the synthetic releases.

Nothing here comes from a photograph or a model of real faces: a head is an ellipsoid-like relief with a nose, sockets,
lips and so on added as smooth bumps, lit by one lamp (Lambert with an ambient share), over an albedo of skin, brows,
lips and hair.  Units as in `anatomy`; positions are open grids, `u` [1, W] and `v` [H, 1].  Images are BGR float32 in
grey levels 0..255.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from aullm_lib.datasets.synthetic.anatomy import Anatomy, Array, bump, outline, ramp


@dataclass(frozen=True)
class Portrait:
    """A painted face: `image` float32 [H, W, 3]; `lids`, an eye each, what a blink needs to shut it.

    A lid is `(slice, shut, height)`: the patch of `image`, the same patch with the eye closed [h, w, 3], and the
    height in the opening [h, w]: 0 at the upper lid's edge, 1 at the lower one's.
    """

    image: Array
    lids: tuple[tuple[tuple[slice, slice], Array, Array], ...]


def _patch(u: Array, v: Array, across: tuple[float, float], down: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of the grid between two u and two v: small things are painted in small patches."""
    rows, columns = np.searchsorted(v[:, 0], down), np.searchsorted(u[0], across)
    return slice(int(rows[0]), int(rows[1])), slice(int(columns[0]), int(columns[1]))


def _shape(u: Array, v: Array) -> tuple[int, int]:
    return v.shape[0], u.shape[1]


def _noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[int, int]) -> Array:
    """Smooth noise of unit deviation: a coarse grid `cells` (rows, columns) stretched over `shape`."""
    coarse = rng.standard_normal((max(cells[0], 2), max(cells[1], 2))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _blend(image: Array, colour: Array | tuple[float, ...], mask: Array) -> None:
    image += (np.asarray(colour, dtype=np.float32) - image) * mask[..., None]


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
    low = math.cos(a.light_up)
    lamp = (math.sin(a.light_side) * low, -math.sin(a.light_up), math.cos(a.light_side) * low)
    facing = (lamp[2] - lamp[0] * dx - lamp[1] * dy) * norm
    light = a.ambient * (0.55 + 0.45 * norm) + (1.02 - a.ambient) * np.clip((facing + 0.25) / 1.15, 0, None)
    hollow = cv2.GaussianBlur(z, (0, 0), 0.09 * per_unit) - z  # > 0 in a hollow: less of the room's light comes in
    return np.asarray(light * (1 - np.clip(1.6 * hollow, -0.08, 0.3)), dtype=np.float32)


def _hair(u: Array, v: Array, a: Anatomy, inside: Array, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Hair behind the head, hair over the forehead (both masks), and its shade [H, W]."""
    crown = outline(u * 0.95, np.minimum(v * 0.955, 0.2), a) + 0.006 * _noise(rng, _shape(u, v), (30, 60))
    behind = ramp(crown, 0.02) * (v < 0.6)
    if a.long_hair:
        round_top = np.sqrt(np.clip(1 - np.clip(-v / 1.6, 0, 1) ** 2.3, 0, 1))
        width = 1.16 * round_top - 0.04 + 0.06 * np.clip(v, 0, 2) + 0.03 * np.sin(4 * v + a.parting) * ramp(v, 0.5)
        behind = ramp(width - np.abs(u) + 0.006 * _noise(rng, _shape(u, v), (40, 60)), 0.02) * ramp(2.6 - v, 0.3)
    else:
        behind = behind * ramp(0.0 - v, 0.05)
    part = a.hairline + 0.2 * np.clip(np.abs(u - 0.35 * a.parting), 0, 1.3) ** 2.2
    ragged = 0.012 * _noise(rng, _shape(u, v), (5, 110)) + 0.02 * _noise(rng, _shape(u, v), (3, 24))
    edge = (0.86 if a.long_hair else 0.9) + 0.1 * np.clip(v + 0.5, 0, 1)
    temple = ramp(np.abs(u) - edge + ragged, 0.035) * ramp((1.5 if a.long_hair else 0.12) - v, 0.12)
    front = np.maximum(ramp(part + ragged - v, 0.05), temple) * np.maximum(behind, ramp(inside, 0.02))
    angle = np.arctan2(u - 0.35 * a.parting, 1.2 - np.clip(v, -2, 0.3))
    strands = _noise(rng, (64, 720), (6, 300))
    row = np.broadcast_to(np.clip((v + 1.8) * 17, 0, 63), angle.shape)
    where = np.stack([(angle + math.pi) * (719 / (2 * math.pi)), row], -1).astype(np.float32)
    strand = cv2.remap(strands, where, np.empty(0), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
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
    glint = bump(x, y, (0.03 * math.copysign(1, a.light_side), -0.03), (0.014, 0.014))
    _blend(image, (250, 250, 250), inside * np.clip(1.3 * glint, 0, 0.95))
    lash = np.exp(-0.5 * ((v - upper + 0.008) / (0.013 + 0.005 * np.clip(s, -1, 1))) ** 2) * span
    _blend(image, (20, 20, 24), 0.9 * lash)
    _blend(image, (70, 75, 105), 0.35 * np.exp(-0.5 * ((v - lower - 0.006) / 0.01) ** 2) * span)
    height = np.where(np.abs(s) < 1.0, (v - upper) / np.maximum(lower - upper, 0.02), 9.0)  # 9: no lid there
    return shut, np.asarray(height, dtype=np.float32)


def _darken(image: Array, u: Array, v: Array, at: tuple[float, float], size: tuple[float, float], by: float) -> None:
    """Darken a soft spot by the share `by` in its middle."""
    part = _patch(u, v, (at[0] - 4 * size[0], at[0] + 4 * size[0]), (at[1] - 4 * size[1], at[1] + 4 * size[1]))
    image[part] *= 1 - np.float32(by) * bump(u[:, part[1]], v[part[0]], at, size)[..., None]


def _paint_brows(image: Array, u: Array, v: Array, a: Anatomy, rng: np.random.Generator) -> None:
    for side in (-1, 1):
        across = (0.04, 0.9) if side > 0 else (-0.9, -0.04)
        part = _patch(u, v, across, (a.brow_v - 0.3, a.brow_v + 0.25))
        pu, pv = u[:, part[1]], v[part[0]]
        x = (pu * side - 0.16) / 0.58  # 0 at the inner end, 1 at the outer
        on = np.clip(x, 0, 1)
        arch = a.brow_v - a.brow_arch * np.sin(math.pi * on**1.25) + 0.06 * on**3
        thick = a.brow_thick * (1.05 - 0.6 * on**1.5)
        hairs = 1 + 0.14 * _noise(rng, _shape(pu, pv), (16, 90))
        body = np.exp(-((np.abs(pv - arch) / thick) ** 2.4)) * ramp(x, 0.1) * ramp(1.0 - x, 0.14)
        colour = np.asarray(a.hair, dtype=np.float32) * 0.9 + 12
        _blend(image[part], colour, np.clip(a.brow_dark * body * hairs, 0, 0.95))


def _paint_nose(image: Array, u: Array, v: Array, a: Anatomy) -> None:
    part = _patch(u, v, (-0.6, 0.6), (a.nose_v - 0.35, a.nose_v + 0.3))
    pu, pv, under = u[:, part[1]], v[part[0]], image[part]
    for side in (-1, 1):
        hole = bump(pu, pv, (side * a.nose_w * 0.46, a.nose_v - 0.005), (0.06, 0.024), side * 0.3)
        _blend(under, (36, 38, 60), 0.85 * np.clip(1.25 * hole, 0, 1))
        under *= 1 - 0.2 * bump(pu, pv, (side * a.nose_w, a.nose_v - 0.06), (0.018, 0.075), side * -0.2)[..., None]
    under *= 1 - 0.1 * bump(pu, pv, (0, a.nose_v + 0.045), (0.2, 0.05))[..., None]  # the nose's shadow


def _paint_mouth(image: Array, u: Array, v: Array, a: Anatomy, rng: np.random.Generator) -> None:
    part = _patch(u, v, (-0.62, 0.62), (a.mouth_v - 0.25, a.mouth_v + 0.25))
    u, v, image = u[:, part[1]], v[part[0]], image[part]
    t = np.clip(np.abs(u) / a.mouth_w, 0, 1)
    bow = 0.72 + 0.28 * np.exp(-(((t - 0.26) / 0.2) ** 2)) - 0.16 * np.exp(-((t / 0.1) ** 2))
    line = a.mouth_v + 0.012 * np.cos(3 * math.pi * t) * (1 - t) + 0.012 * t**2
    top = line - a.lip_up * bow * (1 - t**2.2)
    bottom = line + a.lip_low * (1 - t**2.4) ** 0.9
    lips = ramp(np.minimum(v - top, bottom - v), 0.02) * ramp(1 - np.abs(u) / a.mouth_w, 0.05)
    red = np.asarray((0.80, 0.70, 0.93)) * a.lip_red + np.asarray((0.92, 0.86, 0.96)) * (1 - a.lip_red)
    tone = red * np.where(v < line, 0.88, 1.02)[..., None] * (1 + 0.03 * _noise(rng, _shape(u, v), (2, 80)))[..., None]
    image *= 1 + lips[..., None] * (tone.astype(np.float32) - 1)
    seam = np.exp(-0.5 * ((v - line) / 0.013) ** 2) * ramp(1.03 - np.abs(u) / a.mouth_w, 0.08)
    _blend(image, (42, 40, 72), 0.8 * seam)
    for side in (-1, 1):
        _darken(image, u, v, (side * (a.mouth_w + 0.01), a.mouth_v + 0.012), (0.032, 0.028), 0.22)


def _paint_skin(u: Array, v: Array, a: Anatomy, rng: np.random.Generator) -> Array:
    """Albedo of the skin [H, W, 3]: blotches, flush, pores and a few moles, which is what shows a warp."""
    shape = _shape(u, v)
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
        _darken(albedo, u, v, at, (size, size), float(rng.uniform(0.12, 0.4)))
    return albedo


def _paint_neck(image: Array, albedo: Array, u: Array, v: Array, a: Anatomy) -> None:
    """Neck and ears, which the head hides in part."""
    part = _patch(u, v, (-1.2, 1.2), (0.4, 9))
    pu, pv = u[:, part[1]], v[part[0]]
    neck = ramp(0.68 + 0.06 * (pv - a.chin_v) - np.abs(pu), 0.03) * ramp(pv - 0.6, 0.2)
    turn = np.clip(1 - (np.abs(pu) / 0.85) ** 2, 0, 1) ** 0.5
    cast = 0.52 + 0.3 * ramp(pv - a.chin_v - 0.38, 0.35)
    _blend(image[part], albedo[part] * (cast * (0.6 + 0.4 * turn))[..., None], neck)
    for side in () if a.long_hair else (-1, 1):
        part = _patch(u, v, (side - 0.3, side + 0.3), (-0.2, 0.65))
        pu, pv = u[:, part[1]], v[part[0]]
        ear = np.hypot((pu - side) / 0.13, (pv - 0.22 + 0.1 * (pu * side - 1)) / 0.29)
        tone = 0.78 - 0.25 * np.exp(-(((ear - 0.45) / 0.22) ** 2)) + 0.08 * side * math.sin(a.light_side)
        _blend(image[part], albedo[part] * tone[..., None], ramp(1 - ear, 0.08))


def _paint_clothes(image: Array, u: Array, v: Array, a: Anatomy, rng: np.random.Generator) -> None:
    part = _patch(u, v, (-99, 99), (a.chin_v, 9))
    v = v[part[0]]
    shoulder = ramp(v - (a.chin_v + 0.42 + 0.13 * np.abs(u) ** 1.5), 0.03) * (np.abs(u) > 0.6)
    collar = ramp(v - (a.chin_v + 0.62 - 0.9 * np.clip(np.abs(u) - 0.3, 0, 0.5) ** 1.2), 0.02)
    folds = 0.9 + 0.06 * _noise(rng, _shape(u, v), (3, 18)) - 0.06 * np.abs(u)
    _blend(image[part], np.asarray(a.cloth, dtype=np.float32) * folds[..., None], np.maximum(shoulder, collar))


def paint(a: Anatomy, shape: tuple[int, int], centre: tuple[float, float], radius: float) -> Portrait:
    """Paint a neutral, frontal face.

    Args:
        a: who.
        shape: height and width of the image in pixels.
        centre: x and y in pixels of the point midway between the eyes.
        radius: R in pixels.
    """
    rng = np.random.default_rng(a.texture)
    u = ((np.arange(shape[1], dtype=np.float32) - centre[0]) / radius)[None]
    v = ((np.arange(shape[0], dtype=np.float32) - centre[1]) / radius)[:, None]
    wall = 1 + 0.05 * math.sin(a.light_side) * u - 0.03 * v + 0.008 * _noise(rng, shape, (5, 6))
    picture = wall[..., None] * np.asarray(a.wall, dtype=np.float32)
    head = _patch(u, v, (-1.6, 1.6), (-2.0, 3.0))
    hu, hv, image = u[:, head[1]], v[head[0]], picture[head]  # all but wall and clothes is painted in this part

    inside = outline(hu, hv, a)
    behind, front, strand = _hair(hu, hv, a, inside, rng)
    hair = np.asarray(a.hair, dtype=np.float32) * strand[..., None] + 8
    _blend(image, hair * 0.75, behind)
    albedo = _paint_skin(hu, hv, a, rng)
    _paint_neck(image, albedo, hu, hv, a)
    _paint_clothes(picture, u, v, a, rng)
    light = _shade(_relief(hu, hv, a, inside), a, radius)
    face = albedo * light[..., None]
    face += 60 * np.clip(light - 0.98, 0, 0.5)[..., None]
    _paint_brows(face, hu, hv, a, rng)
    _paint_nose(face, hu, hv, a)
    _paint_mouth(face, hu, hv, a, rng)
    eyes = []
    for side in (-1, 1):
        across = sorted(side * k for k in (a.eye_x - 0.3, a.eye_x + 0.3))
        part = _patch(hu, hv, (across[0], across[1]), (-0.24, 0.24))
        eyes.append((part, *_paint_eye(face[part], hu[:, part[1]], hv[part[0]], a, side, 1 / radius)))
    _blend(image, face, ramp(inside, 0.018))
    shadow = 1 - 0.35 * cv2.GaussianBlur(front, (0, 0), 0.05 * radius) * ramp(inside, 0.05)
    image *= shadow[..., None]
    _blend(image, hair, front)
    np.clip(picture, 0, 255, out=picture)
    lids = []
    for (rows, columns), shut, height in eyes:
        shut = np.clip(shut * shadow[rows, columns][..., None], 0, 255)
        y, x = head[0].start, head[1].start
        at = (slice(rows.start + y, rows.stop + y), slice(columns.start + x, columns.stop + x))
        lids.append((at, shut, height))
    return Portrait(picture, tuple(lids))
