"""Quirks of the true releases, planted in a synthetic one, and a list of every one.

`disturb` takes the plan of a release and gives a `Stage`.  Clips known by name (`errata`) take the places of a
subject's first ones; AU strings go to the clips that come next, and damages to those that have none.  What the truth
says is always what was rendered.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aullm_lib.datasets.synthetic.errata import ERRATA, STRINGS, Erratum
from aullm_lib.datasets.synthetic.film import Action
from aullm_lib.datasets.synthetic.layouts import Layout
from aullm_lib.datasets.synthetic.muscles import AMPLITUDE
from aullm_lib.datasets.synthetic.plan import PlannedClip, emotion, stream
from aullm_lib.datasets.synthetic.sheets import objective_class, write_workbook
from aullm_lib.datasets.synthetic.specs import MOST_CLIPS, SPECS
from aullm_lib.datasets.synthetic.stage import Stage, Staged, in_words
from aullm_lib.facs import parse_aus

__all__ = ["disturb", "write_stray_files"]


def disturb(settings: dict[str, Any], layout: Layout, clips: list[PlannedClip]) -> Stage:
    """Stage a plan: as it is, or with quirks if the settings say so."""
    release = settings["release"]
    stage = Stage(settings, layout, [Staged(clip) for clip in clips])
    if not settings.get("quirks"):
        if release == "casme2":
            # one "/" among the apexes, as in the true sheet
            k = int(stream(settings, 0, 0, 5).integers(len(clips)))
            stage.clips[k] = replace(stage.clips[k], cells={"ApexFrame": "/"})
        return stage
    _name_clips(stage, ERRATA[release])
    _write_strings(stage, STRINGS[release])
    _PLANT[release](stage)
    noted = {(note.subject, note.clip) for note in stage.notes if note.quirk == "unknown AUs"}
    for staged in stage.clips:
        clip = staged.clip
        if clip.coded == "?" and (layout.name(clip.subject), clip.name) not in noted:
            stage.note(clip, "unknown AUs", _string_detail(clip))
        for column in ("Action Units", "AU"):
            cell = {**layout.sheet.row(clip), **staged.cells}.get(column)
            if staged.labelled and isinstance(cell, int):
                stage.note(clip, "number in AU cell", f"{column}: {cell}")
    return stage


def _acting(text: str, rng: np.random.Generator) -> tuple[Action, ...]:
    """Actions for an AU string: its first reading, without AUs that are not rendered or were there before the onset."""
    units = [u for u in parse_aus(text) if not u.alternative and not u.held and u.number in AMPLITUDE]
    actions = []
    for au in dict.fromkeys(unit.number for unit in units):
        sides = {unit.side[-1:] for unit in units if unit.number == au}
        left, right = (float(k) for k in rng.uniform(0.8, 1.0, 2))
        left, right = (left, 0.0) if sides == {"L"} else (0.0, right) if sides == {"R"} else (left, right)
        actions.append(Action(au, left, right, float(rng.uniform(0.5, 1.4)), float(rng.uniform(-0.1, 0.1))))
    return tuple(actions)


def _recode(settings: dict[str, Any], clip: PlannedClip, coded: str, shown: str) -> PlannedClip:
    """The clip with the sheet's string `coded`, showing the AUs of `shown`."""
    actions = _acting(shown, stream(settings, clip.subject, clip.index, 10))
    feeling = emotion(tuple(action.au for action in actions), settings["release"])
    return replace(clip, coded=coded, actions=actions, emotion=feeling)


def _string_detail(clip: PlannedClip) -> str:
    """What the sheet says and what was rendered; the AUs in which they differ."""
    rendered = {action.au for action in clip.actions}
    written = {unit.number for unit in parse_aus(clip.coded)}
    detail = f"sheet {clip.coded!r}, rendered {'+'.join(map(str, sorted(rendered))) or 'nothing'}"
    for words, aus in (("not rendered", written - rendered), ("not in the sheet", rendered - written)):
        detail += f"; {words} {', '.join(map(str, sorted(aus)))}" if aus else ""
    return detail


