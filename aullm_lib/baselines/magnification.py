"""Encoder and manipulator of learning-based video motion magnification (Oh et al., ECCV 2018; arXiv 1804.02684).

The encoder turns a frame into features of its shape at half the size; the manipulator makes the change between two
frames' shapes larger:

    G(a, b, alpha) = a + h(alpha g(b - a))

g is a 7x7 convolution and ReLU, h a 3x3 convolution and a residual block. Where this departs, and why:
- Texture branch and decoder are left out: no picture is painted here.
- No convolution has a bias, as in the variant in InfuseNet's public code: without motion nothing is added, and h is
  positively homogeneous.
- The paper's first convolution has half as many channels as the others, 16 and 32; here half of any number.
"""

import torch.nn.functional as F
from torch import Tensor, nn


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
    """Both of them: what InfuseNet reads of a pair of frames, and the layout of its weights' file.

    Args:
        d: channels, at least 2.
    """

    def __init__(self, *, d: int = 32) -> None:
        super().__init__()
        self.encoder = Encoder(d=d)
        self.manipulator = Manipulator(d=d)
