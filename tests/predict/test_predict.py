"""User videos take training's preprocessing, predictions state their limits, and no window stops a long video."""

import itertools
import shutil
import tracemalloc
import weakref
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import full_frame_run

from aullm_lib import engine, explain, predict, trained
from aullm_lib.datasets import TITLES
from aullm_lib.predict import BadVideo, reading, scoring
from aullm_lib.preprocess import alignment, faces
from aullm_lib.preprocess.alignment import NoFace
from aullm_lib.report.figures import clips
from aullm_lib.runs import Run
from aullm_lib.support import images
from aullm_lib.support.images import BadImage

REAL = Path(__file__).parents[3] / "shared" / "real" / "face_pexels.mp4"
AUS = (1, 4, 12)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """A synthetic release of full frames, its aligned store, and a run on it that kept its weights."""
    folder = tmp_path_factory.mktemp("own")
    table, store, path = full_frame_run(folder, AUS)
    run = Run(path)
    yield SimpleNamespace(table=table, store=store, run=run, model=trained.ensemble(run))
    shutil.rmtree(folder)


def where(world, row: int) -> tuple[Path, int, int, str]:
    """A clip's frame folder, onset, offset and the fold that tested it."""
    clip = world.table.iloc[row]
    return clip["frames"][0].parent, clip["onset"], clip["offset"], f"casme2-{clip['subject']}"


def pictures(folder: Path, images, suffix: str = "png") -> Path:
    """Images, grey, RGB or BGRA, as a folder of numbered files from 1 on."""
    folder.mkdir()
    for i, image in enumerate(images, start=1):
        image = image[..., ::-1] if image.ndim == 3 and image.shape[2] == 3 else image
        assert cv2.imwrite(str(folder / f"img{i:03d}.{suffix}"), image)
    return folder


def film(path: Path, images, codec: str = "MJPG", fps: float = 25) -> Path:
    """RGB images as a video."""
    tall, wide = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, (wide, tall))
    assert writer.isOpened()
    for image in images:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    return path


@pytest.fixture(scope="module")
def shots(world) -> list[np.ndarray]:
    """The first 24 frames of a clip, RGB."""
    return [images.read(path, rgb=True) for path in world.table["frames"].iloc[0][:24]]


# One clip


def test_a_clip_of_the_release_gets_what_training_stored_and_said(world):
    """The same frames to the bit and the same probabilities, from the fold that tested it."""
    stored = world.run.predictions().set_index(["clip_id", "au"])["probability"]
    for row, clip_id in enumerate(world.store.ids):
        source, onset, offset, fold = where(world, row)
        prediction = predict.clip(world.run, source, onset, offset, folds=[fold], heat=False)
        assert np.array_equal(prediction.frames, world.store.sample([clip_id])[0])
        np.testing.assert_allclose(prediction.matrix, world.store.matrix(clip_id))
        assert prediction.n_frames == world.table["n_frames"].iloc[row] and prediction.models == 1
        assert (prediction.numbers[0], prediction.numbers[-1]) == (onset, offset)
        np.testing.assert_allclose(prediction.probabilities["probability"], stored[clip_id], atol=1e-6)
        assert list(prediction.probabilities.index) == ["AU1", "AU4", "AU12"] and prediction.heat is None


def test_a_run_gives_the_mean_of_its_folds_and_their_range(world):
    source, *_ = where(world, 0)
    paths = [world.run.path / "folds" / fold / "weights.safetensors" for fold in world.run.folds]
    single = [predict.clip(path, source).probabilities["probability"] for path in paths]
    both = predict.clip(str(world.run.path), source, heat=False)
    np.testing.assert_allclose(both.probabilities["probability"], sum(single) / 2, rtol=1e-12)
    assert np.array_equal(both.probabilities["lowest"], np.minimum(*single))
    assert np.array_equal(both.probabilities["highest"], np.maximum(*single))
    assert not np.allclose(*single)
    assert "The mean of 2 models, each trained on 2 clips of a synthetic release" in both.limits[1]


