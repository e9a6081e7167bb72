"""Means and intervals over resampled subjects, and the model-randomisation sanity check."""

import numpy as np
import pandas as pd
import pytest

from aullm_lib.explain import sanity
from aullm_lib.explain.localisation import MEASURES, RANDOMISED
from aullm_lib.metrics import bootstrap


def random_rows(trained, randomised, subjects=9, seed=0):
    """Rows as ``measure`` returns them: pointing games won with these probabilities, chance 0.1."""
    rng, values = np.random.default_rng(seed), []
    for model, p in (("M", trained), ("M" + RANDOMISED, randomised)):
        for s in range(subjects):
            for au in ("AU12", "AU4"):
                values += [(model, "map", f"s{s}", au, float(rng.random() < p), p, 0.1) for _ in range(1 + s % 3)]
    columns = ["model", "method", "subject", "au", *sanity.CHECKED, "area"]
    return pd.DataFrame(values, columns=columns).assign(deletion=0.25, insertion=0.5)


def test_means_and_intervals_are_those_of_resampled_subjects():
    rows = random_rows(0.7, 0.2)
    summary = sanity.summary(rows, resamples=500, seed=3)
    assert list(summary.loc[("M", "map")].index) == ["AU4", "AU12", "all"]
    subjects = sorted(rows["subject"].unique())
    draws = bootstrap.draws(len(subjects), 500, 3)
    for au in ("AU4", "all"):
        part = rows[(rows["model"] == "M") & ((rows["au"] == au) | (au == "all"))]
        line, means = summary.loc["M", "map", au], []
        assert line["pointing_game"] == pytest.approx(part["pointing_game"].mean())
        assert line["pairs"] == len(part) and line["subjects"] == 9
        for draw in draws:
            people = [
                part[part["subject"] == s]["pointing_game"].to_numpy()
                for s, times in zip(subjects, draw, strict=True)
                for _ in range(times)
            ]
            means.append(np.concatenate(people).mean())
        interval = [line["pointing_game_low"], line["pointing_game_high"]]
        assert interval == pytest.approx(list(np.quantile(means, [0.025, 0.975])))
    assert list(summary.columns[2:]) == [m + end for m in MEASURES for end in ("", "_low", "_high")]


def test_a_single_subject_has_no_interval_though_most_resamples_hold_it():
    rows, measures = random_rows(0.5, 0.5), [*sanity.CHECKED, "area"]
    rare = sanity.summary(rows[(rows["au"] == "AU4") | (rows["subject"] == "s1")]).loc["M", "map"]
    ends = [m + end for m in measures for end in ("_low", "_high")]
    assert list(rare["subjects"]) == [9, 1, 9] and rare[measures].notna().all(axis=None)
    assert rare.loc["AU12", ends].isna().all() and rare.loc[["AU4", "all"], ends].notna().all(axis=None)
    alone = sanity.summary(rows[rows["subject"] == "s1"])
    assert alone[ends].isna().all(axis=None) and alone["pointing_game"].notna().all()


@pytest.mark.parametrize(
    ("trained", "randomised", "subjects", "verdict"),
    [
        (0.9, 0.1, 9, "gained by training, without it nothing above chance that these subjects support"),
        (0.9, 0.05, 9, "gained by training, below chance without"),
        (0.9, 0.5, 9, "gained by training, but a part of it is there without"),
        (0.1, 0.02, 9, "more than without training, but nothing above chance that these subjects support"),
        (0.5, 0.5, 9, "no gain by training that these subjects support"),
        (0.1, 0.5, 9, "lost by training"),
        (0.9, 0.1, 3, "too few subjects to tell"),
    ],
)
def test_the_sanity_check_separates_what_was_learned_from_the_rest(trained, randomised, subjects, verdict):
    checked, names = sanity.sanity(random_rows(trained, randomised, subjects)), ("gain", "above", "remaining")
    line = checked.loc["M", "map", "energy_pointing_game"]
    differences = [trained - randomised, trained - 0.1, randomised - 0.1]
    assert [line[name] for name in names] == pytest.approx(differences)
    assert list(checked.index) == [("M", "map", measure) for measure in sanity.CHECKED]
    pointing = checked.loc["M", "map", "pointing_game"]
    assert all(pointing[f"{name}_low"] <= pointing[name] <= pointing[f"{name}_high"] for name in names)
    sentences = sanity.verdicts(checked)
    assert f"pointing game: {100 * pointing['trained']:.1f} % trained" in sentences[0]
    assert "chance 10.0 %" in sentences[0]
    assert f"trained less chance {100 * (trained - 0.1):+.1f} [" in sentences[1]
    assert sentences[1].endswith(f": {verdict}.")
