"""The figures, one module a kind: ``fig1`` and ``fig3`` are the paper's, ``scores`` has Figure 2."""

from aullm_lib.report.figures import clips, comparison, differences, fig1, fig3, maps, own_clip, view
from aullm_lib.report.figures.scores import (
    ablation_bars,
    au_counts,
    caption,
    cooccurrence,
    grid,
    intensity_curve,
    lengths,
    losses,
    per_au,
    policies,
    save,
    wrapped,
)  # fmt: skip

__all__ = [
    "ablation_bars", "au_counts", "caption", "clips", "comparison", "cooccurrence", "differences", "fig1", "fig3",
    "grid", "intensity_curve", "lengths", "losses", "maps", "own_clip", "per_au", "policies", "save", "view", "wrapped",
]  # fmt: skip
