"""The paper's Figure 1, drawn from a live model: its parts in the order of the data, their shapes and parameters.

Nothing is written by hand: shapes are those of a forward pass, parameters are counted, and a variant that lacks a part
has no box for it.
"""

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor, nn

from aullm_lib.clips import ClipStore
from aullm_lib.led import LED
from aullm_lib.model import AULLM
from aullm_lib.report import licence
from aullm_lib.report.figures.canvas import Canvas
from aullm_lib.report.figures.style import BLUE, GREY, NOTE, ORANGE, PAGE, PALE, STYLE, probability_bars, styled
from aullm_lib.runs import Run

WIDTHS = {"clip": 0.74, "LED": 0.6, "3D-CNN": 1.34, "3D-CNN with SE": 1.34, "LLM": 0.92, "head": 0.56}  # inches
ARROW: Any = {"arrowstyle": "-|>", "color": GREY, "lw": 0.8, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}


@dataclass(frozen=True)
class Part:
    """One part of a model: its outputs, as shapes without the batch, and how many parameters it has."""

    name: str
    lines: tuple[str, ...]  # what is in it
    out: dict[str, tuple[int, ...]]
    trained: int = 0
    frozen: int = 0
    tokens: tuple[bool, ...] = ()  # the LLM's input in order: whether a position holds the visual token


def parts(model: AULLM, clips: Tensor) -> list[Part]:
    """The parts of a model in the order of the data, from a forward pass of some clips `[b, t, h, w]`."""
    backbone, shapes = model.backbone, dict[nn.Module, tuple[int, ...]]()
    stages = (backbone.led, backbone.conv1, backbone.pool1, backbone.conv2, backbone.pool2, backbone.fc)
    watched = [module for module in (*stages, model.efp, model.llm) if module]

    def note(module: nn.Module, inputs: Any, output: Tensor) -> None:
        shapes[module] = tuple(output.shape[1:])

    handles = [module.register_forward_hook(note) for module in [*watched, model.head]]
    try:
        with torch.no_grad():
            model(clips.to(model.head.weight))
    finally:
        for handle in handles:
            handle.remove()
    made = [Part("clip", (), {"": tuple(clips.shape[1:])})]
    if backbone.led is not None:
        frames, learned = clips.shape[1], isinstance(backbone.led, LED)
        name, line = ("LED", f"{frames}×{frames} matrix") if learned else ("filter", "differences")
        made.append(Part(name, (line,), {"": shapes[backbone.led]}, *_counted(backbone.led)))
    se, conv1, conv2 = backbone.se, backbone.conv1, backbone.conv2
    lines = [f"conv {_by(conv1.kernel_size)}: {_by(shapes[conv1])}", f"pool: {_by(shapes[backbone.pool1])}"]
    lines += [f"conv {_by(conv2.kernel_size)}: {_by(shapes[conv2])}"]
    if se is not None:
        lines.append(f"SE {se.squeeze.in_features} → {se.squeeze.out_features} → {se.excite.out_features}")
    lines += ["pool"] + [f"linear: {backbone.d_high}"] * (backbone.fc is not None)
    levels = {"F_mid": shapes[backbone.pool2]} | ({"F_high": shapes[backbone.fc]} if backbone.fc is not None else {})
    inner = [module for name, module in backbone.named_children() if name != "led"]
    name = "3D-CNN" if se is None else "3D-CNN with SE"
    made.append(Part(name, tuple(lines), levels, *_counted(*inner)))
    if model.efp is not None:
        linear = [m for m in model.efp.modules() if isinstance(m, nn.Linear)]
        steps = (f"{layer.in_features:,} → {layer.out_features:,}" for layer in linear)
        name = "EFP" if len(linear) > 1 else "projector"
        made.append(Part(name, ("concatenate", *steps), {"visual token": shapes[model.efp]}, *_counted(model.efp)))
    if model.llm is not None:
        config = model.llm.llm.config.get_text_config()
        lines = [type(model.llm.llm).__name__, f"{config.num_hidden_layers} layers", f"width {config.hidden_size:,}"]
        if model.llm.adapter is not None:
            kinds = dict.fromkeys(name.split(".")[-1] for name in model.llm.adapter.names)
            lines += [f"LoRA, rank {model.llm.adapter.config.r}:", ", ".join(kinds)]
        tokens: tuple[bool, ...] = ()
        if model.llm.context is not None:
            lines.append(f"{len(model.llm.context)} learned vectors")
        else:
            prompt = (False,) * len(model.llm.prompt_ids)
            tokens = (True, *prompt) if model.llm.token_order == "visual-first" else (*prompt, True)
        out = {"last hidden state": shapes[model.llm]}
        trained, _ = _counted(model.llm)
        made.append(Part("LLM", tuple(lines), out, trained, model.llm.frozen_parameters(), tokens))
    widths = f"{model.head.in_features:,} → {model.head.out_features}"
    made.append(Part("head", (widths,), {"logits": shapes[model.head]}, *_counted(model.head)))
    return made


