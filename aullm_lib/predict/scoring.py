"""Predictions for user videos: of one clip, or of a long video window by window.

The preprocessing is training's: one face box and eye line from the first frame, aligned, grey, small, and
``Recipe.frames`` frames spread evenly over the clip (shorter clips repeat frames, ``clips.frame_positions``). The
result is the probability that an AU occurs, which is neither an intensity nor calibrated; every prediction states its
limits in words.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from aullm_lib import explain, facs
from aullm_lib.clips import frame_positions
from aullm_lib.predict.reading import BadVideo, VideoFile, open_source
from aullm_lib.predict.windows import Window, windowing, windows
from aullm_lib.preprocess import alignment, faces
from aullm_lib.runs import Run
from aullm_lib.support import files
from aullm_lib.trained import Ensemble, ensemble

AT_ONCE = 32  # clips through a model together
WAITING = 256  # windows that wait for the models, a few small frames each
COLUMNS = ["start_frame", "end_frame", "start_s", "end_s", "au", "probability", "remark", "confidence", "success"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Prediction:
    """The fields of every prediction.

    Attributes:
        remarks: On this video.
        limits: What the numbers mean and do not mean.
        synthetic: Whether the models were trained on rendered faces.
        models: How many the numbers are the mean of.
    """

    source: Path
    remarks: tuple[str, ...]
    limits: tuple[str, ...]
    synthetic: bool
    models: int


@dataclass(frozen=True, eq=False, kw_only=True)
class ClipPrediction(Prediction):
    """The prediction for one clip.

    Attributes:
        probabilities: By AU, ``name``, ``probability`` (the models' mean), their ``lowest`` and ``highest``.
        n_frames: Of the clip.
        numbers, frames: Of those that the models read, and they [T, S, S] uint8.
        heat: [N_AU, T, S, S], each AU's between 0 and 1; 0 in the first frame, which no map has. None if not asked for.
        confidence: The lowest score, 0 to 1, of the face in the frames that the models read; NaN where one shows none.
        success: Whether each of those frames shows the face in its place; else the probabilities are NaN, and a remark
            says why.
        seen, matrix: The frame in which the face was found, grey [H, W], and the map [2, 3] from it to aligned frames.
    """

    probabilities: pd.DataFrame
    n_frames: int
    numbers: tuple[int, ...]
    frames: np.ndarray
    heat: np.ndarray | None
    confidence: float
    success: bool
    seen: np.ndarray
    matrix: np.ndarray


@dataclass(frozen=True, eq=False, kw_only=True)
class Timeline(Prediction):
    """The predictions for a video, window by window.

    Attributes:
        table: ``COLUMNS``, one row per window and AU in order of time. Both frames belong to the window; seconds count
            from the first frame and are missing where the rate is unknown. "confidence" is the lowest score, 0 to 1, of
            the face in the frames that the models read, "success" whether each of them shows it in its place; where
            not, the probability is missing, and the remark says why.
        length, stride: Of the windows in frames.
        path: Of the table as CSV, if written.
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
    face: int = 0,
    heat: bool = True,
) -> ClipPrediction:
    """Predicts the AUs of one clip, from its onset to its offset.

    Args:
        weights: a ``Run``, its folder, a fold's weights.safetensors, or a ``trained.ensemble``.
        source: a video file, or a folder of numbered images.
        onset, offset: frame numbers, both included, the whole by default; a video counts from 0, a folder as its files.
        align: as in ``preprocess.build``; as in training by default.
        folds: of the run whose models are averaged; all by default.
        face: whose, where there are several: 0 for the largest where the first is seen, 1 for the second largest, ...
        heat: whether to make Grad-CAM maps, of every AU.

    Raises:
        FileNotFoundError: there is no such video, or no trained weights.
        BadVideo, BadImage, NoFace: the video cannot be used.
        ValueError: a wrong setting.
    """
    models = ensemble(weights, folds=folds)
    align, remarks = models.alignment(align)
    video, recipe = open_source(source), models.experiment.recipe
    names = {video.name(number): number for number in video.numbers(onset, offset)}
    numbers = list(names.values())
    person = faces.Person(face)
    matrix, notes = alignment.align_clip(
        tuple(names), align, recipe.size, lambda path, rgb: video.read(names[path], rgb), person
    )
    seen = video.read(next((n for path, n in names.items() if path.name == notes["found_in"]), numbers[0]))
    matrix = alignment.squash(seen.shape, recipe.size) if matrix is None else matrix
    positions = frame_positions(torch.tensor([len(numbers)]), recipe.frames)[0].tolist()
    window, frames = Window(numbers[0], numbers[-1]), []
    for at, number in enumerate(numbers):  # each is read, so that one that cannot be is named
        frames.append(alignment.warp(video.read(number), matrix, recipe.size))
        if at in positions and window.success:
            window.look(video, number, align, person)
    strip = np.stack(frames)
    probabilities, maps = _explained(models, torch.from_numpy(strip[positions]), heat)
    if not window.success:
        probabilities[["probability", "lowest", "highest"]] = np.nan
    remarks += filter(None, (notes["remarks"], window.remark))
    if len(strip) < recipe.frames:
        remarks.append(f"{len(strip)} frames, and the model takes {recipe.frames} spread evenly: some repeat")
    if isinstance(video, VideoFile) and offset is None and video.announced > numbers[-1] + 1:
        remarks.append(f"the video announces {video.announced} frames, of which {numbers[-1] + 1} could be read")
    return ClipPrediction(
        source=video.path, remarks=tuple(remarks), **models.about(),
        probabilities=probabilities, n_frames=len(strip), numbers=tuple(numbers[i] for i in positions),
        frames=strip[positions], heat=maps, seen=seen, matrix=matrix,
        confidence=window.confidence, success=window.success,
    )  # fmt: skip


