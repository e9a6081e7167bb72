"""What every baseline has in common: recipes with sources, one way in and out, errors before anything is trained."""

import dataclasses

import numpy as np
import pytest
import torch
from helpers import make_table

from aullm_lib import baselines, engine, metrics, preprocess, protocol, trained
from aullm_lib.baselines import distil, network, teacher, views
from aullm_lib.engine import baseline
from aullm_lib.experiment import Experiment
from aullm_lib.metrics import predictions as checks
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run

AUS = (1, 4, 12)
MACHINES = ("lbp-top", "flow-svm")  # the methods that are no networks
TINY = {
    "lbp-top": {"blocks": 4},
    "flow-svm": {"grid": 4},
    "sca": {"size": 36, "crop": 33, "width": 2, "frames": 6, "interpolated": 12},
    "sssnet-led": {},
    "ac4au": {"backbone_width": 2, "width": 8, "heads": 2, "experts": 3},
}


@pytest.fixture(scope="module")
def tiny(hand_table, tmp_path_factory):
    """A method's smallest recipe, and a store for it; the teacher saw other people."""
    folder = tmp_path_factory.mktemp("interface")
    table = make_table(folder / "release", subjects=5)
    others = preprocess.build(table[table["subject"] >= "s3"], folder / "others", size=32, rgb=True)
    settings = {"size": 32, "crop": 30, "depth": 18, "width": 4, "batch_size": 4, "epochs": 2, "labelled": 1.0}
    taught = teacher.train(others, folder / "teacher", teacher.TeacherRecipe(**settings), AUS, device="cpu")

    def made(method):
        overrides = {"size": 32} | TINY.get(method, {"width": 4})
        overrides |= {"batch_size": 4, "epochs": 2} if method not in MACHINES else {}
        overrides |= {"teacher": str(taught)} if method in distil.METHODS else {}
        recipe, rgb = baselines.recipe(method, **overrides), baselines.module(method).RGB
        return recipe, preprocess.build(hand_table, folder / f"{recipe.size}-{rgb}", size=recipe.size, rgb=rgb)

    return made


@pytest.mark.parametrize("method", baselines.METHODS)
def test_clips_whose_label_is_unknown_are_trained_on_and_predicted(method, tiny):
    recipe, store = tiny(method)
    experiment = Experiment(name="x", aus=AUS, recipe=recipe, method=method)
    unknown = store.table["subject"] == "s0"
    table = store.table.assign(AU12=store.table["AU12"].astype("Int8").mask(unknown))
    folds = protocol.loso(table)
    results = baseline.train_folds(experiment, store, table, folds)
    for fold, result in zip(folds, results, strict=True):
        assert result.predictions["probability"].between(0, 1).all() and np.isfinite(result.log["loss"]).all()
        missing = result.predictions["label"].isna()
        assert set(result.predictions["au"][missing]) == ({"AU12"} if fold.name == "hand-s0" else set())
        assert missing.sum() == (len(fold.test) if fold.name == "hand-s0" else 0)


@pytest.mark.parametrize("method", baselines.METHODS)
def test_a_run_is_complete_the_same_twice_and_its_weights_come_back(method, tiny, tmp_path):
    recipe, store = tiny(method)
    one = Experiment(name="x", aus=AUS, recipe=recipe, method=method)
    options = {"keep_weights": True, "trace": True}
    run, again = (Run(engine.run(one, store, out=tmp_path / name, **options)) for name in "ab")
    assert (run.path / "predictions.csv").read_bytes() == (again.path / "predictions.csv").read_bytes()
    predictions = run.predictions()
    checks.check(predictions, clips=store.ids, folds=run.folds)
    assert len(predictions) == len(AUS) * len(store) and predictions["probability"].between(0, 1).all()
    assert metrics.score(predictions, interval="none").loc["mean", "f1_macro"] > 0
    assert run.logs()["epoch"].tolist() == [*range(1, recipe.epochs + 1)] * len(run.folds)
    last = run.trace().query("epoch == @recipe.epochs").set_index(["clip_id", "au"])["probability"]
    kept = predictions.set_index(["clip_id", "au"])["probability"]
    np.testing.assert_allclose(last.loc[kept.index], kept, rtol=0, atol=1e-12)
    inputs = baselines.module(method).prepare(recipe, store)
    for fold, rows in predictions.groupby("fold"):
        loaded = trained.load(run, fold).probabilities(inputs, store.positions(rows["clip_id"].unique()))
        assert loaded.flatten().tolist() == rows["probability"].tolist()
    assert "weights" not in run.info["data"]  # random at first
    if method not in MACHINES:  # which draw nothing
        other = Run(engine.run(dataclasses.replace(one, seed=2), store, out=tmp_path / "a"))
        assert not other.predictions()["probability"].equals(predictions["probability"])


