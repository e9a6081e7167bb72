"""The clip store against a naive loop, and what happens when its making is disturbed."""

import errno
import io
import re
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import make_table
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from aullm_lib import files, framing, preprocess
from aullm_lib.datasets import table as tables


def contents(path):
    return {p.name: p.read_bytes() for p in sorted(path.iterdir())}


def test_store_equals_the_naive_loop(hand_table, hand_store):
    for clip_id, row in hand_table.iterrows():
        naive = [cv2.resize(cv2.imread(str(p), 0), (32, 32), interpolation=cv2.INTER_AREA) for p in row["frames"]]
        assert np.array_equal(hand_store[clip_id], naive)
    assert hand_store.ids == list(hand_table.index)
    labels = tables.au_columns(hand_table)
    assert (hand_store.table[labels] == hand_table[labels]).all(axis=None)


def test_a_second_call_changes_nothing_and_other_settings_are_refused(hand_table, tmp_path):
    store = preprocess.build(hand_table, tmp_path / "s", size=16)
    before = {p: p.stat().st_mtime_ns for p in store.path.iterdir()}
    preprocess.build(hand_table, tmp_path / "s", size=16)
    assert {p: p.stat().st_mtime_ns for p in store.path.iterdir()} == before
    with pytest.raises(FileExistsError, match="another size; name another folder"):
        preprocess.build(hand_table, tmp_path / "s", size=24)
    with pytest.raises(FileExistsError, match="another clips"):
        preprocess.build(hand_table.iloc[1:], tmp_path / "s", size=16)
    again = preprocess.build(hand_table, tmp_path / "other", size=16, workers=1)
    assert contents(again.path) == contents(store.path)


def test_a_killed_build_is_finished_by_the_next(hand_table, tmp_path):
    script = """
        import sys; sys.path.insert(0, sys.argv[1])
        from pathlib import Path
        from conftest import make_table
        from aullm_lib import preprocess
        import time
        table = make_table(Path(sys.argv[2]))
        slow = preprocess._store_clip
        def store_clip(*a):
            time.sleep(0.3)
            return slow(*a)
        preprocess._store_clip = store_clip
        preprocess.build(table, sys.argv[3], size=16, workers=1)
    """
    release, out = tmp_path / "release", tmp_path / "store"
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(Path(__file__).parent), str(release), str(out)]
    )
    partial = out.with_name("store.partial")
    deadline = time.time() + 60
    while len(list(partial.glob("clips/0*.json"))) < 3 and time.time() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not out.exists()
    done = {p.name: p.stat().st_mtime_ns for p in partial.glob("clips/0*.json")}
    assert 3 <= len(done) < 12
    table = make_table(tmp_path / "again")
    table["frames"] = [tuple(release / p.relative_to(tmp_path / "again") for p in row) for row in table["frames"]]
    store = preprocess.build(table, out, size=16)
    assert not partial.exists()
    assert contents(store.path) == contents(preprocess.build(table, tmp_path / "undisturbed", size=16).path)


def test_a_clip_that_cannot_be_read_is_left_out_by_name(tmp_path):
    table = make_table(tmp_path / "release", subjects=2, clips=2)
    table.iloc[1]["frames"][3].write_bytes(b"\xff\xd8\xff no picture")
    for _ in range(2):  # a store that lacks a clip says so whenever it is opened to be used
        with pytest.warns(
            UserWarning, match=r"hand/s0/c1 left out: .*img98.png: not a readable image; unpack it again"
        ):
            store = preprocess.build(table, tmp_path / "store", size=16)
    assert store.ids == [table.index[i] for i in (0, 2, 3)]
    assert "hand/s0/c1" in store.failed
    first = cv2.imread(str(table.iloc[2]["frames"][0]), 0)
    assert np.array_equal(store[table.index[2]][0], framing.warp(first, framing.squash(first.shape, 16), 16))


def test_a_disk_that_fails_is_no_bad_picture(hand_table, tmp_path, monkeypatch):
    read = Path.read_bytes

    def failing(path):
        if path.name == "img97.png":
            raise OSError(errno.EIO, "Input/output error")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(OSError, match="Input/output error"):
        preprocess.build(hand_table, tmp_path / "s", size=16)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("at", ["assembled", "half cleaned"])
