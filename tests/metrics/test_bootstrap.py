"""The bootstrap against scipy's and numpy's."""

import numpy as np
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