@pytest.mark.parametrize("method", baselines.METHODS)
def test_every_method_has_the_interface_and_says_where_its_numbers_come_from(method):
    module = baselines.module(method)
    assert module.__doc__.split("\n")[0].endswith(".")
    assert isinstance(module.RGB, bool) and callable(module.prepare) and callable(module.Model)
    recipe = baselines.recipe(method)
    assert recipe.size >= 16 and recipe.epochs >= 1
    for field in dataclasses.fields(recipe):
        assert field.metadata["source"], f"{method}: {field.name} has no source"


@pytest.mark.parametrize("method", baselines.METHODS)
def test_an_experiment_goes_through_json_and_back(method):
    one = Experiment(name="x", aus=(1, 4), recipe=baselines.recipe(method, size=32), method=method)
    assert Experiment.from_dict(one.to_dict()) == one
    assert one.key != dataclasses.replace(one, recipe=baselines.recipe(method, size=48)).key


def test_methods_and_recipes_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="method='resnet50': allowed are au-llm, lbp-top"):
        Experiment(name="x", aus=(1,), recipe=Recipe.paper(), method="resnet50")
    with pytest.raises(TypeError, match=r"the method 'sssnet-led' takes a aullm_lib\.baselines\.sssnet_led\.Recipe"):
        Experiment(name="x", aus=(1,), recipe=Recipe.paper(), method="sssnet-led")
    with pytest.raises(TypeError, match="no field 'epoch'"):
        baselines.recipe("resnet18", epoch=3)


