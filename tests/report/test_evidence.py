"""What recorded scores support, by hand."""

import os

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from aullm_lib import metrics
from aullm_lib.metrics import calibration
from aullm_lib.metrics.thresholds import POLICIES
from aullm_lib.report import evidence, figures
from aullm_lib.runs import Run
from aullm_lib.support import files


def test_ways_to_choose_the_epoch():
    labels = pd.DataFrame(
        {"clip_id": list("abcd"), "au": "AU4", "fold": ["s", "s", "t", "t"], "subject": ["s", "s", "t", "t"],
         "label": [1, 0, 1, 0]}
    )  # fmt: skip
    probabilities = {1: [0.9, 0.1, 0.4, 0.6], 2: [0.9, 0.9, 0.9, 0.1], 3: [0.1, 0.1, 0.9, 0.6]}
    trace = pd.concat(
        [labels[["clip_id", "au", "fold"]].assign(epoch=e, probability=p) for e, p in probabilities.items()]
    )
    predictions = labels.assign(probability=probabilities[3])
    ways = evidence.by_epoch(predictions, trace)
    assert list(ways) == ["last epoch", "best epoch on test (2)", "best epoch per subject"]
    got = [frame.sort_values("clip_id")["probability"].tolist() for frame in ways.values()]
    assert got == [probabilities[3], probabilities[2], [0.9, 0.1, 0.9, 0.1]]
    for frame in ways.values():
        metrics.score(frame)
    with pytest.raises(ValueError, match="the trace lacks"):
        evidence.by_epoch(predictions, trace[1:])


def predicted(right, clips=40, subjects=10):
    """Predictions of one AU that are right on a share of the clips, spread evenly over the subjects."""
    label = [i % 2 for i in range(clips)]
    probability = [y if (7 * i) % 20 < 20 * right else 1 - y for i, y in enumerate(label)]
    return pd.DataFrame(
        {"clip_id": [f"c{i}" for i in range(clips)], "subject": [f"s{i % subjects}" for i in range(clips)],
         "au": "AU4", "label": label, "probability": np.array(probability, float)}
    )  # fmt: skip


def test_paired_differences_say_what_is_supported_and_why_not():
    best, good, other = predicted(1.0), predicted(0.9), predicted(0.9, clips=38)
    pairs = {
        ("a", 1): (best, predicted(0.5)),
        ("a", 2): (good, good),
        ("b", 1): (other, best),
        ("b", 2): "not run",
        ("c", 1): (predicted(1.0, subjects=5), predicted(0.5, subjects=5)),
        ("c", 2): (predicted(0.9, subjects=8), predicted(0.8, subjects=8)),
    }
    frame = evidence.paired(pairs, ["method", "seed"])
    assert list(frame.index) == list(pairs)
    assert frame.index.names == ["method", "seed"]
    mean = metrics.compare(best, predicted(0.5)).loc["mean"]
    assert frame.loc[("a", 1), "difference"] == round(100 * mean["difference"], 1) == 50.0
    assert frame.loc[("a", 1), "p (Holm)"] == round(4 * mean["p"], 4)  # of four that are defined
    assert frame.loc[("a", 1), "detectable"] == round(100 * mean["detectable"], 1)
    assert frame.loc[("a", 2), "p (Holm)"] == 1
    last = frame.loc[("c", 2)]
    assert last["p (Holm)"] > 0.05
    assert frame["supported"].tolist() == [
        "yes", "no: less than 3.0 points", "not compared: clip c38: predicted in the second of two runs only",
        "not compared: not run", "cannot tell: p of so few subjects in so many tests is at least 0.25",
        f"cannot tell: one test would find {last['detectable']:.1f} points in 4 of 5 cases",
    ]  # fmt: skip
    assert frame.loc[["b"], "difference":"p (Holm)"].isna().all(axis=None)
    assert len(evidence.paired({}, ["method", "seed"], ["method"])) == 0
    alone = evidence.paired({("c", 1): pairs["c", 1]}, ["method", "seed"])["supported"].tolist()
    assert alone == ["cannot tell: p of so few subjects in so many tests is at least 0.062"]  # p is 1/16 at best


