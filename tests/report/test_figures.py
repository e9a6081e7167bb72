"""Figures: they show the numbers given, escape text from data, and repeat to the byte."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.text import Text

from aullm_lib import metrics
from aullm_lib.led import LED
from aullm_lib.report import figures
from aullm_lib.report.figures import canvas, clips, fig2, scores


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
    return {"<b>evil</b> & co": metrics.score(good), "random": metrics.score(predictions)}, metrics.trivial(predictions)


def test_figures_are_the_same_bytes_twice(scored, tmp_path):
    scored_runs, trivial = scored
    log = pd.DataFrame({"fold": ["a", "a", "b", "b"], "epoch": [1, 2, 1, 2], "loss": [1.0, 0.5, 1.1, 0.4]})
    image = np.arange(256, dtype=np.uint8).reshape(16, 16)
    makers = {
        "per_au": lambda: scores.per_au({"x": scored_runs}, {"x": trivial["always-negative"]}, note="n"),
        "curve": lambda: scores.intensity_curve(curve(), note="n"),
        "methods": lambda: scores.methods({"x": method_frame()}, {"x": {"always-negative": 45.4}}, note="n"),
        "differences": lambda: scores.differences(difference_frame(), note="n"),
        "tuning": lambda: scores.tuning(gain_frame(), {"x": 3.0}, "n"),
        "losses": lambda: scores.losses({"t": log}, "n"),
        "signal": lambda: scores.signal(signal_frame(), "t"),
        "counts": lambda: scores.au_counts({"casme2": table(AU1=[1, 1, 1], AU5=[1, 0, 0])}),
        "film": lambda: clips.film({"a": [image], "b": [image - 100.0]}, ["t"], signed=["b"]),
        "alignment": lambda: clips.alignment({"t": (image, np.array([[1.0, 0, -2], [0, 1, -2]]), image[2:10, 2:10])}),
        "contact_sheet": lambda: clips.contact_sheet({"AU4": ("c", np.stack([image] * 3))}, "n"),
        "cooccurrence": lambda: scores.cooccurrence({"samm": table(AU2=[1, 0], AU4=[1, 1])}),
        "lengths": lambda: scores.lengths({"samm": table(n_frames=[4, 9])}),
        "figure2": lambda: fig2.figure2({"CASME II": ablation_frame(), "SAMM": pd.DataFrame()}, {}, "n"),
        "reliability": lambda: scores.reliability(calibrated(), pd.Series({"AU1": 0.1, "AU4": 0.2}), "n"),
    }
    for name, make in makers.items():
        first = {p.name: p.read_bytes() for p in figures.save(make(), tmp_path / "1" / name, {"a": 1})}
        again = {p.name: p.read_bytes() for p in figures.save(make(), tmp_path / "2" / name, {"a": 1})}
        assert first == again
        assert {p.rsplit(".")[-1] for p in first} == {"pdf", "png", "json", "txt"}
        assert not plt.get_fignums()  # nothing shows it a second time


def words(figure):
    """Every text of a figure, by its content."""
    figure.draw_without_rendering()
    return {text.get_text(): text for text in figure.findobj(Text) if text.get_text()}


def lines(axis):
    """The points of every line on axes, in data coordinates, by its marker."""
    return [(line.get_marker(), list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]


# Colours


def linear(colours):
    """RGB [n, 3] -> linear RGB."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


def protanope(colours):
    """Linear RGB [n, 3] as seen without long-wavelength cones (Machado et al., TVCG 2009, severity 1)."""
    matrix = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    return np.clip(linear(colours) @ np.array(matrix).T, 0, 1)


@pytest.mark.parametrize("seen", [linear, protanope])  # luminance is what is left in grey
@pytest.mark.parametrize("name", [canvas.HEAT, canvas.SIGNED])
def test_heat_maps_grow_brighter_to_protanopes_and_in_grey_too_and_end_bright(name, seen):
    colours = plt.get_cmap(name)(np.linspace(0, 1, 256))[:, :3]
    luminance = seen(colours) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance[::8]) > 0).all() and luminance[0] < 0.05 and luminance[-1] > 0.6


