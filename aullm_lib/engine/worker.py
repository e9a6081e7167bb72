"""One job, a group of folds of a run: what is missing is trained and written, each fold whole.

It knows of no backend: all that it needs is in the job, all that it does is write fold folders. A job that died is
simply done again: its finished folds are there, whole, and are not run twice.
"""

import gc
import warnings
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import pandas as pd
import torch

from aullm_lib import baselines, model, trained
from aullm_lib.clips import ClipStore
from aullm_lib.engine import aullm, baseline
from aullm_lib.engine.fold import Progress
from aullm_lib.experiment import family
from aullm_lib.protocol import Fold
from aullm_lib.recipe import MANY
from aullm_lib.runs import Diverged, Run
from aullm_lib.support.memory import OutOfMemory
from aullm_lib.support.randomness import repeatable

_fitted: dict[tuple, int] = {}
"""What is trained, whatever its seed -> how many folds side by side fit in memory, where more did not."""

TRAINERS: dict[ModuleType, Any] = {model: aullm, baselines: baseline}
"""Family of methods -> how it is trained: ``side_by_side``, ``shared``, ``clips_at_once`` and ``train_folds``."""


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

    Args:
        job: The folds.
        store: The job's, opened, if it is at hand; it ends where it was, on the CPU or a device.
        progress: Called for each fold at the end of an epoch.

    Raises:
        OutOfMemory: A fold does not fit.
        OSError: Nothing can be written.
    """
    record = Run(job.run)
    experiment, store = record.experiment, store or _opened(job.store)
    waiting = list(job.folds)
    trainer = TRAINERS[family(experiment.method)]
    shared = trainer.shared(experiment, record.info["data"], job.device)
    repeatable()
    alike = (experiment.method, experiment.variant, experiment.llm, experiment.recipe)
    together = min(job.side_by_side, _fitted.get(alike, MANY)) if trainer.side_by_side(experiment) else 1
    failed = list[Diverged]()

    def note(fold: str, epoch: int, loss: float) -> None:
        record.note_epoch(fold, epoch, loss)
        progress(fold, epoch, loss)

    with store.on(job.device):
        # Another process may have trained some meanwhile.
        while waiting := [fold for name in record.missing for fold in waiting if fold.name == name]:
            group = waiting[:together]
            remedy = ""
            try:
                outcomes = trainer.train_folds(
                    experiment,
                    store,
                    job.table,
                    group,
                    device=job.device,
                    keep_weights=job.keep_weights,
                    trace=job.trace,
                    progress=note,
                    **shared,
                )
            except OutOfMemory:
                at_once = shared.get("llm_batch") or trainer.clips_at_once(experiment)
                if len(group) > 1:
                    together = _fitted[alike] = len(group) // 2
                    remedy = f"{together} folds side by side from now on"
                elif job.shrink and at_once > 1:
                    shared["llm_batch"] = at_once // 2
                    remedy = f"{shared['llm_batch']} clips through the LLM at a time from now on"
                else:
                    raise
            if remedy:  # only now does no exception hold what did not fit
                gc.collect()
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                warnings.warn(f"{record.path.name}: not enough memory; {remedy}", stacklevel=2)
                continue
            for fold, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, Diverged):
                    record.write_failure(outcome, trained.save)
                    failed.append(outcome)
                else:
                    record.write_fold(fold.name, outcome, trained.save)
            waiting = waiting[len(group) :]
    return failed


@lru_cache(maxsize=1)
def _opened(store: str) -> ClipStore:
    return ClipStore(store)
