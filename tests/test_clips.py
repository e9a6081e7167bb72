"""Temporal sampling against numpy and the released script's rule; the store against its sources."""

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_table
from hypothesis import given
from hypothesis import strategies as st

from aullm_lib import preprocess
from aullm_lib.clips import ClipStore, frame_positions, jittered_ends, join


@given(st.integers(1, 400))
def test_six_positions_equal_rounded_linspace(length):
    got = frame_positions(torch.tensor([length]), 6)[0].tolist()
    assert got == np.round(np.linspace(0, length - 1, 6)).astype(int).tolist()


@given(st.integers(1, 200), st.integers(2, 12))
def test_positions_are_ordered_and_span_the_clip(length, frames):
    got = frame_positions(torch.tensor([length]), frames)[0]
    assert got[0] == 0
    assert got[-1] == length - 1
    assert (got.diff() >= 0).all()


def test_jitter_draws_every_end_of_the_released_range_about_equally():
    length, frames = 20, 6
    ends = jittered_ends(torch.full((14_000,), length), frames, torch.Generator().manual_seed(0))
    values, counts = ends.unique(return_counts=True)
    assert values.tolist() == list(range(frames, length - 1))  # [6, T - 2]
    assert counts.min() > 800
    assert counts.max() < 1200  # 13 values, about 1077 each


@pytest.mark.parametrize("length", [1, 3, 6, 7])
def test_short_clips_keep_their_last_frame(length):
    generator = torch.Generator().manual_seed(0)
    assert jittered_ends(torch.tensor([length]), 6, generator).item() == length - 1


def test_sample_is_the_naive_loop(hand_store):
    ids = hand_store.ids[::-2]
    naive = []
    for clip_id in ids:
        clip = hand_store[clip_id]
        naive.append(clip[np.round(np.linspace(0, len(clip) - 1, 6)).astype(int)])
    assert np.array_equal(hand_store.sample(ids).numpy(), np.stack(naive))
    assert hand_store.sample(hand_store.positions(ids)).equal(hand_store.sample(ids))


def test_a_store_comes_back_from_a_device(hand_store):
    """The device "meta" stands for a GPU: what is there has no values, so nothing may be read back from it."""
    before = hand_store.sample(hand_store.ids)
    with pytest.raises(KeyboardInterrupt), hand_store.on("meta"):
        with hand_store.on("cpu"):
            assert hand_store.sample(hand_store.ids).equal(before)
        assert hand_store.sample(hand_store.positions(hand_store.ids)).device.type == "meta"
        assert hand_store.device == hand_store.lengths.device == torch.device("meta")
        raise KeyboardInterrupt
    assert hand_store.sample(hand_store.ids).equal(before)


def test_jitter_is_reproducible_and_jitters(hand_store):
    def draw(seed):
        return hand_store.sample(hand_store.ids, jitter=torch.Generator().manual_seed(seed))

    assert draw(1).equal(draw(1))
    assert not draw(1).equal(draw(2))
    assert draw(1).dtype == torch.uint8


def test_errors_name_the_clip_and_the_folder(hand_store, tmp_path):
    with pytest.raises(KeyError, match="nobody/s0/c0"):
        hand_store.positions([hand_store.ids[0], "nobody/s0/c0"])
    with pytest.raises(FileNotFoundError, match="no clip store here"):
        ClipStore(tmp_path)


@pytest.fixture
def two_stores(tmp_path):
    stores = []
    for name, size in (("a", 2), ("b", 3)):
        table = make_table(tmp_path / name, subjects=size, clips=2)
        table["dataset"] = name
        table.index = pd.Index(name + "/" + table["subject"] + "/" + table["clip"], name="clip_id")
        stores.append(preprocess.build(table, tmp_path / f"store-{name}", size=16))
    return stores


def test_joined_stores_hold_every_clip_of_both(two_stores, tmp_path):
    joined = join(two_stores, tmp_path / "joined")
    assert joined.ids == [i for store in two_stores for i in store.ids]
    for store in two_stores:
        for clip_id in store.ids:
            assert np.array_equal(joined[clip_id], store[clip_id])
            labels = [c for c in store.table if c.startswith("AU")]
            assert (joined.table.loc[clip_id, labels] == store.table.loc[clip_id, labels]).all()
    assert torch.equal(joined.sample(["b/s1/c1"]), two_stores[1].sample(["b/s1/c1"]))
    parts = joined.info["settings"]["release"]["parts"]
    assert [part["fingerprint"] for part in parts] == [store.fingerprint for store in two_stores]
    before = {p: p.stat().st_mtime_ns for p in joined.path.iterdir()}
    assert join(two_stores, tmp_path / "joined").fingerprint == joined.fingerprint
    assert {p: p.stat().st_mtime_ns for p in joined.path.iterdir()} == before


def test_a_store_of_an_older_version_is_refused(two_stores):
    path = two_stores[0].path
    pd.read_csv(path / "index.csv", index_col="clip_id").drop(columns="source").to_csv(path / "index.csv")
    with pytest.raises(ValueError, match="a clip store of an older version; delete the folder and build it again"):
        ClipStore(path)


def test_stores_that_do_not_fit_are_not_joined(two_stores, tmp_path):
    with pytest.raises(ValueError, match=r"a/s0/c0 is in two of the stores"):
        join([two_stores[0], two_stores[0]], tmp_path / "x")
    table = make_table(tmp_path / "c", subjects=2, clips=2)
    large = preprocess.build(table, tmp_path / "store-c", size=24)
    with pytest.raises(ValueError, match="differ in size"):
        join([two_stores[0], large], tmp_path / "x")
    join(two_stores, tmp_path / "x")
    with pytest.raises(FileExistsError, match="holds a clip store with another release; name another folder"):
        join(two_stores[:1], tmp_path / "x")


def test_a_joined_store_has_its_parts_versions_and_alignments(two_stores, tmp_path):
    other = two_stores[1]
    other.info["versions"] = {"opencv": "0"}
    joined = join(two_stores, tmp_path / "joined")
    assert joined.info["versions"] == [two_stores[0].info["versions"], {"opencv": "0"}]
    assert all("files" not in part for part in joined.info["settings"]["release"]["parts"])
    other.info["settings"]["align"] = "similarity"  # face crops beside aligned frames
    assert len(join(two_stores, tmp_path / "similar")) == len(joined)
    other.info["settings"]["align"] = "whole-frame"
    with pytest.raises(ValueError, match="aligned in ways that do not go together: none, whole-frame"):
        join(two_stores, tmp_path / "x")
    joined.table.index = joined.table.index + "x"
    with pytest.raises(ValueError, match="do not go together: none, whole-frame"):
        join([other, joined], tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_joining_leaves_other_folders_alone(two_stores, tmp_path):
    (tmp_path / "x.partial").mkdir()
    (tmp_path / "x.partial" / "thesis.txt").write_text("")
    with pytest.raises(FileExistsError, match="is no unfinished clip store"):
        join(two_stores, tmp_path / "x")
    assert (tmp_path / "x.partial" / "thesis.txt").exists()
    (tmp_path / "y").mkdir()
    assert len(join(two_stores, tmp_path / "y")) == 10
    assert not list(tmp_path.glob("*.lock"))


def test_a_clip_shorter_than_the_sample_repeats_frames(two_stores):
    lengths = torch.tensor([1, 3, 5])
    assert frame_positions(lengths, 6).tolist() == [[0] * 6, [0, 0, 1, 1, 2, 2], [0, 1, 2, 2, 3, 4]]
    assert jittered_ends(lengths, 6, torch.Generator()).tolist() == [0, 2, 4]
