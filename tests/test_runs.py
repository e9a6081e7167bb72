"""Run folders from elsewhere: every damaged or foreign value is named, and no name leads out of the folder."""

import copy
import dataclasses
import errno
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from helpers import AUS
from hypothesis import given
from hypothesis import strategies as st

from aullm_lib import engine, protocol, runs, trained
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import Recipe
from aullm_lib.report import results
from aullm_lib.runs import Result, Run
from aullm_lib.support import files

BAD = [None, [], {}, "", "no such thing", "\ud800", -1, 0.5, True, float("inf"), float("nan"), 10**400, 10**30, 1e308]
DATA = {"fingerprint": "x", "clips": 12, "dataset": "hand"}


@pytest.fixture(scope="module")
def genuine(hand_store, tmp_path_factory):
    """A run with weights, of two folds."""
    recipe = Recipe.released(size=32, epochs=1, batch_size=4, lr=1e-3)
    experiment = Experiment(name="tiny", aus=AUS, recipe=recipe, variant="backbone")
    folds, out = protocol.loso(hand_store.table)[:2], tmp_path_factory.mktemp("genuine")
    return Run(engine.run(experiment, hand_store, out=out, folds=folds, keep_weights=True))


@pytest.fixture
def run(genuine, tmp_path):
    """A copy of it, to be damaged."""
    return Run(shutil.copytree(genuine.path, tmp_path / "runs" / genuine.path.name))


def read(path):
    """All that is read of a run by those who show results and make predictions."""
    run = Run(path)
    for result in results.load(path.parent):
        results.made_by([result])
        results.in_words([result])
        results.line(results.made_by([result]))
    models = trained.ensemble(run, folds=run.folds[:1])
    models.about(), models.alignment(), models.fps, run.costs(), run.seconds(), run.logs(), run.probe()
    return run.predictions().to_csv()


