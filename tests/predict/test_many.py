"""Many videos in one call: one status row each, names that never meet, and the next one where one fails."""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import full_frame_run

from aullm_lib import predict
from aullm_lib.__main__ import main
from aullm_lib.predict import many
from aullm_lib.support import images


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> SimpleNamespace:
    """A run on full frames that kept its weights, one of its clips as a video, and that clip's folder."""
    folder = tmp_path_factory.mktemp("many")
    table, _, run = full_frame_run(folder, (1, 4))
    film = folder / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"MJPG"), 25, (640, 480))
    for path in table["frames"].iloc[0][:12]:
        writer.write(np.ascontiguousarray(images.read(path, rgb=True)[..., ::-1]))
    writer.release()
    assert film.stat().st_size > 10_000
    yield SimpleNamespace(run=run, film=film, clip=table["frames"].iloc[0][0].parent)
    shutil.rmtree(folder)


@pytest.fixture
def inputs(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(world, *sources, out="out") -> int:
    return main(
        ["predict", *map(str, sources), "--run", str(world.run), "--out", str(out), "--length", "8", "--no-overlay"]
    )


def summary(folder="out") -> pd.DataFrame:
    return pd.read_csv(Path(folder, many.SUMMARY)).set_index("file")


def test_each_file_gets_its_table_and_a_status_and_failures_do_not_stop_the_others(world, inputs, capsys, caplog):
    shutil.copy(world.film, "good.avi")
    Path("text.mp4").write_text("no video")
    assert command(world, "text.mp4", "absent.mp4", "good.avi", world.clip) == 1
    rows = summary()
    assert dict(rows["status"]) == {
        "text.mp4": "failed", "absent.mp4": "failed", "good.avi": "done", str(world.clip): "done",
    }  # fmt: skip
    assert "no such file" in rows.loc["absent.mp4", "message"] and "not a video" in rows.loc["text.mp4", "message"]
    expected = predict.video(world.run, "good.avi", length=8)
    columns = ["start_frame", "end_frame", "au", "probability"]
    pd.testing.assert_frame_equal(pd.read_csv("out/good.csv")[columns], expected.table[columns], check_dtype=False)
    assert rows.loc["good.avi", "windows"] == rows.loc["good.avi", "windows_with_face"] == 2
    assert rows.loc["good.avi", "table"] == "out/good.csv" and Path("out", f"{world.clip.name}.csv").is_file()
    out = capsys.readouterr().out
    assert all(file in out for file in rows.index)
    assert "absent.mp4: no such file" in caplog.text and "2 of 4 are done" in caplog.text
    written = {f"{name}{ending}" for name in ("good", world.clip.name) for ending in many.ENDINGS[:-1]}
    assert {path.name for path in Path("out").iterdir()} == written | {many.SUMMARY}


def test_nothing_that_is_there_is_overwritten(world, inputs):
    shutil.copy(world.film, "a.avi")
    assert command(world, "a.avi") == 0
    before = Path("out/a.csv").read_bytes()
    shutil.copy(world.film, "b.avi")
    Path("out/b.csv").symlink_to(inputs / "elsewhere.csv")
    shutil.copy(world.film, "c.avi")
    assert command(world, "a.avi", "b.avi", "c.avi") == 1  # the new one is done: so a call that was stopped goes on
    assert list(summary()["status"]) == ["failed", "failed", "done"]
    assert summary().loc["a.avi", "message"].startswith("out/a.csv is there already")
    assert Path("out/a.csv").read_bytes() == before and not Path("elsewhere.csv").exists()


def test_the_annotated_video_never_takes_the_place_of_the_video(world, inputs):
    shutil.copy(world.film, "a.mp4")
    before, call = Path("a.mp4").read_bytes(), ["predict", "a.mp4", "--run", str(world.run), "--length", "8", "--out"]
    assert main([*call, "."]) == 1
    assert summary(".").loc["a.mp4", "message"].startswith("a.mp4 is there already, and nothing is overwritten")
    assert sorted(path.name for path in inputs.glob("a*")) == ["a.mp4"]
    assert main([*call, "out"]) == 0
    capture = cv2.VideoCapture("out/a.mp4")
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12 and Path("a.mp4").read_bytes() == before
    assert main([*call, ".", "--no-overlay"]) == 0 and Path("a_wide.csv").is_file()
    assert Path("a.mp4").read_bytes() == before


def test_a_folder_of_videos_is_all_of_them_and_one_of_pictures_is_one(world, inputs):
    Path("films").mkdir()
    for name in ("two.AVI", "one.avi", "._one.avi", "notes.txt"):
        shutil.copy(world.film, Path("films", name))
    assert command(world, "films", "films/one.avi", world.clip) == 0
    assert list(summary().index) == ["films/one.avi", "films/two.AVI", str(world.clip)]
    Path("films/img1.png").touch()
    Path("empty").mkdir()
    assert command(world, "films", "empty", out="again") == 1
    rows = summary("again")
    assert "videos (one.avi) and numbered pictures (img1.png)" in rows.loc["films", "message"]
    assert "no numbered picture" in rows.loc["empty", "message"]


@pytest.mark.parametrize(
    "names",
    [
        ("x.mp4", "x.avi"),  # one stem
        ("a/x.mp4", "b/x.mp4"),
        ("a/x.mp4", "b/x.avi", "b/x.mp4", "x.mp4"),
        ("x.mp4", "X.mp4"),  # one file where case does not count
        ("a/s/x.mp4", "b/s/x.mp4"),
        ("summary.mp4", "Summary.avi"),
        ("x_wide.mp4", "x.mp4"),
        ("c/a/s/x.mp4", "c/b/s/x.mp4", "c/b/s/X.MP4"),
        ("a_b/x.mp4", "a/b_x.mp4", "b/x.mp4", "x.avi"),
    ],
)
def test_no_two_inputs_ever_write_the_same_file(tmp_path, names):
    chosen = many._named([tmp_path / name for name in names])
    written = [f"{name}{ending}".casefold() for name in chosen.values() for ending in many.ENDINGS]
    assert len(set(written)) == len(written) == len(names) * 4 and many.SUMMARY not in written
    assert all("/" not in name and len(name) < 80 for name in chosen.values())
    assert many._named([tmp_path / name for name in reversed(names)]) == chosen  # whatever their order


@pytest.mark.parametrize("name", ["=1+1", "a b#c", "-x", "it's", 'say "x"', "50%", "é中", "two\nlines", "x.y"])
def test_odd_names_are_files_like_others(world, inputs, name):
    film = Path(f"{name}.avi")
    shutil.copy(world.film, film)
    call = ["predict", "--run", str(world.run), "--out", "out", "--length", "8", "--no-overlay", "--", str(film)]
    assert main(call) == 0
    (row,) = pd.read_csv(Path("out", many.SUMMARY)).itertuples()
    assert row.status == "done" and Path("out", f"{name}.csv").is_file()
    assert row.file[0] not in "=+-@" and row.file.isprintable()


def test_a_name_that_is_no_text_is_refused_in_words(world, inputs):
    """OpenCV crashes on it."""
    film = Path(os.fsdecode(b"\xff.avi"))
    shutil.copy(world.film, film)
    assert command(world, film) == 1
    (row,) = pd.read_csv(Path("out", many.SUMMARY)).itertuples()
    assert "no UTF-8; rename the file" in row.message and row.file == r"\udcff.avi"


def test_stopping_says_what_is_done_and_exits_with_130(world, inputs, monkeypatch, caplog):
    for name in ("a.avi", "b.avi", "c.avi"):
        shutil.copy(world.film, name)
    real = many.video

    def interrupted(models, source, *arguments, **options):
        if source.name == "b.avi":
            raise KeyboardInterrupt
        return real(models, source, *arguments, **options)

    monkeypatch.setattr(many, "video", interrupted)
    assert command(world, "a.avi", "b.avi", "c.avi") == 130
    assert list(summary()["status"]) == ["done", "stopped", "not started"]
    assert "1 of 3 are done" in caplog.text


@pytest.mark.parametrize("bad", ["run", "fold", "out"])
def test_what_concerns_every_file_is_found_before_the_first(world, inputs, bad, caplog):
    shutil.copy(world.film, "a.avi")
    Path("file").touch()
    run, out = ("nowhere", "out") if bad == "run" else (str(world.run), "file" if bad == "out" else "out")
    more = ["--fold", "casme2-sub99"] if bad == "fold" else []
    assert main(["predict", "a.avi", "--run", run, "--out", out, *more]) == 2
    assert {"run": "nowhere: no run here", "fold": "no fold 'casme2-sub99'", "out": "a file stands"}[bad] in caplog.text
    assert not Path("out").exists()
