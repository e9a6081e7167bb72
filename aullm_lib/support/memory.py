"""Refusals of memory, by a device or the system, as one error that says which setting to lower."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

REFUSALS = ("allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED")  # of the system; of cuBLAS and cuDNN


class OutOfMemory(RuntimeError):
    """The batch does not fit; the message says which setting to lower."""


@contextmanager
def explained_memory(advice: str) -> Iterator[None]:
    """Turns a device's or the system's refusal of memory into ``OutOfMemory`` with the advice."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError, MemoryError) as error:
        message = str(error)
        refused = any(words in message for words in REFUSALS)
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not refused:
            raise
        why = (message or type(error).__name__).splitlines()[0]
        raise OutOfMemory(f"not enough memory; lower {advice}. {why}") from error
