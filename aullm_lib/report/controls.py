"""Does the language model help? AU-LLM's variants beside the whole model, and what follows by fixed rules.

Each variant is compared with the whole model (the variant "all") of the same LLM and recipe on the same clips and
folds, across domains too where it was trained for that. Which comparison bears on which claim is written down in
``RULES``, before anything is run.
"""

import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from aullm_lib import metrics
from aullm_lib.experiment import AU_LLM
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.report import evidence, tables
from aullm_lib.report.results import CROSS_DOMAIN, RELEASES, Result, title

REFERENCE, OTHER = "reference", "other parts"
GROUPS: dict[str, dict[str, str]] = {
    REFERENCE: {"all": "the whole model", CHANCE: "chance level"},
    "LLM taken away or replaced": {
        "no-llm": "no LLM",
        "llm-to-mlp": "an MLP (parameters as LoRA)",
        "llm-to-attention": "one attention layer",
        "llm-to-block": "one transformer block",
        "backbone": "no LLM, no projector",
        "3d-cnn": "plain 3D-CNN",
    },
    "weights of the LLM": {
        "random-llm": "random, with LoRA",
        "frozen-llm": "its own, without LoRA",
        "random-frozen-llm": "random, without LoRA",
    },
    "prompt": {
        "no-prompt": "none",
        "shuffled-prompt": "shuffled",
        "random-prompt": "random tokens",
        "unrelated-prompt": "unrelated text",
        "switch-prompt": "in the other language",
        "prompt-learning": "learned, without LoRA",
        "switch-token_order": "on the other side of the visual token",
    },
    "depth": {f"llm-layers-{k}": f"first {k} layers" if k > 1 else "first layer" for k in (1, 2, 4, 8, 16)},
    "input frames": {
        "shuffled-frames": "shuffled",
        "reversed-frames": "reversed",
        "raw-frames": "raw, without LED",
        "frame-difference": "differences, without LED",
        "blind": "none (blind)",
    },
    "training subjects": {"subjects-50": "50 %", "subjects-25": "25 %"},
    OTHER: {
        "high": "high-level features only",
        "mid": "mid-level features only",
        "efp-": "linear projector (EFP-)",
        "efp-small": "the EFP with as many parameters as EFP-",
        "no-se": "no SE",
        "bce": "binary cross-entropy",
        "switch-loss": "the other recipe's loss",
    },
}
"""Heading -> variant of ``model.VARIANTS`` -> what it is. Any other variant goes by its name under the last one."""
PLACES = {variant: (group, what) for group, variants in GROUPS.items() for variant, what in variants.items()}
KEY = ["model", "data", "variant"]
SCORE = {"score": "f1_macro", "score low": "f1_macro_low", "score high": "f1_macro_high"}
DIFFERENCE = [*evidence.DIFFERENCE[:5], "supported"]
COSTS = {"trained_parameters": "trained", "total_parameters": "total", "seconds": "seconds", "peak_memory_mb": "MB"}


class Rule(NamedTuple):
    """A claim, which is supported where the whole model scores above one control."""

    subject: str  # of the sentence about it, in the singular
    control: str  # a variant, or CHANCE
    claim: str


RULES = (
    Rule("the whole model", CHANCE, "it scores above chance level"),
    Rule("the LLM", "no-llm", "it is better than none"),
    Rule("the LLM", "llm-to-mlp", "it is better than an MLP with as many trained parameters"),
    Rule("the LLM", "llm-to-attention", "it is better than one attention layer"),
    Rule("the LLM", "llm-to-block", "it is better than one transformer block"),
    Rule("pretraining", "random-llm", "the LLM's own weights are better than random ones"),
    Rule("LoRA", "frozen-llm", "it is better than a frozen LLM"),
    Rule("the prompt", "no-prompt", "it is better than none"),
    Rule("the prompt", "shuffled-prompt", "it is better than its tokens shuffled"),
    Rule("the prompt", "random-prompt", "it is better than random tokens"),
    Rule("the prompt", "unrelated-prompt", "it is better than unrelated text"),
    Rule("depth", "llm-layers-1", "all layers are better than the first one"),
    Rule("the order of the frames", "shuffled-frames", "it is better than shuffled frames"),
    Rule("the order of the frames", "reversed-frames", "it is better than reversed frames"),
    Rule("the number of training subjects", "subjects-50", "all of them are better than half"),
)
BLIND = Rule("the protocol", "blind", "a model that sees no clip scores at chance level")
SUPPORTED, OPPOSITE, NONE, UNDECIDED = "supported", "the opposite", "no effect", "cannot tell"
MISSING, LEAKS = "not run", "it leaks"
CHANCE_LEVEL = {
    SUPPORTED: "a model that sees no clip scores at chance level",
    UNDECIDED: "whether a model that sees no clip scores at chance level cannot be told",
}
HELPS = {
    SUPPORTED: "helps", OPPOSITE: "does harm", UNDECIDED: "is not shown to help",
    NONE: f"makes no difference of {evidence.SMALL:.1f} points",
}  # fmt: skip


