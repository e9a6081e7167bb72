"""The visual backbone: temporal filter, then a small 3D-CNN with squeeze-and-excitation (paper 3.1).

The network is SSSNet in three dimensions with an SE layer "after the second convolution"; mid-level features come out
after the second block, high-level features after the fully connected layer.

Where this departs, and why: the paper gives no kernel sizes. They, the place of each layer and the dropout are the
released script's. Its first block is convolution, ReLU, pooling, batch norm; its second is convolution, ReLU,
batch norm, SE, pooling. SE works on each frame by itself (the script folds time into the batch), which is what lets
its weights be drawn over time (paper Fig. 3d). SE has no biases, as in the equation of the SE paper [8]. Pixels are
grey levels 0..255, not normalised.

The first block works on each frame by itself. Its convolution and pooling therefore run in two dimensions over the
frames of all clips, channels last, which is several times as fast as the three-dimensional layers and gives the same
numbers but for the order of summation.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from aullm_lib.led import LED, FrameDifference
from aullm_lib.support.frame_conv import FrameConv, FrameNorm, FramePool

FILTERS = ("led", "raw", "difference")


class Features(NamedTuple):
    """What the backbone returns."""

    mid: Tensor  # b 64 2 9 9 at 6 frames of 64 x 64
    high: Tensor  # b 256


class SqueezeExcitation(nn.Module):
    """Channel attention, one set of weights for each frame [8].

    The weights `[b, t, c]`, in (0, 1), are the output of ``self.gate``: hook it to read them.

    Args:
        channels: c.
        reduction: how many times narrower the bottleneck is, 1..channels.
    """

    def __init__(self, *, channels: int, reduction: int = 16) -> None:
        super().__init__()
        if not 1 <= reduction <= channels:
            raise ValueError(f"reduction={reduction}: allowed are 1..{channels}, the number of channels")
        self.squeeze = nn.Linear(channels, channels // reduction, bias=False)
        self.excite = nn.Linear(channels // reduction, channels, bias=False)
        self.gate = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, h, w]` -> the same shape, each channel of each frame scaled by its weight."""
        z = x.mean((3, 4)).transpose(1, 2)  # b t c
        weights = self.gate(self.excite(torch.relu(self.squeeze(z))))  # b t c
        return x * weights.transpose(1, 2)[..., None, None]  # b c t h w


class VisualBackbone(nn.Module):
    """Clip -> mid-level and high-level features.

    Args:
        frames: T of the clip, at least 4 (the first is only a reference for the temporal filter and is dropped).
        size: height and width of a frame in pixels, at least 16.
        led: the temporal filter, "led", "raw" (none) or "difference" (of neighbouring frames).
        led_alpha, led_r1, led_r2, led_eps: see ``led.LED``.
        dropout: of channels after each block, and of the high-level features, in [0, 1).
        se: whether the squeeze-and-excitation layer is there.
        se_reduction: see ``SqueezeExcitation``.
        d_high: width of the high-level features; 0 leaves the fully connected layer out and ``high`` is `[b, 0]`.

    Raises:
        ValueError: an unknown filter; a clip too short or frames too small to leave anything after the pooling.
    """

    def __init__(
        self,
        *,
        frames: int = 6,
        size: int = 64,
        led: str = "led",
        led_alpha: float = 10.0,
        led_r1: float = 0.4,
        led_r2: float = 0.05,
        led_eps: float = 1e-8,
        dropout: float = 0.3,
        se: bool = True,
        se_reduction: int = 16,
        d_high: int = 256,
    ) -> None:
        super().__init__()
        t = (frames - 1 - 1) // 2  # convolution 2, pooling 2
        s = ((size - 4) // 3 - 2) // 2  # convolution 5, pooling 3, convolution 3, pooling 2
        if t < 1 or s < 1:
            raise ValueError(f"frames={frames}, size={size}: the backbone needs at least 4 frames of 16 pixels")
        if led not in FILTERS:
            raise ValueError(f"led={led!r}: allowed are {', '.join(FILTERS)}")
        self.led: nn.Module | None = None
        if led == "led":
            self.led = LED(frames=frames, alpha=led_alpha, r1=led_r1, r2=led_r2, eps=led_eps)
        elif led == "difference":
            self.led = FrameDifference()
        self.conv1 = FrameConv(32, 5)
        self.pool1 = FramePool(3)
        self.norm1 = FrameNorm(32)
        self.drop1 = nn.Dropout3d(dropout)
        self.conv2 = nn.Conv3d(32, 64, (2, 3, 3))
        self.norm2 = FrameNorm(64)
        self.se: SqueezeExcitation | None = None
        if se:
            self.se = SqueezeExcitation(channels=64, reduction=se_reduction)
        self.pool2 = nn.MaxPool3d(2)
        self.drop2 = nn.Dropout3d(dropout)
        self.d_mid = 64 * t * s * s
        self.d_high = d_high
        self.fc = (
            nn.Sequential(nn.Linear(self.d_mid, d_high), nn.ReLU(), nn.Dropout(dropout)) if d_high else None  # b d_high
        )

    def forward(self, x: Tensor) -> Features:
        """`[b, t, h, w]` grey levels 0..255, uint8 or float -> mid `[b, 64, t', h', w']`, high `[b, d_high]`."""
        x = x if x.is_floating_point() else x.float()  # b t h w
        x = x if self.led is None else self.led(x)  # b t h w
        x = x[:, None, 1:]  # b 1 t-1 h w
        # ReLU and maximum commute, so pooling first gives the same numbers from a ninth of the ReLUs.
        x = self.drop1(self.norm1(torch.relu(self.pool1(self.conv1(x)))))  # b 32 t-1 h" w"
        x = self.norm2(torch.relu(self.conv2(x)))  # b 64 t-2 h" w"
        x = x if self.se is None else self.se(x)  # b 64 t-2 h" w"
        mid = self.drop2(self.pool2(x))  # b 64 t' h' w'
        high = mid.new_zeros(len(mid), 0) if self.fc is None else self.fc(mid.flatten(1))  # b d_high
        return Features(mid, high)
