"""The backend "ray": the local backend's numbers, and nothing lost or done twice when workers and nodes die."""

import dataclasses
import importlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import torch
from helpers import make_table
from tqdm.auto import tqdm

from aullm_lib import engine, preprocess, protocol
from aullm_lib.engine import aullm, worker
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Run

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # nodes on 127.0.0.1; read when ray is imported
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'aullm-lib[cluster]'")
Cluster = importlib.import_module("ray.cluster_utils").Cluster
cluster = importlib.import_module("aullm_lib.engine.ray_tasks")

QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
ONE = {"num_cpus": 1}
FOLDS = [f"hand-s{i}" for i in range(5)]


@pytest.fixture(scope="module")
def nodes():
    """A cluster of two nodes with one CPU each, started on the first test that asks for it."""
    there = Cluster()
    settings = {"num_cpus": 1, "node_ip_address": "127.0.0.1", "include_dashboard": False}
    there.add_node(**settings, _system_config=QUICK)
    there.add_node(**settings)
    ray.init(address=there.address, log_to_driver=False, logging_level="ERROR")  # one job: workers serve many tests
    yield there
    ray.shutdown()
    there.shutdown()
    gone_by = time.monotonic() + 10
    while (left := ray_processes()) and time.monotonic() < gone_by:
        time.sleep(0.2)
    assert not left


@pytest.fixture(autouse=True)
def one_thread():
    """The local backend computes with as many threads as the tasks have CPUs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cluster")
    return preprocess.build(make_table(folder / "hand", subjects=5), folder / "store", size=32)


@pytest.fixture(scope="module")
def one() -> Experiment:
    recipe = Recipe.released(size=32, epochs=3, batch_size=4, lr=1e-3, efp_hidden=16)
    return Experiment(name="tiny", aus=(1, 4, 12), recipe=recipe, variant="backbone")


@pytest.fixture(scope="module")
def expected(one, store, tmp_path_factory):
    """What the local backend writes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    path = engine.run(one, store, out=tmp_path_factory.mktemp("local"))
    torch.set_num_threads(threads)
    return files_of(path)


def files_of(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*.csv"))}


def ray_processes() -> list[str]:
    children = psutil.Process().children(recursive=True)
    return [child.name() for child in children if "ray" in child.name() or "gcs" in child.name()]


def spied(monkeypatch, log: Path, before):
    """Every training in a worker adds "begin <fold> <node>" and "end <fold> <node>" to ``log``.

    before: called in the worker after "begin" with the fold's name and how often its training has begun by now.
    """
    inner = cluster._task

    def task(job, names, here, threads):
        real, look, node = aullm.train_folds, aullm._Learner.look, ray.get_runtime_context().get_node_id()

        def note(event, fold):
            with log.open("a") as file:
                file.write(f"{event} {fold} {node}\n")

        def train_folds(experiment, store, table, folds, **settings):
            for fold in folds:
                note("begin", fold.name)
                before(fold.name, log.read_text().count(f"begin {fold.name} "))
            outcome = real(experiment, store, table, folds, **settings)
            for fold in folds:
                note("end", fold.name)
            return outcome

        aullm.train_folds = train_folds
        try:
            return inner(job, names, here, threads)
        finally:
            aullm.train_folds, aullm._Learner.look = real, look  # the worker goes on to other tests

    monkeypatch.setattr(cluster, "_task", task)


def noted(log: Path, event: str) -> list[tuple[str, str]]:
    """(fold, node) of each "begin" or "end", in order."""
    lines = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [(fold, node) for what, fold, node in lines if what == event]


def folds_of(pairs) -> list[str]:
    return sorted(fold for fold, _ in pairs)


def test_started_here_it_gives_the_local_backends_bytes_and_leaves_nothing_behind(
    one, store, expected, tmp_path, monkeypatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)
    assert files_of(path) == expected
    assert not ray.is_initialized() and not (path / "progress").exists()
    deadline = time.monotonic() + 10
    while ray_processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not ray_processes()


def test_a_killed_worker_is_replaced_and_its_fold_alone_begins_again(
    one, store, expected, nodes, tmp_path, monkeypatch
):
    def kill(fold, times):
        if fold == "hand-s1" and times == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    spied(monkeypatch, log := tmp_path / "log", kill)
    path = engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)
    assert files_of(path) == expected
    assert folds_of(noted(log, "begin")) == sorted([*FOLDS, "hand-s1"])
    assert folds_of(noted(log, "end")) == FOLDS


