"""EFP: the Enhanced Fusion Projector, features of two levels -> one visual token (paper 3.2, Eq. 2-3).

Where this departs, and why:
- Eq. 3 ends in a non-linearity sigma that the paper does not name, and the released script has none. ``tanh`` is our
  choice for the paper's reading: zero-centred and bounded, it keeps both signs, as token embeddings have. ``none`` is
  the script's.
- The hidden width is the script's, half of what goes in and comes out together: 6,080 at d_llm = 1,536, so that the
  projector alone has about 74 M parameters. Dropout after the ReLU is the script's as well.
- ``linear=True`` is Table 3's EFP-: one linear layer, and no sigma, which would make it non-linear again. It has 16 M
  parameters, so that EFP against EFP- compares sizes, too; an MLP of ``matched_width`` has as many as EFP-.
"""

import torch
from torch import Tensor, nn

ACTIVATIONS: dict[str, type[nn.Module]] = {"none": nn.Identity, "tanh": nn.Tanh, "gelu": nn.GELU, "relu": nn.ReLU}


class EnhancedFusionProjector(nn.Module):
    """Fuse mid-level and high-level features into one token for the LLM.

    Args:
        d_mid, d_high: widths of the flattened levels; 0 leaves that level out (Table 3's F_high and F_mid), not both.
        d_llm: width of the LLM's embeddings.
        hidden: width of the hidden layer; None: half of input and output together.
        dropout: after the hidden layer, in [0, 1).
        activation: sigma of Eq. 3, one of ``ACTIVATIONS``.
        linear: replace the MLP by one linear layer (EFP-); hidden, dropout and activation then mean nothing.

    Raises:
        ValueError: an unknown activation, or no level left.
    """

    def __init__(
        self,
        *,
        d_mid: int,
        d_high: int,
        d_llm: int,
        hidden: int | None = None,
        dropout: float = 0.3,
        activation: str = "tanh",
        linear: bool = False,
    ) -> None:
        super().__init__()
        d_cat = d_mid + d_high
        if d_cat < 1:
            raise ValueError("d_mid and d_high are both 0: nothing to project")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation={activation!r}: allowed are {', '.join(ACTIVATIONS)}")
        self.d_mid, self.d_high = d_mid, d_high
        width = (d_cat + d_llm) // 2 if hidden is None else hidden
        self.mlp = (
            nn.Linear(d_cat, d_llm)
            if linear
            else nn.Sequential(
                nn.Linear(d_cat, width),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Linear(width, d_llm),
                ACTIVATIONS[activation](),
            )
        )

    def forward(self, mid: Tensor, high: Tensor) -> Tensor:
        """mid `[b, c, t, h, w]`, high `[b, d_high]` -> visual token `[b, d_llm]`."""
        levels = [f.flatten(1) for f, d in ((mid, self.d_mid), (high, self.d_high)) if d]
        return self.mlp(torch.cat(levels, dim=1))  # b d_cat -> b d_llm


def matched_width(d_cat: int, d_llm: int) -> int:
    """The hidden width at which the MLP has as many parameters as the linear form, to within half a hidden unit.

    Args:
        d_cat: width of all that goes in.
        d_llm: width of what comes out.

    Returns:
        1,342 at the paper's widths (10,624 and 1,536), where the MLP of the paper has 6,080; at least 1.
    """
    return max(1, round(d_cat * d_llm / (d_cat + 1 + d_llm)))
