"""What a model looks at and what its parts do: the paper's Figure 3, LED, the LLM's attention."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aullm_lib import explain
from aullm_lib.clips import ClipStore
from aullm_lib.explain import localisation, probes
from aullm_lib.explain.probes import BEFORE
from aullm_lib.llm import Loaded
from aullm_lib.report.figures.scores import BLUE, GREY, STYLE, wrapped
from aullm_lib.report.tokens import named
from aullm_lib.runs import Run

SMALL = STYLE | {"font.size": 7, "axes.titlesize": 7, "xtick.labelsize": 6, "ytick.labelsize": 6, "axes.linewidth": 0.6}
FREE = SMALL | {"figure.constrained_layout.use": False, "axes.grid": False}
WANTED = ((12,), (4, 15, 17))  # the AUs of the paper's two rows
LEAST = 1.05  # times more or less attention than looking everywhere alike, at which colours end at the earliest


@dataclass(frozen=True)
class Row:
    """One clip of Figure 3. Maps are at least 0, for the frames 1..t-1."""

    title: str
    frames: np.ndarray  # t h w, grey levels
    plain: np.ndarray  # t-1 h w, of the plain 3D-CNN
    ours: np.ndarray  # t-1 h w, of AU-LLM
    se: np.ndarray | None = None  # t-2 c, channel weights
    mask: np.ndarray | None = None  # h w bool, where the clip's AUs act, if that is known


def chosen(table: pd.DataFrame, aus: Sequence[int], subjects: Collection[str]) -> dict[str, list[int]]:
    """The clips for Figure 3, in the order of the table's: clip id -> the AUs that it shows of those given.

    The first clip that shows exactly what the paper's row shows (AU12; AU4+15+17), or the closest: most of those AUs,
    then fewest others. subjects: whose faces may be drawn. Fewer than two rows where there are not enough clips.
    """
    labels = table[table["subject"].isin(list(subjects))].reindex(columns=[f"AU{n}" for n in aus], fill_value=0)
    found: dict[str, list[int]] = {}
    for wanted in WANTED:
        left = labels[labels.any(axis=1)].drop(index=list(found))
        if len(left):
            shared = left[[f"AU{n}" for n in wanted if n in aus]].sum(axis=1)
            best = (100 * shared - left.sum(axis=1)).idxmax()  # the first of equals
            found[str(best)] = [n for n in aus if left.loc[best, f"AU{n}"]]
    return found


def explained(
    full: Run,
    plain: Run,
    store: ClipStore,
    clips: Mapping[str, Sequence[int]],
    *,
    llm: Loaded | None = None,
    root: str | Path | None = None,
) -> list[Row]:
    """The rows of Figure 3, each clip explained by Grad-CAM with the weights that were not trained on its subject.

    full, plain: the runs of AU-LLM and of the plain 3D-CNN on the same AUs. clips: as ``chosen`` gives them. llm: the
    full run's, loaded. root: of the release, if it is synthetic and has masks. Raises as ``explain.models``.
    """
    made = []
    for clip_id, shown in clips.items():
        x = store.sample([clip_id] * len(shown), full.experiment.recipe.frames)
        unit = torch.tensor([full.experiment.aus.index(number) for number in shown])
        (fold, ours), (_, bare) = (explain.held_out(run, clip_id, llm) for run in (full, plain))
        heat, beside = (joined(explain.grad_cam(model, x, unit).cpu().numpy()) for model in (ours, bare))
        names = [f"AU{number}" for number in shown]
        mask = None
        if root is not None:
            mask = localisation.truth(store, root, pd.DataFrame({"clip_id": clip_id, "au": names})).any(0).numpy()
        weights = probes.frame_weights(ours, x[:1])[0].cpu().numpy() if full.experiment.recipe.se else None
        title = f"{clip_id}: {' + '.join(names)} (model of fold {fold})"
        made.append(Row(title, x[0].cpu().numpy(), beside, heat, weights, mask))
    return made


def joined(maps: np.ndarray) -> np.ndarray:
    """Maps of several AUs `[n, t, h, w]`, at least 0 -> one, `[t, h, w]`: each scaled to its top, the largest taken."""
    top = maps.max(axis=(1, 2, 3), keepdims=True)
    return np.max(maps / np.where(top > 0, top, 1), axis=0)


def figure3(rows: Sequence[Row], note: str = "") -> Figure:
    """The paper's Figure 3: (a) frames, (b) the plain 3D-CNN's heat maps, (c) AU-LLM's, (d) SE's weights over time.

    Two lines of frames a clip, two columns of a page wide. A map is drawn over its frames from grey through yellow to
    dark red, as a share of its own top; frame 0 has none. A blue line surrounds where the AUs act. The note also says
    where the ReLUs of SE's bottleneck are dead (``probes.dead_relus``).
    """
    dead = [probes.dead_relus(torch.from_numpy(row.se)) for row in rows if row.se is not None]
    if any(dead):
        share = f"{np.mean(dead):.0%}"
        note += f"\nIn {share} of the steps in (d) SE's bottleneck has only dead ReLUs: all weights are 0.5."
    group, gap, head, left, right = 1.78, 0.02, 0.2, 0.02, 0.38  # inches: a block of frames, and what is around it
    with plt.rc_context(FREE):
        across = -(-max(len(row.frames) for row in rows) // 2)
        side = (group - 0.1) / across - gap
        block = 2 * side + gap
        text = wrapped(note, 155)
        foot = 0.36 + 0.1 * len(text.splitlines())
        width, height = 7.0, 0.2 + len(rows) * (block + head) + foot
        figure = plt.figure(figsize=(width, height))

        def axes(x: float, y: float, w: float, h: float) -> Axes:  # inches from the top left
            return figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))

        def write(x: float, y: float, text: str, **how: Any) -> None:
            figure.text(x / width, 1 - y / height, text, **how)

        weights = [row.se for row in rows if row.se is not None]
        low, high = (float(min(w.min() for w in weights)), float(max(w.max() for w in weights))) if weights else (0, 1)
        last = left + 3 * group + 0.26  # where SE's panels begin
        for i, row in enumerate(rows):
            top = 0.2 + i * (block + head) + head
            write(left, top - 0.05, row.title, fontsize=7)
            for j, maps in enumerate((None, row.plain, row.ours)):
                heat = np.zeros_like(row.frames, float)
                if maps is not None and maps.max() > 0:
                    heat[1:] = maps / maps.max()
                for t, frame in enumerate(row.frames):
                    x, y = left + j * group + t % across * (side + gap), top + t // across * (side + gap)
                    axis = axes(x, y, side, side)
                    axis.imshow(overlaid(frame, heat[t]), interpolation="nearest")
                    if maps is not None and row.mask is not None:
                        axis.contour(row.mask, [0.5], colors=BLUE, linewidths=0.7)
                    axis.set_axis_off()
            if row.se is not None:
                axis = axes(last, top, width - right - 0.15 - last, block)
                image = axis.imshow(
                    row.se.T, aspect="auto", cmap="cividis", interpolation="nearest",
                    vmin=low if high > low else 0, vmax=high if high > low else 1,
                )  # fmt: skip
                steps, channels = row.se.shape
                axis.set_xticks([0, steps - 1], ["1, 2", f"{steps}, {steps + 1}"])
                axis.set_yticks([0, channels - 1], ["1", str(channels)])
                axis.set_ylabel("channel", labelpad=-6)
                axis.spines[["top", "right"]].set_visible(True)
                bar = figure.colorbar(image, cax=axes(width - right - 0.08, top, 0.07, block))
                bar.ax.tick_params(length=1.5, pad=1.5)
                axis.tick_params(length=1.5, pad=1.5)
        headings = ["(a) frames", "(b) plain 3D-CNN", "(c) AU-LLM's backbone", "(d) SE weights over time"]
        for j, heading in enumerate(headings[: 4 if weights else 3]):
            write(left + j * group, 0.13, heading, fontsize=8, weight="bold")
        if weights:
            write((last + width - right - 0.15) / 2, height - foot + 0.2, "frames seen", ha="center", fontsize=6)
        write(left, height - 0.03, text, fontsize=5.5, color=GREY, va="bottom")
    plt.close(figure)
    return figure


def overlaid(frame: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A grey frame with a map, 0 to 1, over it: [h, w, 3]; larger values are more opaque, and darker in print."""
    colours = plt.get_cmap("YlOrRd")(0.15 + 0.85 * heat)[..., :3]
    alpha = 0.85 * np.clip(heat, 0, 1)[..., None] ** 0.8
    return (1 - alpha) * (frame / 255)[..., None] + alpha * colours


