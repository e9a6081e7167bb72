"""The synthetic face: what moves, where, and that nuisances are independent of action units."""

import copy

import cv2
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from aullm_lib.datasets.synthetic import anatomy, head, muscles, truth
from aullm_lib.datasets.synthetic import release as writer
from aullm_lib.datasets.synthetic.anatomy import base_points, draw_anatomy
from aullm_lib.datasets.synthetic.film import MASK_SHARE, MOTIONS, STAGES, Action, Face, Film, _twice, _within
from aullm_lib.datasets.synthetic.layouts import LAYOUTS
from aullm_lib.datasets.synthetic.muscles import AMPLITUDE
from aullm_lib.datasets.synthetic.plan import deal
from aullm_lib.datasets.synthetic.portrait import CAMERA, View, normals
from aullm_lib.datasets.synthetic.raster import rasterise
from aullm_lib.datasets.synthetic.release import synthesize
from aullm_lib.datasets.synthetic.specs import SPECS
from aullm_lib.facs import BENCHMARK
from aullm_lib.support import wheels

# Where on the face (mm outwards and up from the middle between the eyes, on the person's left side) the middle of each
# benchmark AU's motion has to lie, and where it goes (outwards, up) by the FACS description of the muscle.
PLACES = {
    1: ((0, 26), (10, 45), (0, 1)),
    2: ((35, 65), (5, 40), (0, 1)),
    4: ((10, 40), (5, 40), (-1, -1)),
    7: ((20, 48), (-25, 12), (0, 1)),
    12: ((10, 50), (-85, -45), (1, 1)),
    14: ((10, 50), (-85, -45), (1, 0)),
    15: ((10, 50), (-95, -50), (0, -1)),
    17: ((0, 25), (-100, -65), (0, 1)),
}


def settings(release: str = "casme2", seed: int = 1) -> dict[str, object]:
    return {"release": release, "seed": seed, "subjects": 2, "clips_per_subject": 1, "intensity": 1.0}


@pytest.fixture(scope="module")
def face() -> Face:
    return writer.seat(settings(), 5)


