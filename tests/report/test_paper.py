"""Runs -> the publication's tables: the scores' own numbers, and never a difference for a synthetic run.

And what the runs bear: which differences they support, calibration, the spread over seeds.
"""

import json

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from aullm_lib import engine, metrics
from aullm_lib.experiment import Experiment
from aullm_lib.metrics import calibration
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Recipe
from aullm_lib.report import evidence, paper, published, render, results
from aullm_lib.report.figures import differences
from aullm_lib.runs import Result as Trained
from aullm_lib.runs import Run

QWEN = "Qwen/Qwen2.5-1.5B"
AUS = {"casme2": (1, 2, 4, 7, 12, 14, 15, 17), "samm": (2, 4, 7, 12)}


@pytest.fixture
def record(tmp_path):
    """Writes a run as the engine does and returns its entry in a notebook's record."""

    def write(
        release="samm", variant="all", llm=QWEN, seed=1, synthetic=False, skill=0.5, folds=5, data="f", clips=6,
        method="", **recipe,
    ):  # fmt: skip
        train, _, test = release.rpartition(" → ")
        aus = AUS["samm" if train else release]
        rng = np.random.default_rng([seed, int(100 * skill)])
        names = [f"{test}-s{s}" for s in range(5)]
        split = [Fold(name, ("x",), tuple(f"{test}/{name}/c{c}" for c in range(clips))) for name in names]
        experiment = Experiment(
            name=f"{test}-{method}{variant}-{seed}",
            aus=aus,
            recipe=Recipe.paper(**recipe),
            variant=variant,
            llm=llm,
            seed=seed,
        )
        about = {
            "fingerprint": data + release,
            "clips": 30,
            "dataset": test,
            "synthetic": synthetic,
            "llm": llm,
            "variant": 247,
        }
        run = Run.open(tmp_path / "results", experiment, split, about)
        for k, fold in enumerate(split[:folds]):
            rows = []
            for c, clip in enumerate(fold.test):
                for au in aus:
                    label = int((c + au + k) % 3 == 0)
                    rows.append((clip, fold.name, f"AU{au}", label, skill * label + (1 - skill) * rng.random()))
            frame = pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])
            log = pd.DataFrame({"epoch": [1], "loss": [0.5]})
            run.write_fold(fold.name, Trained(frame, log, {"seconds": 1.0}, {}))
        place = {"train": train, "test": test} if train else {"release": release}
        entry = place | {"variant": variant, "llm": llm, "recipe": "paper", "seed": seed, "path": str(run.path)}
        return entry | {"method": method, "llm": "", "recipe": method} if method else entry

    return write


def group(made, start, measure=0):
    return next(g for g in made.table.blocks[measure].groups if g.label.startswith(start))


def values(cells):
    return [cell.value for cell in cells]


def test_a_table_holds_the_scores_and_on_licensed_data_the_difference(record):
    entry = record()
    made = paper.per_release(2, results.load({"runs": [entry]}))
    score = 100 * metrics.score(Run(entry["path"]).predictions())
    method = "AU-Qwen2.5(1.5B)"
    for i, measure in enumerate(("f1_macro", "f1")):
        cells = group(made, "ours, SAMM; threshold 0.5", i).rows[method]
        assert values(cells) == score[measure].tolist()
        assert [cell.low for cell in cells] == score[f"{measure}_low"].tolist()
    apart = group(made, "ours − published")
    printed = published.table(2).loc[method].to_numpy()
    assert apart.signed
    assert list(apart.rows) == [method]
    assert values(apart.rows[method]) == pytest.approx(score["f1_macro"].to_numpy() - printed)
    assert [cell.high for cell in apart.rows[method]] == pytest.approx(score["f1_macro_high"].to_numpy() - printed)
    assert not [g for g in made.table.blocks[1].groups if g.signed or g.label.startswith("published")]
    assert made.table.heading == "Table 2: SAMM, beside the published numbers"
    assert made.provenance["synthetic"] is False
    assert made.provenance["runs"][entry["path"]]["made_by"]
    assert made.provenance["runs"][entry["path"]]["checkpoint"] == QWEN
    assert made.provenance["data"]["samm"]["fingerprint"] == "fsamm"
    assert made.table.notes[-1].startswith("Provenance: runs samm-all-1-")
    assert "; data SAMM, 30 clips, samm variant 247, fingerprint fsamm; recipe paper; " in made.table.notes[-1]


