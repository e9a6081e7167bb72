"""Training on a CUDA device: the CPU's numbers, the same ones each time, and steps as CUDA graphs."""

import dataclasses
import itertools

import pytest
import torch

from aullm_lib import engine, explain, protocol, trained
from aullm_lib.engine import aullm
from aullm_lib.runs import Diverged, Run
from aullm_lib.support import memory
from aullm_lib.support.randomness import repeatable

pytestmark = pytest.mark.gpu
VARIANTS = ["backbone", "all", "visual-first", "prompt-learning", "frozen-llm", "no-prompt", "shuffled-frames", "blind"]


def trained_on(device, experiment, store, llm, together=2, **changes):
    """Probabilities of all folds, and losses by fold and epoch."""
    repeatable()
    recipe = dataclasses.replace(experiment.recipe, **{"epochs": 5, "llm_dtype": "float32"} | changes)
    one = dataclasses.replace(experiment, llm=llm, recipe=recipe)
    folds = protocol.loso(store.table)
    with store.on(device):
        made = [
            outcome
            for start in range(0, len(folds), together)
            for outcome in aullm.train_folds(one, store, store.table, folds[start : start + together], device=device)
        ]
    assert not [outcome for outcome in made if isinstance(outcome, Diverged)]
    return (torch.tensor([one.predictions["probability"] for one in made]),
            torch.tensor([one.log["loss"] for one in made]))  # fmt: skip


@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "shuffled-frames"])  # drawn on the device
def test_the_numbers_are_the_cpus(experiment, hand_store, tiny_llm, variant):
    """Without dropout, whose masks another device draws otherwise; cuDNN's convolutions round to TF32."""
    one = dataclasses.replace(experiment, variant=variant)
    still = {"dropout": 0.0, "lora_dropout": 0.0, "lr": 1e-4}
    (here, losses), (there, others) = (trained_on(k, one, hand_store, tiny_llm, **still) for k in ("cpu", "cuda"))
    assert (here - there).abs().max() < 0.02
    assert (losses - others).abs().max() < 0.02 * losses.abs().max()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_same_configuration_gives_the_same_numbers(experiment, hand_store, tiny_llm, variant, dtype):
    one = dataclasses.replace(experiment, variant=variant)
    first, again = (trained_on("cuda", one, hand_store, tiny_llm, llm_dtype=dtype) for _ in range(2))
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_graph_does_what_its_kernels_do_one_by_one(experiment, hand_store, tiny_llm, variant, monkeypatch, recwarn):
    one = dataclasses.replace(experiment, variant=variant)
    whole, losses = trained_on("cuda", one, hand_store, tiny_llm, lr=1e-4)
    assert not [w for w in recwarn if "CUDA graph" in str(w.message)]
    monkeypatch.setattr(aullm._Steps, "_captured", lambda self, learners: None)
    single, others = trained_on("cuda", one, hand_store, tiny_llm, lr=1e-4)
    assert (whole - single).abs().max() < 1e-3 and (losses - others).abs().max() < 1e-3 * losses.abs().max()


@pytest.mark.parametrize("changes", [{"batch_size": 3}, {"batch_size": 1}, {"llm_batch": 2}], ids=str)
def test_graphs_of_many_kinds_of_step_do_so_too(experiment, hand_store, tiny_llm, monkeypatch, recwarn, changes):
    """Short last batches, folds with fewer steps than others, batches in pieces."""
    one = dataclasses.replace(experiment, variant="all")
    few = dataclasses.replace(one.recipe, lr=1e-4, llm_dtype="float32", epochs=12, **changes)
    alike = dataclasses.replace(one, llm=tiny_llm, recipe=few)
    folds = protocol.loso(hand_store.table)
    folds = [fold._replace(train=fold.train[k:]) for k, fold in enumerate(folds)]
    repeatable()
    with hand_store.on("cuda"):
        whole = aullm.train_folds(alike, hand_store, hand_store.table, folds, device="cuda")
        assert not [w for w in recwarn if "CUDA graph" in str(w.message)]
        monkeypatch.setattr(aullm._Steps, "_captured", lambda self, learners: None)
        single = aullm.train_folds(alike, hand_store, hand_store.table, folds, device="cuda")
    for two in zip(whole, single, strict=True):
        a, b = (torch.tensor(one.predictions["probability"]) for one in two)
        assert (a - b).abs().max() < 1e-3


