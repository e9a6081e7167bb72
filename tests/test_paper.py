"""Runs -> the publication's tables: the scores' own numbers, and never a difference for a synthetic run."""

import json

import numpy as np
import pandas as pd
import pytest

from aullm_lib import metrics
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Experiment, Recipe
from aullm_lib.report import paper, published, render, results
from aullm_lib.runs import Run
from aullm_lib.train import Result as Trained

QWEN = "Qwen/Qwen2.5-1.5B"
AUS = {"casme2": (1, 2, 4, 7, 12, 14, 15, 17), "samm": (2, 4, 7, 12)}


@pytest.fixture
def record(tmp_path):
    """Writes a run as the engine does and returns its entry in a notebook's record."""

    def write(release="samm", variant="all", llm=QWEN, seed=1, synthetic=False, skill=0.5, folds=5, data="f", **recipe):
        train, _, test = release.rpartition(" → ")
        aus = AUS["samm" if train else release]
        rng = np.random.default_rng([seed, int(100 * skill)])
        names = [f"{test}-s{s}" for s in range(5)]
        split = [Fold(name, ("x",), tuple(f"{test}/{name}/c{c}" for c in range(6))) for name in names]
        experiment = Experiment(
            name=f"{test}-{variant}-{seed}", aus=aus, recipe=Recipe.paper(**recipe), variant=variant, llm=llm, seed=seed
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
        return place | {"variant": variant, "llm": llm, "recipe": "paper", "seed": seed, "path": str(run.path)}

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
    entries = [record(), record(lr=0.5), record(variant="high", data="other")]
    found = results.load({"runs": entries})
    assert [r.method for r in found[:2]] == ["AU-Qwen2.5(1.5B), settings 1", "AU-Qwen2.5(1.5B), settings 2"]
    assert "was run on other clips of SAMM than fsamm" in found[2].why
    made = paper.per_release(2, found)
    assert list(group(made, "ours − published").rows) == [r.method for r in found[:2]]
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
    panels, floors = paper.ablation_panels(results.load({"runs": entries}))
    frame = panels["SAMM"].set_index(["llm", "variant"])
    assert frame.loc[("Q2.5", "EFP-"), "published"] == 55.3
    assert frame.loc[("Q2.5", "EFP-"), "score"] == ours["EFP-"][5].value
    assert frame.loc["Q2"].isna().all().all()
    assert set(floors) == {"CASME II", "SAMM"}


def test_cross_domain_has_both_directions_and_no_nested_thresholds(record):
    entries = [record(release="casme2 → samm"), record(release="samm → casme2")]
    made = paper.cross_domain(results.load({"runs": entries}), ["fixed", "nested", "test-tuned"])
    apart = group(made, "ours − published").rows["AU-Qwen2.5(1.5B)"]
    ours = group(made, "ours, CASME II → SAMM and SAMM → CASME II").rows["AU-Qwen2.5(1.5B)"]
    assert values(apart) == pytest.approx(np.array(values(ours)) - published.table(4).loc["AU-LLM (Ours)"].to_numpy())
    assert not [g for g in made.table.blocks[0].groups if "other subjects" in g.label]
    assert [g for g in made.table.blocks[0].groups if "tuned on the test labels" in g.label]
    assert any("does not say which LLM" in note for note in made.table.notes)


def test_every_policy_is_a_group_of_its_own_with_its_own_floors(record):
    found = results.load({"runs": [record(skill=0.0), record(skill=0.0, llm="tiny")]})
    made = paper.per_release(2, found, ["fixed", "nested", "test-tuned"])
    tuned = group(made, "ours, SAMM; threshold tuned on the test labels").rows["AU-LLM, tiny"]
    assert values(tuned) == [100 * x for x in metrics.score(found[1].predictions[0], policy="test-tuned")["f1_macro"]]
    chance = group(made, "looks at nothing, SAMM").rows
    floor = max(row[-1].value for row in chance.values())
    assert floor == chance["random, test-tuned"][-1].value
    assert tuned[-1].grey == (tuned[-1].value <= floor)
    fixed = group(made, "ours, SAMM; threshold 0.5").rows["AU-LLM, tiny"]
    fair = max(row[-1].value for name, row in chance.items() if name != "random, test-tuned")
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
    assert {"all-absent", "AU-Qwen2.5(1.5B)"} <= set(scores["method"])
    assert json.loads((tmp_path / "1" / "table3_ablations.json").read_text())["table"] == 3
