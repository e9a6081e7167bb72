"""Synthetic releases in the true releases' own layout, so that the whole kit runs without licensed data.

`synthesize` renders faces, moves their action units and writes what CASME II or SAMM would bring, file for file; the
adapters read it exactly as they read the real one.  What only a synthetic release can have lies beside it in
`SYNTHETIC/`: its settings, the truth about every clip, and masks of where each AU acts.
"""

import csv
import errno
import io
import json
import os
import shutil
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import openpyxl
from tqdm import tqdm

from aullm_lib.datasets.face import Action, Face, Film
from aullm_lib.datasets.muscles import AMPLITUDE
from aullm_lib.datasets.portrait import Array, draw_anatomy
from aullm_lib.datasets.synthetic_plan import SPECS, annotation, deal, draw_actions, emotion

__all__ = ["VERSION", "synthesize"]

VERSION = 1  # of the pictures: raise it whenever the same settings would give other bytes
JPEG_QUALITY = 90
CROP = (340, 280)  # height and width of CASME II's registered crops, in pixels
_SUBJECTS = {
    "casme2": tuple(range(1, 27)),
    "samm": tuple(k for k in range(6, 38) if k not in (8, 27, 29)),
}
_CLIPS = 200  # clip names are drawn from a pool that is a little larger
_SAMM_HEADER_ROW = 14
_SAMM_CLASSES = {
    "Happiness": 1,
    "Surprise": 2,
    "Anger": 3,
    "Disgust": 4,
    "Sadness": 5,
    "Fear": 6,
    "Other": 7,
    "Contempt": 7,
}


@dataclass(frozen=True)
class _Clip:
    """One clip as planned: everything but the pictures."""

    subject: int
    index: int  # 1-based within the subject
    name: str
    onset: int
    apex: int
    offset: int
    digits: int  # the frame number is padded to this many
    actions: tuple[Action, ...]
    coded: str  # the AU string
    emotion: str


def synthesize(
    root: str | Path,
    release: str = "casme2",
    *,
    subjects: int = 26,
    clips_per_subject: int = 10,
    intensity: float = 1.0,
    seed: int = 1,
) -> Path:
    """Write a synthetic release; the same settings give the same bytes.

    Args:
        root: the release's folder.  It is written as `<root>.partial` and renamed when complete.
        release: "casme2" or "samm", whose layout is written.
        subjects: 1..26 (CASME II) or 1..29 (SAMM).
        clips_per_subject: 1..200.
        intensity: 0..3, multiplies all motion and shading of action units; at 0 the clips hold nuisances only.
        seed: >= 0.

    Returns:
        `root`.  A complete release with the same settings is left alone.

    Raises:
        ValueError: an argument out of range.
        FileExistsError: `root` holds something else.
        OSError: writing failed; `root` is untouched.
    """
    root = Path(root).absolute()
    if release not in _SUBJECTS:
        raise ValueError(f"release={release!r}: must be one of {sorted(_SUBJECTS)}")
    _check("subjects", subjects, 1, len(_SUBJECTS[release]), whole=True)
    _check("clips_per_subject", clips_per_subject, 1, _CLIPS, whole=True)
    _check("intensity", intensity, 0, 3)
    _check("seed", seed, 0, 2**63 - 1, whole=True)
    settings: dict[str, Any] = {
        "synthetic": True,
        "release": release,
        "subjects": int(subjects),
        "clips_per_subject": int(clips_per_subject),
        "intensity": float(intensity),
        "seed": int(seed),
        "version": VERSION,
    }
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
    other = [f"{k}={found.get(k)!r} (asked for {v!r})" for k, v in settings.items() if found.get(k) != v]
    if other:
        raise FileExistsError(f"{root} holds a synthetic release with other settings: {', '.join(other)}. {advice}")
    return True


def _stream(settings: dict[str, Any], subject: int, clip: int, tag: int) -> np.random.Generator:
    """An independent random stream; always five numbers, since a shorter seed is one padded with zeros."""
    return np.random.default_rng([settings["seed"], SPECS[settings["release"]].code, subject, clip, tag])


