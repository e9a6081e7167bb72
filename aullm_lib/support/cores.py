"""How many CPU cores a process may use, which on a shared machine are fewer than there are."""

import os
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup")
OWN_GROUP = Path("/proc/self/cgroup")


def cores() -> int:
    """The cores that are left by the process's affinity, the quotas of its control groups, and its Slurm job."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    job = os.environ.get("SLURM_CPUS_ON_NODE", "")
    limits = [len(affinity), *_quotas(), *([int(job)] if job.isdecimal() else [])]
    return max(1, int(min(limits)))


def _quotas() -> list[float]:
    """Cores by the quotas of the control groups that the process is in, of either version."""
    try:
        own = next(line[4:].strip("/") for line in OWN_GROUP.read_text().splitlines() if line.startswith("0::/"))
    except (OSError, StopIteration):
        own = ""
    folders = [GROUPS / own, *(GROUPS / own).parents]
    quotas = []
    for folder in folders[: folders.index(GROUPS) + 1]:
        for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
            try:
                quota, period = " ".join((folder / name).read_text() for name in files).split()
            except (OSError, ValueError):  # no such file, as in most groups
                continue
            if quota.isdecimal():  # "max" and -1 are no limit
                quotas.append(int(quota) / int(period))
    return quotas
