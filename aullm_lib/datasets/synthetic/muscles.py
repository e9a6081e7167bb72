"""Where and how each action unit moves and shades a synthetic face.

An action unit (AU) is a short table of pulls (patches of skin that move) and creases (furrows that darken, bulges that
brighten), placed by the landmarks of the face's own anatomy and mirrored to both sides.  The places follow the
FACS descriptions of the muscles; the shapes are Gaussians.  Units as in `anatomy`: R, `u` right, `v` down.
"""

from typing import NamedTuple

import numpy as np

from aullm_lib.datasets.synthetic.anatomy import Anatomy, Array, bump, ramp

# Peak displacement at strength 1 in R; 0.02 is about 2.5 px on a face 245 px wide.  Negative AUs are no AUs but
# spontaneous motion that no coder would write down.
AMPLITUDE = {
    1: 0.024,
    2: 0.024,
    4: 0.023,
    5: 0.016,
    6: 0.019,
    7: 0.017,
    9: 0.019,
    10: 0.019,
    12: 0.026,
    14: 0.021,
    15: 0.023,
    17: 0.023,
    20: 0.021,
    24: 0.016,
    25: 0.016,
    26: 0.021,
    -1: 0.012,  # gaze
    -2: 0.006,  # jaw
    -3: 0.005,  # nostrils
}
SPONTANEOUS = (-1, -2, -3)


class Move(NamedTuple):
    """Unit motion of one AU on a pixel grid.

    `shift` float32 [H, W, 2]: displacement (right, down) in R, peak `AMPLITUDE[au]`.  `shade` float32 [H, W]: relative
    change of brightness.  Both are for strength 1 and are linear in the strength.
    """

    shift: Array
    shade: Array


class _Pull(NamedTuple):
    x: float  # from the midline outwards; 0 is one patch on the midline
    y: float
    wide: float
    high: float
    out: float  # displacement outwards
    down: float
    turn: float = 0.0


class _Crease(NamedTuple):
    x: float
    y: float
    wide: float
    high: float
    gain: float  # > 0 brightens
    turn: float = 0.0


