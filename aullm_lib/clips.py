"""The clip store (every frame of a release as one memory-mapped uint8 array) and temporal sampling of T frames.

A store is a folder: ``frames.npy`` [N, H, W] (or [N, H, W, 3] RGB) uint8, all clips one after the other; ``index.csv``,
one row per clip: where it begins, how many frames it has, its labels, the matrix [2, 3] from frame to stored pixels,
the frame its face was found in and the score (none where none was searched), and its hash; ``store.json``, its origin.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from aullm_lib import facs
from aullm_lib.support import files, partial_store

TEXT = {"clip_id": str, "dataset": str, "subject": str, "clip": str, "emotion": str, "aus": str}
MISSING = ("unknown", "absent")  # what an AU may be in a release that does not code it
TEXT |= {"source": str, "matrix": str, "found_in": str, "sha256": str}


def frame_positions(lengths: Tensor, frames: int, ends: Tensor | None = None) -> Tensor:
    """``frames`` positions evenly spaced from 0 to ``ends`` (the last frame by default), rounded half up.

    Args:
        lengths: [B], frames of each clip; shorter clips repeat frames.
        ends: [B].

    Returns:
        [B, frames].
    """
    last = (lengths - 1 if ends is None else ends)[:, None]  # [b, 1]
    steps = torch.arange(frames, device=lengths.device)[None]  # [1, t]
    return (2 * steps * last + frames - 1) // (2 * (frames - 1))  # [b, t]


def jittered_ends(lengths: Tensor, frames: int, generator: torch.Generator) -> Tensor:
    """Temporal jitter in training: an end frame, uniform in [frames, T - 2]; the last frame if T - 1 <= frames.

    As in the released script, but that it takes all frames of a clip of up to 7 and so fails on 7, for its filter reads
    6 (on fewer than 6, too); here every clip gives ``frames``. lengths: [B]. Returns [B].
    """
    draw = torch.rand(lengths.shape, generator=generator, device=generator.device, dtype=torch.float64)
    choices = (lengths - 1 - frames).clamp(min=1)
    ends = frames + (draw.to(lengths.device) * choices).long()
    return torch.where(lengths - 1 <= frames, lengths - 1, ends)


class ClipStore:
    """A clip store opened for reading: ``store[clip_id]`` is uint8 [T, H, W], or [T, H, W, 3] RGB.

    Attributes:
        table: the index, with labels; ``ids`` are its clip ids.
        release: dataset, synthetic, cropped and more, as JSON values; "parts" of a joined store.
        failed, remarks: by clip id, why a clip is missing and what is remarkable about its face.

    Raises:
        FileNotFoundError: there is no whole store.
        ValueError: its files do not fit each other.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / "store.json").is_file():
            raise FileNotFoundError(f"{self.path}: no clip store here; preprocess.build writes one (notebook 01)")
        self.info = files.read_json(self.path / "store.json")
        self.table = pd.read_csv(self.path / "index.csv", dtype=TEXT, index_col="clip_id", keep_default_na=False)
        if not {"matrix", "source"} <= set(self.table):
            raise ValueError(f"{self.path}: a clip store of an older version; delete the folder and build it again")
        self.table["apex"] = pd.to_numeric(self.table["apex"], errors="coerce").astype("Int64")
        self.table["score"] = pd.to_numeric(self.table["score"], errors="coerce")
        for name in facs.au_columns(self.table):  # empty where a release does not code the AU
            self.table[name] = pd.to_numeric(self.table[name], errors="coerce")
        self.frames = np.load(self.path / "frames.npy", mmap_mode="r", allow_pickle=False)
        if len(self.frames) != self.table["n_frames"].sum():
            raise ValueError(f"{self.path}: frames.npy and index.csv disagree; delete the folder and build it again")
        self._first = torch.tensor(self.table["first"].to_numpy())
        self._lengths = torch.tensor(self.table["n_frames"].to_numpy())
        self._on_device = torch.empty(0)

    ids = property(lambda self: list(self.table.index))
    release = property(lambda self: self.info["settings"]["release"], doc="See the class.")
    fingerprint = property(lambda self: self.info["fingerprint"])
    failed = property(lambda self: self.info["failed"])
    remarks = property(lambda self: self.info["remarks"])
    device = property(lambda self: self._lengths.device)
    lengths = property(lambda self: self._lengths, doc="Frames of every clip [N], on the store's device.")

    def __len__(self) -> int:
        return len(self.table)

    def __contains__(self, clip_id: object) -> bool:
        return clip_id in self.table.index

    def __getitem__(self, clip_id: str) -> np.ndarray:
        first, count = self.table.loc[clip_id, ["first", "n_frames"]]
        return self.frames[first : first + count]

    def matrix(self, clip_id: str) -> np.ndarray:
        """The affine map [2, 3] from a clip's frame pixels to stored pixels, (x, y, 1) -> (x, y)."""
        return np.array(json.loads(self.table.loc[clip_id, "matrix"]))

    def positions(self, ids: Sequence[str]) -> Tensor:
        """Clip ids -> their rows [B], in the order given. Raises KeyError naming an id that is not stored."""
        rows = self.table.index.get_indexer(pd.Index(ids))
        if (rows < 0).any():
            raise KeyError(f"{self.path} holds no clip {ids[int((rows < 0).argmax())]!r}")
        return torch.from_numpy(rows).to(self._lengths.device)

    def to(self, device: str | torch.device) -> "ClipStore":
        """Copies all frames to the device (4 kB per 64×64 grey frame), where ``sample`` then works. Returns self.

        On the CPU nothing is copied: the frames stay on the disk, mapped, and memory holds what the system caches.
        """
        mapped = np.load(self.path / "frames.npy", mmap_mode="c", allow_pickle=False)  # torch wants a writable array
        self._on_device = torch.from_numpy(mapped).to(device)
        columns = (self.table[name].to_numpy() for name in ("first", "n_frames"))
        self._first, self._lengths = (torch.tensor(column, device=device) for column in columns)
        return self

    @contextmanager
    def on(self, device: str | torch.device) -> Iterator[None]:
        """A context in which the store is on the device (``to``)."""
        before = self.device
        try:
            self.to(device)
            yield
        finally:
            self.to(before)

    def sample(self, ids: Sequence[str] | Tensor, frames: int = 6, jitter: torch.Generator | None = None) -> Tensor:
        """Samples ``frames`` frames of each clip.

        Args:
            ids: clip ids, or rows as ``positions`` gives them.
            jitter: None: the frames span the whole clip (testing); a generator: they span its beginning up to a random
                end (training, ``jittered_ends``).

        Returns:
            uint8 [B, frames, H, W] (RGB: [B, frames, H, W, 3]), on the store's device.
        """
        rows = ids if isinstance(ids, Tensor) else self.positions(ids)
        lengths = self._lengths[rows]
        ends = None if jitter is None else jittered_ends(lengths, frames, jitter)
        return self.take(rows, frame_positions(lengths, frames, ends))

    def take(self, rows: Tensor, positions: Tensor) -> Tensor:
        """Frames by position, uint8 [B, T, H, W] (RGB: [B, T, H, W, 3]); everything is on the store's device.

        Args:
            rows: [B], as ``positions`` gives them.
            positions: [B, T], 0 is the onset.
        """
        if not len(self._on_device):
            self.to("cpu")
        return self._on_device[self._first[rows][:, None] + positions]  # [b, t, h, w]


