"""What the baselines and cross-domain notebooks train, as jobs for ``engine.run_all``: within each release, between
two, and on all but one."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import permutations, product
from typing import Any, TypeAlias

import pandas as pd

from aullm_lib import baselines, facs, model, protocol
from aullm_lib.clips import ClipStore
from aullm_lib.experiment import AU_LLM, Experiment
from aullm_lib.notebook import sources
from aullm_lib.notebook.teachers import with_teachers
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Recipe
from aullm_lib.report.results import PLAIN

Job: TypeAlias = tuple[Experiment, ClipStore, list[Fold]]
Tables: TypeAlias = Mapping[str, pd.DataFrame]
"""Clip tables by release."""


def shared(tables: Tables) -> tuple[int, ...]:
    """The AUs that the paper scores on each of some releases."""
    return tuple(sorted(set.intersection(*(set(facs.BENCHMARK[release]) for release in tables))))


def aligned(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How frames of several releases are stored together, for ``Workspace.joined``: by the eyes, unless ``align`` says.

    Of one release face crops stay as they are (``sources.frames``), but each release crops in its own way: MMEW's crops
    show the hair. Left so, a model would meet every part of the face elsewhere than where it was trained.
    """
    return sources.frames(settings) | {"align": settings["align"] or "similarity"}


def within(work: Workspace, settings: Mapping[str, Any], tables: Tables) -> list[tuple[Experiment, ClipStore]]:
    """Each of ``baselines`` on each release, leave-one-subject-out, and with ``plain_cnn`` the paper's 3D-CNN.

    Args:
        work: Where clip stores and teachers are kept.
        settings: The notebook's parameters.
        tables: The releases.

    Returns:
        Experiments with their clip stores, seed after seed, release after release.

    Raises:
        TypeError, ValueError, OSError: As ``with_teachers`` and ``Workspace.store``.
    """
    recipes = with_teachers(work, {name: _recipe(name, settings) for name in settings["baselines"]}, settings)
    frames = sources.frames(settings)
    shapes = {name: _shape(name, recipe, frames) for name, recipe in recipes.items()}
    if settings["plain_cnn"]:
        recipes[PLAIN] = Recipe.named(settings["recipe"], size=settings["size"], **settings["overrides"])
        shapes[PLAIN] = frames
    stores = {(r, name): work.store(table, **shapes[name]) for r, table in tables.items() for name in recipes}
    jobs = list[tuple[Experiment, ClipStore]]()
    for seed, ((release, name), store) in product(settings["seeds"], stores.items()):
        made = {"variant": name} if name == PLAIN else {"method": name}
        title, aus = f"{release}-{name}-seed{seed}", facs.BENCHMARK[release]
        jobs.append((Experiment(name=title, aus=aus, recipe=recipes[name], seed=seed, **made), store))
    return jobs


def between(work: Workspace, settings: Mapping[str, Any], tables: Tables) -> list[Job]:
    """AU-LLM and baselines, trained on all clips of one release and tested on another's, in both directions.

    Args:
        work: Where clip stores, teachers and tiny language models are kept.
        settings: The notebook's parameters.
        tables: The releases; of one alone there is no job.

    Raises:
        TypeError, ValueError, OSError: As ``sources.experiment``, ``with_teachers`` and ``Workspace.joined``.
    """
    named = {name: _recipe(name, settings) for name in settings["cross_baselines"]}
    recipes = with_teachers(work, named, settings) if len(tables) > 1 else {}
    frames = aligned(settings)
    store = work.joined(tables.values(), **frames)
    stores = {name: work.joined(tables.values(), **_shape(name, recipe, frames)) for name, recipe in recipes.items()}
    llms, jobs = [settings["llm"], *settings["more_llms"]], list[Job]()
    for seed, (train, test) in product(settings["seeds"], permutations(tables, 2)):
        title, aus = f"{train}-to-{test}", shared(tables)
        for llm, variant in product(llms, settings["cross_variants"]):
            if model.needs_llm(variant) or llm == settings["llm"]:
                one = sources.experiment(work, settings, title, variant, aus=aus, llm=llm, seed=seed)
                jobs.append((one, store, _direction(store, train, test)))
        for name, recipe in recipes.items():
            one = Experiment(name=f"{title}-{name}-seed{seed}", aus=aus, recipe=recipe, method=name, seed=seed)
            jobs.append((one, stores[name], _direction(stores[name], train, test)))
    return jobs


def one_out(work: Workspace, settings: Mapping[str, Any], tables: Tables) -> list[Job]:
    """Each method of ``one_out_methods`` on a fold per release, tested on it and trained on all others (CD6ME).

    Args and errors as ``between``; fewer than two releases have no job.
    """
    jobs = list[Job]()
    for made, store in _of_all(work, settings, tables, settings["one_out_methods"]) if len(tables) > 1 else ():
        name = f"one-out-{len(tables)}-{made['method']}-{settings['count_missing']}-seed{made['seed']}"
        folds = protocol.leave_one_release_out(store.table)
        jobs.append((Experiment(name=name, aus=facs.CD6ME, **made), store, folds))
    return jobs


def more_data(work: Workspace, settings: Mapping[str, Any], tables: Tables) -> list[Job]:
    """The release ``more_data`` tested with models trained on one, then two, then all others, on the AUs that it codes.

    Args and errors as ``between``; where the release is not among the tables there is no job.
    """
    test, jobs = settings["more_data"], list[Job]()
    methods = [name for name in settings["one_out_methods"] if name in settings["more_data_methods"]]
    for made, store in _of_all(work, settings, tables, methods) if test in tables and len(tables) > 1 else ():
        coded = tuple(number for number in facs.CD6ME if f"AU{number}" in tables[test])
        for added, folds in protocol.growing(store.table, test).items():
            name = f"{test}-{made['method']}-up-to-{added}-seed{made['seed']}"
            jobs.append((Experiment(name=name, aus=coded, **made), store, folds))
    return jobs


def _of_all(
    work: Workspace, settings: Mapping[str, Any], tables: Tables, methods: Iterable[str]
) -> Iterator[tuple[dict[str, Any], ClipStore]]:
    """What each seed's and method's experiments have in common, and the store of all releases that it reads."""
    whole, frames = sources.experiment(work, settings, settings["releases"][0]), aligned(settings)
    for seed, name in product(settings["seeds"], methods):
        ours = name == AU_LLM
        recipe = whole.recipe if ours else _recipe(name, settings)
        shape = frames if ours else _shape(name, recipe, frames)
        store = work.joined(tables.values(), count_missing=settings["count_missing"], **shape)
        yield {"method": name, "recipe": recipe, "llm": whole.llm if ours else "", "seed": seed}, store


def _recipe(name: str, settings: Mapping[str, Any]) -> Any:
    """A baseline's recipe as a notebook's parameters change it."""
    return baselines.recipe(name, **settings["baseline_overrides"].get(name, {}))


def _shape(name: str, recipe: Any, frames: dict[str, Any]) -> dict[str, Any]:
    """How a baseline has frames stored that AU-LLM has stored so, for ``Workspace.store`` and ``joined``."""
    return frames | {"size": recipe.size, "rgb": baselines.reads_colour(name)}


def _direction(store: ClipStore, train: str, test: str) -> list[Fold]:
    return protocol.cross_domain(*(store.table[store.table["dataset"] == name] for name in (train, test)))
