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


class Stream:
    """A random stream of its own in the place of torch's global ones (CPU and device), while entered."""

    def __init__(self, seed: int, device: torch.device):
        self._device = device if device.type == "cuda" else None
        with torch.random.fork_rng(devices=[device] if self._device else []):
            torch.manual_seed(seed)
            self._own = self._get()

    def _get(self) -> tuple[Tensor, Tensor | None]:
        return torch.get_rng_state(), torch.cuda.get_rng_state(self._device) if self._device else None

    def _set(self, state: tuple[Tensor, Tensor | None]) -> None:
        torch.set_rng_state(state[0])
        if state[1] is not None and self._device:
            torch.cuda.set_rng_state(state[1], self._device)

    def __enter__(self) -> None:
        self._outer = self._get()
        self._set(self._own)

    def __exit__(self, *exception: object) -> None:
        self._own = self._get()
        self._set(self._outer)
