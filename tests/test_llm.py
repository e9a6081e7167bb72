"""The LLM wrapper against transformers used by hand; checkpoints good and bad; the tiny LLM."""

import copy
import gc
import json
import socket
import warnings

import huggingface_hub
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GemmaConfig,
    GemmaForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
)
from transformers.utils import logging as hf_logging

from aullm_lib import lora
from aullm_lib.llm import LLMReasoner, decoder_config, hidden_size, load, reason, waits
from aullm_lib.support.tiny import SHAPES, build_tiny, checkpoint

PROMPT = "Analyze the facial features:"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("llm") / "tiny")


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the checkpoint, to be spoilt."""
    for f in tiny.iterdir():
        (tmp_path / f.name).write_bytes(f.read_bytes())
    return tmp_path


def reasoner(checkpoint, **options):
    """With adapters that do something."""
    torch.manual_seed(0)
    module = LLMReasoner(checkpoint, **{"prompt": PROMPT, **options}).eval()
    for name, p in module.named_parameters():
        if ".B." in name:
            torch.nn.init.normal_(p, std=0.2)
    return module


def by_hand(checkpoint, token, order, module=None):
    """A causal LM with the adapters merged into its weights, prompt and token concatenated, the last hidden state."""
    lm = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32).eval()
    if module is not None:
        for name, part in zip(module.adapter.names, module.adapter.lora, strict=True):
            lm.get_parameter(f"model.{name}.weight").data += (part["B"].weight @ part["A"].weight * (32 / 16)).detach()
    ids = AutoTokenizer.from_pretrained(checkpoint)(PROMPT, return_tensors="pt").input_ids
    text = lm.get_input_embeddings()(ids).expand(len(token), -1, -1)
    parts = [token[:, None], text]
    embeds = torch.cat(parts if order == "visual-first" else parts[::-1], 1)
    with torch.no_grad():
        return lm(inputs_embeds=embeds, output_hidden_states=True).hidden_states[-1][:, -1]


@pytest.mark.parametrize("order", ["visual-first", "prompt-first"])
def test_output_is_that_of_the_plain_concatenation(tiny, order):
    module, token = reasoner(tiny, token_order=order), torch.randn(3, 64)
    got = module(token)
    assert got.shape == (3, 64)
    torch.testing.assert_close(got, by_hand(tiny, token, order, module), rtol=1e-4, atol=1e-5)
    assert (got - by_hand(tiny, token, order)).abs().max() > 1e-2  # the adapters are heard
    assert torch.equal(got, module(token))


def test_fresh_adapters_change_nothing(tiny):
    token = torch.randn(2, 64)
    got = LLMReasoner(tiny, prompt=PROMPT).eval()(token)
    torch.testing.assert_close(got, by_hand(tiny, token, "visual-first"), rtol=1e-4, atol=1e-5)
    frozen = LLMReasoner(tiny, prompt=PROMPT, adapt="frozen")
    torch.testing.assert_close(frozen(token), got)
    assert not [n for n, p in frozen.named_parameters() if p.requires_grad or "lora" in n]


def test_no_prompt_is_the_token_alone(tiny):
    module, token = LLMReasoner(tiny, prompt="", adapt="frozen"), torch.randn(2, 64)
    with torch.no_grad():
        want = load(tiny)[0](inputs_embeds=token[:, None]).last_hidden_state[:, 0]
    assert len(module.prompt_ids) == 0
    torch.testing.assert_close(module(token), want)


def test_only_lora_trains_and_all_of_it(tiny):
    module = reasoner(tiny, lora_r=4).train()
    token = torch.randn(2, 64, requires_grad=True)
    module(token).square().sum().backward()
    trains = {n: p for n, p in module.named_parameters() if p.requires_grad}
    assert set(trains) == {f"adapter.lora.{i}.{ab}.weight" for ab in "AB" for i in range(4)}
    assert module.adapter.names == [f"layers.{i}.self_attn.{t}" for i in (0, 1) for t in ("q_proj", "v_proj")]
    assert sum(p.numel() for p in trains.values()) == 2 * (4 * (64 + 64) + 4 * (64 + 32))
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in trains.values())
    assert token.grad is not None and token.grad.abs().max() > 0
    assert not [n for n, p in module.named_parameters() if p.grad is not None and "lora" not in n]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_base_with_full_precision_adapters(tiny, dtype):
    module, exact, token = reasoner(tiny, dtype=dtype), reasoner(tiny), torch.randn(4, 64)
    assert {p.dtype for n, p in module.llm.named_parameters() if "lora" not in n} == {getattr(torch, dtype)}
    assert {p.dtype for n, p in module.named_parameters() if "lora" in n} == {torch.float32}
    out = module(token)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, exact(token), rtol=0.1, atol=0.1)
    module.train()(token).sum().backward()
    assert all(p.grad.isfinite().all() for n, p in module.named_parameters() if "lora" in n)


def test_auto_is_half_precision_for_a_gpu_and_full_precision_for_a_cpu(tiny):
    assert load(tiny, dtype="auto")[0].dtype == torch.float32
    pair = load(tiny, dtype="auto", device="cuda:1")  # which this machine need not have
    assert pair[0].dtype == torch.float16 and pair[0].device.type == "cpu"
    assert LLMReasoner(pair, prompt=PROMPT, dtype="auto").llm.dtype == torch.float16
    with pytest.raises(ValueError, match=r"llm_dtype='float32', but the LLM was loaded as torch\.float16"):
        LLMReasoner(pair, prompt=PROMPT, dtype="float32")


def test_one_loaded_llm_serves_many_reasoners(tiny):
    pair = load(tiny)
    count, embeds = sum(w.numel() for w in pair[0].parameters()), torch.randn(1, 3, 64)
    before = pair[0](inputs_embeds=embeds).last_hidden_state
    first, second = reasoner(pair), LLMReasoner(pair, prompt=PROMPT).eval()
    assert torch.equal(before, pair[0](inputs_embeds=embeds).last_hidden_state)
    assert first.frozen_parameters() == count
    frozen = dict(pair[0].named_parameters())["layers.0.mlp.up_proj.weight"]
    assert all(m.llm.layers[0].mlp.up_proj.weight is frozen for m in (first, second))  # no second copy in memory
    token = torch.randn(2, 64)
    assert torch.equal(first(token), reasoner(tiny)(token))  # as if it had been loaded afresh
    assert (first(token) - second(token)).abs().max() > 1e-3


def test_training_drops_out_inside_lora_only(tiny):
    module, token = reasoner(tiny, lora_dropout=0.5).train(), torch.randn(2, 64)
    assert not torch.equal(module(token), module(token))
    frozen = LLMReasoner(tiny, prompt=PROMPT, adapt="frozen").train()
    assert torch.equal(frozen(token), frozen(token))


def nudged(base, folds, **options):
    """Adapters of one model that do something; options of ``lora.config``."""
    made = []
    for seed in range(folds):
        torch.manual_seed(seed)
        settings = {"r": 4, "alpha": 12, "dropout": 0.0, "targets": ("q_proj", "v_proj")} | options
        made.append(lora.Adapter(base, lora.config(**settings)))
        for part in made[-1].lora:
            torch.nn.init.normal_(part["B"].weight, std=0.2)
    return made


def as_peft_has_it(base, adapter, folder, kind="lora"):
    """peft's own model with the adapter's files, opened as anybody would."""
    lora.config(r=4, alpha=12, dropout=0.0, targets=("q_proj", "v_proj"), kind=kind).save_pretrained(folder)
    weights = {name: weight.detach().contiguous() for name, weight in adapter.weights().items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    with warnings.catch_warnings(action="ignore"):  # of transformers, for peft
        return peft.PeftModel.from_pretrained(base, folder, is_trainable=True)


@pytest.mark.parametrize("kind", lora.KINDS)
def test_one_fold_is_to_the_bit_what_peft_computes(tiny, tmp_path, kind):
    (base, _), embeds = load(tiny), torch.randn(3, 5, 64)
    (adapter,) = nudged(base, 1, kind=kind)
    assert all(0.9 <= part["A"].weight.abs().max() * 8 <= 1 for part in adapter.lora)  # Kaiming's: 1 / sqrt(64)
    theirs = as_peft_has_it(load(tiny)[0], adapter, tmp_path, kind)
    want = theirs(inputs_embeds=embeds).last_hidden_state
    with lora.applied(base, [adapter], [3]):
        got = base(inputs_embeds=embeds).last_hidden_state
    assert torch.equal(got, want)
    want.square().sum().backward()
    got.square().sum().backward()
    grads = {n.replace(".default", ""): p.grad for n, p in theirs.named_parameters() if p.requires_grad}
    own = {n: p for n, p in base.named_parameters() if p.requires_grad}
    assert len(own) == len(grads) == len(list(adapter.parameters())) and len(own) == (12 if kind == "dora" else 8)
    for name, parameter in own.items():
        assert torch.equal(parameter.grad, grads[lora.PREFIX + name.replace(f".{adapter.key}", "")]), name


@pytest.mark.parametrize("kind", ["lora", "rslora"])
def test_several_folds_are_the_adapters_of_peft_that_each_row_names(tiny, kind):
    """Twelve folds, of which the second and the eleventh would mix if one's name began the other's."""
    (base, _), folds = load(tiny), 12
    adapters, rows = nudged(base, folds, kind=kind), [1 + k % 3 for k in range(folds)]
    embeds = torch.randn(sum(rows), 5, 64)
    with torch.no_grad(), lora.applied(base, adapters, rows):
        got = base(inputs_embeds=embeds).last_hidden_state
    theirs, _ = load(tiny)
    for k, adapter in enumerate(adapters):
        settings = lora.config(r=4, alpha=12, dropout=0.0, targets=("q_proj", "v_proj"), kind=kind)
        with warnings.catch_warnings(action="ignore"):  # that there are several
            peft.inject_adapter_in_model(settings, theirs, adapter_name=f"{k:02}")
        peft.set_peft_model_state_dict(theirs, adapter.weights(), adapter_name=f"{k:02}")
    names = [f"{k:02}" for k, n in enumerate(rows) for _ in range(n)]
    layers = [m for m in theirs.modules() if isinstance(m, peft.tuners.lora.Linear)]
    handles = [
        m.register_forward_pre_hook(lambda m, a, k: (a, k | {"adapter_names": names}), with_kwargs=True) for m in layers
    ]
    with torch.no_grad():
        want = theirs(inputs_embeds=embeds).last_hidden_state
    assert len(handles) == 4
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)


def test_an_adapter_leaves_the_model_with_the_fold_that_made_it(tiny):
    base, _ = load(tiny)
    embeds = torch.randn(2, 3, 64)
    count, before = len(list(base.parameters())), base(inputs_embeds=embeds).last_hidden_state
    first, second = nudged(base, 2)
    with torch.no_grad(), lora.applied(base, [second], [2]):
        want = base(inputs_embeds=embeds).last_hidden_state
    del first
    gc.collect()
    assert len(list(base.parameters())) == count + 8 and list(base.peft_config) == [second.key]
    assert all(p.requires_grad for p in second.parameters())
    with torch.no_grad(), lora.applied(base, [second], [2]):
        assert torch.equal(base(inputs_embeds=embeds).last_hidden_state, want)
    del second
    gc.collect()
    assert len(list(base.parameters())) == count and torch.equal(base(inputs_embeds=embeds).last_hidden_state, before)


def test_a_new_fold_does_not_freeze_the_others(tiny):
    base, _ = load(tiny)
    first, second = nudged(base, 2)
    second.requires_grad_(False)  # as somebody may wish
    (third,) = nudged(base, 1)
    trains = [{p.requires_grad for p in one.parameters()} for one in (first, second, third)]
    assert trains == [{True}, {False}, {True}]


def test_what_only_peft_computes_is_refused_for_several_folds(tiny):
    base, _ = load(tiny)
    adapters = nudged(base, 2, kind="dora")
    with (
        pytest.raises(ValueError, match=r"Recipe.adapter='dora'.*side_by_side=1"),
        lora.applied(base, adapters, [1, 1]),
    ):
        pass


@pytest.fixture
def exact(tiny, tmp_path, monkeypatch):
    """Tiny decoders in float64, with norms that stay there: transformers computes them in float32 whatever the type."""

    def norm(self, x):
        scale = 1 + self.weight if "Gemma" in type(self).__name__ else self.weight
        eps = getattr(self, "variance_epsilon", getattr(self, "eps", None))
        return scale * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)

    for name in ("qwen2.modeling_qwen2.Qwen2", "llama.modeling_llama.Llama", "gemma.modeling_gemma.Gemma"):
        monkeypatch.setattr(f"transformers.models.{name}RMSNorm.forward", norm)
    shape = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    shape |= {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64}

    def get(family):
        if family != "qwen2":
            config = LlamaConfig(**shape) if family == "llama" else GemmaConfig(**shape, head_dim=16)
            torch.manual_seed(0)
            (LlamaForCausalLM if family == "llama" else GemmaForCausalLM)(config).save_pretrained(tmp_path)
            AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path)
        return load(tiny if family == "qwen2" else tmp_path, dtype="float64")

    return get


def answer(modules, tokens, weights):
    """Outputs and every gradient of a weighted sum, as one list."""
    for module in modules:
        module.zero_grad()
    tokens = [t.detach().clone().requires_grad_() for t in tokens]
    outs = reason(modules, tokens)
    sum((o * w).sum() for o, w in zip(outs, weights, strict=True)).backward()
    grads = [p.grad for m in modules for p in m.parameters() if p.requires_grad]
    return [*(o.detach() for o in outs), *(t.grad for t in tokens), *grads]


@pytest.mark.parametrize("way", ["in place", "copied"])
@pytest.mark.parametrize("family", ["qwen2", "llama", "gemma"])
def test_a_shared_prompt_gives_the_same_outputs_and_gradients(exact, family, way):
    pair = exact(family)
    options = {"token_order": "prompt-first", "dtype": "float64", "lora_dropout": 0.0}
    plain, shared = (reasoner(pair, share_prompt=s, **options).train() for s in (False, True))
    assert shared.way == "in place"
    shared.way = way
    token = torch.randn(7, plain.d, dtype=torch.float64)
    weight = [torch.randn(7, plain.d, dtype=torch.float64)]
    want, got = answer([plain], [token], weight), answer([shared], [token], weight)
    assert len(got) == 2 + 8
    for a, b in zip(got, want, strict=True):
        assert b.abs().max() > 1e-6
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


ORDERS = [{"token_order": "visual-first"}, {"token_order": "prompt-first"},
          {"token_order": "prompt-first", "share_prompt": True}]  # fmt: skip


def three_folds(pair, options, dtype):
    """Reasoners with one LLM, and 3, 1 and 5 tokens for them, with the weights of their outputs."""
    modules = []
    for seed in range(3):
        torch.manual_seed(seed)
        module = LLMReasoner(pair, prompt=PROMPT, lora_dropout=0.3, **options).train()
        for part in module.adapter.lora:
            torch.nn.init.normal_(part["B"].weight, std=0.2)
        modules.append(module)
    return modules, *([torch.randn(n, 64, dtype=dtype) for n in (3, 1, 5)] for _ in range(2))


@pytest.mark.parametrize("options", ORDERS)
def test_folds_in_one_pass_get_what_each_gets_alone(exact, options):
    modules, tokens, weights = three_folds(exact("qwen2"), {"dtype": "float64", **options}, torch.float64)
    twins = copy.deepcopy(modules)
    together = answer(modules, tokens, weights)
    alone = [answer([m], [t], [w]) for m, t, w in zip(twins, tokens, weights, strict=True)]
    want = [a[0] for a in alone] + [a[1] for a in alone] + [g for a in alone for g in a[2:]]
    for a, b in zip(together, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("options", ORDERS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1e38])
@pytest.mark.parametrize("where", ["token", "inside", "gradient"])
def test_what_is_no_number_in_one_fold_does_not_reach_the_others(tiny, options, where, value):
    """In the second of three folds; -1e38 is a number until it is squared."""
    modules, tokens, weights = three_folds(load(tiny), options, torch.float32)
    twins = copy.deepcopy(modules)
    want = answer(modules, tokens, weights)

    def spoil(layer, inputs, output):
        return output.index_fill(0, torch.tensor(3 if len(output) == 9 else 1), value)  # tokens; shared prompts

    handle = twins[0].llm.layers[0].mlp.register_forward_hook(spoil) if where == "inside" else None
    for spoilt in {"token": [tokens], "gradient": [weights]}.get(where, []):
        spoilt[1] = torch.full((1, 64), value)
    got = answer(twins, tokens, weights)
    if handle:
        handle.remove()
    assert not all(a.isfinite().all() for a in got) or value == -1e38
    kept = [i for i in range(len(want)) if (i if i < 6 else (i - 6) // 8) % 3 != 1]  # 3 outputs, 3 tokens, 3 LoRAs of 8
    assert len(want) == 6 + 24 and len(kept) == 4 + 16
    for i in kept:
        assert want[i].isfinite().all() and torch.equal(got[i], want[i]), i


def test_a_prompt_behind_the_visual_token_is_not_shared(tiny):
    with pytest.raises(ValueError, match="nothing to share"):
        LLMReasoner(tiny, prompt=PROMPT, token_order="visual-first", share_prompt=True)


def windowed(length):
    """A Gemma 3 whose layers but the last see the last ``length`` positions."""
    return transformers.Gemma3TextConfig(**SHAPE, num_key_value_heads=2, head_dim=8, sliding_window=length)


SHAPE = {"vocab_size": 512, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4,
         "num_attention_heads": 4}  # fmt: skip
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
UNSHARED = {
    "state-space": transformers.MambaConfig(vocab_size=512, hidden_size=32, num_hidden_layers=2),
    "linear attention": transformers.Qwen3_5TextConfig(**SHAPE, **LINEAR, num_key_value_heads=2, head_dim=8),
    "convolution": transformers.Lfm2Config(**SHAPE, num_key_value_heads=2, layer_types=["conv", "full_attention"] * 2),
    "window": windowed(10),
    "no cache": transformers.OpenAIGPTConfig(vocab_size=512, n_embd=32, n_layer=2, n_head=4),
    "positions counted anew": transformers.CTRLConfig(vocab_size=512, n_embd=32, n_layer=2, n_head=4, dff=64),
}
SHARED = {
    "window": windowed(11),  # of ten tokens and the visual one
    "full attention": transformers.Lfm2Config(**SHAPE, num_key_value_heads=2, layer_types=["full_attention"] * 4),
    "learned positions": transformers.GPT2Config(vocab_size=512, n_embd=32, n_layer=2, n_head=4),
    "attention biased by distance": transformers.BloomConfig(vocab_size=512, hidden_size=32, n_layer=2, n_head=4),
    "capped products": transformers.Gemma2Config(**SHAPE, num_key_value_heads=2, head_dim=8),
    "experts": transformers.Qwen2MoeConfig(**SHAPE, num_key_value_heads=2, num_experts=4, moe_intermediate_size=16),
}


def ten_tokens(tiny, config, **options):
    """Reasoners with a random LLM and a prompt of ten tokens, as each clip or as can be, and what makes one "once"."""
    torch.manual_seed(0)
    pair = AutoModel.from_config(config).eval().requires_grad_(False), AutoTokenizer.from_pretrained(tiny)
    prompt = pair[1].decode(pair[1](PROMPT)["input_ids"][:10])
    options = {"prompt": prompt, "token_order": "prompt-first", "adapt": "frozen", **options}
    plain, auto, _ = (LLMReasoner(pair, share_prompt=share, **options).eval() for share in (False, None, None))
    assert len(plain.prompt_ids) == 10
    return plain, auto, lambda: LLMReasoner(pair, share_prompt=True, **options)


@pytest.mark.parametrize("kind", UNSHARED)
def test_a_prompt_that_an_llm_cannot_share_runs_with_each_clip(tiny, kind):
    with pytest.warns(UserWarning, match=r"prompt of 10 tokens cannot run once.*Recipe.prompt_pass='each'") as remarks:
        plain, auto, once = ten_tokens(tiny, UNSHARED[kind])
    assert len(remarks) == 1
    token = torch.randn(3, plain.d)
    assert not auto.share_prompt and torch.equal(auto(token), plain(token))
    with pytest.raises(ValueError, match=r"Recipe.prompt_pass='once'.*cannot run once"):
        once()


@pytest.mark.parametrize("kind", SHARED)
def test_a_prompt_is_shared_where_that_is_exact(tiny, kind):
    plain, auto, once = ten_tokens(tiny, SHARED[kind])
    token = torch.randn(3, plain.d)
    assert auto.share_prompt and once().share_prompt
    assert auto.way == ("copied" if kind in ("capped products", "attention biased by distance") else "in place")
    torch.testing.assert_close(auto(token), plain(token), rtol=1e-4, atol=1e-5)


def test_llms_whose_layers_keep_something_else_may_wait_for_a_gpu(tiny):
    """A window's cache is moved to the GPU within the first pass."""
    waiting = {name for name, config in (UNSHARED | SHARED).items() if waits(AutoModel.from_config(config))}
    assert waiting == {"state-space", "linear attention", "convolution", "window", "capped products"}
    assert not waits(load(tiny)[0])