@pytest.mark.parametrize("seen", [linear, protanope])
def test_the_top_of_a_map_is_brighter_than_any_frame_under_it(seen):
    frame = np.full((8, 8), 255, np.uint8)
    shown = canvas.overlaid(frame, np.eye(8)).reshape(-1, 3)
    luminance = (seen(shown) @ [0.2126, 0.7152, 0.0722]).reshape(8, 8)
    assert luminance[np.eye(8) == 1].min() > 1.5 * luminance[np.eye(8) == 0].max()


def test_a_map_lies_over_its_frame_the_more_opaque_the_larger_its_values():
    frame = np.array([[0, 255], [100, 200]], np.uint8)
    shown = canvas.overlaid(frame, np.array([[0.0, 0.0], [1.0, 0.5]]))
    grey, top = 0.6 * frame[..., None].repeat(3, 2) / 255, np.array(plt.get_cmap(canvas.HEAT)(1.0)[:3])
    np.testing.assert_allclose(shown[0], grey[0])
    np.testing.assert_allclose(shown[1, 0], 0.15 * grey[1, 0] + 0.85 * top)
    covered = np.abs(shown - grey).max(axis=2)
    assert covered[1, 0] > covered[1, 1] > 0


# Scores


def test_scores_per_au_are_drawn_with_the_trivial_classifier(scored):
    scored_runs, trivial = scored
    figure = scores.per_au({"x": scored_runs}, {"x": trivial["always-negative"]}, note="n")
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {*scored_runs, "always-negative classifier"}
    drawn = [container.lines[0].get_ydata() for container in figure.axes[0].containers]
    for values, score in zip(drawn, scored_runs.values(), strict=True):
        assert list(values) == pytest.approx(100 * score["f1_macro"].astype(float))


def curve():
    points = pd.DataFrame(
        {"intensity": [0.0, 0.0, 0.5, 1.0, 1.0], "seed": [1, 2, 1, 1, 2], "scorer": "cnn",
         "score": [0.4, 0.5, 0.6, 0.7, 0.8], "low": [0.3, np.nan, 0.4, 0.6, 0.7], "high": [0.6, np.nan, 0.7, 0.9, 0.8]}
    )  # fmt: skip
    return points.assign(**dict.fromkeys(scores.TRIVIAL, 0.45))


def test_the_intensity_curve_has_a_point_with_its_interval_per_seed_and_lines_through_the_means():
    (axis,) = scores.intensity_curve(curve(), ["always-negative"]).axes
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in axis.lines]
    for expected in (([0, 0.5, 1], [45, 60, 75]), ([0, 0.5, 1], [45, 45, 45])):
        assert any(x == expected[0] and y == pytest.approx(expected[1]) for x, y in drawn)
    seeds = [container.lines[0] for container in axis.containers]
    assert [list(line.get_ydata()) for line in seeds] == [pytest.approx([40, 60, 70]), pytest.approx([50, 80])]
    assert seeds[0].get_xdata()[0] < 0 < seeds[1].get_xdata()[0]  # beside each other
    spans = [tuple(path[:, 1]) for one in axis.containers for path in one.lines[2][0].get_segments() if len(path)]
    for span in ((30, 60), (40, 70), (60, 90), (70, 80)):
        assert any(span == pytest.approx(one) for one in spans)
    assert list(axis.get_xticks()) == [0, 0.5, 1]


