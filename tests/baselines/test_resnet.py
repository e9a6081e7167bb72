"""ResNet18/34 on a frame near the apex: which frame, which network, its loss, weights to begin with, its runs."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, ResNetConfig, ResNetForImageClassification

from aullm_lib import baselines, engine, preprocess, trained
from aullm_lib.baselines import resnet
from aullm_lib.experiment import Experiment
from aullm_lib.runs import Run
from aullm_lib.support.hub import quiet

TINY = {"size": 32, "width": 4, "batch_size": 4, "epochs": 2}


@pytest.fixture(scope="module")
def store(hand_table, tmp_path_factory):
    return preprocess.build(hand_table, tmp_path_factory.mktemp("resnet") / "store", size=32, rgb=True)


def experiment(method="resnet18", **overrides):
    return Experiment(name="x", aus=(1, 4, 12), method=method, recipe=baselines.recipe(method, **TINY | overrides))


def whole(width=4, **changed):
    """A random classifier as on the hub."""
    sizes = [width, 2 * width, 4 * width, 8 * width]
    options = {"layer_type": "basic", "embedding_size": width, "hidden_sizes": sizes, "depths": [2, 2, 2, 2]} | changed
    return ResNetForImageClassification(ResNetConfig(num_labels=5, **options))


def saved(model, folder):
    with quiet():
        model.save_pretrained(folder)
    return folder


def test_the_two_networks_are_the_known_ones():
    assert baselines.recipe("resnet18").depth == 18 and baselines.recipe("resnet34").depth == 34
    with torch.device("meta"):
        for method, with_classifier in (("resnet18", 11_689_512), ("resnet34", 21_797_672)):
            model = resnet.Model(baselines.recipe(method), 8)
            sizes = sum(p.numel() for p in model.parameters())
            assert sizes == with_classifier - (512 * 1000 + 1000) + (512 * 16 + 16)
            (seen,) = model.outputs(torch.empty(2, 3, 224, 224))
            assert seen.logits.shape == (2, 8, 2)
            shapes = [(64, 56), (64, 56), (128, 28), (256, 14), (512, 7)]
            assert [tuple(one.shape) for one in seen.maps] == [(2, c, side, side) for c, side in shapes]


def test_the_public_settings_are_the_defaults():
    r = baselines.recipe("resnet18")
    assert (r.size, r.crop * 224, r.batch_size, r.lr, r.momentum, r.drop_every) == (224, 210, 56, 0.01, 0.9, 40)
    assert (r.before, r.after, r.optimizer, r.weights, r.epochs) == (2, 1, "sgd", "", 81)  # epochs 0 to 80


def test_inputs_are_the_apex_and_its_neighbours_kept_inside_the_clip(store):
    recipe = baselines.recipe("resnet18", **TINY, before=6, after=2)
    inputs = resnet.prepare(recipe, store)
    assert inputs.dtype == torch.uint8 and inputs.shape == (len(store), 9, 32, 32, 3)
    for i, (clip, row) in enumerate(store.table.iterrows()):
        frames = store[clip]
        apex = len(frames) // 2 if row["clip"] == "c0" else int(row["apex"] - row["onset"])
        for j, step in enumerate(range(-6, 3)):
            np.testing.assert_array_equal(inputs[i, j], frames[min(max(apex + step, 0), len(frames) - 1)])


def test_training_draws_a_neighbour_and_test_takes_the_apex():
    model = resnet.Model(baselines.recipe("resnet18", **TINY, crop=1.0), 3)
    inputs = torch.randint(0, 256, (5, 4, 32, 32, 3), dtype=torch.uint8)
    rows = torch.arange(5).repeat(80)
    seen = model.batch(inputs, rows, None)
    torch.testing.assert_close(seen[:5], inputs[:, 2].permute(0, 3, 1, 2) / 255, rtol=0, atol=1e-5)
    drawn = model.batch(inputs, rows, torch.Generator().manual_seed(0))
    options = inputs.permute(0, 1, 4, 2, 3)[rows] / 255  # b 4 3 h w
    options = torch.stack([options, options.flip(-1)], 2)  # b 4 2 3 h w
    distance = (options - drawn[:, None, None]).abs().amax((3, 4, 5))  # b 4 2
    assert (distance.flatten(1).amin(1) < 1e-4).all()
    which = distance.flatten(1).argmin(1)
    counts = torch.bincount(which, minlength=8)  # each of 8 expected 50 times in 400
    assert counts.min() > 25 and counts.max() < 80


def columns(n):
    """Pictures of 224 pixels that show the number of each column."""
    return torch.arange(224, dtype=torch.uint8)[None, None, None, :, None].expand(n, 4, 224, 224, 3)


def squares(x):
    """Side and left edge, in pixels, of the squares that pictures of ``columns`` were cut to."""
    row = 255 * x[:, 0, 0]  # b 224: centres of pixels
    step = (row[:, 200] - row[:, 20]).abs() / 180
    return 224 * step, torch.minimum(row[:, 20] - 20.5 * step, row[:, 203] - 20.5 * step) + 0.5


def test_an_epoch_has_one_square_of_210_to_219_pixels_anywhere_in_the_middle_220(monkeypatch):
    model = resnet.Model(baselines.recipe("resnet18", size=224, width=1, batch_size=8, epochs=25), 1)
    epochs = [[]]
    own = model.batch

    def batch(inputs, rows, order):
        epochs[-1].append(own(inputs, rows, order))
        return epochs[-1][-1]

    monkeypatch.setattr(model, "batch", batch)
    monkeypatch.setattr(model, "loss", lambda x, targets: sum(p.sum() for p in model.parameters()) * 0)
    targets, order = torch.zeros(16, 1), torch.Generator().manual_seed(0)
    model.fit(columns(16), torch.arange(16), targets, order, lambda epoch, loss: epochs.append([]))
    sides, lefts = zip(*(squares(torch.cat(batches)) for batches in epochs[:-1]), strict=True)
    drawn = [round(side.mean().item()) for side in sides]
    for side, left, pixels in zip(sides, lefts, drawn, strict=True):
        torch.testing.assert_close(side, torch.full((16,), float(pixels)), rtol=0, atol=0.05)
        assert left.min() > 2 - 0.05 and (left + side).max() < 222 + 0.05
        assert left.std() > 0.15 * (220 - pixels)  # another place for every picture
    assert set(drawn) <= set(range(210, 220)) and len(set(drawn)) > 6
    side, left = squares(own(columns(1), torch.arange(1), None))
    assert side.item() == pytest.approx(215, abs=0.05) and left.item() == pytest.approx(4.5, abs=0.05)


@pytest.mark.parametrize("method", ["resnet18", "resnet34", "fitnet", "sp", "at", "dvasp"])
def test_heads_begin_as_linear_layers_of_two_logits_in_the_script(method):
    model = baselines.module(method).Model(baselines.recipe(method, width=32), 12)
    for head in model.heads:
        each = head.linear.weight.unflatten(0, (12, 2))  # n_aus 2 d
        scripts = torch.stack([torch.nn.init.kaiming_normal_(torch.empty(2, 256), mode="fan_out") for _ in range(12)])
        assert each.std().item() == pytest.approx(1, abs=0.04) and scripts.std().item() == pytest.approx(1, abs=0.04)
        assert head.linear.bias.abs().max() <= 256**-0.5


@pytest.mark.parametrize("method", ["resnet18", "dvasp"])
def test_every_epoch_begins_without_momentum(method, monkeypatch):
    recipe = baselines.recipe(method, width=1, epochs=3, batch_size=2, drop_every=2)
    model = baselines.module(method).Model(recipe, 1).double()
    slopes = [torch.rand_like(p) + 0.5 for p in model.parameters()]
    monkeypatch.setattr(model, "begin", lambda inputs, rows, targets: None)
    monkeypatch.setattr(model, "batch", lambda inputs, rows, order: rows)
    monkeypatch.setattr(
        model, "loss", lambda x, y: sum((p * s).sum() for p, s in zip(model.parameters(), slopes, strict=True))
    )
    want = [p.detach().clone() for p in model.parameters()]
    for epoch in range(3):
        velocity = [torch.zeros_like(p) for p in want]  # a new optimiser
        for _ in range(3):
            for p, v, s in zip(want, velocity, slopes, strict=True):
                v.mul_(0.9).add_(s)
                p.sub_(0.1 * 0.1 * 0.1 ** (epoch // 2) * v)
    order = torch.Generator().manual_seed(0)
    model.fit(None, torch.arange(6), torch.zeros(6, 1).double(), order, lambda epoch, loss: None)
    torch.testing.assert_close([p.detach() for p in model.parameters()], want, rtol=1e-9, atol=1e-12)


def test_the_loss_is_the_mean_of_the_cross_entropies_with_its_gradient():
    model = resnet.Model(baselines.recipe("resnet18", **TINY), 3).double().eval()
    x, targets = torch.rand(4, 3, 32, 32).double(), torch.tensor([[0, 1, 1], [1, 0, 1], [0, 0, 0], [1, 1, 0.0]])
    loss = model.loss(x, targets)
    linear = model.heads[0].linear
    got = torch.autograd.grad(loss, [linear.weight, linear.bias])
    with torch.no_grad():
        features = model.backbones[0](x).pooler_output.flatten(1)
    weight, bias = linear.weight.detach(), linear.bias.detach()
    total, d_weight, d_bias = 0.0, torch.zeros_like(weight), torch.zeros_like(bias)
    for i in range(4):
        for j in range(3):
            logits = [weight[2 * j + k] @ features[i] + bias[2 * j + k] for k in range(2)]
            share = [torch.exp(one) / sum(torch.exp(z) for z in logits) for one in logits]
            right = int(targets[i, j])
            total = total - torch.log(share[right]) / 12
            for k in range(2):
                slope = (share[k] - int(k == right)) / 12
                d_weight[2 * j + k] += slope * features[i]
                d_bias[2 * j + k] += slope
    torch.testing.assert_close(loss.detach(), total, rtol=1e-10, atol=0)
    torch.testing.assert_close(got[0], d_weight, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(got[1], d_bias, rtol=1e-9, atol=1e-12)


def test_it_learns_what_a_single_frame_shows(hand_table, store):
    """AU4 brightens the upper half by the apex, AU12 the lower one: 12 clips are enough to tell that much."""
    torch.manual_seed(1)
    recipe = baselines.recipe("resnet18", **TINY | {"epochs": 20, "batch_size": 3, "lr": 0.03})
    model, inputs = resnet.Model(recipe, 2), resnet.prepare(recipe, store)
    targets = torch.tensor(hand_table[["AU4", "AU12"]].to_numpy("float32"))
    losses = []
    order = torch.Generator().manual_seed(0)
    model.fit(inputs, torch.arange(len(store)), targets, order, lambda e, loss: losses.append(loss))
    probabilities = model.probabilities(inputs, torch.arange(len(store)))
    assert losses[-1] < 0.5 * losses[0]
    for j in range(2):
        assert probabilities[targets[:, j] == 1, j].mean() > probabilities[targets[:, j] == 0, j].mean() + 0.15


def test_a_checkpoint_is_what_every_fold_begins_with(store, tmp_path):
    folder = saved(whole(), tmp_path / "given")
    given = load_file(folder / "model.safetensors")
    one = experiment(weights=str(folder), lr=1e-12)  # so small that nothing moves
    run = Run(engine.run(one, store, out=tmp_path / "runs", keep_weights=True))
    for fold in run.folds:
        for name, value in trained.load(run, fold).backbones[0].state_dict().items():
            if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
                torch.testing.assert_close(value, given[f"resnet.{name}"], rtol=0, atol=1e-6)
    assert run.info["data"]["weights"] == resnet.Model.sources(one.recipe)["weights"]
    given["resnet.embedder.embedder.convolution.weight"] += 1
    save_file(given, folder / "model.safetensors", metadata={"format": "pt"})
    assert resnet.Model.sources(one.recipe)["weights"] != run.info["data"]["weights"]
    other = Run(engine.run(one, store, out=tmp_path / "runs", keep_weights=True))
    assert other.path != run.path  # other weights under the same name are another run
    torch.testing.assert_close(
        trained.load(other, other.folds[0]).backbones[0].embedder.embedder.convolution.weight,
        given["resnet.embedder.embedder.convolution.weight"], rtol=0, atol=1e-6,
    )  # fmt: skip


def _bottleneck(folder):
    saved(whole(layer_type="bottleneck"), folder)


def _deeper(folder):
    saved(whole(depths=[3, 4, 6, 3]), folder)


def _wider(folder):
    saved(whole(width=8), folder)


def _language(folder):
    saved(whole(), folder)
    Qwen2Config(hidden_size=32, num_attention_heads=2, num_key_value_heads=1).save_pretrained(folder)


def _damaged(folder):
    path = saved(whole(), folder) / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _lacking(folder):
    path = saved(whole(), folder) / "model.safetensors"
    weights = load_file(path)
    del weights["resnet.encoder.stages.0.layers.0.layer.0.convolution.weight"]
    save_file(weights, path, metadata={"format": "pt"})


def _misshapen(folder):
    saved(whole(width=8), folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"embedding_size": 4, "hidden_sizes": [4, 8, 16, 32]}
    (folder / "config.json").write_text(json.dumps(config))


def _pickled(folder):
    saved(whole(), folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "make, error, text",
    [
        (_bottleneck, ValueError, "another architecture .resnet., its layer_type is bottleneck"),
        (_deeper, ValueError, r"its depths is \[3, 4, 6, 3\]; the recipe needs \[2, 2, 2, 2\]"),
        (_wider, ValueError, "its embedding_size is 8"),
        (_language, ValueError, "another architecture .qwen2."),
        (_damaged, ValueError, "unusable checkpoint"),
        (_lacking, ValueError, r"1 weights are missing \(encoder.stages.0.layers.0.layer.0.convolution.weight"),
        (_misshapen, ValueError, "unusable checkpoint"),
        (_pickled, FileNotFoundError, "lacks model.safetensors .it has pytorch_model.bin.*other formats"),
        (lambda folder: folder.mkdir(), FileNotFoundError, "lacks config.json, model.safetensors"),
        (lambda folder: None, FileNotFoundError, "weights=.*no such folder"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_does_not_fit_is_an_error_before_training(make, error, text, store, tmp_path):
    make(tmp_path / "given")
    with pytest.raises(error, match=text):
        engine.run(experiment(weights=str(tmp_path / "given")), store, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_hub_name_that_is_not_at_hand_says_what_to_do_offline(store, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"weights='microsoft/resnet-1800'.*HF_HUB_OFFLINE=1"):
        engine.run(experiment(weights="microsoft/resnet-1800"), store, out=tmp_path / "runs")


def test_weights_that_know_the_people_are_refused(store, tmp_path):
    """As a teacher's view comes with its teacher's note."""
    folder = saved(whole(), tmp_path / "teacher" / "view1")
    note = {"people": ["hand/s1", "other/7"], "fingerprint": "0", "data": {"dataset": "hand", "synthetic": False}}
    (tmp_path / "teacher" / "teacher.json").write_text(json.dumps(note))
    with pytest.raises(ValueError, match=r"was trained on hand/s1, and .* holds them too.*leak"):
        engine.run(experiment(weights=str(folder)), store, out=tmp_path / "runs")
    note["people"] = ["other/7"]
    (tmp_path / "teacher" / "teacher.json").write_text(json.dumps(note))
    engine.check(experiment(weights=str(folder)), store)
    assert (
        baselines.module("resnet18")
        .Model.sources(experiment(weights=str(folder)).recipe)["weights"]
        .endswith(" (trained on hand)")
    )
    (tmp_path / "teacher" / "teacher.json").write_text("{}")
    with pytest.raises(ValueError, match=r"teacher\.json: damaged"):
        engine.check(experiment(weights=str(folder)), store)
    shutil.rmtree(tmp_path / "teacher")


def test_recipes_out_of_range_say_so():
    with pytest.raises(ValueError, match="depth=50: allowed are 18, 34"):
        baselines.recipe("resnet18", depth=50)
    with pytest.raises(ValueError, match=r"crop=1\.5: at most 1"):
        baselines.recipe("resnet18", crop=1.5)
    recipe = baselines.recipe("resnet34", size=64)
    assert dataclasses.replace(recipe, depth=18) == baselines.recipe("resnet18", size=64)
