"""Of a video every frame is surely decoded, at its own time, square and whole; of a folder the right number counts.

The videos in data/ were made with FFmpeg: the grey of frame n is that of frame 0 and about 9.3 n more.
"""

import os
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from aullm_lib.predict import BadVideo, reading
from aullm_lib.support.images import BadImage

DATA = Path(__file__).parent / "data"


def seen(source: reading.FrameSource) -> list[int]:
    """Which frame each one shows, by its grey; -1 for those that are refused."""
    shown = []
    for number in source:
        try:
            shown.append(round((float(source.read(number).mean()) - 28) / 9.3))
        except BadImage:
            shown.append(-1)
    return shown


def film(path: Path, images, codec: str = "MJPG", fps: float = 25) -> Path:
    tall, wide = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, (wide, tall))
    for image in images:
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def noise() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (128, 96)) for _ in range(40)]


def words(source: reading.FrameSource, *parts: str) -> bool:
    return any(all(part in remark for part in parts) for remark in source.remarks)


def test_an_interlaced_video_is_refused():
    with pytest.raises(BadVideo, match=r"interlaced.mp4.*interlaced\?.*yadif"):
        reading.open_source(DATA / "interlaced.mp4")


def test_where_a_video_turns_interlaced_its_frames_are_refused():
    """Every frame that OpenCV claims to have retrieved there is the last one before."""
    source = reading.open_source(DATA / "turns_interlaced.ts")
    assert seen(source) == [*range(10), *[-1] * 10]
    with pytest.raises(BadImage, match=r"frame 14: cannot be decoded \(interlaced\?\)"):
        source.read(14)
    assert round((source.read(5).mean() - 28) / 9.3) == 5  # also after going back


def test_frames_that_are_the_same_and_decoded_are_read():
    source = reading.open_source(DATA / "pairs.mkv")
    frames = [source.read(number) for number in source]
    assert len(frames) == 20 and all((a == b).all() for a, b in zip(frames[::2], frames[1::2], strict=True))
    assert not source.remarks


def test_a_still_picture_and_a_single_frame_are_no_video(tmp_path):
    grey = np.full((64, 96, 3), 90, np.uint8)
    with pytest.raises(BadVideo, match="its first 9 frames are byte for byte the same"):
        reading.open_source(film(tmp_path / "still.avi", [grey] * 9))
    with pytest.raises(BadVideo, match="a single frame"):
        reading.open_source(film(tmp_path / "one.avi", [grey]))


def test_times_are_the_time_stamps():
    source = reading.open_source(DATA / "varying_rate.mp4")
    times = [source.time(number) for number in source]
    assert np.allclose(times, [n / 25 if n < 10 else 0.4 + (n - 10) / 5 for n in range(20)], atol=0.05)
    assert words(source, "its rate varies", "25 in the beginning") and seen(source) == list(range(20))


def test_a_rate_that_cannot_be_is_not_believed():
    source = reading.open_source(DATA / "rate_1000.webm")
    stamps = [33 * n + 7 * n % 5 for n in range(20)]
    header = cv2.VideoCapture(str(DATA / "rate_1000.webm"), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FPS)
    assert header == 200 and source.fps == pytest.approx(1000 / np.median(np.diff(stamps)), abs=0.01)
    assert [source.time(n) for n in source] == pytest.approx([stamp / 1000 for stamp in stamps])
    assert words(source, "200 frames a second is not believed")


def test_a_stream_without_time_stamps_has_no_rate():
    source = reading.open_source(DATA / "no_stamps.h264")
    assert seen(source) == list(range(20)) and source.fps is None and source.time(3) is None
    assert words(source, "no time stamps", "give fps")


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "MJPG"), ("avi", "mp4v"), ("mp4", "mp4v"), ("mkv", "mp4v")])
def test_every_whole_video_is_read_without_a_remark(tmp_path, noise, suffix, codec):
    source = reading.open_source(film(tmp_path / f"a.{suffix}", noise, codec, 30))
    assert list(source) == list(range(40)) and source.fps == pytest.approx(30) and not source.remarks
    assert source.time(39) == pytest.approx(39 / 30, abs=2e-3) and source.time(40) == pytest.approx(4 / 3, abs=2e-3)


def test_frames_that_an_edit_list_hides_are_not_lost():
    source = reading.open_source(DATA / "edit_list.mp4")
    assert seen(source) == list(range(7, 20)) and source.announced == 15 and not source.remarks


