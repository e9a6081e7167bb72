"""The clip store against a naive loop, and what happens when its making is disturbed."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import time
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers import make_table, picture

from aullm_lib import facs, preprocess
from aullm_lib.datasets import table as tables
from aullm_lib.preprocess import alignment, building, faces
from aullm_lib.support import files, partial_store


def contents(path):
    return {p.name: p.read_bytes() for p in sorted(path.iterdir())}


def test_store_equals_the_naive_loop(hand_table, hand_store):
    for clip_id, row in hand_table.iterrows():
        naive = [cv2.resize(cv2.imread(str(p), 0), (32, 32), interpolation=cv2.INTER_AREA) for p in row["frames"]]
        assert np.array_equal(hand_store[clip_id], naive)
    assert hand_store.ids == list(hand_table.index)
    labels = facs.au_columns(hand_table)
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


def start(release: Path, out: Path) -> subprocess.Popen:
    """A process that makes a release and slowly builds its store; at least three clips are stored when this returns."""
    script = """
        import sys; sys.path.insert(0, sys.argv[1])
        from pathlib import Path
        from helpers import make_table, picture
        from aullm_lib import facs, preprocess
        from aullm_lib.preprocess import building
        import time
        table = make_table(Path(sys.argv[2]))
        slow = building._store_clip
        def store_clip(*a):
            time.sleep(0.3)
            return slow(*a)
        building._store_clip = store_clip
        preprocess.build(table, sys.argv[3], size=16, workers=1)
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(Path(__file__).parents[1]), str(release), str(out)]
    )
    partial = out.with_name("store.partial")
    deadline = time.time() + 60
    while len(list(partial.glob("clips/0*.json"))) < 3 and time.time() < deadline:
        time.sleep(0.02)
    done = {p.name: p.stat().st_mtime_ns for p in partial.glob("clips/0*.json")}
    assert 3 <= len(done) < 12
    return child


def table_of(release: Path, scratch: Path):
    """The table of a release that another process made."""
    table = make_table(scratch)
    table["frames"] = [tuple(release / p.relative_to(scratch) for p in row) for row in table["frames"]]
    return table


def test_a_killed_build_is_finished_by_the_next(tmp_path):
    release, out = tmp_path / "release", tmp_path / "store"
    child = start(release, out)
    child.send_signal(signal.SIGKILL)
    child.wait()
    partial = out.with_name("store.partial")
    assert not out.exists() and partial.exists()
    table = table_of(release, tmp_path / "again")
    store = preprocess.build(table, out, size=16)
    assert not partial.exists() and not list(tmp_path.glob("*.lock"))
    assert contents(store.path) == contents(preprocess.build(table, tmp_path / "undisturbed", size=16).path)


def test_a_second_process_waits_for_the_first_and_finds_its_store(tmp_path):
    release, out = tmp_path / "release", tmp_path / "store"
    child = start(release, out)
    table = table_of(release, tmp_path / "again")
    with pytest.warns(UserWarning, match=rf"process {child.pid} on .* is writing the clip store .*: waiting") as caught:
        store = preprocess.build(table, out, size=16)
    assert child.wait() == 0 and len(caught) == 1
    assert contents(out) == contents(preprocess.build(table, tmp_path / "alone", size=16).path)
    for clip_id in store.ids:
        assert hashlib.sha256(store[clip_id].tobytes()).hexdigest() == store.table.loc[clip_id, "sha256"]
    assert not list(tmp_path.glob("*.lock")) and not list(tmp_path.glob("*.partial"))


