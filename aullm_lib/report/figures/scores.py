"""Figures of labels and scores: AU counts, losses, scores per AU and method, what they bear, calibration.

Each takes a ``note``, the small print below it.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogFormatter, LogLocator, MaxNLocator, NullLocator

from aullm_lib import facs
from aullm_lib.datasets import TITLES
from aullm_lib.explain.probes import WEAK
from aullm_lib.facs import au_columns
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.report.figures.canvas import HEAT
from aullm_lib.report.figures.style import (
    BLUE,
    GREY,
    MARKERS,
    ORANGE,
    PAGE,
    PALE,
    PALETTE,
    SMALL,
    STYLE,
    caption,
    grid,
    styled,
)

F1 = "two-class macro F1 (%)"
TRIVIAL = {"always-negative": "--", CHANCE: ":", "random scores, test-tuned": "-."}  # and their lines


def _title(release: str, table: pd.DataFrame) -> str:
    """A release's name over its panel, "synthetic" before it where its clip table says so."""
    return "synthetic " * bool(table["synthetic"].any()) + TITLES.get(release, release)


@styled(STYLE)
def per_au(panels: Mapping[str, Mapping[str, pd.DataFrame]], trivial: Mapping[str, pd.DataFrame], note: str) -> Figure:
    """Two-class macro F1 per AU, a panel per release: a dot with its interval per method, a line for always-negative.

    Args:
        panels: release -> method -> ``metrics.score``.
        trivial: release -> the score of the always-negative classifier.
    """
    every = list(dict.fromkeys(method for methods in panels.values() for method in methods))
    drawn: dict[str, Any] = {}  # name -> what stands for it in the legend
    widths = [len(next(iter(methods.values()))) for methods in panels.values()]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(1.6 + 0.62 * sum(widths), 3.2), sharey=True, width_ratios=widths, squeeze=False
    )
    for axis, (release, methods) in zip(axes[0], panels.items(), strict=True):
        level = 100 * trivial[release]["f1_macro"]
        x = np.arange(len(level))
        drawn["always-negative classifier"] = axis.hlines(level, x - 0.38, x + 0.38, color=GREY, lw=2, zorder=1)
        for i, (method, score) in enumerate(methods.items()):
            offset = (i - (len(methods) - 1) / 2) * min(0.25, 0.7 / len(methods))
            y = 100 * score["f1_macro"]
            spread = np.clip([y - 100 * score["f1_macro_low"], 100 * score["f1_macro_high"] - y], 0, None)
            k = every.index(method) % 7
            drawn[method] = axis.errorbar(
                x + offset, y, spread, fmt=MARKERS[k], ms=5, lw=1.2, capsize=2.5, color=PALETTE[k]
            )
        axis.set_xticks(x, [*level.index[:-1], "mean"])
        axis.axvspan(x[-1] - 0.5, x[-1] + 0.5, color="#f2f2f2", zorder=0)
        axis.set(title=release, ylim=(0, 103), xlim=(-0.6, x[-1] + 0.5))
        axis.tick_params(axis="x", length=0)
    axes[0, 0].set_ylabel(F1)
    names = ["always-negative classifier", *every]
    figure.legend([drawn[name] for name in names], names, loc="outside upper center", ncols=4)
    caption(figure, note)
    return figure


