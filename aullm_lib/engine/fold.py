"""What all methods' training of a fold has in common: progress, predictions as columns, and the result."""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from torch import Tensor

from aullm_lib.clips import labels
from aullm_lib.experiment import Experiment
from aullm_lib.protocol import Fold
from aullm_lib.runs import Result

Progress = Callable[[str, int, float], object]  # fold, epoch, mean loss per clip


def columns(probabilities: Tensor, ids: Sequence[str], aus: Sequence[int]) -> dict[str, list]:
    """Probabilities `[B, N_AU]` as columns clip_id, au, probability: one row per clip and AU."""
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
    trace: list[pd.DataFrame],
    probe: list[dict] | None = None,
) -> Result:
    """A trained fold's result.

    Args:
        probabilities: Of its test clips `[B, N_AU]`.
        trace: ``columns`` after every epoch.
        probe: ``probe.measure`` with its epoch.
    """
    truth = pd.Series(labels(table, fold.test, experiment.aus).flatten().numpy()).astype("Int8")  # missing: unknown
    predictions = pd.DataFrame(columns(probabilities, fold.test, experiment.aus) | {"label": truth})
    predictions["subject"] = predictions["clip_id"].map(table["subject"])
    sizes = {"fold": fold.name, "train_clips": len(fold.train), "test_clips": len(fold.test)}
    info = sizes | info | {"threads": torch.get_num_threads()}
    traced, probed = pd.concat(trace) if trace else None, pd.DataFrame(probe) if probe else None
    return Result(predictions, pd.DataFrame(log), info, weights, traced, probed)
