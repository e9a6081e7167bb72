"""The crate: all that a rehearsal has made and nothing that is licensed, described so that others can check it."""

import base64
import json
import re
import shutil
import subprocess
import sys
import warnings
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import cv2
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat import v4
from rocrate.rocrate import ROCrate

from aullm_lib import datasets, engine, preprocess
from aullm_lib.__main__ import main
from aullm_lib.datasets.table import rendered
from aullm_lib.experiment import Experiment
from aullm_lib.notebook import crate
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.recipe import Recipe
from aullm_lib.report import results, tables
from aullm_lib.runs import Run
from aullm_lib.support import files
from aullm_lib.support.provenance import provenance

ELSEWHERE = """
import hashlib, json, sys
from pathlib import Path
from rocrate.rocrate import ROCrate
crate = ROCrate(sys.argv[1])
described = {e.id for e in crate.data_entities if "File" in e["@type"]}
for e in crate.data_entities:
    if e.id in described:
        content = Path(sys.argv[1], e.id).read_bytes()
        assert e["contentSize"] == str(len(content)), e.id
        assert e["sha256"] == hashlib.sha256(content).hexdigest(), e.id
there = {p.relative_to(sys.argv[1]).as_posix() for p in Path(sys.argv[1]).rglob("*") if p.is_file()}
assert there == described | {"ro-crate-metadata.json"}
graph = json.loads(Path(sys.argv[1], "ro-crate-metadata.json").read_text())["@graph"]
ids = {entity["@id"] for entity in graph}
def links(value):
    if isinstance(value, dict):
        yield from [value["@id"]] if "@id" in value else []
    elif isinstance(value, list):
        for item in value:
            yield from links(item)
dangling = {i for e in graph for k, v in e.items() if k != "@id" for i in links(v)} - ids
assert dangling == {"https://w3id.org/ro/crate/1.1"}, dangling
print(json.dumps({e.id: [o.id for o in e["result"]] for e in crate.get_by_type("CreateAction")}))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Makes a home in which the profile ``demo`` has run: a release, a store, a run with weights, a table, figures with
    faces, and a notebook that shows frames, annotations and paths. Licensed: the release has lost its marker."""

    def make(licensed):
        home = tmp_path_factory.mktemp("Max Muster") / "home"
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AULLM_HOME", str(home))
            home.mkdir()
            patch.chdir(home)
            begun, work = datetime.now(UTC), Workspace("demo")
            root = datasets.synthesize(home / "CASME2", "casme2", subjects=3, clips_per_subject=4)
            if licensed:
                shutil.rmtree(root / "SYNTHETIC")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # twelve clips are no release
                table = datasets.load("casme2", root)
            store = preprocess.build(table, work.clips(table, 32), size=32)
            recipe = Recipe.released(size=32, epochs=1, batch_size=4, efp_hidden=16)
            experiment = Experiment(name="x", aus=(1, 2, 4), recipe=recipe, variant="backbone")
            run = Run(engine.run(experiment, store, out=work.results, keep_weights=True, trace=True))
            written = tables.write(work.figures / "table1_casme2", tables.per_release(1, results.load(work.results)))
            frame = cv2.imencode(".png", store.frames[0])[1].tobytes()
            face = {"synthetic": not licensed, "runs": [str(run.path)], "clip": store.ids[0]} | provenance()
            for name in ("fig1_one_clip", "preprocess_contact_sheet_casme2"):
                (work.figures / f"{name}.png").write_bytes(frame)
                files.write_json(work.figures / f"{name}.json", face)
                written += [work.figures / f"{name}.png", work.figures / f"{name}.json"]
            (work.figures / "unknown.png").write_bytes(frame)  # nobody says what it shows
            (work.folder / "integrity").mkdir()
            check = {"check": "labels", "item": store.ids[0], "status": "warning", "detail": table["aus"].iloc[0]}
            pd.DataFrame([check]).to_csv(work.folder / "integrity" / "casme2.csv", index=False)
            table.drop(columns="frames").to_csv(
                work.figures / "claims.csv"
            )  # of a kind that goes in, but it names clips
            files.write_json(work.figures / "claims.json", face)
            shown = {"image/png": base64.b64encode(frame).decode(), "text/plain": f"{root}: {store.ids[0]}"}
            cells = [
                v4.new_markdown_cell("# Training\n\n**What it does.** Trains."),
                v4.new_code_cell("subjects = 8", execution_count=1, metadata={"tags": ["parameters"]}),
                v4.new_code_cell(
                    f"publishable = ['sub01']\ncasme2_root = {str(root)!r}", execution_count=2,
                    metadata={"tags": ["injected-parameters"]},
                ),
                v4.new_code_cell("show(clip)", execution_count=3, outputs=[v4.new_output("display_data", shown)]),
            ]  # fmt: skip
            given = {
                "data": "licensed" if licensed else "synthetic", "publishable": ["sub01"], "casme2_root": str(root),
                "seeds": [1, 2], "recipe": "paper", "llm": "/models of mine/qwen",
            }  # fmt: skip
            noted = {"start_time": begun.isoformat(), "end_time": datetime.now(UTC).isoformat(), "parameters": given}
            noted["input_path"] = str(home / "notebooks" / "02_train_loso.ipynb")
            notebook = v4.new_notebook(cells=cells, metadata={"papermill": noted, "widgets": {"state": {}}})
            (work.folder / "notebooks").mkdir()
            nbformat.write(notebook, work.folder / "notebooks" / "02_train_loso.ipynb")
            work.record("02_train_loso", given, files=[path.as_posix() for path in written], clip=store.ids[0])
            crate.build("demo")
        return home, table, frame, run.path.name

    return make


