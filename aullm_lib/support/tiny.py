"""A small random Qwen2 as a checkpoint folder: it stands in for a pretrained LLM where there is none.

It has the parts and the files of `Qwen/Qwen2.5-1.5B` and goes through the same ``llm.load``; its weights are random.
"""

import json
import os
import shutil
import uuid
from pathlib import Path

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from aullm_lib.support.hub import quiet

SHAPES: dict[str, dict[str, int]] = {"tiny": {}, "tiny-deep": {"layers": 6, "seed": 1}}
"""Name of a tiny LLM -> arguments of ``build_tiny``: two, so that what is said of several LLMs can be tried."""

_TINY = "tiny.json"  # the settings that a tiny checkpoint was built with


def checkpoint(llm: str, folder: str | os.PathLike) -> str:
    """The checkpoint of an LLM: one of ``SHAPES`` is built in ``folder``, any other is what ``llm`` says."""
    return str(build_tiny(Path(folder, f"{llm}-qwen2"), **SHAPES[llm])) if llm in SHAPES else llm


def build_tiny(
    path: str | os.PathLike,
    *,
    seed: int = 0,
    hidden: int = 64,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    vocab: int = 512,
) -> Path:
    """Write a small random Qwen2 with a byte-level tokenizer as a checkpoint folder, and return its path.

    The same settings and library versions give the same bytes. A folder that is there with the same settings is left as
    it is. The folder appears whole or not at all. The global torch generator is left alone.

    Args:
        path: the folder; its parents are made.
        seed: of the weights.
        hidden, layers, heads, kv_heads: shape of the decoder; heads divides hidden, kv_heads divides heads.
        vocab: size of the vocabulary, at least 257 (all bytes and the end token).

    Raises:
        ValueError: a shape that does not work.
        FileExistsError: something else is at ``path``.
    """
    if hidden % heads or heads % kv_heads or (hidden // heads) % 2:
        raise ValueError(f"{hidden=}, {heads=}, {kv_heads=}: need heads | hidden, kv_heads | heads, an even head width")
    if vocab < 257 or layers < 1:
        raise ValueError(f"{vocab=}, {layers=}: need at least 257 and 1")
    path = Path(path).expanduser()
    settings = {
        "seed": seed,
        "hidden": hidden,
        "layers": layers,
        "heads": heads,
        "kv_heads": kv_heads,
        "vocab": vocab,
    }
    if path.exists():
        return _same_tiny(path, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            tokenizer = Qwen2Tokenizer().train_new_from_iterator(_CORPUS, vocab_size=vocab, show_progress=False)
            config = Qwen2Config(
                vocab_size=vocab,
                hidden_size=hidden,
                intermediate_size=4 * hidden,
                num_hidden_layers=layers,
                num_attention_heads=heads,
                num_key_value_heads=kv_heads,
                max_position_embeddings=512,
                tie_word_embeddings=True,
                bos_token_id=tokenizer.eos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
            Qwen2ForCausalLM(config).save_pretrained(part)
            tokenizer.save_pretrained(part)
        (part / _TINY).write_text(json.dumps(settings, indent=2) + "\n")
        try:
            part.rename(path)
        except OSError:
            if not path.exists():
                raise
            return _same_tiny(path, settings)  # someone else was first
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return path


def _same_tiny(path: Path, settings: dict[str, int]) -> Path:
    try:
        built = json.loads((path / _TINY).read_text())
    except (OSError, ValueError):
        built = None
    if built != settings:
        raise FileExistsError(
            f"{path}: holds something other than the tiny LLM {settings}; give another path or delete it"
        )
    return path


_CORPUS = (  # what the tiny tokenizer learns its merges from
    "Analyze the facial features to classify action units:",
    "A brow that rises, a lid that tightens, a lip corner that pulls: each is one action unit.",
    "The clip starts at rest, moves for a fraction of a second, and comes back to rest.",
    "Which muscles of the face have moved, and on which side?",
    "Small movements are hard to see; a camera at two hundred frames a second helps.",
    "The inner and the outer part of the brow can rise alone or together.",
    "Describe the change between the first frame and the strongest one.",
    "请分析融合后的人脸视频特征，对面部动作单元进行分类：",
    "眉毛内侧上扬，嘴角向外拉动，下巴微微抬起。",
    "微表情持续的时间很短，幅度也很小。",
    "请说明视频中哪些面部肌肉发生了运动。",
    "高速摄像机能够记录细微的面部变化。",
)
