"""SSSNet-LED and ResNet18-LED against plain layers, and the filter's own learning rate against the optimiser's."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from aullm_lib import baselines
from aullm_lib.baselines import resnet_led, sssnet_led

METHODS = ("sssnet-led", "resnet18-led")


def clips(b=3, t=6, size=32):
    return torch.randint(0, 256, (b, t, size, size), generator=torch.Generator().manual_seed(1)).to(torch.uint8)


def naive_led(x, alpha, r1, r2, eps):
    """Facts of the filter as loops: weights W[i, j], normalised by the weighted frames' sum."""
    x = x.double()
    t = x.shape[1]
    out = x.clone()
    for j in range(1, t):
        total, norm = torch.zeros_like(x[:, 0]), torch.zeros_like(x[:, 0])
        for i in range(j + 1):
            k, b = j - i, min(1, i)
            w = alpha * (r1 - r2) if i == j else alpha * ((1 - r1) ** k * r1**b - (1 - r2) ** k * r2**b)
            total, norm = total + w * x[:, i], norm + abs(w) * x[:, i]
        out[:, j] = total / (norm + eps)
    return out


def test_sssnet_is_the_network_of_plain_three_dimensional_layers():
    model = sssnet_led.Model(baselines.recipe("sssnet-led", size=32), 4).double().eval()
    x = naive_led(clips(), 10, 0.4, 0.05, 1.0)[:, None, 1:]
    for block, kernel, pool in ((model.block1, (1, 5, 5), (1, 3, 3)), (model.block2, (2, 3, 3), (2, 2, 2))):
        assert tuple(block[0].weight.shape[2:]) == kernel
        norm = next(layer for layer in block if isinstance(layer, nn.BatchNorm3d))
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        x = F.max_pool3d(torch.relu(F.conv3d(x, block[0].weight, block[0].bias)), pool)
        shape = (1, -1, 1, 1, 1)
        x = (x - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + norm.eps).sqrt()
        x = x * norm.weight.view(shape) + norm.bias.view(shape)
    hidden = torch.relu(x.flatten(1) @ model.fc[0].weight.T + model.fc[0].bias)
    logits = hidden @ model.head.linear.weight.T + model.head.linear.bias
    torch.testing.assert_close(model(clips().double()).flatten(1), logits, rtol=1e-6, atol=1e-6)


def test_both_blocks_drop_whole_channels_of_a_clip_and_the_last_layer_single_values():
    torch.manual_seed(0)
    model = sssnet_led.Model(baselines.recipe("sssnet-led", size=32, dropout=0.4), 4)
    x = torch.randn(8, 1, 5, 32, 32)
    for block in (model.block1, model.block2):
        kept = block[:-1](x)
        ratio = (block(x) / kept).flatten(2)  # b c values
        assert torch.equal(ratio.amin(2) == 0, ratio.amax(2) == 0)  # all of a channel's frames and pixels, or none
        survived = ratio[ratio.amax(2) > 0]
        torch.testing.assert_close(survived, torch.full_like(survived, 1 / 0.6))
        assert 0.5 < len(survived) / ratio[..., 0].numel() < 0.7
        x = kept
    hidden = model.fc[:-1](x.flatten(1)).detach()
    lost = (model.fc(x.flatten(1)) == 0) & (hidden > 0)
    assert 0.3 < lost.sum() / (hidden > 0).sum() < 0.5


def test_shapes_at_the_papers_size():
    model = sssnet_led.Model(baselines.recipe("sssnet-led"), 8)
    assert model.fc[0].in_features == 9 * 9 * 2 * 64
    assert model(clips(2, size=64)).shape == (2, 8, 2)


def test_resnet_reads_the_five_filtered_frames_as_channels():
    model = resnet_led.Model(baselines.recipe("resnet18-led", size=32, width=8), 4).double().eval()
    x = naive_led(clips(), 10, 0.4, 0.05, 1.0)[:, 1:]
    stem = model.backbone.embedder.embedder.convolution
    assert stem.in_channels == 5 and stem.out_channels == 8
    features = model.backbone(x).pooler_output.flatten(1)
    logits = features @ model.head.linear.weight.T + model.head.linear.bias
    torch.testing.assert_close(model(clips().double()).flatten(1), logits, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_filter_has_its_own_rate_which_drops_at_epoch_50(method, hand_store, monkeypatch):
    recipe = baselines.recipe(method, size=32, epochs=53, batch_size=64)
    model = baselines.module(method).Model(recipe, 2)
    monkeypatch.setattr(model, "batch", lambda inputs, rows, order: clips()[rows])
    monkeypatch.setattr(model, "loss", lambda x, targets: sum(p.sum() for p in model.parameters()) * 0)
    seen = []
    step = torch.optim.Adam.step

    def spied(self, *args, **kwargs):
        seen.append([(len(group["params"]), group["lr"], group["weight_decay"]) for group in self.param_groups])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spied)
    model.fit(None, torch.arange(3), torch.zeros(3, 2), torch.Generator().manual_seed(0), lambda epoch, loss: None)
    rest = len(list(model.parameters())) - 3
    assert seen[:50] == [[(3, 0.1, 1e-3), (rest, 1e-4, 1e-3)]] * 50
    assert [[round(rate, 9) for _, rate, _ in one] for one in seen[50:]] == [[0.01, 1e-4]] * 3
    ids = {id(p) for group in model.groups() for p in group}
    assert ids == {id(p) for p in model.parameters()}


def test_a_step_moves_the_filter_by_the_textbook_amount():
    """Adam's first step is its rate times the sign of the gradient."""
    torch.manual_seed(0)
    recipe = baselines.recipe("sssnet-led", size=32, epochs=1, dropout=0.0)
    model = sssnet_led.Model(recipe, 2)
    before = [p.detach().clone() for p in model.led.parameters()]
    inputs = type("Store", (), {"sample": lambda self, rows, frames, jitter: clips()[rows]})()
    targets = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    model.fit(inputs, torch.arange(3), targets, torch.Generator().manual_seed(0), lambda epoch, loss: None)
    moved = torch.stack([(p - b).detach().abs() for p, b in zip(model.led.parameters(), before, strict=True)])
    torch.testing.assert_close(moved, torch.full((3,), 0.1), rtol=1e-3, atol=0)
