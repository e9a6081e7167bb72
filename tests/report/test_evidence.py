"""What recorded scores support, by hand."""

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from aullm_lib import metrics
from aullm_lib.metrics import calibration
from aullm_lib.report import evidence, figures
from aullm_lib.runs import Run


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
        metrics.score(frame, resamples=10)
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
        ("c", 1): (predicted(1.0, subjects=1), predicted(0.5, subjects=1)),
    }
    frame = evidence.paired(pairs, ["method", "seed"])
    assert list(frame.index) == list(pairs)
    assert frame.index.names == ["method", "seed"]
    mean = metrics.compare(best, predicted(0.5)).loc["mean"]
    assert frame.loc[("a", 1), "difference"] == round(100 * mean["difference"], 1) == 50.0
    assert frame.loc[("a", 1), "p (Holm)"] == round(2 * mean["p"], 4)  # of two that are defined
    assert frame.loc[("a", 2), "p (Holm)"] == 1
    assert frame["supported"].tolist() == [
        "yes", "no: the interval holds 0", "not compared: clip c38: predicted in the second of two runs only",
        "not compared: not run", "no: too few subjects for an interval",
    ]  # fmt: skip
    assert frame.loc[["b"], "difference":"p (Holm)"].isna().all(axis=None)
    assert len(evidence.paired({}, ["method", "seed"])) == 0


def test_a_difference_alone_may_not_hold_among_many():
    """The same pair is supported alone, and no longer beside four that show nothing."""
    a, b = predicted(1.0), predicted(0.8)
    p = metrics.compare(a, b).loc["mean", "p"]
    pairs = {(i,): (a, b) if i == 0 else (a, a) for i in range(5)}
    alone, among = evidence.paired({(0,): (a, b)}, ["i"]), evidence.paired(pairs, ["i"])
    assert 0.05 / 5 < p < 0.05
    assert alone["supported"].tolist() == ["yes"]
    assert among["supported"].tolist()[:2] == ["no: not among so many comparisons", "no: the interval holds 0"]
    assert among["p (Holm)"].iloc[0] == round(5 * p, 4)


def test_differences_are_those_of_the_paired_bootstrap_against_au_llms_first_row(record, load):
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
    frame = evidence.differences(load())
    assert list(frame.index) == [
        ("SAMM", "SCA", "AU-DeepSeek R1(1.5B)", 1), ("SAMM", "SCA", "AU-DeepSeek R1(1.5B)", 2),
        ("SAMM", "AU-Qwen2.5(1.5B)", "AU-DeepSeek R1(1.5B)", 1),
        ("SAMM", "AU-Qwen2.5(1.5B)", "AU-DeepSeek R1(1.5B)", 3),
    ]  # fmt: skip
    predictions = {key: Run(entry).predictions() for key, entry in runs.items()}
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
    assert evidence.differences([r for r in load() if r.method == "sca"]).empty


def test_the_differences_as_a_page_and_as_a_figure(record, load):
    record(llm="x/<b>evil</b>$a", skill=0.4)
    record(method="sca", skill=0.4)
    record(method="sp", folds=2)
    record(method="at", skill=0.7)
    record(method="at", skill=0.7, seed=2)
    frame = evidence.differences(load())
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
    figure = figures.scores.differences(frame, note="n")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["SP-18", "AT-18", "SCA"]
    dots = {float(line.get_xdata()[0]): line.get_markerfacecolor() for line in axis.lines if line.get_marker() == "o"}
    compared = frame.dropna(subset=["difference"])
    assert dots.keys() == set(compared["difference"])
    for _, row in compared.iterrows():
        assert (dots[row["difference"]] == "white") == (row["supported"] != "yes")
        assert any(list(line.get_xdata()) == [row["low"], row["high"]] for line in axis.lines)
    assert [text.get_text() for text in axis.texts] == ["not compared"] * 2  # SP-18, and AT-18 with seed 2


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
    points = pd.DataFrame({"intensity": levels, "f1_macro_low": lows, "base-rate random": 0.5})
    answer, words = evidence.leak(points)
    assert answer is leaks and words.startswith(verdict)
