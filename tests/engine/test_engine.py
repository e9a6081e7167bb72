"""Folds, runs and resume: the same numbers whatever the order, nothing run twice, nothing half-written."""

import copy
import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from helpers import AUS
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from transformers import AutoTokenizer, OPTConfig, OPTModel

from aullm_lib import asl, baselines, datasets, engine, metrics, preprocess, protocol, runs, trained
from aullm_lib.clips import ClipStore
from aullm_lib.engine import aullm, baseline, runner
from aullm_lib.experiment import Experiment
from aullm_lib.lora import applied
from aullm_lib.model import AULLM
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run
from aullm_lib.support import hub, tiny
from aullm_lib.support.memory import explained_memory


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


def test_a_release_that_moved_has_the_same_store_and_the_same_run(experiment, tmp_path, monkeypatch):
    """With a row left out, whose reason names a path; by another path, and from one folder higher."""
    root = datasets.synthesize(tmp_path / "disk" / "casme2", "casme2", subjects=2, clips_per_subject=2)
    shutil.rmtree(next((root / "Cropped").glob("*/*")))
    monkeypatch.chdir(tmp_path)

    def paths(place):
        with pytest.warns(UserWarning, match="no frame folder .*row left out"):
            table = datasets.load("casme2", place, images="cropped")
        store = preprocess.build(table, tmp_path / "store", size=32)
        return Workspace("p").clips(table, 32), engine.run(experiment, store, out=tmp_path)

    first = paths(root)
    (tmp_path / "disk").rename(tmp_path / "other")
    assert paths("other/casme2") == paths(tmp_path / "other") == first


def test_a_run_describes_itself(experiment, hand_store, tmp_path):
    folds = protocol.loso(hand_store.table)
    info = json.loads((engine.run(experiment, hand_store, out=tmp_path) / "run.json").read_text())
    assert info["format"] == runs.FORMAT
    described = info["experiment"]
    assert info["recipe_name"] == "released"
    assert (described["method"], described["variant"], described["seed"]) == ("au-llm", "backbone", 1)
    assert described["recipe"] == experiment.recipe.to_dict() and described["recipe"]["name"] == "released"
    assert (info["train"], info["test"], info["protocol"]) == (["hand"], ["hand"], "leave-one-subject-out")
    for fold, row in zip(folds, info["folds"], strict=True):
        clips = hashlib.sha256(json.dumps([sorted(fold.train), sorted(fold.test)]).encode()).hexdigest()
        assert row == {"name": fold.name, "train_clips": 8, "test_clips": 4, "sha256": clips}
    some = Run(engine.run(experiment, hand_store, out=tmp_path, folds=folds[:1]))
    assert some.info["protocol"] == "custom" and some.info["folds"] == info["folds"][:1]


def test_a_run_on_a_share_of_the_subjects_says_so(experiment, hand_store, tiny_llm, tmp_path):
    full = json.loads((engine.run(experiment, hand_store, out=tmp_path) / "run.json").read_text())
    half = dataclasses.replace(experiment, variant="subjects-50", llm=tiny_llm)
    run = Run(engine.run(half, hand_store, out=tmp_path))
    assert run.info["protocol"] == full["protocol"] == "leave-one-subject-out"
    folds = protocol.fewer_subjects(protocol.loso(hand_store.table), hand_store.table, 0.5, seed=1)
    for fold, row in zip(folds, run.info["folds"], strict=True):
        assert (row["train_clips"], row["test_clips"]) == (len(fold.train), len(fold.test)) == (4, 4)
        assert json.loads((run.path / "folds" / fold.name / "fold.json").read_text())["train_clips"] == 4
    assert sorted(run.predictions()["clip_id"].unique()) == sorted(hand_store.ids)


@pytest.mark.parametrize("together", [1, 3])
def test_a_fold_says_what_it_cost(experiment, hand_store, tiny_llm, tmp_path, together):
    """The LLM's own parameters against its file."""
    whole = dataclasses.replace(experiment, variant="all", llm=tiny_llm)
    run = Run(engine.run(whole, hand_store, out=tmp_path, side_by_side=together))
    visual = sum(p.numel() for p in AULLM(whole.recipe, 3, llm=tiny_llm, variant="no-llm").parameters())
    lora = 16 * (32 + 32) + 16 * (32 + 16)  # of the query and the value projection
    frozen = sum(tensor.numel() for tensor in load_file(Path(tiny_llm, "model.safetensors")).values())
    for fold in run.folds:
        note = json.loads((run.path / "folds" / fold / "fold.json").read_text())
        assert note["trained_parameters"] == visual + lora
        assert note["total_parameters"] == visual + lora + frozen
        assert 100 < note["peak_memory_mb"] < 20_000


def test_a_run_folder_of_an_older_format_is_refused_by_name(experiment, hand_store, tmp_path):
    path = engine.run(experiment, hand_store, out=tmp_path)
    info = json.loads((path / "run.json").read_text())
    del info["format"]
    (path / "run.json").write_text(json.dumps(info | {"folds": [fold["name"] for fold in info["folds"]]}))
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: a run folder of an older version"):
        Run(path)


