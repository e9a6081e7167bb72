"""The most memory that was in use, against a block of known size."""

import mmap
import sys

import pytest

from aullm_lib.support import memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process count its peak anew")
def test_the_peak_of_a_process_is_counted_anew():
    memory.begin_peak("cpu")
    before = memory.peak_mb("cpu")
    block = mmap.mmap(-1, 300 * 2**20)  # of the system: the allocator keeps what it once had
    for _ in range(300):
        block.write(b"1" * 2**20)
    assert 280 <= memory.peak_mb("cpu") - before <= 330
    block.close()
    assert memory.peak_mb("cpu") - before >= 280
    memory.begin_peak("cpu")
    assert memory.peak_mb("cpu") - before <= 30  # the system may have taken back some that lay idle
