"""From the runs that notebooks recorded to scores: runs that differ in their seed only are one result."""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import pandas as pd

from aullm_lib import metrics
from aullm_lib.datasets import TITLES
from aullm_lib.recipe import Recipe
from aullm_lib.report import published
from aullm_lib.runs import Run, provenance


def where(entry: Mapping) -> str:
    """What a recorded run was tested on: "casme2", or "casme2 → samm"."""
    return entry["release"] if "release" in entry else f"{entry['train']} → {entry['test']}"


def title(place: str) -> str:
    """Such as "casme2 → samm", as the publication writes it."""
    return " → ".join(TITLES.get(release, release) for release in place.split(" → "))


@dataclass(frozen=True, eq=False)
class Result:
    """The runs of one configuration on one set of clips, a run a seed."""

    where: str
    variant: str
    llm: str  # as the notebook was given it
    recipe: str
    runs: tuple[Run, ...]
    paths: tuple[str, ...]
    why: str = ""  # why there is no score
    method: str = ""  # its name in tables
    cached: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def synthetic(self) -> bool:
        """Whether its clips are rendered; data that do not say so are taken for that too."""
        return any(run.info["data"].get("synthetic") is not False for run in self.runs)

    @property
    def fingerprint(self) -> str:
        return self.runs[0].info["data"]["fingerprint"] if self.runs else ""

    @cached_property
    def predictions(self) -> list[pd.DataFrame]:
        """One frame a seed."""
        return [run.predictions() for run in self.runs]

    @cached_property
    def floors(self) -> dict[str, pd.DataFrame]:
        return metrics.floors(self.predictions[0])

    def score(self, policy: str = "fixed") -> pd.DataFrame:
        """``metrics.score``, averaged over seeds cell by cell, intervals too."""
        if policy not in self.cached:
            frames = [metrics.score(frame, policy=policy) for frame in self.predictions]
            self.cached[policy] = sum(frames[1:], frames[0]) / len(frames) if len(frames) > 1 else frames[0]
        return self.cached[policy]


def load(*records: Mapping | None) -> list[Result]:
    """The results of what notebooks recorded (``Workspace.recorded``), each run once; a missing record holds none.

    Of runs on several sets of clips from one release, the first one's are taken, and the others say why not.
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
        key = (where(entry), entry["variant"], entry["llm"], entry["recipe"], settings, data)
        members = groups.setdefault(key, [])
        if not run or run.experiment.seed not in [other.experiment.seed for _, other in members if other]:
            members.append((path, run))  # the same experiment under another name is no second seed
    return _named([_result(key[:4], members) for key, members in groups.items()])


def _result(key: tuple[str, ...], members: list[tuple[str, Run | None]]) -> Result:
    place, variant, llm, recipe = key
    runs = tuple(run for _, run in members if run)
    why = "" if runs else f"its run folder {members[0][0]} is gone: run its notebook again"
    for run in runs:
        if run.missing:
            why = f"{run.path} is unfinished: {len(run.done)} of {len(run.folds)} folds"
    return Result(place, variant, llm, recipe, runs, tuple(path for path, _ in members), why)


def _named(results: list[Result]) -> list[Result]:
    """Gives each result its method's name: the LLM, and what else tells two of them apart."""
    first: dict[str, str] = {}
    for result in results:
        if result.runs:
            first.setdefault(result.where, result.fingerprint)
    recipes = {r.recipe for r in results}
    kinds: dict[tuple[str, str], list[Recipe]] = {}  # of one LLM and recipe, what was overridden
    for r in results:
        known = kinds.setdefault((r.llm, r.recipe), [])
        known += [run.experiment.recipe for run in r.runs[:1] if run.experiment.recipe not in known]
    out = []
    for r in results:
        row = published.llm(r.llm)
        name = row[0] if row else f"AU-LLM, {r.llm.rstrip('/').split('/')[-1]}"
        name += f", {r.recipe}" if len(recipes) > 1 else ""
        alike = kinds[r.llm, r.recipe]
        name += f", settings {alike.index(r.runs[0].experiment.recipe) + 1}" if r.runs and len(alike) > 1 else ""
        why = r.why
        if r.runs and r.fingerprint != first[r.where]:
            why = f"{r.paths[0]} was run on other clips of {title(r.where)} than {first[r.where][:12]}"
        out.append(dataclasses.replace(r, why=why, method=name))
    return out


