"""``croissant.json``: what a release is, in the vocabulary that dataset search and NeurIPS' reviewers read.

Croissant 1.1 with its responsible-AI (RAI) vocabulary 1.0; of that the eight fields that the Evaluations and Datasets
track of NeurIPS 2026 asks for. Nothing is dated, so that the same release gives the same bytes.
"""

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aullm_lib import facs
from aullm_lib.datasets.documented import TITLES
from aullm_lib.datasets.folders import MARKER
from aullm_lib.datasets.table import Release
from aullm_lib.facs import au_columns
from aullm_lib.support import files, frame_files
from aullm_lib.support.images import BadImage

NAME = "croissant.json"
LISTING = "files.sha256"  # beside the truth of a synthetic release: every file with its SHA-256, for ``sha256sum -c``
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "prov": "http://www.w3.org/ns/prov#",
    "conformsTo": "dct:conformsTo",
    "name": {"@container": "@language"},
    "description": {"@container": "@language"},
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
} | {
    term: f"cr:{term}"
    for term in (
        "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
        "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
        "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
        "source", "subField", "transform",
    )
}  # fmt: skip
EMOTION = (
    "An action unit is a movement of the face: no emotion, no intent and no sign of lying. Detectors that are trained "
    "on such data must not be used to judge people, as in hiring, policing, teaching or at borders."
)
COLUMNS = {  # of the truth's tables: type and meaning
    "subject": ("sc:Text", "The subject, as its folder is called."),
    "clip": ("sc:Text", "The clip, as its folder is called."),
    "onset": ("sc:Integer", "Number of the first frame of the movement."),
    "apex": ("sc:Integer", "Number of its strongest frame."),
    "offset": ("sc:Integer", "Number of its last frame."),
    "au": ("sc:Integer", "The action unit's number in the Facial Action Coding System (FACS)."),
    "side": ("sc:Text", "L or R of the subject's face, or both."),
    "left": ("sc:Float", "Share of the movement on the subject's left side, 0 to 1."),
    "right": ("sc:Float", "Share of it on the subject's right side, 0 to 1."),
    "strength": ("sc:Float", "Strength in this clip; 1 is the unit's usual amplitude."),
    "amplitude_px": ("sc:Float", "Largest shift of the skin, in pixels of the full frame."),
    "image": ("sc:Text", "Path of the onset frame, below the release's folder."),
    "x": ("sc:Integer", "Left edge of the face's box in it, in pixels."),
    "y": ("sc:Integer", "Upper edge of the box, in pixels."),
    "width": ("sc:Integer", "Width of the box, in pixels."),
    "height": ("sc:Integer", "Height of the box, in pixels."),
    "eye_left_x": ("sc:Float", "Centre of the eye on the left of the picture, in pixels from the left."),
    "eye_left_y": ("sc:Float", "The same, in pixels from above."),
    "eye_right_x": ("sc:Float", "Centre of the eye on the right of the picture, in pixels from the left."),
    "eye_right_y": ("sc:Float", "The same, in pixels from above."),
}


def write(root: Path, settings: Mapping[str, Any], layout: Any) -> None:
    """Writes the list of a synthetic release's files, and its ``croissant.json``.

    Args:
        root: The release, complete but for these two.
        settings: Of ``synthesize``.
        layout: Its entry in ``synthetic.layouts.LAYOUTS``.
    """
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    lines = [f"{_sha256(path)}  {path.relative_to(root).as_posix()}\n" for path in paths]
    files.write_text(root / MARKER / LISTING, "".join(lines))
    files.write_json(root / NAME, synthetic(root, settings, layout))


