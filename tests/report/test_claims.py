"""The verdicts on the publication's claims, from recorded predictions that reach each of them."""

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from scipy import stats

from aullm_lib import metrics, model
from aullm_lib.baselines import METHODS
from aullm_lib.explain import sanity
from aullm_lib.report import claims, figures, published
from aullm_lib.runs import Run
from aullm_lib.support import files

GOOD, FAIR, BLIND = 0.6, 0.3, 0.0  # skills of ``record``
RELEASED = {"name": "released", "loss": "asl_released", "reduction": "sum"}  # as far as it matters here
QWEN2, QWEN25, DEEPSEEK = "Qwen/Qwen2-1.5B", "Qwen/Qwen2.5-1.5B", "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"


@pytest.fixture
def decide(load):
    """The comparisons of the runs so far, and the verdicts."""

    def decide(folder=None):
        frame = claims.table(claims.Runs(load(), folder))
        return frame, claims.verdicts(frame)

    return decide


def test_claims_name_variants_and_baselines_that_there_are():
    assert [claim.key for claim in claims.CLAIMS] == [f"C{i}" for i in range(1, 15)]
    tests = [test for claim in claims.CLAIMS for test in claim.tests]
    assert {variant for test in tests for variant in getattr(test, "variants", ())} <= set(model.VARIANTS)
    assert {method for test in tests for method in getattr(test, "methods", ())} <= set(METHODS)
    assert claims.BestBaseline("casme2").methods == ("sssnet-led",)  # 78.4
    assert claims.BestBaseline("samm").methods == ("resnet18-led",)  # 57.3


def test_without_runs_the_print_alone_is_decided(decide):
    frame, verdicts = decide()
    assert verdicts["verdict"].drop("C11").tolist() == ["not run"] * 13
    assert verdicts.loc["C11", "verdict"] == "not supported"
    assert "F_high" in verdicts.loc["C11", "decisive"]
    assert "−1.0" in verdicts.loc["C11", "decisive"]  # Qwen2: 78.8 against 79.8
    assert claims.counted(verdicts) == "1 not supported, 13 not run"
    assert not verdicts["synthetic"].any()
    printed = frame.xs("C11", level="claim")
    assert (printed["verdict"] == "not supported").sum() == 1
    assert len(printed) == 6


def test_published_margins_are_those_of_the_printed_tables(record, decide):
    record(llm=QWEN2)
    frame = decide()[0].sort_index()
    best = frame.loc[("C1", "CASME II", "AU-DeepSeek R1(1.5B)")].iloc[0]
    assert best["published"] == 3.0
    table = published.table(3)
    row = frame.loc[("C4", "SAMM", "AU-Qwen2(1.5B)", "high-level features only")]
    assert row["published"] == pytest.approx(table.loc["all", ("SAMM", "Q2")] - table.loc["F_high", ("SAMM", "Q2")])
    across = frame.loc[("C7", "CASME II → SAMM")]["published"].dropna()
    assert sorted(across) == pytest.approx([49.9 - 37.3, 49.9 - 36.5])


def licensed(record, skills, seeds=(1,), variant="efp-", **others):
    """Every LLM of the publication on both releases, the full model and a variant of it."""
    for release in ("casme2", "samm"):
        for llm in (DEEPSEEK, QWEN25, QWEN2):
            for seed in seeds:
                record(release=release, llm=llm, seed=seed, skill=skills[0], **others)
                record(release=release, llm=llm, seed=seed, skill=skills[1], variant=variant, **others)


@pytest.mark.parametrize(
    ("skills", "verdict"),
    [
        ((GOOD, BLIND), "supported"),
        ((BLIND, GOOD), "not supported"),
        ((FAIR, FAIR), "not supported"),  # the same predictions: no interval reaches the published margin
        ((FAIR + 0.03, FAIR), "cannot tell: too little power"),
    ],
)
def test_each_verdict_has_predictions_that_reach_it(record, decide, skills, verdict):
    licensed(record, skills)
    frame, verdicts = decide()
    rows = frame.xs("C3", level="claim")
    deciding = rows[rows["decides"]]
    assert len(deciding) == 6
    assert verdicts.loc["C3", "verdict"] == verdict
    assert not verdicts.loc["C3", "synthetic"]
    told = deciding["p (Holm)"] < 0.05
    assert (deciding["verdict"][told] == ("supported" if skills[0] > skills[1] else "not supported")).all()
    assert (deciding["verdict"][~told] != "supported").all()
    if "cannot" in verdict:
        assert deciding["reason"][~told].str.startswith("one test would find").all()