def table(model_parts: Iterable[Part]) -> pd.DataFrame:
    """The parts as a table: what is in each, the shapes of its outputs, its parameters."""
    rows = {
        part.name: {
            "holds": "; ".join(part.lines),
            "outputs": "; ".join(f"{name} {_by(shape)}".strip() for name, shape in part.out.items()),
            "trained": part.trained,
            "frozen": part.frozen,
        }
        for part in model_parts
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("part")


def _counted(*modules: nn.Module) -> tuple[int, int]:
    parameters = {id(p): p for module in modules for p in module.parameters()}.values()
    return tuple(sum(p.numel() for p in parameters if p.requires_grad is kind) for kind in (True, False))  # type: ignore[return-value]


def _by(shape: Sequence[int]) -> str:
    return "×".join(f"{n:,}" for n in shape)


def _short(count: int) -> str:
    """6080 -> "6.1 k"."""
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return str(count)


def of_clip(run: Run, model: AULLM, store: ClipStore, clip_id: str, *, face: bool) -> Figure:
    """``figure1`` of a model and one clip of a run, with the probabilities of the fold that had not seen its subject.

    Args:
        model: What is drawn: that fold's, or an untrained one of the same parts.
        face: Whether the clip's frames may be shown.
    """
    predictions, clip = run.predictions(), store.sample([clip_id], run.experiment.recipe.frames)
    tested = predictions[predictions["clip_id"] == clip_id].set_index("au")
    fold, credit = tested["fold"].iloc[0], licence.credit(store.table)
    return figure1(
        parts(model, clip),
        frames=clip[0].cpu().numpy() if face else None,
        probabilities=tested["probability"],
        truth=list(tested.index[tested["label"] == 1]),
        note=f"{credit}\n{clip_id}, model of fold {fold}. {run.path.name}.",
    )


@styled(STYLE)
def figure1(
    model_parts: Sequence[Part], *, frames: np.ndarray | None = None, probabilities: pd.Series | None = None,
    truth: Sequence[str] = (), note: str = "",
) -> Figure:  # fmt: skip
    """The paper's Figure 1, two columns of a page wide; its line says what its colours mean.

    Args:
        model_parts: of ``parts``.
        frames: of the clip [t, h, w], if they may be shown.
        probabilities: of each AU, for that clip.
        truth: the AUs annotated for it, in orange.
    """
    height, middle, tall = 1.92, 0.92, 1.05  # inches; the boxes' middle, from the top, and height
    widths = [WIDTHS.get(part.name, 0.76) for part in model_parts]
    levels = 0.66 if any("F_mid" in part.out for part in model_parts) else 0.0
    last = 0.0 if probabilities is None else 0.8
    gap = (PAGE - 0.07 - sum(widths) - levels - last) / (len(model_parts) - (last == 0))
    bars = ", orange bars: annotated" * (probabilities is not None)
    canvas = Canvas(PAGE, height, f"Orange boxes: trained, grey: frozen, blue: what a part returns{bars}. {note}")
    page = canvas.axes(0, 0, PAGE, canvas.height, xlim=(0, PAGE), ylim=(canvas.height, 0))  # y downwards, in inches
    page.set_axis_off()

    def write(x: float, y: float, text: str, **options: Any) -> None:
        style: dict[str, Any] = {"fontsize": NOTE, "ha": "center", "va": "center", "linespacing": 1.3}
        page.text(x, y, text, **style | options)

    def box(x: float, y: float, w: float, h: float, face: str, edge: str) -> None:
        page.add_patch(FancyBboxPatch((x, y), w, h, "round,pad=0,rounding_size=0.04", fc=face, ec=edge, lw=0.8))

    x, top, bottom = 0.04, middle - tall / 2, middle + tall / 2
    for part, w in zip(model_parts, widths, strict=True):
        centre = x + w / 2
        if part.name == "clip":
            _stack(canvas, frames, part.out[""], x, middle, w)
            write(centre, bottom + 0.06, f"clip\n{_by(part.out[''])}", va="top")
        else:
            page.annotate("", (x, middle), (x - gap, middle), arrowprops=ARROW)
            box(x, top, w, tall, *(("#eeeeee", GREY) if part.frozen else ("#fdf0e6", ORANGE)))
            write(centre, top + 0.11, part.name, fontsize=7, weight="bold")
            write(centre, middle + 0.08, "\n".join(part.lines))
            counts = [f"{_short(part.trained)} trained"] * bool(part.trained)
            counts += [f"{_short(part.frozen)} frozen"] * bool(part.frozen)
            write(centre, bottom + 0.06, "\n".join(counts), va="top", color=GREY)
        if "F_mid" in part.out:
            page.plot([x + w, x + w + levels], [middle, middle], color=GREY, lw=0.8, zorder=0)
            for (name, shape), y in zip(part.out.items(), (middle - 0.36, middle + 0.04), strict=False):
                box(x + w + 0.07, y, levels - 0.1, 0.32, "white", BLUE)
                write(x + w + 0.02 + levels / 2, y + 0.16, f"{name}\n{_by(shape)}")
            w += levels
        elif part.name != "clip":
            label = "\n".join(textwrap.fill(f"{name} {_by(shape)}", 13) for name, shape in part.out.items())
            write(centre, bottom + 0.27, label.strip(), va="top", color=BLUE)
        if part.tokens:
            _tokens(page, part.tokens, x, w, top)
        x += w + gap
    if probabilities is not None:
        page.annotate("", (x, middle), (x - gap, middle), arrowprops=ARROW)
        axis = canvas.axes(x + 0.3, 0.2, last - 0.34, 1.35)
        probability_bars(axis, probabilities, truth)
        axis.set_xticks((0, 0.5, 1), ("0", ".5", "1"))
        axis.tick_params(pad=1.5)
    return canvas.figure


def _stack(
    canvas: Canvas, frames: np.ndarray | None, shape: tuple[int, ...], left: float, middle: float, w: float
) -> None:
    """The clip's frames, one behind the other; empty ones where they may not be shown."""
    side = 0.66 * w
    for t in range(shape[0]):
        back = t / max(1, shape[0] - 1)  # 0 for the first frame, which lies behind
        x, y = left + back * (w - side), middle - side / 2 - (0.5 - back) * 0.4
        axis = canvas.axes(x, y, side, side, zorder=t + 2, facecolor="#dddddd", xticks=[], yticks=[])
        if frames is not None:
            axis.imshow(frames[t], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        axis.spines[:].set(visible=True, color="white", linewidth=0.6)


def _tokens(page: Axes, tokens: Sequence[bool], left: float, w: float, top: float) -> None:
    """The LLM's input as a line of squares over its box, the visual token in orange; of a long prompt its two ends."""
    shown = list(tokens) if len(tokens) <= 14 else [*tokens[:6], None, *tokens[-6:]]
    step = w / len(shown)
    for i, token in enumerate(shown):
        x = left + i * step
        if token is not None:
            colour = ORANGE if token else PALE
            page.add_patch(Rectangle((x + 0.1 * step, top - 0.22), 0.8 * step, 0.09, lw=0, fc=colour))
        else:
            page.text(x + step / 2, top - 0.16, "…", ha="center", va="center", fontsize=NOTE)
    words = [f"{len(tokens) - 1} prompt tokens", "visual token"]
    words = words[::-1] if tokens[0] else words
    page.text(left + w / 2, top - 0.25, ", ".join(words), ha="center", va="bottom", fontsize=NOTE)
    page.annotate("", (left + w / 2, top), (left + w / 2, top - 0.12), arrowprops=ARROW)
