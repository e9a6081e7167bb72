"""The repository's notebooks with the outputs of a profile that was run: ``aullm outputs demo``.

A reader on the web then sees results. Outputs are small and of synthetic data: tables, words and pictures, without
paths, progress bars and how long something took, and the same again where the results are. Each cell keeps a hash of
the source that its outputs come from.
"""

import base64
import hashlib
import io
import logging
import re
from argparse import Namespace
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from PIL import Image

from aullm_lib.notebook import executed, parameters
from aullm_lib.notebook.workspace import Workspace, enter_home
from aullm_lib.support import files

LARGEST = 100_000  # bytes of a picture
KINDS = ("image/png", "text/html", "text/markdown", "text/plain")
PRIVATE = re.compile(r"(?<![\w<])/\w[\w.-]*/|\b(?:runs|figures)/|\d (?:s|seconds|minutes)\b")  # paths and times
WIDGET = "application/vnd.jupyter.widget-view+json"  # a progress bar; without its notebook's kernel it stands at 0 %
DRAWN = re.compile(r"(?<=T_)[0-9a-f]{5}(?=[_\"])| at 0x[0-9a-f]+(?=>)")  # at random: ids of styled tables, addresses
MADE = "outputs_of"  # a cell's metadata: the hash of its source

log = logging.getLogger("aullm")


def digest(source: str) -> str:
    """Names the source of a cell."""
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def write(profile: str) -> list[Path]:
    """Puts a profile's outputs into the notebooks of the repository, all of them or none.

    Raises:
        ValueError: A notebook was not run to its end, with other sources, or with data that are not synthetic.
    """
    enter_home()
    books = {book.name: book for book in executed.load(Workspace(profile))}
    new = {}
    for name in parameters.names():
        path, book = parameters.SOURCE / f"{name}.ipynb", books.get(name)
        if book is None or book.problem:
            raise ValueError(f"{name} was not run to its end: {executed.command(profile)}")
        if book.synthetic != {True}:
            raise ValueError(f"{name}: outputs are kept of synthetic data only, and these are not known to be")
        new[path] = nbformat.read(path, as_version=4)
        made = {cell.id: cell for cell in book.book.cells}
        for number, cell in enumerate((cell for cell in new[path].cells if cell.cell_type == "code"), 1):
            if cell.id not in made or made[cell.id].source != cell.source:
                raise ValueError(f"{name}: cell {cell.id} was run with another source: {executed.command(profile)}")
            keep(cell, made[cell.id].outputs, number)
    for path, book in new.items():
        files.write_text(path, nbformat.writes(book) + "\n")
    return list(new)


def keep(cell: NotebookNode, outputs: list[NotebookNode], number: int) -> None:
    """Gives a cell, by its number among code cells, what may be kept of the outputs that its source made."""
    ids = dict[str, str]()  # of its tables, that no other cell's have

    def same(found: re.Match[str]) -> str:
        return "" if found[0].startswith(" at") else ids.setdefault(found[0], f"{number:03d}{len(ids):02d}")

    cell.outputs = [kept for output in outputs if (kept := _small(output))]
    for output in cell.outputs:
        if "data" in output:
            output.data |= {kind: DRAWN.sub(same, output.data[kind]) for kind in KINDS[1:] if kind in output.data}
    cell.execution_count = number if cell.outputs else None  # nbval takes outputs without a number for a mistake
    cell.metadata.pop(MADE, None)
    if cell.outputs:
        cell.metadata[MADE] = digest(cell.source)


def _small(output: NotebookNode) -> NotebookNode | None:
    """An output as it may be kept, or None."""
    if output.output_type == "stream":
        kept = output.name == "stdout" and not PRIVATE.search(output.text)
        return nbformat.v4.new_output("stream", name="stdout", text=output.text) if kept else None
    data = {kind: output.data[kind] for kind in KINDS if kind in output.get("data", {})}
    if WIDGET in output.get("data", {}) and "image/png" not in data:
        return None
    if not data or any(PRIVATE.search(data[kind]) for kind in KINDS[1:] if kind in data):
        return None
    if "image/png" in data:
        data = {"image/png": _picture(data["image/png"]), "text/plain": data["text/plain"]}
    return nbformat.v4.new_output(output.output_type, data=data)


def _picture(content: str) -> str:
    """A PNG as base64, in 256 colours and of at most ``LARGEST`` bytes: with fewer pixels where that takes it."""
    raw = base64.b64decode(content)
    opened = Image.open(io.BytesIO(raw))
    if opened.mode == "P" and len(raw) <= LARGEST:  # as it comes from here: 256 colours chosen anew would be others
        return content
    image = opened.convert("RGB")
    for percent in range(100, 10, -10):
        buffer = io.BytesIO()
        smaller = image.resize((image.width * percent // 100, image.height * percent // 100), Image.Resampling.LANCZOS)
        smaller.quantize(256).save(buffer, "PNG", optimize=True)
        if buffer.tell() <= LARGEST:
            break
    return base64.b64encode(buffer.getvalue()).decode()


def main(options: Namespace) -> int:
    """``aullm outputs``."""
    log.info("%d notebooks have the outputs of %s", len(write(options.profile)), options.profile)
    return 0
