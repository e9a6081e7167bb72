"""The bootstrap against scipy's, p values and Holm's correction against hand-computed ones."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aullm_lib.metrics import bootstrap
from aullm_lib.metrics.f1 import f1


def test_intervals_equal_those_of_scipy():
    """Both resample whole subjects of a few clips each; each draws its own resamples, many of them."""
    cells = np.random.default_rng(0).integers(0, 4, (26, 4))  # TP FP FN TN of each subject

    def macro(index, axis=-1):
        return f1(cells[index.astype(int)].sum(axis=-2))[..., 1]

    reference = stats.bootstrap(
        (np.arange(26),), macro, vectorized=True, n_resamples=20000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    got = bootstrap.interval(f1(bootstrap.draws(26, 20000, seed=2) @ cells)[:, 1])
    # The standard error of such a quantile over 20000 resamples is about 1 % of the interval's width.
    assert got == pytest.approx([reference.low, reference.high], abs=0.05 * (reference.high - reference.low))


@given(st.integers(0, 10**6), st.integers(1, 30), st.floats(0.0, 0.9), st.floats(0.5, 0.99))
def test_percentiles_equal_those_of_numpy(seed, resamples, missing, level):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(resamples, 3, 2))
    values[rng.random(values.shape) < missing] = np.nan
    values[:, 2] = np.nan
    values[0, :2] = 0.25
    want = np.nanquantile(values[:, :2], [(1 - level) / 2, (1 + level) / 2], axis=0)
    want[:, 2 * (~np.isnan(values[:, :2])).sum(0) < resamples] = np.nan  # fewer than half: undefined
    got = bootstrap.interval(values, level)
    assert got[:, :2] == pytest.approx(want, abs=1e-14, nan_ok=True)
    assert np.isnan(got[:, 2]).all()


def test_draws_are_seeded_with_replacement_and_need_two_subjects():
    drawn = bootstrap.draws(5, 3000, seed=1)
    assert (drawn.sum(1) == 5).all()
    assert drawn.mean(0) == pytest.approx(np.ones(5), abs=0.08)  # four standard errors
    assert (drawn == bootstrap.draws(5, 3000, seed=1)).all()
    assert (drawn != bootstrap.draws(5, 3000, seed=2)).any()
    assert bootstrap.draws(1, 10, seed=0).shape == (0, 1)
    assert np.isnan(bootstrap.interval(np.empty((0, 2)))).all()
    with pytest.raises(ValueError, match="resamples=-1"):
        bootstrap.draws(5, -1, seed=0)


def test_p_values_by_hand():
    differences = np.array(
        [[0.1, 0.0, -0.2, np.nan], [0.2, 0.0, 0.1, np.nan], [0.3, 0.0, 0.3, np.nan], [0.1] * 3 + [np.nan]]
    )
    differences[3, 1] = 0.0
    # none of 4 at or below 0: 2 (0 + 1) / 5; always 0: 1; one of 4: 2 (1 + 1) / 5
    assert bootstrap.p_value(differences)[:3] == pytest.approx([0.4, 1, 0.8])
    assert np.isnan(bootstrap.p_value(differences)[3])
    assert bootstrap.p_value(-differences)[:3] == pytest.approx([0.4, 1, 0.8])


def test_p_values_leave_undefined_resamples_out():
    assert bootstrap.p_value(np.array([0.1, np.nan, 0.2, np.nan, 0.3])) == pytest.approx(2 / 4)


def test_holm_by_hand():
    """Holm 1979: 0.01, 0.03, 0.04 of three -> 3 * 0.01, 2 * 0.03, and not below the one before; NaN is not counted."""
    index = pd.MultiIndex.from_tuples([("a", "AU1"), ("a", "AU2"), ("b", "AU1"), ("b", "AU2")])
    p = pd.Series([0.04, 0.01, np.nan, 0.03], index=index, name="p")
    adjusted = bootstrap.holm(p)
    assert adjusted.to_numpy() == pytest.approx([0.06, 0.03, np.nan, 0.06], nan_ok=True)
    assert adjusted.index.equals(index)
    assert bootstrap.holm(pd.Series([0.5, 0.9])).tolist() == [1, 1]
    assert bootstrap.holm(pd.Series([np.nan])).isna().all()
    assert len(bootstrap.holm(pd.Series([], dtype=float))) == 0
    with pytest.raises(ValueError, match=r"AU2: p 1\.5"):
        bootstrap.holm(pd.Series([0.5, 1.5], index=["AU1", "AU2"]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.integers(0, 1000))
def test_holm_keeps_the_order_and_never_lowers_a_p(values, seed):
    p = pd.Series(values)
    adjusted = bootstrap.holm(p)
    assert (adjusted >= p).all()
    assert (adjusted <= np.minimum(1, len(p) * p)).all()  # never worse than Bonferroni
    assert adjusted[p.sort_values(kind="stable").index].is_monotonic_increasing
    shuffled = p.sample(frac=1, random_state=seed)
    assert bootstrap.holm(shuffled)[p.index].tolist() == adjusted.tolist()
