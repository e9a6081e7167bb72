"""Table 5: leave-one-release-out, pooled and by release, beside what is published under CD6ME."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from aullm_lib import facs
from aullm_lib.experiment import Experiment
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Recipe
from aullm_lib.report import cd6me, results, tables
from aullm_lib.runs import Result, Run

CODED = {"casme": {1, 2, 4, 9}, "casme2": set(facs.CD6ME), "samm": set(facs.CD6ME) - {10}}


@pytest.fixture
def one_out(tmp_path):
    """Writes a run of three releases, as the engine does."""

    def write(seed=1, absent=False, synthetic=True):
        rng = np.random.default_rng(seed)
        clips = {r: [(f"{r}/s{s}/c{c}", f"{r}/s{s}") for s in range(7) for c in range(6)] for r in CODED}
        folds = [Fold(r, ("x",), tuple(clip for clip, _ in clips[r])) for r in CODED]
        experiment = Experiment(name=f"one-out-{absent}", aus=facs.CD6ME, recipe=Recipe.released(), llm="x", seed=seed)
        data = {"fingerprint": "f", "clips": 126, "dataset": "+".join(CODED), "synthetic": synthetic}
        data |= {"count_missing": "absent"} if absent else {}
        split = {"train": sorted(CODED), "test": sorted(CODED), "protocol": "leave-one-release-out"}
        run = Run.open(tmp_path / "results", experiment, folds, data, split=split)
        for fold in folds:
            rows = []
            for i, (clip, subject) in enumerate(clips[fold.name]):
                for au in facs.CD6ME:
                    label = int((i + au) % 4 == 0) if au in CODED[fold.name] else 0 if absent else None
                    rows.append((clip, subject, f"AU{au}", label, 0.4 * (label or 0) + 0.6 * rng.random()))
            frame = pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])
            frame["label"] = frame["label"].astype("Int8")
            run.write_fold(fold.name, Result(frame, pd.DataFrame({"epoch": [1], "loss": [0.5]}), {"seconds": 1.0}))
        return run

    return write


def cell(table, measure, row, column):
    frame = table.frame
    found = frame[(frame["measure"] == measure) & (frame["row"] == row) & (frame["column"] == column)]
    found = found[found["kind"] == "ours"]
    assert len(found) == 1
    return found.iloc[0]


def test_pooled_and_by_release_scores_are_scikit_learns_over_known_labels(one_out, tmp_path):
    run = one_out()
    table = cd6me.table(results.load(tmp_path / "results"))
    frame = run.predictions().dropna(subset="label")
    frame["present"] = frame["probability"] >= 0.5
    (name,) = set(table.frame[table.frame["kind"] == "ours"]["row"])
    for key, average in (("f1", "binary"), ("f1_macro", "macro")):
        measure, scores = tables.MEASURES[key], {}
        for au, rows in frame.groupby("au"):
            scores[au] = 100 * reference.f1_score(rows["label"].astype(int), rows["present"], average=average)
            assert cell(table, measure, name, au)["value"] == pytest.approx(scores[au]), au
        assert cell(table, measure, name, "Avg.")["value"] == pytest.approx(np.mean(list(scores.values())))
        for release, part in frame.groupby("fold"):
            each = [
                reference.f1_score(rows["label"].astype(int), rows["present"], average=average)
                for _, rows in part.groupby("au")
            ]
            assert len(each) == len(CODED[release])
            got = cell(table, f"{measure}, {cd6me.MEAN}", name, results.TITLES[release])
            assert got["value"] == pytest.approx(100 * np.mean(each))
            assert got["low"] < got["value"] < got["high"]
    assert "Not coded: CASME AU5, AU6, AU7, AU10, AU12, AU14, AU15, AU17; SAMM AU10." in " ".join(table.notes)
    assert "no result on any of the six" in " ".join(table.notes)


def test_aus_counted_as_absent_are_another_test_set_and_say_so(one_out, tmp_path):
    one_out(), one_out(absent=True)
    found = results.load(tmp_path / "results")
    assert [r.why for r in found] == ["", ""] and len({r.test_set for r in found}) == 2
    groups = {g for g in cd6me.table(found).frame["group"] if g.startswith("ours")}
    assert sum("AUs that are not coded counted as absent" in g for g in groups if "threshold" in g) == 1


def test_levels_are_those_of_the_documented_counts():
    levels = cd6me.documented_levels()
    average = {name: 100 * levels[name].loc["mean"] for name in ("always-positive", "always-negative")}
    assert average["always-positive"][["f1", "f1_macro"]].round(2).tolist() == [17.77, 8.89]  # as its notebook prints
    assert average["always-negative"][["f1", "f1_macro"]].round(2).tolist() == [0, 47.15]
    positives = 26 + 6 + 23 + 153 + 46 + 50  # AU1: CASME II, SAMM, CASME, CAS(ME)3, 4DME, MMEW
    label = np.repeat([1, 0], [positives, 2031 - positives])
    assert levels["always-positive"].loc["AU1", "f1"] == pytest.approx(reference.f1_score(label, 0 * label + 1))
    assert levels["always-negative"].loc["AU1", "f1"] == 0
    assert list(levels["always-negative"].index[:-1]) == [f"AU{n}" for n in facs.CD6ME]
    assert levels["always-negative"].loc["AU1", ["TP", "FP", "FN", "TN"]].sum() == 2031


def test_the_table_is_drawn_without_runs_with_what_is_published(tmp_path):
    table = cd6me.table([])
    text = tables.markdown(table)
    assert "| AC4AU |" in text and "40.5" in text and "Table 5: leave-one-release-out" in text
    macro = text.split("Two-class macro F1")[1]
    assert "65.8" in macro and "AC4AU" not in macro.split("\n\n")[1]  # not published in that measure
    assert {path.name for path in tables.write(tmp_path / table.name, table)} >= {"table5_cd6me.md", "table5_cd6me.tex"}
