"""Optical flow from a clip's onset to its apex, and the strain that it means for the skin.

The flow is OpenCV's dense inverse search (DIS; Kroeger et al. 2016), in pixels of the stored frames. It runs on the CPU
in one thread, so that a machine's number of cores changes nothing.
"""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from aullm_lib.clips import ClipStore

PRESETS: dict[str, int] = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
"""DIS's own settings, from the quickest to the most careful."""


def between(first: Tensor, second: Tensor, *, preset: str = "medium") -> Tensor:
    """Where each pixel of the first picture went, `[n, 2, h, w]` float32: u to the right, v down, in pixels.

    first, second: uint8 `[n, h, w, 3]` RGB; the result lies on their device. preset: a name of ``PRESETS``.
    """
    dis: Any = cv2.DISOpticalFlow.create(PRESETS[preset])
    n, h, w = first.shape[:3]
    found = torch.empty(n, 2, h, w)
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        for i in tqdm(range(n), desc="optical flow", unit="clip", leave=False):
            pictures = [cv2.cvtColor(x[i].cpu().numpy(), cv2.COLOR_RGB2GRAY) for x in (first, second)]
            flow = dis.calc(*pictures, None)  # h w 2; an array of zeros would be a first guess, and change the result
            found[i] = torch.from_numpy(flow).movedim(2, 0)
    finally:
        cv2.setNumThreads(threads)
    return found.to(first.device)


def strain(flow: Tensor) -> Tensor:
    """The magnitude of the optical strain `[n, 1, h, w]` of a flow `[n, 2, h, w]`.

    The strain is the symmetric part of the flow's Jacobian, its magnitude the Frobenius norm: a shift or a small turn
    of the whole head has none. Differences are central, at the border one-sided; h and w are at least 2.
    """
    dy, dx = torch.gradient(flow, dim=(2, 3))  # n 2 h w, of u and v
    shear = (dy[:, 0] + dx[:, 1]) / 2  # n h w
    return (dx[:, 0] ** 2 + dy[:, 1] ** 2 + 2 * shear**2).sqrt()[:, None]


def busiest(store: ClipStore, *, window: float) -> Tensor:
    """The frame of every clip that differs most from its onset, as a position in the clip `[n]`.

    The difference is the mean absolute one over pixels and channels; of equal ones the first counts.
    window: share of the clip in which the frame is sought, about its middle; never the onset where there is another.
    """
    positions = []
    for clip in tqdm(store.ids, desc="guessed apex", unit="clip", leave=False):
        frames = store[clip]
        last = len(frames) - 1
        start = max(min(1, last), round(last * (1 - window) / 2))
        stop = max(start, round(last * (1 + window) / 2))
        onset = frames[0].astype(np.int16)
        changes = [np.abs(frame - onset).mean() for frame in frames[start : stop + 1]]
        positions.append(start + int(np.argmax(changes)))
    return torch.tensor(positions, device=store.device)
