"""The schema of predictions: what is refused, and by which name."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from aullm_lib.metrics import predictions


def table():
    """Two clips of two subjects, two AUs."""
    return pd.DataFrame(
        {"clip_id": ["d/s0/c0", "d/s0/c0", "d/s1/c1", "d/s1/c1"], "subject": ["s0", "s0", "s1", "s1"],
         "au": ["AU1", "AU2"] * 2, "label": [1, 0, 0, 1], "probability": [0.5, 0.5, 0.1, 0.9]}
    )  # fmt: skip


def test_a_file_is_read_as_it_was_written(tmp_path):
    frame = table().assign(subject=["006", "006", "007", "007"])
    frame.to_csv(tmp_path / "predictions.csv", index=False)
    pd.testing.assert_frame_equal(predictions.read(tmp_path / "predictions.csv"), frame)
    frame.drop(columns="label").to_csv(tmp_path / "predictions.csv", index=False)
    with pytest.raises(ValueError, match="lack the columns"):
        predictions.read(tmp_path / "predictions.csv")


def test_scoring_a_file_needs_no_torch(tmp_path):
    table().to_csv(tmp_path / "predictions.csv", index=False)
    code = (
        "import sys; from aullm_lib import metrics; "
        f"metrics.score(metrics.predictions.read({str(tmp_path / 'predictions.csv')!r})); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="au"), "lack the columns"),
        (lambda f: f.iloc[:0], "no predictions"),
        (lambda f: pd.concat([f, f.iloc[:1]]), "d/s0/c0, AU1: predicted twice"),
        (lambda f: f.assign(label=2), "d/s0/c0, AU1: label 2"),
        (lambda f: f.assign(probability=np.nan), "d/s0/c0, AU1: probability"),
        (lambda f: f.assign(probability=1.2), "probability"),
        (lambda f: f.iloc[1:], "d/s0/c0: some of its AUs"),
        (lambda f: f.assign(label=np.nan), "d/s0/c0, AU1: label nan"),
        (lambda f: f.assign(label="yes"), "d/s0/c0, AU1: label 'yes', expected a number"),
        (
            lambda f: f.assign(probability=[[0.1, 0.2]] * 4),
            r"d/s0/c0, AU1: probability \[0.1, 0.2\], expected a number",
        ),
        (lambda f: f.assign(au=f["au"].replace("AU2", "AU3")), "d/s0/c0, AU3: not an AU that FACS has"),
        (lambda f: f.assign(au="brow"), "d/s0/c0, brow: not an AU"),
        (lambda f: f.assign(subject=[None, "a", "a", "a"]), "d/s0/c0, AU1: no subject"),
        (lambda f: f.assign(subject=["a", "b", "a", "a"]), "d/s0/c0, AU2: its clip has two values of subject"),
        (lambda f: f.assign(fold=["a", "a", "b", np.nan]), "d/s1/c1, AU2: no fold"),
        (lambda f: pd.concat([f, f["label"]], axis=1), "the column label twice"),
    ],
)
def test_bad_predictions_are_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        predictions.check(change(table()))


def test_anything_but_a_frame_is_refused():
    with pytest.raises(TypeError, match="expected a DataFrame, got ndarray"):
        predictions.check(np.zeros((3, 2)))


@pytest.mark.parametrize(
    ("expected", "message"),
    [
        ({"clips": ["d/s0/c0", "d/s1/c1", "d/s2/c2"]}, "clip_id d/s2/c2: no predictions"),
        ({"clips": ["d/s0/c0"]}, "clip_id d/s1/c1: predicted, but not expected"),
        ({"folds": ["s0", "s1", "s9"]}, "fold s9: no predictions"),
    ],
)
def test_a_missing_clip_or_fold_is_refused_by_name(expected, message):
    frame = table().assign(fold=lambda f: f["subject"])
    predictions.check(frame, clips=["d/s0/c0", "d/s1/c1"], folds=["s0", "s1"])
    with pytest.raises(ValueError, match=message):
        predictions.check(frame, **expected)
