"""LED against Eq. 1 written out in float64 loops."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from aullm_lib.led import LED, FrameDifference


def eq1(frames: int, alpha: float, r1: float, r2: float) -> np.ndarray:
    w = np.zeros((frames, frames))
    for i in range(frames):
        for j in range(frames):
            if j > i:
                w[i, j] = alpha * ((1 - r1) ** (j - i) * r1 ** min(1, i) - (1 - r2) ** (j - i) * r2 ** min(1, i))
            elif j == i:
                w[i, j] = alpha * (r1 - r2)
    return w


def filtered(x: np.ndarray, w: np.ndarray, eps: float) -> np.ndarray:
    """[t, h, w] -> [t, h, w], one number at a time."""
    out = np.zeros(x.shape)
    for j, y, z in np.ndindex(x.shape):
        top = sum(x[i, y, z] * w[i, j] for i in range(len(x)))
        out[j, y, z] = top / (sum(x[i, y, z] * abs(w[i, j]) for i in range(len(x))) + eps)
    out[0] = x[0]
    return out


rates = st.floats(1e-4, 1 - 1e-4)


@settings(deadline=None, max_examples=60)
@given(frames=st.integers(2, 12), alpha=st.floats(1e-3, 1e3), r1=rates, r2=rates)
def test_matrix_is_equation_1_and_its_columns_but_the_first_sum_to_zero(frames, alpha, r1, r2):
    led = LED(frames=frames, alpha=alpha, r1=r1, r2=r2).double()
    w = led.matrix().detach().numpy()
    np.testing.assert_allclose(w, eq1(frames, alpha, r1, r2), rtol=0, atol=2e-6 * alpha)  # stored in float32
    np.testing.assert_allclose(w[:, 1:].sum(0), 0, atol=1e-12 * alpha)
    assert np.array_equal(w, np.triu(w))


def test_matrix_at_the_scripts_initial_values():
    w = LED().matrix().detach().numpy()
    np.testing.assert_allclose(w, eq1(6, 10.0, 0.4, 0.05), atol=1e-5)
    assert w[0, 0] == pytest.approx(3.5) and w[0, 1] == pytest.approx(10 * (0.6 - 0.95))
    assert w[1, 2] == pytest.approx(10 * (0.6 * 0.4 - 0.95 * 0.05))


@pytest.mark.parametrize("eps", [1e-8, 1.0])
def test_forward_is_the_loop(eps):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 5, 3, 4), dtype=np.uint8)
    x[:, :, 0, 0] = 0  # black stays finite
    out = LED(frames=5, alpha=7.0, r1=0.3, r2=0.1, eps=eps)(torch.from_numpy(x)).detach()
    assert out.shape == x.shape and out.dtype == torch.float32
    want = np.stack([filtered(clip.astype(float), eq1(5, 7.0, 0.3, 0.1), eps) for clip in x])
    np.testing.assert_allclose(out, want, atol=2e-6)


def test_a_still_clip_filters_to_zero():
    still = torch.randint(0, 256, (2, 1, 8, 8), generator=torch.Generator().manual_seed(0)).expand(2, 6, 8, 8)
    out = LED()(still)
    torch.testing.assert_close(out[:, 0], still[:, 0].float())
    assert out[:, 1:].abs().max() < 1e-6
    moving = still.clone()
    moving[:, 3] += 5
    assert LED()(moving)[:, 3:].abs().max() > 1e-3


def test_autocast_does_not_let_still_content_through():
    still = torch.full((1, 6, 4, 4), 201.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = LED()(still)
    assert out.dtype == torch.float32 and out[:, 1:].abs().max() < 1e-6


def test_gradients_by_finite_differences():
    led = LED(frames=5, eps=0.5).double()
    names = [n for n, _ in led.named_parameters()]
    assert names == ["log_alpha", "logit_r1", "logit_r2"]
    x = (torch.rand(1, 5, 2, 2, dtype=torch.float64) * 10 + 1).requires_grad_()
    parameters = [p.detach().clone().requires_grad_() for p in led.parameters()]
    assert torch.autograd.gradcheck(
        lambda x, *p: functional_call(led, dict(zip(names, p, strict=True)), (x,)), (x, *parameters)
    )


def test_alpha_cancels_without_eps():
    x = torch.rand(1, 6, 2, 2) * 255
    torch.testing.assert_close(LED(alpha=1.0)(x), LED(alpha=50.0)(x))


@pytest.mark.parametrize("sign", [-1, 1])
def test_rates_stay_rates_whatever_the_step(sign):
    led = LED()
    optimizer = torch.optim.SGD(led.parameters(), lr=1e4)
    for _ in range(3):
        optimizer.zero_grad()
        (sign * (torch.sigmoid(led.logit_r1) - torch.sigmoid(led.logit_r2))).backward()
        optimizer.step()
    assert led.logit_r1.abs() > 100
    w = led.matrix()
    w.sum().backward()
    assert w.isfinite().all() and w.abs().max() <= 10.001
    assert all(p.grad is not None and p.grad.isfinite() for p in led.parameters())


@pytest.mark.parametrize(
    "bad", [{"frames": 1}, {"alpha": 0}, {"r1": 0}, {"r1": 1}, {"r2": 1.5}, {"eps": -1}, {"alpha": math.nan}]
)
def test_values_out_of_range(bad):
    with pytest.raises(ValueError, match="LED needs"):
        LED(**bad)


def test_nothing_but_the_three_parameters_is_saved():
    assert set(LED().state_dict()) == {"log_alpha", "logit_r1", "logit_r2"}


def test_frame_difference():
    x = torch.tensor([1, 4, 2], dtype=torch.uint8).view(1, 3, 1, 1)
    assert FrameDifference()(x).flatten().tolist() == [1, 3, -2]  # no wrap-around at 0
