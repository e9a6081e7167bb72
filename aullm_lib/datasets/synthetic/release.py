"""Synthetic releases in the true releases' own layout, so that the whole kit runs without licensed data.

`synthesize` renders faces, moves their action units and writes what CASME II, SAMM, CASME, CAS(ME)3 (part A), 4DME or
MMEW would bring, file for file; the adapters read it exactly as they read the real one.  What only a synthetic release
can have lies beside it in `SYNTHETIC/`: its settings, the truth about every clip, masks of where each AU acts, and a
list of the quirks planted.
"""

import csv
import errno
import json
import os
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm.auto import tqdm

from aullm_lib.datasets.synthetic.face import Face
from aullm_lib.datasets.synthetic.layouts import layout_of
from aullm_lib.datasets.synthetic.muscles import AMPLITUDE
from aullm_lib.datasets.synthetic.plan import plan
from aullm_lib.datasets.synthetic.quirks import disturb, write_stray_files
from aullm_lib.datasets.synthetic.sheets import write_sheet
from aullm_lib.datasets.synthetic.shoot import seat, seat_of, write_clip
from aullm_lib.datasets.synthetic.specs import MOST_CLIPS, SUBJECTS
from aullm_lib.datasets.synthetic.stage import QUIRK_COLUMNS

__all__ = ["VERSION", "synthesize"]

VERSION = 1  # of the pictures: raise it whenever the same settings would give other bytes
# Columns of faces.csv (a row a clip) and clips.csv (a row an AU of a clip).
_FACE_COLUMNS = "subject clip image x y width height eye_left_x eye_left_y eye_right_x eye_right_y"
_CLIP_COLUMNS = "subject clip onset apex offset au side left right strength amplitude_px"


def synthesize(
    root: str | Path,
    release: str = "casme2",
    *,
    subjects: int | None = None,
    clips_per_subject: int = 10,
    intensity: float = 1.0,
    seed: int = 1,
    quirks: bool = False,
) -> Path:
    """Write a synthetic release; the same settings give the same bytes.

    Args:
        root: the release's folder.  It is written as `<root>.partial` and renamed when complete.
        release: "casme2", "samm", "casme", "casme3" (part A), "4dme" (the grey stream) or "mmew", whose layout is
            written.
        subjects: 1..26 (CASME II), 29 (SAMM), 19 (CASME), 94 (CAS(ME)3), 42 (4DME) or 30 (MMEW); None: 26, or as many
            as there are.
        clips_per_subject: 1..200.
        intensity: 0..3, multiplies all motion and shading of action units; at 0 the clips hold nuisances only.
        seed: >= 0.
        quirks: plant the release's known errata and oddities, on the true release's clips where these are known by name
            and as far as `subjects` and `clips_per_subject` reach; folders without a label come beside those.  The
            archive nests as downloads do, and CAS(ME)3 comes as whole recordings.  `SYNTHETIC/quirks.csv` lists every
            quirk planted: subject, clip, quirk, detail.

    Returns:
        `root`.  A complete release with the same settings is left alone.

    Raises:
        ValueError: an argument out of range.
        FileExistsError: `root` holds something else.
        OSError: writing failed; `root` is untouched.
    """
    root = Path(root).absolute()
    if release not in SUBJECTS:
        raise ValueError(f"release={release!r}: must be one of {sorted(SUBJECTS)}")
    if subjects is None:
        subjects = min(26, len(SUBJECTS[release]))
    _check("subjects", subjects, 1, len(SUBJECTS[release]), whole=True)
    _check("clips_per_subject", clips_per_subject, 1, MOST_CLIPS, whole=True)
    _check("intensity", intensity, 0, 3)
    _check("seed", seed, 0, 2**63 - 1, whole=True)
    if not isinstance(quirks, bool):
        raise ValueError(f"quirks={quirks!r}: must be True or False")
    settings: dict[str, Any] = {
        "synthetic": True,
        "release": release,
        "subjects": int(subjects),
        "clips_per_subject": int(clips_per_subject),
        "intensity": float(intensity),
        "seed": int(seed),
        "version": VERSION,
    }
    if quirks:  # and no word of it otherwise: releases written before there were any are the same ones
        settings["quirks"] = True
    if _is_done(root, settings):
        return root
    partial = root.with_name(root.name + ".partial")
    try:
        if partial.exists():
            shutil.rmtree(partial)  # a run that was killed: its last files may be cut short
        partial.mkdir(parents=True)
        _write(partial, settings)
        partial.rename(root)
    except OSError as error:
        raise OSError(
            error.errno or errno.EIO,
            f"could not write the synthetic release {root}: {error.strerror or error}. Nothing was put there; what was "
            f"written so far is {partial}. Make room or choose another root, then run again",
        ) from error
    return root


