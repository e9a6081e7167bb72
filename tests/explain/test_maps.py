"""Maps against hand-written ones in float64, where they lie in the picture, and whose weights they come from."""

import numpy as np
import pytest
import torch

from aullm_lib import baselines, engine, explain, trained
from aullm_lib.backbone import VisualBackbone
from aullm_lib.experiment import Experiment
from aullm_lib.llm import load
from aullm_lib.model import AULLM
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run
from aullm_lib.support.tiny import build_tiny

SMALL = {"size": 28, "efp_hidden": 12, "llm_dtype": "float64", "lora_r": 2}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = build_tiny(tmp_path_factory.mktemp("llm") / "tiny", hidden=16, heads=2, kv_heads=1, vocab=300)
    return load(path, dtype="float64")


def built(tiny, variant="all", recipe="paper", n=3):
    """A model in float64 whose LoRA and batch norms are not those of the beginning."""
    torch.manual_seed(3)
    model = AULLM(getattr(Recipe, recipe)(**SMALL), n, llm=tiny, variant=variant).double()
    for name, p in model.named_parameters():
        if ".B." in name:
            torch.nn.init.normal_(p, std=0.1)
    model.backbone.train()(clips(8, seed=9))
    return model.eval()


def clips(b=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (b, 6, 28, 28), generator=generator).double()


def by_hand(model, clip, unit):
    """Grad-CAM with autograd hooks, placed by linear interpolation between the cells' centres."""
    kept = {}
    handle = model.backbone.conv2.register_forward_hook(lambda m, i, out: kept.update(a=out))
    logits = model(clip[None].requires_grad_())
    handle.remove()
    kept["a"].retain_grad()
    logits[0, unit].backward()
    a, g = kept["a"][0], kept["a"].grad[0]  # c t' h' w'
    cells = torch.relu(sum(g[c].mean() * a[c] for c in range(len(a)))).detach().numpy()
    centres, pixels = 3 * np.arange(cells.shape[1]) + 6, np.arange(28)
    wide = np.apply_along_axis(lambda line: np.interp(pixels, centres, line), 2, cells)
    placed = np.apply_along_axis(lambda line: np.interp(pixels, centres, line), 1, wide)
    last = len(placed)
    seen = [[k for k in (t - 1, t) if 0 <= k < last] for t in range(last + 1)]  # the cells that see frame t + 1
    return np.stack([np.mean([placed[k] for k in ks], axis=0) for ks in seen])


@pytest.mark.parametrize(("variant", "recipe"), [("all", "paper"), ("all", "released"), ("3d-cnn", "paper")])
def test_grad_cam_is_that_of_autograd_by_hand(tiny, variant, recipe):
    model, x, units = built(tiny, variant, recipe), clips(), torch.tensor([2, 0, 1])
    maps = explain.grad_cam(model, x, units)
    assert maps.shape == (3, 5, 28, 28)
    assert maps.min() == 0 and maps.dtype == torch.float64
    assert all(p.grad is None for p in model.parameters())
    for clip, unit, result in zip(x, units.tolist(), maps, strict=True):
        np.testing.assert_allclose(result.numpy(), by_hand(model, clip, unit), rtol=1e-9, atol=1e-15)
    assert any(result[0].ne(result[-1]).any() for result in maps)  # the frames differ
    torch.testing.assert_close(explain.grad_cam(model, x, units, at_once=2), maps)
    torch.testing.assert_close(explain.grad_cam(model, x[1:2], 0), maps[1:2])


def test_a_cell_of_the_last_convolution_sees_the_pixels_around_its_centre():
    """Where the map's cells are put is where autograd says that they look: 13 pixels around 3 i + 6, two frames."""
    backbone = VisualBackbone(size=28, led="raw", se=False).double().eval()
    x = clips(48).requires_grad_()
    first = backbone.norm1(torch.relu(backbone.pool1(backbone.conv1(x[:, None, 1:]))))
    cells = backbone.conv2(first)  # b 64 4 6 6
    for t, i, j in ((0, 0, 0), (2, 3, 1), (3, 5, 5)):
        (seen,) = torch.autograd.grad(cells[:, :, t, i, j].abs().sum(), x, retain_graph=True)
        frames, rows, columns = (seen.abs().sum(dim).nonzero()[:, 0] for dim in ((0, 2, 3), (0, 1, 3), (0, 1, 2)))
        assert frames.tolist() == [t + 1, t + 2]
        assert (rows.min(), rows.max()) == (3 * i, 3 * i + 12)
        assert (columns.min(), columns.max()) == (3 * j, 3 * j + 12)


