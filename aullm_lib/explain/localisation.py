"""How well maps say where an AU acts, measured against a synthetic release's ground truth.

A map counts by where it shows evidence for the AU: its positive part, averaged over the frames. The measures are

    hit        pointing game: whether the map's largest value lies in the AU's mask (Zhang et al., IJCV 2018)
    energy     share of the map's sum inside the mask (Wang et al., CVPRW 2020)
    deletion   mean probability of the AU while pixels come to rest, those of the largest values first: low is good
    insertion  the same while they begin to move in a still clip: high is good (Petsiuk et al., BMVC 2018)

A map that is 0 everywhere, or the same, says nothing: it gets what a map of equal values would get, the mask's share of
the picture (``area``), which is chance for hit and energy. A pixel at rest keeps its first frame's grey level. Deletion
and insertion need no ground truth: on a licensed release they are what there is.

A number means little alone. Beside it stand maps that know nothing (a blob in the centre, random values), one that
knows the clip but no model and no AU (how much each pixel changes), and those of the same architecture with weights
drawn anew: a map that comes from what was learned must lose its score there (Adebayo et al., NeurIPS 2018).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from aullm_lib.clips import ClipStore
from aullm_lib.explain import maps as explain
from aullm_lib.explain.maps import METHODS, Method
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM
from aullm_lib.preprocess import alignment
from aullm_lib.runs import Run
from aullm_lib.support import images
from aullm_lib.support.randomness import fold_seed

MEASURES = ("hit", "energy", "deletion", "insertion", "area")
NO_MODEL = "no model"
RANDOM = ", random weights"  # after the name of a model


def examples(run: Run, *, units: Collection[int] = (), at_most: int = 0, seed: int = 0) -> pd.DataFrame:
    """What is to be explained, a row a clip and AU that it shows: fold, clip_id, subject, au, unit, probability.

    fold is the one that was not trained on the clip; unit the AU's position among the experiment's. units: AU numbers,
    all by default. at_most: clips of each AU, drawn at random; 0 takes all.
    Raises ValueError for an AU that the run does not have.
    """
    unknown = [number for number in units if number not in run.experiment.aus]
    if unknown:
        raise ValueError(f"units: AU{unknown[0]} is none of {', '.join(f'AU{n}' for n in run.experiment.aus)}")
    names = [f"AU{number}" for number in run.experiment.aus]
    said = run.predictions()
    shown = said[(said["label"] == 1) & said["au"].isin([f"AU{n}" for n in units] or names)]
    if at_most:
        shown = shown.sample(frac=1, random_state=seed).groupby("au").head(at_most).sort_index()
    shown = shown.assign(unit=shown["au"].map(names.index).astype(int)).reset_index(drop=True)
    return shown[["fold", "clip_id", "subject", "au", "unit", "probability"]]


def has_truth(root: str | Path) -> bool:
    """Whether a release has ground-truth masks: a synthetic one has."""
    return (Path(root) / "SYNTHETIC" / "release.json").is_file()


def truth(store: ClipStore, root: str | Path, pairs: pd.DataFrame) -> Tensor:
    """Where each AU acts in its clip, in stored pixels: bool `[n, h, w]`, in the order of ``pairs`` (clip_id, au).

    root: of the synthetic release that the store was built from. The mask goes the way of the frames.
    Raises FileNotFoundError where a mask is not there.
    """
    size = store.info["settings"]["size"]
    found = np.zeros((len(pairs), size, size), bool)
    for i, (clip_id, au) in enumerate(zip(pairs["clip_id"], pairs["au"], strict=True)):
        clip = store.table.loc[clip_id]
        kind = "masks_cropped" if clip["cropped"] else "masks"
        path = Path(root) / "SYNTHETIC" / kind / clip["subject"] / clip["clip"] / f"{au}.png"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no ground truth of {au} in {clip_id}; only a synthetic release has masks")
        found[i] = alignment.warp(images.read(path), store.matrix(clip_id), size) > 127
    return torch.from_numpy(found)


def evidence(maps: Tensor) -> Tensor:
    """`[n, t, h, w]`, signed -> `[n, h, w]`: the positive part, averaged over the frames."""
    return maps.clamp(min=0).mean(1)


def pointing(maps: Tensor, masks: Tensor) -> Tensor:
    """`[n, h, w]` maps and masks -> `[n]`: the share of the map's largest values, mostly one, that lie in the mask."""
    flat = maps.flatten(1)
    top = flat == flat.amax(1, keepdim=True)
    return (top & masks.flatten(1)).sum(1) / top.sum(1)