def test_a_kill_while_finishing_is_finished_by_the_next(hand_table, tmp_path, monkeypatch, at):
    def killed(folder, *a, **k):
        if at == "half cleaned":
            for path in sorted(folder.iterdir())[::2]:
                path.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(preprocess.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            preprocess.build(hand_table, tmp_path / "s", size=16)
    assert not (tmp_path / "s").exists()
    store = preprocess.build(hand_table, tmp_path / "s", size=16)
    assert contents(store.path) == contents(preprocess.build(hand_table, tmp_path / "whole", size=16).path)


def test_crops_beyond_the_border_repeat_it():
    image = np.arange(64, dtype=np.uint8).reshape(8, 8)
    got = framing.warp(image, framing.cut((-2, -2, 12, 12), 12), 12)
    assert np.array_equal(got, np.pad(image, 2, mode="edge"))


def picture(shape: tuple[int, ...] = (90, 120), smooth: float = 1.5) -> np.ndarray:
    noise = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), smooth), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


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
    matrix = framing.level(eyes, size)
    step = np.linalg.norm(eyes[1] - eyes[0]) / (framing.EYES_APART * size)
    assert k - 1 < step - 0.25 <= k or k == 1
    difference = framing.warp(image, matrix, size) - naive_warp(image, matrix, size, k)
    assert np.abs(difference).max() < 2.5 and np.abs(difference).mean() < 0.5


def test_cut_and_whole_frame_are_exact_area_means():
    image = picture((48, 96))
    means = image.reshape(8, 6, 8, 12).mean((1, 3))
    assert np.abs(framing.warp(image, framing.squash(image.shape, 8), 8) - means).max() <= 0.51
    box = (10, 4, 40, 40)
    means = image[4:44, 10:50].reshape(8, 5, 8, 5).mean((1, 3))
    assert np.abs(framing.warp(image, framing.cut(box, 8), 8) - means).max() <= 0.51
    corners = np.array([[9.5, 3.5], [49.5, 43.5]])  # pixels' edges, seen from their centres
    matrix = framing.cut(box, 8)
    np.testing.assert_allclose(corners @ matrix[:, :2].T + matrix[:, 2], [[-0.5, -0.5], [7.5, 7.5]])


@given(
    st.tuples(*[st.floats(-50, 700)] * 2),
    st.floats(10, 300),
    st.floats(-1.5, 1.5),
    st.integers(8, 300),
)
def test_the_similarity_puts_eyes_where_they_belong(first, apart, angle, size):
    eyes = np.array(first) + np.array([[0, 0], [apart * np.cos(angle), apart * np.sin(angle)]])
    matrix = framing.level(eyes, size)
    placed = eyes @ matrix[:, :2].T + matrix[:, 2] + 0.5
    np.testing.assert_allclose(placed / size, [[0.33, 0.33], [0.67, 0.33]], atol=1e-6)
    turn = matrix[:, :2] / np.sqrt(np.linalg.det(matrix[:, :2]))
    np.testing.assert_allclose(turn @ turn.T, np.eye(2), atol=1e-9)  # neither shear nor reflection


@pytest.mark.parametrize("align", ["none", "whole-frame"])
def test_rgb_of_grey_frames_is_their_grey_three_times(hand_table, tmp_path, align):
    grey = preprocess.build(hand_table, tmp_path / "grey", size=16, align=align)
    colour = preprocess.build(hand_table, tmp_path / "rgb", size=16, align=align, rgb=True)
    for clip_id in grey.ids:
        assert np.array_equal(colour[clip_id], np.repeat(grey[clip_id][..., None], 3, axis=-1))
    assert colour.sample(colour.ids).shape == (12, 6, 16, 16, 3)
    with pytest.raises(FileExistsError, match="another rgb"):
        preprocess.build(hand_table, tmp_path / "grey", size=16, align=align, rgb=True)


def test_rgb_warp_is_the_grey_warp_of_each_channel():
    image = picture((90, 120, 3))
    for matrix in (framing.level(np.array([[40.0, 50], [70, 44]]), 24), framing.cut((5, 7, 60, 60), 24)):
        each = np.dstack([framing.warp(np.ascontiguousarray(image[..., c]), matrix, 24) for c in range(3)])
        assert np.array_equal(framing.warp(image, matrix, 24), each)


def encoded(kind: str, image: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, kind, **options)
    return file.getvalue()


