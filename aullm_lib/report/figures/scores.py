"""Figures of labels and scores: AU counts, losses, scores per AU and method, what they bear, calibration.

Each takes a ``note``: its first line is the small print below the panels, the whole the figure's caption.
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
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from aullm_lib import facs
from aullm_lib.datasets import TITLES
from aullm_lib.explain.probes import WEAK
from aullm_lib.facs import au_columns
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.report.figures.canvas import HEAT, SIGNED
from aullm_lib.report.figures.style import (
    BLUE,
    COLUMN,
    GREY,
    MARKERS,
    NOTE,
    ORANGE,
    PAGE,
    PALE,
    PALETTE,
    STYLE,
    caption,
    grid,
    styled,
)

F1 = "two-class macro F1 (%)"
FEWEST_CLIPS = 5  # of a bin of the reliability diagram
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
        1, len(panels), figsize=(PAGE if sum(widths) > 6 else COLUMN, 2.3), sharey=True, width_ratios=widths,
        squeeze=False,
    )  # fmt: skip
    for axis, (release, methods) in zip(axes[0], panels.items(), strict=True):
        level = 100 * trivial[release]["f1_macro"]
        x = np.arange(len(level))
        drawn["always-negative classifier"] = axis.hlines(level, x - 0.38, x + 0.38, color=GREY, lw=1.5, zorder=1)
        for i, (method, score) in enumerate(methods.items()):
            offset = (i - (len(methods) - 1) / 2) * min(0.25, 0.7 / len(methods))
            y = 100 * score["f1_macro"]
            spread = np.clip([y - 100 * score["f1_macro_low"], 100 * score["f1_macro_high"] - y], 0, None)
            k = every.index(method) % 7
            drawn[method] = axis.errorbar(
                x + offset, y, spread, fmt=MARKERS[k], ms=3.5, lw=1, capsize=1.8, color=PALETTE[k]
            )
        axis.set_xticks(x, [*(au.removeprefix("AU") for au in level.index[:-1]), "mean"])
        axis.axvspan(x[-1] - 0.5, x[-1] + 0.5, color="#f2f2f2", zorder=0)
        title = textwrap.fill(release, max(16, round(20 * figure.get_figwidth() * len(level) / sum(widths))))
        axis.set(title=title, ylim=(0, 103), xlim=(-0.6, x[-1] + 0.5))
        axis.tick_params(axis="x", length=0)
        axis.set_xlabel("AU")
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
    figure, axes = grid(len(tables), 1, 1.5)
    for axis, (release, table) in zip(axes, tables.items(), strict=True):
        counts = table[au_columns(table)].sum()
        documented = {f"AU{number}": count for number, count in (expected or {}).get(release, {}).items()}
        aus = sorted({*counts.index, *documented}, key=lambda au: int(au[2:]))
        heights = counts.reindex(aus, fill_value=0).astype(int)
        scored = {f"AU{n}" for n in facs.BENCHMARK.get(release, ())}
        bars = axis.bar(range(len(aus)), heights, 0.62, color=[BLUE if a in scored else PALE for a in aus])
        texts = [f"{n}" if documented.get(a, n) == n else f"{n}\n({documented[a]})" for a, n in heights.items()]
        axis.bar_label(bars, texts, fontsize=NOTE, padding=1.5)
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
                      handletextpad=0)  # fmt: skip
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
    across = max(1, min(3, len(pairs), int(PAGE / (0.21 * widest + 0.5))))
    room = (COLUMN if len(pairs) == 1 and 0.21 * widest + 0.5 <= COLUMN else PAGE) / across - 0.5
    cell = min(0.34, room / widest)  # inches
    lines = -(-len(pairs) // across)
    figure, axes = plt.subplots(
        lines, across, figsize=(across * (room + 0.5), lines * (cell * widest + 0.45)), squeeze=False
    )
    for axis in axes.flat[len(pairs) :]:
        axis.set_axis_off()
    for axis, (release, together) in zip(axes.flat, pairs.items(), strict=False):
        n, top = len(together), max(1, int(together.to_numpy().max(initial=0)))
        numbers = together.rename(index=lambda au: au[2:], columns=lambda au: au[2:])
        sns.heatmap(
            numbers, ax=axis, cmap=HEAT, norm=PowerNorm(0.5, 0, top), annot=True, fmt="d", annot_kws={"size": NOTE},
            cbar=False, xticklabels=1, yticklabels=1,
        )  # fmt: skip
        for text in axis.texts[:: n + 1]:
            text.set_fontweight("bold")  # the diagonal
        axis.xaxis.tick_top()
        axis.tick_params(length=0, rotation=0)
        axis.annotate("AU", (0, 0), (-5, 4), textcoords="offset points", ha="right", fontsize=NOTE, color=GREY)
        axis.set(
            xlim=(0, widest), ylim=(widest, 0), anchor="NW", aspect="equal", xlabel="", ylabel=""
        )  # cells of one size everywhere
        axis.set_title(f"{_title(release, tables[release])}: {len(tables[release])} clips", loc="left", y=1, pad=14)
        bar = figure.colorbar(
            axis.collections[0],
            cax=axis.inset_axes((n / widest + 0.03, 1 - n / widest, 0.04, n / widest)),
            ticks=[0, top],
        )
        bar.ax.tick_params(length=2)
        bar.ax.minorticks_off()
    caption(figure, note)
    return figure


@styled(STYLE | {"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False})
def shortcuts(releases: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """What of synthetic clips may tell an AU: ROC-AUC of each fact and AU, marked where it is more than chance.

    Args:
        releases: release -> ``rehearsal.shortcuts``. A cell without a pair of clips to compare is empty.
    """
    heights = [len(frame.index.unique("au")) for frame in releases.values()]
    figure, axes = plt.subplots(
        len(heights), 1, figsize=(PAGE, 0.75 + sum(0.17 * height + 0.2 for height in heights)), squeeze=False,
        height_ratios=heights,
    )  # fmt: skip
    for axis, (release, frame) in zip(axes[:, 0], releases.items(), strict=True):
        marked = frame["area"].map("{:.2f}".format) + frame["shortcut"].map({True: "*", False: ""})
        table, texts = (column.unstack("fact", sort=False) for column in (frame["area"], marked))  # noqa: PD010
        sns.heatmap(
            table, ax=axis, cmap=SIGNED, vmin=0, vmax=1, annot=texts, fmt="", annot_kws={"size": NOTE}, cbar=False,
            yticklabels=1, xticklabels=axis is axes[-1, 0],
        )  # fmt: skip
        axis.tick_params(length=0, rotation=0)
        axis.set(xlabel="", ylabel="")
        axis.set_title(f"synthetic {TITLES[release]}", loc="left")
    axes[-1, 0].set_xticklabels([textwrap.fill(name, 11) for name in table])
    bar = figure.colorbar(axes[0, 0].collections[0], ax=axes[:, 0], pad=0.01, aspect=30, ticks=(0, 0.5, 1))
    bar.set_label("ROC-AUC within subjects (0.5: chance level)")
    bar.ax.tick_params(length=2)
    caption(figure, note)
    return figure


@styled(STYLE)
def lengths(tables: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """Histograms of the clips' lengths in frames, a panel per release, with the median and the six sampled frames.

    A clip left of the line at six repeats frames.

    Args:
        tables: release -> clip table (its column ``n_frames``).
    """
    figure, axes = grid(len(tables), 3, 1.6)
    for axis, (release, table) in zip(axes, tables.items(), strict=True):
        count = table["n_frames"]
        longest = int(count.max())
        width = -(-(longest + 1) // 30)  # whole frames: every bin has the same number of lengths
        edges = [edge - 0.5 for edge in range(0, longest + width + 1, width)]
        axis.hist(count, edges, color="#7fb0d3", ec="white", lw=0.4)
        axis.axvline(count.median(), color=ORANGE, lw=1.6, label="median")
        axis.axvline(6, color="black", lw=1.1, ls=":", label="the six frames of a sample")
        short = int((count < 6).sum())
        title = f"{_title(release, table)}: {len(count)} clips,\nmedian {count.median():g}"
        axis.set_title(title + f", {short} shorter than six" * bool(short), loc="left")
        axis.set(xlabel="frames per clip", ylabel="clips", xlim=(-0.03 * longest, None))
        axis.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10), integer=True))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    caption(figure, note)
    return figure


@styled(STYLE)
def losses(logs: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """Training loss over epochs, a panel per run, two in a line: a thin line per fold, a thick one for their mean.

    Args:
        logs: title -> fold, epoch, loss.
    """
    across, down = min(2, len(logs)), -(-len(logs) // 2)
    figure, axes = plt.subplots(down, across, figsize=(PAGE * across / 2, 2 * down), sharey=True, squeeze=False)
    for axis in axes.flat[len(logs) :]:
        axis.set_axis_off()
    for axis, (title, log) in zip(axes.flat, logs.items(), strict=False):
        for _, fold in log.groupby("fold"):
            axis.plot(fold["epoch"], fold["loss"], color=BLUE, alpha=0.25, lw=0.6)
        mean = log.groupby("epoch")["loss"].mean()
        axis.plot(mean.index, mean, color=BLUE, lw=1.6, label=f"mean of {log['fold'].nunique()} folds")
        axis.set(title=textwrap.fill(title, 56, break_on_hyphens=False), xlabel="epoch", yscale="log")
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axis.legend()
    low, high = axes[0, 0].get_ylim()
    plain = LogLocator(subs=(1, 2, 5) if high / low > 3 else (1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9))
    axes[0, 0].yaxis.set(major_locator=plain, major_formatter="{x:g}", minor_locator=NullLocator())
    for axis in axes[:, 0]:
        axis.set_ylabel("training loss per clip")
    caption(figure, note)
    return figure


@styled(STYLE)
def signal(frame: pd.DataFrame, title: str, note: str = "") -> Figure:
    """What reaches the head over the epochs: norms and spreads on the left, their ratio, the signal, on the right.

    A line is the median over folds, with a band from the lowest to the highest fold.

    Args:
        frame: ``probes.signal`` of a run.
    """
    figure, (sizes, ratios) = plt.subplots(1, 2, figsize=(PAGE, 2.5), width_ratios=(1, 0.85))
    folds = frame.drop(columns="fold").groupby("epoch")
    low, middle, high = folds.min(), folds.median(), folds.max()
    epochs = middle.index.to_numpy()

    def line(axis: Axes, column: str, label: str, **look: Any) -> None:
        unit = 100 if axis is ratios else 1
        axis.plot(epochs, unit * middle[column], ms=3, label=label, **look)
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
    figure.legend(handles=handles, loc="outside upper left", ncols=3, handlelength=3)
    caption(figure, f"{note}\nLines: the median over folds. Bands: from the lowest to the highest fold.")
    return figure


@styled(STYLE)
def intensity_curve(points: pd.DataFrame, trivial: Sequence[str] = tuple(TRIVIAL), note: str = "") -> Figure:
    """Score over the synthetic release's intensity: a point with its interval per scorer and seed, lines of the means.

    Args:
        points: ``intensity``, ``seed``, ``scorer``, ``score``, ``low`` and ``high`` (NaN where there is no interval),
            and the columns named by ``trivial``; scores from 0 to 1.
        trivial: of ``TRIVIAL``, those to draw, each the mean over seeds.
    """
    long = max(map(len, [*points["scorer"], *trivial])) > 30
    entries = points["scorer"].nunique() + len(trivial)
    figure, axis = plt.subplots(figsize=(COLUMN, 2.1 + 0.13 * (entries if long else -(-entries // 2))))
    levels, scorers = np.sort(points["intensity"].unique()), list(points["scorer"].unique())
    marks = points[["scorer", "seed"]].drop_duplicates()
    step = 0.03 * (np.ptp(levels) or 1)  # so that intervals at one intensity stand beside each other
    percent = points.assign(**{name: 100 * points[name] for name in ("score", "low", "high", *trivial)})
    for k, ((scorer, _), rows) in enumerate(percent.groupby(["scorer", "seed"], sort=False)):
        x, i = rows["intensity"] + (k - (len(marks) - 1) / 2) * step, scorers.index(scorer)
        spread = np.clip([rows["score"] - rows["low"], rows["high"] - rows["score"]], 0, None)
        axis.errorbar(x, rows["score"], spread, fmt=MARKERS[i], color=PALETTE[i], ms=3.5, lw=0.9, capsize=1.6)
    handles: list[Line2D] = []
    for i, scorer in enumerate(scorers):
        mean = percent[percent["scorer"] == scorer].groupby("intensity")["score"].mean()
        axis.plot(mean, color=PALETTE[i], lw=1, alpha=0.6)
        handles.append(Line2D([], [], color=PALETTE[i], marker=MARKERS[i], ms=3.5, lw=1, label=scorer))
    for name in trivial:
        handles += axis.plot(percent.groupby("intensity")[name].mean(), color=GREY, ls=TRIVIAL[name], lw=1, label=name)
    axis.set(xlabel="intensity of the synthetic AUs", ylabel=F1, xticks=levels)
    figure.legend(handles=handles, loc="outside upper left", ncols=1 if long else 2)
    caption(figure, f"{note}\nPoints: one seed each, with 95 % intervals over subjects. Lines: the mean over seeds.")
    return figure


@styled(STYLE)
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
    caption(figure, f"{note}\nBands: 2.5 % to 97.5 % quantiles of the simulated test sets.")
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
    size = (COLUMN, 1.3 + 0.17 * longest) if len(panels) == 1 else (PAGE, 0.9 + 0.17 * longest)
    figure, axes = plt.subplots(1, len(panels), figsize=size, sharex=True, squeeze=False)
    for axis, (title, frame) in zip(axes[0], panels.items(), strict=True):
        lines = range(len(frame))
        for name, value in trivial.get(title, {}).items():
            axis.axvline(value, color=GREY, ls=TRIVIAL[name], lw=1)
        axis.hlines(lines, frame["low"], frame["high"], color=BLUE, lw=1.2)
        axis.plot(frame["score"], lines, "o", color=BLUE, ms=3.5)
        axis.plot(frame["published"], lines, "D", color=ORANGE, mfc="none", ms=3.5)
        axis.set(title=textwrap.fill(title, 48), yticks=lines, yticklabels=frame.index, ylim=(len(frame) - 0.4, -0.6))
        axis.set_xlabel("average two-class macro F1 (%)")
    handles = [Line2D([], [], color=BLUE, marker="o", ms=3.5, lw=1.2, label="ours, 95 % interval")]
    if any(frame["published"].notna().any() for frame in panels.values()):
        handles += [Line2D([], [], color=ORANGE, marker="D", ms=3.5, mfc="none", ls="", label="published")]
    names = dict.fromkeys(name for scores in trivial.values() for name in scores)
    handles += [Line2D([], [], color=GREY, ls=TRIVIAL[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside upper left", ncols=2 if len(panels) == 1 else len(handles))
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
    titles = [textwrap.fill(f"{data}: method minus {against}", 44) for data, against in panels]
    words = [title.count("\n") + 1 for title in titles]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(COLUMN, 0.7 + 0.16 * len(panels) + 0.14 * sum(lines + words)), sharex=True,
        squeeze=False, height_ratios=[n + 0.6 for n in lines],
    )  # fmt: skip
    for axis, title, rows in zip(axes[:, 0], titles, panels.values(), strict=True):
        axis.axvline(0, color="black", lw=0.9)
        for y, (_, row) in enumerate(rows.iterrows()):
            _interval(axis, y, row)
        axis.set_yticks(range(len(rows)), rows.index.get_level_values("method"))
        axis.set(ylim=(len(rows) - 0.4, -0.6))
        axis.set_title(title, loc="left")
        axis.tick_params(axis="y", length=0)
    axes[-1, 0].set_xlabel("points of two-class macro F1, averaged")
    figure.legend(handles=_support(), loc="outside upper left")
    caption(figure, note)
    return figure


def _support() -> list[Line2D]:
    """The legend of ``_interval``."""
    return [
        Line2D([], [], color=BLUE, marker="o", ms=3.5, lw=1.2, label="supported (corrected p below 0.05)"),
        Line2D([], [], color=GREY, marker="o", ms=3.5, lw=0.9, mfc="white", label="not supported, or cannot be told"),
    ]


def _interval(axis: Axes, y: float, row: pd.Series) -> None:
    """A difference with its interval, a line of a panel."""
    if np.isnan(row["difference"]):
        axis.text(0.01, y, "not compared", transform=axis.get_yaxis_transform(), va="center", fontsize=NOTE, color=GREY)
        return
    supported = row["supported"] == "yes"
    colour = BLUE if supported else GREY
    axis.plot([row["low"], row["high"]], [y, y], color=colour, lw=1.2 if supported else 0.9)
    axis.plot(row["difference"], y, "o", ms=3.5, color=colour, mfc=colour if supported else "white")


@styled(STYLE | {"axes.grid.axis": "x"})
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
        1, len(panels), figsize=(PAGE, 1.2 + 0.145 * len(order)), sharex=True, sharey=True, squeeze=False
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
        axis.set(ylim=(len(order) - 0.4, -0.6), title=textwrap.fill(data, max(18, 60 // len(panels))))
        axis.set_xlabel("minus the whole model\n(points of macro F1)")
        axis.tick_params(axis="y", length=0)
    axes[0, 0].set_yticks(range(len(order)), labels)
    for variant, label in zip(order, axes[0, 0].get_yticklabels(), strict=True):
        label.set_fontweight("normal" if variant else "bold")
    handles = [*_support(), Line2D([], [], color=GREY, lw=1, ls=TRIVIAL[CHANCE], label=f"chance level ({CHANCE})")]
    if variants["seeds"].max() > 1:
        handles.append(Line2D([], [], color=GREY, marker="|", ls="", ms=4, label="one seed"))
    figure.legend(handles=handles, loc="outside upper right", ncols=2)
    caption(figure, f"{note}\nVariant minus the whole model, average two-class macro F1.")
    return figure


@styled(STYLE)
def reliability(frame: pd.DataFrame, errors: pd.Series, note: str = "") -> Figure:
    """How often an AU is present when the model gives it a probability: a panel per AU, a dot as large as its bin.

    Args:
        frame: ``calibration.reliability`` (au, bin, mean_probability, frequency, count); bins of fewer than
            ``FEWEST_CLIPS`` are left out.
        errors: ``calibration.expected_error`` (ECE) of each AU over all bins, 0 to 1.
    """
    aus = list(dict.fromkeys(frame["au"]))
    figure, axes = grid(len(aus), 4, 1.6)
    filled = frame[frame["count"] >= FEWEST_CLIPS].sort_values("mean_probability")
    largest = max([1, *filled["count"]])
    for axis, au in zip(axes, aus, strict=True):
        rows = filled[filled["au"] == au]
        axis.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
        axis.plot(rows["mean_probability"], rows["frequency"], color=BLUE, lw=0.9)
        axis.scatter(rows["mean_probability"], rows["frequency"], 4 + 50 * rows["count"] / largest, color=BLUE,
                     alpha=0.75, lw=0, clip_on=False)  # fmt: skip
        axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=(0, 0.5, 1), yticks=(0, 0.5, 1))
        axis.set_title(f"{au}, ECE {100 * errors[au]:.0f} %", loc="left")
    for axis in axes[::4]:
        axis.set_ylabel("share of clips with it")
    for axis in axes[-4:]:
        axis.set_xlabel("probability")
    handles = [
        Line2D([], [], color=GREY, lw=0.8, ls="--", label="calibrated"),
        Line2D([], [], color=BLUE, lw=0.9, marker="o", ms=4, label=f"bins, by area up to {largest:.0f} clips"),
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=2)
    caption(figure, f"{note}\nECE: expected calibration error. Bins of fewer than {FEWEST_CLIPS} clips are not drawn.")
    return figure


@styled(STYLE | {"axes.grid.axis": "x"})
def claims(frame: pd.DataFrame, note: str = "") -> Figure:
    """Every comparison of the publication's claims with its interval, a block per claim.

    A dot is filled where the comparison is supported, hollow where it cannot be told, a cross where it is not
    supported; a diamond is the published margin, a pale bar what would not be found in 4 of 5 cases.

    Args:
        frame: ``claims.table``; comparisons without a difference are left out, and those that do not decide.
    """
    shown = frame[frame["difference"].notna() & frame["decides"]]
    several = shown.index.unique("model").size > 1
    labels, places, end = list[str](), list[float](), 0.0  # end: of what is labelled so far, in lines

    def labelled(text: str) -> float:
        """Adds a label, and returns the place of its middle."""
        nonlocal end
        lines = textwrap.fill(text, 72, break_on_hyphens=False)
        tall = 1 + 0.8 * lines.count("\n")
        labels.append(lines)
        places.append(end + tall / 2)
        end += tall
        return places[-1]

    figure, axis = plt.subplots()
    axis.axvline(0, color="black", lw=0.8)
    colours = {"supported": BLUE, "not supported": ORANGE}
    for claim, rows in shown.groupby(level="claim", sort=False):
        labelled(str(claim))
        for (_, data, model, against), row in rows.iterrows():
            named = [against, data.removeprefix("synthetic, as "), *([model] if several else [])]
            at = labelled(", ".join(named).replace("synthetic, as ", ""))
            colour = colours.get(row["verdict"], GREY)
            wide = np.array([-1, 1]) * row["detectable"]
            axis.plot(wide, [at, at], color=PALE, lw=4.5, zorder=0, solid_capstyle="butt")
            axis.plot([row["low"], row["high"]], [at, at], color=colour, lw=1.2)
            mark = "X" if row["verdict"] == "not supported" else "o"
            axis.plot(
                row["difference"], at, mark, ms=4, color=colour, mfc=colour if row["verdict"] in colours else "white"
            )
            axis.plot(row["published"], at, "D", ms=3.2, color="black", mfc="none", mew=0.8)
    figure.set_size_inches(PAGE, 1 + 0.13 * end)
    axis.set_yticks(places, labels)
    for label in axis.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in frame.index.unique("claim") else "normal")
    axis.set(ylim=(end, 0), xlabel="full model minus control, points")
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
    rehearsal = "A rehearsal on synthetic releases, no result on CASME II or SAMM. " * bool(shown["synthetic"].any())
    caption(figure, rehearsal + note)
    return figure