def test_the_rows_of_folds_stay_where_they_are():
    """A CUDA graph of a step reads them, whatever other steps came since."""
    first = lora._own((3, 2), 4, torch.device("cpu"))
    for rows in range(1, 40):
        lora._own((rows, 1, 1), 4, torch.device("cpu"))
    assert lora._own((3, 2), 4, torch.device("cpu")) is first


def test_nothing_is_asked_of_an_llm_that_has_nothing_to_share(tiny):
    for options in ({"token_order": "visual-first"}, {"prompt": ""}, {"adapt": "prompts"}):
        options = {"prompt": PROMPT, "token_order": "prompt-first", "adapt": "frozen", **options}
        pair = load(tiny)
        pair[0].config.layer_types = ["unheard-of"] * 2
        assert not LLMReasoner(pair, share_prompt=None, **options).share_prompt


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_other_decoders_load(tiny, tmp_path, family):
    shape = {
        "vocab_size": 512,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
    }
    lm = (
        LlamaForCausalLM(LlamaConfig(**shape))
        if family == "llama"
        else GemmaForCausalLM(GemmaConfig(**shape, head_dim=16))
    )
    lm.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path)
    module, token = reasoner(tmp_path, token_order="prompt-first"), torch.randn(2, 32)
    assert hidden_size(tmp_path) == module.d == 32
    want = by_hand(tmp_path, token, "prompt-first", module)
    torch.testing.assert_close(module(token), want, rtol=1e-4, atol=1e-5)


