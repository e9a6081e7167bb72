"""Which triangle of a mesh each pixel of a picture shows, and where in it."""

from typing import NamedTuple

import numpy as np

Array = np.ndarray


class Raster(NamedTuple):
    """What the pixels show: `which` int32 [H, W], a triangle or -1; `share` float32 [H, W, 3], the weights of its
    corners, which sum to 1, or to 0 where there is none."""

    which: Array
    share: Array

    def of(self, values: Array, triangles: Array) -> Array:
        """Values of the vertices [n, ...] in every pixel [H, W, ...]; 0 where there is none."""
        return self.corners(values[triangles])

    def corners(self, values: Array) -> Array:
        """Values of the triangles' corners [m, 3, ...] in every pixel [H, W, ...]."""
        return np.einsum("hwk,hwk...->hw...", self.share, values[self.which])


def rasterise(places: Array, depth: Array, triangles: Array, shape: tuple[int, int]) -> Raster:
    """The nearest triangle in every pixel, of those that face the camera.

    Args:
        places: [n, 2], x and y of the vertices in pixels; pixel (0, 0) has its centre at (0, 0).
        depth: [n], larger is nearer.
        triangles: [m, 3] indices of vertices; one faces the camera where its corners run clockwise in the picture.
        shape: height and width of the picture.
    """
    height, width = shape
    corner = places[triangles]  # [m, 3, 2]
    low = np.clip(np.ceil(corner.min(1)), 0, (width, height)).astype(np.int64)
    size = np.clip(np.floor(corner.max(1)) + 1, 0, (width, height)).astype(np.int64) - low
    (ax, ay), (bx, by), (cx, cy) = (corner[:, k].T for k in range(3))
    area = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy)
    drawn = (size > 0).all(1) & (area < -1e-9)
    found = [(np.empty(0, np.int64), np.empty(0), np.empty(0, np.int64), np.empty((0, 3), np.float32))]
    side, most = 1, 0
    while most < size[drawn].max(initial=0):
        least, most = most, side
        side *= 2
        extent = size.max(1)
        chosen = np.flatnonzero(drawn & (extent > least) & (extent <= most))
        steps = np.arange(most)
        for some in np.array_split(chosen, max(1, len(chosen) * most * most // 4_000_000)):
            if not len(some):
                continue
            k = some[:, None, None]
            x, y = low[some, 0][:, None, None] + steps, low[some, 1][:, None, None] + steps[:, None]
            dx, dy = x - cx[k], y - cy[k]
            a = ((by - cy)[k] * dx + (cx - bx)[k] * dy) / area[k]
            b = ((cy - ay)[k] * dx + (ax - cx)[k] * dy) / area[k]
            c = 1 - a - b
            inside = (a >= 0) & (b >= 0) & (c >= 0) & (x < width) & (y < height)
            n, row, column = np.nonzero(inside)
            share = np.stack([a[inside], b[inside], c[inside]], 1)
            index = some[n]
            where = (low[index, 1] + row) * width + low[index, 0] + column
            found.append((where, (share * depth[triangles[index]]).sum(1), index, share.astype(np.float32)))
    where, near, index, share = (np.concatenate(k) for k in zip(*found, strict=True))
    order = np.lexsort((index, near))  # the nearest is written last
    which = np.full(height * width, -1, np.int32)
    shares = np.zeros((height * width, 3), np.float32)
    which[where[order]], shares[where[order]] = index[order], share[order]
    return Raster(which.reshape(shape), shares.reshape(*shape, 3))
