"""Float32 on a CPU beside float64, at a batch as large as a true one."""

import copy

import pytest
import torch
from torch import nn

from aullm_lib import baselines
from aullm_lib.backbone import VisualBackbone
from aullm_lib.baselines import ac4au, sssnet_led
from aullm_lib.support.frame_conv import FrameNorm, ImageNorm

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


@pytest.mark.parametrize(
    ("norm", "plain", "shape"),
    [(FrameNorm, nn.BatchNorm3d, (4, 5, 3, 6, 7)), (ImageNorm, nn.BatchNorm2d, (4, 5, 6, 7))],
)
def test_the_norm_is_batch_norm_whatever_the_memory_holds_last(norm, plain, shape):
    ours, theirs = norm(5).double(), plain(5).double()
    with torch.no_grad():
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            p.copy_(q.copy_(torch.randn(5)))
    layouts = (torch.channels_last_3d if len(shape) == 5 else torch.channels_last, torch.contiguous_format)
    for training in (True, True, False):
        for layout in layouts:
            x = (3 * torch.randn(shape).double() + 2).contiguous(memory_format=layout)
            weight, results = torch.randn(shape).double(), []
            for module in (ours.train(training), theirs.train(training)):
                inputs = x.clone(memory_format=torch.preserve_format).requires_grad_()
                y = module(inputs)
                results.append((y, *torch.autograd.grad((y * weight).sum(), [inputs, *module.parameters()])))
            for a, b in zip(*results, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name], rtol=1e-12, atol=0)