def test_losses_have_a_panel_per_run_with_plain_ticks_and_every_fold():
    log = pd.DataFrame({"fold": ["a", "a", "b", "b"], "epoch": [1, 2, 1, 2], "loss": [2.0, 0.3, 1.0, 0.1]})
    figure = scores.losses({"synthetic CASME II": log, "synthetic SAMM": log.assign(loss=log["loss"] / 2)})
    assert [axis.get_title() for axis in figure.axes] == ["synthetic CASME II", "synthetic SAMM"]
    assert [list(line.get_ydata()) for line in figure.axes[0].lines] == [[2, 0.3], [1, 0.1], pytest.approx([1.5, 0.2])]
    figure.draw_without_rendering()
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert {"0.1", "0.2", "0.5", "1", "2"} <= set(labels) and not any("e" in label for label in labels)


def signal_frame(hidden=1.0):
    frame = pd.DataFrame(
        {"fold": ["a", "a", "b", "b", "c", "c"], "epoch": [0, 9] * 3, "token_norm": 1.0,
         "token_spread": [0.01, 0.1] * 3, "hidden_norm": 50.0, "hidden_spread": [0.5, 1.0, 1.0, 2.0, 3.0, 4.0],
         "embedding_norm": 3.0}
    )  # fmt: skip
    frame["hidden_spread"] *= hidden
    for part in ("token", "hidden"):
        frame[f"{part}_signal"] = frame[f"{part}_spread"] / frame[f"{part}_norm"]
    return frame


def test_the_signal_is_drawn_as_medians_and_ranges_over_folds_in_percent():
    sizes, ratios = scores.signal(signal_frame(), "t").axes
    drawn = [y for _, _, y in lines(sizes)]
    assert drawn == [[50, 50], [1, 2], [1, 1], [0.01, 0.1], [3, 3]]
    assert [y for _, _, y in lines(ratios)] == [pytest.approx([2, 4]), pytest.approx([1, 10]), [5, 5]]
    band = ratios.collections[0].get_paths()[0].vertices
    assert {tuple(np.round(point, 9)) for point in band} == {(0, 1), (0, 6), (9, 2), (9, 8)}
    assert all(axis.get_yscale() == "log" for axis in (sizes, ratios))
    frame = signal_frame()
    visual = scores.signal(frame[["fold", "epoch", *(name for name in frame if name.startswith("token"))]], "t")
    assert [len(axis.lines) for axis in visual.axes] == [2, 2]
    scores.signal(signal_frame(hidden=0.0), "t").draw_without_rendering()  # the same vector for every clip


def gain_frame():
    rows = [("x", "uninformative", 0.5, 3.0), ("x", "uninformative", 1.0, 2.0), ("x", "skilled", -1.0, 10.0)]
    frame = pd.DataFrame(rows, columns=["data", "scorer", "x", "gain"])
    return frame.assign(low=frame["gain"] - 1, high=frame["gain"] + 1)


def test_gains_of_both_scorers_stand_beside_the_published_margin():
    left, right = scores.tuning(gain_frame(), {"x": 4.6}).axes
    assert ("o", [0.5, 1], [3, 2]) in lines(left)
    assert ("o", [-1], [10]) in lines(right)
    for axis, top in ((left, 4), (right, 11)):
        assert [4.6, 4.6] in [y for _, _, y in lines(axis)]
        assert axis.get_ylim()[0] == 0
        assert axis.get_ylim()[1] >= top
    assert [label.get_text() for label in left.get_xticklabels()] == ["0.5", "1"]


def method_frame():
    return pd.DataFrame(
        {"score": [50.0, 61.0], "low": [45.0, 55.0], "high": [56.0, 66.0], "published": [np.nan, 70.0]},
        index=["lbp-top", "sca"],
    )


