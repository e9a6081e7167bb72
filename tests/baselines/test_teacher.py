"""The teacher: relations, losses and classifiers against loops in float64; its training, its folder, whom it knows."""

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import make_table
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import jensenshannon
from transformers import PreTrainedModel

from aullm_lib import baselines, clips, preprocess
from aullm_lib.baselines import distil, teacher, two_view, weights
from aullm_lib.baselines.teacher import TeacherRecipe
from aullm_lib.clips import ClipStore

AUS = (1, 4, 12)
TINY = {"size": 32, "crop": 30, "depth": 18, "width": 4, "batch_size": 4, "epochs": 2}


@pytest.fixture(scope="module")
def store(hand_table, tmp_path_factory):
    return preprocess.build(hand_table, tmp_path_factory.mktemp("teacher") / "store", size=32, rgb=True)


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    return teacher.train(store, tmp_path_factory.mktemp("teacher") / "a", TeacherRecipe(**TINY), AUS, device="cpu")


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.safetensors"))}


def test_the_public_settings_are_the_defaults():
    r = TeacherRecipe()
    assert (r.size, r.crop, r.depth, r.batch_size, r.epochs, r.lr) == (240, 224, 34, 10, 30, 1e-3)
    assert (r.multi_view, r.co_regularisation, r.unlabelled) == (400, 100, 50_000)
    assert r.mean == (0.5355, 0.4249, 0.3801) and r.std == (0.2832, 0.2578, 0.2548)


def test_relations_are_the_absolute_correlations_of_numpy():
    targets = (torch.rand(40, 5) < 0.4).double()
    targets[:, 3] = 1 - targets[:, 0]  # always the opposite: as related as can be
    result = two_view.relations(targets)
    np.testing.assert_allclose(result, np.abs(np.corrcoef(targets.T.numpy())), atol=1e-12)
    assert result[0, 3] == pytest.approx(1)
    targets[:, 1] = 0
    assert two_view.relations(targets)[1].tolist() == [0, 1, 0, 0, 0]


def test_a_rare_au_keeps_as_many_negatives_as_its_share_of_the_batch():
    """The script's loop: below ``balance`` n positives, all but ceil(balance n) negatives are dropped at random."""
    n, order = 40, torch.Generator().manual_seed(0)
    positives = (0, 1, 4, 7, 8, 9, 20, 35, 40)
    targets = torch.zeros(n, len(positives))
    for j, count in enumerate(positives):
        targets[torch.randperm(n, generator=order)[:count], j] = 1
    times = torch.zeros_like(targets)
    for balance in (0.2, 0.19, 0.3):
        for _ in range(300):
            result = two_view.kept(targets, torch.rand(targets.shape, generator=order), balance)
            for j, count in enumerate(positives):
                left = n - count if count >= balance * n else min(n - count, math.ceil(balance * n - 1e-9))
                assert result[targets[:, j] == 1, j].all() and result[targets[:, j] == 0, j].sum() == left
            times += result / 900
    rare = times[targets[:, 2] == 0, 2]  # every negative alike: 8, 8 and 12 of 36
    assert rare.min() > 0.2 and rare.max() < 0.33
    big = torch.zeros(1000, 1)
    big[:50] = 1  # a rate of 0.05
    assert two_view.kept(big, torch.rand(1000, 1), 0.1).sum() == 50 + 100


def test_the_selective_loss_is_that_of_a_loop_with_its_gradient():
    logits = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    targets, kept = (torch.rand(4, 3) < 0.4).double(), (torch.rand(4, 3) < 0.7).double()
    loss = two_view.selective_loss(logits, targets, kept)
    (gradient,) = torch.autograd.grad(loss, logits)
    total, slopes = 0.0, torch.zeros(4, 3, dtype=torch.float64)
    for i in range(4):
        for j in range(3):
            p = 1 / (1 + math.exp(-logits[i, j].item()))
            if kept[i, j]:
                total -= math.log(p if targets[i, j] else 1 - p) / 4  # by faces, not by pairs
                slopes[i, j] = (p - targets[i, j]) / 4
    assert loss.item() == pytest.approx(total, rel=1e-12)
    torch.testing.assert_close(gradient, slopes, rtol=1e-10, atol=1e-14)


