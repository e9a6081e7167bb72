"""Weights to begin with: a safetensors file that holds the state_dict of exactly one part of a baseline.

No pickle is read. Nothing is renamed or guessed: weights of another architecture, or under other names, are refused
before training, with the first tensor that does not fit.
"""

import hashlib
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn


def locate(weights: str | Path) -> Path:
    """``weights`` itself, or the only safetensors file of that folder.

    Raises FileNotFoundError where there is none, ValueError where there are several.
    """
    path = Path(weights).expanduser()
    found = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not found or not found[0].is_file():
        raise FileNotFoundError(f"{str(weights)!r}: no safetensors file here; in a recipe '' means random weights")
    if len(found) > 1:
        raise ValueError(f"{str(weights)!r}: {len(found)} safetensors files here; name one of them")
    return found[0]


def check(weights: str | Path, part: nn.Module) -> None:
    """Raises ValueError naming the first tensor that is missing, unknown or of another shape in ``part``.

    part: the module that the weights are for, which may lie on the device "meta". Raises as ``locate``, too.
    """
    path = locate(weights)
    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged, or no safetensors file: {error}") from error
    wanted = {name: tuple(value.shape) for name, value in part.state_dict().items()}
    for name in [*wanted, *found]:
        if found.get(name) != wanted.get(name):
            has, needs = (f"{shape[name]}" if name in shape else "none" for shape in (found, wanted))
            raise ValueError(
                f"{path}: not the weights of {type(part).__name__} with this recipe: of {name} it has {has}, needed is "
                f"{needs}; the file must hold that module's own state_dict"
            )


def load(weights: str | Path, part: nn.Module) -> None:
    """Puts the weights into ``part``, where it lies. Raises as ``check``."""
    check(weights, part)
    part.load_state_dict(load_file(locate(weights)))


def identity(weights: str | Path) -> str:
    """The file's SHA-256: what the weights are, not what they are called. Raises as ``locate``."""
    with locate(weights).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
