"""How well attribution maps localise AUs, against a synthetic release's ground truth.

The evidence of a map for an AU is its positive part, averaged over the frames. The measures are

    pointing_game         whether the largest evidence lies in the AU's mask (Zhang et al., IJCV 2018)
    energy_pointing_game  share of the evidence inside the mask (Wang et al., CVPRW 2020)
    deletion              mean probability of the AU while pixels come to rest, largest evidence first: low is good
    insertion             the same while they begin to move in a still clip: high is good (Petsiuk et al., BMVC 2018)

A map that is constant gets the score of equal evidence everywhere, the mask's share of the picture (``area``), which is
chance level for both pointing games. A pixel at rest keeps its first frame's grey level. Deletion and insertion need no
ground truth and so work on a licensed release too.

Each score stands beside controls: maps that are independent of the input (a blob in the centre, random values), one of
the clip's own motion without model or AU, and those of the same architecture with randomised weights: a map that
reflects what was learned must lose its score there (Adebayo et al., NeurIPS 2018).
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from aullm_lib import explain
from aullm_lib.clips import ClipStore
from aullm_lib.explain.maps import AT_ONCE, METHODS, Method
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM
from aullm_lib.preprocess import alignment
from aullm_lib.runs import Run
from aullm_lib.support import files, images
from aullm_lib.support.randomness import fold_seed

MEASURES = ("pointing_game", "energy_pointing_game", "deletion", "insertion", "area")
NO_MODEL = "no model"
RANDOMISED = ", randomised weights"  # after the name of a model


def examples(run: Run, *, aus: Collection[int] = (), at_most: int = 0, seed: int = 0) -> pd.DataFrame:
    """The pairs of a clip and an AU that it shows, to be explained.

    Args:
        run: a finished run.
        aus: AU numbers; all of the run's by default.
        at_most: clips of each AU, drawn at random; 0 takes all.
        seed: of that draw.

    Returns:
        One row per pair: fold (not trained on the clip), clip_id, subject, au, au_index (among the run's), probability.

    Raises:
        ValueError: an AU that the run does not have.
    """
    numbers = run.experiment.aus
    if unknown := [number for number in aus if number not in numbers]:
        raise ValueError(f"aus: AU{unknown[0]} is none of {', '.join(f'AU{n}' for n in numbers)}")
    index = {f"AU{number}": i for i, number in enumerate(numbers)}
    predictions = run.predictions()
    pairs = predictions[(predictions["label"] == 1) & predictions["au"].isin([f"AU{n}" for n in aus or numbers])]
    if at_most:
        pairs = pairs.sample(frac=1, random_state=seed).groupby("au").head(at_most).sort_index()
    pairs = pairs.assign(au_index=pairs["au"].map(index).astype(int)).reset_index(drop=True)
    return pairs[["fold", "clip_id", "subject", "au", "au_index", "probability"]]


def has_truth(root: str | Path) -> bool:
    """Whether a release has ground-truth masks: a synthetic one has."""
    return (Path(root) / "SYNTHETIC" / "release.json").is_file()


def truth(store: ClipStore, root: str | Path, pairs: pd.DataFrame) -> Tensor:
    """The mask of where each AU acts, aligned as the store's frames: bool `[n, h, w]`, in the order of ``pairs``.

    Args:
        store: of the clips.
        root: of the synthetic release that the store was built from.
        pairs: with the columns clip_id and au.

    Raises:
        FileNotFoundError: there is no such mask.
    """
    size = store.info["settings"]["size"]
    masks = np.zeros((len(pairs), size, size), bool)
    for mask, clip_id, au in zip(masks, pairs["clip_id"], pairs["au"], strict=True):
        clip = store.table.loc[clip_id]
        folder = "masks_cropped" if clip["cropped"] else "masks"
        path = Path(root) / "SYNTHETIC" / folder / clip["subject"] / clip["clip"] / f"{au}.png"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no ground truth of {au} in {clip_id}; only a synthetic release has masks")
        either = np.where(images.read(path) > 0, np.uint8(255), np.uint8(0))  # its values say the side
        mask[:] = alignment.warp(either, store.matrix(clip_id), size) > 127
    return torch.from_numpy(masks)


def evidence(maps: Tensor) -> Tensor:
    """`[n, t, h, w]`, signed -> `[n, h, w]`: the positive part, averaged over the frames."""
    return maps.clamp(min=0).mean(1)


def pointing_game(maps: Tensor, masks: Tensor) -> Tensor:
    """`[n, h, w]` maps and masks -> `[n]`: the share of the map's largest values, mostly one, that lie in the mask."""
    flat = maps.flatten(1)
    top = flat == flat.amax(1, keepdim=True)
    return (top & masks.flatten(1)).sum(1) / top.sum(1)


def energy_pointing_game(maps: Tensor, masks: Tensor) -> Tensor:
    """`[n, h, w]` maps, at least 0, and masks -> `[n]`: the share of the map's sum in the mask."""
    total, inside = maps.sum((1, 2)), (maps * masks).sum((1, 2))
    return torch.where(total > 0, inside / total, masks.to(maps.dtype).mean((1, 2)))


@torch.no_grad()
def curves(
    model: AULLM, clips: Tensor, au_index: Tensor, maps: Tensor, *, steps: int = 10, seed: int = 0,
    at_once: int = AT_ONCE,
) -> Tensor:  # fmt: skip
    """Deletion and insertion: the AU's probability with 0, 1/steps, ... 1 of the pixels changed.

    Args:
        model, clips, au_index, at_once: as in ``explain.grad_cam``.
        maps: the evidence that orders the pixels, `[n, h, w]`.
        steps: of a curve.
        seed: orders pixels of equal evidence.

    Returns:
        `[n, 2, steps + 1]` float64, on the CPU.
    """
    x, flat = clips.to(model.head.weight), maps.flatten(1)
    n, pixels = flat.shape
    shuffled = torch.randperm(pixels, generator=torch.Generator().manual_seed(seed))
    order = shuffled[flat[:, shuffled].argsort(dim=1, descending=True, stable=True)]
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels).expand(n, -1))
    rank = rank.view(n, 1, 1, *maps.shape[1:]).to(x.device)  # n 1 1 h w
    ends = torch.linspace(0, pixels, steps + 1).round().to(x.device)[:, None, None, None]  # k 1 1 1
    probabilities, size = [], max(1, at_once // (2 * steps + 2))
    for part, ranks, aus in zip(x.split(size), rank.split(size), au_index.to(x.device).split(size), strict=True):
        changed, moving, rest = ranks < ends, part[:, None], explain.still(part)[:, None]  # n k 1 h w; n 1 t h w
        batch = torch.stack([torch.where(changed, rest, moving), torch.where(changed, moving, rest)], 1)  # n 2 k t h w
        logits = model(batch.flatten(0, 2)).unflatten(0, batch.shape[:3])  # n 2 k AUs
        probabilities.append(logits[torch.arange(len(part)), ..., aus].double().sigmoid())
    return torch.cat(probabilities).cpu()


def centre(clips: Tensor, seed: int = 0) -> Tensor:
    """A Gaussian in the centre, a sixth of the side wide, whatever the clip: `[n, 1, h, w]`."""
    n, _, h, w = clips.shape
    y, x = (torch.linspace(-3, 3, size) for size in (h, w))
    return torch.exp(-(y[:, None] ** 2 + x**2) / 2).expand(n, 1, h, w)


def random_values(clips: Tensor, seed: int = 0) -> Tensor:
    """Values drawn by ``seed``, whatever the clip: `[n, 1, h, w]`."""
    n, _, h, w = clips.shape
    return torch.rand(n, 1, h, w, generator=torch.Generator().manual_seed(seed))


def frame_difference(clips: Tensor, seed: int = 0) -> Tensor:
    """Each pixel's absolute difference from the first frame, whatever model and AU: `[n, t-1, h, w]`."""
    return (clips.float() - explain.still(clips).float()).abs()[:, 1:]


CONTROLS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "centre": centre,
    "random values": random_values,
    "frame difference": frame_difference,
}
"""Maps without a model: two input-independent controls, and the clip's own motion."""