def led(
    matrices: Mapping[str, np.ndarray], cycles: np.ndarray, responses: Mapping[str, np.ndarray], note: str = ""
) -> Figure:
    """LED before and after training: its matrix (mean over folds), and what passes of each frequency, a line a fold.

    matrices: ``learned.led_matrices``, as arrays; responses: ``learned.response`` of each, at ``cycles``.
    """
    folds = [name for name in matrices if name != BEFORE]
    mean = {name: np.mean([of[fold] for fold in folds], axis=0) for name, of in (("m", matrices), ("r", responses))}
    with plt.rc_context(SMALL | {"axes.grid": False}):
        figure, panels = plt.subplot_mosaic(
            [["before", "after"], ["response", "response"]], figsize=(3.4, 3.7), height_ratios=(1.2, 1)
        )
        shown = {"before": (BEFORE, matrices[BEFORE]), "after": (f"after, mean of {len(folds)} folds", mean["m"])}
        limit = max(float(np.abs(matrix).max()) for _, matrix in shown.values())
        for panel, (title, matrix) in shown.items():
            axis = panels[panel]
            axis.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
            for (i, j), value in np.ndenumerate(matrix):
                if j >= i:
                    colour = "white" if abs(value) > 0.6 * limit else "black"
                    axis.text(j, i, f"{value:.1f}", ha="center", va="center", fontsize=5, color=colour)
            axis.set_title(title)
            axis.set(xlabel="frame it makes", xticks=range(len(matrix)), yticks=range(len(matrix)))
            axis.tick_params(length=0)
        panels["before"].set_ylabel("frame it reads")
        axis = panels["response"]
        for fold in folds:
            axis.plot(cycles, responses[fold], color=BLUE, lw=0.6, alpha=0.4)
        axis.plot(cycles, mean["r"], color=BLUE, lw=1.6)
        axis.plot(cycles, responses[BEFORE], color="black", lw=1.1, ls="--")
        styles: list[dict[str, Any]] = [
            {"color": "black", "ls": "--"},
            {"color": BLUE, "lw": 1.6},
            {"color": BLUE, "lw": 0.6},
        ]
        axis.legend([Line2D([], [], **style) for style in styles], [BEFORE, "after, mean", "after, a fold"],
                    loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3)  # fmt: skip
        axis.set(xlabel="cycles a sampled frame (0: what does not move)", ylabel="share that passes")
        axis.set(xlim=(0, 0.5), ylim=(0, 1))
        small_print(figure, note)
    plt.close(figure)
    return figure


