"""Optical flow from onset to apex, averaged over a grid, and one linear support vector machine per AU.

A simple reference that needs no pretrained weights and seconds of training; it is not in the paper. Source: "SVM + OF"
of CD6ME (Varanka et al. 2024) and its notebook in meb, which reports a two-class macro F1 of 65.8 over six releases,
where LED has 61.4 and LBP-TOP 53.6. Where this departs, and why:
- The flow is Farneback's (2003) as OpenCV has it, with the settings of OpenCV's tutorial; meb's is "classic+NL-fast",
  for which it needs MATLAB. It is computed on the CPU in one thread, so that the number of cores changes nothing.
- meb adds the strain's magnitude, scales each component of each clip to 0..1, and resizes them to 32×32 values. Here
  flow is averaged in 16×16 cells, and its mean over the cells is subtracted, which a shift of the whole head does not
  change. A clip's amplitude stays: all flow is divided by one number, its deviation over the training clips.
- meb's kernel is radial; this one is linear, with meb's cost of an error. As there, AUs have no class weights.
- An apex that is not annotated, or lies at the onset or outside the stored frames, is the clip's middle frame, as for
  every baseline that reads an apex. The frame with the largest flow would be another choice: where the head drifts, it
  is often the last one, and on synthetic releases whose apexes are hidden it costs 11 to 18 points beside the middle.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from aullm_lib.baselines import views
from aullm_lib.baselines.svm import Inputs, Machines
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import Settings, setting

RGB = False
FARNEBACK = (0.5, 3, 15, 3, 5, 1.2, 0)
"""OpenCV's tutorial: scale and number of the pyramid's levels, window and iterations, neighbourhood and deviation of
the polynomials, no flags."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Settings of flow and machines. Raises TypeError or ValueError naming a field that is wrong."""

    size: int = setting(128, "ours: pixels of a stored frame, height and width", low=16)
    grid: int = setting(16, "ours, meb: 32: rows, and columns, of the cells in which flow is averaged", low=1)
    C: float = setting(28.0, "meb, with its radial kernel: cost of a training error", above=0)
    epochs: int = setting(1, "ours: a machine is fitted once", low=1, below=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.grid > self.size:
            raise ValueError(f"Recipe.grid={self.grid}: at most size={self.size}, a cell per pixel")


def prepare(recipe: Recipe, store: ClipStore) -> Inputs:
    """The flow of every clip from its onset to its apex, by cell."""
    apexes = views.apexes(store)  # n
    positions = torch.stack([torch.zeros_like(apexes), apexes], 1)  # n 2
    frames = store.take(torch.arange(len(store), device=store.device), positions)  # n 2 h w
    method: Any = cv2.calcOpticalFlowFarneback
    flow = views.optical_flow(frames[:, 0], frames[:, 1], lambda a, b: method(a, b, None, *FARNEBACK))
    return Inputs.of(cells(flow, recipe.grid).flatten(1))


def cells(flow: Tensor, grid: int) -> Tensor:
    """The mean flow in every cell, less its mean over the cells: `[n, 2, h, w]` -> `[n, 2, grid, grid]`.

    Cells that the pixels do not divide into evenly overlap by a pixel.
    """
    means = F.adaptive_avg_pool2d(flow, grid)
    return means - means.mean((2, 3), keepdim=True)


class Model(Machines):
    """The machines of a recipe."""

    @classmethod
    def check(cls, recipe: Recipe, store: ClipStore) -> None:
        """Raises ValueError naming a clip of a single frame."""
        views.refuse_still(store)

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        super().__init__(n_aus, features=2 * recipe.grid**2, C=recipe.C)
        self.recipe = recipe
