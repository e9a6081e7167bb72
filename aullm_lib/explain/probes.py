"""The parts of a trained model: SE's channel weights over time (paper Fig. 3d), LED, the LLM's attention, its signal.

The signal is how much of the vectors that the head reads differs between clips: their spread divided by their norm
(``engine.probe.measure`` says how both are measured, and measures any model anew).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aullm_lib import explain, trained
from aullm_lib.backbone import SqueezeExcitation
from aullm_lib.clips import ClipStore
from aullm_lib.explain import sanity
from aullm_lib.explain.maps import AT_ONCE
from aullm_lib.led import LED
from aullm_lib.llm import Loaded, reason
from aullm_lib.model import AULLM
from aullm_lib.runs import Run
from aullm_lib.support.randomness import fold_seed

VISUAL = "visual token"
PART = "…"  # a token that holds only a part of a character
BEFORE = "before training"
ORDERS = 8  # random orders of a clip's frames that its own is compared with
WEAK = 0.05
"""Below it a signal is called weak: less than half of what an untrained model gives.

Measured before training on a synthetic release with SmolLM2-135M, the prompt first and last: pretrained 0.25 and 0.11,
random weights 0.18 and 0.68.
"""


def frame_weights(model: AULLM, clips: Tensor) -> Tensor:
    """The SE layer's channel weights over time (paper Fig. 3d): `[b, t-2, c]` in (0, 1); a step covers two frames.

    Raises:
        ValueError: The model has no SE.
    """
    se = model.backbone.se
    if not isinstance(se, SqueezeExcitation):
        raise ValueError("this model has no squeeze-and-excitation layer (Recipe.se=False)")
    outputs: list[Tensor] = []
    handle = se.gate.register_forward_hook(lambda gate, inputs, output: outputs.append(output))
    try:
        with torch.no_grad():
            model.backbone(clips.to(model.head.weight))
    finally:
        handle.remove()
    return outputs[0]


def dead_relus(channel_weights: Tensor) -> float:
    """The share of steps at which every ReLU of SE's bottleneck is 0 (dead), so that all its weights are exactly 0.5.

    The bottleneck has 4 neurons without bias (64 channels, reduction 16): training may leave them dead, and SE then
    halves every channel.
    """
    return (channel_weights == 0.5).all(-1).double().mean().item()


def se_dynamics(run: Run, store: ClipStore, llm: Loaded | None = None, *, seed: int = 0) -> pd.DataFrame:
    """How much SE's channel weights vary within a held-out clip, beside the same clip with its frames shuffled in time.

    That weights vary at all says little, since any clip that moves makes them do so. With shuffled frames the same grey
    levels come in another order: what is above that follows the movement's course. Frame 0 stays where it is, for it is
    LED's reference, which the CNN never sees; another reference changes how large movements are, not their order. LED
    and the convolutions pass some of that on to any SE, hence the same of the architecture with randomised weights.

    Args:
        run: Of AU-LLM, with weights; each clip goes through the model that was not trained on it.
        store: Of the clips.
        llm: The run's, loaded.
        seed: Of orders and randomised weights, for each fold anew.

    Returns:
        One row per clip: fold, clip_id, subject; ``sd``, the standard deviation over time of a channel's weight (0 to
        0.5), as a root mean square over the channels; ``shuffled``, the same with shuffled frames, the mean of
        ``ORDERS``; ``randomised`` and ``randomised_shuffled``, both with randomised weights; ``dead``, the share of
        steps with dead ReLUs (``dead_relus``). SE that is constant has 0 in ``sd`` and ``shuffled``.

    Raises:
        ValueError: The model has no SE; otherwise as ``explain.models``.
    """
    clips, parts = run.predictions().drop_duplicates("clip_id"), []
    for fold, model in explain.models(run, llm):
        part = clips.loc[clips["fold"] == fold, ["fold", "clip_id", "subject"]]
        x = store.sample(list(part["clip_id"]), run.experiment.recipe.frames)  # b t h w
        generator = torch.Generator().manual_seed(fold_seed(seed, f"{fold}, frames in time"))
        keys = torch.rand(len(x), ORDERS, x.shape[1] - 1, generator=generator)
        orders = F.pad(1 + keys.argsort(-1), (1, 0))  # b o t
        both = torch.cat([x[:, None], x[torch.arange(len(x))[:, None, None], orders]], 1)  # b 1+o t h w
        randomised = explain.randomised(run.experiment, llm, seed=fold_seed(seed, f"{fold}, random weights"))
        weights = [_in_orders(one, both) for one in (model, randomised.to(model.head.weight.device))]
        sd, other = (of.var(2, correction=0).mean(-1).sqrt().numpy() for of in weights)  # b 1+o
        columns = {"sd": sd[:, 0], "shuffled": sd[:, 1:].mean(1), "randomised": other[:, 0]}
        columns |= {
            "randomised_shuffled": other[:, 1:].mean(1),
            "dead": [dead_relus(clip) for clip in weights[0][:, 0]],
        }
        parts.append(part.assign(**columns))
    return pd.concat(parts, ignore_index=True)


def _in_orders(model: AULLM, clips: Tensor) -> Tensor:
    """``frame_weights`` of clips in several orders, `[b, o, t, h, w]` -> `[b, o, t-2, c]`, float64 on the CPU."""
    weights = [frame_weights(model, part).cpu() for part in clips.flatten(0, 1).split(AT_ONCE)]
    return torch.cat(weights).double().unflatten(0, clips.shape[:2])


def se_compared(dynamics: pd.DataFrame) -> pd.DataFrame:
    """Whether SE's weights vary more over time in the clips' own order, and whether training made them do so.

    Args:
        dynamics: Of ``se_dynamics``.

    Returns:
        The ``sanity.family`` of two differences: in the clips' own order less shuffled frames, and that less the same
        with randomised weights. Percent are of each model's mean with shuffled frames: how much SE's weights vary
        differs between models, and is tenths of a percent.
    """
    subject = dynamics["subject"]
    ours, other = (
        dynamics[[one, shuffled]] / (dynamics[shuffled].mean() or 1.0)
        for one, shuffled in (("sd", "shuffled"), ("randomised", "randomised_shuffled"))
    )
    gain, without = ours["sd"] - ours["shuffled"], other["randomised"] - other["randomised_shuffled"]
    lines = {
        "shuffled frames": pd.DataFrame({"subject": subject, "a": ours["sd"], "b": ours["shuffled"]}),
        "that with randomised weights": pd.DataFrame({"subject": subject, "a": gain, "b": without}),
    }
    measure = "SD of SE's weights over time, relative"
    return sanity.family({(measure, key): sanity.difference(of) for key, of in lines.items()}, ["measure", "against"])


def signal(run: Run) -> pd.DataFrame:
    """What training recorded of the signal: ``Run.probe``, with the columns token_signal and hidden_signal.

    A signal is the spread between clips divided by the norm, 0 (every clip gives the same vector) to 1 and more.
    Without an LLM the head reads the visual token, and there is no hidden_signal.

    Raises:
        FileNotFoundError: As ``Run.probe``.
    """
    frame = run.probe()
    parts = [part for part in ("token", "hidden") if f"{part}_norm" in frame]
    return frame.assign(**{f"{part}_signal": frame[f"{part}_spread"] / frame[f"{part}_norm"] for part in parts})


def verdict(run: Run) -> str:
    """The signal of what the head reads, before and after training, in a sentence; where it is weak, a warning too.

    Raises:
        FileNotFoundError: As ``Run.probe``.
    """
    frame = signal(run)
    name, column = ("hidden state", "hidden_signal") if "hidden_signal" in frame else ("visual token", "token_signal")
    middle = frame.drop(columns="fold").groupby("epoch").median()  # over folds
    first, last = middle[column].iloc[[0, -1]]
    text = (
        f"{run.experiment.name}: the {name} that the head reads differs between clips by {100 * last:.2g} % of its "
        f"norm ({100 * first:.2g} % before training)."
    )
    if last >= WEAK:
        return text
    text += f" WARNING: below {100 * WEAK:g} % the head reads nearly the same vector for every clip."
    if name == "hidden state":
        ratio = middle["token_norm"].iloc[-1] / middle["embedding_norm"].iloc[-1]
        text += (
            f" The visual token's norm is {ratio:.2g} times that of the LLM's token embeddings: see Recipe.token_scale."
        )
    return text


def led_matrices(run: Run) -> dict[str, Tensor]:
    """LED's matrix `[t, t]` before training and, by fold, after it. Raises ValueError for a run without LED."""
    explain.require_weights(run)
    recipe, prefix = run.experiment.recipe, "backbone.led."
    led = LED(frames=recipe.frames, alpha=recipe.led_alpha, r1=recipe.led_r1, r2=recipe.led_r2, eps=recipe.led_eps)
    matrices = {BEFORE: led.matrix().detach()}
    for fold in run.folds:
        weights = trained.stored(run.fold(fold) / trained.FILE)
        state = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
        if not state:
            raise ValueError(f"{run.path}: the variant {run.experiment.variant!r} has no LED")
        led.load_state_dict(state)
        matrices[fold] = led.matrix().detach()
    return matrices


