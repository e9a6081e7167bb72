"""Every notebook through papermill with the smoke profile, then what a second call and bad calls do."""

import json
import os
import re
import shlex
import subprocess
import sys

import nbformat
import pandas as pd
import papermill
import pytest
import yaml
from rocrate.rocrate import ROCrate

from aullm_lib.__main__ import main
from aullm_lib.explain import probes, sanity
from aullm_lib.notebook import batch, parameters
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.report import results
from aullm_lib.runs import Run


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """A home in which ``aullm batch smoke`` has run."""
    home = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AULLM_HOME", str(home))
        done = call("batch", "smoke")
    assert done.returncode == 0, done.stderr
    return home, done.stderr


def call(*arguments):
    command = [sys.executable, "-m", "aullm_lib", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


@pytest.fixture
def inside(smoke, monkeypatch):
    monkeypatch.setenv("AULLM_HOME", str(smoke[0]))
    monkeypatch.chdir(smoke[0])
    return smoke[0]


def test_every_notebook_ran_and_left_its_record_and_files(inside):
    work = Workspace("smoke")
    for name in parameters.names():
        book = nbformat.read(inside / "runs" / "smoke" / "notebooks" / f"{name}.ipynb", as_version=4)
        outputs = [o for c in book.cells if c.cell_type == "code" for o in c.outputs]
        assert not [o for o in outputs if o.output_type == "error"]
        assert [o for o in outputs if "data" in o and {"image/png", "text/html"} & set(o.data)], name
        written = work.recorded(name)["files"]
        assert all((inside / path).exists() for path in written)
    assert {p.name for p in inside.iterdir()} == {"runs", "figures"}


def test_what_06_measured_names_its_runs_and_is_enough_to_compare(inside):
    folder = Workspace("smoke").folder / "localisation"
    about = json.loads((folder / "about.json").read_text())
    full, plain = Run(about["full"]), Run(about["plain"])
    assert (full.experiment.variant, plain.experiment.variant) == ("all", "3d-cnn")
    assert about["synthetic"] and about["ground_truth"] and full.info["folds"] == plain.info["folds"]
    assert len(sanity.compared(pd.read_csv(folder / "pairs.csv"))) == 6
    dynamics = pd.read_csv(folder / "se.csv")
    assert list(dynamics["clip_id"]) == list(full.predictions()["clip_id"].unique())
    assert len(probes.se_compared(dynamics)) == 2


def test_tables_say_what_they_are_and_come_from_the_runs(inside):
    text = (inside / "figures" / "smoke" / "table1_casme2.md").read_text()
    assert "synthetic release" in text
    assert "its numbers are no result on CASME II or SAMM" in text
    assert "always-negative" in text
    for path in Workspace("smoke").results.iterdir():
        run = Run(path)
        assert run.missing == []
        assert run.info["data"]["synthetic"]


def test_every_table_and_figure_says_that_its_data_are_synthetic(inside):
    files = [
        p for p in (inside / "figures" / "smoke").iterdir() if p.name != "tables.tex"
    ]  # all tables, each with its line
    drawn = {p.stem.removesuffix("_scores") for p in files}
    assert {"table1_casme2", "table2_samm", "scores_per_au", "fig1_one_clip", "quickstart_intensity"} <= drawn
    for stem in drawn:
        made = json.loads((inside / "figures" / "smoke" / f"{stem}.json").read_text())
        assert made["synthetic"] is (None if stem == "tuning_gain" else True), stem  # that one is of label counts alone
        assert made["versions"], stem


def test_papermill_alone_is_stopped_by_an_unknown_parameter(home):
    """Papermill itself only warns of it."""
    source = parameters.SOURCE / "07_paper.ipynb"
    with pytest.raises(papermill.PapermillExecutionError, match="07_paper has no parameter 'profil'"):
        papermill.execute_notebook(source, home / "out.ipynb", parameters={"profil": "x"}, progress_bar=False)


def test_it_prints_where_everything_is(smoke):
    for word in ("runs/smoke/notebooks", "figures/smoke/replication.html", "make report PROFILE=smoke", "3 of 10"):
        assert word in smoke[1]


def test_the_first_lines_name_pretrained_weights_that_are_lacking(smoke):
    lines = smoke[1].splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("00_quickstart"))
    (told,) = [i for i, line in enumerate(lines) if line.startswith("  resnet18   {weights: microsoft/resnet-18}")]
    assert told < first and "ImageNet" in lines[told]


