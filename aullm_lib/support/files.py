"""Writing files: whole files only, one writer at a time, and errors that say what to do."""

import errno
import json
import os
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pandas as pd

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

LONGEST = 1 << 28
"""Bytes of JSON: a longer file is no file of the kit."""
WIDEST = 200
"""Bytes of a folder's name: file systems take 255, and temporary names are longer."""
_REQUIRED: Any = object()


def write_text(path: Path, text: str, durable: bool = False) -> None:
    """Writes a temporary neighbour, then renames it: a reader sees the old file or the new one, never half of it.

    Args:
        durable: Wait for the disk, so that a power cut leaves no half of it either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        if durable:
            sync(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object, durable: bool = False) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", durable)


def printable(text: str) -> str:
    """A text with escapes in the place of control characters, and of bytes that are no text in a file's name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def csv(table: pd.DataFrame) -> str:
    """A table as CSV, without its index: texts are ``printable``, and none begins as a spreadsheet's formula does."""
    safe = table.copy()
    for column in safe.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in safe.dtypes]]:
        safe[column] = safe[column].map(lambda text: re.sub("^[=+@-]", r"'\g<0>", printable(str(text))), "ignore")
    return safe.to_csv(index=False, lineterminator="\n")


def read_json(path: Path, missing: Any = _REQUIRED) -> Any:
    """The file's value, or ``missing`` if there is no such file.

    Raises:
        ValueError: It is no JSON in UTF-8, nested deeper than any file of the kit, or longer than ``LONGEST``.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LONGEST + 1)
    except FileNotFoundError:
        if missing is _REQUIRED:
            raise
        return missing
    try:
        return parse_json(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}; delete it to have it made anew") from None


def parse_json(content: bytes) -> Any:
    """The value of JSON in UTF-8. Raises ValueError as ``read_json``."""
    try:
        if len(content) > LONGEST:
            raise ValueError(f"longer than {LONGEST >> 20} MiB")
        return json.loads(content.decode("utf-8-sig"), parse_int=_whole)
    except (ValueError, RecursionError) as error:  # of JSON, of UTF-8, of depth
        raise ValueError(f"not readable as JSON ({error})") from None


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 100 else float(digits)  # which is infinite from 309 digits on


def folder_name(what: str, name: str) -> str:
    """Returns ``name`` if it can be that of a folder on any system, and of nothing outside the folder that it is in.

    Args:
        what: What has the name, for messages.
        name: The name.

    Raises:
        ValueError: The name is empty, begins with a dot, ends in a dot or a blank, has more than ``WIDEST`` bytes, has
            a separator or a character that some system refuses, or is a device's on Windows.
    """
    refused = re.search(r'[\x00-\x1f\x7f\ud800-\udfff/\\<>:"|?*]', name)
    device = re.fullmatch(r"(con|prn|aux|nul|(com|lpt)\d)(\..*)?", name, re.IGNORECASE)
    if refused or device or not name or name[0] == "." or name[-1] in ". " or len(name.encode()) > WIDEST:
        shown = repr(name if len(name) < 100 else name[:100] + "...")
        why = f"; {refused[0]!r} is in it" if refused else ""
        raise ValueError(
            f"{what}={shown}: cannot be a folder's name{why}. Expected 1 to {WIDEST} bytes without separators or "
            "reserved characters, not beginning with a dot"
        )
    return name


@contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Turns errors of the disk into messages that name the folder and what to do."""
    try:
        yield
    except OSError as error:
        advice = {
            errno.ENOSPC: "the disk is full: free some space and start again; what is finished is kept",
            errno.EDQUOT: "the disk quota is used up: free some space and start again; what is finished is kept",
            errno.EACCES: "the folder cannot be written: choose another or change its permissions",
            errno.EPERM: "the folder cannot be written: choose another or change its permissions",
            errno.EROFS: "the file system is read-only: choose a folder on another",
            errno.ENOTDIR: "a file stands where a folder is needed: choose another folder or move the file",
            errno.EEXIST: "a file stands where a folder is needed: choose another folder or move the file",
        }.get(error.errno or 0)
        if advice is None:
            raise
        raise OSError(error.errno, f"cannot write {what} at {path}: {advice}") from error


@contextmanager
def written(path: Path, folder: Path, what: str) -> Iterator[Callable[[bytes], object]]:
    """A new file's ``write``, whose errors are ``explained``, while errors of everything else pass unchanged."""
    with explained(folder, what):
        file = path.open("wb")

    def write(content: bytes) -> None:
        with explained(folder, what):
            file.write(content)

    try:
        yield write
    finally:
        with explained(folder, what):
            file.close()  # writes what was buffered


def sync(path: Path) -> None:
    """Waits until the content of a file is on the disk; of a folder, which names are in it, where that can be done."""
    folder = path.is_dir()
    if folder and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not folder or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):  # as some network disks say
            raise
    finally:
        os.close(descriptor)


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file ``path``; if another process holds it, warns once and waits.

    The kernel frees the lock of a process that dies. Where there is no flock, on Windows and some network disks, the
    file itself is the lock, and one that a killed process left must be deleted by hand.
    """
    warned = False
    with explained(path.parent, what):
        path.parent.mkdir(parents=True, exist_ok=True)
        while (held := _lock(path)) is None:
            try:
                holder = path.read_text(encoding="utf-8")
            except OSError:  # freed in this moment
                continue
            if holder and not warned:
                warnings.warn(f"{holder} is writing {what}: waiting until it is done (its lock: {path})", stacklevel=4)
                warned = True
            time.sleep(0.1)
    try:
        yield
    finally:
        if fcntl is None:
            held.close()
        path.unlink(missing_ok=True)  # while it is held: nobody can have taken it yet
        held.close()


def _lock(path: Path) -> BinaryIO | None:
    """The lock file, held and with this process's name in it; None if another process holds it."""
    file: BinaryIO
    try:
        file, mine = path.open("xb"), True
    except FileExistsError:
        try:
            file, mine = path.open("r+b"), False  # makes no file: where there is no flock, that would take the lock
        except FileNotFoundError:  # freed in this moment
            return None
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.path.samestat(os.fstat(file.fileno()), path.stat())  # not deleted by its holder since
    except (BlockingIOError, FileNotFoundError):
        mine = False
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
            file.close()
            raise
    if not mine:
        file.close()
        return None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {platform.node()}".encode())
    file.flush()
    return file
