"""The paragraph of a methods section that describes a trained AU-LLM, from its recipe, its layers and its run."""

from torch import nn

from aullm_lib.experiment import Experiment
from aullm_lib.model import AULLM


def paragraph(experiment: Experiment, model: AULLM, subjects: int) -> str:
    """The whole model and its training in sentences.

    Args:
        experiment: Of the variant "all", by leave-one-subject-out.
        model: Its model, of any fold.
        subjects: How many there are.
    """
    recipe, config = experiment.recipe, model.llm.llm.config.get_text_config()  # type: ignore[union-attr]
    first = next(m for m in model.efp.modules() if isinstance(m, nn.Linear))  # type: ignore[union-attr]
    return (
        f"{recipe.frames} grey frames of {recipe.size} × {recipe.size} pixels pass a learnable temporal filter (Eq. 1; "
        f"initially α = {recipe.led_alpha:g}, r1 = {recipe.led_r1:g}, r2 = {recipe.led_r2:g}) and a 3D-CNN with "
        f"squeeze-and-excitation (reduction {recipe.se_reduction}). F_mid ({model.backbone.d_mid:,}) and F_high "
        f"({model.backbone.d_high:,}) are fused by an MLP with {first.out_features:,} hidden units (Eq. 2 and 3; σ: "
        f"{recipe.efp_activation}) into one visual token of a language model with {config.num_hidden_layers} layers of "
        f"width {config.hidden_size:,}, adapted by LoRA (r = {recipe.lora_r}, α = {recipe.lora_alpha:g}; "
        f"{', '.join(recipe.lora_targets)}); the order of tokens is {recipe.token_order}. All together there are "
        f"{model.total_parameters():,} parameters. The loss is {recipe.loss} (Eq. 4; γ+ = {recipe.gamma_pos:g}, γ− = "
        f"{recipe.gamma_neg:g}, margin {recipe.clip:g}, {recipe.reduction}), the optimiser Adam (learning rate "
        f"{recipe.lr:g}, weight decay {recipe.weight_decay:g}, batches of {recipe.batch_size}); the last of "
        f"{recipe.epochs} epochs is used. A model is trained for each of the {subjects} subjects, on all others."
    )
