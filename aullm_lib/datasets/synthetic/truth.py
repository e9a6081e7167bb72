"""What moved in a synthetic clip: the displacement in every frame, landmarks, blinks, gaze, the head's posture."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from aullm_lib.datasets.synthetic.film import MOTIONS, Film
from aullm_lib.datasets.synthetic.muscles import HABITS, landmarks

Array = np.ndarray
STEP = 4  # pixels between the samples of a field


@dataclass(frozen=True, eq=False)
class Motion:
    """The motion of one clip, T frames long.

    Attributes:
        shape: Height and width of a frame, pixels.
        names: Of the K fields: "left", "up", "forward", "yaw", "pitch", "roll" (of the head), "habit 1" ..., "AU12" ...
        courses: [T, K], how far each is on: mm, degrees, shares of a habit or of the AU's strength 1.
        landmarks: [T, L, 2], x and y in pixels of the points `points`.
        points: Their names: the face unit that moves each most.
        blink: [T], how far the lids are shut, 0 to 1. No field and no landmark has it.
        gaze: [T, 2], how far the eyeballs have turned, pixels right and down. No field has it.
        pose: [6], how the head is held in the onset frame, mm and degrees.
        box: y from, to, x from, to in pixels: beyond it nothing moves.
        fields: [K, h, w, 2], displacement right and down in pixels, sampled every `STEP` pixels of the box. Where lips
            part, a field jumps, and between its samples it may be off by pixels; elsewhere by less than 0.2.
    """

    shape: tuple[int, int]
    names: list[str]
    courses: Array
    landmarks: Array
    points: list[str]
    blink: Array
    gaze: Array
    pose: Array
    box: tuple[int, int, int, int]
    fields: Array

    def displacement(self, frame: int, *names: str) -> Array:
        """The displacement since the onset frame of all but lids in a blink, float32 [H, W, 2] in pixels (right, down).

        What the frame shows at (x, y), the onset frame shows at (x, y) less this: the negative of the optical flow from
        the frame back to the onset frame.

        Args:
            frame: Counted from the onset, 0.
            names: Only of these fields, such as "AU12"; none: of all.

        Raises:
            ValueError: The clip has no field of that name.
        """
        if unknown := [name for name in names if name not in self.names]:
            raise ValueError(f"no field {unknown[0]!r}: the clip has {', '.join(self.names)}")
        chosen = [k for k, name in enumerate(self.names) if not names or name in names]
        top, bottom, left, right = self.box
        since = (self.courses[frame] - self.courses[0])[chosen]
        small = np.tensordot(since, self.fields[chosen].astype(np.float64), 1)
        whole = np.zeros((*self.shape, 2), np.float32)
        x, y = (np.arange(n, dtype=np.float32) / STEP for n in (right - left, bottom - top))
        grid = np.stack(np.meshgrid(x, y), -1)
        whole[top:bottom, left:right] = cv2.remap(small.astype(np.float32), grid, np.empty(0), cv2.INTER_LINEAR)
        return whole


def write(film: Film, path: Path) -> None:
    """Write a clip's motion, as `read` takes it."""
    rows, columns = film.face.box
    padded = np.pad(film.shifts, ((0, 0), (0, STEP), (0, STEP), (0, 0)), "edge")  # the last pixels lie between two
    path.parent.mkdir(parents=True, exist_ok=True)
    actions = [f"AU{action.au}" for action in film.actions]
    np.savez_compressed(
        path,
        shape=film.face.view.shape,
        names=[*MOTIONS, *(f"habit {k}" for k in range(1, len(HABITS) + 1)), *actions],
        courses=film.courses.astype(np.float32),
        landmarks=film.landmarks().astype(np.float32),
        points=list(landmarks()),
        blink=film.blink.astype(np.float32),
        gaze=film.gaze.astype(np.float32),
        pose=film.pose,
        box=(rows.start, rows.stop, columns.start, columns.stop),
        fields=padded[:, ::STEP, ::STEP].astype(np.float16),
    )


def motion(root: str | Path, subject: str, clip: str) -> Motion:
    """The motion of one clip of a release that `synthesize` wrote.

    Args:
        root: The release's folder.
        subject: As in `SYNTHETIC/clips.csv`.
        clip: As there.

    Raises:
        FileNotFoundError: There is no such clip.
    """
    path = Path(root) / "SYNTHETIC" / "motion" / subject / f"{clip}.npz"
    with np.load(path, allow_pickle=False) as held:
        kept = {name: held[name] for name in held.files}
    lists = {name: kept[name].tolist() for name in ("names", "points")}
    whole = {name: tuple(kept[name].tolist()) for name in ("shape", "box")}
    return Motion(**(kept | lists | whole))
