"""Many folds: runs what is missing of an experiment and returns its run folder."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from aullm_lib import llm, protocol
from aullm_lib.clips import ClipStore
from aullm_lib.model import needs_llm
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Experiment
from aullm_lib.runs import Run
from aullm_lib.train import train_fold

BACKENDS = ("local",)


def run(
    experiment: Experiment,
    store: ClipStore,
    table: pd.DataFrame | None = None,
    backend: str = "local",
    *,
    out: str | Path = "runs",
    folds: Sequence[Fold] | None = None,
    device: str | None = None,
) -> Path:
    """Trains and tests every fold that the run folder lacks; a finished fold is never run again.

    table: rows of ``store.table`` to use (all by default). folds: leave-one-subject-out by default.
    device: the first CUDA device if there is one, else the CPU. Stop it at any time: finished folds stay, and the
    same call goes on with the next. Raises ValueError for clips that the store lacks, ``protocol.Leak`` for a split
    that is none, ``train.Diverged``, OSError where nothing can be written.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r}: choose one of {', '.join(BACKENDS)}")
    table = store.table if table is None else table
    absent = table.index.difference(store.table.index)
    if len(absent):
        raise ValueError(
            f"{store.path} lacks {len(absent)} clips of the table, {absent[0]!r} first (store.failed says why a clip "
            "was left out); use table.loc[store.ids]"
        )
    table = table.drop(columns="sha256", errors="ignore").join(store.table["sha256"])
    folds = protocol.loso(table) if folds is None else list(folds)
    for fold in folds:
        protocol.refuse_leak(fold, table)
    data = {"fingerprint": store.fingerprint, "clips": len(table), **store.info["settings"]["release"]}
    record = Run.open(out, experiment, folds, data)
    missing = set(record.missing)
    if missing:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        loaded = llm.load(experiment.llm, dtype=experiment.recipe.llm_dtype) if needs_llm(experiment.variant) else None
        store.to(device)
        total = len(missing) * experiment.recipe.epochs
        with tqdm(total=total, desc=experiment.name, unit="epoch", disable=None) as bar:
            for fold in folds:
                if fold.name not in missing:
                    continue

                def step(loss: float, fold: Fold = fold) -> None:
                    bar.set_postfix_str(f"{fold.name} loss {loss:.3f}", refresh=False)
                    bar.update()

                result = train_fold(experiment, store, table, fold, llm=loaded, device=device, progress=step)
                record.write_fold(fold.name, *result)
    record.finish()
    return record.path
