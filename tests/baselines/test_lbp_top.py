"""LBP-TOP against a plain loop, scikit-image and hand-made clips; its machines against scikit-learn's own kernel."""

import numpy as np
import pytest
import torch
from benchmarks.lbp_top import loop, numbering
from skimage.feature import local_binary_pattern
from sklearn.svm import SVC

from aullm_lib import baselines
from aullm_lib.baselines import lbp_top, tim
from aullm_lib.baselines.lbp_top import Recipe

FORMS = ("sane", "port")


def clip(frames=10, size=32, seed=0) -> torch.Tensor:
    """Noise on a smooth face-like ground, with flat parts, so that equal neighbours occur."""
    draw = torch.randint(0, 256, (frames, size, size), generator=torch.Generator().manual_seed(seed))
    draw[:, : size // 3] //= 64
    draw[:, :, : size // 4] = 90
    return draw.to(torch.uint8)


# the recipe


def test_defaults_are_the_documented_ones():
    r = baselines.recipe("lbp-top")
    assert (r.size, r.tim, r.neighbours, r.blocks, r.overlap, r.border, r.border_t) == (112, 10, 8, 8, 0.7, 3, 3)
    assert (r.radius_x, r.radius_y, r.radius_t, r.degree, r.gamma, r.C) == (3, 3, 3, 3, "scale", 1.0)
    assert r.bins == 59 and r.features == 11_328
    assert r.form == "sane" and r.epochs == 1


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"radius_y": 4}, "Recipe.border=3: .* radius_y, 4"),
        ({"radius_t": 4}, "Recipe.border_t=3: .* radius_t, 4"),
        ({"tim": 6}, "Recipe.tim=6: leaves no centre frame"),
        ({"size": 16, "blocks": 11}, "Recipe.blocks=11: more than the 10 inner pixels"),
        ({"form": "meb"}, "allowed are sane, port"),
        ({"overlap": 1.0}, "Recipe.overlap=1.0"),
        ({"C": 0.0}, "Recipe.C=0.0"),
    ],
)
def test_a_setting_that_cannot_be_is_named(wrong, named):
    with pytest.raises(ValueError, match=named):
        Recipe(**wrong)


# codes and their bins


def test_uniform_codes_by_hand():
    bins = lbp_top.uniform(8).tolist()
    assert len(bins) == 256 and sorted(set(bins)) == list(range(59))
    assert bins[:8] == [0, 1, 2, 3, 4, 58, 5, 6]  # 0b101 has four changes
    assert (bins[0b10000001], bins[0b11110111], bins[0b01010101], bins[255]) == (30, 50, 58, 57)
    assert bins.count(58) == 256 - 58
    for neighbours in (4, 8, 12):
        assert lbp_top.uniform(neighbours).tolist() == numbering(neighbours)


def as_images(frames: torch.Tensor, plane: int) -> np.ndarray:
    """Every slice of a clip along a plane, with bit 0 to the right and bit 2 above, as scikit-image turns."""
    x = frames.numpy()
    if plane == 0:
        return x  # t, (y, x)
    if plane == 1:
        return x.transpose(1, 0, 2)  # y, (t, x)
    return x.transpose(2, 0, 1)[:, :, ::-1]  # x, (t, y upside down)


def back(slices: np.ndarray, plane: int) -> np.ndarray:
    """The inverse of ``as_images``."""
    return (slices, slices.transpose(1, 0, 2), slices[:, :, ::-1].transpose(1, 2, 0))[plane]


@pytest.mark.parametrize("radius", [1, 2, 3])
@pytest.mark.parametrize("plane", [0, 1, 2])
def test_codes_are_those_of_scikit_image(plane, radius):
    frames = torch.randint(0, 256, (11, 16, 16), dtype=torch.uint8)
    r = Recipe(size=16, blocks=2, radius_x=radius, radius_y=radius, radius_t=radius)
    ours = lbp_top.codes(frames, r)[plane].numpy()
    inner = (slice(3, -3),) * 3
    images = as_images(frames, plane)
    theirs = np.stack([local_binary_pattern(image, 8, radius, "default") for image in images])
    assert np.array_equal(ours, back(theirs, plane)[inner])
    labels = np.stack([local_binary_pattern(image, 8, radius, "nri_uniform") for image in images])
    pairs = np.stack([lbp_top.uniform(8).numpy()[ours], back(labels, plane)[inner]], axis=-1).reshape(-1, 2)
    pairs = np.unique(pairs, axis=0)  # the same codes share a bin, whatever its number
    assert len(pairs) == len(np.unique(pairs[:, 0])) == len(np.unique(pairs[:, 1])) > 30


