"""SCA's covariances, attentions and fusion against loops and grouped convolutions in float64, and its runs."""

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import agree
from safetensors.torch import save_file

from aullm_lib import baselines, engine, preprocess, trained
from aullm_lib.baselines import sca
from aullm_lib.baselines.sca import Block, ResNet3d
from aullm_lib.experiment import Experiment
from aullm_lib.runs import Run

TINY = {"size": 36, "crop": 33, "width": 2, "frames": 6, "interpolated": 12, "batch_size": 4, "epochs": 2}


@pytest.fixture(scope="module")
def store(hand_table, tmp_path_factory):
    return preprocess.build(hand_table, tmp_path_factory.mktemp("sca") / "store", size=36, rgb=True)


def naive_covariance(x):
    """Variables are rows: a loop over pairs of them and over observations."""
    n, m = x.shape
    means = [sum(x[i, k] for k in range(m)) / m for i in range(n)]
    rows = [
        [sum((x[i, k] - means[i]) * (x[j, k] - means[j]) for k in range(m)) / m for j in range(n)] for i in range(n)
    ]
    return torch.stack([torch.stack(row) for row in rows])


def test_covariance_is_that_of_the_definition_and_of_numpy():
    x = torch.randn(2, 4, 5, dtype=torch.float64, requires_grad=True)
    agree(sca.covariance(x), torch.stack([naive_covariance(one) for one in x]), [x])
    np.testing.assert_allclose(sca.covariance(x)[1].detach(), np.cov(x[1].detach(), bias=True), rtol=1e-12)


def test_a_row_convolution_is_a_convolution_with_a_group_a_row():
    layer = sca.RowConvolution(rows=5, outputs=4).double()
    x = torch.randn(3, 5, 5, dtype=torch.float64, requires_grad=True)

    def grouped():
        kernel = layer.weight.reshape(20, 1, 5, 1)  # 4 outputs a row, each over the row's 5 values
        return F.conv2d(x[..., None], kernel, layer.bias.flatten(), groups=5).flatten(1)

    agree(layer(x), grouped(), [x, *layer.parameters()])


def naive_norm(x, bn, training):
    """Of [b, n, m] by variable n."""
    mean, var = bn.running_mean, bn.running_var
    if training:
        mean, var = x.mean((0, 2)), ((x - x.mean((0, 2))[:, None]) ** 2).mean((0, 2))
    scaled = (x - mean[:, None]) / (var[:, None] + bn.eps).sqrt()
    return scaled * bn.weight[:, None] + bn.bias[:, None]