def test_the_published_margin_counts_at_the_level_of_all_tests_of_the_claim(record, decide):
    licensed(record, (FAIR + 0.01, FAIR))
    rows = decide()[0].xs("C3", level="claim")
    for _, row in rows[rows["decides"]].iterrows():
        wider = stats.t.ppf(1 - 0.025 / 6, 7) / stats.t.ppf(0.975, 7)
        end = row["difference"] + wider * (row["high"] - row["difference"])
        if row["p (Holm)"] >= 0.05 and abs(end - row["published"]) > 0.3:  # rounded
            assert (row["verdict"] == "not supported") == (end < row["published"])


def test_the_wider_level_has_the_degrees_of_freedom_of_the_interval():
    """29 subjects with a variance of 1, and of five seeds 4 more: 6.2 degrees of freedom, by four tests 7.78 points."""
    freedom = 25 / (1 / 28 + 16 / 4)
    assert stats.t.ppf(1 - 0.025 / 4, freedom) * np.sqrt(5) == pytest.approx(7.78, abs=0.005)
    high = stats.t.ppf(0.975, freedom) * np.sqrt(5)
    line = {"difference": 0.0, "low": -high, "high": high, "p (Holm)": 1.0, "subjects": 29, "freedom": freedom}
    for margin, verdict in ((7.7, claims.POWER), (7.8, claims.AGAINST)):
        assert claims._rule(pd.Series(line | {"published": margin, "gains": None}), 4) == verdict


def test_another_llm_decides_nothing_on_licensed_data_and_names_of_folders_count(record, decide):
    licensed(record, (GOOD, BLIND))
    record(llm="HuggingFaceTB/SmolLM2-135M", skill=BLIND)
    record(llm="HuggingFaceTB/SmolLM2-135M", skill=GOOD, variant="efp-")
    frame, verdicts = decide()
    assert verdicts.loc["C3", ["verdict", "supported"]].tolist() == ["supported", "6 of 6"]
    row = frame.xs("C3").xs("AU-LLM, SmolLM2-135M", level="model").iloc[0]
    assert not row["decides"] and row["difference"] < 0 and np.isnan(row["published"])
    assert published.llm("/cache/models--Qwen--Qwen2-1.5B/snapshots/ba1cf18") == published.llm("Qwen/Qwen2-1.5B")


def test_one_recipe_and_finished_seeds_count(record, load, decide):
    licensed(record, (GOOD, BLIND))
    record(llm=QWEN2, skill=BLIND, name="other")
    record(llm=QWEN2, skill=GOOD, seed=2, folds=3)
    assert decide()[1].loc["C3", ["verdict", "supported"]].tolist() == ["supported", "6 of 6"]
    (result,) = (r for r in load() if (r.test_set, r.llm, r.variant, r.recipe) == ("samm", QWEN2, "all", "paper"))
    assert [run.experiment.seed for run in result.unfinished] == [2]
    assert [run.experiment.seed for run in result.runs] == [1]


def test_tests_that_so_few_subjects_cannot_pass_are_named(record, decide):
    for llm in ("x/a", "x/b"):
        for release in ("casme2", "samm"):
            for variant, skill in (("all", GOOD), ("high", BLIND), ("mid", BLIND)):
                record(release=release, llm=llm, variant=variant, skill=skill, synthetic=True)
    frame, verdicts = decide()
    assert verdicts.loc["C4", "verdict"] == "cannot tell: too little power"  # 8 tests of 8 subjects
    assert set(frame.xs("C4")["reason"]) == {"p of so few subjects in so many tests is at least 0.062"}
    assert frame.xs("C4")["published"].isna().all()  # a rehearsal is compared with no published number