def test_codes_by_hand():
    frames = torch.zeros(7, 7, 7)
    frames[3, 3, 3] = 10
    frames[3, 3, 6] = 20  # right: bit 0 of XY and XT
    frames[0, 3, 3] = 20  # three frames earlier: bit 2 of XT and YT
    frames[3, 0, 3] = 20  # above: bit 2 of XY, bit 0 of YT
    frames[3, 1, 5] = 12  # above to the right: bit 1 of XY, if it is not mixed with its darker neighbours
    for form, diagonal in (("sane", 0), ("port", 2)):
        codes = lbp_top.codes(frames, Recipe(form=form))
        assert codes.shape == (3, 1, 1, 1)
        assert codes.flatten().tolist() == [1 + 4 + diagonal, 1 + 4, 4 + 1]


def test_equal_pixels_are_not_darker():
    for level in (0, 37, 90, 255):
        assert (lbp_top.codes(torch.full((8, 12, 12), level, dtype=torch.uint8), Recipe()) == 255).all()
    # a corner of weights (1 - f)², f(1 - f), f(1 - f), f² with f = 3√½ - 2 is 0 for 1, -6, 0, -9, above it for 1, -6, 1
    frames = torch.full((7, 7, 7), 100)
    frames[3, 1, 5], frames[3, 0, 5], frames[3, 0, 6] = 101, 94, 91
    assert lbp_top.codes(frames, Recipe())[0] & 2 == 2
    frames[3, 0, 6] = 90
    assert lbp_top.codes(frames, Recipe())[0] & 2 == 0


# blocks and features


def test_blocks_of_the_defaults_by_hand():
    b = lbp_top.blocks(Recipe())
    covered = b.members[:, b.segment]  # blocks, pixels
    assert covered.sum(1).tolist() == [21] * 8  # 106 inner pixels; 13 without overlap; 9 shared
    assert [row.nonzero()[0].item() for row in covered] == [0, 12, 24, 36, 48, 60, 72, 85]
    b = lbp_top.blocks(Recipe(form="port"))
    first, second = b.members[:, b.segment].argmax(0), b.also[:, b.segment].argmax(0)
    assert [(first == i).nonzero()[0].item() for i in range(8)] == [0, 21, 33, 45, 57, 69, 81, 93]
    assert [(second == i).nonzero()[0].item() for i in range(8)] == [0, 12, 24, 36, 48, 60, 72, 84]


@pytest.mark.parametrize(("size", "blocks", "overlap"), [(112, 8, 0.0), (50, 5, 0.0), (37, 4, 0.9), (16, 10, 0.5)])
def test_every_pixel_is_in_a_block(size, blocks, overlap):
    b = lbp_top.blocks(Recipe(size=size, blocks=blocks, overlap=overlap))
    assert b.members[:, b.segment].sum(0).min() >= 1


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"radius_x": 2, "radius_y": 3, "radius_t": 1, "overlap": 0.3, "blocks": 3, "border": 4},
        {"neighbours": 4, "blocks": 2, "tim": 8, "border_t": 3, "radius_x": 1},
    ],
)
def test_features_are_those_of_the_plain_loop(form, more):
    r = Recipe(form=form, size=32, **more)
    frames = clip(r.tim)
    features = lbp_top.describe(frames, r)
    assert features.shape == (r.features,) and features.dtype == torch.float32
    wanted = torch.tensor(loop(frames.double(), r))
    torch.testing.assert_close(features, wanted, rtol=1e-6, atol=0)
    assert (wanted > 0).sum() > 100


def test_the_sane_form_sees_the_whole_clip_and_the_port_its_first_ten_frames():
    long = clip(30)
    changed = long.clone()
    changed[10:] = 255 - changed[10:]
    sane, port = Recipe(size=32), Recipe(size=32, form="port")
    assert torch.equal(lbp_top.describe(long, port), lbp_top.describe(changed, port))
    assert not torch.equal(lbp_top.describe(long, sane), lbp_top.describe(changed, sane))
    ten = tim.interpolate(long.double(), 10).round()
    torch.testing.assert_close(lbp_top.describe(long, sane), torch.tensor(loop(ten, sane)), rtol=1e-6, atol=0)
    last = long.clone()
    last[9] = 255 - last[9]  # the tenth frame is the last that the last centre is compared with
    assert not torch.equal(lbp_top.describe(long, port), lbp_top.describe(last, port))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_short_clips_are_lengthened(form, count):
    short, r = clip(count), Recipe(size=32, form=form)
    ten = tim.interpolate(short.double(), 10).round()
    torch.testing.assert_close(lbp_top.describe(short, r), torch.tensor(loop(ten, r)), rtol=1e-6, atol=0)


def test_histograms_sum_to_one_or_to_the_pixels_counted():
    frames = clip()
    sane = lbp_top.describe(frames, Recipe(size=32)).view(-1, 59)
    torch.testing.assert_close(sane.sum(1), torch.ones(192))
    port = lbp_top.describe(frames, Recipe(size=32, form="port")).view(64, 3, 59).sum(2)
    assert (port[:, :1] == port).all()  # as many pixels on each plane
    assert port.sum() > 3 * 4 * 26 * 26  # centres, and some of them twice


# machines


