"""Memory: the most that was in use, and refusals of it as one error that says which setting to lower."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

# Of the system; of cuBLAS and cuDNN; of CUDA, and of cuBLAS where a card that others share has nothing left.
REFUSALS = ("allocate memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "out of memory", "CUBLAS_STATUS_NOT_INITIALIZED")


class OutOfMemory(RuntimeError):
    """The batch does not fit; the message says which setting to lower."""


def begin_peak(device: str | torch.device) -> None:
    """From now on, ``peak_mb`` counts anew: of a GPU, and of a process on Linux; elsewhere a process's peak stays."""
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # proc(5): the peak becomes what is in use


def peak_mb(device: str | torch.device) -> int:
    """The most memory in use at once since ``begin_peak``, in MiB, rounded.

    Of a GPU what PyTorch allocated on it; else the resident memory of the whole process, libraries and clips included.
    """
    if torch.device(device).type == "cuda":
        return round(torch.cuda.max_memory_allocated(device) / 2**20)
    with suppress(OSError):  # of Linux; what getrusage says there, a process inherits from the one that made it
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return round(int(status.split("VmHWM:")[1].split()[0]) / 2**10)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2 ** (20 if sys.platform == "darwin" else 10))


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
