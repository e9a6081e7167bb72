"""Clip table -> clip store: find the face, crop, grey, resize.

One box a clip, found in its onset frame and applied to all its frames: a box a frame would move with the detector and
hide the motion that the AUs make. The paper does not describe its preprocessing; the released script squashes the
whole frame to 64×64 (``align="none"``), the LED baseline that it follows works on face crops (``align="crop"``).
"""

import hashlib
import json
import os
import shutil
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

import cv2
import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from aullm_lib import __version__, files
from aullm_lib.clips import ClipStore
from aullm_lib.datasets import table as tables

ALIGNMENTS = ("none", "crop")
MARGIN = 0.06  # of the detector's box, added on each side, and once more below, where the chin is
CASCADE = str(Path(cv2.__file__).parent / "data" / "haarcascade_frontalface_alt2.xml")
_cascades = local()


class NoFace(ValueError):
    """No face was found in the frames looked at; the message names the file."""


class BadImage(ValueError):
    """A file that is no picture; the message names it."""


def find_face(image: np.ndarray) -> tuple[int, int, int] | None:
    """The largest face of a grey image [H, W] uint8 as (left, top, side) in pixels, or None.

    OpenCV's bundled frontal cascade, asked first strictly (6 agreeing boxes), then leniently (2).
    """
    if not hasattr(_cascades, "frontal"):  # a cascade object must not be shared between threads
        _cascades.frontal = cv2.CascadeClassifier(CASCADE)
    smallest = min(image.shape) // 6
    for neighbours in (6, 2):
        boxes = _cascades.frontal.detectMultiScale(image, 1.1, neighbours, minSize=(smallest, smallest))
        if len(boxes):
            left, top, width, _ = max(boxes.tolist(), key=lambda box: (box[2], -box[0], -box[1]))
            return left, top, width
    return None


def read_grey(path: Path) -> np.ndarray:
    """A frame as [H, W] uint8. Raises BadImage naming a file that is no picture, OSError if the disk fails."""
    content = path.read_bytes()
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) if content else None
    if image is None:
        raise BadImage(f"{path}: not a readable image")
    return image