def test_numbers_are_those_of_the_paired_comparison_under_the_nested_policy(record, decide):
    paths = {}
    for llm in (QWEN25, QWEN2):
        for variant, skill in (("all", GOOD), ("efp-", FAIR)):
            for seed in (1, 2):
                paths[llm, variant, seed] = record(llm=llm, variant=variant, skill=skill, seed=seed, synthetic=True)
    frame, verdicts = decide()
    rows = frame.xs("C3", level="claim")
    rows = rows[rows["decides"] & rows["difference"].notna()]
    assert list(rows.index.get_level_values("model")) == ["AU-Qwen2(1.5B)", "AU-Qwen2.5(1.5B)"]
    plain = []
    for llm, (_, row) in zip((QWEN2, QWEN25), rows.iterrows(), strict=True):
        sides = ([Run(paths[llm, v, seed]).predictions() for seed in (1, 2)] for v in ("all", "efp-"))
        mean = metrics.compare(*sides, policy="nested").loc["mean"]
        for name in ("difference", "low", "high", "detectable"):
            assert row[name] == round(100 * mean[name], 1)
        assert (row["seeds"], row["subjects"], row["policy"]) == (2, 8, "nested")
        plain.append(mean["p"])
    assert rows["p (Holm)"].tolist() == pytest.approx(metrics.holm(pd.Series(plain)).round(4).tolist())
    assert verdicts["synthetic"].drop("C11").all()


def test_a_rehearsal_is_decided_by_what_was_run_and_licensed_data_need_every_cell(record, decide):
    record(llm="x/tiny", skill=GOOD, synthetic=True)
    record(llm="x/tiny", variant="efp-", skill=BLIND, synthetic=True)
    record(release="casme2", llm="x/tiny", skill=GOOD, synthetic=True)  # without the variant
    _, verdicts = decide()
    assert verdicts.loc["C3", ["verdict", "supported", "missing"]].tolist() == ["supported", "1 of 1", ""]
    record(llm="x/tiny", variant="high", skill=BLIND, synthetic=True)
    got = decide()[1].loc["C4", ["verdict", "supported", "missing"]].tolist()
    assert got[:2] == ["cannot tell: too few runs", "1 of 2"]
    assert got[2] == "mid-level features only (AU-LLM, tiny, synthetic, as SAMM)"
    record(llm=QWEN25, skill=GOOD)
    record(llm=QWEN25, variant="efp-", skill=BLIND)
    frame, verdicts = decide()
    assert verdicts.loc["C3", ["verdict", "supported", "synthetic"]].tolist() == [
        "cannot tell: too few runs", "1 of 6", False
    ]  # fmt: skip
    assert verdicts.loc["C3", "missing"].endswith("; and 2 more")
    assert "synthetic" not in " ".join(
        frame.drop(["C8", "C9"], level="claim").index.get_level_values("data")
    )  # maps need true masks


def test_generalising_takes_five_seeds_and_a_score_above_what_guessing_reaches(record, decide):
    def run(seeds):
        for seed in seeds:
            for way in ("casme2 → samm", "samm → casme2"):
                record(release=way, llm=QWEN25, skill=GOOD, seed=seed)
                record(release=way, method="resnet18", skill=BLIND, seed=seed)
                record(release=way, method="sssnet-led", skill=BLIND, seed=seed)

    run([1])
    assert decide()[1].loc["C7", "verdict"] == "cannot tell: too few runs"
    run([2, 3, 4, 5])
    frame, verdicts = decide()
    assert verdicts.loc["C7", ["verdict", "supported"]].tolist() == ["supported", "6 of 6"]
    rows = frame.xs("C7", level="claim")
    assert set(rows["policy"]) == {"fixed"}
    guess = rows.xs("the 97.5 % point of base-rate guessing", level="against").iloc[0]
    assert guess["low"] > 0 and np.isnan(guess["p (Holm)"])


def test_a_blind_model_above_chance_level_speaks_against_the_claim(record, decide):
    for release in ("casme2", "samm"):
        for variant in ("all", "blind"):
            record(release=release, llm="x/tiny", variant=variant, skill=GOOD, synthetic=True)
        for variant in ("no-llm", "random-llm", "llm-to-mlp"):
            record(release=release, llm="x/tiny", variant=variant, skill=BLIND, synthetic=True)
    frame, verdicts = decide()
    rows = frame.xs("C6", level="claim")
    gate = rows.xs("chance level, by a blind model", level="against")
    assert gate["verdict"].tolist() == ["not supported"] * 2
    assert verdicts.loc["C6", ["verdict", "supported"]].tolist() == ["not supported", "6 of 8"]