def test_published_rows_are_as_printed_and_grey_where_no_look_is_needed(record):
    made = paper.per_release(2, results.load(None))
    rows = group(made, "published, SAMM").rows
    assert values(rows["SCA [11]"]) == published.table(2).loc["SCA [11]"].tolist()
    assert [cell.bold for cell in rows["AU-DeepSeek R1(1.5B)"]] == [True, True, True, False, True]
    assert [cell.grey for cell in rows["ResNet34 [6]"]] == [True, False, True, True, True]
    four = group(paper.cross_domain(results.load(None)), "published").rows["AU-LLM (Ours)"]
    assert [cell.bold and cell.grey for cell in four][:3] == [True, False, True]


@pytest.mark.parametrize("synthetic", [True, None, "yes"])
def test_a_synthetic_run_never_gets_a_difference(record, synthetic):
    """Nor does one whose data do not say what they are."""
    places = ("casme2", "samm", "casme2 → samm", "samm → casme2")
    entries = [record(release=place, synthetic=synthetic) for place in places]
    found = results.load({"runs": entries})
    made = [paper.per_release(1, found), paper.per_release(2, found), paper.ablations(found), paper.cross_domain(found)]
    for one in made:
        assert not [g.label for block in one.table.blocks for g in block.groups if g.signed]
        assert one.table.heading.startswith(f"Table {one.table.number}: synthetic release in the layout of ")
        assert any("no difference to the published numbers is computed" in note for note in one.table.notes)
        assert one.provenance["synthetic"] is True
        assert group(one, "ours, synthetic release; threshold 0.5")
        assert group(one, "published, ")
    heads = [span for span, _ in made[2].table.columns]
    assert heads == ["published, CASME II"] * 3 + ["synthetic, as CASME II"] + ["published, SAMM"] * 3 + [
        "synthetic, as SAMM"]  # fmt: skip
    for name, cells in group(made[2], "ours").rows.items():
        assert all(cell.empty for cell in (*cells[:3], *cells[4:7])), name
    panels, _ = paper.ablation_panels(found)
    assert all(
        title.startswith("synthetic release") and frame["published"].isna().all() for title, frame in panels.items()
    )


def test_cells_that_were_not_run_say_why(record, tmp_path):
    gone = record(release="casme2", variant="high") | {"path": str(tmp_path / "gone")}
    entries = [record(release="casme2"), record(release="casme2", variant="mid", folds=2), gone]
    found = results.load({"runs": entries}, None)
    made = [paper.per_release(1, found), paper.per_release(2, found), paper.ablations(found), paper.cross_domain(found)]
    for one in made:
        for block in one.table.blocks:
            for part in block.groups:
                if part.label.startswith("ours") and not part.signed:
                    assert all(cell.why for row in part.rows.values() for cell in row if cell.empty)
        text = render.markdown(one.table)
        for why, letter in one.table.reasons().items():
            assert f"({letter}) " in text
            assert f"| ({letter})" in text
            assert why
    reasons = " ".join(made[2].table.reasons())
    assert "unfinished: 2 of 5 folds" in reasons
    assert "its run folder" in reasons
    assert "no run of 'efp-', AU-Qwen2.5(1.5B) on CASME II is recorded" in reasons
    assert "no run of AU-Qwen2(1.5B) on SAMM is recorded" in reasons
    assert made[1].table.heading == "Table 2: published numbers, nothing run yet"
    assert made[3].table.notes[-1].startswith("Provenance: no run; table by revision ")
    assert (
        paper.ablation_panels(found)[0]["CASME II"]
        .set_index(["llm", "variant"])
        .loc[("Q2.5", "EFP-"), "score":]
        .isna()
        .all()
    )


