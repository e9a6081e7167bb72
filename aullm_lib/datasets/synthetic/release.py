"""Synthetic releases in the true releases' own layout, so that the whole kit runs without licensed data.

`synthesize` renders faces, moves their action units and writes what CASME II, SAMM, CASME, CAS(ME)3 (part A), 4DME or
MMEW would bring, file for file; the adapters read it exactly as they read the real one.  What only a synthetic release
can have lies beside it in `SYNTHETIC/`: its settings, the truth about every clip, and masks of where each AU acts.
"""

import csv
import errno
import json
import shutil
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm.auto import tqdm

from aullm_lib.datasets import croissant
from aullm_lib.datasets.synthetic import head, truth
from aullm_lib.datasets.synthetic.anatomy import Array, draw_anatomy
from aullm_lib.datasets.synthetic.film import Face, Film
from aullm_lib.datasets.synthetic.layouts import CROP, LAYOUTS, Layout, Row, write_sheet
from aullm_lib.datasets.synthetic.plan import PlannedClip, plan, stream
from aullm_lib.datasets.synthetic.portrait import View
from aullm_lib.datasets.synthetic.specs import MOST_CLIPS, SUBJECTS
from aullm_lib.support.cores import cores

VERSION = 6  # of the pictures: raise it whenever the same settings would give other bytes
JPEG_QUALITY = 90
_HALF_FACE = 72.0  # mm, of a typical person: the layouts give it in pixels
# Columns of faces.csv (one row per clip) and clips.csv (one row per clip and AU).
_FACE_COLUMNS = "subject clip image x y width height eye_left_x eye_left_y eye_right_x eye_right_y"
_CLIP_COLUMNS = "subject clip onset apex offset au side left right strength amplitude_px"


def synthesize(
    root: str | Path,
    release: str = "casme2",
    *,
    subjects: int | None = None,
    clips_per_subject: int | None = 10,
    intensity: float = 1.0,
    seed: int = 1,
) -> Path:
    """Write a synthetic release; the same settings give the same bytes.

    Args:
        root: the release's folder.  It is written as `<root>.partial` and renamed when complete.
        release: "casme2", "samm", "casme", "casme3" (part A), "4dme" (the grey stream) or "mmew", whose layout is
            written.
        subjects: 1..26 (CASME II), 29 (SAMM), 19 (CASME), 94 (CAS(ME)3), 42 (4DME) or 30 (MMEW); None: 26, or as many
            as there are, and with `clips_per_subject=None` all.
        clips_per_subject: 1..200 on average; subjects have unequally many, as in the true release.  None: each subject
            has as many as there, all of them 256 (CASME II), 159, 189, 860, 267 or 300.
        intensity: 0..3, multiplies all motion and shading of action units; at 0 the clips hold nuisances only.
        seed: >= 0.

    Returns:
        `root`.  A complete release with the same settings is left alone.

    Raises:
        ValueError: an argument out of range.
        FileExistsError: `root` holds something else.
        FileNotFoundError: the head that faces are made of was not fetched yet; with the command.
        OSError: writing failed; `root` is untouched.
    """
    root = Path(root).absolute()
    if subjects is None:
        known = len(SUBJECTS.get(release, ()))
        subjects = known if clips_per_subject is None else min(26, known)
    check(release, subjects, clips_per_subject, intensity, seed)
    settings: dict[str, Any] = {
        "synthetic": True,
        "release": release,
        "subjects": int(subjects),
        "clips_per_subject": None if clips_per_subject is None else int(clips_per_subject),
        "intensity": float(intensity),
        "seed": int(seed),
        "version": VERSION,
    }
    if _is_done(root, settings):
        return root
    head.load()  # a head that is not there is no fault of the disk
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


def check(release: str, subjects: int, clips_per_subject: int | None, intensity: float, seed: int) -> None:
    """Checks the arguments of ``synthesize``. Raises ValueError naming the one that is out of range."""
    if release not in SUBJECTS:
        raise ValueError(f"release={release!r}: must be one of {sorted(SUBJECTS)}")
    _check("subjects", subjects, 1, len(SUBJECTS[release]), whole=True)
    if clips_per_subject is not None:
        _check("clips_per_subject", clips_per_subject, 1, MOST_CLIPS, whole=True)
    _check("intensity", intensity, 0, 3)
    _check("seed", seed, 0, 2**63 - 1, whole=True)


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
        present = json.loads((root / "SYNTHETIC" / "release.json").read_text())
    except (OSError, ValueError):
        raise FileExistsError(f"{root} exists and is no synthetic release. {advice}") from None
    other = [f"{k}={present.get(k)!r} (asked for {v!r})" for k, v in settings.items() if present.get(k) != v]
    if other:
        raise FileExistsError(f"{root} holds a synthetic release with other settings: {', '.join(other)}. {advice}")
    return True


def _write(root: Path, settings: dict[str, Any]) -> None:
    """Write the whole release into the empty folder `root`."""
    layout, clips = LAYOUTS[settings["release"]], plan(settings)
    rows = [dict(layout.sheet.row(clip)) for clip in clips]
    if settings["release"] == "casme2":  # one "/" among the apexes, as in the true sheet
        rows[int(stream(settings, 0, 0, 5).integers(len(clips)))]["ApexFrame"] = "/"
    write(root, settings, layout, clips, rows)
    croissant.write(root, settings, layout)


