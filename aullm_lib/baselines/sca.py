"""SCA: second-order channel and spatial attention on a 3D ResNet18 (doi 10.1016/j.neucom.2021.01.032).

The covariances of the last stage's features, between channels over positions and between positions over channels,
decide which channels and positions count.

The authors' code is not to be found; this follows the public port in ``meb`` (experiments/benchmarks/SCA). Where it
departs, and why:
- The port starts from Kinetics and UCF101 weights, which cannot be had in a safe format here: random, unless
  ``weights`` is given. A few dozen clips do not teach random layers to see motion under a face's contrast (in the
  synthetic release fifty times as strong): there ``subtract_mean`` takes the face away.
- The port's covariance between positions subtracts no exact mean (it divides by the number of positions where that of
  channels is meant); here both are covariances.
- Its random crop spans the whole frame, so that only the flip is random; ``crop_low`` < 1 makes it a crop. A training
  clip always loses a random part of its end; the port takes its start instead in a quarter of the draws, and rounds
  positions down.
- The network is that of the 3D-ResNet papers (Hara, Kataoka, Satoh) with shortcuts of type A. In the port, the
  shortcuts that change their shape are cut off from the gradient, a relic of an old framework; here it flows through.
- The port reads faces of 112 pixels and enlarges them to 124 after the temporal interpolation; here they are stored at
  124. Clips are kept as uint8 after it: 2.3 MB per clip at the port's size, 0.6 GB for CASME II.

As in the port, pixels stay in 0..255, without mean and deviation, and only the first epoch has two rates: the last
stage, the linear layer and the last layer of the spatial attention learn at ``lr``, everything else at ``early_lr``.
From the second epoch on all learn at ``lr``, a tenth of it after each ``drop_every`` of those.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from aullm_lib import clips
from aullm_lib.baselines import tim, views
from aullm_lib.baselines.network import Network, NetworkRecipe, binary_loss
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import setting

RGB = True
MEB = "public port (meb, SCA)"


@dataclass(frozen=True, kw_only=True)
class Recipe(NetworkRecipe):
    """The public port's settings. Raises ValueError for a network that these make impossible."""

    size: int = setting(124, f"{MEB}: pixels of a stored frame", low=16)
    crop: int = setting(112, f"{MEB}: pixels that the network reads; from 33 on there are places to compare", low=33)
    crop_low: float = setting(1.0, f"{MEB}: smallest side of the random square, a share of the frame's", above=0)
    interpolated: int = setting(50, f"{MEB}: frames of every clip after temporal interpolation", low=2)
    frames: int = setting(10, f"{MEB}: of these, evenly spaced; in training up to a random end", low=2)
    subtract_mean: bool = setting(False, "ours, for random weights: frames less their mean over the clip; port: not")
    width: int = setting(64, f"{MEB}: channels of the first stage of four", low=1)
    expand: int = setting(4, f"{MEB}: values per row of the covariance between positions", low=1)
    fusion_groups: int = setting(8, f"{MEB}: groups of the fusing convolutions", low=1)
    fusion_kernel: int = setting(9, f"{MEB}: their height", low=1)
    weights: str = setting("", "ours: safetensors file of ResNet3d's state_dict (port: Kinetics, UCF101); '' = random")
    optimizer: str = setting("sgd", MEB, choices=("sgd", "adam"))
    lr: float = setting(1e-3, MEB, above=0)
    early_lr: float = setting(1e-4, f"{MEB}: in the first epoch, of all but the last layers", above=0)
    momentum: float = setting(0.9, MEB, low=0, below=1)
    weight_decay: float = setting(1e-3, MEB, low=0)
    drop_every: int = setting(30, f"{MEB}: epochs, but for the first, until the rate is a tenth; 0 = never", low=0)
    batch_size: int = setting(32, MEB, low=2)
    epochs: int = setting(40, MEB, low=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop_low > 1:
            raise ValueError(f"Recipe.crop_low={self.crop_low}: at most 1, the whole frame")
        if self.fusion_kernel % 2 == 0:
            raise ValueError(f"Recipe.fusion_kernel={self.fusion_kernel}: must be odd, to have a middle")
        if 8 * self.width % self.fusion_groups:
            raise ValueError(f"Recipe.fusion_groups={self.fusion_groups}: must divide 8 width = {8 * self.width}")


def prepare(recipe: Recipe, store: ClipStore) -> Tensor:
    """Every clip, interpolated to ``interpolated`` frames `[n, t, size, size, 3]`, uint8 on the store's device."""
    shape = (len(store), recipe.interpolated, *store.frames.shape[1:])
    inputs = torch.empty(shape, dtype=torch.uint8, device=store.device)
    for i, clip in enumerate(tqdm(store.ids, desc="temporal interpolation", unit="clip", leave=False)):
        smooth = tim.interpolate(store[clip], recipe.interpolated)  # t size size 3
        inputs[i] = smooth.round().clamp(0, 255).to(inputs)
    return inputs


class Block(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut without weights (type A): every ``stride``-th value, zero channels.

    Args:
        d_in, d_out: channels, d_in <= d_out.
        stride: in space and time.
    """

    def __init__(self, *, d_in: int, d_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(d_in, d_out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(d_out)
        self.conv2 = nn.Conv3d(d_out, d_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(d_out)
        self.stride, self.added = stride, d_out - d_in

    def forward(self, x: Tensor) -> Tensor:
        """`[b, d_in, t, h, w]` -> `[b, d_out, t', h', w']`, each side ceil(side / stride)."""
        s = self.stride
        shortcut = F.pad(x[:, :, ::s, ::s, ::s], (0, 0, 0, 0, 0, 0, 0, self.added))  # b d_out t' h' w'
        out = F.relu(self.bn1(self.conv1(x)))  # b d_out t' h' w'
        return F.relu(self.bn2(self.conv2(out)) + shortcut)  # b d_out t' h' w'


class ResNet3d(nn.Module):
    """A clip -> the feature map of the last of four stages. Its state_dict is what ``weights`` files hold.

    Args:
        width: channels of the first stage; they double with every stage.
    """

    def __init__(self, *, width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(3, width, 7, stride=(1, 2, 2), padding=3, bias=False)
        self.bn1 = nn.BatchNorm3d(width)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.d_out = 8 * width
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """`[b, 3, t, h, w]` -> `[b, 8 width, t/16, h/32, w/32]`, rounded up; comments for 10 frames of 112 x 112."""
        x = F.relu(self.bn1(self.conv1(x)))  # b 64 10 56 56
        x = self.maxpool(x)  # b 64 5 28 28
        x = self.layer1(x)  # b 64 5 28 28
        x = self.layer2(x)  # b 128 3 14 14
        x = self.layer3(x)  # b 256 2 7 7
        return self.layer4(x)  # b 512 1 4 4


def _stage(d_in: int, d_out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(Block(d_in=d_in, d_out=d_out, stride=stride), Block(d_in=d_out, d_out=d_out))


def covariance(x: Tensor) -> Tensor:
    """`[b, n, m]` -> `[b, n, n]`: between n variables, over m observations, divided by m."""
    x = x - x.mean(2, keepdim=True)  # b n m
    return x @ x.mT / x.shape[2]  # b n n


class RowConvolution(nn.Module):
    """A convolution over a square matrix with one group per row and a kernel as long as the row.

    Args:
        rows: n of the matrix `[n, n]`.
        outputs: values made of each row.
    """

    def __init__(self, *, rows: int, outputs: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, outputs, rows))
        self.bias = nn.Parameter(torch.empty(rows, outputs))
        for parameter in (self.weight, self.bias):  # as torch's convolutions begin
            nn.init.uniform_(parameter, -(rows**-0.5), rows**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, n, n]` -> `[b, n outputs]`, row by row."""
        return (torch.einsum("bnm,nom->bno", x, self.weight) + self.bias).flatten(1)


class ChannelAttention(nn.Module):
    """A weight in (0, 1) for each channel, from its covariances with all channels over the positions.

    Args:
        channels: c.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(channels)
        self.rows = RowConvolution(rows=channels)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, h, w]` -> `[b, c, 1, 1]`."""
        second = self.bn(covariance(x.flatten(2)))  # b c c
        return torch.sigmoid(self.rows(second))[..., None, None]  # b c 1 1


class SpatialAttention(nn.Module):
    """A weight in (0, 1) for each position, from its covariances with all positions over the channels.

    Args:
        positions: h w.
        expand: values made of each position's row before they are mixed.
    """

    def __init__(self, *, positions: int, expand: int = 4) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(positions)
        self.rows = RowConvolution(rows=positions, outputs=expand)
        self.mix = nn.Linear(expand * positions, positions)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, h, w]` -> `[b, 1, h, w]`."""
        second = self.bn(covariance(x.flatten(2).mT))  # b hw hw
        weights = torch.sigmoid(self.mix(F.relu(self.rows(second))))  # b hw
        return weights.view(len(x), 1, *x.shape[2:])  # b 1 h w


class SecondOrderAttention(nn.Module):
    """Both attentions, and their fusion: what each leaves of the features, gated by a convolution down the columns.

    Args:
        channels, positions: c and h w of the features.
        expand: see ``SpatialAttention``.
        groups, kernel: of the two convolutions `[kernel, 1]`; the kernel is odd.
    """

    def __init__(self, *, channels: int, positions: int, expand: int = 4, groups: int = 8, kernel: int = 9) -> None:
        super().__init__()
        self.channel = ChannelAttention(channels=channels)
        self.spatial = SpatialAttention(positions=positions, expand=expand)
        self.conv_a = nn.Conv2d(channels, channels, (kernel, 1), padding=(kernel // 2, 0), groups=groups)
        self.conv_b = nn.Conv2d(channels, channels, (kernel, 1), padding=(kernel // 2, 0), groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, h, w]` -> the same shape."""
        a = x * self.channel(x)  # b c h w
        s = F.relu(x * self.spatial(x))  # b c h w
        return self.conv_a(a) * a + self.conv_b(s) * s  # b c h w


class Model(Network):
    """RGB clip -> a logit for each AU."""

    needs_motion = True

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        super().__init__(recipe)
        self.backbone = ResNet3d(width=recipe.width)
        side = -(-recipe.crop // 32)
        self.attention = SecondOrderAttention(
            channels=self.backbone.d_out, positions=side * side, expand=recipe.expand,
            groups=recipe.fusion_groups, kernel=recipe.fusion_kernel,
        )  # fmt: skip
        self.bn = nn.BatchNorm2d(self.backbone.d_out)
        self.linear = nn.Linear(self.backbone.d_out, n_aus)

    def forward(self, x: Tensor) -> Tensor:
        """`[b, 3, t, h, w]`, 0..255 -> `[b, n_aus]`; comments for 10 frames of 112 x 112."""
        x = self.backbone(x)  # b 512 1 4 4
        x = x.mean(2)  # b 512 4 4; one step of time is left of up to 16 frames
        x = self.bn(self.attention(x))  # b 512 4 4
        return self.linear(x.mean((2, 3)))  # b n_aus

    def batch(self, inputs: Tensor, rows: Tensor, order: torch.Generator | None) -> Tensor:
        r = self.recipe
        lengths = torch.full_like(rows, r.interpolated)  # b
        ends = None if order is None else clips.jittered_ends(lengths, r.frames, order)
        frames = inputs[rows[:, None], clips.frame_positions(lengths, r.frames, ends)]  # b t size size 3
        x = frames.float().movedim(-1, -3)  # b t 3 size size
        x = x - x.mean(1, keepdim=True) if r.subtract_mean else x
        x = views.crop(x, out=r.crop, scale=(r.crop_low, 1.0), flip=True, order=order)
        return x.transpose(1, 2)  # b 3 t crop crop

    def loss(self, x: Tensor, targets: Tensor) -> Tensor:
        return binary_loss(self(x), targets)

    def decide(self, x: Tensor) -> Tensor:
        return torch.sigmoid(self(x))

    def groups(self) -> list[list[nn.Parameter]]:
        """What learns slowly in the first epoch, and the rest."""
        parts = (self.backbone.layer4, self.attention.spatial.mix, self.linear)
        rest = [p for part in parts for p in part.parameters()]
        return [[p for p in self.parameters() if p not in set(rest)], rest]

    def rates(self, epoch: int) -> list[float]:
        return [self.recipe.early_lr, self.recipe.lr] if epoch == 0 else super().rates(epoch - 1)

    def initial(self) -> list[tuple[str, nn.Module]]:
        return [("weights", self.backbone)]
