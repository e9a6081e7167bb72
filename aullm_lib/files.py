"""Small file habits shared by everything that writes: whole files only, and errors that say what to do."""

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_REQUIRED: Any = object()


def write_text(path: Path, text: str) -> None:
    """Writes a temporary neighbour, then renames it: a reader sees the old file or the new one, never half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, missing: Any = _REQUIRED) -> Any:
    """The file's value; ``missing`` where there is no such file. Raises ValueError naming a file that is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing is _REQUIRED:
            raise
        return missing
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); delete it to have it made anew") from None


@contextmanager
def explained(path: Path, what: str) -> Iterator[None]:
    """Turns the disk's refusals into messages that name the folder and what to do; what was finished stays."""
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
        }.get(error.errno or 0)
        if advice is None:
            raise
        raise OSError(error.errno, f"cannot write {what} at {path}: {advice}") from error