def _explained(models: Ensemble, frames: Tensor, heat: bool) -> tuple[pd.DataFrame, np.ndarray | None]:
    """Probabilities by AU, and maps [N_AU, T, H, W], for one clip's frames [T, H, W], over all models.

    A model's map of an AU is divided by its own maximum first, so that all models have the same weight.
    """
    aus = models.experiment.aus
    rows, maps = [], np.zeros((len(aus), *frames.shape))
    for model in models.models():
        x = frames[None].to(models.device)  # 1 t h w
        with torch.no_grad():
            rows.append(model(x)[0].double().sigmoid().cpu().numpy())
        if heat:
            heats = explain.grad_cam(model, x.expand(len(aus), -1, -1, -1), torch.arange(len(aus)))  # n t-1 h w
            top = heats.amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(heats.dtype).tiny)
            maps[:, len(frames) - heats.shape[1] :] += (heats / top).double().cpu().numpy()
    columns = {"probability": np.mean(rows, 0), "lowest": np.min(rows, 0), "highest": np.max(rows, 0)}
    index = pd.Index([f"AU{n}" for n in aus], name="au")
    return pd.DataFrame({"name": [facs.NAMES[n] for n in aus]} | columns, index), maps / len(rows) if heat else None


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
    face: int = 0,
) -> Timeline:
    """Predicts the AUs of a long video, window by window, each with the face of its own first frame.

    The video is read once, with one of its frames in memory at a time. A window without a usable face, or with a frame
    that cannot be read, has empty values and a remark; the others go on. Frames after the last whole window are left
    out, which a remark says.

    Args:
        weights, source, align, folds, face: as in ``clip``; the face is followed through the video.
        out: a CSV file to write, whole or not at all.
        length, stride: of the windows, in ``unit`` "frames" or "seconds"; by default as long as the median of the run's
            clips (in time, where both rates are known), and half of that.
        fps: frames per second, where the file does not say or says it wrongly.

    Raises:
        FileNotFoundError, BadVideo, BadImage, ValueError: as ``clip``; BadVideo also where no window fits.
        OSError: ``out`` cannot be written.
    """
    models = ensemble(weights, folds=folds)
    align, remarks = models.alignment(align)
    frames, recipe = open_source(source), models.experiment.recipe
    if fps is not None and not 0 < fps < 1e5:
        raise ValueError(f"fps={fps!r}: expected frames a second, above 0")
    fps = fps or frames.fps
    span, step, description = windowing(models, fps, length, stride, unit)
    path = None if out is None else Path(out).expanduser()
    if path is not None:
        with files.explained(path.parent, "the timeline"):
            path.parent.mkdir(parents=True, exist_ok=True)
    rows: list[list] = []
    ends: list[int] = []  # the first and the last frame so far

    def counted(bar: tqdm) -> Iterator[int]:
        for number in frames:
            ends[1:] = [number]
            bar.update()
            yield number

    with tqdm(total=frames.announced or None, desc=frames.path.name, unit="frame") as bar:
        stream = windows(
            frames, counted(bar), span, step, align=align, size=recipe.size, frames=recipe.frames, face=face
        )
        while waiting := list(itertools.islice(stream, WAITING)):
            for window, probabilities in zip(waiting, _probabilities(models, waiting), strict=True):
                seconds = [fps and round((n - ends[0]) / fps, 3) for n in (window.first, window.last + 1)]
                for au, probability in zip(models.experiment.aus, probabilities, strict=True):
                    row = [window.first, window.last, *seconds, f"AU{au}", probability]
                    rows.append([*row, window.remark, window.confidence, window.success])
        if not rows:
            raise BadVideo(f"{frames.path}: {bar.n} frames, less than a window of {span}; give a smaller length")
    table = pd.DataFrame(rows, columns=COLUMNS).astype({"start_s": float, "end_s": float, "probability": float})
    if path is not None:
        with files.explained(path, "the timeline"):
            files.write_text(path, table.to_csv(index=False, lineterminator="\n"))
    remarks = [description, *remarks]
    if ends[1] > rows[-1][1]:
        remarks.append(f"the frames after {rows[-1][1]} fill no window and are left out")
    return Timeline(
        source=frames.path, remarks=tuple(remarks), **models.about(),
        table=table, length=span, stride=step, fps=fps, path=path,
    )  # fmt: skip


def _probabilities(models: Ensemble, windows: list[Window]) -> np.ndarray:
    """The models' mean of each window's AUs [N, N_AU], to six places; NaN without success."""
    usable = [i for i, window in enumerate(windows) if window.success]
    probabilities = np.full((len(windows), len(models.experiment.aus)), np.nan)
    if usable:
        x = torch.from_numpy(np.stack([windows[i].frames for i in usable]))  # b t h w
        with torch.no_grad():
            logits = [torch.cat([m(part.to(models.device)) for part in x.split(AT_ONCE)]) for m in models.models()]
        probabilities[usable] = torch.stack(logits).double().sigmoid().mean(0).cpu().numpy().round(6)
    return probabilities
