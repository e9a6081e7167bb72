"""Notebook parameters, checked: unknown names and wrong types are errors (papermill only warns).

A notebook's ``parameters`` cell holds plain literals, which are the defaults and, by their types, the schema.
``notebooks/profiles/*.yaml`` hold differences from them: under ``all`` for every notebook that has the parameter,
under a notebook's name for that one.
"""

import ast
from pathlib import Path
from typing import Any

import nbformat
import yaml

from aullm_lib.notebook.workspace import Workspace, check_data, enter_home

SOURCE = Path(__file__).resolve().parents[2] / "notebooks"


class ParameterError(ValueError):
    """A notebook parameter that does not exist, or has the wrong type; the message names it."""


def names() -> list[str]:
    """The notebooks in their order."""
    return sorted(path.stem for path in SOURCE.glob("[0-9]*.ipynb"))


def defaults(name: str) -> dict[str, Any]:
    """The literals of a notebook's ``parameters`` cell. Raises ParameterError for a notebook that does not exist."""
    path = SOURCE / f"{name}.ipynb"
    if not path.is_file():
        raise ParameterError(f"no notebook {name!r}; there are {', '.join(names())}")
    cells = [c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{path.name}: expected one cell tagged 'parameters', found {len(cells)}")
    return _literals(cells[0].source)


def _literals(source: str) -> dict[str, Any]:
    found = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                raise ParameterError(f"a parameter is a plain literal, not {ast.unparse(node)!r}") from None
        else:
            raise ParameterError(f"a parameters cell holds plain 'name = literal' lines, not {ast.unparse(node)!r}")
    return found


def checked(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The notebook's defaults with ``given`` over them. Raises ParameterError naming what is unknown or mistyped."""
    schema = defaults(name)
    unknown = [key for key in given if key not in schema]
    if unknown:
        raise ParameterError(f"{name} has no parameter {unknown[0]!r}; it has {', '.join(schema)}")
    return {key: _typed(f"{name}: {key}", given.get(key, value), value) for key, value in schema.items()}


def _typed(where: str, value: Any, example: Any) -> Any:
    """``value`` if it has the type of ``example``; a whole number will do for a float."""
    if isinstance(example, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type(example):
        hint = (
            " (YAML reads 1e-4 as text: write 1.0e-4)" if isinstance(value, str) and isinstance(example, float) else ""
        )
        raise ParameterError(
            f"{where} is {value!r}, a {type(value).__name__}; expected a {type(example).__name__} such as "
            f"{example!r}{hint}"
        )
    if isinstance(example, list) and example:
        return [_typed(f"{where}[{i}]", item, example[0]) for i, item in enumerate(value)]
    return value


def profile(name: str) -> dict[str, dict[str, Any]]:
    """A profile -> the checked parameters of every notebook. Raises ParameterError naming the file and the key."""
    folder = SOURCE / "profiles"
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise ParameterError(f"unknown profile {name!r}; {folder} holds {known}")
    content = parse_yaml(path.read_text(encoding="utf-8"), path.name) or {}
    if not isinstance(content, dict) or not all(isinstance(v, dict | None) for v in content.values()):
        raise ParameterError(f"{path.name}: expected 'all:' or a notebook's name, and parameters below it")
    shared = content.pop("all", None) or {}
    schemas = {notebook: defaults(notebook) for notebook in names()}
    for key in content:
        if key not in schemas:
            raise ParameterError(f"{path.name}: no notebook {key!r}; there are {', '.join(schemas)}")
    for key in shared:
        if not any(key in schema for schema in schemas.values()):
            raise ParameterError(f"{path.name}: no notebook has the parameter {key!r}")
    return {
        notebook: checked(
            notebook,
            {k: v for k, v in shared.items() if k in schema} | {"profile": name} | (content.get(notebook) or {}),
        )
        for notebook, schema in schemas.items()
    }


def parse_yaml(text: str, where: str) -> Any:
    """A YAML value. Raises ParameterError naming ``where`` it stands."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"{where}: not readable as YAML ({' '.join(str(error).split())})") from None


def start(name: str, namespace: dict[str, Any]) -> tuple[Workspace, dict[str, Any]]:
    """A notebook's first call: checks its parameters and goes to the workspace's home, so that paths are the same
    in JupyterLab, papermill and nbval.

    namespace: the notebook's ``globals()``. Returns the workspace and the parameters.
    Raises ParameterError for an injected name that the notebook does not have, a wrong type, or a bad
    profile name, and ValueError for data that cannot be had (``workspace.check_data``).
    """
    schema = defaults(name)
    settings = checked(name, {key: namespace[key] for key in schema if key in namespace})
    for source in namespace.get("In", []):
        if source.startswith("# Parameters\n"):  # papermill's own cell
            checked(name, _literals(source))
    if not settings["profile"].replace("-", "").isalnum():
        raise ParameterError(f"{name}: profile is {settings['profile']!r}; expected letters, digits and hyphens")
    if "releases" in settings:
        check_data(settings)
    enter_home()
    return Workspace(settings["profile"]), settings
