"""The clip store against a naive loop, and what happens when its making is disturbed."""

import errno
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import make_table

from aullm_lib import files, preprocess
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
    done = {p.name: p.stat().st_mtime_ns for p in partial.glob("clips/0*.npy")}
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
        with pytest.warns(UserWarning, match=r"hand/s0/c1 left out: .*img98.png: not a readable image"):
            store = preprocess.build(table, tmp_path / "store", size=16)
    assert store.ids == [table.index[i] for i in (0, 2, 3)]
    assert "hand/s0/c1" in store.failed
    first = cv2.imread(str(table.iloc[2]["frames"][0]), 0)
    assert np.array_equal(store[table.index[2]][0], preprocess.crop_and_resize(first, None, 16))


def test_no_face_is_a_failure_by_name(hand_table, tmp_path):
    with (
        pytest.raises(tables.ReleaseError, match=r"no clip of hand could be stored: .*no face found"),
    ):
        preprocess.build(hand_table, tmp_path / "s", size=16, align="crop")
    assert not (tmp_path / "s").exists()


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
    got = preprocess.crop_and_resize(image, (-2, -2, 12, 12), 12)
    assert np.array_equal(got, np.pad(image, 2, mode="edge"))


def test_disk_full_keeps_what_is_finished_and_says_what_to_do(hand_table, tmp_path, monkeypatch):
    save, calls = np.save, []

    def full(path, array):
        calls.append(path)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, array)

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(OSError, match=r"cannot write the clip store at .*the disk is full: free some space"):
        preprocess.build(hand_table, tmp_path / "s", size=16, workers=1)
    assert not (tmp_path / "s").exists()
    monkeypatch.undo()
    assert len(preprocess.build(hand_table, tmp_path / "s", size=16)) == len(hand_table)


def test_a_folder_that_cannot_be_made_is_named(hand_table, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="a file stands where a folder is needed"):
        preprocess.build(hand_table, tmp_path / "file" / "store")
    for options, message in [({"align": "face"}, "choose one of none, crop"), ({"size": 4}, "8 to 1024")]:
        with pytest.raises(ValueError, match=message):
            preprocess.build(hand_table, tmp_path / "s", **options)


def test_json_that_was_damaged_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a.json: not readable as JSON"):
        files.read_json(tmp_path / "a.json")
