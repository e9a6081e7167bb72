"""Frames of clips, drawn: film strips, what AUs look like, alignment, and what models say of user videos."""

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from aullm_lib import facs
from aullm_lib.clips import ClipStore
from aullm_lib.facs import au_columns
from aullm_lib.led import LED
from aullm_lib.predict.prediction import SYNTHETIC, ClipPrediction, Prediction, Timeline
from aullm_lib.preprocess.alignment import PARTS
from aullm_lib.report.figures.canvas import GAP, HEAT, SIGNED, Canvas, Frames, outlined, shares, signed_limit
from aullm_lib.report.figures.style import (
    COLUMN,
    GREY,
    NOTE,
    ORANGE,
    PAGE,
    STYLE,
    caption,
    probability_bars,
    styled,
)

BLINK = 2.0  # times the usual change of the eyes' region
WIDEST = 800  # columns of a timeline; more windows than that are pooled by their maximum
UNUSABLE: Any = {"facecolor": "#eeeeee", "edgecolor": GREY, "hatch": "////", "lw": 0}


def unblinking(store: ClipStore) -> list[str]:
    """The clips in which nobody blinks, in the store's order: what to take examples from.

    A blink changes the eyes' region by several times what else moves there: in a clip without one it changes, from the
    first frame to any other, by less than ``BLINK`` times what is usual (the 98th percentile over pixels, against its
    median over clips).
    """
    scale = store.frames.shape[1] / 64
    eyes = tuple(slice(round(scale * part.start), round(scale * part.stop)) for part in PARTS["eyes"])
    changes = []
    for clip_id in store.ids:
        region = store[clip_id][:, *eyes].astype(np.float32)  # t h w, or t h w c
        changes.append(np.quantile(np.abs(region - region[0]).reshape(len(region), -1), 0.98, axis=1).max())
    usual = np.median(changes) if changes else 0.0
    return [clip_id for clip_id, change in zip(store.ids, changes, strict=True) if change <= BLINK * usual]


