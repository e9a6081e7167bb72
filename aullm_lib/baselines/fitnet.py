"""FitNet: a student's last feature maps are to equal the teacher's.

Source: the public script of DVASP, which compares itself with this loss, on the last stage only and without FitNet's
regressor: student and teacher have the same width. Where this departs, and why: the rows' "-18" reads as one ResNet18,
here taught by the teacher's first view. Its weight is the script's for every loss that it distils with; on a few dozen
clips this one, which has no scale of its own, then drowns the labels: lower it.
"""

from typing import Any

import torch.nn.functional as F
from torch import Tensor

from aullm_lib.baselines import distil, teacher
from aullm_lib.baselines.distil import RGB, Recipe, prepare
from aullm_lib.clips import ClipStore

__all__ = ["RGB", "Model", "Recipe", "prepare"]


class Model(distil.Student):
    """ResNet18 beside the teacher's first view."""

    @classmethod
    def check(cls, recipe: Any, store: ClipStore) -> None:
        """Raises as ``distil.Student.check``, and ValueError for a teacher of another width."""
        super().check(recipe, store)
        width = teacher.load(recipe.teacher).recipe.width
        if width != recipe.width:
            raise ValueError(
                f"Recipe.width={recipe.width}, but the teacher {recipe.teacher} has {width}: FitNet compares their "
                "last maps channel by channel, so they must be as wide"
            )

    def distance(self, student: distil.Maps, teacher: distil.Maps) -> Tensor:
        return F.mse_loss(student[-1], teacher[-1])
