"""What reaches the head: norms of visual token and hidden state, and their spread between clips.

A pretrained LLM may answer every clip with nearly the same vector: a large constant, and in it a small signal. The
signal is the spread divided by the norm.
"""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity
from torch.nn.modules.batchnorm import _BatchNorm

from aullm_lib.model import AULLM

CLIPS = 16  # of a fold's training clips: enough to tell 1 % from 5 %, and a small part of what an epoch costs


@torch.no_grad()
def measure(model: AULLM, clips: Tensor) -> dict[str, float]:
    """Norms and spreads without dropout; nothing is drawn from a random generator, and the model stays as it is.

    A norm is the median over clips. A spread is the root mean square distance of the clips' vectors from their mean.
    The batch norms use the statistics of these clips, as they do of a batch in training. Their running statistics come
    too late: before the first epoch they shrink the visual token's spread 200 times.

    Args:
        model: At any point of its training.
        clips: `[b, t, h, w]` grey levels 0..255, uint8 or float, on the model's device.

    Returns:
        token_norm, token_spread: Of the visual token, as the LLM, or without one the head, is given it.
        hidden_norm, hidden_spread: Of the hidden state that the head reads; not without an LLM.
        embedding_norm: Median over the LLM's vocabulary of the norm of a token embedding; not without an LLM.
        passed_through: Mean cosine between a clip's distance from the mean in the visual token and in the hidden
            state, -1 to 1; not without an LLM. At 1 the LLM passes the token on as it is, near 0 it makes another
            vector of it.
    """
    was_training, norms = model.training, [m for m in model.modules() if isinstance(m, _BatchNorm)]
    model.eval()
    for norm in norms:
        norm.training, norm.track_running_stats = True, False
    token = model.token(clips)  # b d
    for norm in norms:
        norm.track_running_stats = True
    values = {"token_norm": _norm(token), "token_spread": _spread(token)}
    if model.llm is not None:
        hidden = model.llm(token)  # b d
        values |= {"hidden_norm": _norm(hidden), "hidden_spread": _spread(hidden)}
        values["embedding_norm"] = model.llm.embedding_norm
        values["passed_through"] = cosine_similarity(token - token.mean(0), hidden - hidden.mean(0)).mean().item()
    model.train(was_training)
    return values


def some(rows: Tensor) -> Tensor:
    """The rows [N] of the clips that are measured: at most ``CLIPS``, evenly spaced over those given, always the same.

    A subject's clips lie side by side, so these are of many subjects.
    """
    count = min(CLIPS, len(rows))
    return rows[torch.arange(count) * len(rows) // count]


def due(epoch: int, last: int) -> bool:
    """Whether an epoch is measured: 0 (before training), 1, 2, 4, 8, ... and the last."""
    return epoch & (epoch - 1) == 0 or epoch == last


def _norm(vectors: Tensor) -> float:
    return torch.linalg.vector_norm(vectors, dim=-1, dtype=torch.float32).median().item()


def _spread(vectors: Tensor) -> float:
    return (vectors.double() - vectors.double().mean(0)).square().sum(-1).mean().sqrt().item()