def test_reading_results_imports_no_torch(experiment, hand_store, tmp_path):
    path = engine.run(experiment, hand_store, out=tmp_path)
    script = """
        import sys
        from aullm_lib import metrics
        from aullm_lib.runs import Run
        metrics.score(Run(sys.argv[1]).predictions(), interval="none")
        assert "torch" not in sys.modules
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=True)


def test_many_experiments_are_checked_before_the_first_runs_and_are_run_once(experiment, hand_store, tmp_path):
    two = dataclasses.replace(experiment, name="two", seed=2)
    folds = protocol.loso(hand_store.table)[:1]
    wrong = dataclasses.replace(experiment, recipe=dataclasses.replace(experiment.recipe, size=64))
    with pytest.raises(ValueError, match="have 32 pixels"):
        engine.run_all([(experiment, hand_store), (wrong, hand_store)], out=tmp_path)
    assert not list(tmp_path.glob("tiny-*"))
    paths = engine.run_all([(experiment, hand_store), (two, hand_store, folds)], out=tmp_path)
    assert paths == [
        engine.run(experiment, hand_store, out=tmp_path),
        engine.run(two, hand_store, folds=folds, out=tmp_path),
    ]
    assert [len(Run(path).folds) for path in paths] == [3, 1]


def test_a_run_that_diverges_is_left_out_and_the_others_go_on(experiment, hand_store, tmp_path, monkeypatch):
    several = [(dataclasses.replace(experiment, seed=seed), hand_store) for seed in (1, 2, 3)]
    look, lost = aullm._Learner.look, {2}

    def spoilt(self):
        token, targets = look(self)
        return token * float("nan") if self.experiment.seed in lost else token, targets

    monkeypatch.setattr(aullm._Learner, "look", spoilt)
    with pytest.warns(UserWarning, match="tiny is left out: fold hand-s0, epoch 1, step 1: .*; 2 more folds stopped"):
        paths = engine.run_all(several, out=tmp_path)
    assert [Run(path).experiment.seed for path in paths] == [1, 3]
    lost.update((1, 3, 4, 5))
    with pytest.raises(engine.Diverged), pytest.warns(UserWarning, match="left out"):
        engine.run_all([(dataclasses.replace(experiment, seed=seed), hand_store) for seed in (4, 5)], out=tmp_path)
    with pytest.raises(engine.Diverged, match="fold hand-s0, epoch 1"):
        engine.run_all(several[1:2], out=tmp_path)


def test_many_experiments_say_how_many_are_done_and_about_how_long_the_others_take(
    experiment, hand_store, tmp_path, caplog, monkeypatch
):
    """Of what was done before nothing is said: it tells nothing of the pace."""
    several = [(dataclasses.replace(experiment, seed=seed), hand_store) for seed in (1, 2, 3, 4)]
    engine.run_all(several[:1], out=tmp_path)
    caplog.set_level("INFO", "aullm_lib")
    engine.run_all(several[:3], out=tmp_path)
    assert caplog.messages == []  # a minute has not passed
    monkeypatch.setattr(runner, "OFTEN", 0)
    engine.run_all(several, out=tmp_path)
    assert caplog.messages == []  # the last one is followed by none
    several += [(dataclasses.replace(experiment, seed=seed), hand_store) for seed in (5, 6)]
    engine.run_all(several, out=tmp_path)
    assert caplog.messages == ["5 of 6 runs are done, about a minute left"]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(20, "a minute"), (200, "3 minutes"), (9000, "2.5 hours"), (170_000, "47.2 hours"), (345_600, "4.0 days")],
)
def test_durationsin_words(seconds, words):
    assert runner.in_words(seconds) == words


def test_the_run_that_was_asked_for_last_is_the_newest(experiment, hand_store, tmp_path):
    other = dataclasses.replace(experiment, recipe=dataclasses.replace(experiment.recipe, epochs=1))
    first, second = (engine.run(one, hand_store, out=tmp_path) for one in (experiment, other))
    os.utime(first, (1, 1))
    assert engine.run(experiment, hand_store, out=tmp_path) == first  # nothing is left to train
    assert first.stat().st_mtime_ns >= second.stat().st_mtime_ns


def test_folders_with_one_pool_share_their_runs(experiment, hand_store, tmp_path, monkeypatch):
    (tmp_path / "all").mkdir()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / runs.POOL).symlink_to("../all", target_is_directory=True)
    first = engine.run(experiment, hand_store, out=tmp_path / "a")
    monkeypatch.setattr(aullm, "train_folds", None)  # nothing is trained any more
    second = engine.run(experiment, hand_store, out=tmp_path / "b")
    assert first.resolve() == second.resolve() == tmp_path / "all" / first.name
    assert folds_of(first) == folds_of(second)


@pytest.mark.parametrize("lost", ["fold.json", "predictions.csv fold.json", "log.csv predictions.csv fold.json"])
def test_a_fold_folder_without_its_note_is_made_anew_once(experiment, hand_store, tmp_path, monkeypatch, lost):
    path = engine.run(experiment, hand_store, out=tmp_path, keep_weights=True)
    before = folds_of(path)
    for name in lost.split():
        (path / "folds" / "hand-s1" / name).unlink()
    assert engine.run(experiment, hand_store, out=tmp_path) == path
    assert folds_of(path) == before and Run(path).missing == []
    assert not (path / "folds" / "hand-s1" / "weights.safetensors").exists()  # nor anything else of the old one
    monkeypatch.setattr(aullm, "train_folds", None)  # nothing is trained any more
    engine.run(experiment, hand_store, out=tmp_path)


def test_weights_may_be_read_by_whoever_may_read_the_run(experiment, hand_store, tmp_path):
    path = engine.run(experiment, hand_store, out=tmp_path, keep_weights=True)
    folder = path / "folds" / "hand-s0"
    assert folder.stat().st_mode & 0o777 == 0o755
    assert (folder / "weights.safetensors").stat().st_mode & 0o777 == 0o644


def test_same_bytes_again_and_in_any_order(experiment, hand_store, tmp_path):
    first = engine.run(experiment, hand_store, out=tmp_path / "a")
    torch.rand(3)  # the global generator is somewhere else now
    folds = protocol.loso(hand_store.table)
    other = Run.open(tmp_path / "b", experiment, folds, Run(first).info["data"])
    assert other.path.name == first.name
    hand_store.to("cpu")
    (last,) = aullm.train_folds(experiment, hand_store, hand_store.table, folds[-1:])
    other.write_fold(folds[-1].name, last, trained.save)
    second = engine.run(experiment, hand_store, out=tmp_path / "b")
    assert folds_of(first) == folds_of(second)
    assert (first / "predictions.csv").read_bytes() == (second / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2},
        {"aus": (1, 4)},
        {"variant": "no-llm"},
        {"recipe": Recipe.released(size=32, epochs=4, batch_size=4, lr=1e-3, efp_hidden=16)},
    ],
)
def test_another_configuration_is_another_folder(experiment, hand_store, tmp_path, change):
    folds, data = protocol.loso(hand_store.table), {"fingerprint": "x", "clips": 12, "dataset": "hand"}
    one = Run.open(tmp_path, experiment, folds, data)
    assert Run.open(tmp_path, dataclasses.replace(experiment, **change), folds, data).path != one.path
    assert Run.open(tmp_path, experiment, folds[1:], data).path != one.path
    assert Run.open(tmp_path, experiment, folds, data | {"fingerprint": "y"}).path != one.path


@pytest.mark.parametrize("whole", [True, False])
def test_other_labels_of_the_same_clips_are_refused(experiment, hand_store, tmp_path, whole):
    path = engine.run(experiment, hand_store, out=tmp_path)
    if not whole:
        shutil.rmtree(path / "folds" / "hand-s1")
    changed = hand_store.table.copy()
    changed.loc[hand_store.ids[0], "AU12"] ^= 1
    before = folds_of(path)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: made with other labels of the same clips"):
        engine.run(experiment, hand_store, changed, out=tmp_path)
    assert folds_of(path) == before
    for alike in (
        changed.assign(AU28=1),
        hand_store.table.astype({"AU1": bool, "AU4": float}),
    ):  # AU28 is not asked for
        alike["AU12"] = hand_store.table["AU12"]
        assert engine.run(experiment, hand_store, alike, out=tmp_path) == path
    info = json.loads((path / "run.json").read_text())
    del info["store"]["samples"]  # as older versions wrote it
    (path / "run.json").write_text(json.dumps(info))
    assert engine.run(experiment, hand_store, changed, out=tmp_path) == path


def test_a_killed_run_goes_on_and_equals_an_undisturbed_one(experiment, hand_store, tmp_path):
    script = """
        import sys, json, time
        from aullm_lib import engine
        from aullm_lib.clips import ClipStore
        from aullm_lib.engine import aullm
        from aullm_lib.experiment import Experiment
        inner = aullm.train_folds
        def slow(*a, **k):
            result = inner(*a, **k)
            time.sleep(0.5)
            return result
        aullm.train_folds = slow
        import torch; torch.set_num_threads(int(sys.argv[4]))
        engine.run(Experiment.from_dict(json.loads(sys.argv[1])), ClipStore(sys.argv[2]), out=sys.argv[3])
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), json.dumps(experiment.to_dict()), str(hand_store.path),
         str(tmp_path / "a"), str(torch.get_num_threads())]
    )  # fmt: skip
    deadline = time.time() + 120
    while not list((tmp_path / "a").glob("*/folds/[!.]*/fold.json")) and time.time() < deadline:
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
    write = runs.files.write_json

    def full(path, value, **options):
        if path.parent.name.startswith(".hand-s1."):  # the second fold, before it has its name
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(path, value, **options)

    monkeypatch.setattr(runs.files, "write_json", full)
    with pytest.raises(OSError, match=r"cannot write fold .*the disk is full"):
        engine.run(experiment, hand_store, out=tmp_path)
    monkeypatch.undo()
    path = next(tmp_path.glob("tiny-*"))
    assert len(Run(path).missing) == 2
    assert not list(path.glob("folds/.*"))
    assert Run(engine.run(experiment, hand_store, out=tmp_path)).missing == []