def test_workers_that_keep_dying_end_the_run_with_a_word(one, store, expected, nodes, tmp_path, monkeypatch):
    def kill(fold, times):
        if fold == "hand-s4":
            os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(cluster, "RETRIES", 1)
    with monkeypatch.context() as patch:
        spied(patch, log := tmp_path / "log", kill)
        with pytest.raises(RuntimeError, match="fold hand-s4: its worker or node died 2 times; finished folds are"):
            engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)
    assert folds_of(noted(log, "begin")).count("hand-s4") == 2
    assert files_of(engine.run(one, store, out=tmp_path)) == expected  # any backend goes on


def test_too_little_memory_is_tried_elsewhere(one, store, expected, nodes, tmp_path, monkeypatch):
    def short(fold, times):
        if fold == "hand-s0" and times == 1:
            raise engine.OutOfMemory("not enough memory; lower Recipe.llm_batch")

    spied(monkeypatch, log := tmp_path / "log", short)
    assert files_of(engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)) == expected
    first, second = (node for fold, node in noted(log, "begin") if fold == "hand-s0")
    assert first != second
    assert folds_of(noted(log, "end")) == FOLDS


def test_too_little_memory_ends_the_run_at_the_limit_and_keeps_what_is_finished(
    one, store, expected, nodes, tmp_path, monkeypatch
):
    def short(fold, times):
        if fold == "hand-s1" and not enough.exists():
            raise engine.OutOfMemory("not enough memory; lower Recipe.llm_batch")

    spied(monkeypatch, log := tmp_path / "log", short)
    enough = tmp_path / "enough"
    with pytest.raises(engine.OutOfMemory, match="lower Recipe"):
        engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)
    tried = [node for fold, node in noted(log, "begin") if fold == "hand-s1"]
    assert len(tried) == 1 + cluster.RETRIES and tried[0] != tried[1]
    done = Run(next(tmp_path.glob("tiny-*"))).done  # the others were ended with it, in training or before it
    assert "hand-s1" not in done
    enough.touch()
    assert files_of(engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)) == expected
    begun = folds_of(noted(log, "begin"))
    assert all(begun.count(fold) == 1 for fold in done)


def test_anything_else_ends_all_at_once_and_keeps_what_is_finished(one, store, expected, nodes, tmp_path, monkeypatch):
    def wrong(fold, times):
        if fold == "hand-s1":
            raise TypeError("no such setting")
        if fold in FOLDS[2:]:
            time.sleep(60)

    real = ray.cancel

    def cancel(ref, **settings):
        assert not ray.wait([ref], timeout=0)[0], "Ray may abort where an ended task is cancelled"
        real(ref, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(ray, "cancel", cancel)
        spied(patch, log := tmp_path / "log", wrong)
        began = time.monotonic()
        with pytest.raises(TypeError, match="no such setting"):
            engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)
        assert time.monotonic() - began < 40
    assert folds_of(noted(log, "begin")).count("hand-s1") == 1
    assert not set(folds_of(noted(log, "end"))) & set(FOLDS[1:])
    assert files_of(engine.run(one, store, out=tmp_path)) == expected


