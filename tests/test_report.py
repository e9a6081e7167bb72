"""Tables and figures: they show the numbers given, escape text from data, and repeat to the byte."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from aullm_lib import metrics
from aullm_lib.report import figures, pictures, tables


@pytest.fixture(scope="module")
def predictions():
    rng = np.random.default_rng(0)
    rows = [
        (f"d/s{c % 4}/c{c}", f"s{c % 4}", f"AU{a}", int(c % 3 == 0), rng.random()) for c in range(24) for a in (1, 4)
    ]
    return pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])


@pytest.fixture(scope="module")
def scored(predictions):
    good = predictions.assign(probability=0.2 + 0.6 * predictions["label"])
    return {"<b>evil</b> & co": metrics.score(good), "random": metrics.score(predictions)}, metrics.floors(predictions)


def test_a_table_shows_the_scores_given(scored, tmp_path):
    scores, floors = scored
    paths = tables.write(tmp_path / "t", scores, floors, title="T <1>", notes=["a & b"], provenance={"runs": ["x"]})
    markdown, page, _, made = (p.read_text(encoding="utf-8") for p in paths)
    assert "| <b>evil</b> & co | **100.0** | **100.0** | **100.0** |" in markdown
    floor = 100 * floors["all-absent"].loc["AU1", "f1_macro"]
    assert f"| all-absent | *{floor:.1f}* |" in markdown
    assert "&lt;b&gt;evil&lt;/b&gt; &amp; co" in page
    assert "<b>evil</b>" not in page
    assert "T &lt;1&gt;" in page
    stored = pd.read_csv(paths[2], index_col=["method", "au"])
    assert stored.loc[("random", "mean"), "f1_macro"] == scores["random"].loc["mean", "f1_macro"]
    assert json.loads(made) == {"runs": ["x"]}
    assert "http" not in page
    rules = re.search(r"<style>(.*?)</style>", page)[1].split("}")
    assert all(part.startswith(".aullm") for part in rules if part)  # nothing of JupyterLab's own page changes
    before = [p.read_bytes() for p in paths]
    tables.write(tmp_path / "t", scores, floors, title="T <1>", notes=["a & b"], provenance={"runs": ["x"]})
    assert [p.read_bytes() for p in paths] == before


def test_an_undefined_score_is_a_dash_not_a_number(predictions, tmp_path):
    none = predictions.assign(label=predictions["label"] * (predictions["au"] == "AU1"))
    paths = tables.write(
        tmp_path / "t", {"m": metrics.score(none)}, metrics.floors(none), title="t", notes=[], provenance={}
    )
    assert "| m | " in paths[0].read_text()
    assert "| – |" in paths[0].read_text()


def test_figures_are_the_same_bytes_twice_and_show_every_method(scored, tmp_path):
    scores, floors = scored
    points = pd.DataFrame(
        {"intensity": [0.0, 0.0, 1.0, 1.0], "seed": [1, 2, 1, 2], "f1_macro": [0.45, 0.46, 0.8, 0.7]}
    ).assign(**{"all-absent": 0.45, "prior-random": 0.5})
    log = pd.DataFrame({"fold": ["a", "a", "b", "b"], "epoch": [1, 2, 1, 2], "loss": [1.0, 0.5, 1.1, 0.4]})
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    makers = {
        "scores": lambda: figures.per_au({"x": scores}, {"x": floors["all-absent"]}, note="n"),
        "curve": lambda: figures.intensity_curve(points),
        "losses": lambda: figures.losses(log, "t"),
        "counts": lambda: figures.au_counts({"casme2": pd.Series({"AU1": 3, "AU5": 1})}),
        "film": lambda: pictures.film({"a": [image], "b": [image - 100.0]}, ["t"], signed=["b"]),
        "pipeline": lambda: pictures.pipeline(
            np.stack([image] * 6),
            np.stack([image - 9.0] * 5),
            [("A", "b")],
            pd.Series({"AU1": 0.2, "AU4": 0.9}),
            ["AU4"],
        ),
        "alignment": lambda: pictures.alignment({"t": (image, (2, 2, 8, 8), image[2:10, 2:10])}),
    }
    for name, make in makers.items():
        first = {p.name: p.read_bytes() for p in figures.save(make(), tmp_path / "1" / name, {"a": 1})}
        again = {p.name: p.read_bytes() for p in figures.save(make(), tmp_path / "2" / name, {"a": 1})}
        assert first == again
        assert {p.rsplit(".")[-1] for p in first} == {"pdf", "png", "json"}
    drawn = makers["scores"]()
    assert {text.get_text() for text in drawn.legends[0].get_texts()} == {*scores, "all-absent predictor"}
    bars = drawn.axes[0].containers
    assert bars[0].lines[0].get_ydata()[-1] == pytest.approx(100)
