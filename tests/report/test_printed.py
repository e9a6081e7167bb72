"""What the printed tables decide, against sums by hand, naive loops and scikit-learn."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from aullm_lib import metrics
from aullm_lib.datasets.documented import CASME2, OTHERS, Counts
from aullm_lib.report import printed, published

TEN = Counts("ten clips", 10, 2, {4: 2, 12: 5})


def test_the_whole_model_is_below_one_of_24_ablations():
    margins = printed.margins()
    assert len(margins) == 24
    assert list(margins.index[margins["margin"] <= 0]) == [("CASME II", "Q2", "F_high")]
    assert margins.loc[("CASME II", "Q2", "F_high")].tolist() == [78.8, 79.8, -1.0]
    assert margins.loc[("SAMM", "D.R1", "EFP-")].tolist() == [61.9, 58.2, 3.7]


def test_au_llm_leads_in_four_of_eight_aus_and_in_four_of_four():
    one, two = printed.leads(1), printed.leads(2)
    assert list(one.index[one["leads"]]) == ["AU2", "AU7", "AU15", "AU17"]
    assert list(one.index[one["named"]]) == ["AU2", "AU4", "AU7"]
    assert one.loc["AU4", ["AU-LLM", "baseline", "of baseline", "margin"]].tolist() == [89.5, 89.8, "LBPTOP", -0.3]
    assert one.loc["AU17", ["of", "of baseline"]].tolist() == ["AU-Qwen2.5(1.5B)", "Resnet18 LED"]
    assert two["leads"].all()
    assert two["margin"].tolist() == [5.4, 0.6, 2.6, 4.4]
    assert not two["named"].any()


def test_margins_over_the_best_baseline_of_every_row():
    margins = printed.over_baselines()["margin"]
    assert margins.tolist() == [3.0, 0.4, 1.1, 4.6, 0.6, 2.4, 12.6, 5.4]
    assert margins["Table 2, SAMM", "AU-Qwen2(1.5B)"] == 0.6
    assert set(printed.over_baselines()["best baseline"]) == {"SSSNet LED", "Resnet18 LED", "ResNet-18"}


def test_table_2_and_the_cross_domain_table_share_no_row():
    apart = printed.cross_dataset()
    assert apart.loc["AU-DeepSeek R1(1.5B)"].tolist() == [19.9, 9.5, 14.3, 4.0, 12.0]
    assert apart.loc["ResNet18", "Avg."] == 9.1
    assert len(apart) == 5
    assert (apart != 0).all(axis=None)


def test_constant_cells_of_table_4_are_those_of_the_documented_labels():
    """ResNet-18 on SAMM is always-negative on three AUs; on CASME II the constants are those of 256 clips."""
    table = published.table(4)
    samm = printed.trivial("samm")["always-negative"]["f1_macro"] * 100
    casme2 = printed.trivial("casme2", ("AU2", "AU4", "AU7", "AU12"))["always-negative"]["f1_macro"] * 100
    assert np.allclose(samm.drop("mean"), [47.00, 46.10, 41.54, 45.17], atol=0.01)
    for au in ("AU2", "AU7", "AU12"):
        assert table.loc["ResNet-18", ("CASME II → SAMM", au)] == pytest.approx(samm[au], abs=0.1)
    for au in ("AU2", "AU12"):
        assert table.loc["ResNet-18", ("SAMM → CASME II", au)] == pytest.approx(casme2[au], abs=0.05)


def test_constant_cells_are_found_to_the_decimal():
    # always-negative on AU4: absent F1 = 16 / 18, so 44.44; always-positive: 4 / 12, so 16.67; AU12: 33.33 both ways
    cells = pd.DataFrame({"AU4": [44.4, 16.6, 44.5], "AU12": [33.3, 60.0, 33.4]}, index=["a", "b", "c"])
    equal = printed.constants(cells, {"ten": TEN})
    assert set(equal.itertuples(index=False, name=None)) == {
        ("a", "AU4", 44.4, "always-negative", "ten"), ("b", "AU4", 16.6, "always-positive", "ten"),
        ("a", "AU12", 33.3, "always-negative", "ten"), ("a", "AU12", 33.3, "always-positive", "ten"),
    }  # fmt: skip


def test_the_published_cross_domain_cells_that_equal_a_constant():
    """By hand: 47.0, 41.5 and 45.1 on SAMM; on CASME II 47.8 (47.755) with 256 clips alone, 46.4 with 255 too."""
    samm = printed.constants(pd.DataFrame({"AU2": [47.0], "AU7": [41.5], "AU12": [45.1]}), {"samm": OTHERS["samm"]})
    assert len(samm) == 3
    versions = {str(n): CASME2[n] for n in (256, 255, 247)}
    equal = printed.constants(pd.DataFrame({"AU2": [47.8], "AU12": [46.4]}), versions)
    assert dict(zip(equal["au"], equal["versions"], strict=True)) == {"AU2": "256", "AU12": "256, 255"}
    every = printed.everywhere(printed.constants)
    assert every.groupby(level="table").size().to_dict() == {
        "Table 4, CASME II → SAMM": 9, "Table 4, SAMM → CASME II": 2
    }  # fmt: skip


def test_levels_are_those_of_the_trivial_classifiers_on_the_documented_labels():
    cells = pd.DataFrame({"AU4": [50.0], "AU12": [60.0], "Avg.": [55.0]}, index=["a"])
    levels, trivial = printed.levels(cells, TEN), metrics.trivial_of_counts({"AU4": 2, "AU12": 5}, 10)
    assert levels["au"].tolist() == ["AU4", "AU12", "Avg."]
    assert levels["printed"].tolist() == [50.0, 60.0, 55.0]
    assert levels["always-negative"].tolist() == [44.44, 33.33, 38.89]
    for name in ("base-rate random", "random scores, test-tuned"):
        assert levels[name].tolist() == (100 * trivial[name]["f1_macro_high"]).round(2).tolist()


def test_half_of_au_llms_samm_cells_and_both_averages_of_table_4_are_what_guessing_scores():
    levels = printed.everywhere(printed.levels)
    ours = levels[levels["method"].str.startswith("AU-")].set_index("au", append=True)
    tuned = (ours["printed"] <= ours["random scores, test-tuned"]).groupby(level=["table", "au"], sort=False).sum()
    assert tuned["Table 1, CASME II"].sum() == 0
    assert tuned["Table 2, SAMM"].to_dict() == {"AU2": 0, "AU4": 0, "AU7": 3, "AU12": 3, "Avg.": 0}
    averages = ours.xs("Avg.", level="au").filter(like="Table 4", axis=0)
    assert averages["printed"].tolist() == [49.9, 52.8]
    assert averages["base-rate random"].tolist() == pytest.approx([53.9, 53.2], abs=0.3)
    assert (averages["printed"] < averages["base-rate random"]).all()


def naive(positives, clips):
    """The numbers that each confusion table prints, in exact fractions: rounded, or cut."""
    printable = Counter()
    for tp in range(positives + 1):
        for fp in range(clips - positives + 1):
            tn, wrong = clips - positives - fp, positives - tp + fp
            tenths = 500 * (Fraction(2 * tp, 2 * tp + wrong) + Fraction(2 * tn, 2 * tn + wrong))
            printable.update({int(tenths), int(tenths + Fraction(1, 2))})
    return printable


@pytest.mark.parametrize(("positives", "clips"), [(2, 10), (5, 10), (9, 40), (39, 40)])
def test_printable_numbers_equal_a_naive_count(positives, clips):
    counted = naive(positives, clips)
    assert printed.printable(positives, clips).tolist() == [counted[tenths] for tenths in range(1001)]
    assert counted[1000] == 1


def test_a_printable_number_is_what_scikit_learn_scores():
    """8 of 10 positives found, no false alarm in 30: F1s 16 / 18 and 60 / 62, 92.83 in the mean."""
    true, predicted = np.zeros((2, 40), int)
    true[:10], predicted[:8] = 1, 1
    assert f1_score(true, predicted, average="macro") == pytest.approx((16 / 18 + 60 / 62) / 2)
    assert printed.printable(10, 40)[928] >= 1
    with pytest.raises(ValueError, match="0 positives of 40 clips"):
        printed.printable(0, 40)


def test_the_number_that_255_and_246_clips_cannot_print():
    """89.5 of AU4, in all three rows of AU-LLM; every other cell fits every version."""
    every = printed.everywhere(printed.grim)
    one = every.loc["Table 1, CASME II"].set_index(["method", "au"]).drop(columns="printed")
    assert one.loc[("AU-Qwen2(1.5B)", "AU4")].drop("159 clips").to_dict() == {
        "256 clips": naive(130, 256)[895], "255 clips": 0, "247 clips": naive(129, 247)[895], "246 clips": 0
    }  # fmt: skip
    impossible = every[(every.drop(columns=["method", "au", "printed"]) == 0).any(axis=1)]
    assert impossible["printed"].tolist() == [89.5] * 3
    assert set(impossible["au"]) == {"AU4"}
    assert every.loc["Table 2, SAMM", "159 clips"].gt(0).all()


def test_a_cell_that_no_confusion_table_prints():
    cells = pd.DataFrame({"AU4": [100.0, 99.0], "Avg.": [1.0, 1.0]}, index=["a", "b"])
    assert printed.grim(cells, {"ten": TEN})["ten"].tolist() == [1, 0]


def test_what_tuning_adds_depends_on_spread_and_offset():
    """2 to 6 points without information; about 10 and 17 for a skilled scorer that is one or two logits too low."""
    gains = printed.gains()
    plain = gains["gain"][gains["scorer"] == "uninformative"]
    assert 1.8 < plain.min() < 2.3
    assert 5.4 < plain.max() < 6.1
    skilled = gains[gains["scorer"] == "skilled"].set_index("x")
    for data in ("CASME II", "SAMM"):
        gain = skilled["gain"][skilled["data"] == data]
        assert gain[[0.0, -1.0, -2.0]].tolist() == pytest.approx([3.4, 9.9, 17.4], abs=0.7)
    best = published.table(1).loc["AU-DeepSeek R1(1.5B)", "Avg."]
    assert skilled["test-tuned"][skilled["data"] == "CASME II"][0.0] == pytest.approx(best, abs=0.7)


def test_constant_classifiers_and_tuned_scores_stand_on_the_documented_labels():
    scores = printed.constant_scores()
    assert len(scores) == 2 * (len(printed.versions("casme2")) + 1)
    clips, present = 256, CASME2[256].positives[4]
    truth, never = np.arange(clips) < present, np.zeros(clips, bool)
    by_hand = 100 * f1_score(truth, never, average="macro", zero_division=0)
    assert scores.loc[("CASME II", "256 clips", "always-negative"), "AU4"] == pytest.approx(by_hand, abs=0.005)
    tuned = printed.tuning()["f1_macro"]
    for place in ("Table 1, CASME II", "Table 2, SAMM"):
        rows = tuned[place]
        assert rows["random scores, gain"] > 2 and rows["base-rate random"] > rows["always-negative"]
        assert rows["published margin over the best baseline"] == printed.over_baselines().loc[place, "margin"].max()


def test_neighbours_of_a_cell_are_the_numbers_within_a_point():
    impossible = pd.DataFrame({"au": ["AU4", "AU4"], "printed": [72.3, 72.3]})
    near = printed.neighbours(impossible)
    for (_, number, version), count in near["of 21 numbers"].items():
        counts = printed.versions("casme2")[version]
        table = printed.printable(counts.positives[4], counts.clips)
        assert count == sum(table[tenth] > 0 for tenth in range(713, 734)) and number == 72.3