def llm(tokens: Sequence[str], weights: np.ndarray, note: str = "") -> Figure:
    """The attention of the LLM's last position, `[layers, tokens]`, mean over heads: a line a token, a column a layer.

    Colours say how many times the attention is that of looking everywhere alike, white for once, with one scale for
    more and for less. It spans at least LEAST, so that what hardly differs looks so, and at most the number of tokens,
    which is all attention on one.
    """
    ratio = weights.T * len(tokens)
    labels, said = named(tokens)
    note += f"\nAttention is {ratio.min():.3g} to {ratio.max():.3g} times that of looking everywhere alike. {said}"
    end = max(LEAST, min(len(tokens), max(ratio.max(), 1 / max(ratio.min(), 1 / len(tokens)))))
    with plt.rc_context(SMALL | {"axes.grid": False}):
        figure, axis = plt.subplots(figsize=(3.4, 1))
        small_print(figure, note)
        figure.set_figheight(0.7 + 0.115 * len(tokens) + 0.09 * figure.get_supxlabel().count("\n"))
        drawn = np.clip(ratio, 1 / end, end)
        image = axis.imshow(drawn, aspect="auto", cmap="RdBu_r", norm=LogNorm(1 / end, end), interpolation="nearest")
        axis.set_yticks(range(len(tokens)), labels, fontsize=5.5)
        axis.set_xticks([0, len(weights) - 1] if len(weights) > 1 else [0])
        axis.set_xticklabels(["1", str(len(weights))] if len(weights) > 1 else ["1"])
        axis.set_xlabel("layer of the LLM")
        axis.tick_params(length=0)
        bar = figure.colorbar(image, ax=axis, pad=0.02, aspect=30)
        bar.set_ticks((1 / end, 1, end), labels=[f"{times:.3g}×" for times in (1 / end, 1, end)])
        bar.set_ticks([], minor=True)
        bar.set_label("attention, as a multiple\nof looking everywhere alike")
    plt.close(figure)
    return figure


def small_print(figure: Figure, note: str) -> None:
    """The note of a figure that is one or two columns of a page wide."""
    text = wrapped(note, round(22.5 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=5.5, color=GREY, ha="left", x=0.01)
