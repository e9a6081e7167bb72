"""Where a profile keeps what it makes, and the way from a release to its clip store in one call.

    <home>/runs/<profile>/releases/<release>   synthetic releases (licensed ones stay where they are)
    <home>/runs/<profile>/clips/<release>      clip stores
    <home>/runs/<profile>/teachers/            networks that baselines learn from
    <home>/runs/<profile>/results/             run folders
    <home>/runs/<profile>/records/             what each notebook recorded: parameters, results, files
    <home>/runs/<profile>/notebooks/           executed copies of the notebooks
    <home>/runs/llm/                           language models built here
    <home>/figures/<profile>/                  tables and figures

``home`` is the repository, or the folder that the environment variable AULLM_HOME names.
"""

import dataclasses
import hashlib
import inspect
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from aullm_lib import baselines, clips, datasets, facs, preprocess
from aullm_lib.baselines import distil, teacher
from aullm_lib.clips import ClipStore
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import Recipe
from aullm_lib.support import files, tiny
from aullm_lib.support.provenance import provenance

TINY_LLM = "tiny"
ROOTS = {"casme2": "casme2_root", "samm": "samm_root"}
SOURCES = ("synthetic", "licensed")
MACRO_SEED = 1000  # added to the seed of the micro-expressions: other people


def home() -> Path:
    """The folder that holds ``runs`` and ``figures``."""
    return Path(os.environ.get("AULLM_HOME") or Path(__file__).resolve().parents[2])


def root_of(release: str, settings: Mapping) -> str:
    """The folder of a licensed release that a notebook's parameters name, "" if they name none."""
    return settings.get(ROOTS[release], "") if release in ROOTS else settings["other_roots"].get(release, "")


def options_of(release: str, settings: Mapping) -> dict:
    """How ``datasets.load`` is to read a licensed release. Raises ValueError naming an option that it does not have."""
    options = dict(settings["options"].get(release, {}))
    known = inspect.signature(datasets.ADAPTERS[release]).parameters
    for name in options:
        if name not in known or name == "root":
            there = ", ".join(k for k in known if k != "root")
            raise ValueError(f"options: {release} has no option {name!r}; it has {there}")
    if release == "casme2" and settings["casme2_variant"]:
        options["variant"] = settings["casme2_variant"]
    return options


def check_data(settings: Mapping) -> None:
    """Raises ValueError naming the first of ``releases``, ``data``, ``align``, roots and options that is wrong."""
    known = list(datasets.ADAPTERS if "other_roots" in settings else ROOTS)
    if not settings["releases"]:
        raise ValueError(f"releases is empty; choose from {', '.join(known)}")
    named = [settings["options"], settings.get("other_roots", ()), settings.get("publishable", ())]
    for release in [*settings["releases"], *(release for names in named for release in names)]:
        if release not in known:
            raise ValueError(f"releases: unknown {release!r}; choose from {', '.join(known)}")
    if settings["data"] not in SOURCES:
        raise ValueError(f"data is {settings['data']!r}; choose one of {', '.join(SOURCES)}")
    if settings["align"] and settings["align"] not in preprocess.ALIGNMENTS:
        raise ValueError(f"align is {settings['align']!r}; choose one of {', '.join(preprocess.ALIGNMENTS)}, or ''")
    if settings["data"] == "synthetic":
        return
    for release in settings["releases"]:
        name = ROOTS.get(release, "other_roots")
        make = f"make paper {name.upper()}=/path/to/it" if release in ROOTS else f"other_roots={{{release!r}: ...}}"
        advice = f"give the folder of the unpacked release: {make}"
        if not root_of(release, settings):
            raise ValueError(f"{name} is not set; {advice} (or leave {release} out: RELEASES=...)")
        if not Path(root_of(release, settings)).expanduser().is_dir():
            raise ValueError(f"{name}: {root_of(release, settings)} is no folder; {advice}")
        options_of(release, settings)


def enter_home() -> None:
    """Goes to ``home``, made if it is not there, and pins it for the processes that are started from here."""
    folder = home().expanduser().resolve()
    with files.explained(folder, "runs and figures"):
        folder.mkdir(parents=True, exist_ok=True)
    os.environ["AULLM_HOME"] = str(folder)
    os.chdir(folder)


