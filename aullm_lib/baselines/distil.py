"""What FitNet, SP, AT and DVASP share: a student of ``resnet`` that also learns what a frozen teacher sees.

Source: the public script of DVASP, which has a switch for each of them. Teacher and student look at the same crop of
the same frame, in 0..1. Where this departs, and why: the teacher's own mean and deviation are applied inside it, as in
its training (script: not); the first of the five stages is the stem with its pooling (script: its convolution alone);
the script trains its teacher on EmotioNet and web faces, here it is whatever ``teacher.train`` was given.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from aullm_lib.baselines import resnet, teacher
from aullm_lib.baselines.network import two_way_loss
from aullm_lib.baselines.resnet import DV, Seen
from aullm_lib.baselines.two_view import TwoView
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import setting

SHARED = "teacher"  # what ``weights`` may say beside a place
METHODS = ("fitnet", "sp", "at", "dvasp")
Maps = Sequence[Tensor]  # of the stem and four stages, b c h w each; c may differ between student and teacher


@dataclass(frozen=True, kw_only=True)
class Recipe(resnet.Recipe):
    """The student's settings, and its teacher. ``weights`` may also be "teacher": each view starts as the teacher's."""

    teacher: str = setting("", f"ours: folder of {teacher.__name__}.train (script's: not public); needed")
    kd_weight: float = setting(100.0, f"{DV}: of what is distilled", low=0)


def check(recipe: Recipe, store: ClipStore) -> TwoView:
    """The teacher. Raises FileNotFoundError or ValueError for weights or a teacher that cannot be had or do not fit."""
    shown = teacher.check(recipe.teacher, store)
    if recipe.weights != SHARED:
        resnet.check(recipe, store)
        return shown
    for name in ("depth", "width"):
        own, its = getattr(recipe, name), getattr(shown.recipe, name)
        if own != its:
            raise ValueError(
                f"Recipe.{name}={own}, but the teacher {recipe.teacher} has {its}: with weights={SHARED!r} the student "
                "starts as the teacher's view and must be as deep and as wide"
            )
    return shown


def sources(recipe: Recipe) -> dict[str, str]:
    """The identity of the teacher, and of other initial weights, if there are any."""
    found = {} if recipe.weights == SHARED else resnet.sources(recipe)
    return found | {"teacher": teacher.identity(recipe.teacher)}


def attention(maps: Tensor) -> Tensor:
    """How much happens at each place: squares summed over channels, then divided by their norm over the places.

    `[b, c, h, w]` -> `[b, 1, h, w]`.
    """
    energy = maps.square().sum(1, keepdim=True)  # b 1 h w
    return energy / (torch.linalg.vector_norm(energy, dim=(2, 3), keepdim=True) + 1e-6)


def similarity(maps: Tensor) -> Tensor:
    """How like each other the batch's samples are: inner products, each row scaled to norm 1.

    `[b, ...]` -> `[b, b]`.
    """
    flat = maps.flatten(1)  # b chw
    return F.normalize(flat @ flat.T)


def sp_loss(own: Tensor, shown: Tensor) -> Tensor:
    """Similarity-preserving: mean squared error of the student's and the teacher's similarities."""
    return F.mse_loss(similarity(own), similarity(shown))


def attentive_sp_loss(own: Tensor, shown: Tensor) -> Tensor:
    """Similarity-preserving, each map weighted by its own attention first."""
    return sp_loss(attention(own) * own, attention(shown) * shown)


def at_loss(own: Tensor, shown: Tensor) -> Tensor:
    """Attention transfer: mean squared error of the attentions."""
    return F.mse_loss(attention(own), attention(shown))


def over_stages(loss: Callable[[Tensor, Tensor], Tensor], own: Maps, shown: Maps) -> Tensor:
    """The mean of a loss over the stages."""
    return torch.stack([loss(a, b) for a, b in zip(own, shown, strict=True)]).mean()


class Student(resnet.Model):
    """A frame near the apex -> two logits for each AU; in training also beside a teacher's maps.

    views: how many networks look at the frame, each with one of the teacher's.
    """

    def __init__(self, recipe: Any, n_aus: int, views: int = 1) -> None:
        super().__init__(recipe, n_aus, views)
        self.taught_by: list[TwoView] = []  # while in training; in a list, for it is no part of the model

    def begin(self) -> None:
        if self.recipe.weights != SHARED:
            super().begin()
            return
        for own, its in zip(self.backbones, self.taught_by[0].views, strict=False):  # of two, or of the first
            own.load_state_dict(its.state_dict())

    def distance(self, own: Maps, shown: Maps) -> Tensor:
        """How far a view's maps are from the teacher's [], the same frames in both."""
        raise NotImplementedError

    def errors(self, seen: list[Seen], targets: Tensor) -> Tensor:
        """The loss apart from what is distilled."""
        return two_way_loss(resnet.fused(seen), targets)

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        seen = self.look(x)
        with torch.no_grad():
            shown = [self.taught_by[0].look(x, view)[1] for view in range(len(seen))]
        distances = [self.distance(one.maps, maps) for one, maps in zip(seen, shown, strict=True)]
        return self.errors(seen, targets) + self.recipe.kd_weight * torch.stack(distances).sum()

    def fit(
        self,
        inputs: Tensor,
        rows: Tensor,
        targets: Tensor,
        order: torch.Generator,
        after: Callable[[int, float], None],
    ) -> None:
        self.taught_by = [teacher.load(self.recipe.teacher).to(rows.device)]
        try:
            super().fit(inputs, rows, targets, order, after)
        finally:
            self.taught_by = []
