"""From the runs that notebooks recorded to scores: runs that differ in their seed only are one result."""

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pandas as pd

from aullm_lib import metrics
from aullm_lib.datasets import TITLES
from aullm_lib.experiment import AU_LLM
from aullm_lib.recipe import Settings
from aullm_lib.report import published
from aullm_lib.runs import Run
from aullm_lib.support.provenance import provenance

RELEASES = ("casme2", "samm")  # of Tables 1 and 2
PLAIN = "3d-cnn"  # the variant of AU-LLM that stands among the baselines: Figure 3b's, of which no LLM is a part
BEYOND = {"infusenet": "InfuseNet", "ac4au": "AC4AU"}
"""Baseline that the publication does not have -> its name in tables."""


def where(entry: Mapping) -> str:
    """What a recorded run was tested on: "casme2", or "casme2 → samm"."""
    return entry["release"] if "release" in entry else f"{entry['train']} → {entry['test']}"


def number(place: str) -> int:
    """The publication's table for what was tested in a place: 1 for releases that it does not have."""
    return 4 if " → " in place else 2 if place == "samm" else 1


def title(place: str) -> str:
    """Such as "casme2 → samm", as the publication writes it."""
    return " → ".join(TITLES.get(release, release) for release in place.split(" → "))


@dataclass(frozen=True, eq=False)
class Result:
    """The runs of one configuration on one set of clips, a run a seed."""

    where: str
    method: str  # ``recipe.AU_LLM``, or one of ``baselines.METHODS``
    variant: str
    llm: str  # as the notebook was given it
    recipe: str
    runs: tuple[Run, ...]
    paths: tuple[str, ...]
    why: str = ""  # why there is no score
    name: str = ""  # in tables
    cached: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def baseline(self) -> bool:
        """Whether it stands among what AU-LLM is compared with."""
        return self.method != AU_LLM or self.variant == PLAIN

    @property
    def whole(self) -> bool:
        """Whether it is a row of Tables 1, 2 or 4: a baseline, or AU-LLM with all its parts."""
        return self.baseline or self.variant == "all"

    @property
    def synthetic(self) -> bool:
        """Whether its clips are rendered; data that do not say so are taken for that too."""
        return any(run.info["data"].get("synthetic") is not False for run in self.runs)

    @property
    def fingerprint(self) -> str:
        return self.runs[0].info["data"]["fingerprint"] if self.runs else ""

    @property
    def predictions(self) -> list[pd.DataFrame]:
        """One frame a seed."""
        if "predictions" not in self.cached:
            self.cached["predictions"] = [run.predictions() for run in self.runs]
        return self.cached["predictions"]

    @property
    def samples(self) -> str:
        """A hash of what was scored, clips, subjects, AUs and labels: methods that read other frames may share it."""
        rows = self.predictions[0].sort_values(["clip_id", "au"])[["clip_id", "subject", "au", "label"]]
        return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()

    @cached_property
    def trivial(self) -> dict[str, pd.DataFrame]:
        return metrics.trivial(self.predictions[0])

    def score(self, policy: str = "fixed") -> pd.DataFrame:
        """``metrics.score``, averaged over seeds cell by cell, intervals too."""
        if policy not in self.cached:
            frames = [metrics.score(frame, policy=policy) for frame in self.predictions]
            self.cached[policy] = sum(frames[1:], frames[0]) / len(frames) if len(frames) > 1 else frames[0]
        return self.cached[policy]


def load(*records: Mapping | None) -> list[Result]:
    """The results of what notebooks recorded (``Workspace.recorded``), each run once; a missing record holds none.

    An entry without a method is AU-LLM's. Of runs on several sets of clips from one release, the first one's are taken,
    and the others say why not; so with one method's runs on frames that were stored in several ways.
    """
    entries = {entry["path"]: entry for record in records if record for entry in record.get("runs", [])}
    groups: dict[tuple, list[tuple[str, Run | None]]] = {}
    for path, entry in entries.items():
        try:
            run = Run(path)
        except FileNotFoundError:
            run = None
        settings = json.dumps(run.experiment.recipe.to_dict(), sort_keys=True) if run else path
        data = run.info["data"]["fingerprint"] if run else ""
        llm = "" if entry["variant"] == PLAIN else entry["llm"]  # recorded with one or without, it has none
        key = (where(entry), entry.get("method", AU_LLM), entry["variant"], llm, entry["recipe"], settings, data)
        members = groups.setdefault(key, [])
        if not run or run.experiment.seed not in [other.experiment.seed for _, other in members if other]:
            members.append((path, run))  # the same experiment under another name is no second seed
    return _named([_result(key[:5], members) for key, members in groups.items()])


def _result(key: tuple[str, ...], members: list[tuple[str, Run | None]]) -> Result:
    runs = tuple(run for _, run in members if run)
    why = "" if runs else f"its run folder {members[0][0]} is gone: run its notebook again"
    for run in runs:
        if run.missing:
            why = f"{run.path} is unfinished: {len(run.done)} of {len(run.folds)} folds"
    place, method, variant, llm, recipe = key
    return Result(place, method, variant, llm, recipe, runs, tuple(path for path, _ in members), why)