def test_of_a_multimodal_model_the_language_model_is_used_and_adapted(tiny, tmp_path):
    text, sight = dict(SHAPE, num_key_value_heads=2, head_dim=8), dict(SHAPE, image_size=28, patch_size=14)
    sight.pop("vocab_size")
    config = transformers.Gemma3Config(text_config=text, vision_config=sight, mm_tokens_per_image=4)
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path)
    module, token = (
        reasoner(tmp_path, token_order="prompt-first", share_prompt=True, adapter="lora"),
        torch.randn(2, 32),
    )
    assert "vision_tower.encoder.layers.0.self_attn.q_proj" in dict(module.llm.named_modules())
    assert module.adapter.names == [
        f"language_model.layers.{i}.self_attn.{t}" for i in range(4) for t in ("q_proj", "v_proj")
    ]
    module(token).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in module.parameters())
    embeds = module.llm.get_input_embeddings()(module.prompt_ids).expand(2, -1, -1)
    frozen = LLMReasoner(
        (module.llm, AutoTokenizer.from_pretrained(tiny)), prompt=PROMPT, token_order="prompt-first", adapt="frozen"
    )
    with torch.no_grad():
        want = module.llm.language_model(inputs_embeds=torch.cat([embeds, token[:, None]], 1)).last_hidden_state[:, -1]
    torch.testing.assert_close(frozen(token), want)


