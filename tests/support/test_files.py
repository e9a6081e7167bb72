"""Files written whole, by one writer at a time."""

import errno
import os
import threading
import time

import pytest

from aullm_lib.support import files


def test_one_of_many_threads_at_a_time_is_alone(tmp_path, monkeypatch):
    inside, most = [], []

    def work():
        for _ in range(20):
            with files.alone(tmp_path / "x.lock", "it"):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.0005)
                inside.pop()

    monkeypatch.setattr(files.time, "sleep", lambda seconds, sleep=time.sleep: sleep(min(seconds, 0.001)))
    monkeypatch.setattr(files.warnings, "warn", lambda *a, **k: None)
    for flock in (files.fcntl, None):
        monkeypatch.setattr(files, "fcntl", flock)
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(most) == 160 and max(most) == 1
    assert not (tmp_path / "x.lock").exists()


def test_without_flock_the_file_is_the_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    lock = tmp_path / "x.lock"
    lock.write_text("process 1 on elsewhere")

    def stop(seconds):
        raise TimeoutError

    monkeypatch.setattr(files.time, "sleep", stop)
    waiting = pytest.warns(UserWarning, match=r"process 1 on elsewhere is writing it: waiting .*x\.lock")
    with waiting, pytest.raises(TimeoutError), files.alone(lock, "it"):
        pass
    lock.unlink()
    with files.alone(lock, "it"):
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
    assert not lock.exists()


def test_json_that_was_damaged_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match=r"a.json: not readable as JSON"):
        files.read_json(tmp_path / "a.json")


def test_a_folder_that_cannot_be_synced_is_no_error_and_a_file_is(tmp_path, monkeypatch):
    """Some network disks refuse it for folders."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path, tmp_path / "file"):
        files.sync(path)

    def refuse(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(files.os, "fsync", refuse)
    files.sync(tmp_path)
    with pytest.raises(OSError, match="Invalid argument"):
        files.sync(tmp_path / "file")
