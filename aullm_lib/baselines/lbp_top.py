"""LBP-TOP: local binary patterns on the planes XY, XT and YT of a clip, and one support vector machine per AU.

Every inner pixel is compared with 8 neighbours on an ellipse in each plane (one bit each: not darker than the pixel);
codes with at most two changes around the circle have a bin each, all others share one; the bins are counted in 8×8
overlapping blocks: 8·8·3·59 = 11,328 features (Zhao and Pietikäinen, TPAMI 2007). What Table 1's row was made with is
not published. The settings are those of the public port in meb, the best documented ones for AUs, in two forms:

``form="port"`` is that port to the letter. It reads the first ten frames of a clip, whatever its length (a shorter one
is lengthened by TIM), so that the centres are frames 3 to 6; neighbours are the nearest pixels; the YT plane uses the
radius along x; a pixel where blocks overlap counts in one more block at most, the diagonal one in their corners; counts
stay raw. (That it also uses the XT plane's code table for YT has no effect: both have as many neighbours.)

``form="sane"``, the default, is the same descriptor, mended. Where this departs, and why:
- TIM brings the whole clip to ten frames, for the first ten of a clip may end before anything moves.
- Neighbours are interpolated (bilinear), and each plane has its own radii, as the descriptor's definition has it.
- Blocks of the port's size are spread evenly from border to border, and a pixel counts in every block that covers it.
- A block's histogram of a plane sums to 1, so that blocks of any size weigh the same.

In both, TIM's frames are rounded to grey levels, as in the port: where nothing moves, equal pixels stay equal.
Both have one part in time, as the port. ``svm`` has the machines.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from aullm_lib.baselines import tim
from aullm_lib.baselines.svm import Inputs, Machines
from aullm_lib.clips import ClipStore
from aullm_lib.recipe import Settings, setting

RGB = False
MEB = "meb's port"
TIE = 1e-9  # grey levels: an interpolated value this near its centre equals it, but for rounding


@dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """Settings of the descriptor and of the machines. Raises TypeError or ValueError naming a field that is wrong."""

    form: str = setting("sane", "ours; port: meb's port to the letter", choices=("sane", "port"))
    size: int = setting(112, f"{MEB}: pixels of a stored frame, height and width", low=16)
    tim: int = setting(10, f"{MEB}: frames that are read of a clip", low=3)
    radius_x: int = setting(3, f"{MEB}, pixels", low=1)
    radius_y: int = setting(3, f"{MEB}, pixels", low=1)
    radius_t: int = setting(3, f"{MEB}, frames", low=1)
    neighbours: int = setting(8, f"{MEB}: on each plane", low=3, below=17)
    blocks: int = setting(8, f"{MEB}: rows, and columns", low=1)
    overlap: float = setting(0.7, f"{MEB}: of blocks, as a share of a block's side without overlap", low=0, below=1)
    border: int = setting(3, f"{MEB}: pixels that are no centres, on each side", low=1)
    border_t: int = setting(3, f"{MEB}: frames that are no centres, at each end", low=1)
    degree: int = setting(3, f"{MEB}: of the polynomial kernel", low=1)
    gamma: str = setting(
        "scale", f"{MEB}: 1 / (features × variance in training); auto: 1 / features", choices=("scale", "auto")
    )
    coef0: float = setting(0.0, "scikit-learn's default, as in meb's port: added in the kernel", low=0)
    C: float = setting(1.0, "scikit-learn's default, as in meb's port: cost of a training error", above=0)
    epochs: int = setting(1, "ours: a machine is fitted once", low=1, below=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for border, radii in (("border", ("radius_x", "radius_y")), ("border_t", ("radius_t",))):
            for radius in radii:
                if getattr(self, radius) > getattr(self, border):
                    raise ValueError(
                        f"Recipe.{border}={getattr(self, border)}: neighbours would lie outside the clip; at least "
                        f"{radius}, {getattr(self, radius)}"
                    )
        if self.tim <= 2 * self.border_t:
            raise ValueError(f"Recipe.tim={self.tim}: leaves no centre frame; more than 2 × border_t={self.border_t}")
        if self.size - 2 * self.border < self.blocks:
            raise ValueError(f"Recipe.blocks={self.blocks}: more than the {self.size - 2 * self.border} inner pixels")

    @property
    def bins(self) -> int:
        """Of a histogram: uniform codes, and one for all others."""
        return self.neighbours * (self.neighbours - 1) + 3

    @property
    def features(self) -> int:
        return self.blocks**2 * 3 * self.bins


@lru_cache(maxsize=8)
def uniform(neighbours: int) -> Tensor:
    """The bin of every code `[2^neighbours]`: those with at most two changes around the circle in order, then one."""
    codes = torch.arange(2**neighbours)
    turned = codes >> 1 | (codes & 1) << neighbours - 1
    few = ((codes ^ turned)[:, None] >> torch.arange(neighbours) & 1).sum(1) <= 2
    return torch.where(few, few.cumsum(0) - 1, neighbours * (neighbours - 1) + 2)


@lru_cache(maxsize=8)
def taps(recipe: Recipe) -> list[list[list[tuple[float, int, int, int]]]]:
    """The neighbours of each plane, one bit of the code each, as pixels (weight, dt, dy, dx) that add up to them."""
    r, planes = recipe, list[list[list[tuple[float, int, int, int]]]]([[], [], []])
    for p in range(r.neighbours):
        angle = 2 * math.pi * p / r.neighbours
        c, s = round(math.cos(angle), 15), round(math.sin(angle), 15)  # so that 0 and 0.5 are exact
        along_y = r.radius_x if r.form == "port" else r.radius_y  # of YT
        ellipses = (
            (0, -r.radius_y * s, r.radius_x * c),
            (-r.radius_t * s, 0, r.radius_x * c),
            (-r.radius_t * s, -along_y * c, 0),
        )
        for plane, point in zip(planes, ellipses, strict=True):
            at = [math.floor(x + 0.5) for x in point] if r.form == "port" else point
            sides = [[(1 - x % 1, math.floor(x)), (x % 1, math.ceil(x))] for x in at]
            corners = [(math.prod(w for w, _ in corner), *(d for _, d in corner)) for corner in product(*sides)]
            plane.append([corner for corner in corners if corner[0]])  # type: ignore[misc]
    return planes


def codes(frames: Tensor, recipe: Recipe) -> Tensor:
    """Grey frames `[t, h, w]` -> the codes of every centre pixel on XY, XT and YT `[3, t', h', w']`, int32."""
    b, bt = recipe.border, recipe.border_t
    t, h, w = frames.shape
    x = frames.to(torch.float32 if recipe.form == "port" else torch.float64)  # exact on the port's whole numbers

    def moved(dt: int, dy: int, dx: int) -> Tensor:
        return x[bt + dt : t - bt + dt, b + dy : h - b + dy, b + dx : w - b + dx]

    least = moved(0, 0, 0) - TIE
    result = torch.zeros(3, *least.shape, dtype=torch.int32, device=x.device)
    for plane, neighbours in zip(result, taps(recipe), strict=True):
        for bit, corners in enumerate(neighbours):
            (weight, *offset), *others = corners
            value = moved(*offset) * weight if others else moved(*offset)
            for weight, *offset in others:
                value.add_(moved(*offset), alpha=weight)
            plane.add_(value >= least, alpha=1 << bit)
    return result


class Blocks(NamedTuple):
    """The blocks that cover each pixel along an axis. Pixels in the same blocks form one segment."""

    segment: Tensor  # of every inner pixel [n]
    members: Tensor  # 0/1 [blocks, segments]; of the port: a segment's first block
    also: Tensor  # of the port: its second one, or the first again


@lru_cache(maxsize=8)
def blocks(recipe: Recipe) -> Blocks:
    """The blocks along one axis of the inner pixels."""
    k, n = recipe.blocks, recipe.size - 2 * recipe.border
    alone = math.ceil(n / k) - 1
    shared = math.ceil(alone * recipe.overlap) - 1
    side = (n + shared * (k - 1)) // k
    if recipe.form == "sane":
        side = max(side, math.ceil(n / k))  # every pixel is in a block, even with no overlap
        starts = torch.tensor([i * (n - side) // max(k - 1, 1) for i in range(k)])[:, None]
        inside = torch.arange(n) - starts
        member, segment = torch.unique((inside >= 0) & (inside < side), dim=1, return_inverse=True)
        return Blocks(segment, member.double(), torch.empty(0))
    u = torch.arange(1, n + 1)  # in whole numbers what the port computes with fractions
    first = ((u - side - 1) // (side - shared) + 1).clamp(0, k - 1)
    second = (-(-(u + (first + 1) * shared) // side) - 1).clamp(max=k - 1)
    both, segment = torch.unique(torch.stack([first, second]), dim=1, return_inverse=True)
    member, also = nn.functional.one_hot(both, k).double().mT
    return Blocks(segment, member, also)


def describe(frames: Tensor, recipe: Recipe) -> Tensor:
    """Grey frames `[t, size, size]` of any length -> `[features]` float32: block by block, plane by plane, its bins."""
    r = recipe
    if r.form == "sane" or len(frames) < r.tim:
        frames = tim.interpolate(frames.double(), r.tim).round()
    code = codes(frames[: r.tim], r)
    bins = uniform(r.neighbours).to(frames.device).index_select(0, code.flatten()).view_as(code)  # 3 t' h' w'
    segment, members, also = (part.to(frames.device) for part in blocks(r))
    s = members.shape[1]
    place = (torch.arange(3, device=frames.device)[:, None, None] * s + segment[:, None]) * s + segment  # 3 h' w'
    counts = torch.bincount((place[:, None] * r.bins + bins).flatten(), minlength=3 * s * s * r.bins)
    counts = counts.view(3, s, s, r.bins).double()
    histograms = torch.einsum("iy,pyxb,jx->ijpb", members, counts, members)
    if r.form == "sane":
        histograms /= histograms.sum(3, keepdim=True)
    else:
        shared = (members != also).any(0)
        counts *= (shared[:, None] | shared)[:, :, None]
        histograms += torch.einsum("iy,pyxb,jx->ijpb", also, counts, also)
    return histograms.flatten().float()


def prepare(recipe: Recipe, store: ClipStore) -> Inputs:
    """The features of every clip, one clip in memory at a time."""
    features = torch.empty(len(store), recipe.features, device=store.device)
    for row, length in enumerate(tqdm(store.lengths.tolist(), desc="LBP-TOP", unit="clip", leave=False)):
        at = torch.arange(length, device=store.device)
        features[row] = describe(store.take(at.new_tensor([row]), at[None])[0], recipe)
    return Inputs.of(features)


class Model(Machines):
    """The machines of a recipe, whose kernel is polynomial."""

    def __init__(self, recipe: Recipe, n_aus: int) -> None:
        r = recipe
        super().__init__(n_aus, features=r.features, C=r.C, degree=r.degree, coef0=r.coef0, gamma=r.gamma)
        self.recipe = recipe
