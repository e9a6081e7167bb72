"""What the parts of a model do, drawn: heat maps and how well they localise, LED's filter, the LLM's attention.

Each figure takes a ``note``: its first line is the small print below the panels, the whole the figure's caption.
"""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib import font_manager
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from aullm_lib.clips import ClipStore
from aullm_lib.explain.localisation import NO_MODEL, RANDOMISED
from aullm_lib.explain.probes import BEFORE
from aullm_lib.explain.sanity import ALL
from aullm_lib.metrics.significance import FEWEST
from aullm_lib.report.figures.canvas import GAP, SIGNED, Canvas, shares
from aullm_lib.report.figures.style import (
    BLUE,
    COLUMN,
    GREEN,
    GREY,
    MARKERS,
    NOTE,
    ORANGE,
    PAGE,
    PALETTE,
    STYLE,
    caption,
    styled,
)  # fmt: skip

LEAST = 1.05  # times more or less than uniform attention: what differs by less is not drawn


def label(model: str, method: str, *, short: bool = False) -> str:
    """A map's name, such as "Grad-CAM, AU-LLM, randomised weights" or "centre". short: without the model's name."""
    of = "" if short or model == NO_MODEL else f", {model.removesuffix(RANDOMISED)}"
    return method + of + (", randomised weights" if model.endswith(RANDOMISED) else "")


