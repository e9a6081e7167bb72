"""Folds as Ray tasks, on this machine or on the cluster that is connected: the engine's backend "ray".

The run folder says what is done: workers write whole fold folders into it and a line per epoch below ``progress``; the
driver only looks on. A task whose worker or node died is started elsewhere, finds the folds that are there, and goes
on with the others. Run folder, clip store and checkpoint must lie where every node sees them under the same path.

A task takes ``side_by_side`` folds. It computes as the local backend does: on a CPU the numbers depend on the number of
threads, which is the task's ``num_cpus``, and equal those of the local backend with that ``torch.set_num_threads``.
"""

import dataclasses
import logging
import os
import re
import socket
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm.auto import tqdm

from aullm_lib.engine.worker import Job, work
from aullm_lib.protocol import Fold
from aullm_lib.runs import Diverged, Run
from aullm_lib.support.cores import cores
from aullm_lib.support.memory import OutOfMemory
from aullm_lib.support.sockets import LONGEST, short_folder

try:
    import ray
    from ray import exceptions
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as error:
    raise ImportError(
        "backend='ray' needs the package ray: pip install 'aullm-lib[cluster]' (`make setup` installs it)"
    ) from error

RETRIES = 3  # of a task whose worker or node died, or that had not enough memory
LOOK = 1.0  # seconds between two looks at the progress files
PATIENCE = 60.0  # seconds until a shared file system must show a fold that a worker has written
SOCKETS = 72  # bytes of the path of a socket of Ray's, below its temporary folder
OBJECTS = 2**28  # bytes for the object store of a local start: a table, and the weights of folds that stopped
RESOURCES = {"num_cpus": "CPU", "num_gpus": "GPU", "memory": "memory"}  # a task's -> a node's; others are custom
# What ``make`` sets for the driver; a cluster's workers were started without it. Nothing secret: Ray's logs show it.
PASSED_ON = (
    "CUBLAS_WORKSPACE_CONFIG", "HF_HOME", "HF_HUB_OFFLINE", "MALLOC_MMAP_MAX_", "MALLOC_TOP_PAD_",
    "MALLOC_TRIM_THRESHOLD_", "TOKENIZERS_PARALLELISM",
)  # fmt: skip


class Outcome(NamedTuple):
    """What a task says at its end; its folds are on the disk."""

    failed: list[Diverged]
    short: OutOfMemory | None  # it stopped for want of memory
    warned: list[str]
    node: str


def run(job: Job, bar: tqdm, resources: Mapping[str, float]) -> list[Diverged]:
    """Does a job in tasks of ``side_by_side`` folds; returns the folds that stopped, as ``worker.work`` does.

    Connects to RAY_ADDRESS if that is set and Ray is not initialised yet; without it, starts Ray here. After the death
    of a worker or node, or too little memory, a task is tried again, elsewhere if there is another node, ``RETRIES``
    times. Anything else ends the other tasks at once. Finished folds are kept in any case.

    Args:
        job: The folds.
        bar: Moved at every epoch.
        resources: What each task holds, such as {"num_gpus": 0.5, "num_cpus": 2}, ``memory`` in bytes, or a resource
            that the cluster declares. By default a whole GPU if the job's device is one, else so many CPUs that the
            tasks use a node's once.

    Raises:
        ValueError: No node has these resources.
        FileNotFoundError: A node does not see the run's files.
        OutOfMemory: A fold does not fit.
        RuntimeError: Workers keep dying.
    """
    record = Run(job.run)
    pieces = [job.folds[i : i + job.side_by_side] for i in range(0, len(job.folds), job.side_by_side)]
    with _connected():
        wanted, gpu = _wanted(job, len(pieces), resources)
        job = dataclasses.replace(
            job,
            run=str(record.path.resolve()),
            store=str(Path(job.store).resolve()),
            device="cuda" if gpu else "cpu",  # a task sees its own GPU only, as the first
        )
        custom = {name: value for name, value in wanted.items() if name not in RESOURCES}
        options: dict[str, Any] = {name: value for name, value in wanted.items() if name in RESOURCES}
        options |= {"resources": custom, "max_retries": RETRIES, "retry_exceptions": False}
        if passed_on := {name: os.environ[name] for name in PASSED_ON if name in os.environ}:
            options["runtime_env"] = {"env_vars": passed_on}
        # A process that had a GPU keeps some of its memory, and sees no other: each task has a new one.
        task = ray.remote(max_calls=1)(_task) if gpu else ray.remote(_task)
        sent = ray.put(job)  # table and folds travel once, not with every task
        threads, here = max(1, int(wanted["num_cpus"])), str(Path.cwd())

        def start(piece: Sequence[Fold], **where: Any) -> ray.ObjectRef:
            names = [fold.name for fold in piece]
            return task.options(name=", ".join(names), **options, **where).remote(sent, names, here, threads)

        tasks: dict[ray.ObjectRef, Sequence[Fold]] = {start(piece): piece for piece in pieces}
        try:
            failed = _watch(tasks, start, wanted, _Progress(record, bar))
        except BaseException:  # KeyboardInterrupt too: nothing goes on behind the caller's back
            _cancel(list(tasks))
            raise
    stopped = {error.where["fold"] for error in failed}
    _await_folds(record, {fold.name for fold in job.folds} - stopped)
    order = [fold.name for fold in job.folds]
    return sorted(failed, key=lambda error: order.index(error.where["fold"]))


