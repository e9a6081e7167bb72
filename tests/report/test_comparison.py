"""The picture of methods side by side holds every number that it is given, each in its place."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from aullm_lib.report.figures import comparison


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_every_score_interval_trivial_classifier_and_published_number_is_drawn():
    frame = pd.DataFrame(
        {"score": [50.0, 61.0], "low": [45.0, 55.0], "high": [56.0, 66.0], "published": [np.nan, 70.0]},
        index=["lbp-top", "sca"],
    )
    figure = comparison.methods({"CASME II": frame}, {"CASME II": {"always-negative": 45.4}}, note="a note")
    (ax,) = figure.axes
    dots, marks = (line for line in ax.lines if line.get_marker() in ("o", "D"))
    assert list(dots.get_xdata()) == [50, 61] and list(dots.get_ydata()) == [0, 1]
    assert np.isnan(marks.get_xdata()[0]) and marks.get_xdata()[1] == 70
    spans = [segment[:, 0].tolist() for segment in ax.collections[0].get_segments()]
    assert spans == [[45, 56], [55, 66]]
    assert 45.4 in [line.get_xdata()[0] for line in ax.lines]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["lbp-top", "sca"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first row is on top
    assert "published" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_without_published_numbers_the_legend_names_none():
    frame = pd.DataFrame({"score": [50.0], "low": [45.0], "high": [56.0], "published": [np.nan]}, index=["sca"])
    figure = comparison.methods({"synthetic": frame}, {})
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["ours, 95 % interval"]


def test_a_long_note_takes_nothing_from_the_panels():
    frame = pd.DataFrame({"score": [50.0, 60], "low": 45.0, "high": 66.0, "published": np.nan}, index=["a", "b"])
    inches = []
    for note in ("short", "short\n" + "casme2-lbp-top-seed1-e1adad1da2, " * 12):
        figure = comparison.methods({"synthetic": frame}, {}, note=note)
        figure.draw_without_rendering()
        inches.append(figure.axes[0].get_position().height * figure.get_figheight())
    assert inches[1] == pytest.approx(inches[0], abs=0.15) and inches[0] > 0.35
