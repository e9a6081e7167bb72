"""Folds, runs and resume: the same numbers whatever the order, nothing run twice, nothing half-written."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import pytest
import torch

from aullm_lib import engine, metrics, protocol, runs, tiny, train
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run


def folds_of(path):
    return {p.relative_to(path): p.read_bytes() for p in sorted(path.glob("folds/*/*.csv"))}


def test_a_run_is_whole_readable_and_not_run_again(experiment, hand_store, tmp_path):
    path = engine.run(experiment, hand_store, out=tmp_path)
    run = Run(path)
    assert run.missing == []
    assert run.experiment == experiment
    assert run.info["data"]["fingerprint"] == hand_store.fingerprint
    (made,) = run.made_by()
    assert made["versions"]["torch"] == torch.__version__
    table = run.predictions()
    assert sorted(table["clip_id"].unique()) == sorted(hand_store.ids)
    assert len(table) == len(hand_store) * 3
    truth = hand_store.table.reset_index().melt("clip_id", ["AU1", "AU4", "AU12"], "au", "label")
    both = table.merge(truth, on=["clip_id", "au"], suffixes=("", "_true"))
    assert len(both) == len(table)
    assert (both["label"] == both["label_true"]).all()
    metrics.score(table)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    assert engine.run(experiment, hand_store, out=tmp_path) == path
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


def test_same_bytes_again_and_in_any_order(experiment, hand_store, tmp_path):
    first = engine.run(experiment, hand_store, out=tmp_path / "a")
    torch.rand(3)  # the global generator is somewhere else now
    folds = protocol.loso(hand_store.table)
    other = Run.open(tmp_path / "b", experiment, folds, Run(first).info["data"])
    assert other.path.name == first.name
    hand_store.to("cpu")
    last = train.train_fold(experiment, hand_store, hand_store.table, folds[-1])
    other.write_fold(folds[-1].name, *last)
    second = engine.run(experiment, hand_store, out=tmp_path / "b")
    assert folds_of(first) == folds_of(second)
    assert (first / "predictions.csv").read_bytes() == (second / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"aus": (1, 4)},
        {"variant": "no-llm"},
        {"recipe": Recipe.released(size=32, epochs=4, batch_size=4, lr=1e-3, efp_hidden=16, llm_dtype="float32")},
    ],
)
def test_another_configuration_is_another_folder(experiment, hand_store, tmp_path, change):
    folds, data = protocol.loso(hand_store.table), {"fingerprint": "x"}
    one = Run.open(tmp_path, experiment, folds, data)
    assert Run.open(tmp_path, dataclasses.replace(experiment, **change), folds, data).path != one.path
    assert Run.open(tmp_path, experiment, folds[1:], data).path != one.path
    assert Run.open(tmp_path, experiment, folds, {"fingerprint": "y"}).path != one.path


def test_a_killed_run_goes_on_and_equals_an_undisturbed_one(experiment, hand_store, tmp_path):
    script = """
        import sys, json, time
        from aullm_lib import engine, train
        from aullm_lib.clips import ClipStore
        from aullm_lib.recipe import Experiment
        inner = engine.train_fold
        def slow(*a, **k):
            result = inner(*a, **k)
            time.sleep(0.5)
            return result
        engine.train_fold = slow
        import torch; torch.set_num_threads(int(sys.argv[4]))
        engine.run(Experiment.from_dict(json.loads(sys.argv[1])), ClipStore(sys.argv[2]), out=sys.argv[3])
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), json.dumps(experiment.to_dict()), str(hand_store.path),
         str(tmp_path / "a"), str(torch.get_num_threads())]
    )  # fmt: skip
    deadline = time.time() + 120
    while not list((tmp_path / "a").glob("*/folds/*/fold.json")) and time.time() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    run = Run(next((tmp_path / "a").iterdir()))
    assert 0 < len(run.missing) < 3
    (run.path / "folds" / ".half-written.1").mkdir()
    path = engine.run(experiment, hand_store, out=tmp_path / "a")
    assert path == run.path
    assert not list(path.glob("folds/.*"))
    undisturbed = engine.run(experiment, hand_store, out=tmp_path / "b")
    assert folds_of(path) == folds_of(undisturbed)


def test_disk_full_leaves_finished_folds_and_no_half_ones(experiment, hand_store, tmp_path, monkeypatch):
    write, calls = runs.files.write_json, []

    def full(path, value):
        calls.append(path)
        if len(calls) == 3:  # run.json, the first fold's, then this
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, value)

    monkeypatch.setattr(runs.files, "write_json", full)
    with pytest.raises(OSError, match=r"cannot write fold .*the disk is full"):
        engine.run(experiment, hand_store, out=tmp_path)
    monkeypatch.undo()
    path = next(tmp_path.glob("tiny-*"))
    assert len(Run(path).missing) == 2
    assert not list(path.glob("folds/.*"))
    assert Run(engine.run(experiment, hand_store, out=tmp_path)).missing == []


