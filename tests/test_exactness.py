"""Float32 on a CPU beside float64, at a batch as large as a true one."""

import copy

import pytest
import torch
from torch import nn

from aullm_lib import baselines
from aullm_lib.backbone import VisualBackbone
from aullm_lib.baselines import ac4au, sssnet_led

CLIPS = 160


def clips() -> torch.Tensor:
    still = torch.rand(CLIPS, 1, 64, 64) * 40 + 90
    return (still + torch.linspace(0, 20, 6)[:, None, None] * torch.rand(CLIPS, 1, 1, 1)).round()


class High(VisualBackbone):
    def forward(self, x):
        return super().forward(x).high


def sssnet() -> nn.Module:
    return sssnet_led.Model(baselines.recipe("sssnet-led", dropout=0.0), 8)


@pytest.mark.parametrize(
    ("make", "inputs", "forward", "backward"),
    [
        (lambda: High(dropout=0), clips, 2e-5, 2e-2),
        (sssnet, clips, 2e-5, 2e-2),
        (lambda: ac4au.MobileFaceNet(width=16), lambda: torch.rand(CLIPS, 3, 64, 64), 5e-6, 5e-2),
    ],
    ids=["au-llm", "sssnet-led", "ac4au"],
)
def test_features_and_gradients_are_those_of_float64(make, inputs, forward, backward):
    """The bounds are about three times what plain layers reach; batch norm that adds up naively is far beyond them."""
    module, x = make().train(), inputs()
    exact = copy.deepcopy(module).double()
    features, truth = module(x), exact(x.double())
    weights = torch.randn_like(truth)
    (features * weights.float()).sum().backward()
    (truth * weights).sum().backward()
    assert (features - truth).abs().max() <= forward * truth.abs().max()
    for (name, p), q in zip(module.named_parameters(), exact.parameters(), strict=True):
        if "log_alpha" in name or q.grad.norm() < 1e-6:  # what cancels has no gradient but rounding
            continue
        bound = 5 * backward if "led." in name else backward  # a sum of terms that nearly cancel, by plain layers too
        assert (p.grad - q.grad).norm() <= bound * q.grad.norm(), name