def labels(table: pd.DataFrame, ids: tuple[str, ...], aus: tuple[int, ...]) -> Tensor:
    """0/1 targets [B, N_AU] float32 in the order of ``ids`` and ``aus``, NaN where it is unknown whether an AU occurs.

    An AU that never occurs in the table is 0, one that is not coded in a clip's release is unknown (``join``).
    """
    columns = table.reindex(columns=[f"AU{n}" for n in aus], fill_value=0).loc[list(ids)]
    return torch.tensor(columns.to_numpy("float32"))


def opened(out: Path, settings: dict) -> ClipStore | None:
    """The store at ``out``; None where there is nothing yet, or an empty folder.

    Raises:
        FileExistsError: something else is there, or a store of other data or settings.
    """
    if not (out / "store.json").is_file():
        if out.exists() and not (out.is_dir() and not any(out.iterdir())):
            raise FileExistsError(f"{out} is there and holds no clip store; name another folder")
        return None
    store = ClipStore(out)
    present = store.info["settings"]
    changed = [key for key in settings | present if present.get(key) != settings.get(key)]
    if changed:
        raise FileExistsError(f"{out} holds a clip store with another {' and '.join(changed)}; name another folder")
    return store


def _alignments(settings: dict) -> set[str]:
    """How the clips of a store, or of the stores joined in it, are aligned."""
    parts = settings["release"].get("parts")
    return {settings["align"]} if parts is None else set().union(*map(_alignments, parts))


