"""What predictions are: of one clip, and of a long video window by window."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

SYNTHETIC = "models trained on a synthetic release: no result on real faces"
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
        heat: [N_AU, T, S, S], each AU's between 0 and 1; 0 in the first frame, which no map has. None if not asked for
            or without success.
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
            not, the probability is missing, and the remark says why. With a neutral baseline there is one more column,
            "neutral": 0 to 1, no probability; at 0.5 the logit is the AU's median over the video's windows.
        length, stride: Of the windows in frames.
        path: Of the table as CSV, if written.
        complete: False after Ctrl-C: the table ends before the video.
        thresholds: By AU; it is predicted present from this probability on.
        settings: How all this was made, as values of JSON.
        boxes, matrices: Of the face in each window's first frame, [N, 4] (left, top, width, height), and the map
            [N, 2, 3] from there to aligned frames; NaN where there is none.
    """

    table: pd.DataFrame
    length: int
    stride: int
    fps: float | None
    path: Path | None
    complete: bool
    thresholds: pd.Series
    settings: dict[str, Any]
    boxes: np.ndarray
    matrices: np.ndarray

    def by_window(self, column: str) -> pd.DataFrame:
        """A column of the table as one row per window, in order of time, and one column per AU."""
        names = list(self.thresholds.index)
        return pd.DataFrame(self.table[column].to_numpy().reshape(-1, len(names)), columns=names)

    @cached_property
    def windows(self) -> pd.DataFrame:
        """The table's columns of windows, one row for each."""
        return self.table.drop_duplicates("start_frame").drop(columns=["au", "probability"]).reset_index(drop=True)

    @property
    def timed(self) -> bool:
        """Whether the windows' times are known."""
        return bool(self.fps) and bool(self.windows[["start_s", "end_s"]].notna().all(axis=None))

    def spans(self, seconds: bool) -> np.ndarray:
        """Where each window is drawn, [N, 2] in seconds or frame numbers: around its middle, halfway to its neighbours.

        It is as wide as a step at both ends, and where frame numbers are missing.
        """
        frames = (self.windows["start_frame"] + self.windows["end_frame"] + 1).to_numpy() / 2
        times = self.windows[["start_s", "end_s"]].to_numpy().mean(1) * (self.fps or np.nan)
        # A video's frames may lie unevenly in time; a folder's missing numbers leave a hole in both.
        near = (np.diff(frames) <= 1.5 * self.stride) | (np.diff(times) <= 1.5 * self.stride)
        middle = times if seconds else frames
        spans = middle[:, None] + np.array([-0.5, 0.5]) * self.stride
        spans[1:, 0][near] = spans[:-1, 1][near] = (middle[1:] + middle[:-1])[near] / 2
        return spans / self.fps if seconds and self.fps else spans

    @property
    def shown(self) -> str:
        """The column of the table that pictures show."""
        return "neutral" if "neutral" in self.table else "probability"

    @property
    def meaning(self) -> str:
        """What that column says, in words."""
        if self.shown == "neutral":
            return "above or below the AU's median in this video (0.5); no probability"
        return "probability that an AU occurs"
