"""The figures of the notebooks, as plain functions: data in, a matplotlib figure out; ``save`` puts them on disk.

Colours are Okabe and Ito's, safe for colour-blind readers; every series also differs in shape or position.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from aullm_lib import facs, files

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
STYLE: Any = {
    "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.grid.axis": "y", "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "figure.dpi": 110, "savefig.dpi": 200, "pdf.fonttype": 42, "legend.frameon": False,
    "figure.constrained_layout.use": True,
}  # fmt: skip


def save(figure: Figure, path: Path, provenance: dict) -> list[Path]:
    """``path``.pdf (embedded fonts), .png and .json (provenance), undated: same figure, same bytes."""
    with files.explained(path.parent, "the figure"):
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
            temporary = path.with_name(f".{path.name}{suffix}")
            figure.savefig(temporary, format=suffix[1:], metadata=metadata)
            temporary.replace(path.with_suffix(suffix))
        files.write_json(path.with_suffix(".json"), provenance)
    return [path.with_suffix(suffix) for suffix in (".pdf", ".png", ".json")]


def per_au(panels: Mapping[str, Mapping[str, pd.DataFrame]], floors: Mapping[str, pd.DataFrame], note: str) -> Figure:
    """Two-class macro F1 an AU, a panel a release: a dot with its interval a method, a line for the all-absent score.

    panels: release -> method -> ``metrics.score``; floors: release -> the all-absent predictor's score.
    """
    with plt.rc_context(STYLE):
        widths = [len(next(iter(methods.values()))) for methods in panels.values()]
        figure, axes = plt.subplots(
            1, len(panels), figsize=(1.6 + 0.62 * sum(widths), 3.2), sharey=True, width_ratios=widths, squeeze=False
        )
        for axis, (release, methods) in zip(axes[0], panels.items(), strict=True):
            floor = 100 * floors[release]["f1_macro"]
            x = np.arange(len(floor))
            axis.hlines(floor, x - 0.38, x + 0.38, color=GREY, lw=2, label="all-absent predictor", zorder=1)
            for i, (method, score) in enumerate(methods.items()):
                offset = (i - (len(methods) - 1) / 2) * min(0.25, 0.7 / len(methods))
                y = 100 * score["f1_macro"]
                low, high = y - 100 * score["f1_macro_low"], 100 * score["f1_macro_high"] - y
                axis.errorbar(
                    x + offset, y, np.clip([low, high], 0, None), fmt=MARKERS[i % 7], ms=5, lw=1.2, capsize=2.5,
                    color=PALETTE[i % 7], label=method,
                )  # fmt: skip
            axis.set_xticks(x, [*floor.index[:-1], "mean"])
            axis.axvspan(x[-1] - 0.5, x[-1] + 0.5, color="#f2f2f2", zorder=0)
            axis.set(title=release, ylim=(0, 103), xlim=(-0.6, x[-1] + 0.5))
            axis.tick_params(axis="x", length=0)
        axes[0, 0].set_ylabel("two-class macro F1 (%)")
        handles, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside upper center", ncols=4)
        figure.supxlabel(note, fontsize=7.5, color=GREY, ha="left", x=0.01)
    plt.close(figure)
    return figure


def au_counts(counts: Mapping[str, pd.Series], note: str = "") -> Figure:
    """How many clips show each AU, a panel a release; the AUs that the paper scores are darker."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(1, len(counts), figsize=(4.2 * len(counts), 2.8), squeeze=False)
        for axis, (release, series) in zip(axes[0], counts.items(), strict=True):
            scored = {f"AU{n}" for n in facs.BENCHMARK.get(release, ())}
            axis.bar(series.index.str[2:], series, color=[BLUE if au in scored else "#b9cfdd" for au in series.index])
            axis.set(title=f"{release}: clips an AU (dark: scored in the paper)", xlabel="AU", ylabel="clips")
            axis.tick_params(axis="x", labelsize=7, length=0)
        figure.supxlabel(note, fontsize=7.5, color=GREY)
    plt.close(figure)
    return figure


def losses(logs: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Training loss over epochs, a thin line a fold, a thick one for their mean. logs: fold, epoch, loss."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(4.6, 2.8))
        wide = logs.pivot_table(index="epoch", columns="fold", values="loss")
        axis.plot(wide.index, wide, color=BLUE, alpha=0.25, lw=0.8)
        axis.plot(wide.index, wide.mean(axis=1), color=BLUE, lw=2, label=f"mean of {wide.shape[1]} folds")
        axis.set(title=title, xlabel="epoch", ylabel="training loss a clip", yscale="log")
        axis.legend()
        figure.supxlabel(note, fontsize=7.5, color=GREY)
    plt.close(figure)
    return figure


def intensity_curve(points: pd.DataFrame, note: str = "") -> Figure:
    """Score over the synthetic release's intensity: a dot a seed, a line through the means, and two floors.

    points: intensity, seed, f1_macro, all-absent, prior-random (0 to 1).
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(4.6, 3.1))
        sns.lineplot(data=points, x="intensity", y=100 * points["f1_macro"], errorbar=None, color=BLUE, ax=axis,
                     label="3D-CNN, linear head (mean)")  # fmt: skip
        axis.plot(points["intensity"], 100 * points["f1_macro"], "o", color=BLUE, alpha=0.5, ms=4, label="one seed")
        means = points.groupby("intensity")[["all-absent", "prior-random"]].mean()
        axis.plot(means.index, 100 * means["all-absent"], "--", color=GREY, label="always saying absent")
        axis.plot(means.index, 100 * means["prior-random"], ":", color=GREY, label="guessing at the base rate")
        axis.set(xlabel="intensity of the synthetic AUs", ylabel="two-class macro F1 (%)", ylim=(35, 100))
        axis.legend(loc="center right", bbox_to_anchor=(1, 0.44), fontsize=8)
        figure.supxlabel(note, fontsize=7.5, color=GREY)
    plt.close(figure)
    return figure
