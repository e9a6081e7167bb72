"""Norms and spreads against numpy; what training records of them, and that recording changes nothing."""

import dataclasses

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from aullm_lib import engine, protocol, trained
from aullm_lib.engine import aullm, probe
from aullm_lib.experiment import Experiment
from aullm_lib.llm import load
from aullm_lib.model import build
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run

RECIPE = Recipe.released(size=32, epochs=5, batch_size=4, lr=1e-3, efp_hidden=16, llm_dtype="float32", lora_r=2)


def by_hand(vectors):
    """The median norm and the root mean square distance from the mean, clip by clip."""
    rows = vectors.detach().numpy().astype(float)
    middle = sum(rows) / len(rows)
    return (
        np.median([np.sqrt((row**2).sum()) for row in rows]),
        np.sqrt(np.mean([((row - middle) ** 2).sum() for row in rows])),
    )


@pytest.mark.parametrize("variant", ["all", "no-llm", "frozen-llm", "prompt-learning"])
def test_norms_and_spreads_are_those_of_the_vectors(hand_store, tiny_llm, variant):
    experiment = Experiment(name="a", aus=(4, 12), recipe=RECIPE, variant=variant, llm=tiny_llm)
    model, clips = build(experiment).train(), hand_store.sample(hand_store.ids[:7])
    before, drawn = {k: v.clone() for k, v in model.state_dict().items()}, torch.get_rng_state()
    result = probe.measure(model, clips)
    assert model.training and torch.equal(torch.get_rng_state(), drawn)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    heard = []
    model.eval().head.register_forward_pre_hook(lambda head, inputs: heard.append(inputs[0]))
    for norm in (model.backbone.norm1, model.backbone.norm2):
        norm.train()  # statistics of the batch, as in training
    vectors = model.token(clips)
    model(clips)  # the head's own input
    token = by_hand(vectors)
    assert (result["token_norm"], result["token_spread"]) == pytest.approx(token, rel=1e-5)
    if variant == "no-llm":
        assert set(result) == {"token_norm", "token_spread"} and by_hand(heard[0]) == pytest.approx(token)
        return
    assert (result["hidden_norm"], result["hidden_spread"]) == pytest.approx(by_hand(heard[0]), rel=1e-4)
    apart = [(v - v.mean(0)).detach().double().numpy() for v in (vectors, heard[0])]
    cosines = [x @ y / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(*apart, strict=True)]
    assert result["passed_through"] == pytest.approx(np.mean(cosines), abs=1e-4)
    embeddings = load(tiny_llm)[0].embed_tokens.weight
    assert result["embedding_norm"] == pytest.approx(by_hand(embeddings)[0], rel=1e-3)  # an even number of tokens


def test_the_measured_clips_are_spread_over_all_subjects():
    rows = torch.arange(100, 180)  # 10 subjects with 8 clips each
    chosen = probe.some(rows)
    assert len(chosen) == probe.CLIPS and len(set(chosen.tolist())) == probe.CLIPS
    assert set(((chosen - 100) // 8).tolist()) == set(range(10))
    assert torch.equal(probe.some(rows[:5]), rows[:5])


def test_a_fold_records_its_signal_before_and_in_training(hand_store, tiny_llm, tmp_path):
    experiment = Experiment(name="a", aus=(4, 12), recipe=RECIPE, llm=tiny_llm)
    run = Run(engine.run(experiment, hand_store, out=tmp_path, keep_weights=True, device="cpu"))
    table = run.probe()
    assert table.groupby("fold")["epoch"].agg(list).tolist() == [[0, 1, 2, 4, 5]] * 3
    fold = protocol.loso(hand_store.table)[1]
    last = table[(table["fold"] == fold.name) & (table["epoch"] == 5)].iloc[0]
    again = probe.measure(trained.load(run, fold.name), hand_store.sample(fold.train))  # all 8 training clips
    assert last[list(again)].to_dict() == again
    assert last["token_norm"] != table["token_norm"].iloc[-5]  # of another fold's beginning: training changes it


@pytest.mark.parametrize("order", ["prompt-first", "visual-first"])
def test_recording_changes_no_prediction(hand_store, tiny_llm, tmp_path, monkeypatch, order):
    """With dropout in the backbone and in LoRA, batch norm and jitter, and folds side by side."""
    recipe = dataclasses.replace(RECIPE, token_order=order, epochs=3)
    experiment = Experiment(name="a", aus=(4, 12), recipe=recipe, llm=tiny_llm)
    options = {"device": "cpu", "side_by_side": 2, "keep_weights": True}
    with_probe = engine.run(experiment, hand_store, out=tmp_path / "1", **options)
    monkeypatch.setattr(aullm._Learner, "measure", lambda self, epoch: None)
    without = engine.run(experiment, hand_store, out=tmp_path / "2", **options)
    assert not list(without.glob("folds/*/probe.csv")) and len(list(with_probe.glob("folds/*/probe.csv"))) == 3
    made = [path.relative_to(without) for path in without.glob("folds/**/*") if path.suffix in (".csv", ".safetensors")]
    assert len(made) >= 9
    for path in made:
        if path.suffix == ".csv":
            assert (without / path).read_bytes() == (with_probe / path).read_bytes()
        else:  # the order of what its header says is not always the same
            one, other = load_file(without / path), load_file(with_probe / path)
            assert one and all(torch.equal(other.pop(name), value) for name, value in one.items()) and not other
    with pytest.raises(FileNotFoundError, match=r"probe.csv"):
        Run(without).probe()
