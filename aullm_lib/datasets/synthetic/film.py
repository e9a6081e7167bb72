"""Films of a synthetic face: action units, blinks, gaze, head motion, flicker and sensor noise, frame by frame.

The mesh is rendered once for a subject.  Each frame is one warp of that picture: a sum of fields (of every action unit,
of six ways in which a head moves, of habits that mean nothing) times their courses over time, and a sum of changes of
light, which come from the normals of the deformed surface.  What changes visibility is drawn in layers: eyeballs behind
the lids, and lids that were rendered at six stages of a blink.  All that is not an action unit comes from the clip's
own random stream and is independent of labels: at intensity 0 two films from the same stream are equal, whatever their
action units.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from aullm_lib.datasets.synthetic import head, muscles
from aullm_lib.datasets.synthetic.anatomy import Anatomy, Array, base_points
from aullm_lib.datasets.synthetic.portrait import Box, Portrait, Studio, View, bump, mouth_hole, normals, ramp, vector

MASK_SHARE = 0.35  # of an AU's maximum displacement: where its ground-truth mask begins
MASK_VALUES = {"L": 255, "R": 128}  # of the pixels on either side, the person's own
STAGES = 6  # of a blink
_NO_MAP = np.empty(0)  # cv2.remap: both coordinates are in the first map
_ROUNDS = 12  # of the search for a vertex in a frame: eight are enough wherever a field is smooth
_PAD = 192  # slack of the noise tile in pixels, out of which each frame cuts at random
_NECK = np.array((0.0, -95.0, -95.0))  # mm: where a head turns
# How a head moves, and how far in 60 frames: mm to the left, up, forwards; degrees of turning, nodding, tilting.
MOTIONS = ("left", "up", "forward", "yaw", "pitch", "roll")
_DRIFT = (0.25, 0.25, 0.25, 0.18, 0.18, 0.1)
_POSE = (1.5, 1.5, 6.0, 1.5, 1.5, 0.9)  # spread of a clip's own posture
# Kinds of creases: places (x outwards, y) of each fold in mm, its standard deviations along and across, its turn; and
# the direction in which skin is pushed together where it deepens.
_UP, _ACROSS, _OBLIQUE = (0.0, 1.0), (1.0, 0.0), (0.8, 0.6)
_CREASES: tuple[tuple[list[tuple[float, ...]], tuple[float, float]], ...] = (
    ([(16, 32, 26, 1.0, 0.05), (18, 42, 28, 1.0, 0.0), (20, 52, 26, 1.1, -0.05)], _UP),  # forehead
    ([(5.5, 14, 1.0, 7, 0.12), (10, 15, 0.9, 5, 0.2)], _ACROSS),  # between the brows
    ([(0, 3, 7, 0.9, 0.0), (0, -2, 8, 0.9, 0.0)], _UP),  # root of the nose
    ([(55, 4, 6, 0.8, 0.35), (57, -2, 6, 0.8, 0.0), (55, -8, 6, 0.8, -0.35)], _UP),  # crow's feet
    ([(30, -13, 12, 0.9, 0.1), (31, -18, 13, 1.0, 0.15)], _UP),  # below the eyes
    ([(25, -47, 1.4, 13, 0.55)], _OBLIQUE),  # from the nose to the corner of the mouth
    ([(35, -66, 1.2, 6, 0.1)], _ACROSS),  # dimple
    ([(0, -86, 14, 1.5, 0.0), (7, -97, 4, 2.0, 0.3)], _UP),  # chin
)
_DEPTH = 5.0  # slope of a crease for a shortening of skin by 1 and a fold 1 mm wide, before the person's own factor


@dataclass(frozen=True)
class Action:
    """One AU in one clip.

    `left` and `right` 0..1: how far either side of the person takes part; `strength`: 1 is the typical peak, before the
    release's intensity; `delay`: its apex later (+) than the clip's, as a share of the rise.
    """

    au: int
    left: float = 1.0
    right: float = 1.0
    strength: float = 1.0
    delay: float = 0.0

    @property
    def side(self) -> str:
        """ "L", "R" or "both"."""
        return "L" if self.right == 0 else "R" if self.left == 0 else "both"


class Move(NamedTuple):
    """Motion of one kind at strength 1 on the pixels of a face's box.

    `shift` float32 [H, W, 2]: displacement (right, down) in pixels.  `shade` float32 [H, W]: relative change of
    brightness.
    """

    shift: Array
    shade: Array


class Face:
    """One person before one camera, rendered once at twice the frame's resolution.

    Args:
        person: who.
        view: the camera.
        studio: the light.
        grey: one channel rather than three (BGR).
    """

    def __init__(self, person: Anatomy, view: View, studio: Studio, grey: bool = False) -> None:
        self.person, self.view, self.studio, self.grey = person, view, studio, grey
        portrait = Portrait(person, view.twice(), studio)
        self.points, self._base = portrait.points, base_points()
        height, width = view.shape
        mm = view.scale
        places = view.places(self.points)
        self.box = self._around(places[(self._base[:, 1] > -150) & (np.abs(self._base[:, 0]) < 95)], 26 * mm)
        x, y, z = self._base.T
        lids = places[(np.abs(np.abs(x) - 31) < 21) & (np.abs(y) < 15) & (z > -40)]
        self.eye_box = self._around(lids, 3 * mm)

        around = Portrait(person, view, studio).paint(self.points, (slice(0, height), slice(0, width)))
        self.still = self._camera(around.skin)
        moving = portrait.paint(self.points, _twice(self.box))
        self.picture = self._camera(moving.skin)
        self.eyes = self._camera(moving.eyes[_twice(_within(self.eye_box, self.box))])
        blink, wide = self._shut(portrait.view.part(_twice(self.eye_box))), self._around(lids, 10 * mm)
        self.stages = []  # of a blink: the lids, and 1 where they or other skin hides the eyeballs
        for stage in range(STAGES + 1):
            layers = moving if stage == 0 else portrait.paint(self.points + blink * (stage / STAGES), _twice(wide))
            inner = _twice(_within(self.eye_box, wide if stage else self.box))
            self.stages.append((self._camera(layers.skin[inner]), np.ascontiguousarray(layers.alpha[inner])))

        mesh = head.load().only(head.SKIN, head.EYE)
        self._skin, self._triangles = head.load().only(head.SKIN).triangles, mesh.triangles
        self._raster = view.part(self.box).raster(self.points, self._triangles)
        self._solid = self._raster.which >= 0
        self._base_map = self._raster.of(self._base.astype(np.float32), self._triangles)
        self.covered = self._solid & (mesh.part[self._raster.which] == head.SKIN)
        self.covered &= ~mouth_hole(self.points, view.part(self.box), self._base_map, self._solid)
        still = normals(self.points, self._skin)
        self._light = np.maximum(studio.light(still), 0.1)
        self._normal_map = self._raster.of(still.astype(np.float32), self._triangles)
        self._light_map = np.maximum(studio.light(self._normal_map), 0.1)
        away = cv2.distanceTransform((~self._solid).astype(np.uint8), cv2.DIST_L2, 5)
        rows, columns = (np.asarray(k) for k in np.indices(self._solid.shape))
        edge = np.minimum(np.minimum(columns, columns[:, ::-1]), np.minimum(rows, rows[::-1]))
        self._fade = ramp(10 * mm - away, 16 * mm) * ramp(edge - 4 * mm, 6 * mm)
        self._folds = [self._fold(kind, size) for kind, size in enumerate(person.creases)]
        self.motions = [self._rigid(k) for k in range(len(MOTIONS))]
        self.habits = [self.move(muscles.moved(*habit)) for habit in muscles.HABITS]

    def _shut(self, view: View) -> Array:
        """The displacement [n, 3] of the vertices that just shuts this person's eyes."""
        mesh = head.load().only(head.SKIN, head.EYE)
        lids = mesh.moved({"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0})

        def open_(share: float) -> int:
            which = view.raster(self.points + share * lids, mesh.triangles).which
            return int((mesh.part[which] == head.EYE).sum())

        wide = open_(0)
        return lids * next((k for k in np.arange(0.3, 1, 0.1) if open_(k) < 0.04 * wide), 1.0)

    def _around(self, places: Array, margin: float) -> Box:
        (x0, y0), (x1, y1) = np.floor(places.min(0) - margin), np.ceil(places.max(0) + margin)
        (height, width) = self.view.shape
        return (slice(max(0, int(y0)), min(height, int(y1))), slice(max(0, int(x0)), min(width, int(x1))))

    def _camera(self, picture: Array) -> Array:
        picture = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
        return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY) if self.grey else np.ascontiguousarray(picture)

    def _rigid(self, kind: int) -> Move:
        """The head's motion by 1 mm or 1 degree; the neck follows less and less, the shoulders not at all."""
        if kind < 3:
            points = self.points + np.eye(3)[kind]
        else:
            axis = np.eye(3)[(1, 0, 2)[kind - 3]] * np.radians(1)
            points = self.points + np.cross(axis, self.points - _NECK)
        weight = ramp(self._base[:, 1:2] + 125, 70)
        return self.move(weight * (points - self.points), creases=False)

    def _fold(self, kind: int, size: float) -> tuple[Array, Array]:
        """Change of brightness by a kind of crease at depth 1, and the direction [H, W, 2] across it, in the image."""
        places, across = _CREASES[kind]
        x, y = self._base_map[..., 0], self._base_map[..., 1]
        side = np.sign(x)
        rng = np.random.default_rng((self.person.texture, kind))
        depth = np.zeros(x.shape, np.float32)
        for px, py, along, wide, turn in places:
            dx, dy = rng.normal(0, 1.2, 2)
            depth += bump(np.abs(x), y, (px + dx * (px > 0), py + dy), (along, wide), turn)
        slope = [cv2.Sobel(depth, -1, *k, scale=0.125) * np.float32(self.view.scale) for k in ((1, 0), (0, 1))]
        bent = self._normal_map + np.stack([slope[0], -slope[1], np.zeros_like(depth)], -1) * 0.5
        bent /= np.linalg.norm(bent, axis=-1, keepdims=True) + 1e-6
        change = (self.studio.light(bent) / self._light_map - 1) - 0.25 * depth
        where = np.stack([side * across[0], np.full_like(x, -across[1])], -1).astype(np.float32)
        return (change * size * self.covered * (self._base_map[..., 2] > -80)).astype(np.float32), where

    def move(self, shift: Array, creases: bool = True) -> Move:
        """What a displacement [n, 3] of the vertices, in mm, does to the picture."""
        part = self.view.part(self.box)
        points = part.places(self.points + shift) - part.places(self.points)
        field = self._raster.of(points.astype(np.float32), self._triangles)
        # What lies beside the skin, in the openings of the eyes and around the head, goes with its neighbours.
        skin = self.covered.astype(np.float32)
        near = cv2.GaussianBlur(field * skin[..., None], (0, 0), 4 * self.view.scale)
        near /= cv2.GaussianBlur(skin, (0, 0), 4 * self.view.scale)[..., None] + np.float32(1e-3)
        field = np.where(self.covered[..., None], field, near) * self._fade[..., None]
        normal = normals(self.points + shift, self._skin)
        change = self.studio.light(normal) / self._light - 1
        # Where lips meet, a normal may turn over: no light changes as much as the sum over both sides would.
        shade = self._raster.of(np.clip(change, -0.3, 0.2).astype(np.float32), self._triangles) * skin
        if creases:
            smooth = cv2.GaussianBlur(field, (0, 0), 2 * self.view.scale)
            dx, dy = (cv2.Sobel(smooth, -1, *k, scale=0.125) for k in ((1, 0), (0, 1)))
            for change, across in self._folds:
                strain = ((across[..., :1] * dx + across[..., 1:] * dy) * across).sum(-1)
                shade += np.float32(_DEPTH) * np.clip(-strain, 0, None) * change
        return Move(field, shade)


def _at(field: Array, places: Array) -> Array:
    """A picture or field [h, w, ...] at places [.., .., 2] between its pixels."""
    return cv2.remap(field, places, _NO_MAP, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _twice(box: Box) -> Box:
    rows, columns = box
    return slice(2 * rows.start, 2 * rows.stop), slice(2 * columns.start, 2 * columns.stop)


def _within(box: Box, outer: Box) -> Box:
    """A box in the pixels of another around it."""
    rows, columns = (slice(b.start - o.start, b.stop - o.start) for b, o in zip(box, outer, strict=True))
    return rows, columns


@lru_cache(maxsize=4)
def _noise(shape: tuple[int, int], grey: bool) -> Array:
    """A tile of sensor noise in grey levels, larger than a frame."""
    rng = np.random.default_rng([shape[0], shape[1], int(grey)])
    size = (shape[0] + _PAD, shape[1] + _PAD)
    common = rng.standard_normal(size, dtype=np.float32) * np.float32(1.5)
    return common if grey else common[..., None] + rng.standard_normal((*size, 3), dtype=np.float32) * np.float32(0.9)


def _wander(rng: np.random.Generator, n: int, size: float) -> Array:
    """A slow smooth path of n steps from 0, of about `size` per 60 frames at its largest."""
    t = np.arange(n) / 60.0
    path = sum(
        float(rng.normal()) * (np.sin(2 * np.pi * f * t + p) - np.sin(p))
        for f, p in zip(rng.uniform(0.1, 0.6, 3), rng.uniform(0, 2 * np.pi, 3), strict=True)
    )
    return size * 0.4 * np.asarray(path)


def _course(n: int, apex: float, early: float, delay: float, hold: float, rest: float) -> Array:
    """Strength over n frames: 0 until `early`, 1 at the apex, `rest` at the offset."""
    t = np.arange(n, dtype=np.float64)
    peak = np.clip(apex * (1 + delay), 2, n - 4)
    up = np.clip((t - early) / max(peak - early, 1), 0, 1)
    down = np.clip((t - peak - hold) / max(n - 1 - peak - hold, 1), 0, 1)
    ease = [x * x * (3 - 2 * x) for x in (up, down)]
    return np.asarray(ease[0] * (1 - (1 - rest) * ease[1]))


class Film:
    """One clip of a face: ground truth, and the frames.

    Args:
        face: whose.
        actions: the AUs.
        n_frames: length; at least 8.
        apex: 0-based frame of the peak, 0 < apex < n_frames - 1.
        intensity: multiplies the motion and shading of every action, and nothing else.
        rng: the clip's own stream, the only source of its nuisances.

    Attributes:
        pose: [6], how the head is held in the onset frame, in the units of `MOTIONS`.
        blink: [T], how far the lids are shut, 0..1.
        gaze: [T, 2], how far the eyeballs have turned, pixels right and down.
        courses: float64 [T, K], how far each field is on in every frame: of `MOTIONS`, habits, then actions.
        shifts: float32 [K, H, W, 2], the fields on the face's box, in pixels.
    """

    def __init__(
        self,
        face: Face,
        actions: tuple[Action, ...],
        *,
        n_frames: int,
        apex: int,
        intensity: float,
        rng: np.random.Generator,
    ) -> None:
        if n_frames < 8 or not 0 < apex < n_frames - 1:
            raise ValueError(f"n_frames={n_frames}, apex={apex}: needs n_frames >= 8 and 0 < apex < n_frames - 1")
        self.face, self.actions, self.n_frames, self.intensity = face, actions, n_frames, intensity
        self.pose = np.array([float(rng.normal(0, k)) for k in _POSE])
        restless = float(np.exp(rng.normal(0, 0.5)))
        drift = [_wander(rng, n_frames, k * restless) for k in _DRIFT]
        habits = [_wander(rng, n_frames, float(np.exp(rng.normal(0, 0.6)))) for _ in muscles.HABITS]
        hold, rest = float(rng.uniform(0, 0.15)), float(rng.uniform(0, 0.3))
        early = float(rng.normal(0, 0.03)) * n_frames  # the annotated onset is not the true one
        late = float(rng.normal(0, 0.12))  # nor is the apex
        self.blink = self._blinks(rng)
        self.gaze = np.stack([_wander(rng, n_frames, 0.25 * face.view.scale) for _ in range(2)], 1)
        self._gain = self._flicker(rng)
        self._cuts = rng.integers(0, _PAD, (n_frames, 2))

        grid = np.stack(np.meshgrid(*(np.arange(k.start, k.stop, dtype=np.float32) for k in face.box[::-1])), -1)
        origin = vector(face.box[1].start, face.box[0].start)
        self._lean = np.zeros_like(grid)  # how the head is held, in pixels
        for move, much in zip(face.motions, self.pose, strict=True):
            cv2.scaleAdd(move.shift, float(much), self._lean, self._lean)
        # Where the picture has what the onset frame shows, but for what has moved by then, in pixels of the box.
        self.start = grid - origin - self._lean
        self.moves = {a.au: face.move(muscles.displacement(a.au, a.left, a.right)) for a in actions}
        moves = [*face.motions, *face.habits]
        courses = [*drift, *habits]
        for action in actions:
            moves.append(self.moves[action.au])
            course = _course(n_frames, apex, early, action.delay + late, hold * n_frames, rest)
            courses.append(course * action.strength * intensity)
        self.courses = np.stack(courses, 1)
        self.shifts = np.stack([self._placed(move.shift) for move in moves])
        # per field: slice of the box, warp in pixels of the picture, shade or None
        self._fields = [self._live(s, self._placed(m.shade)) for s, m in zip(self.shifts, moves, strict=True)]

    def _placed(self, of_face: Array) -> Array:
        """What belongs to the face's picture, where the onset frame has it."""
        return _at(of_face, self.start)

    def _live(self, shift: Array, shade: Array) -> tuple[Box, Array, Array | None]:
        """A field's part that matters: the rest of the box is left out of every frame's sum."""
        size = np.maximum(np.abs(shift[..., 0]), np.abs(shift[..., 1]))
        live = (size > 0.004 * size.max()) | (np.abs(shade) > 5e-4)
        rows, columns = (np.flatnonzero(live.any(k)) for k in (1, 0))
        at = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        dark = np.ascontiguousarray(shade[at]) if np.abs(shade).max() > 5e-4 else None
        return at, np.ascontiguousarray(shift[at] * np.float32(-2)), dark

    def _blinks(self, rng: np.random.Generator) -> Array:
        """How far the lids are shut, 0..1 per frame: a blink in some clips, never in the onset frame."""
        chance, start, length, depth = rng.random(), rng.uniform(0.02, 0.95), rng.uniform(28, 56), rng.uniform(0.5, 1.0)
        t = (np.arange(self.n_frames) - 1 - start * self.n_frames) / length
        shut = np.where(t < 0.35, np.clip(t / 0.35, 0, 1), np.clip((1 - t) / 0.65, 0, 1))
        return np.asarray(depth * shut * shut * (3 - 2 * shut) * (chance < 0.25))

    def _flicker(self, rng: np.random.Generator) -> Array:
        """Brightness per frame: the clip's exposure, the mains' flicker, a slow change."""
        t = np.arange(self.n_frames)
        mains = 0.005 * np.sin(2 * np.pi * rng.uniform(0.02, 0.5) * t + rng.uniform(0, 2 * np.pi))
        exposure = rng.normal(1, 0.03)
        return np.asarray(
            exposure * (1 + mains + 0.002 * rng.standard_normal(self.n_frames) + _wander(rng, self.n_frames, 0.005))
        )

    @property
    def eyes(self) -> Array:
        """Middles between the corners of each eye in the onset frame, pixels [2, 2]: the image's left first; (x, y)."""
        return np.asarray(self.places(muscles.corners().ravel(), slice(1)).reshape(2, 2, 2).mean(1))

    @property
    def face_box(self) -> tuple[int, int, int, int]:
        """x, y, width, height in pixels of the face in the onset frame: temple to temple, hairline to chin."""
        x, y, z = self.face._base.T
        front = (np.abs(x) < 67) & (y < self.face.person.hairline - 8) & (z > np.where(y < -80, 5, -95))
        face = self.places(np.flatnonzero(front & (y > -107)), slice(1))[0]  # the base mesh's chin ends there
        (left, top), (right, bottom) = face.min(0), face.max(0)
        return round(left), round(top), round(right - left), round(bottom - top)

    def landmarks(self) -> Array:
        """Pixels [T, L, 2] of the points `muscles.landmarks` in every frame; no blink moves them."""
        return self.places(np.array(list(muscles.landmarks().values())), slice(None))

    def places(self, vertices: Array, frames: slice) -> Array:
        """Pixels [T, n, 2] at which some frames show vertices of the face.

        A frame is warped backwards: each of its pixels knows where in the picture it comes from.  The pixel that comes
        from a vertex is found by going there, and again from where that led.
        """
        origin = vector(self.face.box[1].start, self.face.box[0].start)
        picture = self.face.view.places(self.face.points[vertices]) - origin
        courses = self.courses[frames].astype(np.float32)[..., None, None]
        found = np.repeat(picture[None], len(courses), 0).astype(np.float32)
        for _ in range(_ROUNDS):
            moved = _at(self._lean, found)
            for k, shift in enumerate(self.shifts):
                moved += courses[:, k] * _at(shift, found)
            found = (picture + moved).astype(np.float32)
        return found + origin

    def displacement(self, frame: int) -> Array:
        """float32 [H, W, 2] in pixels of the frame: what it shows at a place stood so far away (to the left and above,
        where positive) in the onset frame."""
        whole = np.zeros((*self.face.view.shape, 2), np.float32)
        since = self.courses[frame] - self.courses[0]
        whole[self.face.box] = np.tensordot(since.astype(np.float32), self.shifts, 1)
        return whole

    def peak(self, action: Action) -> float:
        """The furthest that skin goes by one of the film's actions, in pixels."""
        return float(self._size(action.au).max()) * action.strength * self.intensity

    def _size(self, au: int) -> Array:
        """How far `au` moves the skin at strength 1, pixels [h, w] of the face's picture."""
        return np.hypot(*np.moveaxis(self.moves[au].shift, -1, 0)) * self.face.covered

    def mask(self, au: int) -> Array:
        """Where `au` moves the skin in the onset frame: uint8 [H, W], above 0 where it passes `MASK_SHARE` of its most.

        The value says the side (`MASK_VALUES`): the midline parts an action on both; what one on a single side moves
        beyond it is that side's, too.

        Raises:
            KeyError: an AU that the film does not have.
        """
        size = self._placed(self._size(au))
        side = {action.au: action.side for action in self.actions}[au]
        left = self._placed(self.face._base_map[..., 0]) > {"L": -np.inf, "R": np.inf, "both": 0.0}[side]
        mask = np.zeros(self.face.view.shape, np.uint8)
        mask[self.face.box] = np.where(left, MASK_VALUES["L"], MASK_VALUES["R"]) * (size > MASK_SHARE * size.max())
        return mask

    def frames(self) -> Iterator[Array]:
        """The frames in order, uint8 [H, W, 3] (BGR), or [H, W] for a grey camera."""
        face = self.face
        height, width = face.view.shape
        tile = _noise(face.view.shape, face.grey)
        canvas, picture = face.still.copy(), face.picture.copy()
        start = self.start * 2 + np.float32(0.5)
        warp, shade = np.empty_like(start), np.empty(start.shape[:2], np.float32)
        lids = _within(face.eye_box, face.box)
        corner = vector(2 * lids[1].start, 2 * lids[0].start)
        for t in range(self.n_frames):
            np.copyto(warp, start)
            shade.fill(1)
            for (at, shift, crease), amount in zip(self._fields, self.courses[t].tolist(), strict=True):
                if amount:
                    cv2.scaleAdd(shift, amount, warp[at], warp[at])
                    if crease is not None:
                        cv2.scaleAdd(crease, amount, shade[at], shade[at])
            stage = float(self.blink[t]) * STAGES
            low = min(int(stage), STAGES - 1)
            skin, alpha = (cv2.addWeighted(a, 1 - stage + low, b, stage - low, 0.0)
                           for a, b in zip(face.stages[low], face.stages[low + 1], strict=True))  # fmt: skip
            picture[_twice(lids)] = skin
            current = _at(picture, warp)
            balls = start[lids] - corner - (2 * self.gaze[t]).astype(np.float32)
            for motion, amount in zip(self.shifts[: len(MOTIONS)], self.courses[t], strict=False):
                balls -= motion[lids] * np.float32(2 * amount)
            eyes = _at(face.eyes, balls)
            open_ = 1 - _at(alpha, warp[lids] - corner)
            current[lids] = cv2.add(
                current[lids], np.rint(eyes * (open_ if face.grey else open_[..., None])).astype(np.uint8)
            )
            cv2.multiply(current, shade if face.grey else cv2.merge([shade] * 3), canvas[face.box], dtype=cv2.CV_8U)
            y, x = self._cuts[t]
            noise = tile[y : y + height, x : x + width]
            yield cv2.addWeighted(canvas, float(self._gain[t]), noise, 1.0, 0.0, dtype=cv2.CV_8U)
