"""Tables and figures: they show the numbers given, escape text from data, and repeat to the byte."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

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
        "curve": lambda: figures.intensity_curve(points, note="n"),
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
        "alignment": lambda: pictures.alignment(
            {"t": (image, np.array([[1.0, 0, -2], [0, 1, -2]]), image[2:10, 2:10])}
        ),
        "contact_sheet": lambda: pictures.contact_sheet({"AU4": ("c", np.stack([image] * 3))}, "n"),
        "cooccurrence": lambda: figures.cooccurrence({"samm": pd.DataFrame({"AU2": [1, 0], "AU4": [1, 1]})}),
        "lengths": lambda: figures.lengths({"samm": pd.DataFrame({"n_frames": [4, 9]})}),
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


def words(figure):
    """Every text of a figure, by its content."""
    figure.draw_without_rendering()
    return {text.get_text(): text for text in figure.findobj(Text) if text.get_text()}


def table(**columns):
    made = pd.DataFrame(columns)
    made.attrs = {"dataset": "casme2", "synthetic": True}
    return made


def test_au_bars_are_the_counts_with_the_documented_ones_beside_them():
    counts = {"casme2": pd.Series({"AU1": 26, "AU4": 129, "AU12": 3}), "mmew": pd.Series({"AU1": 5})}
    figure = figures.au_counts(counts, {"casme2": {1: 26, 4: 130, 17: 25}}, note="n")
    bars, pointers = figure.axes[0].patches, figure.axes[0].lines
    assert [bar.get_height() for bar in bars] == [26, 129, 3, 0]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "4", "12", "17"]
    assert list(pointers[0].get_ydata()) == [26, 130, 25]
    assert [round(x) for x in pointers[0].get_xdata()] == [0, 1, 3]
    assert {"26", "129\n(130)", "3", "0\n(25)"} <= set(words(figure))
    assert [bar.get_height() for bar in figure.axes[1].patches] == [5]
    assert len(figure.legends) == 1
    assert not figure.axes[1].lines
    assert not figures.au_counts(counts).legends


def test_cooccurrence_counts_pairs_and_keeps_aus_that_never_occur():
    made = table(AU4=[1, 1, 0, 1], AU12=[1, 0, 0, 0], AU25=[1, 1, 1, 1])
    drawn = figures.cooccurrence({"samm": made, "casme": table(AU1=[1] * 6, AU2=[0, 1] * 3), "4dme": made})
    names = [[label.get_text() for label in axis.get_yticklabels()] for axis in drawn.axes[:3]]
    assert names == [["2", "4", "7", "12"], ["1"], ["4", "12", "25"]]  # scored; of 5 clips or more; all
    shown = drawn.axes[0].images[0].get_array()
    assert shown.tolist() == [[0, 0, 0, 0], [0, 3, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]]
    cells = [text.get_text() for text in drawn.axes[0].texts if text.get_text() != "AU"]
    assert cells == [str(count) for count in shown.ravel()]
    assert drawn.axes[2].images[0].get_array().tolist() == [[3, 1, 3], [1, 1, 1], [3, 1, 4]]
    assert "synthetic SAMM: 4 clips" in words(drawn)


@pytest.mark.parametrize("frames", [[3, 6, 6, 8, 20], [30, 29, 59], [731, 2, 10, 10]])
def test_a_histogram_of_lengths_holds_every_clip_in_bins_of_whole_frames(frames):
    axis = figures.lengths({"casme2": table(n_frames=frames)}).axes[0]
    assert sum(bar.get_height() for bar in axis.patches) == len(frames)
    for bar in axis.patches:
        low, high = bar.get_x(), bar.get_x() + bar.get_width()
        assert (low + 0.5) % 1 == pytest.approx(0)
        assert bar.get_height() == sum(low < n < high for n in frames)
    assert [line.get_xdata()[0] for line in axis.lines] == [np.median(frames), 6]
    short = sum(n < 6 for n in frames)
    assert (f"{short} shorter than six" in axis.get_title(loc="left")) == (short > 0)


def test_a_contact_sheet_shows_the_three_frames_and_their_motion():
    frames = np.random.default_rng(0).integers(0, 255, (3, 8, 8), dtype=np.uint8)
    drawn = pictures.contact_sheet({f"AU{n}": (f"clip {n}", frames) for n in (4, 7, 12)}, "credit")
    assert len(drawn.axes) == 12
    images = [axis.images[0] for axis in drawn.axes]
    for image, expected in zip(images[:3], frames, strict=True):
        assert (image.get_array() == expected).all()
        assert image.get_clim() == (0, 255)
    motion = frames[1].astype(float) - frames[0]
    assert (images[3].get_array() == motion).all()
    limit = np.quantile(np.abs(motion), 0.98)
    assert images[3].get_clim() == (-limit, limit)
    assert {"AU4 Brow Lowerer", "clip 4", "AU7 Lid Tightener", "apex − onset", f"±{limit:.0f}"} <= set(words(drawn))
    assert any("credit" in text for text in words(drawn))
    still = pictures.contact_sheet({"AU4": ("c", np.stack([frames[0]] * 3))}).axes[3].images[0]
    assert still.get_clim() == (-1, 1)  # noise below a grey level is not blown up


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(0, 1.0, (0, 0)), (12, 0.5, (-3, 4)), (-30, 2.0, (40, 9))])
def test_the_outline_in_the_frame_is_where_the_stored_corners_come_from(degrees, scale, shift):
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    matrix = np.array([[c, -s, shift[0]], [s, c, shift[1]]])
    frame, stored = np.zeros((48, 64), np.uint8), np.full((16, 16), 7, np.uint8)
    drawn = pictures.alignment({f"t{i}": (frame, matrix, stored) for i in range(5)})  # the fifth in a line of its own
    with_images = [axis for axis in drawn.axes if axis.images]
    assert len(with_images) == 10
    assert [axis.images[0].get_array().shape for axis in with_images] == [(48, 64)] * 4 + [(16, 16)] * 4 + [
        (48, 64), (16, 16)]  # fmt: skip
    axis = with_images[0]
    corners = axis.patches[0].get_xy()[:4] @ matrix[:, :2].T + matrix[:, 2]
    assert corners == pytest.approx(np.array([(-0.5, -0.5), (15.5, -0.5), (15.5, 15.5), (-0.5, 15.5)]))
    (left, right), (low, top) = axis.get_xlim(), axis.get_ylim()
    outline = axis.patches[0].get_xy()
    assert left <= outline[:, 0].min()
    assert right >= outline[:, 0].max()
    assert top <= outline[:, 1].min()
    assert low >= outline[:, 1].max()


def test_a_whole_squashed_frame_is_outlined_at_its_border():
    matrix = np.array([[16 / 64, 0, 0.5 * 16 / 64 - 0.5], [0, 16 / 48, 0.5 * 16 / 48 - 0.5]])
    sample = np.zeros((48, 64), np.uint8), matrix, np.zeros((16, 16), np.uint8)
    outline = pictures.alignment({"t": sample}).axes[0].patches[0].get_xy()[:4]
    assert outline == pytest.approx(np.array([(-0.5, -0.5), (63.5, -0.5), (63.5, 47.5), (-0.5, 47.5)]))
    with pytest.raises(ValueError, match="Singular"):
        pictures.alignment({"t": (sample[0], np.zeros((2, 3)), sample[2])})


def test_text_from_data_is_drawn_as_it_is(tmp_path):
    evil = "a$x_1$b<c>&\\frac{"
    image = np.zeros((8, 8), np.uint8)
    drawn = {
        "sheet": pictures.contact_sheet({"AU4": (evil, np.stack([image] * 3))}, evil),
        "alignment": pictures.alignment({evil: (image, np.eye(2, 3), image)}, evil),
        "film": pictures.film({evil: [image]}, [evil], note=evil),
        "counts": figures.au_counts({evil: pd.Series({"AU1": 3})}, note=evil),
        "pairs": figures.cooccurrence({evil: table(AU1=[1])}, evil),
        "lengths": figures.lengths({evil: table(n_frames=[9])}, evil),
    }
    for name, figure in drawn.items():
        figures.save(figure, tmp_path / name, {})  # a formula that cannot be read would raise here
        shown = [text for content, text in words(figure).items() if evil in content]
        assert shown
        assert not any(text.get_parse_math() for text in shown)


def test_notes_are_wrapped_inside_their_figure():
    note = "who holds the copyright " * 20 + "\nand a line of its own"
    for figure in (figures.lengths({"x": table(n_frames=[9])}, note), pictures.contact_sheet(
        {"AU4": ("c", np.zeros((3, 8, 8)))}, note)):  # fmt: skip
        found = next(text for content, text in words(figure).items() if "copyright" in content)
        box = found.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0
