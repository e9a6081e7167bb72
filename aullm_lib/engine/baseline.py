"""A baseline's training: folds, clips, recipe -> probabilities, with the seeds and records of AU-LLM's folds."""

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import torch

from aullm_lib import baselines, trained
from aullm_lib.clips import ClipStore, labels
from aullm_lib.engine.fold import Progress, columns, finished
from aullm_lib.experiment import Experiment
from aullm_lib.protocol import Fold
from aullm_lib.runs import Diverged, Result
from aullm_lib.support.memory import begin_peak, explained_memory, peak_mb
from aullm_lib.support.randomness import Stream, fold_seed


def side_by_side(experiment: Experiment) -> bool:
    """Whether folds may train together: a baseline's train one after the other."""
    return False


class _NotFinite(ArithmeticError):
    """The loss of an epoch is not finite."""


def shared(experiment: Experiment, data: dict, device: str) -> dict[str, Any]:
    """What all folds of a run share: nothing that is handed on."""
    return {}


def clips_at_once(experiment: Experiment) -> int:
    """0: a batch is not put in pieces."""
    return 0


@lru_cache(maxsize=1)  # one run at a time: all its folds look at the same clips
def _inputs(method: str, recipe: Any, store: ClipStore, device: str) -> Any:
    return baselines.module(method).prepare(recipe, store)


def train_folds(
    experiment: Experiment, store: ClipStore, table: pd.DataFrame, folds: Sequence[Fold], *,
    device: str | torch.device = "cpu", keep_weights: bool = False, trace: bool = False,
    progress: Progress = lambda fold, epoch, loss: None,
) -> list[Result | Diverged]:  # fmt: skip
    """Trains each fold on its ``train`` clips and predicts its ``test`` clips, one after the other.

    Args, Returns and Raises are those of ``aullm.train_folds``, without the LLM.
    """
    batch = getattr(experiment.recipe, "batch_size", 1)
    with explained_memory(f"the recipe's batch_size (now {batch}; another training) or size"):
        return [_train(experiment, store, table, fold, str(device), keep_weights, trace, progress) for fold in folds]


def _train(
    experiment: Experiment, store: ClipStore, table: pd.DataFrame, fold: Fold, device: str, keep_weights: bool,
    trace: bool, progress: Progress,
) -> Result | Diverged:  # fmt: skip
    started, recipe = time.perf_counter(), experiment.recipe
    begin_peak(device)
    inputs = _inputs(experiment.method, recipe, store, device)
    rows, test = store.positions(fold.train), store.positions(fold.test)
    targets = labels(table, fold.train, experiment.aus).to(device)
    seed = fold_seed(experiment.seed, fold.name)
    log, traced = list[dict](), list[pd.DataFrame]()
    with Stream(seed, torch.device(device)):
        model = baselines.build(experiment)
        if isinstance(model, torch.nn.Module):
            model.to(device)

        def after(epoch: int, loss: float) -> None:
            if not torch.isfinite(torch.tensor(loss)):
                raise _NotFinite
            log.append({"epoch": epoch, "loss": loss})
            if trace:
                predictions = columns(model.probabilities(inputs, test), fold.test, experiment.aus)
                traced.append(pd.DataFrame({"epoch": epoch} | predictions))
            progress(fold.name, epoch, loss)

        order = torch.Generator().manual_seed(seed)  # on the CPU: the same batches on every device
        try:
            model.fit(inputs, rows, targets, order, after)
            probabilities = model.probabilities(inputs, test)
        except _NotFinite:
            probabilities = torch.full((len(fold.test), len(experiment.aus)), torch.nan)
    state = trained.state(model)
    if not probabilities.isfinite().all():
        epoch = min(len(log) + 1, recipe.epochs)  # the last one where its loss is finite and the weights are not
        return Diverged(
            f"fold {fold.name}, epoch {epoch}: the loss or a probability is not finite; lower the "
            f"recipe's lr (now {getattr(recipe, 'lr', None)})",
            {"fold": fold.name, "epoch": epoch, "step": 0, "clips": []},
            state,
        )
    parameters = list(model.parameters()) or list(state.values())  # support vector machines have buffers only
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    total = sum(p.numel() for p in parameters)
    info = {
        "seed": seed,
        "trained_parameters": total - frozen,
        "total_parameters": total,
        "seconds": round(time.perf_counter() - started, 3),
        "peak_memory_mb": peak_mb(device),
        "side_by_side": 1,
        "device": device,
    }
    return finished(experiment, table, fold, probabilities, log, info, state if keep_weights else None, traced)
