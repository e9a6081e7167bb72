"""Frames and heat maps, placed in inches: what every figure with rows of frames is made of.

All heat maps have one palette. Its luminance rises with the value, and the top is bright yellow, to protanopes too.
"""

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from aullm_lib.preprocess.alignment import outline
from aullm_lib.report.figures.style import BLUE, GREY, ORANGE, wrapped

HEAT = "plasma"  # values from 0 upwards
SIGNED = "RdBu_r"  # values around a middle: blue below, red above, white at it
GAP = 0.03  # inches between two frames
Frames = Sequence[np.ndarray | None] | np.ndarray  # [h, w] or [h, w, 3] each


def overlaid(frame: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A grey frame [h, w], 0..255, under a map [h, w], 0 to 1, as [h, w, 3]; large values are the least transparent."""
    heat = np.clip(heat, 0, 1)
    alpha = 0.85 * heat[..., None] ** 0.8
    return (1 - alpha) * (frame / 255)[..., None] + alpha * plt.get_cmap(HEAT)(heat)[..., :3]


def signed_limit(images: Any) -> float:
    """Where the colours of signed images end: the 98th percentile of the magnitudes, so that a blink hides no rest."""
    return max(float(np.quantile(np.abs(images), 0.98)), 1e-6)


def outlined(axis: Axes, frame: np.ndarray, matrix: np.ndarray, size: int) -> None:
    """A frame [h, w], 0..255, and in it the outline of what was aligned to [size, size].

    Parts of the outline may lie outside the frame.

    Args:
        matrix: [2, 3], from the frame's pixels (x, y) to stored ones; pixels' centres are whole numbers, as for
            ``cv2.warpAffine``.

    Raises:
        ValueError: The matrix cannot be inverted.
    """
    corners = outline(matrix, size)
    axis.imshow(frame, cmap="gray", vmin=0, vmax=255)
    axis.add_patch(plt.Polygon(corners, fill=False, edgecolor=ORANGE, lw=1.5))
    points = np.vstack([corners, (-0.5, -0.5), np.array(frame.shape)[::-1] - 0.5])
    edge = 0.01 * max(frame.shape)
    (left, top), (right, low) = points.min(axis=0) - edge, points.max(axis=0) + edge
    axis.set(xlim=(left, right), ylim=(low, top), anchor="N")
    axis.set_axis_off()


class Canvas:
    """A figure whose parts are placed in inches from its top left corner, with a note below them.

    Args:
        width: of the figure, in inches.
        height: of what is above the note, in inches.
        note: the small print.
        figure: one to draw into, emptied first; a new one by default.
    """

    def __init__(self, width: float, height: float, note: str = "", figure: Figure | None = None) -> None:
        text, size, foot = wrapped(note, width - 0.1)
        self.width, self.height = width, height + foot + 0.08
        self.figure = figure or plt.figure(layout="none")
        self.figure.clear()
        self.figure.set_size_inches(self.width, self.height)
        self.text(0.05, self.height - 0.04, text, fontsize=size, color=GREY, va="bottom")

    def axes(self, x: float, y: float, w: float, h: float, **options: Any) -> Axes:
        """Axes of w × h inches, their top left corner at (x, y)."""
        place = (x / self.width, 1 - (y + h) / self.height, w / self.width, h / self.height)
        axis = self.figure.add_axes(place, **options)
        axis.grid(visible=False)
        return axis

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Text at (x, y)."""
        self.figure.text(x / self.width, 1 - y / self.height, text, **options)

    def film(
        self, x: float, y: float, side: float, images: Frames, *, heat: Sequence[np.ndarray] | np.ndarray | None = None,
        mask: np.ndarray | None = None, limit: float | None = None, across: int = 0,
    ) -> list[Axes]:  # fmt: skip
        """Frames in a row, from (x, y) to the right, and their axes.

        Args:
            x, y: top left corner, in inches.
            side: of a frame, in inches.
            images: [h, w] or [h, w, 3] each; None leaves a place empty.
            heat: a map [h, w] from 0 to 1 for each of them, drawn over it.
            mask: [h, w], outlined in each of them.
            limit: draws signed values from -limit to limit; without it, grey levels 0..255.
            across: the number of frames after which a new line begins; all in one line by default.
        """
        row, across = [], across or len(images)
        low, high, colours = (0, 255, "gray") if limit is None else (-limit, limit, SIGNED)
        for i, image in enumerate(images):
            axis = self.axes(x + i % across * (side + GAP), y + i // across * (side + GAP), side, side)
            axis.set(xticks=[], yticks=[])  # to lay out ticks takes most of a redraw's time
            axis.set_axis_off()
            if image is not None:
                shown = image if heat is None else overlaid(image, heat[i])
                axis.imshow(shown, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
                if mask is not None:
                    axis.contour(mask, [0.5], colors=BLUE, linewidths=0.8)
            row.append(axis)
        return row

    def colour_bar(
        self, x: float, y: float, w: float, h: float, label: str = "", *, low: float = 0, high: float = 1,
        signed: bool = False, names: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """A colour bar of w × h inches along its longer side, with ticks at ``low``, ``high`` and their middle."""
        axis, size = self.axes(x, y, w, h), plt.rcParams["font.size"] - 1
        colours = ScalarMappable(Normalize(low, high), SIGNED if signed else HEAT)
        bar = self.figure.colorbar(colours, cax=axis, orientation="horizontal" if w > h else "vertical")
        ticks = (low, (low + high) / 2, high)
        bar.set_ticks(ticks, labels=names or [f"{tick:.3g}".replace("-", "−") for tick in ticks])
        bar.set_label(label, fontsize=size)
        axis.tick_params(labelsize=size, length=2, pad=1.5)
