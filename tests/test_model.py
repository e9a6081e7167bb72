"""AU-LLM and its variants: what is in them, what trains, and that training works."""

import dataclasses

import pytest
import torch
from transformers import AutoModel, Gemma3TextConfig

from aullm_lib import asl
from aullm_lib.controls import ordered
from aullm_lib.llm import load
from aullm_lib.model import AULLM, D_PAPER, VARIANTS, recipe_of
from aullm_lib.recipe import RELEASED, Recipe
from aullm_lib.support.tiny import build_tiny

SMALL = {"size": 28, "efp_hidden": 24, "lora_r": 4}
RECIPES = {"paper": Recipe.paper(**SMALL), "released": Recipe.released(**SMALL)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("llm") / "tiny", hidden=32, heads=2, kv_heads=1, vocab=300)


DEEP = ("llm-layers-4", "llm-layers-8", "llm-layers-16")  # more layers than the tiny LLM has
QUERIES = {
    f"llm.adapter.lora.{i}.{ab}.weight" for ab in "AB" for i in (0, 2)
}  # a token alone: whatever it asks for, it gets itself
STAND_INS = ("llm-to-attention", "llm-to-block", "llm-to-mlp")
SHALLOW = [v for v in VARIANTS if v not in DEEP]


def batch(b=6, n=3, seed=0):
    g = torch.Generator().manual_seed(seed)
    clips = torch.randint(0, 256, (b, 6, 28, 28), dtype=torch.uint8, generator=g)
    return clips, (torch.rand(b, n, generator=g) < 0.4).float()


def build(tiny, variant="all", recipe="paper", seed=0, n=3):
    torch.manual_seed(seed)
    return AULLM(RECIPES[recipe], n, llm=tiny, variant=variant)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("variant", SHALLOW)
def test_every_variant_runs_and_every_trainable_parameter_gets_a_gradient(tiny, variant, recipe):
    model, (clips, targets) = build(tiny, variant, recipe), batch()
    for name, p in model.named_parameters():
        if ".B." in name:  # 0 at first, which would hide A
            torch.nn.init.normal_(p, std=0.1)
    logits = model(clips)
    assert logits.shape == (6, 3) and logits.dtype == torch.float32
    r = recipe_of(variant, RECIPES[recipe])
    asl.build(r.loss, clip=r.clip, reduction=r.reduction)(logits, targets).backward()
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trainable.values())
    still = {n for n, p in trainable.items() if p.grad.abs().max() == 0}
    queries = {n for n in trainable if variant == "no-prompt" and n in QUERIES}
    assert still <= {"backbone.led.log_alpha"} | queries  # it cancels, see led.py
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_what_trains_is_led_cnn_efp_lora_and_head(tiny):
    model = build(tiny)
    names = {n for n, p in model.named_parameters() if p.requires_grad}
    bn = {f"backbone.{b}.{w}" for b in ("norm1", "norm2") for w in ("weight", "bias")}
    cnn = {f"backbone.{c}.{w}" for c in ("conv1", "conv2", "fc.0") for w in ("weight", "bias")}
    se = {f"backbone.se.{w}.weight" for w in ("squeeze", "excite")}
    led = {f"backbone.led.{w}" for w in ("log_alpha", "logit_r1", "logit_r2")}
    efp = {f"efp.mlp.{i}.{w}" for i in (0, 3) for w in ("weight", "bias")}
    lora = {f"llm.adapter.lora.{i}.{ab}.weight" for ab in "AB" for i in range(4)}
    assert names == led | cnn | bn | se | efp | lora | {"head.weight", "head.bias"}
    assert names == set(dict(model.named_parameters()))


@pytest.mark.parametrize("variant", SHALLOW)
def test_twenty_steps_lower_the_loss_and_leave_the_llm_alone(tiny, variant):
    model, (clips, targets) = build(tiny, variant).train(), batch(16)
    llm = model.llm.llm if model.llm else torch.nn.Module()
    before = {p: p.detach().clone() for p in [*model.parameters(), *llm.parameters()]}
    loss = asl.build("asl")
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=2e-3, weight_decay=0.005)
    values = []
    for _ in range(20):
        optimizer.zero_grad()
        value = loss(model(clips), targets)
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert sum(values[-3:]) < 0.9 * sum(values[:3])
    idle = {model.get_parameter(name) for name in QUERIES} if variant == "no-prompt" else set()
    for p, value in before.items():
        assert torch.equal(p, value) != p.requires_grad or p in idle


