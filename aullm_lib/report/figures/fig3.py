"""The paper's Figure 3: where two models look in held-out clips, and SE's channel weights over time."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from aullm_lib import explain
from aullm_lib.clips import ClipStore
from aullm_lib.explain import localisation, probes
from aullm_lib.llm import Loaded
from aullm_lib.report.figures.canvas import GAP, HEAT, Canvas, shares
from aullm_lib.report.figures.style import NOTE, PAGE, STYLE, styled
from aullm_lib.runs import Run

WANTED = ((12,), (4, 15, 17))  # the AUs of the paper's two rows
RULE = (
    "Of the clips without a blink: the first that shows AU12 alone, and the first that shows AU4, AU15 and AU17 alone, "
    "as in the paper; where there is none, the first of those that show most of these AUs and fewest others."
)


@dataclass(frozen=True)
class Row:
    """One clip of Figure 3. Maps are at least 0, for the frames 1..t-1."""

    title: str
    frames: np.ndarray  # t h w, grey levels
    plain: np.ndarray  # t-1 h w, of the plain 3D-CNN
    ours: np.ndarray  # t-1 h w, of AU-LLM
    se: np.ndarray | None = None  # t-2 c, channel weights
    mask: np.ndarray | None = None  # h w bool, where the clip's AUs act, if that is known


def chosen(table: pd.DataFrame, aus: Sequence[int], subjects: Collection[str]) -> dict[str, list[int]]:
    """The clips for Figure 3 by ``RULE``: clip id -> the AUs that it shows of those given.

    AUs that the models do not predict count for nothing. Fewer than two rows where there are not enough clips.

    Args:
        table: of the release's clips without a blink (``clips.unblinking``).
        aus: AU numbers that the models predict.
        subjects: those whose faces may be drawn.
    """
    labels = table[table["subject"].isin(list(subjects))].reindex(columns=[f"AU{n}" for n in aus], fill_value=0)
    clips: dict[str, list[int]] = {}
    for wanted in WANTED:
        left = labels[labels.any(axis=1)].drop(index=list(clips))
        if len(left):
            shared = left[[f"AU{n}" for n in wanted if n in aus]].sum(axis=1)
            best = (100 * shared - left.sum(axis=1)).idxmax()  # the first of equals
            clips[str(best)] = [n for n in aus if left.loc[best, f"AU{n}"]]
    return clips


def explained(
    full: Run, plain: Run, store: ClipStore, clips: Mapping[str, Sequence[int]], *, llm: Loaded | None = None,
    root: str | Path | None = None,
) -> list[Row]:  # fmt: skip
    """The rows of Figure 3, each clip explained by Grad-CAM with the weights that were not trained on its subject.

    Args:
        full: the run of AU-LLM.
        plain: the run of the plain 3D-CNN, on the same AUs.
        store: of the clips.
        clips: as ``chosen`` gives them.
        llm: the full run's, loaded.
        root: of the release, if it is synthetic and has masks.

    Raises:
        As ``explain.models``.
    """
    made = []
    for clip_id, shown in clips.items():
        x = store.sample([clip_id] * len(shown), full.experiment.recipe.frames)
        positions = torch.tensor([full.experiment.aus.index(number) for number in shown])
        (fold, ours), (_, bare) = (explain.held_out(run, clip_id, llm) for run in (full, plain))
        heat, beside = (joined(explain.grad_cam(model, x, positions).cpu().numpy()) for model in (ours, bare))
        names = [f"AU{number}" for number in shown]
        mask = None
        if root is not None:
            mask = localisation.truth(store, root, pd.DataFrame({"clip_id": clip_id, "au": names})).any(0).numpy()
        weights = probes.frame_weights(ours, x[:1])[0].cpu().numpy() if full.experiment.recipe.se else None
        title = f"{clip_id}: {' + '.join(names)} (model of fold {fold})"
        made.append(Row(title, x[0].cpu().numpy(), beside, heat, weights, mask))
    return made


def joined(maps: np.ndarray) -> np.ndarray:
    """The maximum over the maps of several AUs, `[n, t, h, w]` -> `[t, h, w]`, each scaled to a maximum of 1 before."""
    top = maps.max(axis=(1, 2, 3), keepdims=True)
    return np.max(maps / np.where(top > 0, top, 1), axis=0)


@styled(STYLE)
def figure3(rows: Sequence[Row], note: str = "") -> Figure:
    """The paper's Figure 3: (a) frames, (b) the plain 3D-CNN's heat maps, (c) AU-LLM's, (d) SE's weights over time.

    Two lines of frames per clip, two columns of a page wide. A map is drawn over its frames as a share of its maximum;
    frame 0 has none. A blue line surrounds where the AUs act. SE's channels are in the order of their mean weight over
    the clip. The caption also gives ``RULE`` and the share of dead steps of SE (``probes.dead_relus``).
    """
    note += f"\n{RULE} Frame 0 has no map. SE's channels are in the order of their mean weight over the clip."
    weights = [row.se for row in rows if row.se is not None]
    dead = [probes.dead_relus(torch.from_numpy(se)) for se in weights]
    if any(dead):
        note += f"\nSE: all ReLUs are dead in {np.mean(dead):.0%} of the steps in (d); there all its weights are 0.5."
    group, head, top = 1.78, 0.2, 0.2  # inches: from a block of frames to the next, a clip's title, the headings
    across = -(-max(len(row.frames) for row in rows) // 2)
    side = (group - 0.1) / across - GAP
    block = 2 * side + GAP
    end = top + len(rows) * (block + head)
    canvas = Canvas(PAGE, end + 0.42, note)
    headings = ["(a) frames", "(b) plain 3D-CNN", "(c) AU-LLM's backbone", "(d) SE weights over time"]
    for j, heading in enumerate(headings[: 4 if weights else 3]):
        canvas.text(0.05 + j * group, 0.13, heading, fontsize=7.5, weight="bold")
    low, high = (float(min(se.min() for se in weights)), float(max(se.max() for se in weights))) if weights else (0, 1)
    if low == high:
        low, high = 0, 1
    left = 0.05 + 3 * group + 0.2  # where SE's panels begin
    for i, row in enumerate(rows):
        y = top + i * (block + head) + head
        canvas.text(0.05, y - 0.05, row.title, fontsize=7)
        for j, maps in enumerate((None, row.plain, row.ours)):
            heat = None
            if maps is not None:
                share = shares(maps)
                heat = [np.zeros_like(maps[0]), *(share if share is not None else [None] * len(maps))]
            mask = row.mask if j else None
            canvas.film(0.05 + j * group, y, side, row.frames, heat=heat, mask=mask, across=across)
        if row.se is not None:
            axis = canvas.axes(left, y, PAGE - 0.74 - left, block)
            order = row.se.mean(0).argsort(kind="stable")[::-1]
            axis.imshow(row.se.T[order], aspect="auto", cmap=HEAT, interpolation="nearest", vmin=low, vmax=high)
            steps, channels = row.se.shape
            axis.set_xticks([0, steps - 1], ["1, 2", f"{steps}, {steps + 1}"])
            axis.set_yticks([])
            axis.set_ylabel(f"{channels} channels, sorted", fontsize=NOTE)
            axis.tick_params(length=1.5, pad=1.5)
            canvas.colour_bar(PAGE - 0.68, y, 0.07, block, "weight", low=low, high=high,
                              names=[f"{value:.2f}" for value in (low, (low + high) / 2, high)])  # fmt: skip
    canvas.colour_bar(0.05 + group, end + 0.08, 1.5, 0.07, "share of the map's maximum")
    if weights:
        canvas.text((left + PAGE - 0.74) / 2, end + 0.2, "frames seen", ha="center", fontsize=NOTE)
    return canvas.figure