def response(matrix: Tensor, cycles: Tensor) -> Tensor:
    """LED's amplitude response in its last frame, by temporal frequency: `[f]`, 0 to 1.

    The last column of the matrix is a filter over the frames; its weights are divided by the sum of their magnitudes,
    as LED normalises grey levels, so alpha cancels.

    Args:
        cycles: `[f]` per sampled frame, 0 (still) to 0.5 (every other frame).
    """
    taps = matrix[:, -1].double()
    phase = 2 * torch.pi * cycles.double()[:, None] * torch.arange(len(taps))  # f t
    return ((taps * torch.cos(phase)).sum(1) ** 2 + (taps * torch.sin(phase)).sum(1) ** 2).sqrt() / taps.abs().sum()


def filters(run: Run) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """``led_matrices`` of a run, 51 frequencies in cycles per sampled frame, and the ``response`` of each matrix there.

    Raises:
        ValueError: As ``led_matrices``.
    """
    matrices, cycles = led_matrices(run), torch.linspace(0, 0.5, 51)
    responses = {name: response(matrix, cycles).numpy() for name, matrix in matrices.items()}
    return {name: matrix.numpy() for name, matrix in matrices.items()}, cycles.numpy(), responses


class Attention(NamedTuple):
    """The attention of the LLM's last position."""

    tokens: list[str]  # of the positions in order; VISUAL for the visual token
    weights: Tensor  # b layers positions; mean over heads, each row sums to 1