@contextmanager
def _connected() -> Iterator[None]:
    """Ray as it is initialised, or at RAY_ADDRESS, or started on this machine; only what was begun here is ended.

    What is started here takes the cores that this process may use, and a temporary folder that has room for sockets.
    """
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_task_oom_retries", str(RETRIES))  # Ray's own default is for ever
    if address := os.environ.get("RAY_ADDRESS"):
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    else:
        folder = os.environ.setdefault("RAY_TMPDIR", short_folder(SOCKETS))
        if len(os.fsencode(folder)) + SOCKETS > LONGEST:
            raise ValueError(f"RAY_TMPDIR={folder}: too long a path for Ray's sockets; set RAY_TMPDIR=/tmp")
        ray.init(
            address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR,
            object_store_memory=OBJECTS, num_cpus=cores(),
        )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


def _wanted(job: Job, tasks: int, resources: Mapping[str, float]) -> tuple[dict[str, float], bool]:
    """What each task holds, and whether it computes on a GPU. Raises ValueError for what no node has."""
    for name, value in resources.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise ValueError(f"resources: {name} is {value!r}; expected a number, 0 or more")
    wanted = dict(resources)
    on_gpu = torch.device(job.device).type == "cuda"
    wanted.setdefault("num_gpus", 1 if on_gpu else 0)
    if on_gpu and not wanted["num_gpus"]:
        raise ValueError("resources: num_gpus is 0, but the device is a GPU; give each task a part of one, or device")
    nodes = _nodes()
    if "num_cpus" not in wanted:
        cores = min((int(node["Resources"]["CPU"]) for node in nodes if node["Resources"].get("CPU")), default=1)
        wanted["num_cpus"] = 1 if wanted["num_gpus"] else max(1, cores // -(-tasks // len(nodes)))
    if not [node for node in nodes if _fits(wanted, node)]:
        there = [{k: v for k, v in node["Resources"].items() if k in ("CPU", "GPU")} for node in nodes]
        raise ValueError(f"resources: no node has what each task is to hold, {wanted}; the nodes have {there}")
    return wanted, wanted["num_gpus"] > 0


def _nodes() -> list[dict]:
    return [node for node in ray.nodes() if node["Alive"]]


def _fits(wanted: Mapping[str, float], node: dict) -> bool:
    """Whether a node, with nothing else on it, has what a task holds."""
    return all(node["Resources"].get(RESOURCES.get(name, name), 0) >= value for name, value in wanted.items())


def _task(job: Job, names: list[str], here: str, threads: int) -> Outcome:
    """In a worker: does the folds ``names`` of a job, in the driver's folder ``here``, to which paths are relative."""
    node = ray.get_runtime_context().get_node_id()
    for path in (Path(here), Path(job.run, "run.json"), Path(job.store, "store.json")):
        if not path.exists():
            raise FileNotFoundError(
                f"{path} is not there on the node {socket.gethostname()}: the repository, the run folder and the clip "
                "store must lie on a file system that all nodes share, under the same path"
            )
    os.chdir(here)
    torch.set_num_threads(threads)
    piece = dataclasses.replace(job, folds=tuple(fold for fold in job.folds if fold.name in names))
    short, failed = None, list[Diverged]()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=UserWarning, module="aullm_lib")  # the engine's own
        try:
            failed = work(piece)
        except OutOfMemory as error:
            short = error.with_traceback(None)  # whose frames hold the batch
    return Outcome(failed, short, [str(warning.message) for warning in heard], node)


