"""Clip table -> clip store: find the face, align it, grey (or RGB), resize.

One box and one eye line a clip, found in its onset frame and applied to all its frames: a box a frame would move with
the detector and hide the motion that the AUs make. The paper does not describe its preprocessing; the released script
squashes the whole frame to 64×64 (``align="whole-frame"``), the LED baseline that it follows works on face crops.

Every alignment is one affine matrix [2, 3] a clip (``framing.py``), kept in the store's index.
"""

import hashlib
import json
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import PIL
from tqdm.auto import tqdm

from aullm_lib import __version__, face, files
from aullm_lib.clips import ClipStore
from aullm_lib.datasets import table as tables
from aullm_lib.framing import BadImage, around, cut, level, read, squash, warp

ALIGNMENTS = ("none", "whole-frame", "crop", "similarity")
LATER = 5  # frames after the onset in which a face is looked for if the onset frame shows none


class NoFace(ValueError):
    """No usable face was found in the frames looked at; the message names the first."""


def locate(paths: tuple[Path, ...], eyes: bool = True) -> tuple[face.Face, Path, str]:
    """The face of a clip, the frame that it was found in, and remarks ("" if there is nothing to remark).

    Looked for in the onset frame, strictly and then leniently, then in up to LATER frames spread over the rest.
    eyes: whether a face without eyes is none. Raises NoFace naming the onset frame and why, BadImage, OSError.
    """
    positions = sorted({round(i * (len(paths) - 1) / LATER) for i in range(LATER + 1)})
    reasons: dict[str, None] = {}  # in order, each once
    for position in positions:
        image = read(paths[position], rgb=True)
        for threshold in (face.STRICT, face.LENIENT):
            found = face.find(image, threshold)
            if found is None:
                reasons["no face found"] = None
            elif eyes and found.eyes is None:
                reasons["no pair of eyes found in the face"] = None
            elif found.outside(image.shape) > 0.25:
                reasons["more than a quarter of the face lies outside the frame"] = None
            else:
                remarks = {
                    f"{found.count} faces, the largest taken": found.count > 1,
                    f"face found in {paths[position].name}, not in the onset frame": position > 0,
                    f"face found leniently (score {found.score:.2f})": threshold < face.STRICT,
                    "face found by OpenCV's cascades": found.points is None,
                }
                return found, paths[position], "; ".join(text for text, holds in remarks.items() if holds)
    if len(reasons) > 1:
        reasons.pop("no face found", None)  # the other reason says more
    raise NoFace(
        f"{paths[0]}: {', '.join(reasons)} (in this and {len(positions) - 1} later frames); crop it by hand or leave "
        "the clip out"
    )


def settings(table: pd.DataFrame, size: int = 64, *, align: str | None = None, rgb: bool = False) -> dict[str, Any]:
    """What identifies a clip store, as JSON values: release, clips, size, align, rgb and how faces are found.

    align: see ``build``. Raises ValueError for a setting that is wrong or does not suit the release.
    """
    align = align or ("none" if table.attrs.get("cropped") else "similarity")
    if align not in ALIGNMENTS:
        raise ValueError(f"align={align!r}: choose one of {', '.join(ALIGNMENTS)}")
    if align == "none" and not table.attrs.get("cropped"):
        raise ValueError(
            'align="none" stores frames that are face crops already, and this release\'s are not: choose "similarity" '
            'or "crop", or "whole-frame" to squash them as the released script did'
        )
    if not 8 <= size <= 1024:
        raise ValueError(f"size={size!r}: expected 8 to 1024 pixels")
    found = {
        "release": {key: value for key, value in table.attrs.items() if key != "root"},
        "size": size,
        "align": align,
        "rgb": rgb,
        "detector": face.detector() if align in ("crop", "similarity") else None,
        "clips": hashlib.sha256(table.drop(columns="frames").to_csv().encode()).hexdigest(),
    }
    return json.loads(json.dumps(found))  # as it will be read back: tuples are lists


