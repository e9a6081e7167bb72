"""The jackknife against scipy and its formula, swapped subjects and Holm's correction by hand."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aullm_lib.metrics import significance


def test_the_jackknife_of_a_mean_is_the_t_interval():
    values = np.random.default_rng(0).normal(1, 2, (12, 3))
    left_out = (values.sum(0) - values) / 11
    low, high, detectable = significance.jackknife(values.mean(0), left_out)
    assert detectable == pytest.approx((stats.t.ppf(0.975, 11) + stats.t.ppf(0.8, 11)) * stats.sem(values))
    want = stats.t.interval(0.95, 11, values.mean(0), stats.sem(values))
    assert np.array([low, high]) == pytest.approx(np.array(want))


def test_degrees_of_freedom_are_satterthwaites():
    seeds = np.sqrt(8) * np.array([-2.0, -1, 0, 1, 2])
    assert seeds.var(ddof=1) == pytest.approx(20)
    error, freedom = significance.standard_error(np.array(1.0), 29, seeds)
    assert (error**2, freedom) == pytest.approx((5, 25 / (1 / 28 + 16 / 4)))  # 6.2
    assert significance.standard_error(np.array(1.0), 29, None)[1] == 28


def test_seeds_add_their_variance_and_few_subjects_have_no_interval():
    seeds = np.array([[1.0, 2], [3, 2], [5, 2]])
    low, high, _ = significance.student(np.zeros(2), np.array([2.0, 2.0]), 8, seeds)
    freedom = (2 + 4 / 3) ** 2 / (2**2 / 7 + (4 / 3) ** 2 / 2)
    assert high == pytest.approx([stats.t.ppf(0.975, freedom) * np.sqrt(10 / 3), stats.t.ppf(0.975, 7) * np.sqrt(2)])
    assert low == pytest.approx(-high)
    p = significance.student_p(high, np.array([2.0, 2.0]), 8, seeds)
    assert p == pytest.approx([0.05, 0.05])
    assert significance.student_p(np.zeros(1), np.zeros(1), 8, np.zeros((2, 1))) == 1
    left_out = np.random.default_rng(0).normal(size=(8, 2))
    assert np.isnan(significance.jackknife(np.zeros(2), left_out[:5])).all()
    left_out[3, 0] = np.nan
    low, _, _ = significance.jackknife(np.zeros(2), left_out)
    assert np.isnan(low).tolist() == [True, False]


def test_the_variance_under_swaps_of_a_mean_is_that_of_the_mean():
    d = np.random.default_rng(0).normal(0.5, 1, 9)
    swapped = np.array([np.mean(d * np.where(row, -1, 1)) for row in significance.patterns(9)])
    assert significance.swap_variance(swapped, 9) == pytest.approx(d.var(ddof=1) / 9)


@pytest.mark.parametrize("subjects", [1, 2, 5, 8])
def test_all_patterns_that_differ_are_tried(subjects):
    rows = significance.patterns(subjects)
    assert not rows[0].any()
    both = {tuple(row) for row in rows} | {tuple(~row) for row in rows}
    assert len(both) == 2**subjects
    assert significance.smallest_p(subjects) == 1 / len(rows) == 2 / 2**subjects


def test_patterns_of_many_subjects_are_drawn_by_a_seed():
    rows = significance.patterns(26, draws=3000)
    assert rows.shape == (3000, 26)
    assert not rows[0].any()
    assert rows[1:, :25].mean() == pytest.approx(0.5, abs=0.01)
    assert (rows == significance.patterns(26, draws=3000)).all()
    assert len(significance.patterns(16)) == 2**15
    assert sum(map(len, significance.blocks(rows))) == 3000


def test_p_values_by_hand():
    """|D| of the pattern without a swap is reached by three of four, by none, and always; rounding parts no ties."""
    differences = np.array(
        [[0.1, 0.5, 0, np.nan], [0.1 - 1e-17, 0.1, 0, np.nan], [-0.2, 0.2, 0, np.nan], [0] * 3 + [np.nan]]
    )
    assert significance.p_value(differences) == pytest.approx([0.75, 0.25, 1, np.nan], nan_ok=True)


def test_paired_values_equal_a_naive_swap_test_and_jackknife():
    rng = np.random.default_rng(3)
    subjects = rng.integers(0, 7, 60)
    frame = pd.DataFrame(
        {"subject": [f"s{s}" for s in subjects], "a": rng.normal(0.2, 1, 60), "b": rng.normal(size=60)}
    )
    d = (frame["a"] - frame["b"]).to_numpy()
    got = significance.of_values(frame.sample(frac=1, random_state=0))
    swapped = [np.mean(d * np.where([k >> s & 1 for s in subjects], -1, 1)) for k in range(2**7)]
    assert got["difference"] == pytest.approx(d.mean())
    assert got["p"] == pytest.approx(np.mean(np.abs(swapped) >= abs(d.mean()) - 1e-9))
    left_out = np.array([d[subjects != s].mean() for s in range(7)])
    error = np.sqrt(6 / 7 * ((left_out - left_out.mean()) ** 2).sum())
    assert got["detectable"] == pytest.approx((stats.t.ppf(0.975, 6) + stats.t.ppf(0.8, 6)) * error)
    assert got["high"] - d.mean() == pytest.approx(stats.t.ppf(0.975, 6) * error)
    assert got["subjects"] == 7
    alone = significance.of_values(frame[frame["subject"] == "s1"])
    assert np.isnan(alone["low"])
    assert alone["p"] == 1


def test_holm_by_hand():
    """Holm 1979: 0.01, 0.03, 0.04 of three -> 3 * 0.01, 2 * 0.03, and not below the one before; NaN is not counted."""
    index = pd.MultiIndex.from_tuples([("a", "AU1"), ("a", "AU2"), ("b", "AU1"), ("b", "AU2")])
    p = pd.Series([0.04, 0.01, np.nan, 0.03], index=index, name="p")
    adjusted = significance.holm(p)
    assert adjusted.to_numpy() == pytest.approx([0.06, 0.03, np.nan, 0.06], nan_ok=True)
    assert adjusted.index.equals(index)
    assert significance.holm(pd.Series([0.5, 0.9])).tolist() == [1, 1]
    assert significance.holm(pd.Series([np.nan])).isna().all()
    assert len(significance.holm(pd.Series([], dtype=float))) == 0
    with pytest.raises(ValueError, match=r"AU2: p 1\.5"):
        significance.holm(pd.Series([0.5, 1.5], index=["AU1", "AU2"]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 1000))
def test_holm_keeps_the_order_and_never_lowers_a_p(values, seed):
    p = pd.Series(values)
    adjusted = significance.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * p)).all()  # never worse than Bonferroni
    assert adjusted[p.sort_values(kind="stable").index].is_monotonic_increasing
    shuffled = p.sample(frac=1, random_state=seed)
    assert significance.holm(shuffled)[p.index].tolist() == adjusted.tolist()
