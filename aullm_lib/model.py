"""AU-LLM assembled: visual backbone, projector, LLM, linear head (paper 3, Fig. 1), and its ablations by name.

Where this departs, and why: the paper names ``high``, ``mid``, ``efp-`` and ``prompt-learning`` (Table 3) but does not
describe the last; ours is CoOp's (Zhou et al., IJCV 2022): learned context vectors in the place of prompt and visual
token, the LLM frozen and without LoRA, its answer, the same for every clip, added to the visual token before the head.
The other variants take away or exchange one part each and are ours. What trains is LED, CNN, EFP, LoRA (or context
vectors) and head; the LLM's own weights never do.
"""

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from aullm_lib.backbone import VisualBackbone
from aullm_lib.clips import ClipStore
from aullm_lib.controls import Attention, Blind, Block, mlp, ordered
from aullm_lib.efp import EnhancedFusionProjector, matched_width
from aullm_lib.llm import LLMReasoner, Loaded, decoder_config, hidden_size, load
from aullm_lib.recipe import RELEASED, Recipe, switched
from aullm_lib.support import hub

D_PAPER = 1536  # width of the visual token where no LLM says it: that of the paper's three 1.5B models


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a variant is made of."""

    mid: bool = True  # mid-level features reach the projector
    high: bool = True  # high-level features do
    projector: str = "mlp"  # "mlp" (EFP), "linear" (EFP-), "small" (EFP with as many parameters as EFP-) or "none"
    # (features go on as they are)
    llm: str = "lora"  # how it is adapted: "lora", "frozen", "prompts" (learned context); "none" for no LLM, or in its
    # place "attention" or "block" (``controls``) or "mlp" with as many parameters as the LoRA has
    random_llm: bool = False  # the LLM's architecture with random weights
    blind: bool = False  # the mean of the visual tokens takes the place of each
    recipe: Mapping[str, Any] = field(default_factory=dict)  # fields of the recipe that it sets
    subjects: float = 1.0  # share of the training subjects, in (0, 1]
    switch: str = ""  # a field of the recipe that takes the value of the other recipe


VARIANTS: dict[str, Parts] = {
    "all": Parts(),  # the paper's model
    "high": Parts(mid=False),  # Table 3, F_high
    "mid": Parts(high=False),  # Table 3, F_mid
    "efp-": Parts(projector="linear"),  # Table 3, EFP-
    "prompt-learning": Parts(llm="prompts"),  # Table 3, learnable text prompts; the design is ours
    # ours: what the LLM is good for
    "no-llm": Parts(llm="none"),  # the visual token straight to the head
    "frozen-llm": Parts(llm="frozen"),  # the LLM without LoRA
    "random-llm": Parts(random_llm=True),  # random weights, LoRA as ever
    "random-frozen-llm": Parts(llm="frozen", random_llm=True),  # random weights without LoRA
    "llm-to-attention": Parts(llm="attention"),  # one attention layer, trained, in the LLM's place
    "llm-to-block": Parts(llm="block"),  # one transformer block
    "llm-to-mlp": Parts(llm="mlp"),  # an MLP with as many parameters as the LoRA
    "blind": Parts(blind=True),  # the same visual token for every clip: must score as chance does
    "no-prompt": Parts(recipe={"prompt": ""}),  # the visual token alone
    "shuffled-prompt": Parts(recipe={"prompt_control": "shuffled"}),
    "random-prompt": Parts(recipe={"prompt_control": "random"}),
    "unrelated-prompt": Parts(recipe={"prompt_control": "unrelated"}),  # the other language is switch-prompt
    **{f"llm-layers-{k}": Parts(recipe={"llm_layers": k}) for k in (1, 2, 4, 8, 16)},  # the first k, then the norm
    "backbone": Parts(mid=False, projector="none", llm="none"),  # F_high straight to the head
    "3d-cnn": Parts(mid=False, projector="none", llm="none", recipe={"led": "raw", "se": False}),  # Fig. 3b: plain
    "subjects-25": Parts(subjects=0.25),  # a quarter of each fold's training subjects
    "subjects-50": Parts(subjects=0.5),
    # ours: the other parts
    "efp-small": Parts(projector="small"),  # EFP with as many parameters as EFP-: they differ in linearity alone
    "visual-first": Parts(recipe={"token_order": "visual-first"}),
    "visual-last": Parts(recipe={"token_order": "prompt-first"}),
    "no-se": Parts(recipe={"se": False}),
    "raw-frames": Parts(recipe={"led": "raw"}),
    "frame-difference": Parts(recipe={"led": "difference"}),
    "shuffled-frames": Parts(recipe={"frame_order": "shuffled"}),
    "reversed-frames": Parts(recipe={"frame_order": "reversed"}),
    "bce": Parts(recipe={"loss": "bce"}),
    "aumean": Parts(recipe={"reduction": "aumean"}),  # the other reading of Eq. 4
} | {f"switch-{name}": Parts(switch=name) for name in RELEASED}  # ours: the two recipes' differences, one at a time


# what stands in the LLM's place -> ``adapt`` of the reasoner whose prompt, scale and number of weights it takes over
STAND_INS = {"attention": "frozen", "block": "frozen", "mlp": "lora"}


def parts_of(variant: str) -> Parts:
    """What a variant is made of. Raises ValueError for a name that is not in ``VARIANTS``."""
    if variant not in VARIANTS:
        raise ValueError(f"variant={variant!r}: allowed are {', '.join(VARIANTS)}")
    return VARIANTS[variant]


def needs_llm(variant: str) -> bool:
    """Whether a variant has a language model, or a part made after one. Raises ValueError for an unknown one."""
    return parts_of(variant).llm != "none"


def recipe_of(variant: str, recipe: Recipe) -> Recipe:
    """The recipe as the variant changes it. Raises ValueError for an unknown variant, or a recipe that it cannot be."""
    parts = parts_of(variant)
    changed = dataclasses.replace(recipe, **parts.recipe)
    return switched(changed, parts.switch) if parts.switch else changed


def load_llm(variant: str, recipe: Recipe, llm: str | os.PathLike, device: str | torch.device = "cpu") -> Loaded | None:
    """The LLM that a variant needs, as ``llm.load`` gives it for a device; None if it needs none. Raises as that."""
    if not needs_llm(variant):
        return None
    if not llm:
        raise ValueError(f"variant={variant!r} needs an LLM: give llm a checkpoint folder or a hub name")
    random = parts_of(variant).random_llm
    return load(llm, dtype=recipe.llm_dtype, device=device, random_weights=random, layers=recipe.llm_layers)


class AULLM(nn.Module):
    """Clip -> one logit for each AU.

    New weights are drawn from the global torch generator, in the order backbone, projector, LoRA, head: seed it before.

    Args:
        recipe: every choice that the layers take.
        n_aus: number of AUs, at least 1.
        llm: checkpoint folder or hub name, or what ``load_llm`` gave for this variant; variants without an LLM take
            only its width from it, and 1,536 when it is None or "".
        variant: one of ``VARIANTS``; some change the recipe (``recipe_of``).

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
        recipe, parts = recipe_of(variant, recipe), parts_of(variant)
        if parts.llm != "none" and not isinstance(llm, tuple):
            llm = load_llm(variant, recipe, llm or "")
        if parts.llm != "none" and isinstance(llm, tuple):
            count = llm[0].config.get_text_config().num_hidden_layers
            if recipe.llm_layers not in (0, count):
                raise ValueError(f"Recipe.llm_layers={recipe.llm_layers}, but the LLM was loaded with {count} layers")
        self.frame_order = recipe.frame_order
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
            d_mid = self.backbone.d_mid if parts.mid else 0
            width = matched_width(d_mid + self.backbone.d_high, d) if parts.projector == "small" else recipe.efp_hidden
            self.efp = EnhancedFusionProjector(
                d_mid=d_mid,
                d_high=self.backbone.d_high,
                d_llm=d,
                hidden=width or None,
                dropout=recipe.dropout,
                activation=recipe.efp_activation,
                linear=parts.projector == "linear",
            )
        self.blind: Blind | None = None
        if parts.blind:
            self.requires_grad_(False)  # backbone and projector: no gradient reaches them
            self.blind = Blind(d)
        reasoner: LLMReasoner | None = None
        if parts.llm != "none":
            assert llm
            reasoner = LLMReasoner(
                llm,
                prompt=recipe.prompt,
                prompt_control=recipe.prompt_control,
                token_order=recipe.token_order,
                share_prompt=parts.llm not in STAND_INS
                and {"once": True, "each": False, "auto": None}[recipe.prompt_pass],
                context=recipe.context,
                adapter=recipe.adapter,
                lora_r=recipe.lora_r,
                lora_alpha=recipe.lora_alpha,
                lora_dropout=recipe.lora_dropout,
                lora_targets=recipe.lora_targets,
                dtype=recipe.llm_dtype,
                adapt=STAND_INS.get(parts.llm, parts.llm),
            )
        self.scale = 1.0  # of the visual token that stands beside token embeddings
        if recipe.token_scale and reasoner is not None and reasoner.context is None and parts.llm != "mlp":
            self.scale = recipe.token_scale * reasoner.embedding_norm
        self.llm = None if parts.llm in STAND_INS else reasoner
        self.stand_in = _stand_in(parts.llm, reasoner)
        self.head = nn.Linear(d, n_aus)

    def token(self, clips: Tensor) -> Tensor:
        """`[b, t, h, w]` grey levels 0..255, uint8 or float -> what the LLM, or the head, is given: `[b, d]`."""
        features = self.backbone(ordered(clips, self.frame_order, self.training))
        token = features.high if self.efp is None else self.efp(*features)  # b d
        token = token if self.scale == 1 else token * self.scale
        return token if self.blind is None else self.blind(token)

    def total_parameters(self) -> int:
        """The number of parameters, the frozen LLM's included, which are none of this module's own."""
        return sum(p.numel() for p in self.parameters()) + (self.llm.frozen_parameters() if self.llm else 0)

    def forward(self, clips: Tensor) -> Tensor:
        """`[b, t, h, w]` grey levels 0..255, uint8 or float -> logits `[b, n_aus]`."""
        token = self.token(clips)  # b d
        if self.blind is not None and not self.training:
            token = token[:1]  # once for all: some CPUs round other rows of a matrix product otherwise
        logits = self.head(self.stand_in(token) if self.llm is None else self.llm(token))
        return logits.expand(len(clips), -1)  # b n_aus


