"""The threshold policies against naive loops, and what each may look at."""

import numpy as np
import pandas as pd
import pytest
from helpers import naive_f1
from hypothesis import given, settings
from hypothesis import strategies as st

from aullm_lib import metrics
from aullm_lib.metrics import thresholds

AUS = ["AU2", "AU12"]


def predictions(seed, *, subjects=5, clips=6, digits=2):
    """Random predictions of a detector of some skill; clips of each subject."""
    rng = np.random.default_rng(seed)
    n = subjects * clips
    labels = rng.random((n, 2)) < 0.4
    probabilities = np.clip(rng.random((n, 2)) * 0.7 + 0.3 * labels, 0, 1).round(digits)
    rows = [
        (f"c{i:02}", f"s{i // clips}", AUS[j], int(labels[i, j]), probabilities[i, j])
        for i in range(n) for j in range(2)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])


def naive(part):
    """The best of the released script's thresholds on the rows of one AU; ties to the nearest 0.5, then the lower."""
    if part["label"].nunique() < 2:
        return 0.5
    candidates = []
    for k in range(16):
        t = (10 + 5 * k) / 100
        macro = naive_f1(part["label"].to_numpy(), part["probability"].to_numpy() >= t)[1]
        candidates.append((-round(macro, 12), abs(10 + 5 * k - 50), t))
    return min(candidates)[2]


def test_the_grid_is_the_released_scripts():
    assert thresholds.GRID.tolist() == [(10 + 5 * k) / 100 for k in range(16)]  # 0.10 to 0.85
    assert set(thresholds.POLICIES) == {"fixed", "nested", "test-tuned"}


@given(st.integers(0, 10**6))
@settings(max_examples=10)
def test_choices_equal_a_naive_loop(seed):
    frame = predictions(seed, subjects=3, clips=5, digits=1)
    nested, tuned = thresholds.chosen(frame, "nested"), thresholds.chosen(frame, "test-tuned")
    for au, part in frame.groupby("au"):
        assert (tuned[au] == naive(part)).all()
        for subject in nested.index:
            assert nested.loc[subject, au] == naive(part[part["subject"] != subject])


def test_decisions_follow_the_thresholds_row_by_row():
    frame = predictions(0).sample(frac=1, random_state=1)
    frame.index = np.arange(len(frame)) % 7  # an index that repeats: rows are what counts
    for policy in thresholds.POLICIES:
        limits, table = thresholds.chosen(frame, policy), metrics.score(frame, policy=policy, interval="none")
        limit = [limits.loc[s, au] for s, au in zip(frame["subject"], frame["au"], strict=True)]
        cells = frame.assign(present=frame["probability"].to_numpy() >= limit)
        for au, part in cells.groupby("au"):
            counts = [(part["present"] == p) & (part["label"] == y) for p, y in ((1, 1), (1, 0), (0, 1), (0, 0))]
            assert table.loc[au, metrics.COUNTS].tolist() == [c.sum() for c in counts]
        assert list(limits.columns) == AUS
    assert (thresholds.chosen(frame) == 0.5).all(axis=None)
    low = metrics.score(frame, 0.3, interval="none").drop(index="mean")
    assert (low["TP"] + low["FP"]).sum() == (frame["probability"] >= 0.3).sum()


@pytest.mark.parametrize("seed", range(5))
def test_nested_never_looks_at_a_label_of_the_held_out_subject(seed):
    frame = predictions(seed)
    before = thresholds.chosen(frame, "nested")
    changed = 0
    for subject in before.index:
        held_out = frame["subject"] == subject
        flipped = frame.assign(label=frame["label"].where(~held_out, 1 - frame["label"]))
        after = thresholds.chosen(flipped, "nested")
        assert after.loc[subject].equals(before.loc[subject])
        changed += not after.equals(before)
    assert changed  # the labels do matter, to the other subjects


def test_nested_is_disjoint_by_subject_where_a_subject_has_two_folds():
    frame = predictions(3)
    number = frame["clip_id"].str[1:].astype(int)
    frame["fold"] = np.where(number < 9, "a", np.where(number < 18, "b", "c"))  # s1 lies in a and in b
    limits = thresholds.chosen(frame, "nested")
    assert list(limits.index) == ["a", "b", "c"]
    others = {"a": ["s2", "s3", "s4"], "b": ["s0", "s3", "s4"], "c": ["s0", "s1", "s2"]}
    for fold, subjects in others.items():
        for au in AUS:
            assert limits.loc[fold, au] == naive(frame[(frame["au"] == au) & frame["subject"].isin(subjects)])


def test_ties_go_to_the_threshold_nearest_one_half_then_the_lower():
    frame = predictions(0, subjects=2, clips=2).assign(label=[1, 1, 0, 0, 1, 1, 0, 0])
    # AU2: all from 0.25 to 0.40 are perfect. AU12: all from 0.15 to 0.85.
    frame["probability"] = [0.42, 0.9, 0.22, 0.1, 0.42, 0.9, 0.22, 0.1]
    assert thresholds.chosen(frame, "test-tuned").iloc[0].tolist() == [0.4, 0.5]
    # 0.45 and 0.55 are equally good, and better than all others.
    counts = np.zeros((16, 1, 4))
    counts[:, 0] = [1, 9, 9, 1]
    counts[[7, 9], 0] = [8, 2, 2, 8]
    assert thresholds.GRID[thresholds.best(counts)].tolist() == [0.45]


def test_an_au_of_one_class_keeps_one_half():
    frame = predictions(1).assign(label=lambda f: np.where(f["au"] == "AU2", 0, f["label"]))
    for policy in ("nested", "test-tuned"):
        assert (thresholds.chosen(frame, policy)["AU2"] == 0.5).all()
    # Only s0 shows the AU: without s0 there is nothing to choose by, and s0's own labels are not looked at.
    one = frame.assign(label=((frame["subject"] == "s0") & (frame["probability"] > 0.6)).astype(int))
    assert (thresholds.chosen(one, "nested").loc["s0"] == 0.5).all()


@pytest.mark.parametrize("policy", ["nested", "test-tuned"])
def test_the_choice_does_not_depend_on_the_order_of_rows_or_the_names_of_subjects(policy):
    frame = predictions(7)
    want = thresholds.chosen(frame, policy)
    assert thresholds.chosen(frame.sample(frac=1, random_state=0), policy).equals(want)
    names = {"s0": "z", "s1": "q", "s2": "m", "s3": "b", "s4": "a"}
    renamed = thresholds.chosen(frame.assign(subject=frame["subject"].map(names)), policy)
    assert renamed.loc[[names[s] for s in want.index]].to_numpy().tolist() == want.to_numpy().tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "best"}, "policy='best': expected one of"),
        ({"threshold": 1.0}, "threshold=1.0"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"policy": "nested", "threshold": 0.3}, "the policy 'nested' chooses its own"),
    ],
)
def test_impossible_policies_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        thresholds.chosen(predictions(0), **options)


def test_nested_needs_another_subject():
    frame = predictions(0).assign(fold="casme2-to-samm")
    with pytest.raises(ValueError, match="fold casme2-to-samm: no subject outside it"):
        thresholds.chosen(frame, "nested")
