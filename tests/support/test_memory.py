"""The most memory that was in use, against an array of known size."""

import sys

import numpy as np
import pytest

from aullm_lib.support import memory


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process count its peak anew")
def test_the_peak_of_a_process_is_counted_anew():
    memory.begin_peak("cpu")
    before = memory.peak_mb("cpu")
    block = np.ones(300 * 2**17)  # 300 MiB, written
    assert 280 <= memory.peak_mb("cpu") - before <= 340
    del block
    assert memory.peak_mb("cpu") - before >= 280
    memory.begin_peak("cpu")
    assert abs(memory.peak_mb("cpu") - before) <= 30
