"""Frames a second of ``preprocess.build`` with faces aligned, beside a plain loop over the same files.

``make bench``, or ``python tests/benchmarks/preprocess.py [--clips 4] [--rounds 5] [--workers 2]``. A synthetic
CASME II release goes to a temporary folder; its 640×480 RAW_selected JPEGs are aligned (``align="similarity"``) and
stored as 64×64 grey. The plain loop is ``cv2.imread(path, 0)`` and ``cv2.resize(..., INTER_AREA)`` to 64×64, in one
thread and in a pool of as many workers. Rounds are interleaved, so that a busy machine slows all of them alike.
The aim is at least 0.7 of the plain loop's frames a second, worker for worker.
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2

from aullm_lib import datasets, preprocess
from aullm_lib.preprocess import alignment, faces
from aullm_lib.support import files, images

BENCH = Path(__file__).resolve().parents[2] / "runs" / "bench"


def plain(path: Path) -> None:
    cv2.resize(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), (64, 64), interpolation=cv2.INTER_AREA)


def plain_loop(clips: list[tuple[Path, ...]]) -> None:
    for clip in clips:
        for path in clip:
            plain(path)


def plain_pool(clips: list[tuple[Path, ...]], workers: int) -> None:
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(lambda clip: plain_loop([clip]), clips))
    cv2.setNumThreads(threads)


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    with contextlib.redirect_stderr(io.StringIO()):  # no progress bars
        work()
    return time.perf_counter() - start


def shares(clips: list[tuple[Path, ...]], folder: Path) -> dict[str, float]:
    """Seconds that each part takes over all frames, one after the other in one thread."""
    spent = dict.fromkeys(("decode", "detect", "warp and resize", "write"), 0.0)
    cv2.setNumThreads(1)
    for clip in clips:
        start = time.perf_counter()
        found, *_ = preprocess.locate(clip)
        matrix = alignment.level(found.eyes, 64)
        spent["detect"] += time.perf_counter() - start  # decoding the onset frame in colour is part of it
        with (folder / "clip.raw").open("wb") as file:
            for path in clip:
                marks = [time.perf_counter()]
                image = images.read(path)
                marks.append(time.perf_counter())
                stored = alignment.warp(image, matrix, 64)
                marks.append(time.perf_counter())
                file.write(stored.tobytes())
                marks.append(time.perf_counter())
                for part, begin, end in zip(("decode", "warp and resize", "write"), marks, marks[1:], strict=False):
                    spent[part] += end - begin
    cv2.setNumThreads(-1)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4, help="clips of each of four subjects")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = datasets.synthesize(folder / "release", "casme2", subjects=4, clips_per_subject=options.clips)
        table = datasets.load("casme2", root, images="raw_selected")
        clips = list(table["frames"])
        frames = int(table["n_frames"].sum())
        stores = iter(range(10**6))
        work: dict[str, Callable[[], object]] = {
            "plain loop, 1 thread": lambda: plain_loop(clips),
            f"plain loop, {options.workers} workers": lambda: plain_pool(clips, options.workers),
            "build, 1 worker": lambda: preprocess.build(table, folder / f"{next(stores)}", workers=1),
            f"build, {options.workers} workers": lambda: preprocess.build(
                table, folder / f"{next(stores)}", workers=options.workers
            ),
        }
        taken: dict[str, list[float]] = {what: [] for what in work}
        for _ in range(options.rounds + 1):
            for what, run in work.items():
                taken[what].append(seconds(run))
        print(f"{len(clips)} clips, {frames} frames of 640×480; faces by {faces.detector()['name']}")
        rates, values = {}, {}
        for what, times in taken.items():
            times = times[1:]  # the first round warms caches
            best, middle = frames / min(times), frames / statistics.median(times)
            rates[what] = best, middle
            values[f"{what}: frames per second, median"] = round(middle)
            print(f"{what:24s} {best:7.0f} frames/s at best, {middle:7.0f} in the median of {len(times)} rounds")
        one, pooled, single, full = rates.values()
        for label, a, b in (
            (f"build, {options.workers} workers / plain loop, 1 thread", full, one),
            (f"build, {options.workers} workers / plain loop, {options.workers} workers", full, pooled),
            ("build, 1 worker / plain loop, 1 thread", single, one),
        ):
            values[f"{label}, median"] = round(a[1] / b[1], 2)
            print(f"{label}: {a[0] / b[0]:.2f} at best, {a[1] / b[1]:.2f} in the median")
        spent = shares(clips, folder)
        total = sum(spent.values())
        parts = ", ".join(f"{part} {100 * value / total:.0f} %" for part, value in spent.items())
        files.write_json(BENCH / "preprocess.json", {"values": values})
        print(f"in one thread, {1000 * total / frames:.2f} ms a frame: {parts}")


if __name__ == "__main__":
    main()
