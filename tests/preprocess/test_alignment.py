"""Faces found and aligned, against the truth of synthetic releases and on one real face."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import make_wheel, picture
from hypothesis import given
from hypothesis import strategies as st

from aullm_lib import datasets, preprocess
from aullm_lib.datasets import table as tables
from aullm_lib.preprocess import alignment, faces
from aullm_lib.preprocess.__main__ import main
from aullm_lib.support import images, wheels

REAL = Path(__file__).parents[3] / "shared" / "real" / "face_pexels.mp4"
needs_weights = pytest.mark.skipif(
    not faces.installed(), reason=f"the face weights are not installed: {wheels.COMMAND}"
)


@pytest.fixture(scope="module", params=["casme2", "samm"])
def release(request, tmp_path_factory) -> Path:
    """Every subject of a release, one clip each."""
    root = tmp_path_factory.mktemp(request.param) / "release"
    yield datasets.synthesize(
        root, request.param, subjects={"casme2": 26, "samm": 29}[request.param], clips_per_subject=1
    )
    shutil.rmtree(root)


@pytest.fixture(scope="module")
def casme2(tmp_path_factory) -> Path:
    return datasets.synthesize(tmp_path_factory.mktemp("few") / "casme2", subjects=2, clips_per_subject=1)


@pytest.fixture
def no_weights(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(faces, "FOLDER", tmp_path / "no weights")


def truth(root: Path) -> pd.DataFrame:
    table = pd.read_csv(root / "SYNTHETIC" / "faces.csv")
    table["eyes"] = list(table[["eye_left_x", "eye_left_y", "eye_right_x", "eye_right_y"]].to_numpy().reshape(-1, 2, 2))
    return table


def onset(root: Path, row: int = 0) -> np.ndarray:
    return images.read(root / truth(root)["image"][row], rgb=True)


def film(folder: Path, images: list[np.ndarray]) -> tuple[Path, ...]:
    """The images [H, W, 3] RGB as the files of a clip."""
    folder.mkdir(parents=True)
    paths = tuple(folder / f"img{i + 1:04d}.png" for i in range(len(images)))
    for path, image in zip(paths, images, strict=True):
        cv2.imwrite(str(path), image[..., ::-1])
    return paths


def clip_table(clips: dict[str, tuple[Path, ...]]) -> pd.DataFrame:
    rows = [
        {"subject": "s1", "clip": name, "onset": 1, "apex": None, "offset": len(frames), "emotion": "others",
         "aus": "12", "frames": frames, "units": [tables.facs.ActionUnit(12)]}
        for name, frames in clips.items()
    ]  # fmt: skip
    return tables.from_rows(rows, "hand", cropped=False)


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ matrix[:, :2].T + matrix[:, 2]


def belong(size: int) -> np.ndarray:
    """Where the eyes [2, 2] belong in an aligned frame: level, 0.34 of the side apart, 0.33 of it from the top."""
    return np.array([[0.5 - 0.17, 0.33], [0.5 + 0.17, 0.33]]) * size - 0.5  # pixel (0, 0) has its centre there


@needs_weights
def test_every_synthetic_subject_is_found_and_aligned(release):
    """99 % of frames; eyes within 6 % of their distance, half of them 3 %, and within 1.5 of 64 pixels once aligned.

    The mesh puts outer corners 2 to 4 % further out than lids meet, perhaps for the lashes.
    """
    found, errors = [], []
    for row in truth(release).itertuples():
        frames = sorted((release / row.image).parent.iterdir())
        for path in (frames[len(frames) // 2], frames[-1]):
            found.append(faces.find(images.read(path)))  # grey
        at_onset = faces.find(images.read(release / row.image, rgb=True))
        found.append(at_onset)
        assert at_onset, row.image
        apart = np.linalg.norm(row.eyes[1] - row.eyes[0])
        errors.append(np.linalg.norm(at_onset.eyes - row.eyes, axis=1).max() / apart)
        assert errors[-1] < 0.06, row.image
        aligned = apply(alignment.level(at_onset.eyes, 64), row.eyes)
        assert np.linalg.norm(aligned - belong(64), axis=1).max() < 1.5, row.image
        left, top, width, height = at_onset.box
        assert abs(left + width / 2 - row.x - row.width / 2) < 0.05 * row.width, row.image
        assert 0.85 < width / row.width < 1.1 and 0.8 < height / row.height < 1.1, row.image
        assert abs(top + height - row.y - row.height) < 0.1 * row.height, row.image  # down to the chin
    assert np.median(errors) < 0.03
    assert np.mean([f is not None and f.count == 1 for f in found]) >= 0.99


def test_cascades_find_every_synthetic_subject_too(release, no_weights):
    """Less exactly; a third of the frames are after the onset, where eyes may be shut."""
    rows = truth(release)
    found = [faces.find(images.read(release / image)) for image in rows["image"]]
    assert all(f is not None and f.eyes is not None and f.points is None for f in found)
    for row, one in zip(rows.itertuples(), found, strict=True):
        apart = np.linalg.norm(row.eyes[1] - row.eyes[0])
        assert np.linalg.norm(one.eyes - row.eyes, axis=1).max() < 0.12 * apart, row.image


@needs_weights
def test_builds_record_matrix_frame_and_score(casme2, tmp_path):
    table = datasets.load("casme2", casme2, images="raw_selected")
    store = preprocess.build(table, tmp_path / "s")
    assert store.info["settings"]["align"] == "similarity" and not store.remarks
    assert store.info["settings"]["detector"]["weights"] == faces.WEIGHTS
    for row, (clip_id, clip) in zip(truth(casme2).itertuples(), table.iterrows(), strict=True):
        stored = store.table.loc[clip_id]
        matrix = store.matrix(clip_id)
        assert np.linalg.norm(apply(matrix, row.eyes) - belong(64), axis=1).max() < 1.5
        assert stored["found_in"] == clip["frames"][0].name and 0.5 < stored["score"] <= 1
        for i in (0, -1):
            naive = alignment.warp(images.read(clip["frames"][i]), matrix, 64)
            assert np.array_equal(store[clip_id][i], naive)
    colour = preprocess.build(table, tmp_path / "rgb", size=112, rgb=True)
    assert (colour.table["found_in"] == store.table["found_in"]).all()
    for clip_id in store.ids:  # the same part of the frame, however it is stored
        parts = alignment.outline(store.matrix(clip_id), 64), alignment.outline(colour.matrix(clip_id), 112)
        np.testing.assert_allclose(*parts, atol=1e-9)
    assert colour[colour.ids[0]].shape[1:] == (112, 112, 3)


@needs_weights
def test_crop_is_an_upright_square_around_the_face(casme2, tmp_path):
    table = datasets.load("casme2", casme2, images="raw_selected")
    store = preprocess.build(table, tmp_path / "s", align="crop")
    for row, clip_id in zip(truth(casme2).itertuples(), store.ids, strict=True):
        matrix = store.matrix(clip_id)
        assert matrix[0, 1] == matrix[1, 0] == 0 and matrix[0, 0] == matrix[1, 1]
        side, middle = 64 / matrix[0, 0], (31.5 - matrix[:, 2]) / matrix[0, 0]
        assert 0.95 * row.height < side < 1.25 * row.height
        assert abs(middle - (row.x + row.width / 2, row.y + row.height / 2)).max() < 0.08 * row.height


@needs_weights
def test_the_largest_of_two_faces_is_taken_and_remarked(casme2, tmp_path):
    large, small = onset(casme2), cv2.resize(onset(casme2, 1), None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
    both = np.full((480, 640 + small.shape[1], 3), 90, np.uint8)
    both[: small.shape[0], : small.shape[1]], both[:, small.shape[1] :] = small, large
    table = clip_table({"c1": film(tmp_path / "c1", [both] * 3), "c2": film(tmp_path / "c2", [large] * 3)})
    message = r"remarks on 1 of 2 clips .*first hand/s1/c1: 2 faces, the largest taken"
    with pytest.warns(UserWarning, match=message) as caught:
        store = preprocess.build(table, tmp_path / "s")
    assert len(caught) == 1 and list(store.remarks) == ["hand/s1/c1"]
    difference = store["hand/s1/c1"].astype(int) - store["hand/s1/c2"]
    assert np.abs(difference)[:, 8:].mean() < 4  # the same person, found in another frame


@needs_weights
def test_half_a_face_is_refused_in_that_frame_and_by_name_if_it_stays(casme2, tmp_path):
    whole = onset(casme2)
    row = truth(casme2).iloc[0]
    start = int(row["x"] + 0.38 * row["width"])  # the eye on the image's left is cut off, and more
    half = whole[:, start : start + 320]
    clips = {"half": film(tmp_path / "half", [half] * 4), "ok": film(tmp_path / "ok", [whole] * 2)}
    narrow = cv2.resize(whole, (320, 240), interpolation=cv2.INTER_AREA)
    clips["comes"] = film(tmp_path / "comes", [half, np.vstack([narrow, narrow[::-1]]), half])
    with pytest.warns(UserWarning) as caught:
        store = preprocess.build(clip_table(clips), tmp_path / "s")
    assert store.ids == ["hand/s1/ok", "hand/s1/comes"]
    assert "img0001.png: more than a quarter of the face lies outside the frame" in store.failed["hand/s1/half"]
    assert "face found in img0002.png, not in the onset frame" in store.remarks["hand/s1/comes"]
    assert store.table.loc["hand/s1/comes", "found_in"] == "img0002.png"
    assert len(caught) == 2


@needs_weights
def test_a_face_that_is_covered_or_gone_later_is_remarked_but_not_one_in_another_light(casme2, tmp_path):
    whole, row = onset(casme2), truth(casme2).iloc[0]
    hand = whole.copy()
    top, left = int(row["y"] + 0.62 * row["height"]), int(row["x"])
    hand[top : top + int(0.4 * row["height"]), left : left + int(row["width"])] = (205, 160, 135)
    lit = cv2.convertScaleAbs(whole, alpha=0.85, beta=20)
    clips = {
        name: film(tmp_path / name, [whole] * 4 + [last] * 4)
        for name, last in (("hand", hand), ("gone", np.full_like(whole, 90)), ("lit", lit))
    }
    for name, options in (("s", {}), ("large", {"size": 112, "rgb": True})):
        with pytest.warns(UserWarning, match="remarks on 2 of 3 clips"):
            store = preprocess.build(clip_table(clips), tmp_path / name, **options)
        assert len(store) == 3  # the frames are stored all the same
        remark = "the region of the mouth looks different in img0005.png than in img0001.png"
        assert store.remarks == {f"hand/s1/{name}": remark for name in ("hand", "gone")}


def test_first_strictly_then_leniently_then_in_a_later_frame(tmp_path, monkeypatch):
    paths = film(tmp_path / "c1", [np.full((60, 80, 3), value, np.uint8) for value in range(20)])
    asked, answers = [], {}

    def find_all(image, wanted):
        assert wanted == 1
        asked.append(int(image[0, 0, 0]))
        return answers.get(asked[-1], [])

    monkeypatch.setattr(faces, "find_all", find_all)
    one = faces.Face((20, 10, 30, 40), np.array([[27.0, 25], [43, 25]]), 0.4, 1, np.zeros((468, 2)))
    answers[4] = [one]
    found, path, remarks = preprocess.locate(paths)
    assert found is one and path.name == "img0005.png"
    assert remarks == "face found in img0005.png, not in the onset frame; face found leniently (score 0.40)"
    assert asked == [0, 4]
    answers[4] = [one, replace(one, score=0.6)]  # a sure face, however small, before a larger one that is none perhaps
    assert preprocess.locate(paths)[0].score == 0.6
    answers[0] = [replace(one, eyes=None, score=0.9)]  # a box without eyes will do for a crop only
    assert preprocess.locate(paths, eyes=False)[1:] == (paths[0], "")
    assert preprocess.locate(paths)[1] == paths[4]
    answers.pop(4)
    with pytest.raises(
        preprocess.NoFace, match=r"img0001.png: no pair of eyes found in the face \(in this and 5 later"
    ):
        preprocess.locate(paths)


@pytest.mark.filterwarnings("ignore:the face weights are missing")
@pytest.mark.parametrize("align", ["crop", "similarity"])
def test_no_face_anywhere_fails_by_name(tmp_path, align):
    wall = np.random.default_rng(0).integers(90, 110, (240, 320, 3)).astype(np.uint8)
    table = clip_table({"c1": film(tmp_path / "c1", [wall] * 8)})
    with pytest.raises(tables.ReleaseError, match=r"c1.img0001.png: no face found \(in this and 5 later frames\)"):
        preprocess.build(table, tmp_path / "s", align=align)


def test_without_weights_cascades_align_and_every_clip_says_so(casme2, tmp_path, no_weights):
    table = datasets.load("casme2", casme2, images="raw_selected")
    with pytest.warns(UserWarning) as caught:
        store = preprocess.build(table, tmp_path / "s")
    messages = [str(w.message) for w in caught]
    assert len(messages) == 2 and "weights are missing" in messages[0] and messages[0].endswith(wheels.COMMAND)
    assert "remarks on 2 of 2 clips" in messages[1]
    assert set(store.remarks.values()) == {"face found by OpenCV's cascades"}
    assert store.info["settings"]["detector"] == {
        "name": "haarcascade_frontalface_alt2 + haarcascade_eye", "weights": None, "neighbours": [6, 2],
        "strict": 0.5, "lenient": 0.3, "later": 5, "outside": 0.25,
    }  # fmt: skip
    assert store.info["settings"]["place"] == {"eyes_apart": 0.34, "eyes_down": 0.33}
    for row, clip_id in zip(truth(casme2).itertuples(), store.ids, strict=True):
        assert np.linalg.norm(apply(store.matrix(clip_id), row.eyes) - belong(64), axis=1).max() < 3


def test_a_store_is_not_mixed_with_one_of_another_detector(casme2, tmp_path, monkeypatch):
    table = datasets.load("casme2", casme2, images="raw_selected")
    here = preprocess.settings(table)
    monkeypatch.setattr(faces, "FOLDER", tmp_path if faces.installed() else faces.FOLDER)
    monkeypatch.setattr(faces, "installed", lambda: not here["detector"]["weights"])
    other = preprocess.settings(table)
    assert {key for key in here if here[key] != other[key]} == {"detector"}


def test_weights_of_another_version_are_refused_by_name(casme2, tmp_path, monkeypatch):
    monkeypatch.setattr(faces, "FOLDER", tmp_path)
    monkeypatch.setattr(faces, "_nets", type(faces._nets)())  # nothing loaded yet
    for name in faces.WEIGHTS:
        (tmp_path / name).write_bytes(b"other weights")
    message = rf"face_detection_short_range.tflite: its sha256 begins .*fetch it again: {wheels.COMMAND}"
    with pytest.raises(ValueError, match=message):
        faces.find(onset(casme2))
    table = datasets.load("casme2", casme2, images="raw_selected")
    with pytest.raises(ValueError, match=message):  # no clip is to blame
        preprocess.build(table, tmp_path / "s", size=16)
    assert not (tmp_path / "s").exists()


def test_set_up_goes_on_without_a_network(index, capsys, no_weights):
    assert main() == 0
    messages = capsys.readouterr().err
    assert messages.count("\n") == 1 and "No matching distribution" in messages and wheels.COMMAND in messages
    assert not faces.FOLDER.exists()


def test_a_wheel_with_other_files_is_refused_and_nothing_kept(index, capsys, no_weights):
    member = "mediapipe/modules/face_landmark/face_landmark.tflite"
    make_wheel(index, "mediapipe", faces.MEDIAPIPE, {member: b"x"})
    assert main() == 1
    assert "is not the file expected; nothing was kept" in capsys.readouterr().err
    assert not faces.FOLDER.exists()


def test_the_right_wheel_is_unpacked_once(index, monkeypatch, capsys, no_weights):
    contents = {"a.tflite": b"one", "b.tflite": b"two"}
    monkeypatch.setattr(faces, "WEIGHTS", {name: wheels.digest(content) for name, content in contents.items()})
    members = {f"mediapipe/modules/x/{name}": content for name, content in contents.items()}
    wheel = make_wheel(index, "mediapipe", faces.MEDIAPIPE, members)
    assert main() == 0
    assert {p.name: p.read_bytes() for p in faces.FOLDER.iterdir()} == contents
    wheel.unlink()
    assert main() == 0
    assert "already in" in capsys.readouterr().out


# The warp against naive loops


def test_crops_beyond_the_border_repeat_it():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    got = alignment.warp(image, alignment.cut((-2, -2, 12, 12), 12), 12)
    assert np.array_equal(got, np.pad(image, 2, mode="edge"))


def naive_warp(image: np.ndarray, matrix: np.ndarray, size: int, k: int) -> np.ndarray:
    """The mean of k×k points of each stored pixel, each looked up bilinearly in the image, whose border goes on."""
    height, width = image.shape
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    out = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            for i in range(k):
                for j in range(k):
                    x, y, _ = back @ (column - 0.5 + (j + 0.5) / k, row - 0.5 + (i + 0.5) / k, 1)
                    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
                    left, top = min(int(x), width - 2), min(int(y), height - 2)
                    a, b = x - left, y - top
                    cell = image[top : top + 2, left : left + 2].astype(float)
                    out[row, column] += np.array([1 - b, b]) @ cell @ np.array([1 - a, a]) / k**2
    return out


@pytest.mark.parametrize(("apart", "k"), [(14.0, 2), (30.5, 5), (5.0, 1), (45.0, 7)])
def test_the_similarity_warp_equals_a_naive_float_loop(apart, k):
    """Reaching beyond the image, shrinking and enlarging; k follows the module's rule: at most 1.25 pixels a step."""
    image, size = picture(), 20
    eyes = np.array([[50.3, 40.2], [50.3 + apart, 40.2 + 0.2 * apart]])
    matrix = alignment.level(eyes, size)
    step = np.linalg.norm(eyes[1] - eyes[0]) / (alignment.EYES_APART * size)
    assert k - 1 < step - 0.25 <= k or k == 1
    difference = alignment.warp(image, matrix, size) - naive_warp(image, matrix, size, k)
    assert np.abs(difference).max() < 2.5 and np.abs(difference).mean() < 0.5