def test_disagreement_is_scipys_jensen_shannon_divergence_with_a_true_gradient():
    a, b = (3 * torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    total = 0.0
    for one, other in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True):
        p, q = (1 / (1 + math.exp(-x)) for x in (one, other))
        total += jensenshannon([p, 1 - p], [q, 1 - q]) ** 2 / 12
    assert two_view.disagreement(a, b).item() == pytest.approx(total, rel=1e-9)
    assert torch.autograd.gradcheck(two_view.disagreement, (a, b))
    assert two_view.disagreement(a, a).item() == pytest.approx(0, abs=1e-12)
    far = torch.full((1, 1), 60.0, requires_grad=True)
    most = two_view.disagreement(far, -far)
    assert most.item() == pytest.approx(math.log(2), rel=1e-6)
    assert torch.autograd.grad(most, far)[0].isfinite().all()


def test_similarity_of_classifiers_is_the_mean_absolute_cosine_with_a_true_gradient():
    a, b = (torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    total = 0.0
    for i in range(3):
        for k in range(2):
            x, y = a[i, k].tolist(), b[i, k].tolist()
            inner = sum(p * q for p, q in zip(x, y, strict=True))
            total += abs(inner) / math.sqrt(sum(p * p for p in x) * sum(q * q for q in y)) / 6
    assert two_view.mean_abs_cosine(a, b).item() == pytest.approx(total, rel=1e-12)
    assert torch.autograd.gradcheck(two_view.mean_abs_cosine, (a, b))


def test_related_classifiers_are_two_graph_convolutions():
    layer = two_view.Related(n_aus=3, d=4, slope=0.2).double()
    layer.relation.copy_(torch.tensor([[1, 0.5, 0.2], [0.5, 1, 0], [0.2, 0, 1]]))
    relation, vectors, first, second = (
        getattr(layer, name).detach().numpy() for name in ("relation", "vectors", "first", "second")
    )
    degree = [sum(row) for row in relation]
    adjacency = [[relation[i, j] / math.sqrt(degree[i] * degree[j]) for j in range(3)] for i in range(3)]

    def convolve(rows, weight):
        out = np.zeros((3, 4))
        for i in range(3):
            for j in range(3):
                for k in range(4):
                    out[i] += adjacency[i][j] * rows[j][k] * weight[k]
        return out

    result = layer()
    for view in range(2):
        hidden = convolve(vectors[view], first)
        want = convolve(np.where(hidden > 0, hidden, 0.2 * hidden), second)
        np.testing.assert_allclose(result[view].detach(), want, rtol=1e-10)
    parameters = [layer.vectors, layer.first, layer.second]
    for gradient in torch.autograd.grad(result.square().sum(), parameters):
        assert gradient.abs().max() > 0
    layer.relation.copy_(torch.eye(3))
    alone = layer()[0, 1].detach().numpy()  # unrelated AUs leave each other alone
    hidden = vectors[0, 1] @ first
    np.testing.assert_allclose(alone, np.where(hidden > 0, hidden, 0.2 * hidden) @ second, rtol=1e-10)


def test_classifiers_begin_as_the_scripts_linear_layers():
    layer = two_view.Related(n_aus=12, d=513, slope=0.2)
    script = torch.nn.init.kaiming_normal_(torch.empty(12, 512), mode="fan_out")
    assert layer.vectors[..., :-1].std().item() == pytest.approx(script.std().item(), abs=0.02)
    assert layer.vectors[..., -1].abs().max() <= 512**-0.5 and layer.first.abs().max() <= 513**-0.5
    assert layer.fused.weight.shape == (12, 1024) and layer.fused.weight.abs().max() <= 1024**-0.5


def test_a_logit_is_the_features_against_the_classifier_and_its_bias():
    recipe = TeacherRecipe(**TINY)
    model = two_view.TwoView(recipe, 3).double().eval()
    x = torch.rand(2, 3, 30, 30).double()
    logits, vectors = model(x).detach(), model.classifiers().detach()
    mean, std = (torch.tensor(k, dtype=torch.float64).view(3, 1, 1) for k in (recipe.mean, recipe.std))
    scaled = (x - mean) / std
    both = []
    for view in range(2):
        out = model.views[view](scaled, output_hidden_states=True)
        features, maps = model.features(x, view)
        assert len(maps) == 5
        for one, other in zip(maps, out.hidden_states, strict=True):
            torch.testing.assert_close(one, other)
        for i in range(2):
            for j in range(3):
                want = out.pooler_output[i].flatten().detach() @ vectors[view, j, :-1] + vectors[view, j, -1]
                assert logits[view, i, j].item() == pytest.approx(want.item(), rel=1e-6)
        both.append(features.detach())
    assert features.shape == (2, 32)
    fused, loss = model.classifiers.fused, model(x)[2].square().sum()
    gradient, slope = torch.autograd.grad(loss, [fused.weight, fused.bias])
    for j in range(3):
        weight, bias, rows = fused.weight[j].detach(), fused.bias[j].detach(), torch.zeros(64).double()
        for i in range(2):
            value = sum(both[view][i] @ weight[32 * view : 32 * view + 32] for view in range(2)) + bias
            assert logits[2, i, j].item() == pytest.approx(value.item(), rel=1e-6)
            rows += 2 * value * torch.cat([both[0][i], both[1][i]])
        torch.testing.assert_close(gradient[j], rows, rtol=1e-6, atol=1e-9)
        assert slope[j].item() == pytest.approx(2 * logits[2, :, j].sum().item(), rel=1e-6)
    torch.testing.assert_close(model.decide(two_view.Batch(x, torch.empty(0))), 1 / (1 + torch.exp(-logits[2])))


def test_the_unlabelled_pictures_are_frames_of_all_clips(store):
    pictures = two_view.prepare(TeacherRecipe(**TINY), store, torch.Generator().manual_seed(0))
    frames = [(i, t) for i, length in enumerate(store.lengths.tolist()) for t in range(length)]
    assert list(zip(pictures.rows.tolist(), pictures.positions.tolist(), strict=True)) == frames
    fewer = two_view.prepare(TeacherRecipe(**TINY, unlabelled=20), store, torch.Generator().manual_seed(0))
    some = list(zip(fewer.rows.tolist(), fewer.positions.tolist(), strict=True))
    assert len(some) == 20 and set(some) < set(frames) and len({row for row, _ in some}) > 5


def test_a_batch_has_labelled_faces_near_the_apex_and_as_many_others(store):
    recipe = TeacherRecipe(**TINY | {"crop": 32})  # the whole frame: each can be found again, or its mirror
    model = two_view.TwoView(recipe, 3)
    pictures = two_view.prepare(recipe, store, torch.Generator().manual_seed(0))
    rows = torch.arange(len(store))
    x = model.batch(pictures, rows, torch.Generator().manual_seed(1))
    assert len(x.faces) == 24 and x.draws.shape == (3, 12, 3) and 0 < x.draws.min() < x.draws.max() < 1
    stored = torch.from_numpy(np.array(store.frames)).permute(0, 3, 1, 2) / 255
    either = torch.stack([stored, stored.flip(-1)], 1)  # all frames, 2, 3 h w
    where = [(either - face).abs().amax((2, 3, 4)).amin(1).argmin().item() for face in x.faces]
    first = store.table["first"].to_numpy()
    for i, row in enumerate(rows.tolist()):
        assert where[i] - first[row] in pictures.near[row].tolist()
    others = np.searchsorted(first, where[12:], side="right") - 1
    assert len(set(others)) > 4 and not np.array_equal(others, rows.numpy())
    test = model.batch(pictures, rows, None)
    assert len(test.faces) == 12
    for i in range(12):
        apex = first[i] + pictures.near[i, recipe.before].item()
        torch.testing.assert_close(test.faces[i], stored[apex], rtol=0, atol=1e-5)


def test_the_loss_is_the_sum_of_its_parts_and_reaches_everything(store):
    recipe = TeacherRecipe(**TINY, multi_view=3, co_regularisation=7, balance=0.5)
    model = two_view.TwoView(recipe, 3).double()
    faces, targets = torch.rand(6, 3, 30, 30).double(), torch.tensor([[0, 1, 0], [0, 0, 0], [0, 1, 1.0]]).double()
    first = torch.tensor([[0.1, 0.6, 0.9], [0.3, 0.4, 0.2], [0.6, 0.7, 0.5]]).double()
    x = two_view.Batch(faces, torch.stack([first, first.flip(0), 1 - first]))
    kept = [  # of 3 faces 1.5, rounded up; the second AU has more positives
        [[1, 1, 1], [1, 1, 1], [0, 1, 1]],
        [[0, 1, 1], [1, 1, 1], [1, 1, 1]],
        [[0, 1, 1], [1, 1, 1], [1, 1, 1]],
    ]
    loss = model.loss(x, targets)
    with torch.no_grad():
        logits, vectors = model(faces), model.classifiers.vectors
        labels = [two_view.selective_loss(logits[c, :3], targets, torch.tensor(kept[c])) for c in range(3)]
        want = labels[2] + labels[0] / 2 + labels[1] / 2
        want += 3 * two_view.mean_abs_cosine(*vectors) + 7 * two_view.disagreement(logits[0], logits[1])
    torch.testing.assert_close(loss.detach(), want, rtol=1e-6, atol=0)
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert sum(gradient.abs().max() > 0 for gradient in gradients) == len(gradients)


def test_training_writes_a_whole_folder_the_same_twice_and_only_once(store, folder, tmp_path):
    recipe = TeacherRecipe(**TINY)
    state = torch.get_rng_state()
    again = teacher.train(store, tmp_path / "deep" / "b", recipe, AUS, device="cpu")
    assert torch.equal(state, torch.get_rng_state())  # it leaves the caller's random numbers alone
    assert contents(folder) == contents(again) and len(contents(folder)) == 3
    assert teacher.identity(folder) == teacher.identity(again)
    assert sorted(p.name for p in again.parent.iterdir()) == ["b"]
    note = json.loads((folder / "teacher.json").read_text())
    assert note["aus"] == [1, 4, 12] and len(note["losses"]) == 2 and note["fingerprint"] == store.fingerprint
    assert note["people"] == ["hand/s0", "hand/s1", "hand/s2"] and note["data"]["dataset"] == "hand"
    assert TeacherRecipe.from_dict(note["recipe"]) == recipe and "torch" in note["versions"]
    changed = {p: p.stat().st_mtime_ns for p in again.rglob("*")}
    assert teacher.train(store, again, recipe, AUS) == again
    assert changed == {p: p.stat().st_mtime_ns for p in again.rglob("*")}
    other = teacher.train(store, tmp_path / "c", recipe, AUS, seed=2, device="cpu")
    assert teacher.identity(other) != teacher.identity(folder)
    for arguments, what in (
        ((TeacherRecipe(**TINY | {"epochs": 1}), AUS, 1), "recipe"),
        ((recipe, (1, 4), 1), "aus"),
        ((recipe, AUS, 3), "seed"),
    ):
        with pytest.raises(FileExistsError, match=f"holds a teacher with another {what}; name another folder"):
            teacher.train(store, again, *arguments)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(FileExistsError, match="holds no teacher"):
        teacher.train(store, tmp_path / "mine", recipe, AUS)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "x"


def test_a_loaded_teacher_is_the_trained_one_frozen(store, folder):
    model = teacher.load(folder)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    state = model.state_dict()
    for name, value in load_file(folder / "classifiers.safetensors").items():
        torch.testing.assert_close(state[f"classifiers.{name}"], value, rtol=0, atol=0)
    for view in (1, 2):
        for name, value in load_file(folder / f"view{view}" / "model.safetensors").items():
            torch.testing.assert_close(state[f"views.{view - 1}.{name}"], value, rtol=0, atol=0)
    order = torch.Generator().manual_seed(teacher.fold_seed(1, "teacher"))
    ids = teacher.labelled(store, 0.75, order)
    truth = store.table.loc[ids, ["AU1", "AU4", "AU12"]]
    np.testing.assert_allclose(state["classifiers.relation"], truth.corr().abs(), atol=1e-6)
    inputs = two_view.prepare(model.recipe, store, order)
    probabilities = model.probabilities(inputs, torch.arange(len(store)))
    assert probabilities.shape == (12, 3) and probabilities.isfinite().all()


def test_it_learns_and_its_views_come_to_differ(store, tmp_path):
    changed = {"epochs": 25, "lr": 1e-2, "batch_size": 6, "labelled": 1.0, "co_regularisation": 1}
    result = {}
    for weight in (0, 2):
        recipe = TeacherRecipe(**TINY | changed | {"multi_view": weight})
        model = teacher.load(teacher.train(store, tmp_path / f"t{weight}", recipe, (4, 12), device="cpu"))
        result[weight] = two_view.mean_abs_cosine(*model.classifiers.vectors).item()
    probabilities = model.probabilities(two_view.prepare(recipe, store, torch.Generator()), torch.arange(len(store)))
    for j, name in enumerate(("AU4", "AU12")):
        truth = store.table[name].to_numpy() == 1
        assert probabilities[truth, j].mean() > probabilities[~truth, j].mean() + 0.2
    assert result[2] < 0.15 and result[2] < 0.5 * result[0]


def test_labels_of_the_other_clips_are_not_looked_at(store, folder, tmp_path):
    other = ClipStore(store.path)
    order = torch.Generator().manual_seed(teacher.fold_seed(1, "teacher"))
    hidden = other.table.index.difference(teacher.labelled(other, 0.75, order))
    assert len(hidden) == 3
    columns = ["AU1", "AU4", "AU12"]
    other.table.loc[hidden, columns] = 1 - other.table.loc[hidden, columns]
    assert contents(teacher.train(other, tmp_path / "t", TeacherRecipe(**TINY), AUS, device="cpu")) == contents(folder)
    seen = other.table.index.difference(hidden)[0]
    other.table.loc[seen, columns] = 1 - other.table.loc[seen, columns]
    assert contents(teacher.train(other, tmp_path / "u", TeacherRecipe(**TINY), AUS, device="cpu")) != contents(folder)


def test_clips_that_do_not_suit_are_refused_and_leave_nothing(store, hand_store, tmp_path):
    with pytest.raises(
        ValueError, match=r"reads RGB frames of TeacherRecipe.size=32 pixels: build it with size=32, rgb"
    ):
        teacher.train(hand_store, tmp_path / "out" / "t", TeacherRecipe(**TINY), AUS)
    with pytest.raises(ValueError, match=r"TeacherRecipe\.size=40"):
        teacher.train(store, tmp_path / "out" / "t", TeacherRecipe(**TINY | {"size": 40}), AUS)
    with pytest.raises(ValueError, match=r"each of aus=\(2, 9\) is in all or none of the 9 labelled clips"):
        teacher.train(store, tmp_path / "out" / "t", TeacherRecipe(**TINY), (2, 9))
    with pytest.raises(ValueError, match=r"teacher, epoch \d: the loss is not finite; lower lr=1e\+30"):
        teacher.train(store, tmp_path / "out" / "t", TeacherRecipe(**TINY | {"lr": 1e30}), AUS, device="cpu")
    assert not list((tmp_path / "out").glob("*"))
    with pytest.warns(UserWarning, match="cannot learn AU2: in all or none"):
        teacher.train(store, tmp_path / "out" / "t", TeacherRecipe(**TINY | {"epochs": 1}), (1, 2, 4), device="cpu")
    assert teacher.load(tmp_path / "out" / "t").classifiers.relation[1].tolist() == [0, 1, 0]


@pytest.mark.parametrize("part", ["classifiers.safetensors", "model.safetensors", "teacher.json"])
def test_a_disk_that_is_full_while_a_teacher_is_written_is_said_and_leaves_nothing(store, tmp_path, monkeypatch, part):
    def full(*args, **options):
        if part == "model.safetensors":  # as safetensors says it
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        raise OSError(28, "No space left on device")

    place = {"classifiers.safetensors": (teacher.tensors, "write"), "teacher.json": (teacher.files, "write_json")}
    monkeypatch.setattr(*place.get(part, (PreTrainedModel, "save_pretrained")), full)
    with pytest.raises(OSError, match=r"cannot write the teacher .*the disk is full"):
        teacher.train(store, tmp_path / "out" / "t", TeacherRecipe(**TINY | {"epochs": 1}), AUS, device="cpu")
    assert not list((tmp_path / "out").glob("*"))


def _cut(folder):
    path = folder / "view2" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-10])


