"""SE's weights, LED's response and the LLM's attention against what they are by their equations."""

import itertools
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from aullm_lib import engine, explain, protocol
from aullm_lib.experiment import Experiment
from aullm_lib.explain import probes
from aullm_lib.led import LED
from aullm_lib.llm import load
from aullm_lib.lora import applied
from aullm_lib.model import AULLM
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Result, Run
from aullm_lib.support.randomness import fold_seed
from aullm_lib.support.tiny import build_tiny

SMALL = {"size": 28, "efp_hidden": 12, "lora_r": 2}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(build_tiny(tmp_path_factory.mktemp("llm") / "tiny", hidden=32, heads=2, kv_heads=1, layers=3))


def built(tiny, recipe="paper", variant="all", **changes):
    torch.manual_seed(1)
    model = AULLM(getattr(Recipe, recipe)(**SMALL | changes), 2, llm=tiny, variant=variant).eval()
    for name, p in model.named_parameters():
        if ".B." in name:
            torch.nn.init.normal_(p, std=0.3)
    return model


def clips(b=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (b, 6, 28, 28), dtype=torch.uint8, generator=generator)


def test_se_weights_are_those_of_the_equation(tiny):
    model = built(tiny)
    result = probes.frame_weights(model, clips())
    assert result.shape == (3, 4, 64) and not result.requires_grad
    net, se = model.backbone, model.backbone.se
    with torch.no_grad():
        x = net.norm1(torch.relu(net.pool1(net.conv1(net.led(clips())[:, None, 1:]))))
        x = net.norm2(torch.relu(net.conv2(x)))  # b 64 4 h w, before SE
        for b in range(3):
            for t in range(4):
                z = torch.relu(se.squeeze.weight @ x[b, :, t].mean((1, 2)))
                torch.testing.assert_close(result[b, t], torch.sigmoid(se.excite.weight @ z))
    assert not se.gate._forward_hooks
    with pytest.raises(ValueError, match="no squeeze-and-excitation"):
        probes.frame_weights(built(tiny, variant="no-se"), clips())


def test_dead_relus_of_the_bottleneck_are_counted(tiny):
    model = built(tiny)
    assert probes.dead_relus(probes.frame_weights(model, clips())) < 1
    with torch.no_grad():
        model.backbone.se.squeeze.weight.zero_()
    dead = probes.frame_weights(model, clips())
    assert (dead == 0.5).all() and probes.dead_relus(dead) == 1
    dead[0, 2, 63] = 0.51
    assert probes.dead_relus(dead) == pytest.approx(11 / 12)


@pytest.fixture(scope="module")
def trained_run(hand_store, session_folder):
    recipe = Recipe.released(size=32, epochs=3, batch_size=4, lr=1e-2, efp_hidden=16)
    experiment = Experiment(name="dynamic", aus=(4, 12), recipe=recipe, variant="backbone")
    return Run(engine.run(experiment, hand_store, out=session_folder, keep_weights=True, device="cpu"))


def over_time(weights):
    """The standard deviation over time by hand: [t, c] -> a number."""
    t, c = weights.shape
    mean = [sum(float(weights[k, j]) for k in range(t)) / t for j in range(c)]
    squares = [(float(weights[k, j]) - mean[j]) ** 2 for k in range(t) for j in range(c)]
    return (sum(squares) / (t * c)) ** 0.5