@styled(STYLE)
def au_counts(
    tables: Mapping[str, pd.DataFrame], expected: Mapping[str, Mapping[int, int]] | None = None, note: str = ""
) -> Figure:
    """How many clips show each AU, a panel per release; the AUs that the paper scores are darker.

    Args:
        tables: release -> clip table.
        expected: release -> AU number -> documented clips, drawn as a pointer at the bar's side and, where it differs,
            in brackets under the count. An AU missing from the table then has a bar of 0.
    """
    figure, axes = grid(len(tables), 1, 7.2, 1.95)
    for axis, (release, table) in zip(axes, tables.items(), strict=True):
        counts = table[au_columns(table)].sum()
        documented = {f"AU{number}": count for number, count in (expected or {}).get(release, {}).items()}
        aus = sorted({*counts.index, *documented}, key=lambda au: int(au[2:]))
        heights = counts.reindex(aus, fill_value=0).astype(int)
        scored = {f"AU{n}" for n in facs.BENCHMARK.get(release, ())}
        bars = axis.bar(range(len(aus)), heights, 0.62, color=[BLUE if a in scored else PALE for a in aus])
        texts = [f"{n}" if documented.get(a, n) == n else f"{n}\n({documented[a]})" for a, n in heights.items()]
        axis.bar_label(bars, texts, fontsize=7, padding=1.5)
        if documented:
            at = [aus.index(au) + 0.42 for au in documented]
            axis.plot(at, list(documented.values()), "<", color=ORANGE, ms=4, mew=0)
        axis.set_xticks(range(len(aus)), [au[2:] for au in aus])
        title = f"{_title(release, table)}: clips of each AU" + " (dark: scored in the paper)" * bool(scored)
        axis.set_title(title, loc="left")
        axis.set(xlabel="AU", ylabel="clips", xlim=(-0.7, max(12, len(aus)) - 0.3))
        axis.set_ylim(0, 1.28 * max(1, *heights, *documented.values()))
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10), integer=True))
        axis.tick_params(axis="x", length=0)
    if any((expected or {}).get(release) for release in tables):
        pointer = Line2D([], [], color=ORANGE, marker="<", ls="", ms=4, mew=0)
        figure.legend([pointer], ["documented count (in brackets where it differs)"], loc="outside upper right",
                      fontsize=8, handletextpad=0)  # fmt: skip
    caption(figure, note)
    return figure


