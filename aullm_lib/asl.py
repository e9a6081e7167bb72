"""Losses on logits: Asymmetric Loss (paper 3.4, Eq. 4), what the released script makes of it, and plain BCE.

    asl           -[ y (1-p)^g+ log p  +  (1-y) p_m^g- log(1-p_m) ],   p_m = max(p - clip, 0)
    asl_released  the same, but p_m^g- is replaced by min(1 - p + clip, 1)^g-, and neither weight has a gradient
    bce           gammas and clip 0

Where this departs, and why:
- Eq. 4 does not say what p_m is; it is the shifted probability of the ASL paper [15], clip 0.05 as in the script.
- Gradients flow through the focusing weights, since Eq. 4 is what is minimised. The public reference can switch that
  off globally and leaves it on in its default form.
- The script's gradient is exactly that of BCE whose negative probability is shifted by clip: its weight is multiplied
  in while gradients are off. ``asl_released`` reproduces value and gradient.
- The reference floors probabilities at 1e-8 before the logarithm, which stops the gradient of the worst mistakes; here
  the logarithms are taken from the logits and stay exact. Half-precision logits are computed in fp32.
- Eq. 4 divides by an N and sums over a B that the paper does not define. With N samples and B AUs it is "batchmean"
  (the mean over samples, summed over AUs), our reading; with N AUs and B samples it is "aumean" (the mean over AUs,
  summed over samples). The script sums over both: "sum". The three differ by more than the learning rate: Adam's weight
  decay is added to the gradient, and weighs 256 times as much beside a mean over samples as beside a sum.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

REDUCTIONS = ("sum", "mean", "batchmean", "aumean", "none")
LOSSES = ("asl", "asl_released", "bce")
_FLOOR = 1e-8  # under a power, so that x^g has a finite derivative at 0 for g < 1


class AsymmetricLoss(nn.Module):
    """Asymmetric loss for multi-label targets.

    Args:
        gamma_pos, gamma_neg: focusing exponents of the two kinds of samples, at least 0.
        clip: shift of the negatives' probability, in [0, 1).
        reduction: "sum", "mean" (over all entries), "batchmean" (sum over AUs, mean over samples), "aumean" (mean over
            AUs, sum over samples) or "none"; Eq. 4 may be either of the two before.
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
        return loss.sum() / divisor(self.reduction, *loss.shape)


def divisor(reduction: str, samples: int, aus: int) -> int:
    """What a reduction divides the loss summed over samples and AUs by."""
    return {"sum": 1, "batchmean": samples, "aumean": aus, "mean": samples * aus}[reduction]


def build(
    name: str,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
    reduction: str = "batchmean",
) -> AsymmetricLoss:
    """The loss called ``name``, one of ``LOSSES``; "bce" ignores gammas and clip.

    Raises:
        ValueError: There is no such loss.
    """
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
