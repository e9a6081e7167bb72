"""One frame of one clip for the explorer: the frame as it is, aligned, filtered, with a heat map; truth and prediction.

``View`` holds the numbers, ``draw`` makes the figure, ``words`` says the same as a sentence.
"""

import textwrap
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aullm_lib import facs
from aullm_lib.report.figures.canvas import GAP, Canvas, outlined
from aullm_lib.report.figures.style import GREY, NOTE, ORANGE, PAGE, STYLE, probability_bars, styled

PANELS = ("raw frame", "aligned", "LED-filtered", "heat map")
SHOWN = ("all four", *PANELS)


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """What there is to see of one frame, and what is known of its clip.

    Attributes:
        title: The clip's id.
        frame, n_frames: Position in the clip from 0, and its length.
        sample, samples: The sampled frame that is nearest, from 0, and how many the model takes.
        raw, matrix: [H, W], 0..255, and the map [2, 3] from it to ``aligned``.
        aligned, sampled: [S, S], 0..255, of this frame and of the nearest sample.
        filtered, limit: [S, S], drawn between -limit and limit; None where ``missing`` says why.
        heat: [S, S], 0 to 1; None where ``missing`` says why.
        au: The AU of the heat map.
        truth: All AUs annotated.
        probabilities: By AU; None where ``missing`` has "probabilities".
        missing: By panel, why there is nothing to see.
        note: The small line below.
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
    au: str
    truth: tuple[str, ...]
    probabilities: pd.Series | None
    threshold: float
    missing: dict[str, str]
    note: str


def predicted(view: View) -> list[str]:
    """The AUs whose probability reaches the threshold."""
    if view.probabilities is None:
        return []
    return list(view.probabilities.index[view.probabilities >= view.threshold])


def words(view: View) -> str:
    """What the figure shows, as one text without markup."""
    truth = ", ".join(view.truth) or "none"
    text = f"{view.title}, frame {view.frame + 1} of {view.n_frames}. Annotated: {truth}."
    if view.probabilities is None:
        return f"{text} {view.missing['probabilities']}."
    probabilities = ", ".join(f"{au} {p:.2f}" for au, p in view.probabilities.items())
    positive = ", ".join(predicted(view)) or "none"
    return f"{text} Predicted at the threshold {view.threshold:.2f}: {positive}. Probabilities: {probabilities}."


@styled(STYLE)
def draw(view: View, shown: str = SHOWN[0], figure: Figure | None = None) -> Figure:
    """The panels asked for, one of ``SHOWN``, with the probabilities beside them.

    Args:
        figure: One to draw into, emptied first; a new one by default.

    Raises:
        ValueError: There is no such panel.
    """
    if shown not in SHOWN:
        raise ValueError(f"shown={shown!r}: choose one of {', '.join(SHOWN)}")
    panels, side = (PANELS, 1.26) if shown == SHOWN[0] else ((shown,), 4.6)
    bars, top = 0.8, 0.42  # inches
    right = 0.05 + len(panels) * (side + GAP) + 0.45
    canvas = Canvas(PAGE, top + side + 0.42, view.note, figure)
    canvas.text(0.05, 0.06, f"{view.title}: frame {view.frame + 1} of {view.n_frames}", fontsize=7.5, va="top")
    for i, panel in enumerate(panels):
        _panel(canvas, 0.05 + i * (side + GAP), top, side, panel, view)
    _bars(canvas.axes(right, top, bars, side), view)
    return canvas.figure


def _panel(canvas: Canvas, x: float, y: float, side: float, panel: str, view: View) -> None:
    """One of ``PANELS``, or why it is missing, with the colour bar of a panel that has one below it."""
    sample = f"sample {view.sample + 1} of {view.samples}"
    title, missing, bar = panel, view.missing.get(panel), (x + 0.1 * side, y + side + 0.05, 0.8 * side, 0.06)
    if missing:
        (axis,) = canvas.film(x, y, side, [np.full_like(view.aligned, 235)])
        middle = (view.aligned.shape[1] - 1) / 2
        axis.text(middle, middle, textwrap.fill(missing, 22), ha="center", va="center", color=GREY)
    elif panel == "raw frame":
        axis = canvas.axes(x, y, side, side, xticks=[], yticks=[])
        outlined(axis, view.raw, view.matrix, len(view.aligned))
    elif panel == "aligned":
        (axis,) = canvas.film(x, y, side, [view.aligned])
    elif panel == "LED-filtered":
        (axis,) = canvas.film(x, y, side, [view.filtered], limit=view.limit)
        title = f"LED-filtered, {sample}"
        canvas.colour_bar(*bar, low=-view.limit, high=view.limit, signed=True)
    elif view.heat is not None:
        (axis,) = canvas.film(x, y, side, [view.sampled], heat=[view.heat])
        title = f"{view.au} heat map, {sample}"
        canvas.colour_bar(*bar, "share of the clip's maximum")
    axis.set_title(title, fontsize=NOTE, y=1)


def _bars(axis: Axes, view: View) -> None:
    if view.probabilities is None:
        axis.set_axis_off()
        axis.set_xlim(0, 1)
        lines = (f"annotated: {', '.join(view.truth) or 'none'}", view.missing["probabilities"])
        text = "\n\n".join(textwrap.fill(line, 24) for line in lines)
        axis.text(0, 0.5, text, transform=axis.transAxes, va="center")
        return
    series, positive = view.probabilities, predicted(view)
    probability_bars(axis, series, view.truth, view.threshold)
    for i, au in enumerate(series.index):
        right = (au in positive) == (au in view.truth)
        answer = ("present" if au in positive else "absent") + (" ✓" if right else " ✗")
        axis.text(1.03, i, answer, va="center", fontsize=NOTE, color=GREY if right else "black")
    axis.set_yticks(range(len(series)), [f"● {au}" if au in view.truth else au for au in series.index])
    for label, au in zip(axis.get_yticklabels(), series.index, strict=True):
        label.set_fontweight("bold" if au == view.au else "normal")
    axis.set_xlabel("probability; line: threshold", fontsize=NOTE)
    others = [au for au in view.truth if au not in series.index]
    title = "● annotated" + f" (and {', '.join(others)})" * bool(others)
    axis.set_title(title, fontsize=NOTE, color=ORANGE, y=1)


def named(au: str) -> str:
    """An AU with its name, for a list to choose from."""
    return f"{au} {facs.NAMES[int(au[2:])]}"
