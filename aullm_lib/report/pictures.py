"""Pictures of clips and of what the model makes of them: arrays in, a matplotlib figure out."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aullm_lib.report.figures import GREY, ORANGE, PALETTE, STYLE


def film(
    rows: Mapping[str, np.ndarray], columns: Sequence[str], *, signed: Sequence[str] = (), note: str = ""
) -> Figure:
    """Rows of small images [n, H, W], labelled; rows named in ``signed`` are drawn in blue-white-red around zero.

    A signed image's colours end at the 98th percentile of its own magnitudes, so that a blink does not hide the rest.
    """
    with plt.rc_context(STYLE | {"axes.grid": False}):
        across = max(len(images) for images in rows.values())
        figure, axes = plt.subplots(
            len(rows), across, figsize=(1.15 * across + 1.2, 1.2 * len(rows) + 0.45), squeeze=False
        )
        for line, (name, images) in zip(axes, rows.items(), strict=True):
            for j, axis in enumerate(line):
                axis.set_axis_off()
                if j < len(images):
                    limit = max(float(np.quantile(np.abs(images[j]), 0.98)), 1e-6)
                    colours = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit} if name in signed else {
                        "cmap": "gray", "vmin": 0, "vmax": 255}  # fmt: skip
                    axis.imshow(images[j], **colours, interpolation="nearest")
            line[0].text(-0.08, 0.5, name, transform=line[0].transAxes, ha="right", va="center")
        for axis, title in zip(axes[0], columns, strict=False):
            axis.set_title(title, fontsize=8)
        figure.supxlabel(note, fontsize=7.5, color=GREY)
    plt.close(figure)
    return figure


def alignment(
    samples: Mapping[str, tuple[np.ndarray, tuple[int, int, int, int] | None, np.ndarray]], note: str = ""
) -> Figure:
    """What was cut out of each frame: title -> (frame, its box (left, top, width, height), the stored one)."""
    with plt.rc_context(STYLE | {"axes.grid": False}):
        figure, axes = plt.subplots(2, len(samples), figsize=(2.1 * len(samples), 3.6), squeeze=False)
        for (above, below), (title, (frame, box, stored)) in zip(axes.T, samples.items(), strict=True):
            above.imshow(frame, cmap="gray", vmin=0, vmax=255)
            if box is not None:
                above.add_patch(plt.Rectangle(box[:2], *box[2:], fill=False, edgecolor=ORANGE, lw=1.5))
            below.imshow(stored, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            above.set_title(title, fontsize=8)
            for axis in (above, below):
                axis.set_axis_off()
        figure.supxlabel(note, fontsize=7.5, color=GREY)
    plt.close(figure)
    return figure


def pipeline(
    frames: np.ndarray,
    filtered: np.ndarray,
    boxes: Sequence[tuple[str, str]],
    probabilities: pd.Series,
    truth: Sequence[str],
    note: str = "",
) -> Figure:
    """The way of one clip through the model (paper Fig. 1), from left to right.

    frames: the sampled frames [T, H, W], 0..255; filtered: after LED, [T - 1, H, W]; boxes: (part, what it hands on);
    probabilities: an AU each, 0 to 1; truth: the AUs that the clip shows, drawn darker.
    """
    with plt.rc_context(STYLE | {"axes.grid": False, "figure.constrained_layout.use": False}):
        figure = plt.figure(figsize=(11, 2.7))
        limit = max(float(np.abs(filtered).max()), 1e-6)
        for row, (images, name) in enumerate(((frames, "six frames, 64×64"), (filtered, "after LED (Eq. 1)"))):
            for i, image in enumerate(images):
                at = (0.01 + 0.034 * (i + row), 0.5 - 0.42 * row + 0.012 * i, 0.085, 0.35)
                axis = figure.add_axes(at, zorder=i + 1)
                axis.imshow(
                    image, cmap="RdBu_r" if row else "gray", vmin=-limit if row else 0, vmax=limit if row else 255
                )
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set(visible=True, color="white", linewidth=0.8)
            figure.text(0.15, 0.955 if not row else 0.03, name, ha="center", fontsize=8.5)
        left, width = 0.33, 0.44 / len(boxes)
        canvas = figure.add_axes((0, 0, 1, 1), zorder=0)
        canvas.set_axis_off()
        canvas.set(xlim=(0, 1), ylim=(0, 1))
        for i, (part, hands_on) in enumerate(boxes):
            x = left + i * width
            colour = PALETTE[i % len(PALETTE)]
            canvas.annotate("", (x, 0.5), (x - 0.26 * width, 0.5), arrowprops={"arrowstyle": "-|>", "color": GREY})
            canvas.add_patch(plt.Rectangle((x, 0.32), 0.72 * width, 0.36, facecolor=colour + "22", edgecolor=colour))
            canvas.text(x + 0.36 * width, 0.5, part, ha="center", va="center", fontsize=8)
            canvas.text(x + 0.36 * width, 0.27, hands_on, ha="center", va="top", fontsize=7.5, color=GREY)
        end = left + len(boxes) * width
        canvas.annotate("", (end, 0.5), (end - 0.26 * width, 0.5), arrowprops={"arrowstyle": "-|>", "color": GREY})
        axis = figure.add_axes((0.835, 0.2, 0.155, 0.68))
        colours = [ORANGE if au in truth else "#c9c9c9" for au in probabilities.index]
        axis.barh(probabilities.index, probabilities, color=colours, height=0.7)
        axis.invert_yaxis()
        axis.axvline(0.5, color=GREY, lw=0.8, ls=":")
        axis.set(xlim=(0, 1), xlabel="probability", title="orange: AUs of the clip")
        axis.title.set_fontsize(8)
        axis.tick_params(labelsize=7.5, length=0)
        figure.text(0.33, 0.03, note, fontsize=7.5, color=GREY)
    plt.close(figure)
    return figure
