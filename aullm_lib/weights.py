"""A fold's trained weights on disk: what training changed, and nothing of the frozen LLM.

A safetensors file holds the trained parameters (LED, CNN, EFP, LoRA or context vectors, head) and the batch norms'
running statistics, without which they give other logits; its metadata hold the experiment, from which the model is
built again. The LLM's own weights stay where they are.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from aullm_lib import baselines
from aullm_lib.experiment import AU_LLM, Experiment
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM

FILE = "weights.safetensors"


def trained(model: AULLM) -> dict[str, Tensor]:
    """What training changed, by name, as copies on the CPU."""
    kept = {name: value for name, value in model.state_dict().items() if not name.startswith("llm.llm.")}
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in kept.items()}


def save(path: Path, weights: dict[str, Tensor], experiment: Experiment) -> None:
    """Writes what ``trained`` gave, with the experiment. Raises OSError if the disk refuses."""
    try:
        save_file(weights, path, metadata={"format": "pt", "experiment": json.dumps(experiment.to_dict())})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


@contextmanager
def _reading(path: str | Path) -> Iterator[Any]:
    """A weights file, opened. Raises FileNotFoundError, and ValueError naming a file that is none of ours."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no trained weights here; train with keep_weights=True into a new run folder")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged, or written by another version: {error}") from error


def _experiment(file: Any) -> Experiment:
    return Experiment.from_dict(json.loads((file.metadata() or {})["experiment"]))


def experiment(path: str | Path) -> Experiment:
    """What a fold's weights were trained as. Raises as ``load`` for its file."""
    with _reading(path) as file:
        return _experiment(file)


def load(path: str | Path, llm: str | os.PathLike | Loaded | None = None) -> Any:
    """The model of a fold, in eval mode on the CPU: the same logits, to the bit, as when it was saved.

    ``AULLM``, or a baseline's ``Network``.

    llm: the LLM that it was trained with, loaded or where it lies now; the experiment's own if None.
    Raises FileNotFoundError if there is no such file or LLM, ValueError naming a file that is damaged or does not fit.
    """
    with _reading(path) as file:
        experiment = _experiment(file)
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
    with torch.random.fork_rng(devices=[]):  # the draws of the new model are thrown away at once
        model: Any
        if experiment.method == AU_LLM:
            model = AULLM(experiment.recipe, len(experiment.aus), llm=llm or experiment.llm, variant=experiment.variant)
        else:
            model = baselines.module(experiment.method).Model(experiment.recipe, len(experiment.aus))
    try:
        result = model.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # another shape, as with an LLM of another width
        why = " ".join(str(error).split("\n\t")[-1].split())
        raise ValueError(f"{path}: does not fit the model of its experiment ({why})") from None
    lost = [name for name in result.missing_keys if not name.startswith("llm.llm.")]
    if lost or result.unexpected_keys:
        raise ValueError(f"{path}: does not fit the model of its experiment ({(lost + result.unexpected_keys)[0]})")
    return model.eval()
