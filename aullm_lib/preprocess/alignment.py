"""Where a clip's face is put: the affine maps that align a frame, and the warp that applies one.

Every alignment is one affine matrix [2, 3] from frame pixels to stored pixels, (x, y, 1) -> (x, y), pixel (0, 0) having
its centre at (0, 0).
"""

import math

import cv2
import numpy as np

# Of the stored side. CASME II's own registered crops have 107 / 280 and 112 / 340; in a square, eyes a little closer
# together leave room for every chin.
EYES_APART, EYES_DOWN = 0.34, 0.33
MARGIN = 0.06  # around the face in "crop": of its larger side, on each side


def squash(shape: tuple[int, ...], size: int) -> np.ndarray:
    """The matrix [2, 3] that takes a whole frame of this shape (height, width, ...) to [size, size]."""
    return cut((0, 0, shape[1], shape[0]), size)


def cut(box: tuple[float, float, float, float], size: int) -> np.ndarray:
    """The matrix [2, 3] that takes a box (left, top, width, height; pixels' edges) to [size, size]."""
    left, top, width, height = box
    x, y = size / width, size / height
    return np.array([[x, 0, (0.5 - left) * x - 0.5], [0, y, (0.5 - top) * y - 0.5]])


def around(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """The square of whole pixels around a face's box, with a margin."""
    left, top, width, height = box
    side = round((1 + 2 * MARGIN) * max(width, height))
    return round(left + (width - side) / 2), round(top + (height - side) / 2), side, side


def level(eyes: np.ndarray, size: int) -> np.ndarray:
    """The similarity [2, 3] that puts eyes [2, 2] level, EYES_APART and EYES_DOWN in [size, size]."""
    across, down = np.asarray(eyes[1] - eyes[0], np.float64)
    scale = EYES_APART * size / (across**2 + down**2)
    turn = scale * np.array([[across, down], [-down, across]])
    place = np.array([0.5 * size - 0.5, EYES_DOWN * size - 0.5])
    return np.c_[turn, place - turn @ np.mean(eyes, axis=0)]


def warp(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    """[H, W] or [H, W, 3] uint8 -> the same with [size, size], averaging over areas; its border goes on beyond it.

    A box of whole pixels is cut and shrunk exactly; any other map is sampled bilinearly on a grid about as fine as the
    image's, k by k to a stored pixel, and averaged over those.
    """
    scale = matrix[[0, 1], [0, 1]]
    box = np.r_[0.5 - (matrix[:, 2] + 0.5) / scale, size / scale] if matrix[0, 1] == matrix[1, 0] == 0 else np.inf
    if np.all(np.isfinite(box)) and np.allclose(box, np.rint(box), rtol=0, atol=1e-3):
        left, top, width, height = np.rint(box).astype(int).tolist()
        pad = max(0, -left, -top, left + width - image.shape[1], top + height - image.shape[0])
        if pad:
            image = cv2.copyMakeBorder(image, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        part = image[top + pad : top + pad + height, left + pad : left + pad + width]
        return cv2.resize(part, (size, size), interpolation=cv2.INTER_AREA)
    k = max(1, math.ceil(1 / math.sqrt(abs(np.linalg.det(matrix[:, :2]))) - 0.25))  # then shrunk by 1.25 at most
    fine = k * matrix
    fine[:, 2] += (k - 1) / 2
    fine_size = (k * size, k * size)
    large = cv2.warpAffine(image, fine, fine_size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA)


def outline(matrix: np.ndarray, size: int) -> np.ndarray:
    """Where in the frame a stored picture comes from: its corners [4, 2] in frame pixels, clockwise from top left."""
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]]) - 0.5
    return (corners - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T
