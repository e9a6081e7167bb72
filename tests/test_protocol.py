"""Leave-one-subject-out against scikit-learn, and every leak refused by name."""

import hashlib

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import LeaveOneGroupOut

from aullm_lib import protocol


def table(subjects):
    clips = [f"c{i}" for i in range(len(subjects))]
    frame = pd.DataFrame({"dataset": "x", "subject": subjects, "clip": clips})
    return frame.set_index(frame["dataset"] + "/" + frame["subject"] + "/" + frame["clip"])


@given(st.lists(st.sampled_from(["006", "011", "1", "11", "sub01"]), min_size=2, max_size=30))
def test_loso_equals_scikit_learn(subjects):
    if len(set(subjects)) < 2:
        with pytest.raises(ValueError, match="at least 2 subjects"):
            protocol.loso(table(subjects))
        return
    frame = table(subjects)
    splits = LeaveOneGroupOut().split(frame, groups=frame["subject"])
    expected = {(frozenset(frame.index[a]), frozenset(frame.index[b])) for a, b in splits}
    folds = protocol.loso(frame)
    assert {(frozenset(f.train), frozenset(f.test)) for f in folds} == expected
    assert len({f.name for f in folds}) == len(folds)


def test_a_split_has_the_hash_that_another_lab_computes_whatever_the_order_and_the_names():
    def hexadecimal(content):
        return hashlib.sha256(content).hexdigest()

    frame = table(["a", "a", "b"])
    written = [b'[["x/a/c0", "x/a/c1"], ["x/b/c2"]]', b'[["x/b/c2"], ["x/a/c0", "x/a/c1"]]']
    expected = hexadecimal("\n".join(sorted(map(hexadecimal, written))).encode())

    def split(folds):
        return protocol.split_sha256(protocol.fold_sha256(fold.train, fold.test) for fold in folds)

    folds = protocol.loso(frame)
    assert split(folds) == split(protocol.loso(frame[::-1])[::-1]) == expected
    assert split(fold._replace(name=f"{i}") for i, fold in enumerate(folds)) == expected
    others = [table(["a", "b", "b"]), table(["a", "a", "b", "b"])]
    assert expected not in [split(protocol.loso(other)) for other in others] + [split(folds[:1])]


def test_leaks_are_refused_by_name():
    frame = table(["a", "a", "b"])
    a0, a1, b2 = frame.index
    with pytest.raises(protocol.Leak, match=f"clip {a0} is in train and in test"):
        protocol.refuse_leak(protocol.Fold("f", (a0, b2), (a0,)), frame)
    with pytest.raises(protocol.Leak, match="subject x/a"):
        protocol.refuse_leak(protocol.Fold("f", (a0, b2), (a1,)), frame)
    twins = frame.assign(sha256=["same", "other", "same"])
    with pytest.raises(protocol.Leak, match=f"{b2} .* hold the same frames|{a0} .* hold the same frames"):
        protocol.loso(twins)


def test_cross_domain_trains_on_one_release_and_tests_on_the_other():
    a, b = table(["1", "2"]), table(["1", "3"]).assign(dataset="y")
    b.index = "y/" + b["subject"] + "/" + b["clip"]
    (fold,) = protocol.cross_domain(a, b)
    assert fold == protocol.Fold("x-to-y", tuple(a.index), tuple(b.index))
    with pytest.raises(protocol.Leak, match="is in train and in test"):
        protocol.cross_domain(a, pd.concat([b, a[:1]]))
    with pytest.raises(protocol.Leak, match="hold the same frames"):
        protocol.cross_domain(a.assign(sha256=["s", "t"]), b.assign(sha256=["t", "u"]))
    with pytest.raises(ValueError, match="clips to test on"):
        protocol.cross_domain(a, b[:0])


