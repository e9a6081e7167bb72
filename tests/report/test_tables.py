"""Runs -> the publication's tables: the scores' own numbers, and never a difference for a synthetic run.

And what the runs bear: which differences they support, calibration, the spread over seeds.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from aullm_lib import engine, metrics, report
from aullm_lib.experiment import Experiment
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.recipe import Recipe
from aullm_lib.report import evidence, published, results, tables
from aullm_lib.runs import Run

QWEN = "Qwen/Qwen2.5-1.5B"


def group(table, start, measure=0):
    """The cells of a group by row: those of the first group of a measure that begins so."""
    frame = table.frame[table.frame["measure"] == list(tables.MEASURES.values())[measure]]
    label = next(label for label in frame["group"].unique() if label.startswith(start))
    rows = frame[frame["group"] == label].groupby("row", sort=False)
    return {row: list(cells.itertuples()) for row, cells in rows}


def every(found):
    return [tables.per_release(1, found), tables.per_release(2, found), tables.ablations(found),
            tables.cross_domain(found)]  # fmt: skip


def columns(table):
    return list(table.frame[["span", "column"]].drop_duplicates().itertuples(index=False, name=None))


def values(cells):
    return [cell.value for cell in cells]


def test_a_table_holds_the_scores_and_on_licensed_data_the_difference(record, load):
    entry = record()
    made = tables.per_release(2, load())
    score = 100 * metrics.score(Run(entry).predictions())
    method = "AU-Qwen2.5(1.5B)"
    for i, measure in enumerate(("f1_macro", "f1")):
        cells = group(made, "ours, SAMM; threshold 0.5", i)[method]
        assert values(cells) == score[measure].tolist()
        assert [cell.low for cell in cells] == score[f"{measure}_low"].tolist()
    apart = group(made, "ours − published")
    printed = published.table(2).loc[method].to_numpy()
    assert list(apart) == [method]
    assert values(apart[method]) == pytest.approx(score["f1_macro"].to_numpy() - printed)
    assert all(np.isnan([cell.low, cell.high]).all() for cell in apart[method])  # one seed
    second = made.frame[made.frame["measure"] == tables.MEASURES["f1"]]
    assert set(second["kind"]) == {"trivial", "ours"}
    assert made.heading == "Table 2: SAMM, beside the published numbers"
    assert made.provenance["synthetic"] is False
    assert made.provenance["runs"][entry]["made_by"]
    assert made.provenance["runs"][entry]["checkpoint"] == QWEN
    assert made.provenance["data"]["samm"]["fingerprint"] == "fsamm"
    assert made.notes[-1].startswith("Provenance: runs samm-all-1-")
    assert "; data SAMM, 48 clips, samm variant 247, fingerprint fsamm; recipe paper; " in made.notes[-1]


def test_a_table_reads_as_markdown_where_no_page_is_shown(record, load):
    record()
    made = tables.per_release(2, load())
    assert repr(made) == tables.markdown(made) and made._repr_html_() == tables.page(made)


def test_averages_are_of_all_seeds_and_have_a_published_number_on_licensed_data_alone(record, load):
    entries = [record(method="resnet18", seed=seed, skill=0.4) for seed in (1, 2)]
    record(method="flow-svm"), record(variant="3d-cnn"), record(release="casme2", method="resnet18", synthetic=True)
    found = [r for r in load() if r.baseline]
    panels, trivial = results.averages(found)
    assert {title: list(rows.index) for title, rows in panels.items()} == {
        "synthetic release in the layout of CASME II": ["Resnet18"],
        "SAMM": ["ResNet18", "Optical flow + SVM", "3D-CNN"],
    }
    both = [Run(entry).predictions() for entry in entries]
    row, mean = panels["SAMM"].loc["ResNet18"], 100 * metrics.score(both).loc["mean"]
    wanted = [*mean[["f1_macro", "f1_macro_low", "f1_macro_high"]], published.table(2).loc["ResNet18", "Avg."]]
    assert row[["score", "low", "high", "published"]].tolist() == pytest.approx(wanted)
    for title, name in (("SAMM", "3D-CNN"), ("SAMM", "Optical flow + SVM"), (next(iter(panels)), "Resnet18")):
        assert np.isnan(panels[title].loc[name, "published"])
    levels = metrics.trivial(both[0])
    assert trivial["SAMM"] == {
        name: pytest.approx(100 * levels[name].loc["mean", "f1_macro"]) for name in ("always-negative", CHANCE)
    }


def test_scores_per_au_and_the_list_of_results_name_the_same_rows(record, load):
    record(), record(method="sp"), record(release="casme2", folds=2)
    found = load()
    panels, trivial = results.per_au(r for r in found if not r.why)
    assert list(panels) == list(trivial) == ["SAMM"]
    for r in (r for r in found if not r.why):
        assert panels["SAMM"][r.name].equals(r.score()) and trivial["SAMM"].equals(r.trivial["always-negative"])
    rows = results.listed(found).set_index(["data", "method"])["why no score"]
    assert {key: why == "" for key, why in rows.items()} == {
        ("CASME II", "AU-Qwen2.5(1.5B)"): False,
        ("SAMM", "AU-Qwen2.5(1.5B)"): True,
        ("SAMM", "SP-18"): True,
    }


def test_what_is_not_estimable_is_named_with_its_count(record, load):
    record(skill=0.6)
    (result,) = load()
    frame = result.predictions[0]
    silent, rare = frame["au"] == "AU7", (frame["au"] == "AU12") & ~frame["subject"].isin(["samm-s0", "samm-s3"])
    result.predictions[:] = [
        frame.assign(probability=frame["probability"].mask(silent, 0), label=frame["label"].mask(rare, 0))
    ]
    made = tables.per_release(2, [result])
    method = "AU-Qwen2.5(1.5B)"
    (note,) = (note for note in made.notes if "not estimable" in note)
    assert note == (
        "SAMM, not estimable and without an interval: too few subjects with a positive, AU12 (2); no true positive, "
        f"{method}, fixed: AU7."
    )
    ends = {cell.column: cell.low == cell.low for cell in group(made, "ours, SAMM")[method]}
    assert ends == {"AU2": True, "AU4": True, "AU7": False, "AU12": False, "Avg.": True}


def test_a_difference_to_the_published_number_varies_with_the_seeds(record, load):
    frames = [Run(record(skill=0.4, seed=seed)).predictions() for seed in (1, 2, 3)]
    made = tables.per_release(2, load())
    assert any("published rows were tuned on the test labels" in note for note in made.notes)
    cell = group(made, "ours − published")["AU-Qwen2.5(1.5B)"][-1]
    scores = [100 * metrics.score(frame, interval="none").loc["mean", "f1_macro"] for frame in frames]
    low, high = stats.t.interval(0.95, 2, np.mean(scores), np.std(scores, ddof=1) * np.sqrt(1 + 1 / 3))
    assert (cell.value, cell.low, cell.high) == pytest.approx(tuple(x - 59.7 for x in (np.mean(scores), low, high)))


def test_published_rows_are_as_printed_and_grey_where_trivial(record, load):
    made = tables.per_release(2, load())
    rows = group(made, "published, SAMM")
    assert values(rows["SCA"]) == published.table(2).loc["SCA"].tolist()
    assert [cell.bold for cell in rows["AU-DeepSeek R1(1.5B)"]] == [True, True, True, False, True]
    assert [cell.grey for cell in rows["SSSNet LED"]] == [False, False, True, True, False]  # guessing: 58, 54
    four = group(tables.cross_domain(load()), "published")["AU-LLM (Ours)"]
    assert [cell.bold and cell.grey for cell in four] == [True, False, True, True, True, False, True, True, True, True]


@pytest.mark.parametrize("synthetic", [True, None])
def test_a_synthetic_run_never_gets_a_difference(record, load, synthetic):
    """Nor does one whose data do not say what they are."""
    places = ("casme2", "samm", "casme2 → samm", "samm → casme2")
    for place in places:
        record(release=place, synthetic=synthetic)
    made = every(load())
    for one in made:
        assert "difference" not in set(one.frame["kind"])
        assert one.frame.loc[one.frame["kind"] == "ours", "printed"].isna().all()
        assert one.heading.startswith(f"Table {one.number}: synthetic release in the layout of ")
        assert any("no difference to the published numbers is computed" in note for note in one.notes)
        assert one.provenance["synthetic"] is True
        assert group(one, "ours, synthetic release; threshold 0.5")
        assert group(one, "published, ")
    heads = [span for span, _ in columns(made[2])]
    assert heads == ["published, CASME II"] * 3 + ["synthetic, as CASME II"] + ["published, SAMM"] * 3 + [
        "synthetic, as SAMM"]  # fmt: skip
    for name, cells in group(made[2], "ours").items():
        assert all(np.isnan(cell.value) for cell in (*cells[:3], *cells[4:7])), name
    panels, _ = tables.ablation_panels(made[2])
    assert all(
        title.startswith("synthetic release") and frame["published"].isna().all() for title, frame in panels.items()
    )


def test_cells_that_were_not_run_say_why(record, load, tmp_path):
    record(release="casme2")
    record(release="casme2", variant="mid", folds=2)
    made = every(load())
    for one in made:
        ours = one.frame[one.frame["kind"] == "ours"]
        assert (ours["value"].notna() | (ours["why"] != "")).all()
        text = tables.markdown(one)
        for why, letter in one.reasons.items():
            assert f"({letter}) " in text
            assert f"| ({letter})" in text
            assert why
    reasons = " ".join(made[2].reasons)
    assert "unfinished: 2 of 8 folds" in reasons
    assert "no run of 'efp-', AU-Qwen2.5(1.5B) on CASME II is in this profile's results" in reasons
    assert "no run of AU-Qwen2(1.5B) on SAMM is in this profile's results" in reasons
    assert made[1].heading == "Table 2: published numbers, nothing run yet"
    assert made[3].notes[-1].startswith("Provenance: no run; written by revision ")
    assert (
        tables.ablation_panels(made[2])[0]["CASME II"]
        .set_index(["llm", "variant"])
        .loc[("Q2.5", "EFP-"), "score":]
        .isna()
        .all()
    )


def test_seeds_are_averaged_and_the_same_experiment_counts_once(record, load):
    first, second = record(skill=0.4), record(seed=2, skill=0.4)
    (result,) = load()
    assert len(result.runs) == 2
    frames = [Run(entry).predictions() for entry in (first, second)]
    pd.testing.assert_frame_equal(result.score(), metrics.score(frames))
    made = tables.per_release(2, [result])
    assert any("mean of the scores of 2 seeds" in note for note in made.notes)


def test_the_newest_run_of_a_configuration_counts_and_older_ones_are_named(record, load):
    older = [record(), record(seed=3)]
    newer = [record(lr=0.5), record(lr=0.5, seed=2)]
    (result,) = load()
    assert [str(run.path) for run in result.runs] == newer
    assert {str(run.path) for run in result.older} == set(older)
    made = tables.per_release(2, [result])
    assert set(made.provenance["passed_over"]) == set(older)
    assert any("newer ones count: 2." in note for note in made.notes)


def test_runs_on_other_clips_or_frames_than_the_newest_have_no_score(record, load):
    record(variant="high", clips=5)
    record(variant="mid", data="rgb")
    newest = record()
    whys = {r.variant: r.why for r in load()}
    assert whys["all"] == ""
    assert f"was run on other clips, AUs or labels of SAMM than {newest}" in whys["high"]
    assert "was run on other frames of SAMM than fsamm" in whys["mid"]


def test_runs_of_an_older_format_are_passed_over_with_one_warning(record, load):
    older, newer = record(variant="high"), record()
    info = json.loads((Path(older) / "run.json").read_text())
    (Path(older) / "run.json").write_text(json.dumps({"experiment": info["experiment"]}))
    with pytest.warns(UserWarning, match=f"run by an older version: {older}; run their notebooks again") as warned:
        (result,) = load()
    assert len(warned) == 1
    assert [str(run.path) for run in result.runs] == [newer]


def test_a_summary_has_one_row_per_run_beside_the_trivial_classifiers(record, tmp_path):
    paths = [record(), record(release="casme2 → samm", method="sca", seed=2)]
    table = report.summary([paths[0], Run(paths[1])])
    assert table.index.names == ["test set", "method", "variant", "LLM", "recipe", "seed"]
    assert list(table.index) == [
        ("samm", "au-llm", "all", "Qwen2.5-1.5B", "paper", 1), ("casme2 → samm", "sca", "all", "", "sca", 2),
    ]  # fmt: skip
    for path, (_, row) in zip(paths, table.iterrows(), strict=True):
        predictions = Run(path).predictions()
        mean, trivial = metrics.score(predictions).loc["mean"], metrics.trivial(predictions)
        expected = [100 * mean[name] for name in ("f1_macro", "f1_macro_low", "f1_macro_high", "f1")]
        expected += [100 * trivial[name].loc["mean", "f1_macro"] for name in ("always-negative", "base-rate random")]
        assert row.tolist() == pytest.approx([*expected, 1.0], abs=0.051)
    with pytest.raises(ValueError, match="is unfinished: 3 of 8 folds"):
        report.summary([record(variant="mid", folds=3)])
    assert report.summary([]).empty


def test_what_is_seen_counts_runs_above_base_rate_guessing_and_not_above_saying_never():
    names = ["test set", "method", "variant", "LLM", "recipe", "seed"]
    index = pd.MultiIndex.from_tuples([("samm", "sca", "all", "", "sca", seed) for seed in (1, 2)], names=names)
    scores = pd.DataFrame({"two-class macro F1": [55.0, 58.0], "low": [48.0, 51.0]}, index)
    text = report.seen(scores.assign(**{"always-negative": 45.0, "base-rate random": 50.0}))
    assert "guessing at the base rate has 50.0; 1 of 2 runs lie above it with their whole interval" in text


def test_ablations_are_compared_in_the_column_of_their_llm(record, load):
    for release in ("casme2", "samm"):
        for variant in ("all", "efp-", "no-llm"):
            record(release=release, variant=variant)
    made = tables.ablations(load())
    assert columns(made) == [(s, c) for s in ("CASME II", "SAMM") for c in ("D.R1", "Q2", "Q2.5")]
    ours, apart = group(made, "ours, "), group(made, "ours − published")
    assert list(ours) == list(published.table(3).index)
    assert list(apart) == ["EFP-", "all"]
    assert values(apart["EFP-"])[5] == pytest.approx(ours["EFP-"][5].value - 55.3)
    assert values(apart["all"])[2] == pytest.approx(ours["all"][2].value - 79.5)
    assert list(values(group(made, "published")["F_high"])) == [80.1, 79.8, 78.8, 54.5, 55.5, 54.3]
    panels, trivial = tables.ablation_panels(made)
    frame = panels["SAMM"].set_index(["llm", "variant"])
    assert frame.loc[("Q2.5", "EFP-"), "published"] == 55.3
    assert frame.loc[("Q2.5", "EFP-"), "score"] == ours["EFP-"][5].value
    assert frame.loc["Q2"].isna().all().all()
    assert set(trivial) == {"CASME II", "SAMM"}


def test_cross_domain_has_both_directions_and_no_nested_thresholds(record, load):
    record(release="casme2 → samm")
    record(release="samm → casme2")
    made = tables.cross_domain(load(), ["fixed", "nested", "test-tuned"])
    apart = group(made, "ours − published")["AU-Qwen2.5(1.5B)"]
    ours = group(made, "ours, CASME II → SAMM and SAMM → CASME II")["AU-Qwen2.5(1.5B)"]
    assert values(apart) == pytest.approx(np.array(values(ours)) - published.table(4).loc["AU-LLM (Ours)"].to_numpy())
    assert set(made.frame["policy"]) == {"", "fixed", "test-tuned"}
    assert any("does not say which LLM" in note for note in made.notes)


def test_a_table_says_how_the_clips_were_split(record, load):
    """By hash: runs whose subjects differ, in the same result or in the other direction, have others."""
    record(release="casme2 → samm")
    record(release="samm → casme2")
    once = [Run(record(release="samm")), Run(record(release="samm", seed=2))]
    assert len({run.split_sha256 for run in once}) == 1
    made = tables.per_release(2, load())
    assert made.provenance["data"]["samm"]["splits"] == [once[0].split_sha256]
    assert [run["split_sha256"] for run in made.provenance["runs"].values()] == [once[0].split_sha256] * 2
    for text in (tables.markdown(made), tables.page(made), tables.latex(made, "x")):
        assert once[0].split_sha256[:16] in text
    crossed = tables.cross_domain(load())
    digests = {data["splits"][0] for data in crossed.provenance["data"].values()}
    assert len(digests) == 2 and all(digest[:16] in tables.markdown(crossed) for digest in digests)


def test_every_policy_is_a_group_with_its_own_trivial_classifiers(record, load):
    record(skill=0.0)
    record(skill=0.0, llm="tiny")
    made = tables.per_release(2, load(), ["fixed", "nested", "test-tuned"])
    predictions = next(r.predictions[0] for r in load() if r.llm == "tiny")
    tuned = group(made, "ours, SAMM; threshold tuned on the test labels")["AU-LLM, tiny"]
    assert values(tuned) == [100 * x for x in metrics.score(predictions, policy="test-tuned")["f1_macro"]]
    trivial = group(made, "trivial classifiers, SAMM")
    level = trivial["random scores, test-tuned"][-1].high
    assert level == max(row[-1].high for name, row in trivial.items() if "random" in name)
    assert tuned[-1].grey == (tuned[-1].value <= level)
    fixed = group(made, "ours, SAMM; threshold 0.5")["AU-LLM, tiny"]
    assert fixed[-1].grey == (fixed[-1].value <= trivial["base-rate random"][-1].high)


def test_the_same_runs_give_the_same_bytes(record, load, tmp_path):
    record()
    record(variant="high")
    written = []
    for folder in ("1", "2"):
        made = tables.ablations(load(), ["fixed", "test-tuned"])
        paths = tables.write(tmp_path / folder / made.name, made)
        written.append({path.name: path.read_bytes() for path in paths})
    assert written[0] == written[1]
    scores = pd.read_csv(tmp_path / "1" / "table3_ablations_scores.csv", keep_default_na=False)
    assert {"TP", "FP", "FN", "TN"} <= set(scores.columns)
    assert {"always-negative", "training base rate", "AU-Qwen2.5(1.5B)"} <= set(scores["method"])
    assert "training base rate" not in set(made.frame["row"])
    assert json.loads((tmp_path / "1" / "table3_ablations.json").read_text())["table"] == 3


def test_baselines_stand_above_au_llm_in_the_printed_order(record, load):
    methods = ("sca", "infusenet", "lbp-top", "sssnet-led")
    record()
    paths = {method: record(method=method, skill=0.3 + 0.1 * i) for i, method in enumerate(methods)}
    record(variant="3d-cnn", llm="", skill=0.2)
    made = tables.per_release(2, load(), ["fixed", "nested"])
    rows = list(group(made, "ours, SAMM; threshold 0.5"))
    assert rows == [
        "LBP-TOP", "SCA", "SSSNet LED", "7 other baselines", "InfuseNet (no published number)",
        "3D-CNN (no published number)", "AU-DeepSeek R1(1.5B)", "AU-Qwen2(1.5B)", "AU-Qwen2.5(1.5B)",
    ]  # fmt: skip
    mine = group(made, "ours, SAMM; threshold 0.5")
    score = 100 * metrics.score(Run(paths["sca"]).predictions())["f1_macro"]
    assert values(mine["SCA"]) == score.tolist()
    assert [cell.bold for cell in mine["SSSNet LED"]][-1]  # among all of them, not among AU-LLM's only
    apart = group(made, "ours − published")
    assert list(apart) == ["LBP-TOP", "SCA", "SSSNet LED", "AU-Qwen2.5(1.5B)"]
    assert values(apart["SCA"]) == pytest.approx((score - published.table(2).loc["SCA"].to_numpy()).tolist())
    (why,) = {cell.why for cell in mine["7 other baselines"]}
    others = "ResNet18, ResNet34, Fit-18, SP-18, AT-18, DVASP-18, Resnet18 LED"
    assert why == f"no run of {others} on SAMM is in this profile's results (03_baselines)"
    assert "7 other baselines" not in group(made, "ours, SAMM; threshold chosen")
    assert {run["method"] for run in made.provenance["runs"].values()} == {"au-llm", *methods}
    assert any("written anew for this kit" in note for note in made.notes)
    assert ("samm", "SCA", "all", "nested", "AU2") in made.scores.index


def test_no_baseline_yet_is_one_line_and_a_single_missing_one_its_name(record, load):
    record(release="casme2")
    made = tables.per_release(1, load(), ["fixed", "test-tuned"])
    ours = made.frame[(made.frame["measure"] == tables.MEASURES["f1_macro"]) & (made.frame["kind"] == "ours")]
    assert ours["row"].iloc[0] == "10 baselines"
    assert set(ours.loc[ours["row"] == "10 baselines", "policy"]) == {"fixed"}
    for method in published.BASELINES:
        if method != "at":
            record(release="casme2", method=method)
    rows = group(tables.per_release(1, load()), "ours, ")
    assert list(rows)[:10] == [row for row in published.table(1).index[:10] if "AT" not in row] + ["AT"]
    assert all(cell.why.startswith("no run of AT on CASME II") for cell in rows["AT"])


def test_a_synthetic_baseline_gets_no_difference_either(record, load):
    record(synthetic=True)
    record(synthetic=True, method="sca")
    made = tables.per_release(2, load())
    assert "SCA" in group(made, "ours, synthetic release")
    assert "difference" not in set(made.frame["kind"])


def test_table_4_has_its_baselines_and_marks_others(record, load):
    ways = ("casme2 → samm", "samm → casme2")
    for way in ways:
        for method in ("resnet18", "sca"):
            record(release=way, method=method)
    record(release=ways[0])
    made = tables.cross_domain(load())
    rows = group(made, "ours, ")
    assert list(rows) == ["ResNet-18", "LED SSSNet", "SCA (no published number)", "AU-Qwen2.5(1.5B)"]
    assert rows["LED SSSNet"][-1].why.startswith("no run of LED SSSNet on SAMM → CASME II is in this profile's results")
    assert rows["AU-Qwen2.5(1.5B)"][-1].why.startswith("no run of it on SAMM → CASME II is in this profile's results")
    apart = group(made, "ours − published")
    assert values(apart["ResNet-18"]) == pytest.approx(
        np.array(values(rows["ResNet-18"])) - published.table(4).loc["ResNet-18"].to_numpy()
    )
    assert "SCA (no published number)" not in apart


def test_a_baseline_without_its_sources_weights_is_marked_in_every_form(record, load):
    record()
    record(method="resnet18", weights="")
    record(method="resnet34")
    record(method="infusenet", magnifier="")
    made = tables.per_release(2, load())
    assert list(group(made, "ours, "))[:4] == [
        "ResNet18 (not comparable)", "ResNet34", "8 other baselines", "InfuseNet (no published number; not comparable)"
    ]  # fmt: skip
    assert list(group(made, "ours − published")) == ["ResNet18 (not comparable)", "ResNet34", "AU-Qwen2.5(1.5B)"]
    (note,) = [note for note in made.notes if note.startswith("Not comparable")]
    assert "ResNet18 (weights random, its source's from ImageNet)" in note and "InfuseNet (magnifier random, " in note
    for form in (tables.markdown, tables.page, lambda table: tables.latex(table, "t")):
        text = form(made)
        assert "ResNet18 (not comparable)" in text and "ResNet34 (not" not in text
        assert "weights random, its source" in text
    record(method="resnet18")  # with weights: the newest counts, and is not marked
    again = tables.per_release(2, load())
    assert "ResNet18" in group(again, "ours, ")
    assert not any("ResNet18 (weights" in note for note in again.notes)


def test_the_plain_cnn_is_one_baseline_whoever_ran_it_and_no_ablation(record, load):
    first, again = record(variant="3d-cnn", llm=""), record(variant="3d-cnn", llm=QWEN)
    record()
    record(variant="no-llm")
    record(method="sca")
    (plain,) = [r for r in load() if r.variant == "3d-cnn"]
    assert [str(run.path) for run in plain.runs] == [again]
    assert [str(run.path) for run in plain.older] == [first]
    three = tables.ablations(load())
    named = set(three.frame["row"])
    assert named >= set(published.table(3).index)
    assert not [name for name in named if "3d" in name.lower() or "SCA" in name or "llm" in name]
    assert [name for span, name in columns(three) if span == "SAMM"] == ["D.R1", "Q2", "Q2.5"]
    panels, _ = tables.ablation_panels(three)
    assert set(panels["SAMM"]["llm"]) == {"D.R1", "Q2", "Q2.5"}


def test_methods_may_read_frames_of_their_own_but_are_scored_on_the_same_clips(record, load):
    record(method="sp", clips=5)
    record(method="at", folds=4)
    record(method="sca", data="rgb")
    record()
    found = load()
    assert {r.method: bool(r.why) for r in found} == {"au-llm": False, "sca": False, "sp": True, "at": True}
    made = tables.per_release(2, found)
    assert made.provenance["data"]["samm"]["stores"] == ["fsamm", "rgbsamm"]
    assert "fingerprint fsamm (and 1 for other frames)" in made.notes[-1]
    frame = evidence.differences(found).reset_index().set_index("method")
    assert list(frame.index) == ["SP-18", "AT-18", "SCA"]
    assert frame.loc["SP-18", "supported"].startswith("not compared: ")
    assert "on other clips, AUs or labels of SAMM" in frame.loc["SP-18", "supported"]
    assert "unfinished: 4 of 8 folds" in frame.loc["AT-18", "supported"]
    assert frame.loc[["SP-18", "AT-18"], "difference":"p (Holm)"].isna().all(axis=None)
    assert not np.isnan(frame.loc["SCA", "difference"])


def test_real_runs_are_scored_and_compared(hand_store, experiment, tmp_path):
    """Two trainings of the engine, with a recipe name of their own each."""
    paths = []
    for loss in ("bce", "asl"):
        recipe = Recipe.from_dict({**experiment.recipe.to_dict(), "name": loss, "loss": loss})
        trained = Experiment(**{**experiment.to_dict(), "aus": experiment.aus, "recipe": recipe})
        paths.append(engine.run(trained, hand_store, out=tmp_path))
        info = json.loads((paths[-1] / "run.json").read_text()) | {"train": ["samm"], "test": ["samm"]}
        info["experiment"]["variant"] = "all"
        (paths[-1] / "run.json").write_text(json.dumps(info))
    found = results.load(tmp_path)
    rows = group(tables.per_release(2, found), "ours, ")
    scores = [100 * metrics.score(Run(path).predictions()) for path in paths]
    names = [next(row for row in rows if row.endswith(f", {loss}")) for loss in ("bce", "asl")]
    for name, score in zip(names, scores, strict=True):
        assert rows[name][1].value == score.loc["AU4", "f1_macro"]
        assert rows[name][-1].value == score.loc["mean", "f1_macro"]
    frame = evidence.differences(found)
    gap = scores[0].loc["mean", "f1_macro"] - scores[1].loc["mean", "f1_macro"]
    assert abs(frame["difference"].iloc[0]) == pytest.approx(abs(gap), abs=0.051)
