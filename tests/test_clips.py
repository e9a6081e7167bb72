"""Temporal sampling against numpy and the released script's rule; the store against its sources."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from aullm_lib.clips import ClipStore, frame_positions, jittered_ends


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
