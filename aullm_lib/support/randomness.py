"""Random streams of a fold: a seed from its name, and torch's generators replaced while it trains.

The released script seeds once before its loop over subjects; here every fold has a seed of its own, made from the
experiment's seed and the fold's name, and random streams of its own, so that a fold gives the same numbers whether it
runs first, alone, again, or side by side with others.
"""

import hashlib

import torch
from torch import Tensor


def fold_seed(seed: int, fold: str) -> int:
    """A seed for one fold, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{fold}".encode()).digest()[:6], "big")


def repeatable() -> None:
    """Makes cuDNN choose the same deterministic algorithms each time, as the released script does."""
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False


class Stream:
    """A random stream of its own in the place of torch's global ones (CPU and device), while entered."""

    def __init__(self, seed: int, device: torch.device):
        self._own = torch.Generator().manual_seed(seed).get_state()
        self.generator: torch.Generator | None = None  # of a GPU, which takes the place of the global one
        if device.type == "cuda":
            torch.cuda.init()
            number = torch.cuda.current_device() if device.index is None else device.index
            self.generator = torch.Generator(torch.device("cuda", number)).manual_seed(seed)
            self._global = torch.cuda.default_generators[number]

    def __enter__(self) -> None:
        self._outer: Tensor = torch.get_rng_state()
        torch.set_rng_state(self._own)
        if self.generator:  # by reference: a GPU's state is not copied, which also a CUDA graph could not do
            self._outer_gpu = self._global.graphsafe_get_state()
            self._global.graphsafe_set_state(self.generator)

    def __exit__(self, *exception: object) -> None:
        self._own = torch.get_rng_state()
        torch.set_rng_state(self._outer)
        if self.generator:
            self._global.graphsafe_set_state(self._outer_gpu)