def _shapes(folder):
    path = folder / "classifiers.safetensors"
    save_file(load_file(path) | {"first": torch.zeros(5, 5)}, path)


def _another(folder):
    path = folder / "view1" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"depths": [3, 4, 6, 3]}))


@pytest.mark.parametrize(
    "harm, error, text",
    [
        (_cut, ValueError, "view2.*unusable checkpoint"),
        (_shapes, ValueError, r"classifiers.safetensors: not the weights of Related"),
        (_another, ValueError, r"another architecture .resnet., its depths is \[3, 4, 6, 3\]"),
        (lambda f: (f / "teacher.json").write_text("{"), ValueError, "teacher.json: not readable as JSON"),
        (lambda f: (f / "teacher.json").write_text("{}"), ValueError, "teacher.json: damaged, or written by another"),
        (lambda f: (f / "teacher.json").unlink(), FileNotFoundError, "no teacher here; aullm_lib.baselines.teacher"),
        (lambda f: (f / "view1" / "model.safetensors").unlink(), FileNotFoundError, "no whole teacher here"),
    ],
)  # fmt: skip
def test_a_damaged_folder_says_what_is_wrong(harm, error, text, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "t")
    harm(tmp_path / "t")
    with pytest.raises(error, match=text):
        teacher.load(tmp_path / "t")


