"""How figures look: colours, sizes of type, the line below a figure, its caption, and the files that it is written to.

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
from matplotlib.text import Text

from aullm_lib.report import results
from aullm_lib.support import files

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#6b6b6b"
SKY = "#56B4E9"  # lines over frames
PALETTE = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", SKY, "#000000")
MARKERS = "osD^vPX"
PALE = "#b9cfdd"  # of bars that are not stressed
COLUMN, PAGE = 3.5, 7.0  # inches: the width of every figure is one or two columns of a page
NOTE = 6  # points: the smallest type
STYLE: Any = {
    "font.size": 7, "axes.titlesize": 7.5, "xtick.labelsize": NOTE, "ytick.labelsize": NOTE, "legend.fontsize": 6.5,
    "axes.linewidth": 0.6, "hatch.linewidth": 0.5, "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.grid.axis": "y", "grid.color": "#dddddd", "grid.linewidth": 0.6, "axes.axisbelow": True,
    "figure.dpi": 120, "savefig.dpi": 200, "pdf.fonttype": 42, "legend.frameon": False,
    "figure.constrained_layout.use": True, "text.parse_math": False,
}  # fmt: skip

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
    """``path``.pdf (embedded fonts), .png, .json (provenance) and .txt (caption), undated: same figure, same bytes.

    Raises:
        ValueError: The figure is of synthetic data, and nothing in it says so.
    """
    texts = (text.get_text().lower() for text in figure.findobj(Text))
    if provenance.get("synthetic") and not any("synthetic" in text for text in texts):
        raise ValueError(f"{path.name}: drawn from synthetic data; put the word into a title or the note's first line")
    settings: Any = {key: STYLE[key] for key in ("pdf.fonttype", "savefig.dpi")}  # read when the file is written
    with files.explained(path.parent, "the figure"), plt.rc_context(settings):
        path.parent.mkdir(parents=True, exist_ok=True)
        for suffix, metadata in ((".pdf", {"CreationDate": None}), (".png", {"Software": None})):
            temporary = path.with_name(f".{path.name}{suffix}")
            figure.savefig(temporary, format=suffix[1:], metadata=metadata)
            temporary.replace(path.with_suffix(suffix))
        files.write_json(path.with_suffix(".json"), provenance)
        files.write_text(path.with_suffix(".txt"), f"{figure.get_label()}\n{results.line(provenance)}\n")
    return [path.with_suffix(suffix) for suffix in (".pdf", ".png", ".json", ".txt")]


def shown(figure: Figure, note: str) -> tuple[str, float]:
    """What of a note stays in the figure, its first line, wrapped, and its height in inches.

    The whole is the figure's caption, which ``save`` writes beside it. Names of runs, which have hyphens, stay whole.
    """
    figure.set_label(note)
    characters = round(124 * figure.get_figwidth() / NOTE)
    lines = textwrap.wrap(note.partition("\n")[0], characters, break_on_hyphens=False)
    return "\n".join(lines), len(lines) * NOTE / 60


def caption(figure: Figure, note: str) -> None:
    """The small grey line below a figure's panels. It makes the figure higher and takes nothing from the panels."""
    text, height = shown(figure, note)
    figure.set_figheight(figure.get_figheight() + height)
    figure.supxlabel(text, fontsize=NOTE, color=GREY, ha="left", x=0.01)


def probability_bars(axis: Axes, probabilities: pd.Series, truth: Sequence[str] = (), threshold: float = 0.5) -> None:
    """The probability of each AU from the top down, of annotated AUs in orange, and a dotted line at the threshold."""
    y = range(len(probabilities))
    axis.barh(y, probabilities, 0.66, color=[ORANGE if au in truth else PALE for au in probabilities.index])
    axis.axvline(threshold, color="black", lw=0.8, ls=":")
    axis.set_yticks(y, probabilities.index)
    axis.set(xlim=(0, 1), ylim=(len(probabilities) - 0.5, -0.5), xticks=(0, 0.5, 1))
    axis.set_xlabel("probability", fontsize=NOTE)
    axis.tick_params(length=0)


def grid(count: int, across: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels ``height`` inches high, at most ``across`` in a line; the rest stays blank.

    It is a page wide, or a column where one panel is all there is of a line of several.
    """
    wide, across = across == 1 or count > 1, min(across, count)
    lines = -(-count // across)
    size = (PAGE if wide else COLUMN, height * lines + 0.35)
    figure, axes = plt.subplots(lines, across, figsize=size, squeeze=False)
    for axis in axes.flat[count:]:
        axis.set_axis_off()
    return figure, list(axes.flat[:count])
