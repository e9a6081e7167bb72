"""What scores support: differences between methods, ways to choose the epoch, calibration, spread over seeds, leaks.

Methods are compared with one row of AU-LLM that is chosen by its name. The best one would be chosen by the very scores
that are then compared.
"""

from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from aullm_lib import metrics
from aullm_lib.metrics import calibration
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.report import tables
from aullm_lib.report.results import RELEASES, Result, au_llm, in_words

THRESHOLD = 0.5
LEVEL = 0.05  # of the family-wise error
MEASURES = {"f1_macro": "two-class macro F1", "f1": "F1 of Eq. 5"}
SPREAD = ("mean", "std", "min", "max")

Predictions: TypeAlias = pd.DataFrame | Sequence[pd.DataFrame]  # of one run, or of several that differ in their seed
Pairs = dict[tuple, tuple[Predictions, Predictions] | str]
"""Key -> predictions and those that they are compared with, or the reason why there are none."""


def paired(pairs: Pairs, names: Sequence[str]) -> pd.DataFrame:
    """The differences between pairs of predictions of the same clips and folds, and which of them are supported.

    Args:
        pairs: What to compare. Predictions of other clips, folds or labels are not compared.
        names: Of the levels of the index, the parts of the keys.

    Returns:
        One row per pair: ``difference`` of the average two-class macro F1, first minus second, in points; ``low`` and
        ``high``, its paired 95 % interval over subjects; ``p (Holm)``, corrected over all rows; ``supported``: "yes"
        where the interval excludes 0 and the corrected p is below LEVEL, else "no" or "not compared" and the reason.
    """
    columns = ["difference", "low", "high", "p (Holm)"]

    def compared(pair: tuple[Predictions, Predictions] | str) -> dict[str, Any]:
        if isinstance(pair, str):
            return {"why": pair}
        try:
            mean = metrics.compare(*pair).rename(columns={"p": "p (Holm)"}).loc["mean", columns]
        except ValueError as error:
            return {"why": str(error)}
        return {"why": ""} | mean.to_dict()

    index = pd.MultiIndex.from_tuples(pairs, names=names)
    frame = pd.DataFrame([compared(pair) for pair in pairs.values()], index, [*columns, "why"])
    frame = frame.astype(dict.fromkeys(columns, float))
    frame["p (Holm)"] = metrics.holm(frame["p (Holm)"])
    low, high, p = (frame[name] for name in columns[1:])
    verdicts = {
        "not compared: ": frame["why"] != "",
        "no: too few subjects for an interval": low.isna() | p.isna(),
        "no: the interval holds 0": (low <= 0) & (high >= 0),
        "no: not among so many comparisons": p >= LEVEL,
    }
    frame["supported"] = np.select(list(verdicts.values()), list(verdicts), "yes") + frame.pop("why")
    frame[columns[:3]] = (100 * frame[columns[:3]]).round(1)
    return frame.round({"p (Holm)": 4})


def _pairs(result: Result, other: Result, key: tuple[str, ...]) -> Pairs:
    """A result against another, seed by seed: averaged, seeds that disagree would look like one finding."""
    if result.why:
        return {(*key, ""): result.why}
    one, two = result.by_seed, other.by_seed
    return {
        (*key, seed): (frame, two[seed]) if seed in two else f"{other.name} was not run with seed {seed}"
        for seed, frame in one.items()
    }


def whole(results: Iterable[Result], release: str) -> list[Result]:
    """The results of Table 1 or 2, in its order."""
    here = [r for r in results if r.test_set == release and r.whole]
    order = [row.name for row in tables.rows(1 + RELEASES.index(release), here)]
    return sorted(here, key=lambda r: order.index(r.name))


def reference(results: Iterable[Result]) -> Result | None:
    """AU-LLM's first whole one that has a score, the publication's three LLMs in its order before any other."""
    return next((r for r, _ in au_llm(r for r in results if r.whole).values() if r and not r.why), None)


def differences(results: Sequence[Result]) -> pd.DataFrame:
    """Every row of Tables 1 and 2 against AU-LLM's ``reference`` on the same clips, seed by seed: ``paired``.

    The index is data, method, against, seed ("" for a result without a score). Empty where AU-LLM or everything else
    was not run.
    """
    pairs: Pairs = {}
    for release in RELEASES:
        here = whole(results, release)
        one = reference(here)
        if one is None:
            continue
        for r in here:
            pairs |= _pairs(r, one, (in_words([one]), r.name, one.name)) if r is not one else {}
    return paired(pairs, ["data", "method", "against", "seed"])


def by_epoch(predictions: pd.DataFrame, trace: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The predictions of one run under three ways to choose the epoch.

    Args:
        predictions: ``Run.predictions()``.
        trace: ``Run.trace()``, the probabilities after every epoch.

    Returns:
        Way -> predictions. "last epoch" uses no test label. "best epoch on test (n)" is the epoch with the best pooled
        two-class macro F1 on the test clips; "best epoch per subject", common in the field, takes for each held-out
        subject the first of the epochs with the most correct decisions on that subject's own clips.

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


def page(frame: pd.DataFrame) -> str:
    """``differences`` as an HTML table, grey where they are not supported; text from data is escaped."""
    interval = [tables.interval(low, high) for low, high in frame[["low", "high"]].to_numpy()]
    columns = {"difference": frame["difference"], "95 % interval": interval} | dict(frame[["p (Holm)", "supported"]])
    styler = Styler(pd.DataFrame(columns), uuid="differences").format_index(escape="html")
    styler.format(na_rep="", escape="html")
    styler.format(lambda value: tables.number(value, signed=True), subset="difference", na_rep="")
    styler.format("{:.4f}", subset="p (Holm)", na_rep="")
    styler.apply(lambda row: ["" if row["supported"] == "yes" else "opacity: .6"] * len(row), axis=1)
    return styler.set_caption("Method minus the one it is compared with").to_html()


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


def leak(points: pd.DataFrame) -> tuple[bool | None, str]:
    """Whether the scores of clips without any motion of an AU show that something else gives the labels away.

    Args:
        points: One row per run; columns: ``intensity`` of the synthetic release, ``f1_macro_low``, the lower end of the
            score's interval over subjects (NaN if it has none), and "base-rate random", that classifier's score.

    Returns:
        True if at intensity 0 a whole interval lies above the base-rate random classifier, False if none does, None if
        the runs cannot tell; and the verdict in words.
    """
    still = points[points["intensity"] == 0]
    if still.empty:
        return None, "not run"
    if still["f1_macro_low"].isna().all():
        return None, "too few subjects to tell whether the labels leak"
    if (still["f1_macro_low"] > still[CHANCE]).any():
        return True, "THE LABELS LEAK, do not trust any score of this copy of the kit"
    return False, "no sign of a leak"
