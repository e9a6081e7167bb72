"""The pictures of the paper's equations: a matrix, the slopes of Eq. 4, both F1s of Eq. 5."""

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aullm_lib.report.figures.canvas import HEAT, SIGNED
from aullm_lib.report.figures.style import BLUE, GREY, ORANGE, PAGE, PALETTE, STYLE, caption, styled

DASHES = ("-", "--", ":")


@styled(STYLE | {"axes.grid": False})
def matrix(values: pd.DataFrame, label: str, title: str = "", note: str = "") -> Figure:
    """A table of numbers as colours, symmetric where there are both signs, with a colour bar called ``label``."""
    figure, axis = plt.subplots(figsize=(PAGE, 0.75 + 0.16 * len(values)))
    numbers = values.to_numpy(dtype=float)
    end = np.abs(numbers).max()
    look: Any = {"cmap": SIGNED, "vmin": -end, "vmax": end} if numbers.min() < 0 < numbers.max() else {"cmap": HEAT}
    image = axis.imshow(numbers, aspect="auto", interpolation="nearest", **look)
    axis.set_yticks(range(len(values)), values.index)
    axis.set(title=title, xlabel=values.columns.name or "", ylabel=values.index.name or "")
    axis.tick_params(length=0)
    figure.colorbar(image, ax=axis, pad=0.01, label=label).ax.tick_params(length=2)
    caption(figure, note)
    return figure


@styled(STYLE | {"axes.grid.axis": "both"})
def slopes(curves: pd.DataFrame, note: str = "") -> Figure:
    """How hard each loss pulls a logit, by the probability that the model gives: a panel per label.

    Args:
        curves: Indexed by probability; columns: (label 1 or 0, loss), the slope of the loss over the logit.
    """
    titles = {1: "AU present, y = 1", 0: "AU absent, y = 0"}
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.1), sharex=True)
    for axis, (label, title) in zip(axes, titles.items(), strict=True):
        for (name, curve), colour, dashes in zip(curves[label].items(), PALETTE, DASHES, strict=False):
            axis.plot(curves.index, curve, color=colour, ls=dashes, lw=1.3, label=name)
        axis.set(title=title, xlim=(0, 1), xlabel="probability p", ylabel="slope over the logit")
    axes[1].legend()
    caption(figure, note)
    return figure


@styled(STYLE)
def f1s(score: pd.DataFrame, level: pd.DataFrame, title: str = "", note: str = "") -> Figure:
    """The F1 of Eq. 5 and the two-class macro F1 of each AU, with lines at the always-negative classifier's.

    Args:
        score: ``metrics.score``.
        level: The same of the always-negative classifier.
    """
    x = np.arange(len(score))
    figure, axis = plt.subplots(figsize=(PAGE, 2.2))
    for offset, column, name, colour in ((-0.2, "f1", "F1 of Eq. 5", BLUE), (0.2, "f1_macro", "two-class", ORANGE)):
        axis.bar(x + offset, 100 * score[column], 0.36, color=colour, label=name)
        low = 100 * level[column]
        axis.hlines(low, x + offset - 0.2, x + offset + 0.2, color=GREY, lw=1.6, zorder=3)
    axis.plot([], [], color=GREY, lw=1.6, label="always-negative classifier")
    axis.set_xticks(x, score.index)
    axis.set(title=title, ylim=(0, 100), ylabel="F1 (%)")
    figure.legend(loc="outside upper right", ncols=3)
    caption(figure, note)
    return figure
