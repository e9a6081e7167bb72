"""Experiments to run folders: runs the folds that are missing, here or on a Ray cluster."""

import hashlib
import logging
import time
import warnings
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm.auto import tqdm

from aullm_lib import card, protocol
from aullm_lib.clips import ClipStore, labels
from aullm_lib.engine.worker import Job, work
from aullm_lib.experiment import Experiment, family
from aullm_lib.metrics import predictions
from aullm_lib.protocol import Fold
from aullm_lib.runs import Diverged, Run
from aullm_lib.support.provenance import MADE_BY, provenance

log = logging.getLogger(__name__)

BACKENDS = ("local", "ray")
TOGETHER = 8  # folds side by side on a GPU, unless told otherwise or memory is short
OFTEN = 60.0  # seconds at least between two lines of what is done


def check(experiment: Experiment, store: ClipStore) -> None:
    """Checks an experiment and the clips for it, as far as can be known before training.

    Raises:
        ValueError, FileNotFoundError: A setting does not fit; the message names it.
    """
    settings, colour = store.info["settings"], family(experiment.method).reads_colour(experiment.method)
    if experiment.recipe.size != settings["size"]:
        raise ValueError(
            f"Recipe.size={experiment.recipe.size}, but the frames of {store.path} have {settings['size']} pixels"
        )
    if settings["rgb"] != colour:
        has, reads = (("grey", "RGB")[rgb] for rgb in (settings["rgb"], colour))
        raise ValueError(
            f"{store.path} holds {has} frames, and {experiment.method} reads {reads} ones: build it with rgb={colour}"
        )
    family(experiment.method).check(experiment, store)


def run(
    experiment: Experiment,
    store: ClipStore,
    table: pd.DataFrame | None = None,
    backend: str = "local",
    *,
    out: str | Path = "runs",
    folds: Sequence[Fold] | None = None,
    device: str | None = None,
    side_by_side: int | None = None,
    keep_weights: bool = False,
    shrink: bool = False,
    trace: bool = False,
    resources: dict[str, float] | None = None,
) -> Path:
    """Trains and tests every fold that the run folder lacks; a finished fold is never run again.

    Stop it at any time: finished folds stay, and the same call goes on with the others. A fold whose loss is not finite
    stops by itself, leaves ``failed/<fold>`` in the run folder, and the others go on.

    Args:
        experiment: What is trained.
        store: The clips.
        table: Rows of ``store.table`` to use, with their labels and subjects; all by default.
        backend: "local" (this process) or "ray" (tasks on this machine or the connected cluster, ``ray_tasks``).
        out: The folder that holds runs.
        folds: Leave-one-subject-out by default.
        device: The first CUDA device by default, or the CPU where there is none.
        side_by_side: Folds trained together against one frozen LLM: by default 1 on a CPU, 8 on a GPU; fewer where
            memory is short, with a warning.
        keep_weights: Store what training changed, for ``trained.load``, and a model card (``card.write``).
        shrink: Where one fold alone does not fit, put fewer clips through the LLM at a time (``Recipe.llm_batch``)
            instead of stopping.
        trace: Store the test clips' probabilities after every epoch as well (``Run.trace``).
        resources: Of each Ray task, such as {"num_gpus": 0.5}.

    Returns:
        The run folder.

    Raises:
        ValueError, FileNotFoundError: As ``check``; clips that the store lacks; a run folder that was made with other
            labels of the same clips; predictions in it that lack a clip or have one twice.
        protocol.Leak: A fold trains on what it tests.
        Diverged: In the end, if a fold stopped.
        OutOfMemory: A fold does not fit.
        OSError: Nothing can be written.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend={backend!r}: choose one of {', '.join(BACKENDS)}")
    if side_by_side is not None and side_by_side < 1:
        raise ValueError(f"side_by_side={side_by_side}: at least 1")
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
    split = protocol.described(folds, table)  # also of a run that trains on a share of the subjects
    tested = labels(table, tuple(clip for fold in folds for clip in fold.test), experiment.aus)
    if unknown := [f"AU{n}" for n, known in zip(experiment.aus, tested.isfinite().any(0), strict=True) if not known]:
        raise ValueError(
            f"{' and '.join(split['test'])} code no {', '.join(unknown)}, which could not be scored: leave it out of "
            "Experiment.aus"
        )
    if len(split["test"]) > 1:  # the first subject of one release is not that of another
        table = table.assign(subject=table["dataset"] + "/" + table["subject"])
    if (share := family(experiment.method).subjects(experiment)) < 1:
        folds = protocol.fewer_subjects(folds, table, share, experiment.seed)
    data = {"fingerprint": store.fingerprint, "clips": len(table), **store.info["settings"]["release"]}
    data |= family(experiment.method).sources(experiment)
    about = {k: v for k, v in store.info["settings"].items() if k not in ("release", "clips", "files")}
    about |= {"median_frames": float(table["n_frames"].median()), "samples": _samples(experiment, table)}
    record = Run.open(out, experiment, folds, data, about, split)
    missing = set(record.missing)
    now = {k: v for k, v in provenance().items() if k in MADE_BY and k != "platform"}
    if missing and any(made | now != made for made in record.made_by()):
        warnings.warn(
            f"{record.path}: its finished folds were made by another version or revision of the code (fold.json says "
            "which) and are kept; delete the folder to run all folds again",
            stacklevel=2,
        )
    if missing:
        gpus = (resources or {}).get("num_gpus") if backend == "ray" else None  # this machine may have none
        device = device or ("cuda" if gpus or torch.cuda.is_available() else "cpu")
        together = side_by_side or (TOGETHER if torch.device(device).type == "cuda" else 1)
        left = [fold for fold in folds if fold.name in missing]
        job = Job(str(record.path), str(store.path), table, tuple(left), device, together, keep_weights, shrink, trace)
        bar = tqdm(total=len(left) * experiment.recipe.epochs, desc=experiment.name, unit="epoch")
        try:
            with bar:
                if backend == "ray":
                    tasks = import_module("aullm_lib.engine.ray_tasks")  # needs Ray, an optional package
                    failed = tasks.run(job, bar, resources or {})
                else:
                    failed = work(job, store, lambda fold, epoch, loss: _step(bar, f"{fold} loss {loss:.3f}"))
        except KeyboardInterrupt as error:
            error.add_note(
                f"{len(record.done)} of {len(folds)} folds are finished and kept; the same call goes on with the others"
            )
            raise
        if failed:
            card.write(record)
            more = f"; {len(failed) - 1} more folds stopped" if len(failed) > 1 else ""
            raise Diverged(
                f"{failed[0]}{more}. The other folds are finished; {record.path / 'failed'} has what is known",
                failed[0].where,
                failed[0].weights,
            )
    predictions.check(record.predictions(), clips=[c for fold in folds for c in fold.test], folds=record.folds)
    record.finish()
    card.write(record)
    return record.path


def _samples(experiment: Experiment, table: pd.DataFrame) -> str:
    """What is scored: a hash of the clips' ids, subjects and labels, whatever their pixels look like."""
    units = [f"AU{n}" for n in experiment.aus]
    scored = table.reindex(columns=["dataset", "subject", *units], fill_value=0).sort_index()
    scored[units] = scored[units].astype("Int64")  # 1.0 and True are 1
    return hashlib.sha256(scored.to_csv().encode()).hexdigest()


