"""The windows of a long video: how long they are by default."""

from types import SimpleNamespace

from aullm_lib.predict.windows import windowing
from aullm_lib.recipe import Recipe


def test_default_windows_last_as_long_as_the_runs_clips():
    """66 frames at 200 a second are 0.33 s: 8 frames at 24 a second."""
    model = SimpleNamespace(median_frames=66.0, fps=200, experiment=SimpleNamespace(recipe=Recipe.paper()))
    assert windowing(model, 24.0, None, None, "frames")[:2] == (8, 4)
    assert windowing(model, 200.0, None, None, "frames")[:2] == (66, 33)
    assert windowing(model, 5.0, None, None, "frames")[:2] == (2, 1)
    assert windowing(model, None, None, 7, "frames")[:2] == (66, 7)
    assert windowing(model, 24.0, 1.5, 0.5, "seconds")[:2] == (36, 12)
    _, _, description = windowing(model, 10.0, None, None, "frames")
    assert description == (
        "windows of 3 frames (0.30 s), as long as the median clip of the run, 66 frames at 200 a second; one begins "
        "every 1 frames; the model takes 6 of each, so some repeat"
    )
