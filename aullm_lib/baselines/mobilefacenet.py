"""MobileFaceNet's trunk: a small face-recognition network of inverted residuals (Chen, Liu, Gao, Han 2018, Table 1).

Where this departs, and why:
- Its last two layers, the global depthwise convolution and the embedding of 128, are left out; what stands on the trunk
  here reads its 7x7 map of 512 channels.
- Random weights begin with blocks that hand on their input where they can (a last scale of 0, Goyal et al. 2017). Fifty
  random layers make so much of a shift by a fraction of a pixel that no motion could be told from another.
"""

import torch
from torch import Tensor, nn

STAGES = ((2, 1, 5, 2), (4, 2, 1, 2), (2, 2, 6, 1), (4, 2, 1, 2), (2, 2, 2, 1))
"""Of each stage: expansion, channels as a multiple of the width, blocks, stride of the first block."""


class Unit(nn.Sequential):
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
            nn.BatchNorm2d(d_out),
            *([] if linear else [nn.PReLU(d_out)]),
        )


class Bottleneck(nn.Module):
    """Wider by a 1x1 convolution, 3x3 in each channel by itself, narrow again; beside a shortcut where shapes agree.

    Args:
        d_in, d_out: channels.
        expansion: how many times as wide it is inside.
        stride: of the depthwise convolution.
    """

    def __init__(self, *, d_in: int, d_out: int, expansion: int, stride: int = 1) -> None:
        super().__init__()
        d = expansion * d_in
        self.expand = Unit(d_in=d_in, d_out=d)
        self.depthwise = Unit(d_in=d, d_out=d, kernel=3, stride=stride, groups=d)
        self.project = Unit(d_in=d, d_out=d_out, linear=True)
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
        self.stem = Unit(d_in=3, d_out=width, kernel=3, stride=2)
        self.depthwise = Unit(d_in=width, d_out=width, kernel=3, groups=width)
        blocks, d = list[nn.Module](), width
        for expansion, multiple, count, stride in STAGES:
            for i in range(count):
                d_in, d = d, multiple * width
                blocks.append(Bottleneck(d_in=d_in, d_out=d, expansion=expansion, stride=1 if i else stride))
        self.blocks = nn.Sequential(*blocks)
        self.last = Unit(d_in=d, d_out=8 * width)
        self.d_out = 8 * width

    def forward(self, x: Tensor) -> Tensor:
        """`[b, 3, h, w]` -> `[b, 8 width, h/16, w/16]`, rounded up; comments for 112 x 112."""
        if x.device.type == "cpu":
            x = x.contiguous(memory_format=torch.channels_last)  # depthwise: half the time, there
        x = self.stem(x)  # b 64 56 56
        x = self.depthwise(x)  # b 64 56 56
        x = self.blocks(x)  # b 128 7 7
        return self.last(x)  # b 512 7 7
