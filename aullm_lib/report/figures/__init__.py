"""The figures: ``fig1`` to ``fig3`` are the paper's; ``scores``, ``maps`` and ``clips`` hold the others, by subject."""

from aullm_lib.report.figures import clips, equations, fig1, fig2, fig3, maps, scores, style, view
from aullm_lib.report.figures.style import save

__all__ = ["clips", "equations", "fig1", "fig2", "fig3", "maps", "save", "scores", "style", "view"]
