"""Where a checkpoint lies, folder or hub name, and what its weights are; nothing of it is run."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download
from transformers import AutoConfig
from transformers.utils import find_adapter_config_file
from transformers.utils import logging as hf_logging

from aullm_lib.support import smollm2

REVISIONS = {  # of the paper's three LLMs: what a name means today it must mean tomorrow
    "Qwen/Qwen2-1.5B": "8a16abf2848eda07cc5253dec660bf1ce007ad7a",
    "Qwen/Qwen2.5-1.5B": "8faed761d45a263340a0528343f099c05c9a4323",
    "deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B": "ad9f0ae0864d7fbcd1cd905e3c6c5b069cc8b562",
}


def locate(checkpoint: str | os.PathLike, what: str = "llm") -> tuple[str, dict[str, Any]]:
    """What to give to ``from_pretrained``: the place and the options that keep it safe and, for a folder, local.

    An LLM called "smollm2" is the folder that ``smollm2.folder`` makes at first use; the errors are its, too.
    """
    name = os.fspath(checkpoint)
    if what == "llm" and name == smollm2.NAME:
        with quiet():
            name = str(smollm2.folder())
    path = Path(name).expanduser()
    try:
        there = path.exists()
    except OSError as error:  # a name that no file system takes
        raise FileNotFoundError(f"{what}={name[:100]!r}...: {error.strerror}. Give a checkpoint folder") from error
    local = name.startswith((".", "/", "~")) or there or name.count("/") > 1 or "\\" in name
    if not name or (local and not path.is_dir()):
        problem = "a file, not a folder" if path.is_file() else "no such folder"
        raise FileNotFoundError(f"{what}={name!r}: {problem}. Give a checkpoint folder or a hub name (owner/name)")
    options = {"trust_remote_code": False, "local_files_only": local}
    if local:
        return str(path), options
    name, _, revision = name.partition("@")
    return name, options | {"revision": revision or REVISIONS.get(name)}


def check(checkpoint: str | os.PathLike, what: str = "llm") -> Any:
    """A checkpoint's configuration, after all checks that need none of its weights.

    Raises:
        FileNotFoundError: There is no such folder or name, or a file that is needed is missing.
        ValueError: A file is damaged or a Git LFS pointer; the checkpoint has an adapter, or is quantised.
    """
    source, options = locate(checkpoint, what)
    if options["local_files_only"]:
        check_folder(Path(source), what)
    config = read_config(checkpoint, what)
    if not options["local_files_only"]:
        name = f"{what}={os.fspath(checkpoint)!r}"
        if find_adapter_config_file(source, revision=options["revision"]):
            raise ValueError(f"{name}: {_ADAPTER}")
        _refuse_quantised(config.to_dict(), name)
    return config


def check_folder(path: Path, what: str = "llm") -> None:
    """What can be known of a checkpoint folder from its files. Raises as ``check``."""
    name, index = f"{what}={str(path)!r}", path / "model.safetensors.index.json"
    for file in sorted([*path.glob("*.json"), *path.glob("*.txt"), *path.glob("model*.safetensors")]):
        if file.is_file() and _begins(file, b"version https://git-lfs.github.com/spec/"):
            raise ValueError(
                f"{name}: {file.name} is a Git LFS pointer in place of the file itself. Run 'git lfs pull' in the "
                "folder, or download the checkpoint again"
            )
    if (path / "adapter_config.json").is_file():  # which transformers would add to the weights
        raise ValueError(f"{name}: {_ADAPTER}")
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else []
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{name}: {index.name} is damaged; copy the checkpoint again") from error
    missing = [n for n in ("config.json", *(shards or ["model.safetensors"])) if not (path / n).is_file()]
    # no sentencepiece model alone: what tokens it gives depends on the packages that convert it
    tokenizers = (("tokenizer.json",), ("vocab.json", "merges.txt"))
    if what == "llm" and not any(all((path / n).is_file() for n in one) for one in tokenizers):
        missing.append("tokenizer.json")
    if missing:
        needs = "config, tokenizer.json and safetensors weights" if what == "llm" else "config and safetensors weights"
        advice = f"Copy the whole checkpoint ({needs}; other formats are not read)"
        if (path / "snapshots").is_dir():
            advice = "This is the hub's cache: give the folder in its snapshots"
        other = sorted(file.name for file in path.glob("*") if file.suffix in _OTHER)
        has = f" (it has {other[0]})" if other else ""
        raise FileNotFoundError(f"{name}: incomplete checkpoint folder, lacks {', '.join(missing)}{has}. {advice}")
    try:
        _refuse_quantised(dict(json.loads((path / "config.json").read_text(encoding="utf-8"))), name)
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{name}: config.json is damaged ({error}); copy the checkpoint again") from error
    for note in ("quantize_config.json", "quant_config.json", "hf_quant_config.json"):  # of GPTQ, AWQ and ModelOpt
        if (path / note).exists():
            raise ValueError(f"{name}: quantised, as {note} says: give the full-precision checkpoint")


def _begins(file: Path, content: bytes) -> bool:
    with file.open("rb") as opened:
        return opened.read(len(content)) == content


_OTHER = (".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".model")
_ADAPTER = (
    "there is an adapter (adapter_config.json). Merge it into its model (merge_and_unload of peft) and give the folder "
    "where you save that; if the weights beside it are to be used as they are, delete the adapter's files"
)


def _refuse_quantised(config: dict[str, Any], name: str) -> None:
    """Raises ValueError for weights in a format that only some devices and packages can compute with."""
    for part in (config, config.get("text_config") or {}):
        for key in ("quantization_config", "compression_config", "quantization"):  # an older name; MLX's
            if settings := part.get(key):
                method = settings.get("quant_method", key) if isinstance(settings, dict) else settings
                raise ValueError(f"{name}: quantised ({method}): give the full-precision checkpoint")


def read_config(checkpoint: str | os.PathLike, what: str = "llm") -> Any:
    """A checkpoint's configuration; nothing else is looked at. Raises FileNotFoundError, ValueError if it is no use."""
    source, options = locate(checkpoint, what)
    try:
        with quiet():
            return AutoConfig.from_pretrained(source, **options)
    except OSError as error:
        raise FileNotFoundError(not_had(checkpoint, error, what)) from error
    except Exception as error:  # each kind of configuration has checks of its own
        raise ValueError(f"{what}={os.fspath(checkpoint)!r}: config.json cannot be used: {error}") from error


