"""The synthetic face: what moves, where, and that nuisances are independent of action units."""

import cv2
import numpy as np
import pytest

from aullm_lib.datasets.synthetic.anatomy import draw_anatomy
from aullm_lib.datasets.synthetic.film import Action, Face, Film
from aullm_lib.datasets.synthetic.muscles import AMPLITUDE, field
from aullm_lib.datasets.synthetic.plan import deal
from aullm_lib.datasets.synthetic.specs import SPECS
from aullm_lib.facs import BENCHMARK

# Where on the face (u, v in R; the person's left side) the middle of each benchmark AU's motion has to lie.
PLACES = {
    1: ((0.0, 0.4), (-0.8, -0.2)),
    2: ((0.45, 0.85), (-0.8, -0.15)),
    4: ((0.0, 0.45), (-0.6, -0.1)),
    7: ((0.25, 0.65), (-0.15, 0.3)),
    12: ((0.25, 0.75), (0.5, 1.2)),
    14: ((0.25, 0.75), (0.85, 1.2)),
    15: ((0.25, 0.6), (0.9, 1.4)),
    17: ((0.0, 0.35), (1.0, 1.6)),
}


@pytest.fixture(scope="module")
def face() -> Face:
    return Face(draw_anatomy(np.random.default_rng(5)), (480, 640), (320, 215), 122)