@pytest.mark.parametrize("method", baselines.METHODS)
def test_a_store_of_the_wrong_kind_is_refused_before_training(method, hand_table, tmp_path):
    wrong = not baselines.module(method).RGB
    store = preprocess.build(hand_table, tmp_path / "store", size=32, rgb=wrong)
    one = Experiment(name="x", aus=(1, 4), recipe=baselines.recipe(method, size=32), method=method)
    with pytest.raises(ValueError, match=r"holds (RGB|grey) frames, and .* reads"):
        engine.run(one, store, out=tmp_path / "runs")
    with pytest.raises(ValueError, match="have 32 pixels"):
        engine.run(dataclasses.replace(one, recipe=baselines.recipe(method, size=64)), store, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


class Toy(network.Network):
    """Logistic regression on the mean grey level of the last frame."""

    def __init__(self, recipe, n_aus):
        super().__init__(recipe)
        self.head = network.TwoWay(d=1, n_aus=n_aus)

    def batch(self, inputs, rows, order):
        return inputs[rows]

    def loss(self, x, targets):
        return network.two_way_loss(self.head(x), targets)

    def decide(self, x):
        return network.two_way_probabilities(self.head(x))


def test_sgd_and_its_drops_are_the_textbook_ones():
    torch.manual_seed(0)
    recipe = network.NetworkRecipe(lr=0.1, momentum=0.9, weight_decay=0.01, drop_every=2, batch_size=8, epochs=5)
    model = Toy(recipe, 2).double()
    inputs, targets = torch.randn(8, 1).double(), torch.randint(0, 2, (8, 2)).double()
    weight, bias = (p.detach().clone() for p in model.parameters())
    losses = []
    model.fit(inputs, torch.arange(8), targets, torch.Generator().manual_seed(0), lambda e, loss: losses.append(loss))
    speed = [torch.zeros_like(weight), torch.zeros_like(bias)]
    expected = []
    for epoch in range(5):
        logits = (inputs @ weight.T + bias).unflatten(1, (2, 2))
        chosen = targets.long()
        p = logits.softmax(2)
        expected.append(-p.gather(2, chosen[..., None]).log().mean().item())
        d = (p - torch.nn.functional.one_hot(chosen, 2)).flatten(1) / (8 * 2)
        grads = [d.T @ inputs + 0.01 * weight, d.sum(0) + 0.01 * bias]
        speed = [g if epoch == 0 else 0.9 * s + g for s, g in zip(speed, grads, strict=True)]
        rate = 0.1 * 0.1 ** (epoch // 2)
        weight, bias = weight - rate * speed[0], bias - rate * speed[1]
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(expected))
    torch.testing.assert_close(model.head.linear.weight.detach(), weight, rtol=1e-9, atol=1e-9)


def test_a_two_way_heads_probability_is_at_least_half_where_present_wins():
    logits = torch.tensor([[[0.0, 1.0], [2.0, 1.0], [0.5, 0.5]]])
    assert (network.two_way_probabilities(logits) >= 0.5).tolist() == [[True, False, True]]


def test_a_crop_is_the_middle_in_test_and_stays_inside_in_training():
    x = torch.arange(10.0).repeat(1, 1, 10, 1)  # each pixel's column
    torch.testing.assert_close(views.crop(x, out=10), x, rtol=0, atol=1e-5)
    half = views.crop(x, out=5, scale=(0.3, 0.5))
    torch.testing.assert_close(half[0, 0, 0], torch.arange(2.5, 7))
    order = torch.Generator().manual_seed(0)
    many = views.crop(x.expand(500, -1, -1, -1), out=4, scale=(0.4, 0.8), flip=True, order=order)
    assert many.min() >= 0 and many.max() <= 9.001
    rising = many[:, 0, 0, -1] > many[:, 0, 0, 0]
    assert 200 < rising.sum() < 300  # mirrored half of the time
    width = (many[:, 0, 0, -1] - many[:, 0, 0, 0]).abs() * 4 / 3
    assert 3.9 < width.min() < 4.2 and 7.8 < width.max() < 8.1


def test_the_frames_of_a_clip_share_one_crop():
    x = torch.rand(1, 1, 1, 12, 12).expand(3, 4, 2, 12, 12)
    out = views.crop(x, out=6, scale=(0.5, 0.9), order=torch.Generator().manual_seed(0))
    assert out.shape == (3, 4, 2, 6, 6)
    assert all(torch.equal(out[:, t, c], out[:, 0, 0]) for t in range(4) for c in range(2))
    assert not torch.equal(out[0], out[1])


def test_an_apex_is_a_position_in_the_clip_and_the_middle_where_there_is_none(hand_table, tmp_path):
    table = hand_table.copy()
    outside = {"s0/c1": 95, "s0/c2": 3, "s1/c1": 95 + 11, "s1/c2": 4000}  # at onset, before, just after, long after
    for clip, apex in outside.items():
        table.loc[f"hand/{clip}", "apex"] = apex
    table.loc["hand/s2/c1", "apex"] = 94 + table.loc["hand/s2/c1", "n_frames"]  # the last frame
    lacking = table.index[-1]  # its last frames, among them the apex
    table.at[lacking, "frames"] = table.loc[lacking, "frames"][:4]
    table.loc[lacking, "n_frames"] = 4
    store = preprocess.build(table, tmp_path / "store", size=32)
    apexes = dict(zip(store.ids, views.apexes(store).tolist(), strict=True))
    for clip, row in zip(store.ids, store.table.itertuples(), strict=True):
        none = clip.removeprefix("hand/") in outside or clip == lacking or row.clip == "c0"
        assert apexes[clip] == (row.n_frames // 2 if none else row.apex - row.onset)
    assert apexes["hand/s2/c1"] == store.table.loc["hand/s2/c1", "n_frames"] - 1 and apexes[lacking] == 2


def test_a_fold_whose_loss_is_no_number_stops_and_says_which(hand_store, tmp_path):
    recipe = baselines.recipe("sssnet-led", size=32, epochs=3, lr=1e30)
    one = Experiment(name="x", aus=(1, 4), recipe=recipe, method="sssnet-led")
    with pytest.raises(engine.Diverged, match=r"epoch [123]: the loss or a probability is not finite; lower"):
        engine.run(one, hand_store, out=tmp_path)
    run = Run(next(tmp_path.glob("x-*")))
    assert run.missing == run.folds and (run.path / "failed" / run.folds[0] / "failure.json").is_file()


def test_an_epochs_loss_is_the_mean_over_the_clips_that_were_seen(hand_store):
    """Five clips in batches of two: the last batch has one and is left out, and does not lower the mean."""
    model = baselines.module("sssnet-led").Model(baselines.recipe("sssnet-led", size=32, batch_size=2, epochs=1), 1)
    model.loss = lambda x, targets: 3 + 0 * model(x).mean()
    losses = []
    rows, order = torch.arange(5), torch.Generator().manual_seed(0)
    model.fit(hand_store, rows, torch.zeros(5, 1), order, lambda epoch, loss: losses.append(loss))
    assert losses == [pytest.approx(3)]


def test_a_batch_of_one_is_refused():
    for method in baselines.METHODS:
        if method not in MACHINES:
            with pytest.raises(ValueError, match="batch_size"):
                baselines.recipe(method, batch_size=1)


@pytest.mark.parametrize("method", ["sca", "flow-svm", "infusenet", "ac4au", "sssnet-led", "resnet18-led"])
def test_a_clip_of_one_frame_is_refused_where_motion_is_read(method, hand_table, tmp_path):
    table = hand_table.copy()
    table.at[table.index[3], "frames"] = table["frames"].iloc[3][:1]
    table.loc[table.index[3], "n_frames"] = 1
    store = preprocess.build(table, tmp_path / "store", size=32, rgb=baselines.module(method).RGB)
    one = Experiment(name="x", aus=(1, 4), recipe=baselines.recipe(method, size=32), method=method)
    with pytest.raises(ValueError, match=f"{table.index[3]} has a single frame, .* leave the clip out"):
        engine.run(one, store, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