@pytest.mark.parametrize("variant", ["all", "backbone"])
def test_folds_go_on_in_graphs_where_another_diverges(experiment, hand_store, tiny_llm, monkeypatch, recwarn, variant):
    shuffle = aullm._Learner.shuffle

    def spoilt(self):
        shuffle(self)
        if self.fold.name == first and len(self.history) == 3:  # its steps are graphs by now
            self.parameters[0].data.fill_(torch.nan)

    monkeypatch.setattr(aullm._Learner, "shuffle", spoilt)
    recipe = dataclasses.replace(experiment.recipe, epochs=8, llm_dtype="float32")
    one = dataclasses.replace(experiment, variant=variant, llm=tiny_llm, recipe=recipe)
    folds = protocol.loso(hand_store.table)
    first = folds[0].name
    with hand_store.on("cuda"):
        lost, *others = aullm.train_folds(one, hand_store, hand_store.table, folds, device="cuda")
    assert isinstance(lost, Diverged) and lost.where["epoch"] == 4
    assert all(len(one.log["loss"]) == 8 and torch.tensor(one.log["loss"]).isfinite().all() for one in others)
    assert not [w for w in recwarn if "CUDA graph" in str(w.message)]


def test_a_step_that_waits_for_the_gpu_is_launched_kernel_by_kernel(experiment, hand_store, tiny_llm, monkeypatch):
    one = dataclasses.replace(experiment, variant="all")
    step, stream = aullm._step, torch.cuda.current_stream()

    def waiting(learners, llm_batch):
        step(learners, llm_batch)
        learners[0].total.item()

    monkeypatch.setattr(aullm, "_step", waiting)
    with pytest.warns(UserWarning, match="no CUDA graph of a step, so its kernels are launched one by one"):
        probabilities, losses = trained_on("cuda", one, hand_store, tiny_llm, lr=1e-4)
    assert torch.cuda.current_stream() == stream
    monkeypatch.setattr(aullm._Steps, "_captured", lambda self, learners: None)
    single, others = trained_on("cuda", one, hand_store, tiny_llm, lr=1e-4)
    assert (probabilities - single).abs().max() < 1e-3 and (losses - others).abs().max() < 1e-3 * losses.abs().max()


def test_each_step_of_a_graph_has_dropout_masks_of_its_own(experiment, hand_store, tiny_llm):
    one = dataclasses.replace(experiment, variant="all")
    _, losses = trained_on("cuda", one, hand_store, tiny_llm, lr=1e-30, jitter=False, batch_size=64, epochs=6)
    for of_fold in losses.tolist():
        assert min(abs(a - b) for a, b in itertools.combinations(of_fold, 2)) > 1e-4 * of_fold[0]


@pytest.mark.parametrize("variant", ["all", "visual-first"])
def test_folds_side_by_side_give_the_numbers_of_one_after_the_other(experiment, hand_store, tiny_llm, variant):
    one = dataclasses.replace(experiment, variant=variant)
    alone, together = (trained_on("cuda", one, hand_store, tiny_llm, together=k, lr=1e-4)[0] for k in (1, 3))
    assert (alone - together).abs().max() < 1e-3


def test_half_precision_learns_as_single_does_however_the_loss_is_reduced(experiment, hand_store, tiny_llm):
    one = dataclasses.replace(experiment, variant="all")
    for reduction in ("sum", "batchmean"):
        half, single = (
            trained_on("cuda", one, hand_store, tiny_llm, llm_dtype=dtype, reduction=reduction)[0]
            for dtype in ("float16", "float32")
        )
        assert (half - single).abs().max() < 0.02


def test_a_run_ends_with_its_store_on_the_cpu_and_its_model_loads_on_either_device(
    experiment, hand_store, tiny_llm, tmp_path
):
    whole = dataclasses.replace(experiment, variant="all", llm=tiny_llm)
    run = Run(engine.run(whole, hand_store, out=tmp_path, keep_weights=True))
    assert hand_store.device.type == "cpu" and run.missing == []
    fold = run.folds[0]
    want = run.predictions().query("fold == @fold")
    for device in ("cpu", "cuda"):
        model = trained.load(run, fold).to(device)
        with hand_store.on(device):
            got = aullm.predict(model, hand_store, tuple(want["clip_id"].unique()), 6, 4)
        assert (got.flatten().cpu() - torch.tensor(want["probability"].to_numpy())).abs().max() < 0.02
    assert explain.default_device() == "cuda"


def test_a_gpu_without_memory_for_all_folds_trains_fewer_at_a_time(experiment, hand_store, tiny_llm, monkeypatch):
    train, sizes = aullm.train_folds, []

    def crowded(experiment, store, table, folds, **settings):
        sizes.append(len(folds))
        if len(folds) > 1:
            with memory.explained_memory("the number of folds"):
                torch.empty(2**50, device="cuda")
        return train(experiment, store, table, folds, **settings)

    monkeypatch.setattr(aullm, "train_folds", crowded)
    whole = dataclasses.replace(experiment, variant="all", llm=tiny_llm)
    with pytest.warns(UserWarning, match="not enough memory; 1 folds side by side from now on"):
        engine.run(whole, hand_store, out=hand_store.path.parent / "crowded", side_by_side=3)
    assert sizes == [3, 1, 1, 1]
