"""TIM, the temporal interpolation model: a clip of n frames lengthened or shortened to m, for LBP-TOP and SCA.

TIM puts the n frames on a path graph. The eigenvectors of the graph's Laplacian sample n - 1 sine curves; a linear map
between these curves and the frames' principal components is solved, the curves are read at m evenly spaced positions
from the first frame to the last, and the map gives m frames (Zhou, Zhao and Pietikäinen, CVPR 2011; meb's port).

Where this departs, and why:
- The map is not solved. If the n frames are linearly independent it turns every curve into the frames' own coefficient
  on it, so that TIM is the discrete cosine series of the frames over time, read between them: fixed weights of n frames
  for each of the m, whatever the frames show. The tests hold this against the solved map.
- If the frames depend on each other, as where one is there twice, the map has no solution, and the port returns
  arbitrary frames. The series needs no independence: it is what the map tends to as such frames are made different by
  less and less. So frames that repeat stay in their places, where leaving them out would quicken the clip.
- The port rounds the result to grey levels; here that is left to the caller.
"""

import math

import numpy as np
import torch
from torch import Tensor


def weights(n: int, length: int) -> Tensor:
    """What each of ``n`` frames adds to each of ``length`` interpolated ones: ``[length, n]`` float64, rows sum to 1.

    Some weights are negative.

    Raises:
        ValueError: A count is below 1.
    """
    if n < 1 or length < 1:
        raise ValueError(f"TIM makes {length} frames of {n}: both must be at least 1")
    k = torch.arange(1, n, dtype=torch.float64) * math.pi / n  # the curves' frequencies
    given = torch.arange(n, dtype=torch.float64) + 0.5
    wanted = torch.linspace(0, n - 1, length, dtype=torch.float64) + 0.5  # length 1: the first frame
    return 1 / n + 2 / n * torch.cos(wanted[:, None] * k) @ torch.cos(k[:, None] * given)


def interpolate(frames: Tensor | np.ndarray, length: int) -> Tensor:
    """``[t, ...]`` -> ``[length, ...]`` frames, evenly spaced from the first to the last, both of which are kept.

    The result may be above the largest or below the smallest value given, and is not rounded.

    Args:
        frames: Of any shape and type, grey or colour; integers give float32, a float type stays.

    Raises:
        ValueError: A count is below 1.
    """
    x = frames if isinstance(frames, Tensor) else torch.from_numpy(np.array(frames))  # a copy: a store's is read-only
    x = x if x.is_floating_point() else x.float()
    mixed = weights(len(x), length).to(x) @ x.reshape(len(x), -1)  # length, pixels
    return mixed.reshape(length, *x.shape[1:])