def test_maps_are_each_models_own_share_of_its_maximum(world):
    source, *_ = where(world, 1)
    prediction = predict.clip(world.run, source)
    expected = np.zeros((3, 6, 32, 32))
    for fold in world.run.folds:
        for unit in range(3):
            maps = explain.grad_cam(trained.load(world.run, fold), torch.from_numpy(prediction.frames)[None], unit)[
                0
            ].numpy()
            expected[unit, 1:] += maps / maps.max() / 2 if maps.max() else 0
    np.testing.assert_allclose(prediction.heat, expected, atol=1e-4)
    assert not prediction.heat[:, 0].any() and prediction.heat.max() > 0.4


def test_the_limits_say_what_the_numbers_are(world):
    text = " ".join(predict.clip(world.run, where(world, 0)[0], heat=False).limits)
    median = world.table["n_frames"].median()
    for words in ("probability", "not its intensity", "not calibrated", "rendered faces only", "no sign of lying"):
        assert words in text
    assert f"the run's median clip has {median:g} frames ({median / 200:.2f} s)" in text


def test_weights_outside_a_run_say_that_nothing_is_known(world, tmp_path):
    path = shutil.copy(
        world.run.path / "folds" / world.run.folds[0] / "weights.safetensors", tmp_path / "w.safetensors"
    )
    prediction = predict.clip(path, where(world, 0)[0], heat=False)
    assert "nothing beside the weights describes" in prediction.limits[1] and not prediction.synthetic
    assert "taken for 'similarity'" in prediction.remarks[0]
    with pytest.raises(ValueError, match="length=None: the weights do not say how long"):
        predict.video(path, where(world, 0)[0])


@pytest.mark.parametrize(("count", "positions"), [(1, [0] * 6), (4, [0, 1, 1, 2, 2, 3]), (6, [0, 1, 2, 3, 4, 5])])
def test_few_frames_repeat_by_the_rule(world, shots, tmp_path, count, positions):
    """Evenly from first to last, halves up: position i is floor(i (count - 1) / 5 + 1/2)."""
    prediction = predict.clip(world.model, pictures(tmp_path / "few", shots[:count]), heat=False)
    assert prediction.numbers == tuple(1 + p for p in positions) and prediction.n_frames == count
    assert (f"{count} frames, and the model takes 6 spread evenly: some repeat" in prediction.remarks) == (count < 6)


def test_a_video_is_its_pictures(world, shots, tmp_path):
    """A codec without loss: the same grey levels but for rounding, and frames counted from 0."""
    whole = predict.clip(world.model, pictures(tmp_path / "p", shots[3:20]))
    video = predict.clip(world.model, film(tmp_path / "v.avi", shots, "FFV1"), 3, np.int64(19))
    assert np.abs(video.frames.astype(int) - whole.frames).max() <= 2
    assert video.numbers == tuple(n + 2 for n in whole.numbers)
    np.testing.assert_allclose(video.probabilities["probability"], whole.probabilities["probability"], atol=0.02)


def test_colour_grey_and_alpha_are_one_clip(world, shots, tmp_path):
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in shots[:8]]
    one = predict.clip(world.model, pictures(tmp_path / "grey", grey), heat=False)
    for name, pages in {
        "rgb": [np.dstack([image] * 3) for image in grey],
        "rgba": [np.dstack([image[..., None]] * 3 + [np.full_like(image, 255)]) for image in grey],
    }.items():
        other = predict.clip(world.model, pictures(tmp_path / name, pages), heat=False)
        assert np.abs(other.frames.astype(int) - one.frames).max() <= 1


def test_the_face_may_come_later(world, shots, tmp_path):
    blank = [np.full_like(shots[0], 90)] * 2
    prediction = predict.clip(world.model, pictures(tmp_path / "later", [*blank, *shots[:9]]), heat=False)
    assert "not in the onset frame" in prediction.remarks[0]
    assert prediction.seen.std() > 10  # the frame with the face