def test_seeds_are_averaged_and_the_same_experiment_counts_once(record):
    first, second = record(skill=0.4), record(seed=2, skill=0.4)
    again = record(skill=0.4) | {"path": first["path"] + "/."}
    (result,) = results.load({"runs": [first, second]}, {"runs": [first, again]})
    assert len(result.runs) == 2
    frames = [metrics.score(Run(entry["path"]).predictions()) for entry in (first, second)]
    assert np.allclose(result.score(), (frames[0] + frames[1]) / 2, equal_nan=True)
    made = paper.per_release(2, [result])
    assert any("mean of the scores of 2 seeds" in note for note in made.table.notes)


def test_other_settings_are_another_row_and_other_clips_none(record):
    entries = [record(), record(lr=0.5), record(variant="high", clips=5), record(variant="mid", data="rgb")]
    found = results.load({"runs": entries})
    assert [r.name for r in found[:2]] == ["AU-Qwen2.5(1.5B), settings 1", "AU-Qwen2.5(1.5B), settings 2"]
    assert f"was run on other clips, AUs or labels of SAMM than {entries[0]['path']}" in found[2].why
    assert "was run on other frames of SAMM than fsamm" in found[3].why
    made = paper.per_release(2, found)
    assert list(group(made, "ours − published").rows) == [r.name for r in found[:2]]
    columns = [name for span, name in paper.ablations(found).table.columns if span == "SAMM"]
    assert columns == ["D.R1", "Q2", "Q2.5, settings 1", "Q2.5, settings 2"]


def test_ablations_are_compared_in_the_column_of_their_llm(record):
    entries = [record(release=release, variant=v) for release in ("casme2", "samm") for v in ("all", "efp-", "no-llm")]
    made = paper.ablations(results.load({"runs": entries}))
    assert made.table.columns == [(s, c) for s in ("CASME II", "SAMM") for c in ("D.R1", "Q2", "Q2.5")]
    ours, apart = group(made, "ours, ").rows, group(made, "ours − published").rows
    assert list(ours) == [*published.table(3).index, "no-llm"]
    assert list(apart) == ["EFP-", "all"]
    assert values(apart["EFP-"])[5] == pytest.approx(ours["EFP-"][5].value - 55.3)
    assert values(apart["all"])[2] == pytest.approx(ours["all"][2].value - 79.5)
    assert list(values(group(made, "published").rows["F_high"])) == [80.1, 79.8, 78.8, 54.5, 55.5, 54.3]
    panels, trivial = paper.ablation_panels(results.load({"runs": entries}))
    frame = panels["SAMM"].set_index(["llm", "variant"])
    assert frame.loc[("Q2.5", "EFP-"), "published"] == 55.3
    assert frame.loc[("Q2.5", "EFP-"), "score"] == ours["EFP-"][5].value
    assert frame.loc["Q2"].isna().all().all()
    assert set(trivial) == {"CASME II", "SAMM"}


def test_cross_domain_has_both_directions_and_no_nested_thresholds(record):
    entries = [record(release="casme2 → samm"), record(release="samm → casme2")]
    made = paper.cross_domain(results.load({"runs": entries}), ["fixed", "nested", "test-tuned"])
    apart = group(made, "ours − published").rows["AU-Qwen2.5(1.5B)"]
    ours = group(made, "ours, CASME II → SAMM and SAMM → CASME II").rows["AU-Qwen2.5(1.5B)"]
    assert values(apart) == pytest.approx(np.array(values(ours)) - published.table(4).loc["AU-LLM (Ours)"].to_numpy())
    assert not [g for g in made.table.blocks[0].groups if "other subjects" in g.label]
    assert [g for g in made.table.blocks[0].groups if "tuned on the test labels" in g.label]
    assert any("does not say which LLM" in note for note in made.table.notes)