def fields(value, path=()):
    """The place of every field, however deep."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in pairs:
        yield (*path, key)
        yield from fields(item, (*path, key))


def changed(value, path, new):
    """The value with another one, or (new is ``fields``) nothing, at a place."""
    value = copy.deepcopy(value)
    inside = value
    for key in path[:-1]:
        inside = inside[key]
    if new is fields:
        del inside[path[-1]]
    else:
        inside[path[-1]] = new
    return value


def complaints(path, file, expected):
    """Of every field of a JSON file, what happens with every bad value: nothing, or a message naming file and field."""
    value, wrong = json.loads(file.read_text()), []
    for place in fields(value):
        before = value
        for key in place:
            before = before[key]
        for new in [*BAD, [before], {"a": before}, fields]:
            file.write_text(json.dumps(changed(value, place, new)))
            names = [key for key in place if isinstance(key, str)][-1 if "folds" not in place else 0 :]
            try:
                if read(path) == expected:
                    continue
                problem = "other predictions"
            except ValueError as error:
                older = place == ("format",) and isinstance(error, runs.OldFormat)
                named = any(name in str(error).lower() for name in names)
                if older or (named and str(file.parent) in str(error) and file.name in str(error)):
                    continue
                problem = f"ValueError: {error}"
            except Exception as error:  # whatever it is, it is a finding
                problem = f"{type(error).__name__}: {error}"
            wrong.append(f"{place} = {new!r:.60}: {problem[:200]}")
    file.write_text(json.dumps(value))
    return wrong


def test_every_damaged_field_of_run_json_is_named_with_its_file(run):
    assert complaints(run.path, run.path / "run.json", read(run.path)) == []


def test_every_damaged_field_of_fold_json_is_named_with_its_file(run):
    assert complaints(run.path, run.fold(run.folds[0]) / "fold.json", read(run.path)) == []


FILES = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "text": b'"run"',
    "cut": None,
    "UTF-16": None,
    "binary": bytes(range(256)),
    "deep": b"[" * 200_000,
    "deep objects": b'{"format": 2, "a": ' + b'{"a":' * 900 + b"1" + b"}" * 901,
    "many digits": b'{"format": ' + b"1" * 10_000 + b"}",
}


@pytest.mark.parametrize("damage", FILES)
@pytest.mark.parametrize("name", ["run.json", "fold.json"])
def test_a_file_that_is_something_else_is_named(run, name, damage):
    file = run.path / name if name == "run.json" else run.fold(run.folds[0]) / name
    content = file.read_bytes()
    damaged = {"cut": content[: len(content) // 2], "UTF-16": content.decode().encode("utf-16")}
    file.write_bytes(FILES[damage] if FILES[damage] is not None else damaged[damage])
    with pytest.raises(ValueError, match=re.escape(str(file))):
        read(run.path)


def test_a_byte_order_mark_is_passed_over_and_an_endless_file_is_not_read(run):
    file, expected = run.path / "run.json", read(run.path)
    content = file.read_bytes()
    file.write_bytes(b"\xef\xbb\xbf" + content)
    assert read(run.path) == expected
    with file.open("wb") as sparse:
        sparse.truncate(files.LONGEST + 1)
    with pytest.raises(ValueError, match=r"run.json: not readable as JSON \(longer than 256 MiB\)"):
        Run(run.path)
    file.unlink()
    file.mkdir()
    with pytest.raises(FileNotFoundError, match="no run here"):
        Run(run.path)


@pytest.mark.parametrize("version", [0, 3, "2", 2.5, True, None, [2]])
def test_another_format_is_no_older_one(run, version):
    info = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(info | {"format": version}))
    with pytest.raises(ValueError, match=r"run.json: format=.*: this version reads 2"):
        Run(run.path)


def test_a_fold_of_another_run_is_refused(run):
    one, two = (run.fold(name) for name in run.folds)
    shutil.rmtree(two)
    shutil.copytree(one, two)
    with pytest.raises(ValueError, match=r"fold.json: fold='hand-s0', but run.json says 'hand-s1'"):
        run.predictions()


# Names


LEADING_OUT = [
    "..", ".", "", "../x", "../../base/folds/x", "/tmp/x", "a/b", "a\\b", "..\\x", "C:\\x", "C:x", "\\\\server\\x",
    "a\0b", "a\nb", "a:stream", "~\x7f", ".hidden", "x.", "x ", "CON", "nul.txt", "com1", "x" * 201, "é" * 101, "a|b",
    "\ud800", "a*b",
]  # fmt: skip


@pytest.mark.parametrize("name", LEADING_OUT)
def test_names_that_lead_out_of_a_folder_are_refused_reading_and_writing(run, experiment, hand_store, tmp_path, name):
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=r"Experiment.name=.*cannot be a folder's name"):
        dataclasses.replace(experiment, name=name)
    folds = [protocol.loso(hand_store.table)[0]._replace(name=name)]
    with pytest.raises(ValueError, match=r"folds\[0\].name=.*cannot be a folder's name"):
        engine.run(experiment, hand_store, out=tmp_path, folds=folds)
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(ValueError, match="no fold"):
        run.fold(name)
    with pytest.raises(ValueError, match="no fold"):
        trained.load(run, name)
    with pytest.raises(ValueError, match="no fold"):
        run.note_epoch(name, 1, 0.5)
    with pytest.raises(ValueError, match="no fold"):
        run.write_fold(name, Result(run.predictions(), run.logs(), {}))
    file = run.path / "run.json"
    info = json.loads(file.read_text())
    for key, message in (("folds", r"folds\[0\].name"), ("experiment", r"[Ee]xperiment\.name")):
        new = copy.deepcopy(info)
        (new["folds"][0] if key == "folds" else new[key])["name"] = name
        file.write_text(json.dumps(new))
        with pytest.raises(
            ValueError, match=rf"run.json: .*{message}=.*(cannot be a folder's name|is no Unicode text)"
        ):
            _ = Run(run.path).experiment
    file.write_text(json.dumps(info))


@given(st.text(min_size=1, max_size=60))
def test_a_name_that_is_taken_makes_one_folder_inside(name):
    try:
        files.folder_name("name", name)
    except ValueError:
        return
    path = Path("/parent") / name
    assert path.parent == Path("/parent") and os.path.normpath(path) == str(path) and path.name == name
    assert len(os.fsencode(name)) <= 200


@pytest.mark.parametrize(("one", "two"), [("a", "a"), ("Sub", "sub"), ("straße", "STRASSE"), ("é", "e\u0301")])
def test_folds_that_are_one_folder_on_some_disks_are_refused(experiment, tmp_path, one, two):
    folds = [protocol.Fold(one, ("x",), ("y",)), protocol.Fold(two, ("y",), ("x",))]
    with pytest.raises(ValueError, match=r"folds\[1\].name=.*the same folder as"):
        Run.open(tmp_path, experiment, folds, DATA)
    assert not list(tmp_path.glob("tiny*"))


@pytest.mark.parametrize("kind", ["folds", "folds/hand-s0", "failed", "progress"])
def test_a_link_in_the_place_of_a_folder_is_refused_reading_and_writing(run, tmp_path, kind):
    outside = tmp_path / "outside"
    (run.path / kind).rename(outside) if (run.path / kind).exists() else outside.mkdir()
    (outside / "kept").touch()
    (run.path / kind).symlink_to(outside, target_is_directory=True)
    before = sorted(outside.rglob("*"))
    calls = {
        "progress": [lambda: run.note_epoch("hand-s0", 1, 0.5)],
        "failed": [lambda: run.write_failure(runs.Diverged("x", {"fold": "hand-s0"}, {}), lambda *_: None)],
        "folds": [
            run.predictions,
            lambda: run.missing,
            lambda: trained.load(run, "hand-s0"),
            lambda: trained.ensemble(run.path / "folds" / "hand-s0" / trained.FILE),
            lambda: run.write_fold("hand-s0", Result(pd.DataFrame(), pd.DataFrame(), {})),
        ],
    }
    for call in calls[kind.partition("/")[0]]:
        with pytest.raises(ValueError, match=f"{re.escape(str(run.path / kind))}: a link"):
            call()
    assert sorted(outside.rglob("*")) == before


# Whole files


@pytest.mark.parametrize("file", ["predictions.csv", "log.csv", "probe.csv"])
@pytest.mark.parametrize("damage", ["cut", "one digit", "another line", "empty", "binary"])
def test_a_csv_file_that_is_not_what_was_written_names_itself_and_what_to_delete(run, file, damage):
    path = run.fold(run.folds[1]) / file
    content = path.read_bytes()
    digit = max(i for i, byte in enumerate(content) if byte in b"12345678")
    damaged = {
        "cut": content[:-19],
        "one digit": content[:digit] + bytes([content[digit] + 1]) + content[digit + 1 :],
        "another line": content + content.splitlines(keepends=True)[-1],
        "empty": b"",
        "binary": bytes(range(256)),
    }
    path.write_bytes(damaged[damage])
    reader = {"predictions.csv": run.predictions, "log.csv": run.logs, "probe.csv": run.probe}[file]
    with pytest.raises(
        ValueError, match=rf"{re.escape(str(path))}: .*; delete the folder {re.escape(str(path.parent))}"
    ):
        reader()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_stands_in_a_tables_place_is_not_read(run, tmp_path):
    """A pipe would be waited for, and a file of a terabyte would fill the memory."""
    path = run.fold("hand-s1") / "predictions.csv"
    os.mkfifo(tmp_path / "pipe")

    def sparse():
        with path.open("wb") as file:
            file.truncate(1 << 40)

    places = [lambda: os.mkfifo(path), path.mkdir, lambda: path.symlink_to(tmp_path / "pipe"), sparse]
    for place in places:
        path.rmdir() if path.is_dir() else path.unlink()
        place()
        with pytest.raises(
            ValueError, match=rf"{re.escape(str(path))}: no file of at most 1024 MiB; delete the folder"
        ):
            run.predictions()
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{re.escape(str(path))}: no such table"):
        run.predictions()


def test_a_run_without_checksums_is_read_unchecked(run):
    """Those of earlier versions; a table that is none is still named."""
    expected = run.predictions()
    for name in run.folds:
        note = json.loads((file := run.fold(name) / "fold.json").read_text())
        sums = note.pop("sha256")
        assert sums == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in run.fold(name).glob("*.csv")}
        file.write_text(json.dumps(note))
    assert run.predictions().equals(expected)
    pooled = expected.to_csv(index=False).encode()
    cut = b"".join((run.fold("hand-s1") / "predictions.csv").read_bytes().splitlines(keepends=True)[: -len(AUS)])
    for content in (b"", bytes(range(128, 256)), b"clip_id,subject\na,b\n", pooled, cut):
        (path := run.fold("hand-s1") / "predictions.csv").write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(str(path))):
            run.predictions()


def test_a_fold_is_on_the_disk_before_it_has_its_name(run, monkeypatch):
    """Every file of it, its folder, and after the renaming the folder that it is in."""
    synced, there = [], []
    monkeypatch.setattr(runs.files, "sync", lambda path: (synced.append(path), there.append(run.missing)))
    name, result = "hand-s1", Result(run._table("hand-s1", "predictions.csv"), run.logs(), {"seconds": 1.0})
    shutil.rmtree(run.fold(name))
    run.write_fold(name, result)
    names = [path.name for path in synced[:-1]]
    assert sorted(names[:-1]) == ["fold.json", "log.csv", "predictions.csv"] and names[-1].startswith(f".{name}.")
    assert synced[-1] == run.path / "folds" and there == [[name]] * 4 + [[]]


def test_a_disk_that_is_full_while_weights_are_written_is_said_with_advice(run, tmp_path):
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full, which stands for a full disk")
    weights = trained.stored(run.fold("hand-s1") / trained.FILE)

    def save(folder, *rest):
        (folder / trained.FILE).symlink_to("/dev/full")
        trained.save(folder, *rest)

    result = Result(run.predictions(), run.logs(), {"seconds": 1.0}, weights)
    shutil.rmtree(run.fold("hand-s1"))
    with pytest.raises(OSError, match=r"cannot write fold hand-s1 .*the disk is full: free some space") as caught:
        run.write_fold("hand-s1", result, save)
    assert caught.value.errno == errno.ENOSPC and run.missing == ["hand-s1"]
    assert not list(run.path.glob("folds/.*"))