def thumbnailed(jpeg: bytes) -> bytes:
    """A JPEG with a whole small JPEG in its header, as cameras write: one more end marker, before the scan."""
    small = b"Exif\0\0" + encoded("JPEG", picture((16, 16)))
    return jpeg[:2] + b"\xff\xe1" + (len(small) + 2).to_bytes(2, "big") + small + jpeg[2:]


def huge_png(side: int) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


GREY = picture()
JPEG, PNG = encoded("JPEG", GREY), encoded("PNG", GREY)
BAD = {
    "empty": (b"", "the file is empty"),
    "text": (b"no picture", "not a readable image"),
    "header only": (b"\xff\xd8\xff no picture", "not a readable image"),
    "gif": (encoded("GIF", GREY), "not a readable image"),
    "cut JPEG": (JPEG[: len(JPEG) // 2], "cut short (a JPEG without its end)"),
    "JPEG without its last two bytes": (JPEG[:-2], "cut short (a JPEG without its end)"),
    "cut JPEG with a thumbnail": (thumbnailed(JPEG)[:-200], "cut short (a JPEG without its end)"),
    "cut PNG": (PNG[: len(PNG) // 2], "cut short (a PNG without its end)"),
    "cut BMP": (encoded("BMP", GREY)[:-500], "cut short (a BMP smaller than it says)"),
    "damaged PNG": (PNG[:60] + bytes(200) + PNG[260:], "not a readable image"),
    "1x1": (encoded("PNG", GREY[:1, :1]), "1×1 is too small for a frame"),
    "15 high": (encoded("PNG", GREY[:15]), "120×15 is too small for a frame"),
    "16-bit grey": (encoded("PNG", GREY.astype(np.uint16) * 257), "16 bits a channel"),
    "16-bit RGB": (
        cv2.imencode(".png", np.dstack([GREY] * 3).astype(np.uint16) * 257)[1].tobytes(),
        "16 bits a channel",
    ),
    "CMYK": (encoded("JPEG", Image.fromarray(GREY).convert("CMYK")), "colour mode CMYK"),
    "bilevel": (encoded("PNG", Image.fromarray(GREY).convert("1")), "colour mode 1;"),
    "9 megapixels too many": (huge_png(10_450), "10450×10450 is more than 100 megapixels"),
    "30000x30000": (huge_png(30_000), "more than 100 megapixels"),
}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("name", BAD)
def test_bad_images_are_named_each_with_its_reason(tmp_path, name):
    content, message = BAD[name]
    path = tmp_path / "img0001.jpg"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        for rgb in (False, True):
            with pytest.raises(framing.BadImage, match=re.escape(f"{path}: {message}")):
                framing.read(path, rgb)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "JPEG"])
@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA"])
def test_ordinary_images_are_read_as_pillow_reads_them(tmp_path, mode, kind):
    if kind == "JPEG" and mode in ("P", "RGBA"):
        return  # JPEG has no such mode
    image = Image.fromarray(picture((40, 50, 3))).convert(mode)
    path = tmp_path / "img0001.jpg"
    path.write_bytes(encoded(kind, image))
    with Image.open(path) as read:
        colour = np.asarray(read.convert("RGB"))
        grey = np.asarray(read.convert("RGB").convert("L")).astype(int)
    got = framing.read(path, rgb=True)
    assert np.array_equal(got, colour) and got.flags.c_contiguous
    assert np.abs(framing.read(path) - grey).max() <= 2
    assert np.array_equal(framing.read(path), cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    trailing = thumbnailed(encoded("JPEG", GREY)) + b"\0" * 300
    path.write_bytes(trailing)
    assert framing.read(path).shape == GREY.shape


def test_a_frame_of_another_size_fails_its_clip_by_name(tmp_path):
    table = make_table(tmp_path / "release", subjects=1, clips=2)
    cv2.imwrite(str(table.iloc[0]["frames"][2]), GREY)
    with pytest.warns(
        UserWarning, match=r"hand/s0/c0 left out: .*img97.png: 120×90, but the clip's first frame has 40×40"
    ):
        store = preprocess.build(table, tmp_path / "s", size=16)
    assert store.ids == ["hand/s0/c1"]


def test_many_failures_are_counted(tmp_path):
    table = make_table(tmp_path / "release", subjects=2, clips=4)
    for frames in table["frames"].iloc[1:]:
        frames[0].write_bytes(b"")
    with pytest.warns(UserWarning) as caught:
        store = preprocess.build(table, tmp_path / "s", size=16)
    said = [str(w.message) for w in caught]
    assert len(said) == 6 and all("the file is empty" in text for text in said[:5])
    assert said[5] == "2 more clips left out; store.failed names them"
    assert len(store.failed) == 7


def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path):
    """20 frames, or 400 of them: numpy's allocations are traced, OpenCV's arrays among them."""
    path = tmp_path / "img1.png"
    path.write_bytes(PNG)

    def peak(frames: int) -> int:
        wanted = {"size": 32, "align": "none", "rgb": True}
        tracemalloc.start()
        try:
            assert preprocess._store_clip(tmp_path / f"clip{frames}", (path,) * frames, wanted) is None
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(2)  # imports and caches
    few, many = peak(20), peak(400)
    assert many < few + 20_000 < 400 * 32 * 32 * 3
    assert (tmp_path / "clip400.raw").stat().st_size == 400 * 32 * 32 * 3


def test_opencv_gets_its_threads_back(hand_table, tmp_path):
    threads = cv2.getNumThreads()
    preprocess.build(hand_table, tmp_path / "s", size=16)
    assert cv2.getNumThreads() == threads


def test_other_versions_do_not_go_on_with_a_partial_store(hand_table, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(preprocess.files, "write_json", stop_after(6, files.write_json, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            preprocess.build(hand_table, tmp_path / "s", size=16, workers=1)
    clips = tmp_path / "s.partial" / "clips"
    assert list(clips.glob("*.json"))
    note = next(iter(sorted(clips.glob("*.json"))))
    note.write_text(note.read_text().replace('"score": null', '"score": 0.25'))
    monkeypatch.setattr(preprocess, "_versions", lambda: {"opencv": "0"})
    store = preprocess.build(hand_table, tmp_path / "s", size=16)
    assert store.table["score"].isna().all() and store.info["versions"] == {"opencv": "0"}


def stop_after(count: int, function, error: BaseException):
    calls = []

    def instead(*arguments):
        calls.append(arguments)
        if len(calls) > count:
            raise error
        return function(*arguments)

    return instead


def test_disk_full_keeps_what_is_finished_and_says_what_to_do(hand_table, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(preprocess.files, "write_json", stop_after(4, files.write_json, full))
        with pytest.raises(OSError, match=r"cannot write the clip store at .*the disk is full: free some space"):
            preprocess.build(hand_table, tmp_path / "s", size=16, workers=1)
    assert not (tmp_path / "s").exists()
    assert len(list((tmp_path / "s.partial" / "clips").glob("*.json"))) == 3
    assert len(preprocess.build(hand_table, tmp_path / "s", size=16)) == len(hand_table)


def test_face_crops_and_whole_frames_are_not_confused(hand_table, tmp_path):
    raw = hand_table.copy()
    raw.attrs = hand_table.attrs | {"cropped": False}
    with pytest.raises(ValueError, match=r'face crops already.*"whole-frame" to squash'):
        preprocess.build(raw, tmp_path / "s", align="none")
    assert preprocess.settings(raw)["align"] == "similarity"
    assert preprocess.settings(raw)["detector"]
    assert preprocess.settings(hand_table)["align"] == "none"
    assert preprocess.settings(hand_table)["detector"] is None
    assert "root" not in preprocess.settings(hand_table)["release"]
    store = preprocess.build(raw, tmp_path / "s", size=16, align="whole-frame")
    assert store.table["score"].isna().all() and set(store.table["found_in"]) == {""}
    np.testing.assert_allclose(store.matrix(store.ids[0]), [[0.4, 0, -0.3], [0, 0.4, -0.3]])
    whole = framing.outline(store.matrix(store.ids[0]), 16)
    np.testing.assert_allclose(whole, np.array([[0, 0], [40, 0], [40, 40], [0, 40]]) - 0.5, atol=1e-9)


def test_a_folder_that_cannot_be_made_is_named(hand_table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="a file stands where a folder is needed"):
        preprocess.build(hand_table, tmp_path / "file" / "store")
    for options, message in [
        ({"align": "face"}, "choose one of none, whole-frame, crop, similarity"),
        ({"size": 4}, "8 to 1024"),
    ]:
        with pytest.raises(ValueError, match=message):
            preprocess.build(hand_table, tmp_path / "s", **options)


def test_json_that_was_damaged_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a.json: not readable as JSON"):
        files.read_json(tmp_path / "a.json")
