"""What scores support: differences between methods, ways to choose the epoch, calibration, spread over seeds, leaks.

Methods are compared with one row of AU-LLM that is chosen by its name. The best one would be chosen by the very scores
that are then compared.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from aullm_lib import metrics
from aullm_lib.metrics import calibration, significance
from aullm_lib.metrics.scores import Predictions
from aullm_lib.metrics.thresholds import POLICIES
from aullm_lib.metrics.trivial import CHANCE, OUTSIDE
from aullm_lib.report import tables
from aullm_lib.report.results import CROSS_DOMAIN, RELEASES, Result, au_llm, in_words
from aullm_lib.runs import Run

THRESHOLD = 0.5
MEASURES = {"f1_macro": "two-class macro F1", "f1": "F1 of Eq. 5"}
SPREAD = ("mean", "std", "min", "max")
SMALL = 3.0
"""Points: a difference whose interval excludes as much in either direction is none. It is the publication's lead on
CASME II over the best baseline (Table 1); of the 24 margins of its Table 3 six are larger, of the 8 over the best
baselines three."""
DIFFERENCE = ["difference", "low", "high", "p (Holm)", "detectable", "subjects"]

Pairs = dict[tuple, tuple[Predictions, Predictions] | str]
"""Key -> predictions and those that they are compared with, or the reason why there are none."""


def paired(
    pairs: Pairs, names: Sequence[str], family: Sequence[str] = (), *, measure: str = "f1_macro", policy: str = "fixed"
) -> pd.DataFrame:
    """The differences between pairs of predictions of the same clips and folds, and which of them are supported.

    Args:
        pairs: What to compare; of several seeds the scores are averaged first. Predictions of other clips, folds or
            labels are not compared.
        names: Of the levels of the index, the parts of the keys.
        family: Those of ``names`` whose rows are tests of one family when they agree in them; by default all rows are.
        measure: Of ``metrics.compare``, averaged over AUs; so is ``policy``.

    Returns:
        One row per pair: ``difference``, first minus second, in points; ``low`` and ``high``, its paired 95 % interval
        over subjects; ``p (Holm)`` of the swap test, corrected over the family; ``detectable``, the smallest difference
        that would be found with a power of 80 %; ``subjects``; ``supported``: "yes" where the corrected p is below
        ``significance.LEVEL``; "no" where it is not and the interval lies within SMALL of 0; else "cannot tell" or "not
        compared" and the reason.
    """

    index = pd.MultiIndex.from_tuples(pairs, names=names)
    lines = [difference(pair, measure=measure, policy=policy) for pair in pairs.values()]
    frame = pd.DataFrame(lines, index, [*DIFFERENCE, "why"])
    return rounded(corrected(frame.astype(dict.fromkeys(DIFFERENCE, float)), family))


def difference(pair: tuple[Predictions, Predictions] | str, **options: Any) -> dict[str, Any]:
    """DIFFERENCE of a pair in points, with its plain p and ``freedom``, or ``why`` there is none.

    The options are those of ``metrics.compare``.
    """
    if isinstance(pair, str):
        return {"why": pair}
    try:
        mean = metrics.compare(*pair, **options).loc["mean"]
    except ValueError as error:
        return {"why": str(error)}
    points = {name: 100 * mean[name] for name in ("difference", "low", "high", "detectable")}
    return points | {"p (Holm)": mean["p"]} | mean[["subjects", "freedom"]].to_dict() | {"why": ""}


def corrected(frame: pd.DataFrame, family: Sequence[str] = (), small: float = SMALL) -> pd.DataFrame:
    """Corrects p over families (Holm) and says what is supported, as ``paired``.

    Args:
        frame: One row per test, columns DIFFERENCE with plain p values, and ``why`` there is no difference, or "".
        family: As ``paired``.
        small: Points within which an interval around 0 says that there is no difference; 0: none says so.
    """
    p = frame.groupby(list(family) or (lambda _: 0), sort=False)["p (Holm)"]
    smallest = p.transform("count") * frame["subjects"].fillna(0).astype(int).map(significance.smallest_p)
    p = p.transform(metrics.holm)
    seen = frame["detectable"].map("cannot tell: one test would find {:.1f} points in 4 of 5 cases".format)
    answers = {
        "not compared: ": frame["why"] != "",
        "not compared: no clip shows an AU": p.isna(),
        "yes": p < significance.LEVEL,
        f"no: less than {small:.1f} points": (frame["low"] > -small) & (frame["high"] < small),
        "cannot tell: ": smallest >= significance.LEVEL,
        "cannot tell: too few subjects for an interval": frame["detectable"].isna(),
    }
    supported = np.select(list(answers.values()), list(answers), seen) + frame["why"]
    none = smallest.map("p of so few subjects in so many tests is at least {:.2g}".format)
    supported = np.where(supported == "cannot tell: ", supported + none, supported)
    return frame.assign(**{"p (Holm)": p}, supported=supported).drop(columns="why")


def rounded(frame: pd.DataFrame) -> pd.DataFrame:
    """DIFFERENCE to the decimals that are shown."""
    return frame.round(dict.fromkeys(("difference", "low", "high", "detectable"), 1) | {"p (Holm)": 4})


def common(result: Result, other: Result) -> tuple[list[pd.DataFrame], list[pd.DataFrame]] | str:
    """The predictions of two results for the seeds that both have, or the reason why they are not compared."""
    for one in (result, other):
        if why := one.why or one.not_comparable:
            return why
    seeds = [seed for seed in result.by_seed if seed in other.by_seed]
    pair = [result.by_seed[seed] for seed in seeds], [other.by_seed[seed] for seed in seeds]
    return pair if seeds else f"no seed in common with {other.name}"


def whole(results: Iterable[Result], test_set: str) -> list[Result]:
    """The results of Table 1, 2 or 4 on a test set, in the table's order."""
    here = [r for r in results if r.test_set == test_set and r.whole]
    order = [row.name for row in tables.rows(1 + RELEASES.index(test_set) if test_set in RELEASES else 4, here)]
    return sorted(here, key=lambda r: order.index(r.name))