def test_the_parts_of_each_variant(tiny):
    d_mid, has = 64 * 2 * 3 * 3, {v: build(tiny, v) for v in SHALLOW}
    first = {v: m.efp.mlp[0].in_features for v, m in has.items() if m.efp is not None and v != "efp-"}
    assert {v for v, width in first.items() if width != d_mid + 256} == {"high", "mid"}
    assert (first["high"], first["mid"]) == (256, d_mid)
    assert isinstance(has["efp-"].efp.mlp, torch.nn.Linear) and has["efp-"].efp.mlp.in_features == d_mid + 256
    sizes = {v: sum(p.numel() for p in has[v].efp.parameters()) for v in ("efp-", "efp-small", "all")}
    assert sizes["efp-small"] == pytest.approx(sizes["efp-"], rel=0.01) and sizes["all"] != sizes["efp-small"]
    assert isinstance(has["efp-small"].efp.mlp[1], torch.nn.ReLU)
    assert {v for v, m in has.items() if m.llm is None} == {"no-llm", "backbone", "3d-cnn", *STAND_INS}
    assert {v for v, m in has.items() if m.efp is None} == {"backbone", "3d-cnn"}
    lora = {v for v, m in has.items() if any("lora" in n for n, _ in m.named_parameters())}
    assert set(SHALLOW) - lora == {
        "prompt-learning", "no-llm", "frozen-llm", "random-frozen-llm", "backbone", "3d-cnn", *STAND_INS
    }  # fmt: skip
    assert [v for v, m in has.items() if any("context" in n for n, _ in m.named_parameters())] == ["prompt-learning"]
    assert [v for v, m in has.items() if not any("squeeze" in n for n, _ in m.named_parameters())] == [
        "3d-cnn", "no-se"
    ]  # fmt: skip
    assert {v for v, m in has.items() if not any("led" in n for n, _ in m.named_parameters())} == {
        "3d-cnn", "raw-frames", "frame-difference"
    }  # fmt: skip
    assert {v for v, m in has.items() if m.llm and m.llm.token_order == "prompt-first"} == {
        "visual-last", "switch-token_order"
    }  # fmt: skip
    first = {v: m.llm.llm.layers[0].mlp.up_proj.weight for v, m in has.items() if m.llm}
    same = {v: torch.equal(weight, first["all"]) for v, weight in first.items()}
    assert [v for v, equal in same.items() if not equal] == ["random-llm", "random-frozen-llm"]
    assert [v for v, m in has.items() if m.llm and len(m.llm.llm.layers) == 1] == ["llm-layers-1"]
    assert has["mid"].backbone.fc is None
    widths = {v: 256 if v in ("backbone", "3d-cnn") else 32 for v in SHALLOW}
    assert {v: m.head.in_features for v, m in has.items()} == widths


def test_the_recipes_differences_can_be_switched_one_at_a_time():
    for name, recipe in RECIPES.items():
        other = RECIPES["released" if name == "paper" else "paper"]
        changed = {}
        for field in RELEASED:
            switched = recipe_of(f"switch-{field}", recipe).to_dict()
            changed[field] = [k for k, v in recipe.to_dict().items() if switched[k] != v]
            assert switched[field] == other.to_dict()[field]
        assert changed == {field: [field] for field in RELEASED}