def _name_clips(stage: Stage, errata: Iterable[Erratum]) -> None:
    """Put the clips known by name into their subjects' first places, unlabelled ones behind the last."""
    release = stage.settings["release"]
    for subject in dict.fromkeys(staged.clip.subject for staged in stage.clips):
        known = [e for e in errata if e.subject == subject]
        places = [k for k, staged in enumerate(stage.clips) if staged.clip.subject == subject]
        labelled = [e for e in known if e.labelled][: len(places)]
        for count, k in enumerate(places):
            clip = stage.clips[k].clip
            if count < len(labelled):
                stage.clips[k] = _name(stage, clip, labelled[count])
            elif clip.name in {e.name for e in known}:
                # drawn for a clip of ours, but it is a named one's: a name from beyond the pool instead
                beyond = SPECS[release].name(subject, SPECS[release].names + count, clip.onset, False)
                stage.clips[k] = Staged(replace(clip, name=beyond))
        unlabelled = [e for e in known if not e.labelled]
        for count, erratum in enumerate(unlabelled, 1):
            model = replace(stage.clips[places[0]].clip, index=MOST_CLIPS + count)
            stage.clips.insert(places[-1] + count, _name(stage, model, erratum))


def _name(stage: Stage, clip: PlannedClip, erratum: Erratum) -> Staged:
    """A planned clip as the erratum has it; notes its quirks."""
    digits = clip.digits if erratum.digits is None else erratum.digits
    clip = replace(
        clip, name=erratum.name, onset=erratum.onset, apex=erratum.apex, offset=erratum.offset, digits=digits
    )
    details = [stage.against(clip, erratum.cells), in_words(erratum.files)]
    if erratum.coded is not None:
        clip = _recode(stage.settings, clip, erratum.coded, erratum.shown or erratum.coded)
        details.append(_string_detail(clip))
    if erratum.digits is not None:
        details.append("frame numbers not padded")
    if erratum.files.get("faceless"):
        details.append("out of focus")
    for text in erratum.quirks:
        quirk, _, own = text.partition(": ")
        stage.note(clip, quirk, own or "; ".join(detail for detail in details if detail))
    stage.busy.add((clip.subject, clip.name))
    return Staged(clip, cells=erratum.cells, labelled=erratum.labelled, **erratum.files)


def _write_strings(stage: Stage, strings: tuple[str, ...]) -> None:
    """Give one notation each to the first clips whose AU string no erratum sets."""
    release = stage.settings["release"]
    fixed = {(e.subject, e.name) for e in ERRATA[release] if e.coded is not None}
    places = [k for k, s in enumerate(stage.clips) if s.labelled and (s.clip.subject, s.clip.name) not in fixed]
    for k, text in zip(places, strings, strict=False):
        staged = stage.clips[k]
        clip = _recode(stage.settings, staged.clip, text, text)
        # SAMM's sheet holds text but for this
        number = {"Action Units": int(text)} if release == "samm" and text.isdigit() else {}
        stage.clips[k] = replace(staged, clip=clip, cells={**staged.cells, **number})
        stage.note(clip, "AU string", _string_detail(clip))


def _middle(clip: PlannedClip) -> int:
    return (clip.onset + clip.offset) // 2


def _plant_casme2(stage: Stage) -> None:
    for name in ("sadness", "fear"):
        having = [staged.clip for staged in stage.clips if staged.clip.emotion == name and staged.labelled]
        if not having:
            stage.rename_emotion(name, "rare emotion", of="others")
        for clip in having:
            stage.note(clip, "rare emotion", f"sheet {name!r}")
    stage.damage("missing frame", lambda clip: {"missing": (_middle(clip),)})
    stage.damage("truncated image", lambda clip: {"cut": (_middle(clip),)})
    _plant_twin(stage)
    stage.damage("frames beyond the clip", lambda clip: {"extra": (clip.offset + 1,)})
    stage.blank_rows = True
    stage.note(None, "blank row", "one in the middle of the sheet, one at its end")
    stage.note(None, "subject without zeros", "Subject cells are numbers, folders sub01")
    stage.note(None, "nested folders", "CASME2_RAW_selected/CASME2_RAW_selected, Cropped/Cropped")
    for file in (_LOCK, _RESOURCE):
        stage.note(None, "stray file", file)