def write(
    root: Path, settings: dict[str, Any], layout: Layout, clips: Sequence[PlannedClip], rows: Iterable[Row]
) -> None:
    """Write the sheet, the frames and the truth of a plan, the clips subject by subject; `release.json` last."""
    write_sheet(root, layout.sheet, rows)
    beside = root / "SYNTHETIC"
    beside.mkdir()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the clips share the cores, not the rows of each picture
    pool = ThreadPoolExecutor(min(cores(), 8))
    try:
        jobs: list[Future[tuple[list[Any], list[list[Any]]]]] = []
        faces: dict[int, Future[Face]] = {}
        subjects = list(dict.fromkeys(clip.subject for clip in clips))
        # A face is queued one subject ahead of its clips: nobody waits for it, and few are held at a time.
        for k, subject in enumerate(subjects):
            for ahead in subjects[k : k + 2]:
                if ahead not in faces:
                    faces[ahead] = pool.submit(seat, settings, ahead)
            face = faces.pop(subject)
            jobs += [pool.submit(write_clip, root, settings, layout, c, face) for c in clips if c.subject == subject]
        written = [job.result() for job in tqdm(jobs, desc=f"synthetic {settings['release']}", unit="clip")]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)
    _write_csv(beside / "faces.csv", _FACE_COLUMNS, (face for face, _ in written))
    _write_csv(beside / "clips.csv", _CLIP_COLUMNS, (row for _, actions in written for row in actions))
    (beside / "release.json").write_text(json.dumps(settings, indent=2) + "\n")


def _write_csv(path: Path, header: str, rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split())
        writer.writerows([round(k, 4) if isinstance(k, float) else k for k in row] for row in rows)


def view_of(settings: dict[str, Any], subject: int) -> View:
    """How the camera sees a subject.  Where they sit depends on the seed and the number alone."""
    x, y, size = (float(k) for k in stream(settings, subject, 0, 6).uniform(-1, 1, 3))
    seat = LAYOUTS[settings["release"]]
    centre = (seat.centre[0] + seat.sway[0] * x, seat.centre[1] + seat.sway[1] * y)
    return View(seat.shape, centre, (seat.radius + seat.spread * size) / _HALF_FACE)


def seat(settings: dict[str, Any], subject: int) -> Face:
    """A subject before the camera.  Who it is depends on the seed and the number alone."""
    layout = LAYOUTS[settings["release"]]
    person = draw_anatomy(stream(settings, subject, 0, 7), layout.people)
    return Face(person, view_of(settings, subject), layout.studio, layout.grey)


def _registration(eyes: Array) -> Array:
    """Similarity [2, 3] that puts the eyes [2, 2] where CASME II's crops have them."""
    middle, apart = eyes.mean(0), eyes[1] - eyes[0]
    scale = 107.0 / float(np.hypot(*apart))
    c, s = scale * apart / np.hypot(*apart)
    turn = np.array([[c, s], [-s, c]])
    return np.c_[turn, np.array([CROP[1] / 2 - 0.5, 112.0]) - turn @ middle]


def write_clip(
    root: Path, settings: dict[str, Any], layout: Layout, clip: PlannedClip, face: Future[Face]
) -> tuple[list[Any], list[list[Any]]]:
    """Write one clip's frames, crops, masks and motion; return its row of `faces.csv`, and those of `clips.csv`."""
    film = Film(
        face.result(),
        clip.actions,
        n_frames=clip.offset - clip.onset + 1,
        apex=clip.apex - clip.onset,
        intensity=settings["intensity"],
        rng=stream(settings, clip.subject, clip.index, 8),
    )
    crop = _registration(film.eyes) if layout.crops else None
    for number, image in enumerate(film.frames(), clip.onset):
        write_image(root / layout.path(layout.frames, clip, number), image)
        if crop is not None:
            small = cv2.warpAffine(image, crop, CROP[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            write_image(root / layout.path(layout.crops, clip, number), small)
    subject = layout.name(clip.subject)
    for action in clip.actions:
        mask = film.mask(action.au)
        kinds = {"masks": mask}
        if crop is not None:
            kinds["masks_cropped"] = cv2.warpAffine(mask, crop, CROP[::-1], flags=cv2.INTER_NEAREST)
        for kind, picture in kinds.items():
            write_image(root / "SYNTHETIC" / kind / subject / clip.name / f"AU{action.au}.png", picture)
    truth.write(film, root / "SYNTHETIC" / "motion" / subject / f"{clip.name}.npz")
    image_path = layout.path(layout.frames, clip, clip.onset)
    times = (subject, clip.name, clip.onset, clip.apex, clip.offset)
    return [subject, clip.name, image_path, *film.face_box, *film.eyes.ravel().tolist()], [
        [*times, a.au, a.side, a.left, a.right, a.strength, film.peak(a)] for a in clip.actions
    ]


def write_image(path: Path, image: Array) -> None:
    """Write a JPEG or PNG, by the path's ending. Raises OSError where the disk is full, say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    # imencode and a plain write, since cv2.imwrite says nothing when the disk is full
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())
