"""Where a checkpoint lies, folder or hub name, and what its weights are; nothing of it is run."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from transformers import AutoConfig
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
    local = name.startswith((".", "/", "~")) or path.exists() or name.count("/") > 1 or "\\" in name
    if not name or (local and not path.is_dir()):
        raise FileNotFoundError(f"{what}={name!r}: no such folder. Give a checkpoint folder or a hub name (owner/name)")
    options = {"trust_remote_code": False, "local_files_only": local}
    if local:
        return str(path), options
    name, _, revision = name.partition("@")
    return name, options | {"revision": revision or REVISIONS.get(name)}


def check_folder(path: Path, what: str = "llm") -> None:
    """Raises FileNotFoundError for a checkpoint folder without the files it needs, ValueError for a damaged index."""
    index = path / "model.safetensors.index.json"
    try:
        shards = sorted(set(json.loads(index.read_text())["weight_map"].values())) if index.exists() else []
    except (ValueError, KeyError) as error:
        raise ValueError(f"{what}={str(path)!r}: {index.name} is damaged; copy the checkpoint again") from error
    missing = [n for n in ("config.json", *(shards or ["model.safetensors"])) if not (path / n).is_file()]
    tokenizers = ("tokenizer.json", "vocab.json", "tokenizer.model")
    if what == "llm" and not any((path / n).is_file() for n in tokenizers):
        missing.append("tokenizer.json")
    if missing:
        needs = "config, tokenizer and safetensors weights" if what == "llm" else "config and safetensors weights"
        raise FileNotFoundError(
            f"{what}={str(path)!r}: incomplete checkpoint folder, lacks {', '.join(missing)}. Copy the whole "
            f"checkpoint ({needs}; other weight formats are not read)"
        )


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
        digest = hashlib.sha256()
        for path in sorted([*Path(source).glob("*.json"), *Path(source).glob("*.safetensors")]):
            with path.open("rb") as file:
                digest.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()
    try:
        with quiet():
            return str(AutoConfig.from_pretrained(source, **options)._commit_hash)
    except OSError as error:
        raise FileNotFoundError(not_had(checkpoint, error, what)) from error


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