@pytest.mark.parametrize("method", ["au-llm", "sssnet-led"])
def test_a_run_on_a_gpu_gives_the_store_back_to_the_cpu(experiment, hand_store, tmp_path, monkeypatch, method):
    """The device "meta" stands for one."""
    if method != "au-llm":
        experiment = Experiment(
            name="b", aus=(1, 4, 12), method=method, recipe=baselines.recipe(method, size=32, epochs=1)
        )
    module = aullm if method == "au-llm" else baseline
    inner, store = module.train_folds, ClipStore(hand_store.path)

    def on_the_gpu(one, there, *rest, device, **settings):
        assert there is store and store.device.type == device == "meta"
        if not (tmp_path / "go-on").exists():
            raise engine.OutOfMemory("not enough memory")
        with store.on("cpu"):
            return inner(one, store, *rest, device="cpu", **settings)

    monkeypatch.setattr(module, "train_folds", on_the_gpu)
    with pytest.raises(engine.OutOfMemory):
        engine.run(experiment, store, out=tmp_path, device="meta")
    assert store.sample(store.ids).equal(hand_store.sample(store.ids))
    (tmp_path / "go-on").touch()
    engine.run(experiment, store, out=tmp_path, device="meta")
    assert store.sample(store.ids).equal(hand_store.sample(store.ids))


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
    pooled, right = path / "predictions.csv", (path / "predictions.csv").read_text()
    pooled.write_text(right.replace(",0.", ",0.9"))  # the deleted fold's were others
    with pytest.warns(UserWarning, match="made by another version or revision"):
        engine.run(experiment, hand_store, out=tmp_path)
    assert len(Run(path).made_by()) == 2
    assert pooled.read_text() == right == Run(path).predictions().to_csv(index=False)