def test_a_teacher_must_not_know_whom_it_is_tested_on(store, folder, tmp_path):
    with pytest.raises(ValueError, match=r"was trained on hand/s0, and .* holds them too.*other people"):
        teacher.check(folder, store)
    with pytest.raises(ValueError, match=r"Recipe.teacher is empty, .*baselines.teacher.train makes one .notebook 03"):
        teacher.check("", store)
    table = make_table(tmp_path / "more", subjects=5)
    some = preprocess.build(table[table["subject"] >= "s2"], tmp_path / "some", size=48, rgb=True)
    with pytest.raises(ValueError, match="was trained on hand/s2"):  # other pixels, the same person
        teacher.check(folder, some)
    others = preprocess.build(table[table["subject"] >= "s3"], tmp_path / "others", size=32, rgb=True)
    assert teacher.check(folder, others).recipe == TeacherRecipe(**TINY)
    assert teacher.identity(folder).endswith(" (trained on hand)")
    assert "view1" not in teacher.identity(folder)


def test_people_are_known_by_release_and_name_and_synthetic_ones_by_their_seed(store, tmp_path):
    table = make_table(tmp_path / "more", subjects=2)
    made = {"seed": 7, "intensity": 3.0}
    renamed = table.assign(dataset="casme2", synthetic=True, source=json.dumps({"made": made}))
    renamed.index = pd.Index([i.replace("hand/", "casme2/") for i in table.index], name="clip_id")
    synthetic = preprocess.build(renamed, tmp_path / "synthetic", size=32, rgb=True)
    assert weights.people(synthetic) == ["synthetic people of seed 7"]
    joined = clips.join([store, synthetic], tmp_path / "joined")
    assert weights.people(joined) == ["hand/s0", "hand/s1", "hand/s2", "synthetic people of seed 7"]
    note = {"data": synthetic.release}
    assert weights.trained_on(note) == " (trained on synthetic casme2, intensity 3, seed 7)"
    assert weights.trained_on({"data": joined.release}) == " (trained on synthetic hand+casme2)"
    assert weights.trained_on(None) == "" and weights.read_note("microsoft/resnet-18") is None