def test_how_to_align_is_trainings_own_unless_said(world, shots, tmp_path):
    folder = pictures(tmp_path / "p", shots[:6])
    squashed = predict.clip(world.model, folder, align="whole-frame", heat=False)
    assert "aligned by 'whole-frame', but training's frames by 'similarity'" in squashed.remarks[0]
    assert np.array_equal(squashed.frames[0], alignment.warp(images.read(folder / "img001.png"), squashed.matrix, 32))
    with pytest.raises(ValueError, match="align='face': choose one of none, whole-frame, crop, similarity"):
        predict.clip(world.model, folder, align="face")


@pytest.mark.parametrize(
    ("store", "data", "align", "remark"),
    [
        ({"align": "crop"}, {}, "crop", ""),
        ({"align": "none"}, {}, "similarity", "came as face crops"),
        ({}, {}, "similarity", "do not say how"),
        ({}, {"parts": [("casme2", "whole-frame"), ("samm", "crop")]}, "whole-frame", "do not say"),
        ({"size": 64}, {"parts": [("casme2", "whole-frame"), ("samm", "crop")]}, "whole-frame", ""),
        ({"align": "crop", "detector": {"name": "another"}}, {}, "crop", "in training by another"),
    ],
)
def test_alignment_from_what_the_run_recorded(world, store, data, align, remark):
    parts = [{"align": how, "release": {"dataset": name}} for name, how in data.get("parts", [])]
    data = {"dataset": "casme2+samm" if parts else "casme2"} | {k: v for k, v in data.items() if k != "parts"}
    data |= {"parts": parts} if parts else {}
    run = SimpleNamespace(info={"store": store, "data": data, "train": ["casme2"]})
    paths = (Path("folds", "casme2-to-samm" if parts else "casme2-sub01", "weights.safetensors"),)
    model = trained.Ensemble(world.run.experiment, paths, run, None, torch.device("cpu"))
    prediction, remarks = model.alignment()
    assert prediction == align and (remark in "".join(remarks) if remark else remarks == [])
    assert model.releases == ["casme2"] and model.fps == 200


def test_every_release_has_a_rate():
    assert set(trained.FPS) == set(TITLES)


# Bad input


def bad(folder: Path, name: str, shots) -> Path:
    """A video or folder with something wrong, by what it is."""
    blank, path = np.full_like(shots[0], 90), folder / name
    contents = {"empty.mp4": b"", "text.mp4": b"no video " * 99, "one.png": bytes(cv2.imencode(".png", blank)[1])}
    if name in contents:
        path.write_bytes(contents[name])
    elif name == "headers.avi":
        film(path, [blank])
        path.write_bytes(path.read_bytes()[:300])
    elif name == "nobody":
        pictures(path, [blank] * 8)
    elif name == "deep":
        pictures(path, [image.astype(np.uint16) * 257 for image in shots[:6]])
    elif name == "sizes":
        pictures(path, [*shots[:4], cv2.resize(shots[4], (320, 240)), *shots[5:8]])
    elif name == "broken":
        pictures(path, shots[:6])
        (path / "img004.png").write_bytes((path / "img004.png").read_bytes()[:900])
    elif name == "bare":
        path.mkdir()
        (path / "notes.txt").write_text("no picture")
    return path


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("nothing.mp4", FileNotFoundError, "nothing.mp4: no such file or folder"),
        ("empty.mp4", BadVideo, "empty.mp4: not a video that OpenCV can read"),
        ("text.mp4", BadVideo, "text.mp4: not a video that OpenCV can read"),
        ("headers.avi", BadVideo, "headers.avi: (not a video|a video without a readable frame)"),
        ("one.png", BadVideo, "one.png: one picture is no clip; give the folder"),
        ("bare", BadVideo, "bare: no numbered picture in this folder"),
        ("nobody", NoFace, "img001.png: no face found"),
        ("deep", BadImage, "img001.png: 16 bits a channel; convert"),
        ("sizes", BadVideo, "img005.png: 320×240, but the frames before it have 640×480"),
        ("broken", BadImage, "img004.png: cut short"),
    ],
)
def test_a_bad_video_is_named(world, shots, tmp_path, name, error, message):
    with pytest.raises(error, match=message):
        predict.clip(world.model, bad(tmp_path, name, shots), heat=False)