def interrupt(*arguments, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize("lost", ["pixels", "note", "some pixels"])
def test_what_a_power_cut_took_is_made_anew(hand_table, tmp_path, monkeypatch, lost):
    with monkeypatch.context() as patch:
        patch.setattr(partial_store, "assemble", interrupt)
        with pytest.raises(KeyboardInterrupt):
            preprocess.build(hand_table, tmp_path / "s", size=16)
    target = tmp_path / "s.partial" / "clips" / "00002"
    raw = target.with_suffix(".raw").read_bytes()
    if lost == "note":
        target.with_suffix(".json").write_bytes(b"")
    else:
        target.with_suffix(".raw").write_bytes(b"" if lost == "pixels" else bytes(512) + raw[512:])
    store = preprocess.build(hand_table, tmp_path / "s", size=16)
    assert contents(store.path) == contents(preprocess.build(hand_table, tmp_path / "whole", size=16).path)


def test_pixels_that_changed_on_the_disk_are_not_assembled(hand_table, tmp_path, monkeypatch):
    def changed(folder, *a, store_clips=building._store_clips):
        failed = store_clips(folder, *a)
        (folder / "00002.raw").write_bytes(bytes((folder / "00002.raw").stat().st_size))
        return failed

    with monkeypatch.context() as patch:
        patch.setattr(building, "_store_clips", changed)
        with pytest.raises(OSError, match=r"00002.raw is not what was written there; start again"):
            preprocess.build(hand_table, tmp_path / "s", size=16)
    assert preprocess.build(hand_table, tmp_path / "s", size=16).frames.min() > 0


def test_changed_images_give_another_store(tmp_path):
    table = make_table(tmp_path / "release", subjects=2, clips=2)
    frame = table.iloc[1]["frames"][3]
    content, found = frame.read_bytes(), frame.stat()
    frame.write_bytes(content[:40])
    with pytest.warns(UserWarning, match="hand/s0/c1 left out"):
        old = preprocess.build(table, tmp_path / "s", size=16)
    frame.write_bytes(content)
    with pytest.raises(FileExistsError, match="a clip store with another files; name another folder"):
        preprocess.build(table, tmp_path / "s", size=16)
    before = preprocess.settings(table, 16)
    assert {key for key in before if before[key] != old.info["settings"][key]} == {"files"}
    assert len(preprocess.build(table, tmp_path / "repaired", size=16)) == 4
    os.utime(frame, ns=(found.st_atime_ns, found.st_mtime_ns + 1))
    assert preprocess.settings(table, 16)["files"] != before["files"]
    frame.unlink()
    assert preprocess.settings(table, 16)["files"] != before["files"]


def test_images_that_change_while_they_are_stored_make_no_store(tmp_path, monkeypatch):
    table = make_table(tmp_path / "release", subjects=2, clips=2)

    def unplugged(*a, store_clips=building._store_clips):
        for path in table.iloc[2]["frames"]:
            path.rename(path.with_suffix(".gone"))
        return store_clips(*a)

    with monkeypatch.context() as patch:
        patch.setattr(building, "_store_clips", unplugged)
        with pytest.raises(tables.ReleaseError, match="images of hand changed meanwhile; start again"):
            preprocess.build(table, tmp_path / "s", size=16)
    for path in table.iloc[2]["frames"]:
        path.with_suffix(".gone").rename(path)
    assert len(preprocess.build(table, tmp_path / "s", size=16)) == 4


@pytest.mark.parametrize("path", ["thesis.txt", "clips/thesis.txt", "settings.json", "store.json"])
def test_a_folder_that_the_kit_did_not_make_is_left_alone(hand_table, tmp_path, path):
    mine = tmp_path / "s.partial" / path
    mine.parent.mkdir(parents=True)
    mine.write_text('{"a": 1}')
    with pytest.raises(FileExistsError, match=r"s.partial is no unfinished clip store \(.*; move it away or name"):
        preprocess.build(hand_table, tmp_path / "s", size=16)
    assert mine.read_text() == '{"a": 1}'


def test_empty_folders_are_built_into_and_others_are_not(hand_table, tmp_path):
    (tmp_path / "s").mkdir()
    (tmp_path / "s.partial").mkdir()
    assert len(preprocess.build(hand_table, tmp_path / "s", size=16)) == 12
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("")
    (tmp_path / "file").write_text("")
    for name in ("mine", "file"):
        with pytest.raises(FileExistsError, match=f"{name} is there and holds no clip store; name another folder"):
            preprocess.build(hand_table, tmp_path / name, size=16)


def test_a_store_of_other_versions_is_kept_and_named(hand_table, tmp_path, monkeypatch):
    now = building._versions()
    monkeypatch.setattr(building, "_versions", lambda: now | {"opencv": "0.1"})
    store = preprocess.build(hand_table, tmp_path / "s", size=16)
    before = contents(store.path)
    monkeypatch.setattr(building, "_versions", lambda: now)
    with pytest.warns(UserWarning, match=rf"s was made by opencv 0.1 \(now {now['opencv']}\); delete") as caught:
        preprocess.build(hand_table, tmp_path / "s", size=16)
    assert len(caught) == 1 and contents(store.path) == before


def test_constants_of_the_alignment_identify_a_store(hand_table, monkeypatch):
    ways = ("none", "whole-frame", "crop", "similarity")
    before = {align: preprocess.settings(hand_table, align=align) for align in ways}
    for module, name, concerned in (
        (alignment, "EYES_APART", {"similarity"}), (alignment, "EYES_DOWN", {"similarity"}),
        (alignment, "MARGIN", {"crop"}),
        (alignment, "LATER", {"crop", "similarity"}), (alignment, "OUTSIDE", {"crop", "similarity"}),
        (faces, "STRICT", {"crop", "similarity"}), (faces, "LENIENT", {"crop", "similarity"}),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(module, name, getattr(module, name) / 2)
            changed = {align for align in ways if preprocess.settings(hand_table, align=align) != before[align]}
        assert changed == concerned, name


@pytest.mark.parametrize("kind", ["missing", "broken link", "folder", "circle", "forbidden"])
def test_one_frame_that_cannot_be_opened_fails_its_clip_only(tmp_path, monkeypatch, kind):
    table = make_table(tmp_path / "release", subjects=2, clips=2)
    frame = table.iloc[1]["frames"][3]
    frame.unlink()
    reason = {"folder": "a folder and no file", "circle": "a link that leads round in a circle",
              "forbidden": "not permitted to read it; change its permissions"}.get(kind, "no such file")  # fmt: skip
    if kind == "folder":
        frame.mkdir()
    elif kind != "missing":
        frame.symlink_to(frame.name if kind == "circle" else "nowhere.png")
    if kind == "forbidden":
        read = Path.read_bytes

        def refusing(path):
            if path == frame:
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            return read(path)

        monkeypatch.setattr(Path, "read_bytes", refusing)
    with pytest.warns(UserWarning, match=f"hand/s0/c1 left out: .*{frame.name}: {reason}"):
        store = preprocess.build(table, tmp_path / "s", size=16)
    assert store.ids == [table.index[i] for i in (0, 2, 3)]


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
    assert np.array_equal(store[table.index[2]][0], alignment.warp(first, alignment.squash(first.shape, 16), 16))


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


def test_an_error_in_reading_is_not_reported_as_one_in_writing(hand_table, tmp_path, monkeypatch):
    def failing(path):
        raise OSError(errno.EROFS, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "read_bytes", failing)
    with pytest.raises(OSError, match=r"Read-only file system: .*img\d+.png"):
        preprocess.build(hand_table, tmp_path / "s", size=16)


@pytest.mark.parametrize("at", ["assembled", "half cleaned"])
def test_a_kill_while_finishing_is_finished_by_the_next(hand_table, tmp_path, monkeypatch, at):
    def killed(folder, *a, **k):
        if at == "half cleaned":
            for path in sorted(folder.iterdir())[::2]:
                path.unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building.shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            preprocess.build(hand_table, tmp_path / "s", size=16)
    assert not (tmp_path / "s").exists()
    store = preprocess.build(hand_table, tmp_path / "s", size=16)
    assert contents(store.path) == contents(preprocess.build(hand_table, tmp_path / "whole", size=16).path)


@pytest.mark.parametrize("align", ["none", "whole-frame"])
def test_rgb_of_grey_frames_is_their_grey_three_times(hand_table, tmp_path, align):
    grey = preprocess.build(hand_table, tmp_path / "grey", size=16, align=align)
    colour = preprocess.build(hand_table, tmp_path / "rgb", size=16, align=align, rgb=True)
    for clip_id in grey.ids:
        assert np.array_equal(colour[clip_id], np.repeat(grey[clip_id][..., None], 3, axis=-1))
    assert colour.sample(colour.ids).shape == (12, 6, 16, 16, 3)
    with pytest.raises(FileExistsError, match="another rgb"):
        preprocess.build(hand_table, tmp_path / "grey", size=16, align=align, rgb=True)


def test_a_frame_of_another_size_fails_its_clip_by_name(tmp_path):
    table = make_table(tmp_path / "release", subjects=1, clips=2)
    cv2.imwrite(str(table.iloc[0]["frames"][2]), picture())
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
    messages = [str(w.message) for w in caught]
    assert len(messages) == 6 and all("the file is empty" in text for text in messages[:5])
    assert messages[5] == "2 more clips left out; store.failed names them"
    assert len(store.failed) == 7


def test_memory_does_not_grow_with_the_length_of_a_clip(tmp_path):
    """20 frames, or 400 of them: numpy's allocations are traced, OpenCV's arrays among them."""
    path = tmp_path / "img1.png"
    cv2.imwrite(str(path), picture())

    def peak(frames: int) -> int:
        wanted = {"size": 32, "align": "none", "rgb": True}
        tracemalloc.start()
        try:
            assert building._store_clip(tmp_path / f"clip{frames}", (path,) * frames, wanted) is None
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
        patch.setattr(building.files, "write_json", stop_at(5, files.write_json, KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            preprocess.build(hand_table, tmp_path / "s", size=16, workers=1)
    clips = tmp_path / "s.partial" / "clips"
    assert list(clips.glob("*.json"))
    note = next(iter(sorted(clips.glob("*.json"))))
    note.write_text(note.read_text().replace('"score": null', '"score": 0.25'))
    monkeypatch.setattr(building, "_versions", lambda: {"opencv": "0"})
    store = preprocess.build(hand_table, tmp_path / "s", size=16)
    assert store.table["score"].isna().all() and store.info["versions"] == {"opencv": "0"}


def stop_at(clip: int, write, error: BaseException):
    """As the function ``write``, but from the note of a clip on it fails."""

    def instead(path, *arguments, **options):
        if path.stem.isdigit() and int(path.stem) >= clip:
            raise error
        return write(path, *arguments, **options)

    return instead


def test_disk_full_keeps_what_is_finished_and_says_what_to_do(hand_table, tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")
    with monkeypatch.context() as patch:
        patch.setattr(building.files, "write_json", stop_at(3, files.write_json, full))
        with pytest.raises(OSError, match=r"cannot write the clip store at .*the disk is full: free some space"):
            preprocess.build(hand_table, tmp_path / "s", size=16, workers=1)
    assert not (tmp_path / "s").exists()
    assert len(list((tmp_path / "s.partial" / "clips").glob("*.json"))) == 3
    assert len(preprocess.build(hand_table, tmp_path / "s", size=16)) == len(hand_table)


def test_face_crops_and_whole_frames_are_not_confused(hand_table, tmp_path):
    raw = hand_table.assign(cropped=False)
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
    whole = alignment.outline(store.matrix(store.ids[0]), 16)
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
