"""The publication's claims, each with the experiment, the statistic and the rule that decide it, and the verdict.

What decides each claim stands in ``CLAIMS``, written down before anything is run. The rule is the same for all: the
difference between the full model and what it is compared with is averaged over the seeds and tested by swapping whole
subjects (``metrics.compare``), p is corrected over all m tests of the claim (Holm), of which those that were not run
count with p = 1, and a comparison is

- supported, where p is below 0.05 in the claimed direction;
- not supported, where it is below 0.05 in the other one, or where the upper end of the interval, at the level
  1 - 0.05 / m, lies below the published margin;
- undecided in every other case: too few runs (fewer seeds than the claim asks for, or cells missing), or too little
  power, with the smallest difference that a single test would find in 4 of 5 cases.

A claim is supported where all its comparisons are, and not supported where one of them is not. Decisions are taken at
thresholds chosen on the other subjects (policy "nested"), since a fixed 0.5 is unfair to a loss that is not calibrated;
across domains, where there is no other subject, at 0.5. On licensed data the publication's LLMs and releases decide,
and other LLMs stand beside them. A rehearsal on synthetic releases is decided by what was run, is compared with no
published number, and says in every line that it is a rehearsal.
"""

import html
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from itertools import combinations, groupby
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler
from scipy import special

from aullm_lib import metrics
from aullm_lib.experiment import AU_LLM
from aullm_lib.explain import probes, sanity
from aullm_lib.metrics import significance
from aullm_lib.metrics.predictions import TEXT
from aullm_lib.metrics.scores import RANKS, Predictions
from aullm_lib.metrics.thresholds import POLICIES
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.model import recipe_of
from aullm_lib.report import controls, evidence, printed, published, tables
from aullm_lib.report.results import CROSS_DOMAIN, RELEASES, Result, title
from aullm_lib.support import files

SUPPORTED, AGAINST, MISSING = "supported", "not supported", "not run"
RUNS, POWER = "cannot tell: too few runs", "cannot tell: too little power"
UNTESTABLE = "cannot be tested without ground truth"
FULL, SYNTHETIC = "the full model", "synthetic release"
KEY = ["claim", "data", "model", "against"]


@dataclass
class Row:
    """One comparison of a claim: a pair of predictions, or the numbers of one made elsewhere."""

    data: str
    model: str
    against: str
    pair: tuple[Predictions, Predictions] | str = ""  # or why there is none
    published: float = float("nan")  # the margin, in points
    absent: bool = False  # one side of the pair was not run
    measure: str = "f1_macro"
    policy: str = "nested"
    numbers: dict[str, Any] = field(default_factory=dict)  # of evidence.DIFFERENCE, in the place of a pair
    verdict: str = ""  # where the rule is another than the claim's
    tested: bool = True  # has a p once it is run
    seeds: int = 0  # of those numbers
    decides: bool = True
    synthetic: bool = False
    printed: bool = False  # of the print alone
    gains: tuple[float, float] | None = None  # whose signs are claimed to be equal
    parts: tuple[tuple[str, str, str], ...] = ()  # data, model and against of the rows of other claims that test them
    runs: tuple[str, ...] = ()  # the folders of the runs behind it


def _folders(*results: Result | None) -> tuple[str, ...]:
    return tuple(run.path.name for result in results if result for run in result.runs)


@dataclass(frozen=True)
class Cell:
    """AU-LLM on a test set with one LLM: the full model (None if it was not run), and its variants by name."""

    test_set: str
    model: str
    whole: Result | None
    variants: dict[str, Result]
    measure: str
    policy: str
    short: str = ""  # the LLM's column of Table 3
    decides: bool = True

    def row(self, other: Result | None, against: str, published: float = float("nan")) -> Row:
        """The full model against another result. The published margin is that of two-class macro F1."""
        data = controls.data_of(self.whole) if self.whole else title(self.test_set)
        missing = f"{against} was not run" if self.whole else f"{self.model} was not run"
        pair = evidence.common(self.whole, other) if self.whole and other else missing
        absent = not (self.whole and other) or bool(self.whole.why or other.why)
        row = Row(data, self.model, against, pair, absent=absent, measure=self.measure, policy=self.policy)
        row = replace(row, synthetic=bool(self.whole and self.whole.synthetic), decides=self.decides)
        row.runs = _folders(self.whole, other)
        if self.measure == "f1_macro" and not row.synthetic:
            row.published = round(published, 1)
        return row