def test_each_release_is_tested_once_by_what_all_others_taught():
    frames = []
    for name in ("b", "a", "c"):
        frame = table(["1", "1", "2"]).assign(dataset=name)
        frame.index = name + "/" + frame["subject"] + "/" + frame["clip"]
        frames.append(frame)
    together = pd.concat(frames)
    folds = protocol.leave_one_release_out(together)
    splits = LeaveOneGroupOut().split(together, groups=together["dataset"])
    expected = {(frozenset(together.index[a]), frozenset(together.index[b])) for a, b in splits}
    assert {(frozenset(f.train), frozenset(f.test)) for f in folds} == expected
    assert [f.name for f in folds] == ["a", "b", "c"]
    assert protocol.described(folds, together) == {
        "train": ["a", "b", "c"], "test": ["a", "b", "c"], "protocol": "leave-one-release-out"
    }  # fmt: skip
    assert protocol.described(folds[:2], together)["protocol"] == "custom"
    with pytest.raises(ValueError, match="needs at least 2 releases, the table has a"):
        protocol.leave_one_release_out(together[together["dataset"] == "a"])
    grown = protocol.growing(together, "a")
    assert list(grown) == ["b", "c"] and [len(grown[k][0].train) for k in grown] == [3, 6]
    assert all(
        folds[0]
        == protocol.cross_domain(together[together["dataset"].isin(names)], together[together["dataset"] == "a"])[0]
        for folds, names in zip(grown.values(), (["b"], ["b", "c"]), strict=True)
    )
    twins = together.assign(sha256=[str(i) for i in range(8)] + ["0"])
    with pytest.raises(protocol.Leak, match="hold the same frames"):
        protocol.leave_one_release_out(twins)


def test_fewer_subjects_are_nested_follow_the_seed_and_leave_the_test_alone():
    names = [f"p{i}" for i in range(9)]
    frame = table([name for name in names for _ in range(1 + int(name[1:]) % 3)])
    person, kept = frame["subject"], {}
    for share, count in ((0.25, 2), (0.5, 4), (1.0, 8)):
        folds = protocol.fewer_subjects(protocol.loso(frame), frame, share, seed=1)
        assert [(f.name, f.test) for f in folds] == [(f.name, f.test) for f in protocol.loso(frame)]
        for fold in folds:
            protocol.refuse_leak(fold, frame)
            kept[share, fold.name] = set(person[list(fold.train)])
            assert len(kept[share, fold.name]) == count
            assert fold.train == tuple(frame.index[person.isin(kept[share, fold.name])])  # all of their clips, in order
    for fold in protocol.loso(frame):
        assert kept[0.25, fold.name] < kept[0.5, fold.name] < kept[1.0, fold.name]
        assert kept[1.0, fold.name] == {name for name in names if fold.name != f"x-{name}"}
    assert len(set.union(*(kept[0.25, f"x-{name}"] for name in names))) == 3  # of 9: nearly the same in every fold
    assert protocol.fewer_subjects(protocol.loso(frame), frame, 1.0, seed=1) == protocol.loso(frame)
    chosen = [protocol.fewer_subjects(protocol.loso(frame), frame, 0.25, seed) for seed in (1, 1, 2)]
    assert chosen[0] == chosen[1] != chosen[2]
    (one,) = protocol.fewer_subjects(protocol.loso(frame)[:1], frame, 0.01, seed=1)
    assert len(set(person[list(one.train)])) == 1


def test_folds_are_described_by_release_and_protocol():
    one, other = table(["a", "a", "b", "c"]), table(["d", "e"]).assign(dataset="y")
    both = pd.concat([one, other])
    loso = protocol.loso(one)
    assert protocol.described(loso, one) == {"train": ["x"], "test": ["x"], "protocol": "leave-one-subject-out"}
    for folds in (loso[:2], [loso[0]._replace(train=loso[0].train[:1]), *loso[1:]]):  # not all subjects; not all others
        assert protocol.described(folds, one)["protocol"] == "custom"
    assert protocol.described(loso, both)["protocol"] == "custom"
    crossed = protocol.cross_domain(one, other)
    assert protocol.described(crossed, both) == {"train": ["x"], "test": ["y"], "protocol": "cross-domain"}
    assert protocol.described(protocol.loso(both), both)["protocol"] == "leave-one-subject-out"
