"""The table and the figure of AU-LLM's variants beside the whole model, and what the rules say of them."""

import numpy as np
import pytest
from bs4 import BeautifulSoup

from aullm_lib import metrics, model
from aullm_lib.report import controls, figures
from aullm_lib.runs import Run

PERFECT, FAIR, BLIND = 0.6, 0.3, 0.0  # skills of ``record``


def f1(path):
    return 100 * metrics.score(Run(path).predictions(), interval="none").loc["mean", "f1_macro"]


@pytest.fixture
def said(load):
    """The verdicts on the runs so far, by control; and the conclusion."""

    def say():
        verdicts = controls.verdicts(controls.table(load()))
        return verdicts.set_index("control")["verdict"], controls.conclusion(verdicts)

    return say


def test_every_variant_in_the_table_and_in_the_rules_is_one_of_the_models():
    assert set(controls.PLACES) - {controls.CHANCE} <= set(model.VARIANTS)
    assert {rule.control for rule in (*controls.RULES, controls.BLIND)} <= set(controls.PLACES)


def test_scores_differences_and_costs_are_means_over_seeds_and_folds(record, load):
    whole = [record(skill=FAIR, seed=seed) for seed in (1, 2)]
    costs = {"trained_parameters": 10, "total_parameters": 30, "peak_memory_mb": 500}
    other = [
        record(variant="random-llm", skill=skill, seed=seed, costs=costs | {"seconds": float(seed)})
        for skill, seed in ((PERFECT, 1), (BLIND, 2), (BLIND, 3))
    ]
    table = controls.table(load())
    assert list(table.index.get_level_values("variant")) == ["all", "base-rate random", "random-llm"]
    assert set(table.index.droplevel("variant")) == {("AU-Qwen2.5(1.5B)", "SAMM")}
    all_, chance, random = (row for _, row in table.iterrows())
    assert all_["score"] == round(np.mean([f1(path) for path in whole]), 1)
    assert random["of seeds"] == [f1(path) for path in other]
    assert random["difference"] == round(
        np.mean(random["of seeds"][:2]) - np.mean(all_["of seeds"]), 1
    )  # seeds of both
    drawn = metrics.compare(*([Run(path).predictions() for path in paths] for paths in (other[:2], whole))).loc["mean"]
    assert (random["low"], random["high"]) == (round(100 * drawn["low"], 1), round(100 * drawn["high"], 1))
    assert (random["seeds"], random["seconds"], random["MB"]) == (3, 2.0, 500)
    assert (random["trained"], random["total"]) == (10, 30)
    assert all_[["trained", "total", "MB"]].isna().all()  # older runs
    level = 100 * metrics.trivial(Run(whole[0]).predictions())["base-rate random"].loc["mean", "f1_macro"]
    assert chance["score"] == round(level, 1)
    assert chance["difference"] == round(level - np.mean(all_["of seeds"]), 1)
    assert chance["low"] == pytest.approx(level - all_["score high"], abs=0.11)


def test_a_variant_is_compared_with_the_whole_model_of_its_llm_recipe_and_data(record, load):
    record(llm="x/q", skill=FAIR)
    record(llm="x/r", skill=PERFECT)
    record(llm="x/q", variant="high", skill=PERFECT)
    record(llm="", variant="no-llm", skill=BLIND)  # of both
    record(llm="x/q", release="casme2 → samm", variant="high", skill=FAIR)  # no whole model there
    record(llm="x/q", release="samm → casme2", skill=FAIR)
    record(llm="x/q", release="samm → casme2", variant="high", skill=BLIND, folds=3)
    differences = controls.against_whole(load())
    assert [(m, d, v) for m, d, v in differences.index] == [
        ("AU-LLM, x/q".replace("x/", ""), "SAMM", "no-llm"), ("AU-LLM, q", "SAMM", "high"),
        ("AU-LLM, r", "SAMM", "no-llm"), ("AU-LLM, q", "SAMM → CASME II", "high"),
    ]  # fmt: skip
    signs = np.sign(differences["difference"]).tolist()
    assert signs[:3] == [-1, 1, -1]
    assert "is unfinished: 3 of 8 folds" in differences["supported"].iloc[3]
    only = controls.against_whole(load(), lambda variant: variant == "no-llm")
    assert set(only.index.get_level_values("variant")) == {"no-llm"}
    assert len(controls.against_whole([r for r in load() if r.variant != "all"])) == 0


