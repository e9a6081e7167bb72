"""The pictures of the equations show the numbers that they are given, and the methods paragraph those of its run."""

import numpy as np
import pandas as pd
import pytest
import torch

from aullm_lib import metrics, model
from aullm_lib.asl import build
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import Recipe
from aullm_lib.report import figures, methods
from aullm_lib.support import tiny


@pytest.mark.parametrize(("values", "ends"), [([[0.25, 0.5]], (0.25, 0.5)), ([[-1.0, 3.0]], (-3, 3))])
def test_a_matrix_is_drawn_cell_by_cell_and_symmetric_where_it_has_both_signs(values, ends):
    drawn = figures.equations.matrix(pd.DataFrame(values, ["a"]), "weight").axes[0].images[0]
    assert drawn.get_array().tolist() == values and drawn.get_clim() == ends


def test_slopes_are_those_of_the_losses():
    """Of cross-entropy the slope over the logit is p - y."""
    x = torch.linspace(-3, 3, 7)[:, None].requires_grad_()
    pulls = {}
    for y in (1, 0):
        (slope,) = torch.autograd.grad(build("bce", reduction="sum")(x, torch.full_like(x, y)), x)
        pulls[y, "bce"] = slope[:, 0].numpy()
    p = x.sigmoid()[:, 0].tolist()
    for axis, y in zip(figures.equations.slopes(pd.DataFrame(pulls, p)).axes, (1, 0), strict=True):
        np.testing.assert_allclose(axis.lines[0].get_xydata(), np.transpose([p, np.subtract(p, y)]), atol=1e-6)


def test_both_f1s_stand_beside_the_always_negative_classifier():
    labels = [1, 0, 1, 0]
    predictions = pd.DataFrame({"probability": [0.9, 0.8, 0.1, 0.2], "label": labels}).assign(
        clip_id=list("abcd"), subject=list("abcd"), fold=list("abcd"), au="AU4"
    )
    figure = figures.equations.f1s(metrics.score(predictions), metrics.trivial(predictions)["always-negative"])
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == pytest.approx([50] * 4)  # TP = FP = FN = TN = 1, for the AU and for the mean
    levels = [line.get_segments()[0][0][1] for line in figure.axes[0].collections]
    assert levels == pytest.approx([0, 100 / 3])


def test_the_methods_paragraph_has_the_numbers_of_recipe_and_model(tmp_path):
    recipe = Recipe.released(size=48, efp_hidden=32, epochs=7, lr=0.002)
    experiment = Experiment(name="x", aus=(1, 4), recipe=recipe, llm=tiny.checkpoint("tiny", tmp_path))
    built = model.build(experiment)
    text = methods.paragraph(experiment, built, subjects=3)
    total = sum(p.numel() for p in built.parameters()) + sum(
        p.numel() for n, p in built.llm.llm.named_parameters() if "lora" not in n
    )
    for words in (
        "6 grey frames of 48 × 48 pixels", "an MLP with 32 hidden units", "2 layers of width 64", "r = 16, α = 32",
        f"{total:,} parameters", "asl_released", "learning rate 0.002", "the last of 7 epochs", "the 3 subjects",
    ):  # fmt: skip
        assert words in text
