"""AU-LLM assembled: visual backbone, projector, LLM, linear head (paper 3, Fig. 1), and its ablations by name.

Where this departs, and why: the paper names `high`, `mid` and `efp-` (Table 3); the other variants take away one part
each and are ours. What trains is LED, CNN, EFP, LoRA and head; the LLM's own weights never do.
"""

import os
from dataclasses import dataclass

from torch import Tensor, nn

from aullm_lib.backbone import VisualBackbone
from aullm_lib.efp import EnhancedFusionProjector
from aullm_lib.llm import LLMReasoner, Loaded, hidden_size, load
from aullm_lib.recipe import Recipe

D_PAPER = 1536  # width of the visual token where no LLM says it: that of the paper's three 1.5B models


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a variant is made of."""

    mid: bool = True  # mid-level features reach the projector
    high: bool = True  # high-level features do
    projector: str = "mlp"  # "mlp" (EFP), "linear" (EFP-) or "none" (features go on as they are)
    llm: str = "lora"  # "lora", "frozen" or "none"


VARIANTS: dict[str, Parts] = {
    "all": Parts(),  # the paper's model
    "high": Parts(mid=False),  # Table 3, F_high
    "mid": Parts(high=False),  # Table 3, F_mid
    "efp-": Parts(projector="linear"),  # Table 3, EFP-
    "no-llm": Parts(llm="none"),  # ours: the visual token straight to the head
    "frozen-llm": Parts(llm="frozen"),  # ours: the LLM without LoRA
    "backbone": Parts(mid=False, projector="none", llm="none"),  # ours: F_high straight to the head
}


def needs_llm(variant: str) -> bool:
    """Whether a variant of `VARIANTS` has a language model. Raises ValueError for another name."""
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r}: allowed are {', '.join(VARIANTS)}")
    return VARIANTS[variant].llm != "none"


class AULLM(nn.Module):
    """Clip -> one logit for each AU.

    New weights are drawn from the global torch generator, in the order backbone, projector, LoRA, head: seed it before.

    Args:
        recipe: every choice that the layers take.
        n_aus: number of AUs, at least 1.
        llm: checkpoint folder or hub name, or the `(model, tokenizer)` of `llm.load`; variants without an LLM take
            only its width from it, and 1,536 when it is None or "".
        variant: one of `VARIANTS`.

    Raises:
        ValueError: an unknown variant, no AU, or no LLM for a variant that needs one.
        FileNotFoundError: the checkpoint is missing or incomplete.
    """

    def __init__(
        self,
        recipe: Recipe,
        n_aus: int,
        llm: str | os.PathLike | Loaded | None = None,
        variant: str = "all",
    ) -> None:
        super().__init__()
        if n_aus < 1:
            raise ValueError(f"n_aus={n_aus}: at least 1")
        if needs_llm(variant):
            if not llm:
                raise ValueError(f"variant={variant!r} needs an LLM: give llm a checkpoint folder or a hub name")
            llm = llm if isinstance(llm, tuple) else load(llm, dtype=recipe.llm_dtype)
        parts = VARIANTS[variant]
        self.backbone = VisualBackbone(
            frames=recipe.frames,
            size=recipe.size,
            led=recipe.led,
            led_alpha=recipe.led_alpha,
            led_r1=recipe.led_r1,
            led_r2=recipe.led_r2,
            led_eps=recipe.led_eps,
            dropout=recipe.dropout,
            se=recipe.se,
            se_reduction=recipe.se_reduction,
            d_high=256 if parts.high else 0,
        )
        self.efp: EnhancedFusionProjector | None = None
        d = self.backbone.d_high
        if parts.projector != "none":
            d = hidden_size(llm) if llm else D_PAPER
            self.efp = EnhancedFusionProjector(
                d_mid=self.backbone.d_mid if parts.mid else 0,
                d_high=self.backbone.d_high,
                d_llm=d,
                hidden=recipe.efp_hidden or None,
                dropout=recipe.dropout,
                activation=recipe.efp_activation,
                linear=parts.projector == "linear",
            )
        self.llm: LLMReasoner | None = None
        if parts.llm != "none":
            assert llm
            self.llm = LLMReasoner(
                llm,
                prompt=recipe.prompt,
                token_order=recipe.token_order,
                lora_r=recipe.lora_r,
                lora_alpha=recipe.lora_alpha,
                lora_dropout=recipe.lora_dropout,
                lora_targets=recipe.lora_targets,
                dtype=recipe.llm_dtype,
                adapt=parts.llm,
            )
        self.head = nn.Linear(d, n_aus)

    def forward(self, clips: Tensor) -> Tensor:
        """`[b, t, h, w]` grey levels 0..255, uint8 or float -> logits `[b, n_aus]`."""
        features = self.backbone(clips)
        token = features.high if self.efp is None else self.efp(*features)  # b d
        token = token if self.llm is None else self.llm(token)  # b d
        return self.head(token)  # b n_aus
