"""Notebook parameters, checked: unknown names and wrong types are errors (papermill only warns).

A notebook's ``parameters`` cell holds the few that people change, as plain literals: the defaults and, by their types,
the schema. ``notebooks/profiles/smoke.yaml`` has the others of each notebook in the same way. The other profiles hold
differences: under ``all`` for every notebook that has the parameter, under a notebook's name for that one.
"""

import ast
import inspect
import itertools
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import yaml

from aullm_lib import baselines, datasets, facs, model, preprocess
from aullm_lib.baselines import METHODS
from aullm_lib.baselines.teacher import TeacherRecipe
from aullm_lib.clips import MISSING
from aullm_lib.datasets import casme2
from aullm_lib.datasets.synthetic.release import check as check_synthetic
from aullm_lib.engine.runner import BACKENDS
from aullm_lib.experiment import AU_LLM, Experiment
from aullm_lib.metrics.thresholds import POLICIES
from aullm_lib.notebook.workspace import Workspace, enter_home, home
from aullm_lib.recipe import Recipe
from aullm_lib.report import claims, published
from aullm_lib.support import hub, smollm2, tiny
from aullm_lib.support.typed import typed

ROOTS = {"casme2": "casme2_root", "samm": "samm_root", "casme": "casme_root", "casme3": "casme3_root"}
ROOTS |= {"4dme": "fourdme_root", "mmew": "mmew_root"}
FOLDERS = (*ROOTS.values(), "teacher", "llm", "more_llms")
SOURCES = ("synthetic", "licensed")
BY_RELEASE = ("releases", "options", "publishable", "more_ablations", "one_out")
CHOICES: dict[str, Any] = dict.fromkeys(("baselines", "cross_baselines", "baseline_overrides"), METHODS) | {
    "explorer_releases": facs.BENCHMARK,
    "one_out_methods": (AU_LLM, *METHODS),
    "more_data_methods": (AU_LLM, *METHODS),
    "more_data": ("", *ROOTS),
    "count_missing": MISSING,
    "casme2_variant": (0, *casme2.VARIANTS),
    "policies": POLICIES,
    "backend": BACKENDS,
}
"""Parameter -> what it, its items or its keys are chosen from."""
NESTED: dict[str, Any] = {
    "options": dict[str, dict],
    "publishable": dict[str, list[str]],
    "more_ablations": dict[str, list[str]],
    "baseline_overrides": dict[str, dict],
    "resources": dict[str, float],
}
"""Parameter -> its type, where the default in the notebook is empty."""
SOURCE = Path(__file__).resolve().parents[2] / "notebooks"


class ParameterError(ValueError):
    """A notebook parameter that does not exist, or has the wrong type; the message names it."""


def names() -> list[str]:
    """The notebooks in their order."""
    return sorted(path.stem for path in SOURCE.glob("[0-9]*.ipynb"))


def defaults(name: str) -> dict[str, Any]:
    """A notebook's parameters: its cell's, then the others of the profile smoke. Raises as ``cell`` and ``profile``."""
    own = cell(name)
    return own | {key: value for key, value in (_content("smoke").get(name) or {}).items() if key not in own}


