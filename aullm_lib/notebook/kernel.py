"""A notebook through papermill, in a kernel that is this interpreter and that nobody else can talk to."""

import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from traitlets.config import Config

from aullm_lib.support.sockets import short_folder

try:
    import resource
except ImportError:  # not on Windows, which ends nothing by signals either
    resource = None  # type: ignore[assignment]


ENVIRONMENT = {  # as in the Makefile, which says why; it must be there before a kernel starts
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "68719476736",
    "MALLOC_TOP_PAD_": "268435456",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    "TOKENIZERS_PARALLELISM": "false",
}


class Kernel(AsyncKernelManager):
    """A kernel of this interpreter: other kernels that are called python3, as in JUPYTER_PATH, are not looked for.

    Attributes:
        status: The exit status of the last one that ended by itself.
    """

    status: ClassVar[int | None] = None

    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return KernelSpecManager(kernel_dirs=[])

    async def _async_is_alive(self) -> bool:
        alive = await super()._async_is_alive()
        if not alive and self.has_kernel and self.provisioner is not None:
            Kernel.status = await self.provisioner.poll()
        return alive

    is_alive = _async_is_alive


def execute(source: Path, target: Path, settings: Mapping[str, Any], home: Path) -> None:
    """Executes a notebook.

    Args:
        source: The notebook.
        target: Its executed copy, written as far as it comes.
        settings: Its parameters.
        home: The folder that it runs in.

    Raises:
        papermill.PapermillExecutionError: A cell failed.
        RuntimeError: The kernel died; the message says why, as far as can be known.
    """
    Kernel.status = None
    logging.getLogger("papermill").setLevel(logging.ERROR)  # parameters.start knows those that are in no cell
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    folder = Path(tempfile.mkdtemp(prefix="aullm-", dir=short_folder(room=30)))  # for nobody else, and for one kernel
    ipc = {"transport": "ipc", "connection_file": str(folder / "kernel.json")}  # no port that others could listen to
    config = {"NotebookClient": {"kernel_manager_class": Kernel}, "Kernel": {} if resource is None else ipc}
    try:
        papermill.execute_notebook(
            source, target, parameters=settings, kernel_name="python3", cwd=str(home),
            progress_bar=sys.stderr.isatty(), log_output=False, stderr_file=sys.stderr, config=Config(config),
        )  # fmt: skip
    except RuntimeError as error:
        if Kernel.status is None:
            raise
        raise RuntimeError(f"{source.stem}: {_why(Kernel.status)}; {_where(target)}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _why(status: int) -> str:
    """What is known of a kernel's end from its exit status; minus a signal's number if one ended it."""
    if status >= 0 or resource is None:
        return f"its kernel ended by itself, with exit status {status}"
    name = signal.Signals(-status).name
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    reasons = {
        "SIGKILL": f"as the system does when memory is used up (it had {peak / 1e9:.1f} GB at most): give it more, or "
        "lower batch_size in overrides, side_by_side, or size",
        "SIGTERM": "as batch systems do when the time is up, or somebody did",
        "SIGINT": "as Ctrl-C does",
        "SIGXCPU": "as systems do when the CPU time is used up",
    }
    crashed = "it crashed in compiled code; a library that fits neither the others nor this machine is the usual reason"
    return f"its kernel was ended by {name}, {reasons.get(name, crashed)}"


def _where(target: Path) -> str:
    """The cell that was last begun."""
    cells = nbformat.read(target, as_version=4).cells
    begun = [i for i, cell in enumerate(cells, start=1) if cell.metadata.get("papermill", {}).get("start_time")]
    return f"it was in cell {begun[-1]} of {target}" if begun else f"no cell of {target} had begun"
