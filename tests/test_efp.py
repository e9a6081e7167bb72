"""The projector's size, and its numbers against Eq. 2-3 in numpy."""

import math

import numpy as np
import pytest
import torch

from aullm_lib.efp import ACTIVATIONS, EnhancedFusionProjector, matched_width

SIGMA = {
    "none": lambda x: x,
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
}


def numbers(module):
    return [p.detach().double().numpy() for p in module.parameters()]


def test_size_at_the_papers_width():
    with torch.device("meta"):
        efp = EnhancedFusionProjector(d_mid=10_368, d_high=256, d_llm=1536)
    assert efp.mlp[0].out_features == 6_080
    n = sum(p.numel() for p in efp.parameters())
    assert n == 10_624 * 6_080 + 6_080 + 6_080 * 1_536 + 1_536 and round(n / 1e6) == 74


@pytest.mark.parametrize(("d_mid", "d_high", "d_llm"), [(10_368, 256, 1536), (10_368, 256, 64), (1152, 256, 32)])
def test_an_mlp_of_the_matched_width_has_as_many_parameters_as_the_linear_form(d_mid, d_high, d_llm):
    with torch.device("meta"):
        hidden = matched_width(d_mid + d_high, d_llm)
        mlp = EnhancedFusionProjector(d_mid=d_mid, d_high=d_high, d_llm=d_llm, hidden=hidden)
        linear = EnhancedFusionProjector(d_mid=d_mid, d_high=d_high, d_llm=d_llm, linear=True)
    one, other = (sum(p.numel() for p in efp.parameters()) for efp in (mlp, linear))
    assert one == pytest.approx(other, rel=0.01)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
@pytest.mark.parametrize("hidden", [None, 5])
def test_value_is_equations_2_and_3(activation, hidden):
    efp = EnhancedFusionProjector(d_mid=24, d_high=3, d_llm=8, hidden=hidden, activation=activation).eval()
    mid, high = torch.randn(2, 4, 1, 2, 3), torch.randn(2, 3)
    w1, b1, w2, b2 = numbers(efp)
    assert len(b1) == (hidden or (27 + 8) // 2)
    cat = np.concatenate([mid.numpy().reshape(2, -1), high.numpy()], 1)
    want = SIGMA[activation](np.maximum(cat @ w1.T + b1, 0) @ w2.T + b2)
    np.testing.assert_allclose(efp(mid, high).detach(), want, atol=1e-5)


@pytest.mark.parametrize(("d_mid", "d_high"), [(24, 0), (0, 3)])
def test_a_level_of_width_0_is_left_out(d_mid, d_high):
    efp = EnhancedFusionProjector(d_mid=d_mid, d_high=d_high, d_llm=8).eval()
    mid, high = torch.randn(2, 4, 1, 2, 3), torch.randn(2, 3)
    w1, b1, w2, b2 = numbers(efp)
    level = mid.flatten(1) if d_mid else high
    want = np.tanh(np.maximum(level.numpy() @ w1.T + b1, 0) @ w2.T + b2)
    np.testing.assert_allclose(efp(mid, high).detach(), want, atol=1e-5)


def test_the_linear_form_is_linear():
    efp = EnhancedFusionProjector(d_mid=24, d_high=3, d_llm=8, linear=True).train()
    mid, high = torch.randn(2, 4, 1, 2, 3), torch.randn(2, 3)
    weight, bias = numbers(efp)
    cat = np.concatenate([mid.numpy().reshape(2, -1), high.numpy()], 1)
    np.testing.assert_allclose(efp(mid, high).detach(), cat @ weight.T + bias, atol=1e-5)


def test_dropout_is_on_in_training_only():
    efp = EnhancedFusionProjector(d_mid=24, d_high=3, d_llm=8, hidden=64, dropout=0.5)
    mid, high = torch.randn(2, 4, 1, 2, 3), torch.randn(2, 3)
    assert not torch.equal(efp(mid, high), efp(mid, high))
    efp.eval()
    assert torch.equal(efp(mid, high), efp(mid, high))


def test_what_cannot_be_built():
    with pytest.raises(ValueError, match="nothing to project"):
        EnhancedFusionProjector(d_mid=0, d_high=0, d_llm=8)
    with pytest.raises(ValueError, match=r"'swish'.*none, tanh"):
        EnhancedFusionProjector(d_mid=1, d_high=1, d_llm=8, activation="swish")