def test_every_policy_is_a_group_with_its_own_trivial_classifiers(record):
    found = results.load({"runs": [record(skill=0.0), record(skill=0.0, llm="tiny")]})
    made = paper.per_release(2, found, ["fixed", "nested", "test-tuned"])
    tuned = group(made, "ours, SAMM; threshold tuned on the test labels").rows["AU-LLM, tiny"]
    assert values(tuned) == [100 * x for x in metrics.score(found[1].predictions[0], policy="test-tuned")["f1_macro"]]
    trivial = group(made, "trivial classifiers, SAMM").rows
    level = max(row[-1].value for row in trivial.values())
    assert level == trivial["random scores, test-tuned"][-1].value
    assert tuned[-1].grey == (tuned[-1].value <= level)
    fixed = group(made, "ours, SAMM; threshold 0.5").rows["AU-LLM, tiny"]
    fair = max(row[-1].value for name, row in trivial.items() if name != "random scores, test-tuned")
    assert fixed[-1].grey == (fixed[-1].value <= fair)


def test_the_same_runs_give_the_same_bytes(record, tmp_path):
    entries = [record(), record(variant="high")]
    written = []
    for folder in ("1", "2"):
        made = paper.ablations(results.load({"runs": entries}), ["fixed", "test-tuned"])
        paths = render.write(tmp_path / folder / made.name, made.table, made.provenance, scores=made.scores)
        written.append({path.name: path.read_bytes() for path in paths})
    assert written[0] == written[1]
    scores = pd.read_csv(tmp_path / "1" / "table3_ablations_scores.csv", keep_default_na=False)
    assert {"TP", "FP", "FN", "TN"} <= set(scores.columns)
    assert {"always-negative", "AU-Qwen2.5(1.5B)"} <= set(scores["method"])
    assert json.loads((tmp_path / "1" / "table3_ablations.json").read_text())["table"] == 3


def test_baselines_stand_above_au_llm_in_the_printed_order(record):
    methods = ("sca", "infusenet", "lbp-top", "sssnet-led")
    entries = [record(), *(record(method=m, skill=0.3 + 0.1 * i) for i, m in enumerate(methods))]
    entries.append(record(variant="3d-cnn", llm="", skill=0.2))
    made = paper.per_release(2, results.load({"runs": entries}), ["fixed", "nested"])
    rows = list(group(made, "ours, SAMM; threshold 0.5").rows)
    assert rows == [
        "LBP-TOP", "SCA", "SSSNet LED", "7 other baselines", "InfuseNet (no published number)",
        "3D-CNN (no published number)", "AU-DeepSeek R1(1.5B)", "AU-Qwen2(1.5B)", "AU-Qwen2.5(1.5B)",
    ]  # fmt: skip
    mine = group(made, "ours, SAMM; threshold 0.5").rows
    score = 100 * metrics.score(Run(entries[1]["path"]).predictions())["f1_macro"]
    assert values(mine["SCA"]) == score.tolist()
    assert [cell.bold for cell in mine["SSSNet LED"]][-1]  # among all of them, not among AU-LLM's only
    apart = group(made, "ours − published").rows
    assert list(apart) == ["LBP-TOP", "SCA", "SSSNet LED", "AU-Qwen2.5(1.5B)"]
    assert values(apart["SCA"]) == pytest.approx((score - published.table(2).loc["SCA [11]"].to_numpy()).tolist())
    (why,) = {cell.why for cell in mine["7 other baselines"]}
    others = "ResNet18, ResNet34, Fit-18, SP-18, AT-18, DVASP-18, Resnet18 LED"
    assert why == f"no run of {others} on SAMM is recorded under this profile (03_baselines)"
    assert "7 other baselines" not in group(made, "ours, SAMM; threshold chosen").rows
    assert {run["method"] for run in made.provenance["runs"].values()} == {"au-llm", *methods}
    assert any("written anew for this kit" in note for note in made.table.notes)
    assert ("samm", "SCA", "all", "nested") in made.scores