@dataclass(frozen=True)
class Workspace:
    """The folders of one profile, relative to ``home``."""

    profile: str

    @property
    def folder(self) -> Path:
        return Path("runs") / self.profile

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def figures(self) -> Path:
        return Path("figures") / self.profile

    def table(self, release: str, settings: Mapping) -> pd.DataFrame:
        """The clip table of a release, licensed or (written here first) synthetic.

        settings: a notebook's parameters. Synthetic data use subjects, clips_per_subject, intensity, data_seed;
        licensed data use casme2_root, samm_root or other_roots, casme2_variant, and options.
        """
        if settings["data"] == "synthetic":
            names = ("subjects", "clips_per_subject", "intensity", "data_seed")
            subjects, clips, intensity, seed = (settings[name] for name in names)
            label = f"{release}-{subjects}x{clips}-intensity{intensity:g}-seed{seed}"
            root = datasets.synthesize(
                self.folder / "releases" / label, release,
                subjects=subjects, clips_per_subject=clips, intensity=intensity, seed=seed,
            )  # fmt: skip
            return datasets.load(release, root)
        check_data(settings)
        return datasets.load(release, root_of(release, settings), **options_of(release, settings))

    def build(self, table: pd.DataFrame, settings: Mapping, *, rgb: bool = False) -> ClipStore:
        """The clip store of a table, built if it is not there; each table and setting has a folder of its own."""
        size, align = settings["size"], settings["align"] or None
        identity = json.dumps(preprocess.settings(table, size, align=align, rgb=rgb), sort_keys=True)
        key = hashlib.sha256(identity.encode()).hexdigest()[:8]
        kind = f"{size}px-rgb" if rgb else f"{size}px"
        folder = self.folder / "clips" / f"{table.attrs['dataset']}-{len(table)}-{kind}-{key}"
        return preprocess.build(table, folder, size, align=align, rgb=rgb)

    def store(self, release: str, settings: Mapping, *, rgb: bool = False) -> ClipStore:
        """The clip store of a release, built if it is not there."""
        return self.build(self.table(release, settings), settings, rgb=rgb)

    def store_for(self, method: str, recipe: Any, release: str, settings: Mapping) -> ClipStore:
        """The clip store of a release as a baseline reads it: frames of its recipe's size, RGB if it needs colours."""
        return self.store(release, {**settings, "size": recipe.size}, rgb=baselines.module(method).RGB)

    def joined(self, *stores: ClipStore) -> ClipStore:
        """The clips of several stores in one, for training on one release and testing on another."""
        key = hashlib.sha256("".join(store.fingerprint for store in stores).encode()).hexdigest()[:8]
        names = "+".join(store.table.attrs["dataset"] for store in stores)
        return clips.join(stores, self.folder / "clips" / f"{names}-{key}")

    def experiment(
        self, data: str, aus: tuple[int, ...], recipe: Recipe, settings: Mapping, *, variant: str, llm: str, seed: int
    ) -> Experiment:
        """The experiment of a notebook's parameters: the same one in every notebook that asks for it.

        data: release, or the way from one to another; settings: has the recipe's name.
        """
        short = llm.rstrip("/").split("/")[-1]
        name = f"{data}-{variant}-{short}-{settings['recipe']}-seed{seed}"
        return Experiment(name=name, aus=aus, recipe=recipe, variant=variant, llm=self.llm(llm), seed=seed)

    def baseline(self, data: str, aus: tuple[int, ...], method: str, recipe: Any, seed: int) -> Experiment:
        """The experiment of a baseline: the same one in every notebook that asks for it."""
        return Experiment(name=f"{data}-{method}-seed{seed}", aus=aus, recipe=recipe, method=method, seed=seed)

    def recipe(self, method: str, settings: Mapping) -> Any:
        """A baseline's recipe with what ``baseline_overrides`` change, and its teacher, trained if none is named.

        ``weights: teacher`` begins with the views of a teacher as deep as the network; else the teacher is a ResNet34.
        Raises ValueError for a method or field that there is not, or where nothing trains the teacher that is needed.
        """
        every = settings["baseline_overrides"]
        if unknown := [name for name in every if name not in baselines.METHODS]:
            raise ValueError(f"baseline_overrides: {unknown[0]}: allowed are {', '.join(baselines.METHODS)}")
        recipe = baselines.recipe(method, **every.get(method, {}))
        taught, begins = method in distil.METHODS, getattr(recipe, "weights", "") == distil.SHARED
        if not (begins or taught) or (taught and recipe.teacher):
            return recipe
        if not hasattr(recipe, "depth"):
            raise ValueError(f"baseline_overrides: {method} cannot begin with a teacher's weights: name a file, or ''")
        if "teacher" not in settings:
            raise ValueError(
                f"baseline_overrides: {method} needs a teacher, and only 03_baselines trains one: name its folder in "
                f"{'teacher' if taught else 'weights'} (below runs/<profile>/teachers)"
            )
        folder = settings["teacher"] or str(self.teacher(settings, depth=recipe.depth if begins else 34))
        found = {"teacher": folder} if taught else {"weights": f"{folder}/{teacher.VIEWS[0]}"}
        return dataclasses.replace(recipe, **found)

    def teacher(self, settings: Mapping, *, depth: int) -> Path:
        """The teacher of ``baselines.distil``, trained on a synthetic release of strong expressions by other people.

        settings: macro_subjects, macro_clips_per_subject, macro_intensity, teacher_overrides; data_seed of the others.
        depth: of its ResNets, 18 or 34, unless teacher_overrides say so.
        """
        macro = {"data": "synthetic", "align": "", "data_seed": settings["data_seed"] + MACRO_SEED}
        macro |= {name: settings[f"macro_{name}"] for name in ("subjects", "clips_per_subject", "intensity")}
        recipe = teacher.TeacherRecipe(**{"depth": depth} | settings["teacher_overrides"])
        store = self.store("casme2", macro | {"size": recipe.size}, rgb=True)
        identity = json.dumps([recipe.to_dict(), store.fingerprint], sort_keys=True)
        folder = self.folder / "teachers" / hashlib.sha256(identity.encode()).hexdigest()[:8]
        with files.explained(folder, "the teacher"):
            folder.parent.mkdir(parents=True, exist_ok=True)
        return teacher.train(store, folder, recipe, facs.BENCHMARK["casme2"])

    def llm(self, name: str) -> str:
        """A checkpoint folder or hub name for ``Experiment.llm``; "tiny" is built here: a random Qwen2, 2 layers."""
        return str(tiny.build_tiny(Path("runs/llm/tiny-qwen2"))) if name == TINY_LLM else name

    def record(self, notebook: str, settings: Mapping, **results: object) -> Path:
        """Stores what a notebook found, with its parameters and provenance; read by later notebooks and the report."""
        path = self.folder / "records" / f"{notebook}.json"
        with files.explained(path, "the record"):
            files.write_json(path, {"parameters": dict(settings), "results": results} | provenance())
        return path

    def recorded(self, notebook: str) -> dict | None:
        """The results that a notebook recorded under this profile, or None if it has not run."""
        record = files.read_json(self.folder / "records" / f"{notebook}.json", missing=None)
        return record and record["results"]