def energy(maps: Tensor, masks: Tensor) -> Tensor:
    """`[n, h, w]` maps, at least 0, and masks -> `[n]`: the share of the map's sum in the mask."""
    total, inside = maps.sum((1, 2)), (maps * masks).sum((1, 2))
    return torch.where(total > 0, inside / total, masks.to(maps.dtype).mean((1, 2)))


@torch.no_grad()
def curves(
    model: AULLM, clips: Tensor, unit: Tensor, maps: Tensor, *, steps: int = 10, seed: int = 0,
    at_once: int = explain.AT_ONCE,
) -> Tensor:  # fmt: skip
    """Deletion and insertion: `[n, 2, steps + 1]`, the AU's probability with 0, 1/steps, ... 1 of the pixels changed.

    clips `[n, t, h, w]`, unit `[n]`, maps `[n, h, w]`. Pixels of equal value go in an order drawn by ``seed``.
    """
    x, flat = clips.to(model.head.weight), maps.flatten(1)
    n, pixels = flat.shape
    drawn = torch.randperm(pixels, generator=torch.Generator().manual_seed(seed))
    order = drawn[flat[:, drawn].argsort(dim=1, descending=True, stable=True)]
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels).expand(n, -1))
    rank = rank.view(n, 1, 1, *maps.shape[1:]).to(x.device)  # n 1 1 h w
    ends = torch.linspace(0, pixels, steps + 1).round().to(x.device)[:, None, None, None]  # k 1 1 1
    found = []
    few = max(1, at_once // (2 * steps + 2))
    for part, ranks, units in zip(x.split(few), rank.split(few), unit.to(x.device).split(few), strict=True):
        first, moving, rest = ranks < ends, part[:, None], explain.still(part)[:, None]  # n k 1 h w; n 1 t h w
        changed = torch.stack([torch.where(first, rest, moving), torch.where(first, moving, rest)], 1)  # n 2 k t h w
        logits = model(changed.flatten(0, 2)).unflatten(0, changed.shape[:3])  # n 2 k AUs
        found.append(logits[torch.arange(len(part)), ..., units].double().sigmoid())
    return torch.cat(found).cpu()


def centre(clips: Tensor, seed: int = 0) -> Tensor:
    """A blob in the centre, a sixth of the side wide, whatever the clip: `[n, 1, h, w]`."""
    n, _, h, w = clips.shape
    y, x = (torch.linspace(-3, 3, size) for size in (h, w))
    return torch.exp(-(y[:, None] ** 2 + x**2) / 2).expand(n, 1, h, w)


def random_values(clips: Tensor, seed: int = 0) -> Tensor:
    """Values drawn by ``seed``, whatever the clip: `[n, 1, h, w]`."""
    n, _, h, w = clips.shape
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(seed))


def frame_difference(clips: Tensor, seed: int = 0) -> Tensor:
    """How far each pixel is from the first frame: `[n, t-1, h, w]`. It knows the clip, and neither model nor AU."""
    return (clips.float() - explain.still(clips).float()).abs()[:, 1:]


BLIND: dict[str, Callable[[Tensor, int], Tensor]] = {
    "centre": centre,
    "random values": random_values,
    "frame difference": frame_difference,
}
"""Maps that no model made."""


