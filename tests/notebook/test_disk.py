"""What is said of the disk beforehand, against what files take in the end."""

import shutil
from types import SimpleNamespace

import pytest

from aullm_lib import engine, facs, protocol, trained
from aullm_lib.notebook import disk, parameters
from aullm_lib.runs import Run


def test_the_paper_needs_so_much_and_the_demo_little(tmp_path):
    """By hand: CASME II's 26 folds of 307 MB (10,624 x 6,080 + 6,080 x 1,536 weights, mostly) and of a 3D-CNN's 11."""
    parts = disk.needed(parameters.profile("paper"))
    mlp = 4 * (10_624 * 6_080 + 6_080 + 6_080 * 1_536 + 1_536)
    assert parts["trained weights"] == pytest.approx(26 * (mlp + 2 * 11e6), rel=0.02)
    rows = 255 * 8 + 159 * len(facs.BENCHMARK["samm"])
    assert parts["probabilities after every epoch"] == 5 * 350 * 50 * rows
    (line,) = disk.advice(parameters.profile("paper"), tmp_path)
    assert line.startswith("On the disk this takes about ") and "8.3 GB of trained weights" in line
    for profile in ("smoke", "demo"):
        assert disk.advice(parameters.profile(profile), tmp_path) == []


def test_weights_are_kept_of_what_later_notebooks_read_only():
    paper = parameters.profile("paper")
    paper["02_train_loso"]["keep_weights"] = False  # 06_visualize trains them again then
    assert disk.needed(paper) == disk.needed(parameters.profile("paper"))
    del paper["06_visualize"]
    assert disk.needed(paper)["trained weights"] == 0


def test_a_disk_that_is_too_small_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=10**9))
    (line,) = disk.advice(parameters.profile("paper"), tmp_path)
    assert "1 GB are free; that is too little" in line


def test_the_bytes_are_those_of_files(hand_table, hand_store, experiment, tmp_path):
    """Of a fold's weights, of a clip store's frames and of a line of trace.csv."""
    run = Run(engine.run(experiment, hand_store, out=tmp_path, folds=protocol.loso(hand_store.table)[:1],
                         keep_weights=True, trace=True))  # fmt: skip
    folder = run.fold(run.folds[0])
    assert disk._fold(experiment.recipe, "backbone") == pytest.approx((folder / trained.FILE).stat().st_size, rel=0.02)
    line = max((folder / "trace.csv").read_bytes().splitlines(keepends=True), key=len)
    assert len(line) <= disk.ROW