def test_no_baseline_yet_is_one_line_and_a_single_missing_one_its_name(record):
    made = paper.per_release(1, results.load({"runs": [record(release="casme2")]}), ["fixed", "test-tuned"])
    named = [name for part in made.table.blocks[0].groups if part.label.startswith("ours,") for name in part.rows]
    assert named.count("10 baselines") == 1
    assert named[0] == "10 baselines"
    entries = [record(release="casme2", method=method) for method in published.BASELINES if method != "at"]
    rows = group(paper.per_release(1, results.load({"runs": entries})), "ours, ").rows
    assert list(rows)[:10] == [row.rsplit(" [", 1)[0] for row in published.table(1).index[:10] if "AT" not in row] + [
        "AT"
    ]
    assert all(cell.why.startswith("no run of AT on CASME II") for cell in rows["AT"])


def test_a_synthetic_baseline_gets_no_difference_either(record):
    found = results.load({"runs": [record(synthetic=True), record(synthetic=True, method="sca")]})
    made = paper.per_release(2, found)
    assert "SCA" in group(made, "ours, synthetic release").rows
    assert not [g for block in made.table.blocks for g in block.groups if g.signed]


def test_table_4_has_its_baselines_and_marks_others(record):
    ways = ("casme2 → samm", "samm → casme2")
    entries = [record(release=way, method=m) for way in ways for m in ("resnet18", "sca")]
    made = paper.cross_domain(results.load({"runs": [*entries, record(release=ways[0])]}))
    rows = group(made, "ours, ").rows
    assert list(rows) == ["ResNet-18", "LED SSSNet", "SCA (no published number)", "AU-Qwen2.5(1.5B)"]
    assert rows["LED SSSNet"][-1].why.startswith("no run of LED SSSNet on SAMM → CASME II is recorded")
    assert rows["AU-Qwen2.5(1.5B)"][-1].why.startswith("no run of it on SAMM → CASME II is recorded")
    apart = group(made, "ours − published").rows
    assert values(apart["ResNet-18"]) == pytest.approx(
        np.array(values(rows["ResNet-18"])) - published.table(4).loc["ResNet-18 [6]"].to_numpy()
    )
    assert "SCA (no published number)" not in apart


def test_the_plain_cnn_is_one_baseline_whoever_ran_it_and_no_ablation(record):
    first, again = record(variant="3d-cnn", llm=""), record(variant="3d-cnn", llm=QWEN)
    entries = [record(), record(variant="no-llm"), record(method="sca")]
    found = results.load({"runs": [*entries, first]}, {"runs": [again]})
    assert [r.paths for r in found if r.variant == "3d-cnn"] == [(first["path"],)]
    three = paper.ablations(found).table
    named = {name for block in three.blocks for part in block.groups for name in part.rows}
    assert {"no-llm", "all"} <= named
    assert not [name for name in named if "3d" in name.lower() or "SCA" in name]
    assert [name for span, name in three.columns if span == "SAMM"] == ["D.R1", "Q2", "Q2.5"]
    panels, _ = paper.ablation_panels(found)
    assert set(panels["SAMM"]["llm"]) == {"D.R1", "Q2", "Q2.5"}


def test_methods_may_read_frames_of_their_own_but_are_scored_on_the_same_clips(record):
    entries = [record(), record(method="sca", data="rgb"), record(method="sp", clips=5), record(method="at", folds=4)]
    found = results.load({"runs": entries})
    assert [bool(r.why) for r in found] == [False, False, True, True]
    made = paper.per_release(2, found)
    assert made.provenance["data"]["samm"]["stores"] == ["fsamm", "rgbsamm"]
    assert "fingerprint fsamm (and 1 for other frames)" in made.table.notes[-1]
    frame = evidence.differences(found).reset_index().set_index("method")
    assert list(frame.index) == ["SP-18", "AT-18", "SCA"]
    assert frame.loc["SP-18", "supported"].startswith("not compared: ")
    assert "on other clips, AUs or labels of SAMM" in frame.loc["SP-18", "supported"]
    assert "unfinished: 4 of 5 folds" in frame.loc["AT-18", "supported"]
    assert frame.loc[["SP-18", "AT-18"], "difference":"p (Holm)"].isna().all(axis=None)
    assert not np.isnan(frame.loc["SCA", "difference"])