def test_interrupted_it_takes_its_tasks_along(one, store, nodes, tmp_path, monkeypatch):
    spied(monkeypatch, log := tmp_path / "log", lambda fold, times: time.sleep(60))
    look = cluster._Progress.look

    def interrupt(self):
        if noted(log, "begin"):
            raise KeyboardInterrupt
        look(self)

    monkeypatch.setattr(cluster._Progress, "look", interrupt)
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt) as caught:
        engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)
    assert time.monotonic() - began < 40
    assert caught.value.__notes__ == ["0 of 5 folds are finished and kept; the same call goes on with the others"]


@pytest.mark.parametrize(("variant", "together"), [("backbone", 1), ("all", 2)])
def test_a_fold_whose_loss_is_no_number_comes_back_while_the_others_finish(
    one, store, tiny_llm, nodes, tmp_path, monkeypatch, variant, together
):
    one = dataclasses.replace(one, variant=variant, llm=tiny_llm)

    def spoil(fold, times):
        look = aullm._Learner.look

        def spoilt(self):
            token, targets = look(self)
            return token * float("nan") if self.fold.name == "hand-s2" else token, targets

        aullm._Learner.look = spoilt

    with monkeypatch.context() as patch:
        spied(patch, log := tmp_path / "log", spoil)
        with pytest.raises(engine.Diverged, match=r"fold hand-s2, epoch 1, step 1: .*The other folds are") as caught:
            engine.run(one, store, out=tmp_path, backend="ray", resources=ONE, side_by_side=together)
    run = Run(next(tmp_path.glob("tiny-*")))
    assert run.missing == ["hand-s2"] and (run.path / "failed" / "hand-s2" / "failure.json").is_file()
    assert caught.value.where["fold"] == "hand-s2" and caught.value.weights
    assert folds_of(noted(log, "begin")) == FOLDS


def test_what_no_node_has_or_sees_is_refused_at_once(one, store, nodes, tmp_path):
    for resources, message in (
        ({"num_gpus": 0.5}, r"resources: no node has what each task is to hold, {'num_gpus': 0.5, 'num_cpus': 1}"),
        ({"num_cpus": 2}, r"no node has .*; the nodes have \[{'CPU': 1.0}, {'CPU': 1.0}\]"),
        ({"tpu": 1}, "no node has"),
        ({"num_cpus": -1}, "resources: num_cpus is -1; expected a number, 0 or more"),
        ({"num_cpus": "1"}, "resources: num_cpus is '1'; expected a number"),
    ):
        with pytest.raises(ValueError, match=message):
            engine.run(one, store, out=tmp_path, backend="ray", resources=resources)
    with pytest.raises(ValueError, match="num_gpus is 0, but the device is a GPU"):
        engine.run(one, store, out=tmp_path, backend="ray", device="cuda", resources={"num_gpus": 0})
    path = next(tmp_path.glob("tiny-*"))
    folds = tuple(protocol.loso(store.table))
    job = worker.Job(str(path), str(tmp_path / "not-mounted"), store.table, folds, "cpu", 2, False, False)
    with pytest.raises(FileNotFoundError, match=r"not-mounted/store.json is not there on the node .* all nodes share"):
        cluster.run(job, tqdm(disable=True), ONE)


def test_a_node_that_dies_in_mid_run_loses_nothing_and_nothing_is_done_twice(
    one, store, expected, nodes, tmp_path, monkeypatch
):
    ray.shutdown()
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)  # it connects by itself, and leaves the cluster running
    (node,) = nodes.worker_nodes

    def both(fold, times):
        while len({line.split()[2] for line in log.read_text().splitlines()}) < 2:
            time.sleep(0.05)
        time.sleep(1.5)

    log = tmp_path / "log"
    spied(monkeypatch, log, both)

    def remove():
        while node.node_id not in {where for _, where in noted(log, "begin")}:
            time.sleep(0.05)
        nodes.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=remove)
    killer.start()
    path = engine.run(one, store, out=tmp_path, backend="ray", resources=ONE)
    killer.join()
    assert files_of(path) == expected
    begun, ended = noted(log, "begin"), noted(log, "end")
    assert folds_of(ended) == FOLDS
    lost = [fold for fold, where in begun if where == node.node_id and (fold, where) not in ended]
    assert len(lost) == 1 and folds_of(begun) == sorted([*FOLDS, *lost])
    assert Run(path).missing == [] and not list(path.glob("folds/.*"))
    assert not ray.is_initialized() and nodes.head_node.any_processes_alive()


