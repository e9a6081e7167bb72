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

from aullm_lib.report.figures.style import BLUE, COLUMN, GREY, NOTE, ORANGE, STYLE, caption, styled

BARS = {"all": "All", "F_high": "F_high", "F_mid": "F_mid", "EFP-": "EFP-", "Prompt Learning": "Prompt"}
"""Variant of the paper's Table 3 -> its name in Figure 2."""
LOOKS: Any = (
    {"color": BLUE}, {"color": "#E69F00", "hatch": "///"}, {"color": "#b9dcf0", "hatch": "..."},
    {"color": "#CC79A7", "hatch": "xxx"}, {"color": "#dddddd"},
)  # fmt: skip
"""Colour and hatch of each LLM, which differ in grey too; a sixth LLM is drawn as the first."""
EDGE: Any = {"ec": "#333333", "lw": 0.5}
PUBLISHED: Any = {"marker": "D", "ls": "", "mfc": "white", "mec": ORANGE, "mew": 1, "ms": 3.6, "label": "published"}
CHANCE: Any = {"color": GREY, "lw": 1, "ls": "--", "label": "best trivial classifier"}


@styled(STYLE)
def figure2(panels: Mapping[str, pd.DataFrame], trivial: Mapping[str, float], note: str = "") -> Figure:
    """The average two-class macro F1 of every ablation, a panel per release, the LLMs' bars side by side.

    Args:
        panels: title -> llm, variant (of ``BARS``), score, low, high, published, in percent; score is NaN where it was
            not run, published where there is nothing to compare with.
        trivial: title -> the best trivial classifier's score.
    """
    llms = list(dict.fromkeys(llm for frame in panels.values() if len(frame) for llm in frame["llm"]))
    looks = {llm: LOOKS[j % len(LOOKS)] for j, llm in enumerate(llms)}
    step = 0.8 / max(2, len(llms))
    figure, axes = plt.subplots(len(panels), 1, figsize=(COLUMN, 0.5 + 1.6 * len(panels)), squeeze=False)
    for axis, (title, frame) in zip(axes[:, 0], panels.items(), strict=True):
        rows = frame.set_index(["variant", "llm"]) if len(frame) else frame
        for i, variant in enumerate(BARS):
            for j, llm in enumerate(llms if len(frame) else ()):
                x = i + (j - (len(llms) - 1) / 2) * step
                score, low, high, published = (float(rows.loc[(variant, llm), c]) if (variant, llm) in rows.index
                                               else np.nan for c in ("score", "low", "high", "published"))  # fmt: skip
                if np.isnan(score):
                    axis.annotate("not run", (x, 0), (0, 2), xycoords=("data", "axes fraction"), rotation=90,
                                  textcoords="offset points", ha="center", va="bottom", fontsize=NOTE,
                                  color=GREY)  # fmt: skip
                    continue
                axis.bar(x, score, 0.9 * step, **looks[llm], **EDGE)
                if not np.isnan(low + high):
                    spread = np.clip([[score - low], [high - score]], 0, None)
                    axis.errorbar(x, score, spread, fmt="none", ecolor="black", lw=0.8, capsize=1.6)
                if not np.isnan(published):
                    axis.plot(x, published, zorder=4, **PUBLISHED)
        if title in trivial:
            axis.axhline(trivial[title], zorder=3, **CHANCE)
        if not len(frame):
            axis.text(0.5, 0.5, "not run", transform=axis.transAxes, ha="center", color=GREY)
        axis.set_xticks(range(len(BARS)), BARS.values())
        axis.set(ylim=(0, 100), xlim=(-0.55, len(BARS) - 0.45), ylabel="two-class macro F1 (%)")
        axis.set_title(title, loc="left")
        axis.tick_params(axis="x", length=0)
    handles: list[Any] = [Patch(label=textwrap.shorten(llm, 36), **looks[llm], **EDGE) for llm in llms]
    if trivial:
        handles.append(Line2D([], [], **CHANCE))
    if any(frame["published"].notna().any() for frame in panels.values() if len(frame)):
        handles.append(Line2D([], [], **PUBLISHED))
    if handles:
        figure.legend(handles=handles, loc="outside upper left", ncols=2, columnspacing=1, handlelength=1.4)
    caption(figure, note)
    return figure