def test_a_fold_of_another_machine_is_no_other_revision(experiment, hand_store, tmp_path):
    path = engine.run(experiment, hand_store, out=tmp_path)
    info = json.loads((note := path / "folds" / "hand-s1" / "fold.json").read_text())
    note.write_text(json.dumps(info | {"platform": "Linux-of-another-node"}))
    shutil.rmtree(path / "folds" / "hand-s0")
    engine.run(experiment, hand_store, out=tmp_path)  # a warning would be an error
    assert len(Run(path).made_by()) == 2


def test_predictions_that_are_no_numbers_stop_the_fold(experiment, hand_store, tmp_path, monkeypatch):
    monkeypatch.setattr(aullm, "predict", lambda *a: torch.full((4, 3), float("nan")))
    with pytest.raises(engine.Diverged, match="fold hand-s0: the probabilities of its test clips are not finite"):
        engine.run(experiment, hand_store, out=tmp_path)
    assert len(Run(next(tmp_path.glob("tiny-*"))).missing) == 3


@pytest.mark.parametrize("together", [1, 3])
@pytest.mark.parametrize("variant", ["backbone", "all", "visual-first"])
def test_a_fold_whose_loss_is_no_number_stops_alone_and_leaves_its_last_good_state(
    experiment, hand_store, tiny_llm, tmp_path, monkeypatch, variant, together
):
    """In epoch 2, the second batch of fold hand-s1: its logits turn to NaN."""
    experiment = dataclasses.replace(experiment, variant=variant, llm=tiny_llm)
    look, seen, states = aullm._Learner.look, [], {}

    def spoilt(self):
        token, targets = look(self)
        if self.fold.name == "hand-s1":
            seen.append(self.fold)
            if len(seen) == 4:  # two batches an epoch
                states["before"] = {k: v.clone() for k, v in trained.state(self.model).items()}
                return token * float("nan"), targets
        return token, targets

    monkeypatch.setattr(aullm._Learner, "look", spoilt)
    message = (
        r"fold hand-s1, epoch 2, step 2: the loss or its gradient is not finite.* lower Recipe.lr .*other folds are"
    )
    with pytest.raises(engine.Diverged, match=message) as caught:
        engine.run(experiment, hand_store, out=tmp_path, side_by_side=together)
    run = Run(next(tmp_path.glob("tiny-*")))
    assert run.missing == ["hand-s1"]
    failure = json.loads((run.path / "failed" / "hand-s1" / "failure.json").read_text())
    assert (failure["epoch"], failure["step"]) == (2, 2)
    assert failure["clips"] == caught.value.where["clips"] and len(failure["clips"]) == 4
    kept = load_file(run.path / "failed" / "hand-s1" / "weights.safetensors")
    if variant != "backbone":
        kept |= load_file(run.path / "failed" / "hand-s1" / "adapter" / "adapter_model.safetensors")
    running = {n for n in kept if "running" in n}  # look() has counted the spoilt batch already; the state has not
    for name, value in states["before"].items():
        if name not in running and "num_batches" not in name:
            assert torch.equal(kept[name], value), name
    assert len(running) == 4 and all(kept[n].isfinite().all() for n in kept)
    monkeypatch.undo()
    engine.run(experiment, hand_store, out=tmp_path)
    assert run.missing == [] and not (run.path / "failed" / "hand-s1").exists()
    undisturbed = Run(engine.run(experiment, hand_store, out=tmp_path / "undisturbed"))
    if variant == "backbone" or together == 1:
        assert folds_of(run.path) == folds_of(undisturbed.path)
    assert (run.predictions()["probability"] - undisturbed.predictions()["probability"]).abs().max() < 1e-4


@pytest.mark.parametrize(
    "part", ["llm.adapter.lora.0.A.weight", "llm.adapter.lora.1.B.weight", "backbone.led.logit_r1"]
)
def test_gradients_beside_the_way_to_the_first_convolution_stop_a_fold_too(
    experiment, hand_store, tiny_llm, monkeypatch, part
):
    """In epoch 2, the first batch of fold hand-s1."""
    whole = dataclasses.replace(experiment, variant="all", llm=tiny_llm)
    look, seen = aullm._Learner.look, []

    def spoilt(self):
        if self.fold.name == "hand-s1":
            seen.append(self.fold)
            if len(seen) == 3:
                self.model.get_parameter(part).register_hook(lambda gradient: gradient * float("nan"))
        return look(self)

    monkeypatch.setattr(aullm._Learner, "look", spoilt)
    folds = protocol.loso(hand_store.table)
    outcomes = aullm.train_folds(whole, hand_store, hand_store.table, folds)
    assert [type(outcome) for outcome in outcomes] == [aullm.Result, aullm.Diverged, aullm.Result]
    assert (outcomes[1].where["epoch"], outcomes[1].where["step"]) == (2, 1)
    assert all(value.isfinite().all() for value in outcomes[1].weights.values())


def test_a_rate_that_is_far_too_large_is_named(experiment, hand_store, tmp_path):
    recipe = dataclasses.replace(experiment.recipe, lr=1e30)
    with pytest.raises(engine.Diverged, match=r"fold hand-s0, epoch \d, step \d: .*; 2 more folds stopped"):
        engine.run(dataclasses.replace(experiment, recipe=recipe), hand_store, out=tmp_path)