def _table(au: int, a: Anatomy) -> tuple[list[_Pull], list[_Crease]]:
    """Pulls and creases of an AU on a face."""
    eye, brow, nose, mouth, corner, chin = a.eye_x, a.brow_v, a.nose_v, a.mouth_v, a.mouth_w, a.chin_v
    fold = (corner + 0.1, nose + 0.15)  # middle of the nasolabial fold
    match au:
        case 1:
            pulls = [_Pull(0.2, brow, 0.15, 0.17, -0.05, -1), _Pull(0.2, brow - 0.3, 0.2, 0.2, 0, -0.5)]
            creases = [_Crease(0.0, brow - k, 0.3, 0.017, -0.10) for k in (0.24, 0.36, 0.48)]
            creases += [_Crease(0.0, brow - k, 0.3, 0.03, 0.05) for k in (0.3, 0.42)]
        case 2:
            pulls = [_Pull(0.62, brow, 0.17, 0.17, 0.05, -1), _Pull(0.6, brow - 0.27, 0.2, 0.2, 0, -0.5)]
            creases = [_Crease(0.58, brow - k, 0.2, 0.017, -0.10, -0.15) for k in (0.22, 0.33)]
            creases += [_Crease(0.6, brow + 0.13, 0.16, 0.045, 0.05, 0.15)]
        case 4:
            pulls = [_Pull(0.26, brow, 0.24, 0.15, -0.75, 0.75), _Pull(0.24, brow - 0.22, 0.24, 0.15, -0.2, 0.35)]
            creases = [_Crease(0.065, brow + 0.03, 0.02, 0.1, -0.12, -0.1), _Crease(0.0, brow, 0.03, 0.08, 0.025)]
            creases += [_Crease(0.3, brow + 0.12, 0.18, 0.04, -0.06), _Crease(0.0, brow + 0.2, 0.1, 0.018, -0.07)]
        case 5:
            pulls = [_Pull(eye, -a.eye_open - 0.01, 0.17, 0.055, 0, -1)]
            creases = [_Crease(eye, -a.eye_open - 0.05, 0.15, 0.025, -0.05)]
        case 6:
            pulls = [_Pull(0.56, 0.36, 0.22, 0.16, -0.1, -1), _Pull(0.78, 0.05, 0.1, 0.12, -0.4, -0.1)]
            creases = [_Crease(0.8, k, 0.09, 0.014, -0.09, k * 1.5) for k in (-0.08, 0.03, 0.14)]
            creases += [_Crease(eye + 0.02, 0.2, 0.2, 0.02, -0.08, 0.1), _Crease(0.55, 0.33, 0.17, 0.08, 0.045)]
        case 7:
            pulls = [_Pull(eye, a.eye_open + 0.03, 0.18, 0.065, -0.1, -1), _Pull(eye, -a.eye_open, 0.17, 0.05, 0, 0.4)]
            creases = [
                _Crease(eye, a.eye_open + 0.05, 0.17, 0.03, 0.07),
                _Crease(eye, a.eye_open + 0.12, 0.17, 0.02, -0.1),
            ]
            creases += [_Crease(eye + a.eye_w + 0.04, 0.02, 0.045, 0.02, -0.08)]
        case 9:
            pulls = [_Pull(0.14, 0.3, 0.12, 0.2, 0, -1), _Pull(0.15, brow + 0.03, 0.14, 0.1, -0.2, 0.4)]
            creases = [_Crease(0.0, k, 0.1, 0.016, -0.1) for k in (-0.06, 0.03, 0.12)]
            creases += [_Crease(0.16, 0.25, 0.018, 0.1, -0.09, -0.4)]
        case 10:
            pulls = [_Pull(0.2, mouth - 0.11, 0.17, 0.1, 0, -1), _Pull(a.nose_w, nose, 0.1, 0.12, 0.1, -0.45)]
            creases = [_Crease(fold[0] - 0.05, fold[1] - 0.06, 0.022, 0.13, -0.09, -0.55)]
            creases += [_Crease(0.3, nose + 0.05, 0.1, 0.06, 0.04), _Crease(0.0, mouth - 0.06, 0.22, 0.03, 0.05)]
        case 12:
            pulls = [_Pull(corner, mouth, 0.14, 0.13, 0.65, -0.8), _Pull(0.55, nose - 0.05, 0.2, 0.2, 0.15, -0.4)]
            creases = [_Crease(*fold, 0.022, 0.17, -0.1, -0.6), _Crease(0.58, nose - 0.1, 0.15, 0.1, 0.05)]
            creases += [_Crease(corner + 0.05, mouth - 0.04, 0.035, 0.03, -0.09)]
        case 14:
            pulls = [_Pull(corner - 0.05, mouth, 0.1, 0.09, 0.9, -0.1), _Pull(corner + 0.2, mouth, 0.09, 0.13, -0.7, 0)]
            creases = [_Crease(corner + 0.1, mouth + 0.01, 0.03, 0.075, -0.17, 0.1)]
            creases += [
                _Crease(corner + 0.19, mouth, 0.05, 0.1, 0.06),
                _Crease(corner - 0.02, mouth + 0.09, 0.07, 0.03, 0.05),
            ]
        case 15:
            pulls = [
                _Pull(corner, mouth + 0.02, 0.13, 0.11, 0.1, 1),
                _Pull(corner + 0.02, mouth + 0.2, 0.14, 0.14, 0, 0.5),
            ]
            creases = [_Crease(corner + 0.03, mouth + 0.1, 0.022, 0.08, -0.13, 0.3)]
            creases += [
                _Crease(corner - 0.05, mouth + 0.2, 0.1, 0.05, 0.05),
                _Crease(corner, mouth + 0.03, 0.03, 0.025, -0.08),
            ]
        case 17:
            pulls = [_Pull(0.0, chin - 0.27, 0.24, 0.15, 0, -1), _Pull(0.0, mouth + 0.08, 0.22, 0.07, 0, -0.75)]
            creases = [
                _Crease(0.0, mouth + a.lip_low + 0.07, 0.2, 0.03, -0.16),
                _Crease(0.0, chin - 0.2, 0.16, 0.08, 0.06),
            ]
            creases += [_Crease(0.11, chin - 0.23, 0.035, 0.03, -0.07), _Crease(0.05, chin - 0.15, 0.035, 0.025, -0.07)]
        case 20:
            pulls = [_Pull(corner, mouth + 0.01, 0.15, 0.1, 1, 0.15)]
            creases = [_Crease(corner + 0.12, mouth + 0.03, 0.02, 0.11, -0.08, 0.1)]
        case 24:
            pulls = [_Pull(0.0, mouth - 0.06, 0.26, 0.045, 0, 0.8), _Pull(0.0, mouth + 0.08, 0.26, 0.05, 0, -1)]
            creases = [_Crease(0.0, mouth, 0.28, 0.02, -0.09), _Crease(0.0, mouth + a.lip_low + 0.03, 0.2, 0.03, 0.05)]
        case 25:
            pulls = [_Pull(0.0, mouth - 0.04, 0.22, 0.04, 0, -0.5), _Pull(0.0, mouth + 0.07, 0.22, 0.06, 0, 1)]
            creases = [_Crease(0.0, mouth + 0.01, 0.2, 0.016, -0.3)]
        case 26:
            pulls = [_Pull(0.0, chin - 0.1, 0.45, 0.24, 0, 1), _Pull(0.0, mouth + 0.09, 0.24, 0.08, 0, 0.6)]
            creases = [_Crease(0.0, mouth + 0.01, 0.18, 0.014, -0.2)]
        case -1:  # both eyes the same way: see `field`
            pulls, creases = [_Pull(eye, 0.0, a.iris * 0.9, a.eye_open * 0.7, 1, 0)], []
        case -2:
            pulls, creases = [_Pull(0.0, chin - 0.15, 0.5, 0.3, 0, 1)], []
        case -3:
            pulls, creases = [_Pull(a.nose_w, nose - 0.06, 0.07, 0.08, 1, -0.2)], []
        case _:
            raise ValueError(f"au={au} is none of the rendered action units {sorted(k for k in AMPLITUDE if k > 0)}")
    return pulls, creases