def made(count=40, seed=0, **more) -> tuple[Recipe, lbp_top.Inputs, torch.Tensor]:
    """Features that say something about the first of three AUs; the third is always there in the first ten clips."""
    r = Recipe(size=16, blocks=1, neighbours=3, **more)
    g = torch.Generator().manual_seed(seed)
    features = torch.rand(count, r.features, generator=g)
    noise = torch.rand(count, 2, generator=g)
    present = torch.stack([features[:, 0] + 0.3 * noise[:, 0] > 0.6, noise[:, 1] > 0.5, torch.arange(count) < 10], 1)
    wide = features.double()
    return r, lbp_top.Inputs(features, wide @ wide.T), present.float()


def fitted(r, inputs, rows, targets) -> lbp_top.Model:
    model, losses = lbp_top.Model(r, targets.shape[1]), []
    model.fit(inputs, rows, targets, torch.Generator(), lambda epoch, loss: losses.append((epoch, loss)))
    assert [epoch for epoch, _ in losses] == [1]
    model.loss = losses[0][1]
    return model


@pytest.mark.parametrize(
    "more", [{}, {"gamma": "auto", "degree": 2, "coef0": 1.0, "C": 0.3}, {"C": 50.0, "form": "port"}]
)
def test_decisions_are_those_of_scikit_learn(more):
    r, inputs, targets = made(**more)
    rows, test = torch.arange(0, 30), torch.arange(30, 40)
    model = fitted(r, inputs, rows, targets[rows])
    ours = model.probabilities(inputs, test)
    assert ours.shape == (10, 3) and ours.dtype == torch.float64
    x, hinge = inputs.features.double().numpy(), 0.0
    for au in range(3):
        svc = SVC(kernel="poly", degree=r.degree, gamma=r.gamma, coef0=r.coef0, C=r.C)
        svc.fit(x[:30], targets[:30, au].numpy())
        decisions = svc.decision_function(x[30:])
        np.testing.assert_allclose(ours[:, au].logit(), decisions, rtol=1e-6, atol=1e-6)
        assert np.array_equal(ours[:, au].numpy() > 0.5, svc.predict(x[30:]) == 1)
        signs = 2 * targets[:30, au].numpy() - 1
        hinge += np.maximum(0, 1 - signs * svc.decision_function(x[:30])).mean() / 3
    assert model.loss == pytest.approx(hinge, rel=1e-5)
    assert ((ours > 0.5).float() == targets[test])[:, 0].float().mean() >= 0.7


def test_an_au_with_one_class_has_no_machine():
    r, inputs, targets = made()
    rows = torch.arange(10)  # all have the third AU
    targets = torch.cat([targets[rows], torch.zeros(10, 1)], 1)
    model = fitted(r, inputs, rows, targets)
    probabilities = model.probabilities(inputs, torch.arange(10, 40))
    assert (probabilities[:, 2] == 1).all() and (probabilities[:, 3] == 0).all()
    assert ((probabilities[:, :2] > 0) & (probabilities[:, :2] < 1)).all()
    assert np.isfinite(model.loss)
    alone = fitted(r, inputs, rows, targets[:, 2:])
    assert alone.support.shape == (0, r.features) and alone.loss == 0
    assert alone.probabilities(inputs, torch.arange(3)).tolist() == [[1, 0]] * 3


def test_features_without_any_difference_are_no_error():
    r, inputs, targets = made()
    same = lbp_top.Inputs(torch.full_like(inputs.features, 0.5), torch.full_like(inputs.products, 0.25 * r.features))
    model = fitted(r, same, torch.arange(20), targets[:20])
    svc = SVC(kernel="poly").fit(same.features[:20].double().numpy(), targets[:20, 0].numpy())
    decision = svc.decision_function(same.features[:1].double().numpy())
    np.testing.assert_allclose(model.probabilities(same, torch.arange(1))[:, 0].logit(), decision, atol=1e-6)


def test_state_dict_round_trip():
    r, inputs, targets = made()
    model = fitted(r, inputs, torch.arange(30), targets[:30])
    other = lbp_top.Model(r, 3)
    assert not other.load_state_dict(model.state_dict()).missing_keys
    test = torch.arange(30, 40)
    assert torch.equal(other.probabilities(inputs, test), model.probabilities(inputs, test))
    assert set(other.load_state_dict({}, strict=False).missing_keys) == {"support", "dual", "bias", "gamma"}


# a run


def test_inputs_are_every_clip_described(hand_store):
    recipe = Recipe(size=32, blocks=2)
    inputs = lbp_top.prepare(recipe, hand_store)
    assert inputs.features.shape == (len(hand_store), recipe.features)
    for row, clip_id in enumerate(hand_store.ids):
        assert torch.equal(inputs.features[row], lbp_top.describe(torch.tensor(hand_store[clip_id]), recipe))
    wide = inputs.features.double()
    torch.testing.assert_close(inputs.products, (wide[:, None] * wide).sum(2))