def _plan(settings: dict[str, Any]) -> list[_Clip]:
    """Every clip of the release, subject by subject."""
    release, per_subject = settings["release"], settings["clips_per_subject"]
    spec = SPECS[release]
    numbers = _SUBJECTS[release][: settings["subjects"]]
    dealt = deal(release, len(numbers), per_subject, _stream(settings, 0, 0, 1))
    clips = []
    for subject, combinations in zip(numbers, dealt, strict=True):
        # The pool has a fixed size, so that the k-th name does not depend on how many are used.
        pool = _stream(settings, subject, 0, 2).permutation(19 * 13 if release == "casme2" else 7 * 30)
        for index, aus in enumerate(combinations, 1):
            # Labels and everything else come from streams of their own: length, numbers and names cannot tell labels.
            labels, rest = _stream(settings, subject, index, 3), _stream(settings, subject, index, 4)
            actions = draw_actions(aus, labels)
            length = round(
                float(np.clip(spec.median_length * np.exp(rest.normal(0, spec.spread)), spec.shortest, spec.longest))
            )
            onset = int(rest.integers(20, 400) if release == "casme2" else rest.integers(300, 9000))
            apex = onset + round(float(rest.uniform(0.3, 0.6)) * (length - 1))
            which, suffix, odd = int(pool[index - 1]), rest.random() < 0.28, rest.random() < 0.04
            if release == "casme2":
                name, digits = f"EP{which // 13 + 1:02d}_{which % 13 + 1:02d}{'f' if suffix else ''}", 0
            else:
                name, digits = f"{subject:03d}_{which // 30 + 1}_{which % 30 + 1}", 4 if odd else 5
            coded = annotation(actions, release, labels)
            where = (subject, index, name, onset, apex, onset + length - 1, digits)
            clips.append(_Clip(*where, actions, coded, emotion(aus, release)))
    return clips


def _write(root: Path, settings: dict[str, Any]) -> None:
    """Write the whole release into the empty folder `root`, `release.json` last."""
    clips = _plan(settings)
    if settings["release"] == "casme2":
        _write_casme2_sheet(root, clips, int(_stream(settings, 0, 0, 5).integers(len(clips))))
    else:
        _write_samm_sheet(root, clips)
    truth = root / "SYNTHETIC"
    truth.mkdir()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the clips share the cores, not the rows of each picture
    pool = ThreadPoolExecutor(max(1, min(os.cpu_count() or 1, 8)))
    try:
        jobs: list[Future[list[Any]]] = []
        faces: dict[int, Future[Face]] = {}
        subjects = list(dict.fromkeys(clip.subject for clip in clips))
        # A face is queued one subject ahead of its clips: nobody waits for it, and few are held at a time.
        for k, subject in enumerate(subjects):
            for ahead in subjects[k : k + 2]:
                if ahead not in faces:
                    faces[ahead] = pool.submit(_seat, settings, ahead)
            face = faces.pop(subject) if k else faces[subject]
            jobs += [pool.submit(_write_clip, root, settings, clip, face) for clip in clips if clip.subject == subject]
        rows = [job.result() for job in tqdm(jobs, desc=f"synthetic {settings['release']}", unit="clip", disable=None)]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        cv2.setNumThreads(threads)
    header = "subject clip image x y width height eye_left_x eye_left_y eye_right_x eye_right_y".split()
    _write_csv(truth / "faces.csv", header, rows)
    scale = {subject: _seat_size(settings, subject)[1] for subject in subjects}
    occurrences = [
        [*_ids(settings, c), c.onset, c.apex, c.offset, a.au, a.side, a.left, a.right, a.strength]
        + [round(AMPLITUDE[a.au] * scale[c.subject] * max(a.left, a.right) * a.strength * settings["intensity"], 4)]
        for c in clips
        for a in c.actions
    ]
    header = "subject clip onset apex offset au side left right strength amplitude_px".split()
    _write_csv(truth / "clips.csv", header, occurrences)
    (truth / "release.json").write_text(json.dumps(settings, indent=2) + "\n")


def _ids(settings: dict[str, Any], clip: _Clip) -> tuple[str, str]:
    """Folder names of a clip."""
    return (f"sub{clip.subject:02d}" if settings["release"] == "casme2" else f"{clip.subject:03d}"), clip.name


def _seat_size(settings: dict[str, Any], subject: int) -> tuple[tuple[float, float], float]:
    """Where a subject sits in the frame (x, y of the point between the eyes) and R, in pixels."""
    rng = _stream(settings, subject, 0, 6)
    x, y, size = (float(k) for k in rng.uniform(-1, 1, 3))
    if settings["release"] == "casme2":
        return (320 + 15 * x, 214 + 6 * y), 122 + 6 * size
    return (480 + 70 * x, 292 + 22 * y), 138 + 12 * size


def _seat(settings: dict[str, Any], subject: int) -> Face:
    """A subject before the camera.  Who it is depends on the seed and the number alone."""
    anatomy = draw_anatomy(_stream(settings, subject, 0, 7))
    centre, radius = _seat_size(settings, subject)
    grey = settings["release"] == "samm"
    return Face(anatomy, (650, 960) if grey else (480, 640), centre, radius, grey)


def _registration(eyes: Array) -> Array:
    """Similarity [2, 3] that puts the eyes [2, 2] where CASME II's crops have them."""
    middle, apart = eyes.mean(0), eyes[1] - eyes[0]
    scale = 107.0 / float(np.hypot(*apart))
    c, s = scale * apart / np.hypot(*apart)
    turn = np.array([[c, s], [-s, c]])
    return np.c_[turn, np.array([CROP[1] / 2 - 0.5, 112.0]) - turn @ middle]


