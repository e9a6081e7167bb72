"""The LLM reasoning module: one visual token and a text prompt through a pretrained LLM with LoRA (paper 3.3).

``load`` reads a decoder-only checkpoint (folder or hub name) without its language-model head; ``LLMReasoner`` is one
fold's LoRA, prompt and token order; ``reason`` takes the tokens of one fold or of many through the one frozen model.

Where this departs, and why:
- The paper puts the visual token before the prompt and reads the last token, one of the prompt's. The released script
  puts it after the prompt and reads it back there. ``token_order`` has both.
- The script loads a causal LM and computes vocabulary logits and all hidden states, to use one. The base model without
  the head gives the same last hidden state.
- LoRA weights are fp32 whatever the base; the visual token is cast to the base's type, the result back.
- With the prompt first, nothing before the last position depends on the clip. ``share_prompt`` runs the prompt once for
  the whole batch, with gradients, and gives every visual token its keys and values: the same outputs and gradients as
  the plain concatenation. In training with LoRA dropout, the batch then shares the prompt's dropout masks, where the
  plain way draws them for each clip: the expected gradient is the same, its variance is not. It is up to as many times
  as large as there are clips in the batch: measured with the tiny LLM, 0.5 to 1.6 times where the clips' gradients are
  independent, 7.5 times (8 clips) and 61 times (64 clips) where they agree. With the visual token first every prompt
  token depends on it and nothing can be shared; nor can it where an LLM keeps something else of the prompt than keys
  and values of every position (``can_share``).
- LoRA dropout 0.1 is the script's. The prompt is tokenised the tokenizer's own way (some put a start token first); an
  empty prompt gives no token at all.
"""

import contextlib
import os
import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    AttentionInterface,
    AutoModel,
    AutoTokenizer,
    DynamicCache,
)
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from aullm_lib.controls import prompt_ids
from aullm_lib.lora import Adapter, applied, config
from aullm_lib.support import hub
from aullm_lib.support.hub import locate, not_had, quiet, read_config

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}
TOKEN_ORDERS = ("visual-first", "prompt-first")
ADAPTS = ("lora", "frozen", "prompts")

Loaded = tuple[Any, Any]  # (base model, tokenizer), as ``load`` returns them


def load(
    checkpoint: str | os.PathLike,
    *,
    dtype: str = "float32",
    device: str | torch.device = "cpu",
    random_weights: bool = False,
    layers: int = 0,
) -> Loaded:
    """Read a decoder-only checkpoint: `(base model without LM head, tokenizer)`, on the CPU, in eval mode.

    Only safetensors weights are read and no code from the checkpoint is run. HF_HUB_OFFLINE=1 keeps it off the network.

    Args:
        checkpoint: "smollm2" (``support.smollm2``), a folder, or a hub name such as "Qwen/Qwen2.5-1.5B" (of the commit
            in ``REVISIONS``) or "owner/name@commit". What exists, starts with ".", "/" or "~", or has more than one
            separator is a folder, and is never looked up in the hub.
        dtype: of the weights, one of ``DTYPES``; or "auto": float16 for a GPU, as the released script has it, float32
            for a CPU, where the LLM takes 10 to 17 times as long in float16.
        device: where the model will be put: what "auto" means is decided by it.
        random_weights: keep the architecture, draw new weights as its authors do before training (seeded, the same
            each time): what the pretraining is worth.
        layers: keep the first so many and the final norm; 0 keeps all.

    Raises:
        FileNotFoundError: no such folder, a folder without the files it needs, or a name that cannot be had.
        ValueError: an unknown dtype, what ``decoder_config`` refuses, damaged weights, or weights that do not fit the
            configuration.
    """
    if dtype == "auto":
        dtype = "float32" if torch.device(device).type == "cpu" else "float16"
    if dtype not in DTYPES:
        raise ValueError(f"llm_dtype={dtype!r}: allowed are auto, {', '.join(DTYPES)}")
    config = decoder_config(checkpoint, layers)
    source, options = locate(checkpoint)
    tokenizer = _tokenizer(checkpoint)
    try:
        with quiet():
            if random_weights:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(1536)  # any number, but not that of tiny.build_tiny
                    model = AutoModel.from_config(config, dtype=DTYPES[dtype])
                return _first(model, layers).eval().requires_grad_(False), tokenizer
            model, info = AutoModel.from_pretrained(
                source, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True, **options
            )
    except OSError as error:
        raise FileNotFoundError(not_had(checkpoint, error)) from error
    except Exception as error:  # each architecture fails in ways of its own
        raise ValueError(f"llm={str(checkpoint)!r}: damaged or unusable checkpoint: {error}") from error
    own, prefix = dict(model.named_children()), f"{model.base_model_prefix}."  # the head is no part of the base model
    unread = {key for key in info["unexpected_keys"] if "lm_head" not in key}
    extra = {key for key in unread if key.removeprefix(prefix).partition(".")[0] in own}
    for keys, problem in ((info["missing_keys"], "are missing"), (extra, "have no place in the model of config.json")):
        if keys:
            names = ", ".join(sorted(keys)[:3])
            raise ValueError(f"llm={str(checkpoint)!r}: {len(keys)} weights {problem} ({names}, ...)")
    for name, weight in model.named_parameters():
        if not weight.sum(dtype=torch.float64).isfinite():
            raise ValueError(
                f"llm={str(checkpoint)!r}: {name} has non-finite values (NaN or Inf) in {dtype}; copy the checkpoint "
                "again, or choose another Recipe.llm_dtype"
            )
    return _first(model, layers).eval().requires_grad_(False), tokenizer


