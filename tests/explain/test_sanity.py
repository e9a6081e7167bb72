"""Means, intervals and paired differences of maps against naive loops over subjects; the sanity check's verdicts."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aullm_lib.explain import sanity
from aullm_lib.explain.localisation import MEASURES, RANDOMISED

FULL, RANDOM, PLAIN = sanity.FULL, sanity.FULL + RANDOMISED, sanity.PLAIN


def random_rows(trained, randomised, subjects=9, plain=0.3, seed=0):
    """Rows of ``measure``: pointing games won with these probabilities, energies equal to them, chance 0.1."""
    rng, values = np.random.default_rng(seed), []
    for model, p in ((FULL, trained), (RANDOM, randomised), (PLAIN, plain)):
        for s in range(subjects):
            for au in ("AU12", "AU4"):
                for k in range(1 + s % 3):
                    values.append((model, f"s{s}", f"s{s}/{k}", au, float(rng.random() < p), p, 0.1))
    frame = pd.DataFrame(values, columns=["model", "subject", "clip_id", "au", *sanity.CHECKED, "area"])
    return frame.assign(method=sanity.CLAIMED, deletion=0.25, insertion=0.5)


def jackknife(values, subjects):
    """The interval of a mean over rows, and what 4 of 5 tests would find, leaving out one subject after the other."""
    people = sorted(set(subjects))
    left_out = [np.mean(values[subjects != person]) for person in people]
    error = np.sqrt((len(people) - 1) / len(people) * sum((one - np.mean(left_out)) ** 2 for one in left_out))
    reach, more = (stats.t.ppf(q, len(people) - 1) * error for q in (0.975, 0.8))
    return np.mean(values) - reach, np.mean(values) + reach, reach + more


def swapped(values, subjects):
    """The share of all 2^s sign patterns over subjects whose mean is at least as large."""
    people = sorted(set(subjects))
    means = [
        abs(np.mean(values * np.array([dict(zip(people, signs, strict=True))[s] for s in subjects])))
        for signs in itertools.product((1, -1), repeat=len(people))
    ]
    return np.mean([mean >= abs(np.mean(values)) - 1e-12 for mean in means])


def test_means_and_intervals_are_those_of_subjects_left_out_in_turn():
    rows = random_rows(0.7, 0.2)
    rows = rows[(rows["au"] == "AU4") | (rows["subject"] < "s7")]  # AU12 is shown by seven of the nine
    summary = sanity.summary(rows)
    assert list(summary.xs(FULL, level="model").droplevel("method").index) == ["AU4", "AU12", "all"]
    assert list(summary.index.get_level_values("model").unique()) == [FULL, RANDOM, PLAIN]
    assert list(summary.columns[2:]) == [m + end for m in MEASURES for end in ("", "_low", "_high")]
    for au, subjects in {"AU4": 9, "AU12": 7, "all": 9}.items():
        part = rows[(rows["model"] == FULL) & ((rows["au"] == au) | (au == "all"))]
        line = summary.loc[(FULL, sanity.CLAIMED, au)]
        assert line["pairs"] == len(part) and line["subjects"] == subjects
        low, high, _ = jackknife(part["pointing_game"].to_numpy(), part["subject"].to_numpy())
        ends = [line["pointing_game"], line["pointing_game_low"], line["pointing_game_high"]]
        assert ends == pytest.approx([part["pointing_game"].mean(), low, high])


def test_there_is_no_interval_under_six_subjects():
    rows = random_rows(0.5, 0.5, subjects=6)
    ends = [m + end for m in MEASURES for end in ("_low", "_high")]
    few = (
        sanity.summary(rows[(rows["au"] == "AU4") | (rows["subject"] < "s5")])
        .xs(FULL, level="model")
        .droplevel("method")
    )
    assert list(few["subjects"]) == [6, 5, 6] and few[list(MEASURES)].notna().all(axis=None)
    assert few.loc["AU12", ends].isna().all() and few.loc[["AU4", "all"], ends].notna().all(axis=None)
    alone = sanity.summary(rows[rows["subject"] == "s1"])
    assert alone[ends].isna().all(axis=None) and alone["pointing_game"].notna().all()


def test_a_comparison_is_that_of_a_naive_loop_over_swapped_subjects():
    rows = random_rows(0.6, 0.3, subjects=8)
    rows["energy_pointing_game"] *= np.random.default_rng(5).random(len(rows))
    compared = sanity.compared(rows.sample(frac=1, random_state=2))  # the order of rows says nothing
    assert list(compared.index) == [
        (measure, against) for measure in sanity.CHECKED for against in (sanity.CHANCE, "randomised weights", PLAIN)
    ]
    keyed = rows.set_index(["model", "clip_id", "au"]).sort_index()
    for (measure, against), line in compared.iterrows():
        ours = keyed.loc[FULL]
        others = {sanity.CHANCE: ours["area"], "randomised weights": keyed.loc[RANDOM][measure]}
        other = others.get(against, keyed.loc[PLAIN][measure])
        apart, subjects = 100 * (ours[measure] - other).to_numpy(), ours["subject"].to_numpy()
        low, high, detectable = jackknife(apart, subjects)
        expected = [100 * ours[measure].mean(), 100 * other.mean(), np.mean(apart), low, high, detectable]
        assert list(line)[:6] == pytest.approx(expected)
        assert line["p"] == pytest.approx(swapped(apart, subjects)) and line["subjects"] == 8
    steps = np.sort(compared["p"]) * np.arange(6, 0, -1)
    holm = [min(1, max(steps[: k + 1])) for k in range(6)]
    assert sorted(compared["p (Holm)"]) == pytest.approx(holm)


def test_below_chance_level_is_not_tested():
    rows = random_rows(0.0, 0.6, subjects=8)  # every map of the full model misses
    chance = sanity.compared(rows).xs(sanity.CHANCE, level="against")
    assert (chance["difference"] < 0).all() and (chance["first"] == 0).all()
    assert chance.loc["energy_pointing_game", "p"] == 1
    above = sanity.compared(random_rows(1.0, 0.0, subjects=8)).xs(sanity.CHANCE, level="against")
    assert (above["p"] == 2 / 2**8).all()


def test_a_pointing_game_that_maps_of_two_subjects_win_has_no_interval():
    rows = random_rows(0.0, 0.0, subjects=8, plain=0.0)
    ends = ["low", "high", "p", "p (Holm)", "detectable"]
    for winners, estimable in ((["s0", "s4"], False), (["s0", "s4", "s7"], True)):
        won = (rows["model"] == FULL) & rows["subject"].isin(winners)
        compared = sanity.compared(rows.assign(pointing_game=rows["pointing_game"].mask(won, 1.0)))
        pointing, energy = (compared.xs(measure, level="measure") for measure in sanity.CHECKED)
        assert (pointing[ends].notna() == estimable).all(axis=None) and energy[ends].notna().all(axis=None)
        assert pointing[["first", "difference"]].notna().all(axis=None)
    constant = rows.assign(pointing_game=rows["area"])  # equal evidence everywhere hits nothing
    assert sanity.compared(constant).xs("pointing_game", level="measure")[ends].isna().all(axis=None)


def test_only_the_same_clips_and_aus_are_compared():
    rows = random_rows(0.6, 0.3, subjects=6)
    with pytest.raises(ValueError, match=r"s1/0, AU4: explained by one of AU-LLM Grad-CAM and 3D-CNN Grad-CAM only"):
        lost = (rows["model"] == PLAIN) & (rows["clip_id"] == "s1/0") & (rows["au"] == "AU4")
        sanity.compared(rows[~lost])
    with pytest.raises(ValueError, match=r"no Grad-CAM maps of the model '3D-CNN': run 06_visualize"):
        sanity.compared(rows[rows["model"] != PLAIN])
    with pytest.raises(ValueError, match="no ground truth"):
        sanity.compared(rows.assign(area=np.nan))


def test_maps_that_do_not_depend_on_the_weights_gain_nothing():
    rows = random_rows(0.6, 0.3, subjects=10)
    ours = rows[rows["model"] == FULL]
    same = pd.concat([ours.assign(model=model) for model in (FULL, RANDOM, PLAIN)])
    compared = sanity.compared(same).drop(index=sanity.CHANCE, level="against")
    assert (compared[["difference", "low", "high", "detectable"]] == 0).all(axis=None) and (compared["p"] == 1).all()
    assert all("no gain by training" in sentence for sentence in sanity.verdicts(sanity.sanity(same)))
    constant = same.assign(pointing_game=same["area"], energy_pointing_game=same["area"])  # equal evidence everywhere
    assert (sanity.compared(constant)["difference"] == 0).all()


@pytest.mark.parametrize(
    ("trained", "randomised", "subjects", "verdict"),
    [
        (0.9, 0.1, 9, "gained by training, without it nothing above chance that these subjects support"),
        (0.9, 0.02, 9, "gained by training, without it nothing above chance that these subjects support"),
        (0.9, 0.5, 9, "gained by training, but a part of it is there without"),
        (0.1, 0.02, 9, "more than without training, but nothing above chance that these subjects support"),
        (0.5, 0.5, 9, "no gain by training that these subjects support"),
        (0.1, 0.5, 9, "lost by training"),
        (0.9, 0.1, 8, "gained by training, without it nothing above chance that these subjects support"),
        (0.9, 0.1, 7, "too few subjects to tell"),  # six tests of p 1/64 at best
        (0.9, 0.1, 3, "too few subjects to tell"),
    ],
)
def test_the_sanity_check_separates_what_was_learned_from_the_rest(trained, randomised, subjects, verdict):
    checked = sanity.sanity(random_rows(trained, randomised, subjects))
    names = [sanity.GAIN, sanity.ABOVE, sanity.REMAINING]
    assert list(checked.index) == [(FULL, sanity.CLAIMED, m, name) for m in sanity.CHECKED for name in names]
    lines = checked.xs("energy_pointing_game", level="measure")
    differences = [trained - randomised, trained - 0.1, randomised - 0.1]
    assert list(lines["difference"]) == pytest.approx([100 * d for d in differences])
    sentences = sanity.verdicts(checked)
    won = checked.loc[(FULL, sanity.CLAIMED, "pointing_game", sanity.GAIN), "first"]
    assert f"pointing game: {won:.1f} % trained" in sentences[0] and "chance 10.0 %" in sentences[0]
    assert f"trained − chance {100 * (trained - 0.1):+.1f}" in sentences[1]
    assert ("[" in sentences[1]) == (subjects >= 6) and f"p {lines['p (Holm)'].iloc[2]:.3f})" in sentences[1]
    assert sentences[1].endswith(f": {verdict}.")


def test_one_subject_has_neither_an_interval_nor_a_p():
    sentences = sanity.verdicts(sanity.sanity(random_rows(0.9, 0.1, 1)))
    assert sentences and not any("nan" in sentence for sentence in sentences)


def test_the_claimed_maps_are_summed_up_in_words():
    scores = sanity.summary(random_rows(1.0, 0.2))
    pairs = scores.loc[(FULL, sanity.CLAIMED, sanity.ALL), "pairs"]
    assert sanity.in_words(scores) == (
        f"Grad-CAM of the full model was measured on {pairs} pairs of a held-out clip and an AU. Pointing game: 100%; "
        "the masks cover 10% of the picture, chance level."
    )
    unknown = sanity.summary(random_rows(1.0, 0.2).assign(pointing_game=np.nan, area=np.nan))
    assert sanity.in_words(unknown).endswith("Without a ground truth nothing says where it should point.")