def test_the_bar_follows_the_progress_files(one, tmp_path):
    data = {"fingerprint": "x", "clips": 2, "dataset": "hand"}
    run = Run.open(tmp_path, one, [protocol.Fold("a", ("x",), ("y",)), protocol.Fold("b", ("y",), ("x",))], data)
    run.note_epoch("a", 3, 0.5)  # of an earlier call
    with tqdm(total=6, file=io.StringIO()) as bar:
        progress = cluster._Progress(run, bar)
        progress.look()
        assert bar.n == 0
        run.note_epoch("a", 1, 0.5)
        run.note_epoch("b", 2, 0.25)
        progress.look()
        assert bar.n == 3 and "loss" in bar.postfix
        run.note_epoch("b", 1, 0.75)  # its worker died
        progress.look()
        assert bar.n == 2 and bar.postfix == "b loss 0.750"
        (run.path / "progress" / "a.txt").unlink()  # finished between two looks
        progress.look()
        progress.done(["a", "b"])
        assert bar.n == 6


def test_cpus_are_shared_out_once(monkeypatch):
    def job(device):
        return worker.Job("", "", None, (), device, 1, False, False)

    def wanted(device, tasks, resources=()):
        return cluster._wanted(job(device), tasks, dict(resources))

    monkeypatch.setattr(cluster, "_nodes", lambda: [{"Resources": {"CPU": 8.0, "GPU": 2.0}}] * 2)
    assert wanted("cpu", 26) == ({"num_gpus": 0, "num_cpus": 1}, False)
    assert wanted("cpu", 4) == ({"num_gpus": 0, "num_cpus": 4}, False)
    assert wanted("cpu", 1) == ({"num_gpus": 0, "num_cpus": 8}, False)
    assert wanted("cuda:1", 4) == ({"num_gpus": 1, "num_cpus": 1}, True)
    assert wanted("cpu", 4, {"num_gpus": 0.5, "num_cpus": 3}) == ({"num_gpus": 0.5, "num_cpus": 3}, True)


def test_a_diverged_fold_survives_the_way_between_processes():
    error = engine.Diverged("no number", {"fold": "a"}, {"w": torch.ones(2)})
    back = ray.cloudpickle.loads(ray.cloudpickle.dumps(error))
    assert (str(back), back.where, back.weights["w"].tolist()) == ("no number", {"fold": "a"}, [1.0, 1.0])


def test_without_ray_the_way_to_get_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'aullm-lib\[cluster\]'"):
        importlib.reload(cluster)


STARTED = """
import os, sys, tempfile
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from aullm_lib.engine import ray_tasks
with ray_tasks._connected():
    print([int(node["Resources"]["CPU"]) for node in ray_tasks.ray.nodes()])
"""


def test_ray_starts_with_the_jobs_cores_where_the_temporary_folder_has_a_long_name(tmp_path):
    """Batch systems set a long TMPDIR, below which no socket's path fits, and give a job a part of a node."""
    folder = tmp_path / ("scratch" * 10) / "slurm_jobdir"
    folder.mkdir(parents=True)
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    environment |= {"TMPDIR": str(folder), "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    command = [sys.executable, "-c", STARTED]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout == "[1]\n", done.stderr[-2000:]
    done = subprocess.run(command, capture_output=True, text=True, env=environment | {"RAY_TMPDIR": str(folder)})
    assert "too long a path for Ray's sockets; set RAY_TMPDIR=/tmp" in done.stderr