def film(face: Face, *actions: Action, intensity: float = 1.0, n_frames: int = 16, seed: int = 0) -> Film:
    rng = np.random.default_rng(seed)
    return Film(face, actions, n_frames=n_frames, apex=n_frames // 2, intensity=intensity, rng=rng)


def test_the_rasteriser_finds_the_nearest_triangle_of_every_pixel() -> None:
    rng = np.random.default_rng(0)
    places, depth = rng.uniform(-3, 24, (60, 2)), rng.uniform(0, 9, 60)
    triangles = rng.integers(0, 60, (40, 3))
    found = rasterise(places, depth, triangles, (17, 21))
    for y in range(17):
        for x in range(21):
            best, which, share = -np.inf, -1, np.zeros(3)
            for k, corners in enumerate(triangles):
                (ax, ay), (bx, by), (cx, cy) = places[corners]
                area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
                if area >= -1e-9 or len(set(corners)) < 3:  # seen from behind: y runs down
                    continue
                a = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                b = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                weights = np.array([a, b, 1 - a - b])
                if weights.min() >= 0 and weights @ depth[corners] >= best:
                    best, which, share = weights @ depth[corners], k, weights
            assert found.which[y, x] == which
            np.testing.assert_allclose(found.share[y, x], share, atol=1e-5)


def test_pixels_are_where_a_camera_a_metre_away_sees_them(face: Face) -> None:
    view = View((480, 640), (320.0, 214.0), 1.7)
    at = np.array([[10.0, -20.0, 0.0], [10.0, -20.0, 50.0]])
    np.testing.assert_allclose(view.places(at)[0], (320 + 17, 214 + 34))
    np.testing.assert_allclose(view.places(at)[1] - (320, 214), np.array((17, 34)) * CAMERA / (CAMERA - 50))
    double = view.twice().places(at)  # pixel 0 becomes pixels 0 and 1, whose middle is 0.5
    np.testing.assert_allclose((double - 0.5) / 2, view.places(at))


def test_normals_of_a_sphere_point_outwards() -> None:
    sphere = np.random.default_rng(1).standard_normal((400, 3))
    sphere /= np.linalg.norm(sphere, axis=1, keepdims=True)
    hull = ConvexHull(sphere).simplices
    a, b, c = (sphere[hull[:, k]] for k in range(3))
    inwards = (np.cross(b - a, c - a) * a).sum(1) < 0
    hull[inwards] = hull[inwards][:, ::-1]
    assert (normals(sphere, hull) * sphere).sum(1).min() > 0.9


@pytest.mark.parametrize("au", sorted(AMPLITUDE))
def test_an_action_unit_moves_its_own_part_of_the_face_by_its_millimetres(au: int) -> None:
    points, shift = base_points(), muscles.displacement(au)
    size = np.linalg.norm(shift, axis=1) * muscles._seen()
    assert size.max() == pytest.approx(AMPLITUDE[au])
    left = muscles.displacement(au, right=0.0)
    assert np.linalg.norm(left[points[:, 0] < -5], axis=1).max(initial=0) == 0
    np.testing.assert_allclose(left + muscles.displacement(au, left=0.0), shift, atol=1e-12)
    if au in PLACES:
        across, up, way = PLACES[au]
        own = size * (points[:, 0] > 0) * (size > 0.3 * size.max())
        x, y = (own @ points[:, :2]) / own.sum()
        assert across[0] <= x <= across[1] and up[0] <= y <= up[1], (x, y)
        mean = own @ shift[:, :2] / own.sum() / AMPLITUDE[au]
        assert all(abs(k) < 0.75 if not sign else sign * k > 0.12 for k, sign in zip(mean, way, strict=True)), mean


def test_an_unknown_action_unit_is_named(face: Face) -> None:
    with pytest.raises(ValueError, match="au=3"):
        film(face, Action(3))


def test_people_differ_in_shape_and_stay_who_they_are() -> None:
    def person(seed: int) -> np.ndarray:
        return draw_anatomy(np.random.default_rng(seed), LAYOUTS["samm"].people).points

    assert np.array_equal(person(1), person(1))
    near = base_points()[:, 2] > -60  # the face
    apart = [np.linalg.norm(person(a) - person(b), axis=1)[near].mean() for a in range(4) for b in range(a)]
    assert min(apart) > 1.5  # mm


def test_without_intensity_the_frames_know_nothing_of_the_action_units(face: Face) -> None:
    still = list(film(face, intensity=0).frames())
    busy = list(film(face, Action(4), Action(12, right=0.0), intensity=0).frames())
    assert all(np.array_equal(a, b) for a, b in zip(still, busy, strict=True))


def test_motion_grows_with_intensity_and_stays_inside_the_mask(face: Face) -> None:
    rest = list(film(face, intensity=0).frames())
    change = []
    for intensity in (1.0, 2.0):
        clip = film(face, Action(12, right=0.0), intensity=intensity)
        apex = np.abs(list(clip.frames())[8].astype(float) - rest[8]).mean(-1)
        mask = clip.mask(12) > 0
        change.append(apex[mask].mean())
        assert apex[mask].mean() > 10 * apex[~mask].mean()
        assert np.flatnonzero(mask.any(0)).min() > clip.eyes[:, 0].mean() - 4  # their left is the image's right
    assert change[1] > 1.3 * change[0] > 0.5
    assert np.array_equal(mask, film(face, Action(12, right=0.0), intensity=0).mask(12) > 0)


@pytest.mark.parametrize("au", [1, 4, 12, 17, 26])
def test_a_mask_tells_the_side_that_moves(face: Face, au: int) -> None:
    """Left in the picture of a person's own left means right of the nose's tip, wherever the head was turned to."""
    films = [film(face, Action(au, *sides)) for sides in ((1, 1), (1, 0), (0, 1))]
    both, left, right = (clip.mask(au) for clip in films)
    for clip, mask, values in zip(films, (both, left, right), ({128, 255}, {255}, {128}), strict=True):
        size = np.hypot(*np.moveaxis(clip._placed(face.covered[..., None] * clip.moves[au].shift), -1, 0))
        agree = (mask[face.box] > 0) == (size > MASK_SHARE * size.max())  # but for rounding along an edge
        assert set(np.unique(mask)) == {0} | values and (~agree).sum() < 0.02 * (mask > 0).sum()
    nose = film(face).places(face.points[:, 2].argmax(keepdims=True), slice(1))[0, 0, 0]
    outwards = (np.arange(both.shape[1]) - nose) / face.view.scale  # mm
    for mask, value, sign in ((both, 255, 1), (both, 128, -1), (left, 255, 1), (right, 128, -1)):
        assert not (mask == value)[:, sign * outwards < -10].any()
    assert ((both == 255) & (left == 0)).sum() < 0.1 * (both == 255).sum()  # alone, as beside the other
    assert ((both == 128) & (right == 0)).sum() < 0.1 * (both == 128).sum()


def test_the_corners_of_the_eyes_lie_beside_all_that_shows_the_eyeball(face: Face) -> None:
    mesh = head.load().only(head.SKIN, head.EYE)
    which = face.view.raster(face.points, mesh.triangles).which
    rows, columns = np.nonzero((which >= 0) & (mesh.part[which] == head.EYE))
    corners = face.view.places(face.points)[muscles.corners()]
    for (first, last), own in zip(np.sort(corners[..., 0]), (columns < 320, columns > 320), strict=True):
        assert first < columns[own].min() < columns[own].max() < last < first + 1.5 * np.ptp(columns[own])
        heights = corners[..., 1]
        assert rows.min() - 2 < heights.min() < heights.max() < rows.max() + 2


@pytest.mark.parametrize("aus", [(1, 2), (4,), (12,), (15, 17)])
def test_the_optical_flow_between_frames_is_the_true_displacement(face: Face, aus: tuple[int, ...]) -> None:
    clip = film(face, *(Action(au) for au in aus), intensity=3.0)
    clip.blink[:] = 0
    frames = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in clip.frames()]
    # from the apex back to the onset: where what the apex shows at a pixel stood
    flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(frames[8], frames[0], None)
    true = clip.displacement(8)
    skin = np.zeros(frames[0].shape, bool)
    skin[face.box] = face.covered
    moved = skin & (np.hypot(*np.moveaxis(true, -1, 0)) > 1.0)
    assert moved.sum() > 500
    error = np.linalg.norm(flow + true, axis=-1)[moved]
    assert np.median(error) < 0.4 * np.median(np.linalg.norm(true, axis=-1)[moved])


