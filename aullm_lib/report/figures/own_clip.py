"""Pictures of what the models say of a user's own footage: ``predict``'s results in, a matplotlib figure out."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from aullm_lib.predict.scoring import Clip, Said, Timeline
from aullm_lib.preprocess.alignment import outline
from aullm_lib.report.figures.scores import BLUE, GREY, ORANGE, STYLE

SYNTHETIC = "models trained on a synthetic release: no result on real faces"
HEAT = "inferno"
WIDEST = 800  # columns of a timeline; more windows than that are pooled by their maximum


def heat_over(axis: Axes, frame: np.ndarray, heat: np.ndarray) -> None:
    """A map [H, W] from 0 to 1 laid over its frame [H, W], 0..255: the stronger, the less is seen of the frame."""
    axis.imshow(frame, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axis.imshow(heat, cmap=HEAT, vmin=0, vmax=1, alpha=0.6 * np.clip(heat, 0, 1), interpolation="nearest")


def outlined(axis: Axes, frame: np.ndarray, matrix: np.ndarray, size: int) -> None:
    """A frame [H, W], 0..255, and in it the outline of what was aligned to [size, size]."""
    corners = outline(matrix, size)
    axis.imshow(frame, cmap="gray", vmin=0, vmax=255)
    axis.add_patch(plt.Polygon(corners, fill=False, edgecolor=ORANGE, lw=1.5))
    points = np.vstack([corners, (-0.5, -0.5), np.array(frame.shape)[::-1] - 0.5])
    edge = 0.01 * max(frame.shape)
    (left, top), (right, low) = points.min(axis=0) - edge, points.max(axis=0) + edge
    axis.set(xlim=(left, right), ylim=(low, top))


def _words(said: Said, width: float) -> list[str]:
    """Remarks and limits, wrapped to a figure's width in inches."""
    lines = [f"This footage: {'; '.join(said.remarks)}."] if said.remarks else []
    if isinstance(said, Clip) and said.heat is not None:
        mean = "; the models' mean" * (said.models > 1)
        lines.append(f"Maps: Grad-CAM, each as a share of its AU's own maximum{mean}.")
    return [line for text in (*lines, *said.limits) for line in textwrap.wrap(text, round(17.5 * width))]


def _heading(figure: Figure, said: Said, title: str, height: float) -> None:
    figure.text(0.1 / figure.get_figwidth(), 1 - 0.1 / height, title, fontsize=10, weight="bold", va="top")
    if said.synthetic:
        figure.text(0.1 / figure.get_figwidth(), 1 - 0.3 / height, SYNTHETIC, fontsize=8.5, color=ORANGE, va="top")