@styled(STYLE | {"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False})
def cooccurrence(tables: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """In how many clips two AUs occur together, a heat map per release; on the diagonal, clips of the AU itself.

    Drawn are the AUs that the paper scores on the release, elsewhere those of at least 5 clips (all, if none has 5).
    The colours rise with the root of the count, in a release's own range; every cell has its count.

    Args:
        tables: release -> clip table.
    """
    pairs = {}
    for release, table in tables.items():
        total = table[au_columns(table)].sum()
        scored = [f"AU{n}" for n in facs.BENCHMARK.get(release, ())]
        aus = scored or list(total.index[total >= 5]) or list(total.index)
        shown = table.reindex(columns=aus, fill_value=0).astype(int)
        pairs[release] = shown.T @ shown
    widest = max(map(len, pairs.values()))
    cell = max(0.27, 1.8 / widest)  # inches
    figure, axes = grid(len(pairs), 3, cell * widest + 0.7, cell * widest + 0.4)
    for axis, (release, together) in zip(axes, pairs.items(), strict=True):
        n, top = len(together), max(1, int(together.to_numpy().max(initial=0)))
        numbers = together.rename(index=lambda au: au[2:], columns=lambda au: au[2:])
        sns.heatmap(
            numbers, ax=axis, cmap=HEAT, norm=PowerNorm(0.5, 0, top), annot=True, fmt="d", annot_kws={"size": 7.5},
            cbar=False, xticklabels=1, yticklabels=1,
        )  # fmt: skip
        for text in axis.texts[:: n + 1]:
            text.set_fontweight("bold")  # the diagonal
        axis.xaxis.tick_top()
        axis.tick_params(length=0, rotation=0)
        axis.annotate("AU", (0, 0), (-5, 4), textcoords="offset points", ha="right", fontsize=8, color=GREY)
        axis.set(
            xlim=(0, widest), ylim=(widest, 0), anchor="NW", aspect="equal", xlabel="", ylabel=""
        )  # cells of one size everywhere
        axis.set_title(f"{_title(release, tables[release])}: {len(tables[release])} clips", loc="left", y=1, pad=19)
        bar = figure.colorbar(
            axis.collections[0],
            cax=axis.inset_axes((n / widest + 0.03, 1 - n / widest, 0.04, n / widest)),
            ticks=[0, top],
        )
        bar.ax.tick_params(labelsize=7, length=2)
        bar.ax.minorticks_off()
    caption(figure, note)
    return figure


@styled(STYLE)
def lengths(tables: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """Histograms of the clips' lengths in frames, a panel per release, with the median and the six sampled frames.

    A clip left of the line at six repeats frames.

    Args:
        tables: release -> clip table (its column ``n_frames``).
    """
    figure, axes = grid(len(tables), 3, 3.2, 2.3)
    for axis, (release, table) in zip(axes, tables.items(), strict=True):
        count = table["n_frames"]
        longest = int(count.max())
        width = -(-(longest + 1) // 30)  # whole frames: every bin has the same number of lengths
        edges = [edge - 0.5 for edge in range(0, longest + width + 1, width)]
        axis.hist(count, edges, color="#7fb0d3", ec="white", lw=0.4)
        axis.axvline(count.median(), color=ORANGE, lw=1.6, label="median")
        axis.axvline(6, color="black", lw=1.1, ls=":", label="the six frames of a sample")
        short = int((count < 6).sum())
        title = f"{_title(release, table)}: {len(count)} clips, median {count.median():g}"
        axis.set_title(title + f"\n{short} shorter than six frames" * bool(short), loc="left", fontsize=9)
        axis.set(xlabel="frames per clip", ylabel="clips", xlim=(-0.03 * longest, None))
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10), integer=True))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8)
    caption(figure, note)
    return figure


@styled(STYLE)
def losses(logs: pd.DataFrame, title: str, note: str = "") -> Figure:
    """Training loss over epochs, a thin line per fold, a thick one for their mean. logs: fold, epoch, loss."""
    figure, axis = plt.subplots(figsize=(4.6, 2.8))
    line = {"data": logs, "x": "epoch", "y": "loss", "color": BLUE, "ax": axis}
    sns.lineplot(**line, units="fold", estimator=None, alpha=0.25, lw=0.8)
    sns.lineplot(**line, errorbar=None, lw=2, label=f"mean of {logs['fold'].nunique()} folds")
    axis.set(title=title, xlabel="epoch", ylabel="training loss per clip", yscale="log")
    axis.yaxis.set_major_formatter(LogFormatter())
    axis.yaxis.set_minor_formatter(LogFormatter())
    axis.legend()
    caption(figure, note)
    return figure


@styled(STYLE)
def signal(frame: pd.DataFrame, title: str, note: str = "") -> Figure:
    """What reaches the head over the epochs: norms and spreads on the left, their ratio, the signal, on the right.

    A line is the median over folds, with a band from the lowest to the highest fold.

    Args:
        frame: ``probes.signal`` of a run.
    """
    figure, (sizes, ratios) = plt.subplots(1, 2, figsize=(PAGE, 2.9), width_ratios=(1, 0.85))
    folds = frame.drop(columns="fold").groupby("epoch")
    low, middle, high = folds.min(), folds.median(), folds.max()
    epochs = middle.index.to_numpy()

    def line(axis: Axes, column: str, label: str, **look: Any) -> None:
        unit = 100 if axis is ratios else 1
        axis.plot(epochs, unit * middle[column], ms=4, label=label, **look)
        axis.fill_between(epochs, unit * low[column], unit * high[column], color=look["color"], alpha=0.15, lw=0)

    for part, name, colour, marker in (("hidden", "hidden state", BLUE, "s"), ("token", "visual token", ORANGE, "o")):
        if f"{part}_norm" in frame:
            look = {"color": colour, "marker": marker}
            line(sizes, f"{part}_norm", f"{name}: norm", **look)
            line(sizes, f"{part}_spread", f"{name}: spread between clips", **look, ls="--", mfc="white")
            line(ratios, f"{part}_signal", name, **look)
    if "embedding_norm" in frame:
        line(sizes, "embedding_norm", "the LLM's token embeddings: norm", color="black", lw=1, ls=":")
    ratios.axhline(100 * WEAK, color=GREY, lw=1, ls="-.", label=f"signal is weak below {100 * WEAK:g} %")
    ticks = [epoch for epoch in epochs if epoch == epochs[-1] or 1.5 * epoch <= epochs[-1]]
    for axis in (sizes, ratios):
        axis.set(yscale="log", xlabel="epoch (0: before training)")
        axis.set_xscale("symlog", base=2, linthresh=1)
        axis.set_xlim(-0.2, 1.15 * epochs[-1])
        axis.set_xticks(ticks, [str(epoch) for epoch in ticks])
        axis.xaxis.set_minor_locator(NullLocator())
        axis.yaxis.set_major_formatter("{x:g}")
    ratios.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ratios.yaxis.set_minor_locator(NullLocator())
    sizes.set(title=title, ylabel="Euclidean norm")
    ratios.set(title="what differs between clips", ylabel="signal: spread / norm (%)")
    handles = [*sizes.get_legend_handles_labels()[0], ratios.lines[-1]]
    figure.legend(handles=handles, loc="outside upper left", ncols=3, fontsize=7, handlelength=3)
    caption(figure, f"Lines: the median over folds. Bands: from the lowest to the highest fold.\n{note}")
    return figure


@styled(STYLE)
def intensity_curve(
    points: pd.DataFrame, scored: Sequence[str], trivial: Sequence[str] = tuple(TRIVIAL), note: str = ""
) -> Figure:
    """Score over the synthetic release's intensity: one dot per seed, lines through the means, trivial classifiers.

    Args:
        points: ``intensity``, ``seed``, and the columns named by ``scored`` and ``trivial``, from 0 to 1.
        scored: the columns of scores, by their names in the legend.
        trivial: of ``TRIVIAL``, those to draw.
    """
    figure, axis = plt.subplots(figsize=(5.2, 3.7))
    percent = points[["intensity"]].join(100 * points[[*scored, *trivial]])
    line = {"data": percent, "x": "intensity", "errorbar": None, "ax": axis}
    for name, marker, colour in zip(scored, MARKERS, PALETTE, strict=False):
        axis.plot(percent["intensity"], percent[name], marker, color=colour, alpha=0.4, ms=4.5)
        sns.lineplot(**line, y=name, color=colour, label=name, legend=False)
    for name in trivial:
        sns.lineplot(**line, y=name, color=GREY, ls=TRIVIAL[name], lw=1.1, label=name, legend=False)
    axis.set(xlabel="intensity of the synthetic AUs", ylabel=F1)
    figure.legend(loc="outside upper left", ncols=2, fontsize=7)
    caption(figure, f"Dots: one seed each. Lines: the mean over seeds.\n{note}")
    return figure


@styled(SMALL)
def tuning(gains: pd.DataFrame, margins: Mapping[str, float], note: str = "") -> Figure:
    """What tuning on the test labels adds: by the spread of an uninformative scorer, by the offset of a skilled one.

    A line is the mean over simulated test sets with a band from their 2.5 % to their 97.5 % quantile, one per data.

    Args:
        gains: As ``printed.gains``.
        margins: data -> the published margin over the best baseline in points, drawn as a line.
    """
    figure, axes = plt.subplots(1, 2, figsize=(PAGE, 2.3))
    parts = {key: rows.set_index("x") for key, rows in gains.groupby(["data", "scorer"])}
    for data, colour, marker, dashes in zip(margins, PALETTE, MARKERS, ("--", ":"), strict=False):
        for axis, scorer in zip(axes, ("uninformative", "skilled"), strict=True):
            rows = parts[data, scorer]
            axis.plot(rows.index, rows["gain"], color=colour, marker=marker, ms=3, lw=1.2, label=data)
            axis.fill_between(rows.index, rows["low"], rows["high"], color=colour, alpha=0.15, lw=0)
            axis.axhline(margins[data], color=colour, ls=dashes, lw=1, label=f"{data}: margin as published")
    axes[0].set_title("scores without information", loc="left")
    axes[0].set(xlabel="spread of the scores (standard deviation of logits)", xscale="log")
    spreads = parts[next(iter(margins)), "uninformative"].index
    axes[0].set_xticks(spreads, [f"{x:g}" for x in spreads])
    axes[0].xaxis.set_minor_locator(NullLocator())
    axes[0].set_ylabel("gain (points of macro F1)")
    axes[1].set_title("a skilled scorer, calibrated but for an offset", loc="left")
    axes[1].set_xlabel("offset of its scores (logits; below 0: too low)")
    for axis in axes:
        axis.set_ylim(0, None)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=4)
    caption(figure, f"Bands: 2.5 % to 97.5 % quantiles of the simulated test sets.\n{note}")
    return figure


