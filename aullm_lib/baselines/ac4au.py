"""AC4AU: the varying part of a face's features, and experts shared by the AUs (ACM MM 2025; not in the paper).

Each frame goes through a face-recognition network and a spatial transformer; a Fourier transform over time splits the
result into a constant part, which must identify the subject, and a varying part, which must identify the AUs.

The authors' code is not public; this follows the paper's recipe. Where it departs, and why:
- Its face-recognition weights cannot be had in a safe format here: random, unless ``weights`` is given. The paper's own
  ablation loses nearly half of its binary F1 without them.
- Optimiser, rate, epochs, batch, dropout, depths, widths, the strength of the augmentation and the experts' inside are
  not in our notes: chosen here. So are a frame's vector (a linear layer on all its tokens, so that each place of the
  face has weights of its own, as in MobileFaceNet's own head), the positions that both transformers learn, and a batch
  norm that brings a micro-expression's small variation to their scale.
- Of MobileFaceNet (Chen, Liu, Gao, Han 2018, Table 1) the last two layers are left out, the global depthwise
  convolution and the embedding of 128: what follows reads its 7x7 map of 512 channels. Random weights begin with blocks
  that pass on their input where they can (a last scale of 0, Goyal et al. 2017): fifty random layers amplify a shift by
  a fraction of a pixel so much that no motion could be told from another.
- The inverse transform without frequency 0 is written as what it is, the deviation from the mean over time.
- An AU that no (or every) training clip shows would have weight 0 and be left at its random start: its rate counts as
  that of one clip (or all but one).

The subject loss uses the identities of the fold's training subjects only, and none in test. Memory: 0.3 MB per clip at
the paper's size.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aullm_lib import clips
from aullm_lib.asl import AsymmetricLoss
from aullm_lib.baselines import views
from aullm_lib.baselines.network import Network, NetworkRecipe
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import setting
from aullm_lib.support.frame_conv import ImageNorm

RGB = True
GREY = (0.299, 0.587, 0.114)  # what red, green and blue add to lightness (ITU-R BT.601)
PAPER, OURS = "AC4AU paper", "ours, the paper's is not in our notes"
STAGES = ((2, 1, 5, 2), (4, 2, 1, 2), (2, 2, 6, 1), (4, 2, 1, 2), (2, 2, 2, 1))
"""Of each stage: expansion, channels as a multiple of the width, blocks, stride of the first block."""


@dataclass(frozen=True, kw_only=True)
class Recipe(NetworkRecipe):
    """The paper's settings. Raises ValueError for a width that its heads do not divide."""

    size: int = setting(112, f"{PAPER}: pixels", low=16)
    frames: int = setting(8, f"{PAPER}: evenly spaced; a shorter clip repeats its last frame", low=2)
    rotation: float = setting(10.0, f"{OURS}: degrees to either side; paper: rotation", low=0, below=180)
    jitter: float = setting(0.2, f"{OURS}: of brightness, contrast, saturation; paper: colour jitter", low=0, below=1)
    backbone_width: int = setting(64, "MobileFaceNet paper: channels of its first layer", low=1)
    weights: str = setting("", "ours: safetensors file of MobileFaceNet's state_dict (paper: faces); '' = random")
    width: int = setting(128, f"{OURS}: of the tokens", low=1)
    heads: int = setting(4, PAPER, low=1)
    depth: int = setting(1, f"{OURS}: layers of each transformer", low=1)
    dropout: float = setting(0.1, f"{OURS}: in the transformers", low=0, below=1)
    experts: int = setting(12, PAPER, low=1)
    gamma: float = setting(2.0, f"{PAPER}: of the focal loss", low=0)
    dc_weight: float = setting(0.1, f"{PAPER}: of the subject's loss", low=0)
    scale: float = setting(32.0, f"{PAPER}: of ArcFace", above=0)
    margin: float = setting(0.5, f"{PAPER}: of ArcFace, radians", low=0)
    optimizer: str = setting("adam", OURS, choices=("sgd", "adam"))
    lr: float = setting(1e-4, OURS, above=0)
    weight_decay: float = setting(0.0, OURS, low=0)
    batch_size: int = setting(32, OURS, low=2)
    epochs: int = setting(50, OURS, low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"Recipe.width={self.width}: must be a multiple of heads={self.heads}")


