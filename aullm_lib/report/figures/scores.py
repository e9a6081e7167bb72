"""The figures of the notebooks, as plain functions: data in, a matplotlib figure out; ``save`` puts them on disk.

Colours are Okabe and Ito's, safe for colour-blind readers; every series also differs in shape or position. Text from
data is drawn as it is: a "$" in a name starts no formula.
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from aullm_lib import facs
from aullm_lib.datasets import TITLES
from aullm_lib.datasets.table import au_columns
from aullm_lib.support import files

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
STYLE: Any = {
    "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.grid.axis": "y", "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "figure.dpi": 110, "savefig.dpi": 200, "pdf.fonttype": 42, "legend.frameon": False,
    "figure.constrained_layout.use": True, "text.parse_math": False,
}  # fmt: skip


def save(figure: Figure, path: Path, provenance: dict) -> list[Path]:
    """``path``.pdf (embedded fonts), .png and .json (provenance), undated: same figure, same bytes."""
    asked_now: Any = {key: STYLE[key] for key in ("pdf.fonttype", "savefig.dpi")}  # not when the figure was made
    with files.explained(path.parent, "the figure"), plt.rc_context(asked_now):
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
            temporary = path.with_name(f".{path.name}{suffix}")
            figure.savefig(temporary, format=suffix[1:], metadata=metadata)
            temporary.replace(path.with_suffix(suffix))
        files.write_json(path.with_suffix(".json"), provenance)
    return [path.with_suffix(suffix) for suffix in (".pdf", ".png", ".json")]


def caption(figure: Figure, note: str, **place) -> None:
    """The small grey line below a figure, wrapped to its width. place: of ``Figure.supxlabel`` (x, ha).

    Further lines make the figure higher: they take nothing from its panels.
    """
    text = wrapped(note, round(17 * figure.get_figwidth()))
    figure.set_figheight(figure.get_figheight() + 0.125 * text.count("\n"))
    figure.supxlabel(text, fontsize=7.5, color=GREY, **place)


def wrapped(note: str, width: int) -> str:
    """Each line of a note in lines of at most ``width`` characters; names of runs, which have hyphens, stay whole."""
    return "\n".join(textwrap.fill(line, width, break_on_hyphens=False) for line in note.splitlines())


def grid(count: int, across: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels of width × height inches, at most ``across`` in a line; the rest stays blank."""
    across = min(across, count)
    lines = -(-count // across)
    figure, axes = plt.subplots(lines, across, figsize=(width * across, height * lines + 0.35), squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, list(axes.flat[:count])


def _title(release: str, table: pd.DataFrame) -> str:
    """A release's name over its panel, "synthetic" before it where its clip table says so."""
    return "synthetic " * bool(table["synthetic"].any()) + TITLES.get(release, release)


def per_au(panels: Mapping[str, Mapping[str, pd.DataFrame]], trivial: Mapping[str, pd.DataFrame], note: str) -> Figure:
    """Two-class macro F1 per AU, one panel per release: a dot with its interval per method, a line for always-negative.

    panels: release -> method -> ``metrics.score``; trivial: release -> the score of the always-negative classifier.
    """
    every = list(dict.fromkeys(method for methods in panels.values() for method in methods))
    drawn: dict[str, Any] = {}  # name -> what stands for it in the legend
    with plt.rc_context(STYLE):
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
                low, high = y - 100 * score["f1_macro_low"], 100 * score["f1_macro_high"] - y
                k = every.index(method) % 7
                drawn[method] = axis.errorbar(
                    x + offset, y, np.clip([low, high], 0, None), fmt=MARKERS[k], ms=5, lw=1.2, capsize=2.5,
                    color=PALETTE[k],
                )  # fmt: skip
            axis.set_xticks(x, [*level.index[:-1], "mean"])
            axis.axvspan(x[-1] - 0.5, x[-1] + 0.5, color="#f2f2f2", zorder=0)
            axis.set(title=release, ylim=(0, 103), xlim=(-0.6, x[-1] + 0.5))
            axis.tick_params(axis="x", length=0)
        axes[0, 0].set_ylabel("two-class macro F1 (%)")
        names = ["always-negative classifier", *every]
        figure.legend([drawn[name] for name in names], names, loc="outside upper center", ncols=4)
        caption(figure, note, ha="left", x=0.01)
    plt.close(figure)
    return figure


def au_counts(
    tables: Mapping[str, pd.DataFrame], expected: Mapping[str, Mapping[int, int]] | None = None, note: str = ""
) -> Figure:
    """How many clips show each AU, a panel a release; the AUs that the paper scores are darker.

    tables: release -> clip table. expected: release -> AU number -> documented clips, drawn as a
    pointer at the bar's side and, where it differs, in brackets under the count; an AU missing from the table then
    has a bar of 0.
    """
    with plt.rc_context(STYLE):
        figure, axes = grid(len(tables), 1, 7.2, 1.95)
        for axis, (release, table) in zip(axes, tables.items(), strict=True):
            counts = table[au_columns(table)].sum()
            documented = {f"AU{number}": count for number, count in (expected or {}).get(release, {}).items()}
            aus = sorted({*counts.index, *documented}, key=lambda au: int(au[2:]))
            heights = counts.reindex(aus, fill_value=0).astype(int)
            scored = {f"AU{n}" for n in facs.BENCHMARK.get(release, ())}
            bars = axis.bar(range(len(aus)), heights, 0.62, color=[BLUE if a in scored else "#b9cfdd" for a in aus])
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
    plt.close(figure)
    return figure


def cooccurrence(tables: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """In how many clips two AUs occur together, a heat map a release; on the diagonal, clips of the AU itself.

    tables: release -> clip table. Drawn are the AUs that the paper scores on the release, elsewhere those of at least
    5 clips (all, if none has 5). The colours rise with the root of the count, in a release's own range.
    """
    with plt.rc_context(STYLE | {"axes.grid": False, "axes.spines.left": False, "axes.spines.bottom": False}):
        pairs = {}
        for release, table in tables.items():
            total = table[au_columns(table)].sum()
            scored = [f"AU{n}" for n in facs.BENCHMARK.get(release, ())]
            aus = scored or list(total.index[total >= 5]) or list(total.index)
            shown = table.reindex(columns=aus, fill_value=0).astype(int)
            pairs[release] = shown.T @ shown
        widest = max(map(len, pairs.values()))
        cell = max(0.27, 1.8 / widest)  # inches
        figure, axes = grid(len(pairs), 3, cell * widest + 0.5, cell * widest + 0.6)
        for axis, (release, together) in zip(axes, pairs.items(), strict=True):
            n, top = len(together), max(1, int(together.to_numpy().max(initial=0)))
            axis.imshow(together, cmap="Blues", norm=PowerNorm(0.5, 0, 1.15 * top), interpolation="nearest")
            for (i, j), count in np.ndenumerate(together):
                colour, weight = "white" if count > 0.6 * top else "black", "bold" if i == j else "normal"
                axis.text(j, i, f"{count}", ha="center", va="center", fontsize=7.5, weight=weight, color=colour)
            names = [au[2:] for au in together.index]
            axis.set_xticks(range(n), names)
            axis.set_yticks(range(n), names)
            axis.xaxis.tick_top()
            axis.tick_params(length=0)
            axis.annotate("AU", (-0.5, -0.5), (-5, 4), textcoords="offset points", ha="right", fontsize=8, color=GREY)
            axis.set(xlim=(-0.5, widest - 0.5), ylim=(widest - 0.5, -0.5), anchor="NW")  # cells of one size everywhere
            axis.set_title(f"{_title(release, tables[release])}: {len(tables[release])} clips", loc="left", y=1, pad=19)
        caption(figure, note)
    plt.close(figure)
    return figure


def lengths(tables: Mapping[str, pd.DataFrame], note: str = "") -> Figure:
    """Histograms of the clips' lengths in frames, a panel a release, with the median and the six frames of a sample.

    tables: release -> clip table (its column ``n_frames``). A clip left of the line at six repeats frames.
    """
    with plt.rc_context(STYLE):
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
            axis.set_title(
                f"{_title(release, table)}: {len(count)} clips, median {count.median():g}"
                + f"\n{short} shorter than six frames" * bool(short),
                loc="left", fontsize=9,
            )  # fmt: skip
            axis.set(xlabel="frames a clip", ylabel="clips", xlim=(-0.03 * longest, None))
            axis.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10), integer=True))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper left", ncols=2, fontsize=8)
        caption(figure, note)
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
        caption(figure, note)
    plt.close(figure)
    return figure