def _first(model: Any, layers: int) -> Any:
    """A loaded model with its first layers only, 0 for all."""
    if layers:
        text, config = getattr(model, "language_model", model), _text_config(model.config)
        count = config.num_hidden_layers
        stack = next(m for m in text.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
        del stack[layers:]
        for name, value in vars(config).items():
            if isinstance(value, list) and len(value) == count:  # what the configuration says of each layer
                setattr(config, name, value[:layers])
        config.num_hidden_layers = layers
    return model


def hidden_size(llm: str | os.PathLike | Loaded) -> int:
    """Width d of the LLM's hidden states; of a checkpoint only the configuration is read. Raises as ``load`` does."""
    if isinstance(llm, tuple):
        return _text_config(llm[0].config).hidden_size
    return _text_config(read_config(llm)).hidden_size


def decoder_config(checkpoint: str | os.PathLike, layers: int = 0) -> Any:
    """The configuration of a checkpoint that ``load`` takes, as far as that can be told without its weights.

    Raises:
        FileNotFoundError, ValueError: as ``hub.check``, or the model is no decoder-only language model, or has fewer
            than so many layers.
    """
    config = hub.check(checkpoint)
    text = config if config.is_encoder_decoder else _text_config(config)
    decoder = any(type(part) in MODEL_FOR_CAUSAL_LM_MAPPING for part in (config, text))
    encoder = type(text) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(text, "is_decoder", False)
    causal = getattr(text, "is_causal", True) and getattr(text, "use_bidirectional_attention", "") not in (True, "all")
    if config.is_encoder_decoder or encoder or not (decoder and causal):
        raise ValueError(
            f"llm={os.fspath(checkpoint)!r}: {config.model_type} is no decoder-only language model, or attends in both "
            "directions here. Give one that reads from left to right, as Qwen2, Llama and Gemma do"
        )
    if layers > text.num_hidden_layers:
        raise ValueError(f"Recipe.llm_layers={layers}: this LLM has {text.num_hidden_layers}; 0 takes them all")
    return config


def _tokenizer(checkpoint: str | os.PathLike) -> Any:
    source, options = locate(checkpoint)
    try:
        with quiet():
            return AutoTokenizer.from_pretrained(source, **options)
    except OSError as error:
        raise FileNotFoundError(not_had(checkpoint, error)) from error
    except Exception as error:  # tokenizers raises Exception itself
        raise ValueError(
            f"llm={os.fspath(checkpoint)!r}: the tokenizer cannot be read: damaged, or written by a newer version of "
            f"tokenizers or transformers. Copy it again, or save it with the versions here. The loader said: {error}"
        ) from error


class LLMReasoner(nn.Module):
    """A visual token and a prompt through the LLM; what comes out at the last position.

    The given model is not copied: one loaded LLM serves any number of reasoners, each with an adapter of its own in it
    (``lora.Adapter``), drawn from the global torch generator. The frozen weights are no part of the reasoner's
    parameters and state. Moving a reasoner to another device or type moves what is shared.

    Args:
        checkpoint: as for ``load``, or the `(model, tokenizer)` that it returned.
        prompt: text; "" leaves the visual token alone.
        prompt_control: what stands in the prompt's place, see ``controls.prompt_ids``.
        token_order: "visual-first" (paper) or "prompt-first" (released script).
        share_prompt: run the prompt once a batch instead of once a clip; only with "prompt-first" and an LLM for which
            it is exact (``can_share``). None: wherever that is so; one warning for each LLM says where it is not.
        adapter, lora_r, lora_alpha, lora_dropout, lora_targets: see ``lora.config``.
        context: number of learned vectors with adapt="prompts".
        dtype: of the frozen weights, as for ``load``; "auto" takes a loaded model as it is.
        adapt: "lora"; "frozen" for no adapter; "prompts" for learned vectors that take the place of prompt and visual
            token (CoOp): what the LLM answers to them is added to each visual token.

    Raises:
        FileNotFoundError, ValueError: as ``load``; an unknown choice; a loaded model of another dtype; LoRA targets
            that the model lacks; a prompt longer than its context; a prompt to be shared that cannot be.
    """

    prompt_ids: Tensor

    def __init__(
        self,
        checkpoint: str | os.PathLike | Loaded,
        *,
        prompt: str,
        prompt_control: str = "none",
        token_order: str = "visual-first",
        share_prompt: bool | None = False,
        context: int = 16,
        adapter: str = "lora",
        lora_r: int = 16,
        lora_alpha: float = 32,
        lora_dropout: float = 0.1,
        lora_targets: Sequence[str] = ("q_proj", "v_proj"),
        dtype: str = "float32",
        adapt: str = "lora",
    ) -> None:
        super().__init__()
        if token_order not in TOKEN_ORDERS:
            raise ValueError(f"token_order={token_order!r}: allowed are {', '.join(TOKEN_ORDERS)}")
        if share_prompt and token_order != "prompt-first":
            raise ValueError(
                "share_prompt needs token_order='prompt-first': behind the visual token every token of the prompt "
                "depends on the clip, so there is nothing to share"
            )
        if adapt not in ADAPTS:
            raise ValueError(f"adapt={adapt!r}: allowed are {', '.join(ADAPTS)}")
        base, tokenizer = checkpoint if isinstance(checkpoint, tuple) else load(checkpoint, dtype=dtype)
        if dtype != "auto" and base.dtype != DTYPES.get(dtype):
            raise ValueError(f"llm_dtype={dtype!r}, but the LLM was loaded as {base.dtype}")
        ids = prompt_ids(tokenizer, prompt, prompt_control)
        rows = base.get_input_embeddings().weight.shape[0]
        if ids and max(ids) >= rows:
            raise ValueError(
                f"llm: the tokenizer gives the prompt the token {max(ids)}, but the LLM has embeddings of {rows} "
                "tokens: they are of different models; copy the checkpoint again"
            )
        text = _text_config(base.config)
        longest = getattr(text, "max_position_embeddings", None)
        if longest and (context if adapt == "prompts" else len(ids) + 1) > longest:
            raise ValueError(
                f"prompt has {len(ids)} tokens, the learned context {context}; with the visual token the LLM takes at "
                f"most {longest}"
            )
        self.d: int = text.hidden_size
        self.token_order = token_order
        unshared = token_order != "prompt-first" or adapt == "prompts" or not ids
        self.share_prompt = not unshared and _shares(base, len(ids), share_prompt)
        self.way = _way(base) if self.share_prompt else ""
        self.register_buffer("prompt_ids", torch.tensor(ids, dtype=torch.long), persistent=False)  # p
        self._shared = (base,)  # in a tuple, it is no part of this module
        # as wide as token embeddings are; CoOp draws them with this deviation too
        self.context = nn.Parameter(0.02 * torch.randn(context, self.d)) if adapt == "prompts" else None  # p d
        self.adapter: Adapter | None = None
        if adapt == "lora":
            made = config(kind=adapter, r=lora_r, alpha=lora_alpha, dropout=lora_dropout, targets=lora_targets)
            text_part = set(base.get_decoder().modules())  # no image goes through the others of a multimodal model
            others = [name for name, module in base.named_modules() if module not in text_part]
            made.exclude_modules = [name for name in others if name.endswith(tuple(lora_targets))] or None
            self.adapter = Adapter(base, made)

    @property
    def llm(self) -> Any:
        """The frozen model, which other reasoners may share."""
        return self._shared[0]

    def frozen_parameters(self) -> int:
        """The number of the LLM's own weights, without any adapter."""
        return sum(weight.numel() for name, weight in self.llm.named_parameters() if ".lora_" not in name)

    @cached_property
    def embedding_norm(self) -> float:
        """The median over the vocabulary of the Euclidean norm of a token embedding."""
        embeddings = self.llm.get_input_embeddings()
        norms = torch.linalg.vector_norm(embeddings.weight, dim=-1, dtype=torch.float32)  # v
        return norms.median().item() * float(getattr(embeddings, "embed_scale", 1))  # of Gemma

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self.llm._apply(fn)
        return super()._apply(fn, recurse)

    def forward(self, token: Tensor) -> Tensor:
        """visual token `[b, d]` -> hidden state of the last position after the final norm, `[b, d]`, in its type."""
        return reason([self], [token])[0]


def reason(reasoners: Sequence[LLMReasoner], tokens: Sequence[Tensor]) -> list[Tensor]:
    """The visual tokens of several folds, `[b_k, d]` each with its own reasoner, through their LLM in one pass.

    The reasoners share one LLM, prompt and token order, and have LoRA all or none. Returns the hidden states `[b_k, d]`
    of the last position, in the tokens' type: what each fold alone would give, but for the order of summation.
    """
    first, rows = reasoners[0], [len(token) for token in tokens]
    model, adapters = first.llm, [r.adapter for r in reasoners if r.adapter is not None]

    def adapted(counts: list[int]) -> contextlib.AbstractContextManager:
        return applied(model, adapters, counts) if adapters else contextlib.nullcontext()

    if first.context is not None:
        contexts = torch.stack([r.context for r in reasoners if r.context is not None]).to(model.dtype)  # k p d
        answers = _hidden_states(model, contexts)[:, -1]  # k d
        return [token + answer.to(token.dtype) for token, answer in zip(tokens, answers, strict=True)]
    visual = torch.cat(list(tokens)).to(model.dtype)[:, None]  # n 1 d
    prompt = model.get_input_embeddings()(first.prompt_ids)  # p d
    if first.share_prompt:
        cache = DynamicCache(config=model.config)
        with adapted([1] * len(reasoners)):
            model(inputs_embeds=prompt.expand(len(reasoners), -1, -1), past_key_values=cache, use_cache=True)
        with adapted(rows):
            hidden = _behind(cache, model, visual, rows, first.way)  # n 1 d
    else:
        prompts = prompt.expand(len(visual), -1, -1)  # n p d
        order = (visual, prompts) if first.token_order == "visual-first" else (prompts, visual)
        with adapted(rows):
            hidden = _hidden_states(model, torch.cat(order, dim=1))  # n p+1 d
    return list(hidden[:, -1].to(tokens[0].dtype).split(rows))  # b_k d


def _hidden_states(model: Any, embeddings: Tensor) -> Tensor:
    """Embeddings `[n, l, d]` through the LLM -> hidden states of all positions, `[n, l, d]`."""
    # An empty cache says that there is one sequence: else transformers looks for several, and waits for the GPU.
    empty = DynamicCache(config=model.config) if embeddings.is_cuda and can_share(model, 0) else None
    return model(inputs_embeds=embeddings, past_key_values=empty, use_cache=empty is not None).last_hidden_state


def waits(model: Any) -> bool:
    """Whether the LLM may wait for a GPU: those do whose layers keep more than the keys and values of each position."""
    return not all(type(layer) is DynamicLayer for layer in DynamicCache(config=model.config).layers)


def can_share(model: Any, tokens: int) -> bool:
    """Whether the LLM gives the same answers when a prompt of so many tokens runs once for all clips.

    It does where a layer keeps the keys and values of every position, and nothing else. The model itself is asked:

    - its cache: layers with recurrent or convolutional state (Mamba, LFM2, Qwen3.5) keep something else, and those with
      a sliding window that is not longer than the prompt forget its beginning;
    - once for each model, three random tokens in one pass against the third one after the cache of the first two: some
      models declare a cache that they do not fill, or count the positions anew behind it.
    """
    whole = all(
        type(layer) is DynamicLayer or (type(layer) is DynamicSlidingWindowLayer and layer.sliding_window > tokens)
        for layer in DynamicCache(config=model.config).layers
    )
    return whole and bool(_way(model))


def _way(model: Any) -> str:
    """How clips read a prompt that ran once (``_behind``), "" for no way."""
    if model not in _WAYS:
        _WAYS[model] = next((way for way in ("in place", "copied") if _exact(model, way)), "")
    return _WAYS[model]


_WAYS: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # asked of each LLM once
_REMARKED: WeakSet[Any] = WeakSet()  # LLMs of which it was said that they cannot share a prompt


@torch.no_grad()
def _exact(model: Any, way: str) -> bool:
    """Whether three random tokens, as long as token embeddings are, come out of the LLM's cache as of one pass."""
    weight = model.get_input_embeddings().weight
    tokens = torch.randn(1, 3, weight.shape[1], generator=torch.Generator().manual_seed(0))
    tokens = (tokens * weight[:1000].float().std().cpu()).to(weight.device, weight.dtype)  # 1 3 d
    want = model(inputs_embeds=tokens, use_cache=False).last_hidden_state[:, -1]
    try:
        cache = DynamicCache(config=model.config)
        model(inputs_embeds=tokens[:, :-1], past_key_values=cache, use_cache=True)
        got = _behind(cache, model, tokens[:, -1:], [1], way)[:, -1]
    except Exception:  # a model without such a cache fails in a way of its own
        return False
    rounding = max(1e-4, torch.finfo(weight.dtype).eps ** 0.5)
    return bool((got - want).norm() <= rounding * want.norm())


def _shares(model: Any, tokens: int, wanted: bool | None) -> bool:
    """Whether a prompt of so many tokens is shared, as ``wanted``. Raises ValueError where it cannot be."""
    if wanted is False or can_share(model, tokens):
        return wanted is not False
    reason = (
        f"with {type(model).__name__} a prompt of {tokens} tokens cannot run once for all clips and give the same: its "
        "layers keep something else of it than the keys and values of every position"
    )
    if wanted:
        raise ValueError(f"Recipe.prompt_pass='once': {reason}. Take 'auto' or 'each'")
    if model not in _REMARKED:  # not once for each fold
        _REMARKED.add(model)
        warnings.warn(f"{reason}. It runs with each clip, as with Recipe.prompt_pass='each'", stacklevel=3)
    return False


def _behind(prompts: DynamicCache, model: Any, visual: Tensor, rows: Sequence[int], way: str) -> Tensor:
    """The hidden states `[n, 1, d]` of visual tokens `[n, 1, d]` behind the prompts of their folds.

    Args:
        prompts: Keys and values of each fold's prompt.
        model: The LLM.
        visual: The tokens of all folds, one fold's after the other's.
        rows: How many each fold has.
        way: "in place", or "copied" for an LLM whose attention is not transformers' own: each clip then has a copy of
            the prompt's keys and values. Expanded, not indexed: the gradient of an index adds the clips' up one by
            one, and in half precision rounds each time.
    """
    if way == "in place":
        config = _text_config(model.config)
        before, config._attn_implementation = config._attn_implementation, _IN_PLACE
        try:
            return model(
                inputs_embeds=visual, past_key_values=_Prompts(prompts, rows), use_cache=True
            ).last_hidden_state
        finally:
            config._attn_implementation = before
    copies, layers = DynamicCache(config=model.config), list[Any](prompts.layers)
    for i, layer in enumerate(layers):
        keys, values = (
            torch.cat([row.expand(n, -1, -1, -1) for row, n in zip(part.split(1), rows, strict=True)])
            for part in (layer.keys, layer.values)
        )  # n g p c
        copies.update(keys, values, i)
    return model(inputs_embeds=visual, past_key_values=copies, use_cache=True).last_hidden_state


class _Prompts(DynamicCache):
    """Keys and values of each fold's prompt, to be read by all of its clips; ``_attend`` takes what it gives."""

    def __init__(self, prompts: DynamicCache, rows: Sequence[int]) -> None:
        super().__init__()
        self.layers, self.rows = prompts.layers, list(rows)

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *_: Any, **__: Any) -> Any:
        layer: Any = self.layers[layer_idx]
        return (layer.keys, key_states, self.rows), (layer.values, value_states)