def test_methods_have_every_score_interval_trivial_classifier_and_published_number():
    figure = scores.methods({"CASME II": method_frame()}, {"CASME II": {"always-negative": 45.4}}, note="a note")
    (axis,) = figure.axes
    drawn = lines(axis)
    assert ("o", [50, 61], [0, 1]) in drawn
    (published,) = [x for marker, x, _ in drawn if marker == "D"]
    assert np.isnan(published[0]) and published[1] == 70
    spans = [segment[:, 0].tolist() for collection in axis.collections for segment in collection.get_segments()]
    assert spans == [[45, 56], [55, 66]]
    assert [45.4, 45.4] in [x for _, x, _ in drawn]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["lbp-top", "sca"]
    assert axis.get_ylim()[0] > axis.get_ylim()[1]  # the first row is on top
    legend = {text.get_text() for text in figure.legends[0].get_texts()}
    assert legend == {"ours, 95 % interval", "published", "always-negative"}
    bare = scores.methods({"synthetic": method_frame().assign(published=np.nan)}, {})
    assert [text.get_text() for text in bare.legends[0].get_texts()] == ["ours, 95 % interval"]


def test_a_long_note_takes_nothing_from_the_panels():
    inches = []
    for note in ("short", "casme2-lbp-top-seed1-e1adad1da2, " * 12):
        figure = scores.methods({"synthetic": method_frame()}, {}, note=note)
        figure.draw_without_rendering()
        inches.append(figure.axes[0].get_position().height * figure.get_figheight())
    assert inches[1] == pytest.approx(inches[0], abs=0.15) and inches[0] > 0.35


def difference_frame():
    index = [("CASME II", "AU-LLM", name, 1) for name in ("worse", "similar", "absent")]
    return pd.DataFrame(
        {"difference": [-5.0, 2.0, np.nan], "low": [-8.0, -3.0, np.nan], "high": [-2.0, 6.0, np.nan],
         "supported": ["yes", "no", ""]},
        index=pd.MultiIndex.from_tuples(index, names=["data", "against", "method", "seed"]),
    )  # fmt: skip


def test_differences_are_filled_where_they_are_supported():
    (axis,) = scores.differences(difference_frame()).axes
    dots = {line.get_xdata()[0]: line.get_markerfacecolor() for line in axis.lines if line.get_marker() == "o"}
    assert set(dots) == {-5, 2} and dots[-5] != "white" and dots[2] == "white"
    assert {(-8, -2), (-3, 6)} <= {tuple(x) for _, x, _ in lines(axis)}
    assert [text.get_text() for text in axis.texts] == ["not compared"]


def ablation_frame():
    rows = [("Q2", "all", 80.0, 75.0, 83.0, 78.8), ("Q2", "F_high", 70.0, 60.0, 81.0, 79.8), ("tiny", "all", 50.0, 40.0,
            60.0, np.nan), ("Q2", "EFP-", np.nan, np.nan, np.nan, np.nan)]  # fmt: skip
    return pd.DataFrame(rows, columns=["llm", "variant", "score", "low", "high", "published"])


def test_figure_2_has_the_scores_as_bars_and_empty_slots_say_so():
    figure = fig2.figure2({"CASME II": ablation_frame(), "SAMM": pd.DataFrame()}, {"CASME II": 49.9})
    axis = figure.axes[0]
    assert sorted(bar.get_height() for bar in axis.patches) == [50.0, 70.0, 80.0]
    assert all(bar.get_y() == 0 for bar in axis.patches)
    ends = {tuple(path[:, 1]) for lines in axis.collections for path in lines.get_segments()}
    assert {(75.0, 83.0), (60.0, 81.0), (40.0, 60.0)} <= ends
    assert sorted(y for line in axis.lines if line.get_marker() == "D" for y in line.get_ydata()) == [78.8, 79.8]
    assert [text.get_text() for text in axis.texts] == ["not run"] * 7
    assert [text.get_text() for text in figure.axes[1].texts] == ["not run"]
    assert any(list(line.get_ydata()) == [49.9, 49.9] for line in axis.lines)
    hatches = {(bar.get_hatch(), bar.get_facecolor()) for bar in axis.patches}
    assert len(hatches) == 2