def test_differences_are_those_of_the_paired_bootstrap_against_au_llms_first_row(record):
    """The reference is DeepSeek, which scores worst here: it is chosen by name."""
    deepseek = "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B"
    runs = {
        ("AU-DeepSeek R1(1.5B)", 1): record(llm=deepseek, skill=0.35),
        ("AU-DeepSeek R1(1.5B)", 2): record(llm=deepseek, skill=0.35, seed=2),
        ("AU-Qwen2.5(1.5B)", 1): record(skill=0.6),
        ("AU-Qwen2.5(1.5B)", 3): record(skill=0.6, seed=3),
        ("SCA", 1): record(method="sca", skill=0.35),
        ("SCA", 2): record(method="sca", skill=0.0, seed=2),
    }
    frame = evidence.differences(results.load({"runs": list(runs.values())}))
    assert list(frame.index) == [
        ("SAMM", "SCA", "AU-DeepSeek R1(1.5B)", 1), ("SAMM", "SCA", "AU-DeepSeek R1(1.5B)", 2),
        ("SAMM", "AU-Qwen2.5(1.5B)", "AU-DeepSeek R1(1.5B)", 1),
        ("SAMM", "AU-Qwen2.5(1.5B)", "AU-DeepSeek R1(1.5B)", 3),
    ]  # fmt: skip
    predictions = {key: Run(entry["path"]).predictions() for key, entry in runs.items()}
    p = {}
    for _, method, against, seed in frame.index[:3]:
        mean = metrics.compare(predictions[method, seed], predictions[against, seed]).loc["mean"]
        row = frame.loc["SAMM", method, against, seed]
        assert row["difference"] == round(100 * mean["difference"], 1)
        assert (row["low"], row["high"]) == (round(100 * mean["low"], 1), round(100 * mean["high"], 1))
        p[method, seed] = mean["p"]
    ranked = sorted(p, key=p.get)
    holm, highest = {}, 0.0
    for i, key in enumerate(ranked):
        highest = holm[key] = max(highest, min(1.0, (3 - i) * p[key]))
    assert frame["p (Holm)"].tolist()[:3] == [round(holm[key], 4) for key in p]
    assert frame["supported"].tolist()[0] == "no: the interval holds 0"  # the same predictions
    assert frame["supported"].tolist()[3] == "not compared: AU-DeepSeek R1(1.5B) was not run with seed 3"
    assert evidence.differences(results.load({"runs": [runs["SCA", 1]]})).empty


def test_the_differences_as_a_page_and_as_a_figure(record):
    entries = [record(llm="x/<b>evil</b>$a", skill=0.4), record(method="sca", skill=0.4), record(method="sp", folds=2),
               record(method="at", skill=0.7), record(method="at", skill=0.7, seed=2)]  # fmt: skip
    frame = evidence.differences(results.load({"runs": entries}))
    page = evidence.page(frame)
    assert "<b>" not in page
    assert "b&gt;$a" in page
    rows = BeautifulSoup(page, "html.parser")("tr")[-len(frame) :]
    texts = {index: [cell.text for cell in row("td")] for index, row in zip(frame.index, rows, strict=True)}
    grey = [index for index, row in zip(frame.index, rows, strict=True) if f"#{row('td')[0]['id']}" in page]
    assert grey == list(frame.index[frame["supported"] != "yes"])
    (sp,) = (cells for index, cells in texts.items() if "SP-18" in index)
    assert sp[:3] == ["", "", ""]
    assert sp[3].startswith("not compared: ")
    key = next(index for index in frame.index if "AT-18" in index)
    first = frame.loc[key]
    assert first["supported"] == "yes"
    interval = f"[{first['low']}, {first['high']}]"
    assert texts[key] == [f"+{first['difference']}", interval, f"{first['p (Holm)']:.4f}", "yes"]
    figure = differences.differences(frame, note="n")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["SP-18", "AT-18", "SCA"]
    dots = {float(line.get_xdata()[0]): line.get_markerfacecolor() for line in axis.lines if line.get_marker() == "o"}
    known = frame.dropna(subset=["difference"])
    assert dots.keys() == set(known["difference"])
    for _, row in known.iterrows():
        assert (dots[row["difference"]] == "white") == (row["supported"] != "yes")
        assert any(list(line.get_xdata()) == [row["low"], row["high"]] for line in axis.lines)
    assert [text.get_text() for text in axis.texts] == ["not compared"] * 2  # SP-18, and AT-18 with seed 2


