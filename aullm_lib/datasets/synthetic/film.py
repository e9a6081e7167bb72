"""Films of a synthetic face: action units, blinks, head drift, flicker and sensor noise, frame by frame.

Every frame is one warp of the subject's painted picture: a sum of fields (one per action unit, four for the head's
drift) times their courses over time, a shading map, the lamp's flicker and noise.  All that is not an action unit comes
from the clip's own random stream and is independent of labels: at intensity 0 two films from the same stream are equal,
whatever their action units.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np

from aullm_lib.datasets.synthetic.anatomy import Anatomy, Array, outline, ramp
from aullm_lib.datasets.synthetic.muscles import SPONTANEOUS, Move, field
from aullm_lib.datasets.synthetic.portrait import paint

MASK_SHARE = 0.35  # of an AU's maximum displacement or shading: where its ground-truth mask begins
_NO_MAP = np.empty(0)  # cv2.remap: both coordinates are in the first map
_PAD = 192  # slack of the noise tile in pixels, out of which each frame cuts at random


class Face:
    """One person seated before one camera, painted once at twice the frame's resolution.

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


class _Pose(NamedTuple):
    """Where the head is in a clip's onset frame, against the painted picture."""

    x: float
    y: float
    angle: float
    scale: float

    def place(self, points: Array, centre: tuple[float, float]) -> Array:
        """Painted pixel positions [n, 2] -> onset frame."""
        c, s = np.cos(self.angle) * self.scale, np.sin(self.angle) * self.scale
        return (points - centre) @ np.array([[c, s], [-s, c]]) + centre + (self.x, self.y)


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


def _course(n: int, apex: float, delay: float, hold: float, rest: float) -> Array:
    """Strength over n frames: 0 at the onset, 1 at the apex, `rest` at the offset."""
    t = np.arange(n, dtype=np.float64)
    peak = np.clip(apex * (1 + delay), 2, n - 4)
    up = np.clip(t / peak, 0, 1)
    down = np.clip((t - peak - hold) / max(n - 1 - peak - hold, 1), 0, 1)
    ease = [x * x * (3 - 2 * x) for x in (up, down)]
    return np.asarray(ease[0] * (1 - (1 - rest) * ease[1]))


