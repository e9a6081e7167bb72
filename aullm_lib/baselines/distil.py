"""What FitNet, SP, AT and DVASP share: a student of ``resnet`` that also learns the features of a frozen teacher.

Source: the public script of DVASP, which has a switch for each of them. Teacher and student see the same crop of the
same frame, in 0..1. Where this departs, and why: the teacher's own mean and deviation are applied inside it, as in
its training (script: not); the first of the five stages is the stem with its pooling (script: its convolution alone);
the script trains its teacher on EmotioNet and web faces, here it is whatever ``teacher.train`` was given.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aullm_lib.baselines import SHARED, resnet, teacher
from aullm_lib.baselines.network import two_way_loss
from aullm_lib.baselines.resnet import DV, RGB, Output, prepare
from aullm_lib.baselines.two_view import TwoView
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import setting

__all__ = [
    "METHODS",
    "RGB",
    "Maps",
    "Recipe",
    "Student",
    "attention",
    "prepare",
    "teacher_depth",
    "with_teacher",
]
METHODS = ("fitnet", "sp", "at", "dvasp")
Maps = Sequence[Tensor]  # of the stem and four stages, b c h w each; c may differ between student and teacher


@dataclass(frozen=True, kw_only=True)
class Recipe(resnet.Recipe):
    """The student's settings, and its teacher. ``weights`` may also be "teacher": each view starts as the teacher's."""

    teacher: str = setting("", f"ours: folder of {teacher.__name__}.train (script's: not public); needed")
    kd_weight: float = setting(100.0, f"{DV}: of what is distilled", low=0)


def teacher_depth(method: str, recipe: Any) -> int:
    """The depth of the teacher's ResNets that a method's recipe still needs, 0 if it needs no teacher.

    A network that starts with the teacher's weights needs one of its own depth; else the teacher is a ResNet34.

    Raises:
        ValueError: The method's networks are no ResNets, which alone can start with a teacher's weights.
    """
    if method in METHODS and recipe.teacher:
        return 0
    if getattr(recipe, "weights", "") != SHARED:
        return 34 if method in METHODS else 0
    if not hasattr(recipe, "depth"):
        raise ValueError(f"{method} cannot start with a teacher's weights: weights is a file, or ''")
    return recipe.depth


def with_teacher(method: str, recipe: Any, folder: Path) -> Any:
    """A method's recipe with a trained teacher's folder: as its teacher, or as its initial weights."""
    place = {"teacher": str(folder)} if method in METHODS else {"weights": str(folder / teacher.VIEWS[0])}
    return dataclasses.replace(recipe, **place)


def attention(maps: Tensor) -> Tensor:
    """Spatial attention: squares summed over channels, divided by their norm over the positions.

    `[b, c, h, w]` -> `[b, 1, h, w]`.
    """
    energy = maps.square().sum(1, keepdim=True)  # b 1 h w
    return energy / (torch.linalg.vector_norm(energy, dim=(2, 3), keepdim=True) + 1e-6)


class Student(resnet.Model):
    """A frame near the apex -> two logits for each AU; in training also compared with a teacher's maps.

    Args:
        views: number of networks that read the frame, each with one of the teacher's.
    """

    def __init__(self, recipe: Any, n_aus: int, views: int = 1) -> None:
        super().__init__(recipe, n_aus, views)
        self.teachers: list[TwoView] = []  # one in training; in a list, for it is no part of the model

    @classmethod
    def check(cls, recipe: Any, store: ClipStore) -> None:
        """Raises FileNotFoundError or ValueError for a teacher or weights that do not exist or do not fit."""
        shape = teacher.check(recipe.teacher, store).recipe
        if recipe.weights != SHARED:
            super().check(recipe, store)
            return
        for name in ("depth", "width"):
            value, needed = getattr(recipe, name), getattr(shape, name)
            if value != needed:
                raise ValueError(
                    f"Recipe.{name}={value}, but the teacher {recipe.teacher} has {needed}: with weights={SHARED!r} "
                    "the student starts as the teacher's view and must be as deep and as wide"
                )

    @classmethod
    def sources(cls, recipe: Any) -> dict[str, str]:
        """The identity of the teacher, and of other initial weights, if there are any."""
        initial = {} if recipe.weights == SHARED else super().sources(recipe)
        return initial | {"teacher": teacher.identity(recipe.teacher)}

    def begin(self, inputs: Tensor, rows: Tensor, targets: Tensor) -> None:
        self.teachers = [teacher.load(self.recipe.teacher).to(rows.device)]
        if self.recipe.weights != SHARED:
            super().begin(inputs, rows, targets)
            return
        for backbone, view in zip(self.backbones, self.teachers[0].views, strict=False):  # of two, or of the first
            backbone.load_state_dict(view.state_dict())

    def end(self) -> None:
        self.teachers = []

    @staticmethod
    def stage_loss(student: Tensor, teacher: Tensor) -> Tensor:
        """The distance [] between the maps of one stage, the same frames in both."""
        raise NotImplementedError

    def distance(self, student: Maps, teacher: Maps) -> Tensor:
        """The distance [] between a view's maps and the teacher's: the mean over the stages."""
        return torch.stack([self.stage_loss(a, b) for a, b in zip(student, teacher, strict=True)]).mean()

    def label_loss(self, outputs: list[Output], targets: Tensor) -> Tensor:
        """The loss apart from what is distilled."""
        return two_way_loss(resnet.mean_logits(outputs), targets)

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        outputs = self.outputs(x)
        with torch.no_grad():
            taught = [self.teachers[0].features(x, view)[1] for view in range(len(outputs))]
        distances = [self.distance(output.maps, maps) for output, maps in zip(outputs, taught, strict=True)]
        return self.label_loss(outputs, targets) + self.recipe.kd_weight * torch.stack(distances).sum()
