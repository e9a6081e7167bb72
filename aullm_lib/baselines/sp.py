"""SP: a student keeps the teacher's similarities between the samples of a batch, at five stages.

Source: the public script of DVASP, which compares itself with this loss (similarity-preserving knowledge distillation).
Where this departs, and why: the rows' "-18" reads as one ResNet18, here taught by the teacher's first view. Its weight
is the script's for every loss that it distils with.
"""

from dataclasses import dataclass

from torch import Tensor

from aullm_lib.baselines import distil
from aullm_lib.baselines.distil import check as check
from aullm_lib.baselines.distil import sources as sources
from aullm_lib.baselines.resnet import RGB as RGB
from aullm_lib.baselines.resnet import prepare as prepare


@dataclass(frozen=True, kw_only=True)
class Recipe(distil.Recipe):
    """The public script's settings."""


class Model(distil.Student):
    """ResNet18 beside the teacher's first view."""

    def distance(self, own: distil.Maps, shown: distil.Maps) -> Tensor:
        return distil.over_stages(distil.sp_loss, own, shown)