def _stand_in(kind: str, reasoner: LLMReasoner | None) -> nn.Module:
    """What takes the place of the LLM that a reasoner holds: new layers, or nothing at all."""
    if reasoner is None or kind not in STAND_INS:
        return nn.Identity()
    if kind == "mlp":
        return mlp(reasoner.d, sum(p.numel() for p in reasoner.parameters()))
    model = reasoner.llm
    heads = model.config.get_text_config().num_attention_heads
    layer = Attention if kind == "attention" else Block
    return layer(model.get_input_embeddings()(reasoner.prompt_ids.to(model.device)), heads, reasoner.token_order)


def recipe_type(method: str) -> type[Recipe]:
    """The class of AU-LLM's recipe."""
    return Recipe


def reads_colour(method: str) -> bool:
    """Whether AU-LLM reads RGB frames: it reads grey ones (released script)."""
    return False


def check(experiment: Any, store: ClipStore) -> None:
    """Checks what can be known before training.

    Args:
        experiment: An ``experiment.Experiment`` of AU-LLM.
        store: The clips that it is to be trained on.

    Raises:
        ValueError, FileNotFoundError: The variant is unknown, or the LLM is missing, incomplete or of another kind.
    """
    recipe = recipe_of(experiment.variant, experiment.recipe)
    if needs_llm(experiment.variant):
        decoder_config(experiment.llm, recipe.llm_layers)


def subjects(experiment: Any) -> float:
    """The share of a fold's training subjects that an experiment trains on, in (0, 1]."""
    return parts_of(experiment.variant).subjects


def sources(experiment: Any) -> dict[str, str]:
    """The identity of the LLM's weights, as "llm"; nothing for a variant without an LLM."""
    return {"llm": hub.identity(experiment.llm)} if needs_llm(experiment.variant) else {}


def build(experiment: Any, llm: str | os.PathLike | Loaded | None = None) -> AULLM:
    """A new model of an experiment. llm: In place of the experiment's own, loaded or where it lies now."""
    return AULLM(experiment.recipe, len(experiment.aus), llm=llm or experiment.llm, variant=experiment.variant)
