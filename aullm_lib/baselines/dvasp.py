"""DVASP: two students see one frame, each taught by a view of the teacher; their classifiers are to differ.

Dual-view attentive similarity-preserving distillation. Source: the authors' public script. Where this departs, and why:
- The script has a second head, for five emotions, whose classifiers are to differ too. There is none here, for the task
  has no emotions: that loss is the AUs' alone.
- Some of the script's bias terms enter the wrong vectors of that loss; here each classifier's bias is its own. Its
  first view's loss takes the seventh AU's term from the mean logits; here each term is the view's.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from aullm_lib.baselines import distil, resnet
from aullm_lib.baselines.distil import RGB, prepare
from aullm_lib.baselines.network import two_way_loss
from aullm_lib.baselines.resnet import DV, Output
from aullm_lib.baselines.sp import sp_loss
from aullm_lib.baselines.two_view import mean_abs_cosine
from aullm_lib.recipe import setting

__all__ = ["RGB", "Model", "Recipe", "prepare"]


@dataclass(frozen=True, kw_only=True)
class Recipe(distil.Recipe):
    """The public script's settings."""

    orthogonal: float = setting(100.0, f"{DV}: weight of the loss that makes the views' classifiers differ", low=0)


def attentive_sp_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Similarity-preserving, each map weighted by its own attention first."""
    return sp_loss(distil.attention(student) * student, distil.attention(teacher) * teacher)


def vectors(head: Any) -> Tensor:
    """A ``TwoWay`` head's classifiers, weights and bias: `[n_aus, 2, d + 1]`."""
    return torch.cat([head.linear.weight, head.linear.bias[:, None]], dim=1).unflatten(0, (-1, 2))


class Model(distil.Student):
    """Two ResNet18s beside the teacher's two views; their mean logits decide."""

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        super().__init__(recipe, n_aus, views=2)

    stage_loss = staticmethod(attentive_sp_loss)

    def label_loss(self, outputs: list[Output], targets: Tensor) -> Tensor:
        logits = [resnet.mean_logits(outputs), *(output.logits for output in outputs)]
        cross_entropy = torch.stack([two_way_loss(x, targets) for x in logits]).sum()
        return cross_entropy + self.recipe.orthogonal * mean_abs_cosine(*(vectors(head) for head in self.heads))