def test_a_second_call_redoes_nothing(inside):
    before = {p: p.stat().st_mtime_ns for p in inside.rglob("*") if p.is_file()}
    batch.run("smoke")
    assert {p: p.stat().st_mtime_ns for p in inside.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["tiny"], "unknown profile 'tiny'"),
        (["smoke", "-p", "subject=3"], "no notebook has the parameter 'subject'"),
        (["smoke", "-p", "subjects=many"], "subjects='many': must be int, not str"),
        (["smoke", "--only", "09_x"], "no notebook '09_x'"),
        (["smoke", "-p", "subjects=[3"], "-p subjects: not readable as YAML"),
        (["smoke", "-p", "profile=x"], "profile is the first argument"),
        (["smoke", "-p", "recipe"], "-p recipe: expected NAME=VALUE"),
        (["smoke", "-p", "recipe=paper_"], "recipe='paper_': allowed are paper"),
        (["../smoke"], "expected letters, digits and hyphens"),
        (["smoke", "-p", "releases=[]"], "releases is empty"),
        (["paper"], "casme2_root is not set; give the folder of the unpacked release: make paper CASME2_ROOT="),
        (["smoke", "-p", "releases=[casme3]"], "releases: unknown 'casme3'; choose from casme2, samm"),
    ],
)
def test_bad_calls_end_at_once_with_one_clear_line(home, arguments, message, caplog):
    assert main(["batch", *arguments]) == 2
    assert message in caplog.text
    assert not list(home.rglob("*.ipynb"))


def test_an_unwritable_home_is_named(home, caplog):
    (home / "runs").write_text("a file")
    assert main(["batch", "smoke"]) == 2
    assert "cannot write the executed notebooks at runs/smoke/notebooks" in caplog.text


def test_a_failing_cell_says_which_error_and_where(home, caplog):
    (home / "empty").mkdir()
    data = ["-p", "data=licensed", "-p", f"casme2_root={home / 'empty'}", "-p", "releases=[casme2]"]
    assert main(["batch", "smoke", "--only", "02_train_loso", *data]) == 1
    assert "FileNotFoundError: " in caplog.text and "found no CASME II workbook" in caplog.text
    assert "runs/smoke/notebooks" in caplog.text


def test_the_smoke_form_of_the_code_check_makes_each_output_again(inside):
    """Each file of codecheck.yml, from the command that its comment names; with ``smoke`` in the place of ``demo``.

    No run is made anew, and the same inputs give the same bytes.
    """
    trained = {p: p.stat().st_mtime_ns for p in (inside / "runs").rglob("predictions.csv")}
    text = (parameters.SOURCE.parent / "codecheck.yml").read_text(encoding="utf-8")
    manifest = yaml.safe_load(text)["manifest"]
    outputs = {one["file"]: one["comment"].rpartition("Command: make ")[2] for one in manifest}
    names = " ".join(one["comment"] for one in manifest)
    assert all(f"{kind} {i}" in names for kind, last in (("Table", 4), ("Figure", 3)) for i in range(1, last + 1))
    for command in dict.fromkeys(outputs.values()):
        made = [inside / file.replace("demo", "smoke") for file in outputs if outputs[file] == command]
        before = {path: path.read_bytes() for path in made}
        for path in made:
            path.unlink()
        target, _, arguments = command.partition(" ARGS=")
        call = {"demo": ["batch", "smoke"], "report": ["report", "smoke"]}[target]
        assert main([*call, *shlex.split(" ".join(shlex.split(arguments)))]) == 0
        assert {path: path.read_bytes() for path in made} == before and all(before.values())
    assert {p: p.stat().st_mtime_ns for p in (inside / "runs").rglob("predictions.csv")} == trained


