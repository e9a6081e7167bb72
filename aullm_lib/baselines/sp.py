"""SP: a student keeps the teacher's similarities between the samples of a batch, at five stages.

Source: the public script of DVASP, which compares itself with this loss (similarity-preserving knowledge distillation).
Where this departs, and why: the rows' "-18" reads as one ResNet18, here taught by the teacher's first view. Its weight
is the script's for every loss that it distils with.
"""

import torch.nn.functional as F
from torch import Tensor

from aullm_lib.baselines import distil
from aullm_lib.baselines.distil import RGB, Recipe, prepare

__all__ = ["RGB", "Model", "Recipe", "prepare"]


def sp_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving: mean squared error of the student's and the teacher's similarities."""
    return F.mse_loss(similarity(student), similarity(teacher))


def similarity(maps: Tensor) -> Tensor:
    """Similarities between the samples of a batch: inner products, each row scaled to norm 1.

    `[b, ...]` -> `[b, b]`.
    """
    flat = maps.flatten(1)  # b chw
    return F.normalize(flat @ flat.T)


class Model(distil.Student):
    """ResNet18 beside the teacher's first view."""

    stage_loss = staticmethod(sp_loss)