TOGETHER = [
    "backbone", "all", "visual-first", "prompt-learning", "random-frozen-llm", "no-prompt", "shuffled-prompt",
    "random-prompt", "unrelated-prompt", "llm-layers-1", "shuffled-frames", "reversed-frames",
    "llm-to-attention", "llm-to-block", "llm-to-mlp", "blind", "subjects-25",
]  # fmt: skip


@pytest.mark.parametrize("variant", TOGETHER)
def test_folds_side_by_side_give_the_numbers_of_one_after_the_other(
    experiment, hand_store, tiny_llm, tmp_path, variant
):
    """Three epochs with every dropout on: probabilities agree to 1e-4 (float32, another order of summation)."""
    whole = dataclasses.replace(experiment, variant=variant, llm=tiny_llm)
    alone = Run(engine.run(whole, hand_store, out=tmp_path / "alone"))
    together = Run(engine.run(whole, hand_store, out=tmp_path / "together", side_by_side=2))
    a, b = alone.predictions(), together.predictions()
    assert (a.drop(columns="probability") == b.drop(columns="probability")).all(axis=None)
    assert (a["probability"] - b["probability"]).abs().max() < 1e-4
    assert (alone.logs()["loss"] - together.logs()["loss"]).abs().max() < 1e-3
    assert a["probability"].nunique() > 10 or variant == "blind"


@pytest.mark.parametrize("variant", TOGETHER[4:])
def test_a_controls_kept_weights_give_its_logits_again(experiment, hand_store, tiny_llm, tmp_path, variant):
    run = Run(
        engine.run(
            dataclasses.replace(experiment, variant=variant, llm=tiny_llm),
            hand_store,
            out=tmp_path,
            keep_weights=True,
            side_by_side=3,
        )
    )
    for fold, rows in run.predictions().groupby("fold"):
        ids = tuple(dict.fromkeys(rows["clip_id"]))
        again = aullm.predict(trained.load(run, fold), hand_store, ids, 6, 4)
        assert again.flatten().tolist() == rows["probability"].tolist()


@pytest.mark.parametrize("llm_batch", [0, 3])
def test_blind_scores_as_chance_does(experiment, hand_store, tiny_llm, tmp_path, llm_batch):
    recipe = dataclasses.replace(experiment.recipe, epochs=6, llm_batch=llm_batch)
    whole = dataclasses.replace(experiment, variant="blind", llm=tiny_llm, recipe=recipe)
    table = Run(engine.run(whole, hand_store, out=tmp_path)).predictions()
    assert (table.groupby(["fold", "au"])["probability"].nunique() == 1).all()
    for _, rows in table.groupby(["fold", "au"]):
        if len(set(rows["label"])) == 2:
            assert roc_auc_score(rows["label"], rows["probability"]) == 0.5
    score = metrics.score(table, interval="none").loc["mean", "f1_macro"]
    chance = {name: scores.loc["mean", "f1_macro"] for name, scores in metrics.trivial(table).items()}
    assert score <= max(chance["always-negative"], chance["always-positive"], chance["base-rate random"])


def test_the_llm_in_pieces_gives_the_same_gradients(experiment, hand_store, tiny_llm, tmp_path):
    """Recipe.llm_batch saves memory and nothing else: without LoRA's dropout the numbers are the same."""
    runs_of = {}
    for size in (0, 1, 3):
        recipe = dataclasses.replace(experiment.recipe, llm_batch=size, lora_dropout=0.0)
        one = dataclasses.replace(experiment, variant="all", llm=tiny_llm, recipe=recipe)
        runs_of[size] = Run(engine.run(one, hand_store, out=tmp_path)).predictions()["probability"]
    for size in (1, 3):
        assert (runs_of[size] - runs_of[0]).abs().max() < 1e-4


def test_too_little_memory_shrinks_what_it_may_and_says_what_to_lower(
    experiment, hand_store, tiny_llm, tmp_path, monkeypatch
):
    whole = dataclasses.replace(experiment, variant="all", llm=tiny_llm)
    inner, asked = aullm.train_folds, []

    def small(*a, llm_batch=None, **k):
        asked.append((len(a[3]), llm_batch))
        if len(a[3]) > 1 or (llm_batch or 4) > 1:
            raise engine.OutOfMemory("not enough memory; lower Recipe.llm_batch")
        return inner(*a, llm_batch=llm_batch, **k)

    monkeypatch.setattr(aullm, "train_folds", small)
    with (
        pytest.warns(UserWarning, match="1 folds side by side from now on"),
        pytest.raises(engine.OutOfMemory, match="llm_batch"),
    ):
        engine.run(whole, hand_store, out=tmp_path, side_by_side=2)
    assert asked == [(2, None), (1, None)]
    asked.clear()
    with (
        pytest.warns(UserWarning, match="2 clips through the LLM at a time from now on"),
        pytest.warns(UserWarning, match="1 clips through the LLM at a time from now on"),
    ):
        path = engine.run(whole, hand_store, out=tmp_path, side_by_side=1, shrink=True)
    assert Run(path).missing == [] and asked == [(1, None), (1, 2), (1, 1), (1, 1), (1, 1)]


def test_the_allocators_refusal_is_explained(experiment, hand_store, monkeypatch):
    def refuse(*a):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB")

    monkeypatch.setattr(aullm, "_step", refuse)
    folds = protocol.loso(hand_store.table)
    message = (
        r"lower the number of folds side by side \(now 2\), then Recipe.llm_batch .* then Recipe.batch_size \(now 4"
    )
    with pytest.raises(engine.OutOfMemory, match=message):
        aullm.train_folds(experiment, hand_store, hand_store.table, folds[:2])


