"""Run folders -> results: the runs of one configuration, which differ in their seed only, with what their scores need.

Everything is read from the ``run.json`` of each run (``runs.Run``); nothing is guessed from names.
"""

import hashlib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from aullm_lib import baselines, metrics
from aullm_lib.datasets import TITLES
from aullm_lib.experiment import AU_LLM
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.report import published
from aullm_lib.runs import OldFormat, Run
from aullm_lib.support.provenance import provenance

RELEASES = ("casme2", "samm")  # of Tables 1 and 2
CROSS_DOMAIN = ("casme2 → samm", "samm → casme2")  # of Table 4
PLAIN = "3d-cnn"  # the variant of AU-LLM that is one of the baselines: Figure 3b's, which has no LLM
FURTHER = {"flow-svm": "Optical flow + SVM", "infusenet": "InfuseNet", "ac4au": "AC4AU"}
"""Baselines that the publication does not have -> their names in tables."""


ONE_OUT = " → each other"
"""What stands behind the releases of a leave-one-release-out run."""
ABSENT = ", AUs that are not coded counted as absent"


def title(test_set: str) -> str:
    """A test set, such as "casme2 → samm", as the publication writes it."""
    if ONE_OUT in test_set:
        releases, rest = test_set.split(ONE_OUT)
        names = [TITLES.get(release, release) for release in releases.split("+")]
        return f"each of {', '.join(names)}, trained on the others{rest}"
    return " → ".join(TITLES.get(release, release) for release in test_set.split(" → "))


class Configuration(NamedTuple):
    """What a run trained and tested, but for its seed."""

    test_set: str  # "casme2", or "casme2 → samm"
    method: str  # ``experiment.AU_LLM``, or one of ``baselines.METHODS``
    variant: str
    llm: str
    recipe: str  # its name; a baseline's recipe is named as the method


def configuration(run: Run) -> Configuration:
    """The configuration of a run, from its ``run.json``."""
    experiment, train, test = run.info["experiment"], *("+".join(run.info[key]) for key in ("train", "test"))
    absent = ABSENT * (run.info["data"].get("count_missing") == "absent")
    test_sets = {"cross-domain": f"{train} → {test}", "leave-one-release-out": f"{test}{ONE_OUT}{absent}"}
    test_set = test_sets.get(run.info["protocol"], test)
    method, variant = experiment["method"], experiment["variant"]
    llm = "" if variant == PLAIN else experiment["llm"]  # whether one is named or not, it has none
    return Configuration(test_set, method, variant, llm, run.info["recipe_name"])


