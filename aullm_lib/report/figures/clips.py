"""Pictures of clips and of what the model makes of them: arrays in, a matplotlib figure out."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aullm_lib import facs
from aullm_lib.preprocess.alignment import outline
from aullm_lib.report.figures.scores import GREY, ORANGE, PALETTE, STYLE, caption


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
        caption(figure, note)
    plt.close(figure)
    return figure


def contact_sheet(rows: Mapping[str, tuple[str, np.ndarray]], note: str = "") -> Figure:
    """What each AU looks like in one clip: onset, apex, offset, and the apex minus the onset in blue-white-red.

    rows: ``AU<number>`` -> (clip id, its three stored frames [3, H, W], 0..255), two AUs in a line.
    A difference's colours end at the 98th percentile of its own magnitudes; the grey level there is written above.
    """
    with plt.rc_context(STYLE | {"axes.grid": False, "figure.constrained_layout.use": False}):
        across, lines = min(2, len(rows)), -(-len(rows) // 2)
        side, gap, label, group = 0.95, 0.04, 0.37, 4.2  # inches: an image, between two, text above, between two AUs
        colours = "apex − onset: blue darker, red brighter, white unchanged; ± the grey level where its colours end"
        footer = [line for text in (colours, note) for line in textwrap.wrap(text, round(17 * group * across))]
        bottom = 0.13 + 0.13 * len(footer)
        width, height = group * across - 0.05, bottom + lines * (side + label) + 0.22
        figure = plt.figure(figsize=(width, height))
        for i, (au, (clip_id, frames)) in enumerate(rows.items()):
            left = 0.08 + group * (i % across)
            floor = height - 0.22 - (i // across + 1) * (side + label)
            motion = frames[1].astype(float) - frames[0]
            limit = max(float(np.quantile(np.abs(motion), 0.98)), 1.0)
            for j, image in enumerate((*frames, motion)):
                x = left + j * (side + gap)
                axis = figure.add_axes((x / width, floor / height, side / width, side / height))
                axis.set_axis_off()
                low, high = (-limit, limit) if j == 3 else (0, 255)
                axis.imshow(image, cmap="RdBu_r" if j == 3 else "gray", vmin=low, vmax=high, interpolation="nearest")
                if i < across:
                    heading = ("onset", "apex", "offset", "apex − onset")[j]
                    figure.text((x + side / 2) / width, 1 - 0.06 / height, heading, ha="center", va="top", fontsize=8)
            above, right = (floor + side) / height, (left + 4 * side + 3 * gap) / width
            name = f"{au} {facs.NAMES[int(au[2:])]}"
            figure.text(left / width, above + 0.17 / height, name, fontsize=9, weight="bold")
            figure.text(left / width, above + 0.05 / height, clip_id, fontsize=7, color=GREY)
            figure.text(right, above + 0.05 / height, f"±{limit:.0f}", ha="right", fontsize=7, color=GREY)
        figure.text(0.5, 0.05 / height, "\n".join(footer), ha="center", fontsize=7.5, color=GREY)
    plt.close(figure)
    return figure


def alignment(samples: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], note: str = "") -> Figure:
    """What was taken from each frame, outlined in it, and below it the stored frame; four samples in a line.

    samples: title -> (frame [H, W], the matrix [2, 3] from its pixels (x, y) to stored pixels, stored frame [S, S]);
    pixels' centres are whole numbers, as for ``cv2.warpAffine``. Parts of the outline may lie outside the frame.
    Raises ValueError for a matrix that cannot be inverted.
    """
    with plt.rc_context(STYLE | {"axes.grid": False}):
        across = min(4, len(samples))
        lines = -(-len(samples) // across)
        shapes = [frame.shape[0] / frame.shape[1] for frame, _, _ in samples.values()]
        tall = [max(shapes[i : i + across]) for i in range(0, len(shapes), across)]
        figure, axes = plt.subplots(
            3 * lines - 1, across, figsize=(2.1 * across, 2.1 * (sum(tall) + 1.15 * lines) + 0.2), squeeze=False,
            height_ratios=[part for high in tall for part in (high, 0.9, 0.1)][:-1],  # the third keeps lines apart
        )  # fmt: skip
        for axis in axes.flat:
            axis.set_axis_off()
        for i, (title, (frame, matrix, stored)) in enumerate(samples.items()):
            above, below = axes[i // across * 3 :, i % across][:2]
            corners = outline(matrix, len(stored))
            above.imshow(frame, cmap="gray", vmin=0, vmax=255)
            above.add_patch(plt.Polygon(corners, fill=False, edgecolor=ORANGE, lw=1.5))
            points = np.vstack([corners, (-0.5, -0.5), np.array(frame.shape)[::-1] - 0.5])
            edge = 0.01 * max(frame.shape)
            (left, top), (right, low) = points.min(axis=0) - edge, points.max(axis=0) + edge
            above.set(xlim=(left, right), ylim=(low, top), anchor="N")
            below.imshow(stored, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            above.set_title("\n".join(textwrap.wrap(title, 30)), fontsize=8)
        caption(figure, note)
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