def test_kept_weights_give_the_same_logits_to_the_bit(experiment, hand_store, tiny_llm, tmp_path):
    whole = dataclasses.replace(experiment, variant="all", llm=tiny_llm)
    run = Run(engine.run(whole, hand_store, out=tmp_path, keep_weights=True))
    model = trained.load(run, "hand-s1")
    assert not model.training
    rows = run.predictions().query("fold == 'hand-s1'")
    ids = tuple(dict.fromkeys(rows["clip_id"]))
    again = aullm.predict(model, hand_store, ids, whole.recipe.frames, whole.recipe.batch_size)
    assert again.flatten().tolist() == rows["probability"].tolist()
    names = set(load_file(run.path / "folds" / "hand-s1" / "weights.safetensors"))
    statistics = {n for n in names if n.endswith(("running_mean", "running_var", "num_batches_tracked"))}
    others = {n for n, p in model.named_parameters() if "adapter" not in n}
    assert names == others | statistics and len(list(model.llm.adapter.parameters())) == 4
    adapter = run.path / "folds" / "hand-s2" / "adapter" / "adapter_model.safetensors"
    adapter.write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"adapter_model.safetensors: damaged"):
        trained.load(run, "hand-s2")
    (path := run.path / "folds" / "hand-s0" / "weights.safetensors").write_bytes(b"no weights")
    with pytest.raises(ValueError, match=r"weights.safetensors: damaged"):
        trained.load(run, "hand-s0")
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no trained weights here; train with keep_weights=True"):
        trained.load(run, "hand-s0")


@pytest.mark.parametrize("out", ["runs/results", "/elsewhere", "runs/pooled"])
def test_a_runs_llm_is_found_from_any_folder(experiment, hand_store, tiny_llm, tmp_path, monkeypatch, out):
    """Also where another one lies under the same relative path, and after the whole tree was moved."""
    at = tmp_path / "at"
    shutil.copytree(tiny_llm, at / "runs" / "llm" / "tiny")
    (at / "runs" / "pooled" / "pool").mkdir(parents=True)
    monkeypatch.chdir(at)
    out = str(tmp_path / out[1:]) if out[0] == "/" else out
    whole = dataclasses.replace(experiment, variant="all", llm="runs/llm/tiny")
    path = Path(engine.run(whole, hand_store, out=out, keep_weights=True)).absolute()
    expected = trained.load(path, "hand-s1")(hand_store.sample(hand_store.ids[:2]))
    elsewhere = tmp_path / "elsewhere"
    tiny.build_tiny(elsewhere / "runs" / "llm" / "tiny", hidden=32, layers=1, heads=2, kv_heads=1, seed=5)
    monkeypatch.chdir(elsewhere)
    if at in path.parents:
        at.rename(tmp_path / "moved")
        path = tmp_path / "moved" / path.relative_to(at)
    fold = path / "folds" / "hand-s1" / "weights.safetensors"
    for model in (trained.load(path, "hand-s1"), *trained.ensemble(fold).models()):
        assert torch.equal(model(hand_store.sample(hand_store.ids[:2])), expected)
    assert Run(path).experiment.llm == "runs/llm/tiny"  # as it was given: the key does not depend on the place


def test_an_llm_that_lies_elsewhere_is_the_same_run(experiment, hand_store, tiny_llm, tmp_path):
    """Its weights say what it is: nothing is trained again, and what is missing with the LLM where it lies now."""
    places = [tmp_path / "a" / "llm", tmp_path / "b" / "llm"]
    for place in places:
        shutil.copytree(tiny_llm, place)
    first, second = (dataclasses.replace(experiment, variant="all", llm=str(place)) for place in places)
    path = engine.run(first, hand_store, out=tmp_path, keep_weights=True)
    shutil.rmtree(Run(path).fold("hand-s1"))
    shutil.rmtree(places[0])
    before = folds_of(path)
    assert engine.run(second, hand_store, out=tmp_path, keep_weights=True) == path
    run = Run(path)
    assert run.missing == [] and run.experiment == second and before.items() <= folds_of(path).items()
    assert torch.isfinite(trained.load(run, "hand-s0")(hand_store.sample(hand_store.ids[:2]))).all()
    tiny.build_tiny(tmp_path / "c" / "llm", hidden=32, layers=1, heads=2, kv_heads=1, seed=5)
    third = dataclasses.replace(first, llm=str(tmp_path / "c" / "llm"))
    assert engine.run(third, hand_store, out=tmp_path) != path


def test_folds_that_another_process_trained_meanwhile_are_not_trained_again(
    experiment, hand_store, tmp_path, monkeypatch
):
    train, trained_here = aullm.train_folds, []

    def slow(one, store, table, folds, **settings):
        trained_here.extend(fold.name for fold in folds)
        if len(trained_here) == 1:
            engine.run(one, store, out=tmp_path / "other")
            other = Run(next((tmp_path / "other").glob("tiny-*")))
            shutil.copytree(other.fold("hand-s2"), Run(next(tmp_path.glob("tiny-*"))).fold("hand-s2"))
            del trained_here[1:]
        return train(one, store, table, folds, **settings)

    monkeypatch.setattr(aullm, "train_folds", slow)
    assert Run(engine.run(experiment, hand_store, out=tmp_path)).missing == []
    assert trained_here == ["hand-s0", "hand-s1"]


