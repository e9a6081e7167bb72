"""The backbone's shapes, and its numbers against the layers written out one by one."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from aullm_lib.backbone import FILTERS, SqueezeExcitation, VisualBackbone
from aullm_lib.support import frame_conv


def clips(b=2, t=6, size=64, seed=0):
    return torch.randint(0, 256, (b, t, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def settled(net, seed=0):
    """Batch-norm statistics and weights away from 0 and 1, eval mode."""
    g = torch.Generator().manual_seed(seed)
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm3d):
            for t in (m.weight.data, m.running_var):
                t.copy_(torch.rand(t.shape, generator=g) + 0.5)
            for t in (m.bias.data, m.running_mean):
                t.copy_(torch.randn(t.shape, generator=g))
    return net.eval()


def test_shapes_and_size_of_the_papers_backbone():
    net = VisualBackbone()
    features = net(clips())
    assert features.mid.shape == (2, 64, 2, 9, 9) and features.mid[0].numel() == net.d_mid == 10_368
    assert features.high.shape == (2, 256) and features.high.dtype == torch.float32
    conv = 32 * 25 + 32 + 64 * 32 * 18 + 64
    assert sum(p.numel() for p in net.parameters()) == 3 + conv + 2 * 32 + 2 * 64 + 2 * 64 * 4 + 10_368 * 256 + 256


@pytest.mark.parametrize(("frames", "size"), [(4, 16), (6, 32), (9, 48), (6, 65)])
def test_other_clips_fit(frames, size):
    net = VisualBackbone(frames=frames, size=size)
    features = net(clips(b=1, t=frames, size=size))
    assert features.mid[0].numel() == net.d_mid and features.high.shape == (1, 256)


@pytest.mark.parametrize("led", FILTERS)
@pytest.mark.parametrize("se", [True, False])
def test_numbers_are_those_of_the_layers_in_the_scripts_order(led, se):
    net = settled(VisualBackbone(size=32, led=led, se=se))
    p = dict(net.named_parameters()) | dict(net.named_buffers())
    x = clips(size=32)
    f = x.float()
    if led == "led":
        f = net.led(x)
    elif led == "difference":
        f = torch.cat([f[:, :1], f[:, 1:] - f[:, :-1]], 1)

    def norm(h, name):
        return F.batch_norm(
            h, p[name + ".running_mean"], p[name + ".running_var"], p[name + ".weight"], p[name + ".bias"]
        )

    h = F.conv3d(f[:, 1:].unsqueeze(1), p["conv1.weight"], p["conv1.bias"])
    h = norm(F.max_pool3d(F.relu(h), (1, 3, 3)), "norm1")  # the script's order: ReLU, then pooling
    h = norm(F.relu(F.conv3d(h, p["conv2.weight"], p["conv2.bias"])), "norm2")
    h = net.se(h) if se else h
    h = F.max_pool3d(h, 2)
    high = F.relu(F.linear(h.flatten(1), p["fc.0.weight"], p["fc.0.bias"]))
    got = net(x)
    torch.testing.assert_close(got.mid, h, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got.high, high, rtol=1e-4, atol=1e-4)
    assert high.std() > 0.01


def test_pooling_before_relu_gives_equal_values_and_gradients():
    conv, pool = VisualBackbone().conv1, VisualBackbone().pool1
    x = torch.randn(2, 1, 5, 20, 20)
    grads = []
    for f in (lambda h: torch.relu(pool(h)), lambda h: pool(torch.relu(h))):
        y = f(conv(x))
        grads.append((y.detach(), *torch.autograd.grad((y * y).sum(), list(conv.parameters()))))
    for a, b in zip(*grads, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(("frames", "size"), [(4, 16), (6, 64), (5, 33), (6, 65)])
@pytest.mark.parametrize("training", [True, False])
def test_the_form_for_a_cpu_gives_the_plain_layers_values_and_gradients(frames, size, training, monkeypatch):
    net = settled(VisualBackbone(frames=frames, size=size, led="raw", dropout=0)).double().train(training)
    x, seen, results = clips(b=3, t=frames, size=size).double(), {}, []
    weight = torch.randn(3, 256, dtype=torch.float64)
    for name, module in net.named_modules():
        module.register_forward_hook(lambda m, args, out, name=name: seen.setdefault(name, []).append(out))
    for by_frame in (lambda x: True, lambda x: False):  # the latter is what runs on other devices
        monkeypatch.setattr(frame_conv, "_by_frame", by_frame)
        inputs = x.clone().requires_grad_()
        mid, high = net(inputs)
        leaves = [inputs, *net.parameters()]
        results.append((mid, high, *torch.autograd.grad((high * weight).sum() + (mid * mid).sum(), leaves)))
    for fast, plain in zip(*results, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10 * plain.abs().max().item())
    assert len(seen) == 17
    for name, (fast, plain) in seen.items():  # every layer can be watched as ever
        if name:
            assert fast.shape == plain.shape
            torch.testing.assert_close(fast, plain, rtol=1e-10, atol=1e-10 * plain.abs().max().item(), msg=name)


def test_the_temporal_filter_gets_the_plain_layers_gradient(monkeypatch):
    net = VisualBackbone(dropout=0, size=32).double()
    gradients = []
    for by_frame in (lambda x: True, lambda x: False):
        monkeypatch.setattr(frame_conv, "_by_frame", by_frame)
        loss = net(clips(size=32).double()).high.square().sum()
        gradients.append(torch.autograd.grad(loss, list(net.led.parameters())))
    for fast, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-9)


def test_layers_can_be_explained_and_keep_their_names():
    net, seen = VisualBackbone(), []
    net.conv2.register_full_backward_hook(lambda module, into, out: seen.append(out[0]))  # as Grad-CAM does
    net(clips()).high.sum().backward()
    assert seen[0].shape == (2, 64, 4, 18, 18) and seen[0].abs().max() > 0
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters() if "conv" in name and p.ndim > 2}
    assert shapes == {"conv1.weight": (32, 1, 1, 5, 5), "conv2.weight": (64, 32, 2, 3, 3)}


def test_the_form_for_a_cpu_is_for_a_cpu_in_full_precision():
    assert frame_conv._by_frame(torch.zeros(1)) and not frame_conv._by_frame(torch.zeros(1, device="meta"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not frame_conv._by_frame(torch.zeros(1))
        assert VisualBackbone()(clips()).high.dtype == torch.bfloat16
    assert VisualBackbone(led="raw").to("meta")(clips().to("meta")).mid.shape == (2, 64, 2, 9, 9)


def test_se_is_the_per_frame_formula():
    se = SqueezeExcitation(channels=8, reduction=4)
    x = torch.randn(2, 8, 3, 4, 5)
    w1, w2 = (w.detach().double().numpy() for w in (se.squeeze.weight, se.excite.weight))
    want = np.zeros(x.shape)
    for b in range(2):
        for t in range(3):
            frame = x[b, :, t].double().numpy()  # c h w
            z = frame.mean((1, 2))
            s = 1 / (1 + np.exp(-(w2 @ np.maximum(w1 @ z, 0))))
            want[b, :, t] = frame * s[:, None, None]
    np.testing.assert_allclose(se(x).detach(), want, atol=1e-6)


def test_se_weights_can_be_read_and_follow_their_own_frame():
    net, seen = settled(VisualBackbone()), []
    w = net.se.squeeze.weight.data
    w[2:] = -w[:2]  # so that some of the four ReLUs let through, whatever was drawn
    net.se.gate.register_forward_hook(lambda module, args, out: seen.append(out.detach()))
    x = clips()
    net(x)
    x[:, 5] = 255 - x[:, 5]
    net(x)
    before, after = seen
    assert before.shape == (2, 4, 64) and ((before > 0) & (before < 1)).all()
    assert (before[:, 0] - before[:, 1]).abs().max() > 1e-6  # varies over time
    assert torch.equal(before[:, :3], after[:, :3]) and not torch.equal(before[:, 3], after[:, 3])


def test_the_first_frame_is_only_a_reference():
    x = clips()
    y = x.clone()
    y[:, 0] = 255 - y[:, 0]
    raw, led = settled(VisualBackbone(led="raw")), settled(VisualBackbone())
    assert torch.equal(raw(x).high, raw(y).high)
    assert not torch.equal(led(x).high, led(y).high)


def test_uint8_and_float_agree_and_eval_repeats():
    net, x = settled(VisualBackbone()), clips()
    assert torch.equal(net(x).high, net(x.float()).high) and torch.equal(net(x).mid, net(x).mid)
    torch.testing.assert_close(net(x[:1]).high, net(x).high[:1], rtol=1e-4, atol=1e-5)  # no leak between clips


def test_training_drops_whole_channels_out():
    net = VisualBackbone(dropout=0.5).train()
    off = net(clips()).mid.flatten(2).abs().amax(2) == 0  # b c
    assert 0.2 < off.float().mean() < 0.8


def test_without_the_high_level():
    net = VisualBackbone(d_high=0)
    assert net(clips()).high.shape == (2, 0) and not [n for n, _ in net.named_parameters() if n.startswith("fc")]


@pytest.mark.parametrize(
    ("bad", "words"),
    [({"frames": 3}, "frames"), ({"size": 15}, "16"), ({"led": "x"}, "led, raw"), ({"se_reduction": 65}, "64")],
)
def test_what_cannot_be_built(bad, words):
    with pytest.raises(ValueError, match=words):
        VisualBackbone(**bad)
