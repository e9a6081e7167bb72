"""TIM against its own construction: a linear map between the frames' components and the path graph's sine curves."""

import math

import numpy as np
import pytest
import torch

from aullm_lib.baselines import tim


def solved(frames: np.ndarray, length: int) -> np.ndarray:
    """TIM as it is defined, for linearly independent frames [t, pixels], float64."""
    n = len(frames)
    mean = frames.mean(0)
    u, s, vt = np.linalg.svd((frames - mean).T, full_matrices=False)
    u, q = u[:, : n - 1], s[: n - 1, None] * vt[: n - 1]  # components [n - 1, n]
    laplacian = np.diag([1.0, *[2.0] * (n - 2), 1.0]) - np.eye(n, k=1) - np.eye(n, k=-1)
    vectors = np.linalg.eigh(laplacian)[1][:, 1:]  # ascending; the first is constant
    to_curves = np.linalg.solve(q @ q.T, q @ vectors)

    def curves(at: float) -> np.ndarray:
        return np.array([math.sin(math.pi * k * at + math.pi * (n - k) / (2 * n)) for k in range(1, n)])

    scale = (q[:, 0] @ to_curves) / curves(1 / n)
    positions = [1 / n + (1 - 1 / n) * i / (length - 1) for i in range(length)]
    return np.stack([u @ np.linalg.solve(to_curves.T, scale * curves(at)) + mean for at in positions])


@pytest.mark.parametrize(("n", "length"), [(2, 5), (6, 10), (9, 9), (12, 10), (14, 50), (20, 3)])
def test_equals_the_solved_map(n, length):
    frames = np.random.default_rng(n).uniform(0, 255, (n, 60))
    ours = tim.interpolate(torch.from_numpy(frames), length)
    np.testing.assert_allclose(ours.numpy(), solved(frames, length), rtol=0, atol=1e-8)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 61])
def test_passes_through_every_frame(n):
    frames = torch.rand(n, 5, 4, dtype=torch.float64) * 255
    torch.testing.assert_close(tim.interpolate(frames, n), frames, rtol=0, atol=1e-10)
    finer = tim.interpolate(frames, 4 * (n - 1) + 1)  # every fourth is one of those given
    torch.testing.assert_close(finer[::4], frames, rtol=0, atol=1e-10)


@pytest.mark.parametrize("length", [2, 7, 33])
def test_reads_a_cosine_between_its_samples(length):
    n = 9
    for k in range(n):
        samples = torch.tensor([math.cos(math.pi * k * (i + 0.5) / n) for i in range(n)], dtype=torch.float64)
        wanted = [math.cos(math.pi * k * (i * (n - 1) / (length - 1) + 0.5) / n) for i in range(length)]
        torch.testing.assert_close(tim.interpolate(samples, length), torch.tensor(wanted, dtype=torch.float64))


def test_a_rise_stays_a_rise_and_what_is_still_stays_still():
    rise = tim.interpolate(torch.arange(12.0), 100)
    assert (rise.diff() > 0).all()
    torch.testing.assert_close(tim.interpolate(torch.full((7, 3, 3), 84.0), 25), torch.full((25, 3, 3), 84.0))


def test_frames_that_repeat_are_the_limit_of_frames_that_nearly_do():
    rng = np.random.default_rng(5)
    frames = rng.uniform(0, 255, (8, 40))
    frames[3] = frames[2]
    frames[6] = frames[1]
    ours = tim.interpolate(torch.from_numpy(frames), 15)
    torch.testing.assert_close(ours[::2].numpy(), frames, rtol=0, atol=1e-10)
    nearly = frames + rng.uniform(-1e-4, 1e-4, frames.shape)
    np.testing.assert_allclose(ours.numpy(), solved(nearly, 15), rtol=0, atol=1e-2)


def test_one_frame_is_repeated_and_one_is_asked_for():
    frame = torch.rand(1, 6, 6)
    assert torch.equal(tim.interpolate(frame, 4), frame.expand(4, 6, 6))
    clip = torch.rand(5, 6, 6)
    torch.testing.assert_close(tim.interpolate(clip, 1), clip[:1])


def test_shapes_and_types():
    colour = np.random.default_rng(0).integers(0, 256, (7, 4, 5, 3), dtype=np.uint8)
    colour.setflags(write=False)  # as a store gives it
    made = tim.interpolate(colour, 50)
    assert made.shape == (50, 4, 5, 3) and made.dtype == torch.float32
    torch.testing.assert_close(made, tim.interpolate(torch.from_numpy(colour.copy()), 50))
    channel = tim.interpolate(torch.from_numpy(colour[..., 1].copy()), 50)
    torch.testing.assert_close(made[..., 1], channel, rtol=0, atol=1e-3)
    assert tim.interpolate(torch.rand(3, 2, dtype=torch.float64), 6).dtype == torch.float64


@pytest.mark.parametrize(("n", "length"), [(0, 5), (5, 0)])
def test_refuses_no_frames(n, length):
    with pytest.raises(ValueError, match=f"TIM makes {length} frames of {n}"):
        tim.interpolate(torch.zeros(n, 4, 4), length)