def test_led_makes_nothing_of_a_still_clip():
    x = clips()
    still = explain.still(x)
    assert (still == x[:, :1]).all() and still.shape == x.shape
    led = VisualBackbone(size=28).double().led
    assert led(still)[:, 1:].abs().max() < 1e-14
    assert led(x)[:, 1:].abs().max() > 0.1


def test_integrated_gradients_add_up_to_the_difference_of_the_logits(tiny):
    """Also says that frame 0, which is left out, has no share; grey levels as faces have them, none of them 0."""
    model, units = built(tiny), torch.tensor([0, 2])
    first, later = 80 + clips(2)[:, :1] / 3, clips(2, seed=1) / 10
    x = torch.cat([first, first + later[:, 1:] - 12], 1)
    maps = explain.integrated_gradients(model, x, units, steps=48)
    with torch.no_grad():
        change = (model(x) - model(explain.still(x))).gather(1, units[:, None])[:, 0]
    assert maps.shape == (2, 5, 28, 28)
    torch.testing.assert_close(maps.sum((1, 2, 3)), change, rtol=0.03, atol=0)
    assert (maps < 0).any() and (maps > 0).any()
    torch.testing.assert_close(explain.integrated_gradients(model, x[1:], 2, steps=48, at_once=5), maps[1:])


def test_integrated_gradients_say_so_where_a_first_frame_of_zeros_makes_them_incomplete(tiny):
    """A face before a black background, part of which lights up; black that stays black is nothing to say."""
    model, dark = built(tiny), 80 + clips(2) / 10
    dark[:, :, :14] = 0
    explain.integrated_gradients(model, dark, 0)  # a warning would be an error
    moving = dark.clone()
    moving[1, 3:, :14] = 40
    with pytest.warns(UserWarning, match="integrated gradients are incomplete where pixels that are 0") as caught:
        maps = explain.integrated_gradients(model, moving, 0, steps=64, at_once=1)
    assert len(caught) == 1
    with torch.no_grad():
        change = (model(moving) - model(explain.still(moving)))[:, 0]
    missed = (maps.sum((1, 2, 3)) - change).abs() / change.abs()
    assert missed[0] < 0.03 and missed[1] > 0.1


@pytest.mark.parametrize("frames", [0, 2])
def test_occlusion_is_the_mean_over_the_patches_that_hold_a_pixel(tiny, frames):
    model, x, units, window, stride = built(tiny), clips(2), torch.tensor([1, 2]), 10, 6
    maps = explain.occlusion(model, x, units, window=window, stride=stride, frames=frames, at_once=5)
    span = frames or 5
    total, count = torch.zeros_like(x[:, 1:]), torch.zeros_like(x[:, 1:])
    with torch.no_grad():
        before = model(x).gather(1, units[:, None])[:, 0]
        for t in range(0, 6 - span):
            for i in range(0, 28 - window + 1, stride):
                for j in range(0, 28 - window + 1, stride):
                    changed = x.clone()
                    at = (slice(None), slice(1 + t, 1 + t + span), slice(i, i + window), slice(j, j + window))
                    changed[at] = explain.still(x)[at]
                    fall = before - model(changed).gather(1, units[:, None])[:, 0]
                    at = (slice(None), slice(t, t + span), *at[2:])
                    total[at] += fall[:, None, None, None]
                    count[at] += 1
    torch.testing.assert_close(maps, total / count, check_dtype=False, rtol=1e-4, atol=1e-7)
    assert (maps[:, 0] == maps[:, -1]).all() == (frames == 0)


