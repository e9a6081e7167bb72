"""From stored probabilities to decisions: predictions checked, the threshold policies, confusion counts, their F1.

The paper gives no threshold. Its released script takes, for each AU, the best of 16 thresholds on the pooled test
labels, the very labels that it then scores; the baselines beside it take a fixed decision. A scorer that knows nothing
gains 3 to 4 points of two-class macro F1 that way (``metrics.tuning``). Each policy is therefore a column of its own,
from the same probabilities and by name.
"""

from collections.abc import Collection, Hashable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from aullm_lib import facs

POLICIES = {
    "fixed": "threshold 0.5",
    "nested": "threshold chosen per AU on the other subjects",
    "test-tuned": "threshold tuned on the test labels (released script)",
}
GRID = np.round(0.10 + 0.05 * np.arange(16), 2)
"""[16] the released script's thresholds, 0.10 to 0.85. Nested takes the same: only the labels it looks at differ."""

# Nearest 0.5 first, of two equally near the lower: the first maximum in this order is the one that ties are left to.
_ORDER = np.lexsort((GRID, np.round(abs(GRID - 0.5), 2)))
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

    def on_grid(self) -> np.ndarray:
        """Confusion counts of each subject at each threshold of GRID: [s, 16, a, 4]."""
        return self.by_subject(self.probability[:, None] >= GRID[:, None])


def f1(counts: np.ndarray) -> np.ndarray:
    """Confusion counts [..., 4] (TP FP FN TN) -> [..., 2]: F1 of Eq. 5, and two-class macro F1; 0/0 counts as 0.

    Both are NaN where there is no positive, and macro F1 also where there is no negative: a score for a class that the
    sample does not hold means nothing.
    """
    tp, fp, fn, tn = np.moveaxis(np.asarray(counts, float), -1, 0)
    present = 2 * tp / np.maximum(2 * tp + fp + fn, 1)
    absent = 2 * tn / np.maximum(2 * tn + fp + fn, 1)
    some, both = tp + fn > 0, (tp + fn > 0) & (tn + fp > 0)
    return np.stack([np.where(some, present, np.nan), np.where(both, (present + absent) / 2, np.nan)], -1)


def best(counts: np.ndarray) -> np.ndarray:
    """Confusion counts over GRID [..., 16, a, 4] -> which threshold has the best two-class macro F1: int [..., a].

    Ties go to the threshold nearest 0.5, of two equally near to the lower; so does an AU of one class, for which there
    is nothing to choose by: it keeps 0.5.
    """
    macro = np.nan_to_num(f1(counts)[..., 1], nan=-1.0)
    # Rounded, so that equal fractions that differ in their last bit still tie.
    return _ORDER[np.round(macro[..., _ORDER, :], 12).argmax(-2)]


def limits(arrays: Arrays, policy: str, threshold: float = 0.5) -> np.ndarray:
    """The thresholds [f, a] of a policy; see ``decide``. Raises ValueError."""
    shape = len(arrays.folds), len(arrays.units)
    if policy not in POLICIES:
        raise ValueError(f"policy={policy!r}: expected one of {list(POLICIES)}")
    if policy != "fixed" and threshold != 0.5:
        raise ValueError(f"threshold={threshold!r}: the policy {policy!r} chooses its own")
    if not 0 < threshold < 1:
        raise ValueError(f"threshold={threshold!r}: expected a probability between 0 and 1")
    if policy == "fixed":
        return np.full(shape, float(threshold))
    counts = arrays.on_grid()
    if policy == "test-tuned":
        return np.broadcast_to(GRID[best(counts.sum(0))], shape)
    # By subject, not by clip: a subject that has clips in two folds is held out of the choice for both.
    held = np.zeros((shape[0], len(arrays.subjects)), bool)  # [f, s]
    held[arrays.fold, arrays.subject] = True
    if held.all(1).any():
        alone = arrays.folds[held.all(1)][0]
        raise ValueError(
            f"fold {alone}: no subject outside it to choose a threshold on; the policy 'nested' needs several folds, "
            "and a cross-domain run has one"
        )
    return GRID[best(np.tensordot((~held).astype(float), counts, 1))]


def decide(predictions: pd.DataFrame, policy: str = "fixed", *, threshold: float = 0.5) -> pd.Series:
    """Whether each (clip, AU) is said to be present: bool, aligned with the rows of ``predictions``.

    An AU is said to be present where its probability is at least the threshold.

    - "fixed": ``threshold`` for all.
    - "nested": for each held-out fold (column ``fold``, else ``subject``) and each AU, the threshold of GRID that has
      the best two-class macro F1 (pooled) on the held-out predictions of all other subjects. It is honest: no label of
      a subject has a part in the decisions on that subject's clips. Its limit: the models that made the other
      subjects' predictions were trained with this subject's clips among theirs, so the thresholds are not wholly
      independent of it; only thresholds from an inner loop of training would be. An AU of which the other subjects
      hold one class only keeps 0.5.
    - "test-tuned": for each AU the threshold of GRID with the best two-class macro F1 on all labels here, the ones
      that are then scored. The released script's; for comparison with the paper's numbers only.

    Raises ValueError: as ``check``; an unknown policy; nested with a fold beside which there is no other subject.
    """
    arrays = Arrays.of(predictions)
    said = arrays.probability >= limits(arrays, policy, threshold)[arrays.fold]  # [n, a]
    return pd.Series(said[arrays.cells], index=predictions.index, name="present")


def chosen(predictions: pd.DataFrame, policy: str = "fixed", *, threshold: float = 0.5) -> pd.DataFrame:
    """The thresholds that ``decide`` takes: a row a fold, a column an AU. Raises as ``decide``."""
    arrays = Arrays.of(predictions)
    index: pd.Index[Hashable] = arrays.folds.rename("fold")
    return pd.DataFrame(limits(arrays, policy, threshold), index=index, columns=pd.Index(arrays.units, name="au"))