def intensity_curve(points: pd.DataFrame, note: str = "") -> Figure:
    """Score over the synthetic release's intensity: one dot per seed, a line through the means, trivial classifiers.

    points: intensity, seed, f1_macro, always-negative, base-rate random (0 to 1).
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(4.6, 3.1))
        sns.lineplot(data=points, x="intensity", y=100 * points["f1_macro"], errorbar=None, color=BLUE, ax=axis,
                     label="3D-CNN, linear head (mean)")  # fmt: skip
        axis.plot(points["intensity"], 100 * points["f1_macro"], "o", color=BLUE, alpha=0.5, ms=4, label="one seed")
        means = points.groupby("intensity")[["always-negative", "base-rate random"]].mean()
        axis.plot(means.index, 100 * means["always-negative"], "--", color=GREY, label="always-negative")
        axis.plot(means.index, 100 * means["base-rate random"], ":", color=GREY, label="base-rate random")
        axis.set(xlabel="intensity of the synthetic AUs", ylabel="two-class macro F1 (%)", ylim=(35, 100))
        axis.legend(loc="upper left", fontsize=8)
        caption(figure, note)
    plt.close(figure)
    return figure


def policies(points: pd.DataFrame, scored: Sequence[str], note: str = "") -> Figure:
    """Score over the synthetic release's intensity under each threshold policy and of trivial classifiers.

    points: ``intensity``, ``seed``, one column in percent for each policy in ``scored``, and for the classifiers
    "always-negative", "base-rate random" and "random scores, test-tuned".
    """
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(5.2, 3.7))
        means = points.groupby("intensity").mean()
        for i, name in enumerate(scored):
            axis.plot(means.index, means[name], "-" + MARKERS[i], color=PALETTE[i], ms=4.5, lw=1.4, label=name)
        trivial = {"always-negative": "--", "base-rate random": ":", "random scores, test-tuned": "-."}
        for name, style in trivial.items():
            axis.plot(means.index, means[name], style, color=GREY, lw=1.1, label=name)
        axis.set(xlabel="intensity of the synthetic AUs", ylabel="two-class macro F1 (%)")
        figure.legend(loc="outside upper center", ncols=2, fontsize=7)
        caption(figure, note)
    plt.close(figure)
    return figure


BARS = {
    "all": ("All", BLUE, ""), "F_high": ("F_high", "#56B4E9", "///"), "F_mid": ("F_mid", "#b9dcf0", "..."),
    "EFP-": ("EFP-", "#E69F00", "\\\\\\"), "Prompt Learning": ("Prompt", "#f3d999", "xxx"),
}  # fmt: skip
"""Variant of the paper's Table 3 -> its name in Figure 2, and a colour and a hatch that differ in grey too."""


