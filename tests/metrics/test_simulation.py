"""Coverage and false positives by simulation (``benchmarks/coverage.py``), which measures what the library does."""

import numpy as np
import pandas as pd
import pytest
from benchmarks import coverage

from aullm_lib import metrics
from aullm_lib.metrics import bootstrap, significance


def predictions(cells, aus):
    """Predictions of 0 or 1 with these confusion counts [s, a, 4]; the first clips of a subject show an AU."""
    order, label, probability = [0, 2, 1, 3], [1, 1, 0, 0], [1.0, 0.0, 1.0, 0.0]  # TP FN FP TN
    rows = [
        (f"s{s:02}/c{i}", f"s{s:02}", f"AU{au}", label[cell], probability[cell])
        for s, of_subject in enumerate(cells.astype(int)) for au, four in zip(aus, of_subject, strict=True)
        for i, cell in enumerate(np.repeat(np.arange(4), four[order]))
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])


def test_the_simulation_measures_what_the_library_does():
    release = coverage.RELEASES["8 subjects"]
    cells = coverage.counts(release, 1, 2, np.random.default_rng(0))[0]
    one, other = (predictions(of, release.positives) for of in cells)
    point, left_out = coverage.jackknife(cells)
    low, high, _ = significance.jackknife(point[0], left_out[:, 0])
    drawn = coverage.bootstrapped(cells[:1], bootstrap.draws(8, 1000, seed=0))[:, 0]
    for interval, ends in (("jackknife", np.clip((low, high), 0, 1)), ("bootstrap", bootstrap.interval(drawn))):
        table = metrics.score(one, interval=interval)
        got = table[["f1_macro_low", "f1_macro_high"]].to_numpy()
        assert got[-1] == pytest.approx([end[-1] for end in ends])
        assert got[2] == pytest.approx([end[2] for end in ends])  # AU4
    assert table["positive_subjects"].tolist()[:-1] == (cells[0][..., [0, 2]].sum(-1) > 0).sum(0).tolist()
    p = coverage.swap_p(*cells, significance.patterns(8))
    assert metrics.compare(one, other).loc["mean", "p"] == pytest.approx(p)


@pytest.mark.parametrize("name", coverage.RELEASES)
def test_intervals_hold_the_truth_as_often_as_they_say(name):
    """Those of the bootstrap do in 84 to 93 % of cases (``coverage.py``). The standard error of 1500 is 0.6 %."""
    release, rng = coverage.RELEASES[name], np.random.default_rng(1)
    truth = coverage.true_scores(release, rng)[-1]
    point, left_out = coverage.jackknife(coverage.counts(release, 1500, 1, rng)[:, 0])
    low, high, _ = significance.jackknife(point[:, -1], left_out[..., -1])
    defined = ~np.isnan(low)
    assert defined.mean() > 0.95
    assert 0.93 <= ((low <= truth) & (truth <= high))[defined].mean() <= 0.97


@pytest.mark.parametrize("name", ["8 subjects", "CASME II, 26", "SAMM, 29"])
def test_true_nulls_are_rejected_as_often_as_they_say(name):
    """Those of the bootstrap are in 7 to 12 % of cases. The standard error of 600 is 0.9 %."""
    release, rng = coverage.RELEASES[name], np.random.default_rng(1)
    swaps = significance.patterns(len(release.clips), draws=500)
    p = [coverage.swap_p(*cells, swaps) for cells in coverage.counts(release, 600, 2, rng)]
    assert 0.03 <= np.mean(np.array(p) < significance.LEVEL) <= 0.07


def test_the_bootstrap_errs_with_few_subjects_where_jackknife_and_swaps_do_not():
    got = coverage.simulate(coverage.RELEASES["8 subjects"], 100)
    assert got["coverage, average", "jackknife-t"] >= got["coverage, average", "bootstrap"] + 4
    assert got["true nulls rejected", "swap test"] <= got["true nulls rejected", "bootstrap"] - 4
    assert got["any of eight, after Holm", "swap test"] == 0 < got["any of eight, after Holm", "bootstrap"] - 10
    assert got["detectable difference", "power"] == pytest.approx(80, abs=15)
