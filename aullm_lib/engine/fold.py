"""What all methods' training of a fold shares: its seed and random streams, targets, and what it hands on.

The released script seeds once before its loop over subjects; here every fold has a seed of its own, made from the
experiment's seed and the fold's name, and random streams of its own, so that a fold gives the same numbers whether it
runs first, alone, again, or side by side with others.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from aullm_lib.clips import labels
from aullm_lib.experiment import Experiment
from aullm_lib.protocol import Fold

Progress = Callable[[str, int, float], object]  # fold, epoch, mean loss a clip


class Diverged(RuntimeError):
    """The loss, its gradient or a probability is no number any more; the message names fold, epoch and step.

    ``where`` has fold, epoch, step and the clip ids of that step's batch; ``weights`` the state before that step.
    """

    def __init__(self, message: str, where: dict, weights: dict[str, Tensor]):
        super().__init__(message)
        self.where, self.weights = where, weights

    def __reduce__(self) -> tuple:  # by itself an exception comes back from another process with its message only
        return type(self), (str(self), self.where, self.weights)


class Result(NamedTuple):
    predictions: pd.DataFrame  # clip_id, subject, au, label, probability
    log: pd.DataFrame  # epoch, loss (mean a clip)
    info: dict  # sizes, seconds, device, threads
    weights: dict[str, Tensor] | None = None  # what training changed (weights.trained), if asked for
    trace: pd.DataFrame | None = None  # epoch, clip_id, au, probability: the test clips after every epoch, if asked for


def answers(probabilities: Tensor, ids: Sequence[str], aus: Sequence[int]) -> dict[str, list]:
    """Probabilities [B, N_AU] as columns, a row a (clip, AU): clip_id, au, probability."""
    units = [f"AU{n}" for n in aus]
    return {
        "clip_id": [clip for clip in ids for _ in units],
        "au": units * len(ids),
        "probability": probabilities.cpu().flatten().tolist(),
    }


def finished(
    experiment: Experiment,
    table: pd.DataFrame,
    fold: Fold,
    probabilities: Tensor,
    log: list[dict],
    info: dict,
    weights: dict[str, Tensor] | None,
    traced: list[pd.DataFrame],
) -> Result:
    """A trained fold's result. probabilities: of its test clips [B, N_AU]; traced: ``answers`` of every epoch."""
    truth = labels(table, fold.test, experiment.aus).int()
    predictions = pd.DataFrame(answers(probabilities, fold.test, experiment.aus) | {"label": truth.flatten().numpy()})
    predictions["subject"] = predictions["clip_id"].map(table["subject"])
    sizes = {"fold": fold.name, "train_clips": len(fold.train), "test_clips": len(fold.test)}
    trace = pd.concat(traced) if traced else None
    return Result(predictions, pd.DataFrame(log), sizes | info | {"threads": torch.get_num_threads()}, weights, trace)