@dataclass(eq=False)
class Result:
    """The runs of one ``Configuration``, one run per seed.

    Attributes:
        runs: In the order of their seeds, all with the settings and frames of the newest one.
        older: Runs that do not count, for a newer one of their seed or of other settings.
        unfinished: Seeds that do not count yet, beside finished ones.
        why: The reason why there is no score; "" where there is one.
        name: The name of its row in tables.
    """

    test_set: str
    method: str
    variant: str
    llm: str
    recipe: str
    runs: tuple[Run, ...]
    older: tuple[Run, ...] = ()
    unfinished: tuple[Run, ...] = ()
    why: str = ""
    name: str = ""
    _scores: dict[str, pd.DataFrame] = field(default_factory=dict, repr=False)

    @property
    def baseline(self) -> bool:
        """Whether it is one of the methods that AU-LLM is compared with."""
        return self.method != AU_LLM or self.variant == PLAIN

    @property
    def whole(self) -> bool:
        """Whether it is a row of Tables 1, 2 or 4: a baseline, or AU-LLM with all its parts."""
        return self.baseline or self.variant == "all"

    @property
    def synthetic(self) -> bool:
        """Whether the clips are rendered, as far as their data do not deny it."""
        return any(map(is_synthetic, self.runs))

    @cached_property
    def not_comparable(self) -> str:
        """Why it takes part in no claim: it lacked weights that its source begins with; "" where it is comparable."""
        infos = [(run.info, is_synthetic(run)) for run in self.runs]
        reasons = (
            baselines.not_comparable(self.method, info["experiment"]["recipe"], info["data"], synthetic)
            for info, synthetic in infos
        )
        return next(filter(None, reasons), "")

    @property
    def comparable(self) -> bool:
        """Whether it was given what its source had; always so for AU-LLM."""
        return not self.not_comparable

    @property
    def fingerprint(self) -> str:
        return self.runs[0].info["data"]["fingerprint"]

    @cached_property
    def predictions(self) -> list[pd.DataFrame]:
        """One frame per seed."""
        return [run.predictions() for run in self.runs]

    @property
    def by_seed(self) -> dict[int, pd.DataFrame]:
        """``predictions`` by their seeds."""
        return dict(zip((run.experiment.seed for run in self.runs), self.predictions, strict=True))

    @cached_property
    def samples(self) -> str:
        """A hash of clips, subjects, AUs and labels, which methods share that read these clips in other frames."""
        rows = self.predictions[0].sort_values(["clip_id", "au"])[["clip_id", "subject", "au", "label"]]
        return hashlib.sha256(rows.to_csv(index=False).encode()).hexdigest()

    @cached_property
    def trivial(self) -> dict[str, pd.DataFrame]:
        """The scores of the trivial classifiers on the same labels (``metrics.trivial``)."""
        return metrics.trivial(self.predictions[0])

    def score(self, policy: str = "fixed") -> pd.DataFrame:
        """``metrics.score`` of all seeds together."""
        if policy not in self._scores:
            self._scores[policy] = metrics.score(self.predictions, policy=policy)
        return self._scores[policy]

    def over_seeds(self, policy: str = "fixed") -> pd.DataFrame:
        """``metrics.over_seeds`` of all seeds."""
        return metrics.over_seeds(self.predictions, policy=policy)


def is_synthetic(run: Run) -> bool:
    return run.info["data"].get("synthetic") is not False


def load(folder: str | Path) -> list[Result]:
    """The results of all runs in a folder.

    Of several runs of one configuration and seed the newest counts (the folder that ``engine.run`` opened last), of
    several settings of one configuration those of its newest run. Unfinished runs have no score and say so; neither
    have runs on other clips than the newest finished run of the test set, or on other frames than the newest one of
    the method. Runs on custom folds are passed over; so are, with a warning, those whose ``run.json`` is of an older
    format.

    Args:
        folder: ``Workspace.results``. It need not be there.

    Returns:
        The results by test set, AU-LLM's first.
    """
    groups: dict[Configuration, list[Run]] = {}
    for run in _newest_first(Path(folder)):
        if run.info["protocol"] != "custom":
            groups.setdefault(configuration(run), []).append(run)
    results = [_result(key, runs) for key, runs in groups.items()]
    recipes = {(r.method, r.baseline, r.recipe) for r in results}
    clips: dict[str, Result] = {}  # by test set, the newest result with a score
    frames: dict[tuple, Result] = {}  # the same by method
    for r in results:
        several = sum(key[:2] == (r.method, r.baseline) for key in recipes) > 1
        r.name = _plain_name(r) + f", {r.recipe}" * several
        if not r.why:
            newest, path, where = clips.setdefault(r.test_set, r), r.runs[0].path, title(r.test_set)
            same_method = frames.setdefault((r.test_set, r.method, r.baseline), r)
            if r.samples != newest.samples:
                r.why = f"{path} was run on other clips, AUs or labels of {where} than {newest.runs[0].path}"
            elif r.fingerprint != same_method.fingerprint:
                r.why = f"{path} was run on other frames of {where} than {same_method.fingerprint[:12]}"
    return sorted(results, key=lambda r: (r.test_set, r.method != AU_LLM, r.method, r.variant, r.llm, r.recipe))


