"""Imports go one way, from a release on disk to tables and notebooks: see "Architecture" in CONTRIBUTING.md."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import aullm_lib

LAYERS = (
    "support facs",
    "metrics",
    "datasets",
    "preprocess clips",
    "led backbone efp llm lora asl model controls recipe protocol",
    "experiment baselines",
    "runs engine trained card",
    "explain predict",
    "report",
    "notebook",
    "__main__",
)
"""A module may import from its own layer and from those before it."""
LEVELS = {name: level for level, names in enumerate(LAYERS) for name in names.split()}


def imported(tree: ast.AST, importer: str, modules: set[str]) -> set[str]:
    """The modules that a syntax tree imports, and the packages around them that are not the importer's own."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            targets = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= targets if targets <= modules else targets | {node.module}
    names |= {str(name.rpartition(".")[0]) for name in names}
    return {name for name in names & modules if not f"{importer}.".startswith(f"{name}.")}


def violations(package: Path) -> list[str]:
    """Every import in a package that goes upwards, in a circle, or is hidden in a function."""
    out, graph, trees = [], {}, {}
    for path in package.rglob("*.py"):
        name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
        trees[name] = ast.parse(path.read_text(encoding="utf-8"))
    modules = trees.keys() - {package.name}
    for name in sorted(modules):
        layer, graph[name] = name.split(".")[1], imported(trees[name], name, modules)
        if layer not in LEVELS:
            out.append(f"{name} is in no layer")
            continue
        upward = [other for other in graph[name] if LEVELS.get(other.split(".")[1], 0) > LEVELS[layer]]
        functions = [node for node in ast.walk(trees[name]) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        hidden = set().union(*(imported(function, name, modules) for function in functions))
        out += [f"{name} -> {other}" for other in sorted(upward)]
        out += [f"{name} -> {other}, inside a function" for other in sorted(hidden)]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        out.append(f"circle: {' <- '.join(error.args[1])}")
    return out


def test_every_import_of_the_library_goes_one_way():
    assert violations(Path(aullm_lib.__file__).parent) == []


@pytest.mark.parametrize(
    ("module", "source", "message"),
    [
        ("clips", "from aullm_lib import runs", "aullm_lib.clips -> aullm_lib.runs"),
        ("clips", "import aullm_lib.runs as r", "aullm_lib.clips -> aullm_lib.runs"),
        ("clips", "from aullm_lib.runs import Run", "aullm_lib.clips -> aullm_lib.runs"),
        ("runs", "def f():\n    from aullm_lib import clips", "aullm_lib.runs -> aullm_lib.clips, inside a function"),
        ("support/a", "from aullm_lib.support import b", "circle: "),
        ("facs", "from aullm_lib.support.c import x", "circle: "),
        ("new", "", "aullm_lib.new is in no layer"),
    ],
)
def test_a_violation_is_named(tmp_path, module, source, message):
    tree = {"facs": "", "clips": "from aullm_lib import facs", "runs": "import torch", "support/c": "", "support/a": ""}
    tree |= {"support/__init__": "from aullm_lib import facs", "support/b": "from aullm_lib.support.a import x"}
    (tmp_path / "aullm_lib" / "support").mkdir(parents=True)
    for name, text in tree.items():
        (tmp_path / "aullm_lib" / f"{name}.py").write_text(text)
    assert violations(tmp_path / "aullm_lib") == []
    (tmp_path / "aullm_lib" / f"{module}.py").write_text(source)
    (violation,) = violations(tmp_path / "aullm_lib")
    assert violation.startswith(message)