def synthetic(root: Path, settings: Mapping[str, Any], layout: Any) -> dict[str, Any]:
    """The metadata of a synthetic release on disk; arguments as ``write``."""
    title = TITLES[settings["release"]]
    numbered = layout.subject.startswith("{")
    made = ", ".join(
        f"{key} {'as documented' if settings[key] is None else settings[key]}"
        for key in ("subjects", "clips_per_subject", "intensity", "seed")
    )
    masks = {
        "masks": "Where each action unit of a clip moves the skin, in the frames: 255 on the person's left, 128 on "
        "their right, 0 elsewhere.",
        "masks_cropped": "The same in the face crops.",
    }
    return _dataset(
        f"Synthetic micro-expressions in the layout of {title}",
        f"A rehearsal of {title}: rendered faces whose action units move as in micro-expressions, in the folders and "
        f"with the coding workbook that {title} has, so that code for it can run without licensed data. It contains "
        f"nothing of {title}, and no score on it is a result on {title}. Settings: {made}; the same settings give the "
        "same bytes.",
        {
            "license": "https://spdx.org/licenses/MIT.html",
            "version": f"{settings['version']}.0.0",
            "keywords": ["micro-expression", "action unit", "FACS", "face", "video", "synthetic", "rehearsal"],
            "citeAs": "aullm_lib: a reproducibility kit for AU-LLM",
            "creator": {"@type": "sc:Organization", "name": "The aullm-lib contributors"},
            "distribution": [
                _file(root, layout.sheet.file, "The coding workbook, one row per clip.",
                      "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
                _file(root, f"{MARKER}/clips.csv", "The truth: one row per clip and action unit.", "text/csv"),
                _file(root, f"{MARKER}/faces.csv", "The truth: one row per clip, where the face is.", "text/csv"),
                _file(root, f"{MARKER}/release.json", "The settings.", "application/json"),
                _file(root, f"{MARKER}/{LISTING}", "The SHA-256 of every file of the release.", "text/plain"),
                *_frames(layout, crops=True),
                _set("motion", "The true displacement of the skin, landmarks, blinks and gaze in every frame, and the "
                     "head's posture, as aullm_lib.datasets.synthetic.motion reads them.",
                     f"{MARKER}/motion/*/*.npz", "application/zip"),
                *(
                    _set(name, text, f"{MARKER}/{name}/*/*/*.png")
                    for name, text in masks.items()
                    if (root / MARKER / name).is_dir()
                ),
            ],
            "recordSet": [
                _table(root, "clips", "Which action units each clip shows, and when.", numbered),
                _table(root, "faces", "Where each clip's face is in its onset frame.", numbered),
            ],
            "rai:hasSyntheticData": True,
            "rai:dataLimitations": [
                "Rendered faces: shapes and facial motion are those of MakeHuman's CC0 head; skin, light and the "
                "courses of motion are the kit's own. How well a detector does on them does not tell how well it does "
                "on real ones.",
                "Labels are exact but for the onset and apex frames, which are as inexact as annotations are.",
                "How often action units occur and co-occur follows published counts, not any release's clips.",
            ],
            "rai:dataBiases": [
                "Identities are drawn from targets for age, sex, ancestry and features of the head; their mix follows "
                "what is known of the release's participants, roughly, and they represent no population.",
                f"Action units are as unequally frequent as in {title}, and some do not occur at all.",
            ],
            "rai:personalSensitiveInformation": [
                "None: no picture of a person was used, and no face is that of one."
            ],
            "rai:dataUseCases": [
                "Testing and rehearsing the training and evaluation of detectors of action units; measuring whether "
                "heat maps find where one acts. Not for claims about people, nor for products.",
            ],
            "rai:dataSocialImpact": "Code can be checked by those who have no licensed data, and without showing "
            f"anybody's face. {EMOTION}",
            "prov:wasDerivedFrom": {
                "@type": "prov:Entity",
                "prov:label": f"Published counts of action units in {title}; no clip, frame or annotation of it",
            },
            "prov:wasGeneratedBy": {
                "@type": "prov:Activity",
                "prov:label": "Rendering",
                "description": "aullm_lib.datasets.synthesize draws identities, plans which action units each clip "
                f"shows, and renders and labels every frame; {made}, version {settings['version']} of the renderer. "
                "No person and no generative model took part.",
            },
        },
    )  # fmt: skip


def counted(release: Release, layout: Any) -> dict[str, Any]:
    """The metadata of a licensed release; see ``datasets.counted``. layout: As ``write``."""
    table, title = release.table, TITLES[release.dataset]
    units = au_columns(table)
    sizes = []
    for paths in table["frames"]:
        with contextlib.suppress(BadImage, OSError):
            sizes.append(frame_files.size_of(paths[0]))
    widths, heights = zip(*(sizes or [(0, 0)]), strict=True)
    totals = {
        "clips": len(table), "subjects": int(table["subject"].nunique()), "frames": int(table["n_frames"].sum()),
        "smallest_width": min(widths), "largest_width": max(widths), "smallest_height": min(heights),
        "largest_height": max(heights),
    }  # fmt: skip
    positives = [
        {
            "au": int(unit[2:]),
            "name": facs.NAMES[int(unit[2:])],
            "clips": int((table[unit] == 1).sum()),
            "subjects": int(table.loc[table[unit] == 1, "subject"].nunique()),
        }
        for unit in units
    ]
    annotation = _set(
        "annotations", "The coding workbook, one row per clip.", layout.sheet.file,
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    )  # fmt: skip
    structure = {
        "@type": "cr:RecordSet", "@id": "annotations-structure", "name": "annotations-structure",
        "description": "The columns of the coding workbook, as publicly documented.",
        "field": [
            _field("annotations-structure", column, "sc:Text", "A column of the workbook.", {
                "fileSet": {"@id": "annotations"}, "extract": {"column": column},
            })
            for column in layout.sheet.columns
            if column
        ],
    }  # fmt: skip
    return _dataset(
        f"{title}, structure and counts",
        f"What a copy of {title} holds, in numbers: {totals['clips']} clips of {totals['subjects']} subjects. "
        "Subjects, clips, annotations and frames are not in this file; they are to be had from the release's holders, "
        "under their licence.",
        {
            "license": f"The licence agreement of {title} with its holders",
            "keywords": ["micro-expression", "action unit", "FACS", "face", "video"],
            "distribution": [annotation, *_frames(layout, crops=bool(table["cropped"].all()))],
            "recordSet": [
                structure,
                _inline("counts", "Clips, subjects, frames, and the frames' sides in pixels.", [totals]),
                _inline("action-units", "In how many clips and subjects each action unit occurs.", positives),
            ],
            "rai:hasSyntheticData": release.synthetic,
            "rai:dataLimitations": [
                f"{totals['clips']} clips of {totals['subjects']} subjects in a laboratory: other people, cameras, "
                "lengths and light are not represented. Rare action units occur in few subjects.",
            ],
            "rai:dataBiases": [
                "Subjects were recruited where the release was recorded and are no sample of any population; action "
                "units are unequally frequent, and coders annotated what they saw.",
            ],
            "rai:personalSensitiveInformation": [
                "The release shows faces of persons who agreed to what its licence says; this file shows none."
            ],
            "rai:dataUseCases": ["Research on micro-expressions, as far as the release's licence allows it."],
            "rai:dataSocialImpact": EMOTION,
            "prov:wasDerivedFrom": [{"@type": "sc:Dataset", "name": title}],
            "prov:wasGeneratedBy": {
                "@type": "prov:Activity",
                "prov:label": "Counting",
                "description": "aullm_lib.datasets read the copy and counted; how the release itself was recorded and "
                "annotated is in the paper that describes it.",
            },
        },
    )


def _dataset(name: str, description: str, more: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": name,
        "description": description,
        **more,
    }


def _id(name: str) -> str:
    """An identifier; one with a blank in it is none."""
    return name.replace(" ", "-")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _file(root: Path, path: str, description: str, kind: str) -> dict[str, Any]:
    file = root / path
    return {
        "@type": "cr:FileObject", "@id": _id(file.name), "name": file.name, "description": description,
        "contentUrl": path, "contentSize": f"{file.stat().st_size} B", "encodingFormat": kind, "sha256": _sha256(file),
    }  # fmt: skip


def _set(name: str, description: str, includes: str, kind: str = "image/png") -> dict[str, Any]:
    return {
        "@type": "cr:FileSet", "@id": name, "name": name, "description": description, "includes": includes,
        "encodingFormat": kind,
    }  # fmt: skip


def _frames(layout: Any, crops: bool) -> list[dict[str, Any]]:
    """The sets of a layout's frames, whose names' fields become wildcards; crops: those of faces, too."""
    sets = {"frames": ("The frames of all clips.", layout.frames)}
    if crops and layout.crops:
        sets["crops"] = ("The registered faces of all frames.", layout.crops)
    return [
        _set(name, text, re.sub(r"\{\w+\}", "*", template), "image/jpeg") for name, (text, template) in sets.items()
    ]


def _field(record_set: str, name: str, kind: str, description: str, source: Any = None) -> dict[str, Any]:
    field = {
        "@type": "cr:Field", "@id": f"{record_set}/{_id(name)}", "name": name,
        "description": description, "dataType": kind,
    }  # fmt: skip
    return field | ({"source": source} if source else {})


def _table(root: Path, name: str, description: str, numbered: bool) -> dict[str, Any]:
    """A table of the truth; numbered: whether subjects are called by digits alone, such as 006, which CSV's readers
    take for the number 6."""
    file = f"{name}.csv"
    with (root / MARKER / file).open(encoding="utf-8") as lines:
        columns = next(lines).strip().split(",")
    fields = []
    for column in columns:
        kind, meaning = COLUMNS[column]
        if column == "subject" and numbered:
            kind, meaning = "sc:Integer", "The subject's number, which its folder's name pads to three digits."
        source = {"fileObject": {"@id": file}, "extract": {"column": column}}
        fields.append(_field(name, column, kind, meaning, source))
    return {"@type": "cr:RecordSet", "@id": name, "name": name, "description": description, "field": fields}


def _inline(name: str, description: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A table whose rows are in the file."""
    types = {column: "sc:Text" if isinstance(value, str) else "sc:Integer" for column, value in rows[0].items()}
    return {
        "@type": "cr:RecordSet", "@id": name, "name": name, "description": description,
        "field": [_field(name, column, kind, column.replace("_", " ")) for column, kind in types.items()],
        "data": [{f"{name}/{column}": value for column, value in row.items()} for row in rows],
    }  # fmt: skip
