"""One place for exact versions, the same for pip and conda, and nothing tracked that must not be."""

import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
DECLARED = [Requirement(r) for r in PROJECT["dependencies"] + [r for extra in EXTRAS.values() for r in extra]]


@pytest.fixture(scope="module")
def pins():
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and line[0] != "#"]
    found = dict(line.split("==") for line in lines)
    assert len(found) == len(lines)
    return {canonicalize_name(name): pin for name, pin in found.items()}


PATTERNS = ROOT / "tests" / "predict" / "data"  # videos of rendered test patterns


def tracked():
    try:
        done = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\n") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("requirement", DECLARED, ids=lambda r: r.name)
def test_every_declared_package_is_pinned_within_its_range_and_installed_so(requirement, pins):
    pin = pins[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin)
    assert version(requirement.name).split("+")[0] == pin


def test_constraints_are_portable(pins):
    assert not [name for name in pins if re.match(r"nvidia|triton|cuda", name)]
    assert not [pin for pin in pins.values() if "+" in pin]  # +cpu would shut out the CUDA build
    assert not {"torchvision", "timm", "grad-cam", "mediapipe"} & set(pins)


def test_conda_and_make_install_the_same():
    """Both install this project, with the same extras, under constraints.txt, and pin nothing by themselves."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["--constraint constraints.txt", "--editable .[notebooks,dev]"]
    assert [item for item in environment["dependencies"] if isinstance(item, str)] == ["python=3.11", "pip", "make"]
    assert (
        "install --quiet --constraint constraints.txt --editable '.[notebooks,dev]'" in (ROOT / "Makefile").read_text()
    )
    assert set(EXTRAS) == {"notebooks", "cluster", "dev"}


def test_no_registry_address_machine_path_or_unsafe_load_is_recorded():
    address = re.compile(r"(index-url|find-links|extra-index|--index)\b(?!\|)")
    unsafe = re.compile(r"\bpickle\.load|trust_remote_code *= *True|yaml\.load\(")
    for path in tracked():
        if path == Path(__file__).resolve() or path.suffix in {".png", ".pdf"} or path.parent == PATTERNS:
            continue
        text = path.read_text(encoding="utf-8")
        assert not address.search(text), path
        assert not unsafe.search(text), path
        assert str(ROOT) + "/" not in text, path


def test_notebooks_follow_the_house():
    notebooks = sorted((ROOT / "notebooks").glob("*.ipynb"))
    assert notebooks
    for path in notebooks:
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        code = [cell for cell in book.cells if cell.cell_type == "code"]
        assert book.cells[0].source.startswith("# "), path
        for word in ("**What it does.**", "**Reads**", "**Writes**", "**Takes**"):
            assert word in book.cells[0].source, (path, word)
        assert "parameters" in book.cells[1].metadata.tags, path
        assert not [c.source for c in code if re.search(r"^\s*(def|class) ", c.source, re.MULTILINE)], path


def test_licensed_material_is_never_tracked():
    kinds = {".xlsx", ".npy", ".safetensors", ".jpg", ".jpeg", ".avi", ".mp4", ".mkv", ".webm", ".ts", ".h264"}
    assert not [p for p in tracked() if p.suffix in kinds and p.parent != PATTERNS]
    assert sum(p.stat().st_size for p in PATTERNS.iterdir()) < 40_000  # test patterns of some frames, no recordings
    assert not [p for p in tracked() if p.stat().st_size > 2**20]
