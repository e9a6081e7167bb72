"""The picture of a person before a camera: a mesh rendered once, skin, eyes, hair and clothes painted by procedure.

No photograph is used.  Colour is a function of the place on the base mesh, so that lips, brows and beard lie where the
head's makers put them, of noise, and of the light on the surface's own normals.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from aullm_lib.datasets.synthetic import head
from aullm_lib.datasets.synthetic.anatomy import Anatomy, Array, base_points, eyeballs
from aullm_lib.datasets.synthetic.raster import Raster, rasterise

CAMERA = 1000.0  # mm from the eyes
_IRIS, _PUPIL = 0.39, 0.15  # radius of the iris and of the pupil, in radii of the eyeball
_BACK = -160.0  # depth of the wall as far as shadows go, mm
Box = tuple[slice, slice]


class Lamp(NamedTuple):
    """Where a lamp stands, seen from the face (to the image's right, up, front), and its share of the light."""

    place: tuple[float, float, float]
    share: float

    @property
    def direction(self) -> Array:
        """Unit vector [3], float32."""
        return np.asarray(np.array(self.place) / np.linalg.norm(self.place), dtype=np.float32)

    @property
    def mirror(self) -> Array:
        """The normal [3] of a surface that shows the lamp to the camera."""
        half = self.direction + np.array((0, 0, 1), np.float32)
        return np.asarray(half / np.linalg.norm(half))


@dataclass(frozen=True)
class Studio:
    """Lamps, light from everywhere (a face turned to the camera gets about 1 in all), and the grey of the wall."""

    lamps: tuple[Lamp, ...]
    ambient: float
    wall: float

    def light(self, normal: Array) -> Array:
        """Light on a surface with unit normals [..., 3]."""
        total = self.ambient + 0.1 * normal[..., 1]  # the ceiling is brighter than the floor
        for lamp in self.lamps:
            total = total + lamp.share * np.clip((normal @ lamp.direction + 0.25) / 1.25, 0, None)  # skin lets it round
        return np.asarray(total)


@dataclass(frozen=True)
class View:
    """A camera: frames of `shape`, the middle between the eyeballs at `centre` (x, y), `scale` pixels per mm there."""

    shape: tuple[int, int]
    centre: tuple[float, float]
    scale: float

    def places(self, points: Array) -> Array:
        """Pixels [n, 2] of points [n, 3] in mm, relative to the middle between the eyeballs."""
        near = (self.scale * CAMERA / (CAMERA - points[:, 2]))[:, None]
        return np.asarray(points[:, :2] * near * (1, -1) + self.centre)

    def twice(self) -> "View":
        """The same at twice the resolution; pixel centres lie at half steps of the finer grid."""
        return View(
            (2 * self.shape[0], 2 * self.shape[1]), (2 * self.centre[0] + 0.5, 2 * self.centre[1] + 0.5), 2 * self.scale
        )

    def part(self, box: Box) -> "View":
        """A part of it."""
        rows, columns = box
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        return View(shape, (self.centre[0] - columns.start, self.centre[1] - rows.start), self.scale)

    def raster(self, points: Array, triangles: Array) -> Raster:
        """What its pixels show."""
        return rasterise(self.places(points), points[:, 2], triangles, self.shape)


def vector(*values: float) -> Array:
    """A few numbers as float32, such as a colour (blue, green, red)."""
    return np.array(values, np.float32)


def ramp(x: Array, width: float) -> Array:
    """0 below -width/2, 1 above width/2, smooth between."""
    t = np.clip(x / width + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def bump(x: Array, y: Array, at: tuple[float, float], size: tuple[float, float], turn: float = 0.0) -> Array:
    """A Gaussian of height 1 at a place, with these standard deviations, turned by `turn` radians."""
    dx, dy = x - at[0], y - at[1]
    c, s = np.cos(turn), np.sin(turn)
    return np.asarray(
        np.exp(-0.5 * (((c * dx + s * dy) / size[0]) ** 2 + ((c * dy - s * dx) / size[1]) ** 2)), np.float32
    )


def normals(points: Array, triangles: Array) -> Array:
    """Unit normals of the vertices [n, 3]: sums over their triangles, weighted by area."""
    p = points[triangles]
    n = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    total = np.stack([np.bincount(triangles.ravel(), np.repeat(n[:, k], 3), len(points)) for k in range(3)], 1)
    return np.asarray(total / (np.linalg.norm(total, axis=1, keepdims=True) + 1e-9))


def _hair(person: Anatomy, base: Array) -> Array:
    """How far inside the hair, in mm, places of the base mesh [..., 3] are."""
    x, y, z = np.moveaxis(base, -1, 0)
    front = y - (person.hairline - 0.0042 * x**2)
    return np.asarray(np.maximum(front, np.minimum(-56 - z, y + 10)))


def _ear(base: Array) -> Array:
    x, y, z = np.moveaxis(base, -1, 0)
    return np.asarray((np.abs(x) > 67) & (z > -128) & (y < 16) & (y > -60))


def _below_collar(base: Array) -> Array:
    """How far below the edge of the clothes, in mm."""
    x, y, _ = np.moveaxis(base, -1, 0)
    return np.asarray(np.minimum(np.abs(x) * 0.42, 42) - 172 - y)


def dressed(person: Anatomy) -> Array:
    """The person's vertices [n, 3] with hair and clothes on: pushed out along the normals."""
    base = base_points()
    out = normals(person.points, head.load().only(head.SKIN).triangles)
    hair = person.volume * ramp(_hair(person, base) - 12, 26) * (0.35 + 0.65 * ramp(base[:, 1] - 45, 60)) * ~_ear(base)
    return np.asarray(person.points + out * (hair + 6 * ramp(_below_collar(base), 8))[:, None])


def mouth_hole(points: Array, view: View, base: Array, solid: Array) -> Array:
    """Pixels between lips that part, bool [H, W]: they show nothing, or the back of the mouth.

    Args:
        points: the vertices [n, 3].
        view: the camera.
        base: what place of the base mesh each pixel shows [H, W, 3].
        solid: whether it shows any [H, W].
    """
    x, y, z = base_points().T
    places = view.places(points[(np.abs(x) < 28) & (np.abs(y + 66) < 9) & (z > 0)])
    ends = places.min(0), places.max(0)
    (left, top), (right, bottom) = (np.clip(k, 0, view.shape[::-1]).astype(int) for k in ends)
    hole = np.zeros(view.shape, bool)
    hole[top:bottom, left:right] = (~solid | (base[..., 2] < 5))[top:bottom, left:right]
    return hole


def _noise(rng: np.random.Generator, shape: tuple[int, int], size: float) -> Array:
    """Smooth noise of variance 1 with structures of `size` pixels."""
    coarse = rng.standard_normal([int(k / size) + 3 for k in shape], dtype=np.float32)
    noise = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.asarray(noise / noise.std())


def _streaks(rng: np.random.Generator, shape: tuple[int, int], length: float, turn: float) -> Array:
    """Noise of variance 1 in streaks `length` pixels long, `turn` radians against the x axis."""
    size = max(3, int(length) | 1)
    reach = (size // 2) * np.array([np.cos(turn), -np.sin(turn)])
    kernel = np.zeros((size, size), np.float32)
    ends = [np.rint(size // 2 + k * reach).astype(int).tolist() for k in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1)
    noise = cv2.filter2D(rng.standard_normal(shape, dtype=np.float32), -1, kernel)
    return np.asarray(noise / noise.std())


class Layers(NamedTuple):
    """A picture in two layers, of a part of the frame.

    `skin` float32 [H, W, 3]: BGR 0 to 255 of skin, hair, clothes and wall, black in the openings of the eyes.  `alpha`
    float32 [H, W]: 0 there, 1 elsewhere.  `eyes`: BGR of the eyeballs, as far as they would be seen without lids.
    """

    skin: Array
    alpha: Array
    eyes: Array


class Portrait:
    """Paints one person before one camera.

    Args:
        person: who.
        view: the camera; pictures have its resolution.
        studio: the light.
    """

    def __init__(self, person: Anatomy, view: View, studio: Studio) -> None:
        self.person, self.view, self.studio = person, view, studio
        self.points = dressed(person)
        mesh = head.load().only(head.SKIN, head.EYE)
        self._triangles, self._part, self._uv = mesh.triangles, mesh.part, mesh.uv
        self._base = base_points().astype(np.float32)
        rng, shape, mm = np.random.default_rng(person.texture), view.shape, view.scale
        self._noise = {size: _noise(rng, shape, size * mm) for size in (0.4, 0.6, 1.2, 3.0, 9.0, 25.0)}
        self._brows = {turn: _streaks(rng, shape, 4.5 * mm, turn) for turn in (0.55, 1.3, np.pi - 1.3, np.pi - 0.55)}
        polar = cv2.GaussianBlur(rng.standard_normal((64, 2000), dtype=np.float32), (0, 0), 0.7, sigmaY=2.0)
        self._strands = polar / polar.std()
        self._rays = rng.standard_normal(181).astype(np.float32)
        self._spots = rng.uniform((-58, -110, 0.4, 0.1), (58, 60, 1.1, 0.5), (person.spots, 4))

    def paint(self, points: Array, box: Box) -> Layers:
        """A part of the picture, with its vertices at `points` [n, 3]: `Portrait.points`, or with shut lids."""
        view = self.view.part(box)
        raster = view.raster(points, self._triangles)
        solid, part = raster.which >= 0, self._part[raster.which]
        open_ = solid & (part == head.EYE)
        base = raster.of(self._base, self._triangles)
        normal = raster.of(normals(points, self._triangles).astype(np.float32), self._triangles)
        depth = np.where(solid, raster.of(points[:, 2].astype(np.float32), self._triangles), np.float32(_BACK))
        shadow = np.zeros(view.shape, np.float32)  # what is near takes light away
        for size, share in ((2.0, 0.05), (6.0, 0.02), (16.0, 0.006)):
            shadow += share * np.clip(cv2.GaussianBlur(depth, (0, 0), size * view.scale) - depth, 0, 12)
        shadow = np.clip(shadow, 0, 1.2)
        skin = np.where(solid[..., None], self._skin(base, normal, shadow, raster, box), self._wall(box))
        skin = self._mouth(points, view, base, normal, solid, skin)
        skin = self._lashes(points, view, np.clip(skin, 0, 255), box)
        soft = cv2.GaussianBlur(np.where(open_, np.float32(0), np.float32(1)), (0, 0), 0.35 * view.scale)
        return Layers(skin * soft[..., None], soft, self._eyes(points, view, shadow))

    def _skin(self, base: Array, normal: Array, shadow: Array, raster: Raster, box: Box) -> Array:
        """Skin, brows, hair and clothes in their light, BGR."""
        person, mm = self.person, self.view.scale
        noise = {size: k[box] for size, k in self._noise.items()}
        x, y, z = np.moveaxis(base, -1, 0)
        ax = np.abs(x)
        tone = np.array(person.skin, np.float32)
        lips = self._lips(raster)
        # colour
        colour = tone * (1 + (0.5 * noise[9.0] + 0.3 * noise[3.0])[..., None] * vector(0.02, 0.018, 0.01))
        colour *= 1 + 0.018 * noise[0.4][..., None]
        red = 0.5 * bump(ax, y, (42, -34), (16, 13)) + 0.6 * bump(ax, y, (6, -40), (11, 9))
        red += 0.7 * ramp(ax - 70, 6) * (y < 25) * (y > -60) + 0.25 * bump(ax, y, (8, -104), (14, 8))
        colour *= 1 - red[..., None] * vector(0.1, 0.12, 0.0)
        under = (0.1 + 0.1 * person.old) * bump(ax, y, (31, -13), (13, 4.5)) + 0.1 * bump(ax, y, (32, 9), (15, 4))
        colour *= 1 - under[..., None] * vector(0.7, 1.0, 0.9)
        mouth = tone * vector(0.72, 0.62, 0.88) * np.float32(0.55 + 0.45 * tone.mean() / 170)
        colour += (person.lip * lips)[..., None] * (mouth * (1 + 0.05 * noise[0.6])[..., None] - colour)
        jaw = ramp(-44 - y - 0.35 * np.maximum(ax - 20, 0) + 0.014 * np.maximum(ax - 30, 0) ** 2, 14) * ramp(
            y + 128, 20
        )
        stubble = person.beard * jaw * (1 - bump(ax, y, (0, -66), (27, 9))) * np.clip(0.3 + 0.15 * noise[0.4], 0, 0.8)
        colour *= 1 - stubble[..., None] * vector(0.75, 0.95, 1.0)
        for sx, sy, size, dark in self._spots:
            spot = dark * bump(x, y, (sx, sy), (size, size)) * (z > -60)
            colour *= 1 - spot[..., None] * vector(1, 0.9, 0.7)
        # light, which goes further in red, on pores and fine lines
        relief = 0.006 * noise[0.6] + 0.012 * noise[1.2]
        rough = normal.copy()
        rough[..., 0] -= cv2.Sobel(relief, -1, 1, 0, scale=0.5)
        rough[..., 1] += cv2.Sobel(relief, -1, 0, 1, scale=0.5)
        rough /= np.linalg.norm(rough, axis=-1, keepdims=True) + 1e-6
        light = self.studio.light(rough).astype(np.float32)
        shade = np.stack([cv2.GaussianBlur(light, (0, 0), k * mm) for k in (0.3, 0.5, 1.0)], -1)
        shade *= np.exp(-shadow[..., None] * vector(1.15, 1.05, 0.8))
        oily = 0.5 + 0.5 * bump(ax, y, (0, 20), (18, 60)) + 1.2 * lips
        for lamp in self.studio.lamps:
            colour += (20 * lamp.share * oily * np.clip(rough @ lamp.mirror, 0, 1) ** 28)[..., None]
        picture = colour * shade
        # brows
        hair = np.array(person.hair, np.float32)
        half, dense, arch = person.brow
        along = (ax - 9) / 43  # 0 at the inner end, 1 at the outer
        middle = (
            14
            + 5.5 * np.sin(np.clip(along, 0, 1.1) * 2.2)
            + arch * np.sin(np.clip(along, 0, 1) * np.pi)
            - 3.5 * along**2
        )
        width = half * np.interp(along, [0, 0.15, 0.6, 1.0], [0.75, 1.0, 0.8, 0.25])
        brow = (
            ramp(1.25 - np.abs(y - middle) / width, 1.2)
            * ramp(along + 0.02, 0.16)
            * ramp(1.0 - along, 0.16)
            * (z > -75)
        )
        flat, steep = (np.where(x > 0, self._brows[a][box], self._brows[np.pi - a][box]) for a in (0.55, 1.3))
        strands = flat + ramp(0.25 - along, 0.3) * (steep - flat)
        cover = np.clip(brow * dense * (0.8 + 0.4 * strands), 0, 0.88)[..., None]
        picture += cover * (hair * 1.15 * shade.mean(-1, keepdims=True) - picture)
        # hair, combed back from the forehead
        angle, far = (np.arctan2(x, y + 30) / (2 * np.pi) + 0.5).astype(np.float32), np.hypot(x, y + 30)
        strands = 0.0
        for number, length, share in ((1999, 9.0, 0.6), (700, 14.0, 0.4)):
            where = (angle * np.float32(number), (far / length % 63).astype(np.float32))
            strands = strands + share * cv2.remap(self._strands, *where, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
        edge = ramp(_hair(person, base) + 2.0 * strands + 1.5 * noise[3.0] - 1, 9) * ~_ear(base)
        plain, dim = self.studio.light(normal), np.exp(-shadow)
        sheen = np.clip(normal[..., 1] * 0.5 + normal[..., 2] * 0.75, 0, 1) ** 10
        combed = hair * (plain * dim * (0.85 + 0.18 * strands))[..., None] + (sheen * (12 + 8 * strands))[..., None]
        picture += edge[..., None] * (combed - picture)
        # clothes
        weave = 1 + 0.03 * noise[0.6] + 0.03 * noise[25.0]
        cloth = np.array(person.cloth, np.float32) * (plain * dim * weave)[..., None]
        return np.asarray(picture + ramp(_below_collar(base), 3)[..., None] * (cloth - picture), dtype=np.float32)

    def _lips(self, raster: Raster) -> Array:
        """How much of the red of the lips each pixel shows, 0 to 1."""
        uv = raster.corners(self._uv) * np.float32(head.load().lips.shape[0]) - np.float32(0.5)
        lips = cv2.remap(head.load().lips, uv, np.empty(0), cv2.INTER_LINEAR) / np.float32(255)
        lips *= (raster.which >= 0) & (self._part[raster.which] == head.SKIN)
        return cv2.GaussianBlur(lips, (0, 0), 0.35 * self.view.scale)

    def _mouth(self, points: Array, view: View, base: Array, normal: Array, solid: Array, picture: Array) -> Array:
        """The picture with a dark line where the lips meet: where they part, or turn inwards."""
        hole = mouth_hole(points, view, base, solid)
        inwards = (np.abs(base[..., 0]) < 24) & (np.abs(base[..., 1] + 66) < 6) & (normal[..., 2] < 0.3)
        size = 0.5 * view.scale
        whole = cv2.GaussianBlur(np.where(hole, np.float32(0), np.float32(1)), (0, 0), size)[..., None]
        filled = cv2.GaussianBlur(np.where(hole[..., None], np.float32(0), picture), (0, 0), size) / (whole + 1e-3)
        dark = np.clip(
            2 * cv2.GaussianBlur(np.where(hole | inwards, np.float32(1), np.float32(0)), (0, 0), size), 0, 0.8
        )[..., None]
        picture = np.where(hole[..., None], filled, picture)
        return np.asarray(picture + dark * (vector(34, 32, 60) - picture), dtype=np.float32)

    def _wall(self, box: Box) -> Array:
        height, width = self.view.shape
        y, x = (np.arange(k.start, k.stop, dtype=np.float32) for k in box)
        fall = 1 - 0.4 * (x / width - 0.5) ** 2 - 0.1 * (y[:, None] / height - 0.5) ** 2
        return np.repeat((self.studio.wall * fall + 0.6 * self._noise[25.0][box])[..., None], 3, -1)

    def _lashes(self, points: Array, view: View, picture: Array, box: Box) -> Array:
        both = head.load().only(head.LASHES).triangles
        lashes = view.raster(points, np.concatenate([both, both[:, ::-1]])).which >= 0  # seen from either side
        cover = cv2.GaussianBlur(lashes.astype(np.float32), (0, 0), 0.25 * view.scale)
        cover *= np.clip(0.55 + 0.2 * self._brows[1.3][box], 0, 0.9)
        return np.asarray(picture * (1 - cover[..., None]) + cover[..., None] * vector(18, 18, 20))

    def _eyes(self, points: Array, view: View, shadow: Array) -> Array:
        """The eyeballs, BGR; black beside them."""
        person, mesh = self.person, head.load().only(head.EYE)
        balls, index = mesh.triangles, np.unique(mesh.triangles)
        places = view.places(points[index])
        low, high = (np.clip(k, 0, view.shape[::-1]).astype(int) for k in (places.min(0), places.max(0) + 2))
        at = slice(low[1], high[1]), slice(low[0], high[0])
        raster, shadow = view.part(at).raster(points, balls), shadow[at]
        centres = eyeballs(points)
        left = mesh.points[index, 0] > 0
        radius = np.linalg.norm(points[index] - np.where(left[:, None], centres[1], centres[0]), axis=1).max()
        place = raster.of(points.astype(np.float32), balls)
        away = (place - np.where(place[..., :1] > 0, centres[1], centres[0]).astype(np.float32)) / np.float32(radius)
        normal = away / (np.linalg.norm(away, axis=-1, keepdims=True) + np.float32(1e-6))
        away[..., 1] += 0.07  # people look a little down, at the screen
        far = np.hypot(away[..., 0], away[..., 1])
        colour = vector(188, 196, 206) - np.clip(np.abs(away[..., :1]) - 0.45, 0, 0.6) * vector(70, 70, 15)
        turn = (np.arctan2(away[..., 1], away[..., 0]) + np.pi) / (2 * np.pi) * 180
        iris = np.array(person.iris, np.float32) * (1 + 0.14 * np.interp(turn, np.arange(181), self._rays))[..., None]
        iris *= (1 + 0.5 * ramp(0.28 - far, 0.25))[..., None] * (1 - 0.65 * ramp(far - _IRIS + 0.05, 0.1))[..., None]
        colour = colour + ramp(_IRIS - far, 0.07)[..., None] * (iris - colour)
        colour *= (1 - 0.95 * ramp(_PUPIL - far, 0.05))[..., None]
        picture = colour * (self.studio.light(normal) * np.exp(-np.clip(2.2 * shadow, 0, 1.5)))[..., None]
        for lamp in self.studio.lamps:
            glint = np.exp(-np.sum((normal - lamp.mirror) ** 2, -1) / (2 * 0.06**2))
            picture += (min(1.0, 2.2 * lamp.share) * 170 * glint)[..., None]
        whole = np.zeros((*view.shape, 3), np.float32)
        whole[at] = np.where((raster.which >= 0)[..., None], np.clip(picture, 0, 255), 0)
        return whole
