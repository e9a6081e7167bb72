"""Predictions for user videos: of one clip, or of a long video window by window.

The preprocessing is training's: one face box and eye line from the first frame, aligned, grey, small, and
``Recipe.frames`` frames spread evenly over the clip (shorter clips repeat frames, ``clips.frame_positions``). The
result is the probability that an AU occurs, which is neither an intensity nor calibrated; every prediction states its
limits in words.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from aullm_lib import explain, facs
from aullm_lib.clips import frame_positions
from aullm_lib.metrics import thresholds
from aullm_lib.predict import tables
from aullm_lib.predict.prediction import COLUMNS, ClipPrediction, Timeline
from aullm_lib.predict.reading import open_source
from aullm_lib.predict.windows import Window, windowing, windows
from aullm_lib.preprocess import alignment, faces
from aullm_lib.runs import Run
from aullm_lib.support.video import BadVideo, FrameSource
from aullm_lib.trained import Ensemble, ensemble

AT_ONCE = 32  # clips through a model together
WAITING = 256  # windows that wait for the models, a few small frames each
UNLIKE = 3  # times as long as a training clip, or as short
POLICIES = {
    "fixed": thresholds.POLICIES["fixed"],
    "nested": "for each AU the threshold with the best two-class macro F1 on the run's held-out predictions",
}


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
        image = video.read(number)
        window.prints.add(hash(image.tobytes()))
        frames.append(alignment.warp(image, matrix, recipe.size))
        if at in positions and window.success:
            window.look(video, number, align, person)
    window.finish(0)
    strip = np.stack(frames)
    probabilities, maps = _explained(models, torch.from_numpy(strip[positions]), heat and window.success)
    if not window.success:
        probabilities[["probability", "lowest", "highest"]] = np.nan
    remarks += filter(None, (notes["remarks"], window.remark))
    remarks += _unlike(models, "clip", len(strip), video.fps)
    if len(strip) < recipe.frames:
        remarks.append(f"{len(strip)} frames, and the model takes {recipe.frames} spread evenly: some repeat")
    remarks += video.remarks
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
    neutral: bool = False,
    policy: str = "fixed",
) -> Timeline:
    """Predicts the AUs of a long video, window by window, each with the face of its own first frame.

    The video is read once, with one of its frames in memory at a time. A window without a usable face, or with a frame
    that cannot be read, has empty values and a remark; the others go on. Frames after the last whole window are left
    out, which a remark says.

    Args:
        weights, source, align, folds, face: as in ``clip``; the face is followed through the video.
        out: the long table to write, ``<name>.csv``, with ``<name>_wide.csv`` and ``<name>.json`` beside it
            (``tables.write``): whole or not at all, but after Ctrl-C those of the windows that are done.
        length, stride: of the windows, in ``unit`` "frames" or "seconds"; by default as long as the median of the run's
            clips (in time, where both rates are known), and half of that.
        fps: frames per second, where the file does not say or says it wrongly.
        neutral: whether to give also what differs from the person's usual state: the median over the video's windows
            with a face is subtracted from each AU's logit.
        policy: where the thresholds come from: "fixed" is 0.5; "nested" is, for each AU, the one with the best
            two-class macro F1 on the run's held-out predictions, all of which are of other people than this one.

    Raises:
        FileNotFoundError, BadVideo, BadImage, ValueError: as ``clip``; BadVideo also where no window fits; ValueError
            also where ``out`` is an input or no file.
        OSError: ``out`` cannot be written.
        KeyboardInterrupt: with a note on what is written.
    """
    models = ensemble(weights, folds=folds)
    align, remarks = models.alignment(align)
    limits, settings = _thresholds(models, policy)
    frames, recipe = open_source(source), models.experiment.recipe
    if fps is not None and not 0 < fps < 1e5:
        raise ValueError(f"fps={fps!r}: expected frames a second, above 0")
    asked, fps = fps, fps or frames.fps
    even = asked is not None or frames.fps is None or (unit == "frames" and (length is not None or not models.fps))
    span, step, description = windowing(models, fps, length, stride, unit)
    remarks = [description, *_unlike(models, "window", span, fps), *remarks]
    path = None
    if out is not None:
        inputs = [frames.path, *models.paths, *([models.run.path] if models.run else [])]
        path = tables.refuse(out, inputs)
    done: list[_Scored] = []
    with tqdm(total=frames.announced * (1 + len(models.paths)) or None, desc=frames.path.name, unit="step") as bar:
        numbers = _Counted(frames, bar)
        options = {"align": align, "size": recipe.size, "frames": recipe.frames, "face": face}
        clock = None if even else lambda number: round((frames.time(number) or 0.0) * (fps or 1.0))  # by time stamps
        stream = windows(frames, numbers, span, step, clock=clock, **options)
        waiting = WAITING if len(models.paths) > 1 else AT_ONCE  # several models are loaded anew each time
        interrupt: KeyboardInterrupt | None = None
        try:
            while some := list(itertools.islice(stream, waiting)):
                done += map(_Scored.of, some, _probabilities(models, some, partial(bar.update, numbers.taken())))
            bar.update(numbers.taken() * len(models.paths))  # those after the last window
        except KeyboardInterrupt as error:
            interrupt = error
    if not done:
        raise interrupt or BadVideo(
            f"{frames.path}: {numbers.count} frames, less than a window of {span}; give a smaller length"
        )
    when = frames.time if asked is None else lambda number: (number - numbers.first) / asked
    table = _table(done, models.experiment.aus, when)
    remarks += frames.remarks
    if neutral:
        logits = np.log(table["probability"]) - np.log1p(-table["probability"].clip(upper=1 - 1e-15))
        medians = logits.groupby(table["au"], sort=False).median()
        table["neutral"] = (1 / (1 + np.exp(table["au"].map(medians) - logits))).round(6)
        count = sum(one.success for one in done)
        remarks.append(f"neutral baseline: from each AU's logits their median over {count} windows is subtracted")
        settings["neutral"] = {"windows": count, "median_logits": medians.dropna().round(6).to_dict()}
    table["probability"] = table["probability"].round(6)
    if interrupt:
        remarks.append(f"stopped (Ctrl-C) after frame {done[-1].last}: the rest of the video is missing")
    elif numbers.last > done[-1].last:
        remarks.append(f"the frames after {done[-1].last} fill no window and are left out")
    timeline = Timeline(
        source=frames.path, remarks=tuple(remarks), **models.about(),
        table=table, length=span, stride=step, fps=fps, path=path, complete=interrupt is None, thresholds=limits,
        settings=settings | {"align": align, "face": face, "frames_read_of_each_window": recipe.frames},
        boxes=np.array([one.box for one in done]), matrices=np.array([one.matrix for one in done]),
    )  # fmt: skip
    if path is not None:
        tables.write(timeline, path)
    if interrupt:
        kept = f"{path} is valid and has" if path is not None else "nothing is written of"
        interrupt.add_note(f"{kept} the {len(done)} windows up to frame {done[-1].last} of {frames.path.name}")
        raise interrupt
    return timeline


@dataclass(frozen=True, eq=False)
class _Scored:
    """What is kept of a window."""

    first: int
    last: int
    remark: str
    confidence: float
    success: bool
    probabilities: np.ndarray
    box: tuple[float, float, float, float]
    matrix: np.ndarray

    @classmethod
    def of(cls, window: Window, probabilities: np.ndarray) -> "_Scored":
        box = window.sight.face.box if window.sight else (np.nan,) * 4
        matrix = np.full((2, 3), np.nan) if window.matrix is None else window.matrix
        return cls(window.first, window.last, window.remark, window.confidence, window.success, probabilities, box,
                   matrix)  # fmt: skip


class _Counted:
    """The numbers of a video's frames in order, counted while they are read."""

    def __init__(self, frames: FrameSource, bar: tqdm) -> None:
        self._frames, self._bar, self._fresh = frames, bar, 0
        self.first = self.last = self.count = 0

    def __iter__(self) -> Iterator[int]:
        for number in self._frames:
            self.first = self.first if self.count else number
            self.last, self.count, self._fresh = number, self.count + 1, self._fresh + 1
            self._bar.update()
            yield number

    def taken(self) -> int:
        """How many were read since the last call."""
        fresh, self._fresh = self._fresh, 0
        return fresh


