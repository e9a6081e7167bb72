"""Convolution and pooling of single frames in the form that is fast: two-dimensional, channels last in memory.

Under autocast they are the plain three-dimensional layers; the numbers are the same but for the order of summation, and
for what cuDNN rounds to TF32 in the layers that it computes.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class FrameConv(nn.Conv3d):
    """A convolution of one channel, each frame by itself: ``Conv3d(1, channels, (1, kernel, kernel))``."""

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__(1, channels, (1, kernel, kernel))

    def forward(self, x: Tensor) -> Tensor:
        """`[b, 1, t, h, w]` -> `[b, c, t, h', w']`, with the channels last in memory."""
        if not _by_frame(x):
            return super().forward(x)
        assert self.bias is not None
        way = _products if x.is_cuda else _FrameConvolution.apply
        out = way(x.flatten(0, 2), self.weight[:, :, 0], self.bias)  # b*t c h' w'
        return out.unflatten(0, (len(x), -1)).transpose(1, 2)


class FramePool(nn.MaxPool3d):
    """The maximum over squares of each frame: ``MaxPool3d((1, size, size))``."""

    def __init__(self, size: int) -> None:
        super().__init__((1, size, size))
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, t, h, w]` -> `[b, c, t, h', w']`."""
        if not _by_frame(x):
            return super().forward(x)
        out = F.max_pool2d(x.transpose(1, 2).flatten(0, 1), self.size)  # b*t c h' w'
        return out.unflatten(0, (len(x), -1)).transpose(1, 2)


class _Norm(nn.modules.batchnorm._BatchNorm):
    """Batch norm that is exact in channels-last memory, where PyTorch's kernel for a CPU adds up naively.

    At a true batch size that kernel costs two to three digits of the features and their gradients.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`[b, c, ...]` -> the same shape."""
        rows = x.movedim(1, -1)  # b ... c
        if not (self.training and x.device.type == "cpu" and _by_frame(x) and rows.is_contiguous()):
            return super().forward(x)
        y, mean, var = _Normalise.apply(rows.flatten(0, -2), self.weight, self.bias, self.eps)
        if self.track_running_stats:
            assert self.running_mean is not None and self.running_var is not None and self.momentum is not None
            assert self.num_batches_tracked is not None
            with torch.no_grad():
                n = rows[..., 0].numel()
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * (n / (n - 1)), self.momentum)
                self.num_batches_tracked.add_(1)
        return y.view(rows.shape).movedim(-1, 1)


class FrameNorm(_Norm, nn.BatchNorm3d):
    """``BatchNorm3d`` for clips whose channels are last in memory, as ``FrameConv`` and ``FramePool`` leave them."""


class ImageNorm(_Norm, nn.BatchNorm2d):
    """``BatchNorm2d`` for images whose channels are last in memory."""


class _Normalise(torch.autograd.Function):
    """Rows `[n, c]` to zero mean and unit variance by channel, scaled and shifted; also returns mean and variance."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean = x.sum(0) / len(x)  # c; a sum over rows is cascaded
        var = (x - mean).square_().sum(0) / len(x)  # c
        scale = torch.rsqrt(var + eps)  # c
        ctx.save_for_backward(x, mean, scale, weight)
        ctx.mark_non_differentiable(mean, var)
        return torch.addcmul(bias - mean * scale * weight, x, scale * weight), mean, var

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale, weight = ctx.saved_tensors
        g = gradients[0].contiguous()  # n c
        dbias = g.sum(0)  # c
        dweight = (x - mean).mul_(g).sum(0) * scale  # c
        slope = scale * weight  # c
        tilt = -slope * scale * dweight / len(x)  # c
        dx = torch.addcmul(-slope * dbias / len(x) - tilt * mean, g, slope).addcmul_(x, tilt)  # n c
        return dx, dweight, dbias, None


def _by_frame(x: Tensor) -> bool:
    """Whether the fast forms are right: under autocast the layers' own type is not the result's."""
    kind = x.device.type
    return kind in ("cpu", "cuda") and x.is_floating_point() and not torch.is_autocast_enabled(kind)


def _products(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A 2-D convolution of one channel, stride 1, no padding, as a matrix product for each frame; for a GPU.

    cuDNN's gradients of such a convolution are slow: of the 5 frames of 247 clips, an H200 takes 9.1 ms forward and
    backward, this way 2.6.

    x `[n, h, w]`, weight `[c, 1, k, k]`, bias `[c]` -> `[n, c, h', w']`, channels last in memory.
    """
    n, c, k = len(x), len(weight), weight.shape[-1]
    patches = x.unfold(1, k, 1).unfold(2, k, 1)  # n h' w' k k
    columns = patches.reshape(n, -1, k * k)  # n h'*w' k*k
    kernels = weight.reshape(c, k * k).T  # k*k c
    out = torch.baddbmm(bias.expand(n, 1, c), columns, kernels.expand(n, k * k, c))  # n h'*w' c
    return out.unflatten(1, patches.shape[1:3]).movedim(-1, 1)


class _FrameConvolution(torch.autograd.Function):
    """A 2-D convolution of one channel, stride 1, no padding, channels last, with a faster gradient of its input.

    That gradient is a convolution of many channels into a single one, for which a CPU's vectors stay nearly empty.
    Here one position of a kernel wider by 3 gives a square of 4 x 4 pixels as 16 channels: two and a half times the
    products, a third of the time.
    """

    _SQUARE = 4

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """x `[n, h, w]`, weight `[c, 1, k, k]`, bias `[c]` -> `[n, c, h', w']`."""
        ctx.save_for_backward(x, weight)
        return F.conv2d(_single_channel(x), weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        g = gradients[0].contiguous(memory_format=torch.channels_last)  # n c h' w'
        need_x, need_weight, need_bias = ctx.needs_input_grad
        dx = dweight = dbias = None
        if need_x:
            s, (c, _, k, _), (h, w) = _FrameConvolution._SQUARE, weight.shape, x.shape[1:]
            wide = weight.new_zeros(s, s, c, k + s - 1, k + s - 1)
            for i in range(s):
                for j in range(s):
                    wide[i, j, :, i : i + k, j : j + k] = weight[:, 0].flip(1, 2)
            over = [-size % s for size in (w, h)]  # up to whole squares
            g_over = F.pad(g, (0, over[0], 0, over[1])) if any(over) else g
            squares = F.conv2d(g_over, wide.flatten(0, 1), stride=s, padding=k - 1)  # n s*s h/s w/s
            dx = F.pixel_shuffle(squares, s)[:, 0, :h, :w]
        if need_weight:
            dweight = torch.ops.aten.convolution_backward(
                g, _single_channel(x), weight, None, (1, 1), (0, 0), (1, 1), False, (0, 0), 1, (False, True, False)
            )[1]
        if need_bias:
            dbias = g.permute(0, 2, 3, 1).flatten(1).sum(0).view(-1, len(weight)).sum(0)  # in the order of memory
        return dx, dweight, dbias


def _single_channel(x: Tensor) -> Tensor:
    """`[n, h, w]` -> `[n, 1, h, w]` whose strides say that channels are last; PyTorch asks them, not the shape."""
    return x.contiguous()[..., None].permute(0, 3, 1, 2)
