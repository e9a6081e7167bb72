"""Many user videos, one after the other: a table of each, and a row for each that says how it went."""

import hashlib
import logging
import os
import re
import time
from argparse import Namespace
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from aullm_lib import trained
from aullm_lib.predict.annotated import overlay
from aullm_lib.predict.scoring import video
from aullm_lib.runs import Run
from aullm_lib.support import files
from aullm_lib.support.images import IMAGES
from aullm_lib.support.video import VIDEOS, BadVideo
from aullm_lib.trained import Ensemble

log = logging.getLogger("aullm")

SUMMARY = "summary.csv"
STATUS = ["file", "status", "windows", "windows_with_face", "seconds", "table", "message"]
ENDINGS = (".csv", "_wide.csv", ".json", ".mp4")  # of the files that are written for each video


def videos(
    weights: Ensemble | Run | str | Path,
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    annotated: bool = True,
    **options: Any,
) -> pd.DataFrame:
    """Predicts the AUs of many videos (``scoring.video``), and goes on with the next one where one fails.

    Args:
        weights: As in ``video``; loaded once.
        sources: Video files, folders of numbered pictures, and folders of videos, each of which is taken.
        out: The folder of the tables, ``<name>.csv`` and what lies beside it (``tables.write``), and of the annotated
            videos, ``<name>.mp4``. The name is the file's without its ending; where that would be
            another's too, its ending, the folder around it and a hash of its path become a part of it. Nothing that is
            there already is overwritten, but for the summary.
        annotated: Whether to write the annotated videos (``overlay``).
        options: Of ``video``.

    Returns:
        One row per file, as in ``summary.csv``: ``STATUS``. The status is "done", "failed" (the message says why),
        "stopped" or "not started".

    Raises:
        FileNotFoundError, ValueError: The weights cannot be used.
        OSError: The summary cannot be written.
        KeyboardInterrupt: With a note on what is done.
    """
    models, folder = trained.ensemble(weights), Path(out).expanduser()
    found: dict[Path, Path] = {}  # absolute -> as it was given; nothing is done twice
    rows: list[dict[str, Any]] = []
    for source in map(Path, sources):
        try:
            for path in _inside(source.expanduser()):
                found[Path(os.path.abspath(path))] = path  # noqa: PTH100  # a link keeps its own name
        except (ValueError, OSError) as error:
            rows.append({"file": str(source), "status": "failed", "message": str(error)})
    waiting: list[dict[str, Any]] = [
        {"file": str(found[path]), "status": "not started", "table": str(folder / f"{name}.csv")}
        for path, name in _named(list(found)).items()
    ]
    rows += waiting
    _write(folder, rows)
    for number, row in enumerate(waiting, start=1):
        log.info("%s  (%d of %d)", files.printable(row["file"]), number, len(waiting))
        started = time.perf_counter()
        try:
            row |= _one(models, Path(row["file"]), Path(row["table"]), annotated, options)
        except KeyboardInterrupt as error:
            row["status"] = "stopped"
            done = sum(row["status"] == "done" for row in rows)
            error.add_note(f"{done} of {len(rows)} are done, as {folder / SUMMARY} says")
            raise
        except Exception as error:  # whatever it is, the others go on
            expected = isinstance(error, ValueError | OSError)
            row |= {"status": "failed", "message": str(error) if expected else f"{type(error).__name__}: {error}"}
        finally:
            row["seconds"] = round(time.perf_counter() - started, 1)
            _write(folder, rows)
    return _table(rows)


def _inside(source: Path) -> list[Path]:
    """The videos in a folder, or the file or folder of pictures itself. Raises BadVideo where a folder has both."""
    if not source.is_dir():
        return [source]
    files = sorted(path for path in source.iterdir() if not path.name.startswith(".") and not path.is_dir())
    films = [path for path in files if path.suffix.lower() in VIDEOS]
    pictures = [path for path in files if path.suffix.lower() in IMAGES and re.search(r"\d", path.stem)]
    if films and pictures:
        raise BadVideo(
            f"{source}: a folder with videos ({films[0].name}) and numbered pictures ({pictures[0].name}); name the "
            "videos, or move the pictures into a folder of their own"
        )
    return films or [source]


def _named(paths: Sequence[Path]) -> dict[Path, str]:
    """A name for each path, so that no two write the same file, also where upper and lower case are the same."""
    depths = dict.fromkeys(paths, 0)
    while True:
        names = {path: _name(path, depth) for path, depth in depths.items()}
        owners = defaultdict[str, list[Path]](list)
        for path, name in names.items():
            for ending in ENDINGS:
                owners[f"{name}{ending}".casefold()].append(path)
        if SUMMARY in owners:
            owners[SUMMARY] *= 2
        clashing = {path for several in owners.values() if len(several) > 1 for path in several}
        if not clashing:
            return names
        depths |= {path: depths[path] + 1 for path in clashing}


def _name(path: Path, depth: int) -> str:
    """The name of a path's files: the greater the depth, the less is it another's."""
    if depth == 0:
        return path.name if path.is_dir() else path.stem
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()
    return "_".join(path.parts[-min(depth, 2) :]) + (f"-{digest[:6]}" if depth > 2 else "")


def _one(models: Ensemble, source: Path, path: Path, annotated: bool, options: dict[str, Any]) -> dict[str, Any]:
    """Writes what there is of one video; its part of the summary. Raises as ``video`` and ``overlay``."""
    targets = [path.with_name(f"{path.name.removesuffix('.csv')}{ending}") for ending in ENDINGS]
    for there in targets if annotated else targets[:-1]:
        if there.exists() or there.is_symlink():
            raise ValueError(
                f"{there} is there already, and nothing is overwritten: move it away, or name another folder"
            )
    timeline = video(models, source, path, **options)
    if annotated:
        overlay(timeline, targets[-1])
    faces = timeline.table.drop_duplicates("start_frame")["success"]
    return {
        "status": "done", "windows": len(faces), "windows_with_face": int(faces.sum()),
        "message": "; ".join(timeline.remarks),
    }  # fmt: skip


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=STATUS).astype({"windows": "Int64", "windows_with_face": "Int64"})


def _write(folder: Path, rows: list[dict[str, Any]]) -> None:
    with files.explained(folder, "the tables"):
        files.write_text(folder / SUMMARY, files.csv(_table(rows)))


def main(options: Namespace) -> int:
    """``aullm predict``: prints the status of each file, and names those that failed."""
    models = trained.ensemble(options.run, folds=options.fold, llm=options.llm)
    names = ("length", "stride", "unit", "fps", "align", "face", "neutral", "policy")
    chosen = {name: getattr(options, name) for name in names}
    table = videos(models, options.source, options.out, annotated=options.overlay, **chosen)
    table["file"] = table["file"].map(files.printable)
    print(table.drop(columns=["table", "message"]).astype(object).fillna("").to_string(index=False))
    failed = table.loc[table["status"] != "done", "message"]
    for message in failed:
        log.error("%s", files.printable(message))
    done, place = len(table) - len(failed), Path(options.out, SUMMARY)
    log.info("%d of %d are done; %s has their tables and all remarks", done, len(table), place)
    return int(len(failed) > 0)