@pytest.mark.parametrize("training", [True, False])
def test_attentions_and_fusion_are_those_of_the_formulas(training):
    torch.manual_seed(3)
    c, h, w, kernel, groups = 4, 3, 2, 3, 2
    layer = sca.SecondOrderAttention(channels=c, positions=h * w, expand=2, groups=groups, kernel=kernel).double()
    for bn in (layer.channel.bn, layer.spatial.bn):
        bn.running_mean.normal_()
        bn.running_var.uniform_(0.5, 2)
        torch.nn.init.uniform_(bn.weight, 0.5, 2)
        torch.nn.init.normal_(bn.bias)
    layer.train(training)
    x = torch.randn(3, c, h, w, dtype=torch.float64, requires_grad=True)

    def column_convolution(x, conv):
        """Down each column, loops over every index; zeros above and below."""
        out, per = torch.zeros_like(x), c // groups
        rows = []
        for o in range(c):
            first = o // per * per
            for i in range(h):
                value = conv.bias[o]
                for k in range(kernel):
                    if 0 <= i + k - kernel // 2 < h:
                        for d in range(per):
                            value = value + conv.weight[o, d, k, 0] * x[:, first + d, i + k - kernel // 2]
                rows.append(value.expand(out.shape[0], w))
        return torch.stack(rows, 1).view(-1, c, h, w)

    def reference():
        flat = x.flatten(2)
        second = naive_norm(torch.stack([naive_covariance(one) for one in flat]), layer.channel.bn, training)
        rows = layer.channel.rows
        channel = torch.stack([(second[:, i] * rows.weight[i, 0]).sum(1) + rows.bias[i, 0] for i in range(c)], 1)
        channel = 1 / (1 + torch.exp(-channel))
        places = torch.stack([naive_covariance(one.T) for one in flat])
        places, rows = naive_norm(places, layer.spatial.bn, training), layer.spatial.rows
        made = [
            (places[:, p] * rows.weight[p, o]).sum(1) + rows.bias[p, o] for p in range(h * w) for o in range(2)
        ]  # fmt: skip
        mixed = torch.relu(torch.stack(made, 1)) @ layer.spatial.mix.weight.T + layer.spatial.mix.bias
        spatial = 1 / (1 + torch.exp(-mixed))
        a = x * channel[:, :, None, None]
        s = torch.relu(x * spatial.view(-1, 1, h, w))
        return column_convolution(a, layer.conv_a) * a + column_convolution(s, layer.conv_b) * s

    agree(layer(x), reference(), [x, *layer.parameters()])


def test_shapes_and_parameters_at_the_ports_size():
    recipe = baselines.recipe("sca")
    with torch.device("meta"):
        model = sca.Model(recipe, 8)
        x = torch.empty(2, 3, 10, 112, 112)
        assert model.backbone(x).shape == (2, 512, 1, 4, 4) and model(x).shape == (2, 8)
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    stem = 3 * 64 * 7**3 + 2 * 64
    stages = [27 * (d_in * d + 3 * d * d) + 4 * 2 * d for d_in, d in ((64, 64), (64, 128), (128, 256), (256, 512))]
    assert count(model.backbone) == stem + sum(stages)
    assert count(model.attention.channel) == 512 * 512 + 512 + 2 * 512
    assert count(model.attention.spatial) == 64 * 16 + 64 + (64 * 16 + 16) + 2 * 16
    assert count(model.attention.conv_a) == count(model.attention.conv_b) == 512 * 64 * 9 + 512


@pytest.mark.parametrize(("frames", "crop"), [(2, 33), (9, 65), (16, 64), (17, 40)])
def test_other_sizes_work_and_are_rounded_up(frames, crop):
    model = sca.Model(sca.Recipe(width=1, crop=crop, frames=frames), 3)
    x = torch.rand(2, 3, frames, crop, crop)
    side = math.ceil(crop / 32)
    assert model.backbone(x).shape == (2, 8, math.ceil(frames / 16), side, side)
    assert model(x).shape == (2, 3)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_blocks_shortcut_has_no_weights_and_is_not_cut_off(stride):
    block = Block(d_in=2, d_out=5, stride=stride).double().eval()
    assert {name.split(".")[0] for name in block.state_dict()} == {"conv1", "bn1", "conv2", "bn2"}
    torch.nn.init.zeros_(block.bn2.weight)  # the shortcut alone
    x = torch.rand(2, 2, 5, 4, 3, dtype=torch.float64, requires_grad=True)
    pooled = F.avg_pool3d(x, 1, stride)
    want = torch.cat([pooled, pooled.new_zeros(2, 3, *pooled.shape[2:])], 1)
    torch.testing.assert_close(block(x), want)
    (gradient,) = torch.autograd.grad(block(x).sum(), x)
    assert gradient.sum() == pooled.numel()  # 1 for each value that it hands on


def test_every_clip_is_interpolated_once_and_kept_in_grey_levels(store):
    recipe = sca.Recipe(**TINY)
    inputs = sca.prepare(recipe, store)
    assert inputs.dtype == torch.uint8 and inputs.shape == (len(store), 12, 36, 36, 3)
    for row, clip in enumerate(store.ids):
        frames = store[clip].astype(float)
        n = len(frames)
        curves = np.array([[math.cos(math.pi * k * (t + 0.5) / n) for t in range(n)] for k in range(n)])
        amounts = np.tensordot(curves, frames, 1) / n  # the discrete cosine series, read between frames
        for i in (0, 4, 11):
            at = [math.cos(math.pi * k * ((n - 1) * i / 11 + 0.5) / n) * (1 if k == 0 else 2) for k in range(n)]
            want = np.tensordot(at, amounts, 1).round().clip(0, 255)
            assert np.abs(inputs[row, i].numpy() - want).max() <= 1  # a tie may round the other way in float32
            assert (inputs[row, i].numpy() == want).mean() > 0.999
        assert (inputs[row, 0].numpy() == frames[0]).all() and (inputs[row, -1].numpy() == frames[-1]).all()


def test_test_frames_are_uniform_and_whole_and_training_ends_at_random(store):
    recipe = sca.Recipe(**TINY | {"crop": 36})
    inputs, rows = sca.prepare(recipe, store), torch.tensor([3, 0])
    model = sca.Model(recipe, 3)
    x = model.batch(inputs, rows, None)
    want = inputs[rows][:, [0, 2, 4, 7, 9, 11]].permute(0, 4, 1, 2, 3).float()  # round half up of 0, 2.2 .. 11
    torch.testing.assert_close(x, want, rtol=0, atol=1e-3)
    assert x.min() >= 0 and 90 < x.max() <= 255
    less = sca.Model(dataclasses.replace(recipe, subtract_mean=True), 3).batch(inputs, rows, None)
    torch.testing.assert_close(less, want - want.mean(2, keepdim=True), rtol=0, atol=1e-3)
    clock = torch.arange(12, dtype=torch.uint8).view(1, 12, 1, 1, 1).expand(1, 12, 36, 36, 3).repeat(200, 1, 1, 1, 1)
    shown = model.batch(clock, torch.arange(200), torch.Generator().manual_seed(0))[:, 0, :, 20, 20]
    assert shown[:, 0].abs().max() < 1e-4
    assert set(shown[:, -1].round().int().tolist()) == set(range(6, 11))  # of 12 frames, 6 taken: 6 .. 10


def test_each_layers_rate_is_the_ports_epoch_by_epoch(monkeypatch):
    """The port: 1e-4 where no name has "layer4" or "fc"; after each epoch e of 0, 1, ..: 1e-3 / 10 ** (e // 30)."""
    model = sca.Model(sca.Recipe(width=1, epochs=63), 3)
    monkeypatch.setattr(model, "batch", lambda inputs, rows, order: rows)
    monkeypatch.setattr(model, "loss", lambda x, targets: sum(p.sum() for p in model.parameters()) * 0)
    seen, step = [], torch.optim.SGD.step

    def spied(self, *args, **kwargs):
        seen.append({id(p): group["lr"] for group in self.param_groups for p in group["params"]})
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", spied)
    model.fit(None, torch.arange(3), torch.zeros(3, 3), torch.Generator().manual_seed(0), lambda epoch, loss: None)
    names = {id(p): name for name, p in model.named_parameters()}
    fast = ("backbone.layer4.", "attention.spatial.mix.", "linear.")  # the port's layer4, fc_adapt_channels.. and fc
    assert seen[0] == {i: 1e-3 if name.startswith(fast) else 1e-4 for i, name in names.items()}
    for epoch in range(1, 63):
        rate = 0.001 * 0.1 ** ((epoch - 1) // 30)
        assert seen[epoch] == pytest.approx(dict.fromkeys(names, rate)), epoch
    assert seen[30][next(iter(names))] == pytest.approx(1e-3) and seen[31][next(iter(names))] == pytest.approx(1e-4)


def test_loss_and_probability_are_bce_and_sigmoid():
    model = sca.Model(sca.Recipe(width=1, crop=33), 3).double().eval()
    x, y = torch.rand(4, 3, 6, 33, 33).double(), (torch.rand(4, 3) < 0.5).double()
    p = 1 / (1 + torch.exp(-model(x).detach()))
    terms = [math.log(p[i, j] if y[i, j] else 1 - p[i, j]) for i in range(4) for j in range(3)]
    assert model.loss(x, y).item() == pytest.approx(-sum(terms) / 12)
    torch.testing.assert_close(model.decide(x), p)


def test_it_learns_what_the_clips_show(store):
    """AU12 brightens the lower half of the hand-made clips over time, AU4 the upper one."""
    torch.manual_seed(0)
    recipe = sca.Recipe(**TINY | {"width": 4, "lr": 0.02, "epochs": 12, "subtract_mean": True})
    inputs, rows = sca.prepare(recipe, store), torch.arange(len(store))
    targets = torch.tensor(store.table[["AU4", "AU12"]].to_numpy("float32"))
    model, losses = sca.Model(recipe, 2), []
    model.fit(inputs, rows, targets, torch.Generator().manual_seed(0), lambda epoch, loss: losses.append(loss))
    assert losses[-1] < 0.5 * losses[0]
    predictions = model.probabilities(inputs, rows) >= 0.5
    assert (predictions == targets.bool()).float().mean() > 0.9


def test_initial_weights_are_read_identified_and_refused_if_they_are_others(store, tmp_path):
    torch.manual_seed(5)
    first = ResNet3d(width=2)
    file = tmp_path / "weights" / "r3d.safetensors"
    file.parent.mkdir()
    save_file(first.state_dict(), file)
    recipe = sca.Recipe(**TINY | {"weights": str(file.parent), "lr": 1e-9, "early_lr": 1e-9, "epochs": 1})
    one = Experiment(name="x", aus=(1, 4), recipe=recipe, method="sca")
    run = Run(engine.run(one, store, out=tmp_path / "runs", keep_weights=True))
    kept = trained.load(run, run.folds[0]).backbone.state_dict()
    for name, value in first.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(kept[name], value, rtol=1e-6, atol=1e-6)
    assert run.info["data"]["weights"] == sca.Model.sources(recipe)["weights"]
    before = sca.Model.sources(recipe)
    save_file(ResNet3d(width=2).state_dict(), file)
    assert sca.Model.sources(recipe) != before and not sca.Model.sources(sca.Recipe())

    def refused(error, match, **changes):
        other = dataclasses.replace(one, recipe=dataclasses.replace(recipe, **changes))
        with pytest.raises(error, match=match):
            engine.run(other, store, out=tmp_path / "never")

    refused(ValueError, r"of ResNet3d with .* for conv1.weight: .*\[2, 3, 7, 7, 7\].*\[4, 3, 7, 7, 7\]", width=4)
    refused(FileNotFoundError, "no safetensors file here; in a recipe '' means random", weights=str(tmp_path / "none"))
    save_file({"head.weight": torch.zeros(1)} | first.state_dict(), tmp_path / "more.safetensors")
    refused(ValueError, 'Unexpected key.*"head.weight"', weights=str(tmp_path / "more.safetensors"))
    (tmp_path / "bad.safetensors").write_bytes(b"no tensors")
    refused(ValueError, "bad.safetensors: damaged, or no safetensors file", weights=str(tmp_path / "bad.safetensors"))
    refused(ValueError, "2 safetensors files here; name one", weights=str(tmp_path))
    assert not (tmp_path / "never").exists()


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"crop_low": 1.1}, {"fusion_kernel": 4}, {"fusion_groups": 3}, {"crop": 32}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            sca.Recipe(**wrong)
