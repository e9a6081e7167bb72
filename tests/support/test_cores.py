"""Cores of a process: its affinity, the quotas of its control groups and its job, whichever leaves the fewest."""

import os
import subprocess
import sys
import tempfile

import pytest

from aullm_lib.support import cores
from aullm_lib.support.sockets import LONGEST, short_folder


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """Control groups of its own; the process is in jobs/7, and may use 64 cores."""
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(cores, "OWN_GROUP", tmp_path / "own")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    monkeypatch.delenv("SLURM_CPUS_ON_NODE", raising=False)
    (tmp_path / "own").write_text("12:cpu:/old\n0::/jobs/7\n")
    (tmp_path / "cgroup" / "jobs" / "7").mkdir(parents=True)
    return tmp_path / "cgroup"


@pytest.mark.parametrize(
    ("quotas", "job", "expected"),
    [
        ({}, "", 64),
        ({"cpu.max": "max 100000"}, "", 64),
        ({"jobs/7/cpu.max": "400000 100000"}, "", 4),
        ({"jobs/cpu.max": "350000 100000", "jobs/7/cpu.max": "max 100000"}, "", 3),  # of a group around it
        ({"cpu.max": "50000 100000"}, "", 1),
        ({"cpu/cpu.cfs_quota_us": "200000", "cpu/cpu.cfs_period_us": "100000"}, "", 2),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "", 64),
        ({}, "8", 8),
        ({"cpu.max": "1600000 100000"}, "8(x2)", 16),
    ],
)
def test_the_smallest_limit_counts(groups, monkeypatch, quotas, job, expected):
    for name, text in quotas.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")
    if job:
        monkeypatch.setenv("SLURM_CPUS_ON_NODE", job)
    assert cores.cores() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes have no affinity here")
def test_a_process_that_may_use_one_core_has_one():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); from aullm_lib.support import cores; "
    done = subprocess.run([sys.executable, "-c", code + "print(cores.cores())"], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr


def test_a_temporary_folder_with_room_for_sockets_is_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/scratch/me")
    assert short_folder(LONGEST - 11) == "/scratch/me" and short_folder(LONGEST - 10) == "/tmp"