def test_a_blind_model_at_chance_level_supports_nothing(record, decide):
    record(llm="x/tiny", skill=GOOD, synthetic=True)
    for variant in ("blind", "no-llm", "random-llm", "llm-to-mlp"):
        record(llm="x/tiny", variant=variant, skill=BLIND, synthetic=True)
    frame, verdicts = decide()
    assert verdicts.loc["C6", ["verdict", "supported"]].tolist() == ["supported", "3 of 3"]
    assert not frame.xs("C6").xs("chance level, by a blind model", level="against")["decides"].any()


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        ((GOOD, FAIR), "supported"),
        ((FAIR, FAIR), "cannot tell: too little power"),
        ((BLIND, GOOD), "not supported"),
    ],
)
def test_gains_of_two_llms_must_have_one_sign(record, decide, second, verdict):
    skills = {QWEN2: (GOOD, BLIND), QWEN25: second}
    paths = {
        (llm, variant): record(llm=llm, variant=variant, skill=skill, synthetic=True)
        for llm, pair in skills.items() for variant, skill in zip(("all", "high"), pair, strict=True)
    }  # fmt: skip
    frame, _ = decide()
    rows = frame.sort_index().loc[("C14", "synthetic, as SAMM", "AU-Qwen2(1.5B)")]
    row = rows.filter(like="high-level", axis=0).iloc[0]
    f1 = {key: 100 * metrics.score(Run(p).predictions(), policy="nested", interval="none").loc["mean", "f1_macro"]
          for key, p in paths.items()}  # fmt: skip
    gains = [f1[llm, "all"] - f1[llm, "high"] for llm in (QWEN2, QWEN25)]
    assert row["difference"] == pytest.approx(gains[0] - gains[1], abs=0.051)
    assert row["verdict"] == verdict


def test_a_rehearsal_goes_by_the_llm_of_which_most_was_run(record, decide):
    for llm in ("x/a", "x/b"):
        record(llm=llm, skill=GOOD, synthetic=True)
    for variant in ("no-llm", "random-llm", "llm-to-mlp", "blind"):  # without an LLM: of both
        record(llm="" if variant == "no-llm" else "x/a", variant=variant, skill=BLIND, synthetic=True)
    assert decide()[1].loc["C6", ["verdict", "supported"]].tolist() == ["supported", "3 of 3"]


def test_losses_are_named_by_what_was_trained(record, decide):
    """Under the released recipe the full model has the script's loss, and Eq. 4's is the variant's."""
    for variant, skill in (("all", BLIND), ("switch-loss", GOOD), ("bce", FAIR)):
        record(llm="x/tiny", variant=variant, skill=skill, synthetic=True, **RELEASED)
    rows = decide()[0].xs("C13", level="claim").droplevel(["data", "model"])
    assert list(rows.index) == [
        "binary cross-entropy", "binary cross-entropy, average precision", "the released script's ASL",
        "the released script's ASL, average precision",
    ]  # fmt: skip
    assert (rows["difference"] > 0).all()
    assert rows["measure"].tolist() == ["f1_macro", "average_precision"] * 2