def test_se_varies_over_time_as_by_hand_and_over_every_order_of_the_frames(hand_store, trained_run, monkeypatch):
    monkeypatch.setattr(probes, "ORDERS", 60)
    result = probes.se_dynamics(trained_run, hand_store)
    assert list(result["clip_id"]) == hand_store.ids and list(result["subject"].unique()) == ["s0", "s1", "s2"]
    for row in (result.iloc[3], result.iloc[7]):
        fold, model = explain.held_out(trained_run, row["clip_id"], device="cpu")
        x = hand_store.sample([row["clip_id"]])[0]
        assert fold == row["fold"]
        assert row["sd"] == pytest.approx(over_time(probes.frame_weights(model, x[None])[0]), rel=1e-4)
        orders = torch.tensor([[0, *order] for order in itertools.permutations(range(1, 6))])
        seed = fold_seed(0, f"{fold}, random weights")
        for one, names in (
            (model, ["sd", "shuffled"]),
            (explain.randomised(trained_run.experiment, seed=seed), ["randomised", "randomised_shuffled"]),
        ):
            every = [over_time(weights) for weights in probes.frame_weights(one, x[orders])]
            assert row[names[0]] == pytest.approx(every[0], rel=1e-4) and np.std(every) > 0
            assert abs(row[names[1]] - np.mean(every)) < 4 * np.std(every) / 60**0.5