class Runs:
    """The results of a profile, as claims ask for them.

    Args:
        results: Of ``results.load``. Where some are of licensed releases the others are left out; of AU-LLM's recipes
            the one with most results counts.
        localisation: The folder that ``06_visualize`` wrote; None, or one that is not there, has nothing.
    """

    def __init__(self, results: Iterable[Result], localisation: Path | None = None):
        every = list(results)
        self.licensed = any(not r.synthetic for r in every)
        self.rehearsal = bool(every) and not self.licensed
        self.localisation = localisation
        every = [r for r in every if not (self.licensed and r.synthetic)]
        recipes = Counter(r.recipe for r in every if r.method == AU_LLM)
        self.recipe = min(recipes, key=lambda name: (-recipes[name], name), default="")
        self.results = [r for r in every if r.method != AU_LLM or r.recipe == self.recipe]
        self.measure, self.policy = "f1_macro", "nested"
        self._models = controls.models(self.results)
        self._differences: dict[tuple, dict[str, Any]] = {}

    def scored(self, measure: str, policy: str) -> "Runs":
        """The same runs under another measure and threshold policy."""
        other = copy(self)
        other.measure, other.policy = measure, policy
        return other

    def cells(self, test_sets: Sequence[str], variants: Sequence[str] = ("all",)) -> list[Cell]:
        """The cells that a claim is about, test set by test set, the publication's LLMs in its order before any other.

        Of licensed data these are all that are published; other LLMs decide nothing. In a rehearsal they are those in
        which most of ``variants`` were run, or the first full model where none was.
        """
        cells = []
        for test_set in test_sets:
            policy = "fixed" if self.policy == "nested" and test_set in CROSS_DOMAIN else self.policy
            here = {one.name: (one, every) for one, every in self._models if one.test_set == test_set}
            for names in published.LLMS.values():
                name = next((n for n, (one, _) in here.items() if published.llm(one.llm) == names), names[0])
                one, every = here.pop(name, (None, {}))
                cells.append(Cell(test_set, names[0], one, every, self.measure, policy, names[1]))
            for name, (one, every) in here.items():
                cells.append(Cell(test_set, name, one, every, self.measure, policy, decides=not self.licensed))
        if self.licensed:
            return cells
        run = [len(set(variants) & set(cell.variants)) for cell in cells]
        most = [cell for cell, count in zip(cells, run, strict=True) if count == max(run) > 0]
        return most or [cell for cell in cells if cell.whole][:1] or cells[:1]

    def difference(self, row: Row, **options: Any) -> dict[str, Any]:
        """``evidence.difference`` of a row, once for all claims and ways to score that ask for it."""
        policy = "fixed" if row.measure in RANKS else row.policy
        key = (row.data, row.model, row.against, row.measure, policy)
        if key not in self._differences:
            self._differences[key] = evidence.difference(row.pair, measure=row.measure, policy=policy, **options)
        return self._differences[key]

    def baseline(self, test_set: str, method: str) -> Result | None:
        """A baseline's result on a test set: one with a score, if there is one."""
        same = [r for r in self.results if r.test_set == test_set and r.method == method and r.baseline]
        return next(iter(sorted(same, key=lambda r: bool(r.why))), None)

    def best(self, test_set: str) -> Result | None:
        """The comparable baseline with the highest average here."""
        same = [r for r in self.results if r.test_set == test_set and r.baseline and r.comparable and not r.why]
        return max(same, key=lambda r: r.score().loc["mean", "f1_macro"], default=None)


@dataclass(frozen=True)
class Ablations:
    """The full model, or the variant ``of``, against variants of it, for each LLM, leave-one-subject-out."""

    variants: tuple[str, ...]
    of: str = "all"
    decides: bool = True

    def rows(self, runs: Runs) -> Iterator[Row]:
        for cell in runs.cells(RELEASES, self.variants):
            one = replace(cell, whole=cell.variants.get(self.of), decides=cell.decides and self.decides)
            for variant in self.variants:
                against = controls.describe(variant)
                if self.of != "all":
                    against = f"{controls.describe(self.of)}, against {against}"
                yield one.row(cell.variants.get(variant), against, self._margin(cell, variant))

    def _margin(self, cell: Cell, variant: str) -> float:
        """The published one, of Table 3."""
        label = published.VARIANTS.get(variant)
        if not label or self.of != "all" or not cell.short:
            return float("nan")
        table = published.table(3)[title(cell.test_set)]
        return float(table.loc["all", cell.short] - table.loc[label, cell.short])