@pytest.mark.filterwarnings("ignore:integrated gradients are incomplete")  # some of the first pixels are 0
@pytest.mark.parametrize("method", explain.METHODS)
@pytest.mark.parametrize("variant", ["mid", "no-llm", "prompt-learning", "frame-difference"])
def test_every_method_explains_variants_from_stored_pixels(tiny, method, variant):
    torch.manual_seed(0)
    recipe = Recipe.released(**{**SMALL, "llm_dtype": "float64"})
    model = AULLM(recipe, 2, llm=tiny, variant=variant).eval()
    maps = explain.METHODS[method](model, clips().to(torch.uint8), 1)
    assert maps.shape == (3, 5, 28, 28) and maps.isfinite().all() and not maps.requires_grad
    assert maps.abs().max() > 0 or method == "Grad-CAM"


def test_what_cannot_be_explained_is_refused(tiny):
    model = built(tiny)
    for method in explain.METHODS.values():
        with pytest.raises(ValueError, match=r"model\.eval"):
            method(model.train(), clips(), 0)
        for unit in (3, -1, torch.tensor([0, 1, 3])):
            with pytest.raises(ValueError, match=r"the model has the AUs 0\.\.2"):
                method(model.eval(), clips(), unit)
    for variant in ("reversed-frames", "shuffled-frames", "blind"):
        with pytest.raises(ValueError, match="not given the frames"):
            explain.grad_cam(AULLM(Recipe.paper(**SMALL), 3, llm=tiny, variant=variant).eval(), clips(), 0)


@pytest.fixture(scope="module")
def runs(hand_store, session_folder):
    """A run with weights, and one without."""
    recipe = Recipe.released(size=32, epochs=2, batch_size=4, lr=1e-3, efp_hidden=16)
    experiment = Experiment(name="explained", aus=(1, 4, 12), recipe=recipe, variant="backbone")
    return [
        Run(engine.run(experiment, hand_store, out=session_folder / name, keep_weights=kept, device="cpu"))
        for name, kept in (("with", True), ("without", False))
    ]


def test_a_clip_is_explained_by_the_weights_that_never_saw_it(runs, hand_store):
    run = runs[0]
    predictions = run.predictions()
    for clip_id in hand_store.ids[::5]:
        fold, model = explain.held_out(run, clip_id, device="cpu")
        assert fold == "hand-" + clip_id.split("/")[1]
        with torch.no_grad():
            probabilities = model(hand_store.sample([clip_id])).double().sigmoid()[0].tolist()
        assert predictions[predictions["clip_id"] == clip_id]["probability"].tolist() == pytest.approx(
            probabilities, rel=1e-5
        )
    assert [fold for fold, _ in explain.models(run)] == run.folds
    assert [fold for fold, _ in explain.models(run, folds=[run.folds[1]])] == run.folds[1:2]
    with pytest.raises(KeyError, match="no fold was tested on 'x'"):
        explain.held_out(run, "x")


def test_a_run_without_weights_says_what_to_do(runs):
    explain.require_weights(runs[0])
    for call in (lambda: next(explain.models(runs[1])), lambda: explain.require_weights(runs[1])):
        with pytest.raises(FileNotFoundError, match=r"3 of 3 folds .*keep_weights=True.*rename or delete"):
            call()


def test_a_run_of_another_method_is_refused(tmp_path):
    experiment = Experiment(name="b", aus=(4,), method="lbp-top", recipe=baselines.recipe("lbp-top"))
    data = {"fingerprint": "x", "clips": 2, "dataset": "hand"}
    run = Run.open(tmp_path, experiment, [Fold("a", ("x",), ("y",))], data)
    with pytest.raises(ValueError, match="made by 'lbp-top'; explained are AU-LLM and its variants"):
        next(explain.models(run))


def test_randomised_weights_are_those_of_no_training(runs):
    run = runs[0]
    state = torch.get_rng_state()
    one, two, other = (explain.randomised(run.experiment, seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    taught = trained.load(run, run.folds[0]).state_dict()
    assert one.keys() == taught.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    for name in ("backbone.conv2.weight", "head.weight", "backbone.se.squeeze.weight"):
        assert not torch.equal(one[name], other[name]) and not torch.equal(one[name], taught[name])
        assert torch.corrcoef(torch.stack([one[name].flatten(), taught[name].flatten()]))[0, 1].abs() < 0.2