def test_p_is_corrected_over_the_variants_of_a_group(record, load):
    whole, other = record(skill=FAIR), record(variant="no-llm", skill=PERFECT)
    record(variant="llm-to-mlp", skill=FAIR)  # the same predictions
    record(variant="high", skill=FAIR)  # of another group
    p = metrics.compare(Run(other).predictions(), Run(whole).predictions()).loc["mean", "p"]
    corrected = controls.against_whole(load())["p (Holm)"].droplevel(["model", "data"])
    assert corrected.to_dict() == {"no-llm": round(2 * p, 4), "llm-to-mlp": 1.0, "high": 1.0}


def test_each_verdict_has_predictions_that_reach_it(record, said):
    record(skill=FAIR)
    record(variant="random-llm", skill=BLIND)
    record(variant="frozen-llm", skill=PERFECT)
    record(variant="no-llm", llm="", skill=FAIR)
    record(variant="llm-to-mlp", llm="", skill=FAIR + 0.02)
    record(variant="backbone", llm="", folds=3)
    verdicts, (sentence,) = said()
    assert verdicts["random-llm"] == "supported"
    assert verdicts["frozen-llm"] == "the opposite"
    assert verdicts["no-llm"] == "no effect"  # the same predictions
    assert verdicts["llm-to-mlp"] == "cannot tell"
    assert verdicts["base-rate random"] == "supported"
    assert set(verdicts.drop(["random-llm", "frozen-llm", "no-llm", "llm-to-mlp", "base-rate random"])) == {"not run"}
    assert sentence == (
        "AU-Qwen2.5(1.5B) (SAMM): the LLM is not shown to help (no effect: no LLM; cannot tell: an MLP (parameters as "
        "LoRA)); pretraining helps; LoRA does harm."
    )


def test_verdicts_in_short_have_the_numbers_of_the_table(record, load):
    for release in ("samm", "casme2 → samm"):
        record(release=release, skill=FAIR)
    record(variant="no-llm", skill=BLIND)
    record(release="casme2 → samm", variant="blind", skill=BLIND)
    table = controls.table(load())
    short = controls.in_short(controls.verdicts(table))
    assert list(short.columns) == [("AU-Qwen2.5(1.5B)", "SAMM"), ("AU-Qwen2.5(1.5B)", "CASME II → SAMM")]
    row = table.xs("no-llm", level="variant").iloc[0]
    low, high = (f"{row[end]}".replace("-", "−") for end in ("low", "high"))
    cells = short.droplevel(["subject", "claim"]).loc["no-llm"].tolist()
    assert cells == [
        f"supported: −{-row['difference']} [{low}, {high}], p {row['p (Holm)']:.3f}, detectable {row['detectable']}",
        "not run",
    ]
    blind, level = (table.xs(name, level="variant").iloc[-1]["score"] for name in ("blind", controls.CHANCE))
    assert short.iloc[-1, 1].startswith(f"supported: {blind - level:+.1f} [".replace("-", "−"))


def test_only_what_was_trained_alike_is_compared(record, load, said):
    record(skill=FAIR)
    record(variant="random-llm", skill=PERFECT, seed=2)
    differences = controls.against_whole(load())["supported"]
    assert differences.tolist() == ["not compared: no seed in common with AU-Qwen2.5(1.5B)"]
    record(variant="frozen-llm", skill=PERFECT, folds=3)  # unfinished
    verdicts, _ = said()
    assert verdicts["random-llm"] == verdicts["frozen-llm"] == "not run"


def test_a_part_helps_only_where_every_control_in_its_place_says_so(record, said):
    record(skill=FAIR, synthetic=True)
    record(variant="no-llm", llm="", skill=BLIND, synthetic=True)
    assert said()[1] == ["AU-Qwen2.5(1.5B) (synthetic, as SAMM; a rehearsal, no result on a release): the LLM helps."]
    record(variant="llm-to-mlp", llm="", skill=FAIR, synthetic=True)
    assert "the LLM is not shown to help (supported: no LLM; no effect: an MLP (parameters as LoRA))" in said()[1][0]


def test_a_blind_model_at_chance_level_is_as_it_must_be(record, said):
    record(skill=PERFECT)
    record(variant="blind", skill=BLIND)
    verdicts, (sentence,) = said()
    assert verdicts["blind"] == "supported"
    assert sentence == "AU-Qwen2.5(1.5B) (SAMM): a model that sees no clip scores at chance level."