def _check(name: str, value: float, low: float, high: float, whole: bool = False) -> None:
    kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        raise ValueError(f"{name}={value!r}: must be {'a whole number' if whole else 'a number'} from {low} to {high}")


def _is_done(root: Path, settings: dict[str, Any]) -> bool:
    """Whether `root` is this very release.

    Raises:
        FileExistsError: it is something else.
    """
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return False
    advice = "Choose another root, or delete this folder"
    try:
        found = json.loads((root / "SYNTHETIC" / "release.json").read_text())
    except (OSError, ValueError):
        raise FileExistsError(f"{root} exists and is no synthetic release. {advice}") from None
    wanted = {"quirks": False, **settings}
    found = {"quirks": False, **found}
    other = [f"{k}={found.get(k)!r} (asked for {v!r})" for k, v in wanted.items() if found.get(k) != v]
    if other:
        raise FileExistsError(f"{root} holds a synthetic release with other settings: {', '.join(other)}. {advice}")
    return True


def _write(root: Path, settings: dict[str, Any]) -> None:
    """Write the whole release into the empty folder `root`, `release.json` last."""
    quirks = bool(settings.get("quirks"))
    layout = layout_of(settings["release"], quirks)
    stage = disturb(settings, layout, plan(settings))
    write_sheet(root, layout.sheet, stage.rows())
    truth = root / "SYNTHETIC"
    truth.mkdir()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the clips share the cores, not the rows of each picture
    pool = ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 8)))
    try:
        jobs: list[Future[list[Any]]] = []
        faces: dict[int, Future[Face]] = {}
        subjects = list(dict.fromkeys(staged.filmed.subject for staged in stage.clips))
        # A face is queued one subject ahead of its clips: nobody waits for it, and few are held at a time.
        for k, subject in enumerate(subjects):
            for ahead in subjects[k : k + 2]:
                if ahead not in faces:
                    faces[ahead] = pool.submit(seat, settings, ahead)
            face = faces.pop(subject) if k else faces[subject]
            theirs = [staged for staged in stage.clips if staged.filmed.subject == subject]
            jobs += [pool.submit(write_clip, root, settings, layout, staged, face) for staged in theirs]
        rows = [job.result() for job in tqdm(jobs, desc=f"synthetic {settings['release']}", unit="clip")]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)
    _write_csv(truth / "faces.csv", _FACE_COLUMNS, rows)
    scale = {subject: seat_of(settings, subject)[1] for subject in subjects}
    occurrences = []
    for staged in stage.clips:
        clip = staged.clip
        for action in clip.actions:
            peak = AMPLITUDE[action.au] * scale[staged.filmed.subject]
            peak *= max(action.left, action.right) * action.strength
            how = (action.au, action.side, action.left, action.right, action.strength, peak * settings["intensity"])
            occurrences.append((layout.name(clip.subject), clip.name, clip.onset, clip.apex, clip.offset, *how))
    _write_csv(truth / "clips.csv", _CLIP_COLUMNS, occurrences)
    if quirks:
        write_stray_files(root, settings["release"], stage)
        _write_csv(truth / "quirks.csv", QUIRK_COLUMNS, stage.notes)
    (truth / "release.json").write_text(json.dumps(settings, indent=2) + "\n")


def _write_csv(path: Path, header: str, rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split())
        writer.writerows([round(k, 4) if isinstance(k, float) else k for k in row] for row in rows)