def _newest_first(folder: Path) -> list[Run]:
    """The runs in a folder that this version can read."""
    paths = sorted(folder.glob("*/run.json"), key=lambda path: (-path.parent.stat().st_mtime_ns, path.parent.name))
    runs, old = list[Run](), list[str]()
    for path in paths:
        try:
            runs.append(Run(path.parent))
        except OldFormat:
            old.append(str(path.parent))
    if old:
        warnings.warn(
            f"passed over, run by an older version: {', '.join(sorted(old))}; run their notebooks again, or delete "
            "these folders",
            stacklevel=3,
        )
    return runs


def _result(key: Configuration, runs: list[Run]) -> Result:
    """The result of all runs of a configuration, newest first."""
    newest, seeds = runs[0].info, dict[int, Run]()
    for run in runs:
        same = run.info["experiment"]["recipe"] == newest["experiment"]["recipe"]
        if same and run.info["data"]["fingerprint"] == newest["data"]["fingerprint"]:
            seeds.setdefault(run.info["experiment"]["seed"], run)
    kept = tuple(seeds[seed] for seed in sorted(seeds))
    begun = tuple(run for run in kept if run.missing)
    why = next(map(_unfinished, begun), "") if len(begun) == len(kept) else ""
    older = tuple(run for run in runs if run not in kept)
    if not why:
        kept = tuple(run for run in kept if run not in begun)
    return Result(*key, runs=kept, older=older, unfinished=() if why else begun, why=why)


def _unfinished(run: Run) -> str:
    return f"{run.path} is unfinished: {len(run.done)} of {len(run.folds)} folds"


def _plain_name(result: Result) -> str:
    """As the publication's table names its row."""
    if result.variant == PLAIN:
        return "3D-CNN"
    if result.baseline:
        table = 4 if result.test_set in CROSS_DOMAIN else 2 if result.test_set == "samm" else 1
        row = published.baseline(table, result.method) or published.baseline(1, result.method)
        return row or FURTHER.get(result.method, result.method)
    printed = published.llm(result.llm)
    return printed[0] if printed else f"AU-LLM, {_short(result.llm)}"


def _short(llm: str) -> str:
    """The last part of an LLM's hub name or folder."""
    return llm.rstrip("/").split("/")[-1]


def au_llm(results: Iterable[Result]) -> dict[str, tuple[Result | None, tuple[str, str] | None]]:
    """AU-LLM's rows: the publication's three LLMs in its order, then other LLMs.

    Returns:
        Name -> a result, with a score if there is one, or None if it was not run; and ``published.llm``.
    """
    by_name: dict[str, Result] = {}
    for r in results:
        if not r.baseline and (r.name not in by_name or by_name[r.name].why):
            by_name[r.name] = r
    out: dict[str, tuple[Result | None, tuple[str, str] | None]] = {}
    for names in published.LLMS.values():
        same = [name for name, r in by_name.items() if published.llm(r.llm) == names]
        out |= {name: (by_name.get(name), names) for name in same or [names[0]]}
    return out | {name: (r, None) for name, r in by_name.items() if name not in out}


def summary(runs: Iterable[Run | str | Path]) -> pd.DataFrame:
    """Scores in percent at the threshold 0.5, averaged over AUs, beside those of the trivial classifiers.

    Args:
        runs: finished runs, or their folders.

    Returns:
        One row per run, index: test set, method, variant, LLM, recipe, seed. Columns: the two-class macro F1 with the
        ends of its 95 % interval over subjects (``low``, ``high``), the F1 of Eq. 5, the two-class macro F1 of
        "always-negative" and "base-rate random" on the same labels, and the seconds per fold.

    Raises:
        ValueError: A run is not finished.
    """
    rows, index = [], []
    for run in (run if isinstance(run, Run) else Run(run) for run in runs):
        if run.missing:
            raise ValueError(_unfinished(run))
        key, predictions = configuration(run), run.predictions()
        mean, trivial = 100 * metrics.score(predictions).loc["mean"], metrics.trivial(predictions)
        index.append((*key._replace(llm=_short(key.llm)), run.info["experiment"]["seed"]))
        rows.append(
            {"two-class macro F1": mean["f1_macro"], "low": mean["f1_macro_low"], "high": mean["f1_macro_high"]}
            | {"F1 of Eq. 5": mean["f1"]}
            | {name: 100 * trivial[name].loc["mean", "f1_macro"] for name in ("always-negative", CHANCE)}
            | {"seconds per fold": run.seconds() / len(run.folds)}
        )
    names = ["test set", "method", "variant", "LLM", "recipe", "seed"]
    return pd.DataFrame(rows, index=pd.MultiIndex.from_tuples(index, names=names)).round(1)