def cell(name: str) -> dict[str, Any]:
    """The literals of a notebook's ``parameters`` cell. Raises ParameterError if there is no such notebook or cell."""
    path = SOURCE / f"{name}.ipynb"
    if not path.is_file():
        raise ParameterError(f"no notebook {name!r}; there are {', '.join(names())}")
    cells = [c for c in nbformat.read(path, as_version=4).cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ParameterError(f"{path.name}: expected one cell tagged 'parameters', found {len(cells)}")
    return _literals(cells[0].source)


def _literals(source: str) -> dict[str, Any]:
    literals = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            try:
                literals[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                raise ParameterError(f"a parameter is a plain literal, not {ast.unparse(node)!r}") from None
        else:
            raise ParameterError(f"a parameters cell holds plain 'name = literal' lines, not {ast.unparse(node)!r}")
    return literals


def checked(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The notebook's defaults with ``given`` over them. Raises ParameterError naming what is unknown or mistyped."""
    schema = defaults(name)
    unknown = [key for key in given if key not in schema]
    if unknown:
        raise ParameterError(f"{name} has no parameter {unknown[0]!r}; it has {', '.join(schema)}")
    try:
        return {key: typed(f"{name}: {key}", _kind(value), given.get(key, value)) for key, value in schema.items()}
    except TypeError as error:
        raise ParameterError(str(error)) from None


def _kind(example: Any) -> Any:
    """The type that a default stands for: a list's is that of its first item, if it has one."""
    return list[_kind(example[0])] if isinstance(example, list) and example else type(example)  # type: ignore[misc]


def profile(name: str) -> dict[str, dict[str, Any]]:
    """The checked parameters of every notebook under a profile. Raises ParameterError naming the file and the key."""
    content = _content(name)
    for key in ("seconds", "shared"):
        content.pop(key, None)
    shared = content.pop("all", None) or {}
    file, schemas = f"{name}.yaml", {notebook: defaults(notebook) for notebook in names()}
    for key in content:
        if key not in schemas:
            raise ParameterError(f"{file}: no notebook {key!r}; there are {', '.join(schemas)}")
    for key in shared:
        if not any(key in schema for schema in schemas.values()):
            raise ParameterError(f"{file}: no notebook has the parameter {key!r}")
    return {
        notebook: checked(
            notebook,
            {k: v for k, v in shared.items() if k in schema} | {"profile": name} | (content.get(notebook) or {}),
        )
        for notebook, schema in schemas.items()
    }


def seconds(name: str) -> dict[str, float]:
    """How long a profile's notebooks take, as far as its file says. Raises as ``profile``."""
    with _named(f"{name}.yaml: "):
        return typed("seconds", dict[str, float], _content(name).get("seconds", {}))


def _content(name: str) -> dict[str, Any]:
    """What stands in a profile's file. Raises ParameterError where it is none."""
    Workspace(name)  # is a name, and no path
    folder = SOURCE / "profiles"
    path, profiles = folder / f"{name}.yaml", sorted(path.stem for path in folder.glob("*.yaml"))
    if not profiles:
        raise ParameterError(f"{folder} holds no profile: notebooks are run in a clone of the repository (make setup)")
    if name not in profiles:
        raise ParameterError(f"unknown profile {name!r}; {folder} holds {', '.join(profiles)}")
    content = parse_yaml(path.read_text(encoding="utf-8"), path.name) or {}
    if not isinstance(content, dict) or not all(isinstance(v, dict | None) for v in content.values()):
        raise ParameterError(f"{path.name}: expected 'all:' or a notebook's name, and parameters below it")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """Reads a YAML value. Raises ParameterError naming ``where`` it stands."""
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"{where}: not readable as YAML ({' '.join(str(error).split())})") from None


def parse(key: str, text: str, where: str) -> Any:
    """A parameter's value as a command has it: YAML, but a text as it stands (or in quotation marks, as in YAML).

    So a path may have any characters. Raises ParameterError naming ``where`` it stands.
    """
    textual = any(isinstance(defaults(name).get(key), str) for name in names())
    if textual and not re.fullmatch(r"""(["']).*\1""", text, re.DOTALL):
        return text
    return parse_yaml(text, where)


def from_here(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters whose relative folders count from here: notebooks run at ``home``, and would look for them there."""
    here = Path.cwd()

    def placed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: placed(part) for key, part in value.items()}
        if isinstance(value, list):
            return [placed(part) for part in value]
        named = not isinstance(value, str) or value in ("", smollm2.NAME, *tiny.SHAPES)
        return value if named or not os.path.isdir(value) else str(here / value)  # noqa: PTH112  # also of a long text

    at_home = here == home().expanduser().resolve()
    return {key: placed(value) if key in FOLDERS and not at_home else value for key, value in values.items()}


def check(settings: Mapping) -> None:
    """Checks the values of a notebook's parameters as far as they can be known before it runs.

    Raises:
        ParameterError: The first of them that is wrong.
        ValueError, FileNotFoundError: A root or a language model is not there, or is not usable.
    """
    with _named(""):
        for parameter, kind in NESTED.items():
            typed(parameter, kind, settings.get(parameter, {}))
    releases = [release for release, root in ROOTS.items() if root in settings]
    for parameter, choices in (CHOICES | dict.fromkeys(BY_RELEASE, releases)).items():
        value = settings.get(parameter, ())
        for item in value if isinstance(value, list | tuple | dict) else [value]:
            if item not in choices:
                raise ParameterError(f"{parameter}: unknown {item!r}; choose from {', '.join(map(str, choices))}")
    for parameter in ("releases", "seeds", "curve_seeds", "curve_intensities", "policies"):
        if settings.get(parameter) == []:
            raise ParameterError(f"{parameter} is empty; it takes at least one")
    if settings.get("align") and settings["align"] not in preprocess.ALIGNMENTS:
        raise ParameterError(f"align is {settings['align']!r}; choose one of {', '.join(preprocess.ALIGNMENTS)}, or ''")
    for parameter in ("side_by_side", "explained_clips"):
        if settings.get(parameter, 0) < 0:
            raise ParameterError(f"{parameter} is {settings[parameter]}; expected 0 or more")
    claims.needs(settings.get("claims", ()))
    if settings.get("models"):
        with _named("models: "):
            Workspace(settings["models"])
    if settings.get("backend") == "ray" and find_spec("ray") is None:
        raise ParameterError("backend is 'ray', which needs the package ray: pip install 'aullm-lib[cluster]'")
    _check_data(settings)
    _check_training(settings)


def _check_data(settings: Mapping) -> None:
    if settings.get("data", SOURCES[0]) not in SOURCES:
        raise ParameterError(f"data is {settings['data']!r}; choose one of {', '.join(SOURCES)}")
    rendered = {"curve_": [*dict.fromkeys(["casme2", *settings.get("explorer_releases", [])])], "macro_": ["casme2"]}
    if settings.get("data") == "licensed":
        licensed(settings)
    else:
        rendered[""] = settings.get("releases", ["casme2"])
    for prefix, releases in rendered.items():
        levels = settings.get(f"{prefix}intensities", [settings.get(f"{prefix}intensity", 1.0)])
        for release, level in itertools.product(releases if f"{prefix}subjects" in settings else [], levels):
            subjects, clips = (settings[f"{prefix}{name}"] for name in ("subjects", "clips_per_subject"))
            with _named(prefix):
                check_synthetic(release, subjects, clips, level, settings["data_seed"])
            if subjects < 2 and (prefix == "curve_" or (prefix == "" and "seeds" in settings)):
                raise ParameterError(f"{prefix}subjects is {subjects}; to leave one out takes 2 or more")
    scored = facs.BENCHMARK.get(next(iter(settings.get("releases", ["casme2"]))), ())
    if unknown := [number for number in settings.get("explained_aus", ()) if number not in scored]:
        raise ParameterError(f"explained_aus: AU{unknown[0]} is none that is scored; choose from {scored}")


def _check_training(settings: Mapping) -> None:
    """Makes the recipes and experiments that a notebook would train, and looks for the files that they begin with."""
    size = {"size": settings["size"]} if "size" in settings else {}
    changes = settings.get("baseline_overrides", {})
    for method in dict.fromkeys([*settings.get("baselines", ()), *settings.get("cross_baselines", ()), *changes]):
        with _named(f"baseline_overrides of {method}: "):
            recipe = baselines.recipe(method, **changes.get(method, {}))
        if (weights := getattr(recipe, "weights", "")) not in ("", "teacher"):
            hub.locate(weights, "weights")
    with _named("teacher_overrides: "):
        TeacherRecipe(**settings.get("teacher_overrides", {}))
    if (teacher := settings.get("teacher")) and not Path(teacher).expanduser().is_dir():
        raise FileNotFoundError(f"teacher={teacher!r}: no such folder")
    with _named("curve_overrides: "):
        Recipe.paper(**size | settings.get("curve_overrides", {}))
    if "overrides" not in settings:
        return
    with _named(""):
        recipe = Recipe.named(settings["recipe"], **size, **settings["overrides"])
    llms = [settings.get("llm", "tiny"), *settings.get("more_llms", ())]
    for llm in llms:
        if llm not in (smollm2.NAME, *tiny.SHAPES):
            try:
                hub.check(llm)
            except FileNotFoundError as error:
                if llm == llms[0]:
                    raise
                raise FileNotFoundError(f"more_llms (-p more_llms=[] leaves them out): {error}") from error
    lists = [settings.get(parameter, ()) for parameter in ("variants", "ablations", "cross_variants")]
    lists += settings.get("more_ablations", {}).values()
    variants = dict.fromkeys(["all", *itertools.chain(*lists)])
    for variant, llm, seed in itertools.product(variants, llms, settings.get("seeds", [1])):
        with _named(""):
            model.recipe_of(variant, recipe)
            name = llm.rstrip("/").split("/")[-1]  # of which the notebooks make that of a run folder
            Experiment(name=name, aus=(1,), recipe=recipe, variant=variant, llm=llm, seed=seed)


@contextmanager
def _named(prefix: str) -> Iterator[None]:
    """Turns errors of what is made from parameters into ParameterErrors that begin with a prefix."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ParameterError(f"{prefix}{error}") from None


def of_claims(name: str, settings: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any] | None:
    """A notebook's parameters with what some claims need in the place of its lists.

    Args:
        name: The notebook's.
        settings: Its parameters.
        keys: Of ``report.claims.CLAIMS``; without any, nothing changes.

    Returns:
        The parameters, or None if the claims need nothing of this notebook.

    Raises:
        ValueError: There is no such claim.
    """
    if not keys:
        return dict(settings)
    needs = claims.needs(keys)
    releases = [release for release in settings.get("releases", []) if release in needs.releases]
    whole = {"releases": releases, "variants": ["all"]}
    tables = {"releases": releases, "baselines": [*needs.baselines], "plain_cnn": False}
    parts = {"releases": releases, "ablations": [*needs.variants], "more_ablations": {}}
    across = {"cross_variants": ["all"], "cross_baselines": [*needs.across], "more_llms": []}
    every: dict[str, tuple[Any, dict[str, Any]]] = {  # whether it is needed, and for what
        "02_train_loso": (releases, whole),
        "03_baselines": (releases and needs.baselines, tables),
        "04_ablations": (releases, parts),
        "05_cross_domain": (needs.across, across),
        "06_visualize": (needs.explained, {}),
        "07_paper": (True, {}),
        "08_audit": (True, {}),
    }
    needed, lists = every.get(name, (False, {}))
    seeds = needs.across_seeds if name == "05_cross_domain" else needs.seeds
    if "seeds" in settings and len(settings["seeds"]) < seeds:
        lists = {**lists, "seeds": list(range(1, seeds + 1))}
    return {**settings, **lists} if needed else None


def missing_weights(notebooks: Mapping[str, Mapping]) -> list[str]:
    """Which pretrained weights the baselines that notebooks train will lack, in lines (``baselines.advice``).

    Args:
        notebooks: The parameters of each.
    """
    chosen = [
        (method, {"teacher": settings["teacher"]} | settings["baseline_overrides"].get(method, {}))
        for settings in notebooks.values()
        for method in [*settings.get("baselines", ()), *settings.get("cross_baselines", ())]
    ]
    return baselines.advice(chosen, all(s.get("data", "synthetic") == "synthetic" for s in notebooks.values()))


def undecided(notebooks: Mapping[str, Mapping]) -> list[str]:
    """Which language models decide no claim on licensed data, since they are none of the paper's by name, in lines.

    Args:
        notebooks: The parameters of each.
    """
    real = [settings for settings in notebooks.values() if settings.get("data") == "licensed" and "llm" in settings]
    llms = dict.fromkeys(itertools.chain(*([s["llm"], *s.get("more_llms", ())] for s in real)))
    return [
        f"{llm} is none of the paper's language models by its name and decides no claim; a folder that holds one is "
        f"called {' or '.join(published.LLMS)}"
        for llm in llms
        if not published.llm(llm)
    ]


def licensed(settings: Mapping) -> dict[str, dict[str, Any]]:
    """The arguments of ``datasets.load`` for each licensed release in ``releases``: its root, and its options.

    Raises:
        ValueError: A root is not given or is no folder, or an option is none of the release's.
    """
    sources = {}
    for release in settings["releases"]:
        parameter, root = ROOTS[release], settings[ROOTS[release]]
        advice = f"give the folder of the unpacked release: make paper {parameter.upper()}=/path/to/it"
        if not root:
            raise ValueError(f"{parameter} is not set; {advice} (or leave {release} out: RELEASES=...)")
        if not Path(root).expanduser().is_dir():
            raise ValueError(f"{parameter}: {root} is no folder; {advice}")
        options = dict(settings["options"].get(release, {}))
        allowed = [name for name in inspect.signature(datasets.ADAPTERS[release]).parameters if name != "root"]
        if unknown := [name for name in options if name not in allowed]:
            raise ValueError(f"options: {release} has no option {unknown[0]!r}; it has {', '.join(allowed)}")
        if release == "casme2" and settings["casme2_variant"]:
            options["variant"] = settings["casme2_variant"]
        sources[release] = {"root": root, **options}
    return sources


def given(settings: Mapping, releases: Iterable[str]) -> list[str]:
    """Those of some releases whose folders are given."""
    return [release for release in releases if settings[ROOTS[release]]]


def start(name: str, namespace: dict[str, Any]) -> tuple[Workspace, dict[str, Any]]:
    """A notebook's first call: checks its parameters and goes to the workspace's home.

    Paths are then the same in JupyterLab, papermill and nbval.

    Args:
        name: The notebook's.
        namespace: Its ``globals()``, in which the parameters of its cell get their checked values; what ``claims``
            need takes the place of its lists.

    Returns:
        The workspace and all parameters.

    Raises:
        ParameterError: A name was injected that the notebook does not have, or a value has a wrong type.
        ValueError: The data cannot be had (``check``), or the claims need nothing of this notebook.
    """
    schema = defaults(name)
    settings = checked(name, {key: namespace[key] for key in schema if key in namespace})
    for source in namespace.get("In", []):
        if source.startswith("# Parameters\n"):  # papermill's own cell
            checked(name, _literals(source))
    work = Workspace(settings["profile"])
    check(settings)
    keys = settings.get("claims", [])
    if (needed := of_claims(name, settings, keys)) is None:
        raise ValueError(f"{name}: the claims {', '.join(keys)} need nothing of this notebook")
    namespace |= {key: needed[key] for key in cell(name)}
    enter_home()
    for limit in ("max_colwidth", "max_columns", "max_rows"):
        pd.set_option(f"display.{limit}", None)  # a table is shown whole: half a name of a run leads nowhere
    logging.basicConfig(format="%(message)s")
    logging.getLogger("aullm_lib").setLevel(logging.INFO)  # how far a training is, below its cell and in a batch's log
    return work, needed