@pytest.mark.parametrize(
    ("ends", "error", "message"),
    [
        ((9, 3), BadVideo, "onset=9 lies after offset=3"),
        ((0, 3), BadVideo, "onset=0, but its first frame is 1"),
        ((3, 25), BadVideo, "offset=25, but its last frame is 24"),
        ((99, None), BadVideo, "onset=99, but its last frame is 24"),
        (("3", None), ValueError, "onset='3': expected a frame number"),
        ((True, None), ValueError, "onset=True: expected a frame number"),
        ((2.0, None), ValueError, "onset=2.0: expected a frame number"),
    ],
)
def test_bad_frame_numbers_are_named(world, shots, tmp_path, ends, error, message):
    with pytest.raises(error, match=message):
        predict.clip(world.model, pictures(tmp_path / "p", shots), *ends)


def test_weights_that_do_not_fit_are_named(world, experiment, hand_store, tmp_path):
    source = where(world, 0)[0]
    (tmp_path / "w.safetensors").write_bytes(b"damaged" * 9)
    with pytest.raises(ValueError, match=r"w.safetensors: damaged, or written by another version"):
        predict.clip(tmp_path / "w.safetensors", source)
    with pytest.raises(FileNotFoundError, match="no run here"):
        predict.clip(tmp_path / "no", source)
    with pytest.raises(ValueError, match="no fold 'sub99'; it has casme2-sub01, casme2-sub02"):
        predict.clip(world.run, source, folds=["sub99"])
    with pytest.raises(ValueError, match="these weights are loaded already"):
        predict.clip(world.model, source, folds=["casme2-sub01"])
    bare = Run(engine.run(experiment, hand_store, out=tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no trained weights here \(3 of 3 folds lack them\)"):
        predict.clip(bare, source)
    from safetensors import safe_open
    from safetensors.torch import save_file

    good = world.run.path / "folds" / world.run.folds[0] / "weights.safetensors"
    with safe_open(good, framework="pt") as file:
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        save_file(kept | {"head.weight": torch.zeros(5, 256)}, tmp_path / "w.safetensors", file.metadata())
    with pytest.raises(ValueError, match=r"w.safetensors: does not fit the model .*head.weight"):
        predict.clip(tmp_path / "w.safetensors", source)


@pytest.mark.skipif(not faces.installed(), reason="cascades find less")
def test_a_clip_whose_face_leaves_has_no_probabilities_and_says_so(world, shots, tmp_path):
    wall = np.full_like(shots[0], 90)
    source = pictures(tmp_path / "leaves", [*shots[:8], wall, wall])
    prediction = predict.clip(world.model, source)
    assert not prediction.success and np.isnan(prediction.confidence)
    assert "no usable face in frame 10" in prediction.remarks  # of 1, 3, 5, 6, 8, 10
    assert prediction.probabilities[["probability", "lowest", "highest"]].isna().all().all()
    clips.user_clip(prediction).savefig(tmp_path / "clip.png")
    whole = predict.clip(world.model, source, 1, 8, heat=False)
    assert whole.success and 0.5 < whole.confidence <= 1 and "no usable face" not in str(whole.remarks)
    timeline = predict.video(world.model, source, tmp_path / "t.csv", length=5, stride=5)
    written = pd.read_csv(tmp_path / "t.csv").groupby("start_frame").first()
    assert list(written["success"]) == [True, False] and written["confidence"].notna().tolist() == [True, False]
    assert timeline.table["probability"].notna().tolist() == [True] * 3 + [False] * 3
    with pytest.raises(NoFace, match="no face number 2, only 1"):
        predict.clip(world.model, source, face=1)


# A long video


def test_each_window_says_what_the_clip_of_its_frames_says(world, shots, tmp_path):
    source = film(tmp_path / "long.avi", shots)
    prediction = predict.video(world.model, source, tmp_path / "new" / "long.csv", length=9, stride=4)
    assert (prediction.length, prediction.stride, prediction.fps) == (9, 4, 25.0)
    windows = prediction.table.groupby("start_frame", sort=False)
    assert list(windows.groups) == [0, 4, 8, 12]  # 16 to 24 would need a 25th frame
    for start, rows in windows:
        alone = predict.clip(world.model, source, start, start + 8, heat=False)
        assert list(rows["au"]) == list(alone.probabilities.index)
        np.testing.assert_allclose(rows["probability"], alone.probabilities["probability"], atol=2e-6)
        assert (rows["end_frame"] == start + 8).all()
        assert rows["start_s"].unique() == [start / 25] and rows["end_s"].unique() == [(start + 9) / 25]
    assert prediction.remarks[-1] == "the frames after 20 fill no window and are left out"
    written = pd.read_csv(tmp_path / "new" / "long.csv", keep_default_na=False)
    pd.testing.assert_frame_equal(written, prediction.table, check_dtype=False)
    assert {p.name for p in (tmp_path / "new").iterdir()} == {"long.csv", "long_wide.csv", "long.json"}


def test_a_window_without_a_face_is_empty_and_the_others_go_on(world, shots, tmp_path):
    blank = [np.full_like(shots[0], 90)] * 8
    source = pictures(tmp_path / "gap", [*shots[:8], *blank, *shots[8:16]])
    (source / "img019.png").write_bytes(b"\x89PNG broken")
    prediction = predict.video(world.model, source, tmp_path / "gap.csv", length=4, stride=4)
    rows = prediction.table.groupby("start_frame")
    assert rows["probability"].count().to_dict() == {1: 3, 5: 3, 9: 0, 13: 0, 17: 0, 21: 3}
    remarks = rows["remark"].first()
    assert remarks[9] == remarks[13] == "no usable face in its first frame"
    assert "img019.png: not a readable image" in remarks[17]
    assert prediction.table["start_s"].isna().all() and prediction.fps is None  # a folder has no rate
    lines = (tmp_path / "gap.csv").read_text().splitlines()
    assert lines[0] == "start_frame,end_frame,start_s,end_s,au,probability,remark,confidence,success"
    assert lines[7] == "9,12,,,AU1,,no usable face in its first frame,,False"
    figure = clips.timeline(prediction)
    spans = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in figure.axes[0].patches]
    assert spans == [(9, 13), (13, 17), (17, 21)] and all(patch.get_hatch() for patch in figure.axes[0].patches)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["no usable face or frame"]


def test_windows_lie_where_the_time_stamps_say(world):
    """Ten frames in 0.4 s, then ten that are 0.2 s apart; faces there are none."""
    video = Path(__file__).parent / "data" / "varying_rate.mp4"
    rows = predict.video(world.model, video, length=10, stride=10).table.drop_duplicates("start_frame")
    assert rows["start_s"].tolist() == [0, 0.4] and rows["end_s"].tolist() == pytest.approx([0.4, 2.4], abs=0.25)
    rows = predict.video(world.model, video, length=0.8, stride=0.8, unit="seconds").table
    rows = rows.drop_duplicates("start_frame")
    assert (rows["end_s"] - rows["start_s"]).to_numpy() == pytest.approx(0.8, abs=0.25) and len(rows) == 2
    rows = predict.video(world.model, video, length=10, stride=10, fps=100).table.drop_duplicates("start_frame")
    assert rows["start_s"].tolist() == [0, 0.1] and rows["end_s"].tolist() == [0.1, 0.2]


def test_a_video_without_any_face_is_no_error(world, shots, tmp_path):
    prediction = predict.video(world.model, pictures(tmp_path / "p", [np.full_like(shots[0], 90)] * 6), length=3)
    assert prediction.table["probability"].isna().all() and prediction.path is None
    clips.timeline(prediction)


def test_nothing_half_written_is_left(world, shots, tmp_path):
    (tmp_path / "t.csv").write_text("of an earlier call")
    with pytest.raises(BadVideo, match=r"img005.png: 320×240"):
        predict.video(world.model, bad(tmp_path, "sizes", shots), tmp_path / "t.csv", length=2)
    with pytest.raises(BadVideo, match="6 frames, less than a window of 7; give a smaller length"):
        predict.video(world.model, pictures(tmp_path / "short", shots[:6]), tmp_path / "t.csv", length=7)
    assert (tmp_path / "t.csv").read_text() == "of an earlier call"
    assert {p.name for p in tmp_path.iterdir()} - {"home"} == {"short", "sizes", "t.csv"}
    with pytest.raises(OSError, match="cannot write the output"):
        predict.video(world.model, tmp_path / "short", tmp_path / "t.csv" / "below.csv", length=2)


def test_a_long_video_takes_the_memory_of_a_short_one(world, tmp_path, monkeypatch):
    """Frames of 0.9 MB: however many, no more than a few are ever alive, and the peak hardly moves."""
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (480, 640, 3)).astype(np.uint8) for _ in range(4)]
    alive: set = set()
    most = 0
    decode = reading.VideoFile._read

    def read(self, number, rgb):
        nonlocal most
        image = decode(self, number, rgb)
        alive.add(number_of := next(counter))
        weakref.finalize(image, alive.discard, number_of)
        most = max(most, len(alive))
        return image

    monkeypatch.setattr(reading.VideoFile, "_read", read)
    monkeypatch.setattr(scoring, "WAITING", 8)  # windows, each a few small frames: as full in the short video
    peaks = []
    for count in (24, 120):
        source = film(tmp_path / f"{count}.avi", list(itertools.islice(itertools.cycle(images), count)))
        counter = itertools.count()
        tracemalloc.start()
        prediction = predict.video(world.model, source, length=10, stride=2, align="whole-frame")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert prediction.table["start_frame"].nunique() == (count - 10) // 2 + 1
        assert next(counter) > count / 2  # it was looked at
    assert most <= 2
    assert peaks[1] - peaks[0] < 480 * 640, peaks  # 96 frames more: less than a grey one
    assert peaks[1] < 12 * 480 * 640, peaks


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"unit": "minutes"}, "unit='minutes': choose one of frames, seconds"),
        ({"unit": "seconds", "length": 1}, "unit='seconds': the video does not say .* give fps"),
        ({"length": 0}, "length=0: expected whole frames, above 0"),
        ({"length": 2.5}, "length=2.5: expected whole frames"),
        ({"length": 1}, "length=1 frames: a window needs at least 2"),
        ({"stride": -1}, "stride=-1: expected whole frames, above 0"),
        ({"fps": 0}, "fps=0: expected frames a second, above 0"),
        ({"unit": "seconds", "fps": 25, "length": float("nan")}, "length=nan: expected seconds"),
    ],
)
def test_wrong_windows_are_named(world, wrong, message):
    with pytest.raises(ValueError, match=message):
        predict.video(world.model, where(world, 0)[0], **wrong)