@dataclass(frozen=True)
class Losses:
    """ASL as in Eq. 4 against the other losses, whichever of them the recipe has: its F1, and average precision.

    The released script's, with which the publication's text compares nothing, stands beside.
    """

    variants: ClassVar[tuple[str, ...]] = ("bce", "switch-loss")

    def rows(self, runs: Runs) -> Iterator[Row]:
        for cell in runs.cells(RELEASES, self.variants):
            trained = {recipe_of(r.variant, r.runs[0].experiment.recipe).loss: r for r in cell.variants.values()
                       if r.variant in ("all", *self.variants)}  # fmt: skip
            whole = trained.get("asl")
            for loss, name in {"bce": "binary cross-entropy", "asl_released": "the released script's ASL"}.items():
                one = replace(cell, whole=whole, decides=cell.decides and loss == "bce")
                row = one.row(trained.get(loss), name)
                yield row
                yield replace(row, against=f"{name}, average precision", measure="average_precision")


@dataclass(frozen=True)
class BestBaseline:
    """The whole model against the baseline that is best as published: with DeepSeek-R1; other LLMs stand beside."""

    test_set: str

    @property
    def methods(self) -> tuple[str, ...]:
        """That baseline."""
        number = 1 + RELEASES.index(self.test_set)
        averages = published.table(number)[published.AVERAGE]
        rows = {m: row for m in published.BASELINES if (row := published.baseline(number, m))}
        return (max(rows, key=lambda method: averages[rows[method]]),)

    def rows(self, runs: Runs) -> Iterator[Row]:
        (method,), number = self.methods, 1 + RELEASES.index(self.test_set)
        averages, other = published.table(number)[published.AVERAGE], runs.baseline(self.test_set, method)
        cells = runs.cells([self.test_set])
        named = {cell.model for cell in cells} & {_ORDER[0]}  # whose margins the publication states; none in rehearsals
        for cell in cells:
            one = replace(cell, decides=cell.decides and cell.model in (named or {cell.model}))
            margin = averages.get(cell.model, float("nan")) - averages[published.BASELINES[method][number]]
            yield one.row(other, _name(number, method), float(margin))
            best = runs.best(self.test_set)
            if best and best is not other:
                yield replace(cell, decides=False).row(best, f"the best baseline here, {best.name}")


def _name(number: int, method: str) -> str:
    """A baseline as a published table names it."""
    return published.baseline(number, method) or method


@dataclass(frozen=True)
class AcrossDomains:
    """The whole model against Table 4's baselines, in both directions, and above what base-rate guessing reaches."""

    methods: tuple[str, ...] = ("resnet18", "sssnet-led")

    def rows(self, runs: Runs) -> Iterator[Row]:
        averages = published.table(4).xs(published.AVERAGE, axis=1, level=1)
        seeds = Counter[str]()  # the published row is of one LLM, which is not named: that with most seeds
        for cell in runs.cells(CROSS_DOMAIN):
            seeds[cell.model] += len(cell.whole.runs) if cell.whole else 0
        model = max(seeds, key=lambda name: seeds[name])
        for test_set in CROSS_DOMAIN:
            cells = runs.cells([test_set])
            cell = next((cell for cell in cells if cell.model == model), cells[0])
            here = averages[title(test_set)]
            for method in self.methods:
                other = runs.baseline(test_set, method)
                margin = float(here["AU-LLM (Ours)"] - here[published.BASELINES[method][4]])
                fair = replace(cell, decides=cell.decides and (other is None or other.comparable))
                yield fair.row(other, _name(4, method), margin)
            row = cell.row(None, "the 97.5 % point of base-rate guessing")
            yield _level(row, cell.whole, "high", (AGAINST, POWER, SUPPORTED))


def _level(row: Row, result: Result | None, end: str, verdicts: Sequence[str]) -> Row:
    """A result's score against a level of base-rate guessing, a constant.

    Args:
        row: Says what is compared.
        result: None, or one without a score, leaves the row as it is.
        end: "high" or "": the 97.5 % point of guessing, or its mean.
        verdicts: Where the whole interval lies below the level, holds it, and lies above it.
    """
    row = replace(row, tested=False)
    if result is None or result.why:
        return replace(row, pair=result.why if result else row.pair, absent=True)
    level = result.trivial[CHANCE].loc["mean", row.measure + f"_{end}" * bool(end)]
    mean = result.score(row.policy).loc["mean"]
    ends = {"difference": row.measure, "low": f"{row.measure}_low", "high": f"{row.measure}_high"}
    numbers = {name: 100 * (mean[column] - level) for name, column in ends.items()}
    which = 0 if numbers["high"] < 0 else 2 if numbers["low"] > 0 else 1
    verdict = POWER if np.isnan(numbers["low"]) else verdicts[which]
    row = replace(row, pair="", absent=False, numbers=numbers, verdict=verdict)
    return replace(row, seeds=len(result.runs), runs=_folders(result))