def calibrated():
    columns = ["au", "bin", "mean_probability", "frequency", "count"]
    return pd.DataFrame(
        [("AU1", 0, 0.1, 0.2, 9), ("AU1", 1, np.nan, np.nan, 0), ("AU4", 1, 0.7, 0.5, 5), ("AU4", 2, 0.9, 0.5, 4)],
        columns=columns,
    )


def test_reliability_draws_the_bins_that_hold_five_clips():
    figure = scores.reliability(calibrated(), pd.Series({"AU1": 0.1, "AU4": 0.204}))
    assert [axis.get_title(loc="left") for axis in figure.axes[:2]] == ["AU1, ECE 10 %", "AU4, ECE 20 %"]
    assert [list(axis.collections[0].get_offsets()[0]) for axis in figure.axes[:2]] == [[0.1, 0.2], [0.7, 0.5]]
    sizes = [axis.collections[0].get_sizes()[0] - 4 for axis in figure.axes[:2]]
    assert sizes[0] / sizes[1] == pytest.approx(9 / 5)  # areas as clips
    assert len(figure.axes[1].collections[0].get_offsets()) == 1  # of two bins one holds fewer than five clips
    assert any("up to 9 clips" in text for text in words(figure))


# Labels and clips


def table(**columns):
    return pd.DataFrame(columns).assign(dataset="casme2", synthetic=True)


def test_au_bars_are_the_counts_with_the_documented_ones_beside_them():
    positives = {"AU1": 26, "AU4": 129, "AU12": 3}
    labels = {au: [1] * count + [0] * (129 - count) for au, count in positives.items()}
    tables = {"casme2": table(**labels), "mmew": table(AU1=[1] * 5)}
    figure = scores.au_counts(tables, {"casme2": {1: 26, 4: 130, 17: 25}}, note="n")
    bars, pointers = figure.axes[0].patches, figure.axes[0].lines
    assert [bar.get_height() for bar in bars] == [26, 129, 3, 0]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["1", "4", "12", "17"]
    assert list(pointers[0].get_ydata()) == [26, 130, 25]
    assert [round(x) for x in pointers[0].get_xdata()] == [0, 1, 3]
    assert {"26", "129\n(130)", "3", "0\n(25)"} <= set(words(figure))
    assert [bar.get_height() for bar in figure.axes[1].patches] == [5]
    assert len(figure.legends) == 1
    assert not figure.axes[1].lines
    assert not scores.au_counts(tables).legends


def test_cooccurrence_counts_pairs_and_keeps_aus_that_never_occur():
    made = table(AU4=[1, 1, 0, 1], AU12=[1, 0, 0, 0], AU25=[1, 1, 1, 1])
    drawn = scores.cooccurrence({"samm": made, "casme": table(AU1=[1] * 6, AU2=[0, 1] * 3), "4dme": made})
    panels = [axis for axis in drawn.axes if axis.get_yticklabels() and axis.texts]
    names = [[label.get_text() for label in axis.get_yticklabels()] for axis in panels]
    assert names == [["2", "4", "7", "12"], ["1"], ["4", "12", "25"]]  # scored; of 5 clips or more; all
    maps = [axis.collections[0] for axis in panels]
    assert {one.get_cmap().name for one in maps} == {canvas.HEAT}
    shown = maps[0].get_array().reshape(4, 4)
    assert shown.tolist() == [[0, 0, 0, 0], [0, 3, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]]
    cells = [text.get_text() for text in panels[0].texts if text.get_text() != "AU"]
    assert cells == [str(count) for count in shown.ravel()]
    assert maps[2].get_array().reshape(3, 3).tolist() == [[3, 1, 3], [1, 1, 1], [3, 1, 4]]
    assert "synthetic SAMM: 4 clips" in words(drawn)


