"""Many folds: runs what is missing of an experiment, here or on a Ray cluster, and returns its run folder.

``work`` does one job, a group of folds, and knows of no engine: all that it needs is in the job, all that it does is
write fold folders. A job that died is simply done again: its finished folds are there, whole, and are not run twice.
"""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from tqdm.auto import tqdm

from aullm_lib import llm, protocol
from aullm_lib.clips import ClipStore
from aullm_lib.engine import baseline
from aullm_lib.engine.fold import Diverged
from aullm_lib.engine.worker import Job, work
from aullm_lib.experiment import AU_LLM, Experiment
from aullm_lib.metrics import predictions
from aullm_lib.model import needs_llm, recipe_of
from aullm_lib.protocol import Fold
from aullm_lib.runs import Run
from aullm_lib.support import hub
from aullm_lib.support.provenance import MADE_BY, provenance

BACKENDS = ("local", "ray")
TOGETHER = 8  # folds side by side on a GPU, unless told otherwise or memory is short


def check(experiment: Experiment, store: ClipStore) -> None:
    """Raises ValueError or FileNotFoundError naming a setting that does not fit, as far as can be known beforehand."""
    size = store.info["settings"]["size"]
    if experiment.recipe.size != size:
        raise ValueError(f"Recipe.size={experiment.recipe.size}, but the frames of {store.path} have {size} pixels")
    if experiment.method != AU_LLM:
        baseline.check(experiment, store)
        return
    recipe_of(experiment.variant, experiment.recipe)
    if store.info["settings"]["rgb"]:
        raise ValueError(f"{store.path} holds RGB frames, and AU-LLM reads grey ones: build it without rgb")
    if needs_llm(experiment.variant):
        source, options = hub.locate(experiment.llm)
        if options["local_files_only"]:
            hub.check_folder(Path(source))
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
        data |= baseline.sources(experiment)
    elif needs_llm(experiment.variant):
        data["llm"] = hub.identity(experiment.llm)
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
                    from aullm_lib.engine import ray_tasks

                    failed = ray_tasks.run(job, bar, resources or {})
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
    predictions.check(record.predictions(), clips=[c for fold in folds for c in fold.test], folds=record.folds)
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