def save(folder: Path, about: dict[str, Any], **frames: pd.DataFrame | None) -> list[Path]:
    """Writes measurements as tables (.csv), and ``about.json``; a table of earlier ones that is None now is removed."""
    written = [folder / "about.json"]
    for name, frame in frames.items():
        path = folder / f"{name}.csv"
        path.unlink(missing_ok=True)
        if frame is not None:
            written.append(path)
            files.write_text(path, frame.to_csv(index=False))
    files.write_json(written[0], about)
    return written


class Measurement(NamedTuple):
    """What ``measure`` returns. A key is (model, method)."""

    rows: pd.DataFrame  # one row per pair and map: the pair, model, method, and MEASURES
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
) -> Measurement:
    """Makes and measures the maps of every pair, by its own fold's model and by one with randomised weights.

    Deletion and insertion ask the trained model, whichever map orders the pixels.

    Args:
        run: of AU-LLM, with weights.
        name: the model's, in the results.
        store: of the clips.
        pairs: of ``examples``.
        masks: of ``truth``; without them both pointing games and the area are NaN.
        llm: the run's, loaded.
        methods: name -> attribution method.
        references: whether ``CONTROLS`` are measured, too.
        steps: of the deletion and insertion curves.
        seed: of everything random.
        device: the first CUDA device if there is one, else the CPU.

    Raises:
        ValueError: there is no pair, or one that this run's fold did not hold out, as of another run's folds, AUs or
            release; otherwise as ``explain.models``.
    """
    if pairs.empty:
        raise ValueError("no pair of a clip and an AU to explain: no held-out clip shows one of these AUs")
    _require_held_out(run, store, pairs)
    device = device or explain.default_device()
    n, size = len(pairs), store.info["settings"]["size"]
    maps: dict[tuple[str, str], Tensor] = defaultdict(lambda: torch.zeros(n, size, size))
    lines: dict[tuple[str, str], Tensor] = defaultdict(lambda: torch.zeros(n, 2, steps + 1, dtype=torch.float64))
    count = 2 * len(methods) + (len(CONTROLS) if references else 0)
    with tqdm(total=count * n, desc=f"maps of {name}", unit="map") as bar:
        for fold, model in explain.models(run, llm, device=device, folds=set(pairs["fold"])):
            at = torch.tensor(np.flatnonzero(pairs["fold"] == fold))
            part, fold_stream = pairs.iloc[at.numpy()], fold_seed(seed, fold)
            clips = store.sample(list(part["clip_id"]), run.experiment.recipe.frames)
            aus = torch.tensor(part["au_index"].to_numpy())
            randomised = explain.randomised(run.experiment, llm, seed=fold_seed(seed, fold + ", random weights"))
            calls = {
                (label, method): partial(function, one, clips, aus)
                for label, one in ((name, model), (name + RANDOMISED, randomised.to(device)))
                for method, function in methods.items()
            }
            if references:
                calls |= {(NO_MODEL, method): partial(f, clips, fold_stream) for method, f in CONTROLS.items()}
            for key, call in calls.items():
                maps[key][at] = evidence(call()).float().cpu()
                lines[key][at] = curves(model, clips, aus, maps[key][at], steps=steps, seed=fold_stream)
                bar.update(len(at))
    rows = pd.concat([_row(pairs, key, maps[key], masks, lines[key]) for key in maps], ignore_index=True)
    points = [
        (*key, curve, k / steps, value)
        for key, line in lines.items()
        for curve, values in zip(("deletion", "insertion"), line.mean(0).tolist(), strict=True)
        for k, value in enumerate(values)
    ]
    columns = ["model", "method", "curve", "share", "probability"]
    return Measurement(rows, pd.DataFrame(points, columns=columns), dict(maps))


