"""Losses on logits: Asymmetric Loss (paper 3.4, Eq. 4), what the released script makes of it, and plain BCE.

    asl           -[ y (1-p)^g+ log p  +  (1-y) p_m^g- log(1-p_m) ],   p_m = max(p - clip, 0)
    asl_released  the same, but p_m^g- is replaced by min(1 - p + clip, 1)^g-, and neither weight has a gradient
    bce           gammas and clip 0

Where this departs, and why:
- Eq. 4 does not say what p_m is; it is the shifted probability of the ASL paper [15], clip 0.05 as in the script.
- Gradients flow through the focusing weights, since Eq. 4 is what is minimised. The public reference can switch that
  off globally and leaves it on in its default form.
- The script's gradient is exactly that of BCE whose negative probability is shifted by clip: its weight is multiplied
  in while gradients are off. `asl_released` reproduces value and gradient.
- The reference floors probabilities at 1e-8 before the logarithm, which stops the gradient of the worst mistakes; here
  the logarithms are taken from the logits and stay exact. Half-precision logits are computed in fp32.
- Eq. 4 averages over samples and sums over AUs: reduction "batchmean". The script sums over both: "sum".
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCTIONS = ("sum", "mean", "batchmean", "none")
LOSSES = ("asl", "asl_released", "bce")
_FLOOR = 1e-8  # under a power, so that x^g has a finite derivative at 0 for g < 1


class AsymmetricLoss(nn.Module):
    """Asymmetric loss for multi-label targets.

    Args:
        gamma_pos, gamma_neg: focusing exponents of the two kinds of samples, at least 0.
        clip: shift of the negatives' probability, in [0, 1).
        reduction: "sum", "mean" (over all entries), "batchmean" (sum over AUs, mean over samples: Eq. 4) or "none".
        released: the released script's value and gradient.

    Raises:
        ValueError: a value outside its range, or logits and targets of different shapes.
    """

    def __init__(
        self,
        *,
        gamma_pos: float = 0.0,
        gamma_neg: float = 4.0,
        clip: float = 0.05,
        reduction: str = "batchmean",
        released: bool = False,
    ) -> None:
        super().__init__()
        if gamma_pos < 0 or gamma_neg < 0 or not 0 <= clip < 1:
            raise ValueError(f"need gammas >= 0 and 0 <= clip < 1; got {gamma_pos=}, {gamma_neg=}, {clip=}")
        if reduction not in REDUCTIONS:
            raise ValueError(f"reduction={reduction!r}: allowed are {', '.join(REDUCTIONS)}")
        self.gamma_pos, self.gamma_neg, self.clip = gamma_pos, gamma_neg, clip
        self.reduction, self.released = reduction, released

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """logits and 0/1 targets `[b, n_aus]` -> a scalar, or `[b, n_aus]` with reduction "none"."""
        if logits.shape != targets.shape:
            raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(targets.shape)} differ in shape")
        x = logits if logits.dtype == torch.float64 else logits.float()  # b n
        y = targets.to(x.dtype)  # b n
        q = torch.sigmoid(-x)  # b n: 1 - p, without the cancellation
        log_p = F.logsigmoid(x)  # b n
        # log min(1 - p + clip, 1)
        log_q = torch.log(q + self.clip).clamp(max=0) if self.clip else F.logsigmoid(-x)  # b n

        loss_pos, loss_neg = -y * log_p, -(1 - y) * log_q  # b n
        w_pos = q.clamp(min=_FLOOR) ** self.gamma_pos  # b n
        if self.released:
            w_neg = (q + self.clip).clamp(max=1) ** self.gamma_neg  # b n
        else:
            w_neg = (torch.sigmoid(x) - self.clip).clamp(min=_FLOOR) ** self.gamma_neg  # b n
        loss = w_pos * loss_pos + w_neg * loss_neg  # b n
        if self.released:  # the weighted value, the unweighted gradient
            plain = loss_pos + loss_neg
            loss = plain + (loss - plain).detach()

        if self.reduction == "none":
            return loss
        total = loss.mean() if self.reduction == "mean" else loss.sum()
        return total / len(loss) if self.reduction == "batchmean" else total


def build(
    name: str,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
    reduction: str = "batchmean",
) -> AsymmetricLoss:
    """The loss called `name`, one of `LOSSES`; "bce" ignores gammas and clip. Raises ValueError for another name."""
    if name not in LOSSES:
        raise ValueError(f"loss={name!r}: allowed are {', '.join(LOSSES)}")
    if name == "bce":
        gamma_pos = gamma_neg = clip = 0.0
    return AsymmetricLoss(
        gamma_pos=gamma_pos,
        gamma_neg=gamma_neg,
        clip=clip,
        reduction=reduction,
        released=name == "asl_released",
    )
