"""Many folds: runs what is missing of an experiment and returns its run folder."""

import warnings
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
from aullm_lib.runs import MADE_BY, Run, provenance
from aullm_lib.train import train_fold

BACKENDS = ("local",)


def check(experiment: Experiment, store: ClipStore) -> None:
    """Raises ValueError or FileNotFoundError naming a setting that does not fit, as far as can be known beforehand."""
    size = store.info["settings"]["size"]
    if experiment.recipe.size != size:
        raise ValueError(f"Recipe.size={experiment.recipe.size}, but the frames of {store.path} have {size} pixels")
    if needs_llm(experiment.variant):
        llm.hidden_size(experiment.llm)


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

    table: rows of ``store.table`` to use, with their labels and subjects (all by default). folds: leave-one-subject-out
    by default. device: the first CUDA device if there is one, else the CPU. Stop it at any time: finished folds stay,
    and the same call goes on with the next.
    Raises what ``check`` raises, ValueError for clips that the store lacks, ``protocol.Leak`` for a split that is none,
    ``train.Diverged``, OSError where nothing can be written.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r}: choose one of {', '.join(BACKENDS)}")
    check(experiment, store)
    table = store.table if table is None else table
    absent = table.index.difference(store.table.index)
    if len(absent):
        raise ValueError(
            f"{store.path} lacks {len(absent)} clips of the table, {absent[0]!r} first (store.failed says why a clip "
            "was left out); use table.loc[store.ids]"
        )
    table = table.drop(columns="sha256", errors="ignore").join(store.table["sha256"])
    if folds is None:
        folds = protocol.loso(table)  # refuses leaks itself
    else:
        for fold in folds:
            protocol.refuse_leak(fold, table)
    data = {"fingerprint": store.fingerprint, "clips": len(table), **store.info["settings"]["release"]}
    if needs_llm(experiment.variant):
        data["llm"] = llm.identity(experiment.llm)
    record = Run.open(out, experiment, folds, data)
    missing = set(record.missing)
    if missing and any(made != {k: provenance()[k] for k in MADE_BY} for made in record.made_by()):
        warnings.warn(
            f"{record.path}: its finished folds were made by another version or revision of the code (fold.json says "
            "which) and are kept; delete the folder to run all folds again",
            stacklevel=2,
        )
    if missing:
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        loaded = llm.load(experiment.llm, dtype=experiment.recipe.llm_dtype) if needs_llm(experiment.variant) else None
        if torch.device(device).type == "cuda":  # as the released script does
            torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
        store.to(device)
        total = len(missing) * experiment.recipe.epochs
        with tqdm(total=total, desc=experiment.name, unit="epoch") as bar:
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