def test_p_is_corrected_within_a_family():
    a, b = predicted(1.0), predicted(0.5)
    p = metrics.compare(a, b).loc["mean", "p"]
    pairs = {(i, k): (a, b) if k == 0 else (a, a) for i in range(2) for k in range(5)}
    alone, among = evidence.paired({(0,): (a, b)}, ["i"]), evidence.paired(pairs, ["i", "k"], ["i"])
    assert p < 0.05
    assert alone["supported"].tolist() == ["yes"]
    assert alone["p (Holm)"].iloc[0] == round(p, 4)
    assert among.xs(0, level="k")["p (Holm)"].tolist() == [round(5 * p, 4)] * 2
    assert evidence.paired(pairs, ["i", "k"])["p (Holm)"].iloc[0] == round(10 * p, 4)


def test_differences_are_paired_with_au_llms_first_row_over_the_seeds_of_both(record, load):
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
    record(release="casme2 → samm", skill=0.5)
    record(release="casme2 → samm", method="sssnet-led", skill=0.2, seed=2)
    frame = evidence.differences(load())
    reference = "AU-DeepSeek R1(1.5B)"
    assert list(frame.index) == [
        ("SAMM", "SCA", reference), ("SAMM", "AU-Qwen2.5(1.5B)", reference),
        ("CASME II → SAMM", "LED SSSNet", "AU-Qwen2.5(1.5B)"),
    ]  # fmt: skip
    predictions = {key: Run(entry).predictions() for key, entry in runs.items()}
    means = [
        metrics.compare(*([predictions[name, seed] for seed in seeds] for name in (method, reference))).loc["mean"]
        for method, seeds in (("SCA", (1, 2)), ("AU-Qwen2.5(1.5B)", (1,)))
    ]
    for mean, (_, row) in zip(means, frame.iterrows(), strict=False):
        for name in ("difference", "low", "high", "detectable"):
            assert row[name] == round(100 * mean[name], 1)
    low, high = sorted(mean["p"] for mean in means)
    assert sorted(frame["p (Holm)"][:2]) == [round(2 * low, 4), round(max(2 * low, high), 4)]
    assert frame["supported"].tolist()[2] == "not compared: no seed in common with AU-Qwen2.5(1.5B)"
    assert evidence.differences([r for r in load() if r.method == "sca"]).empty


def test_a_baseline_without_its_sources_weights_is_not_compared(record, load):
    record()
    record(method="sca", weights="")
    record(method="sssnet-led")
    frame = evidence.differences(load())
    assert frame.xs("SCA", level="method")["supported"].tolist() == [
        "not compared: weights random, its source's from Kinetics and UCF101"
    ]
    assert frame.xs("SSSNet LED", level="method")["difference"].notna().all()
    assert {r.method: r.comparable for r in load()} == {"au-llm": True, "sca": False, "sssnet-led": True}
    assert frame["p (Holm)"].notna().sum() == 1  # nor does it lengthen the family