# Figures


def texts(figure) -> str:
    return "\n".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))


def test_the_figures_say_what_they_are(world, shots, tmp_path):
    source = pictures(tmp_path / "a $x_1$ <b>", shots[:12])
    prediction = predict.clip(world.model, source)
    figure = clips.user_clip(prediction)
    figure.savefig(tmp_path / "clip.png")
    text = texts(figure)
    assert "a $x_1$ <b>: frames 1 to 12" in text and clips.SYNTHETIC in text
    assert "not calibrated" in " ".join(text.split()) and "Grad-CAM" in text
    table = prediction.probabilities.sort_values("probability")
    assert all(f"{au}\n{row.probability:.2f}" in text for au, row in table.iterrows())
    bare = clips.user_clip(predict.clip(world.model, source, heat=False))
    assert sum(len(axis.images) for axis in bare.axes) == 1 + 6 and "Grad-CAM" not in texts(bare)

    timeline = clips.timeline(predict.video(world.model, source, length=4, stride=2))
    timeline.savefig(tmp_path / "timeline.png")
    assert clips.SYNTHETIC in texts(timeline) and "frame" in texts(timeline)


@pytest.mark.parametrize("fps", [None, 10.0])
def test_a_timeline_draws_windows_where_their_frames_lie(world, shots, tmp_path, fps):
    """Pictures from frame 46 on, of which the numbers 58 to 69 are missing; the last window holds no face."""
    source = pictures(tmp_path / "late", [*shots[:20], *[np.full_like(shots[0], 90)] * 4])
    for i in range(24, 0, -1):
        (source / f"img{i:03d}.png").rename(source / f"img{i + 45 + 12 * (i > 12):03d}.png")
    prediction = predict.video(world.model, source, length=4, stride=4, fps=fps)
    figure = clips.timeline(prediction)
    (mesh,) = (part for axis in figure.axes if axis.get_xlabel() for part in axis.collections)
    x, values = mesh.get_coordinates()[0, :, 0], np.ma.filled(mesh.get_array(), np.nan)[0]
    drawn = [(x[i], x[i + 1]) for i in range(len(values)) if not np.isnan(values[i])]
    drawn += [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in figure.axes[0].patches]
    rows = prediction.table.drop_duplicates("start_frame")
    spans = rows[["start_s", "end_s"]] if fps else rows[["start_frame", "end_frame"]] + [0, 1]
    assert list(rows["start_frame"]) == [46, 50, 54, 70, 74, 78]
    np.testing.assert_allclose(drawn, spans, atol=1e-6)
    assert len(values) == 7 and "Blank: frame numbers are missing." in texts(figure)
    assert figure.axes[0].get_xlabel() == ("seconds from the first frame" if fps else "frame")