def test_shortcuts_are_marked_in_the_cell_of_their_au_and_fact():
    index = pd.MultiIndex.from_product([["AU1", "AU4"], ["clip length", "brightness"]], names=["au", "fact"])
    frame = pd.DataFrame({"area": [0.9, 0.5, np.nan, 0.25], "shortcut": [True, False, False, False]}, index)
    drawn = scores.shortcuts({"casme2": frame, "samm": frame.loc[["AU4"]]}, "n")
    first, second, _ = drawn.axes
    assert [text.get_text() for text in first.texts] == ["0.90*", "0.50", "0.25"]
    assert [text.get_position() for text in first.texts] == [(0.5, 0.5), (1.5, 0.5), (1.5, 1.5)]
    assert [text.get_text() for text in second.texts] == ["0.25"]
    assert [label.get_text() for label in second.get_xticklabels()] == ["clip length", "brightness"]
    assert {"synthetic CASME II", "synthetic SAMM", "ROC-AUC within subjects (0.5: chance level)"} <= words(
        drawn
    ).keys()
    assert drawn.get_figwidth() <= 7 and min(text.get_fontsize() for text in words(drawn).values()) >= 6


@pytest.mark.parametrize("frames", [[3, 6, 6, 8, 20], [30, 29, 59], [731, 2, 10, 10]])
def test_a_histogram_of_lengths_holds_every_clip_in_bins_of_whole_frames(frames):
    axis = scores.lengths({"casme2": table(n_frames=frames)}).axes[0]
    assert sum(bar.get_height() for bar in axis.patches) == len(frames)
    for bar in axis.patches:
        low, high = bar.get_x(), bar.get_x() + bar.get_width()
        assert (low + 0.5) % 1 == pytest.approx(0)
        assert bar.get_height() == sum(low < n < high for n in frames)
    assert {line.get_xdata()[0] for line in axis.lines} == {np.median(frames), 6}
    short = sum(n < 6 for n in frames)
    assert (f"{short} shorter than six" in axis.get_title(loc="left")) == (short > 0)


def pictures(figure):
    """Every image of a figure with its colour limits, in the order of the axes."""
    return [(np.asarray(axis.images[0].get_array()), axis.images[0].get_clim()) for axis in figure.axes if axis.images]


def test_a_film_shows_its_frames_and_signed_rows_in_one_scale_with_a_colour_bar():
    frames = np.random.default_rng(0).integers(0, 255, (2, 8, 8), dtype=np.uint8)
    signed = [None, frames[1].astype(float) - frames[0]]
    figure = clips.film({"frames": frames, "motion": signed}, ["a", "b"], signed=["motion"])
    limit = canvas.signed_limit(signed[1])
    shown = pictures(figure)
    assert len(shown) == 3
    for (image, ends), want in zip(shown, (*frames, signed[1]), strict=True):
        assert (image == want).all() and ends == ((0, 255) if want.dtype == np.uint8 else (-limit, limit))
    assert {"frames", "motion", "a", "b", f"−{float(f'{limit:.2g}'):g}", f"{float(f'{limit:.2g}'):g}"} <= set(
        words(figure)
    )