def test_the_differences_as_a_page_and_as_a_figure(record, load):
    record(llm="x/<b>evil</b>$a", skill=0.4)
    record(method="sca", skill=0.4)
    record(method="sp", folds=2)
    record(method="at", skill=0.7)
    frame = evidence.differences(load())
    page = evidence.page(frame)
    assert "<b>" not in page
    assert "b&gt;$a" in page
    rows = BeautifulSoup(page, "html.parser")("tr")[-len(frame) :]
    texts = {index: [cell.text for cell in row("td")] for index, row in zip(frame.index, rows, strict=True)}
    grey = [index for index, row in zip(frame.index, rows, strict=True) if f"#{row('td')[0]['id']}" in page]
    assert grey == list(frame.index[frame["supported"] != "yes"])
    (sp,) = (cells for index, cells in texts.items() if "SP-18" in index)
    assert sp[:4] == ["", "", "", ""]
    assert sp[4].startswith("not compared: ")
    key = next(index for index in frame.index if "AT-18" in index)
    first = frame.loc[key]
    assert first["supported"] == "yes"
    interval = f"[{first['low']}, {first['high']}]"
    assert texts[key] == [
        f"+{first['difference']}", interval, f"{first['p (Holm)']:.4f}", f"{first['detectable']}", "yes"
    ]  # fmt: skip
    figure = figures.scores.differences(frame, note="n")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["SP-18", "AT-18", "SCA"]
    dots = {float(line.get_xdata()[0]): line.get_markerfacecolor() for line in axis.lines if line.get_marker() == "o"}
    compared = frame.dropna(subset=["difference"])
    assert dots.keys() == set(compared["difference"])
    for _, row in compared.iterrows():
        assert (dots[row["difference"]] == "white") == (row["supported"] != "yes")
        assert any(list(line.get_xdata()) == [row["low"], row["high"]] for line in axis.lines)
    assert [text.get_text() for text in axis.texts] == ["not compared"]  # SP-18


def test_calibration_errors_and_the_spread_over_seeds_are_the_librarys(record, load):
    entries = [record(skill=0.4), record(skill=0.4, seed=2), record(method="sca"), record(method="sp", folds=2)]
    found = load()
    frames = [Run(entry).predictions() for entry in entries[:3]]
    errors = evidence.calibration_errors(evidence.whole(found, "samm"))
    assert list(errors.index) == ["SCA", "AU-Qwen2.5(1.5B)"]
    by_seed = np.stack([calibration.expected_error(frame) for frame in frames[:2]])
    assert errors.loc["AU-Qwen2.5(1.5B)"].tolist()[:-1] == pytest.approx(100 * by_seed.mean(0), abs=0.051)
    assert errors.loc["SCA", "mean"] == pytest.approx(100 * calibration.expected_error(frames[2]).mean(), abs=0.051)
    spread = evidence.spread(found)
    assert list(spread.index) == [("SAMM", "AU-Qwen2.5(1.5B)", "all", 2)]
    scores = [100 * metrics.score(frame, interval="none").loc["mean", "f1_macro"] for frame in frames[:2]]
    row = spread.iloc[0]["two-class macro F1"]
    assert row["mean"] == pytest.approx(np.mean(scores), abs=0.051)
    assert row["std"] == pytest.approx(np.std(scores, ddof=1), abs=0.051)
    assert (row["min"], row["max"]) == pytest.approx((min(scores), max(scores)), abs=0.051)
    assert evidence.spread([r for r in found if r.method != "au-llm"]).empty


def test_the_same_method_under_two_seeds_is_compared_with_itself(record, load):
    entries = [record(seed=seed) for seed in (1, 2, 3)]
    sca = [record(method="sca", skill=skill, seed=seed) for skill, seed in ((0.1, 4), (0.9, 5))]  # as if seeds differed
    record(method="at", release="casme2")
    record(method="sp", seed=1), record(method="sp", seed=2, folds=2)
    pairs = [(entries[0], entries[1]), (entries[0], entries[2]), (entries[1], entries[2]), sca]
    each = [metrics.compare(*(Run(path).predictions() for path in pair)).loc["mean"] for pair in pairs]
    frame = evidence.same_method(load())
    assert list(frame.index) == ["SAMM"]  # one seed of CASME II
    row = frame.loc["SAMM"]
    assert row["pairs of seeds"] == 4
    assert row["told apart"] == sum(mean["p"] < 0.05 for mean in each) == 1
    assert row["largest difference"] == pytest.approx(100 * max(abs(m["difference"]) for m in each), abs=0.051)
    assert row["smallest p"] == pytest.approx(1 / 2**7, abs=0.0001)
    assert evidence.same_method([r for r in load() if r.method == "at"]).empty