OPENED_BY_ANYBODY = """
import sys, torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoModel
checkpoint, adapter, inputs, outputs = sys.argv[1:]
model = PeftModel.from_pretrained(AutoModel.from_pretrained(checkpoint, dtype=torch.float32), adapter).eval()
with torch.no_grad():
    hidden = model(inputs_embeds=load_file(inputs)["embeds"]).last_hidden_state
assert "aullm_lib" not in sys.modules
save_file({"hidden": hidden}, outputs)
"""


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_peft_alone_opens_a_fold_and_gives_the_same_hidden_states_to_the_bit(
    experiment, hand_store, tiny_llm, tmp_path, kind
):
    recipe = dataclasses.replace(experiment.recipe, adapter=kind)
    whole = dataclasses.replace(experiment, variant="all", llm=tiny_llm, recipe=recipe)
    folds = protocol.loso(hand_store.table)[:2]
    run = Run(engine.run(whole, hand_store, out=tmp_path, keep_weights=True, folds=folds, side_by_side=2))
    together = json.loads((run.path / "folds" / run.folds[0] / "fold.json").read_text())["side_by_side"]
    assert together == (1 if kind == "dora" else 2)  # peft's own forward takes one fold at a time
    folder, embeds = run.path / "folds" / run.folds[0], torch.randn(2, 5, 32)
    files = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in (folder / "adapter").iterdir()
        if "json" not in path.name
    }
    assert (folder / "adapter" / "adapter_config.json").is_file() and files["adapter_model.safetensors"] == 0o644
    save_file({"embeds": embeds}, tmp_path / "in")
    command = [sys.executable, "-c", OPENED_BY_ANYBODY, tiny_llm, folder / "adapter", tmp_path / "in", tmp_path / "out"]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    reasoner = trained.load(run, run.folds[0]).llm
    assert all(part["B"].weight.abs().max() > 0 for part in reasoner.adapter.lora)
    with torch.no_grad(), applied(reasoner.llm, [reasoner.adapter], [2]):
        want = reasoner.llm(inputs_embeds=embeds).last_hidden_state
    assert torch.equal(load_file(tmp_path / "out")["hidden"], want)


def test_a_trace_ends_in_the_predictions_and_changes_nothing(experiment, hand_store, tmp_path):
    plain = Run(engine.run(experiment, hand_store, out=tmp_path / "plain"))
    traced = Run(engine.run(experiment, hand_store, out=tmp_path / "traced", trace=True))
    assert folds_of(plain.path) == {k: v for k, v in folds_of(traced.path).items() if k.name != "trace.csv"}
    trace = traced.trace()
    assert trace.groupby("epoch").size().to_dict() == {1: 36, 2: 36, 3: 36}
    last = trace[trace["epoch"] == 3].set_index(["clip_id", "au"])["probability"]
    want = traced.predictions().set_index(["clip_id", "au"])["probability"]
    assert last.loc[want.index].tolist() == want.tolist()
    with pytest.raises(FileNotFoundError, match=r"trace.csv"):
        plain.trace()


def test_interrupted_by_hand_it_says_how_to_go_on(experiment, hand_store, tmp_path, monkeypatch):
    inner = aullm.train_folds

    def stop(experiment, store, table, folds, **options):
        if folds[0].name == "hand-s1":
            raise KeyboardInterrupt
        return inner(experiment, store, table, folds, **options)

    monkeypatch.setattr(aullm, "train_folds", stop)
    with pytest.raises(KeyboardInterrupt) as caught:
        engine.run(experiment, hand_store, out=tmp_path)
    assert caught.value.__notes__ == ["1 of 3 folds are finished and kept; the same call goes on with the others"]


def test_every_epoch_leaves_a_line_while_a_fold_trains(experiment, hand_store, tmp_path, monkeypatch):
    lines = []
    write = Run.write_fold

    def look(self, name, result, *a, **k):
        lines.append((self.path / "progress" / f"{name}.txt").read_text().splitlines())
        write(self, name, result, *a, **k)

    monkeypatch.setattr(Run, "write_fold", look)
    path = engine.run(experiment, hand_store, out=tmp_path)
    assert [len(part) for part in lines] == [3, 3, 3]
    assert all(re.fullmatch(r"\d{4}-.* epoch \d  loss [\d.]+", line) for part in lines for line in part)
    assert not (path / "progress").exists()


def test_a_fold_with_one_clip_and_a_subject_without_positives(experiment, hand_store, tmp_path):
    table = hand_store.table.copy()
    table.loc[table["subject"] == "s1", ["AU1", "AU4", "AU12"]] = 0
    table = table[(table["subject"] != "s2") | (table["clip"] == "c3")]
    path = engine.run(experiment, hand_store, table, out=tmp_path)
    assert Run(path).predictions().groupby("fold")["clip_id"].nunique().to_dict() == {
        "hand-s0": 4, "hand-s1": 4, "hand-s2": 1
    }  # fmt: skip
    single = dataclasses.replace(experiment, recipe=dataclasses.replace(experiment.recipe, batch_size=1))
    assert Run(engine.run(single, hand_store, table, out=tmp_path)).missing == []


def test_training_leaves_the_global_random_stream_alone(experiment, hand_store):
    torch.manual_seed(7)
    want = torch.rand(3)
    torch.manual_seed(7)
    aullm.train_folds(experiment, hand_store.to("cpu"), hand_store.table, protocol.loso(hand_store.table)[:1])
    assert torch.equal(torch.rand(3), want)