class Measured(NamedTuple):
    """What ``measure`` found. A key is (model, method)."""

    rows: pd.DataFrame  # a row a pair and map: the pair, model, method, and MEASURES
    curves: pd.DataFrame  # model, method, curve, share (of pixels changed), probability (mean over the pairs)
    maps: dict[tuple[str, str], Tensor]  # the evidence, float32 [n, h, w], in the order of the pairs


def measure(
    run: Run,
    name: str,
    store: ClipStore,
    pairs: pd.DataFrame,
    masks: Tensor | None = None,
    *,
    llm: Loaded | None = None,
    methods: Mapping[str, Method] = METHODS,
    references: bool = True,
    steps: int = 10,
    seed: int = 0,
    device: str | torch.device | None = None,
) -> Measured:
    """Makes and measures the maps of every pair, each with its own fold's model and with weights drawn anew.

    name: the model's, in the results. pairs: as ``examples`` gives them; masks: as ``truth``, and without them hit,
    energy and area are NaN. references: the maps of no model as well. Deletion and insertion ask the trained model,
    whichever map orders the pixels. device: the first CUDA device if there is one, else the CPU.
    Raises ValueError where there is no pair, and as ``explain.models``.
    """
    if pairs.empty:
        raise ValueError("no pair of a clip and an AU to explain: no held-out clip shows one of these AUs")
    device = device or explain.default_device()
    n, size = len(pairs), store.info["settings"]["size"]
    maps: dict[tuple[str, str], Tensor] = defaultdict(lambda: torch.zeros(n, size, size))
    lines: dict[tuple[str, str], Tensor] = defaultdict(lambda: torch.zeros(n, 2, steps + 1, dtype=torch.float64))
    sets = 2 * len(methods) + (len(BLIND) if references else 0)
    with tqdm(total=sets * n, desc=f"maps of {name}", unit="map") as bar:
        for fold, model in explain.models(run, llm, device=device, folds=set(pairs["fold"])):
            at = torch.tensor(np.flatnonzero(pairs["fold"] == fold))
            mine = pairs.iloc[at.numpy()]
            clips = store.sample(list(mine["clip_id"]), run.experiment.recipe.frames)
            unit = torch.tensor(mine["unit"].to_numpy())
            fresh = explain.randomised(run.experiment, llm, seed=fold_seed(seed, fold + RANDOM)).to(device)
            made = {
                (label, method): partial(how, one, clips, unit)
                for label, one in ((name, model), (name + RANDOM, fresh))
                for method, how in methods.items()
            }
            if references:
                made |= {
                    (NO_MODEL, method): partial(how, clips, fold_seed(seed, fold)) for method, how in BLIND.items()
                }
            for key, make in made.items():
                maps[key][at] = evidence(make()).float().cpu()
                lines[key][at] = curves(model, clips, unit, maps[key][at], steps=steps, seed=fold_seed(seed, fold))
                bar.update(len(at))
    rows = pd.concat([_row(pairs, key, maps[key], masks, lines[key]) for key in maps], ignore_index=True)
    drawn = [
        (*key, curve, k / steps, value)
        for key, line in lines.items()
        for curve, values in zip(("deletion", "insertion"), line.mean(0).tolist(), strict=True)
        for k, value in enumerate(values)
    ]
    columns = ["model", "method", "curve", "share", "probability"]
    return Measured(rows, pd.DataFrame(drawn, columns=columns), dict(maps))


def _row(pairs: pd.DataFrame, key: tuple[str, str], maps: Tensor, masks: Tensor | None, lines: Tensor) -> pd.DataFrame:
    """The pairs with what one map of each is worth."""
    area = torch.trapezoid(lines, dx=1 / (lines.shape[-1] - 1))  # n 2
    found = {"model": key[0], "method": key[1], "deletion": area[:, 0].numpy(), "insertion": area[:, 1].numpy()}
    if masks is None:
        return pairs.assign(**found, hit=np.nan, energy=np.nan, area=np.nan)
    hit, inside = pointing(maps, masks).numpy(), energy(maps.double(), masks).numpy()
    return pairs.assign(**found, hit=hit, energy=inside, area=masks.double().mean((1, 2)).numpy())
