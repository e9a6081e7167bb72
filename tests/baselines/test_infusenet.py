"""InfuseNet: flow of known motions, strain, magnification and infusion against loops in float64, and its runs."""

import dataclasses
import math

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import agree
from safetensors.torch import save_file

from aullm_lib import engine, preprocess, trained
from aullm_lib.baselines import infusenet, views
from aullm_lib.baselines.infusenet import Convolution, Magnifier, Manipulator, Residual
from aullm_lib.baselines.network import resnet
from aullm_lib.experiment import Experiment
from aullm_lib.runs import Run

TINY = {"size": 32, "width": 8, "batch_size": 4, "epochs": 2}


@pytest.fixture(scope="module")
def store(hand_table, tmp_path_factory):
    return preprocess.build(hand_table, tmp_path_factory.mktemp("infusenet") / "store", size=32, rgb=True)


def texture(size):
    """A smooth random RGB picture, as float in 0..255."""
    noise = np.random.default_rng(0).normal(size=(size, size, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return (smooth - smooth.min()) / np.ptp(smooth) * 255


@pytest.mark.parametrize("preset", infusenet.PRESETS)
def test_flow_is_the_shift_of_a_shifted_picture(preset):
    wide, (down, right) = texture(70).round().astype(np.uint8), (1, -2)
    first = torch.from_numpy(wide[10:58, 10:58].copy())
    second = torch.from_numpy(wide[10 - down : 58 - down, 10 - right : 58 - right].copy())
    threads = cv2.getNumThreads()
    result = infusenet.optical_flow(torch.stack([first, first]), torch.stack([second, first]), preset=preset)
    assert result.shape == (2, 2, 48, 48) and result.dtype == torch.float32 and cv2.getNumThreads() == threads
    inside = result[:, :, 6:-6, 6:-6]
    assert (inside[0, 0].median() + 2).abs() < 0.05 and (inside[0, 1].median() - 1).abs() < 0.05
    assert (inside[0] - torch.tensor([-2.0, 1.0]).view(2, 1, 1)).abs().mean() < 0.1
    assert inside[1].abs().max() < 0.05  # the same picture twice


def test_strain_is_that_of_finite_differences_and_of_known_motions():
    u, v = np.random.default_rng(1).normal(size=(2, 5, 6))

    def slope(field, y, x, axis):
        at, n = (y, x)[axis], field.shape[axis]
        before, after = max(at - 1, 0), min(at + 1, n - 1)
        ends = [(p, x) if axis == 0 else (y, p) for p in (before, after)]
        return (field[ends[1]] - field[ends[0]]) / (after - before)

    want = np.empty((5, 6))
    for y in range(5):
        for x in range(6):
            xy = (slope(u, y, x, 0) + slope(v, y, x, 1)) / 2
            terms = slope(u, y, x, 1), slope(v, y, x, 0), xy, xy
            want[y, x] = math.sqrt(sum(term**2 for term in terms))
    result = infusenet.strain(torch.from_numpy(np.stack([u, v])[None]))
    np.testing.assert_allclose(result[0, 0], want, rtol=1e-12)
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(6.0), indexing="ij")
    shift, turn, stretch = (torch.stack(pair)[None] for pair in ((x * 0 + 3, y * 0 - 1), (-y, x), (0.3 * x, 0.4 * y)))
    assert infusenet.strain(shift).abs().max() == 0 and infusenet.strain(turn).abs().max() == 0
    torch.testing.assert_close(infusenet.strain(stretch), torch.full((1, 1, 5, 6), 0.5))


@pytest.mark.parametrize("window", [0.0, 0.5, 1.0])
def test_the_guessed_apex_is_the_frame_of_largest_difference_in_its_window(store, window):
    result = infusenet.guessed_apexes(store, window=window).tolist()
    for clip, position in zip(store.ids, result, strict=True):
        frames = store[clip].astype(float)
        last = len(frames) - 1
        allowed = [t for t in range(1, last + 1) if abs(t - last / 2) <= window * last / 2 + 0.5]
        changes = {t: abs(frames[t] - frames[0]).mean() for t in allowed}
        assert position in allowed and (window == 0 or changes[position] >= 0.999 * max(changes.values()))
    if window == 1:
        bright = [i for i, aus in enumerate(store.table["aus"]) if "4" in aus.split("+") or "12" in aus.split("+")]
        assert all(result[i] >= store.lengths[i] - 2 for i in bright)  # these grow brighter to the end


def test_prepare_gives_flow_strain_and_the_three_frames(store):
    recipe = infusenet.Recipe(**TINY)
    inputs = infusenet.prepare(recipe, store)
    assert inputs.flow.shape == (len(store), 3, 32, 32) and inputs.flow.dtype == torch.float32
    assert inputs.frames.shape == (len(store), 3, 32, 32, 3) and inputs.frames.dtype == torch.uint8
    guessed = infusenet.guessed_apexes(store, window=0.5)
    for i, (clip, apex) in enumerate(zip(store.ids, views.apexes(store), strict=True)):
        for seen, at in zip(inputs.frames[i], (0, apex, guessed[i]), strict=True):
            assert np.array_equal(seen, store[clip][at])
        grey = [cv2.cvtColor(store[clip][at], cv2.COLOR_RGB2GRAY) for at in (0, int(apex))]
        want = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(*grey, None)
        np.testing.assert_allclose(inputs.flow[i, :2], want.transpose(2, 0, 1), atol=1e-6)
    torch.testing.assert_close(inputs.flow[:, 2:], infusenet.strain(inputs.flow[:, :2]))
    again = infusenet.prepare(recipe, store)
    assert torch.equal(again.flow, inputs.flow) and torch.equal(again.frames, inputs.frames)
    batch = infusenet.Model(recipe, 3).batch(inputs, torch.tensor([4, 1]), None)
    torch.testing.assert_close(batch.frames[0, 1, 2], inputs.frames[4, 1, :, :, 2] / 127.5 - 1)
    assert batch.frames.min() >= -1 and batch.frames.max() <= 1 and torch.equal(batch.flow, inputs.flow[[4, 1]])


def naive_convolution(x, layer):
    """Of one picture [c, h, w], mirrored at its border without its edge, in loops over places and outputs."""
    (h, w), k, stride = x.shape[1:], layer.kernel_size[0], layer.stride[0]
    mirror = [[abs(p) if p < n else 2 * (n - 1) - p for p in range(-(k // 2), n + k // 2)] for n in (h, w)]
    padded = x[:, mirror[0]][:, :, mirror[1]]
    rows = [
        [(layer.weight * padded[:, y : y + k, z : z + k]).sum((1, 2, 3)) for z in range(0, w, stride)]
        for y in range(0, h, stride)
    ]
    return torch.stack([torch.stack(row, 1) for row in rows], 1)  # d_out h/stride w/stride


def naive(x, layers):
    for layer in layers:
        if isinstance(layer, Residual):
            x = x + naive_convolution(naive_convolution(x, layer.conv1).clamp(min=0), layer.conv2)
        else:
            x = naive_convolution(x, layer) if isinstance(layer, Convolution) else x.clamp(min=0)
    return x


def test_encoder_and_manipulator_are_those_of_the_formula():
    part = Magnifier(d=4).double()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64, requires_grad=True)
    assert part.encoder(x).shape == (2, 4, 5, 4)
    encoder = part.encoder
    agree(encoder(x), torch.stack([naive(one, encoder) for one in x]), [x, *encoder.parameters()])
    a, b = (torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    g, h = part.manipulator.g, part.manipulator.h

    def formula(alpha):
        return torch.stack([one + naive(alpha * naive(other - one, g), h) for one, other in zip(a, b, strict=True)])

    agree(part.manipulator(a, b, 10.0), formula(10.0), [a, b, *part.manipulator.parameters()])
    torch.testing.assert_close(part.manipulator.change(a, b, 3.0), formula(3.0) - a)


def test_nothing_is_magnified_by_0_or_without_motion():
    part, a, b = Manipulator(d=4), torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    assert torch.equal(part(a, b, 0.0), a) and torch.equal(part(a, a, 10.0), a)
    assert (part(a, b, 1.0) - a).abs().max() > 0.01
    torch.testing.assert_close(part.change(a, b, 10.0), 10 * part.change(a, b, 1.0), rtol=1e-4, atol=1e-4)


def test_32_channels_have_the_papers_layers():
    inner = 9 * 32 * 32
    counts = [sum(p.numel() for p in part.parameters()) for part in (Magnifier().encoder, Magnifier().manipulator)]
    assert counts == [49 * 3 * 16 + 9 * 16 * 32 + 6 * inner + inner + 4 * inner, 49 * 32 * 32 + inner + 2 * inner]


def naive_scaled(x):
    """[b, c, h, w], value by value."""
    clips = []
    for clip in x:
        low, high = min(clip.flatten()), max(clip.flatten())
        values = [(value - low) / (high - low) if high > low else value - low for value in clip.flatten()]
        clips.append(torch.stack(values).view_as(clip))
    return torch.stack(clips)


def test_features_are_scaled_clip_by_clip_and_constant_ones_stay_finite():
    x = torch.randn(3, 2, 2, 3, dtype=torch.float64, requires_grad=True)
    agree(infusenet.scaled(x), naive_scaled(x), [x])
    result = infusenet.scaled(x)
    assert (result.amin((1, 2, 3)) == 0).all() and (result.amax((1, 2, 3)) == 1).all()
    assert torch.equal(infusenet.scaled(x[1:2]), result[1:2])  # whatever clips are beside it
    still = torch.full((2, 2, 2, 2), 5.0, requires_grad=True)
    out = infusenet.scaled(still)
    (out * torch.randn_like(out)).sum().backward()
    assert (out == 0).all() and still.grad.isfinite().all() and still.grad.abs().max() < 10


@pytest.mark.parametrize("latent", ["change", "shape"])
def test_both_branches_are_infused_as_in_the_formula(latent):
    model = infusenet.Model(infusenet.Recipe(**TINY, latent=latent), 3).double().eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_(std=0.1)
    x = infusenet.Inputs(torch.randn(2, 3, 20, 20).double(), torch.rand(2, 3, 3, 20, 20).double() * 2 - 1)
    leaves = [value.requires_grad_() for value in x]

    def reference():
        onset, annotated, guessed = (
            torch.stack([naive(f, model.magnifier.encoder) for f in x.frames[:, i]]) for i in range(3)
        )
        part = model.magnifier.manipulator
        add, factor = (0, 9) if latent == "change" else (onset, 10)
        pairs = [add + part.h(factor * part.g(apex - onset)) for apex in (annotated, guessed)]
        y = F.max_pool2d(torch.cat(pairs, 1).clamp(min=0), 3, 2, 1)
        seen = model.flow(x.flow, output_hidden_states=True)  # transformers' own pass: stem, four stages, pooled
        for stage, of_flow in zip(model.magnified.stages, seen.hidden_states[1:], strict=True):
            y = stage(y) * naive_scaled(of_flow)
        f = seen.pooler_output
        y = y.flatten(2).mean(2)[..., None, None] * naive_scaled(f)
        return torch.stack([z.flatten(1) @ model.head.weight.T + model.head.bias for z in (f, y)])

    agree(model(x), reference(), [*leaves, model.head.weight, model.flow.embedder.embedder.convolution.weight])


def test_every_parameter_learns_and_loss_and_decision_are_those_said():
    model = infusenet.Model(infusenet.Recipe(**TINY), 3)
    x = infusenet.Inputs(torch.randn(4, 3, 32, 32), torch.rand(4, 3, 3, 32, 32) * 2 - 1)
    y = (torch.rand(4, 3) < 0.5).float()
    model.loss(x, y).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.abs().max() > 0 for p in model.parameters())
    model.double().eval()
    x = infusenet.Inputs(*(value.double() for value in x))
    logits = model(x)
    assert logits.shape == (2, 4, 3)
    p = (1 / (1 + torch.exp(-logits))).detach()
    terms = [math.log(p[k, i, j] if y[i, j] else 1 - p[k, i, j]) for k in range(2) for i in range(4) for j in range(3)]
    assert model.loss(x, y.double()).item() == pytest.approx(-sum(terms) / 24)
    torch.testing.assert_close(model.decide(x), 1 / (1 + torch.exp(-(logits[0] + logits[1]) / 2)))


def test_sizes_that_are_no_multiple_of_32_fit_both_branches():
    model = infusenet.Model(infusenet.Recipe(**TINY | {"size": 45}), 2).eval()
    x = infusenet.Inputs(torch.randn(1, 3, 45, 45), torch.rand(1, 3, 3, 45, 45))
    assert model(x).shape == (2, 1, 2) and model.magnify(x.frames).shape == (1, 8, 23, 23)
    still = infusenet.Inputs(torch.zeros(1, 3, 45, 45), torch.zeros(1, 3, 3, 45, 45))
    assert model(still).isfinite().all()


def test_it_learns_what_the_clips_show(store):
    """AU12 brightens the lower half of the hand-made clips over time, AU4 the upper one."""
    recipe = infusenet.Recipe(**TINY | {"lr": 3e-3, "epochs": 20})
    inputs, rows = infusenet.prepare(recipe, store), torch.arange(len(store))
    targets = torch.tensor(store.table[["AU4", "AU12"]].to_numpy("float32"))
    model, losses = infusenet.Model(recipe, 2), []
    model.fit(inputs, rows, targets, torch.Generator().manual_seed(0), lambda epoch, loss: losses.append(loss))
    assert losses[-1] < 0.5 * losses[0]


def test_given_weights_begin_both_networks_and_a_given_magnifier_stays_as_it_is(store, tmp_path):
    torch.manual_seed(5)
    first, magnifier = resnet(depth=18, width=8), Magnifier(d=4)
    first.save_pretrained(tmp_path / "resnet")
    file = tmp_path / "magnifier.safetensors"
    save_file(magnifier.state_dict(), file)
    recipe = infusenet.Recipe(
        **TINY | {"weights": str(tmp_path / "resnet"), "magnifier": str(file), "lr": 1e-9, "epochs": 1}
    )
    one = Experiment(name="x", aus=(1, 4), recipe=recipe, method="infusenet")
    run = Run(engine.run(one, store, out=tmp_path / "runs", keep_weights=True))
    kept = trained.load(run, run.folds[0])
    begun = dict(first.named_parameters())
    for prefix, part in (("", kept.flow), ("encoder.", kept.magnified)):
        for name, value in part.named_parameters():
            torch.testing.assert_close(value, begun[prefix + name], rtol=1e-6, atol=1e-6)
    assert all(torch.equal(kept.magnifier.state_dict()[name], value) for name, value in magnifier.state_dict().items())
    frozen = set(map(id, kept.magnifier.parameters()))
    assert not frozen & {id(p) for p in kept.groups()[0]} and frozen
    before = infusenet.Model.sources(recipe)
    assert set(before) == {"weights", "magnifier"} and before.items() <= run.info["data"].items()
    save_file(Magnifier(d=4).state_dict(), file)
    after = infusenet.Model.sources(recipe)
    assert after["magnifier"] != before["magnifier"] and after["weights"] == before["weights"]
    assert not infusenet.Model.sources(infusenet.Recipe())

    def refused(error, match, **changes):
        other = dataclasses.replace(one, recipe=infusenet.Recipe(**TINY | changes))
        with pytest.raises(error, match=match):
            engine.run(other, store, out=tmp_path / "never")

    mismatch = r"size mismatch for encoder.0.weight: .*\[2, 3, 7, 7\].*\[4, 3, 7, 7\]"
    refused(ValueError, mismatch, magnifier=str(file), width=16)
    refused(FileNotFoundError, "no safetensors file here", magnifier=str(tmp_path / "none"))
    refused(ValueError, "embedding_size is 8; .* needs 16", weights=str(tmp_path / "resnet"), width=16)
    refused(FileNotFoundError, "none", weights=str(tmp_path / "none"))
    assert not (tmp_path / "never").exists()


def test_settings_that_cannot_be_are_refused():
    for wrong in ({"width": 9}, {"width": 2}, {"window": 1.1}, {"preset": "slow"}, {"amplification": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            infusenet.Recipe(**wrong)