@pytest.fixture(scope="module")
def rehearsal(made):
    return made(licensed=False)


@pytest.fixture(scope="module")
def real(made):
    return made(licensed=True)


def contents(home, profile="demo"):
    with zipfile.ZipFile(home / "figures" / profile / "crate.zip") as archive:
        assert archive.testzip() is None
        return {name: archive.read(name) for name in archive.namelist()}


def test_it_holds_every_kind_but_weights_and_what_nobody_vouches_for(rehearsal):
    home, _, _, run = rehearsal
    names = set(contents(home))
    folds = {f"runs/demo/results/{run}/folds/casme2-sub0{i}/" for i in (1, 2, 3)}
    for fold in folds:
        kinds = {name.removeprefix(fold) for name in names if name.startswith(fold)}
        assert kinds == {"fold.json", "predictions.csv", "log.csv", "probe.csv", "trace.csv"}
        assert list((home / fold).glob("*.safetensors"))
    assert {f"runs/demo/results/{run}/run.json", "runs/demo/notebooks/02_train_loso.ipynb", "README.md"} <= names
    assert {f"figures/demo/{name}" for name in ("table1_casme2.tex", "fig1_one_clip.png", "replication.html")} <= names
    assert "figures/demo/unknown.png" not in names and not [name for name in names if "clips/" in name]


@pytest.mark.parametrize("which", ["rehearsal", "real"])
def test_it_opens_in_a_fresh_process_elsewhere(which, request, tmp_path):
    home, _, _, run = request.getfixturevalue(which)
    with zipfile.ZipFile(home / "figures" / "demo" / "crate.zip") as archive:
        archive.extractall(tmp_path / "away")
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "away")], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (outputs,) = json.loads(done.stdout).values()
    assert {f"runs/demo/results/{run}/", "figures/demo/table1_casme2.md"} <= set(outputs)
    if which == "rehearsal":
        pd.testing.assert_frame_equal(
            Run(tmp_path / "away" / "runs" / "demo" / "results" / run).predictions(),
            Run(home / "runs" / "demo" / "results" / run).predictions(),
        )


def test_a_notebook_is_an_action_with_its_parameters_and_time(rehearsal):
    home = rehearsal[0]
    there = ROCrate(home / "figures" / "demo" / "crate.zip")
    (action,) = there.get_by_type("CreateAction")
    given = {one["name"]: one["value"] for one in action["object"]}
    assert (given["seeds"], given["recipe"]) == ("[1, 2]", "paper")
    assert action["instrument"].id == "notebooks/02_train_loso.ipynb"
    assert "Failed" not in action["actionStatus"] and there.root_dataset["mentions"] == [action]
    begun, ended = (datetime.fromisoformat(action[key]) for key in ("startTime", "endTime"))
    assert begun < ended < datetime.now(UTC)
    used = {one["name"]: one["version"] for one in action["instrument"]["softwareRequirements"]}
    assert used["numpy"] == np.__version__