def draw(clip: Clip, strongest: int = 3) -> Figure:
    """One clip: where its face was found, the frames that the models were given, maps of the most probable AUs, and
    the probability of every AU, with the range over the models.

    strongest: of how many AUs maps are drawn, if there are any.
    """
    with plt.rc_context(STYLE | {"axes.grid": False, "figure.constrained_layout.use": False}):
        table, side, gap, label = clip.probabilities, 0.82, 0.04, 0.62
        width = 2.75 + label + len(clip.frames) * (side + gap) + 1.55
        heat = clip.heat if clip.heat is not None else np.empty((0,))
        shown = table["probability"].to_numpy().argsort(kind="stable")[::-1][: min(strongest, len(heat))]
        words = _words(clip, width)
        bottom, body = 0.22 + 0.125 * len(words), max((1 + len(shown)) * (side + gap), 1.95, 0.24 * len(table) + 0.6)
        height = bottom + body + 0.78
        figure = plt.figure(figsize=(width, height))
        _heading(figure, clip, f"{clip.source.name}: frames {clip.numbers[0]} to {clip.numbers[-1]}", height)

        def place(left: float, up: float, across: float, down: float) -> Axes:  # inches
            return figure.add_axes((left / width, up / height, across / width, down / height))

        top = bottom + body
        axis = place(0.1, top - 1.9, 1.9, 1.9)
        outlined(axis, clip.seen, clip.matrix, clip.frames.shape[-1])
        axis.set_axis_off()
        axis.set_anchor("N")
        axis.set_title("the face, and what is taken", fontsize=8)
        start = 2.15 + label
        for row, au in enumerate((None, *shown)):
            up = top - row * (side + gap) - side
            name = "given to\nthe model" if au is None else f"{table.index[au]}\n{table['probability'].iloc[au]:.2f}"
            if au is not None and not heat[au].any():
                name += "\nmap 0"
            figure.text((start - 0.06) / width, (up + side / 2) / height, name, ha="right", va="center", fontsize=8)
            for i, frame in enumerate(clip.frames):
                axis = place(start + i * (side + gap), up, side, side)
                if au is None:
                    axis.imshow(frame, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
                    axis.set_title(f"{clip.numbers[i]}", fontsize=8, pad=3)
                elif i:
                    heat_over(axis, frame, heat[au, i])
                else:
                    axis.text(0.5, 0.5, "no map:\nreference\nframe", ha="center", va="center", fontsize=7, color=GREY)
                axis.set_axis_off()
        right = start + len(clip.frames) * (side + gap) + 0.55
        axis = place(right, top - body + 0.45, width - right - 0.15, body - 0.45)
        _bars(axis, clip)
        figure.text(0.1 / width, 0.08 / height, "\n".join(words), fontsize=7.5, color=GREY, va="bottom")
    plt.close(figure)
    return figure


def _bars(axis: Axes, clip: Clip) -> None:
    table = clip.probabilities
    y = np.arange(len(table))
    axis.barh(y, table["probability"], color=BLUE, height=0.62)
    axis.hlines(y, table["lowest"], table["highest"], color="black", lw=1)
    axis.set_yticks(y, table.index)
    axis.axvline(0.5, color=GREY, lw=0.8, ls=":")
    axis.set(xlim=(0, 1), ylim=(len(table) - 0.5, -0.5), xticks=(0, 0.5, 1))
    axis.set_xlabel("probability" + "\n(line: models' range)" * (clip.models > 1), fontsize=7.5)
    axis.set_title("does it occur?", fontsize=8)
    axis.tick_params(labelsize=7.5, length=0)


def timeline(said: Timeline) -> Figure:
    """A video's windows from left to right, a line an AU; hatched where a window is of no use.

    A window is drawn around its middle, as wide as a step, where its frames lie: by their numbers, or, where the rate
    is known, in seconds from the first frame. Between windows it is blank where numbers are missing.
    """
    with plt.rc_context(STYLE | {"axes.grid": False, "figure.constrained_layout.use": False}):
        wide = said.table.pivot(index="start_frame", columns="au", values="probability")
        wide = wide[list(dict.fromkeys(said.table["au"]))]  # as the model has them, not AU1, AU12, AU14
        values = wide.to_numpy().T  # au window
        pool = -(-values.shape[1] // WIDEST)
        windows = said.table.drop_duplicates("start_frame")
        middle = (windows["start_frame"] + windows["end_frame"] + 1).to_numpy() / 2
        left, right = middle - said.stride / 2, middle + said.stride / 2
        if pool > 1:
            padded = np.pad(values, ((0, 0), (0, -values.shape[1] % pool)), constant_values=np.nan)
            values = np.fmax.reduce(padded.reshape(len(values), -1, pool), axis=2)
            left, right = left[::pool], np.append(right[pool - 1 : -1 : pool], right[-1])
        useless = np.isnan(values).all(axis=0)
        gaps = np.flatnonzero(left[1:] > right[:-1]) + 1
        edges = np.insert(np.append(left, right[-1]), gaps, right[gaps - 1])
        values, useless = np.insert(values, gaps, np.nan, axis=1), np.insert(useless, gaps, False)
        if said.fps:
            edges = (edges - windows["start_frame"].iloc[0]) / said.fps
        width, words = 9.0, _words(said, 9.0) + ["Blank: frame numbers are missing."] * bool(len(gaps))
        bottom, body = 0.75 + 0.125 * len(words), 0.26 * len(values)
        height = bottom + body + 0.62
        figure = plt.figure(figsize=(width, height))
        _heading(figure, said, f"{said.source.name}: probability that an AU occurs", height)
        axis = figure.add_axes((0.6 / width, bottom / height, (width - 1.7) / width, body / height))
        mesh = axis.pcolormesh(edges, np.arange(len(values) + 1), values, cmap="viridis", vmin=0, vmax=1)
        for i in np.flatnonzero(useless):
            axis.axvspan(*edges[i : i + 2], facecolor="#eeeeee", edgecolor=GREY, hatch="////", lw=0)
        axis.set_yticks(np.arange(len(values)) + 0.5, wide.columns)
        axis.set(ylim=(len(values), 0), xlabel="seconds from the first frame" if said.fps else "frame")
        axis.tick_params(labelsize=8, length=2)
        colours = figure.add_axes(((width - 0.95) / width, bottom / height, 0.14 / width, body / height))
        figure.colorbar(mesh, cax=colours).ax.tick_params(labelsize=8)
        colours.set_ylabel("probability", fontsize=8)
        if useless.any():
            patch = Patch(facecolor="#eeeeee", edgecolor=GREY, hatch="////", lw=0, label="no usable face or frame")
            figure.legend(handles=[patch], loc="upper right", fontsize=8, bbox_to_anchor=(1 - 1.05 / width, 1))
        figure.text(0.1 / width, 0.08 / height, "\n".join(words), fontsize=7.5, color=GREY, va="bottom")
    plt.close(figure)
    return figure
