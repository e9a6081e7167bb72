"""One fold: clips, model, recipe -> probabilities (paper 3.4 and 4.2). Nothing is chosen by looking at the test fold.

Adam at a constant rate, the last epoch is used. The released script seeds once before its loop over subjects; here
every fold has a seed of its own, made from the experiment's seed and the fold's name, so that a fold gives the same
numbers whether it runs first, alone or again.
"""

import hashlib
import time
from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from aullm_lib import asl
from aullm_lib.clips import ClipStore
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Experiment


class Diverged(RuntimeError):
    """The training loss is no number any more; the message names fold and epoch."""


class Result(NamedTuple):
    predictions: pd.DataFrame  # clip_id, subject, au, label, probability
    log: pd.DataFrame  # epoch, loss (mean a clip)
    info: dict  # sizes, seconds, device, threads


def fold_seed(seed: int, fold: str) -> int:
    """A seed for one fold, the same on every machine."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{fold}".encode()).digest()[:6], "big")


def labels(table: pd.DataFrame, ids: tuple[str, ...], aus: tuple[int, ...]) -> Tensor:
    """0/1 targets [B, N_AU] in the order of ``ids`` and ``aus``; an AU that never occurs in the table is all 0."""
    columns = table.reindex(columns=[f"AU{n}" for n in aus], fill_value=0).loc[list(ids)]
    return torch.tensor(columns.to_numpy("float32"))


def train_fold(
    experiment: Experiment,
    store: ClipStore,
    table: pd.DataFrame,
    fold: Fold,
    *,
    llm: Loaded | None = None,
    device: str | torch.device = "cpu",
    progress: Callable[[float], object] = lambda loss: None,
) -> Result:
    """Trains on ``fold.train``, predicts ``fold.test``.

    store: on ``device`` already. llm: ``experiment.llm`` as ``llm.load`` gives it, so that many folds share its frozen
    weights; loaded here if None. progress: called once an epoch with the mean loss.
    Raises ``Diverged`` at the end of an epoch whose loss is not finite, or for predictions that are not.
    """
    started = time.perf_counter()
    recipe = experiment.recipe
    seed = fold_seed(experiment.seed, fold.name)
    torch.manual_seed(seed)
    model = AULLM(recipe, len(experiment.aus), llm=llm or experiment.llm, variant=experiment.variant).to(device)
    criterion = asl.build(
        recipe.loss,
        gamma_pos=recipe.gamma_pos,
        gamma_neg=recipe.gamma_neg,
        clip=recipe.clip,
        reduction=recipe.reduction,
    )
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trainable, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    order = torch.Generator().manual_seed(seed)  # on the CPU: the same batches on every device
    rows, targets = store.positions(fold.train), labels(table, fold.train, experiment.aus).to(device)
    history = []
    model.train()
    for epoch in range(1, recipe.epochs + 1):
        total = torch.zeros((), device=device)
        for batch in torch.randperm(len(rows), generator=order).to(device).split(recipe.batch_size):
            clips = store.sample(rows[batch], recipe.frames, jitter=order if recipe.jitter else None)
            loss = criterion(model(clips), targets[batch])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.detach() * (1 if recipe.reduction == "sum" else len(batch))
        mean = (total / len(rows)).item()  # one synchronisation an epoch
        if mean - mean != 0:
            raise Diverged(f"fold {fold.name}, epoch {epoch}: the loss is {mean}; lower Recipe.lr (now {recipe.lr:g})")
        history.append({"epoch": epoch, "loss": mean})
        progress(mean)
    probabilities = predict(model, store, fold.test, recipe.frames, recipe.batch_size)
    if not probabilities.isfinite().all():
        raise Diverged(
            f"fold {fold.name}: the probabilities of its test clips are no numbers; lower Recipe.lr (now "
            f"{recipe.lr:g}), or use another Recipe.llm_dtype (now {recipe.llm_dtype})"
        )
    units = [f"AU{n}" for n in experiment.aus]
    truth = labels(table, fold.test, experiment.aus).int()
    predictions = pd.DataFrame(
        {
            "clip_id": [clip for clip in fold.test for _ in units],
            "subject": [table.loc[clip, "subject"] for clip in fold.test for _ in units],
            "au": units * len(fold.test),
            "label": truth.flatten().numpy(),
            "probability": probabilities.cpu().flatten().numpy(),
        }
    )
    info = {
        "fold": fold.name,
        "seed": seed,
        "train_clips": len(fold.train),
        "test_clips": len(fold.test),
        "trained_parameters": sum(p.numel() for p in trainable),
        "seconds": round(time.perf_counter() - started, 3),
        "device": str(device),
        "threads": torch.get_num_threads(),
    }
    return Result(predictions, pd.DataFrame(history), info)


@torch.no_grad()
def predict(model: AULLM, store: ClipStore, ids: tuple[str, ...], frames: int, batch_size: int) -> Tensor:
    """Probabilities of occurrence [B, N_AU], float64, in the order of ``ids``; no temporal jitter."""
    was_training = model.training
    model.eval()
    logits = [model(store.sample(rows, frames)) for rows in store.positions(ids).split(batch_size)]
    model.train(was_training)
    return torch.cat(logits).double().sigmoid()