@pytest.mark.parametrize("aus", [(4, 12), (1, 15)])
def test_landmarks_lie_where_the_frames_show_them(face: Face, aus: tuple[int, ...]) -> None:
    """A dot on the skin is found again in the onset frame and at the apex, however the head is turned."""
    turned = next(k for k in range(99) if abs(film(face, seed=k).pose[MOTIONS.index("yaw")]) > 3)

    def filmed(painted: Face) -> Film:
        clip = film(painted, *(Action(au) for au in aus), intensity=2.5, seed=turned)
        clip.blink[:] = 0
        return clip

    plain = filmed(face)
    frames, path, names = list(plain.frames()), plain.landmarks(), list(muscles.landmarks())
    assert path.shape == (16, len(names), 2)
    rows, columns = np.indices(face.picture.shape[:2])
    for k, name in enumerate(names):
        if name.startswith("eyeWide"):  # on the edge of a lid: half of the dot would lie on nothing
            continue
        vertex = face.points[[muscles.landmarks()[name]]]
        x, y = 2 * (face.view.places(vertex)[0] - (face.box[1].start, face.box[0].start)) + 0.5
        dotted = copy.copy(face)
        dot = 90 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)
        dotted.picture = np.clip(face.picture - dot[..., None], 0, 255).astype(np.uint8)
        lids = _twice(_within(face.eye_box, face.box))
        dotted.stages = [(np.ascontiguousarray(dotted.picture[lids]), face.stages[0][1]), *face.stages[1:]]
        for t, frame in enumerate(filmed(dotted).frames()):
            if t in (0, 8):
                change = np.abs(frame.astype(float) - frames[t]).sum(-1)
                change[change < 0.15 * change.max()] = 0
                found = [(grid * change).sum() / change.sum() for grid in np.indices(change.shape)[::-1]]
                np.testing.assert_allclose(path[t, k], found, atol=0.3, err_msg=f"{name}, frame {t}")
    smile = names.index("mouthSmileLeft")
    if 12 in aus:
        assert path[8, smile, 1] < path[0, smile, 1] - 0.5  # up


def test_motion_is_read_as_it_was_filmed(face: Face, tmp_path) -> None:
    clip = film(face, Action(4), Action(12, right=0.0), intensity=2.0, seed=3)
    truth.write(clip, tmp_path / "SYNTHETIC" / "motion" / "sub01" / "EP01_01.npz")
    motion = truth.motion(tmp_path, "sub01", "EP01_01")
    assert motion.names[:6] == list(MOTIONS) and motion.names[-2:] == ["AU4", "AU12"]
    for name in ("courses", "landmarks", "pose", "blink", "gaze"):
        expected = clip.landmarks() if name == "landmarks" else getattr(clip, name)
        np.testing.assert_allclose(getattr(motion, name), expected, rtol=1e-5, atol=1e-5)
    assert not motion.displacement(0).any()  # the onset frame, although AUs may have begun by then
    skin = np.zeros(face.view.shape, bool)
    skin[face.box] = face.covered
    error = np.linalg.norm(motion.displacement(8) - clip.displacement(8), axis=-1)[skin]
    assert np.percentile(error, 99) < 0.2 and np.hypot(*np.moveaxis(clip.displacement(8), -1, 0)).max() > 1.5
    alone = motion.displacement(8, "AU4") + motion.displacement(8, "AU12") + motion.displacement(8, *motion.names[:-2])
    np.testing.assert_allclose(alone, motion.displacement(8), atol=1e-4)
    with pytest.raises(ValueError, match=r"no field 'AU04': the clip has left, up, .*AU12"):
        motion.displacement(8, "AU04")