def test_cut_and_whole_frame_are_exact_area_means():
    image = picture((48, 96))
    means = image.reshape(8, 6, 8, 12).mean((1, 3))
    assert np.abs(alignment.warp(image, alignment.squash(image.shape, 8), 8) - means).max() <= 0.51
    box = (10, 4, 40, 40)
    means = image[4:44, 10:50].reshape(8, 5, 8, 5).mean((1, 3))
    assert np.abs(alignment.warp(image, alignment.cut(box, 8), 8) - means).max() <= 0.51
    corners = np.array([[9.5, 3.5], [49.5, 43.5]])  # pixels' edges, seen from their centres
    matrix = alignment.cut(box, 8)
    np.testing.assert_allclose(corners @ matrix[:, :2].T + matrix[:, 2], [[-0.5, -0.5], [7.5, 7.5]])


@given(
    st.tuples(*[st.floats(-50, 700)] * 2),
    st.floats(10, 300),
    st.floats(-1.5, 1.5),
    st.integers(8, 300),
)
def test_the_similarity_puts_eyes_where_they_belong(first, apart, angle, size):
    eyes = np.array(first) + np.array([[0, 0], [apart * np.cos(angle), apart * np.sin(angle)]])
    matrix = alignment.level(eyes, size)
    placed = eyes @ matrix[:, :2].T + matrix[:, 2] + 0.5
    np.testing.assert_allclose(placed / size, [[0.33, 0.33], [0.67, 0.33]], atol=1e-6)
    turn = matrix[:, :2] / np.sqrt(np.linalg.det(matrix[:, :2]))
    np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-9)  # neither shear nor reflection