# --- bad input


@pytest.mark.parametrize("name", ["./nothing", "/nothing/here", "~/nothing-here", "a/b/c", "", "owner\\name"])
def test_a_missing_folder_is_named_and_never_looked_up(name, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("touched the network")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for f in (load, hidden_size):
        with pytest.raises(FileNotFoundError, match=r"llm=.*no such folder"):
            f(name)


def test_a_hub_name_that_cannot_be_had():
    for f in (load, hidden_size):
        with pytest.raises(FileNotFoundError, match=r"llm='nobody/no-such-llm'.*HF_HUB_OFFLINE"):
            f("nobody/no-such-llm")


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_an_incomplete_folder_says_what_it_lacks(folder, lost):
    (folder / lost).unlink()
    with pytest.raises(FileNotFoundError, match=f"incomplete.*{lost}"):
        load(folder)


def test_pickled_weights_are_not_read(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="safetensors"):
        load(folder)


def test_a_missing_shard(folder):
    index = {"metadata": {}, "weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(FileNotFoundError, match="lacks model-00001-of-00002"):
        load(folder)
    (folder / "model.safetensors.index.json").write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        load(folder)


@pytest.mark.parametrize(
    "config",
    [
        transformers.BertConfig(**SHAPE),  # loads as it is, and fails only in LoRA
        transformers.DistilBertConfig(vocab_size=512, dim=32, hidden_dim=64, n_layers=2, n_heads=4),
        transformers.T5Config(vocab_size=512, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4),
        transformers.BartConfig(d_model=32, encoder_ffn_dim=64, decoder_ffn_dim=64),
        transformers.ViTConfig(hidden_size=32),
        transformers.CLIPConfig(),
        transformers.Gemma3TextConfig(**SHAPE, head_dim=8, use_bidirectional_attention=True),  # as EmbeddingGemma
        transformers.Qwen2Config(**SHAPE, is_causal=False),
    ],
    ids=lambda config: config.model_type,
)
def test_what_does_not_read_from_left_to_right_is_no_llm(folder, config):
    config.save_pretrained(folder)
    with pytest.raises(ValueError, match=rf"llm=.*{config.model_type} is no decoder-only language model"):
        decoder_config(folder)


@pytest.mark.parametrize("config", [*UNSHARED.values(), *SHARED.values()], ids=lambda config: config.model_type)
def test_decoders_of_every_kind_are_llms(folder, config):
    config.save_pretrained(folder)
    assert decoder_config(folder).model_type == config.model_type


def test_a_tokenizer_that_cannot_be_read(folder):
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["type"] = "NewBPE"
    for text in (json.dumps(content), "{", "<html>404</html>"):
        (folder / "tokenizer.json").write_text(text)
        with pytest.raises(ValueError, match=r"llm=.*tokenizer cannot be read.*newer version"):
            load(folder)


def test_a_tokenizer_of_another_model(folder):
    other = transformers.Qwen2Config(**{**SHAPE, "vocab_size": 300}, num_key_value_heads=2)
    AutoModel.from_config(other).save_pretrained(folder)
    with pytest.raises(ValueError, match=r"llm: the tokenizer gives.*embeddings of 300 tokens"):
        LLMReasoner(folder, prompt=PROMPT)


@pytest.mark.parametrize("fields", [{"num_attention_heads": 5}, {"hidden_act": "unheard-of"}, {"model_type": "qwen99"}])
def test_a_configuration_that_makes_no_model(folder, fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))
    with pytest.raises(ValueError, match="llm="):
        load(folder)


@pytest.mark.parametrize(
    "fields", [{"num_hidden_layers": 1, "layer_types": ["full_attention"]}, {"model_type": "llama"}]
)
def test_weights_that_the_configuration_has_no_place_for(folder, fields):
    """The second layer; the biases of queries, keys and values, which Llama has not."""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))
    with pytest.raises(ValueError, match=r"llm=.*weights have no place in the model of config.json \(model.layers"):
        load(folder)


