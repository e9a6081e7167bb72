"""Controls for the question whether the LLM helps: what takes a part's place, or spoils what a part is given.

None is in the paper. Attention layer and transformer block in the LLM's place, and shuffled input, are those of Tan et
al. ("Are Language Models Actually Useful for Time Series Forecasting?", NeurIPS 2024: LLM2Attn, LLM2Trsf); the
variants' names are in ``model.VARIANTS``.
"""

from typing import Any

import torch
from torch import Tensor, nn

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


class Attention(nn.Module):
    """One self-attention layer in the LLM's place (LLM2Attn), trained, read at the last position.

    As Tan et al. have it: the layer's output is added to its input, and a layer norm follows. It has the LLM's width,
    number of heads and input, the frozen embeddings of the prompt included, but neither positions nor dropout. The last
    position sees all others, so that it alone is computed. Float32, whatever the LLM's type.

    Args:
        prompt: embeddings `[p, d]`.
        heads: number of heads; d is a multiple of it.
        token_order: "visual-first" or "prompt-first".
    """

    prompt: Tensor

    def __init__(self, prompt: Tensor, heads: int, token_order: str) -> None:
        super().__init__()
        self.token_order = token_order
        self.register_buffer("prompt", prompt.detach().float(), persistent=False)
        self._layers(prompt.shape[1], heads)

    def _layers(self, d: int, heads: int) -> None:
        self.attention = nn.MultiheadAttention(d, heads, batch_first=True)
        self.norm = nn.LayerNorm(d)

    def _last(self, x: Tensor) -> Tensor:
        """`[b, n, d]` -> `[b, d]`, of the last position."""
        last = x[:, -1:]
        return self.norm(last + self.attention(last, x, x, need_weights=False)[0])[:, 0]

    def forward(self, token: Tensor) -> Tensor:
        """visual token `[b, d]` -> `[b, d]`."""
        parts = (token[:, None], self.prompt.expand(len(token), -1, -1))
        return self._last(torch.cat(parts if self.token_order == "visual-first" else parts[::-1], 1))


class Block(Attention):
    """One transformer block in the LLM's place (LLM2Trsf), norms first: attention, and an MLP four times as wide as d.

    Other than Tan et al.'s it has norms first, as LLMs do, and no dropout. Arguments are those of ``Attention``.
    """

    def _layers(self, d: int, heads: int) -> None:
        self.block = nn.TransformerEncoderLayer(
            d, heads, dim_feedforward=4 * d, dropout=0, activation="gelu", batch_first=True, norm_first=True
        )

    def _last(self, x: Tensor) -> Tensor:
        return self.block(x)[:, -1]


def mlp(d: int, parameters: int) -> nn.Sequential:
    """An MLP in the LLM's place, token `[b, d]` -> `[b, d]`: linear, GELU, linear, without a way around it.

    Args:
        d: width of the token.
        parameters: how many it has, as nearly as whole hidden units allow (at least one unit).
    """
    hidden = max(1, round((parameters - d) / (2 * d + 1)))
    return nn.Sequential(nn.Linear(d, hidden), nn.GELU(), nn.Linear(hidden, d))


class Blind(nn.Module):
    """The mean of all visual tokens seen so far in training, in the place of every one.

    A batch in training is given the mean of those before it (0 at first), so that nothing tells one clip from another,
    in training and in test. No gradient passes: what makes the tokens cannot train.

    Args:
        d: width of the token.
    """

    mean: Tensor
    seen: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("seen", torch.zeros(()))  # how many tokens

    def forward(self, token: Tensor) -> Tensor:
        """visual token `[b, d]` -> `[b, d]`, all rows the same."""
        before = self.mean.clone()
        if self.training:
            self.seen += len(token)
            self.mean += (token.detach() - self.mean).sum(0) / self.seen
        return before.expand_as(token)
