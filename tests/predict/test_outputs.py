"""What a prediction leaves on the disk: tables, their JSON, annotated videos; and what it refuses to write."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageSequence
from scipy.special import expit, logit
from sklearn.metrics import f1_score
from tqdm.auto import tqdm

from aullm_lib import datasets, engine, predict, preprocess, trained
from aullm_lib.experiment import Experiment
from aullm_lib.predict import annotated, reading, scoring
from aullm_lib.recipe import Recipe
from aullm_lib.report.figures import clips
from aullm_lib.runs import Run
from aullm_lib.support import files, images

LENGTH, STRIDE = 6, 3


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """A run, and a video in which a face is seen, then a wall, then the face: windows with and without one."""
    folder = tmp_path_factory.mktemp("outputs")
    root = datasets.synthesize(folder / "release", subjects=2, clips_per_subject=2)
    table = datasets.load("casme2", root, images="raw_selected")
    store = preprocess.build(table, folder / "store", size=32)
    recipe = Recipe.paper(size=32, epochs=1, batch_size=4, lr=1e-3)
    experiment = Experiment(name="own", aus=(1, 4, 12), recipe=recipe, variant="backbone")
    run = Run(engine.run(experiment, store, out=folder / "runs" / "tiny" / "results", keep_weights=True))
    shots = [images.read(path, rgb=True) for path in table["frames"].iloc[0][:18]]
    wall = [np.full_like(shots[0], 90)] * 3
    video = film(folder / "film.avi", [*shots[:12], *wall, *shots[12:]])
    model = trained.ensemble(run)
    timeline = predict.video(model, video, length=LENGTH, stride=STRIDE)
    assert timeline.table.groupby("start_frame")["success"].first().tolist() == [True] * 3 + [False, False, True]
    yield SimpleNamespace(run=run, model=model, video=video, timeline=timeline, frames=21)
    shutil.rmtree(folder)


def film(path: Path, frames, fps: float = 25) -> Path:
    tall, wide = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), fps, (wide, tall))
    for image in frames:
        writer.write(np.ascontiguousarray(image[..., ::-1]))
    writer.release()
    return path


def read(path: Path) -> list[np.ndarray]:
    """All frames of a video or GIF, RGB."""
    if path.suffix == ".gif":
        with Image.open(path) as image:
            return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
    capture, frames = cv2.VideoCapture(str(path)), []
    while (step := capture.read())[0]:
        frames.append(step[1][..., ::-1])
    return frames


# Tables


def test_the_wide_table_has_the_long_ones_values_one_row_per_window(world, tmp_path):
    predict.write(world.timeline, tmp_path / "t.csv")
    long, wide = (pd.read_csv(tmp_path / name) for name in ("t.csv", "t_wide.csv"))
    assert list(wide.columns[:5]) == ["frame", "timestamp", "face_id", "confidence", "success"]  # as OpenFace's
    assert list(wide.columns[5:11]) == ["AU01_p", "AU04_p", "AU12_p", "AU01_c", "AU04_c", "AU12_c"]
    assert not [name for name in wide if name.endswith("_r")]  # which would be an intensity
    assert wide["frame"].tolist() == [2, 5, 8, 11, 14, 17]  # the middle of 0..5, 3..8, ...
    np.testing.assert_allclose(wide["timestamp"], wide["frame"] / 25, atol=1e-3)
    assert wide["success"].tolist() == [1, 1, 1, 0, 0, 1] and (wide["face_id"] == 0).all()
    for row in long.itertuples():
        at = wide["start_frame"] == row.start_frame
        assert wide.loc[at, "end_frame"].item() == row.end_frame == row.start_frame + LENGTH - 1
        value, present = (wide.loc[at, f"AU{int(row.au[2:]):02d}_{kind}"].item() for kind in "pc")
        np.testing.assert_equal(value, row.probability)
        np.testing.assert_equal(present, np.nan if np.isnan(value) else float(value >= 0.5))


def test_py_feat_reads_the_wide_table(world, tmp_path):
    """By the rule in py-feat 2.1.5 (feat.utils.io.read_feat): commas, AU columns by name, time in "frame"."""
    predict.write(world.timeline, tmp_path / "t.csv")
    table = pd.read_csv(tmp_path / "t_wide.csv")
    columns = [name for name in table if "AU" in name]
    assert len(columns) == 6 and table[columns].dtypes.map(pd.api.types.is_numeric_dtype).all()
    assert "frame" in table and not {"valence", "arousal"} & set(table)  # these would make it another detector's
    feat = pytest.importorskip("feat", exc_type=Exception)
    read = feat.utils.io.read_feat(str(tmp_path / "t_wide.csv"))
    pd.testing.assert_frame_equal(pd.DataFrame(read.aus), table[columns])


def test_the_json_says_how_the_tables_were_made(world, tmp_path):
    timeline = predict.video(world.model, world.video, tmp_path / "t.csv", length=LENGTH, stride=STRIDE)
    about = json.loads((tmp_path / "t.json").read_text())
    assert about["source"] == "film.avi" and about["complete"] is True and about["synthetic"] is True
    assert (about["run"], about["profile"]) == (world.run.path.name, "tiny")
    assert about["folds"] == world.run.folds and about["fps"] == 25 and about["training_fps"] == 200
    assert about["windows"] == {
        "count": 6, "with_face": 4, "frames": 6, "stride": 3, "first_frame": 0, "last_frame": 20,
    }  # fmt: skip
    assert about["thresholds"] == {"AU1": 0.5, "AU4": 0.5, "AU12": 0.5} and about["policy"]["name"] == "fixed"
    assert about["remarks"] == list(timeline.remarks) and about["limits"] == list(timeline.limits)
    assert str(tmp_path) not in json.dumps(about) and str(Path.home()) not in json.dumps(about)


def test_no_cell_is_a_formula(tmp_path):
    texts = ["=1+1", "+2", "-3", "@sum(A1)", "a=b", "two\nlines", ""]
    table = pd.DataFrame({"text": texts, "number": np.arange(7) - 3.0})
    (tmp_path / "t.csv").write_text(files.csv(table))
    written = pd.read_csv(tmp_path / "t.csv", keep_default_na=False)
    assert written["text"].tolist() == ["'=1+1", "'+2", "'-3", "'@sum(A1)", "a=b", "two\\nlines", ""]
    assert written["number"].tolist() == table["number"].tolist()


def test_a_neutral_baseline_is_one_more_column_that_is_no_probability(world, tmp_path):
    timeline = predict.video(world.model, world.video, tmp_path / "t.csv", length=LENGTH, stride=STRIDE, neutral=True)
    plain, table = world.timeline.table, timeline.table
    pd.testing.assert_frame_equal(table.drop(columns="neutral"), plain)
    for _, rows in table.groupby("au"):
        logits = logit(rows["probability"].to_numpy())
        np.testing.assert_allclose(rows["neutral"], expit(logits - np.nanmedian(logits)), atol=1e-5)
    assert "median over 4 windows is subtracted" in timeline.remarks[-1]
    wide = pd.read_csv(tmp_path / "t_wide.csv")
    assert wide["AU12_n"].median() == pytest.approx(0.5, abs=0.05) and wide["AU12_n"].count() == 4
    assert json.loads((tmp_path / "t.json").read_text())["neutral"]["windows"] == 4
    figure = clips.timeline(timeline)
    assert "no probability" in figure.texts[1].get_text()


def test_nested_thresholds_are_the_best_of_the_runs_predictions(world):
    timeline = predict.video(world.model, world.video, length=LENGTH, stride=STRIDE, policy="nested")
    for au, rows in world.run.predictions().groupby("au"):
        scores = {
            round(limit, 2): f1_score(rows["label"], rows["probability"] >= limit, average="macro", zero_division=0)
            for limit in 0.1 + 0.05 * np.arange(16)
        }
        if rows["label"].nunique() == 2:
            assert scores[timeline.thresholds[au]] == pytest.approx(max(scores.values()))
    with pytest.raises(ValueError, match="policy='best': choose one of fixed, nested"):
        predict.video(world.model, world.video, policy="best")
    path = world.run.path.parent / "w.safetensors"
    shutil.copy(world.model.paths[0], path)
    with pytest.raises(ValueError, match="policy='nested': these weights are of no run"):
        predict.video(path, world.video, policy="nested")


def test_what_is_unlike_training_is_said(world):
    median, text = world.run.info["store"]["median_frames"], " ".join(world.timeline.remarks)
    assert "25 frames a second, but 200 in the training clips" in text
    assert f"{6 / median * 8:.2g} times as long" not in text or not 1 / 3 < 6 / median * 8 < 3
    for many, said in ((10, True), (0.1, True), (1, False), (2, False)):
        remarks = scoring._unlike(world.model, "window", round(many * median / 8), 25.0)
        assert any("times as long as the median clip" in remark for remark in remarks) == said
    assert scoring._unlike(world.model, "clip", round(median), None) == []
    assert scoring._unlike(world.model, "clip", round(median), 199.0) == []


# Refused before any work


@pytest.fixture
def unread(monkeypatch):
    monkeypatch.setattr(scoring, "windows", lambda *_, **__: pytest.fail("the work has begun"))
    monkeypatch.setattr(annotated, "_between", lambda *_: pytest.fail("the work has begun"))


OUTPUTS = {
    "link": (lambda path: path.symlink_to("elsewhere.csv"), "a link stands"),
    "folder": (lambda path: path.mkdir(), "a folder stands"),
    "pipe": (lambda path: os.mkfifo(path), "a device or pipe stands"),
}


@pytest.mark.parametrize("name", ["t.csv", "t_wide.csv", "t.json"])
@pytest.mark.parametrize("kind", OUTPUTS)
def test_what_is_no_file_is_refused_before_the_work(world, tmp_path, unread, name, kind):
    make, message = OUTPUTS[kind]
    make(tmp_path / name)
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        predict.video(world.model, world.video, tmp_path / "t.csv")
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == [name]


def test_an_input_and_a_runs_folder_are_refused_before_the_work(world, tmp_path, unread):
    before = world.video.read_bytes()
    copy = tmp_path / "film.csv"  # OpenCV goes by the content
    shutil.copy(world.video, copy)
    for source, out in ((copy, copy), (copy, tmp_path / "x" / ".." / "film.csv")):
        with pytest.raises(ValueError, match=r"film.csv: this is an input"):
            predict.video(world.model, source, out)
    os.link(copy, tmp_path / "same.csv")
    with pytest.raises(ValueError, match=r"same.csv: this is an input"):
        predict.video(world.model, copy, tmp_path / "same.csv")
    for out in (world.run.path / "predictions.csv", world.run.path / "folds" / "new.csv"):
        with pytest.raises(ValueError, match="lies in the folder of the run"):
            predict.video(world.model, world.video, out)
    assert copy.read_bytes() == before
    with pytest.raises(ValueError, match=r"film.avi: expected a name that ends in .csv"):
        predict.video(world.model, world.video, world.video)
    movie = tmp_path / "v.mp4"
    shutil.copy(world.video, movie)
    timeline = SimpleNamespace(source=movie, path=None)
    with pytest.raises(ValueError, match=r"v.mp4: this is an input"):
        predict.overlay(timeline, movie)
    with pytest.raises(ValueError, match=r"v.mkv: expected a name that ends in .mp4 or .webm or .gif"):
        predict.overlay(timeline, tmp_path / "v.mkv")


@pytest.mark.parametrize("place", ["/dev/full/t.csv", "/proc/t.csv", "file/t.csv", "n" * 300 + ".csv"])
def test_an_unwritable_place_is_refused_before_the_work(world, tmp_path, unread, place):
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        predict.video(world.model, world.video, tmp_path / place)
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {"file"}


# Stopped, and progress


def test_ctrl_c_leaves_a_valid_table_of_what_is_done(world, tmp_path, monkeypatch):
    decode = reading.VideoFile._read

    def interrupted(self, number, rgb):
        if number == 17:
            raise KeyboardInterrupt
        return decode(self, number, rgb)

    monkeypatch.setattr(reading.VideoFile, "_read", interrupted)
    monkeypatch.setattr(scoring, "WAITING", 1)
    with pytest.raises(KeyboardInterrupt) as stopped:
        predict.video(world.model, world.video, tmp_path / "t.csv", length=LENGTH, stride=STRIDE)
    table = pd.read_csv(tmp_path / "t.csv", keep_default_na=False, na_values={"probability": "", "confidence": ""})
    done = world.timeline.table[world.timeline.table["end_frame"] < 17]
    pd.testing.assert_frame_equal(table, done, check_dtype=False)
    about = json.loads((tmp_path / "t.json").read_text())
    assert about["complete"] is False and about["windows"]["count"] == 4 and about["windows"]["last_frame"] == 14
    assert about["remarks"][-1] == "stopped (Ctrl-C) after frame 14: the rest of the video is missing"
    assert stopped.value.__notes__ == [
        f"{tmp_path / 't.csv'} is valid and has the 4 windows up to frame 14 of film.avi"
    ]
    assert len(pd.read_csv(tmp_path / "t_wide.csv")) == 4
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {"t.csv", "t_wide.csv", "t.json"}


def test_the_bar_follows_the_work(world, monkeypatch):
    """It is full when the last model is through, and not when the last frame is read."""
    shares = {"read": [], "scored": []}

    class Bar(tqdm):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            shares["bar"] = self

    decode, forward = reading.VideoFile._read, scoring.torch.stack

    def reads(self, number, rgb):
        shares["read"].append(shares["bar"].n / shares["bar"].total)
        return decode(self, number, rgb)

    def scores(*args):
        shares["scored"].append(shares["bar"].n / shares["bar"].total)
        return forward(*args)

    monkeypatch.setattr(scoring, "tqdm", Bar)
    monkeypatch.setattr(reading.VideoFile, "_read", reads)
    monkeypatch.setattr(torch, "stack", scores)
    predict.video(world.model, world.video, length=LENGTH, stride=STRIDE)
    assert max(shares["read"]) <= 1 / 3 + 1e-9  # of three parts: to read, and two models
    assert shares["scored"] == [1.0] and shares["bar"].n == shares["bar"].total == 3 * world.frames


# Annotated videos


def test_windows_adjoin_unless_numbers_are_missing(world):
    """Frames that come unevenly leave no hole; missing numbers do, and windows beyond them are not stretched."""
    start, end = np.array([0, 4, 6, 30, 32]), np.array([3, 5, 11, 31, 40])
    table = pd.DataFrame({"start_frame": start, "end_frame": end, "au": "AU1", "probability": 0.5})
    times = np.array([0.0, 0.4, 0.8, 3.0, 3.4])
    table = table.assign(start_s=times, end_s=times + 0.4)
    timeline = replace(world.timeline, table=table, fps=10.0, stride=4, length=4)
    np.testing.assert_allclose(timeline.spans(seconds=True)[:3], [[0, 0.4], [0.4, 0.8], [0.8, 1.2]])
    np.testing.assert_allclose(timeline.spans(seconds=True)[3:], [[3.0, 3.4], [3.4, 3.8]])
    frames = timeline.spans(seconds=False)
    assert frames[0, 1] == frames[1, 0] == (2 + 5) / 2 and frames[2, 1] == 9 + 2 and frames[3, 0] == 31 - 2


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".gif"])
def test_an_annotated_video_shows_the_frames_the_face_and_a_playhead(world, tmp_path, suffix):
    before = world.video.read_bytes()
    path = predict.overlay(world.timeline, tmp_path / f"o{suffix}", annotation={"AU4": [(3, 8)], "AU9": [(1, 2)]})
    pictures, shots = read(path), read(world.video)
    assert len(pictures) == world.frames and {picture.shape for picture in pictures} == {pictures[0].shape}
    assert world.video.read_bytes() == before and [p.name for p in tmp_path.iterdir() if p.is_file()] == [path.name]
    wide = 360 if suffix == ".gif" else 640
    top = 8 * 2 + (10 if suffix == ".gif" else 13)
    heads = []
    for number, (picture, shot) in enumerate(zip(pictures, shots, strict=True)):
        shown = picture[top : top + wide * 3 // 4, 8 : 8 + wide].astype(int)
        small = cv2.resize(shot, (wide, wide * 3 // 4), interpolation=cv2.INTER_AREA)
        assert np.median(np.abs(shown - small)) < (18 if suffix == ".gif" else 12)  # the frame itself
        orange = (shown[..., 0] > 150) & (shown[..., 1] < 130) & (shown[..., 2] < 70)
        has_face = world.timeline.table["success"].to_numpy()[::3][min(max((number - 1) // 3, 0), 5)]
        assert (orange.sum() > 100) == has_face, number
        traces = picture[top + wide * 3 // 4 + 12 : -80].mean(-1)
        heads.append(int((traces[: 3 * 12] < 90).sum(0).argmax()))  # the darkest column
    assert heads == sorted(heads) and heads[-1] - heads[0] > 0.7 * wide


def test_a_gif_is_small_and_the_same_each_time(world, tmp_path):
    one, two = (predict.overlay(world.timeline, tmp_path / f"{name}.gif") for name in "ab")
    assert one.read_bytes() == two.read_bytes() and one.stat().st_size <= 1_000_000
    with Image.open(one) as image:
        assert sum(frame.info["duration"] for frame in ImageSequence.Iterator(image)) == pytest.approx(4000, rel=0.1)


def test_a_part_of_a_video_and_wrong_annotations(world, tmp_path):
    assert len(read(predict.overlay(world.timeline, tmp_path / "o.mp4", onset=4, offset=10))) == 7
    for wrong, message in (
        ({"onset": -1}, "onset=-1, offset=20: expected frames from 0 to 20"),
        ({"onset": 9, "offset": 3}, "onset=9, offset=3"),
        ({"annotation": {"four": [(1, 2)]}}, "'four' is no action unit"),
        ({"annotation": {"AU4": [(8, 2)]}}, r"annotation of AU4: \(8, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            predict.overlay(world.timeline, tmp_path / "p.mp4", **wrong)
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["o.mp4"]


def test_a_stopped_annotated_video_leaves_nothing(world, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(annotated._Picture, "_trace", stop)
    for suffix in (".mp4", ".gif"):
        with pytest.raises(KeyboardInterrupt):
            predict.overlay(world.timeline, tmp_path / f"o{suffix}")
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_users_clip_marks_what_was_annotated(world):
    clip = predict.clip(world.model, world.video, 0, 11)
    figure = clips.user_clip(clip, annotated=["AU4", "AU9"])
    labels = [label.get_text() for axis in figure.axes for label in axis.get_yticklabels()]
    assert "● AU4" in labels and "AU1" in labels and "● AU1" not in labels
    titles = [axis.get_title(loc="right") for axis in figure.axes]
    assert "does it occur?\n● annotated (and AU9)" in titles
    assert any("Grad-CAM" in axis.get_xlabel() for axis in figure.axes)  # of the colour bar