@pytest.mark.parametrize(
    ("levels", "lows", "leaks", "verdict"),
    [
        ([0, 0, 1], [0.4, 0.6, 0.6], True, "THE LABELS LEAK"),
        ([0, 0, 1], [0.4, 0.5, 0.6], False, "no sign of a leak"),
        ([0, 0, 1], [float("nan"), 0.6, 0.6], True, "THE LABELS LEAK"),
        ([0, 1], [float("nan"), 0.6], None, "too few subjects to tell"),
        ([1], [0.6], None, "not run"),
    ],
)
def test_a_leak_is_claimed_only_where_intervals_can_tell(levels, lows, leaks, verdict):
    points = pd.DataFrame({"intensity": levels, "low": lows, "base-rate random": 0.5})
    answer, words = evidence.leak(points)
    assert answer is leaks and words.startswith(verdict)


def test_runs_are_scored_under_every_policy_and_both_ways_to_pool(record):
    run = Run(record(skill=0.6))
    policies = evidence.by_policy({("samm", 1): run})
    assert [key[:2] for key in policies.index] == [("samm", 1)] * len(POLICIES)
    for (*_, label), row in policies.iterrows():
        policy = next(name for name, words in POLICIES.items() if words == label)
        mean = metrics.score(run.predictions(), policy=policy).loc["mean"]
        assert row["f1_macro"] == round(100 * mean["f1_macro"], 1)
    pooled = evidence.pooling({("samm", 1): run})
    people = [frame for _, frame in run.predictions().groupby("subject")]
    by_hand = np.array([metrics.score(frame).loc["mean", "f1_macro"] for frame in people])
    assert pooled["f1_macro"].tolist() == [policies["f1_macro"].iloc[0], pytest.approx(100 * by_hand.mean(), abs=0.06)]


def test_epochs_are_compared_for_runs_that_were_traced_only(record, monkeypatch):
    run = Run(record(skill=0.6, subjects=7))
    assert evidence.epochs({("samm", 1): run}).empty
    rng = np.random.default_rng(0)
    last = run.predictions()[["clip_id", "au", "fold", "probability"]]
    trace = pd.concat([last.assign(epoch=1, probability=rng.random(len(last))), last.assign(epoch=2)])
    monkeypatch.setattr(Run, "trace", lambda run: trace)
    (run.path / "folds" / run.folds[0] / "trace.csv").touch()
    ways = evidence.epochs({("samm", 1): run})
    assert ways.index[0][-1] == "last epoch" and len(ways) == 3
    last, mean = ways.iloc[0], metrics.score(run.predictions()).loc["mean"]
    assert last["gain"] == 0 and last["macro F1"] == round(100 * mean["f1_macro"], 1)
    assert (ways["correct"] >= last["correct"]).iloc[2]


def test_of_an_intensity_curve_the_newest_recipe_and_runs_count(record, tmp_path):
    assert evidence.intensity_runs(tmp_path / "nothing") == []
    old, new = [Run(record(seed=seed, epochs=epochs)) for seed, epochs in ((1, 3), (1, 4))]
    newest, half = Run(record(seed=2, epochs=4)), Run(record(seed=3, epochs=4, folds=2))
    for run in (old, new, newest, half):
        about = files.read_json(run.path / "run.json")
        about["data"]["made"] = {"intensity": 0.5}
        times = run.path.stat().st_mtime_ns
        files.write_json(run.path / "run.json", about)
        os.utime(run.path, ns=(times, times))
    found = evidence.intensity_runs(tmp_path / "results")
    assert [run.path for run in found] == [new.path, newest.path]


def test_a_reliability_diagram_is_that_of_the_first_seed(record, load):
    record(skill=0.6, seed=2)
    record(skill=0.7, seed=1)
    (result,) = load()
    frame, errors, note = evidence.reliability(result)
    first = result.runs[0].predictions()
    pd.testing.assert_frame_equal(frame, calibration.reliability(first))
    pd.testing.assert_series_equal(errors, calibration.expected_error(first))
    assert "48 clips" in note and result.name in note