@pytest.mark.parametrize("together", [1, 2])
def test_an_llm_with_dropout_of_its_own_does_not_drop_out(experiment, hand_store, tiny_llm, together):
    """OPT's 0.1 would draw from the global stream: two trainings with one seed would differ."""
    experiment = dataclasses.replace(experiment, variant="all", llm=tiny_llm)
    folds, found = protocol.loso(hand_store.table)[:together], []
    for dropout in (0.1, 0.1, 0.0):
        shape = {"vocab_size": 512, "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 64}
        shape |= {"num_hidden_layers": 2, "num_attention_heads": 2, "dropout": dropout}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = OPTModel(OPTConfig(**shape)).eval().requires_grad_(False)
        pair = (model, AutoTokenizer.from_pretrained(tiny_llm))
        results = aullm.train_folds(experiment, hand_store, hand_store.table, folds, llm=pair)
        found.append([(one.predictions["probability"].tolist(), one.log["loss"].tolist()) for one in results])
    assert found[0] == found[1] == found[2]
    assert len(set(found[0][0][0])) > 6


@pytest.mark.parametrize("llm_batch", [0, 3])
@pytest.mark.parametrize("reduction", ["sum", "batchmean", "aumean", "mean"])
def test_a_steps_gradients_are_those_of_the_reduced_loss(experiment, hand_store, tiny_llm, reduction, llm_batch):
    recipe = dataclasses.replace(
        experiment.recipe, loss="asl", reduction=reduction, dropout=0.0, lora_dropout=0.0, jitter=False, batch_size=8
    )
    one = dataclasses.replace(experiment, recipe=recipe, variant="all", llm=tiny_llm)
    table = hand_store.table
    learner = aullm._Learner(one, recipe, hand_store, table, protocol.loso(table)[0], None, torch.device("cpu"))
    learner.shuffle()
    model, rows = copy.deepcopy(learner.model), learner.batches[0]
    learner.draw(0)
    aullm._step([learner], llm_batch)
    loss = asl.build("asl", reduction=reduction)
    loss(model(hand_store.sample(learner.rows[rows], recipe.frames)), learner.targets[rows]).backward()
    want = [p.grad for p in model.parameters() if p.requires_grad]
    largest = max(float(grad.abs().max()) for grad in want)
    for got, grad in zip(learner.parameters, want, strict=True):
        assert float((got.grad - grad).abs().max()) < 1e-4 * largest


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_a_refusal_of_memory_says_what_to_lower(error):
    why = str(error) or "MemoryError"
    with pytest.raises(engine.OutOfMemory, match=f"not enough memory; lower this. {why}"), explained_memory("this"):
        raise error


def test_a_checkpoint_that_lacks_a_file_is_refused_before_training(experiment, hand_store, tiny_llm, tmp_path):
    shutil.copytree(tiny_llm, tmp_path / "half")
    (tmp_path / "half" / "model.safetensors").unlink()
    one = dataclasses.replace(experiment, variant="all", llm=str(tmp_path / "half"))
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        engine.check(one, hand_store)


def test_labels_follow_the_ids(hand_store):
    ids = tuple(hand_store.ids[::-1])
    got = aullm.labels(hand_store.table, ids, (12, 28, 1))
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


def test_the_llms_dtype_is_that_of_the_device_unless_the_recipe_says_otherwise(
    experiment, hand_store, tmp_path, tiny_llm
):
    fold = protocol.loso(hand_store.table)[:1]
    for variant, change, stored in (
        ("all", {}, "float32"),
        ("all", {"llm_dtype": "bfloat16"}, "bfloat16"),
        ("no-llm", {}, None),
    ):
        recipe = dataclasses.replace(experiment.recipe, epochs=1, **change)
        one = dataclasses.replace(experiment, variant=variant, llm=tiny_llm, recipe=recipe)
        path = engine.run(one, hand_store, out=tmp_path, folds=fold)
        note = json.loads((path / "folds" / fold[0].name / "fold.json").read_text())
        assert note.get("llm_dtype") == stored
    for_gpu = aullm.shared(dataclasses.replace(experiment, variant="all", llm=tiny_llm), {"llm": ""}, "cuda")
    assert for_gpu["llm"][0].dtype == torch.float16


def test_the_genuine_llm_trains_from_its_name_to_stored_weights(genuine_llm, hand_store, tmp_path):
    ids = [f"hand/s{s}/c{c}" for s in range(2) for c in (1, 3)]
    recipe = Recipe.released(size=32, epochs=4, batch_size=2, lr=1e-3, efp_hidden=16, jitter=False, dropout=0.0)
    experiment = Experiment(name="genuine", aus=AUS, recipe=recipe, llm=genuine_llm)
    run = Run(engine.run(experiment, hand_store, hand_store.table.loc[ids], out=tmp_path, keep_weights=True))
    assert run.info["data"]["llm"] == hub.identity(genuine_llm)
    losses = run.logs().pivot(index="epoch", columns="fold", values="loss")
    assert (losses.iloc[-1] < losses.iloc[0]).all()
    model, predictions = trained.load(run, run.folds[0]), run.predictions()
    test = predictions[predictions["fold"] == run.folds[0]]
    again = aullm.predict(model, hand_store, tuple(test["clip_id"].unique()), recipe.frames, recipe.batch_size)
    assert again.flatten().tolist() == test["probability"].tolist()


def test_an_au_that_the_tested_release_does_not_code_is_refused_before_training(experiment, hand_store, tmp_path):
    table = hand_store.table.assign(AU12=float("nan"))
    with pytest.raises(ValueError, match="hand code no AU12, which could not be scored: leave it out"):
        engine.run(experiment, hand_store, table, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