def models(results: Iterable[Result]) -> list[tuple[Result, dict[str, Result]]]:
    """Each whole model that has a score, with all its variants by name; Tables 1, 2, 4 first.

    A variant without an LLM is one of every model with its recipe.
    """
    ours, order = [r for r in results if r.method == AU_LLM], [*RELEASES, *CROSS_DOMAIN]
    models = [r for r in ours if r.variant == "all" and not r.why]
    out = []
    for one in sorted(models, key=lambda r: order.index(r.test_set) if r.test_set in order else len(order)):
        same = [r for r in ours if r.test_set == one.test_set and _recipe(r) == _recipe(one)]
        free = {r.variant: r for r in same if "llm" not in r.runs[0].info["data"]}
        out.append((one, free | {r.variant: r for r in same if r.llm == one.llm}))
    return out


def _recipe(result: Result) -> Any:
    return result.runs[0].experiment.recipe


def describe(variant: str) -> str:
    """What a variant is, in a few words."""
    group, what = PLACES.get(variant, (OTHER, variant))
    return f"{group}: {what}" if group in ("weights of the LLM", "prompt", "input frames") else what


def data_of(result: Result) -> str:
    """The test set of a result in words."""
    return "synthetic, as " * result.synthetic + title(result.test_set)


def against_whole(results: Iterable[Result], variants: Callable[[str], bool] = bool) -> pd.DataFrame:
    """Variants of AU-LLM against the whole model: ``evidence.paired`` of the averages over the seeds that both have.

    Args:
        results: Of ``results.load``.
        variants: Which of them to compare, by name; all by default.

    Returns:
        One row per model, data and variant, the levels of the index. p is corrected over the variants of a group
        (GROUPS), which bear on one question, of one model on the same data. What has no whole model with a score beside
        it is left out.
    """
    pairs: evidence.Pairs = {}
    for one, every in models(results):
        others = {name: r for name, r in every.items() if r is not one and variants(name)}
        keys = ((one.name, data_of(one), PLACES.get(name, (OTHER,))[0], name) for name in others)
        pairs |= dict(zip(keys, (evidence.common(r, one) for r in others.values()), strict=True))
    return evidence.paired(pairs, [*KEY[:2], "group", KEY[2]], [*KEY[:2], "group"]).droplevel("group")


def table(results: Sequence[Result]) -> pd.DataFrame:
    """The whole model, chance level and every variant that was run, for each model that has some.

    Args:
        results: Of ``results.load``.

    Returns:
        One row per model, variant and data, in the order of ``GROUPS``; index: model, data, variant. Columns:

        - ``group``, and ``what`` the variant is; ``seeds`` (how many); whether the clips are ``synthetic``;
        - ``score``: the average two-class macro F1 in percent with its 95 % interval (``score low``, ``score high``),
          means over seeds, and ``of seeds``, the list of theirs;
        - ``difference`` to the whole model in points, ``low``, ``high``, ``p (Holm)``, ``supported`` of
          ``against_whole``; that of chance level has the interval of the whole model's score, and no p;
        - of a fold, means over folds and seeds, NaN where no run noted it: ``trained`` and ``total`` parameters,
          ``seconds``, and ``MB``, the peak of memory: a GPU's, else that of the whole process.
    """
    rows: dict[tuple[str, str, str], dict] = {}
    for one, every in models(results):
        if len(every) == 1:
            continue
        model, data = one.name, data_of(one)
        rows |= {(model, data, variant): _row(r) for variant, r in every.items()}
        level = 100 * one.trivial[CHANCE].loc["mean", "f1_macro"]
        apart = _apart(rows[model, data, "all"], level)
        rows[model, data, CHANCE] = {"score": level, "of seeds": [], "synthetic": one.synthetic} | apart
    for key, row in against_whole(results).iterrows():
        rows[key] |= row.to_dict()
    columns = ["group", "what", "seeds", "synthetic", *SCORE, "of seeds", *DIFFERENCE, *COSTS.values()]
    orders = [list(dict.fromkeys(level)) for level in zip(*rows, strict=True)] or [[], [], []]
    orders[2] = list(dict.fromkeys([*PLACES, *orders[2]]))
    keys = sorted(rows, key=lambda key: [orders[level].index(key[level]) for level in (0, 2, 1)])
    about = [dict(zip(columns, PLACES.get(key[2], (OTHER, key[2])), strict=False)) | rows[key] for key in keys]
    frame = pd.DataFrame(about, pd.MultiIndex.from_tuples(keys, names=KEY), columns)
    return frame.round(dict.fromkeys(SCORE, 1))


