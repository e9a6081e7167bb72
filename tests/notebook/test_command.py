"""The command ``aullm``: its help, its exit codes, and how it is installed."""

import os
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from aullm_lib.__main__ import main, parser

ROOT = Path(__file__).parents[2]
COMMANDS = ("predict", "report", "demo", "batch", "grid")


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