def test_a_timeline_of_many_windows_keeps_their_maximum(world):
    """Of 2,001 windows three share a column: the one in which something happens is not lost."""
    values = np.full(2001, 0.1)
    values[1000] = 0.9
    starts = np.arange(2001) * 5
    rows = pd.DataFrame({"start_frame": starts, "end_frame": starts + 9, "au": "AU4", "probability": values})
    rows = rows.assign(start_s=starts / 25, end_s=(starts + 10) / 25)
    timeline = predict.Timeline(
        source=Path("long.mp4"), remarks=(), limits=(), synthetic=False, models=1, table=rows, length=10, stride=5,
        fps=25.0, path=None, complete=True, thresholds=pd.Series({"AU4": 0.5}), settings={},
        boxes=np.zeros((2001, 4)), matrices=np.zeros((2001, 2, 3)),
    )  # fmt: skip
    figure = clips.timeline(timeline)
    (mesh,) = (part for axis in figure.axes if axis.get_xlabel() for part in axis.collections)
    drawn = mesh.get_array().ravel()
    assert len(drawn) == 667 and drawn[333] == 0.9 and (drawn > 0.5).sum() == 1
    assert np.isclose(mesh.get_coordinates()[0, 0, 0], 2.5 / 25)  # the first window's middle, 5, less half a step


@pytest.mark.skipif(not REAL.is_file() or not faces.installed(), reason=f"needs {REAL} and the face weights")
def test_a_real_face_is_followed(world, tmp_path):
    prediction = predict.clip(world.model, REAL, 100, 110)
    assert prediction.seen.shape == (360, 640) and prediction.synthetic
    assert "Training saw rendered faces only" in " ".join(prediction.limits)
    seen = faces.find(cv2.resize(prediction.frames[0], (256, 256), interpolation=cv2.INTER_CUBIC), faces.LENIENT)
    place = (seen.eyes + 0.5) / 256  # of the side
    np.testing.assert_allclose(place, [[0.33, 0.33], [0.67, 0.33]], atol=0.05)
    timeline = predict.video(world.model, REAL, tmp_path / "real.csv", length=1, stride=4, unit="seconds")
    assert (timeline.length, timeline.stride, round(timeline.fps, 3)) == (24, 96, 23.976)
    assert timeline.table["start_frame"].unique().tolist() == [0, 96, 192, 288, 384]
    assert timeline.table["probability"].between(0, 1).all()
