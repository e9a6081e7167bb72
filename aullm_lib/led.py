"""LED: the Laplacian of Exponential of Difference, a learnable causal temporal filter (paper 3.1, Eq. 1).

Two exponential moving averages with rates r1 and r2 are subtracted and scaled by alpha; the difference is a band-pass
over time that removes what does not move (every column j >= 1 of the matrix sums to 0) and keeps quick changes.

Where this departs, and why:
- Eq. 1 gives the matrix; the "normalized matrix multiplication" of the text is the released script's: the sum over
  |W| weighted frames, plus eps, divides. The first frame is passed through untouched, also as in the script.
- The script stores the logarithms of alpha, r1 and r2, which lets r grow past 1, where (1 - r)^k is no average.
  Here alpha is stored as a logarithm but the rates as logits, so that 0 < r < 1 always. Initial values are the same;
  the gradient that the optimiser sees is dW/dr times r(1 - r) instead of times r.
- alpha is nearly unidentifiable: it cancels in the normalised form wherever eps is negligible.
"""

import math

import torch
from torch import Tensor, nn


class LED(nn.Module):
    """Learnable temporal filter over a clip.

    Args:
        frames: T, at least 2.
        alpha: initial scale, above 0.
        r1, r2: initial rates of the two averages, each in (0, 1); r1 > r2 lets fast change through.
        eps: added to the normaliser, in grey levels times |W|, at least 0 (1e-8 in the released script; 1 elsewhere).

    Raises:
        ValueError: a value outside its range.
    """

    exponent: Tensor
    source: Tensor
    causal: Tensor

    def __init__(
        self, *, frames: int = 6, alpha: float = 10.0, r1: float = 0.4, r2: float = 0.05, eps: float = 1e-8
    ) -> None:
        super().__init__()
        if frames < 2:
            raise ValueError(f"frames={frames}: LED needs at least 2")
        if not (alpha > 0 and 0 < r1 < 1 and 0 < r2 < 1 and eps >= 0):
            raise ValueError(f"LED needs alpha > 0, 0 < r1, r2 < 1, eps >= 0; got {alpha=}, {r1=}, {r2=}, {eps=}")
        self.eps = eps
        self.log_alpha = nn.Parameter(torch.tensor(math.log(alpha)))
        self.logit_r1 = nn.Parameter(torch.tensor(math.log(r1 / (1 - r1))))
        self.logit_r2 = nn.Parameter(torch.tensor(math.log(r2 / (1 - r2))))
        i = torch.arange(frames)[:, None]  # source frame: t 1
        j = torch.arange(frames)[None, :]  # target frame: 1 t
        self.register_buffer("exponent", (j - i).clamp(min=0), persistent=False)  # t t
        self.register_buffer("source", ((i > 0) | (i == j)).int(), persistent=False)  # min(1, i); 1 on the diagonal
        self.register_buffer("causal", j >= i, persistent=False)  # t t

    def matrix(self) -> Tensor:
        """W of Eq. 1, `[t, t]`: row = source frame, column = target frame, upper triangular."""

        def average(logit: Tensor) -> Tensor:  # (1 - r)^(j - i) r^min(1, i)
            return torch.sigmoid(-logit) ** self.exponent * torch.sigmoid(logit) ** self.source  # t t

        difference = average(self.logit_r1) - average(self.logit_r2)  # t t
        return self.log_alpha.exp() * torch.where(self.causal, difference, 0)

    def forward(self, x: Tensor) -> Tensor:
        """Filter `[b, t, h, w]` grey levels (>= 0, uint8 or float) into `[b, t, h, w]`, frame 0 unchanged.

        Values of frames 1.. lie in [-1, 1]. Under autocast it stays in full precision: rounded weights would not sum
        to 0, and what does not move would leak through.
        """
        with torch.autocast(device_type=x.device.type, enabled=False):
            w = self.matrix()[:, 1:]  # t t-1
            x = x.to(w.dtype)  # b t h w
            both = torch.cat([w, w.abs()], dim=1).T @ x.flatten(2)  # b 2(t-1) h*w: one pass over the pixels
            change, norm = both.chunk(2, dim=1)  # b t-1 h*w
            out = (change / (norm + self.eps)).unflatten(2, x.shape[2:])  # b t-1 h w
            return torch.cat([x[:, :1], out], dim=1)  # b t h w


class FrameDifference(nn.Module):
    """Plain difference of neighbouring frames: the filter that LED refines, for the ablation. No parameters."""

    def forward(self, x: Tensor) -> Tensor:
        """`[b, t, h, w]` grey levels -> `[b, t, h, w]`, frame 0 unchanged, then x[t] - x[t - 1] in grey levels."""
        x = x if x.is_floating_point() else x.float()  # b t h w
        return torch.cat([x[:, :1], x.diff(dim=1)], dim=1)  # b t h w
