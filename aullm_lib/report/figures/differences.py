"""Figures of what scores bear (``evidence``): differences with their intervals, and reliability diagrams."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from aullm_lib.report.figures.scores import BLUE, GREY, STYLE, caption, grid


def differences(frame: pd.DataFrame, note: str = "") -> Figure:
    """Each method's difference to AU-LLM with its paired interval, a panel a data set; filled where it is supported.

    frame: ``evidence.differences``, with at least one row; the seeds of a method lie close together. A method that was
    not compared has a line that says so.
    """
    with plt.rc_context(STYLE | {"axes.grid.axis": "x"}):
        panels = dict(list(frame.groupby(level=["data", "against"], sort=False)))
        seeds = max(int(rows.groupby(level="method").size().max()) for rows in panels.values())
        lines = [rows.index.get_level_values("method").nunique() for rows in panels.values()]
        figure, axes = plt.subplots(
            len(panels), 1, figsize=(6.4, 0.9 + 0.5 * len(panels) + (0.15 + 0.07 * seeds) * sum(lines)), sharex=True,
            squeeze=False, height_ratios=[n + 0.6 for n in lines],
        )  # fmt: skip
        for axis, ((data, against), rows) in zip(axes[:, 0], panels.items(), strict=True):
            methods = dict(list(rows.groupby(level="method", sort=False)))
            axis.axvline(0, color="black", lw=0.9)
            for y, own in enumerate(methods.values()):
                for i, (_, row) in enumerate(own.iterrows()):
                    _interval(axis, y + (i - (len(own) - 1) / 2) * 0.7 / seeds, row)
            axis.set_yticks(range(len(methods)), list(methods))
            axis.set(ylim=(len(methods) - 0.4, -0.6))
            axis.set_title(f"{data}: method minus {against}", loc="left")
            axis.tick_params(axis="y", length=0)
        axes[-1, 0].set_xlabel("difference of the averages, points of two-class macro F1")
        handles = [
            Line2D([], [], color=BLUE, marker="o", ms=4.5, lw=1.4, label="supported (corrected p below 0.05)"),
            Line2D([], [], color=GREY, marker="o", ms=4.5, lw=1, mfc="white", label="not supported"),
        ]
        figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=8)
        _note(figure, note)
    plt.close(figure)
    return figure


def _interval(axis: Axes, y: float, row: pd.Series) -> None:
    if np.isnan(row["difference"]):
        axis.text(0.01, y, "not compared", transform=axis.get_yaxis_transform(), va="center", fontsize=7, color=GREY)
        return
    yes = row["supported"] == "yes"
    colour = BLUE if yes else GREY
    axis.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.4 if yes else 1)
    axis.plot(row["difference"], y, "o", ms=4.5, color=colour, mfc=colour if yes else "white")


def _note(figure: Figure, note: str) -> None:
    """The caption, with room of its own below the panels."""
    caption(figure, note, ha="left", x=0.01)
    figure.set_figheight(figure.get_figheight() + 0.13 * len(figure.get_supxlabel().splitlines()))


def reliability(frame: pd.DataFrame, errors: pd.Series, note: str = "") -> Figure:
    """How often an AU is there when the model gives it a probability: a small panel an AU, a dot as large as its bin.

    frame: ``calibration.reliability`` (au, bin, mean_probability, frequency, count); bins without clips are left out.
    errors: ``calibration.expected_error`` of each AU, 0 to 1.
    """
    with plt.rc_context(STYLE | {"font.size": 7, "axes.titlesize": 8}):
        aus = list(dict.fromkeys(frame["au"]))
        figure, axes = grid(len(aus), 4, 1.7, 1.6)
        largest = max(1, frame["count"].max()) if len(frame) else 1
        for axis, au in zip(axes, aus, strict=True):
            rows = frame[(frame["au"] == au) & (frame["count"] > 0)].sort_values("mean_probability")
            axis.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
            axis.plot(rows["mean_probability"], rows["frequency"], color=BLUE, lw=0.9)
            axis.scatter(rows["mean_probability"], rows["frequency"], 4 + 50 * rows["count"] / largest, color=BLUE,
                         alpha=0.75, lw=0, clip_on=False)  # fmt: skip
            axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
            axis.set_title(f"{au}, error {100 * errors[au]:.0f} %", loc="left")
        for axis in axes[::4]:
            axis.set_ylabel("share of clips with it")
        for axis in axes[-4:]:
            axis.set_xlabel("probability")
        handles = [
            Line2D([], [], color=GREY, lw=0.8, ls="--", label="calibrated"),
            Line2D([], [], color=BLUE, lw=0.9, marker="o", ms=4, label=f"bins, by area up to {largest:.0f} clips"),
        ]
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
        _note(figure, note)
    plt.close(figure)
    return figure