def attention(model: AULLM, clips: Tensor, tokenizer: Any) -> Attention:
    """The LLM's attention from its last position to the prompt and the visual token, by layer.

    The prompt may be shared by all clips, as in training: the attention of the last position is the same.

    Args:
        tokenizer: Of the checkpoint, as ``llm.load`` gives it. A token that holds only a part of a character is PART,
            and the token that completes it has the character.

    Raises:
        ValueError: The variant's LLM is not given the visual token, or the LLM hides its attention.
    """
    reasoner = model.llm
    if reasoner is None or reasoner.context is not None:
        raise ValueError("this variant's LLM is not given the visual token: there is no attention to it")
    layers = [m for name, m in reasoner.llm.named_modules() if name.endswith("self_attn")]
    last: dict[int, Tensor] = {}  # of the pass that ends in the last position: a shared prompt has one before it

    def keep(layer: int) -> Callable:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, tuple) and output[1] is not None:
                last[layer] = output[1][:, :, -1].float().mean(1)  # b positions

        return hook

    handles = [module.register_forward_hook(keep(i)) for i, module in enumerate(layers)]
    try:
        with torch.no_grad(), _eager(reasoner.llm):
            reason([reasoner], [model.token(clips.to(model.head.weight))])
    finally:
        for handle in handles:
            handle.remove()
    if not layers or len(last) < len(layers):
        raise ValueError(f"{type(reasoner.llm).__name__} does not show its attention: no weights come out of it")
    words = _pieces(reasoner.prompt_ids.tolist(), tokenizer)
    tokens = [VISUAL, *words] if reasoner.token_order == "visual-first" else [*words, VISUAL]
    return Attention(tokens, torch.stack([last[i] for i in range(len(layers))], 1))


def attention_of(run: Run, store: ClipStore, llm: Loaded) -> Attention:
    """``attention`` of every clip of a run, each with the model that was not trained on it, fold after fold."""
    clip_ids, parts = run.predictions().groupby("fold")["clip_id"].unique(), list[Attention]()
    for fold, model in explain.models(run, llm):
        clips = store.sample(list(clip_ids[fold]), run.experiment.recipe.frames)
        parts.append(attention(model, clips, llm[1]))
    return Attention(parts[0].tokens, torch.cat([part.weights.cpu() for part in parts]))


@contextmanager
def _eager(llm: Any) -> Iterator[None]:
    """Eager attention inside, the only implementation that returns its weights; the model's own again outside."""
    before = llm.config._attn_implementation
    llm.set_attn_implementation("eager")
    try:
        yield
    finally:
        llm.set_attn_implementation(before)


def _pieces(ids: Sequence[int], tokenizer: Any) -> list[str]:
    """The text that each token adds."""
    texts = [tokenizer.decode(ids[: k + 1]).rstrip("\ufffd") for k in range(len(ids))]
    return [now[len(before) :] or PART for before, now in zip(["", *texts], texts, strict=False)]
