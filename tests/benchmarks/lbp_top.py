"""LBP-TOP features of a clip: the kit's vectorised form beside a plain loop over pixels, planes and neighbours.

``make bench``, or ``python tests/benchmarks/lbp_top.py [--frames 10] [--rounds 5]``. A clip of random grey frames,
112×112, with the recipe's defaults, in both forms. Both ways use one thread, and are run in turns, so that a busy
machine slows them alike; both must give the same features. The aim is at least 50 times the plain loop's speed.
"""

import argparse
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from aullm_lib.baselines import lbp_top, tim
from aullm_lib.baselines.lbp_top import Recipe
from aullm_lib.support import files

BENCH = Path(__file__).resolve().parents[2] / "runs" / "bench"


def numbering(neighbours: int) -> list[int]:
    """The bin of every code, by looking at its bits as text."""
    table, found = [], 0
    for code in range(2**neighbours):
        bits = f"{code:0{neighbours}b}"
        if sum(a != b for a, b in zip(bits, bits[1:] + bits[0], strict=True)) <= 2:
            table.append(found)
            found += 1
        else:
            table.append(-1)
    return [found if bin_ < 0 else bin_ for bin_ in table]


def neighbour(clip: list[list[list[float]]], t: float, y: float, x: float) -> float:
    """The value between pixels, bilinear along the axes on which it lies between two."""
    value = 0.0
    for ft, wt in ((math.floor(t), 1 - t % 1), (math.floor(t) + 1, t % 1)):
        for fy, wy in ((math.floor(y), 1 - y % 1), (math.floor(y) + 1, y % 1)):
            for fx, wx in ((math.floor(x), 1 - x % 1), (math.floor(x) + 1, x % 1)):
                weight = wt * wy * wx
                if weight:
                    value += weight * clip[ft][fy][fx]
    return value


def both_of_port(at: int, side: float, shared: float, blocks: int) -> tuple[int, int]:
    """The port's two blocks of an inner pixel along an axis, counted from 1, with its fractions."""
    first = 0 if at - side - 1 < 0 else math.floor((at - side - 1) / (side - shared) + 1)
    first = min(first, blocks - 1)
    return first, min(math.ceil((at + (first + 1) * shared) / side) - 1, blocks - 1)


def loop(frames: Tensor, recipe: Recipe) -> list[float]:
    """The features of grey frames `[tim, size, size]` with whole numbers, one pixel after the other."""
    r, port = recipe, recipe.form == "port"
    clip = frames.tolist()
    inner = r.size - 2 * r.border
    shared = math.ceil((math.ceil(inner / r.blocks) - 1) * r.overlap) - 1
    side = math.floor((inner + shared * (r.blocks - 1)) / r.blocks)
    starts = [math.floor(i * (inner - side) / (r.blocks - 1)) for i in range(r.blocks)]
    covering = [[i for i, start in enumerate(starts) if start <= at < start + side] for at in range(inner)]
    table = numbering(r.neighbours)
    circle = []
    for p in range(r.neighbours):
        c = round(math.cos(2 * math.pi * p / r.neighbours), 15)
        s = round(math.sin(2 * math.pi * p / r.neighbours), 15)
        ry = r.radius_x if port else r.radius_y  # of the YT plane
        offsets = (
            (0, -r.radius_y * s, r.radius_x * c),
            (-r.radius_t * s, 0, r.radius_x * c),
            (-r.radius_t * s, -ry * c, 0),
        )
        circle.append([tuple(math.floor(d + 0.5) for d in o) if port else o for o in offsets])
    histogram = [[[[0.0] * r.bins for _ in range(3)] for _ in range(r.blocks)] for _ in range(r.blocks)]
    for t in range(r.border_t, r.tim - r.border_t):
        for y in range(r.border, r.size - r.border):
            for x in range(r.border, r.size - r.border):
                centre = clip[t][y][x]
                if port:
                    i, i2 = both_of_port(y - r.border + 1, side, shared, r.blocks)
                    j, j2 = both_of_port(x - r.border + 1, side, shared, r.blocks)
                    places = {(i, j), (i2, j2)}
                else:
                    places = {(i, j) for i in covering[y - r.border] for j in covering[x - r.border]}
                for plane in range(3):
                    code = 0
                    for p in range(r.neighbours):
                        dt, dy, dx = circle[p][plane]
                        value = clip[t + dt][y + dy][x + dx] if port else neighbour(clip, t + dt, y + dy, x + dx)
                        if value >= centre - 1e-9:
                            code += 2**p
                    for i, j in places:
                        histogram[i][j][plane][table[code]] += 1
    flat = [h for row in histogram for block in row for h in block]
    if not port:
        flat = [[count / sum(h) for count in h] for h in flat]
    return [count for h in flat for count in h]


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10, help="of the clip; the loop is given ten")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clip = torch.randint(0, 256, (options.frames, 112, 112), generator=torch.Generator().manual_seed(1))
    print(f"LBP-TOP of a clip of {options.frames} frames, 112×112, one thread, median of {options.rounds} rounds")
    print("form   plain loop       kit   times as fast   largest difference")
    values = {}
    for form in ("sane", "port"):
        recipe = Recipe(form=form)
        ten = clip if len(clip) >= recipe.tim and form == "port" else tim.interpolate(clip.double(), recipe.tim).round()
        ways: tuple[Callable[[], Any], ...] = (
            partial(loop, ten[: recipe.tim], recipe),
            partial(lbp_top.describe, clip, recipe),
        )
        difference = (torch.tensor(ways[0]()) - ways[1]()).abs().max().item()  # and both are warm
        rounds = [[seconds(way) for way in ways] for _ in range(options.rounds)]
        slow, quick = (median(times) for times in zip(*rounds, strict=True))
        values[f"{form}: ms for a clip of {options.frames} frames, 112×112"] = round(1000 * quick, 1)
        values[f"{form}: times as fast as a plain loop"] = round(slow / quick)
        print(f"{form:5} {slow:10.2f} s {1000 * quick:6.1f} ms {slow / quick:15.0f} {difference:20.1g}")
    files.write_json(BENCH / "lbp-top.json", {"values": values})


if __name__ == "__main__":
    main()
