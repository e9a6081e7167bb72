"""Weights by name, as safetensors files: written with the same bytes each time, and looked at before they are used."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
COUNTS = (torch.int64, torch.bool)  # of batches, and choices


def write(weights: dict[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Writes a safetensors file: the same bytes for the same content, where the package orders metadata at random.

    Raises:
        OSError: The disk refuses; its ``errno`` says why, which that of the package's own error does not.
    """
    content = memoryview(save(weights))
    start = 8 + int.from_bytes(content[:8], "little")  # of the values, which the header's offsets count from
    header = json.dumps(
        {"__metadata__": metadata} | json.loads(bytes(content[8:start])), separators=(",", ":")
    ).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        for part in (len(header).to_bytes(8, "little"), header, content[start:]):
            file.write(part)


def refuse_spoilt(weights: Mapping[str, Tensor], where: str = "") -> None:
    """Raises ValueError naming the first tensor that is of no type that weights have, or from which NaN would come.

    Args:
        weights: By name.
        where: Put before the message.
    """
    for name, value in weights.items():
        problem = ""
        if value.dtype not in FLOATS + COUNTS:
            problem = f"is of the type {value.dtype}"
        elif value.is_floating_point() and not value.isfinite().all():
            problem = "has non-finite values (NaN or Inf)"
        elif name.endswith("running_var") and (value < 0).any():
            problem = "has a negative variance"
        if problem:
            raise ValueError(f"{where}{name} {problem}; copy the file again, or train again")
