"""How well maps say where AUs act, drawn: the maps side by side, their scores, deletion and insertion."""

import textwrap
from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from aullm_lib.explain.localisation import NO_MODEL, RANDOMISED
from aullm_lib.explain.sanity import ALL
from aullm_lib.report.figures.fig3 import FREE, SMALL, overlaid, small_print
from aullm_lib.report.figures.scores import BLUE, GREEN, GREY, MARKERS, ORANGE, PALETTE, wrapped


def sheet(rows: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray], np.ndarray | None]], note: str = "") -> Figure:
    """One AU of one clip in a line: a frame, and every map over it.

    rows: title -> (frame [h, w], map's name -> its evidence [h, w], at least 0, the AU's mask or None). All rows have
    the same maps. A map's colours end at its 99.5th percentile, so that single pixels do not hide the rest. A blue line
    surrounds where the AU acts.
    """
    names = ["frame", *next(iter(rows.values()))[1]]
    width, head, gap = 7.0, 0.17, 0.03  # inches
    side = (width - gap * len(names)) / len(names)
    with plt.rc_context(FREE):
        text = wrapped(note, 155)
        foot = 0.08 + 0.1 * len(text.splitlines())
        titles = [textwrap.fill(name, round(17 * side), break_long_words=False) for name in names]
        above = 0.05 + 0.1 * max(title.count("\n") + 1 for title in titles)
        height = above + len(rows) * (side + head) + foot
        figure = plt.figure(figsize=(width, height))
        for i, (title, (frame, maps, mask)) in enumerate(rows.items()):
            top = above + i * (side + head) + head
            figure.text(gap / width, 1 - (top - 0.04) / height, title, fontsize=6.5)
            for j, heat in enumerate([np.zeros_like(frame, float), *maps.values()]):
                end = np.quantile(heat, 0.995) or heat.max() or 1
                x = gap + j * (side + gap)
                axis = figure.add_axes((x / width, 1 - (top + side) / height, side / width, side / height))
                axis.imshow(overlaid(frame, np.minimum(heat / end, 1)), interpolation="nearest")
                if mask is not None:
                    axis.contour(mask, [0.5], colors=BLUE, linewidths=0.8)
                axis.set_axis_off()
                if i == 0:
                    figure.text((x + side / 2) / width, 1 - 0.03 / height, titles[j], ha="center", va="top", fontsize=6)
        figure.text(gap / width, 0.03 / height, text, fontsize=5.5, color=GREY)
    plt.close(figure)
    return figure