def test_heat_maps_and_se_are_decided_by_the_same_rule(tmp_path, decide):
    rng = np.random.default_rng(0)
    pairs = [
        {"subject": f"00{s}", "clip_id": f"c{s}{c}", "au": "AU4", "model": name, "method": "Grad-CAM", "area": 0.1,
         "pointing_game": float(rng.random() < right), "energy_pointing_game": right * rng.random()}
        for name, right in (("AU-LLM", 0.9), ("AU-LLM, randomised weights", 0.1), ("3D-CNN", 0.8))
        for s in range(8) for c in range(4)
    ]  # fmt: skip
    pd.DataFrame(pairs).assign(deletion=0.1, insertion=0.2).to_csv(tmp_path / "pairs.csv", index=False)
    about = {"release": "samm", "synthetic": True, "ground_truth": True}
    files.write_json(tmp_path / "about.json", about)
    frame, verdicts = decide(tmp_path)
    rows, want = frame.xs("C8", level="claim"), sanity.compared(pd.DataFrame(pairs).assign(deletion=0.1, insertion=0.2))
    assert rows["difference"].tolist() == want["difference"].round(1).tolist()
    assert rows["p (Holm)"].tolist() == metrics.holm(want["p"]).round(4).tolist()
    assert set(rows.index.get_level_values("data")) == {"synthetic, as SAMM"}
    assert set(rows["measure"]) == {"pointing game", "energy pointing game"} and set(rows["policy"]) == {""}
    by_verdict = dict(zip(rows.index.get_level_values("against"), rows["verdict"], strict=True))
    assert by_verdict["pointing game: chance level"] == "supported"
    assert by_verdict["pointing game: 3D-CNN"] == "cannot tell: too little power"
    assert verdicts.loc["C8", ["verdict", "synthetic"]].tolist() == ["cannot tell: too little power", True]
    assert verdicts.loc["C9", "verdict"] == "not run"
    files.write_json(tmp_path / "about.json", about | {"ground_truth": False, "synthetic": False})
    frame, verdicts = decide(tmp_path)
    assert frame.xs("C8", level="claim")["reason"].tolist() == ["this release has no ground truth of where AUs act"]
    assert verdicts.loc["C8", ["verdict", "missing"]].tolist() == ["cannot be tested without ground truth", ""]
    assert "C8" not in claims.page(verdicts, "make paper").partition("<tbody")[2].replace(">C8<", "")


def test_every_way_to_score_has_its_verdicts(record, load):
    for release in ("casme2", "samm"):
        for variant, skill in (("all", GOOD), ("efp-", BLIND)):
            record(release=release, llm="x/tiny", variant=variant, skill=skill, synthetic=True)
    ways = claims.by_policy(claims.Runs(load()))
    assert list(ways.columns) == list(claims.WAYS.values())
    assert len(set(ways.columns)) == 6
    runs = claims.Runs(load())
    for measure, policy in (("f1", "test-tuned"), ("f1_macro", "fixed")):
        frame = claims.table(runs.scored(measure, policy))
        row = frame.xs("C3").iloc[0]
        assert (row["measure"], row["policy"]) == (measure, policy)
    assert (ways.loc["C3"] == "supported").all()
    assert (ways.loc["C11"] == "not supported").all()


def test_the_verdicts_as_a_page_and_as_a_figure(record, decide):
    for release in ("casme2", "samm"):
        for variant, skill in (("all", GOOD), ("efp-", BLIND), ("high", FAIR)):
            record(release=release, llm="x/<b>evil</b>$a", variant=variant, skill=skill, synthetic=True)
    frame, verdicts = decide()
    page = BeautifulSoup(claims.page(verdicts, "make demo"), "html.parser")
    assert not page("b")
    rows = {row("th")[0].text: [cell.text for cell in row("td")] for row in page("tr") if row("td")}
    assert list(rows) == [claim.key for claim in claims.CLAIMS]
    assert rows["C3"][1] == "✓ supported (rehearsal)"
    assert rows["C4"][-1] == 'make demo ARGS="-p claims=[C4]"'
    assert rows["C3"][-1] == ""
    assert "rehearsal" in page.caption.text
    figure = figures.scores.claims(frame, "note")
    (axis,) = figure.axes
    dots = {float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() in ("o", "X")}
    shown = frame[frame["difference"].notna() & frame["decides"]]
    assert dots == set(shown["difference"])
    headings = [label.get_text() for label in axis.get_yticklabels() if label.get_fontweight() == "bold"]
    assert headings == list(shown.index.unique("claim"))


def test_what_was_not_run_yet_counts_among_a_claims_tests(record, decide):
    """The least p of eight subjects, times six cells of which one was run."""
    record(llm=QWEN25, skill=GOOD)
    record(llm=QWEN25, variant="efp-", skill=BLIND)
    rows = decide()[0].xs("C3", level="claim")
    assert rows["p (Holm)"].dropna().tolist() == [pytest.approx(6 * 2 / 2**8, abs=1e-4)]


def test_gains_count_where_each_is_supported_by_itself():
    a, b = ("d", "m", "x"), ("d", "n", "x")
    line = pd.Series({"p (Holm)": 0.5, "gains": (4.0, 3.0), "parts": (a, b)}, dtype=object)
    assert claims._rule(line, 4, {a, b}) == claims.SUPPORTED
    assert claims._rule(line, 4, {a}) == claims.POWER  # two positive signs are no test