def build(
    table: pd.DataFrame,
    out: str | Path,
    size: int = 64,
    *,
    align: str | None = None,
    rgb: bool = False,
    workers: int | None = None,
) -> ClipStore:
    """Writes the clip store of a clip table, or returns it if it is there with the same clips and settings.

    size: side of the stored frames in pixels. rgb: store [N, size, size, 3] RGB instead of [N, size, size] grey.
    align: "similarity" puts the eyes of the onset frame's face level at a fixed distance and height; "crop" cuts an
    upright square around that face; "none" keeps frames that are face crops already; "whole-frame" squashes the frame,
    as the released script did. None takes "none" for a release of face crops, else "similarity".
    workers: clips at a time; all cores unless given.

    Clips are stored one by one below ``<out>.partial``, so a killed call goes on where it was. A clip without a
    readable frame or a face fails by name (``store.failed``, and a warning at every call) and the others go on; what
    is remarkable about a clip's face is in ``store.info["remarks"]``.
    Raises ``ReleaseError`` for a bad table, ValueError for a bad setting, FileExistsError for a store of other data at
    ``out``, OSError where something cannot be read or written.
    """
    tables.check(table)
    out = Path(out)
    wanted = settings(table, size, align=align, rgb=rgb)
    if out.exists():
        store = ClipStore(out)
        changed = [key for key, value in wanted.items() if store.info["settings"].get(key) != value]
        if changed:
            raise FileExistsError(f"{out} holds a clip store with another {' and '.join(changed)}; name another folder")
        return _said(store)
    if wanted["detector"] and not wanted["detector"]["weights"]:
        warnings.warn(
            f"the face weights are missing, so OpenCV's cascades find faces, less exactly; get them: {face.COMMAND}",
            stacklevel=2,
        )
    partial = out.with_name(out.name + ".partial")
    begun = {"settings": wanted, "versions": _versions()}
    if partial.exists() and files.read_json(partial / "settings.json", missing={}) != begun:
        shutil.rmtree(partial)
    with files.explained(partial, "the clip store"):
        clips = partial / "clips"
        clips.mkdir(parents=True, exist_ok=True)
        files.write_json(partial / "settings.json", begun)
        if not (partial / "store.json").exists():  # written last by _assemble
            failed = _store_clips(clips, table, wanted, workers or os.cpu_count() or 1, out.name)
            if len(failed) == len(table):
                first = next(iter(failed.values()))
                raise tables.ReleaseError(f"no clip of {wanted['release']['dataset']} could be stored: {first}")
            _assemble(partial, clips, table, begun, failed)
        shutil.rmtree(clips)
        partial.rename(out)
    return _said(ClipStore(out))


def _versions() -> dict[str, str]:
    ours = {"aullm_lib": __version__, "opencv": cv2.__version__, "numpy": np.__version__}
    return ours | {"pillow": PIL.__version__}


def _said(store: ClipStore) -> ClipStore:
    """Warns of the clips that the store had to leave out, and of remarkable ones."""
    for clip_id, reason in list(store.failed.items())[:5]:
        warnings.warn(f"{clip_id} left out: {reason}", stacklevel=3)
    if len(store.failed) > 5:
        warnings.warn(f"{len(store.failed) - 5} more clips left out; store.failed names them", stacklevel=3)
    if store.remarks:
        first, text = next(iter(store.remarks.items()))
        warnings.warn(
            f"remarks on {len(store.remarks)} of {len(store)} clips (store.remarks has them), first {first}: {text}",
            stacklevel=3,
        )
    return store