def localisation(scores: pd.DataFrame, note: str = "") -> Figure:
    """Both pointing games of every map, a panel an AU, with intervals over subjects; a dashed line where chance is.

    scores: ``sanity.summary``. Hollow: randomised weights ("untrained"). The note names AUs without an interval.
    """
    alone = dict.fromkeys(scores.index[scores["subjects"] == 1].get_level_values("au"))
    if alone:
        note += f"\nNo interval for {', '.join(alone)}: a single subject."
    keys = list(dict.fromkeys(scores.index.droplevel("au")))
    order = sorted(keys, key=lambda key: (key[0] == NO_MODEL, key[0].endswith(RANDOMISED)))  # stable
    aus = list(dict.fromkeys(scores.index.get_level_values("au")))
    models = list(dict.fromkeys(model.removesuffix(RANDOMISED) for model, _ in order))
    kinds = [(key[0] == NO_MODEL, key[0].endswith(RANDOMISED)) for key in order]
    breaks = [y - 0.5 for y in range(1, len(order)) if kinds[y] != kinds[y - 1]]
    with plt.rc_context(SMALL | {"axes.grid.axis": "x"}):
        figure, axes = plt.subplots(
            2, len(aus), figsize=(7.0, 1.0 + 0.26 * len(order)), sharey=True, sharex=True, squeeze=False
        )
        for line, measure in zip(axes, ("pointing_game", "energy_pointing_game"), strict=True):
            for axis, au in zip(line, aus, strict=True):
                part = 100 * scores.xs(au, level="au").loc[order]
                for y, ((model, _), row) in enumerate(zip(order, part.to_dict("records"), strict=True)):
                    index = models.index(model.removesuffix(RANDOMISED))
                    colour = GREY if model == NO_MODEL else (BLUE, ORANGE, GREEN)[index % 3]
                    axis.plot([row[f"{measure}_low"], row[f"{measure}_high"]], [y, y], color=colour, lw=1)
                    axis.plot(row[measure], y, MARKERS[index % 7], color=colour, ms=3.2, mew=0.8, clip_on=False,
                              mfc="white" if model.endswith(RANDOMISED) else colour, zorder=3)  # fmt: skip
                axis.axvline(part["area"].iloc[0], color="black", lw=0.8, ls="--", zorder=1)
                axis.hlines(breaks, 0, 100, color="#bbbbbb", lw=0.5)
                axis.set(xlim=(0, 100), ylim=(len(order) - 0.4, -0.6))
                axis.set_xticks((0, 50, 100))
                axis.tick_params(length=0, axis="y")
                if measure == "pointing_game":
                    count = round(part["pairs"].iloc[0] / 100)
                    axis.set_title(f"{au}\n{count} {'clips' if au != ALL else 'maps'}")
            line[0].set_yticks(range(len(order)), [named(*key) for key in order])
            line[0].set_ylabel("pointing game (%)" if measure == "pointing_game" else "energy pointing game (%)")
        small_print(figure, note)
    plt.close(figure)
    return figure


def named(model: str, method: str, *, short: bool = False) -> str:
    """A map's name in a figure, such as "Grad-CAM, AU-LLM, untrained" or "centre". short: without the model."""
    of = "" if short or model == NO_MODEL else f", {model.removesuffix(RANDOMISED)}"
    return method + of + (", untrained" if model.endswith(RANDOMISED) else "")


def curves(lines: pd.DataFrame, scores: pd.DataFrame, model: str, note: str = "") -> Figure:
    """Deletion and insertion of one model: the mean probability of the AU while pixels come to rest or begin to move.

    lines: ``localisation.measure``'s curves; scores: ``sanity.summary``, for the areas in the legend.
    """
    shown = lines[lines["model"].isin([model, NO_MODEL])]
    keys = list(dict.fromkeys(zip(shown["model"], shown["method"], strict=True)))
    areas = scores.xs(ALL, level="au")
    names = [f"{key[1]} ({areas.loc[key, 'deletion']:.2f}, {areas.loc[key, 'insertion']:.2f})" for key in keys]
    with plt.rc_context(SMALL):
        figure, axes = plt.subplots(1, 2, figsize=(3.4, 2.75), sharey=True)
        for axis, curve in zip(axes, ("deletion", "insertion"), strict=True):
            for i, key in enumerate(keys):
                line = shown[(shown["model"] == key[0]) & (shown["method"] == key[1]) & (shown["curve"] == curve)]
                how: Mapping = {"color": PALETTE[i % 7], "marker": MARKERS[i % 7], "ms": 2.5}
                if key[0] == NO_MODEL:
                    how = {"color": GREY, "ls": ("--", ":", "-.")[i % 3]}
                axis.plot(100 * line["share"], line["probability"], lw=1.1, **how)
            axis.set_title(f"{curve} ({'low' if curve == 'deletion' else 'high'} is good)", loc="left")
            axis.set(xlim=(0, 100), xlabel="pixels changed (%)")
        axes[0].set(ylabel="mean probability of the AU", ylim=(0, 1.06 * max(shown["probability"])))
        figure.legend(
            axes[0].lines, names, loc="outside upper left", ncols=2, fontsize=5.8, columnspacing=1, handlelength=1.8,
            title="map (area under deletion, insertion)", title_fontsize=5.8, alignment="left",
        )  # fmt: skip
        small_print(figure, note)
    plt.close(figure)
    return figure
