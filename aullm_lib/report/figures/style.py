"""How figures look: colours, sizes of type, the note below a figure, and the files that it is written to.

Colours are Okabe and Ito's, safe for colour-blind readers; every series also differs in shape or position. Text from
data is drawn as it is: a "$" in a name starts no formula.
"""

import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aullm_lib.support import files

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
PALE = "#b9cfdd"  # of bars that are not stressed
STYLE: Any = {
    "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "axes.grid.axis": "y", "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "figure.dpi": 110, "savefig.dpi": 200, "pdf.fonttype": 42, "legend.frameon": False,
    "figure.constrained_layout.use": True, "text.parse_math": False,
}  # fmt: skip
"""Figures for a screen."""
SMALL: Any = STYLE | {
    "font.size": 7, "axes.titlesize": 7.5, "xtick.labelsize": 6, "ytick.labelsize": 6, "axes.linewidth": 0.6,
    "hatch.linewidth": 0.5,
}  # fmt: skip
"""Figures one or two columns of a page wide (``COLUMN`` and ``PAGE`` inches)."""
COLUMN, PAGE = 3.4, 7.0

P = ParamSpec("P")


def styled(style: Any) -> Callable[[Callable[P, Figure]], Callable[P, Figure]]:
    """A decorator: the function draws with these settings, and its figure is closed, so that nothing shows it twice."""

    def decorate(draw: Callable[P, Figure]) -> Callable[P, Figure]:
        @wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
            before = set(plt.get_fignums())
            with plt.rc_context(style):
                try:
                    return draw(*args, **kwargs)
                finally:
                    for number in set(plt.get_fignums()) - before:
                        plt.close(number)

        return drawn

    return decorate


def save(figure: Figure, path: Path, provenance: dict) -> list[Path]:
    """``path``.pdf (embedded fonts), .png and .json (provenance), undated: same figure, same bytes."""
    settings: Any = {key: STYLE[key] for key in ("pdf.fonttype", "savefig.dpi")}  # read when the file is written
    with files.explained(path.parent, "the figure"), plt.rc_context(settings):
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
            temporary = path.with_name(f".{path.name}{suffix}")
            figure.savefig(temporary, format=suffix[1:], metadata=metadata)
            temporary.replace(path.with_suffix(suffix))
        files.write_json(path.with_suffix(".json"), provenance)
    return [path.with_suffix(suffix) for suffix in (".pdf", ".png", ".json")]


def wrapped(note: str, width: float) -> tuple[str, float, float]:
    """A note in lines of at most ``width`` inches, with the size of its type and its height in inches.

    Names of runs, which have hyphens, stay whole.
    """
    size = plt.rcParams["font.size"] - 1.5
    characters = round(124 * width / size)
    text = "\n".join(textwrap.fill(line, characters, break_on_hyphens=False) for line in note.splitlines())
    return text, size, len(text.splitlines()) * size / 60


def caption(figure: Figure, note: str) -> None:
    """The small grey note below a figure's panels. It makes the figure higher and takes nothing from the panels."""
    text, size, height = wrapped(note, figure.get_figwidth())
    figure.set_figheight(figure.get_figheight() + height)
    figure.supxlabel(text, fontsize=size, color=GREY, ha="left", x=0.01)


def probability_bars(axis: Axes, probabilities: pd.Series, truth: Sequence[str] = (), threshold: float = 0.5) -> None:
    """The probability of each AU from the top down, of annotated AUs in orange, and a dotted line at the threshold."""
    size, y = plt.rcParams["font.size"] - 1.4, range(len(probabilities))
    axis.barh(y, probabilities, 0.66, color=[ORANGE if au in truth else PALE for au in probabilities.index])
    axis.axvline(threshold, color="black", lw=0.8, ls=":")
    axis.set_yticks(y, probabilities.index)
    axis.set(xlim=(0, 1), ylim=(len(probabilities) - 0.5, -0.5), xticks=(0, 0.5, 1))
    axis.set_xlabel("probability", fontsize=size)
    axis.tick_params(length=0, labelsize=size)


def grid(count: int, across: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels of width × height inches, at most ``across`` in a line; the rest stays blank."""
    across = min(across, count)
    lines = -(-count // across)
    figure, axes = plt.subplots(lines, across, figsize=(width * across, height * lines + 0.35), squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, list(axes.flat[:count])