def test_a_head_is_left_out(folder):
    shape = {**SHAPE, "num_key_value_heads": 2, "tie_word_embeddings": False, "pad_token_id": 0}
    config = transformers.Qwen2Config(**shape)
    for kind in (transformers.Qwen2ForCausalLM, transformers.Qwen2ForSequenceClassification, transformers.Qwen2Model):
        kind(config).save_pretrained(folder)
        assert type(load(folder)[0]) is transformers.Qwen2Model


def test_truncated_weights(folder):
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match="damaged"):
        load(folder)


def test_weights_that_lack_a_tensor_are_not_filled_with_noise(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights are missing.*up_proj"):
        load(folder)


def test_weights_of_another_shape(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 32}))
    with pytest.raises(ValueError, match="unusable"):
        load(folder)


def test_code_in_a_checkpoint_is_not_run(folder):
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.C", "AutoModel": "evil.M"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "evil"}))
    (folder / "evil.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")
    with pytest.raises(ValueError):
        load(folder)
    assert not (folder / "ran").exists()


def test_choices(tiny):
    pair = load(tiny)
    for bad, words in (
        ({"token_order": "last"}, "visual-first, prompt-first"),
        ({"adapt": "full"}, "lora, frozen"),
        ({"dtype": "bfloat16"}, "loaded as torch.float32"),
        ({"lora_targets": ("query",)}, "query"),
        ({"prompt": "again and " * 600}, "at most 512"),
    ):
        with pytest.raises(ValueError, match=words):
            LLMReasoner(pair, **{"prompt": PROMPT, **bad})
    with pytest.raises(ValueError, match="float32, bfloat16, float16"):
        load(tiny, dtype="int8")


