"""What a prediction leaves on the disk: a long table, a wide one, and JSON that says how they were made.

The wide table has one row per window and the columns that users of OpenFace and py-feat know. Each AU has a column of
probabilities, ``AU01_p``, and one that says whether it is predicted present, ``AU01_c`` as in OpenFace: 1 or 0. Neither
is an intensity, which would be ``AU01_r``.
"""

import os
import stat
from collections.abc import Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from aullm_lib.predict.prediction import Timeline
from aullm_lib.support import files
from aullm_lib.support.provenance import provenance

MEANINGS = {
    "start_frame": "first frame of the window",
    "end_frame": "last frame of the window, which belongs to it",
    "start_s": "seconds from the video's first frame to the window's",
    "end_s": "seconds from the video's first frame to the end of the window",
    "frame": "the frame in the middle of the window",
    "timestamp": "seconds from the video's first frame to that frame",
    "face_id": "always 0: one person is followed",
    "confidence": "lowest score (0 to 1) of the face in the frames that the models read",
    "success": "whether each of these frames shows the face in its place; without it there are no probabilities",
    "probability, AU.._p": "probability that the AU occurs in the window; no intensity, and not calibrated",
    "AU.._c": "1 where that probability reaches the AU's threshold, else 0",
    "neutral, AU.._n": "with a neutral baseline: 1 / (1 + exp(m - x)), where x is the logit of the probability and "
    "m the median of x over the video's windows; 0.5 is this face's usual state, and the number is no probability",
}


def beside(path: Path) -> tuple[Path, Path]:
    """Where the wide table and the JSON lie that belong to a long table."""
    return path.with_name(f"{path.stem}_wide.csv"), path.with_suffix(".json")


def writable(path: str | Path, suffixes: Iterable[str], inputs: Iterable[Path]) -> Path:
    """Returns the path of a file that can be written; otherwise says why not, before any work is done.

    Folders that it needs are made.

    Args:
        path: Of the file; it may be there already.
        suffixes: Of which it must have one.
        inputs: Files, which it must not be, and folders of runs, which it must not lie in.

    Raises:
        ValueError: A wrong suffix; an input; a link, folder, device or pipe stands there.
        OSError: The folder cannot be written.
    """
    path = Path(path).expanduser()
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"{path}: expected a name that ends in {' or '.join(suffixes)}")
    for one in inputs:
        if path.resolve() == one.resolve() or (path.exists() and one.exists() and path.samefile(one)):
            raise ValueError(f"{path}: this is an input, which would be overwritten; give another name")
        if (one / "run.json").is_file() and path.resolve().is_relative_to(one.resolve()):
            raise ValueError(f"{path}: lies in the folder of the run, which stays as it is; give another folder")
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        mode = stat.S_IFREG
    if not stat.S_ISREG(mode):
        kind = {stat.S_IFLNK: "a link", stat.S_IFDIR: "a folder"}.get(stat.S_IFMT(mode), "a device or pipe")
        raise ValueError(f"{path}: {kind} stands where a file is to be written; give another name")
    with files.explained(path.parent, "the output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        trial = path.with_name(f".{path.name}.{os.getpid()}")
        trial.touch()
        trial.unlink()
    return path


def refuse(path: str | Path, inputs: Sequence[Path]) -> Path:
    """``writable`` for a long table and for what lies beside it."""
    path = writable(path, [".csv"], inputs)
    for one in beside(path):
        writable(one, [one.suffix], inputs)
    return path


def wide(timeline: Timeline) -> pd.DataFrame:
    """One row per window: ``frame, timestamp, face_id, confidence, success, AU01_p, ..., AU01_c, ...``."""
    windows = timeline.windows
    frame = (windows["start_frame"] + windows["end_frame"]) // 2
    share = (frame - windows["start_frame"]) / (windows["end_frame"] + 1 - windows["start_frame"])
    columns: dict[str, Any] = {
        "frame": frame,
        "timestamp": (windows["start_s"] + share * (windows["end_s"] - windows["start_s"])).round(3),
        "face_id": 0,
        "confidence": windows["confidence"],
        "success": windows["success"].astype(int),
    }
    probabilities = timeline.by_window("probability")
    for au, values in probabilities.items():
        columns[f"{_padded(au)}_p"] = values
    for au, values in probabilities.items():
        columns[f"{_padded(au)}_c"] = (values >= timeline.thresholds[au]).astype("Int64").where(values.notna())
    if "neutral" in timeline.table:
        for au, values in timeline.by_window("neutral").items():
            columns[f"{_padded(au)}_n"] = values
    return pd.DataFrame(columns | {name: windows[name] for name in ("start_frame", "end_frame", "remark")})


def _padded(au: Hashable) -> str:
    return f"AU{int(str(au)[2:]):02d}"


def about(timeline: Timeline) -> dict[str, Any]:
    """What the JSON beside the tables says."""
    windows = timeline.windows
    return {
        "source": timeline.source.name,
        "complete": timeline.complete,
        "remarks": list(timeline.remarks),
        "limits": list(timeline.limits),
        "synthetic": timeline.synthetic,
        "fps": timeline.fps,
        "windows": {
            "count": len(windows), "with_face": int(windows["success"].sum()), "frames": timeline.length,
            "stride": timeline.stride, "first_frame": int(windows["start_frame"].iloc[0]),
            "last_frame": int(windows["end_frame"].iloc[-1]),
        },
        "thresholds": timeline.thresholds.to_dict(),
    } | timeline.settings | {"columns": MEANINGS, "made_by": provenance()}  # fmt: skip


def write(timeline: Timeline, path: str | Path) -> None:
    """Writes a long table, ``<name>.csv``; beside it a wide one, ``<name>_wide.csv``; and ``<name>.json`` on both.

    Raises:
        ValueError, OSError: A file cannot be written (``writable``).
    """
    path = refuse(path, [timeline.source])
    broad, note = beside(path)
    with files.explained(path.parent, "the tables"):
        note.unlink(missing_ok=True)  # it would be of other tables if these cannot be written to the end
        files.write_text(broad, files.csv(wide(timeline)))
        files.write_text(path, files.csv(timeline.table))
        files.write_json(note, about(timeline))