def _row(r: Result) -> dict[str, Any]:
    """The score and the costs of one row of ``table``."""
    costs = pd.concat([run.costs() for run in r.runs]).mean().rename(COSTS)
    row = {"seeds": len(r.runs), "synthetic": r.synthetic, "of seeds": []} | costs.to_dict()
    if r.why:
        return row
    mean = 100 * r.score().loc["mean", list(SCORE.values())]
    seeds = [100 * float(metrics.score(frame, interval="none").loc["mean", "f1_macro"]) for frame in r.predictions]
    return row | dict(zip(SCORE, mean, strict=True)) | {"of seeds": seeds}


def _apart(row: Mapping[str, float], level: float) -> dict[str, Any]:
    """A constant level minus the score of a row, whose interval is turned over."""
    difference, high, low = (level - row[end] for end in SCORE)
    words = "yes" if low > 0 or high < 0 else "cannot tell: the interval holds 0"
    words = "cannot tell: too few subjects for an interval" if np.isnan(low) else words
    return dict(zip(DIFFERENCE, (*np.round([difference, low, high], 1), np.nan, np.nan, words), strict=True))


def verdicts(frame: pd.DataFrame) -> pd.DataFrame:
    """What each rule says, for each model on each data.

    Args:
        frame: Of ``table``.

    Returns:
        One row per model, data, subject and claim, the levels of the index. Columns: ``control``; ``difference``,
        ``low``, ``high``, ``p (Holm)``, ``detectable`` of the control minus the whole model; ``synthetic``;
        ``verdict``: "supported" where the whole model is above the control, by a corrected p below 0.05 (chance level
        has no p, but an interval that excludes 0), "the opposite" where it is below, "no effect" where the interval
        excludes a difference of ``evidence.SMALL`` points, else "cannot tell", or "not run". Of the blind model the
        numbers are its score minus chance level, and the verdict, of ``evidence.leak``, is "supported", "it leaks" or
        "cannot tell".
    """
    out = {}
    for (model, data), rows in frame.groupby(level=["model", "data"], sort=False):
        here = rows.droplevel(["model", "data"])
        for rule in (*RULES, BLIND):
            facts = {"control": rule.control, "synthetic": bool(here["synthetic"].any()), "verdict": MISSING}
            if (
                rule.control in here.index
                and here["difference" if rule is not BLIND else "score"].notna()[rule.control]
            ):
                row, level = here.loc[rule.control], here.loc[CHANCE, "score"]
                facts |= _at_chance(row, level) if rule is BLIND else _better(row)
            out[model, data, rule.subject, rule.claim] = facts
    index = pd.MultiIndex.from_tuples(out, names=[*KEY[:2], "subject", "claim"])
    return pd.DataFrame(out.values(), index, ["control", *DIFFERENCE[:5], "verdict", "synthetic"])


def _better(row: pd.Series) -> dict[str, Any]:
    """The verdict of a rule on its control's row of ``table``."""
    sign = SUPPORTED if np.signbit(row["difference"]) else OPPOSITE
    verdict = {"yes": sign, "no": NONE}.get(row["supported"].split(":")[0], UNDECIDED)
    return row[DIFFERENCE[:5]].to_dict() | {"verdict": verdict}


def _at_chance(row: pd.Series, level: float) -> dict[str, Any]:
    """The verdict on the row of the blind model."""
    clips = pd.DataFrame({"intensity": [0], "low": [row["score low"]], CHANCE: [level]})
    leaks, _ = evidence.leak(clips)
    apart = {end: round(row[score] - level, 1) for end, score in zip(DIFFERENCE, SCORE, strict=False)}
    return apart | {"verdict": UNDECIDED if leaks is None else LEAKS if leaks else SUPPORTED}