def test_the_visual_token_is_scaled_by_the_norm_of_the_token_embeddings(tiny):
    clips, _ = batch()
    models = []
    for scale in (0.0, 3.0):
        torch.manual_seed(0)
        models.append(AULLM(Recipe.released(**SMALL, token_scale=scale), 3, llm=tiny).eval())
    plain, scaled = models
    norms = sorted(row.norm().item() for row in plain.llm.llm.embed_tokens.weight)
    torch.testing.assert_close(scaled.token(clips), plain.token(clips) * 3.0 * norms[(len(norms) - 1) // 2])
    for variant in ("no-llm", "llm-to-mlp", "prompt-learning"):  # where no token embedding stands beside it
        without = AULLM(Recipe.released(**SMALL, token_scale=3.0), 3, llm=tiny, variant=variant).eval()
        assert without.scale == 1


def test_learned_prompts_answer_every_clip_alike(tiny):
    model, (clips, _) = build(tiny, "prompt-learning").eval(), batch()
    token = model.token(clips)
    answer = model.llm(token) - token
    torch.testing.assert_close(answer, answer[:1].expand_as(answer))
    base, _ = load(tiny)
    want = base(inputs_embeds=model.llm.context[None]).last_hidden_state[0, -1]
    torch.testing.assert_close(answer[0], want, rtol=1e-4, atol=1e-5)
    assert model.llm.context.shape == (16, 32)


def test_the_same_seed_gives_the_same_model_however_the_llm_comes(tiny):
    clips, _ = batch()
    pair = load(tiny)
    models = [build(llm).eval() for llm in (tiny, str(tiny), pair, pair)]
    states = [torch.get_rng_state() for llm in (tiny, pair) if build(llm)]
    assert torch.equal(*states)  # what is drawn afterwards agrees too
    outputs = [m(clips) for m in models]
    assert all(torch.equal(outputs[0], o) for o in outputs) and torch.equal(outputs[0], models[0](clips))
    assert not torch.equal(outputs[0], build(tiny, seed=1).eval()(clips))


def test_one_clip_does_not_see_another(tiny):
    model, (clips, _) = build(tiny).eval(), batch()
    torch.testing.assert_close(model(clips)[2:3], model(clips[2:3]), rtol=1e-4, atol=1e-5)


def test_the_order_of_the_tokens_and_the_prompt_matter(tiny):
    clips, _ = batch()
    outputs = []
    for change in ({}, {"token_order": "prompt-first"}, {"prompt": "Which muscles moved?"}, {"prompt": ""}):
        torch.manual_seed(0)
        outputs.append(AULLM(Recipe.paper(**SMALL, **change), 3, llm=load(tiny)).eval()(clips))
    assert all((a - b).abs().max() > 1e-5 for i, a in enumerate(outputs) for b in outputs[:i])


def test_how_the_prompt_passes_is_the_recipes(tiny, tmp_path):
    """With a Gemma 3 whose window is shorter than the prompt, which cannot share it, and the Qwen2, which can."""
    torch.manual_seed(0)
    shape = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "head_dim": 16}
    gemma = Gemma3TextConfig(**shape, num_key_value_heads=1, intermediate_size=64, sliding_window=3)
    short = AutoModel.from_config(gemma).eval().requires_grad_(False), load(tiny)[1]

    def shares(way, llm):
        return AULLM(Recipe.released(**SMALL, prompt_pass=way), 3, llm=llm).llm.share_prompt

    assert [shares(way, tiny) for way in ("auto", "once", "each")] == [True, True, False]
    assert not shares("each", short)
    with pytest.warns(UserWarning, match="cannot run once for all clips"):
        assert not shares("auto", short)
    with pytest.raises(ValueError, match=r"Recipe.prompt_pass='once'"):
        shares("once", short)


def test_the_first_layers_of_the_llm_and_its_final_norm(tmp_path):
    """Against the whole LLM's hidden states between its layers, which transformers gives."""
    llm = build_tiny(tmp_path / "deep", hidden=16, heads=2, kv_heads=1, vocab=300, layers=16)
    base, _ = load(llm)
    clips, _ = batch()
    for k in (1, 2, 4, 8, 16):
        model = build(llm, f"llm-layers-{k}").eval()
        token = model.token(clips)
        prompt = base.get_input_embeddings()(model.llm.prompt_ids).expand(6, -1, -1)
        states = base(inputs_embeds=torch.cat((token[:, None], prompt), 1), output_hidden_states=True)
        want = base.norm(states.hidden_states[k]) if k < 16 else states.last_hidden_state
        torch.testing.assert_close(model.llm(token), want[:, -1], rtol=1e-4, atol=1e-5)
    whole = load(llm)
    with pytest.raises(ValueError, match=r"Recipe.llm_layers=2, but the LLM was loaded with 16 layers"):
        AULLM(RECIPES["paper"], 3, llm=whole, variant="llm-layers-2")
    assert len(AULLM(RECIPES["paper"], 3, llm=whole).llm.llm.layers) == 16
    with pytest.raises(ValueError, match=r"Recipe.llm_layers=17: this LLM has 16"):
        AULLM(dataclasses.replace(RECIPES["paper"], llm_layers=17), 3, llm=llm)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("variant", ["llm-to-attention", "llm-to-block"])
def test_a_stand_in_is_given_what_the_llm_would_be(tiny, variant, recipe):
    """Against the layer applied with a causal mask to what the whole model's LLM is given, in every position."""
    model, seen = build(tiny, variant, recipe).eval(), []
    base, tokenizer = load(tiny)
    whole = AULLM(RECIPES[recipe], 3, llm=(base, tokenizer))
    whole.llm.share_prompt = False
    token = model.token(batch()[0])
    handle = base.layers[0].register_forward_pre_hook(lambda m, args, kw: seen.append(args[0]), with_kwargs=True)
    whole.llm(token)
    handle.remove()
    (x,) = seen
    mask = torch.nn.Transformer.generate_square_subsequent_mask(x.shape[1])
    stand_in = model.stand_in
    if variant == "llm-to-attention":
        assert stand_in.attention.num_heads == 2
        attended, _ = stand_in.attention(x, x, x, attn_mask=mask)
        want = torch.nn.functional.layer_norm(x + attended, (32,))
    else:
        block = stand_in.block
        assert block.self_attn.num_heads == 2 and block.linear1.out_features == 4 * 32 and block.norm_first
        want = block(x, src_mask=mask)
    torch.testing.assert_close(stand_in(token), want[:, -1], rtol=1e-4, atol=1e-5)
    assert not any(name.startswith("stand_in.prompt") for name in model.state_dict())
    assert model.total_parameters() == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_the_mlp_has_as_many_parameters_as_the_lora(tiny):
    base, tokenizer = load(tiny)
    for r in (1, 4, 16):
        recipe = dataclasses.replace(RECIPES["paper"], lora_r=r)
        model = AULLM(recipe, 3, llm=(base, tokenizer), variant="llm-to-mlp")
        lora = 2 * r * ((32 + 32) + (32 + 16))  # of two layers' queries and values
        count = sum(p.numel() for p in model.stand_in.parameters())
        assert abs(count - lora) <= 32.5  # half a hidden unit: 32 weights in, 32 out, and a bias
    assert not any("lora" in name for name, _ in base.named_parameters())


def test_blind_gives_every_clip_the_same(tiny):
    model, (clips, _) = build(tiny, "blind").train(), batch(12)
    tokens = []
    model.blind.register_forward_pre_hook(lambda module, inputs: tokens.append(inputs[0]))
    for part in (clips[:4], clips[4:5], clips[5:]):
        before = torch.cat(tokens).mean(0) if tokens else torch.zeros(32)
        torch.testing.assert_close(model.token(part), before.expand(len(part), -1))  # of the clips before, not of these
    mean = torch.cat(tokens).mean(0)
    logits = model.eval()(clips)
    assert torch.equal(logits, logits[:1].expand(12, -1))
    torch.testing.assert_close(model.token(clips[:1])[0], mean)
    assert torch.equal(model(batch(12, seed=5)[0]), logits)
    trains = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert trains == {"llm", "head"}


@pytest.mark.parametrize("variant", ["shuffled-frames", "reversed-frames"])
def test_the_order_of_the_frames_is_the_variants(tiny, variant):
    model, plain, (clips, _) = build(tiny, variant).eval(), build(tiny).eval(), batch()
    logits, backwards = model(clips), model(clips.flip(1))
    torch.testing.assert_close(plain(ordered(clips, model.frame_order, False)), logits)
    assert torch.equal(logits, backwards) == (variant == "shuffled-frames")


def test_without_an_llm():
    assert build("", "backbone").head.in_features == build(None, "backbone").head.in_features == 256
    assert build(None, "no-llm").head.in_features == D_PAPER


@pytest.mark.parametrize("led", ["raw", "difference"])
def test_recipe_reaches_the_layers(tiny, led):
    recipe = Recipe.paper(**SMALL, led=led, se=False, dropout=0.1, efp_activation="gelu", lora_dropout=0.2)
    model = AULLM(recipe, 2, llm=tiny)
    assert not any("led" in n or "squeeze" in n for n, _ in model.named_parameters())
    drops = {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout3d | torch.nn.Dropout)}
    assert (
        drops == {0.1} and model.llm.adapter.config.lora_dropout == 0.2 and isinstance(model.efp.mlp[-1], torch.nn.GELU)
    )
    assert model(batch()[0]).shape == (6, 2)


def test_what_is_refused(tiny, tmp_path):
    with pytest.raises(ValueError, match=r"'everything'.*all, high, mid, efp-"):
        AULLM(RECIPES["paper"], 3, llm=tiny, variant="everything")
    for nothing in (None, ""):
        with pytest.raises(ValueError, match="needs an LLM"):
            AULLM(RECIPES["paper"], 3, llm=nothing)
    with pytest.raises(ValueError, match="n_aus=0"):
        AULLM(RECIPES["paper"], 0, llm=tiny)
    with pytest.raises(FileNotFoundError, match="incomplete"):
        AULLM(RECIPES["paper"], 3, llm=tmp_path)