def test_calibration_errors_and_the_spread_over_seeds_are_the_librarys(record):
    entries = [record(skill=0.4), record(skill=0.4, seed=2), record(method="sca"), record(method="sp", folds=2)]
    found = results.load({"runs": entries})
    frames = [Run(entry["path"]).predictions() for entry in entries[:3]]
    errors = evidence.calibration_errors(evidence.whole(found, "samm"))
    assert list(errors.index) == ["SCA", "AU-Qwen2.5(1.5B)"]
    by_seed = np.stack([calibration.expected_error(frame) for frame in frames[:2]])
    assert errors.loc["AU-Qwen2.5(1.5B)"].tolist()[:-1] == pytest.approx(100 * by_seed.mean(0), abs=0.051)
    assert errors.loc["SCA", "mean"] == pytest.approx(100 * calibration.expected_error(frames[2]).mean(), abs=0.051)
    spread = evidence.spread(found)
    assert list(spread.index) == [("SAMM", "AU-Qwen2.5(1.5B)", "all", 2)]
    scores = [100 * metrics.score(frame, resamples=0).loc["mean", "f1_macro"] for frame in frames[:2]]
    row = spread.iloc[0]["two-class macro F1"]
    assert row["mean"] == pytest.approx(np.mean(scores), abs=0.051)
    assert row["std"] == pytest.approx(np.std(scores, ddof=1), abs=0.051)
    assert (row["min"], row["max"]) == pytest.approx((min(scores), max(scores)), abs=0.051)
    assert evidence.spread(found[1:]).empty


def test_real_runs_recorded_as_a_baseline_are_scored_and_compared(hand_store, experiment, tmp_path):
    """Two trainings of the engine, one of them recorded under a baseline's name."""
    entries = []
    for seed_free, loss in ((False, "bce"), (True, "asl")):
        recipe = {**experiment.recipe.to_dict(), "loss": loss}
        trained = Experiment(**{**experiment.to_dict(), "recipe": Recipe.from_dict(recipe)} | {"aus": experiment.aus})
        path = str(engine.run(trained, hand_store, out=tmp_path))
        about = {"release": "samm", "variant": "all", "llm": "tiny", "recipe": "paper", "seed": 1, "path": path}
        entries.append(about | ({"method": "sca", "llm": ""} if seed_free else {}))
    found = results.load({"runs": entries})
    made = paper.per_release(2, found)
    rows = group(made, "ours, ").rows
    assert {"SCA", "AU-LLM, tiny"} <= set(rows)
    scores = [100 * metrics.score(Run(entry["path"]).predictions()) for entry in entries]
    assert rows["AU-LLM, tiny"][1].value == scores[0].loc["AU4", "f1_macro"]
    assert rows["SCA"][-1].value == scores[1].loc["mean", "f1_macro"]
    frame = evidence.differences(found)
    gap = scores[1].loc["mean", "f1_macro"] - scores[0].loc["mean", "f1_macro"]
    assert frame["difference"].tolist() == [round(gap, 1)]
