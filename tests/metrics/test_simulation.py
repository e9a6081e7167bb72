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


@pytest.mark.parametrize(("name", "replicates"), [("8 subjects", 150), ("CASME II, 26", 60)])
def test_intervals_hold_the_truth_and_tests_reject_a_true_null_as_often_as_they_say(name, replicates):
    """The bootstrap covers 77 and 89 % and rejects 13 and 7 %; with eight rows it errs in a third of eights."""
    got = coverage.simulate(coverage.RELEASES[name], replicates)
    error = 100 * np.sqrt(0.95 * 0.05 / replicates)
    assert got["coverage, average", "jackknife-t"] >= 95 - 3 * error
    assert got["true nulls rejected", "swap test"] <= 5 + 1.5 * error  # of eight tests on the same clips
    assert got["any of eight, after Holm", "swap test"] <= 5 + 3 * error
    assert got["2.8 standard errors", "power"] == pytest.approx(80, abs=15)