def film(face: Face, *actions: Action, intensity: float = 1.0, n_frames: int = 16, seed: int = 0) -> Film:
    rng = np.random.default_rng(seed)
    return Film(face, actions, n_frames=n_frames, apex=n_frames // 2, intensity=intensity, rng=rng)


@pytest.mark.parametrize("au", sorted(k for k in AMPLITUDE if k > 0))
def test_an_action_unit_moves_and_shades_its_own_part_of_the_face(au: int) -> None:
    anatomy = draw_anatomy(np.random.default_rng(3))
    u, v = np.meshgrid(np.linspace(-1.2, 1.2, 241, dtype=np.float32), np.linspace(-1.2, 1.8, 301, dtype=np.float32))
    move = field(au, anatomy, u, v)
    size = np.hypot(move.shift[..., 0], move.shift[..., 1])
    assert 0.6 * AMPLITUDE[au] < size.max() < 1.6 * AMPLITUDE[au]  # two pulls may add up or stand in each other's way
    assert 0.03 < np.abs(move.shade).max() < 0.45
    np.testing.assert_allclose(size, size[:, ::-1], atol=2e-4)
    left = field(au, anatomy, u, v, right=0.0)
    assert np.hypot(left.shift[..., 0], left.shift[..., 1])[u < -0.15].max() < 0.01 * size.max()
    if au in PLACES:
        weight = size * (u > 0)
        middle = [(k * weight).sum() / weight.sum() for k in (u, v)]
        assert all(low <= k <= high for k, (low, high) in zip(middle, PLACES[au], strict=True)), middle


def test_directions_are_those_of_the_muscles() -> None:
    anatomy = draw_anatomy(np.random.default_rng(3))

    def pull(au: int, u: float, v: float) -> tuple[float, float]:
        shift = field(au, anatomy, np.full((1, 1), u, np.float32), np.full((1, 1), v, np.float32)).shift[0, 0]
        return float(shift[0]) / AMPLITUDE[au], float(shift[1]) / AMPLITUDE[au]

    corner = (anatomy.mouth_w, anatomy.mouth_v)
    assert pull(1, 0.2, anatomy.brow_v)[1] < -0.5  # inner brow up
    assert pull(2, 0.62, anatomy.brow_v)[1] < -0.5  # outer brow up
    across, down = pull(4, 0.26, anatomy.brow_v)
    assert across < -0.4 and down > 0.4  # brow down and inwards
    assert pull(7, anatomy.eye_x, anatomy.eye_open + 0.03)[1] < -0.5  # lower lid up
    across, down = pull(12, *corner)
    assert across > 0.3 and down < -0.4  # corner of the lips up and outwards
    assert pull(14, *corner)[0] > 0.3 and pull(15, *corner)[1] > 0.5 and pull(17, 0, anatomy.chin_v - 0.27)[1] < -0.5


def test_an_unknown_action_unit_is_named(face: Face) -> None:
    with pytest.raises(ValueError, match="au=3"):
        film(face, Action(3))


def test_without_intensity_the_frames_know_nothing_of_the_action_units(face: Face) -> None:
    still = list(film(face, intensity=0).frames())
    busy = list(film(face, Action(4), Action(12, right=0.0), intensity=0).frames())
    assert all(np.array_equal(a, b) for a, b in zip(still, busy, strict=True))


def test_motion_grows_with_intensity_and_stays_inside_the_mask(face: Face) -> None:
    rest = list(film(face, intensity=0).frames())
    change = []
    for intensity in (1.0, 2.0):
        clip = film(face, Action(12, right=0.0), intensity=intensity)
        frames = list(clip.frames())
        assert np.array_equal(frames[0], rest[0])  # the onset is neutral, whatever follows
        apex = np.abs(frames[8].astype(float) - rest[8]).mean(-1)
        mask = clip.mask(12) > 0
        change.append(apex[mask].mean())
        assert apex[mask].mean() > 20 * apex[~mask].mean()
        assert np.flatnonzero(mask.any(0)).min() > face.centre[0] + clip._pose.x  # their left is the image's right
    assert change[1] > 1.3 * change[0] > 0.5
    assert np.array_equal(mask, film(face, Action(12, right=0.0), intensity=0).mask(12) > 0)


def test_eyes_and_lids(face: Face) -> None:
    """The truth's eye centres lie on dark pupils, and a blink hides them."""
    clip = film(face, n_frames=8)
    clip._blink = np.linspace(0, 1, 8)
    frames = list(clip.frames())

    def pupils(image: np.ndarray) -> list[float]:
        return [float(cv2.getRectSubPix(image, (7, 7), (float(x), float(y))).mean()) for x, y in clip.eyes]

    # a glint sits beside the pupil's middle
    assert max(pupils(frames[0])) < 75 and min(pupils(frames[-1])) > 90


@pytest.mark.parametrize(("release", "total"), [("casme2", 256), ("samm", 159)])
def test_the_table_of_combinations_has_the_published_counts(release: str, total: int) -> None:
    table = SPECS[release].combinations
    counts = {
        "casme2": {1: 26, 2: 22, 4: 130, 5: 2, 6: 13, 7: 39, 9: 13, 10: 16, 12: 34, 14: 27, 15: 16, 17: 25},
        "samm": {
            1: 6,
            2: 18,
            4: 23,
            5: 10,
            6: 3,
            7: 46,
            9: 5,
            10: 6,
            12: 28,
            14: 13,
            15: 4,
            17: 6,
            20: 7,
            24: 9,
            25: 7,
        },
    }[release]
    assert sum(n for _, n in table) == total
    assert {au: sum(n for c, n in table if au in c) for au in counts} == counts
    none = sum(n for c, n in table if not set(c) & set(BENCHMARK[release]))
    assert none == {"casme2": 13, "samm": 56}[release]


@pytest.mark.parametrize("release", ["casme2", "samm"])
@pytest.mark.parametrize(("subjects", "clips"), [(1, 1), (1, 12), (3, 4), (2, 20), (3, 10), (8, 8), (26, 10)])
def test_labels_are_dealt_to_every_size_of_release(release: str, subjects: int, clips: int) -> None:
    for seed in range(12):
        grid = deal(release, subjects, clips, np.random.default_rng(seed))
        assert [len(row) for row in grid] == [clips] * subjects
        total = subjects * clips
        least = 3 if total >= 30 else 1 if total >= 12 else 0
        for au in BENCHMARK[release]:
            having = sum(any(au in c for c in row) for row in grid)
            count = sum(au in c for row in grid for c in row)
            assert count >= least and having >= min(least, subjects)
            if total > 200:
                share = sum(n for c, n in SPECS[release].combinations if au in c)
                wanted = share * total / sum(n for _, n in SPECS[release].combinations)
                assert abs(count - wanted) <= 4
