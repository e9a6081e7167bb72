"""Controls for the question whether the LLM helps: what takes a part's place, or spoils what a part is given.

None is in the paper. Attention layer and transformer block in the LLM's place, and shuffled input, are those of Tan et
al. ("Are Language Models Actually Useful for Time Series Forecasting?", NeurIPS 2024: LLM2Attn, LLM2Trsf); the
variants' names are in ``model.VARIANTS``.
"""

from typing import Any

import torch
from torch import Tensor

FRAME_ORDERS = ("forward", "reversed", "shuffled")
PROMPT_CONTROLS = ("none", "shuffled", "random", "unrelated")

UNRELATED = {  # of about the same length as the recipes' prompts, by whether the prompt has letters beyond ASCII
    True: "请给花园里成熟的番茄浇水，把所有的果实放进篮子里：",
    False: "Water the garden tomatoes to harvest ripe fruit:",
}


def ordered(clips: Tensor, order: str, training: bool) -> Tensor:
    """Clips with their frames in another order.

    A shuffled clip has a random permutation of its own. In training it is drawn from the global torch generator, anew
    each time. In test the frames are sorted by a hash of their pixels (grey levels, rounded): the same for a clip alone
    and in any batch, and the same whichever order the frames came in, so that nothing of it is left.

    Args:
        clips: `[b, t, h, w]` grey levels 0..255.
        order: one of ``FRAME_ORDERS``.
        training: whether to draw.

    Returns:
        `[b, t, h, w]`, of the same type.
    """
    if order == "forward":
        return clips
    if order == "reversed":
        return clips.flip(1)
    if training:
        keys = torch.rand(clips.shape[:2], device=clips.device)  # b t
    else:
        levels = clips.detach().round().long().flatten(2)  # b t h*w
        factors = torch.randint(2**31, levels.shape[2:], generator=torch.Generator().manual_seed(0))
        keys = (levels * factors.to(clips.device)).sum(2) % (2**31 - 1)  # b t; whole numbers: exact on every device
    return clips.take_along_dim(keys.argsort(1)[:, :, None, None], 1)


def prompt_ids(tokenizer: Any, prompt: str, control: str = "none") -> list[int]:
    """The tokens of a prompt, or of what a control makes of it, always the same for a tokenizer and a prompt.

    Tokens that the tokenizer puts around each text (a start token) stay where they are.

    Args:
        tokenizer: of the LLM.
        prompt: text; "" has no token at all.
        control: one of ``PROMPT_CONTROLS``: the prompt as it is; its tokens in a random order; as many random tokens of
            the vocabulary; another text of about its length and in its language (``UNRELATED``).
    """
    if not prompt:
        return []
    ids = tokenizer(UNRELATED[not prompt.isascii()] if control == "unrelated" else prompt)["input_ids"]
    if control in ("none", "unrelated"):
        return ids
    generator, special = torch.Generator().manual_seed(len(ids)), set(tokenizer.all_special_ids)
    words = [token for token in ids if token not in special]
    if control == "shuffled":
        drawn = [words[i] for i in torch.randperm(len(words), generator=generator)]
    else:
        vocabulary = [token for token in range(tokenizer.vocab_size) if token not in special]
        drawn = [vocabulary[i] for i in torch.randint(len(vocabulary), (len(words),), generator=generator)]
    rest = iter(drawn)
    return [token if token in special else next(rest) for token in ids]