# --- the tiny LLM


def test_tiny_is_the_same_to_the_byte_for_a_seed(tiny, tmp_path):
    again, other = build_tiny(tmp_path / "x" / "deep" / "a"), build_tiny(tmp_path / "x" / "b", seed=1)
    files = {f.name: f.read_bytes() for f in tiny.iterdir()}
    assert {f.name: f.read_bytes() for f in again.iterdir()} == files
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(files)
    changed = {f.name for f in other.iterdir() if f.read_bytes() != files[f.name]}
    assert changed == {"model.safetensors", "tiny.json"}
    assert sorted(p.name for p in (tmp_path / "x").iterdir()) == ["b", "deep"]  # nothing temporary left


def test_tiny_is_not_built_twice_nor_over_something_else(tiny):
    def stamps():
        return {f.name: f.stat().st_mtime_ns for f in tiny.iterdir()}

    before = stamps()
    assert build_tiny(tiny) == tiny and stamps() == before
    with pytest.raises(FileExistsError, match="something other"):
        build_tiny(tiny, hidden=32)
    with pytest.raises(FileExistsError, match="something other"):
        build_tiny(tiny.parent)
    assert stamps() == before


def test_tiny_llms_by_name_differ_and_other_names_are_what_they_say(tmp_path):
    paths = [checkpoint(name, tmp_path) for name in SHAPES]
    assert paths == [checkpoint(name, tmp_path) for name in SHAPES]
    assert [load(path)[0].config.num_hidden_layers for path in paths] == [2, 6]
    assert checkpoint("Qwen/Qwen2.5-1.5B", tmp_path) == "Qwen/Qwen2.5-1.5B"