def _require_held_out(run: Run, store: ClipStore, pairs: pd.DataFrame) -> None:
    """Raises ValueError unless each pair is one that its fold of the run, trained on these clips, held out."""
    if run.info["data"]["fingerprint"] != store.fingerprint:
        raise ValueError(f"{run.path}: trained on other clips than those of {store.path}")
    named = dict(enumerate(f"AU{number}" for number in run.experiment.aus))
    held = pd.MultiIndex.from_frame(run.predictions()[["fold", "clip_id", "au"]])
    wrong = pairs[(pairs["au_index"].map(named) != pairs["au"]) | ~pairs.set_index(held.names).index.isin(held)]
    if len(wrong):
        fold, clip_id, au = wrong.iloc[0][held.names]
        raise ValueError(
            f"{run.path}: its fold {fold} did not hold out {clip_id} for {au}, or counts its AUs otherwise: models are "
            "compared on the same release, folds and AUs"
        )


def _row(pairs: pd.DataFrame, key: tuple[str, str], maps: Tensor, masks: Tensor | None, lines: Tensor) -> pd.DataFrame:
    """The pairs with the measures of one map each."""
    deletion, insertion = torch.trapezoid(lines, dx=1 / (lines.shape[-1] - 1)).T.numpy()
    pointing = energy = area = np.full(len(pairs), np.nan)
    if masks is not None:
        pointing, energy = pointing_game(maps, masks).numpy(), energy_pointing_game(maps.double(), masks).numpy()
        area = masks.double().mean((1, 2)).numpy()
    measures = dict(zip(MEASURES, (pointing, energy, deletion, insertion, area), strict=True))
    return pairs.assign(model=key[0], method=key[1], **measures)
