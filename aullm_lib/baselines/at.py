"""AT: a student learns the teacher's spatial attention, at five stages.

Source: the public script of DVASP, which compares itself with this loss (attention transfer, with squares of the
features). Where this departs, and why: the rows' "-18" reads as one ResNet18, here taught by the teacher's first view.
Its weight is the script's for every loss that it distils with.
"""

import torch.nn.functional as F
from torch import Tensor

from aullm_lib.baselines import distil
from aullm_lib.baselines.distil import RGB, Recipe, prepare

__all__ = ["RGB", "Model", "Recipe", "prepare"]


def at_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Attention transfer: mean squared error of the attentions to `[b, c, h, w]`."""
    return F.mse_loss(distil.attention(student), distil.attention(teacher))


class Model(distil.Student):
    """ResNet18 beside the teacher's first view."""

    stage_loss = staticmethod(at_loss)
