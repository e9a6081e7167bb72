"""The LLM reasoning module: one visual token and a text prompt through a pretrained LLM with LoRA (paper 3.3).

`load` reads a decoder-only checkpoint (folder or hub name) without its language-model head; `LLMReasoner` puts LoRA on
it and returns the last hidden state of the last position.

Where this departs, and why:
- The paper puts the visual token before the prompt and reads the last token, one of the prompt's. The released script
  puts it after the prompt and reads it back there. `token_order` has both.
- The script loads a causal LM and computes vocabulary logits and all hidden states, to use one. The base model without
  the head gives the same last hidden state.
- LoRA weights are fp32 whatever the base; the visual token is cast to the base's type, the result back.
- LoRA dropout 0.1 is the script's. The prompt is tokenised the tokenizer's own way (some put a start token first); an
  empty prompt gives no token at all.
"""

import contextlib
import copy
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as hf_logging

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKEN_ORDERS = ("visual-first", "prompt-first")
ADAPTS = ("lora", "frozen")

Loaded = tuple[Any, Any]  # (base model, tokenizer), as `load` returns them


def load(checkpoint: str | os.PathLike, *, dtype: str = "float32", revision: str | None = None) -> Loaded:
    """Read a decoder-only checkpoint: `(base model without LM head, tokenizer)`, on the CPU, in eval mode.

    Only safetensors weights are read and no code from the checkpoint is run. HF_HUB_OFFLINE=1 keeps it off the network.

    Args:
        checkpoint: a folder, or a hub name such as "Qwen/Qwen2.5-1.5B". What exists, starts with ".", "/" or "~", or
            has more than one separator is a folder, and is never looked up in the hub.
        dtype: of the weights, one of `DTYPES`.
        revision: commit, tag or branch of a hub name.

    Raises:
        FileNotFoundError: no such folder, a folder without the files it needs, or a name that cannot be had.
        ValueError: an unknown dtype, damaged weights, or weights that do not fit the configuration.
    """
    if dtype not in DTYPES:
        raise ValueError(f"llm_dtype={dtype!r}: allowed are {', '.join(DTYPES)}")
    source, options = _locate(checkpoint, revision)
    if options["local_files_only"]:
        _check_folder(Path(source))
    try:
        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
            model, info = AutoModel.from_pretrained(
                source, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True, **options
            )
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ValueError(f"llm={str(checkpoint)!r}: damaged or unusable checkpoint: {error}") from error
    except OSError as error:
        raise FileNotFoundError(_not_had(checkpoint, error)) from error
    if info["missing_keys"]:
        missing = ", ".join(sorted(info["missing_keys"])[:3])
        raise ValueError(f"llm={str(checkpoint)!r}: {len(info['missing_keys'])} weights are missing ({missing}, ...)")
    return model.eval(), tokenizer


def hidden_size(llm: str | os.PathLike | Loaded) -> int:
    """Width d of the LLM's hidden states; of a checkpoint only the configuration is read. Raises as `load` does."""
    if isinstance(llm, tuple):
        return _text_config(llm[0].config).hidden_size
    source, options = _locate(llm, None)
    try:
        with quiet():
            return _text_config(AutoConfig.from_pretrained(source, **options)).hidden_size
    except OSError as error:
        raise FileNotFoundError(_not_had(llm, error)) from error


def identity(checkpoint: str | os.PathLike) -> str:
    """What the weights are, not what they are called: a hub name's commit, or a hash of a folder's own files.

    Raises as `load` does.
    """
    source, options = _locate(checkpoint, None)
    if options["local_files_only"]:
        _check_folder(Path(source))
        digest = hashlib.sha256()
        for path in sorted([*Path(source).glob("*.json"), *Path(source).glob("*.safetensors")]):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()
    try:
        with quiet():
            return str(AutoConfig.from_pretrained(source, **options)._commit_hash)
    except OSError as error:
        raise FileNotFoundError(_not_had(checkpoint, error)) from error