def in_short(verdicts: pd.DataFrame) -> pd.DataFrame:
    """``verdicts`` in words with their numbers: one row per subject, claim and control, a column per model and data."""

    def words(row: pd.Series) -> str:
        numbers = f"{tables.number(row['difference'], signed=True)} {tables.interval(row['low'], row['high'])}"
        p = "" if np.isnan(row["p (Holm)"]) else f", p {row['p (Holm)']:.3f}"
        p += "" if np.isnan(row["detectable"]) else f", detectable {tables.number(row['detectable'])}"
        return row["verdict"] + ("" if np.isnan(row["difference"]) else f": {numbers.strip()}{p}")

    rows = verdicts.set_index("control", append=True)
    return rows.apply(words, axis=1).unstack(["model", "data"], sort=False)  # noqa: PD010  # each once


def conclusion(verdicts: pd.DataFrame) -> list[str]:
    """One sentence for each model and data on which some control was run, from the verdicts alone, escaped for HTML.

    A part of the model helps where every control that was run in its place says so, and does harm where each says the
    opposite. Nothing follows where the protocol leaks, or the whole model is not above chance level.
    """
    sentences = []
    for (model, data), rows in verdicts.groupby(level=["model", "data"], sort=False):
        asked = rows[rows["verdict"] != MISSING]
        parts = {str(subject): part for subject, part in asked.groupby(level="subject", sort=False)}
        above, protocol = parts.pop(RULES[0].subject), parts.pop(BLIND.subject, asked[:0])
        if not parts and protocol.empty:
            continue
        if LEAKS in set(protocol["verdict"]):
            text = "nothing follows, for the protocol leaks: a model that sees no clip scores above chance level"
        elif set(above["verdict"]) != {SUPPORTED}:
            text = "nothing follows, for the whole model is not shown to score above chance level"
        else:
            blind = [CHANCE_LEVEL[verdict] for verdict in protocol["verdict"]]
            text = "; ".join([*(_sentence(subject, part) for subject, part in parts.items()), *blind])
        rehearsal = "; a rehearsal, no result on a release" * bool(rows["synthetic"].any())
        sentences.append(html.escape(f"{model} ({data}{rehearsal}): {text}."))
    return sentences


def _sentence(subject: str, rows: pd.DataFrame) -> str:
    """What the controls of one part say of it."""
    by_verdict = {verdict: list(part["control"]) for verdict, part in rows.groupby("verdict", sort=False)}
    verdict = next(iter(by_verdict)) if len(by_verdict) == 1 else UNDECIDED
    beside = [f"{verdict}: {', '.join(PLACES[c][1] for c in controls)}" for verdict, controls in by_verdict.items()]
    return f"{subject} {HELPS[str(verdict)]}" + f" ({'; '.join(beside)})" * (len(rows) > 1)


def page(frame: pd.DataFrame) -> str:
    """``table`` as HTML, one table per model, with a star at what is supported. Text from data is escaped."""
    models = enumerate(frame.groupby(level="model", sort=False))
    return "\n".join(_page(str(model), rows, f"controls{number}") for number, (model, rows) in models)


def _page(model: str, frame: pd.DataFrame, uuid: str) -> str:
    keys = ["group", "what", "variant"]
    rows = frame.reset_index().set_index(keys)
    order, cells = rows.index.drop_duplicates(), {}
    for data, here in rows.groupby("data", sort=False):
        apart = [
            f"{tables.number(row['difference'], signed=True)} {tables.interval(row['low'], row['high'])}"
            f"{' *' if row['supported'] == 'yes' else ''}"
            if row["difference"] == row["difference"]
            else ""
            for _, row in here.iterrows()
        ]
        cells[data, "score"] = here["score"].map(tables.number, na_action="ignore")
        cells[data, "difference"] = pd.Series(apart, here.index)
    by_variant = rows.groupby(level=keys, sort=False)
    cells["", "seeds"] = by_variant["seeds"].max().map("{:.0f}".format, na_action="ignore")
    for name, heading in {"trained": "trained", "total": "in all"}.items():
        cells["parameters (M)", heading] = (by_variant[name].first() / 1e6).map("{:,.2f}".format, na_action="ignore")
    for name, heading in {"seconds": "seconds a fold", "MB": "MB, folds side by side together"}.items():
        cells["cost", heading] = by_variant[name].first().map("{:,.0f}".format, na_action="ignore")
    wide = pd.DataFrame(cells, order).dropna(axis="columns", how="all")
    styler = Styler(wide, uuid=uuid).format(na_rep="", escape="html").format_index(escape="html")
    styler = styler.format_index(escape="html", axis="columns")
    styler = styler.set_table_styles([{"selector": "td", "props": "white-space: nowrap"}])
    caption = (
        f"{model}: two-class macro F1 (%), and the difference to the whole model [95 % interval], * supported; "
        f"parameters and cost of {rows['data'].iloc[0]}, where that was run"
    )
    return styler.set_caption(html.escape(caption)).to_html()
