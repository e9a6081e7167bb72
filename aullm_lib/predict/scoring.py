"""What trained weights say of footage of one's own: of one clip, or of a long video window by window.

The way is training's: one face box and eye line from the first frame, aligned, grey, small, and ``Recipe.frames``
frames spread evenly over the clip (shorter clips repeat frames, ``clips.frame_positions``). What comes out is the
probability that an AU occurs, which is neither an intensity nor calibrated; every result has its limits in words.
"""

import csv
import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from aullm_lib import explain, facs
from aullm_lib.clips import frame_positions
from aullm_lib.predict import reading
from aullm_lib.predict.reading import BadFootage, Window
from aullm_lib.preprocess import alignment, building
from aullm_lib.runs import Run
from aullm_lib.support import files
from aullm_lib.trained import Ensemble, ensemble, windowing

AT_ONCE = 32  # clips through a model together
WAITING = 256  # windows that wait for the models, a few small frames each
COLUMNS = ["start_frame", "end_frame", "start_s", "end_s", "au", "probability", "remark"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Said:
    """What every result has.

    remarks: what is particular to this footage. limits: what the numbers mean and do not mean. synthetic: whether the
    models were trained on rendered faces. models: how many the numbers are the mean of.
    """

    source: Path
    remarks: tuple[str, ...]
    limits: tuple[str, ...]
    synthetic: bool
    models: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Clip(Said):
    """What the models say of one clip.

    probabilities: by AU, ``name``, ``probability`` (the models' mean), their ``lowest`` and ``highest``.
    n_frames: of the clip. numbers, frames: of those that the models were given, and they [T, S, S] uint8.
    heat: [N_AU, T, S, S], each AU's between 0 and 1; 0 in the first frame, which no map has. None if not asked for.
    seen, matrix: the frame in which the face was found, grey [H, W], and the map [2, 3] from it to the aligned frames.
    """

    probabilities: pd.DataFrame
    n_frames: int
    numbers: tuple[int, ...]
    frames: np.ndarray
    heat: np.ndarray | None
    seen: np.ndarray
    matrix: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Timeline(Said):
    """What the models say of a video, window by window.

    table: ``COLUMNS``, a row a (window, AU) in order of time. Both frames belong to the window; seconds count from the
    first frame and are missing where the rate is unknown; the probability is missing where the window is of no use,
    and the remark then says why. length, stride: of the windows in frames. path: the table as a CSV file, if written.
    """

    table: pd.DataFrame
    length: int
    stride: int
    fps: float | None
    path: Path | None


def clip(
    weights: Ensemble | Run | str | Path,
    source: str | Path,
    onset: int | None = None,
    offset: int | None = None,
    *,
    align: str | None = None,
    folds: Sequence[str] | None = None,
    heat: bool = True,
) -> Clip:
    """The AUs of one clip, from its onset to its offset.

    weights: a ``Run``, its folder, a fold's weights.safetensors, or what ``trained.ensemble`` gave; of a run, the mean
    over the models of its folds, or of those named in ``folds``. source: a video file, or a folder of numbered
    pictures.
    onset, offset: frame numbers, both included, the whole by default; a video counts from 0, a folder as its files do.
    align: as in ``preprocess.build``, as in training by default. heat: whether to make Grad-CAM maps, of every AU.
    Raises FileNotFoundError where there is no such footage or no trained weights; ``footage.BadFootage``,
    ``framing.BadImage`` and ``preprocess.NoFace`` for footage that cannot be used; ValueError for a wrong setting.
    """
    model = ensemble(weights, folds=folds)
    align, remarks = model.alignment(align)
    shot, recipe = reading.opened(source), model.experiment.recipe
    names = {shot.name(number): number for number in shot.numbers(onset, offset)}
    numbers = list(names.values())
    matrix, notes = building.place(tuple(names), align, recipe.size, lambda path, rgb: shot.look(names[path], rgb))
    seen = shot.look(next((n for path, n in names.items() if path.name == notes["found_in"]), numbers[0]))
    matrix = alignment.squash(seen.shape, recipe.size) if matrix is None else matrix
    strip = np.stack([alignment.warp(shot.look(number), matrix, recipe.size) for number in numbers])  # each is checked
    positions = frame_positions(torch.tensor([len(strip)]), recipe.frames)[0].tolist()
    probabilities, maps = _explained(model, torch.from_numpy(strip[positions]), heat)
    if notes["remarks"]:
        remarks.append(notes["remarks"])
    if len(strip) < recipe.frames:
        remarks.append(f"{len(strip)} frames, and the model takes {recipe.frames} spread evenly: some repeat")
    if isinstance(shot, reading.Video) and offset is None and shot.announced > numbers[-1] + 1:
        remarks.append(f"the video announces {shot.announced} frames, of which {numbers[-1] + 1} could be read")
    return Clip(
        source=shot.path, remarks=tuple(remarks), **model.about(),
        probabilities=probabilities, n_frames=len(strip), numbers=tuple(numbers[i] for i in positions),
        frames=strip[positions], heat=maps, seen=seen, matrix=matrix,
    )  # fmt: skip


def _explained(model: Ensemble, frames: Tensor, heat: bool) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Probabilities by AU, and maps [N_AU, T, H, W], for one clip's frames [T, H, W], over all models.

    A model's map of an AU is divided by its own maximum first, so that each model counts alike.
    """
    aus = model.experiment.aus
    said, maps = [], np.zeros((len(aus), *frames.shape))
    for one in model.models():
        x = frames[None].to(model.device)  # 1 t h w
        with torch.no_grad():
            said.append(one(x)[0].double().sigmoid().cpu().numpy())
        if heat:
            found = explain.grad_cam(one, x.expand(len(aus), -1, -1, -1), torch.arange(len(aus)))  # n t-1 h w
            top = found.amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(found.dtype).tiny)
            maps[:, len(frames) - found.shape[1] :] += (found / top).double().cpu().numpy()
    columns = {"probability": np.mean(said, 0), "lowest": np.min(said, 0), "highest": np.max(said, 0)}
    index = pd.Index([f"AU{n}" for n in aus], name="au")
    return pd.DataFrame({"name": [facs.NAMES[n] for n in aus]} | columns, index), maps / len(said) if heat else None


def video(
    weights: Ensemble | Run | str | Path,
    source: str | Path,
    out: str | Path | None = None,
    *,
    length: float | None = None,
    stride: float | None = None,
    unit: str = "frames",
    fps: float | None = None,
    align: str | None = None,
    folds: Sequence[str] | None = None,
) -> Timeline:
    """The AUs of a long video, window by window, each with the face of its own first frame.

    The video is read once and never held: one of its frames is in memory at a time (``footage.windows``).
    out: a CSV file to write, whole or not at all. length, stride: of the windows, in ``unit`` "frames" or "seconds"; by
    default as long as the median of the run's clips (in time, where both rates are known), and half of that.
    fps: frames a second, where the file does not say or says it wrongly. The rest is as in ``clip``.
    A window without a usable face, or with a frame that cannot be read, has empty values and a remark; the others go
    on. Frames after the last whole window are left out, which a remark says.
    Raises as ``clip``, but no NoFace; BadFootage for a video shorter than one window, OSError where ``out`` cannot be
    written.
    """
    model = ensemble(weights, folds=folds)
    align, remarks = model.alignment(align)
    shot, recipe = reading.opened(source), model.experiment.recipe
    if fps is not None and not 0 < fps < 1e5:
        raise ValueError(f"fps={fps!r}: expected frames a second, above 0")
    fps = fps or shot.fps
    span, step, how = windowing(model, fps, length, stride, unit)
    path = None if out is None else Path(out).expanduser()
    rows: list[list] = []
    numbers: list[int] = []  # the first frame's and the last one's so far

    def counted(bar: tqdm) -> Iterator[int]:
        for number in shot:
            numbers[1:] = [number]
            bar.update()
            yield number

    bar = tqdm(total=shot.announced or None, desc=shot.path.name, unit="frame")
    with _lines(path) as write, bar:
        stream = reading.windows(shot, counted(bar), span, step, align=align, size=recipe.size, frames=recipe.frames)
        while waiting := list(itertools.islice(stream, WAITING)):
            for window, said in zip(waiting, _probabilities(model, waiting), strict=True):
                ends = [window.first, window.last]
                times = [None if fps is None else round((n - numbers[0]) / fps, 3) for n in (ends[0], ends[1] + 1)]
                for au, probability in zip(model.experiment.aus, said, strict=True):
                    rows.append([*ends, *times, f"AU{au}", probability, window.remark])
                    write(rows[-1])
        if not rows:
            raise BadFootage(f"{shot.path}: {bar.n} frames, less than a window of {span}; give a smaller length")
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"start_s": float, "end_s": float, "probability": float})
    remarks = [how, *remarks]
    if numbers[1] > rows[-1][1]:
        remarks.append(f"the frames after {rows[-1][1]} fill no window and are left out")
    return Timeline(
        source=shot.path, remarks=tuple(remarks), **model.about(),
        table=table, length=span, stride=step, fps=fps, path=path,
    )  # fmt: skip


def _probabilities(model: Ensemble, windows: list[Window]) -> list[list[float | None]]:
    """The models' mean of each window's AUs, to six places; None where the window is of no use."""
    aus, usable = len(model.experiment.aus), [i for i, window in enumerate(windows) if not window.useless]
    said: list[list[float | None]] = [[None] * aus for _ in windows]
    if usable:
        x = torch.from_numpy(np.stack([windows[i].kept for i in usable]))  # b t h w
        total, count = torch.zeros(len(x), aus, dtype=torch.float64), 0
        with torch.no_grad():
            for one in model.models():
                logits = [one(part.to(model.device)) for part in x.split(AT_ONCE)]
                total += torch.cat(logits).double().sigmoid().cpu()
                count += 1
        for i, line in zip(usable, (total / count).tolist(), strict=True):
            said[i] = [round(value, 6) for value in line]
    return said


@contextmanager
def _lines(path: Path | None) -> Iterator[Callable[[list], None]]:
    """What writes a CSV file line by line; it appears when all is well, and nothing does otherwise."""
    if path is None:
        yield lambda row: None
        return
    with files.explained(path.parent, "the timeline"):
        path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with files.written(temporary, path.parent, "the timeline") as write:

            def line(row: list) -> None:
                text = io.StringIO()
                csv.writer(text, lineterminator="\n").writerow(row)
                write(text.getvalue().encode())

            line(COLUMNS)
            yield line
        with files.explained(path, "the timeline"):
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
