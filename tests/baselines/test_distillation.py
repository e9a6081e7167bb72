"""FitNet, SP, AT and DVASP: what they distil against loops in float64, values and gradients; their runs."""

import math

import numpy as np
import pytest
import torch
from helpers import make_table

from aullm_lib import baselines, engine, preprocess, trained
from aullm_lib.baselines import at, distil, dvasp, fitnet, resnet, sp, teacher
from aullm_lib.experiment import Experiment
from aullm_lib.runs import Run

TINY = {"size": 32, "width": 4, "batch_size": 4, "epochs": 2}
AUS = (1, 4, 12)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A store to test on, a teacher that saw other people, and one that is deeper and wider."""
    folder = tmp_path_factory.mktemp("distillation")
    table = make_table(folder / "release", subjects=5)
    mine, others = (
        preprocess.build(table[rows], folder / name, size=32, rgb=True)
        for name, rows in (("mine", table["subject"] < "s3"), ("others", table["subject"] >= "s3"))
    )
    small = {"size": 32, "crop": 30, "depth": 18, "width": 4, "batch_size": 4, "epochs": 2, "labelled": 1.0}
    taught = teacher.train(others, folder / "teacher", teacher.TeacherRecipe(**small), AUS, device="cpu")
    large = teacher.TeacherRecipe(**small | {"depth": 34, "width": 6, "epochs": 1})
    return mine, str(taught), str(teacher.train(others, folder / "large", large, AUS, device="cpu"))


def experiment(method, taught, **overrides):
    recipe = baselines.recipe(method, **TINY | {"teacher": taught} | overrides)
    return Experiment(name="x", aus=AUS, method=method, recipe=recipe)


# What the public script computes, in loops over numpy arrays [b, c, h, w].


def naive_attention(x):
    b, c, h, w = x.shape
    out = np.zeros((b, h, w))
    for n in range(b):
        for i in range(h):
            for j in range(w):
                out[n, i, j] = sum(x[n, k, i, j] ** 2 for k in range(c))
        out[n] /= math.sqrt(sum(v * v for v in out[n].flatten())) + 1e-6
    return out


def naive_similarity(x):
    b = len(x)
    g = np.array(
        [[sum(p * q for p, q in zip(x[i].flatten(), x[j].flatten(), strict=True)) for j in range(b)] for i in range(b)]
    )
    return np.array([row / math.sqrt(sum(v * v for v in row)) for row in g])


def naive_mse(a, b):
    return sum((p - q) ** 2 for p, q in zip(a.flatten(), b.flatten(), strict=True)) / a.size


def naive_sp(student, target):
    return naive_mse(naive_similarity(student), naive_similarity(target))


def naive_attentive_sp(student, target):
    return naive_sp(student * naive_attention(student)[:, None], target * naive_attention(target)[:, None])


def naive_at(student, target):
    return naive_mse(naive_attention(student), naive_attention(target))


def maps(b=4, widths=(3, 2), sides=(4, 3, 2)):
    """Student's and teacher's maps of some stages; their channels differ, the places and the batch do not."""
    return tuple([torch.randn(b, c + s, s, s, dtype=torch.float64) for s in sides] for c in widths)


@pytest.mark.parametrize(
    "loss, naive",
    [
        (sp.sp_loss, naive_sp),
        (dvasp.attentive_sp_loss, naive_attentive_sp),
        (at.at_loss, naive_at),
    ],
)
def test_a_stages_loss_and_its_gradient_are_those_of_the_loops(loss, naive):
    (student, *_), (target, *_) = maps()
    student.requires_grad_()
    value = loss(student, target)
    assert value.item() == pytest.approx(naive(student.detach().numpy(), target.numpy()), rel=1e-10)
    (gradient,) = torch.autograd.grad(value, student)
    rng = np.random.default_rng(0)
    for _ in range(12):  # central differences of the loops
        place = tuple(int(rng.integers(n)) for n in student.shape)
        up, down = student.detach().numpy().copy(), student.detach().numpy().copy()
        up[place] += 1e-5
        down[place] -= 1e-5
        slope = (naive(up, target.numpy()) - naive(down, target.numpy())) / 2e-5
        assert gradient[place].item() == pytest.approx(slope, rel=1e-5, abs=1e-10)
    assert loss(target, target).item() == 0


def test_attention_does_not_depend_on_scale_and_similarity_not_on_channels():
    x = torch.rand(3, 5, 4, 4, dtype=torch.float64) + 0.5
    torch.testing.assert_close(distil.attention(x), distil.attention(7 * x), rtol=1e-6, atol=0)
    assert distil.attention(x).shape == (3, 1, 4, 4)
    torch.testing.assert_close(sp.similarity(x), sp.similarity(x[:, torch.randperm(5)]), rtol=1e-12, atol=0)
    torch.testing.assert_close(sp.similarity(x).square().sum(1), torch.ones(3).double())


def test_maps_where_nothing_happens_give_gradients_that_are_numbers():
    for loss in (sp.sp_loss, dvasp.attentive_sp_loss, at.at_loss):
        dead = torch.zeros(2, 3, 4, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(loss(dead, torch.rand(2, 3, 4, 4)), dead)
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    "module, naive",
    [
        (sp, lambda a, b: np.mean([naive_sp(x, y) for x, y in zip(a, b, strict=True)])),
        (at, lambda a, b: np.mean([naive_at(x, y) for x, y in zip(a, b, strict=True)])),
        (dvasp, lambda a, b: np.mean([naive_attentive_sp(x, y) for x, y in zip(a, b, strict=True)])),
        (fitnet, lambda a, b: naive_mse(a[-1], b[-1])),  # of the last stage only
    ],
)
def test_each_method_averages_its_own_loss_over_the_stages(module, naive):
    model = module.Model(module.Recipe(**TINY), 3)
    student, target = maps(widths=(3, 3))
    want = naive([x.numpy() for x in student], [x.numpy() for x in target])
    assert model.distance(student, target).item() == pytest.approx(want, rel=1e-10)


def naive_cross_entropy(logits, targets):
    total = 0.0
    for n in range(len(logits)):
        for j in range(targets.shape[1]):
            shares = np.exp(logits[n, j]) / np.exp(logits[n, j]).sum()
            total -= math.log(shares[int(targets[n, j])])
    return total / targets.size


def test_dvasps_loss_is_the_public_scripts_sum(data):
    _, taught, _ = data
    model = dvasp.Model(dvasp.Recipe(**TINY, teacher=taught, kd_weight=30, orthogonal=20), 3).double().eval()
    model.teachers = [teacher.load(taught).double()]
    x, targets = torch.rand(3, 3, 32, 32).double(), torch.tensor([[0, 1, 1], [1, 0, 1], [0, 0, 1.0]])
    loss = model.loss(x, targets)
    with torch.no_grad():
        seen = model.outputs(x)
        target = [model.teachers[0].features(x, view)[1] for view in range(2)]
    logits = [one.logits.numpy() for one in seen]
    want = sum(naive_cross_entropy(z, targets.numpy()) for z in (*logits, (logits[0] + logits[1]) / 2))
    for one, maps_shown in zip(seen, target, strict=True):
        stages = [naive_attentive_sp(a.numpy(), b.numpy()) for a, b in zip(one.maps, maps_shown, strict=True)]
        assert len(stages) == 5
        want += 30 * sum(stages) / 5
    heads = [head.linear for head in model.heads]
    total = 0.0
    for j in range(3):
        for k in range(2):  # absent and present
            a, b = ([*head.weight[2 * j + k].tolist(), head.bias[2 * j + k].item()] for head in heads)
            inner = sum(p * q for p, q in zip(a, b, strict=True))
            total += abs(inner) / math.sqrt(sum(p * p for p in a) * sum(q * q for q in b)) / 6
    assert loss.item() == pytest.approx(want + 20 * total, rel=1e-9)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in gradients)
    assert all(p.grad is None for p in model.teachers[0].parameters())
    torch.testing.assert_close(
        model.decide(x)[0, 0].item(), torch.softmax(sum(o.logits for o in seen)[0, 0] / 2, 0)[1].item()
    )


@pytest.mark.parametrize("method", ["fitnet", "sp", "at"])
def test_a_single_students_loss_is_its_errors_and_its_distance_from_the_first_view(method, data):
    _, taught, _ = data
    module = baselines.module(method)
    model = module.Model(module.Recipe(**TINY, teacher=taught, kd_weight=5), 3).double().eval()
    model.teachers = [teacher.load(taught).double()]
    x, targets = torch.rand(3, 3, 32, 32).double(), torch.tensor([[0, 1, 1], [1, 0, 1], [0, 0, 1.0]])
    with torch.no_grad():
        (seen,) = model.outputs(x)
        first, second = (model.distance(seen.maps, model.teachers[0].features(x, view)[1]).item() for view in range(2))
        want = naive_cross_entropy(seen.logits.numpy(), targets.numpy()) + 5 * first
        assert model.loss(x, targets).item() == pytest.approx(want, rel=1e-9) and first != second


@pytest.mark.parametrize("method", distil.METHODS)
def test_a_teacher_is_recorded_by_its_identity_and_is_no_part_of_the_model(method, data, tmp_path):
    store, taught, _ = data
    before = teacher.identity(taught)
    run = Run(engine.run(experiment(method, taught, epochs=1), store, out=tmp_path, keep_weights=True))
    model = trained.load(run, run.folds[1])
    assert len(model.backbones) == (2 if method == "dvasp" else 1)
    assert not any("teacher" in name for name in model.state_dict())
    assert run.info["data"]["teacher"] == before == teacher.identity(taught)
    assert before.endswith(" (trained on hand)")


def test_a_deeper_and_wider_teacher_may_teach_who_compares_no_channels_and_is_another_run(data, tmp_path):
    store, taught, large = data
    first, second = (engine.run(experiment("sp", t, epochs=1), store, out=tmp_path) for t in (taught, large))
    assert first != second
    for method in ("at", "dvasp"):
        engine.check(experiment(method, large), store)


@pytest.mark.parametrize("method", distil.METHODS)
def test_a_student_comes_closer_to_its_teacher(method, data, monkeypatch):
    store, taught, _ = data
    distances = {}
    for weight in (0.0, 3000.0):
        torch.manual_seed(0)
        recipe = baselines.recipe(
            method, **TINY | {"teacher": taught, "kd_weight": weight, "epochs": 20, "optimizer": "adam", "lr": 3e-3}
        )
        model = baselines.module(method).Model(recipe, 3)
        monkeypatch.setattr(model, "restarts", False)  # an epoch has three steps here
        inputs, rows = resnet.prepare(recipe, store), torch.arange(len(store))
        model.fit(inputs, rows, torch.zeros(12, 3), torch.Generator().manual_seed(0), lambda epoch, loss: None)
        assert model.teachers == []
        target, x = teacher.load(taught), model.batch(inputs, rows, None)
        with torch.no_grad():
            seen = model.train().outputs(x)
            distances[weight] = sum(
                model.distance(one.maps, target.features(x, view)[1]).item() for view, one in enumerate(seen)
            )
    assert distances[3000.0] < 0.9 * distances[0.0]


@pytest.mark.parametrize("method", distil.METHODS)
def test_a_student_may_start_as_its_teachers_views(method, data, tmp_path):
    store, taught, large = data
    one = experiment(method, taught, weights="teacher", lr=1e-12, epochs=1)
    run = Run(engine.run(one, store, out=tmp_path, keep_weights=True))
    model, target = trained.load(run, run.folds[0]), teacher.load(taught)
    assert len(model.backbones) == (2 if method == "dvasp" else 1)
    for student, its in zip(model.backbones, target.views, strict=False):
        for (name, value), other in zip(student.named_parameters(), its.parameters(), strict=True):
            torch.testing.assert_close(value, other, rtol=0, atol=1e-6, msg=name)
    assert "weights" not in run.info["data"]
    with pytest.raises(ValueError, match=r"depth=18, but the teacher .*large has 34: with weights='teacher'"):
        engine.run(experiment(method, large, weights="teacher", width=6), store, out=tmp_path)
    with pytest.raises(ValueError, match=r"width=4, but the teacher .*large has 6: "):
        engine.run(experiment(method, large, weights="teacher", depth=34), store, out=tmp_path)


def test_a_view_of_the_teacher_is_a_checkpoint_to_begin_another_network_from(data, tmp_path):
    store, taught, _ = data
    recipe = baselines.recipe("resnet18", **TINY, weights=f"{taught}/view2")
    one = Experiment(name="x", aus=AUS, method="resnet18", recipe=recipe)
    run = Run(engine.run(one, store, out=tmp_path))
    assert run.info["data"]["weights"].endswith(" (trained on hand)")


@pytest.mark.parametrize("method", distil.METHODS)
def test_a_teacher_that_cannot_teach_is_an_error_before_training(method, data, tmp_path):
    store, taught, large = data
    others = preprocess.build(make_table(tmp_path / "again", subjects=5), tmp_path / "store", size=32, rgb=True)
    for folder, where, error, text in (
        (
            "",
            store,
            ValueError,
            r"teacher is empty, and it needs a trained teacher: aullm_lib\.baselines\.teacher\.train",
        ),
        (str(tmp_path / "none"), store, FileNotFoundError, r"no teacher here; aullm_lib\.baselines\.teacher\.train"),
        (taught, others, ValueError, r"was trained on hand/s3, and .* holds them too"),
    ):
        with pytest.raises(error, match=text):
            engine.run(experiment(method, folder), where, out=tmp_path / "runs")
    if method == "fitnet":
        with pytest.raises(ValueError, match=r"width=4, but the teacher .* has 6: FitNet compares"):
            engine.run(experiment(method, large), store, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