class Inputs(NamedTuple):
    """AC4AU's inputs of a store's clips."""

    frames: Tensor  # n t h w 3, uint8
    subjects: Tensor  # n, a number for each person


class Fold(NamedTuple):
    """What training needs of its clips, beside the model."""

    subjects: Tensor  # n: a store's clip -> which of the training subjects it shows, from 0 on
    prototypes: nn.Parameter  # a direction for each training subject [s, d]
    alpha: Tensor  # each AU's rate in the training clips [n_aus]


def prepare(recipe: Recipe, store: ClipStore) -> Inputs:
    """The frames of every clip, and who is in it."""
    lengths = store.lengths
    spread = clips.frame_positions(lengths, recipe.frames)  # n t
    first = torch.arange(recipe.frames, device=lengths.device).minimum(lengths[:, None] - 1)  # n t
    positions = torch.where(lengths[:, None] < recipe.frames, first, spread)
    people = store.table["dataset"] + "/" + store.table["subject"]
    subjects = torch.from_numpy(pd.factorize(people)[0]).to(store.device)
    return Inputs(store.take(torch.arange(len(store), device=store.device), positions), subjects)


def augmented(x: Tensor, *, rotation: float, jitter: float, order: torch.Generator) -> Tensor:
    """Augments clips: mirrored half of the time, rotated, and with colour jitter, the same for all frames of a clip.

    Args:
        x: `[b, t, 3, h, w]`, 0..1.
        rotation: most degrees to either side.
        jitter: brightness, contrast and saturation are each multiplied by 1 - jitter .. 1 + jitter.
        order: CPU generator.
    """
    b = len(x)
    draws = 2 * torch.rand(5, b, generator=order).to(x.device) - 1  # -1..1
    angle, sign = torch.deg2rad(rotation * draws[0]), torch.where(draws[1] < 0, -1.0, 1.0)  # b
    theta = x.new_zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = sign * angle.cos(), -sign * angle.sin()
    theta[:, 1, 0], theta[:, 1, 1] = angle.sin(), angle.cos()
    flat = x.flatten(1, 2)  # b t*3 h w: one grid serves all frames of a clip
    grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
    x = F.grid_sample(flat, grid, padding_mode="border", align_corners=False).view_as(x)
    brightness, contrast, saturation = (1 + jitter * draws[2:]).view(3, b, 1, 1, 1, 1)
    x = x * brightness
    grey = (x * x.new_tensor(GREY).view(3, 1, 1)).sum(2, keepdim=True)  # b t 1 h w
    x = grey + (x - grey) * saturation
    level = grey.mean((1, 2, 3, 4), keepdim=True)  # b 1 1 1 1
    return (level + (x - level) * contrast).clamp(0, 1)