def test_orders_of_frames_depend_on_the_seed_alone(hand_store, trained_run):
    one, again, other = (probes.se_dynamics(trained_run, hand_store, seed=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one, again)
    assert (one["sd"] == other["sd"]).all() and (one["shuffled"] != other["shuffled"]).all()


def test_se_with_dead_relus_does_not_vary(hand_store, trained_run, tmp_path):
    run = Run(shutil.copytree(trained_run.path, tmp_path / trained_run.path.name))
    for path in run.path.glob("folds/*/weights.safetensors"):
        with safe_open(path, framework="pt") as file:
            weights, about = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
        weights["backbone.se.squeeze.weight"] = torch.zeros_like(weights["backbone.se.squeeze.weight"])
        save_file(weights, path, metadata=about)
    result = probes.se_dynamics(run, hand_store)
    assert (result[["sd", "shuffled"]] == 0).all(axis=None) and (result["dead"] == 1).all()
    assert (result[["randomised", "randomised_shuffled"]] > 0).all(axis=None)
    line = probes.se_compared(result.assign(subject=[f"s{k % 7}" for k in range(len(result))])).iloc[0]
    assert (line[["first", "second", "difference", "low", "high", "detectable"]] == 0).all() and line["p"] == 1


def test_se_is_compared_by_whole_subjects_with_shuffled_frames_and_with_randomised_weights():
    rng = np.random.default_rng(3)
    shuffled, rise = rng.random(20), 0.2 + 0.1 * rng.random(20)  # larger in order in every clip
    frame = pd.DataFrame({"subject": [f"s{k % 6}" for k in range(20)], "shuffled": shuffled, "sd": shuffled + rise})
    frame = frame.assign(randomised=0.01 * frame["sd"], randomised_shuffled=0.01 * shuffled)
    one, other = probes.se_compared(frame).to_dict("records")
    assert one["p"] == 2 / 2**6 and one["p (Holm)"] == 4 / 2**6 and one["subjects"] == 6
    assert one["first"] == pytest.approx(100 * frame["sd"].mean() / shuffled.mean()) and one["low"] > 0
    assert one["difference"] == pytest.approx(one["first"] - 100) and one["second"] == 100
    assert other["first"] == pytest.approx(one["difference"]) and other["p"] == 1  # any SE does the same
    assert other["difference"] == pytest.approx(0, abs=1e-9)
    frame["randomised"] = frame["randomised_shuffled"]
    _, gain = probes.se_compared(frame).to_dict("records")
    assert gain["difference"] == pytest.approx(one["difference"]) and gain["p"] == 2 / 2**6


def test_the_response_is_that_of_a_discrete_fourier_transform():
    led = LED(frames=6, alpha=3.0, r1=0.6, r2=0.1)
    matrix = led.matrix().detach()
    taps = matrix[:, -1].double().numpy()
    spectrum = np.abs(np.fft.rfft(taps, 256)) / np.abs(taps).sum()
    result = probes.response(matrix, torch.arange(129) / 256).numpy()
    np.testing.assert_allclose(result, spectrum, atol=1e-7)
    assert result[0] < 1e-6 and result.max() <= 1  # what does not move never passes
    t = torch.arange(6)
    wave = torch.sin(2 * torch.pi * 0.25 * t)
    still = 50 + 0 * wave
    assert abs((matrix[:, -1] * still).sum()) < 1e-3 < abs((matrix[:, -1] * wave).sum())
    louder = LED(frames=6, alpha=90.0, r1=0.6, r2=0.1).matrix().detach()
    torch.testing.assert_close(
        probes.response(louder, torch.tensor([0.3])), probes.response(matrix, torch.tensor([0.3]))
    )


@pytest.mark.parametrize("variant", ["backbone", "3d-cnn"])
def test_led_before_and_after_training_in_every_fold(hand_store, tmp_path, variant):
    recipe = Recipe.released(size=32, epochs=2, batch_size=4, lr=0.1, efp_hidden=16)
    experiment = Experiment(name="led", aus=(4, 12), recipe=recipe, variant=variant)
    run = Run(engine.run(experiment, hand_store, out=tmp_path, keep_weights=True, device="cpu"))
    if variant == "3d-cnn":
        with pytest.raises(ValueError, match="'3d-cnn' has no LED"):
            probes.led_matrices(run)
        return
    result = probes.led_matrices(run)
    assert list(result) == [probes.BEFORE, *run.folds]
    arrays, cycles, responses = probes.filters(run)
    assert list(arrays) == list(responses) == list(result) and cycles[[0, -1]].tolist() == [0, 0.5]
    for fold, matrix in result.items():
        assert np.array_equal(arrays[fold], matrix)
        np.testing.assert_allclose(responses[fold], probes.response(matrix, torch.from_numpy(cycles)))
    torch.testing.assert_close(result[probes.BEFORE], LED(frames=6).matrix().detach())
    for fold, model in explain.models(run, device="cpu"):
        assert torch.equal(result[fold], model.backbone.led.matrix().detach())
        assert not torch.equal(result[fold], result[probes.BEFORE])


def plain_attention(model, x):
    """From the LLM's own output of its attention, without a shared prompt: [b, layers, positions]."""
    reasoner, (b, llm) = model.llm, (len(x), model.llm.llm)
    llm.set_attn_implementation("eager")
    with torch.no_grad(), applied(llm, [reasoner.adapter], [b]):
        visual = model.token(x)[:, None]
        prompt = llm.get_input_embeddings()(reasoner.prompt_ids).expand(b, -1, -1)
        order = [visual, prompt] if reasoner.token_order == "visual-first" else [prompt, visual]
        result = llm(inputs_embeds=torch.cat(order, 1), output_attentions=True, use_cache=False).attentions
    llm.set_attn_implementation("sdpa")
    return torch.stack([layer[:, :, -1].mean(1) for layer in result], 1)


@pytest.mark.parametrize("recipe", ["paper", "released"])
def test_attention_is_what_the_llm_itself_says(tiny, recipe):
    model = built(tiny, recipe)
    assert model.llm.share_prompt == (recipe == "released")
    result = probes.attention(model, clips(), tiny[1])
    expected = plain_attention(model, clips().float())
    torch.testing.assert_close(result.weights, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(result.weights.sum(-1), torch.ones(3, 3))
    at = 0 if recipe == "paper" else -1
    assert result.tokens[at] == probes.VISUAL and len(result.tokens) == result.weights.shape[-1]
    words = [token for token in result.tokens if token not in (probes.VISUAL, probes.PART)]
    assert "".join(words) == getattr(Recipe, recipe)().prompt
    if recipe == "released":  # some of its characters are several tokens
        assert probes.PART in result.tokens


def test_the_llm_is_as_it_was_after_a_look_at_its_attention(tiny):
    model = built(tiny)
    before, logits = model.llm.llm.config._attn_implementation, model(clips())
    hooks = [list(module._forward_hooks) for module in model.modules()]
    probes.attention(model, clips(), tiny[1])
    assert model.llm.llm.config._attn_implementation == before != "eager"
    assert torch.equal(model(clips()), logits)
    assert [list(module._forward_hooks) for module in model.modules()] == hooks


@pytest.mark.parametrize("variant", ["no-llm", "prompt-learning", "3d-cnn"])
def test_a_variant_whose_llm_is_not_given_the_visual_token_is_refused(tiny, variant):
    with pytest.raises(ValueError, match="not given the visual token"):
        probes.attention(built(tiny, variant=variant), clips(), tiny[1])


def test_attention_over_folds_takes_each_clip_once_with_its_own_model(hand_store, tiny_llm, tmp_path):
    recipe = Recipe.paper(size=32, epochs=1, batch_size=4, lr=1e-2, efp_hidden=8)
    experiment = Experiment(name="a", aus=(4, 12), recipe=recipe, llm=tiny_llm)
    run = Run(engine.run(experiment, hand_store, out=tmp_path, keep_weights=True, device="cpu"))
    llm = load(tiny_llm)
    result = probes.attention_of(run, hand_store, llm)
    assert len(result.weights) == len(hand_store)
    fold, model = explain.held_out(run, hand_store.ids[5], llm, device="cpu")
    one = probes.attention(model, hand_store.sample([hand_store.ids[5]]), llm[1])
    torch.testing.assert_close(result.weights[5], one.weights[0])  # the folds are in the store's order
    assert result.tokens == one.tokens and fold == run.folds[1]


def recorded(hand_store, tmp_path, values):
    """A run of two folds, whose probe.csv have the given columns: [fold][column][epoch]."""
    recipe = Recipe.released(size=32, epochs=1, batch_size=4, efp_hidden=8, llm_dtype="float32")
    experiment = Experiment(name="hand", aus=(4, 12), recipe=recipe, variant="backbone")
    folds = protocol.loso(hand_store.table)[:2]
    run = Run(engine.run(experiment, hand_store, folds=folds, out=tmp_path, device="cpu"))
    for fold, columns in zip(run.folds, values, strict=True):
        probe = pd.DataFrame({"epoch": [0, 1]} | columns)
        predictions = run.predictions().query(f"fold == '{fold}'")
        result = Result(predictions, probe, {"seconds": 1.0}, probe=probe)
        shutil.rmtree(run.fold(fold))
        run.write_fold(fold, result)
    return run


def test_a_weak_signal_of_what_the_head_reads_is_warned_of(hand_store, tmp_path):
    token = {"token_norm": [0.5, 2.0], "token_spread": [0.01, 1.0]}
    hidden = {"hidden_norm": [50.0, 50.0], "embedding_norm": [4.0, 4.0]}
    run = recorded(
        hand_store, tmp_path, [token | hidden | {"hidden_spread": spread} for spread in ([0.5, 1.0], [0.5, 2.0])]
    )
    result = probes.signal(run)
    assert result["fold"].tolist() == ["hand-s0"] * 2 + ["hand-s1"] * 2
    assert result["token_signal"].tolist() == pytest.approx([0.02, 0.5] * 2)
    assert result["hidden_signal"].tolist() == pytest.approx([0.01, 0.02, 0.01, 0.04])
    text = probes.verdict(run)
    assert text.startswith("hand: the hidden state that the head reads differs between clips by 3 % of its norm (1 %")
    assert "WARNING: below 5 %" in text and text.endswith(
        "is 0.5 times that of the LLM's token embeddings: see Recipe.token_scale."
    )


def test_without_an_llm_the_signal_is_that_of_the_visual_token(hand_store, tmp_path):
    run = recorded(hand_store, tmp_path, [{"token_norm": [1.0, 1.0], "token_spread": [0.01, 0.2]}] * 2)
    assert "hidden_signal" not in probes.signal(run)
    text = "hand: the visual token that the head reads differs between clips by 20 % of its norm (1 % before training)."
    assert probes.verdict(run) == text
