"""What all methods' training of a fold shares: its seed and random streams, targets, and what it hands on.

The released script seeds once before its loop over subjects; here every fold has a seed of its own, made from the
experiment's seed and the fold's name, and random streams of its own, so that a fold gives the same numbers whether it
runs first, alone, again, or side by side with others.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from aullm_lib.protocol import Fold
from aullm_lib.recipe import Experiment

REFUSALS = ("allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED")  # of the system; of cuBLAS and cuDNN
Progress = Callable[[str, int, float], object]  # fold, epoch, mean loss a clip


class Diverged(RuntimeError):
    """The loss, its gradient or a probability is no number any more; the message names fold, epoch and step.

    ``where`` has fold, epoch, step and the clip ids of that step's batch; ``weights`` the state before that step.
    """

    def __init__(self, message: str, where: dict, weights: dict[str, Tensor]):
        super().__init__(message)
        self.where, self.weights = where, weights

    def __reduce__(self) -> tuple:  # by itself an exception comes back from another process with its message only
        return type(self), (str(self), self.where, self.weights)


class OutOfMemory(RuntimeError):
    """The batch does not fit; the message says which setting to lower."""


class Result(NamedTuple):
    predictions: pd.DataFrame  # clip_id, subject, au, label, probability
    log: pd.DataFrame  # epoch, loss (mean a clip)
    info: dict  # sizes, seconds, device, threads
    weights: dict[str, Tensor] | None = None  # what training changed (weights.trained), if asked for
    trace: pd.DataFrame | None = None  # epoch, clip_id, au, probability: the test clips after every epoch, if asked for


def fold_seed(seed: int, fold: str) -> int:
    """A seed for one fold, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{fold}".encode()).digest()[:6], "big")


def labels(table: pd.DataFrame, ids: tuple[str, ...], aus: tuple[int, ...]) -> Tensor:
    """0/1 targets [B, N_AU] in the order of ``ids`` and ``aus``; an AU that never occurs in the table is all 0."""
    columns = table.reindex(columns=[f"AU{n}" for n in aus], fill_value=0).loc[list(ids)]
    return torch.tensor(columns.to_numpy("float32"))


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


def answers(probabilities: Tensor, ids: Sequence[str], aus: Sequence[int]) -> dict[str, list]:
    """Probabilities [B, N_AU] as columns, a row a (clip, AU): clip_id, au, probability."""
    units = [f"AU{n}" for n in aus]
    return {
        "clip_id": [clip for clip in ids for _ in units],
        "au": units * len(ids),
        "probability": probabilities.cpu().flatten().tolist(),
    }


def finished(
    experiment: Experiment,
    table: pd.DataFrame,
    fold: Fold,
    probabilities: Tensor,
    log: list[dict],
    info: dict,
    weights: dict[str, Tensor] | None,
    traced: list[pd.DataFrame],
) -> Result:
    """A trained fold's result. probabilities: of its test clips [B, N_AU]; traced: ``answers`` of every epoch."""
    truth = labels(table, fold.test, experiment.aus).int()
    predictions = pd.DataFrame(answers(probabilities, fold.test, experiment.aus) | {"label": truth.flatten().numpy()})
    predictions["subject"] = predictions["clip_id"].map(table["subject"])
    sizes = {"fold": fold.name, "train_clips": len(fold.train), "test_clips": len(fold.test)}
    trace = pd.concat(traced) if traced else None
    return Result(predictions, pd.DataFrame(log), sizes | info | {"threads": torch.get_num_threads()}, weights, trace)


@contextmanager
def explained_memory(advice: str) -> Iterator[None]:
    """Turns a device's or the system's refusal of memory into ``OutOfMemory`` with the advice."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        said = str(error)
        wants = any(words in said for words in REFUSALS)
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not wants:
            raise
        why = (said or type(error).__name__).splitlines()[0]
        raise OutOfMemory(f"not enough memory; lower {advice}. {why}") from error
