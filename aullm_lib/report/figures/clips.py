"""Frames of clips, drawn: film strips, what AUs look like, alignment, and what models say of user videos."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from aullm_lib import facs
from aullm_lib.predict.prediction import SYNTHETIC, ClipPrediction, Prediction, Timeline
from aullm_lib.report.figures.canvas import GAP, HEAT, SIGNED, Canvas, Frames, outlined, signed_limit
from aullm_lib.report.figures.style import GREY, ORANGE, STYLE, caption, probability_bars, styled

WIDEST = 800  # columns of a timeline; more windows than that are pooled by their maximum
UNUSABLE: Any = {"facecolor": "#eeeeee", "edgecolor": GREY, "hatch": "////", "lw": 0}


@styled(STYLE)
def film(rows: Mapping[str, Frames], columns: Sequence[str], *, signed: Sequence[str] = (), note: str = "") -> Figure:
    """Rows of frames with their names, one below the other.

    Args:
        rows: name -> frames [h, w], grey levels 0..255; None leaves a place empty.
        columns: what is written above each frame.
        signed: names of rows to draw in blue-white-red around zero, each row in one scale (``canvas.signed_limit``)
            with its colour bar.
    """
    across = max(map(len, rows.values()))
    side, left = 1.1, 0.15 + 0.075 * max(map(len, rows))  # inches
    top = 0.12 + 0.14 * max(title.count("\n") + 1 for title in columns)
    right = left + across * (side + GAP)
    canvas = Canvas(right + (0.75 if signed else 0.05), top + len(rows) * (side + GAP) + 0.05, note)
    for i, (name, images) in enumerate(rows.items()):
        y = top + i * (side + GAP)
        canvas.text(left - 0.07, y + side / 2, name, ha="right", va="center")
        if name in signed:
            limit = signed_limit([image for image in images if image is not None])
            canvas.film(left, y, side, images, limit=limit)
            canvas.colour_bar(right + 0.05, y + 0.05, 0.09, side - 0.1, low=-limit, high=limit, signed=True)
        else:
            canvas.film(left, y, side, images)
    for j, title in enumerate(columns):
        canvas.text(left + j * (side + GAP) + side / 2, top - 0.05, title, ha="center", va="bottom", fontsize=8)
    return canvas.figure


@styled(STYLE)
def contact_sheet(rows: Mapping[str, tuple[str, np.ndarray]], note: str = "") -> Figure:
    """What each AU looks like in one clip: onset, apex, offset, and the apex minus the onset in blue-white-red.

    A difference's colours end at the 98th percentile of its own magnitudes, or one grey level if that is more; the
    grey level there is written above it.

    Args:
        rows: ``AU<number>`` -> (clip id, its three stored frames [3, h, w], 0..255), two AUs in a line.
    """
    across, lines = min(2, len(rows)), -(-len(rows) // 2)
    side, label, group, top = 0.95, 0.37, 4.2, 0.22  # inches: a frame, text above it, between two AUs, headings
    end = top + lines * (side + label)
    canvas = Canvas(group * across - 0.05, end + 0.45, note)
    for i, (au, (clip_id, frames)) in enumerate(rows.items()):
        x, y = 0.08 + group * (i % across), top + i // across * (side + label) + label
        motion = frames[1].astype(float) - frames[0]
        limit = max(signed_limit(motion), 1.0)
        canvas.film(x, y, side, frames)
        canvas.film(x + 3 * (side + GAP), y, side, [motion], limit=limit)
        if i < across:
            for j, heading in enumerate(("onset", "apex", "offset", "apex − onset")):
                canvas.text(x + j * (side + GAP) + side / 2, 0.06, heading, ha="center", va="top", fontsize=8)
        canvas.text(x, y - 0.17, f"{au} {facs.NAMES[int(au[2:])]}", fontsize=9, weight="bold")
        canvas.text(x, y - 0.05, clip_id, fontsize=7, color=GREY)
        canvas.text(x + 4 * side + 3 * GAP, y - 0.05, f"±{limit:.0f}", ha="right", fontsize=7, color=GREY)
    canvas.colour_bar(0.6, end + 0.08, 2 * side, 0.08, "apex − onset: ± the grey levels above each", low=-1,
                      signed=True, names=["−", "0", "+"])  # fmt: skip
    return canvas.figure


@styled(STYLE | {"axes.grid": False})
def alignment(samples: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], note: str = "") -> Figure:
    """What was taken from each frame, outlined in it, and below it the stored frame; four samples in a line.

    Args:
        samples: title -> (frame [H, W], its matrix as for ``canvas.outlined``, stored frame [S, S]).

    Raises:
        ValueError: a matrix cannot be inverted.
    """
    across = min(4, len(samples))
    lines = -(-len(samples) // across)
    shapes = [frame.shape[0] / frame.shape[1] for frame, _, _ in samples.values()]
    tall = [max(shapes[i : i + across]) for i in range(0, len(shapes), across)]
    figure, axes = plt.subplots(
        3 * lines - 1, across, figsize=(2.1 * across, 2.1 * (sum(tall) + 1.15 * lines) + 0.1), squeeze=False,
        height_ratios=[part for high in tall for part in (high, 0.9, 0.1)][:-1],  # the third keeps lines apart
    )  # fmt: skip
    for axis in axes.flat:
        axis.set_axis_off()
    for i, (title, (frame, matrix, stored)) in enumerate(samples.items()):
        above, below = axes[i // across * 3 :, i % across][:2]
        outlined(above, frame, matrix, len(stored))
        above.set_title("\n".join(textwrap.wrap(title, 30)), fontsize=8)
        below.imshow(stored, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    caption(figure, note)
    return figure


def _note(result: Prediction) -> str:
    """Remarks and limits of a result on a user video."""
    lines = [f"This video: {'; '.join(result.remarks)}."] if result.remarks else []
    return "\n".join([*lines, *result.limits])


def _heading(canvas: Canvas, result: Prediction, title: str) -> None:
    canvas.text(0.1, 0.1, title, fontsize=10, weight="bold", va="top")
    if result.synthetic:
        canvas.text(0.1, 0.3, SYNTHETIC, fontsize=8.5, color=ORANGE, va="top")


@styled(STYLE)
def user_clip(clip: ClipPrediction, strongest: int = 3, annotated: Sequence[str] = ()) -> Figure:
    """One clip of a user video: where its face was found, the frames given to the models, heat maps of the most
    probable AUs, and the probability of every AU, with the range over the models.

    Args:
        clip: of ``predict.clip``.
        strongest: of how many AUs heat maps are drawn, if there are any.
        annotated: AUs that an expert annotated in this clip, such as "AU4": orange, with a dot before their names.
    """
    table, side, label, top = clip.probabilities, 0.82, 0.62, 0.75
    heat = clip.heat if clip.heat is not None else np.empty((0,))
    shown = table["probability"].to_numpy().argsort(kind="stable")[::-1][: min(strongest, len(heat))]
    start = 2.15 + label
    right = start + len(clip.frames) * (side + GAP) + 0.55
    rows = (1 + len(shown)) * (side + GAP) + 0.45 * bool(len(shown))
    body = max(rows, 1.95, 0.24 * len(table) + 0.6)
    canvas = Canvas(right + 1.15, top + body + 0.15, _note(clip))
    _heading(canvas, clip, f"{clip.source.name}: frames {clip.numbers[0]} to {clip.numbers[-1]}")
    face = canvas.axes(0.1, top, 1.9, 1.9)
    outlined(face, clip.seen, clip.matrix, clip.frames.shape[-1])
    face.set_title("the face, and what is taken", fontsize=8)
    canvas.text(start - 0.06, top + side / 2, "given to\nthe model", ha="right", va="center", fontsize=8)
    for axis, number in zip(canvas.film(start, top, side, clip.frames), clip.numbers, strict=True):
        axis.set_title(f"{number}", fontsize=8, pad=3)
    for row, au in enumerate(shown, 1):
        y = top + row * (side + GAP)
        name = f"{table.index[au]}\n{table['probability'].iloc[au]:.2f}" + "\nmap 0" * (not heat[au].any())
        canvas.text(start - 0.06, y + side / 2, name, ha="right", va="center", fontsize=8)
        first, *_ = canvas.film(start, y, side, [None, *clip.frames[1:]], heat=heat[au])
        first.text(0.5, 0.5, "no map:\nreference\nframe", ha="center", va="center", fontsize=7, color=GREY)
    if len(shown):
        mean = "; the models' mean" * (clip.models > 1)
        canvas.colour_bar(start + side + GAP, top + (1 + len(shown)) * (side + GAP) + 0.03, 2 * side, 0.08,
                          f"Grad-CAM, as a share of the AU's maximum{mean}")  # fmt: skip
    axis = canvas.axes(right, top, 1.0, body - 0.45)
    probability_bars(axis, table["probability"], annotated)
    axis.set_yticks(range(len(table)), [f"● {au}" if au in annotated else au for au in table.index])
    axis.hlines(range(len(table)), table["lowest"], table["highest"], color="black", lw=1)
    if clip.models > 1:
        axis.set_xlabel("probability\n(line: models' range)", fontsize=7.5)
    others = [au for au in annotated if au not in table.index]
    also = f"\n● annotated{f' (and {chr(32).join(others)})' * bool(others)}" * bool(annotated)
    axis.set_title(f"does it occur?{also}", fontsize=8)
    return canvas.figure


@styled(STYLE)
def timeline(result: Timeline) -> Figure:
    """A user video's windows from left to right, a line per AU; hatched where a window cannot be used.

    A window is drawn around its middle, as wide as a step, where its frames lie: by their numbers, or, where the rate
    is known, in seconds from the first frame. Between windows it is blank where numbers are missing.
    """
    wide = result.by_window(result.shown)
    values = wide.to_numpy().T  # au window
    pool = -(-values.shape[1] // WIDEST)
    left, right = result.spans(seconds=result.timed).T
    if pool > 1:
        padded = np.pad(values, ((0, 0), (0, -values.shape[1] % pool)), constant_values=np.nan)
        values = np.fmax.reduce(padded.reshape(len(values), -1, pool), axis=2)
        left, right = left[::pool], np.append(right[pool - 1 : -1 : pool], right[-1])
    unusable = np.isnan(values).all(axis=0)
    gaps = np.flatnonzero(left[1:] > right[:-1]) + 1
    edges = np.insert(np.append(left, right[-1]), gaps, right[gaps - 1])
    values, unusable = np.insert(values, gaps, np.nan, axis=1), np.insert(unusable, gaps, False)
    width, top, body = 9.0, 0.62, 0.26 * len(values)
    canvas = Canvas(width, top + body + 0.6, _note(result) + "\nBlank: frame numbers are missing." * bool(len(gaps)))
    _heading(canvas, result, f"{result.source.name}: {result.meaning}")
    axis, signed = canvas.axes(0.6, top, width - 1.7, body), result.shown == "neutral"
    axis.pcolormesh(edges, np.arange(len(values) + 1), values, cmap=SIGNED if signed else HEAT, vmin=0, vmax=1)
    for i in np.flatnonzero(unusable):
        axis.axvspan(*edges[i : i + 2], **UNUSABLE)
    axis.set_yticks(np.arange(len(values)) + 0.5, wide.columns)
    axis.set(ylim=(len(values), 0), xlabel="seconds from the first frame" if result.timed else "frame")
    axis.tick_params(labelsize=8, length=2)
    label = "0.5: the median" if signed else "probability"
    canvas.colour_bar(width - 0.95, top, 0.14, body, label, signed=signed)
    if unusable.any():
        patch = Patch(**UNUSABLE, label="no usable face or frame")
        canvas.figure.legend(
            handles=[patch], loc="upper right", fontsize=8, bbox_to_anchor=(1 - 1.05 / width, 1 - 0.22 / canvas.height)
        )
    return canvas.figure