class ConvUnit(nn.Sequential):
    """Convolution, batch norm, and PReLU unless ``linear``.

    Args:
        d_in, d_out: channels.
        kernel, stride: of the convolution, padded so that stride 1 keeps the size.
        groups: of the convolution; ``d_in`` makes it depthwise.
        linear: whether PReLU is left out.
    """

    def __init__(
        self, *, d_in: int, d_out: int, kernel: int = 1, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__(
            nn.Conv2d(d_in, d_out, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
            ImageNorm(d_out),
            *([] if linear else [nn.PReLU(d_out)]),
        )


class Bottleneck(nn.Module):
    """Wider by a 1x1 convolution, 3x3 in each channel by itself, narrow again; beside a shortcut where shapes agree.

    Args:
        d_in, d_out: channels.
        expansion: ratio of the inner width to ``d_in``.
        stride: of the depthwise convolution.
    """

    def __init__(self, *, d_in: int, d_out: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        d = expansion * d_in
        self.expand = ConvUnit(d_in=d_in, d_out=d)
        self.depthwise = ConvUnit(d_in=d, d_out=d, kernel=3, stride=stride, groups=d)
        self.project = ConvUnit(d_in=d, d_out=d_out, linear=True)
        self.shortcut = stride == 1 and d_in == d_out
        if self.shortcut:
            nn.init.zeros_(self.project.get_parameter("1.weight"))

    def forward(self, x: Tensor) -> Tensor:
        """`[b, d_in, h, w]` -> `[b, d_out, h', w']`, each side ceil(side / stride)."""
        out = self.project(self.depthwise(self.expand(x)))  # b d_out h' w'
        return out + x if self.shortcut else out


class MobileFaceNet(nn.Module):
    """A face -> its feature map. Its state_dict is what ``weights`` files hold.

    Args:
        width: channels of the first layer (64 in the paper); the map has 8 times as many.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.stem = ConvUnit(d_in=3, d_out=width, kernel=3, stride=2)
        self.depthwise = ConvUnit(d_in=width, d_out=width, kernel=3, groups=width)
        blocks, d = list[nn.Module](), width
        for expansion, multiple, count, stride in STAGES:
            for i in range(count):
                d_in, d = d, multiple * width
                blocks.append(Bottleneck(d_in=d_in, d_out=d, expansion=expansion, stride=1 if i else stride))
        self.blocks = nn.Sequential(*blocks)
        self.last = ConvUnit(d_in=d, d_out=8 * width)
        self.d_out = 8 * width

    def forward(self, x: Tensor) -> Tensor:
        """`[b, 3, h, w]` -> `[b, 8 width, h/16, w/16]`, rounded up; comments for 112 x 112."""
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)  # depthwise: three quarters of the time, there
        x = self.depthwise(self.stem(x))  # b 64 56 56
        x = self.blocks(x)  # b 128 7 7
        return self.last(x)  # b 512 7 7


def split(x: Tensor) -> tuple[Tensor, Tensor]:
    """`[b, t, d]` -> frequency 0 over time, `[b, d]` (the mean), and the sum of all others, `[b, t, d]`."""
    dc = x.mean(1)  # b d
    return dc, x - dc[:, None]


def arcface(x: Tensor, prototypes: Tensor, subjects: Tensor, *, scale: float, margin: float) -> Tensor:
    """Scaled cosines `[b, s]` of embeddings `[b, d]` and prototypes `[s, d]`.

    The angle to the embedding's own prototype, numbered in ``subjects`` `[b]`, is widened by the margin in radians.
    """
    cosines = F.normalize(x) @ F.normalize(prototypes).T  # b s
    angles = cosines.clamp(-1 + 1e-6, 1 - 1e-6).acos()  # b s; at 0 and pi it has no gradient
    return scale * torch.cos(angles + margin * F.one_hot(subjects, len(prototypes)))


class Transformer(nn.Module):
    """Learned positions, then transformer layers.

    The positions begin as strong as the tokens: what varies over time sums to 0, and without them so would, nearly,
    what the layers make of it.

    Args:
        tokens, d: number of tokens, and their width.
        heads, depth, dropout: of the layers.
    """

    def __init__(self, *, tokens: int, d: int, heads: int = 4, depth: int = 1, dropout: float = 0.1) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.randn(tokens, d))
        self.layers = nn.Sequential(
            *(nn.TransformerEncoderLayer(d, heads, 4 * d, dropout, batch_first=True) for _ in range(depth))
        )

    def forward(self, x: Tensor) -> Tensor:
        """`[b, tokens, d]` -> the same shape."""
        return self.layers(x + self.positions)


class Experts(nn.Module):
    """Experts that all AUs share, mixed for each AU by a softmax gate of its own, and a logit from each mixture.

    Args:
        d: width of the features and of an expert's output.
        experts: number of experts.
        n_aus: number of AUs.
    """

    def __init__(self, *, d: int, experts: int, n_aus: int) -> None:
        super().__init__()
        self.experts = nn.Sequential(nn.Linear(d, experts * d), nn.GELU(), nn.Unflatten(1, (experts, d)))
        self.gates = nn.Sequential(nn.Linear(d, n_aus * experts), nn.Unflatten(1, (n_aus, experts)), nn.Softmax(2))
        self.weight = nn.Parameter(torch.randn(n_aus, d) * d**-0.5)
        self.bias = nn.Parameter(torch.zeros(n_aus))

    def forward(self, x: Tensor) -> Tensor:
        """`[b, d]` -> `[b, n_aus]`."""
        mixed = self.gates(x) @ self.experts(x)  # b n_aus d
        return (mixed * self.weight).sum(2) + self.bias  # b n_aus


class Model(Network):
    """RGB frames -> a logit for each AU, and the embedding that identifies the subject."""

    needs_motion = True

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        super().__init__(recipe)
        r, side = recipe, -(-recipe.size // 16)
        shared: dict[str, Any] = {"d": r.width, "heads": r.heads, "depth": r.depth, "dropout": r.dropout}
        self.backbone = MobileFaceNet(width=r.backbone_width)
        self.project = nn.Linear(self.backbone.d_out, r.width)
        self.spatial = Transformer(tokens=side * side, **shared)
        self.read = nn.Linear(side * side * r.width, r.width)
        self.bn = nn.BatchNorm1d(r.width)
        self.temporal = Transformer(tokens=r.frames, **shared)
        self.experts = Experts(d=r.width, experts=r.experts, n_aus=n_aus)
        self.focal = AsymmetricLoss(gamma_pos=r.gamma, gamma_neg=r.gamma, clip=0, reduction="none")
        self.fold: Fold | None = None  # no part of the model: its prototypes are of this fold's subjects

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`[b, t, 3, h, w]`, 0..1 -> logits `[b, n_aus]`, constant part `[b, d]`; comments for 112 x 112 pixels."""
        b, t = x.shape[:2]
        maps = self.backbone(2 * x.flatten(0, 1) - 1)  # bt 512 7 7, from -1..1 as in face recognition
        tokens = self.spatial(self.project(maps.flatten(2).mT))  # bt 49 d
        dc, ac = split(self.read(tokens.flatten(1)).unflatten(0, (b, t)))  # b d, b t d
        ac = self.bn(ac.mT).mT  # b t d
        return self.experts(self.temporal(ac).mean(1)), dc  # b n_aus, b d

    def batch(self, inputs: Inputs, rows: Tensor, order: torch.Generator | None) -> tuple[Tensor, Tensor]:
        x = views.planar(inputs.frames[rows])  # b t 3 h w
        if order is not None:
            x = augmented(x, rotation=self.recipe.rotation, jitter=self.recipe.jitter, order=order)
        return x, rows

    def loss(self, x: tuple[Tensor, Tensor], targets: Tensor) -> Tensor:
        assert self.fold
        frames, rows = x
        logits, dc = self(frames)  # b n_aus, b d
        known, targets = targets.isfinite(), targets.nan_to_num()
        balance = targets * (1 - self.fold.alpha) + (1 - targets) * self.fold.alpha  # b n_aus
        subjects = self.fold.subjects[rows]  # b
        r = self.recipe
        cosines = arcface(dc, self.fold.prototypes, subjects, scale=r.scale, margin=r.margin)  # b s
        return (balance * self.focal(logits, targets))[known].mean() + r.dc_weight * F.cross_entropy(cosines, subjects)

    def decide(self, x: tuple[Tensor, Tensor]) -> Tensor:
        return torch.sigmoid(self(x[0])[0])

    def groups(self) -> list[list[nn.Parameter]]:
        return [[*self.parameters(), *([self.fold.prototypes] if self.fold else [])]]

    def initial(self) -> list[tuple[str, nn.Module]]:
        return [("weights", self.backbone)]

    def begin(self, inputs: Inputs, rows: Tensor, targets: Tensor) -> None:
        super().begin(inputs, rows, targets)
        people, index = inputs.subjects[rows].unique(return_inverse=True)
        subjects = torch.full_like(inputs.subjects, -1).index_put_((rows,), index)  # n
        prototypes = nn.Parameter(torch.randn(len(people), self.recipe.width, device=rows.device))
        alpha = targets.nanmean(0).clamp(1 / len(rows), 1 - 1 / len(rows))
        self.fold = Fold(subjects, prototypes, alpha)

    def end(self) -> None:
        self.fold = None