def _attend(
    module: nn.Module, query: Tensor, key: Any, value: Any, mask: None, *, scaling: float | None = None, **options: Any
) -> tuple[Tensor, Tensor]:
    """Attention of one position a clip, over the prompt of its fold and itself, as transformers calls it.

    A flash kernel would take a tile for each clip and head, with one row of it in use, and a copy of the prompt for
    each clip. Here the clips and heads of a fold are the rows of one matrix product. In float32 at least.

    Args:
        module: The layer; not used.
        query: `[n, h, 1, c]`.
        key: The prompts' `[k, g, p, c]`, the clips' own `[n, g, 1, c]`, and how many clips each of the k folds has.
        value: The prompts' and the clips' own, likewise.
        mask: None, since nothing is hidden from the last position.
        scaling: Of the products; None: 1 / sqrt(c).
        options: What an LLM may want besides.

    Returns:
        `[n, 1, h, c]`, and the weights `[n, h, 1, p+1]`.

    Raises:
        ValueError: The LLM wants capped products, sinks or a bias.
    """
    (prompt_keys, keys, rows), (prompt_values, values) = key, value
    if any(options.get(name) is not None for name in ("softcap", "s_aux", "position_bias")) or mask is not None:
        raise ValueError("an attention with more than products")
    wide = torch.promote_types(query.dtype, torch.float32)
    prompt_keys, prompt_values, keys, values = (x.to(wide) for x in (prompt_keys, prompt_values, keys, values))
    groups = keys.shape[1]
    query, dtype = query.to(wide).unflatten(1, (groups, -1))[:, :, :, 0], query.dtype  # n g r c
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)

    def of_fold(x: Tensor, whose: Tensor, formula: str) -> Tensor:  # rows of clips with what belongs to their fold
        product = torch.einsum(formula, pad_sequence(list(x.split(rows)), batch_first=True), whose)
        return torch.cat([part[:n] for part, n in zip(product, rows, strict=True)])

    behind = of_fold(query, prompt_keys, "kngrc,kgpc->kngrp")  # n g r p
    weights = torch.cat([behind, (query * keys).sum(-1, keepdim=True)], -1).softmax(-1)  # n g r p+1
    prompt, own = weights.split([behind.shape[-1], 1], -1)
    out = of_fold(prompt, prompt_values, "kngrp,kgpc->kngrc") + own * values  # n g r c
    return out.flatten(1, 2)[:, None].to(dtype), weights.flatten(1, 2)[:, :, None]


_IN_PLACE = "aullm_in_place"
AttentionInterface.register(_IN_PLACE, _attend)


def _text_config(config: Any) -> Any:
    return config.get_text_config()