def join(stores: Sequence[ClipStore], out: str | Path, *, count_missing: str = "unknown") -> ClipStore:
    """Joins the clips of several releases in one store, for training on one and testing on another; made once.

    An AU that no annotation of a release names is not coded there: its clips have no label of it, and neither losses
    nor scores count them. How each store was made is in ``release["parts"]``. Stores may differ in how they are
    aligned, as face crops ("none") and aligned frames ("similarity") do; whole frames go with whole frames only.

    Args:
        stores: one per release.
        out: the folder of the joined store.
        count_missing: what an AU is in a release that does not code it: "unknown", or "absent" as in the public code of
            CD6ME, which ``release["count_missing"]`` then says.

    Raises:
        ValueError: stores that differ in frame size or so in alignment, or have a clip in common; another
            ``count_missing``.
        FileExistsError: another store at ``out``.
        OSError: it cannot be written.
    """
    if count_missing not in MISSING:
        raise ValueError(f"count_missing={count_missing!r}: choose one of {', '.join(MISSING)}")
    out, first = Path(out), stores[0].info["settings"]
    for store in stores[1:]:
        for key in ("size", "rgb"):
            if store.info["settings"][key] != first[key]:
                raise ValueError(
                    f"{stores[0].path} and {store.path} differ in {key}: build them with the same {key} to join them"
                )
    ways = sorted(set().union(*(_alignments(store.info["settings"]) for store in stores)))
    if "whole-frame" in ways and len(ways) > 1:
        raise ValueError(f"the stores to join are aligned in ways that do not go together: {', '.join(ways)}")
    table = pd.concat([store.table.drop(columns="first") for store in stores])
    repeated = table.index[table.index.duplicated()]
    if len(repeated):
        raise ValueError(f"{repeated[0]} is in two of the stores to join")
    release = {
        "dataset": "+".join(store.release["dataset"] for store in stores),
        "synthetic": any(store.release["synthetic"] for store in stores),
        "parts": [
            # "files" says when the images were written; the fingerprint what is in them
            {key: value for key, value in store.info["settings"].items() if key != "files"}
            | {"fingerprint": store.fingerprint}
            for store in stores
        ],
    }
    release |= {"count_missing": count_missing} if count_missing == "absent" else {}
    settings = {"release": release, "size": first["size"], "rgb": first["rgb"]}
    if joined := opened(out, settings):
        return joined
    labels = facs.au_columns(table)
    table[labels] = (table[labels].fillna(0) if count_missing == "absent" else table[labels]).astype("Int8")
    table = table[[c for c in table if c not in labels] + labels]
    partial = out.with_name(out.name + ".partial")
    what = "the joined clip store"
    with files.alone(out.with_name(out.name + ".lock"), what), files.explained(out, what):
        if joined := opened(out, settings):  # by the process that this call waited for
            return joined
        versions = [store.info["versions"] for store in stores]
        begun = {"settings": settings, "versions": versions}
        partial_store.claim(partial, begun)
        pixels = (  # some frames at a time, however many there are
            store.frames[start : start + 4096].tobytes()
            for store in stores
            for start in range(0, len(store.frames), 4096)
        )
        failed = {k: v for store in stores for k, v in store.failed.items()}
        remarks = {k: v for store in stores for k, v in store.remarks.items()}
        partial_store.write(partial, begun, table, stores[0].frames.shape[1:], pixels, failed, remarks)
        partial_store.publish(partial, out)
    return ClipStore(out)
