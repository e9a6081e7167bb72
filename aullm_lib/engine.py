"""Many folds: runs what is missing of an experiment, here or on a Ray cluster, and returns its run folder.

``work`` does one job, a group of folds, and knows of no engine: all that it needs is in the job, all that it does is
write fold folders. A job that died is simply done again: its finished folds are there, whole, and are not run twice.
"""

import gc
import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from aullm_lib import llm, protocol, thresholds
from aullm_lib.baselines import fit
from aullm_lib.clips import ClipStore
from aullm_lib.fold import Diverged, OutOfMemory, Progress
from aullm_lib.llm import Loaded
from aullm_lib.model import needs_llm, parts_of, recipe_of
from aullm_lib.protocol import Fold
from aullm_lib.recipe import AU_LLM, Experiment
from aullm_lib.runs import MADE_BY, Run, provenance
from aullm_lib.train import train_folds

BACKENDS = ("local", "ray")
TOGETHER = 8  # folds side by side on a GPU, unless told otherwise or memory is short


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


def check(experiment: Experiment, store: ClipStore) -> None:
    """Raises ValueError or FileNotFoundError naming a setting that does not fit, as far as can be known beforehand."""
    size = store.info["settings"]["size"]
    if experiment.recipe.size != size:
        raise ValueError(f"Recipe.size={experiment.recipe.size}, but the frames of {store.path} have {size} pixels")
    if experiment.method != AU_LLM:
        fit.check(experiment, store)
        return
    recipe_of(experiment.variant, experiment.recipe)
    if store.info["settings"]["rgb"]:
        raise ValueError(f"{store.path} holds RGB frames, and AU-LLM reads grey ones: build it without rgb")
    if needs_llm(experiment.variant):
        source, options = llm.locate(experiment.llm)
        if options["local_files_only"]:
            llm.check_folder(Path(source))
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
    side_by_side: int | None = None,
    keep_weights: bool = False,
    shrink: bool = False,
    trace: bool = False,
    resources: dict[str, float] | None = None,
) -> Path:
    """Trains and tests every fold that the run folder lacks; a finished fold is never run again.

    table: rows of ``store.table`` to use, with their labels and subjects (all by default). folds: leave-one-subject-out
    by default. device: the first CUDA device if there is one, else the CPU. side_by_side: folds trained together
    against one frozen LLM (1 on a CPU, 8 on a GPU by default); fewer where memory is short, with a warning.
    keep_weights: store what training changed, for ``Run.model``. shrink: where one fold alone does not fit, put fewer
    clips through the LLM at a time (``Recipe.llm_batch``) instead of stopping. trace: store the test clips'
    probabilities after every epoch as well (``Run.trace``).
    backend: "local" (this process) or "ray" (tasks on this machine or the cluster that is connected; ``cluster.py``),
    with ``resources`` for each task, such as {"num_gpus": 0.5}.

    Stop it at any time: finished folds stay, and the same call goes on with the others. A fold whose loss is no number
    any more stops by itself, leaves ``failed/<fold>`` in the run folder, and the others go on.
    Raises what ``check`` raises, ValueError for clips that the store lacks, for a run folder that was made with other
    labels of the same clips, and for predictions in it that miss a clip or have one twice, ``protocol.Leak`` for a
    split that is none, ``fold.Diverged`` in the end if a fold stopped, ``fold.OutOfMemory``, OSError where nothing can
    be written.
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
    data = {"fingerprint": store.fingerprint, "clips": len(table), **store.info["settings"]["release"]}
    if experiment.method != AU_LLM:
        data |= fit.sources(experiment)
    elif needs_llm(experiment.variant):
        data["llm"] = llm.identity(experiment.llm)
    about = {k: v for k, v in store.info["settings"].items() if k not in ("release", "clips", "files")}
    about |= {"median_frames": float(table["n_frames"].median()), "samples": _samples(experiment, table)}
    record = Run.open(out, experiment, folds, data, about)
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
                    from aullm_lib import cluster

                    failed = cluster.run(job, bar, resources or {})
                else:
                    failed = work(job, store, lambda fold, epoch, loss: _step(bar, f"{fold} loss {loss:.3f}"))
        except KeyboardInterrupt as error:
            error.add_note(
                f"{len(record.done)} of {len(folds)} folds are finished and kept; the same call goes on with the others"
            )
            raise
        if failed:
            more = f"; {len(failed) - 1} more folds stopped" if len(failed) > 1 else ""
            raise Diverged(
                f"{failed[0]}{more}. The other folds are finished; {record.path / 'failed'} has what is known",
                failed[0].where,
                failed[0].weights,
            )
    thresholds.check(record.predictions(), clips=[c for fold in folds for c in fold.test], folds=record.folds)
    record.finish()
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
                outcomes = (train_folds if ours else fit.train_folds)(
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