@dataclass(frozen=True)
class Blind:
    """A gate: a model that sees no clip must score at chance level, else the protocol leaks. It supports nothing."""

    variants: ClassVar[tuple[str, ...]] = ("blind",)

    def rows(self, runs: Runs) -> Iterator[Row]:
        for cell in runs.cells(RELEASES, self.variants):
            blind = cell.variants.get("blind")
            row = replace(cell.row(blind, "chance level, by a blind model"), policy="fixed")
            row = _level(row, blind, "", (SUPPORTED, SUPPORTED, AGAINST))
            yield replace(row, decides=row.decides and (row.absent or row.verdict == AGAINST))


@dataclass(frozen=True)
class LLMs:
    """Each LLM against the next one in the publication's order, from the best."""

    order: tuple[str, ...]
    variants: ClassVar[tuple[str, ...]] = ()

    def rows(self, runs: Runs) -> Iterator[Row]:
        for test_set in RELEASES:
            cells = {cell.model: cell for cell in runs.cells([test_set])}
            table = published.table(1 + RELEASES.index(test_set))[published.AVERAGE]
            for one, other in combinations(self.order, 2):
                cell = cells.get(one) or Cell(test_set, one, None, {}, runs.measure, runs.policy)
                second = cells[other].whole if other in cells else None
                yield cell.row(second, other, float(table[one] - table[other]))