def _named(results: list[Result]) -> list[Result]:
    """Gives each result its name: the LLM or the baseline, and what else tells two of them apart."""
    scored: dict[str, Result] = {}  # the first one with a score in each place
    frames: dict[tuple[str, str, bool], str] = {}  # and on which frames, by one method
    recipes: dict[tuple[str, bool], dict[str, None]] = {}  # of one method
    kinds: dict[tuple[str, bool, str, str], list[Settings]] = {}  # of one method, LLM and recipe, what was overridden
    for r in results:
        if not r.why:
            scored.setdefault(r.where, r)
            frames.setdefault((r.where, r.method, r.baseline), r.fingerprint)
        recipes.setdefault((r.method, r.baseline), {})[r.recipe] = None
        known = kinds.setdefault((r.method, r.baseline, r.llm, r.recipe), [])
        known += [run.experiment.recipe for run in r.runs[:1] if run.experiment.recipe not in known]
    out = []
    for r in results:
        name = _plain_name(r)
        name += f", {r.recipe}" if len(recipes[r.method, r.baseline]) > 1 else ""
        alike = kinds[r.method, r.baseline, r.llm, r.recipe]
        name += f", settings {alike.index(r.runs[0].experiment.recipe) + 1}" if r.runs and len(alike) > 1 else ""
        why = r.why
        if not why and r.samples != (own := scored[r.where]).samples:
            why = f"{r.paths[0]} was run on other clips, AUs or labels of {title(r.where)} than {own.paths[0]}"
        elif not why and r.fingerprint != (one := frames[r.where, r.method, r.baseline]):
            why = f"{r.paths[0]} was run on other frames of {title(r.where)} than {one[:12]}"
        out.append(dataclasses.replace(r, why=why, name=name))
    return out


def _plain_name(result: Result) -> str:
    """As the publication's table names its row, without a citation."""
    if result.variant == PLAIN:
        return "3D-CNN"
    if result.baseline:
        row = published.baseline(number(result.where), result.method) or published.baseline(1, result.method)
        return row[1] if row else BEYOND.get(result.method, result.method)
    known = published.llm(result.llm)
    return known[0] if known else f"AU-LLM, {result.llm.rstrip('/').split('/')[-1]}"


def made_by(results: Iterable[Result]) -> dict:
    """What made a table of these results: data, runs, recipes, seeds, revisions; and what made the table."""
    runs = {str(run.path): (result, run) for result in results for run in result.runs}
    data: dict[str, dict] = {}  # of each place: that of its first run, and every way in which its frames were stored
    for result, run in runs.values():
        own = {key: value for key, value in run.info["data"].items() if key not in ("llm", *_sources(run))}
        stores = data.setdefault(result.where, own | {"stores": []})["stores"]
        stores += [result.fingerprint] if result.fingerprint not in stores else []
    return {
        "synthetic": any(result.synthetic for result, _ in runs.values()) if runs else None,
        "data": data,
        "runs": {
            path: {
                "method": result.method, "variant": result.variant, "llm": result.llm, "recipe": result.recipe,
                "seed": run.experiment.seed, "checkpoint": run.info["data"].get("llm"), "sources": _sources(run),
                "settings": run.experiment.recipe.to_dict(), "fingerprint": result.fingerprint,
                "made_by": run.made_by(),
            }
            for path, (result, run) in runs.items()
        },
    } | provenance()  # fmt: skip


def _sources(run: Run) -> dict:
    """The identity of what a baseline was trained from beside the clips, by the field of its recipe that names it."""
    return {key: value for key, value in run.info["data"].items() if key in run.experiment.recipe.to_dict()}


def line(made: dict) -> str:
    """The provenance in one line, for under a table or a figure."""

    def revision(git: dict | None) -> str:
        return f"{git['revision'][:10]}{' with changes' if git['changed'] else ''}" if git else "no git"

    table = f"table by revision {revision(made['git'])}"
    if not made["runs"]:
        return f"Provenance: no run; {table}."
    data = "; ".join(f"{title(place)}, {_identity(data)}" for place, data in made["data"].items())
    recipes = ", ".join(sorted({run["recipe"] for run in made["runs"].values()}))
    trained = sorted({revision(m["git"]) for run in made["runs"].values() for m in run["made_by"]})
    names = [path.rsplit("/", 1)[-1] for path in made["runs"]]
    listed = ", ".join(names if len(names) < 5 else [*names[:3], f"and {len(names) - 3} more (all in the JSON file)"])
    return (
        f"Provenance: runs {listed}; data {data}; recipe {recipes}; trained by revision {', '.join(trained)}; {table}."
    )


def _identity(data: Mapping) -> str:
    """Which clips: whether rendered, how many, which variant of a release, and their fingerprint."""
    parts = [part["release"] for part in data.get("parts", [{"release": data}])]
    variants = [f"{part['dataset']} variant {part['variant']}" for part in parts if part.get("variant")]
    rendered = ["synthetic"] if data.get("synthetic") is not False else []
    more = f" (and {len(data['stores']) - 1} for other frames)" if len(data["stores"]) > 1 else ""
    fingerprint = f"fingerprint {data['fingerprint'][:12]}{more}"
    return ", ".join([*rendered, f"{data['clips']} clips", *variants, fingerprint])


def in_words(scored: Iterable[Result], brief: bool = False) -> str:
    """The data of results: "CASME II and SAMM", or "synthetic release in the layout of CASME II" (brief: no layout)."""
    kinds: dict[bool, list[str]] = {}
    for result in scored:
        names = kinds.setdefault(result.synthetic, [])
        names += [title(result.where)] if title(result.where) not in names else []
    words = [" and ".join(kinds[False])] if False in kinds else []
    if True in kinds:
        layout = f" in the layout of {' and '.join(kinds[True])}"
        words.append("synthetic release" + ("" if brief and len(kinds) == 1 else layout))
    return "; ".join(words)