def reference(results: Iterable[Result]) -> Result | None:
    """AU-LLM's first whole one that has a score, the publication's three LLMs in its order before any other."""
    return next((r for r, _ in au_llm(r for r in results if r.whole).values() if r and not r.why), None)


def differences(results: Sequence[Result]) -> pd.DataFrame:
    """Every row of Tables 1, 2 and 4 against AU-LLM's ``reference`` on the same clips and folds: ``paired``.

    The index is data, method, against. p is corrected over the rows of a table. Empty where AU-LLM or everything else
    was not run.
    """
    pairs: Pairs = {}
    for test_set in (*RELEASES, *CROSS_DOMAIN):
        here = whole(results, test_set)
        one = reference(here)
        if one is not None:
            others = [r for r in here if r is not one]
            pairs |= {(in_words([one]), r.name, one.name): common(r, one) for r in others}
    return paired(pairs, ["data", "method", "against"], ["data"])


def by_epoch(predictions: pd.DataFrame, trace: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The predictions of one run under three ways to choose the epoch.

    Args:
        predictions: ``Run.predictions()``.
        trace: ``Run.trace()``, the probabilities after every epoch.

    Returns:
        Way -> predictions. "last epoch" uses no test label. "best epoch on test (n)" is the epoch with the best pooled
        two-class macro F1 on the test clips; "best epoch per subject", common in the field, takes for each held-out
        subject the first of the epochs with the most correct decisions on that subject's own clips. That can only
        raise the share of correct decisions, but may lower the pooled F1: where few AUs are present, saying "absent"
        is mostly correct.

    Raises:
        ValueError: The trace lacks some of the clips in some epoch.
    """
    labels = predictions[["clip_id", "au", "fold", "subject", "label"]]
    traced = trace.drop(columns="fold", errors="ignore").merge(labels, on=["clip_id", "au"], validate="many_to_one")
    epochs = {epoch: frame.drop(columns="epoch") for epoch, frame in traced.groupby("epoch")}
    if any(len(frame) != len(predictions) for frame in epochs.values()):
        raise ValueError("the trace lacks some of the predictions' clips in some epoch")
    scores = pd.Series(
        {e: metrics.score(frame, THRESHOLD, interval="none").loc["mean", "f1_macro"] for e, frame in epochs.items()}
    )
    correct = (traced["probability"] >= THRESHOLD) == (traced["label"] == 1)
    by_fold = correct.groupby([traced["fold"], traced["epoch"]]).mean().unstack("epoch").idxmax(axis=1)  # noqa: PD010
    return {
        "last epoch": epochs[max(epochs)],
        f"best epoch on test ({scores.idxmax()})": epochs[scores.idxmax()],
        "best epoch per subject": traced[traced["epoch"] == traced["fold"].map(by_fold)].drop(columns="epoch"),
    }


def by_policy(runs: Mapping[tuple, Run]) -> pd.DataFrame:
    """The average two-class macro F1 of runs in percent, with its interval, under each threshold policy.

    Args:
        runs: Key -> run. A row's index is its key and the policy's label.
    """
    columns, rows = ["f1_macro", "f1_macro_low", "f1_macro_high"], {}
    for key, run in runs.items():
        for policy, label in POLICIES.items():
            rows[*key, label] = 100 * metrics.score(run.predictions(), policy=policy).loc["mean", columns]
    return pd.DataFrame(rows).T.astype(float).round(1)


def epochs(runs: Mapping[tuple, Run]) -> pd.DataFrame:
    """What choosing the epoch by the test clips does (``by_epoch``) to those of some runs that were traced, in percent.

    Args:
        runs: As ``by_policy``.

    Returns:
        One row per key and way: the share of ``correct`` decisions, ``macro F1``, and its ``gain`` over the last epoch
        with the interval from ``low`` to ``high``. Empty where no run was traced.
    """
    rows = {}
    for key, run in runs.items():
        if not (run.path / "folds" / run.folds[0] / "trace.csv").is_file():
            continue
        chosen = by_epoch(run.predictions(), run.trace())
        last = next(iter(chosen.values()))
        for way, predictions in chosen.items():
            gain, score = metrics.compare(predictions, last).loc["mean"], metrics.score(predictions).loc["mean"]
            correct = ((predictions["probability"] >= THRESHOLD) == (predictions["label"] == 1)).mean()
            numbers = {"correct": correct, "macro F1": score["f1_macro"], "gain": gain["difference"]}
            rows[*key, way] = 100 * pd.Series(numbers | {"low": gain["low"], "high": gain["high"]})
    return pd.DataFrame(rows).T.round(1)


def pooling(runs: Mapping[tuple, Run]) -> pd.DataFrame:
    """Both F1s of runs in percent, pooled over folds and as the mean of the subjects' own. runs: As ``by_policy``."""
    ways = {"pooled over folds": metrics.score, "mean over subjects": metrics.per_subject_mean}
    rows = {
        (*key, way): 100 * score(run.predictions()).loc["mean", ["f1_macro", "f1"]]
        for key, run in runs.items()
        for way, score in ways.items()
    }
    return pd.DataFrame(rows).T.astype(float).round(1)


def page(frame: pd.DataFrame) -> str:
    """``differences`` as an HTML table, grey where they are not supported; text from data is escaped."""
    interval = [tables.interval(low, high) for low, high in frame[["low", "high"]].to_numpy()]
    columns = {"difference": frame["difference"], "95 % interval": interval}
    columns |= dict(frame[["p (Holm)", "detectable", "supported"]])
    styler = Styler(pd.DataFrame(columns), uuid="differences").format_index(escape="html")
    styler.format(na_rep="", escape="html")
    styler.format(lambda value: tables.number(value, signed=True), subset="difference", na_rep="")
    styler.format(tables.number, subset="detectable", na_rep="")
    styler.format("{:.4f}", subset="p (Holm)", na_rep="")
    styler.apply(lambda row: ["" if row["supported"] == "yes" else "opacity: .6"] * len(row), axis=1)
    return styler.set_caption(
        "Method minus the one it is compared with, in points; detectable in 4 of 5 cases"
    ).to_html()


def calibration_errors(results: Iterable[Result]) -> pd.DataFrame:
    """Expected calibration error in percent, the mean over seeds: one row per method, one column per AU, and "mean"."""
    rows = {}
    for r in results:
        if not r.why:
            by_seed = [calibration.expected_error(frame) for frame in r.predictions]
            rows[r.name] = 100 * pd.concat(by_seed, axis=1).mean(axis=1)
    frame = pd.DataFrame.from_dict(rows, orient="index")
    return frame.assign(mean=frame.mean(axis=1)).round(1)


def spread(results: Iterable[Result]) -> pd.DataFrame:
    """The average over AUs in percent, over trainings that differ in their seed (``metrics.over_seeds``).

    One row per (data, method, variant, seeds) with more than one seed; columns (measure, mean, std, min or max). Empty
    where everything was run with one seed.
    """
    many = [r for r in results if len(r.runs) > 1 and not r.why]
    test_sets = list(dict.fromkeys(r.test_set for r in many))
    rows = {}
    for r in sorted(many, key=lambda r: test_sets.index(r.test_set)):
        mean = 100 * metrics.over_seeds(r.predictions).loc["mean"]
        cells = [float(mean[f"{measure}_{what}"]) for measure in MEASURES for what in SPREAD]
        rows[in_words([r]), r.name, r.variant, len(r.runs)] = cells
    index = pd.MultiIndex.from_tuples(rows, names=["data", "method", "variant", "seeds"])
    columns = pd.MultiIndex.from_product([MEASURES.values(), SPREAD])
    return pd.DataFrame(rows.values(), index=index, columns=columns).round(1)


def reliability(result: Result) -> tuple[pd.DataFrame, pd.Series, str]:
    """The reliability diagram of a result's first seed and its calibration errors, and what they are of, in words."""
    first = result.predictions[0]
    note = f"{in_words([result])}: {result.name}, {first['clip_id'].nunique()} clips, pooled over folds"
    return calibration.reliability(first), calibration.expected_error(first), note


def intensity_runs(folder: Path) -> list[Run]:
    """The finished runs of an intensity curve: those with the newest one's recipe, the newest of an intensity and seed.

    Args:
        folder: ``Workspace.folder`` / "intensity". It need not be there.
    """
    paths = sorted(folder.glob("*/run.json"), key=lambda path: path.parent.stat().st_mtime_ns)
    finished = [run for run in (Run(path.parent) for path in paths) if not run.missing]
    newest = {
        (run.info["data"]["made"]["intensity"], run.experiment.seed): run
        for run in finished
        if run.experiment.recipe == finished[-1].experiment.recipe
    }
    return list(newest.values())


def by_intensity(runs: Iterable[Run]) -> pd.DataFrame:
    """The scores of runs on synthetic releases of several intensities, beside trivial classifiers, from 0 to 1.

    Returns:
        One row per run and policy of ``thresholds.POLICIES``: ``intensity``, ``seed``; ``scorer``, the policy's label;
        ``score`` with ``low`` and ``high``, its interval over subjects; and the trivial classifiers by their names.
    """
    rows = []
    for run in runs:
        predictions, made = run.predictions(), run.info["data"]["made"]
        trivial = {name: frame.loc["mean", "f1_macro"] for name, frame in metrics.trivial(predictions).items()}
        trivial.pop(OUTSIDE)  # whose F1 is that of "always-negative"
        for policy, label in POLICIES.items():
            mean = metrics.score(predictions, policy=policy).loc["mean"]
            score = {"score": mean["f1_macro"], "low": mean["f1_macro_low"], "high": mean["f1_macro_high"]}
            key = {"intensity": made["intensity"], "seed": run.experiment.seed, "scorer": label}
            rows.append(key | score | trivial)
    return pd.DataFrame(rows)


def leak(points: pd.DataFrame) -> tuple[bool | None, str]:
    """Whether the scores of clips without any motion of an AU show that something else gives the labels away.

    Args:
        points: Of ``by_intensity``; ``low`` is NaN where there is no interval.

    Returns:
        True if at intensity 0 a whole interval lies above the base-rate random classifier, False if none does, None if
        the runs cannot tell; and the verdict in words.
    """
    still = points[points["intensity"] == 0]
    if still.empty:
        return None, "not run"
    if still["low"].isna().all():
        return None, "too few subjects to tell whether the labels leak"
    if (still["low"] > still[CHANCE]).any():
        return True, "THE LABELS LEAK, do not trust any score of this copy of the kit"
    return False, "no sign of a leak"


def same_method(results: Iterable[Result]) -> pd.DataFrame:
    """Each method against itself under another seed (an A/A comparison): at most 5 % of pairs should be told apart.

    Every two seeds of a result are compared by ``metrics.compare`` (two-class macro F1, threshold 0.5, averaged over
    AUs). By leave-one-subject-out each subject has a model of its own, and the test supposes that one subject's luck is
    not another's. Across domains one model sees all of them: what the test then tells apart are two models, and where
    the share is above 5 % it is no test of methods unless the spread over seeds is in it, as it is in intervals.

    Returns:
        One row per data set: ``pairs of seeds``; ``told apart``, how many have an uncorrected p below
        ``significance.LEVEL``; ``largest difference`` in points; and ``smallest p`` that its subjects can give, since
        a test that cannot reject tells nothing apart. Empty where everything was run with one seed.
    """
    rows = []
    for r in results:
        for one, other in combinations([] if r.why else r.predictions, 2):
            mean = metrics.compare(one, other).loc["mean"]
            smallest = significance.smallest_p(int(mean["subjects"]))
            rows.append((in_words([r]), 100 * abs(mean["difference"]), mean["p"], smallest))
    frame = pd.DataFrame(rows, columns=["data", "largest difference", "told apart", "smallest p"])
    by_data = frame.assign(**{"told apart": frame["told apart"] < significance.LEVEL}).groupby("data", sort=False)
    columns = {"told apart": by_data["told apart"].sum(), "largest difference": by_data["largest difference"].max()}
    counted = pd.DataFrame({"pairs of seeds": by_data.size()} | columns | {"smallest p": by_data["smallest p"].min()})
    return counted.round({"largest difference": 1, "smallest p": 4})