def test_the_crate_has_every_notebook_as_an_action(inside):
    assert main(["crate", "smoke"]) == 0
    actions = ROCrate(inside / "figures" / "smoke" / "crate.zip").get_by_type("CreateAction")
    assert [action["instrument"].id for action in actions] == [f"notebooks/{n}.ipynb" for n in parameters.names()]
    shown = {one.id for action in actions for one in [*action["object"], *action["result"]]}
    assert {f"{run.as_posix()}/" for run in Workspace("smoke").results.iterdir()} <= shown


GRID = "recipe=paper,released seeds=1,2"


def test_a_grid_is_every_combination_under_names_of_its_own(tmp_path):
    cells = batch.grid("smoke", GRID, list(batch.IN_A_GRID))
    assert cells == {
        f"smoke-recipe-{recipe}-seeds-{seed}": {"recipe": recipe, "seeds": [seed]}
        for recipe in ("paper", "released")
        for seed in (1, 2)
    }
    (tmp_path / "grid.yaml").write_text("recipe: [paper, released]\nseeds: [1, [2]]\n")
    assert batch.grid("smoke", str(tmp_path / "grid.yaml"), list(batch.IN_A_GRID)) == cells
    twins = batch.grid("smoke", "llm=a/x,b/x", list(batch.IN_A_GRID))
    assert len(twins) == 2 and all(name.startswith("smoke-llm-x") for name in twins)
    assert not set(twins) & set(batch.grid("smoke", "llm=c/x", list(batch.IN_A_GRID)))
    for alike in ("seeds=-1,1", "llm=Qwen2.5,Qwen2-5"):
        assert len(batch.grid("smoke", alike, list(batch.IN_A_GRID))) == 2
    long = batch.grid("smoke", f"llm={'x' * 300}", list(batch.IN_A_GRID))
    assert all(len(name) < 100 for name in long)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "No such file|Is a directory"),
        (["recipe"], "No such file"),
        (["recipy=paper"], "02_train_loso, 07_paper have no parameter 'recipy'"),
        (["recipe=paper,none"], "recipe='none': allowed are paper, released"),
        (["llm='a"], "No closing quotation"),
        (["seeds=1,x"], r"seeds\[0\]='x': must be int, not str"),
        (["releases=casme3"], "releases: unknown 'casme3'"),
        (["seeds=1", "--only", "07_paper"], "07_paper have no parameter 'seeds'"),
    ],
)
def test_a_bad_grid_ends_before_its_first_cell(home, arguments, message, caplog):
    assert main(["grid", "smoke", *arguments]) == 2
    assert re.search(message, caplog.text)
    assert not list(home.rglob("*.ipynb"))


def test_a_grid_shares_what_is_done_goes_on_after_a_failure_and_does_nothing_twice(inside, caplog):
    """Two recipes with one seed, of which the profile has trained one already, and licensed data that are not there."""
    (inside / "empty").mkdir()
    runs = inside / "runs" / "smoke" / "results"
    before = {p.name for p in runs.iterdir()}
    command = ["grid", "smoke", "recipe=paper,released data=licensed,synthetic", "--only", "02_train_loso"]
    command += ["-p", "releases=[casme2]", "-p", "casme2_root=empty"]
    caplog.set_level("INFO")
    assert main(command) == 1
    assert "2 of 4 cells are done" in caplog.text and "found no CASME II workbook" in caplog.text
    assert re.search(r"FAILED +runs/smoke-recipe-paper-data-licensed\n", caplog.text)
    new = {p.name for p in runs.iterdir()} - before
    assert len(new) == 1 and "-paper-" in new.pop()
    kept = {}
    for recipe in ("paper", "released"):
        work = Workspace(f"smoke-recipe-{recipe}-data-synthetic")
        (result,) = results.load(work.results)
        assert (result.recipe, result.why) == (recipe, "")
        kept |= {p: p.stat().st_mtime_ns for p in [work.folder / "notebooks" / "02_train_loso.ipynb"]}
    assert main(command) == 1
    assert {p: p.stat().st_mtime_ns for p in kept} == kept


def test_with_one_release_there_is_nothing_to_cross(inside):
    assert main(["grid", "smoke", "releases=casme2", "--only", "05_cross_domain", "-p", "one_out=[]"]) == 0
    work = Workspace("smoke-releases-casme2")
    assert work.recorded("05_cross_domain")["files"] == []
    assert results.load(work.results) == []
