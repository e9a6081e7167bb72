"""What the training notebooks have in common: their releases, how frames are stored, how runs are executed."""

from collections.abc import Iterable, Mapping
from typing import Any

from aullm_lib import datasets, engine, explain, facs, trained
from aullm_lib.clips import ClipStore
from aullm_lib.datasets import Release
from aullm_lib.experiment import Experiment
from aullm_lib.notebook import viewing
from aullm_lib.notebook.parameters import licensed
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.recipe import Recipe
from aullm_lib.report import results
from aullm_lib.runs import Run
from aullm_lib.support import tiny


def releases(work: Workspace, settings: Mapping[str, Any], names: Iterable[str] | None = None) -> dict[str, Release]:
    """Reads a notebook's releases by name: synthetic ones, rendered where they are not there, or licensed ones.

    Args:
        work: Where synthetic releases are kept.
        settings: The notebook's parameters.
        names: Of releases; those of the parameter ``releases`` by default.

    Raises:
        ValueError, FileNotFoundError: As ``parameters.licensed``, ``datasets.synthesize`` and ``datasets.read``.
    """
    names = list(settings["releases"] if names is None else names)
    if settings["data"] == "licensed":
        sources = licensed({**settings, "releases": names})
    else:
        size = {key: settings[key] for key in ("subjects", "clips_per_subject", "intensity")}
        size |= {"seed": settings["data_seed"]}
        sources = {name: {"root": work.synthetic(name, **size)} for name in names}
    return {name: datasets.read(name, **source) for name, source in sources.items()}


def frames(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How a notebook's parameters have grey frames stored, for ``Workspace.store``."""
    return {"size": settings["size"], "align": settings["align"] or None}


def execution(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How a notebook's parameters have runs executed, for ``engine.run``."""
    chosen = {key: settings[key] for key in ("backend", "resources", "shrink") if key in settings}
    return chosen | {"side_by_side": settings.get("side_by_side") or None}


def experiment(
    work: Workspace,
    settings: Mapping[str, Any],
    data: str,
    variant: str = "all",
    *,
    aus: tuple[int, ...] = (),
    llm: str = "",
    seed: int | None = None,
) -> Experiment:
    """AU-LLM as a notebook's parameters describe it. Runs of the same name in several notebooks are the same run.

    Args:
        work: Where the tiny language models are kept.
        settings: The notebook's parameters.
        data: The release, or what else the name of the run begins with.
        variant: Of ``model.VARIANTS``.
        aus: Their numbers; those that the paper scores on the release by default.
        llm: The parameter ``llm`` by default.
        seed: The first of ``seeds`` by default.

    Raises:
        TypeError, ValueError, FileNotFoundError: As ``Recipe.named``, ``tiny.checkpoint`` and ``Experiment``.
    """
    llm, seed = (llm or settings["llm"]).rstrip("/"), settings["seeds"][0] if seed is None else seed
    return Experiment(
        name=f"{data}-{variant}-{llm.split('/')[-1]}-{settings['recipe']}-seed{seed}",
        aus=aus or facs.BENCHMARK[data],
        recipe=Recipe.named(settings["recipe"], size=settings["size"], **settings["overrides"]),
        variant=variant,
        llm=tiny.checkpoint(llm, work.llms),
        seed=seed,
    )


def with_weights(work: Workspace, what: Experiment, store: ClipStore, settings: Mapping[str, Any]) -> Run:
    """A run that kept its weights. Finished folds are not run again; a run without weights is left as it is.

    With the parameter ``train_again`` such a one is trained once more, below ``explained``.

    Raises:
        ValueError, FileNotFoundError: As ``engine.run``; ``explain.require_weights`` without ``train_again``.
    """
    options = execution(settings) | {"keep_weights": True}
    run = Run(engine.run(what, store, out=work.results, **options))
    if settings["train_again"] and trained.without_weights(run):
        run = Run(engine.run(what, store, out=work.folder / "explained", **options))
    explain.require_weights(run)
    return run


def trained_releases(profile: str) -> dict[str, viewing.Release]:
    """The synthetic releases on which a profile's AU-LLM was trained and kept its weights, by name, as explored."""
    work, found = Workspace(profile), dict[str, viewing.Release]()
    for result in results.load(work.results):
        run, made = result.runs[0], result.runs[0].info["data"].get("made")
        if result.baseline or result.variant != "all" or result.why or result.test_set not in results.RELEASES:
            continue
        size = {key: made[key] for key in ("subjects", "clips_per_subject", "intensity", "seed")} if made else {}
        if trained.without_weights(run) or not (made and work.release(result.test_set, **size).is_dir()):
            continue
        table = datasets.load(result.test_set, work.synthetic(result.test_set, **size))
        shape = {key: run.info["store"][key] for key in ("size", "align")}
        found.setdefault(result.test_set, viewing.Release(table, work.store(table, **shape), run))
    return found