def test_a_contact_sheet_shows_the_three_frames_and_their_motion():
    frames = np.random.default_rng(0).integers(0, 255, (3, 8, 8), dtype=np.uint8)
    drawn = clips.contact_sheet({f"AU{n}": (f"clip {n}", frames) for n in (4, 7, 12)}, "credit")
    shown = pictures(drawn)
    assert len(shown) == 12
    for (image, ends), expected in zip(shown[:3], frames, strict=True):
        assert (image == expected).all() and ends == (0, 255)
    motion = frames[1].astype(float) - frames[0]
    limit = np.quantile(np.abs(motion), 0.98)
    assert (shown[3][0] == motion).all() and shown[3][1] == (-limit, limit)
    assert {"AU4 Brow Lowerer", "clip 4", "AU7 Lid Tightener", "apex − onset", f"±{limit:.0f}"} <= set(words(drawn))
    assert any("credit" in text for text in words(drawn))
    still = pictures(clips.contact_sheet({"AU4": ("c", np.stack([frames[0]] * 3))}))[3]
    assert still[1] == (-1, 1)  # noise below a grey level is not blown up


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(0, 1.0, (0, 0)), (12, 0.5, (-3, 4)), (-30, 2.0, (40, 9))])
def test_the_outline_in_the_frame_is_where_the_stored_corners_come_from(degrees, scale, shift):
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    matrix = np.array([[c, -s, shift[0]], [s, c, shift[1]]])
    frame, stored = np.zeros((48, 64), np.uint8), np.full((16, 16), 7, np.uint8)
    drawn = clips.alignment({f"t{i}": (frame, matrix, stored) for i in range(5)})  # the fifth in a line of its own
    shapes = [image.shape for image, _ in pictures(drawn)]
    assert sorted(shapes) == [(16, 16)] * 5 + [(48, 64)] * 5
    axis = next(axis for axis in drawn.axes if axis.patches)
    outline = axis.patches[0].get_xy()
    corners = outline[:4] @ matrix[:, :2].T + matrix[:, 2]
    assert corners == pytest.approx(np.array([(-0.5, -0.5), (15.5, -0.5), (15.5, 15.5), (-0.5, 15.5)]))
    (left, right), (low, top) = axis.get_xlim(), axis.get_ylim()
    assert left <= outline[:, 0].min()
    assert right >= outline[:, 0].max()
    assert top <= outline[:, 1].min()
    assert low >= outline[:, 1].max()


def test_a_whole_squashed_frame_is_outlined_at_its_border():
    matrix = np.array([[16 / 64, 0, 0.5 * 16 / 64 - 0.5], [0, 16 / 48, 0.5 * 16 / 48 - 0.5]])
    sample = np.zeros((48, 64), np.uint8), matrix, np.zeros((16, 16), np.uint8)
    outline = clips.alignment({"t": sample}).axes[0].patches[0].get_xy()[:4]
    assert outline == pytest.approx(np.array([(-0.5, -0.5), (63.5, -0.5), (63.5, 47.5), (-0.5, 47.5)]))
    with pytest.raises(ValueError, match="Singular"):
        clips.alignment({"t": (sample[0], np.zeros((2, 3)), sample[2])})
    assert not plt.get_fignums()


# Text


def test_text_from_data_is_drawn_as_it_is(tmp_path):
    evil = "a$x_1$b<c>&\\frac{"
    image = np.zeros((8, 8), np.uint8)
    drawn = {
        "sheet": clips.contact_sheet({"AU4": (evil, np.stack([image] * 3))}, evil),
        "alignment": clips.alignment({evil: (image, np.eye(2, 3), image)}, evil),
        "film": clips.film({evil: [image]}, [evil], note=evil),
        "counts": scores.au_counts({evil: table(AU1=[1] * 3)}, note=evil),
        "pairs": scores.cooccurrence({evil: table(AU1=[1])}, evil),
        "lengths": scores.lengths({evil: table(n_frames=[9])}, evil),
        "methods": scores.methods({evil: method_frame().rename({"sca": evil})}, {}, evil),
    }
    for name, figure in drawn.items():
        figures.save(figure, tmp_path / name, {})  # a formula that cannot be read would raise here
        shown = [text for content, text in words(figure).items() if evil in content]
        assert shown
        assert not any(text.get_parse_math() for text in shown)


def test_a_caption_lies_beside_the_figure_with_its_provenance(tmp_path):
    figure = clips.film({"synthetic": [np.zeros((8, 8))]}, ["t"], note="who holds it\nwhat\nand how")
    made = {"synthetic": True, "git": {"revision": "0123456789abcdef", "changed": True}}
    figures.save(figure, tmp_path / "film", made)
    caption = (tmp_path / "film.txt").read_text(encoding="utf-8").splitlines()
    assert caption[:3] == ["who holds it", "what", "and how"]
    assert caption[3:] == ["Provenance: no run; written by revision 0123456789 with changes."]
    assert "who holds it" in words(figure) and not any("and how" in text for text in words(figure))


