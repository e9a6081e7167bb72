"""The command ``aullm``: its help, its exit codes, and how it is installed."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from aullm_lib.__main__ import main, parser
from aullm_lib.notebook import batch, parameters

ROOT = Path(__file__).parents[2]
COMMANDS = ("predict", "report", "crate", "outputs", "demo", "batch", "grid")


def call(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "aullm_lib", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ)


# The command


def test_help_has_examples_and_exit_codes_and_comes_before_torch_is_imported():
    done = call("--help")
    assert done.returncode == 0 and all(f"    {command} " in done.stdout for command in COMMANDS)
    for command in COMMANDS:
        text = call(command, "--help").stdout
        assert f"aullm {command} " in text.split("examples:")[1] and "130  stopped" in text
    code = "import sys, aullm_lib.__main__ as m; m.parser(); sys.exit(bool({'torch', 'numpy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_example_of_the_help_is_a_call_that_is_understood():
    for command in COMMANDS:
        (text,) = [action.choices[command].format_help() for action in parser()._actions if action.choices]
        examples = [line for line in text.splitlines() if line.startswith("  aullm ")]
        assert examples
        for line in examples:
            assert parser().parse_args(shlex.split(line)[1:]).command == command


def test_the_entry_point_is_this_main():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"aullm": "aullm_lib.__main__:main"}
    for entry in entry_points(group="console_scripts", name="aullm"):  # none in an older installation
        assert entry.load() is main


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["train"],
        ["predict", "--run", "x", "--out", "y"],
        ["predict", "v.mp4", "--out", "y"],
        ["predict", "v.mp4", "--run", "x", "--out", "y", "--length", "0"],
        ["predict", "v.mp4", "--run", "x", "--out", "y", "--stride", "nan"],
        ["predict", "v.mp4", "--run", "x", "--out", "y", "--unit", "hours"],
        ["predict", "v.mp4", "--ru", "x", "--out", "y"],
    ],
)
def test_a_wrong_call_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and "usage: aullm" in capsys.readouterr().err


# The make targets


@pytest.fixture
def make(tmp_path):
    """Calls make; the command aullm says what it was given, and the environment counts as set up."""
    told, folder = tmp_path / "told.json", tmp_path / "venv" / "bin"
    folder.mkdir(parents=True)
    script = f"#!{sys.executable}\nimport json, sys\njson.dump(sys.argv[1:], open({str(told)!r}, 'w'))\n"
    (folder / "aullm").write_text(script)
    (folder / "aullm").chmod(0o755)
    (folder.parent / ".ready").touch()

    def call(*arguments: str, **variables: str) -> tuple[subprocess.CompletedProcess, list[str]]:
        command = ["make", *arguments, f"VENV={folder.parent}"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | variables)
        return done, json.loads(told.read_text()) if told.exists() else []

    return call


ODD = ["O'Brien", "a b", "#1", 'say "x"', "it`s; echo", "back\\slash", "é中", "(x) & y|z", "*", "a=b, c: d"]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_a_path_goes_through_make_and_the_command_as_it_is(make, tmp_path, tiny_llm, name, by):
    root, llm = tmp_path / name / "CASME2", tmp_path / name / "llm"
    root.mkdir(parents=True)
    shutil.copytree(tiny_llm, llm)
    variables = {"RELEASES": "casme2", "CASME2_ROOT": str(root), "LLM": str(llm)}
    pairs = [f"{key}={value}" for key, value in variables.items()]
    for target in ("paper", "grid"):
        arguments, more = (pairs, {}) if by == "argument" else ([], variables)
        done, told = make(target, "GRID=seeds=1,2", *arguments, **more)
        assert done.returncode == 0, done.stderr
        assert {f"casme2_root={root}", f"llm={llm}", "releases=[casme2]"} <= set(told)
        taken = [text.partition("=") for text in told if text.startswith(("casme2_root=", "llm=", "releases="))]
        given = {key: parameters.parse(key, value, key) for key, _, value in taken}
        with pytest.raises(FileNotFoundError, match=r"-p more_llms=\[\] leaves them out\): llm='deepseek-ai/"):
            batch.plan("paper", given)
        settings = batch.plan("paper", given | {"more_llms": []})
        training = settings["02_train_loso"]
        assert (training["casme2_root"], training["llm"]) == (str(root), str(llm))


@pytest.mark.parametrize("name", ODD)
def test_a_folder_that_is_not_there_is_said_so_by_its_name(make, tmp_path, name):
    done, told = make("paper", "RELEASES=casme2", f"CASME2_ROOT={tmp_path / name}")
    assert done.returncode == 2 and f"CASME2_ROOT is {tmp_path / name}, which is no folder" in done.stderr and not told


@pytest.fixture
def outputs(home, tmp_path):
    """What profiles wrote below a home, and other people's files beside it."""
    for profile in ("smoke", "demo", "demo-llm", "demo-mine", "paper", "paper-seeds-1", "llm", "nbval"):
        (home / "runs" / profile / "results" / "run").mkdir(parents=True)
        (home / "figures" / profile).mkdir(parents=True)
        synthetic = not profile.startswith("paper")
        text = json.dumps({"data": {"synthetic": synthetic}}, indent=1)
        (home / "runs" / profile / "results" / "run" / "run.json").write_text(text)
    (home / "figures" / "readme").mkdir()
    (home / "runs" / "paper-seeds-1" / "pool").symlink_to("../paper/results", target_is_directory=True)
    return home


def left(home: Path, folder: str = "runs") -> set[str]:
    return {path.name for path in (home / folder).iterdir()}


def test_clean_removes_smoke_demos_and_tests_and_says_so(outputs, make):
    before = left(outputs, "figures")
    done, _ = make("clean")
    assert done.returncode == 0, done.stderr
    assert left(outputs) == {"demo-mine", "paper", "paper-seeds-1", "llm"}
    assert left(outputs, "figures") == before - {"smoke", "demo", "demo-llm", "nbval"}
    assert "runs/demo-llm, with 1 run folders" in done.stdout


@pytest.mark.parametrize("where", ["results/run/run.json", "clips/store/store.json", "records/02_train_loso.json"])
def test_a_demo_on_licensed_data_stays_until_it_is_named(outputs, make, where):
    note = {"parameters": {"data": "licensed"}} if "records" in where else {"release": {"synthetic": False}}
    (path := outputs / "runs" / "demo" / where).parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(note, indent=1))
    done, _ = make("clean")
    assert "demo" in left(outputs) and "runs/demo stays, it has licensed data" in done.stdout
    done, _ = make("clean", "PROFILE=demo")
    assert done.returncode == 0 and "demo" not in left(outputs) and "paper" in left(outputs)


def test_a_named_profile_goes_alone(outputs, make):
    done, _ = make("clean", "PROFILE=paper-seeds-1")
    assert done.returncode == 0 and "removing" in done.stdout
    assert "paper-seeds-1" not in left(outputs) and (outputs / "runs/paper/results/run/run.json").is_file()
    before = left(outputs)
    make("clean", PROFILE="paper")  # a variable of the environment names nothing
    assert left(outputs) == before - {"smoke", "demo", "demo-llm", "nbval"}


@pytest.mark.parametrize("name", ["", "..", ".", "../home", "readme", "llm", "none", "demo paper", "*", "/", "$$HOME"])
def test_a_name_that_is_no_profile_removes_nothing(outputs, make, name):
    before = left(outputs), left(outputs, "figures")
    done, _ = make("clean", f"PROFILE={name}")
    assert (left(outputs), left(outputs, "figures")) == before
    assert done.returncode == 2 and f"PROFILE={name.replace('$$', '$')}" in done.stderr
