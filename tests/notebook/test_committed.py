"""Outputs in the repository's notebooks: small, of their own sources and synthetic data, without paths and times."""

import base64
import io

import nbformat
import numpy as np
import pytest
from nbformat import v4
from PIL import Image

from aullm_lib.__main__ import main
from aullm_lib.notebook import committed, parameters
from aullm_lib.notebook.workspace import Workspace


def code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", parameters.names())
def test_the_repositorys_outputs_are_of_their_sources_and_small(name):
    for number, cell in enumerate(code(nbformat.read(parameters.SOURCE / f"{name}.ipynb", as_version=4)), 1):
        assert cell.execution_count == (number if cell.outputs else None)
        assert cell.metadata.get(committed.MADE, "") == (committed.digest(cell.source) if cell.outputs else ""), cell.id
        assert cell.outputs or "NBVAL_CHECK_OUTPUT" not in cell.source, "nbval has nothing to compare with"
        before = [output.copy() for output in cell.outputs]
        committed.keep(cell, cell.outputs, number)
        assert cell.outputs == before  # nothing more is to be left out


def picture(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def ran(home, tmp_path, monkeypatch):
    """A repository with one notebook, which has run under the profile smoke."""
    monkeypatch.setattr(parameters, "SOURCE", tmp_path / "notebooks")
    cells = [v4.new_markdown_cell("# X"), v4.new_code_cell("data = 'synthetic'", metadata={"tags": ["parameters"]})]
    source = v4.new_notebook(cells=[*cells, v4.new_code_cell("show()")])
    (tmp_path / "notebooks" / "profiles").mkdir(parents=True)
    (tmp_path / "notebooks" / "profiles" / "smoke.yaml").write_text("")
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    outputs = [
        v4.new_output("stream", name="stderr", text="a warning"),
        v4.new_output("stream", name="stdout", text="12 folds"),
        v4.new_output("stream", name="stdout", text="3.2 minutes of training"),
        v4.new_output("display_data", data={"text/plain": "runs/smoke/results/x"}),
        v4.new_output("display_data", data={"text/plain": "PosixPath('/home/x/y')"}),
        v4.new_output("execute_result", data={"text/plain": "1/2", "text/html": "<td>1/2</td>"}, execution_count=2),
        v4.new_output("display_data", data={"text/plain": "Figure", "image/png": picture(noise)}),
    ]
    executed = source.copy()
    executed.cells = [*cells[:1], *(cell.copy() for cell in code(source))]
    for count, cell in enumerate(code(executed), 1):
        cell.execution_count = count
    executed.cells[-1].outputs = outputs

    def write(changed="show()", data="synthetic"):
        source.cells[-1].source = changed
        nbformat.write(source, tmp_path / "notebooks" / "01_x.ipynb")
        folder = home / "runs" / "smoke" / "notebooks"
        folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(executed, folder / "01_x.ipynb")
        monkeypatch.chdir(home)
        Workspace("smoke").record("01_x", {"data": data}, files=[])
        return tmp_path / "notebooks" / "01_x.ipynb"

    return write


def test_outputs_go_into_the_repository_without_paths_times_warnings_and_large_pictures(ran):
    path = ran()
    assert main(["outputs", "smoke"]) == 0
    *_, cell = nbformat.read(path, as_version=4).cells
    words, table, drawn = cell.outputs
    assert words.text == "12 folds" and table.data["text/html"] == "<td>1/2</td>" and table.execution_count is None
    raw = base64.b64decode(drawn.data["image/png"])
    assert len(raw) <= committed.LARGEST and Image.open(io.BytesIO(raw)).width >= 200
    assert cell.metadata[committed.MADE] == committed.digest("show()")


def test_outputs_are_the_same_again_and_hold_no_progress_bar():
    def kept(uuid, address):
        table = f'<style>#T_{uuid}_row0_col1 {{}}</style><table id="T_{uuid}"><td id="T_{uuid}_row0_col1">T_abcde1</td>'
        outputs = [
            v4.new_output("display_data", data={committed.WIDGET: {}, "text/plain": "clips: 0%| | 0/64"}),
            v4.new_output("display_data", data={"text/html": table, "text/plain": f"<Styler at 0x{address:x}>"}),
            v4.new_output("display_data", data={"text/plain": "explorer", "image/png": small, committed.WIDGET: {}}),
        ]
        cell = v4.new_code_cell("show()")
        committed.keep(cell, outputs, 1)
        return cell.outputs

    small = picture(np.zeros((8, 8), np.uint8))
    table, drawn = kept("b31d4", 0x7F72BA)
    assert [table, drawn] == kept("dfe71", 0x7F09E3)
    assert table.data["text/plain"] == "<Styler>" and "T_abcde1" in table.data["text/html"]
    assert table.data["text/html"].count("T_00100") == 3 and "image/png" in drawn.data


@pytest.mark.parametrize("colours", [None, 256])
def test_a_picture_is_small_and_kept_as_it_is_from_then_on(colours):
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    buffer, image = io.BytesIO(), Image.fromarray(noise)
    (image.quantize(colours) if colours else image).save(buffer, "PNG")
    data = {"image/png": base64.b64encode(buffer.getvalue()).decode(), "text/plain": "Figure"}
    cell = v4.new_code_cell("show()")
    committed.keep(cell, [v4.new_output("display_data", data=data)], 1)
    (once,) = cell.outputs
    assert len(base64.b64decode(once.data["image/png"])) <= committed.LARGEST
    committed.keep(cell, [once], 1)
    assert cell.outputs == [once]


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"changed": "show(2)"}, "was run with another source"), ({"data": "licensed"}, "synthetic data only")],
)
def test_outputs_of_other_sources_and_of_licensed_data_are_refused(ran, changes, message, caplog):
    path = ran(**changes)
    before = path.read_bytes()
    assert main(["outputs", "smoke"]) == 2
    assert message in caplog.text and path.read_bytes() == before