@dataclass(frozen=True)
class Interaction:
    """Whether a part is worth something with every LLM: its gain with one minus its gain with another.

    Supported where both gains are by themselves, in the claims on those parts (C3 to C5); not supported where their
    signs differ and the interaction is below 0.05.
    """

    variants: tuple[str, ...]

    def rows(self, runs: Runs) -> Iterator[Row]:
        groups = [list(same) for _, same in groupby(runs.cells(RELEASES, self.variants), lambda cell: cell.test_set)]
        several = [cells for cells in groups if len(cells) > 1]
        if not several:
            yield groups[0][0].row(None, "a second LLM")
        for cells in several:
            for one, other in combinations(cells, 2):
                for variant in self.variants:
                    yield self._row(runs, replace(one, decides=one.decides and other.decides), other, variant)

    @staticmethod
    def _row(runs: Runs, one: Cell, other: Cell, variant: str) -> Row:
        row = one.row(None, f"{controls.describe(variant)}: gain less that with {other.model}")
        pairs = [
            evidence.common(cell.whole, cell.variants[variant])
            for cell in (one, other)
            if cell.whole and variant in cell.variants
        ]
        both = [pair for pair in pairs if not isinstance(pair, str)]
        if len(both) < 2:
            return row
        (a, b), (c, d) = both
        first, second = (
            [frame for two in zip(left, right, strict=False) for frame in two] for left, right in ((a, d), (b, c))
        )
        numbers = runs.difference(replace(row, pair=(first, second)), per_seed=2)
        scaled = {key: 2 * numbers[key] for key in ("difference", "low", "high", "detectable") if key in numbers}
        means = [100 * float(np.mean([_average(frame, row) for frame in side])) for side in (a, b, c, d)]
        row = replace(row, pair=numbers["why"], numbers=numbers | scaled, absent=False, seeds=len(first) // 2)
        row.runs = _folders(*(r for cell in (one, other) for r in (cell.whole, cell.variants[variant])))
        alone = [cell.row(None, controls.describe(variant)) for cell in (one, other)]
        parts = tuple((part.data, part.model, part.against) for part in alone)
        return replace(row, gains=(means[0] - means[1], means[2] - means[3]), parts=parts)


def _average(predictions: pd.DataFrame, row: Row) -> float:
    return float(metrics.score(predictions, policy=row.policy, interval="none").loc["mean", row.measure])


@dataclass(frozen=True)
class Print:
    """Arithmetic on Table 3 as printed: nothing is run."""

    def rows(self, runs: Runs) -> Iterator[Row]:
        for (data, llm), part in printed.margins().groupby(level=["data", "llm"], sort=False):
            name, lowest = part["margin"].idxmin()[-1], float(part["margin"].min())
            verdict = SUPPORTED if lowest > 0 else AGAINST
            against = f"{name}, the nearest of {len(part)} ablations"
            yield Row(
                f"{data}, as printed", str(llm), against, numbers={"difference": lowest}, verdict=verdict, printed=True
            )


@dataclass(frozen=True)
class Measured:
    """What ``06_visualize`` measured of one run's held-out clips: heat maps, or SE's weights over time."""

    file: str
    compared: Callable[[pd.DataFrame], pd.DataFrame]
    beside: tuple[str, ...] = ()  # what it is compared with and decides nothing

    def rows(self, runs: Runs) -> Iterator[Row]:
        folder = runs.localisation
        about = files.read_json(folder / "about.json", missing=None) if folder else None
        row = Row(SYNTHETIC, FULL, "its controls", "06_visualize was not run", absent=True, measure="", policy="")
        if about:
            data = "synthetic, as " * bool(about["synthetic"]) + title(about["release"])
            row = replace(row, data=data, synthetic=bool(about["synthetic"]), seeds=1)
            row.runs = tuple(Path(path).name for path in about.get("runs", ()))
        if self.file == "pairs.csv" and not (about["ground_truth"] if about else not runs.licensed):
            row = replace(row, data=row.data if about else "licensed releases", against="the AU's region")
            yield replace(row, pair="this release has no ground truth of where AUs act", verdict=UNTESTABLE)
            return
        if folder is None or about is None or not (folder / self.file).is_file():
            yield row
            return
        measured = pd.read_csv(folder / self.file, dtype=TEXT)
        for (measure, against), line in self.compared(measured).iterrows():
            numbers = line[evidence.DIFFERENCE].to_dict() | {"p (Holm)": line["p"]}
            what = f"{measure}: {against}".replace("_", " ")
            decides = against not in self.beside
            row = replace(row, against=what, pair="", absent=False, numbers=numbers, decides=decides)
            yield replace(row, measure=str(measure).replace("_", " "))


@dataclass(frozen=True)
class Claim:
    """A claim of the publication.

    Attributes:
        key: "C1" to "C14".
        words: The claim in the publication's terms.
        place: Where it stands.
        tests: What decides it.
        seeds: How many a comparison needs at least.
    """

    key: str
    words: str
    place: str
    tests: tuple[Any, ...]
    seeds: int = 1


_PARTS = tuple(name for name in published.VARIANTS if name != "all")
_ORDER = ("AU-DeepSeek R1(1.5B)", "AU-Qwen2.5(1.5B)", "AU-Qwen2(1.5B)")
CLAIMS = (
    Claim(
        "C1", "AU-LLM is better than the best published baseline on CASME II, by 3.0 points", "Section 4.3, Table 1",
        (BestBaseline("casme2"),),
    ),
    Claim(
        "C2", "AU-LLM is better than the best published baseline on SAMM, by 4.6 points", "Section 4.3, Table 2",
        (BestBaseline("samm"),),
    ),
    Claim(
        "C3", "the MLP projector beats a linear one", "Section 4.4, Table 3",
        (Ablations(("efp-",)), Ablations(("efp-",), of="efp-small", decides=False)),
    ),
    Claim("C4", "mid- and high-level features are both needed", "Section 4.4, Table 3", (Ablations(("high", "mid")),)),
    Claim(
        "C5", "a visual token beats learnable text prompts (our design of them)", "Section 4.4, Table 3",
        (Ablations(("prompt-learning",)),),
    ),
    Claim(
        "C6", "the LLM's reasoning helps", "Abstract, Section 1",
        (Ablations(("no-llm", "random-llm", "llm-to-mlp")), Blind()),
    ),
    Claim("C7", "AU-LLM generalises across data sets", "Section 4.5, Table 4", (AcrossDomains(),), seeds=5),
    Claim("C8", "heat maps find the AU's region", "Section 4.6, Figure 3", (Measured("pairs.csv", sanity.compared),)),
    Claim(
        "C9", "SE weights are dynamic and useful", "Section 4.6, Figure 3d",
        (Measured("se.csv", probes.se_compared, beside=("that with randomised weights",)), Ablations(("no-se",))),
    ),
    Claim(
        "C10", "the order of the LLMs in Tables 1 and 2: DeepSeek-R1, Qwen2.5, Qwen2", "Tables 1 and 2, not the text",
        (LLMs(_ORDER),), seeds=5,
    ),
    Claim("C11", "the full model consistently outperforms its ablations", "Section 4.4, Table 3", (Print(),)),
    Claim(
        "C12", "LED amplifies the motion that counts", "Section 3.1", (Ablations(("raw-frames", "frame-difference")),)
    ),
    Claim("C13", "the Asymmetric Loss helps with imbalance", "Section 3.4", (Losses(),)),
    Claim("C14", "the gain holds across LLMs", "Section 4.4, Table 3", (Interaction(_PARTS),)),
)  # fmt: skip
"""Every claim, in the order of the publication; what decides each was fixed before anything was run."""


@dataclass(frozen=True)
class Needs:
    """What is to be run for some claims.

    Attributes:
        variants: Of AU-LLM, leave-one-subject-out, with every LLM.
        baselines: Leave-one-subject-out.
        releases: On which.
        across: Baselines across domains, beside the whole model with one LLM.
        explained: Whether clips are to be explained.
        seeds: How many at least, leave-one-subject-out.
        across_seeds: How many at least, across domains.
    """

    variants: tuple[str, ...]
    baselines: tuple[str, ...]
    releases: tuple[str, ...]
    across: tuple[str, ...]
    explained: bool
    seeds: int
    across_seeds: int


def needs(keys: Iterable[str]) -> Needs:
    """What is to be run for the claims of some keys. Raises ValueError naming a key that no claim has."""
    by_key = {claim.key: claim for claim in CLAIMS}
    chosen = list(dict.fromkeys(keys))
    if unknown := [key for key in chosen if key not in by_key]:
        raise ValueError(f"claims: unknown {unknown[0]!r}; choose from {', '.join(by_key)}")
    tests = [test for key in chosen for test in by_key[key].tests]
    between = [by_key[key] for key in chosen if any(isinstance(test, AcrossDomains) for test in by_key[key].tests)]
    within = [by_key[key] for key in chosen if by_key[key] not in between]
    best = [test for test in tests if isinstance(test, BestBaseline)]
    parts = [test for test in tests if isinstance(test, Ablations | Losses | Blind | LLMs | Interaction)]
    variants = {"all": None} | dict.fromkeys(v for t in parts for v in (*t.variants, getattr(t, "of", "all")))
    return Needs(
        variants=tuple(variants) if best or parts else (),
        baselines=tuple(dict.fromkeys(method for test in best for method in test.methods)),
        releases=RELEASES if parts else tuple(dict.fromkeys(test.test_set for test in best)),
        across=tuple(method for test in tests if isinstance(test, AcrossDomains) for method in test.methods),
        explained=any(isinstance(test, Measured) for test in tests),
        seeds=max((claim.seeds for claim in within), default=1),
        across_seeds=max((claim.seeds for claim in between), default=1),
    )


def table(runs: Runs) -> pd.DataFrame:
    """Every comparison of every claim.

    Returns:
        One row per comparison; index: claim, data, model, against. Columns: ``measure``, ``policy``, ``seeds``,
        ``difference``, ``low``, ``high``, ``p (Holm)``, ``detectable``, ``subjects`` (``evidence.paired``; p is
        corrected over the claim's own tests), ``published`` (the margin in points), ``verdict`` (in fixed words),
        ``reason`` (what is missing, or why nothing can be told), ``decides`` (whether it counts for the claim),
        ``synthetic``, ``runs`` (the folders of the runs behind it, with blanks between them).
    """
    keys, lines = [], []
    for claim in CLAIMS:
        for row in (row for test in claim.tests for row in test.rows(runs)):
            row.synthetic |= runs.rehearsal and not row.printed
            keys.append((claim.key, row.data, row.model, row.against))
            lines.append(_line(runs, row, claim))
    frame = pd.DataFrame(lines, pd.MultiIndex.from_tuples(keys, names=KEY))
    frame = frame.astype(dict.fromkeys(evidence.DIFFERENCE, float))
    # What is not run yet counts, so that a claim is never judged more easily for being run in part; in a rehearsal too:
    # its cells are those of which most was run, so that the rest of their tests can be.
    lacking = frame["tested"] & (frame["why"] != "")
    frame["p (Holm)"] = frame["p (Holm)"].mask(lacking, 1.0)
    frame = evidence.corrected(frame, ["claim", "decides"], small=0)
    tests = frame.groupby(["claim", "decides"], sort=False)["p (Holm)"].transform("count")
    frame["p (Holm)"] = frame["p (Holm)"].mask(lacking)
    lines_of = zip(frame.iterrows(), frame["verdict"], tests, strict=True)
    ruled, supported = list[str](), set[tuple[str, str, str]]()
    for (key, line), given, m in lines_of:  # gains across LLMs come last
        ruled.append(given or _rule(line, m, supported))
        supported |= {key[1:]} if ruled[-1] == SUPPORTED else set()
    power = frame["supported"].str.removeprefix("cannot tell: ").where(frame["tested"], "the interval holds 0")
    power = power.mask(frame["gains"].notna(), "a gain is not significant by itself")
    power = power.where(pd.Series(ruled, frame.index) == POWER, "")
    frame = frame.assign(verdict=ruled, reason=frame["missing"].where(frame["missing"] != "", power))
    columns = ["measure", "policy", "seeds", *evidence.DIFFERENCE, "published"]
    columns += ["verdict", "reason", "decides", "synthetic", "runs"]
    return evidence.rounded(frame[columns])


def _line(runs: Runs, row: Row, claim: Claim) -> dict[str, Any]:
    """A row of ``table`` before p is corrected."""
    made = row.pair == "" and row.numbers
    numbers = row.numbers if made else runs.difference(row)
    seeds = row.seeds or (len(row.pair[0]) if isinstance(row.pair, tuple) else np.nan)
    why = "" if made else numbers["why"]
    verdict = row.verdict or MISSING if row.absent else RUNS if why or seeds < claim.seeds else row.verdict
    facts: dict[str, Any] = {"measure": row.measure, "policy": row.policy, "seeds": seeds, "published": row.published}
    facts |= {"verdict": verdict, "missing": why, "decides": row.decides, "synthetic": row.synthetic, "why": why}
    facts |= {"tested": row.tested, "gains": row.gains, "parts": row.parts}
    facts |= {"runs": " ".join(row.runs), "freedom": numbers.get("freedom", numbers.get("subjects", np.nan) - 1)}
    return dict.fromkeys(evidence.DIFFERENCE, np.nan) | numbers | facts


def _rule(line: pd.Series, tests: int, supported: Collection[tuple[str, str, str]] = ()) -> str:
    """The rule on one comparison, of so many tests that are corrected together.

    Args:
        line: Of ``_line``, its p corrected.
        tests: How many.
        supported: Data, model and against of the comparisons that are supported so far.
    """
    significant = line["p (Holm)"] < significance.LEVEL
    if isinstance(line["gains"], tuple):
        if all(part in supported for part in line["parts"]):
            return SUPPORTED
        return AGAINST if significant and min(line["gains"]) < 0 < max(line["gains"]) else POWER
    if significant:
        return SUPPORTED if line["difference"] > 0 else AGAINST
    if line["low"] == line["high"] and line["difference"] <= 0:
        return AGAINST  # it never differs
    quantiles = special.stdtrit(line["freedom"], 1 - significance.LEVEL / 2 / np.array([1, tests]))
    reach = (line["high"] - line["difference"]) * quantiles[1] / quantiles[0]
    return AGAINST if line["difference"] + reach < line["published"] else POWER


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """The verdict on each claim, from ``table``.

    Returns:
        One row per claim: ``words``, ``place``, ``verdict``, ``supported`` ("2 of 6" comparisons), ``decisive`` (the
        comparison that decides it, in numbers), ``missing`` (what was not run, in words), ``synthetic``.
    """
    out = {}
    for claim in CLAIMS:
        rows = frame.xs(claim.key, level="claim")
        deciding = rows[rows["decides"]]
        verdict, here = _together(list(deciding["verdict"])), deciding["verdict"]
        decisive = deciding[here == verdict].sort_values("difference") if (here == verdict).any() else deciding
        missing = deciding[here == MISSING]
        names = [f"{key[2]} ({key[1]}, {key[0]})" for key in missing.index]
        out[claim.key] = {
            "words": claim.words, "place": claim.place, "verdict": verdict,
            "supported": f"{(here == SUPPORTED).sum()} of {len(here)}",
            "decisive": _numbers(decisive.iloc[0], decisive.index[0]) if len(decisive) else "",
            "missing": "; ".join(names[:3]) + f"; and {len(names) - 3} more" * (len(names) > 3),
            "synthetic": bool(rows["synthetic"].any()),
        }  # fmt: skip
    return pd.DataFrame.from_dict(out, orient="index").rename_axis("claim")


def counted(frame: pd.DataFrame) -> str:
    """How many of ``verdicts`` have which one, in words: "1 not supported, 6 open for too little power"."""
    told = {SUPPORTED: "supported", AGAINST: "not supported", POWER: "open for too little power"}
    told |= {RUNS: "open for too few runs", UNTESTABLE: "not to be tested without ground truth", MISSING: "not run"}
    counts = frame["verdict"].value_counts()
    return ", ".join(f"{counts[verdict]} {name}" for verdict, name in told.items() if verdict in counts)


def _together(words: Sequence[str]) -> str:
    """The verdict on a claim from those of its comparisons."""
    every = set(words)
    if AGAINST in every:
        return AGAINST
    if every <= {MISSING}:
        return MISSING
    if every == {UNTESTABLE}:
        return UNTESTABLE
    if every & {MISSING, RUNS}:
        return RUNS
    return POWER if POWER in every else SUPPORTED


def _numbers(line: pd.Series, key: Sequence[str]) -> str:
    """A comparison in words with its numbers."""
    if np.isnan(line["difference"]):
        return str(line["reason"])
    parts = [f"{tables.number(line['difference'], signed=True)} {tables.interval(line['low'], line['high'])}".strip()]
    p = line["p (Holm)"]
    parts += [] if np.isnan(p) else ["p < .001" if p < 0.001 else f"p {p:.3f}"]
    parts += [f"published {tables.number(line['published'], signed=True)}"] * (not np.isnan(line["published"]))
    parts += [line["reason"] or f"detectable {tables.number(line['detectable'])}"] * (not np.isnan(line["detectable"]))
    return f"{key[-1]}, {key[1]}, {key[0]}: {', '.join(parts)}"


WAYS = {(policy, measure): f"{name}, {policy}" for measure, name in evidence.MEASURES.items() for policy in POLICIES}
"""Policy and measure -> how they are called."""


def by_policy(runs: Runs) -> pd.DataFrame:
    """The verdicts under both definitions of F1 and every threshold policy: one row per claim, one column per way."""
    ways = {name: verdicts(table(runs.scored(m, p)))["verdict"] for (p, m), name in WAYS.items()}
    return pd.DataFrame(ways)


def filled(command: str, arguments: str) -> str:
    """A command that runs a profile, with more arguments."""
    return f'{command} ARGS="{arguments}"' if command.startswith("make") else f"{command} {arguments}"


def page(verdicts: pd.DataFrame, command: str) -> str:
    """``verdicts`` as an HTML table; text from data is escaped.

    Args:
        verdicts: Of ``verdicts``.
        command: That runs the profile, for what is missing.
    """
    marks = {SUPPORTED: "✓", AGAINST: "✗"}
    run = {claim.key for claim in CLAIMS if not isinstance(claim.tests[0], Print)}
    fills = [
        filled(command, f"-p claims=[{key}]") * (key in run and missing != "")
        for key, missing in verdicts["missing"].items()
    ]
    verdict = [f"{marks.get(v, '·')} {v}{' (rehearsal)' * s}" for v, s in verdicts[["verdict", "synthetic"]].to_numpy()]
    columns = {
        "claim": verdicts["words"] + " (" + verdicts["place"] + ")", "verdict": verdict,
        "comparisons supported": verdicts["supported"], "which decides": verdicts["decisive"],
        "not run": verdicts["missing"], "filled by": fills,
    }  # fmt: skip
    styler = Styler(pd.DataFrame(columns, verdicts.index.rename(None)), uuid="claims").format(escape="html")
    open_ = ~verdicts["verdict"].isin([SUPPORTED, AGAINST])
    styler.apply(lambda row: ["opacity: .6" if open_[row.name] else ""] * len(row), axis=1)
    styler.set_table_styles([{"selector": "td", "props": "text-align: left; vertical-align: top"}])
    rehearsal = "A rehearsal on synthetic releases: no result on CASME II or SAMM. " * bool(verdicts["synthetic"].any())
    caption = (
        f"{rehearsal}Differences in points of two-class macro F1, or in percent of the measure that is named [95 % "
        "interval], p corrected over the claim's tests"
    )
    return styler.set_caption(html.escape(caption)).to_html()
