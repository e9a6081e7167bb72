"""InfuseNet: magnified features, infused with those of optical flow (SCIA 2025, arXiv 2504.09326; not in the paper).

One ResNet18 reads the flow from onset to apex. Another reads, in place of what its stem's convolution and batch norm
would make, the change of latent shape that a magnification network finds in (onset, annotated apex) and (onset, guessed
apex); after each stage and after the average pooling its features are multiplied by the flow's, scaled to 0..1. One
linear layer reads both branches.

This follows the model file of the authors' public code. Where it departs, and why:
- The magnifier's checkpoint is a pickle, which is not read here: random, and trained with the rest, unless
  ``magnifier`` is given, which is then frozen. ResNets are random unless ``weights`` is given (theirs: ImageNet).
- The code scales the flow's features by the least and greatest value of the batch, so that what is said of a clip
  depends on the clips beside it; here by those of the clip, over its channels and pixels. Constant features become 0.
- The code amplifies by its factor less one, and reads the manipulator's change without the shape to which it belongs;
  so does this, and ``latent`` has the magnification paper's formula instead.
- The magnifier has half as many channels as the stem, so that two pairs fill it at any ``width``.

Not to be found, and chosen here: which flow (DIS) and third channel (the strain's magnitude), in pixels, not scaled;
how the other apex is guessed (the frame of the clip's middle half that differs most from the onset); the loss (binary
cross-entropy, averaged over both branches); the decision (the sigmoid of the two logits' mean); augmentation (none);
and the optimiser with its rate and epochs: those of the public port's ResNet18 on optical flow, under the protocol that
InfuseNet has, too.

Memory: 1 MB a clip at the default size.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aullm_lib.baselines import checkpoint, flow, pretrained, views
from aullm_lib.baselines.magnification import Magnifier
from aullm_lib.baselines.network import Network, NetworkRecipe
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import setting

RGB = True
DEPTH = 18
CODE, OURS = "public code (InfuseNet)", "ours, theirs is not to be found"
MEB = "public port (meb, ResNet on optical flow); theirs is not to be found"


@dataclass(frozen=True, kw_only=True)
class Recipe(NetworkRecipe):
    """The public code's settings. Raises ValueError for an odd width."""

    size: int = setting(224, f"{CODE}: its magnified features have 112 pixels, half of a frame's", low=16)
    width: int = setting(64, "ResNet paper: channels of stem and first stage; they double with each further one", low=4)
    weights: str = setting("", "ours: hub name or folder for both ResNets (theirs: ImageNet); '' = random")
    magnifier: str = setting("", "ours: safetensors file of Magnifier's state_dict, then frozen; '' = random, trained")
    amplification: float = setting(10.0, CODE, above=1)
    latent: str = setting(
        "change", f"{CODE}: the change by amplification - 1; 'shape', magnification paper: onset and change",
        choices=("change", "shape"),
    )  # fmt: skip
    window: float = setting(0.5, f"{OURS}: share of the clip, about its middle, with the guessed apex", low=0)
    preset: str = setting("medium", f"{OURS}: of OpenCV's DIS flow", choices=tuple(flow.PRESETS))
    optimizer: str = setting("adam", MEB, choices=("sgd", "adam"))
    lr: float = setting(1e-4, MEB, above=0)
    weight_decay: float = setting(1e-3, MEB, low=0)
    batch_size: int = setting(32, f"{CODE}: in its comments on shapes", low=2)
    epochs: int = setting(50, MEB, low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % 2:
            raise ValueError(f"Recipe.width={self.width}: must be even, half of it for each magnified pair")
        if self.window > 1:
            raise ValueError(f"Recipe.window={self.window}: at most 1, the whole clip")


class Inputs(NamedTuple):
    """What InfuseNet sees of clips: of a store's in ``prepare``, of a batch's in training and test."""

    flow: Tensor  # n 3 h w: u, v, and the strain's magnitude
    frames: Tensor  # n 3 h w 3, uint8: onset, annotated apex, guessed apex; in a batch n 3 3 h w, -1..1


def check(recipe: Recipe, store: ClipStore) -> None:
    """Raises ValueError for a clip of one frame or weights that do not fit, FileNotFoundError where there are none."""
    views.refuse_still(store)
    if recipe.weights:
        checkpoint.check(recipe.weights, store, depth=DEPTH, width=recipe.width)
    if recipe.magnifier:
        with torch.device("meta"):
            pretrained.check(recipe.magnifier, Magnifier(d=recipe.width // 2))


def sources(recipe: Recipe) -> dict[str, str]:
    """The identity of the initial weights, if there are any."""
    found = {"weights": checkpoint.identity(recipe.weights)} if recipe.weights else {}
    return found | ({"magnifier": pretrained.identity(recipe.magnifier)} if recipe.magnifier else {})


def prepare(recipe: Recipe, store: ClipStore) -> Inputs:
    """Flow and strain from onset to apex, and the three frames, of every clip."""
    annotated = views.apexes(store)  # n
    guessed = flow.busiest(store, window=recipe.window)  # n
    positions = torch.stack([torch.zeros_like(annotated), annotated, guessed], 1)  # n 3
    frames = store.take(torch.arange(len(store), device=store.device), positions)  # n 3 h w 3
    motion = flow.between(frames[:, 0], frames[:, 1], preset=recipe.preset)  # n 2 h w
    return Inputs(torch.cat([motion, flow.strain(motion)], 1), frames)


def scaled(x: Tensor) -> Tensor:
    """Each clip's features to 0..1, by the least and greatest of all of them; constant ones to 0. `[b, c, h, w]`."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)  # b 1 1 1
    span = high - low
    return (x - low) / torch.where(span > 0, span, 1)


class Model(Network):
    """Flow and magnified pairs of frames -> two logits for each AU, one of each branch."""

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        super().__init__(recipe)
        self.flow = checkpoint.network(depth=DEPTH, width=recipe.width)
        self.magnifier = Magnifier(d=recipe.width // 2).requires_grad_(not recipe.magnifier)
        self.magnified = checkpoint.network(depth=DEPTH, width=recipe.width).encoder  # the four stages, no stem
        self.head = nn.Linear(8 * recipe.width, n_aus)

    def magnify(self, frames: Tensor) -> Tensor:
        """Frames `[b, 3, 3, h, w]` (onset, two apexes), -1..1 -> both pairs' features `[b, width, h / 2, w / 2]`."""
        shapes = self.magnifier.encoder(frames.flatten(0, 1)).unflatten(0, (-1, 3))  # b 3 d h/2 w/2
        onset, apexes = shapes[:, :1].expand_as(shapes[:, 1:]), shapes[:, 1:]  # b 2 d h/2 w/2
        manipulator, factor = self.magnifier.manipulator, self.recipe.amplification
        pair = onset.flatten(0, 1), apexes.flatten(0, 1)
        found = manipulator(*pair, factor) if self.recipe.latent == "shape" else manipulator.change(*pair, factor - 1)
        return found.unflatten(0, (-1, 2)).flatten(1, 2)  # b 2d h/2 w/2

    def forward(self, x: Inputs) -> Tensor:
        """A batch -> the logits of the flow branch and of the magnified branch `[2, b, n_aus]`.

        Comments for 224 x 224 pixels and width 64.
        """
        y = self.flow.embedder.pooler(F.relu(self.magnify(x.frames)))  # b 64 56 56
        f = self.flow.embedder(x.flow)  # b 64 56 56
        for of_flow, of_magnified in zip(self.flow.encoder.stages, self.magnified.stages, strict=True):
            f = of_flow(f)  # b 64 56 56; b 128 28 28; b 256 14 14; b 512 7 7
            y = of_magnified(y) * scaled(f)
        f = f.mean((2, 3), keepdim=True)  # b 512 1 1
        y = y.mean((2, 3), keepdim=True) * scaled(f)  # b 512 1 1
        return self.head(torch.stack([f, y]).flatten(2))  # 2 b n_aus

    def batch(self, inputs: Inputs, rows: Tensor, order: torch.Generator | None) -> Inputs:
        return Inputs(inputs.flow[rows], 2 * views.planar(inputs.frames[rows]) - 1)

    def loss(self, x: Inputs, targets: Tensor) -> Tensor:
        logits = self(x)  # 2 b n_aus
        return F.binary_cross_entropy_with_logits(logits, targets.expand_as(logits))

    def decide(self, x: Inputs) -> Tensor:
        return torch.sigmoid(self(x).mean(0))

    def begin(self) -> None:
        r = self.recipe
        if r.weights:
            checkpoint.load(r.weights, self.flow, depth=DEPTH, width=r.width)
            self.magnified.load_state_dict(self.flow.encoder.state_dict())
        if r.magnifier:
            pretrained.load(r.magnifier, self.magnifier)