def per_au(results: Iterable[Result]) -> tuple[dict[str, dict[str, pd.DataFrame]], dict[str, pd.DataFrame]]:
    """Scores by test set and method, and the always-negative classifier's by test set: for ``figures.scores.per_au``.

    Args:
        results: Those to show, each with a score.
    """
    panels, trivial = dict[str, dict[str, pd.DataFrame]](), dict[str, pd.DataFrame]()
    for result in results:
        panels.setdefault(in_words([result]), {})[result.name] = result.score()
        if in_words([result]) not in trivial:
            trivial[in_words([result])] = result.trivial["always-negative"]
    return panels, trivial


def averages(results: Iterable[Result]) -> tuple[dict[str, pd.DataFrame], dict[str, dict[str, float]]]:
    """Average two-class macro F1 in percent by test set and method, and of trivial classifiers: for ``scores.methods``.

    Args:
        results: Those to show, each with a score: in the order of ``baselines.METHODS``. The published number stands
            beside licensed data alone.
    """
    lines, trivial = dict[str, dict[str, dict]](), dict[str, dict[str, float]]()
    order = [*baselines.METHODS, AU_LLM]
    for result in sorted(results, key=lambda r: order.index(r.method)):
        mean, data = 100 * result.score().loc["mean"], in_words([result])
        number = RELEASES.index(result.test_set) + 1 if result.test_set in RELEASES else 4
        row = None if result.synthetic else published.baseline(number, result.method)
        printed = published.table(number).loc[row, published.AVERAGE] if row and number < 4 else float("nan")
        line = {"score": mean["f1_macro"], "low": mean["f1_macro_low"], "high": mean["f1_macro_high"]}
        lines.setdefault(data, {})[result.name] = line | {"published": printed}
        if data not in trivial:  # the same for all, whose labels are the same
            levels = {name: result.trivial[name].loc["mean", "f1_macro"] for name in ("always-negative", CHANCE)}
            trivial[data] = {name: 100 * level for name, level in levels.items()}
    return {data: pd.DataFrame.from_dict(rows, orient="index") for data, rows in lines.items()}, trivial


def listed(results: Iterable[Result]) -> pd.DataFrame:
    """One row per result: its data, method and variant, how many seeds, and why it has no score, if so."""
    rows = [(in_words([r]), r.name, r.variant, len(r.runs), r.why) for r in results]
    return pd.DataFrame(rows, columns=["data", "method", "variant", "seeds", "why no score"])


def seen(scores: pd.DataFrame) -> str:
    """What a ``summary`` says, in one sentence for each test set."""
    sentences = []
    for test_set, rows in scores.groupby(level="test set", sort=False):
        level, best = rows[CHANCE].iloc[0], rows["two-class macro F1"].idxmax()
        clear = (
            "no run has an interval"
            if rows["low"].isna().all()
            else (f"{(rows['low'] > level).sum()} of {len(rows)} runs lie above it with their whole interval")
        )
        name = " ".join(part for part in best[1:5] if part)
        sentences.append(
            f"On {test_set} guessing at the base rate has {level:.1f}; {clear}, and the highest score is "
            f"{rows['two-class macro F1'].max():.1f} ({name}, seed {best[5]})."
        )
    return " ".join(sentences)


