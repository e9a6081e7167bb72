"""Predictions: the schema of the table that every method returns, its checks, and its arrays."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path

import numpy as np
import pandas as pd

from aullm_lib import facs

COLUMNS = ["clip_id", "subject", "au", "label", "probability"]
"""One row per (clip, AU): label 0 or 1, probability 0 to 1. A column ``fold`` may stand beside them.

The label is missing where a release does not code the AU: that is unknown, and no score counts it.
"""
TEXT = {"clip_id": str, "subject": str, "au": str, "fold": str}
"""The dtypes with which a CSV file is read: subject "006" stays text."""


def read(path: str | Path) -> pd.DataFrame:
    """Reads predictions from a CSV file and checks them. Raises as ``check``."""
    predictions = pd.read_csv(path, dtype=TEXT)
    check(predictions)
    return predictions


def check(
    predictions: pd.DataFrame, *, clips: Collection[str] | None = None, folds: Collection[str] | None = None
) -> None:
    """Refuses predictions that cannot be scored.

    Args:
        predictions: A table with COLUMNS, for example ``Run.predictions()``.
        clips: Clip ids that must be there, and no others.
        folds: Folds that must be there, and no others.

    Raises:
        TypeError: Not a DataFrame.
        ValueError: Names the column, or the first (clip, AU): a column missing or twice, no rows, a missing value, a
            clip predicted twice, in part, not at all or unexpectedly, a clip of two folds or subjects, a fold without
            predictions, an AU that FACS does not have, a label other than 0 or 1, or missing for a part of a
            release's clips (the first part of their ids) or for all clips, a probability outside 0 to 1.
    """
    if not isinstance(predictions, pd.DataFrame):
        raise TypeError(f"predictions: expected a DataFrame, got {type(predictions).__name__}")
    missing = [column for column in COLUMNS if column not in predictions]
    if missing:
        raise ValueError(f"predictions lack the columns {missing}")
    if not predictions.columns.is_unique:
        twice = predictions.columns[predictions.columns.duplicated()][0]
        raise ValueError(f"predictions have the column {twice} twice")
    if not len(predictions):
        raise ValueError("no predictions to score")
    keys = [column for column in ("clip_id", "au", "subject", "fold") if column in predictions]
    for column in keys:
        _refuse(predictions, predictions[column].isna(), f"no {column}")
    aus = predictions["au"].drop_duplicates()
    not_facs = set(aus) - {f"AU{number}" for number in facs.NAMES}
    _refuse(predictions, predictions["au"].isin(not_facs), "not an AU that FACS has (AU1, AU2, ...)")
    _refuse(predictions, predictions.duplicated(["clip_id", "au"]), "predicted twice")
    label, probability = _numbers(predictions, "label"), _numbers(predictions, "probability")
    unknown = np.isnan(label)
    if unknown.any():  # a release codes an AU or does not, never for a part of its clips
        release, known = predictions["clip_id"].str.partition("/")[0], pd.Series(~unknown, predictions.index)
        here, anywhere = (
            known.groupby(keys).transform("any") for keys in ([release, predictions["au"]], predictions["au"])
        )
        _refuse(predictions, unknown & (here | ~anywhere), "label {}, expected 0 or 1", "label")
    _refuse(predictions, ~(np.isin(label, (0, 1)) | unknown), "label {}, expected 0 or 1", "label")
    outside = ~((probability >= 0) & (probability <= 1))  # also NaN
    _refuse(predictions, outside, "probability {}, expected 0 to 1", "probability")
    by_clip = predictions.groupby("clip_id", observed=True)
    sizes = by_clip.size()
    if (sizes < len(aus)).any():
        raise ValueError(f"{sizes.index[sizes < len(aus)][0]}: some of its AUs were not predicted")
    for column in keys[2:]:
        differs = predictions[column] != by_clip[column].transform("first")
        _refuse(predictions, differs, f"its clip has two values of {column}, one of them {{}}", column)
    for column, names in (("clip_id", clips), ("fold", folds)):
        if names is None:
            continue
        if column not in predictions:
            raise ValueError(f"predictions lack the column {column!r}")
        predicted = set(predictions[column])
        for name in names:
            if name not in predicted:
                raise ValueError(f"{column} {name}: no predictions")
        for name in sorted(predicted - set(names), key=str):
            raise ValueError(f"{column} {name}: predicted, but not expected")


def _refuse(predictions: pd.DataFrame, wrong: np.ndarray | pd.Series, complaint: str, column: str = "au") -> None:
    """Raises ValueError for the first row that is wrong; {} in the complaint is its value in the column."""
    if np.any(wrong):
        row = predictions.iloc[int(np.argmax(np.asarray(wrong)))]
        raise ValueError(f"{row['clip_id']}, {row['au']}: {complaint.format(row[column])}")


def _numbers(predictions: pd.DataFrame, column: str) -> np.ndarray:
    """A column as float64; raises ValueError naming the first row that holds something else."""
    try:
        return predictions[column].to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError):
        other = ~predictions[column].map(lambda value: isinstance(value, Real)).to_numpy(dtype=bool)
        _refuse(predictions, other, f"{column} {{!r}}, expected a number", column)
        raise


@dataclass(frozen=True, eq=False)
class Arrays:
    """Checked predictions of n clips and a AUs as arrays: clips, subjects and folds sorted, AUs by number."""

    aus: list[str]  # a
    clips: pd.Index  # n
    subjects: pd.Index  # s
    folds: pd.Index  # f; the subjects where there is no column fold
    subject: np.ndarray  # n, into subjects
    fold: np.ndarray  # n, into folds
    label: np.ndarray  # n a, bool
    known: np.ndarray  # n a, bool: whether the label is
    probability: np.ndarray  # n a, float64

    @classmethod
    def of(cls, predictions: pd.DataFrame) -> "Arrays":
        """Raises as ``check``."""
        check(predictions)
        aus = sorted(predictions["au"].unique(), key=lambda au: int(au[2:]))
        rows = pd.MultiIndex.from_frame(predictions[["clip_id", "au"]])
        label, probability = (
            pd.Series(_numbers(predictions, column), rows).unstack("au")[aus]  # noqa: PD010  # no row occurs twice
            for column in ("label", "probability")
        )
        by_clip = predictions.drop_duplicates("clip_id").set_index("clip_id").loc[label.index]
        subject, subjects = pd.factorize(by_clip["subject"], sort=True)
        fold, folds = pd.factorize(by_clip["fold" if "fold" in by_clip else "subject"], sort=True)
        return cls(
            aus, label.index, pd.Index(subjects), pd.Index(folds), subject, fold, label.to_numpy() == 1,
            label.notna().to_numpy(), probability.to_numpy(),
        )  # fmt: skip

    def same_samples(self, other: "Arrays") -> None:
        """Raises ValueError naming the first AU, clip, subject, fold or label in which two predictions differ."""
        for kind, one, two in (("AU", self.aus, other.aus), ("clip", self.clips, other.clips)):
            for name in sorted(set(one) ^ set(two), key=str):
                side = "first" if name in set(one) else "second"
                raise ValueError(f"{kind} {name}: predicted in the {side} of two runs only")
        for kind in ("subject", "fold"):
            one, two = (getattr(side, f"{kind}s")[getattr(side, kind)] for side in (self, other))  # n names
            for i in np.flatnonzero(one != two):
                raise ValueError(f"clip {self.clips[i]}: {kind} {one[i]} in one of two runs, {two[i]} in the other")
        for i, j in np.argwhere((self.label != other.label) | (self.known != other.known)):
            raise ValueError(f"clip {self.clips[i]}, {self.aus[j]}: its label differs between two runs")

    def by_subject(self, present: np.ndarray) -> np.ndarray:
        """Decisions bool [n, ..., a] -> confusion counts per subject [s, ..., a, 4]: TP FP FN TN, as floats."""
        shape = len(self.clips), *(1,) * (present.ndim - 2), len(self.aus)
        true, false = self.label.reshape(shape), (self.known & ~self.label).reshape(shape)
        cells = np.stack([present & true, present & false, ~present & true, ~present & false], -1)  # n ... a 4
        member = (np.arange(len(self.subjects))[:, None] == self.subject).astype(float)  # s n
        return (member @ cells.reshape(len(cells), -1)).reshape(-1, *cells.shape[1:])

    def positive_subjects(self) -> np.ndarray:
        """How many subjects show each AU: int [a]."""
        member = np.arange(len(self.subjects))[:, None] == self.subject  # s n
        return (member @ self.label).sum(0)

    def by_rank(self) -> "Arrays":
        """The same with each AU's probabilities replaced by their ranks, from 0 to 1, equal ones by their mean."""
        return replace(self, probability=pd.DataFrame(self.probability).rank(pct=True).to_numpy())
