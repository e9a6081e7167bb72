"""One job, a group of folds of a run: what is missing is trained and written, each fold whole.

It knows of no backend: all that it needs is in the job, all that it does is write fold folders. A job that died is
simply done again: its finished folds are there, whole, and are not run twice.
"""

import gc
import warnings
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import torch

from aullm_lib import llm
from aullm_lib.clips import ClipStore
from aullm_lib.engine import baseline
from aullm_lib.engine.aullm import train_folds
from aullm_lib.engine.fold import Diverged, Progress
from aullm_lib.experiment import AU_LLM, Experiment
from aullm_lib.llm import Loaded
from aullm_lib.model import needs_llm, parts_of, recipe_of
from aullm_lib.protocol import Fold
from aullm_lib.runs import Run
from aullm_lib.support.memory import OutOfMemory


@dataclass(frozen=True)
class Job:
    """Some folds of a run, and all that is needed to run them in any process that sees the same file system."""

    run: str  # the run folder
    store: str  # the clip store
    table: pd.DataFrame  # labels and subjects, by clip id
    folds: tuple[Fold, ...]
    device: str
    side_by_side: int
    keep_weights: bool
    shrink: bool
    trace: bool = False


def work(job: Job, store: ClipStore | None = None, progress: Progress = lambda *_: None) -> list[Diverged]:
    """Does a job: trains the folds that its run lacks and writes each one whole. Returns those that stopped.

    store: the job's, opened, if it is at hand; it ends where it was, on the CPU or a device. Raises ``OutOfMemory``,
    OSError.
    """
    record = Run(job.run)
    experiment, store = record.experiment, store or _opened(job.store)
    missing = set(record.missing)
    waiting = [fold for fold in job.folds if fold.name in missing]
    ours = experiment.method == AU_LLM
    language = ours and needs_llm(experiment.variant)
    loaded = _llm(experiment, record.info["data"]["llm"]) if language else None
    if torch.device(job.device).type == "cuda":  # as the released script does
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    together, llm_batch, failed = job.side_by_side if ours else 1, None, list[Diverged]()

    def heard(fold: str, epoch: int, loss: float) -> None:
        record.note_epoch(fold, epoch, loss)
        progress(fold, epoch, loss)

    with store.on(job.device):
        while waiting:
            group = waiting[:together]
            how = ""
            try:
                own = {"llm": loaded, "llm_batch": llm_batch} if ours else {}
                outcomes = (train_folds if ours else baseline.train_folds)(
                    experiment,
                    store,
                    job.table,
                    group,
                    device=job.device,
                    keep_weights=job.keep_weights,
                    trace=job.trace,
                    progress=heard,
                    **own,
                )
            except OutOfMemory:
                now = llm_batch or (experiment.recipe.llm_batch or experiment.recipe.batch_size if language else 0)
                if len(group) > 1:
                    together = len(group) // 2
                    how = f"{together} folds side by side from now on"
                elif job.shrink and now > 1:
                    llm_batch = now // 2
                    how = f"{llm_batch} clips through the LLM at a time from now on"
                else:
                    raise
            if how:  # only now does no exception hold what did not fit
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                warnings.warn(f"{record.path.name}: not enough memory; {how}", stacklevel=2)
                continue
            for fold, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, Diverged):
                    record.write_failure(outcome)
                    failed.append(outcome)
                else:
                    record.write_fold(fold.name, outcome)
            waiting = waiting[len(group) :]
    return failed


def _llm(experiment: Experiment, identity: str) -> Loaded:
    recipe = recipe_of(experiment.variant, experiment.recipe)
    random = parts_of(experiment.variant).random_llm
    return _loaded(experiment.llm, recipe.llm_dtype, random, identity)


@lru_cache(maxsize=1)  # one LLM a process: its frozen weights serve every fold and run
def _loaded(checkpoint: str, dtype: str, random: bool, identity: str) -> Loaded:
    return llm.load(checkpoint, dtype=dtype, random_weights=random)


@lru_cache(maxsize=1)
def _opened(store: str) -> ClipStore:
    return ClipStore(store)