def field(au: int, a: Anatomy, u: Array, v: Array, left: float = 1.0, right: float = 1.0) -> Move:
    """The motion of one AU at strength 1.

    Args:
        au: a key of `AMPLITUDE`.
        a: the face.
        u, v: positions in R [H, W].
        left, right: strength of either side, 0..1.  Left is the person's own left, which is right in the image.

    Raises:
        ValueError: an AU that is not rendered.
    """
    pulls, creases = _table(au, a)
    shift = np.zeros((*u.shape, 2), np.float32)
    shade = np.zeros(u.shape, np.float32)
    for side, share in ((1, left), (-1, right)):
        half = ramp(side * u, 0.08) * np.float32(share)
        if not half.any():
            continue
        for pull in pulls:
            at = bump(u, v, (side * pull.x, pull.y), (pull.wide, pull.high), side * pull.turn) * half
            shift[..., 0] += (pull.out if au == -1 else side * pull.out * (pull.x > 0)) * at
            shift[..., 1] += pull.down * at
        for crease in creases:
            at = bump(u, v, (side * crease.x, crease.y), (crease.wide, crease.high), side * crease.turn) * half
            shade += crease.gain * at
    # One pull's own peak is the unit, so that the strength of a side does not depend on the other one's.
    peak = max(float(np.hypot(pull.out, pull.down)) for pull in pulls)
    return Move(shift * np.float32(AMPLITUDE[au] / peak), shade)
