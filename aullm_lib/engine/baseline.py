"""One fold of a baseline: clips, recipe -> probabilities, with the seeds, checks and records of AU-LLM's folds."""

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from aullm_lib import baselines
from aullm_lib.clips import ClipStore, labels
from aullm_lib.engine.fold import Diverged, Progress, Result, answers, finished
from aullm_lib.experiment import Experiment
from aullm_lib.protocol import Fold
from aullm_lib.support.memory import explained_memory
from aullm_lib.support.randomness import Stream, fold_seed


class _NoNumber(ArithmeticError):
    """The loss of an epoch is no number any more."""


def check(experiment: Experiment, store: ClipStore) -> None:
    """Raises ValueError or FileNotFoundError for what does not fit, as far as can be known before training."""
    module, settings = baselines.module(experiment.method), store.info["settings"]
    if settings["rgb"] != module.RGB:
        kinds = {True: "RGB", False: "grey"}
        raise ValueError(
            f"{store.path} holds {kinds[settings['rgb']]} frames, and {experiment.method} reads {kinds[module.RGB]} "
            f"ones: build it with rgb={module.RGB}"
        )
    if hasattr(module, "check"):
        module.check(experiment.recipe, store)


def sources(experiment: Experiment) -> dict[str, str]:
    """The identity of every file beside the clips that training rests on, by the recipe's field."""
    module = baselines.module(experiment.method)
    return module.sources(experiment.recipe) if hasattr(module, "sources") else {}


@lru_cache(maxsize=1)  # one run at a time: all its folds look at the same clips
def _inputs(method: str, recipe: Any, store: ClipStore, device: str) -> Any:
    return baselines.module(method).prepare(recipe, store)


def train_folds(
    experiment: Experiment, store: ClipStore, table: pd.DataFrame, folds: Sequence[Fold], *,
    device: str | torch.device = "cpu", keep_weights: bool = False, trace: bool = False,
    progress: Progress = lambda fold, epoch, loss: None,
) -> list[Result | Diverged]:  # fmt: skip
    """Trains each fold on its ``train`` clips and predicts its ``test`` clips, one after the other.

    As ``train.train_folds``, whose arguments these are. Raises ``OutOfMemory``.
    """
    batch = getattr(experiment.recipe, "batch_size", 1)
    with explained_memory(f"the recipe's batch_size (now {batch}; another training) or size"):
        return [_train(experiment, store, table, fold, str(device), keep_weights, trace, progress) for fold in folds]


def _train(
    experiment: Experiment, store: ClipStore, table: pd.DataFrame, fold: Fold, device: str, keep_weights: bool,
    trace: bool, progress: Progress,
) -> Result | Diverged:  # fmt: skip
    started, recipe = time.perf_counter(), experiment.recipe
    inputs = _inputs(experiment.method, recipe, store, device)
    rows, test = store.positions(fold.train), store.positions(fold.test)
    targets = labels(table, fold.train, experiment.aus).to(device)
    seed = fold_seed(experiment.seed, fold.name)
    log, traced = list[dict](), list[pd.DataFrame]()
    with Stream(seed, torch.device(device)):
        model = baselines.module(experiment.method).Model(recipe, len(experiment.aus))
        if isinstance(model, torch.nn.Module):
            model.to(device)

        def after(epoch: int, loss: float) -> None:
            if not torch.isfinite(torch.tensor(loss)):
                raise _NoNumber
            log.append({"epoch": epoch, "loss": loss})
            if trace:
                columns = answers(model.probabilities(inputs, test), fold.test, experiment.aus)
                traced.append(pd.DataFrame({"epoch": epoch} | columns))
            progress(fold.name, epoch, loss)

        order = torch.Generator().manual_seed(seed)  # on the CPU: the same batches on every device
        try:
            model.fit(inputs, rows, targets, order, after)
            probabilities = model.probabilities(inputs, test)
        except _NoNumber:
            probabilities = torch.full((len(fold.test), len(experiment.aus)), torch.nan)
    state: dict[str, Tensor] = {k: v.detach().to("cpu", copy=True).contiguous() for k, v in model.state_dict().items()}
    if not probabilities.isfinite().all():
        epoch = min(len(log) + 1, recipe.epochs)  # the last one where its loss was a number and the weights are not
        return Diverged(
            f"fold {fold.name}, epoch {epoch}: the loss or a probability is no number any more; lower the "
            f"recipe's lr (now {getattr(recipe, 'lr', None)})",
            {"fold": fold.name, "epoch": epoch, "step": 0, "clips": []},
            state,
        )
    info = {
        "seed": seed,
        "trained_parameters": sum(value.numel() for value in state.values()),
        "seconds": round(time.perf_counter() - started, 3),
        "side_by_side": 1,
        "device": device,
    }
    return finished(experiment, table, fold, probabilities, log, info, state if keep_weights else None, traced)