def _table(done: list[_Scored], aus: Sequence[int], when: Callable[[int], float | None]) -> pd.DataFrame:
    """``COLUMNS`` of a video's windows; ``when`` a frame is shown, in seconds from the first."""
    rows = []
    for one in done:
        seconds = [None if (time := when(n)) is None else round(time, 3) for n in (one.first, one.last + 1)]
        for au, probability in zip(aus, one.probabilities, strict=True):
            row = [one.first, one.last, *seconds, f"AU{au}", probability]
            rows.append([*row, one.remark, one.confidence, one.success])
    return pd.DataFrame(rows, columns=COLUMNS).astype({"start_s": float, "end_s": float, "probability": float})


def _probabilities(models: Ensemble, windows: list[Window], advance: Callable[[], object]) -> np.ndarray:
    """The models' mean of each window's AUs [N, N_AU]; NaN without success. Calls ``advance`` after each model."""
    usable = [i for i, window in enumerate(windows) if window.success]
    probabilities = np.full((len(windows), len(models.experiment.aus)), np.nan)
    if not usable:
        for _ in models.paths:
            advance()
        return probabilities
    x = torch.from_numpy(np.stack([windows[i].frames for i in usable]))  # b t h w
    logits = []
    for model in models.models():
        with torch.no_grad():
            logits.append(torch.cat([model(part.to(models.device)) for part in x.split(AT_ONCE)]))
        advance()
    probabilities[usable] = torch.stack(logits).double().sigmoid().mean(0).cpu().numpy()
    return probabilities