def not_had(checkpoint: str | os.PathLike, error: OSError, what: str = "llm") -> str:
    """What to say of a checkpoint that the loader could not have."""
    return (
        f"{what}={os.fspath(checkpoint)!r}: cannot be loaded. Check the name, download it once with the network on "
        f"(it is off with HF_HUB_OFFLINE=1), or give the path of a checkpoint folder. The loader said: {error}"
    )


def identity(checkpoint: str | os.PathLike, what: str = "llm") -> str:
    """What the weights are, not what they are called: a hub name's commit, or a hash of a folder's own files.

    Args:
        what: The setting that names them, for messages.

    Raises:
        FileNotFoundError: There is no such folder or name, or it is incomplete.
    """
    source, options = locate(checkpoint, what)
    if options["local_files_only"]:
        check_folder(Path(source), what)
        folder = Path(source)
        merges = () if (folder / "tokenizer.json").is_file() else folder.glob("merges.txt")  # of vocab.json
        paths = sorted([*folder.glob("*.json"), *folder.glob("*.safetensors"), *merges])
        stats = [path.stat() for path in paths]
        return _digest(tuple((p.absolute(), s.st_size, s.st_mtime_ns) for p, s in zip(paths, stats, strict=True)))
    read_config(checkpoint, what)  # which downloads it, or says why not
    return Path(hf_hub_download(source, "config.json", revision=options["revision"])).parent.name


@lru_cache(maxsize=16)  # every run asks, and reading a checkpoint takes seconds
def _digest(content: tuple[tuple[Path, int, int], ...]) -> str:
    """A hash of files, each given with its size and time of change."""
    digest = hashlib.sha256()
    for path, _, _ in content:
        with path.open("rb") as file:
            digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


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