@pytest.mark.parametrize(
    "changed, text",
    [
        ({"depth": 50}, "depth=50: allowed are 18, 34"),
        ({"labelled": 1.5}, "labelled=1.5: at most 1"),
        ({"size": 32, "crop": 40}, "crop=40: at most size=32"),
        ({"mean": (0.5, 0.5)}, "three numbers each"),
        ({"std": (0.5, 0.0, 0.5)}, "std above 0"),
    ],
)
def test_recipes_out_of_range_say_so(changed, text):
    with pytest.raises(ValueError, match=text):
        TeacherRecipe(**changed)


def test_a_recipe_says_which_teacher_it_needs_and_takes_it(tmp_path):
    needed = {
        ("fitnet", ""): 34, ("fitnet", "teacher"): 18, ("resnet18", "teacher"): 18, ("resnet34", "teacher"): 34,
        ("resnet18", ""): 0, ("lbp-top", None): 0,
    }  # fmt: skip
    for (method, initial), depth in needed.items():
        recipe = baselines.recipe(method, **({} if initial is None else {"weights": initial}))
        assert distil.teacher_depth(method, recipe) == depth, method
        if depth:
            filled = distil.with_teacher(method, recipe, tmp_path)
            assert distil.teacher_depth(method, filled) == 0
            assert str(tmp_path) in (filled.teacher if method == "fitnet" else filled.weights)
    with pytest.raises(ValueError, match="sca cannot start with a teacher's weights"):
        distil.teacher_depth("sca", baselines.recipe("sca", weights="teacher"))
