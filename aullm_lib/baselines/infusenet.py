"""InfuseNet: magnified features, infused with those of optical flow (SCIA 2025, arXiv 2504.09326; not in the paper).

One ResNet18 reads the flow from onset to apex. Another reads, in place of its stem's convolution and batch norm, the
change of latent shape that a magnification network finds in (onset, annotated apex) and (onset, guessed apex); after
each stage and after the average pooling its features are multiplied by the flow's, scaled to 0..1. One linear layer
reads both branches.

The flow is OpenCV's dense inverse search (DIS; Kroeger et al. 2016), computed on the CPU in one thread, so that the
number of cores changes nothing. The magnifier is encoder and manipulator of learning-based video motion magnification
(Oh et al., ECCV 2018; arXiv 1804.02684): the encoder turns a frame into a latent shape at half the size, and the
manipulator enlarges the change between two of them, G(a, b, alpha) = a + h(alpha g(b - a)), where g is a 7x7
convolution and ReLU, h a 3x3 convolution and a residual block.

This follows the model file of the authors' public code. Where it departs, and why:
- The magnifier's checkpoint is a pickle, which is not read here: random, and trained with the rest, unless
  ``magnifier`` is given, which is then frozen. ResNets are random unless ``weights`` is given (theirs: ImageNet).
- The code scales the flow's features by the least and greatest value of the batch, so that a clip's prediction
  depends on the clips beside it; here by those of the clip, over its channels and pixels. Constant features become 0.
- The code amplifies by its factor less one, and reads the manipulator's change without the shape to which it belongs;
  so does this, and ``latent`` has the magnification paper's formula instead.
- The magnifier has half as many channels as the stem, so that two pairs fill it at any ``width``; its first convolution
  has half as many as its others (paper: 16 and 32). Texture branch and decoder are left out, for no picture is painted
  here. No convolution of it has a bias, as in a variant in the public code: without motion nothing is added.

Not to be found, and chosen here: which flow (DIS) and third channel (the strain's magnitude), in pixels, not scaled;
how the other apex is guessed (the frame of the clip's middle half that differs most from the onset); the loss (binary
cross-entropy, averaged over both branches); the decision (the sigmoid of the two logits' mean); augmentation (none);
and the optimiser with its rate and epochs: those of the public port's ResNet18 on optical flow, under the protocol that
InfuseNet has, too.

Memory: 1 MB per clip at the default size.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from aullm_lib.baselines import views
from aullm_lib.baselines.network import Network, NetworkRecipe, binary_loss, resnet
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import setting

RGB = True
DEPTH = 18
CODE, OURS = "public code (InfuseNet)", "ours, theirs is not to be found"
MEB = "public port (meb, ResNet on optical flow); theirs is not to be found"
PRESETS: dict[str, int] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
"""DIS's own settings, from the quickest to the most careful."""


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
    preset: str = setting("medium", f"{OURS}: of OpenCV's DIS flow", choices=tuple(PRESETS))
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
    """InfuseNet's inputs: of a store's clips in ``prepare``, of a batch's in training and test."""

    flow: Tensor  # n 3 h w: u, v, and the strain's magnitude
    frames: Tensor  # n 3 h w 3, uint8: onset, annotated apex, guessed apex; in a batch n 3 3 h w, -1..1


def prepare(recipe: Recipe, store: ClipStore) -> Inputs:
    """Flow and strain from onset to apex, and the three frames, of every clip."""
    annotated = views.apexes(store)  # n
    guessed = guessed_apexes(store, window=recipe.window)  # n
    positions = torch.stack([torch.zeros_like(annotated), annotated, guessed], 1)  # n 3
    frames = store.take(torch.arange(len(store), device=store.device), positions)  # n 3 h w 3
    flow = optical_flow(frames[:, 0], frames[:, 1], preset=recipe.preset)  # n 2 h w
    return Inputs(torch.cat([flow, strain(flow)], 1), frames)


def optical_flow(first: Tensor, second: Tensor, *, preset: str = "medium") -> Tensor:
    """The displacement of each pixel, `[n, 2, h, w]` float32: u to the right, v down, in pixels.

    Args:
        first, second: uint8 `[n, h, w, 3]` RGB; the result lies on their device.
        preset: a name of ``PRESETS``.
    """
    dis: Any = cv2.DISOpticalFlow.create(PRESETS[preset])
    # an array of zeros would be a first guess, and change the result
    return views.optical_flow(first, second, lambda a, b: dis.calc(a, b, None))


def strain(flow: Tensor) -> Tensor:
    """The magnitude of the optical strain `[n, 1, h, w]` of a flow `[n, 2, h, w]`.

    The strain is the symmetric part of the flow's Jacobian, its magnitude the Frobenius norm: a shift or a small turn
    of the whole head has none. Differences are central, at the border one-sided; h and w are at least 2.
    """
    dy, dx = torch.gradient(flow, dim=(2, 3))  # n 2 h w, of u and v
    shear = (dy[:, 0] + dx[:, 1]) / 2  # n h w
    return (dx[:, 0] ** 2 + dy[:, 1] ** 2 + 2 * shear**2).sqrt()[:, None]


