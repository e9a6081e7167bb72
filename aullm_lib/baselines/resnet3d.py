"""The 3D ResNet18 that SCA stands on: every convolution and pooling in space and time, up to its last stage.

Source: the network of the 3D-ResNet papers (Hara, Kataoka, Satoh) with shortcuts of type A, as public ports of SCA use
it. Where this departs, and why: there, the shortcuts that change their shape are cut off from the gradient, a relic of
an old framework; here it flows through them, as it does in a residual network.
"""

import torch.nn.functional as F
from torch import Tensor, nn


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