def _watch(
    tasks: dict[ray.ObjectRef, Sequence[Fold]], start: Any, wanted: Mapping[str, float], progress: "_Progress"
) -> list[Diverged]:
    """Waits for all tasks, which are taken out of ``tasks`` one by one; those short of memory are put in again."""
    failed, shortages = list[Diverged](), dict[str, list[str]]()  # first fold of a piece -> where memory was short
    while tasks:
        ready, _ = ray.wait(list(tasks), timeout=LOOK, fetch_local=False)
        progress.look()
        if not ready and not [node for node in _nodes() if _fits(wanted, node)]:
            raise RuntimeError(
                f"no node is left that has what each task is to hold, {wanted}; finished folds are kept, and the same "
                "call goes on with the others"
            )
        for ref in ready:
            piece = tasks[ref]
            outcome = _result(ref, piece)
            del tasks[ref]
            for text in outcome.warned:
                warnings.warn(text, stacklevel=4)
            if outcome.short is None:
                failed += outcome.failed
                stopped = {error.where["fold"] for error in outcome.failed}
                progress.done([fold.name for fold in piece if fold.name not in stopped])
                continue
            places = shortages.setdefault(piece[0].name, [])
            places.append(outcome.node)
            if len(places) > RETRIES:
                raise outcome.short
            others = [n["NodeID"] for n in _nodes() if _fits(wanted, n) and n["NodeID"] not in places]
            where = NodeAffinitySchedulingStrategy(others[len(tasks) % len(others)], soft=True) if others else "DEFAULT"
            tasks[start(piece, scheduling_strategy=where)] = piece
    return failed


def _result(ref: ray.ObjectRef, piece: Sequence[Fold]) -> Outcome:
    """A finished task's outcome. Raises what it raised, or what became of it, in words."""
    names = ", ".join(fold.name for fold in piece)
    try:
        return ray.get(ref)
    except exceptions.RayTaskError as error:  # raised by the task itself
        raise error.cause from error
    except exceptions.OutOfMemoryError as error:  # Ray ended the worker before the node was out of memory
        raise OutOfMemory(
            f"not enough memory on a node for fold {names}, {1 + RETRIES} times; give each task more CPUs or memory in "
            f"resources, so that fewer run at once. {str(error).splitlines()[0]}"
        ) from error
    except exceptions.RayError as error:
        raise RuntimeError(
            f"fold {names}: its worker or node died {1 + RETRIES} times; finished folds are kept, and the same call "
            f"goes on with the others. {(str(error) or type(error).__name__).splitlines()[0]}"
        ) from error


def _cancel(tasks: list[ray.ObjectRef]) -> None:
    """Ends those that are not done. Ray takes the driver down when a task is cancelled in the moment of its end."""
    with suppress(exceptions.RayError):
        for ref in tasks:
            if not ray.wait([ref], timeout=0, fetch_local=False)[0]:
                ray.cancel(ref, force=True)
        if tasks:  # a second call may come at once: none of these must still be writing then
            ray.wait(tasks, num_returns=len(tasks), timeout=10, fetch_local=False)


def _await_folds(record: Run, names: set[str]) -> None:
    """Waits until the finished folds are seen from here; a network file system may show them late."""
    deadline = time.monotonic() + PATIENCE
    while absent := names & set(record.missing):
        if time.monotonic() > deadline:
            raise RuntimeError(
                f"{record.path}: fold {min(absent)} was finished by a worker but is not seen from here; the run folder "
                "must lie on a file system that all nodes share"
            )
        time.sleep(LOOK)


class _Progress:
    """The one bar, moved by the lines that workers add to the progress files."""

    _LINE = re.compile(r"epoch (\d+)  loss (\S+)\n")

    def __init__(self, record: Run, bar: tqdm):
        self._folder, self._bar, self._epochs = record.path / "progress", bar, record.experiment.recipe.epochs
        self._epoch: dict[str, int] = {}  # what the bar counts of each fold
        self._sizes = self._listed()  # lines of an earlier call count for nothing

    def _listed(self) -> dict[str, int]:
        sizes = {}
        with suppress(FileNotFoundError), os.scandir(self._folder) as entries:  # no fold has begun, or all are done
            for entry in entries:
                with suppress(FileNotFoundError):  # its fold was finished just now
                    sizes[entry.name] = entry.stat().st_size
        return sizes

    def look(self) -> None:
        """Reads the files that grew; a fold that began again moves the bar back."""
        for name, size in self._listed().items():
            if size == self._sizes.get(name):
                continue
            self._sizes[name] = size
            with suppress(FileNotFoundError):
                if lines := self._LINE.findall((self._folder / name).read_text(encoding="utf-8")):
                    fold, (epoch, loss) = name.removesuffix(".txt"), lines[-1]
                    self._bar.set_postfix_str(f"{fold} loss {float(loss):.3f}", refresh=False)
                    self._move(fold, int(epoch))

    def done(self, folds: list[str]) -> None:
        for fold in folds:
            self._move(fold, self._epochs)

    def _move(self, fold: str, epoch: int) -> None:
        self._bar.update(epoch - self._epoch.get(fold, 0))
        self._epoch[fold] = epoch