def test_what_cannot_be_run_is_refused_before_training(experiment, hand_store, tmp_path):
    alien = hand_store.table.rename(index={hand_store.ids[0]: "hand/s9/c9"})
    with pytest.raises(ValueError, match="lacks 1 clips of the table, 'hand/s9/c9' first"):
        engine.run(experiment, hand_store, alien, out=tmp_path)
    leak = [protocol.Fold("f", tuple(hand_store.ids), (hand_store.ids[0],))]
    with pytest.raises(protocol.Leak):
        engine.run(experiment, hand_store, folds=leak, out=tmp_path)
    with pytest.raises(ValueError, match="backend='slurm'"):
        engine.run(experiment, hand_store, backend="slurm", out=tmp_path)
    missing_llm = dataclasses.replace(experiment, variant="all", llm=str(tmp_path / "no-llm"))
    with pytest.raises(FileNotFoundError, match="no-llm"):
        engine.run(missing_llm, hand_store, out=tmp_path)
    with pytest.raises(ValueError, match="variant='hgih': allowed are all, high"):
        engine.run(dataclasses.replace(experiment, variant="hgih"), hand_store, out=tmp_path)
    large = dataclasses.replace(experiment, recipe=dataclasses.replace(experiment.recipe, size=64))
    with pytest.raises(ValueError, match=r"Recipe.size=64, but the frames of .* have 32 pixels"):
        engine.run(large, hand_store, out=tmp_path)
    assert not list(tmp_path.glob("tiny-*"))
    with pytest.raises(FileNotFoundError, match="no run here"):
        Run(tmp_path)


def test_other_weights_under_the_same_name_are_another_run(experiment, hand_store, tmp_path):
    whole = dataclasses.replace(experiment, variant="frozen-llm", llm=str(tmp_path / "llm"))
    settings = {"hidden": 32, "layers": 1, "heads": 2, "kv_heads": 1}
    tiny.build_tiny(tmp_path / "llm", **settings)
    first = engine.run(whole, hand_store, out=tmp_path)
    shutil.rmtree(tmp_path / "llm")
    tiny.build_tiny(tmp_path / "llm", seed=1, **settings)
    assert engine.run(whole, hand_store, out=tmp_path) != first


def test_folds_of_another_revision_are_kept_with_a_warning(experiment, hand_store, tmp_path):
    path = engine.run(experiment, hand_store, out=tmp_path)
    info = json.loads((path / "folds" / "hand-s1" / "fold.json").read_text())
    info["versions"]["torch"] = "1.0"
    (path / "folds" / "hand-s1" / "fold.json").write_text(json.dumps(info))
    shutil.rmtree(path / "folds" / "hand-s0")
    with pytest.warns(UserWarning, match="made by another version or revision"):
        engine.run(experiment, hand_store, out=tmp_path)
    assert len(Run(path).made_by()) == 2


def test_predictions_that_are_no_numbers_stop_the_fold(experiment, hand_store, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "predict", lambda *a: torch.full((4, 3), float("nan")))
    with pytest.raises(train.Diverged, match="fold hand-s0: the probabilities of its test clips are no numbers"):
        engine.run(experiment, hand_store, out=tmp_path)
    assert len(Run(next(tmp_path.glob("tiny-*"))).missing) == 3


def test_a_loss_that_is_no_number_stops_the_fold_by_name(experiment, hand_store, tmp_path):
    recipe = dataclasses.replace(experiment.recipe, lr=1e30)
    with pytest.raises(train.Diverged, match=r"fold hand-s0, epoch \d: the loss is nan; lower Recipe.lr"):
        engine.run(dataclasses.replace(experiment, recipe=recipe), hand_store, out=tmp_path)


def test_labels_follow_the_ids(hand_store):
    ids = tuple(hand_store.ids[::-1])
    got = train.labels(hand_store.table, ids, (12, 28, 1))
    expected = [[hand_store.table.loc[i, "AU12"], 0, hand_store.table.loc[i, "AU1"]] for i in ids]
    assert got.tolist() == expected  # AU28 never occurs: all absent


def test_training_learns_what_is_there_and_not_what_is_not(experiment, hand_store, tmp_path):
    """The hand-made release shows AU4 and AU12; AU1 is labelled but invisible."""
    recipe = dataclasses.replace(experiment.recipe, epochs=40, dropout=0.0, loss="bce", jitter=False)
    run = Run(engine.run(dataclasses.replace(experiment, recipe=recipe), hand_store, out=tmp_path))
    scores = metrics.score(run.predictions())
    assert scores.loc[["AU4", "AU12"], "f1"].mean() > 0.8
    assert scores.loc["AU1", "f1"] < 0.7
    losses = run.logs().groupby("epoch")["loss"].mean()
    assert losses.iloc[-1] < 0.5 * losses.iloc[0]
    assert run.seconds() > 0


def test_the_whole_model_runs_through_the_engine(experiment, hand_store, tiny_llm, tmp_path):
    whole = dataclasses.replace(experiment, variant="all", llm=tiny_llm)
    run = Run(engine.run(whole, hand_store, out=tmp_path))
    assert run.predictions()["probability"].between(0, 1).all()
    assert run.predictions()["probability"].nunique() > 10