def test_rgb_warp_is_the_grey_warp_of_each_channel():
    image = picture((90, 120, 3))
    for matrix in (alignment.level(np.array([[40.0, 50], [70, 44]]), 24), alignment.cut((5, 7, 60, 60), 24)):
        each = np.dstack([alignment.warp(np.ascontiguousarray(image[..., c]), matrix, 24) for c in range(3)])
        assert np.array_equal(alignment.warp(image, matrix, 24), each)


# A real face


@pytest.fixture(scope="module")
def video() -> list[np.ndarray]:
    if not REAL.is_file():
        pytest.skip(f"{REAL} is not there: the real video is not part of the repository")
    capture, frames = cv2.VideoCapture(str(REAL)), []
    while (got := capture.read())[0]:
        frames.append(got[1][..., ::-1].copy())
    assert len(frames) == 472
    return frames


@needs_weights
def test_a_real_face_is_found_in_every_frame_looked_at(video):
    for i in range(0, len(video), 8):
        found = faces.find(video[i])
        assert found is not None and found.count == 1, i


STILL = 4.2  # pixels of the video: one pixel of the stored 64×64 frames, where eyes 102 pixels apart are 24.3 apart


def still_windows(video: list[np.ndarray], length: int) -> list[int]:
    """Starts of windows of frames in which the head is still, judged by optical flow in the frames as they are.

    Some 200 corners of the first frame's picture around the head are followed by Lucas and Kanade's method; the head is
    still if nine in ten never go farther than STILL from where they began. Neither the mesh nor the alignment has a say
    in it: the region is the cascade's box.
    """
    starts = []
    for start in range(0, len(video) - length, 3):
        grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in video[start : start + length]]
        heads = faces._find_cascades(grey[0])
        if not heads:
            continue
        left, top, width, height = map(int, max(heads, key=lambda head: head.box[2]).box)
        region = np.zeros_like(grey[0])
        region[top : top + height, left + width // 8 : left + width - width // 8] = 1
        points = cv2.goodFeaturesToTrack(grey[0], 200, 0.01, 4, mask=region)
        followed, far = points, np.zeros(len(points))
        for before, after in pairwise(grey):
            followed, status, _ = cv2.calcOpticalFlowPyrLK(before, after, followed, None, winSize=(15, 15))
            far = np.maximum(far, np.where(status[:, 0] == 1, np.linalg.norm((followed - points)[:, 0], axis=1), 1e3))
            if np.quantile(far, 0.9) >= STILL:
                break
        else:
            starts.append(start)
    return starts


@needs_weights
def test_a_still_head_stays_still_in_the_store(video, tmp_path):
    """Over any half second in which the head is still, eye corners stay within 1.5 pixels of the first frame's."""
    starts = still_windows(video, 12)
    assert len(starts) >= 3
    clips = {f"c{start:03d}": film(tmp_path / f"c{start}", video[start : start + 12]) for start in starts}
    store = preprocess.build(clip_table(clips), tmp_path / "s")
    assert len(store) == len(starts) and not store.remarks
    for start, clip_id in zip(starts, store.ids, strict=True):
        matrix = store.matrix(clip_id)
        corners = []
        for image in video[start : start + 12]:
            points = faces.find(image).points
            corners.append(apply(matrix, points[[33, 133, 362, 263]]))
        assert np.linalg.norm(corners - corners[0], axis=-1).max() < 1.5, start
        assert np.abs(corners[0].reshape(2, 2, 2).mean(1) - belong(64)).max() < 1e-6
        large = cv2.resize(store[clip_id][0], (256, 256), interpolation=cv2.INTER_CUBIC)  # and the pixels agree
        seen = faces.find(large, faces.LENIENT)
        assert np.linalg.norm((seen.eyes + 0.5) / 4 - 0.5 - belong(64), axis=1).max() < 1.5