def _store_clips(clips: Path, table: pd.DataFrame, wanted: dict, workers: int, name: str) -> dict[str, str]:
    """Every clip of the table -> its files below ``clips``; returns why clips failed, by id."""

    def one(position: int) -> str | None:
        return _store_clip(clips / f"{position:05d}", table["frames"].iloc[position], wanted)

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the clips share the cores, not the rows of each picture
    pool = ThreadPoolExecutor(workers)
    try:
        jobs = [pool.submit(one, position) for position in range(len(table))]
        progress = tqdm(zip(table.index, jobs, strict=True), total=len(table), desc=f"clips of {name}", unit="clip")
        return {clip_id: reason for clip_id, job in progress if (reason := job.result())}
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)


def _store_clip(target: Path, paths: tuple[Path, ...], wanted: dict) -> str | None:
    """Frames -> ``target.raw``, one after the other, and ``target.json``, its notes; returns why it failed, if so.

    One frame is held at a time, however long the clip.
    """
    if target.with_suffix(".json").exists():  # written last, so the clip is whole
        return None
    size, digest = wanted["size"], hashlib.sha256()
    shape: tuple[int, ...] = ()
    try:
        matrix, notes = _place(paths, wanted["align"], size)
        with target.with_suffix(".raw").open("wb") as file:
            for path in paths:
                image = read(path, wanted["rgb"])
                shape = shape or image.shape[:2]
                matrix = squash(shape, size) if matrix is None else matrix
                if image.shape[:2] != shape:
                    height, width = image.shape[:2]
                    raise BadImage(
                        f"{path}: {width}×{height}, but the clip's first frame has {shape[1]}×{shape[0]}; one matrix "
                        "cannot align both: make the frames of a clip the same size"
                    )
                stored = warp(image, matrix, size).tobytes()
                file.write(stored)
                digest.update(stored)
    except (NoFace, BadImage) as error:
        target.with_suffix(".raw").unlink(missing_ok=True)
        return str(error)
    notes |= {"matrix": np.asarray(matrix).tolist(), "sha256": digest.hexdigest()}
    files.write_json(target.with_suffix(".json"), notes)
    return None


def _place(paths: tuple[Path, ...], align: str, size: int) -> tuple[np.ndarray | None, dict[str, Any]]:
    """A clip's matrix (None where the whole frame is stored, whatever its size), and where its face was found."""
    if align in ("none", "whole-frame"):
        return None, {"found_in": "", "score": None, "remarks": ""}
    found, path, remarks = locate(paths, eyes=align == "similarity")
    if align == "similarity" and found.eyes is not None:
        matrix = level(found.eyes, size)
    else:
        matrix = cut(around(found.box), size)
    return matrix, {"found_in": path.name, "score": round(found.score, 4), "remarks": remarks}


def _assemble(partial: Path, clips: Path, table: pd.DataFrame, begun: dict, failed: dict[str, str]) -> None:
    """The stored clips -> one array, its index, and last its description."""
    kept = [i for i, clip_id in enumerate(table.index) if clip_id not in failed]
    notes = [files.read_json(clips / f"{i:05d}.json") for i in kept]
    index = table.iloc[kept].drop(columns="frames")
    index.insert(0, "first", np.r_[0, index["n_frames"].cumsum()[:-1]].astype(int))
    index["matrix"] = [json.dumps(note["matrix"]) for note in notes]
    for column in ("found_in", "score", "sha256"):
        index[column] = [note[column] for note in notes]
    size = begun["settings"]["size"]
    shape = (int(index["n_frames"].sum()), size, size) + ((3,) if begun["settings"]["rgb"] else ())
    with (partial / "frames.npy").open("wb") as file:  # written, not mapped: a full disk is then an error, not a signal
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for i in kept:
            with (clips / f"{i:05d}.raw").open("rb") as clip:
                shutil.copyfileobj(clip, file)
    index.to_csv(partial / "index.csv")
    description = {
        "clips": len(index),
        "failed": failed,
        "remarks": {i: note["remarks"] for i, note in zip(index.index, notes, strict=True) if note["remarks"]},
        "fingerprint": hashlib.sha256((partial / "index.csv").read_bytes()).hexdigest(),
    }
    files.write_json(partial / "store.json", begun | description)
