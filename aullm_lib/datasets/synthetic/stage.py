"""A release between its plan and the disk: what files and sheet say, and a note of all that differs from the truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from aullm_lib.datasets.synthetic.layouts import Layout
from aullm_lib.datasets.synthetic.plan import PlannedClip
from aullm_lib.datasets.synthetic.sheets import Row

__all__ = ["QUIRK_COLUMNS", "Note", "Stage", "Staged", "in_words"]

QUIRK_COLUMNS = "subject clip quirk detail"  # of quirks.csv


@dataclass(frozen=True)
class Staged:
    """A planned clip, and all that its files and its row say against the truth (see `quirks`).

    Frame numbers are the recording's.  `clip.coded` and `clip.emotion` are the sheet's; `clip.actions`, `onset`, `apex`
    and `offset` are what is rendered.
    """

    clip: PlannedClip
    cells: Mapping[str, Any] = field(default_factory=dict)  # of its row, by column
    labelled: bool = True  # the sheet has a row
    missing: tuple[int, ...] = ()  # frames that are not there
    uncropped: tuple[int, ...] = ()  # frames that have no crop
    extra: tuple[int, ...] = ()  # frames before the onset or after the offset, in the frames' folder
    cut: tuple[int, ...] = ()  # frames whose files hold the first half of their bytes, crops too
    faceless: bool = False  # out of focus: no face can be found
    cropped: bool = True  # has crops, where the layout knows of any
    folder: str = ""  # of the emotion, where the release sorts by it; the sheet's if empty
    twin_of: PlannedClip | None = None  # the clip whose pictures it repeats, of another subject

    @property
    def filmed(self) -> PlannedClip:
        """Whose pictures these are: its own, but for a twin."""
        return self.twin_of or self.clip


class Note(NamedTuple):
    """One quirk planted; subject and clip as in the truth, empty where it concerns the whole release."""

    subject: str
    clip: str
    quirk: str
    detail: str


@dataclass
class Stage:
    """The release as it will be put onto the disk."""

    settings: dict[str, Any]
    layout: Layout
    clips: list[Staged]
    notes: list[Note] = field(default_factory=list)
    blank_rows: bool = False  # in the middle of the sheet and at its end
    busy: set[tuple[int, str]] = field(default_factory=set)  # clips whose files or numbers are odd already

    def rows(self) -> list[Row]:
        """The sheet, row by row."""
        rows: list[Row] = [{**self.layout.sheet.row(s.clip), **s.cells} for s in self.clips if s.labelled]
        return [*rows[: len(rows) // 2], {}, *rows[len(rows) // 2 :], {}] if self.blank_rows else rows

    def note(self, clip: PlannedClip | None, quirk: str, detail: str) -> None:
        """Write a quirk down; `clip` None: of the whole release."""
        names = (self.layout.name(clip.subject), clip.name) if clip else ("", "")
        self.notes.append(Note(*names, quirk, detail))

    def against(self, clip: PlannedClip, cells: Row) -> str:
        """What cells say that differ from the truth, in words."""
        true = self.layout.sheet.row(clip)
        return "; ".join(f"{column}: sheet {value!r}, true {true.get(column)!r}" for column, value in cells.items())

    def next(self) -> int | None:
        """The place of the next labelled clip whose files and numbers are as they should be; from now on it is busy."""
        for k, staged in enumerate(self.clips):
            key = (staged.clip.subject, staged.clip.name)
            if key not in self.busy and staged.labelled:
                self.busy.add(key)
                return k
        return None

    def cell(self, k: int, quirk: str, cells: Row) -> None:
        """Change cells of the row of the clip at place k."""
        self.note(self.clips[k].clip, quirk, self.against(self.clips[k].clip, cells))
        self.clips[k] = replace(self.clips[k], cells={**self.clips[k].cells, **cells})

    def damage(self, quirk: str, how: Callable[[PlannedClip], dict[str, tuple[int, ...]]]) -> None:
        """Change the files of the next clip, if there is one; `how` gives fields of `Staged`."""
        k = self.next()
        if k is not None:
            changes = how(self.clips[k].clip)
            self.clips[k] = replace(self.clips[k], **changes)  # type: ignore[arg-type]
            self.note(self.clips[k].clip, quirk, in_words(changes))

    def rename_emotion(self, name: str, quirk: str, of: str = "") -> None:
        """Let a clip have another emotion in the sheet: the first one of emotion `of`, or else the first of any."""
        noted = {(note.subject, note.clip) for note in self.notes if note.quirk == quirk}
        places = [
            k
            for k, staged in enumerate(self.clips)
            if staged.labelled and (self.layout.name(staged.clip.subject), staged.clip.name) not in noted
        ]
        if places:
            k = next((k for k in places if self.clips[k].clip.emotion == of), places[0])
            clip = self.clips[k].clip
            self.note(clip, quirk, f"sheet {name!r}, by its action units {clip.emotion!r}")
            self.clips[k] = replace(self.clips[k], clip=replace(clip, emotion=name))


def in_words(files: Mapping[str, Any]) -> str:
    """Frames whose files are odd, such as "uncropped 97-110"."""
    words = []
    for kind, numbers in files.items():
        if isinstance(numbers, tuple) and numbers:
            runs = np.split(np.array(numbers), np.flatnonzero(np.diff(numbers) != 1) + 1)
            words.append(f"{kind} {', '.join(str(r[0]) if len(r) == 1 else f'{r[0]}-{r[-1]}' for r in runs)}")
    return "; ".join(words)
