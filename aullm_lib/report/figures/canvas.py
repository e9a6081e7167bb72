"""Frames and heat maps, placed in inches: what every figure with rows of frames is made of.

Both palettes rise in luminance with the value, to protanopes too and in grey: HEAT from 0 to bright yellow, over a
darkened frame, so that only the map is bright; SIGNED from dark blue over grey to yellow.
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
from aullm_lib.report.figures.style import GREY, NOTE, ORANGE, SKY, shown

HEAT = "plasma"  # values from 0 upwards
SIGNED = "cividis"  # values around a middle: blue below, yellow above, grey at it
DARKENED = 0.6  # of a frame's brightness is left under a map
FLAT = 0.2  # a map whose values differ by less than this share of the largest one has no spread
GAP = 0.03  # inches between two frames
Frames = Sequence[np.ndarray | None] | np.ndarray  # [h, w] or [h, w, 3] each


def overlaid(frame: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A grey frame [h, w], 0..255, under a map [h, w], 0 to 1, as [h, w, 3]; large values are the least transparent."""
    heat = np.clip(heat, 0, 1)
    alpha = 0.85 * heat[..., None] ** 0.8
    return (1 - alpha) * DARKENED * (frame / 255)[..., None] + alpha * plt.get_cmap(HEAT)(heat)[..., :3]


def shares(evidence: np.ndarray, quantile: float = 1.0) -> np.ndarray | None:
    """A map, at least 0, as shares of a quantile of its values; None where it has no spread (``FLAT``)."""
    top = np.quantile(evidence, quantile) or evidence.max()
    return evidence / top if np.ptp(evidence) > FLAT * evidence.max() else None


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
        note: its first line is the small print, the whole the figure's caption (``style.save``).
        figure: one to draw into, emptied first; a new one by default.
    """

    def __init__(self, width: float, height: float, note: str = "", figure: Figure | None = None) -> None:
        self.figure = figure or plt.figure(layout="none")
        self.figure.clear()
        self.figure.set_figwidth(width)
        text, foot = shown(self.figure, note)
        self.width, self.height = width, height + foot + 0.08
        self.figure.set_figheight(self.height)
        self.text(0.05, self.height - 0.04, text, fontsize=NOTE, color=GREY, va="bottom")

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
        self, x: float, y: float, side: float, images: Frames, *, heat: Frames | None = None,
        mask: np.ndarray | None = None, limit: float | None = None, across: int = 0,
    ) -> list[Axes]:  # fmt: skip
        """Frames in a row, from (x, y) to the right, and their axes.

        Args:
            x, y: top left corner, in inches.
            side: of a frame, in inches.
            images: [h, w] or [h, w, 3] each; None leaves a place empty.
            heat: a map [h, w] from 0 to 1 for each of them, drawn over it; None for one without spread: its frame is
                greyed and says so.
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
                drawn, over = image, heat[i] if heat is not None else None
                if over is not None:
                    drawn = overlaid(image, over)
                elif heat is not None:
                    drawn = 210 + 0.15 * image
                    axis.text(0.5, 0.5, "no\nspread", transform=axis.transAxes, ha="center", va="center", fontsize=NOTE)
                axis.imshow(drawn, cmap=colours, vmin=low, vmax=high, interpolation="nearest")
                if mask is not None:
                    axis.contour(mask, [0.5], colors=SKY, linewidths=0.8)
            row.append(axis)
        return row

    def colour_bar(
        self, x: float, y: float, w: float, h: float, label: str = "", *, low: float = 0, high: float = 1,
        signed: bool = False, names: Sequence[str] | None = None,
    ) -> None:  # fmt: skip
        """A colour bar of w × h inches along its longer side, with ticks at ``low``, ``high`` and their middle."""
        axis = self.axes(x, y, w, h)
        colours = ScalarMappable(Normalize(low, high), SIGNED if signed else HEAT)
        bar = self.figure.colorbar(colours, cax=axis, orientation="horizontal" if w > h else "vertical")
        ticks = (low, (low + high) / 2, high)
        bar.set_ticks(ticks, labels=names or [f"{float(f'{tick:.2g}'):g}".replace("-", "−") for tick in ticks])
        bar.set_label(label, fontsize=NOTE)
        axis.tick_params(length=2, pad=1.5)