def ablation_bars(panels: Mapping[str, pd.DataFrame], trivial: Mapping[str, float], note: str = "") -> Figure:
    """Figure 2: the average F1 of every ablation by LLM, a panel a data set, as wide as a column of two.

    panels: title -> llm, variant (of ``BARS``), score, low, high, published, in percent; score is NaN where it was not
    run, published where there is nothing to compare with. trivial: title -> the best trivial classifier.
    """
    with plt.rc_context(STYLE | {"font.size": 7, "axes.titlesize": 8, "hatch.linewidth": 0.5}):
        figure, axes = plt.subplots(len(panels), 1, figsize=(3.4, 0.55 + 1.75 * len(panels)), squeeze=False)
        for axis, (title, frame) in zip(axes[:, 0], panels.items(), strict=True):
            llms = list(dict.fromkeys(frame["llm"])) if len(frame) else []
            for i, (variant, (_, colour, hatch)) in enumerate(BARS.items()):
                rows = frame[frame["variant"] == variant].set_index("llm") if len(frame) else frame
                for j, llm in enumerate(llms):
                    x = j + (i - (len(BARS) - 1) / 2) * 0.17
                    score, low, high, published = (float(rows.loc[llm, c]) if llm in rows.index else np.nan
                                                   for c in ("score", "low", "high", "published"))  # fmt: skip
                    if np.isnan(score):
                        axis.annotate("not run", (x, 0), (0, 2), xycoords=("data", "axes fraction"), rotation=90,
                                      textcoords="offset points", ha="center", va="bottom", fontsize=6,
                                      color=GREY)  # fmt: skip
                        continue
                    axis.bar(x, score, 0.155, color=colour, hatch=hatch, ec="#333333", lw=0.5)
                    if not np.isnan(low + high):
                        spread = np.clip([[score - low], [high - score]], 0, None)
                        axis.errorbar(x, score, spread, fmt="none", ecolor="black", lw=0.8, capsize=1.6)
                    if not np.isnan(published):
                        axis.plot(x, published, "D", mfc="white", mec=ORANGE, mew=1, ms=3.6, zorder=4)
            if title in trivial:
                axis.axhline(trivial[title], color=GREY, lw=1, ls="--", zorder=3)
            if not llms:
                axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=GREY)
            axis.set_xticks(range(len(llms)), [textwrap.fill(llm, 16) for llm in llms])
            axis.set(ylim=(0, 100), xlim=(-0.55, max(1, len(llms)) - 0.45), ylabel="two-class macro F1 (%)")
            axis.set_title(title, loc="left")
            axis.tick_params(axis="x", length=0)
        handles: list[Any] = [
            Patch(fc=colour, hatch=hatch, ec="#333333", lw=0.5, label=name) for name, colour, hatch in BARS.values()
        ]
        if trivial:
            handles.append(Line2D([], [], color=GREY, lw=1, ls="--", label="best trivial classifier"))
        if any(frame["published"].notna().any() for frame in panels.values() if len(frame)):
            marker = Line2D([], [], marker="D", ls="", mfc="white", mec=ORANGE, mew=1, ms=3.6, label="published")
            handles.append(marker)
        figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=6.5, columnspacing=1,
                      handlelength=1.4, handletextpad=0.5)  # fmt: skip
        _small_print(figure, note)
    plt.close(figure)
    return figure


def _small_print(figure: Figure, note: str) -> None:
    """The caption of a figure of one column: smaller, and wrapped for that."""
    text = wrapped(note, round(22 * figure.get_figwidth()))
    figure.supxlabel(text, fontsize=5.5, color=GREY, ha="left", x=0.01)
