"""The parts of a clip that baselines read: frames near its apex, crops, optical flow. On the store's device."""

from collections.abc import Callable
from typing import Any

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from aullm_lib.clips import ClipStore


def refuse_still(store: ClipStore) -> None:
    """Raises ValueError naming a clip of a single frame, in which a method that reads motion would see nothing."""
    still = store.table.index[store.table["n_frames"] < 2]
    if len(still):
        raise ValueError(f"{still[0]} has a single frame, and this method reads motion: leave the clip out")


def apexes(store: ClipStore) -> Tensor:
    """The apex of every clip as a position in it [N], 0 = onset: the annotated one, else the middle frame.

    An apex at the onset or outside the stored frames counts as none. Where a clip lacks frames, the position is that
    among the frames that are there.
    """
    table, lengths = store.table, store.lengths.cpu()
    after = (table["apex"] - table["onset"]).astype("Float64").to_numpy(dtype=float, na_value=0)
    apex = torch.from_numpy(after)
    annotated = (apex > 0) & (apex < lengths)
    return torch.where(annotated, apex, lengths // 2).long().to(store.device)


def near_apex(store: ClipStore, *, before: int, after: int) -> Tensor:
    """The apex of every clip and its neighbours, as positions in the clip `[n, before + 1 + after]`, kept inside it."""
    steps = torch.arange(-before, after + 1, device=store.device)
    return (apexes(store)[:, None] + steps).clamp(min=0).minimum(store.lengths[:, None] - 1)


def optical_flow(first: Tensor, second: Tensor, method: Callable[[Any, Any], Any]) -> Tensor:
    """The displacement of each pixel, `[n, 2, h, w]` float32: u to the right, v down, in pixels.

    Args:
        first, second: uint8 `[n, h, w]`, or RGB `[n, h, w, 3]`, of which the grey levels are read.
        method: of OpenCV, in one thread: two grey pictures -> `[h, w, 2]`.
    """
    result = torch.empty(len(first), 2, *first.shape[1:3])
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for row in tqdm(range(len(first)), desc="optical flow", unit="clip", leave=False):
            pictures = [x[row].cpu().numpy() for x in (first, second)]
            grey = [cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) if x.ndim == 3 else x for x in pictures]
            result[row] = torch.from_numpy(method(*grey)).movedim(2, 0)
    finally:
        cv2.setNumThreads(threads)
    return result.to(first.device)


def planar(frames: Tensor) -> Tensor:
    """uint8 `[..., h, w, 3]` -> float `[..., 3, h, w]` in 0..1."""
    return (frames.float() / 255).movedim(-1, -3)


def crop(
    x: Tensor,
    *,
    out: int,
    scale: tuple[float, float] = (1.0, 1.0),
    within: float = 1.0,
    flip: bool = False,
    order: torch.Generator | None = None,
) -> Tensor:
    """A square of each picture or clip, resized bilinearly: a random one in training, in test the middle one.

    Args:
        x: `[b, c, h, w]`, or `[b, t, c, h, w]`; the frames of a clip share one square.
        out: side of the result in pixels.
        scale: smallest and largest side of the square, as a share of the frame's; in test the largest.
        within: side of the frame's middle in which the random square stays, as a share of the frame's.
        flip: whether half of them are mirrored left to right in training.
        order: CPU generator in training; None in test.
    """
    flat = x if x.ndim == 4 else x.flatten(1, 2)  # b c h w: one grid serves all frames of a clip
    b = len(flat)
    if order is None:
        side, dx, dy, sign = torch.full((b,), scale[1]), torch.zeros(b), torch.zeros(b), torch.ones(b)
    else:
        draws = torch.rand(4, b, generator=order)
        side = scale[0] + (scale[1] - scale[0]) * draws[0]
        dx, dy = (within - side) * (2 * draws[1:3] - 1)  # the square's centre, in -1..1, so that it stays inside
        sign = torch.where(draws[3] < 0.5, -1.0, 1.0) if flip else torch.ones(b)
    theta = torch.zeros(b, 2, 3)
    theta[:, 0, 0], theta[:, 0, 2], theta[:, 1, 1], theta[:, 1, 2] = sign * side, dx, side, dy
    grid = F.affine_grid(theta.to(flat.device), [b, flat.shape[1], out, out], align_corners=False)
    cut = F.grid_sample(flat, grid, align_corners=False, padding_mode="border")
    return cut if x.ndim == 4 else cut.unflatten(1, x.shape[1:3])