def guessed_apexes(store: ClipStore, *, window: float) -> Tensor:
    """The frame of every clip with the largest mean absolute difference from the onset, as a position in it `[n]`.

    Of equal ones the first counts; never the onset where there is another frame.

    Args:
        window: share of the clip that is searched, about its middle.
    """
    positions = []
    for clip in tqdm(store.ids, desc="guessed apex", unit="clip", leave=False):
        frames = store[clip]
        last = len(frames) - 1
        start = max(min(1, last), round(last * (1 - window) / 2))
        stop = max(start, round(last * (1 + window) / 2))
        onset = frames[0].astype(np.int16)
        changes = [np.abs(frame - onset).mean() for frame in frames[start : stop + 1]]
        positions.append(start + int(np.argmax(changes)))
    return torch.tensor(positions, device=store.device)


class Convolution(nn.Conv2d):
    """Without bias, the picture mirrored at its border, padded so that stride 1 keeps the size.

    Args:
        d_in, d_out: channels.
        kernel: height and width, odd; a picture is larger than half of it.
        stride: of the convolution.
    """

    def __init__(self, *, d_in: int, d_out: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(d_in, d_out, kernel, stride, kernel // 2, padding_mode="reflect", bias=False)


class Residual(nn.Module):
    """Two 3x3 convolutions with ReLU between them, beside a shortcut.

    Args:
        d: channels.
    """

    def __init__(self, *, d: int) -> None:
        super().__init__()
        self.conv1 = Convolution(d_in=d, d_out=d)
        self.conv2 = Convolution(d_in=d, d_out=d)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, d, h, w]` -> the same shape."""
        return x + self.conv2(F.relu(self.conv1(x)))


class Encoder(nn.Sequential):
    """A frame's shape: `[b, 3, h, w]`, -1..1 -> `[b, d, ceil(h / 2), ceil(w / 2)]`.

    Args:
        d: channels, at least 2.
        blocks: residual blocks before the shape's own two.
    """

    def __init__(self, *, d: int = 32, blocks: int = 3) -> None:
        super().__init__(
            Convolution(d_in=3, d_out=d // 2, kernel=7),
            nn.ReLU(),
            Convolution(d_in=d // 2, d_out=d, stride=2),
            nn.ReLU(),
            *(Residual(d=d) for _ in range(blocks)),
            Convolution(d_in=d, d_out=d),
            nn.ReLU(),
            Residual(d=d),
            Residual(d=d),
        )


class Manipulator(nn.Module):
    """The change from one shape to another, amplified.

    Args:
        d: channels.
        blocks: residual blocks of h.
    """

    def __init__(self, *, d: int = 32, blocks: int = 1) -> None:
        super().__init__()
        self.g = nn.Sequential(Convolution(d_in=d, d_out=d, kernel=7), nn.ReLU())
        self.h = nn.Sequential(Convolution(d_in=d, d_out=d), *(Residual(d=d) for _ in range(blocks)))

    def change(self, a: Tensor, b: Tensor, alpha: float) -> Tensor:
        """h(alpha g(b - a)): shapes `[b, d, h, w]` -> the same shape."""
        return self.h(alpha * self.g(b - a))

    def forward(self, a: Tensor, b: Tensor, alpha: float) -> Tensor:
        """The magnified shape: `[b, d, h, w]` -> the same shape; ``a`` itself with alpha 0."""
        return a + self.change(a, b, alpha)


class Magnifier(nn.Module):
    """Encoder and manipulator. Its state_dict is what ``magnifier`` files hold.

    Args:
        d: channels, at least 2.
    """

    def __init__(self, *, d: int = 32) -> None:
        super().__init__()
        self.encoder = Encoder(d=d)
        self.manipulator = Manipulator(d=d)


def scaled(x: Tensor) -> Tensor:
    """Each clip's features to 0..1, by the least and greatest of all of them; constant ones to 0. `[b, c, h, w]`."""
    low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)  # b 1 1 1
    span = high - low
    return (x - low) / torch.where(span > 0, span, 1)


class Model(Network):
    """Flow and magnified pairs of frames -> two logits for each AU, one of each branch."""

    needs_motion = True

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        super().__init__(recipe)
        self.flow = resnet(depth=DEPTH, width=recipe.width)
        self.magnifier = Magnifier(d=recipe.width // 2).requires_grad_(not recipe.magnifier)
        self.magnified = resnet(depth=DEPTH, width=recipe.width).encoder  # the four stages, no stem
        self.head = nn.Linear(8 * recipe.width, n_aus)

    def magnify(self, frames: Tensor) -> Tensor:
        """Frames `[b, 3, 3, h, w]` (onset, two apexes), -1..1 -> both pairs' features `[b, width, h / 2, w / 2]`."""
        shapes = self.magnifier.encoder(frames.flatten(0, 1)).unflatten(0, (-1, 3))  # b 3 d h/2 w/2
        onset, apexes = shapes[:, :1].expand_as(shapes[:, 1:]), shapes[:, 1:]  # b 2 d h/2 w/2
        manipulator, factor = self.magnifier.manipulator, self.recipe.amplification
        pair = onset.flatten(0, 1), apexes.flatten(0, 1)
        latent = manipulator(*pair, factor) if self.recipe.latent == "shape" else manipulator.change(*pair, factor - 1)
        return latent.unflatten(0, (-1, 2)).flatten(1, 2)  # b 2d h/2 w/2

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
        return binary_loss(logits, targets.expand_as(logits))

    def decide(self, x: Inputs) -> Tensor:
        return torch.sigmoid(self(x).mean(0))

    def initial(self) -> list[tuple[str, nn.Module]]:
        return [("weights", self.flow), ("magnifier", self.magnifier)]

    def begin(self, inputs: Inputs, rows: Tensor, targets: Tensor) -> None:
        super().begin(inputs, rows, targets)
        if self.recipe.weights:
            self.magnified.load_state_dict(self.flow.encoder.state_dict())