def test_a_blind_model_above_chance_level_says_that_the_protocol_leaks(record, said):
    record(skill=PERFECT)
    record(variant="no-llm", llm="", skill=FAIR)
    record(variant="blind", skill=PERFECT)
    verdicts, (sentence,) = said()
    assert verdicts["blind"] == "it leaks"
    assert sentence == (
        "AU-Qwen2.5(1.5B) (SAMM): nothing follows, for the protocol leaks: a model that sees no clip scores above "
        "chance level."
    )


def test_nothing_follows_from_a_whole_model_at_chance_level(record, said):
    record(skill=BLIND)
    record(variant="no-llm", llm="", skill=PERFECT)
    verdicts, (sentence,) = said()
    assert verdicts["base-rate random"] != "supported"
    assert verdicts["no-llm"] == "the opposite"
    assert sentence.endswith("nothing follows, for the whole model is not shown to score above chance level.")


def test_without_intervals_nothing_can_be_told(record, load):
    """As with three subjects."""
    for variant in ("all", "no-llm", "blind"):
        record(variant=variant, skill=FAIR)
    table = controls.table(load())
    table[["low", "high", "score low", "score high", "p (Holm)"]] = np.nan
    table["supported"] = "cannot tell: too few subjects for an interval"
    verdicts = controls.verdicts(table)
    assert set(verdicts["verdict"]) == {"cannot tell", "not run"}
    assert set(verdicts["control"][verdicts["verdict"] == "cannot tell"]) == {"base-rate random", "no-llm", "blind"}


def test_no_variant_no_table(record, load):
    record()
    table = controls.table(load())
    assert len(table) == 0
    assert controls.page(table) == ""
    assert controls.conclusion(controls.verdicts(table)) == []


def test_the_table_as_a_page_and_as_a_figure(record, load):
    llm = {"llm": "x/<b>evil</b>$a"}
    for release in ("samm", "casme2 → samm"):
        for seed, skill in ((1, FAIR), (2, PERFECT)):
            record(release=release, seed=seed, skill=skill, synthetic=True, **llm)
    costs = {"trained_parameters": 1_234_567, "peak_memory_mb": 2000}
    record(variant="random-llm", skill=BLIND, synthetic=True, costs=costs, **llm)
    record(variant="random-llm", skill=BLIND, seed=2, synthetic=True, costs=costs, **llm)
    record(variant="bce", skill=FAIR, synthetic=True, **llm)
    record(variant="bce", skill=PERFECT, seed=2, synthetic=True, **llm)
    record(variant="no-llm", release="casme2 → samm", folds=3, synthetic=True, **llm)
    table = controls.table(load())
    page = BeautifulSoup(controls.page(table), "html.parser")
    assert not page("b")
    rows = {row("th")[-1].text: [cell.text for cell in row("td")] for row in page("tr") if row("td")}
    assert list(rows) == ["all", "base-rate random", "no-llm", "random-llm", "bce"]
    row = table.xs("random-llm", level="variant").iloc[0]
    low, high = (f"−{abs(row[end])}" for end in ("low", "high"))
    assert rows["random-llm"] == [
        str(row["score"]), f"−{abs(row['difference'])} [{low}, {high}] *", "", "", "2", "1.23", "1", "2,000"
    ]  # fmt: skip
    assert "*" not in rows["bce"][1]

    figure = figures.scores.controls(table, note="n")
    first, second = figure.axes
    assert [axis.get_title() for axis in (first, second)] == ["synthetic, as SAMM", "synthetic, as CASME II → SAMM"]
    labels = [label.get_text() for label in first.get_yticklabels()]
    assert labels == [
        "LLM taken away or replaced", "no LLM", "weights of the LLM", "random, with LoRA", "other parts",
        "binary cross-entropy",
    ]  # fmt: skip
    dots = {float(line.get_xdata()[0]): line for line in first.lines if line.get_marker() == "o"}
    assert set(dots) == set(table.xs("synthetic, as SAMM", level="data")["difference"][2:])
    assert dots[row["difference"]].get_markerfacecolor() != "white"
    assert any(list(line.get_xdata()) == [row["low"], row["high"]] for line in first.lines)
    ticks, _ = (line.get_xdata() for line in first.lines if line.get_marker() == "|")
    assert len(ticks) == 2
    assert np.mean(ticks) == pytest.approx(row["difference"], abs=0.11)
    level = table.xs("base-rate random", level="variant").iloc[0]["difference"]
    assert any(list(line.get_xdata()) == [level, level] for line in first.lines)
    assert [text.get_text() for text in second.texts] == ["not compared"]