@pytest.mark.parametrize("which", ["rehearsal", "real"])
def test_no_path_of_this_machine_is_in_it(which, request):
    home = request.getfixturevalue(which)[0]
    for name, content in contents(home).items():
        for secret in (home.parent, Path.home(), Path(sys.prefix), Path(crate.__file__).parents[2]):
            assert len(secret.parts) < 2 or str(secret).encode() not in content, name
        assert b"Muster" not in content and b"models of mine" not in content.replace(b".../models of mine", b""), name
    assert not [name for name in contents(home) if ".." in name or name.startswith("/")]


def test_nothing_licensed_is_in_it(real):
    home, table, frame, _ = real
    there = contents(home)
    everything = b"\n".join(there.values()) + "\n".join(there).encode()
    words = re.findall(r"[\w/.+-]+", everything.decode(errors="replace"))
    annotations = [text for text in table["aus"] if len(text) > 5]
    assert annotations
    for secret in (*table.index, *table["clip"], *table["subject"], *annotations):
        assert secret.encode() not in everything and secret not in words, secret
    assert frame not in everything and base64.b64encode(frame) not in everything
    assert not re.search(rb"AU\d+,[01],0?\.\d", everything)  # a label beside its probability
    assert not [name for name in there if re.search(r"safetensors|adapter|predictions|run\.json|clips|fold", name)]
    assert "figures/demo/claims.csv" in there["README.md"].decode() and "figures/demo/claims.csv" not in there


def test_of_licensed_data_it_holds_averages_and_settings(real):
    home, _, _, run = real
    there = contents(home)
    settings = json.loads(there[f"runs/demo/results/{run}/configuration.json"])
    (about,) = settings["runs"].values()
    assert about["settings"]["epochs"] == 1 and settings["synthetic"] is False
    assert about["split_sha256"] == Run(home / "runs" / "demo" / "results" / run).split_sha256
    assert b"fixed,mean" in there[f"runs/demo/results/{run}/scores.csv"]
    assert {"figures/demo/table1_casme2.csv", "figures/demo/replication.md", "notebooks/02_train_loso.ipynb"} <= set(
        there
    )
    (action,) = ROCrate(home / "figures" / "demo" / "crate.zip").get_by_type("CreateAction")
    assert {one["name"] for one in action["object"] if one.type == "PropertyValue"} == {"seeds"}


@pytest.mark.parametrize(
    "release",
    [
        {},
        {"synthetic": False, "rendered": False},
        {"synthetic": True, "rendered": False},  # real frames, a rendered workbook
        {"synthetic": True, "rendered": True, "only": "frame folder"},  # the other way round
        {"synthetic": True, "parts": [{"release": {"synthetic": True, "rendered": True}}, {"release": {}}]},
        {"synthetic": "yes", "rendered": "yes"},
    ],
)
def test_what_is_not_known_to_be_rendered_is_licensed(release):
    whole = {"synthetic": True, "rendered": True}
    assert not rendered(release)
    assert rendered(whole) and rendered({"synthetic": True, "parts": [{"release": whole}] * 2})


@pytest.mark.parametrize("moved", ["CASME2-coding-20140508.xlsx", "Cropped"])
def test_a_release_of_which_only_a_part_is_rendered_is_licensed(moved, tmp_path):
    """Rendered frames beside a workbook without a marker, or the other way round."""
    root = datasets.synthesize(tmp_path / "casme2", "casme2", subjects=2, clips_per_subject=2)
    assert rendered(preprocess.settings(datasets.load("casme2", root), 32)["release"])
    (tmp_path / "outside").mkdir()
    (root / moved).rename(tmp_path / "outside" / moved)
    (tmp_path / "outside" / "rest").symlink_to(root)
    table = datasets.load("casme2", tmp_path / "outside", images="cropped")
    assert not rendered(preprocess.settings(table, 32)["release"])


