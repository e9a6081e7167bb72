"""Notebooks run in this interpreter, by sockets of their own, and a kernel that dies says why."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import papermill
import pytest
from nbformat import v4

from aullm_lib.__main__ import main
from aullm_lib.notebook import executed, kernel, parameters
from aullm_lib.notebook.workspace import Workspace


def notebook(path: Path, *code: str) -> Path:
    tagged = v4.new_code_cell('profile = "smoke"', metadata={"tags": ["parameters"]})
    spec = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    nbformat.write(v4.new_notebook(metadata=spec, cells=[tagged, *map(v4.new_code_cell, code)]), path)
    return path


def printed(path: Path) -> str:
    book = nbformat.read(path, as_version=4)
    return "".join(o.get("text", "") for c in book.cells if c.cell_type == "code" for o in c.outputs)


def test_a_kernel_has_the_environment_that_make_sets():
    text = (parameters.SOURCE.parent / "Makefile").read_text()
    exported = dict(re.findall(r"^export (\w+) := (.*)$", text, re.MULTILINE))
    assert exported.items() - kernel.ENVIRONMENT.items() == {("PYTHONUNBUFFERED", "1")}
    assert kernel.ENVIRONMENT.items() <= exported.items()


@pytest.mark.parametrize("by", ["JUPYTER_PATH", "JUPYTER_DATA_DIR", "IPYTHONDIR"])
def test_the_kernel_is_this_interpreter_whatever_others_are_called_python3(tmp_path, monkeypatch, by):
    folder = tmp_path / "module" / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "-f", "{connection_file}"], "display_name": "Python 3", "language": "python"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv(by, str(tmp_path / "module"))
    source = notebook(tmp_path / "a.ipynb", "import sys, os; print(sys.executable, os.getcwd())")
    kernel.execute(source, tmp_path / "out.ipynb", {}, tmp_path)
    assert printed(tmp_path / "out.ipynb").split() == [sys.executable, str(tmp_path)]


def test_two_batches_begun_together_share_no_socket(tmp_path):
    """Each takes what the other left in the folder that both run in, and neither leaves anything there."""
    source = notebook(tmp_path / "a.ipynb", "import time; time.sleep(1)", "import os; print('pid', os.getpid())")
    home, temporary = tmp_path / "shared", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    code = (
        "import sys; from pathlib import Path as P; from aullm_lib.notebook import kernel; "
        "kernel.execute(P(sys.argv[1]), P(sys.argv[2]), {}, P('.'))"
    )
    targets = [tmp_path / f"{i}.ipynb" for i in range(3)]
    command = [sys.executable, "-c", code, str(source)]
    environment = os.environ | {"TMPDIR": str(temporary)} if len(str(temporary)) < 60 else os.environ
    both = [subprocess.Popen([*command, str(target)], cwd=home, env=environment) for target in targets]
    assert [one.wait() for one in both] == [0, 0, 0]
    assert len({printed(target) for target in targets}) == 3
    assert not list(home.iterdir()) and not list(temporary.iterdir())


def test_sockets_lie_where_the_system_takes_them(tmp_path, monkeypatch):
    """A batch system's temporary folder may be longer than a socket's path can be."""
    long = tmp_path / ("scratch" * 8) / ("job" * 20)
    long.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    source = notebook(tmp_path / "a.ipynb", "print('ran')")
    kernel.execute(source, tmp_path / "out.ipynb", {}, tmp_path)
    assert printed(tmp_path / "out.ipynb") == "ran\n"


@pytest.mark.parametrize(
    ("death", "why"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "ended by SIGKILL, as the system does when memory"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "ended by SIGTERM, as batch systems do"),
        ("import ctypes; ctypes.string_at(0)", "ended by SIGSEGV, it crashed in compiled code"),
        ("import os; os._exit(3)", "ended by itself, with exit status 3"),
    ],
)
def test_a_kernel_that_dies_says_why_and_where(tmp_path, death, why):
    source, out = notebook(tmp_path / "02_x.ipynb", "1", death, "2"), tmp_path / "out.ipynb"
    with pytest.raises(RuntimeError, match=f"02_x: its kernel (was )?{why}") as error:
        kernel.execute(source, out, {}, tmp_path)
    assert str(error.value).endswith(f"it was in cell 3 of {out}")


@pytest.fixture
def books(tmp_path, monkeypatch):
    """A folder of notebooks with one notebook, which does as it is told and then leaves its record."""
    monkeypatch.setattr(parameters, "SOURCE", tmp_path / "source")
    (tmp_path / "source" / "profiles").mkdir(parents=True)
    (tmp_path / "source" / "profiles" / "smoke.yaml").write_text("seconds: {01_x: 100}")
    record = "from aullm_lib.notebook.workspace import Workspace; Workspace('smoke').record('01_x', {}, files=[])"

    def does(code: str, recorded: bool = True) -> None:
        notebook(tmp_path / "source" / "01_x.ipynb", code, *([record] if recorded else []))

    return does


def test_an_executed_notebook_is_replaced_only_by_one_that_finished(books, home, caplog):
    caplog.set_level("INFO")
    folder = home / "runs" / "smoke" / "notebooks"
    done, begun = folder / "01_x.ipynb", folder / "01_x.unfinished.ipynb"
    books("print('first')")
    assert main(["batch", "smoke"]) == 0
    assert printed(done) == "first\n" and not begun.exists()
    for attempt, code in enumerate(["print('second'); 1 / 0", "import os; os._exit(1)"]):
        caplog.clear()
        books(code)
        assert main(["batch", "smoke"]) == 1
        assert printed(done) == "first\n" and begun.is_file()
        assert ["ZeroDivisionError: division by zero", "exit status 1"][attempt] in caplog.text
        assert "runs/smoke/notebooks/*.unfinished.ipynb shows where" in caplog.text
        assert [book.name for book in executed.load(Workspace("smoke"))] == ["01_x"]
    books("print('third')", recorded=False)  # the record that is there is an earlier one's
    assert main(["batch", "smoke"]) == 1
    assert "ended without its record" in caplog.text and printed(done) == "first\n"
    books("print('fourth')")
    assert main(["batch", "smoke"]) == 0
    assert printed(done) == "fourth\n" and not begun.exists()


def test_one_that_never_finished_is_shown_with_its_problem(books, home, monkeypatch):
    books("1 / 0")
    assert main(["batch", "smoke"]) == 1
    monkeypatch.chdir(home)
    (book,) = executed.load(Workspace("smoke"))
    assert book.name == "01_x" and book.problem.startswith("stopped by an error, ZeroDivisionError")


def test_a_batch_tells_where_it_is_how_long_it_takes_and_what_to_do_next(books, home, caplog):
    caplog.set_level("INFO")
    books("1")
    assert main(["batch", "smoke"]) == 0
    lines = caplog.messages
    assert lines[0] == "smoke: 1 notebooks, about 2 minutes on two cores if nothing is done yet"
    assert lines[1].startswith("01_x             1 of 1, about 2 minutes ...")
    assert [line.split("  ")[1] for line in lines[-5:]] == [
        "look first at", "tables and figures", "executed notebooks", "a website of it all", "to go on from here",
    ]  # fmt: skip
    assert "make report PROFILE=smoke" in lines[-2] and lines[-1].endswith("make lab")
    caplog.clear()
    assert main(["batch", "smoke", "--only", "01_x"]) == 0
    assert "1 of 1, up to date" in caplog.text


def test_papermills_errors_are_those_of_the_cell(tmp_path):
    source = notebook(tmp_path / "a.ipynb", "1 / 0")
    with pytest.raises(papermill.PapermillExecutionError, match="ZeroDivisionError"):
        kernel.execute(source, tmp_path / "out.ipynb", {}, tmp_path)
