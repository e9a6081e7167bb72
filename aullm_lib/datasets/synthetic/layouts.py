"""Where a release keeps its frames, and what its camera sees: one description a release.

What facts are known of the trees and sheets comes from the releases' public loaders; where they are silent (how large
a face is in the frame, say) the numbers are ours.
"""

from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from aullm_lib.datasets.synthetic.plan import PlannedClip
from aullm_lib.datasets.synthetic.sheets import SHEETS, Sheet

__all__ = ["CROP", "LAYOUTS", "Layout", "layout_of"]

CROP = (340, 280)  # height and width of the registered crops of CASME II, in pixels


@dataclass(frozen=True)
class Layout:
    """One release's camera, tree and workbook.

    `frames` and `crops` are paths below the root with the fields {subject}, {number} (the subject's), {clip}, {letter}
    (the clip's name up to "_"), {emotion} and {frame}.
    """

    shape: tuple[int, int]  # height and width of a frame in pixels
    centre: tuple[float, float]  # x and y between the eyes of a typical subject, in pixels
    sway: tuple[float, float]  # how far others sit from there, at most
    radius: float  # R, half the width of a face, in pixels
    spread: float  # how far others' differs, at most
    subject: str  # a subject's name, in folders and in the truth
    frames: str
    sheet: Sheet
    crops: str = ""
    grey: bool = False

    def name(self, subject: int) -> str:
        """A subject's name, such as "sub01"."""
        return self.subject.format(subject)

    def path(self, template: str, clip: PlannedClip, frame: int, emotion: str = "") -> PurePosixPath:
        """Where a frame lies, below the release's root.

        Args:
            template: `frames` or `crops`.
            clip: whose.
            frame: its number.
            emotion: the folder's, where the release sorts by it; the sheet's if empty.
        """
        return PurePosixPath(
            template.format(
                subject=self.name(clip.subject),
                number=clip.subject,
                clip=clip.name,
                letter=clip.name.split("_")[0],
                emotion=emotion or clip.emotion,
                frame=f"{frame:0{clip.digits}d}",
            )
        )


LAYOUTS = {
    "casme2": Layout(
        shape=(480, 640),
        centre=(320, 214),
        sway=(15, 6),
        radius=122,
        spread=6,
        subject="sub{:02d}",
        frames="CASME2_RAW_selected/{subject}/{clip}/img{frame}.jpg",
        crops="Cropped/{subject}/{clip}/reg_img{frame}.jpg",
        sheet=SHEETS["casme2"],
    ),
    "samm": Layout(
        shape=(650, 960),
        centre=(480, 292),
        sway=(70, 22),
        radius=138,
        spread=12,
        subject="{:03d}",
        frames="{subject}/{clip}/{subject}_{frame}.jpg",
        sheet=SHEETS["samm"],
        grey=True,
    ),
    "casme": Layout(
        shape=(480, 640),
        centre=(320, 214),
        sway=(15, 6),
        radius=122,
        spread=6,
        subject="sub{:02d}",
        frames="CASME_raw_selected/{subject}/{clip}/{clip}-{frame}.jpg",
        crops="Cropped/{subject}/{clip}/reg_{clip}-{frame}.jpg",
        sheet=SHEETS["casme"],
    ),
    "casme3": Layout(
        shape=(720, 1280),
        centre=(640, 318),
        sway=(60, 20),
        radius=140,
        spread=12,
        subject="spNO.{}",
        frames="Part_A_ME_clip/frame/spNo.{number}_{clip}/{frame}.jpg",
        sheet=SHEETS["casme3"],
    ),
    "4dme": Layout(
        shape=(480, 640),
        centre=(320, 210),
        sway=(25, 10),
        radius=118,
        spread=8,
        subject="S{}",
        frames="gray_micro/{subject}/{clip}/{frame}.jpg",
        sheet=SHEETS["4dme"],
        grey=True,
    ),
    "mmew": Layout(
        shape=(231, 231),
        centre=(115, 93),
        sway=(2, 2),
        radius=76,
        spread=2,
        subject="S{:02d}",
        frames="Micro_Expression/{emotion}/{clip}/{frame}.jpg",
        sheet=SHEETS["mmew"],
    ),
}

# The trees as some archives unpack, for releases with quirks.
_VARIANTS: dict[str, dict[str, Any]] = {
    "casme2": {
        "frames": "CASME2_RAW_selected/" + LAYOUTS["casme2"].frames,
        "crops": "Cropped/" + LAYOUTS["casme2"].crops,
        "sheet": replace(SHEETS["casme2"], file="CASME2-coding-20190701.xlsx"),
    },
    "samm": {"crops": "SAMM_CROP/" + LAYOUTS["samm"].frames},
    "casme3": {
        "frames": "part_A/{subject}/{letter}/color/{frame}.jpg",
        "sheet": replace(SHEETS["casme3"], first="Sheet1"),
    },
}


def layout_of(release: str, quirks: bool) -> Layout:
    """The layout of a release, or of its variant with quirks."""
    return replace(LAYOUTS[release], **_VARIANTS.get(release, {})) if quirks else LAYOUTS[release]