def _unlike(models: Ensemble, what: str, frames: int, fps: float | None) -> list[str]:
    """In what a clip or window of so many frames is unlike those that the models were trained on, in words."""
    remarks = []
    if models.median_frames:
        ratio = frames / models.median_frames * (models.fps / fps if fps and models.fps else 1)
        if not 1 / UNLIKE < ratio < UNLIKE:
            remarks.append(
                f"the {what} is {ratio:.2g} times as long as the median clip of the run: the models never learned from "
                "such lengths"
            )
    if fps and models.fps and not 0.9 < fps / models.fps < 1.1:
        remarks.append(f"{fps:.4g} frames a second, but {models.fps} in the training clips")
    return remarks


def _thresholds(models: Ensemble, policy: str) -> tuple[pd.Series, dict[str, Any]]:
    """The threshold of each AU, and what JSON says of them and of the run.

    Raises:
        ValueError: An unknown policy, or one that needs the predictions of a run where there is none.
    """
    names, run = [f"AU{au}" for au in models.experiment.aus], models.run
    if policy not in POLICIES:
        raise ValueError(f"policy={policy!r}: choose one of {', '.join(POLICIES)}")
    values = pd.Series(0.5, names)
    if policy == "nested":
        if run is None:
            raise ValueError("policy='nested': these weights are of no run, whose predictions it needs; take 'fixed'")
        # To a person outside the run every subject of the run is another one.
        values = thresholds.chosen(run.predictions(), "test-tuned").iloc[0][names]
    home = run.path.resolve() if run else None
    about = {
        "run": run.path.name if run else None,
        "profile": home.parents[1].name if home and len(home.parents) > 2 and home.parents[2].name == "runs" else None,
        "experiment": models.experiment.to_dict(),
        "trained_on": models.releases,
        "protocol": run.info["protocol"] if run else None,
        "folds": [path.parent.name for path in models.paths] if run else None,
        "training_fps": models.fps,
        "training_median_frames": models.median_frames,
        "policy": {"name": policy, "how": POLICIES[policy]},
    }
    return values.astype(float), about