def test_what_is_synthetic_says_so_or_is_not_written(tmp_path):
    figure = scores.reliability(calibrated(), pd.Series({"AU1": 0.1, "AU4": 0.2}), "CASME II\nsynthetic")
    with pytest.raises(ValueError, match="reliability: drawn from synthetic data"):
        figures.save(figure, tmp_path / "reliability", {"synthetic": True})
    assert not list(tmp_path.glob("reliability*"))
    assert figures.save(figure, tmp_path / "reliability", {"synthetic": False})


def test_notes_are_wrapped_inside_their_figure():
    note = "who holds the copyright " * 20 + "\nand a line of its own"
    for figure in (scores.lengths({"x": table(n_frames=[9])}, note), clips.contact_sheet(
        {"AU4": ("c", np.zeros((3, 8, 8)))}, note)):  # fmt: skip
        box = next(text for content, text in words(figure).items() if "copyright" in content).get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y0 >= 0


def test_clips_with_a_blink_are_no_examples():
    """Of eight clips two shut the eyes by 80 grey levels for a while; an AU moves the mouth by as much."""
    rng = np.random.default_rng(0)
    frames = {f"c{k}": 120 + rng.normal(0, 2, (20, 64, 64)) for k in range(8)}
    for k in (2, 5):
        frames[f"c{k}"][8:11, 18:24, 12:26] += 80
    frames["c3"][5:15, 44:50, 24:40] += 80

    store = type("Store", (dict,), {"ids": tuple(frames), "frames": np.zeros((160, 64, 64))})
    assert clips.unblinking(store(frames)) == ["c0", "c1", "c3", "c4", "c6", "c7"]


def test_the_example_of_an_au_blinks_not_has_its_apex_annotated_and_few_other_aus(monkeypatch):
    rows = {  # onset, apex, offset, frames, AU1, AU2, AU4
        "blinks": (5, 7, 9, 5, 1, 0, 1), "no apex": (5, pd.NA, 9, 5, 1, 1, 0), "both": (5, 8, 9, 5, 1, 1, 0),
        "alone": (5, 6, 9, 5, 1, 0, 0), "hidden": (5, 6, 9, 5, 0, 1, 0),
    }  # fmt: skip
    table = pd.DataFrame.from_dict(rows, "index", columns=["onset", "apex", "offset", "n_frames", "AU1", "AU2", "AU4"])
    table = table.astype({"apex": "Int64"}).assign(subject=["a", "a", "a", "a", "b"])
    stored = {name: np.arange(5)[:, None, None] + 10 * k for k, name in enumerate(rows)}
    monkeypatch.setattr(clips, "unblinking", lambda store: [name for name in store.table.index if name != "blinks"])
    found = clips.of_each_au(type("Store", (dict,), {"table": table})(stored), ["AU1", "AU2", "AU4", "AU9"], ["a"])
    assert {au: (name, frames.ravel().tolist()) for au, (name, frames) in found.items()} == {
        "AU1": ("alone", [30, 31, 34]), "AU2": ("both", [20, 23, 24]), "AU4": ("blinks", [0, 2, 4])
    }  # fmt: skip


def test_a_clip_is_shown_beside_what_an_untrained_led_makes_of_it():
    frames = torch.randint(0, 256, (6, 8, 8), dtype=torch.uint8)
    drawn = clips.filtered(frames, "synthetic")
    images = [axis.images[0].get_array() for axis in drawn.axes if axis.images]
    after = LED(frames=6)(frames[None].float())[0].detach().numpy()
    assert len(images) == 11 and np.array_equal(images[2], frames[2])
    np.testing.assert_allclose(images[6], after[1])
