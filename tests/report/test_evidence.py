"""What recorded scores support, by hand."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from aullm_lib import metrics
from aullm_lib.protocol import Fold
from aullm_lib.report import evidence, results
from aullm_lib.runs import Result, Run


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


def test_ablations_are_compared_with_the_whole_model_of_the_same_llm_and_seed(experiment, tmp_path):
    def record(folder, variant, llm, seed, right):
        frame = predicted(right)
        split = [Fold(s, ("x",), tuple(rows["clip_id"])) for s, rows in frame.groupby("subject")]
        trained = dataclasses.replace(experiment, name=f"{variant}-{llm[-1]}", variant=variant, llm=llm, seed=seed)
        described = {"train": ["samm"], "test": ["samm"], "protocol": "leave-one-subject-out"}
        run = Run.open(tmp_path / folder, trained, split, {"fingerprint": "f"}, split=described)
        for fold in split:
            rows = frame[frame["subject"] == fold.name]
            run.write_fold(fold.name, Result(rows, pd.DataFrame({"epoch": [1], "loss": [1.0]}), {"seconds": 1.0}, {}))

    whole = [("all", "x/q", 1, 0.9), ("all", "x/r", 1, 0.5)]
    parts = [("high", "x/q", 1, 1.0), ("high", "x/r", 1, 1.0), ("high", "x/q", 2, 1.0), ("bce", "x/q", 1, 0.7)]
    for facts in parts:
        record("parts", *facts)
    for facts in [*whole, *parts]:
        record("every", *facts)
    found = results.load(tmp_path / "every")
    frame = evidence.against_whole(found, lambda variant: variant == "high")
    assert frame["difference"].dropna().to_dict() == {("samm", "q", "high", 1): 10.0, ("samm", "r", "high", 1): 50.0}
    assert frame.loc[("samm", "q", "high", 2), "supported"] == "not compared: AU-LLM, q was not run with seed 2"
    assert len(evidence.against_whole(found, lambda variant: True)) == 4
    assert len(evidence.against_whole(results.load(tmp_path / "parts"), lambda variant: True)) == 0