def examples(
    pairs: pd.DataFrame, maps: Mapping[tuple[str, str], Tensor], masks: Tensor | None, store: ClipStore, frames: int
) -> dict[str, tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None]]:
    """The rows of ``side_by_side`` for some pairs of a clip and an AU.

    Args:
        pairs: Of ``localisation.examples``, with their positions among all that were measured as index.
        maps: Of ``localisation.measure``; so are masks.
        store: Of the clips.
        frames: That the model samples; the middle one is shown.
    """
    if pairs.empty:
        return {}
    middle = store.sample(list(pairs["clip_id"]), frames)[:, frames // 2].cpu().numpy()
    return {
        f"{pair.clip_id}: {pair.au}, probability {pair.probability:.2f} (model of fold {pair.fold})": (
            frame,
            {label(*key, short=True): of[pair.Index].numpy() for key, of in maps.items()},
            None if masks is None else masks[pair.Index].numpy(),
        )
        for frame, pair in zip(middle, pairs.itertuples(), strict=True)
    }


@styled(STYLE)
def side_by_side(
    rows: Mapping[str, tuple[np.ndarray, Mapping[str, np.ndarray], np.ndarray | None]], note: str = ""
) -> Figure:
    """One AU of one clip per line: a frame, and every map over it. A blue line surrounds where the AU acts.

    A map's colours end at its 99.5th percentile, so that single pixels do not hide the rest.

    Args:
        rows: title -> (frame [h, w], map's name -> its evidence [h, w], at least 0, the AU's mask or None). All rows
            have the same maps.
    """
    names = ["frame", *next(iter(rows.values()))[1]]
    head, side = 0.17, (PAGE - 0.1 + GAP) / len(names) - GAP  # inches
    titles = [textwrap.fill(name, round(16 * side), break_long_words=False) for name in names]
    top = 0.05 + 0.1 * max(title.count("\n") + 1 for title in titles)
    end = top + len(rows) * (side + head)
    canvas = Canvas(PAGE, end + 0.38, note)
    for j, title in enumerate(titles):
        canvas.text(0.05 + j * (side + GAP) + side / 2, 0.03, title, ha="center", va="top", fontsize=NOTE)
    for i, (title, (frame, maps, mask)) in enumerate(rows.items()):
        y = top + i * (side + head) + head
        canvas.text(0.05, y - 0.04, title, fontsize=6.5)
        heat = [np.zeros(frame.shape), *(shares(values, 0.995) for values in maps.values())]
        canvas.film(0.05, y, side, [frame] * len(names), heat=heat, mask=mask)
    share = "evidence, as a share of the map's 99.5th percentile"
    canvas.colour_bar(0.1, end + 0.06, 2.4, 0.07, share)
    return canvas.figure


@styled(STYLE | {"axes.grid.axis": "x"})
def localisation(scores: pd.DataFrame, note: str = "") -> Figure:
    """Both pointing games of every map over all AUs, with intervals over subjects and a dashed line at chance level.

    AUs that at least ``significance.FEWEST`` subjects show have a panel each; the caption names the others.

    Args:
        scores: ``sanity.summary``.
    """
    note += (
        "\nPointing game: how many maps have their maximum where the AU acts; energy-based pointing game: how much of "
        "a map lies there. Hollow: randomised weights. Grey: controls without a model."
    )
    enough = scores["subjects"].groupby(level="au", sort=False).min() >= FEWEST
    few = [au for au in enough.index[~enough] if au != ALL]
    if few:
        note += f" Shown by fewer than {FEWEST} subjects, and only in the panel of all: {', '.join(few)}."
    keys = list(dict.fromkeys(scores.index.droplevel("au")))
    order = sorted(keys, key=lambda key: (key[0] == NO_MODEL, key[0].endswith(RANDOMISED)))  # stable
    aus = [au for au in enough.index if enough[au] or au == ALL]
    models = list(dict.fromkeys(model.removesuffix(RANDOMISED) for model, _ in order))
    kinds = [(key[0] == NO_MODEL, key[0].endswith(RANDOMISED)) for key in order]
    breaks = [y - 0.5 for y in range(1, len(order)) if kinds[y] != kinds[y - 1]]
    games = {"pointing_game": "pointing game", "energy_pointing_game": "energy-based pointing game"}
    # Beside each other where there is one panel each, else below each other.
    shape = (1, 2) if len(aus) == 1 else (2, len(aus))
    size = (PAGE, 0.55 + (0.13 * len(order) + 0.25) * shape[0])
    figure, axes = plt.subplots(*shape, figsize=size, sharey=True, sharex=True, squeeze=False)
    for line, (measure, game) in zip(axes.reshape(2, -1), games.items(), strict=True):
        for axis, au in zip(line, aus, strict=True):
            part = 100 * scores.xs(au, level="au").loc[order]
            for y, ((model, _), row) in enumerate(zip(order, part.to_dict("records"), strict=True)):
                index = models.index(model.removesuffix(RANDOMISED))
                colour = GREY if model == NO_MODEL else (BLUE, ORANGE, GREEN)[index % 3]
                axis.plot([row[f"{measure}_low"], row[f"{measure}_high"]], [y, y], color=colour, lw=1)
                axis.plot(row[measure], y, MARKERS[index % 7], color=colour, ms=3.2, mew=0.8, clip_on=False,
                          mfc="white" if model.endswith(RANDOMISED) else colour, zorder=3)  # fmt: skip
            chance = axis.axvline(part["area"].iloc[0], color="black", lw=0.8, ls="--", zorder=1)
            axis.hlines(breaks, 0, 100, color="#bbbbbb", lw=0.5)
            axis.set(xlim=(0, 100), ylim=(len(order) - 0.4, -0.6))
            axis.set_xticks((0, 50, 100), ("0", "50", "100" if len(aus) < 6 else ""))
            axis.tick_params(length=0, axis="y")
            count = round(part["pairs"].iloc[0] / 100)
            named = f"{au}, {count} {'clips' if au != ALL else 'maps'}"
            axis.set_title(f"{game}\n{named}" if len(aus) == 1 else named.replace(", ", "\n"))
            axis.set_xlabel("hits (%)" if measure == "pointing_game" else "inside (%)")
        line[0].set_yticks(range(len(order)), [label(*key) for key in order])
        if len(aus) > 1:
            line[0].set_ylabel(game)
    figure.legend([chance], ["chance level: the share of the picture where the AU acts"], loc="outside upper right")
    caption(figure, note)
    return figure


@styled(STYLE)
def curves(lines: pd.DataFrame, scores: pd.DataFrame, model: str, note: str = "") -> Figure:
    """Deletion and insertion of one model: the AU's mean probability while pixels come to rest or begin to move.

    Args:
        lines: ``localisation.measure``'s curves.
        scores: ``sanity.summary``, for the areas in the legend.
        model: the model's name in them.
    """
    shown = lines[lines["model"].isin([model, NO_MODEL])]
    keys = list(dict.fromkeys(zip(shown["model"], shown["method"], strict=True)))
    areas = scores.xs(ALL, level="au")
    names = [f"{key[1]} ({areas.loc[key, 'deletion']:.2f}, {areas.loc[key, 'insertion']:.2f})" for key in keys]
    figure, axes = plt.subplots(1, 2, figsize=(COLUMN, 2.6), sharey=True)
    for axis, curve in zip(axes, ("deletion", "insertion"), strict=True):
        for i, key in enumerate(keys):
            line = shown[(shown["model"] == key[0]) & (shown["method"] == key[1]) & (shown["curve"] == curve)]
            options: Any = {"color": PALETTE[i % 7], "marker": MARKERS[i % 7], "ms": 2.5}
            if key[0] == NO_MODEL:
                options = {"color": GREY, "ls": ("--", ":", "-.")[i % 3]}
            axis.plot(100 * line["share"], line["probability"], lw=1.1, **options)
        axis.set_title(f"{curve} ({'low' if curve == 'deletion' else 'high'} is good)", loc="left")
        axis.set(xlim=(0, 100), xlabel="pixels changed (%)")
    axes[0].set(ylabel="mean probability of the AU", ylim=(0, 1.06 * max(shown["probability"])))
    figure.legend(
        axes[0].lines, names, loc="outside upper left", ncols=2, fontsize=NOTE, columnspacing=1, handlelength=1.6,
        title="map (area under deletion, insertion)", title_fontsize=NOTE, alignment="left",
    )  # fmt: skip
    caption(figure, note)
    return figure


@styled(STYLE | {"axes.grid": False})
def led(
    matrices: Mapping[str, np.ndarray], cycles: np.ndarray, responses: Mapping[str, np.ndarray], note: str = ""
) -> Figure:
    """LED before and after training: its matrix (mean over folds), and what passes of each frequency, a line per fold.

    Args:
        matrices: ``probes.led_matrices``, as arrays.
        cycles: the frequencies, in cycles per sampled frame.
        responses: ``probes.response`` of each matrix at ``cycles``.
    """
    folds = [name for name in matrices if name != BEFORE]
    mean = {name: np.mean([of[fold] for fold in folds], axis=0) for name, of in (("m", matrices), ("r", responses))}
    figure, panels = plt.subplot_mosaic(
        [["before", "after", "bar"], ["response"] * 3], figsize=(COLUMN, 3.3), height_ratios=(1.1, 1),
        width_ratios=(1, 1, 0.06),
    )  # fmt: skip
    shown = {"before": (BEFORE, matrices[BEFORE]), "after": (f"after, mean of {len(folds)} folds", mean["m"])}
    limit = max(float(np.abs(matrix).max()) for _, matrix in shown.values())
    for panel, (title, matrix) in shown.items():
        axis = panels[panel]
        image = axis.imshow(matrix, cmap=SIGNED, vmin=-limit, vmax=limit, interpolation="nearest")
        for (i, j), value in np.ndenumerate(matrix):
            if j >= i:
                colour = "white" if value < 0 else "black"
                axis.text(
                    j, i, f"{value:.1f}".replace("-0.0", "0.0"), ha="center", va="center", fontsize=NOTE, color=colour
                )
        axis.set_title(title)
        axis.set(xlabel="frame it makes", xticks=range(len(matrix)), yticks=range(len(matrix)))
        axis.tick_params(length=0)
    panels["before"].set_ylabel("frame it reads")
    figure.colorbar(image, cax=panels["bar"], label="weight").ax.tick_params(length=2)
    axis = panels["response"]
    for fold in folds:
        axis.plot(cycles, responses[fold], color=BLUE, lw=0.6, alpha=0.4)
    axis.plot(cycles, mean["r"], color=BLUE, lw=1.6)
    axis.plot(cycles, responses[BEFORE], color="black", lw=1.1, ls="--")
    kinds: list[dict[str, Any]] = [
        {"color": "black", "ls": "--"},
        {"color": BLUE, "lw": 1.6},
        {"color": BLUE, "lw": 0.6},
    ]
    axis.legend([Line2D([], [], **kind) for kind in kinds], [BEFORE, "after, mean", "after, one fold"],
                loc="lower center", bbox_to_anchor=(0.5, 0.98), ncols=3)  # fmt: skip
    axis.set(xlabel="cycles per sampled frame (0: what does not move)", ylabel="share that passes")
    axis.set(xlim=(0, 0.5), ylim=(0, 1))
    caption(figure, note)
    return figure


@styled(STYLE | {"axes.grid.axis": "both"})
def se(dynamics: pd.DataFrame, note: str = "") -> Figure:
    """How much SE's weights vary over time in held-out clips, against the same clips with frames shuffled in time.

    Above the dashed line they vary more in the clip's own order. The note gives the means and the share of dead steps.

    Args:
        dynamics: ``probes.se_dynamics``.
    """
    percent = dynamics.set_index("subject")[["shuffled", "sd"]] * 100
    means = percent.groupby(level="subject").mean()
    note += (
        f"\nSmall: a clip. Large: a subject's mean. On average {percent['sd'].mean():.2f} in the clip's order and "
        f"{percent['shuffled'].mean():.2f} shuffled, where SE weights lie between 0 and 100 %. All of SE's ReLUs are "
        f"dead in {dynamics['dead'].mean():.0%} of the steps."
    )
    figure, axis = plt.subplots(figsize=(COLUMN, 2.9))
    end = 1.08 * percent.to_numpy().max() or 1
    axis.plot([0, end], [0, end], color="black", lw=0.8, ls="--", zorder=1)
    axis.plot(*percent.to_numpy().T, "o", color=GREY, ms=2, mew=0, alpha=0.6)
    axis.plot(*means.to_numpy().T, "o", color=BLUE, ms=4.5)
    axis.locator_params(nbins=5)
    axis.set(xlim=(0, end), ylim=(0, end), aspect="equal")
    axis.set(xlabel="with frames shuffled in time (%)", ylabel="in the clip's own order (%)")
    axis.set_title("standard deviation over time of SE's weights")
    caption(figure, note)
    return figure


def differing(weights: np.ndarray) -> np.ndarray:
    """Of attention [layers, tokens], the tokens [tokens] bool that in some layer differ from uniform by ``LEAST``."""
    ratio = weights * weights.shape[1]
    return ~((ratio < LEAST) & (ratio > 1 / LEAST)).all(axis=0)


@styled(STYLE | {"axes.grid": False})
def attention(tokens: Sequence[str], weights: np.ndarray, note: str = "") -> Figure:
    """The attention of the LLM's last position, mean over heads: a line per token, a column per layer.

    Colours give the attention as a multiple of uniform attention, grey for once, with one scale for more and for
    less, which spans at most the number of tokens: all attention on one. A token has its number and its text, or its
    number alone where the font lacks its characters. Tokens whose attention is uniform in every layer are left out.

    Args:
        tokens: of the positions in order.
        weights: [layers, tokens].

    Raises:
        ValueError: No token's attention differs from uniform (``differing``): there is nothing to draw.
    """
    ratio = weights.T * len(tokens)
    differs = differing(weights)
    if not differs.any():
        raise ValueError(f"attention is within a factor of {LEAST} of uniform: there is nothing to draw")
    labels = [_token(number, token) for number, token in enumerate(tokens, 1) if differs[number - 1]]
    note += f"\nAttention is {ratio.min():.3g} to {ratio.max():.3g} times uniform attention."
    if not differs.all():
        note += f" {(~differs).sum()} of {len(tokens)} tokens, within a factor of {LEAST} of it, are left out."
    if any(name.isdigit() for name in labels):
        note += " A token that the font cannot show has only its number."
    end = min(len(tokens), max(ratio.max(), 1 / max(ratio.min(), 1 / len(tokens))))
    figure, axis = plt.subplots(figsize=(COLUMN, 0.7 + 0.115 * len(labels)))
    drawn = np.clip(ratio[differs], 1 / end, end)
    image = axis.imshow(drawn, aspect="auto", cmap=SIGNED, norm=LogNorm(1 / end, end), interpolation="nearest")
    axis.set_yticks(range(len(labels)), labels)
    ends = [0, len(weights) - 1] if len(weights) > 1 else [0]
    axis.set_xticks(ends, [str(layer + 1) for layer in ends])
    axis.set_xlabel("layer of the LLM")
    axis.tick_params(length=0)
    bar = figure.colorbar(image, ax=axis, pad=0.02, aspect=30)
    bar.set_ticks((1 / end, 1, end), labels=[f"{times:.3g}×" for times in (1 / end, 1, end)])
    bar.set_ticks([], minor=True)
    bar.set_label("multiple of uniform attention")
    caption(figure, note)
    return figure


def _token(number: int, token: str) -> str:
    """A token's number and text; the number alone where the figures' font lacks one of its characters."""
    characters = font_manager.get_font(font_manager.findfont("DejaVu Sans")).get_charmap()
    text = token.strip() or "␣"
    return f"{number} {text}" if all(ord(character) in characters for character in text) else str(number)