@pytest.mark.parametrize("au", sorted(AMPLITUDE))
def test_the_peak_is_the_furthest_that_skin_goes(face: Face, au: int) -> None:
    action = Action(au, left=0.7, strength=1.4)
    clip = film(face, action, intensity=2.0)
    skin = np.hypot(*np.moveaxis(clip.moves[au].shift, -1, 0))[face.covered]
    assert clip.peak(action) == pytest.approx(2.0 * 1.4 * skin.max())
    bound = AMPLITUDE[au] * face.view.scale * 2.0 * 1.4  # all in the picture's plane, at the eyes' distance
    assert 0.5 * bound < clip.peak(action) < 1.15 * bound


def test_every_feature_of_a_face_has_a_target() -> None:
    targets = head.load().targets
    for feature, (more, less) in anatomy._pairs().items():
        assert more and set(more + less) <= set(targets), feature
        assert bool(less) != (feature in targets), feature  # two directions, or one target of that very name


def test_a_turning_head_shows_parallax(face: Face) -> None:
    """The tip of the nose goes further than the ears, as a rotation of the mesh about the neck tells."""
    yaw = face.motions[MOTIONS.index("yaw")]
    z = face.points[:, 2]
    nose, temple = np.argmax(z), np.argmin(np.abs(z + 60) + np.abs(face.points[:, 1]) + 1e3 * (face.points[:, 0] < 40))
    expected = (
        np.sin(np.radians(1)) * (z[[nose, temple]] + 95) * face.view.scale * CAMERA / (CAMERA - z[[nose, temple]])
    )
    part = face.view.part(face.box).places(face.points[[nose, temple]])
    moved = [yaw.shift[y, x, 0] for x, y in np.rint(part).astype(int)]
    np.testing.assert_allclose(moved, expected, rtol=0.15)
    assert moved[0] > 1.8 * moved[1]


def test_eyes_and_lids(face: Face) -> None:
    """The truth's eye centres lie on dark pupils, and a blink hides them."""
    clip = film(face, n_frames=8)
    clip.blink = np.linspace(0, 1, 8)
    frames = list(clip.frames())

    def pupils(image: np.ndarray) -> list[float]:
        return [float(cv2.getRectSubPix(image, (7, 7), (float(x), float(y))).mean()) for x, y in clip.eyes]

    assert max(pupils(frames[0])) + 20 < min(pupils(frames[-1]))
    open_ = [float((1 - alpha).sum()) for _, alpha in face.stages]
    assert len(open_) == STAGES + 1 and open_[-1] < 0.1 * open_[0] and open_ == sorted(open_, reverse=True)


def test_a_head_that_is_not_there_is_asked_for_with_the_command(tmp_path, monkeypatch) -> None:
    whole = (head.FOLDER / "head.npz").read_bytes()
    monkeypatch.setattr(head, "FOLDER", tmp_path)
    head.load.cache_clear()
    try:
        with pytest.raises(FileNotFoundError, match=wheels.COMMAND):
            head.load()
        with pytest.raises(FileNotFoundError, match=wheels.COMMAND):
            synthesize(tmp_path / "release", subjects=1, clips_per_subject=1)
        assert not list(tmp_path.glob("release*"))
        (tmp_path / "head.npz").write_bytes(b"PK\x03\x04 cut")
        with pytest.raises(ValueError, match=r"head\.npz is damaged .*: delete it"):
            head.load()
        for place in range(whole.find(b"index.npy"), len(whole), len(whole) // 12):  # whatever is damaged in it
            (tmp_path / "head.npz").write_bytes(
                whole[:place] + bytes(255 - k for k in whole[place:][:64]) + whole[place + 64 :]
            )
            with pytest.raises(ValueError, match=r"head\.npz is damaged .*: delete it"):
                head.load()
    finally:
        head.load.cache_clear()


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
        grid = deal(release, [clips] * subjects, np.random.default_rng(seed))
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