@styled(STYLE | {"axes.grid.axis": "x"})
def methods(panels: Mapping[str, pd.DataFrame], trivial: Mapping[str, Mapping[str, float]], note: str = "") -> Figure:
    """Two-class macro F1 of each method on each set of clips, in percent.

    Args:
        panels: title -> one row per method, in the order to draw from above: columns score, low, high, published (NaN
            where there is none).
        trivial: title -> trivial classifier (of ``TRIVIAL``) -> its score; drawn as lines.
    """
    longest = max(map(len, panels.values()))
    figure, axes = plt.subplots(
        1, len(panels), figsize=(0.6 + 3.4 * len(panels), 1.3 + 0.26 * longest), sharex=True, squeeze=False
    )
    for axis, (title, frame) in zip(axes[0], panels.items(), strict=True):
        lines = range(len(frame))
        for name, value in trivial.get(title, {}).items():
            axis.axvline(value, color=GREY, ls=TRIVIAL[name], lw=1)
        axis.hlines(lines, frame["low"], frame["high"], color=BLUE, lw=1.6)
        axis.plot(frame["score"], lines, "o", color=BLUE, ms=5)
        axis.plot(frame["published"], lines, "D", color=ORANGE, mfc="none", ms=5)
        axis.set(title=title, yticks=lines, yticklabels=frame.index, ylim=(len(frame) - 0.4, -0.6))
        axis.set_xlabel("average two-class macro F1 (%)")
    handles = [Line2D([], [], color=BLUE, marker="o", lw=1.6, label="ours, 95 % interval")]
    if any(frame["published"].notna().any() for frame in panels.values()):
        handles += [Line2D([], [], color=ORANGE, marker="D", mfc="none", ls="", label="published")]
    names = dict.fromkeys(name for scores in trivial.values() for name in scores)
    handles += [Line2D([], [], color=GREY, ls=TRIVIAL[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), fontsize=8)
    caption(figure, note)
    return figure


@styled(STYLE | {"axes.grid.axis": "x"})
def differences(frame: pd.DataFrame, note: str = "") -> Figure:
    """Each method's difference to AU-LLM with its paired interval, a panel per test set; filled where it is supported.

    A method that was not compared has a line that says so.

    Args:
        frame: ``evidence.differences``, with at least one row.
    """
    panels = dict(list(frame.groupby(level=["data", "against"], sort=False)))
    lines = [len(rows) for rows in panels.values()]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(6.4, 0.9 + 0.65 * len(panels) + 0.22 * sum(lines)), sharex=True, squeeze=False,
        height_ratios=[n + 0.6 for n in lines],
    )  # fmt: skip
    for axis, ((data, against), rows) in zip(axes[:, 0], panels.items(), strict=True):
        axis.axvline(0, color="black", lw=0.9)
        for y, (_, row) in enumerate(rows.iterrows()):
            _interval(axis, y, row)
        axis.set_yticks(range(len(rows)), rows.index.get_level_values("method"))
        axis.set(ylim=(len(rows) - 0.4, -0.6))
        axis.set_title(textwrap.fill(f"{data}: method minus {against}", 56), loc="left", fontsize=9)
        axis.tick_params(axis="y", length=0)
    axes[-1, 0].set_xlabel("difference of the averages, points of two-class macro F1")
    figure.legend(handles=_support(), loc="outside upper right", ncols=2, fontsize=8)
    caption(figure, note)
    return figure


