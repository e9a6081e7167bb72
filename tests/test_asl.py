"""The losses against their formulas in float64, value and gradient."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from aullm_lib import asl


def data(n=40, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    x = 3 * torch.randn(n, 5, generator=g, dtype=torch.float64)
    y = (torch.rand(n, 5, generator=g) < 0.3).double()
    return x.to(dtype).requires_grad_(), y


def plain(x, y, gamma_pos, gamma_neg, clip):
    """Eq. 4 letter by letter, a term for each entry."""
    p = 1 / (1 + torch.exp(-x))
    p_m = torch.maximum(p - clip, torch.zeros_like(p))
    return -(y * (1 - p) ** gamma_pos * torch.log(p) + (1 - y) * p_m**gamma_neg * torch.log(1 - p_m))


def gradient(value, x):
    return torch.autograd.grad(value, x)[0]


@settings(deadline=None, max_examples=40)
@given(
    gamma_pos=st.sampled_from([0.0, 1.0, 2.0, 2.5]),
    gamma_neg=st.sampled_from([0.0, 1.0, 4.0, 3.5]),
    clip=st.sampled_from([0.0, 0.05, 0.2]),
    seed=st.integers(0, 1000),
)
def test_value_and_gradient_are_those_of_equation_4(gamma_pos, gamma_neg, clip, seed):
    x, y = data(seed=seed)
    loss = asl.AsymmetricLoss(gamma_pos=gamma_pos, gamma_neg=gamma_neg, clip=clip, reduction="sum")
    want = plain(x, y, gamma_pos, gamma_neg, clip).sum()
    torch.testing.assert_close(loss(x, y), want, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradient(loss(x, y), x), gradient(want, x), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 4.0])
def test_gradient_by_finite_differences(gamma):
    x, y = data(6)
    loss = asl.AsymmetricLoss(gamma_pos=gamma, gamma_neg=gamma, clip=0.05)
    assert torch.autograd.gradcheck(lambda x: loss(x, y), x)


def test_single_precision_is_close():
    x, y = data(dtype=torch.float32)
    loss = asl.AsymmetricLoss(reduction="none")
    torch.testing.assert_close(loss(x, y).double(), plain(x.double(), y, 0, 4, 0.05), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize("loss", [{"gamma_neg": 0, "clip": 0}, "bce"])
def test_without_focusing_it_is_bce(loss, reduction):
    x, y = data()
    f = asl.build("bce", reduction=reduction) if loss == "bce" else asl.AsymmetricLoss(**loss, reduction=reduction)
    torch.testing.assert_close(f(x, y), F.binary_cross_entropy_with_logits(x, y, reduction=reduction))


def test_reductions():
    x, y = data()
    by = {r: asl.AsymmetricLoss(reduction=r)(x, y) for r in asl.REDUCTIONS}
    each = plain(x, y, 0, 4, 0.05)
    torch.testing.assert_close(by["none"], each)
    torch.testing.assert_close(by["sum"], each.sum())
    torch.testing.assert_close(by["mean"], each.mean())
    torch.testing.assert_close(by["batchmean"], each.sum(1).mean())  # Eq. 4 with N samples
    torch.testing.assert_close(by["aumean"], each.mean(1).sum())  # Eq. 4 with N AUs


@pytest.mark.parametrize("name", asl.LOSSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_extreme_logits_stay_finite(name, dtype):
    x = torch.tensor([[-1e4, -100, -30, 0, 30, 100, 1e4]] * 2, dtype=dtype).requires_grad_()
    y = torch.tensor([[0.0] * 7, [1.0] * 7])
    for gammas in (
        {},
        {"gamma_pos": 0.5, "gamma_neg": 0.5},
        {"gamma_pos": 2, "gamma_neg": 0},
        {"clip": 0},
        {"clip": 1e-10},
        {"clip": 0, "gamma_pos": 0.5, "gamma_neg": 0.5},
    ):
        value = asl.build(name, **gammas)(x, y)
        assert value.dtype == torch.float32 and value.isfinite() and value >= 0
        assert gradient(value, x).isfinite().all()


def test_the_worst_misses_still_have_a_gradient():
    x = torch.tensor([[-60.0]], requires_grad=True)
    assert gradient(asl.AsymmetricLoss()(x, torch.ones(1, 1)), x).item() == pytest.approx(-1)


def test_easy_negatives_below_the_clip_cost_nothing():
    x = torch.tensor([[-4.0]], requires_grad=True)  # p = 0.018
    value = asl.AsymmetricLoss()(x, torch.zeros(1, 1))
    assert value.item() == 0 and gradient(value, x).item() == 0


def test_released_value_has_the_scripts_weight():
    x, y = data()
    p = torch.sigmoid(x)
    kept = torch.clamp(1 - p + 0.05, max=1)
    want = -(y * torch.log(p) + (1 - y) * kept**4 * torch.log(kept))
    torch.testing.assert_close(asl.build("asl_released", reduction="none")(x, y), want)


def test_released_gradient_is_that_of_bce_with_the_shifted_negative():
    x, y = data()
    p = torch.sigmoid(x)
    clipped = -(y * torch.log(p) + (1 - y) * torch.log(torch.clamp(1 - p + 0.05, max=1))).sum()
    released = gradient(asl.build("asl_released", reduction="sum")(x, y), x)
    torch.testing.assert_close(released, gradient(clipped, x))
    official = gradient(asl.build("asl", reduction="sum")(x, y), x)
    assert (released - official).abs().max() > 0.1  # no focusing at all


def test_gradient_mode_is_left_alone():
    x, y = data()
    with torch.no_grad():
        asl.build("asl_released")(x, y)
        assert not torch.is_grad_enabled()
    asl.build("asl_released")(x, y)
    assert torch.is_grad_enabled()


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"focal.*asl, asl_released, bce"):
        asl.build("focal")
    with pytest.raises(ValueError, match=r"avg.*batchmean"):
        asl.AsymmetricLoss(reduction="avg")
    for bad in ({"gamma_pos": -1}, {"gamma_neg": -1}, {"clip": 1}, {"clip": -0.1}):
        with pytest.raises(ValueError, match="gammas"):
            asl.AsymmetricLoss(**bad)
    with pytest.raises(ValueError, match="shape"):
        asl.AsymmetricLoss()(torch.zeros(2, 3), torch.zeros(3))