def of_each_au(store: ClipStore, aus: Iterable[str], subjects: Collection[str]) -> dict[str, tuple[str, np.ndarray]]:
    """One clip for each AU that any clip shows, with its frames [3, h, w] at onset, apex and offset.

    Clips in which nobody blinks come first, then those whose apex is annotated, then those with few other AUs. An apex
    that is not annotated inside the clip is taken for its middle.

    Args:
        aus: Their names; those that are no column of the store's table have no clip.
        subjects: Whose faces may be drawn.
    """
    table, calm = store.table[store.table["subject"].isin(list(subjects))], unblinking(store)
    whole = table["n_frames"] == table["offset"] - table["onset"] + 1  # frame numbers then tell positions
    apex = (table["apex"] - table["onset"]).where(whole)
    known = apex.between(1, table["n_frames"] - 1).fillna(False).astype(bool)
    order = {"blinks": ~table.index.isin(calm), "unknown": ~known, "others": table[au_columns(table)].sum(axis=1)}
    ranked = table.assign(**order, apex=apex.where(known, table["n_frames"] // 2)).sort_values([*order], kind="stable")
    chosen = {au: ranked[ranked[au] == 1] for au in aus if au in ranked}
    chosen = {au: clips.iloc[0] for au, clips in chosen.items() if len(clips)}
    return {au: (clip.name, store[clip.name][[0, int(clip["apex"]), -1]]) for au, clip in chosen.items()}


def filtered(frames: torch.Tensor, note: str = "") -> Figure:
    """``film`` of a clip's sampled frames [t, h, w], and what an untrained LED makes of them."""
    after = LED(frames=len(frames))(frames[None].float()).detach().numpy()[0, 1:]
    names, titles = ("sampled frames", "after LED"), [f"t = {t}" for t in range(len(frames))]
    return film({names[0]: frames.numpy(), names[1]: [None, *after]}, titles, signed=names[1:], note=note)


@styled(STYLE)
def film(rows: Mapping[str, Frames], columns: Sequence[str], *, signed: Sequence[str] = (), note: str = "") -> Figure:
    """Rows of frames with their names, one below the other.

    Args:
        rows: name -> frames [h, w], grey levels 0..255; None leaves a place empty.
        columns: what is written above each frame.
        signed: names of rows to draw in blue, grey and yellow around zero, each in one scale (``canvas.signed_limit``)
            with its colour bar.
    """
    across = max(map(len, rows.values()))
    left, margin = 0.15 + 0.055 * max(map(len, rows)), 0.5 if signed else 0.05  # inches
    side = min(1.0, (PAGE - left - margin) / across - GAP)
    titles = ["\n".join(textwrap.fill(line, round(18 * side)) for line in title.split("\n")) for title in columns]
    top = 0.1 + 0.12 * max(title.count("\n") + 1 for title in titles)
    right = left + across * (side + GAP)
    width = PAGE if right + margin > COLUMN else COLUMN
    canvas = Canvas(width, top + len(rows) * (side + GAP) + 0.05, note)
    for i, (name, images) in enumerate(rows.items()):
        y = top + i * (side + GAP)
        canvas.text(left - 0.07, y + side / 2, name, ha="right", va="center")
        if name in signed:
            limit = signed_limit([image for image in images if image is not None])
            canvas.film(left, y, side, images, limit=limit)
            canvas.colour_bar(right + 0.03, y + 0.05, 0.08, side - 0.1, low=-limit, high=limit, signed=True)
        else:
            canvas.film(left, y, side, images)
    for j, title in enumerate(titles):
        canvas.text(left + j * (side + GAP) + side / 2, top - 0.04, title, ha="center", va="bottom", fontsize=NOTE)
    return canvas.figure


@styled(STYLE)
def contact_sheet(rows: Mapping[str, tuple[str, np.ndarray]], note: str = "") -> Figure:
    """What each AU looks like in one clip: onset, apex, offset, and the apex minus the onset in blue, grey and yellow.

    A difference's colours end at the 98th percentile of its own magnitudes, or one grey level if that is more; the
    grey level there is written above it.

    Args:
        rows: ``AU<number>`` -> (clip id, its three stored frames [3, h, w], 0..255), two AUs in a line.
    """
    across, lines = min(2, len(rows)), -(-len(rows) // 2)
    side, label, group, top = 0.8, 0.3, 3.52, 0.18  # inches: a frame, text above it, between two AUs, headings
    end = top + lines * (side + label)
    canvas = Canvas(PAGE if across > 1 else COLUMN, end + 0.46, note)
    for i, (au, (clip_id, frames)) in enumerate(rows.items()):
        x, y = 0.06 + group * (i % across), top + i // across * (side + label) + label
        motion = frames[1].astype(float) - frames[0]
        limit = max(signed_limit(motion), 1.0)
        canvas.film(x, y, side, frames)
        canvas.film(x + 3 * (side + GAP), y, side, [motion], limit=limit)
        if i < across:
            for j, heading in enumerate(("onset", "apex", "offset", "apex − onset")):
                canvas.text(x + j * (side + GAP) + side / 2, 0.05, heading, ha="center", va="top")
        canvas.text(x, y - 0.14, f"{au} {facs.NAMES[int(au[2:])]}", weight="bold")
        canvas.text(x, y - 0.04, clip_id, fontsize=NOTE, color=GREY)
        canvas.text(x + 4 * side + 3 * GAP, y - 0.04, f"±{limit:.0f}", ha="right", fontsize=NOTE, color=GREY)
    canvas.colour_bar(0.6, end + 0.08, 2 * side, 0.08, "apex − onset: ± the grey levels above each", low=-1,
                      signed=True, names=["−", "0", "+"])  # fmt: skip
    return canvas.figure


@styled(STYLE | {"axes.grid": False})
def alignment(samples: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]], note: str = "") -> Figure:
    """What was taken from each frame, outlined in it, and below it the stored frame; six samples in a line.

    Args:
        samples: title -> (frame [H, W], its matrix as for ``canvas.outlined``, stored frame [S, S]).

    Raises:
        ValueError: a matrix cannot be inverted.
    """
    across = min(6, len(samples))
    lines = -(-len(samples) // across)
    shapes = [frame.shape[0] / frame.shape[1] for frame, _, _ in samples.values()]
    tall = [max(shapes[i : i + across]) for i in range(0, len(shapes), across)]
    width = PAGE if across > 3 else COLUMN
    wide = width / (across + 0.2)
    figure, axes = plt.subplots(
        3 * lines - 1, across, figsize=(width, wide * (sum(tall) + 1.25 * lines)), squeeze=False,
        height_ratios=[part for high in tall for part in (high, 0.9, 0.1)][:-1],  # the third keeps lines apart
    )  # fmt: skip
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for i, (title, (frame, matrix, stored)) in enumerate(samples.items()):
        above, below = axes[i // across * 3 :, i % across][:2]
        outlined(above, frame, matrix, len(stored))
        parts = [textwrap.fill(part, round(18 * wide)) for part in title.rsplit("/", 1)]
        above.set_title("\n".join(parts), fontsize=NOTE)
        below.imshow(stored, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    for first, label in zip(axes[:, 0], ("frame, and\nwhat is taken", "stored", "") * lines, strict=False):
        first.set_axis_on()
        first.set_ylabel(label, rotation=0, ha="right", va="center")
    caption(figure, note)
    return figure


def _note(result: Prediction) -> str:
    """Remarks and limits of a result on a user video, all to stay in the figure."""
    lines = [f"This video: {'; '.join(result.remarks)}."] if result.remarks else []
    return " ".join([*lines, *result.limits])


def _heading(canvas: Canvas, result: Prediction, title: str) -> None:
    canvas.text(0.05, 0.06, title, fontsize=7.5, weight="bold", va="top")
    if result.synthetic:
        canvas.text(0.05, 0.21, SYNTHETIC, color=ORANGE, va="top")


@styled(STYLE)
def user_clip(clip: ClipPrediction, strongest: int = 3, annotated: Sequence[str] = ()) -> Figure:
    """One clip of a user video: where its face was found, the frames given to the models, heat maps of the most
    probable AUs, and the probability of every AU, with the range over the models.

    Args:
        clip: of ``predict.clip``.
        strongest: of how many AUs heat maps are drawn, if there are any.
        annotated: AUs that an expert annotated in this clip, such as "AU4": orange, with a dot before their names.
    """
    table, wide, top, start = clip.probabilities, 1.35, 0.55, 2.0  # inches: the face, text above it, before the frames
    heat = clip.heat if clip.heat is not None else np.empty((0,))
    order = table["probability"].to_numpy().argsort(kind="stable")[::-1][: min(strongest, len(heat))]
    right = PAGE - 0.8  # where the bars begin
    side = min(0.62, (right - 0.42 - start) / len(clip.frames) - GAP)
    rows = (1 + len(order)) * (side + GAP) + 0.4 * bool(len(order))
    body = max(rows, wide + 0.1, 0.17 * len(table) + 0.45)
    canvas = Canvas(PAGE, top + body + 0.1, _note(clip))
    _heading(canvas, clip, f"{clip.source.name}: frames {clip.numbers[0]} to {clip.numbers[-1]}")
    face = canvas.axes(0.05, top, wide, wide)
    outlined(face, clip.seen, clip.matrix, clip.frames.shape[-1])
    face.set_title("the face, and what is taken", fontsize=NOTE, pad=3)
    canvas.text(start - 0.05, top + side / 2, "given to\nthe model", ha="right", va="center", fontsize=NOTE)
    for axis, number in zip(canvas.film(start, top, side, clip.frames), clip.numbers, strict=True):
        axis.set_title(f"{number}", fontsize=NOTE, pad=2)
    for row, au in enumerate(order, 1):
        y, share = top + row * (side + GAP), shares(heat[au])
        name = f"{table.index[au]}\n{table['probability'].iloc[au]:.2f}"
        canvas.text(start - 0.05, y + side / 2, name, ha="right", va="center")
        maps = share if share is not None else [None] * len(heat[au])
        first, *_ = canvas.film(start, y, side, [None, *clip.frames[1:]], heat=[None, *maps[1:]])
        first.text(0.5, 0.5, "no map:\nreference\nframe", ha="center", va="center", fontsize=NOTE, color=GREY)
    if len(order):
        mean = "; the models' mean" * (clip.models > 1)
        canvas.colour_bar(start + side + GAP, top + (1 + len(order)) * (side + GAP) + 0.03, 2 * side, 0.07,
                          f"Grad-CAM, as a share of the AU's maximum{mean}")  # fmt: skip
    axis = canvas.axes(right, top, 0.72, body - 0.4)
    probability_bars(axis, table["probability"], annotated)
    axis.set_yticks(range(len(table)), [f"● {au}" if au in annotated else au for au in table.index])
    axis.hlines(range(len(table)), table["lowest"], table["highest"], color="black", lw=1)
    if clip.models > 1:
        axis.set_xlabel("probability\n(line: models' range)", fontsize=NOTE)
    others = [au for au in annotated if au not in table.index]
    also = f"\n● annotated{f' (and {chr(32).join(others)})' * bool(others)}" * bool(annotated)
    axis.set_title(f"does it occur?{also}", fontsize=NOTE, loc="right")
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
    top, body = 0.45, 0.17 * len(values)
    canvas = Canvas(PAGE, top + body + 0.45, _note(result) + " Blank: frame numbers are missing." * bool(len(gaps)))
    _heading(canvas, result, f"{result.source.name}: {result.meaning}")
    axis, signed = canvas.axes(0.45, top, PAGE - 1.2, body), result.shown == "neutral"
    axis.pcolormesh(edges, np.arange(len(values) + 1), values, cmap=SIGNED if signed else HEAT, vmin=0, vmax=1)
    for i in np.flatnonzero(unusable):
        axis.axvspan(*edges[i : i + 2], **UNUSABLE)
    axis.set_yticks(np.arange(len(values)) + 0.5, wide.columns)
    axis.set(ylim=(len(values), 0), xlabel="seconds from the first frame" if result.timed else "frame")
    axis.tick_params(length=2)
    label = "0.5: the median" if signed else "probability"
    canvas.colour_bar(PAGE - 0.62, top, 0.1, body, label, signed=signed)
    if unusable.any():
        patch = Patch(**UNUSABLE, label="no usable face or frame")
        canvas.figure.legend(
            handles=[patch], loc="upper right", bbox_to_anchor=(1 - 0.7 / PAGE, 1 - 0.16 / canvas.height)
        )
    return canvas.figure
