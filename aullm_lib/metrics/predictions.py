"""Predictions: the schema of the file that every method hands on, its checks, and the same as arrays."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aullm_lib import facs

COLUMNS = ["clip_id", "subject", "au", "label", "probability"]


def _numbers(predictions: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64 [rows]; raises ValueError naming the first sample that holds something else."""
    try:
        return predictions[column].to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        pass
    for clip, au, value in zip(predictions["clip_id"], predictions["au"], predictions[column], strict=True):
        try:
            if np.ndim(value):  # a list or an array in a cell
                raise ValueError
            float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{clip}, {au}: {column} {value!r}, expected a number") from None
    raise ValueError(f"column {column}: expected numbers, got {predictions[column].dtype}")


def check(
    predictions: pd.DataFrame, *, clips: Collection[str] | None = None, folds: Collection[str] | None = None
) -> None:
    """Refuses what cannot be scored.

    predictions: ``Run.predictions()``: one row a (clip, AU) with clip_id, subject, au, label (0/1), probability (0 to
    1), and fold if there is one. clips, folds: the ids that ought to be there, where the caller knows them.

    Raises ValueError naming the field, or the first sample: a column missing or twice, nothing to score, a clip
    predicted twice, in part, not at all or not expected, a fold without predictions, a clip in two folds or of two
    subjects, an AU that FACS does not have, a label other than 0 or 1, a probability that is NaN or outside 0 to 1.
    TypeError for anything but a DataFrame.
    """
    if not isinstance(predictions, pd.DataFrame):
        raise TypeError(f"predictions: expected a DataFrame, got {type(predictions).__name__}")
    missing = [c for c in COLUMNS if c not in predictions]
    if missing:
        raise ValueError(f"predictions lack the columns {missing}")
    if not predictions.columns.is_unique:
        raise ValueError(
            f"predictions have the column {predictions.columns[predictions.columns.duplicated()][0]} twice"
        )
    if not len(predictions):
        raise ValueError("no predictions to score")
    keys = [c for c in ("clip_id", "au", "subject", "fold") if c in predictions]

    def refuse(wrong: np.ndarray | pd.Series, complaint: str, column: str | None = None) -> None:
        if np.any(wrong):
            first = predictions.iloc[int(np.argmax(np.asarray(wrong)))]
            value = "" if column is None else f" {first[column]}"
            raise ValueError(f"{first['clip_id']}, {first['au']}: {complaint.format(value)}")

    for column in keys:
        refuse(predictions[column].isna(), f"no {column}")
    units = predictions["au"].drop_duplicates()
    unknown = set(units) - {f"AU{number}" for number in facs.NAMES}
    refuse(predictions["au"].isin(unknown), "not an AU that FACS has (AU1, AU2, ...)")
    refuse(predictions.duplicated(["clip_id", "au"]), "predicted twice")
    label, probability = _numbers(predictions, "label"), _numbers(predictions, "probability")
    refuse(~np.isin(label, (0, 1)), "label{}, expected 0 or 1", "label")
    refuse(~((probability >= 0) & (probability <= 1)), "probability{}, expected 0 to 1", "probability")  # also NaN
    sizes = predictions.groupby("clip_id", observed=True)["au"].size()
    short = sizes.index[sizes < len(units)]
    if len(short):
        raise ValueError(f"{short[0]}: some of its AUs were not predicted")
    for column in keys[2:]:
        first = predictions.groupby("clip_id", observed=True)[column].transform("first")
        refuse(predictions[column] != first, f"its clip has two values of {column}, one of them{{}}", column)
    for column, wanted in (("clip_id", clips), ("fold", folds)):
        if wanted is None:
            continue
        if column not in predictions:
            raise ValueError(f"predictions lack the column {column!r}")
        there = set(predictions[column])
        for name in wanted:
            if name not in there:
                raise ValueError(f"{column} {name}: no predictions")
        for name in sorted(there - set(wanted), key=str):
            raise ValueError(f"{column} {name}: predicted, but not expected")


@dataclass(frozen=True, eq=False)
class Arrays:
    """Checked predictions laid out: n clips by a AUs, clips, subjects and folds in sorted order, AUs by number."""

    units: list[str]  # [a]
    clips: pd.Index  # [n]
    subjects: pd.Index  # [s]
    folds: pd.Index  # [f] the fold's names, or the subjects' where there is no column fold
    subject: np.ndarray  # [n] into subjects
    fold: np.ndarray  # [n] into folds
    label: np.ndarray  # [n, a] bool
    probability: np.ndarray  # [n, a] float64
    cells: tuple[np.ndarray, np.ndarray]  # [rows] twice: clip and AU of each row of the frame

    @classmethod
    def of(cls, predictions: pd.DataFrame) -> "Arrays":
        """Raises ValueError as ``check``."""
        check(predictions)
        units = sorted(predictions["au"].unique(), key=lambda au: int(au[2:]))
        clip, clips = pd.factorize(predictions["clip_id"], sort=True)
        au = pd.Index(units).get_indexer(predictions["au"])
        one = np.unique(clip, return_index=True)[1]  # [n] a row of each clip
        subject, subjects = pd.factorize(predictions["subject"].iloc[one], sort=True)
        fold, folds = pd.factorize(predictions["fold" if "fold" in predictions else "subject"].iloc[one], sort=True)
        label, probability = np.empty((len(clips), len(units)), bool), np.empty((len(clips), len(units)))
        label[clip, au] = _numbers(predictions, "label") == 1
        probability[clip, au] = _numbers(predictions, "probability")
        return cls(
            units, pd.Index(clips), pd.Index(subjects), pd.Index(folds), subject, fold, label, probability, (clip, au)
        )

    def same_samples(self, other: "Arrays") -> None:
        """Raises ValueError naming the first AU, clip, subject, fold or label in which two sets of predictions differ.

        For two runs that are to be compared, or averaged over seeds.
        """
        for kind, one, two in (("AU", self.units, other.units), ("clip", self.clips, other.clips)):
            alone = sorted(set(one) ^ set(two), key=str)
            if alone:
                which = "first" if alone[0] in set(one) else "second"
                raise ValueError(f"{kind} {alone[0]}: predicted in the {which} of two runs only")
        for what in ("subject", "fold"):
            mine, theirs = (getattr(side, f"{what}s")[getattr(side, what)] for side in (self, other))  # [n] names
            differ = np.flatnonzero(mine != theirs)
            if len(differ):
                i = differ[0]
                raise ValueError(f"clip {self.clips[i]}: {what} {mine[i]} in one of two runs, {theirs[i]} in the other")
        cells = np.argwhere(self.label != other.label)
        if len(cells):
            i, j = cells[0]
            raise ValueError(f"clip {self.clips[i]}, {self.units[j]}: its label differs between two runs")

    def by_subject(self, said: np.ndarray) -> np.ndarray:
        """Decisions bool [n, ..., a] -> confusion counts of each subject [s, ..., a, 4]: TP FP FN TN, as floats."""
        true = self.label.reshape(len(self.clips), *(1,) * (said.ndim - 2), len(self.units))
        cells = np.stack([said & true, said & ~true, ~said & true, ~said & ~true], -1)  # [n, ..., a, 4]
        member = (np.arange(len(self.subjects))[:, None] == self.subject).astype(float)  # [s, n]
        return (member @ cells.reshape(len(cells), -1)).reshape(-1, *cells.shape[1:])