def _write_clip(root: Path, settings: dict[str, Any], clip: _Clip, face: Future[Face]) -> list[Any]:
    """Write one clip's frames and masks; return its row of `faces.csv`."""
    rng = _stream(settings, clip.subject, clip.index, 8)
    n, apex, intensity = clip.offset - clip.onset + 1, clip.apex - clip.onset, settings["intensity"]
    film = Film(face.result(), clip.actions, n_frames=n, apex=apex, intensity=intensity, rng=rng)
    subject, name = _ids(settings, clip)
    crop = _registration(film.eyes) if settings["release"] == "casme2" else None
    frames = Path("CASME2_RAW_selected") / subject / name if crop is not None else Path(subject) / name
    crops = root / "Cropped" / subject / name
    (root / frames).mkdir(parents=True)
    if crop is not None:
        crops.mkdir(parents=True)
    stem = "img" if crop is not None else f"{subject}_"
    for number, image in enumerate(film.frames(), clip.onset):
        _write_image(root / frames / f"{stem}{number:0{clip.digits}d}.jpg", image)
        if crop is not None:
            small = cv2.warpAffine(image, crop, CROP[::-1], flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            _write_image(crops / f"reg_img{number}.jpg", small)
    for action in clip.actions:
        mask = film.mask(action.au)
        kinds = {"masks": mask}
        if crop is not None:
            kinds["masks_cropped"] = cv2.warpAffine(mask, crop, CROP[::-1], flags=cv2.INTER_NEAREST)
        for kind, picture in kinds.items():
            folder = root / "SYNTHETIC" / kind / subject / name
            folder.mkdir(parents=True, exist_ok=True)
            _write_image(folder / f"AU{action.au}.png", picture)
    image_path = (frames / f"{stem}{clip.onset:0{clip.digits}d}.jpg").as_posix()
    return [subject, name, image_path, *film.face_box, *(round(float(k), 3) for k in film.eyes.ravel())]


def _write_image(path: Path, image: Array) -> None:
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY] if path.suffix == ".jpg" else []
    # imencode and a plain write, since cv2.imwrite says nothing when the disk is full
    path.write_bytes(cv2.imencode(path.suffix, image, options)[1].tobytes())


def _write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def _write_casme2_sheet(root: Path, clips: list[_Clip], unknown_apex: int) -> None:
    """The coding workbook, with its two blank columns; one apex is "/" as in the true sheet."""
    header = (
        "Subject",
        "Filename",
        None,
        "OnsetFrame",
        "ApexFrame",
        "OffsetFrame",
        None,
        "Action Units",
        "Estimated Emotion",
    )
    rows: list[Sequence[Any]] = [header]
    for k, clip in enumerate(clips):
        coded = int(clip.coded) if clip.coded.isdigit() else clip.coded  # a single AU is a number cell there
        apex = "/" if k == unknown_apex else clip.apex
        rows.append((clip.subject, clip.name, None, clip.onset, apex, clip.offset, None, coded, clip.emotion))
    _write_workbook(root / "CASME2-coding-20140508.xlsx", "Sheet1", rows)


def _write_samm_sheet(root: Path, clips: list[_Clip]) -> None:
    """The FACS codes, below a block of notes, the header on row 14."""
    notes = [
        "Synthetic micro-movement codes in the layout of the SAMM release",
        None,
        "Notes",
        "Frame numbers at 200 fps",
    ]
    notes += ["A-E after an action unit: its intensity", "L or R before it: seen on that side of the face alone"]
    rows: list[Sequence[Any]] = [(note,) for note in notes] + [()] * (_SAMM_HEADER_ROW - 1 - len(notes))
    rows.append(
        "Subject|Filename|Inducement Code|Onset Frame|Apex Frame|Offset Frame|Duration|Micro|Action Units|"
        "Estimated Emotion|Objective Classes|Notes".split("|")
    )
    for clip in clips:
        code = int(clip.name.split("_")[1])
        length = clip.offset - clip.onset + 1
        numbers = (code, clip.onset, clip.apex, clip.offset, length, "Micro - 1/2")
        feeling = (clip.emotion, _SAMM_CLASSES[clip.emotion], None)
        rows.append((f"{clip.subject:03d}", clip.name, *numbers, clip.coded, *feeling))
    _write_workbook(root / "SAMM_Micro_FACS_Codes_v2.xlsx", "MICRO_ONLY", rows)


def _write_workbook(path: Path, sheet: str, rows: Iterable[Sequence[Any]]) -> None:
    """Write a one-sheet workbook whose bytes do not hold the time of writing."""
    book = openpyxl.Workbook()
    page = book.worksheets[0]
    page.title = sheet
    for number, row in enumerate(rows, 1):
        for column, value in enumerate(row, 1):
            if value is not None:
                page.cell(number, column, value)
    raw = io.BytesIO()
    book.save(raw)
    with zipfile.ZipFile(raw) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            # the properties carry the time of saving, and nothing that a reader of the codes needs
            data = _PROPERTIES if name == "docProps/core.xml" else source.read(name)
            target.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)


_PROPERTIES = (
    b'<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"'
    b' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:creator>aullm_lib</dc:creator></cp:coreProperties>'
)