def face_box(paths: tuple[Path, ...]) -> tuple[int, int, int, int]:
    """The clip's crop (left, top, width, height) from its onset frame, or the first of five later ones with a face."""
    for path in paths[:: max(1, len(paths) // 5)]:
        found = find_face(read_grey(path))
        if found:
            left, top, side = found
            margin = round(MARGIN * side)
            return left - margin, top, side + 2 * margin, side + 2 * margin
    raise NoFace(f"{paths[0]}: no face found in this clip's frames; crop it by hand or leave the clip out")


def crop_and_resize(image: np.ndarray, box: tuple[int, int, int, int] | None, size: int) -> np.ndarray:
    """[H, W] -> [size, size] uint8, averaging over areas; parts of the box outside the image repeat its border."""
    if box is not None:
        left, top, width, height = box
        right, bottom = left + width, top + height
        pad = max(0, -left, -top, right - image.shape[1], bottom - image.shape[0])
        if pad:
            image = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        image = image[top + pad : bottom + pad, left + pad : right + pad]
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def build(
    table: pd.DataFrame, out: str | Path, size: int = 64, *, align: str | None = None, workers: int | None = None
) -> ClipStore:
    """Writes the clip store of a clip table, or returns it if it is there with the same clips and settings.

    size: side of the stored frames in pixels. align: "none" squashes the whole frame, "crop" cuts the face found in
    the onset frame; None crops unless the release's frames are cropped faces already.
    Clips are stored one by one below ``<out>.partial``, so a killed call goes on where it was. A clip without a
    readable frame or a face fails by name (``store.failed``, and a warning at every call) and the others go on.
    Raises ``ReleaseError`` for a bad table, FileExistsError for a store of other data at ``out``, OSError where
    something cannot be read or written.
    """
    tables.check(table)
    out = Path(out)
    align = align or ("none" if table.attrs.get("cropped") else "crop")
    if align not in ALIGNMENTS:
        raise ValueError(f"align={align!r}: choose one of {', '.join(ALIGNMENTS)}")
    if not 8 <= size <= 1024:
        raise ValueError(f"size={size!r}: expected 8 to 1024 pixels")
    settings: dict[str, Any] = {
        "release": {k: v for k, v in table.attrs.items() if k != "root"},
        "size": size,
        "align": align,
        "clips": hashlib.sha256(table.drop(columns="frames").to_csv().encode()).hexdigest(),
    }
    if out.exists():
        store = ClipStore(out)
        changed = [key for key, value in settings.items() if store.info["settings"].get(key) != value]
        if changed:
            raise FileExistsError(f"{out} holds a clip store with another {' and '.join(changed)}; name another folder")
        return _said(store)
    partial = out.with_name(out.name + ".partial")
    clips = partial / "clips"
    if partial.exists() and files.read_json(partial / "settings.json", missing={}) != settings:
        shutil.rmtree(partial)
    with files.explained(partial, "the clip store"):
        clips.mkdir(parents=True, exist_ok=True)
        files.write_json(partial / "settings.json", settings)

        def one(item: tuple[int, tuple]) -> tuple[int, str | None]:
            return item[0], _store_clip(clips / f"{item[0]:05d}", item[1], size, align)

        if not (partial / "store.json").exists():  # written last by _assemble
            with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
                jobs = pool.map(one, enumerate(table["frames"]))
                reasons = dict(tqdm(jobs, total=len(table), desc=f"clips of {out.name}", unit="clip"))
            failed = {table.index[i]: reason for i, reason in reasons.items() if reason}
            if len(failed) == len(table):
                first = next(iter(failed.values()))
                raise tables.ReleaseError(f"no clip of {settings['release']['dataset']} could be stored: {first}")
            _assemble(partial, clips, table, settings, failed)
        shutil.rmtree(clips)
        partial.rename(out)
    return _said(ClipStore(out))


def _said(store: ClipStore) -> ClipStore:
    """Warns of every clip that the store had to leave out."""
    for clip_id, reason in store.failed.items():
        warnings.warn(f"{clip_id} left out: {reason}", stacklevel=3)
    return store


def _store_clip(target: Path, paths: tuple[Path, ...], size: int, align: str) -> str | None:
    """Frames -> ``target.npy`` [T, size, size] and ``target.json`` (its box); returns why it failed, if it did."""
    if target.with_suffix(".json").exists():  # written last, so the clip is whole
        return None
    try:
        box = face_box(paths) if align == "crop" else None
        frames = np.stack([crop_and_resize(read_grey(path), box, size) for path in paths])
    except (NoFace, BadImage, cv2.error) as error:
        return str(error)
    np.save(target.with_suffix(".npy"), frames)
    files.write_json(target.with_suffix(".json"), {"box": box, "sha256": hashlib.sha256(frames.tobytes()).hexdigest()})
    return None


def _assemble(partial: Path, clips: Path, table: pd.DataFrame, settings: dict, failed: dict[str, str]) -> None:
    """The stored clips -> one array, its index, and last its description."""
    kept = [i for i, clip_id in enumerate(table.index) if clip_id not in failed]
    notes = [files.read_json(clips / f"{i:05d}.json") for i in kept]
    index = table.iloc[kept].drop(columns="frames")
    index.insert(0, "first", np.r_[0, index["n_frames"].cumsum()[:-1]].astype(int))
    index["box"] = [json.dumps(note["box"]) for note in notes]
    index["sha256"] = [note["sha256"] for note in notes]
    size = settings["size"]
    shape = (int(index["n_frames"].sum()), size, size)
    with (partial / "frames.npy").open("wb") as file:  # written, not mapped: a full disk is then an error, not a signal
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for i in kept:
            file.write(np.load(clips / f"{i:05d}.npy", allow_pickle=False).tobytes())
    index.to_csv(partial / "index.csv")
    files.write_json(
        partial / "store.json",
        {
            "settings": settings,
            "versions": {"aullm_lib": __version__, "opencv": cv2.__version__, "numpy": np.__version__},
            "clips": len(index),
            "failed": failed,
            "fingerprint": hashlib.sha256((partial / "index.csv").read_bytes()).hexdigest(),
        },
    )
