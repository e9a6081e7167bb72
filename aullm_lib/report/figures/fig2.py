"""The paper's Figure 2: the average F1 of every ablation of Table 3, by LLM."""

import textwrap
from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from aullm_lib.report.figures.style import BLUE, COLUMN, GREY, ORANGE, SMALL, caption, styled

BARS = {
    "all": ("All", BLUE, ""), "F_high": ("F_high", "#56B4E9", "///"), "F_mid": ("F_mid", "#b9dcf0", "..."),
    "EFP-": ("EFP-", "#E69F00", "\\\\\\"), "Prompt Learning": ("Prompt", "#f3d999", "xxx"),
}  # fmt: skip
"""Variant of the paper's Table 3 -> its name in Figure 2, and a colour and a hatch that differ in grey too."""
EDGE: Any = {"ec": "#333333", "lw": 0.5}
PUBLISHED: Any = {"marker": "D", "ls": "", "mfc": "white", "mec": ORANGE, "mew": 1, "ms": 3.6, "label": "published"}
CHANCE: Any = {"color": GREY, "lw": 1, "ls": "--", "label": "best trivial classifier"}


@styled(SMALL)
def figure2(panels: Mapping[str, pd.DataFrame], trivial: Mapping[str, float], note: str = "") -> Figure:
    """The average two-class macro F1 of every ablation, a panel per release, a column of a page wide.

    Args:
        panels: title -> llm, variant (of ``BARS``), score, low, high, published, in percent; score is NaN where it was
            not run, published where there is nothing to compare with.
        trivial: title -> the best trivial classifier's score.
    """
    figure, axes = plt.subplots(len(panels), 1, figsize=(COLUMN, 0.5 + 1.75 * len(panels)), squeeze=False)
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
                axis.bar(x, score, 0.155, color=colour, hatch=hatch, **EDGE)
                if not np.isnan(low + high):
                    spread = np.clip([[score - low], [high - score]], 0, None)
                    axis.errorbar(x, score, spread, fmt="none", ecolor="black", lw=0.8, capsize=1.6)
                if not np.isnan(published):
                    axis.plot(x, published, zorder=4, **PUBLISHED)
        if title in trivial:
            axis.axhline(trivial[title], zorder=3, **CHANCE)
        if not llms:
            axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=GREY)
        axis.set_xticks(range(len(llms)), [textwrap.fill(llm, 16) for llm in llms])
        axis.set(ylim=(0, 100), xlim=(-0.55, max(1, len(llms)) - 0.45), ylabel="two-class macro F1 (%)")
        axis.set_title(title, loc="left")
        axis.tick_params(axis="x", length=0)
    handles: list[Any] = [Patch(fc=colour, hatch=hatch, label=name, **EDGE) for name, colour, hatch in BARS.values()]
    if trivial:
        handles.append(Line2D([], [], **CHANCE))
    if any(frame["published"].notna().any() for frame in panels.values() if len(frame)):
        handles.append(Line2D([], [], **PUBLISHED))
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=6.5, columnspacing=1,
                  handlelength=1.4, handletextpad=0.5)  # fmt: skip
    caption(figure, note)
    return figure
