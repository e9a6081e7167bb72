"""Checkpoints that are not what they seem: what their files say before any weights are read."""

import json

import peft
import pytest
from huggingface_hub import constants
from safetensors.torch import save_file

from aullm_lib.llm import load
from aullm_lib.support import hub
from aullm_lib.support.tiny import build_tiny

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "a" * 64 + "\nsize 11421896\n"
QUANTISED = [
    {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}},
    {"quantization_config": {"quant_method": "awq", "bits": 4, "version": "gemm"}},
    {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}},
    {"quantization_config": {"quant_method": "fp8"}},  # loads, wrong, where nobody asks
    {"quantization_config": {"quant_method": "of the future"}},
    {"compression_config": {"quant_method": "compressed-tensors"}},
    {"quantization": {"group_size": 64, "bits": 4}},  # MLX
    {"text_config": {"quantization_config": {"quant_method": "gptq"}}},
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return build_tiny(tmp_path_factory.mktemp("llm") / "tiny", hidden=32, heads=2, kv_heads=1, vocab=300)


@pytest.fixture
def folder(tiny, tmp_path):
    """A copy of the checkpoint, to be spoilt."""
    path = tmp_path / "copy"
    path.mkdir()
    for file in tiny.iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


@pytest.fixture
def cached(folder, tmp_path, monkeypatch):
    """The copy under a hub name, as if it had been downloaded."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / commit).symlink_to(folder)
    return "owner/name"


def configure(folder, **fields):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))


def adapt(folder, tiny):
    """Save a LoRA there, as peft does."""
    config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], base_model_name_or_path="Qwen/Qwen2.5-1.5B")
    config.save_pretrained(folder)
    adapted = peft.inject_adapter_in_model(config, load(tiny)[0])
    state = peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)
    state = {f"base_model.model.{name}": weight for name, weight in state.items()}
    save_file(state, folder / "adapter_model.safetensors")


@pytest.mark.parametrize("fields", QUANTISED, ids=str)
def test_quantised_weights(folder, cached, fields):
    configure(folder, **fields)
    for checkpoint in (folder, cached):
        with pytest.raises(ValueError, match=f"^llm=.*{checkpoint}': quantised .*give the full-precision checkpoint"):
            hub.check(checkpoint)
    with pytest.raises(ValueError, match=r"^weights=.*quantised"):
        hub.check(folder, "weights")


@pytest.mark.parametrize("note", ["quantize_config.json", "quant_config.json", "hf_quant_config.json"])
def test_quantised_weights_whose_configuration_does_not_say_so(folder, note):
    (folder / note).write_text('{"bits": 4}')
    with pytest.raises(ValueError, match=f"quantised, as {note} says: give the full-precision"):
        hub.check(folder)


def test_a_checkpoint_that_is_not_quantised(folder, cached):
    configure(folder, quantization_config=None)
    assert hub.check(folder).hidden_size == hub.check(cached).hidden_size == 32
    assert hub.identity(cached) == "0123456789abcdef0123456789abcdef01234567"


def test_an_adapter_in_the_folder_is_not_added_to_the_weights(tiny, folder, cached):
    adapt(folder, tiny)
    for checkpoint in (folder, cached):
        with pytest.raises(ValueError, match=r"llm=.*adapter_config\.json.*merge_and_unload"):
            load(checkpoint)
    for name in ("config.json", "model.safetensors"):  # as peft saves it, without the model
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"llm=.*adapter_config\.json.*merge_and_unload"):
        load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"])
def test_pointers_of_git_lfs(folder, name):
    (folder / name).write_text(POINTER)
    with pytest.raises(ValueError, match=f"llm=.*{name} is a Git LFS pointer.*'git lfs pull'"):
        hub.check(folder)


def test_pointers_in_the_place_of_shards(folder):
    names = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    (folder / "model.safetensors").rename(folder / names[0])
    (folder / names[1]).write_text(POINTER)
    index = {"weight_map": dict(zip("ab", names, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ValueError, match=f"{names[1]} is a Git LFS pointer"):
        hub.check(folder)


def test_pointers_that_nobody_needs(folder):
    (folder / "pytorch_model.bin").write_text(POINTER)
    (folder / "consolidated.safetensors").write_text(POINTER)
    hub.check(folder)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("model.safetensors", "pytorch_model.bin"),
        ("model.safetensors", "m.gguf"),
        ("tokenizer.json", "tokenizer.model"),
    ],
)
def test_other_formats_are_named(folder, name, other):
    (folder / name).rename(folder / other)
    with pytest.raises(FileNotFoundError, match=f"llm=.*lacks {name} \\(it has {other}\\)"):
        hub.check(folder)


def test_a_vocabulary_without_its_merges(folder):
    content = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(content["vocab"]))
    want = load(folder)[1]("请 Analyze")["input_ids"]
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks tokenizer.json"):
        hub.check(folder)
    (folder / "merges.txt").write_text("".join(f"{' '.join(pair)}\n" for pair in content["merges"]), encoding="utf-8")
    assert load(folder)[1]("请 Analyze")["input_ids"] == want
    before = hub.identity(folder)
    (folder / "merges.txt").write_text("")
    assert hub.identity(folder) != before


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"a": "\xff"}', b"<html>404</html>"])
def test_a_damaged_configuration(folder, content):
    (folder / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"llm=.*config\.json is damaged.*copy the checkpoint again"):
        hub.check(folder)


@pytest.mark.parametrize("content", ["[]", '{"weight_map": 1}', '{"weight_map": {"a": 1, "b": "c"}}'])
def test_a_damaged_index(folder, content):
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ValueError, match=r"index\.json is damaged"):
        hub.check(folder)


def test_a_file_and_the_hubs_own_folder(folder, cached, tmp_path):
    with pytest.raises(FileNotFoundError, match="a file, not a folder"):
        hub.check(folder / "model.safetensors")
    with pytest.raises(FileNotFoundError, match=r"lacks config.json.*give the folder in its snapshots"):
        hub.check(tmp_path / "hub" / "models--owner--name")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("../blobs/gone")  # copied without what it points to
    with pytest.raises(FileNotFoundError, match=r"lacks model.safetensors"):
        hub.check(folder)


def test_a_name_that_no_file_system_takes_is_refused_by_name():
    with pytest.raises(FileNotFoundError, match=r"llm='xxx+'\.\.\.: File name too long"):
        hub.identity("x" * 5000)
