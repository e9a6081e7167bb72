"""Calibration against a naive loop over bins and clips."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aullm_lib.metrics import calibration

AUS = ["AU1", "AU2", "AU12"]


def predictions(labels, probabilities):
    """labels, probabilities: [clips, AUs]; written clip by clip, the AUs in reverse."""
    rows = [
        (f"c{i}", f"s{i % 3}", AUS[j], labels[i][j], probabilities[i][j])
        for i in range(len(labels)) for j in reversed(range(len(labels[0])))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])


@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 12))
@settings(max_examples=40)
def test_equal_to_a_naive_loop(seed, clips, bins):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (clips, 3))
    probabilities = rng.choice([rng.random((clips, 3)), rng.integers(0, bins + 1, (clips, 3)) / bins])  # also edges
    frame = predictions(labels, probabilities)
    table, error = calibration.reliability(frame, bins), calibration.expected_error(frame, bins)
    assert list(table.columns) == ["au", "bin", "mean_probability", "frequency", "count"]
    assert list(table["au"]) == [au for au in AUS for _ in range(bins)]
    assert list(error.index) == AUS
    for j, au in enumerate(AUS):
        total = 0.0
        for k in range(bins):
            inside = [
                i for i in range(clips)
                if k / bins <= probabilities[i, j] and (probabilities[i, j] < (k + 1) / bins or k == bins - 1)
            ]  # fmt: skip
            row = table[(table["au"] == au) & (table["bin"] == k)].iloc[0]
            assert row["count"] == len(inside)
            if not inside:
                assert np.isnan(row["mean_probability"])
                assert np.isnan(row["frequency"])
                continue
            mean, share = np.mean(probabilities[inside, j]), np.mean(labels[inside, j])
            assert row["mean_probability"] == pytest.approx(mean)
            assert row["frequency"] == pytest.approx(share)
            total += len(inside) / clips * abs(mean - share)
        assert error[au] == pytest.approx(total)


def test_right_probabilities_have_no_error_and_wrong_ones_all():
    labels = [[1, 1, 0]] * 3 + [[0, 1, 0]] * 7
    error = calibration.expected_error(predictions(labels, [[0.3, 0.0, 0.0]] * 10))
    assert error.tolist() == pytest.approx([0, 1, 0])


def test_an_edge_belongs_to_the_bin_above_it_and_one_to_the_last():
    table = calibration.reliability(predictions([[0, 0, 0]], [[0.3, 0.7, 1.0]]))
    assert table[table["count"] == 1]["bin"].tolist() == [3, 7, 9]


@given(st.integers(0, 1000))
def test_the_order_of_rows_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    frame = predictions(rng.integers(0, 2, (9, 3)), rng.random((9, 3)))
    shuffled = calibration.reliability(frame.sample(frac=1, random_state=seed))
    pd.testing.assert_frame_equal(shuffled, calibration.reliability(frame))


@pytest.mark.parametrize("bins", [0, -1, 2.5])
def test_impossible_bins_are_refused(bins):
    with pytest.raises(ValueError, match="bins="):
        calibration.reliability(predictions([[0, 0, 0]], [[0.3, 0.7, 1.0]]), bins)


def test_bad_predictions_are_refused_by_name():
    with pytest.raises(ValueError, match=r"c0, AU12: probability 1\.5"):
        calibration.expected_error(predictions([[0, 0, 0]], [[0.3, 0.7, 1.5]]))