def _plant_twin(stage: Stage) -> None:
    """The next clip that is as it should be, under a second name of the subject after its own."""
    subjects = list(dict.fromkeys(staged.clip.subject for staged in stage.clips))
    k = stage.next()
    if k is None or stage.clips[k].clip.subject == subjects[-1]:
        return
    clip = stage.clips[k].clip
    other = subjects[subjects.index(clip.subject) + 1]
    twin = Staged(replace(clip, subject=other, name="EP99_01"), twin_of=clip)
    last = max(i for i, staged in enumerate(stage.clips) if staged.clip.subject == other)
    stage.clips.insert(last + 1, twin)
    stage.busy.add((other, twin.clip.name))
    stage.note(twin.clip, "duplicate clip", f"the pictures of {stage.layout.name(clip.subject)}/{clip.name}")


def _plant_samm(stage: Stage) -> None:
    stage.damage(
        "frames beyond the clip",
        lambda clip: {"extra": (*range(clip.onset - 5, clip.onset), *range(clip.offset + 1, clip.offset + 6))},
    )
    stage.rename_emotion("Others", "emotion spelled otherwise", of="Other")
    for k, staged in enumerate(stage.clips):
        clip = staged.clip
        stage.clips[k] = replace(staged, cropped=k < 3)  # a few clips of crops, made by users
        if k < 3:
            stage.note(clip, "crops beside", "SAMM_CROP")
        if clip.digits == 4:
            stage.note(clip, "zero padding", "frame numbers padded to 4")
        if k % 3 == 1:
            stage.cell(k, "subject cell is a number", {"Subject": clip.subject})


def _plant_casme(stage: Stage) -> None:
    stage.rename_emotion("comtempt", "emotion misspelled")
    for k in range(0, len(stage.clips), 3):
        clip = stage.clips[k].clip
        stage.cell(k, "second apex", {"ApexF2": min(clip.apex + 2, clip.offset)})


def _plant_casme3(stage: Stage) -> None:
    for k, staged in enumerate(stage.clips):
        clip = staged.clip
        if not staged.extra:
            around = (*range(max(clip.onset - 3, 0), clip.onset), *range(clip.offset + 1, clip.offset + 4))
            stage.clips[k] = replace(staged, extra=around)
        if k % 4 == 3:
            stage.cell(k, "letter case", {"Filename": clip.name.split("_")[0].upper()})
    stage.note(None, "folders of whole recordings", "part_A/spNO.1/a/color holds frames before, between and after")
    stage.note(None, "second sheet", "the sheet 'label' comes second")
    stage.damage("missing frame", lambda clip: {"missing": (_middle(clip),)})
    for quirk, apex in (("apex outside the clip", 20), ("apex is the onset", None)):
        place = stage.next()
        if place is not None:
            clip = stage.clips[place].clip
            stage.cell(place, quirk, {"Apex": clip.onset if apex is None else clip.offset + apex})


def _plant_mmew(stage: Stage) -> None:
    """Clips of the emotion "others" live in two folders."""
    others = [k for k, staged in enumerate(stage.clips) if staged.clip.emotion == "others"]
    for k in others[::2]:
        stage.clips[k] = replace(stage.clips[k], folder="repression")
        stage.note(stage.clips[k].clip, "emotion folder", "sheet 'others', folder 'repression'")


_PLANT: dict[str, Callable[[Stage], None]] = {
    "casme2": _plant_casme2,
    "samm": _plant_samm,
    "casme": _plant_casme,
    "casme3": _plant_casme3,
    "4dme": lambda stage: None,  # all of its quirks are AU strings
    "mmew": _plant_mmew,
}
_LOCK, _RESOURCE = "~$CASME2-coding-20190701.xlsx", "__MACOSX/Cropped/._sub01"


def write_stray_files(root: Path, release: str, stage: Stage) -> None:
    """What archives and desktops leave in a release: CASME II's second workbook, Excel's lock file, a resource fork."""
    if release != "casme2":
        return
    rows: list[tuple[Any, ...]] = [("Subject", "Filename", "Objective Class")]
    for staged in stage.clips:
        if staged.labelled:
            clip = staged.clip
            rows.append((clip.subject, clip.name, objective_class(action.au for action in clip.actions)))
    write_workbook(root / "CASME2-ObjectiveClasses.xlsx", {"Sheet1": rows})
    (root / _LOCK).write_bytes(b"\x07someone".ljust(165, b" "))
    (root / _RESOURCE).parent.mkdir(parents=True)
    (root / _RESOURCE).write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        ")