class Film:
    """One clip of a face: geometry at the onset, ground truth, and the frames.

    Args:
        face: whose.
        actions: the AUs.
        n_frames: length; at least 8.
        apex: 0-based frame of the peak, 0 < apex < n_frames - 1.
        intensity: multiplies the motion and shading of every action, and nothing else.
        rng: the clip's own stream, the only source of its nuisances.
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
        self.face, self.actions, self.n_frames = face, actions, n_frames
        size = face.radius
        x, y = (float(k) for k in rng.normal(0, 0.02 * size, 2))
        self._pose = _Pose(x, y, angle=float(rng.normal(0, 0.015)), scale=1 + float(rng.normal(0, 0.01)))
        drift = [_wander(rng, n_frames, k) for k in (0.006 * size, 0.006 * size, 0.003, 0.002)]
        habits = [_wander(rng, n_frames, 1.0) for _ in SPONTANEOUS]
        hold, rest = float(rng.uniform(0, 0.15)), float(rng.uniform(0, 0.15))
        self._blink = self._blinks(rng)
        self._gain = self._flicker(rng)
        self._cuts = rng.integers(0, _PAD, (n_frames, 2))

        rows, columns = face.box
        y, x = np.mgrid[rows, columns].astype(np.float32)
        dx, dy = x - (face.centre[0] + self._pose.x), y - (face.centre[1] + self._pose.y)
        c, s = np.cos(self._pose.angle) / self._pose.scale, np.sin(self._pose.angle) / self._pose.scale
        px, py = (np.float32(c) * dx + np.float32(s) * dy), (np.float32(c) * dy - np.float32(s) * dx)
        u, v = px / np.float32(size), py / np.float32(size)
        hold_still = ramp(outline(u, v, face.anatomy) + 0.24, 0.2)  # 1 on the head, 0 at the box's edge
        edge = np.minimum(
            np.minimum(x - columns.start, columns.stop - 1 - x), np.minimum(y - rows.start, rows.stop - 1 - y)
        )
        hold_still *= ramp(edge - 0.06 * size, 0.06 * size)
        start = np.stack([px + np.float32(face.centre[0]), py + np.float32(face.centre[1])], -1)
        grid = np.stack([x, y], -1)
        self._start = 2 * (grid + hold_still[..., None] * (start - grid) - (columns.start, rows.start)) + 0.5
        self._start = np.ascontiguousarray(self._start, dtype=np.float32)
        zero = np.zeros_like(u)
        ways = (
            (hold_still, zero),
            (zero, hold_still),
            (-dy * hold_still, dx * hold_still),
            (dx * hold_still, dy * hold_still),
        )
        # per field: slice of the box, warp in half pixels of the painted picture, shade or None, course
        self._fields: list[tuple[tuple[slice, slice], Array, Array | None, Array]] = []
        whole = (slice(None), slice(None))
        for way, path in zip(ways, drift, strict=True):
            self._fields.append((whole, np.stack(way, -1) * np.float32(-2), None, path))
        for au, path in zip(SPONTANEOUS, habits, strict=True):
            self._add(field(au, face.anatomy, u, v), path)
        self.moves: dict[int, Move] = {}
        for action in actions:
            move = field(action.au, face.anatomy, u, v, action.left, action.right)
            self.moves[action.au] = move
            if intensity:
                course = _course(n_frames, apex, action.delay, hold * n_frames, rest)
                self._add(move, course * action.strength * intensity)

    def _add(self, move: Move, course: Array) -> None:
        """Keep a field's part that matters: the rest of the box is left out of every frame's sum."""
        size = np.maximum(np.abs(move.shift[..., 0]), np.abs(move.shift[..., 1]))
        live = (size > 0.004 * size.max()) | (np.abs(move.shade) > 5e-4)
        rows, columns = (np.flatnonzero(live.any(k)) for k in (1, 0))
        at = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        warp = np.ascontiguousarray(move.shift[at] * np.float32(-2 * self.face.radius))
        shade = np.ascontiguousarray(move.shade[at]) if move.shade.any() else None
        self._fields.append((at, warp, shade, course))

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
        """Centres of the eyes in the onset frame in pixels, float [2, 2]: the one left in the image first; (x, y)."""
        c, e = np.asarray(self.face.centre), self.face.anatomy.eye_x * self.face.radius
        return self._pose.place(np.array([c - np.array((e, 0)), c + np.array((e, 0))]), self.face.centre)

    @property
    def face_box(self) -> tuple[int, int, int, int]:
        """x, y, width, height in pixels of the face in the onset frame: ear to ear, hairline to chin."""
        a, c, r = self.face.anatomy, np.asarray(self.face.centre), self.face.radius
        middle = c + np.array((0, 0.5 * (a.hairline + a.chin_v) * r))
        width, height = 2 * r * self._pose.scale, (a.chin_v - a.hairline) * r * self._pose.scale
        x, y = self._pose.place(middle[None], self.face.centre)[0] - (width / 2, height / 2)
        return round(x), round(y), round(width), round(height)

    def mask(self, au: int) -> Array:
        """Where `au` acts in the onset frame: uint8 [H, W], 255 where motion or shading passes `MASK_SHARE` of its top.

        Raises:
            KeyError: an AU that the film does not have.
        """
        move = self.moves[au]
        # Blurred a little: the region between two furrows, or between two patches that meet, belongs to it.
        soft = [np.hypot(move.shift[..., 0], move.shift[..., 1]), np.abs(move.shade)]
        size, shade = (cv2.GaussianBlur(k, (0, 0), 0.04 * self.face.radius) for k in soft)
        mask = np.zeros(self.face.shape, np.uint8)
        mask[self.face.box][(size > MASK_SHARE * size.max()) | (shade > MASK_SHARE * shade.max())] = 255
        return mask

    def frames(self) -> Iterator[Array]:
        """The frames in order, uint8 [H, W, 3] (BGR), or [H, W] for a grey camera."""
        face = self.face
        height, width = face.shape
        tile = _noise(face.shape, face.grey)
        canvas, picture = face.still.copy(), face.picture.copy()
        warp, shade = np.empty_like(self._start), np.empty(self._start.shape[:2], np.float32)
        moved = np.empty(canvas[face.box].shape, np.float32)
        for t in range(self.n_frames):
            np.copyto(warp, self._start)
            shade.fill(1)
            for at, shift, crease, course in self._fields:
                amount = float(course[t])
                if amount:
                    cv2.scaleAdd(shift, amount, warp[at], warp[at])
                    if crease is not None:
                        cv2.scaleAdd(crease, amount, shade[at], shade[at])
            if self._blink[t] > 0 or (t and self._blink[t - 1] > 0):
                for at, shut, opening in face.lids:
                    edge = 1.15 * float(self._blink[t]) - 0.05 - opening
                    lash = 1 - 0.7 * np.exp(-((edge / 0.13) ** 2)) * min(1.0, 4 * float(self._blink[t]))
                    closed, lash = (k[..., None] if picture.ndim == 3 else k for k in (ramp(edge, 0.1), lash))
                    picture[at] = (face.picture[at] + (shut - face.picture[at]) * closed) * lash
            cv2.remap(picture, warp, _NO_MAP, cv2.INTER_LINEAR, moved, cv2.BORDER_REPLICATE)
            cv2.multiply(moved, shade if face.grey else cv2.merge([shade] * 3), canvas[face.box])
            y, x = self._cuts[t]
            noise = tile[y : y + height, x : x + width]
            yield cv2.addWeighted(canvas, float(self._gain[t]), noise, 1.0, 0.0, dtype=cv2.CV_8U)
