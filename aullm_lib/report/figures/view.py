"""One frame of one clip for the explorer: the frame as it is, aligned, filtered, with a heat map; truth and prediction.

``View`` holds the numbers, ``draw`` makes the figure, ``words`` says the same as a sentence.
"""

import textwrap
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aullm_lib import facs
from aullm_lib.report.figures.own_clip import heat_over, outlined
from aullm_lib.report.figures.scores import BLUE, GREY, ORANGE, STYLE

PANELS = ("raw frame", "aligned", "LED-filtered", "heat map")
SHOWN = ("all four", *PANELS)
COLOURS = "LED: blue darker, red brighter. Heat map: Grad-CAM, as a share of its maximum in this clip."


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """What there is to see of one frame, and what is known of its clip.

    title: the clip's id. frame, n_frames: position in the clip from 0, and its length; sample, samples: the sampled
    frame that is nearest, from 0, and how many the model takes.
    raw: [H, W], 0..255, with the map [2, 3] from it to aligned: [S, S], 0..255. sampled: the same of the nearest
    sample. filtered: [S, S], drawn between -limit and limit; heat: [S, S], 0 to 1. Either is None where ``lacks`` says
    why, by panel. truth: all AUs annotated. probabilities: by AU; None where ``lacks`` has
    "probabilities". unit: the AU of the heat map. note: the small line below.
    """

    title: str
    frame: int
    n_frames: int
    sample: int
    samples: int
    raw: np.ndarray
    matrix: np.ndarray
    aligned: np.ndarray
    sampled: np.ndarray
    filtered: np.ndarray | None
    limit: float
    heat: np.ndarray | None
    unit: str
    truth: tuple[str, ...]
    probabilities: pd.Series | None
    threshold: float
    lacks: dict[str, str]
    note: str


def predicted(view: View) -> list[str]:
    """The AUs whose probability reaches the threshold."""
    if view.probabilities is None:
        return []
    return list(view.probabilities.index[view.probabilities >= view.threshold])


def words(view: View) -> str:
    """What the figure shows, as one text without markup."""
    truth = ", ".join(view.truth) or "none"
    said = f"{view.title}, frame {view.frame + 1} of {view.n_frames}. Annotated: {truth}."
    if view.probabilities is None:
        return f"{said} {view.lacks['probabilities']}."
    known = ", ".join(f"{au} {p:.2f}" for au, p in view.probabilities.items())
    there = ", ".join(predicted(view)) or "none"
    return f"{said} Predicted at the threshold {view.threshold:.2f}: {there}. Probabilities: {known}."


def draw(view: View, shown: str = SHOWN[0], figure: Figure | None = None) -> Figure:
    """The panels asked for, one of ``SHOWN``, with the probabilities beside them.

    figure: one to draw into, emptied first; a new one by default. Raises ValueError for a panel that does not exist.
    """
    if shown not in SHOWN:
        raise ValueError(f"shown={shown!r}: choose one of {', '.join(SHOWN)}")
    panels, side = (PANELS, 2.0) if shown == SHOWN[0] else ((shown,), 3.4)
    gap, bars, bottom = 0.08, max(1.2, 0.75 * side), 1.0  # inches
    width = 0.1 + len(panels) * (side + gap) + 0.8 + bars + 0.85
    height = bottom + side + 0.62
    with plt.rc_context(STYLE | {"axes.grid": False, "figure.constrained_layout.use": False}):
        figure = figure or plt.figure()
        figure.clear()
        figure.set_size_inches(width, height)
        for i, panel in enumerate(panels):
            left = 0.1 + i * (side + gap)
            axis = figure.add_axes((left / width, bottom / height, side / width, side / height))
            _panel(axis, panel, view)
        left = 0.1 + len(panels) * (side + gap) + 0.8
        _bars(figure.add_axes((left / width, bottom / height, bars / width, side / height)), view)
        title = f"{view.title}: frame {view.frame + 1} of {view.n_frames}"
        figure.text(0.1 / width, 1 - 0.08 / height, title, fontsize=10, va="top")
        words = [COLOURS, *view.note.splitlines()]
        lines = [line for text in words for line in textwrap.wrap(text, round(17.5 * width))]
        figure.text(0.1 / width, (bottom - 0.42) / height, "\n".join(lines), fontsize=7.5, color=GREY, va="top")
    plt.close(figure)
    return figure


def _panel(axis: Axes, panel: str, view: View) -> None:
    axis.set_axis_off()
    axis.set(xticks=[], yticks=[], anchor="N")  # to lay out ticks and titles takes most of a redraw's time
    sample = f"sample {view.sample + 1} of {view.samples}"
    title, lacking = panel, view.lacks.get(panel)
    if lacking:
        axis.imshow(np.full_like(view.aligned, 235), cmap="gray", vmin=0, vmax=255)
        middle = (view.aligned.shape[1] - 1) / 2
        axis.text(middle, middle, textwrap.fill(lacking, 30), ha="center", va="center", fontsize=7.5, color=GREY)
    elif panel == "raw frame":
        outlined(axis, view.raw, view.matrix, len(view.aligned))
    elif panel == "aligned":
        axis.imshow(view.aligned, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    elif panel == "LED-filtered" and view.filtered is not None:
        limit = view.limit
        axis.imshow(view.filtered, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        title = f"LED-filtered, {sample}"
    elif view.heat is not None:
        heat_over(axis, view.sampled, view.heat)
        title = f"{view.unit} heat map, {sample}"
    axis.set_title(title, fontsize=8.5, y=1)


def _bars(axis: Axes, view: View) -> None:
    if view.probabilities is None:
        axis.set_axis_off()
        axis.set_xlim(0, 1)
        lines = (f"annotated: {', '.join(view.truth) or 'none'}", view.lacks["probabilities"])
        text = "\n\n".join(textwrap.fill(line, 30) for line in lines)
        axis.text(0, 0.5, text, transform=axis.transAxes, va="center", fontsize=8)
        return
    series, there = view.probabilities, predicted(view)
    y = np.arange(len(series))
    axis.barh(y, series, color=[ORANGE if au in view.truth else "#b9cfdd" for au in series.index], height=0.66)
    axis.axvline(view.threshold, color=BLUE, lw=1.4)
    for i, au in enumerate(series.index):
        said = "present" if au in there else "absent"
        right = (au in there) == (au in view.truth)
        said += " ✓" if right else " ✗"
        axis.text(1.03, i, said, va="center", fontsize=7.5, color=GREY if right else "black")
    axis.set_yticks(y, [f"● {au}" if au in view.truth else au for au in series.index])
    for label, au in zip(axis.get_yticklabels(), series.index, strict=True):
        label.set_fontweight("bold" if au == view.unit else "normal")
    axis.set(xlim=(0, 1), ylim=(len(series) - 0.5, -0.5), xticks=(0, 0.5, 1))
    axis.set_xlabel("probability; line: threshold", fontsize=8)
    others = [au for au in view.truth if au not in series.index]
    title = "● annotated" + f" (and {', '.join(others)})" * bool(others)
    axis.set_title(title, fontsize=8.5, color=ORANGE, y=1)
    axis.tick_params(labelsize=8, length=0)


def named(unit: str) -> str:
    """An AU with its name, for a list to choose from."""
    return f"{unit} {facs.NAMES[int(unit[2:])]}"
