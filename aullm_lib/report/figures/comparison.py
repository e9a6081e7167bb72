"""Methods side by side: averages with intervals, published numbers, and trivial classifiers."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aullm_lib.report.figures.scores import BLUE, GREY, ORANGE, STYLE, caption

DASHES: Any = ((0, (1, 1.5)), (0, (5, 2)))  # of the trivial classifiers


def methods(panels: Mapping[str, pd.DataFrame], trivial: Mapping[str, Mapping[str, float]], note: str = "") -> Figure:
    """Two-class macro F1 of each method on each set of clips, in percent.

    panels: title -> a row a method, in the order to draw from above: columns score, low, high, published (NaN where
    there is none). trivial: title -> trivial classifier -> its score; drawn as lines.
    """
    with plt.rc_context(STYLE | {"axes.grid.axis": "x"}):
        longest = max(map(len, panels.values()))
        figure, axes = plt.subplots(
            1, len(panels), figsize=(0.6 + 3.4 * len(panels), 1.3 + 0.26 * longest), sharex=True, squeeze=False
        )
        for ax, (title, frame) in zip(axes[0], panels.items(), strict=True):
            lines = range(len(frame))
            for dashes, value in zip(DASHES, trivial.get(title, {}).values(), strict=False):
                ax.axvline(value, color=GREY, linestyle=dashes, linewidth=1)
            ax.hlines(lines, frame["low"], frame["high"], color=BLUE, linewidth=1.6)
            ax.plot(frame["score"], lines, "o", color=BLUE, markersize=5)
            ax.plot(frame["published"], lines, "D", color=ORANGE, markerfacecolor="none", markersize=5)
            ax.set(title=title, yticks=lines, yticklabels=frame.index, ylim=(len(frame) - 0.4, -0.6))
            ax.set_xlabel("average two-class macro F1 (%)")
        shown = list(dict.fromkeys(name for scores in trivial.values() for name in scores))
        handles = [
            Line2D([], [], color=BLUE, marker="o", linewidth=1.6, label="ours, 95 % interval"),
            *(Line2D([], [], color=GREY, linestyle=d, label=name) for d, name in zip(DASHES, shown, strict=False)),
        ]
        if any(frame["published"].notna().any() for frame in panels.values()):
            mark = Line2D([], [], color=ORANGE, marker="D", markerfacecolor="none", linestyle="", label="published")
            handles.insert(1, mark)
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8)
        caption(figure, note)
    plt.close(figure)
    return figure