def _step(bar: tqdm, text: str) -> None:
    bar.set_postfix_str(text, refresh=False)
    bar.update()


def run_all(experiments: Iterable[tuple[Any, ...]], **options: Any) -> list[Path]:
    """Runs what is missing of many experiments, one after the other; all are checked before the first one starts.

    Once a minute at most it logs how many are done and about how long the others take, at the pace so far: of an epoch
    of a fold, whatever the method. A run with a fold that diverged is left out with a warning, as long as another one
    is finished.

    Args:
        experiments: (experiment, store) or (experiment, store, folds).
        options: Of ``run``, for all of them; the errors are those of ``run``, too.

    Returns:
        The folders of the finished runs, in order.
    """
    jobs = [(experiment, store, *folds) for experiment, store, *folds in experiments]
    for experiment, store, *_ in jobs:
        check(experiment, store)
    sizes = [len(folds[0]) if folds else store.table["subject"].nunique() for _, store, *folds in jobs]
    ahead = [experiment.recipe.epochs * size for (experiment, *_), size in zip(jobs, sizes, strict=True)]
    paths, stopped, trained, spent, last = list[Path](), list[Diverged](), 0, 0.0, time.time()
    for done, (experiment, store, *folds) in enumerate(tqdm(jobs, desc="runs", unit="run", disable=len(jobs) < 2), 1):
        started = time.time()
        try:
            path = run(experiment, store, folds=folds[0] if folds else None, **options)
        except Diverged as error:
            if len(jobs) == 1:
                raise
            warnings.warn(f"{experiment.name} is left out: {error}", stacklevel=2)
            stopped.append(error)
            continue
        paths, now = [*paths, path], time.time()
        new = sum(file.stat().st_mtime >= started for file in path.glob("folds/[!.]*/fold.json"))
        if new:  # what was done before says nothing of the pace
            trained, spent = trained + new * experiment.recipe.epochs, spent + now - started
        if trained and now - last >= OFTEN and done < len(jobs):
            left, last = spent / trained * sum(ahead[done:]), now
            log.info("%d of %d runs are done, about %s left", done, len(jobs), in_words(left))
    if stopped and not paths:
        raise stopped[0]
    return paths


def in_words(seconds: float) -> str:
    """A duration, such as "a minute" (or less), "3 minutes", "2.5 hours" or "4.0 days"."""
    if seconds < 90:
        return "a minute"
    for unit, size, limit, digits in (("minutes", 60, 90 * 60, 0), ("hours", 3600, 48 * 3600, 1)):
        if seconds < limit:
            return f"{seconds / size:.{digits}f} {unit}"
    return f"{seconds / 86400:.1f} days"