def test_one_licensed_thing_makes_all_licensed(rehearsal, tmp_path, monkeypatch):
    """A figure, an executed notebook or a clip store of a licensed release, beside rendered runs."""
    changes = {
        "figure": ("figures/demo/signal.json", {"synthetic": False}),
        "notebook": ("runs/demo/records/02_train_loso.json", {"parameters": {"data": "licensed"}, "results": {}}),
        "store": ("runs/demo/clips/other/settings.json", {"settings": {"release": {"synthetic": False}}}),
    }
    for kind, (path, content) in changes.items():
        home = tmp_path / kind
        shutil.copytree(rehearsal[0], home, symlinks=True)
        files.write_json(home / path, content)
        monkeypatch.setenv("AULLM_HOME", str(home))
        crate.build("demo")
        assert not [name for name in contents(home) if "predictions" in name or "fig1" in name], kind


def test_links_that_lead_outside_stay_outside(rehearsal, tmp_path, monkeypatch):
    home, _, _, run = rehearsal
    shutil.copytree(home, tmp_path / "copy", symlinks=True)
    (tmp_path / "secret.csv").write_text("secret")
    shutil.move(tmp_path / "copy" / "runs" / "demo" / "results" / run, tmp_path / run)
    (tmp_path / "copy" / "runs" / "demo" / "results" / run).symlink_to(tmp_path / run, target_is_directory=True)
    (tmp_path / "copy" / "runs" / "demo" / "localisation").mkdir()
    (tmp_path / "copy" / "runs" / "demo" / "localisation" / "more.csv").symlink_to(tmp_path / "secret.csv")
    monkeypatch.setenv("AULLM_HOME", str(tmp_path / "copy"))
    crate.build("demo")
    there = contents(tmp_path / "copy")
    assert not [name for name in there if name.startswith(f"runs/demo/results/{run}/") or "more.csv" in name]
    assert f"runs/demo/results/{run}" in there["README.md"].decode()


def test_what_is_missing_or_mixed_is_said_with_the_command(rehearsal, tmp_path, monkeypatch):
    home, _, _, run = rehearsal
    shutil.copytree(home, tmp_path / "copy", symlinks=True)
    fold = tmp_path / "copy" / "runs" / "demo" / "results" / run / "folds" / "casme2-sub01" / "fold.json"
    files.write_json(fold, files.read_json(fold) | {"git": {"revision": "f" * 40, "changed": False}})
    monkeypatch.setenv("AULLM_HOME", str(tmp_path / "copy"))
    crate.build("demo")
    text = contents(tmp_path / "copy")["README.md"].decode()
    assert '05\\_cross\\_domain was not run to its end: `make demo ARGS="--only 05_cross_domain"`' in text
    assert "ffffffffff" in text and f"](runs/demo/results/{run}/)" in text


def test_without_a_run_there_is_a_crate_that_says_so(home, caplog):
    caplog.set_level("INFO")
    assert main(["crate", "paper"]) == 0
    assert "figures/paper/crate.zip" in caplog.text
    there = contents(home, "paper")
    assert "No run lies in runs/paper/results" in there["README.md"].decode()
    assert {"figures/paper/replication.md", "ro-crate-metadata.json"} <= set(there)


def test_it_is_written_whole_or_not_at_all(rehearsal, tmp_path, monkeypatch):
    home, _, _, run = rehearsal
    shutil.copytree(home, tmp_path / "copy", symlinks=True)
    monkeypatch.setenv("AULLM_HOME", str(tmp_path / "copy"))
    crate.build("demo")
    before = (tmp_path / "copy" / "figures" / "demo" / "crate.zip").read_bytes()
    crate.build("demo")
    assert (tmp_path / "copy" / "figures" / "demo" / "crate.zip").read_bytes() == before  # the same inputs
    damaged = tmp_path / "copy" / "runs" / "demo" / "results" / run / "folds" / "casme2-sub01" / "predictions.csv"
    damaged.write_text("clip_id\n")
    assert main(["crate", "demo"]) == 2
    assert (tmp_path / "copy" / "figures" / "demo" / "crate.zip").read_bytes() == before
    assert not list((tmp_path / "copy" / "figures" / "demo").glob(".crate*"))