def _support() -> list[Line2D]:
    """The legend of ``_interval``."""
    return [
        Line2D([], [], color=BLUE, marker="o", ms=4.5, lw=1.4, label="supported (corrected p below 0.05)"),
        Line2D([], [], color=GREY, marker="o", ms=4.5, lw=1, mfc="white", label="not supported, or cannot be told"),
    ]


def _interval(axis: Axes, y: float, row: pd.Series) -> None:
    """A difference with its interval, a line of a panel."""
    if np.isnan(row["difference"]):
        axis.text(0.01, y, "not compared", transform=axis.get_yaxis_transform(), va="center", fontsize=7, color=GREY)
        return
    supported = row["supported"] == "yes"
    colour = BLUE if supported else GREY
    axis.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.4 if supported else 1)
    axis.plot(row["difference"], y, "o", ms=4.5, color=colour, mfc=colour if supported else "white")


@styled(SMALL | {"axes.grid.axis": "x"})
def controls(frame: pd.DataFrame, note: str = "") -> Figure:
    """Each variant's difference to the whole model with its paired interval, a panel for each data that has some.

    A dot is filled where it is supported; where there are several seeds, each has a tick.

    Args:
        frame: The rows of one model in ``controls.table``, with at least one variant.
    """
    variants = frame[frame["group"] != "reference"]
    parts = {data: rows.droplevel(["model", "data"]) for data, rows in variants.groupby(level="data")}
    panels = {data: parts[data] for data in frame.index.unique("data") if data in parts}
    labels: list[str] = []
    order: list[str] = []  # the variants from above, "" for a heading
    for group, rows in variants.droplevel(["model", "data"]).groupby("group", sort=False):
        what = rows["what"][~rows.index.duplicated()]
        labels += [group, *what]
        order += ["", *what.index]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(PAGE, 0.85 + 0.145 * len(order)), sharex=True, sharey=True, squeeze=False
    )
    for axis, (data, rows) in zip(axes[0], panels.items(), strict=True):
        whole, chance = (frame.xs((data, name), level=("data", "variant")).iloc[0] for name in ("all", CHANCE))
        axis.axvline(0, color="black", lw=0.8)
        axis.axvline(chance["difference"], color=GREY, lw=1, ls=TRIVIAL[CHANCE])
        for variant, row in rows.iterrows():
            y, seeds = order.index(str(variant)), np.array(row["of seeds"]) - whole["score"]
            if len(seeds) > 1:
                axis.plot(seeds, np.full(len(seeds), y), "|", color=GREY, ms=3.5, mew=0.7)
            _interval(axis, y, row)
        axis.set(ylim=(len(order) - 0.4, -0.6), title=textwrap.fill(data, max(18, 60 // len(panels))), xlabel="points")
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(order)), labels)
    for variant, label in zip(order, axes[0, 0].get_yticklabels(), strict=True):
        label.set_fontweight("normal" if variant else "bold")
    handles = [*_support(), Line2D([], [], color=GREY, lw=1, ls=TRIVIAL[CHANCE], label=f"chance level ({CHANCE})")]
    if variants["seeds"].max() > 1:
        handles.append(Line2D([], [], color=GREY, marker="|", ls="", ms=4, label="one seed"))
    figure.legend(handles=handles, loc="outside upper right", ncols=4)
    caption(figure, f"Variant minus the whole model, average two-class macro F1, 95 % interval.\n{note}")
    return figure


@styled(SMALL)
def reliability(frame: pd.DataFrame, errors: pd.Series, note: str = "") -> Figure:
    """How often an AU is present when the model gives it a probability: a panel per AU, a dot as large as its bin.

    Args:
        frame: ``calibration.reliability`` (au, bin, mean_probability, frequency, count); bins without clips are left
            out.
        errors: ``calibration.expected_error`` of each AU, 0 to 1.
    """
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
    caption(figure, note)
    return figure


@styled(SMALL | {"axes.grid.axis": "x"})
def claims(frame: pd.DataFrame, note: str = "") -> Figure:
    """Every comparison of the publication's claims with its interval, a block per claim.

    A dot is filled where the comparison is supported, hollow where it cannot be told, a cross where it is not
    supported; a diamond is the published margin, a pale bar what would not be found in 4 of 5 cases.

    Args:
        frame: ``claims.table``; comparisons without a difference are left out, and those that do not decide.
    """
    shown = frame[frame["difference"].notna() & frame["decides"]]
    models = shown.index.get_level_values("model")
    labels: list[tuple[str, bool]] = []  # and whether it is a heading
    figure, axis = plt.subplots(figsize=(PAGE, 1 + 0.145 * (len(shown) + shown.index.unique("claim").size)))
    axis.axvline(0, color="black", lw=0.8)
    colours = {"supported": BLUE, "not supported": ORANGE}
    for claim, rows in shown.groupby(level="claim", sort=False):
        labels.append((str(claim), True))
        for (_, data, model, against), row in rows.iterrows():
            named = [against, data.removeprefix("synthetic, as "), model] if len(set(models)) > 1 else [against, data]
            at, colour = len(labels), colours.get(row["verdict"], GREY)
            labels.append((", ".join(named).replace("synthetic, as ", ""), False))
            wide = np.array([-1, 1]) * row["detectable"]
            axis.plot(wide, [at, at], color=PALE, lw=4.5, zorder=0, solid_capstyle="butt")
            axis.plot([row["low"], row["high"]], [at, at], color=colour, lw=1.2)
            mark = "X" if row["verdict"] == "not supported" else "o"
            axis.plot(
                row["difference"], at, mark, ms=4, color=colour, mfc=colour if row["verdict"] in colours else "white"
            )
            axis.plot(row["published"], at, "D", ms=3.2, color="black", mfc="none", mew=0.8)
    axis.set_yticks(range(len(labels)), [textwrap.shorten(text, 64, placeholder=" …") for text, _ in labels])
    for (_, heading), label in zip(labels, axis.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if heading else "normal")
    axis.set(ylim=(len(labels) - 0.4, -0.6), xlabel="full model minus control, points")
    axis.tick_params(axis="y", length=0)
    handles = [
        Line2D([], [], color=BLUE, marker="o", ms=4.5, lw=1.2, label="supported"),
        Line2D([], [], color=ORANGE, marker="X", ms=4.5, lw=1.2, label="not supported"),
        Line2D([], [], color=GREY, marker="o", ms=4.5, lw=1.2, mfc="white", label="cannot tell"),
        Line2D([], [], color=PALE, lw=5, label="found in fewer than 4 of 5 cases (one test)"),
    ]
    if shown["published"].notna().any():
        handles.append(Line2D([], [], color="black", marker="D", ms=3.5, ls="", mfc="none", label="published margin"))
    figure.legend(handles=handles, loc="outside upper right", ncols=5)
    rehearsal = "A rehearsal on synthetic releases, no result on CASME II or SAMM.\n" * bool(shown["synthetic"].any())
    caption(figure, rehearsal + note)
    return figure