@pytest.mark.parametrize("name", ["whole.mkv", "noise.avi"])
def test_a_file_that_breaks_off_says_so(tmp_path, noise, name):
    path = tmp_path / name
    path = film(path, noise) if name == "noise.avi" else Path(shutil.copy(DATA / name, path))
    whole = sum(1 for _ in reading.open_source(path))
    os.truncate(path, path.stat().st_size * 9 // 10)
    source = reading.open_source(path)
    count = sum(1 for _ in source)
    assert 1 < count < whole and words(source, f"announces {whole} frames, of which {count} could be read")


def test_what_ffmpeg_says_of_damage_is_said(tmp_path, noise):
    path = film(tmp_path / "a.mp4", noise, "mp4v")
    content = bytearray(path.read_bytes())
    middle = content.index(b"mdat") + (len(content) - content.index(b"mdat")) // 2
    content[middle : middle + 300] = bytes(300)
    path.write_bytes(content)
    source = reading.open_source(path)
    assert list(source) and words(source, "FFmpeg reports errors in the video from frame")


def test_pixels_are_made_square():
    source = reading.open_source(DATA / "wide_pixels.mp4")
    assert source.read(0).shape == (64, 192) and source.read(0, True).shape == (64, 192, 3)
    assert words(source, "96×64 are widened to 192×64")


@pytest.mark.parametrize(("matrix", "turn"), [((0, 1, -1, 0), -1), ((-1, 0, 0, -1), 2), ((0, -1, 1, 0), 1)])
def test_a_video_is_turned_as_it_says(tmp_path, matrix, turn):
    """By the matrix in its track header, as telephones write it."""
    marked = np.zeros((96, 128, 3), np.uint8)
    marked[:32, :32] = 255
    path = film(tmp_path / "a.mp4", [marked, cv2.add(marked, 9)], "mp4v")
    content = bytearray(path.read_bytes())
    at = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (value << 16 for value in matrix)
    content[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    source = reading.open_source(path)
    truth = np.rot90(marked[..., 0], turn)
    assert source.read(0).shape == truth.shape and np.abs(source.read(0).astype(int) - truth).mean() < 3
    assert words(source, "turned by")


def pictures(folder: Path, names) -> Path:
    folder.mkdir()
    for grey, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((32, 32), 2 * grey, np.uint8))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        lambda n: f"out_Color_{1570617032063 + n * 33.3334:.2f}.png",
        lambda n: f"frame_{n / 30:.3f}s.png",
        lambda n: f"frame_{n}_640x360.png",
        lambda n: f"img_{n:04d}_20240305.png",
        lambda n: f"cam_20240305_{101500123 + 40 * n}_{n:04d}.png",
        lambda n: f"S01.{n:04d}.png",
    ],
)
def test_the_number_that_varies_orders_a_folder(tmp_path, name):
    source = reading.open_source(pictures(tmp_path / "a", map(name, range(40))))
    assert [int(source.read(number)[0, 0]) for number in source] == list(range(0, 80, 2)) and not source.remarks


@pytest.mark.parametrize(
    "names",
    [
        [f"{who}_{n:03d}.png" for who in ("anna", "ben") for n in range(9)],
        [f"p{who}_{n:03d}.png" for who in (1, 2) for n in range(9)],
        [f"{row}_{column}.png" for row in range(4) for column in range(4)],
        [f"img_{n}_{99 - n}.png" for n in range(9)],
        [f"img{n}{copy}.png" for n in range(9) for copy in ("", " (2)")],
        [f"img{n:02x}.png" for n in range(40)],
    ],
)
def test_several_series_are_refused(tmp_path, names):
    with pytest.raises(BadVideo, match="several series of images"):
        reading.open_source(pictures(tmp_path / "a", names))


def test_what_is_left_out_of_a_folder_or_missing_is_named(tmp_path):
    names = [f"img{n}.png" for n in range(1, 30) if n not in (7, 8)]
    source = reading.open_source(pictures(tmp_path / "a", [*names, "img003.png", "cover.png", "other_1.png"]))
    assert len(list(source)) == 27 and words(source, "missing: between 6 and 9")
    assert words(source, "3 other images", "cover.png", "other_1.png")


def test_a_pipe_or_device_among_pictures_is_refused(tmp_path):
    folder = pictures(tmp_path / "a", [f"img{n}.png" for n in range(1, 9)])
    (folder / "img3.png").unlink()
    os.mkfifo(folder / "img3.png")
    (folder / "img5.png").unlink()
    (folder / "img5.png").symlink_to("/dev/zero")
    (folder / "img6.png").unlink()
    (folder / "img6.png").symlink_to(folder / "img3.png")
    source = reading.open_source(folder)
    for number in (3, 5, 6):
        with pytest.raises(BadImage, match=f"img{number}.png"):
            source.read(number)
    os.mkfifo(tmp_path / "b.mp4")
    with pytest.raises(FileNotFoundError, match="a pipe or device"):
        reading.open_source(tmp_path / "b.mp4")