def test_a_killed_build_leaves_nothing_that_looks_done(tmp_path, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr("aullm_lib.support.tiny.Qwen2ForCausalLM.save_pretrained", full)
        with pytest.raises(OSError, match="No space"):
            build_tiny(tmp_path / "x" / "t")
    assert not list((tmp_path / "x").iterdir())
    assert (build_tiny(tmp_path / "x" / "t") / "model.safetensors").exists()


def test_the_tokenizer_keeps_text(tiny):
    tokenizer = load(tiny)[1]
    for text in (PROMPT, "请分析人脸视频特征，对动作单元分类：", "naïve — 12 £", " "):
        ids = tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text and max(ids) < 512
    assert len(tokenizer(PROMPT)["input_ids"]) < len(PROMPT)  # merges were learnt


def test_shape_of_the_tiny_llm(tmp_path):
    path = build_tiny(tmp_path / "t", hidden=48, layers=3, heads=6, kv_heads=3, vocab=300)
    config = load(path)[0].config
    assert (config.hidden_size, config.num_hidden_layers, config.vocab_size) == (48, 3, 300)
    assert (config.num_attention_heads, config.num_key_value_heads) == (6, 3) and hidden_size(path) == 48
    for bad in ({"hidden": 50}, {"kv_heads": 3}, {"vocab": 256}, {"layers": 0}, {"hidden": 12}):
        with pytest.raises(ValueError, match="need"):
            build_tiny(tmp_path / "bad", **bad)
    assert not (tmp_path / "bad").exists()


def test_building_and_loading_are_silent_and_leave_the_world_alone(tmp_path, capfd):
    torch.manual_seed(3)
    state, level = torch.get_rng_state(), hf_logging.get_verbosity()
    path = build_tiny(tmp_path / "t")
    load(path)
    assert torch.equal(state, torch.get_rng_state())
    assert hf_logging.get_verbosity() == level and hf_logging.is_progress_bar_enabled()
    assert capfd.readouterr() == ("", "")


def test_a_reasoner_survives_a_copy(tiny):
    module, token = reasoner(tiny), torch.randn(1, 64)
    assert torch.equal(copy.deepcopy(module)(token), module(token))
