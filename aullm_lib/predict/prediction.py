"""What predictions are: of one clip, and of a long video window by window."""

from dataclasses import dataclass
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