class LLMReasoner(nn.Module):
    """A visual token and a prompt through the LLM; what comes out at the last position.

    The given model is not changed: adapters go on a copy of its module tree that shares the frozen weights, so one
    loaded LLM serves any number of reasoners, each with its own fresh LoRA (drawn from the global torch generator).
    Moving a reasoner to another device or type moves what is shared.

    Args:
        checkpoint: as for `load`, or the `(model, tokenizer)` that it returned.
        prompt: text; "" leaves the visual token alone.
        token_order: "visual-first" (paper) or "prompt-first" (released script).
        lora_r, lora_alpha, lora_dropout, lora_targets: LoRA's rank, scale, dropout in [0, 1) and the linear layers it
            goes on, by the end of their names.
        dtype: of the frozen weights, one of `DTYPES`.
        adapt: "lora", or "frozen" for no adapter.

    Raises:
        FileNotFoundError, ValueError: as `load`; an unknown choice; a loaded model of another dtype; LoRA targets that
            the model lacks; a prompt longer than its context.
    """

    prompt_ids: Tensor

    def __init__(
        self,
        checkpoint: str | os.PathLike | Loaded,
        *,
        prompt: str,
        token_order: str = "visual-first",
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
        if adapt not in ADAPTS:
            raise ValueError(f"adapt={adapt!r}: allowed are {', '.join(ADAPTS)}")
        base, tokenizer = checkpoint if isinstance(checkpoint, tuple) else load(checkpoint, dtype=dtype)
        if base.dtype != DTYPES.get(dtype):
            raise ValueError(f"llm_dtype={dtype!r}, but the LLM was loaded as {base.dtype}")
        ids = tokenizer(prompt)["input_ids"] if prompt else []
        config = _text_config(base.config)
        context = getattr(config, "max_position_embeddings", None)
        if context and len(ids) + 1 > context:
            raise ValueError(f"prompt has {len(ids)} tokens; with the visual token the LLM takes at most {context}")
        self.d: int = config.hidden_size
        self.token_order = token_order
        self.register_buffer("prompt_ids", torch.tensor(ids, dtype=torch.long), persistent=False)  # p
        self.llm = _shared_copy(base).requires_grad_(False)
        if adapt == "lora":
            lora = LoraConfig(
                r=lora_r,
                lora_alpha=lora_alpha,  # type: ignore[arg-type]  # peft takes any number
                lora_dropout=lora_dropout,
                target_modules=list(lora_targets),
                bias="none",
            )
            self.llm = inject_adapter_in_model(lora, self.llm)
            for p in self.llm.parameters():
                if p.requires_grad:
                    p.data = p.data.float()  # peft creates adapters in the base's type

    def forward(self, token: Tensor) -> Tensor:
        """visual token `[b, d]` -> hidden state of the last position after the final norm, `[b, d]`, in its type."""
        prompt = self.llm.get_input_embeddings()(self.prompt_ids)  # p d
        prompt = prompt.expand(len(token), -1, -1)  # b p d
        visual = token.to(self.llm.dtype)[:, None]  # b 1 d
        order = (visual, prompt) if self.token_order == "visual-first" else (prompt, visual)
        hidden = self.llm(inputs_embeds=torch.cat(order, dim=1), use_cache=False).last_hidden_state  # b p+1 d
        return hidden[:, -1].to(token.dtype)  # b d


def _locate(checkpoint: str | os.PathLike, revision: str | None) -> tuple[str, dict[str, Any]]:
    """What to give to `from_pretrained`: the place and the options that keep it safe and, for a folder, local."""
    name = os.fspath(checkpoint)
    path = Path(name).expanduser()
    local = name.startswith((".", "/", "~")) or path.exists() or name.count("/") > 1 or "\\" in name
    if not name or (local and not path.is_dir()):
        raise FileNotFoundError(f"llm={name!r}: no such folder. Give a checkpoint folder or a hub name (owner/name)")
    options = {"trust_remote_code": False, "local_files_only": local}
    return (str(path) if local else name), options if local or revision is None else {**options, "revision": revision}


def _check_folder(path: Path) -> None:
    index = path / "model.safetensors.index.json"
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else []
    except (ValueError, KeyError) as error:
        raise ValueError(f"llm={str(path)!r}: {index.name} is damaged; copy the checkpoint again") from error
    missing = [n for n in ("config.json", *(shards or ["model.safetensors"])) if not (path / n).is_file()]
    if not any((path / n).is_file() for n in ("tokenizer.json", "vocab.json", "tokenizer.model")):
        missing.append("tokenizer.json")
    if missing:
        raise FileNotFoundError(
            f"llm={str(path)!r}: incomplete checkpoint folder, lacks {', '.join(missing)}. Copy the whole checkpoint "
            "(config, tokenizer and safetensors weights; other weight formats are not read)"
        )


def _not_had(checkpoint: str | os.PathLike, error: OSError) -> str:
    return (
        f"llm={os.fspath(checkpoint)!r}: cannot be loaded. Check the name, download it once with the network on "
        f"(it is off with HF_HUB_OFFLINE=1), or give the path of a checkpoint folder. The loader said: {error}"
    )


def _text_config(config: Any) -> Any:
    return config.get_text_config()


def _shared_copy(model: Any) -> Any:
    """A copy of the module tree whose parameters and buffers are the very same tensors."""
    return copy.deepcopy(model, {id(t): t for t in (*model.parameters(), *model.buffers())})


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No progress bars nor log lines from transformers inside; the user's own settings outside."""
    level, bar = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bar:
            hf_logging.enable_progress_bar()