def made_by(results: Iterable[Result]) -> dict:
    """What made a table of these results: data, runs, recipes, seeds, revisions; and what made the table."""
    runs = {str(run.path): (result, run) for result in results for run in result.runs}
    return {
        "synthetic": any(result.synthetic for result, _ in runs.values()) if runs else None,
        "data": {
            result.where: {key: value for key, value in run.info["data"].items() if key != "llm"}
            for result, run in runs.values()
        },
        "runs": {
            path: {
                "variant": result.variant, "llm": result.llm, "recipe": result.recipe, "seed": run.experiment.seed,
                "checkpoint": run.info["data"].get("llm"), "settings": run.experiment.recipe.to_dict(),
                "made_by": run.made_by(),
            }
            for path, (result, run) in runs.items()
        },
    } | provenance()  # fmt: skip


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
    return ", ".join([*rendered, f"{data['clips']} clips", *variants, f"fingerprint {data['fingerprint'][:12]}"])


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


def known(method: str, result: Result | None) -> tuple[str, str] | None:
    """The publication's row and column for a method: by its LLM, or by name where it was not run."""
    if result:
        return published.llm(result.llm)
    return next((names for names in published.LLMS.values() if names[0] == method), None)


def short(method: str, names: tuple[str, str] | None) -> str:
    """A method as a column's name: "Q2.5" for "AU-Qwen2.5(1.5B)"; names: of ``known``."""
    return method.replace(*names) if names else method.removeprefix("AU-LLM, ")


def methods(found: Iterable[Result]) -> dict[str, Result | None]:
    """Method -> a result of it: the publication's three in its order, None if not run, then whatever else was run."""
    by_method: dict[str, Result] = {}
    for result in found:
        if result.method not in by_method or by_method[result.method].why:
            by_method[result.method] = result
    out: dict[str, Result | None] = {}
    for names in published.LLMS.values():
        same = {method: result for method, result in by_method.items() if known(method, result) == names}
        if same:
            out |= same
        else:
            out[names[0]] = None
    return out | by_method


def notes(number: int, places: Sequence[str], scored: Sequence[Result], differences: bool) -> list[str]:
    """What a reader of the table has to know, a line each."""
    out = []
    for place in places:
        run = next((r for r in scored if r.where == place), None)
        if run:
            frame = run.predictions[0]
            how = "trained on the first, tested on the second" if " → " in place else "leave-one-subject-out, pooled"
            clips, subjects = frame["clip_id"].nunique(), frame["subject"].nunique()
            out.append(
                f"{'Synthetic release in the layout of ' * run.synthetic}{title(place)}: {clips} clips of {subjects} "
                f"subjects scored; {how}; in brackets, 95 % bootstrap intervals over subjects."
            )
    if any(r.synthetic for r in scored):
        out.append(
            "The synthetic release is rendered and a check of the path: its numbers are no result on CASME II or SAMM, "
            "and no difference to the published numbers is computed."
        )
    seeds = sorted({len(r.runs) for r in scored})
    if seeds and seeds[-1] > 1:
        many = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))
        out.append(f"Ours is the mean of the scores of {many} seeds, and an interval the mean of the seeds' intervals.")
    if differences:
        out.append("The interval of a difference is that of ours: the publication gives its numbers without one.")
        if number == 4:
            out.append("The publication does not say which LLM its Table 4 is of.")
    out.append(
        f"Published: {published.place(number)}, as printed. Its F1 is two-class macro F1, as its constant predictors "
        f"show. {published.comment(number)}"
    )
    return out
