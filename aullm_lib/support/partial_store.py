"""Writing a clip store whole: clip by clip in a folder beside it, which is assembled and renamed at the end.

That folder, ``<out>.partial``, has ``settings.json`` (what is being made), then ``clips`` with the pixels and a note of
each clip, at last the files of the store. Whoever works in it holds the lock file ``<out>.lock``.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from aullm_lib.support import files

WHAT = "the clip store"  # in messages
_PARTS = re.compile(r"(settings|store)\.json|index\.csv|frames\.npy|clips|\.(settings|store)\.json\.\d+")
_CLIPS = re.compile(r"\d{5}\.(raw|json)|\.\d{5}\.json\.\d+")


def claim(partial: Path, begun: dict) -> None:
    """Opens the folder of the unfinished store that ``begun`` identifies; that of another one is made anew.

    Raises:
        FileExistsError: the folder holds what no unfinished store does; nothing was deleted.
    """
    if partial.exists():
        names = [path.name for path in partial.iterdir() if not _PARTS.fullmatch(path.name)]
        if (partial / "clips").is_dir():
            names += [path.name for path in (partial / "clips").iterdir() if not _CLIPS.fullmatch(path.name)]
        try:
            settings = files.read_json(partial / "settings.json", missing=None)
        except ValueError:
            settings = ""
        empty = all(path.name.startswith(".settings.json.") for path in partial.iterdir())  # killed at its first file
        if names or not (empty or (isinstance(settings, dict) and settings.keys() == begun.keys())):
            why = f"it holds {names[0]}" if names else "its settings.json is none"
            raise FileExistsError(f"{partial} is no unfinished clip store ({why}); move it away or name another folder")
        if settings == begun:
            return
        shutil.rmtree(partial)
    partial.mkdir(parents=True)
    files.write_json(partial / "settings.json", begun, durable=True)


def publish(partial: Path, out: Path) -> None:
    """Renames a finished store to ``out``."""
    for path in partial.glob(".*.json.*"):
        path.unlink()  # half written when a call was killed
    if out.is_dir():
        out.rmdir()  # empty, or this fails
    partial.rename(out)


def stored(target: Path) -> bool:
    """Whether an earlier call stored the clip whole. Its note is written last, but a power cut may keep that alone."""
    try:
        return _sha256(target) == files.read_json(target.with_suffix(".json"))["sha256"]
    except (FileNotFoundError, ValueError):
        return False


def _sha256(target: Path) -> str:
    with target.with_suffix(".raw").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assemble(partial: Path, single: Path, table: pd.DataFrame, begun: dict, failed: dict[str, str]) -> None:
    """Writes the store from its stored clips."""
    kept = [i for i, clip_id in enumerate(table.index) if clip_id not in failed]
    notes = [files.read_json(single / f"{i:05d}.json") for i in kept]
    index = table.iloc[kept].drop(columns="frames")
    index["matrix"] = [json.dumps(note["matrix"]) for note in notes]
    for column in ("found_in", "score", "sha256"):
        index[column] = [note[column] for note in notes]
    size = begun["settings"]["size"]
    remarks = {i: note["remarks"] for i, note in zip(index.index, notes, strict=True) if note["remarks"]}

    def pixels() -> Iterator[bytes]:
        for i, note in zip(kept, notes, strict=True):
            target = single / f"{i:05d}"
            if _sha256(target) != note["sha256"]:
                raise OSError(f"{target}.raw is not what was written there; start again to have it made anew")
            with target.with_suffix(".raw").open("rb") as clip:
                yield from iter(lambda: clip.read(2**20), b"")

    frame = (size, size, 3) if begun["settings"]["rgb"] else (size, size)
    write(partial, begun, index, frame, pixels(), failed, remarks)


def write(
    partial: Path,
    begun: dict,
    index: pd.DataFrame,
    frame: tuple[int, ...],
    pixels: Iterable[bytes],
    failed: dict[str, str],
    remarks: dict[str, str],
) -> None:
    """Writes the files of a store: the pixels of all frames, each of the shape ``frame``; the index; ``store.json``.

    The first two are on the disk before the last is written: a store that has it is whole.
    """
    index.insert(0, "first", np.r_[0, index["n_frames"].cumsum()[:-1]].astype(int))
    shape = (int(index["n_frames"].sum()), *frame)
    with (partial / "frames.npy").open("wb") as file:  # written, not mapped: a full disk is then an error, not a signal
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for part in pixels:
            file.write(part)
    files.write_text(partial / "index.csv", files.csv(index.reset_index()))
    for name in ("frames.npy", "index.csv"):
        files.sync(partial / name)
    description = {
        "clips": len(index),
        "failed": failed,
        "remarks": remarks,
        "fingerprint": hashlib.sha256((partial / "index.csv").read_bytes()).hexdigest(),
    }
    files.write_json(partial / "store.json", begun | description, durable=True)