def _runs(items: Iterable[Run | Result]) -> list[Run]:
    return [run for item in items for run in (item.runs if isinstance(item, Result) else [item])]


def made_by(items: Iterable[Run | Result]) -> dict:
    """The provenance of what is shown of some runs or results: their data, recipes, seeds, revisions, and our own."""
    runs = _runs(items)
    data: dict[str, dict] = {}  # by test set: that of its first run, every way its frames were stored, every split
    about = {}
    for run in runs:
        key, info, settings = configuration(run), run.info["data"], run.info["experiment"]["recipe"]
        sources = {name: value for name, value in info.items() if name in settings}  # a baseline's teacher and such
        clips = {name: value for name, value in info.items() if name != "llm" and name not in sources}
        shown = data.setdefault(key.test_set, clips | {"stores": [], "splits": []})
        for name, value in {"stores": info["fingerprint"], "splits": run.split_sha256}.items():
            shown[name] += [value] if value not in shown[name] else []
        about[str(run.path)] = key._asdict() | {
            "seed": run.info["experiment"]["seed"], "checkpoint": info.get("llm"), "sources": sources,
            "settings": settings, "fingerprint": info["fingerprint"], "split_sha256": run.split_sha256,
            "made_by": run.made_by(),
        }  # fmt: skip
    return {
        "synthetic": any(map(is_synthetic, runs)) if runs else None, "data": data, "runs": about
    } | provenance()  # fmt: skip


def line(made: Mapping) -> str:
    """The provenance (``made_by``) in one line, for under a table or in a figure's caption."""

    def revision(git: dict | None) -> str:
        return f"{git['revision'][:10]}{' with changes' if git['changed'] else ''}" if git else "no git"

    drawn = f"written by revision {revision(made.get('git'))}"
    if not made.get("runs"):
        return f"Provenance: no run; {drawn}."
    data = "; ".join(f"{title(test_set)}, {_identity(data)}" for test_set, data in made["data"].items())
    recipes = ", ".join(sorted({run["recipe"] for run in made["runs"].values()}))
    trained = sorted({revision(m["git"]) for run in made["runs"].values() for m in run["made_by"]})
    names = [Path(path).name for path in made["runs"]]
    listed = ", ".join(names if len(names) < 5 else [*names[:3], f"and {len(names) - 3} more (all in the JSON file)"])
    by = ", ".join(trained)
    return f"Provenance: runs {listed}; data {data}; recipe {recipes}; trained by revision {by}; {drawn}."


def _identity(data: Mapping[str, Any]) -> str:
    """Which clips: whether rendered, how many, which variant of a release, and their fingerprint."""
    parts = [part["release"] for part in data.get("parts", [{"release": data}])]
    variants = [f"{part['dataset']} variant {part['variant']}" for part in parts if part.get("variant")]
    rendered = ["synthetic"] if data.get("synthetic") is not False else []
    more = f" (and {len(data['stores']) - 1} for other frames)" if len(data["stores"]) > 1 else ""
    fingerprint = f"fingerprint {data['fingerprint'][:12]}{more}"
    return ", ".join([*rendered, f"{data['clips']} clips", *variants, fingerprint])


def in_words(items: Iterable[Run | Result], brief: bool = False) -> str:
    """The data: "CASME II and SAMM", or "synthetic release in the layout of CASME II" (brief: without the layout)."""
    names: dict[bool, list[str]] = {}
    for run in _runs(items):
        same = names.setdefault(is_synthetic(run), [])
        name = title(configuration(run).test_set)
        same += [name] if name not in same else []
    words = [" and ".join(names[False])] if False in names else []
    if True in names:
        layout = f" in the layout of {' and '.join(names[True])}"
        words.append("synthetic release" + ("" if brief and len(names) == 1 else layout))
    return "; ".join(words)
