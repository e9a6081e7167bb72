"""What the printed tables alone decide: arithmetic on them, and how they stand to label counts and chance level.

Nothing here needs a clip or a run. Labels are documented counts (``datasets.documented``), and a published cell of one
AU is read as two-class macro F1 of decisions that are pooled over folds, as the constants among them show.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import numpy as np
import pandas as pd

from aullm_lib import facs, metrics
from aullm_lib.datasets import TITLES, documented
from aullm_lib.datasets.documented import Counts
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.report import published
from aullm_lib.report.published import AVERAGE

TUNED_CHANCE = "random scores, test-tuned"
SPREADS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0)
OFFSETS = tuple(half / 2 for half in range(-6, 7))
SKILL = 2.0
"""The spread of a calibrated scorer (``metrics.tuning``) that scores, tuned on CASME II, as the best AU-LLM: 81."""


def panels() -> dict[str, tuple[pd.DataFrame, str]]:
    """The tables with a cell per AU: name -> F1s in percent (AU1, ..., ``Avg.``), and the release that is tested on."""
    releases = {title: release for release, title in TITLES.items()}
    cross = published.table(4)
    return {
        f"Table {n}, {TITLES[release]}": (published.table(n), release) for n, release in ((1, "casme2"), (2, "samm"))
    } | {f"Table 4, {way}": (cross[way], releases[way.split(" → ")[1]]) for way in cross.columns.unique(level=0)}


def everywhere(check: Callable[[pd.DataFrame, str], pd.DataFrame]) -> pd.DataFrame:
    """``constants``, ``grim`` or ``levels`` of each of ``panels``, one below another; the index is the panel's name."""
    return pd.concat({name: check(*panel) for name, panel in panels().items()}, names=["table", None]).droplevel(1)


def margins() -> pd.DataFrame:
    """Table 3: the whole model minus each ablation ("all outperforms all ablated versions", section 4.4).

    Returns:
        One row per (data, llm, ablation), in the printed order; columns ``all``, ``ablated`` and ``margin``, in points
        of the average F1.
    """
    table = published.table(3)
    ablated = table.drop(index="all").unstack().rename_axis(["data", "llm", "ablation"])  # noqa: PD010
    whole = table.loc["all"].reindex(ablated.index.droplevel("ablation")).to_numpy()
    return pd.DataFrame({"all": whole, "ablated": ablated, "margin": (whole - ablated).round(1)})


def leads(number: int) -> pd.DataFrame:
    """In which AUs of Table 1 or 2 AU-LLM has the highest cell.

    Returns:
        One row per AU: ``AU-LLM``, its best cell, and ``of``, the row with it; ``baseline`` and ``of baseline``, the
        same of the others; ``margin`` between both; whether AU-LLM ``leads``, and whether the text has ``named`` the AU
        as one where it is particularly strong.

    Raises:
        ValueError: As ``published.entry``.
    """
    cells, named = published.table(number).drop(columns=AVERAGE), published.entry(number).get("named", [])
    ours, others = cells[_ours(cells)], cells[~_ours(cells)]
    best, beside = ours.max(), others.max()
    columns = {"AU-LLM": best, "of": ours.idxmax(), "baseline": beside, "of baseline": others.idxmax()}
    columns |= {"margin": (best - beside).round(1), "leads": best > beside}
    return pd.DataFrame(columns).assign(named=cells.columns.isin(named)).rename_axis("au")


def over_baselines() -> pd.DataFrame:
    """The average of each AU-LLM row of Tables 1, 2 and 4 minus that of the best baseline.

    Returns:
        One row per (table, method); columns ``average``, ``best baseline``, ``its average`` and ``margin``, in points.
    """
    rows = {}
    for name, (table, _) in panels().items():
        average, ours = table[AVERAGE], _ours(table)
        best = average[~ours].idxmax()
        for method, value in average[ours].items():
            rows[name, method] = (value, best, average[best], round(value - average[best], 1))
    index = pd.MultiIndex.from_tuples(rows, names=["table", "method"])
    return pd.DataFrame(rows.values(), index, ["average", "best baseline", "its average", "margin"])


def constant_scores() -> pd.DataFrame:
    """What constant classifiers score on every documented version of both releases, in percent.

    Returns:
        One row per release, version and classifier; columns AU1, ... and "mean".
    """
    rows = {}
    for release in ("casme2", "samm"):
        for name, counts in versions(release).items():
            scores = trivial(counts, benchmark(release)[0])
            for classifier in ("always-negative", "always-positive"):
                rows[TITLES[release], name, classifier] = 100 * scores[classifier]["f1_macro"]
    return pd.DataFrame(rows).reindex([*published.table(1).columns.drop(AVERAGE), "mean"]).T.round(2)


def tuning() -> pd.DataFrame:
    """Trivial classifiers, tuned random scores (``metrics.tuning``) and the published lead on Tables 1 and 2.

    Returns:
        One row per table and scorer: ``f1_macro`` in percent, from ``f1_macro_low`` to ``f1_macro_high``.
    """
    rows, columns = {}, ["f1_macro", "f1_macro_low", "f1_macro_high"]
    best = over_baselines()["margin"].groupby(level="table").max()
    for place, release in list(panels().items())[:2]:
        for classifier in ("always-negative", CHANCE):
            rows[place, classifier] = 100 * trivial(release[1])[classifier].loc["mean", columns]
        for name, row in metrics.tuning(*benchmark(release[1])).iterrows():
            rows[place, f"random scores, {name}"] = 100 * row
        rows[place, "published margin over the best baseline"] = pd.Series({"f1_macro": best[place]})
    return pd.DataFrame(rows).T[columns]


def neighbours(impossible: pd.DataFrame) -> pd.DataFrame:
    """How many of the 21 numbers within a point of a cell that cannot be printed can be, by version of CASME II.

    Args:
        impossible: Rows of ``grim``.
    """
    near = {}
    for au, number in impossible[["au", "printed"]].drop_duplicates().itertuples(index=False):
        for name, counts in versions("casme2").items():
            tables = printable(counts.positives[int(au[2:])], counts.clips)
            near[au, number, name] = (tables[round(10 * number) - 10 : round(10 * number) + 11] > 0).sum()
    return pd.Series(near, name="of 21 numbers").rename_axis(["au", "printed", "version"]).to_frame()


def cross_dataset() -> pd.DataFrame:
    """Each row of Table 2 minus the same method's of Table 4, CASME II → SAMM, in points, for the AUs and ``Avg.``

    Section 4.3 calls Table 2 a "cross-dataset setting". Both have SAMM's four AUs, so one protocol would give one row.
    Table 4 does not say which LLM it is of: all three are compared with it.
    """
    rows = {of[2]: of[4] for of in published.BASELINES.values() if 4 in of}
    rows |= dict.fromkeys((row for row, _ in published.LLMS.values()), "AU-LLM (Ours)")
    trained_elsewhere = published.table(4)["CASME II → SAMM"].loc[list(rows.values())]
    return (published.table(2).loc[list(rows)] - trained_elsewhere.to_numpy()).round(1)


def versions(release: str) -> dict[str, Counts]:
    """The documented label counts of a release that the publication may have used, by their number of clips."""
    counted = documented.CASME2.values() if release == "casme2" else [documented.OTHERS[release]]
    return {f"{counts.clips} clips": counts for counts in counted}


def positives(counts: Counts, aus: Iterable[str]) -> dict[str, int]:
    """The documented positives of some AUs ("AU4"), which must be documented."""
    return {au: counts.positives[int(au[2:])] for au in aus}


def benchmark(release: str) -> tuple[dict[str, int], int]:
    """Positives of the AUs that the publication scores, and clips, of the first of ``versions``.

    For CASME II these are 256 clips, whose constants Table 4 repeats (47.8 and 46.4); the text has 247.
    """
    counts = next(iter(versions(release).values()))
    return positives(counts, [f"AU{number}" for number in facs.BENCHMARK[release]]), counts.clips


def trivial(labels: str | Counts, aus: Iterable[str] = ()) -> dict[str, pd.DataFrame]:
    """``metrics.trivial_of_counts`` on documented labels.

    Args:
        labels: Label counts, or a release, for its ``benchmark``.
        aus: Which AUs; of a release by default all that the publication scores.
    """
    if isinstance(labels, str):
        aus, labels = aus or benchmark(labels)[0], next(iter(versions(labels).values()))
    return metrics.trivial_of_counts(positives(labels, aus), labels.clips)


def levels(cells: pd.DataFrame, labels: str | Counts) -> pd.DataFrame:
    """What each published number has to exceed before it says anything about the clips.

    Args:
        cells: F1s in percent, one row per method, columns ``AU1``, ... and ``Avg.``
        labels: As ``trivial``.

    Returns:
        One row per cell: method, au, printed, and three levels in percent: the score of "always-negative"; the 97.5 %
        quantile of "base-rate random"; that of "random scores, test-tuned", which is chance level for numbers that
        were tuned on the test labels, as the released script does.
    """
    scores, printed = trivial(labels, list(cells.columns.drop(AVERAGE))), _long(cells)
    for name, column in {"always-negative": "f1_macro", CHANCE: "f1_macro_high", TUNED_CHANCE: "f1_macro_high"}.items():
        level = 100 * scores[name][column].rename({"mean": AVERAGE})
        printed[name] = printed["au"].map(level).round(2)
    return printed


def constants(cells: pd.DataFrame, labels: str | Mapping[str, Counts]) -> pd.DataFrame:
    """The published cells that equal, to the decimal, the score of a constant classifier.

    A printed number may be rounded or cut at its decimal (45.17 is 45.2 or 45.1); both count.

    Args:
        cells: As ``levels``; averages are left out.
        labels: Label counts that the table may have been computed on, by name; or a release, for its ``versions``.

    Returns:
        One row per cell and classifier: method, au, printed, classifier, versions (the names of all that fit).
    """
    printed = _long(cells.filter(like="AU"))
    tenths = (10 * printed["printed"]).round()
    fitting = []
    for name, counts in _named(labels).items():
        scores = trivial(counts, printed["au"].unique())
        for classifier in ("always-negative", "always-positive"):
            score = 1000 * printed["au"].map(scores[classifier]["f1_macro"])
            equal = (tenths == score.round()) | (tenths == np.floor(score))
            fitting.append(printed[equal].assign(classifier=classifier, versions=name))
    rows = pd.concat(fitting).groupby(["method", "au", "printed", "classifier"], sort=False)["versions"]
    return rows.agg(", ".join).reset_index()


def grim(cells: pd.DataFrame, labels: str | Mapping[str, Counts]) -> pd.DataFrame:
    """Which published numbers can come from so many clips at all (the GRIM test of Brown and Heathers 2017, for F1).

    Args:
        cells: As ``constants``, so are labels.

    Returns:
        One row per cell: method, au, printed, and for each version how many confusion tables print that number
        (``printable``); 0 where none does.
    """
    printed = _long(cells.filter(like="AU"))
    tenths = (10 * printed["printed"]).round().astype(int)
    for name, counts in _named(labels).items():
        present = printed["au"].map(positives(counts, printed["au"].unique()))
        tables = [printable(k, counts.clips)[t] for k, t in zip(present, tenths, strict=True)]
        printed[name] = pd.array(tables, dtype="Int64")
    return printed


@cache
def printable(positives: int, clips: int) -> np.ndarray:
    """How many confusion tables print each of 0.0, 0.1, ..., 100.0 % of two-class macro F1: int [1001].

    A number may be rounded or cut at its decimal; a table for which that differs counts for both. Everything is counted
    in whole numbers, so that no fraction is off in its last bit.

    Raises:
        ValueError: There are not clips of both classes.
    """
    if not 0 < positives < clips:
        raise ValueError(f"{positives} positives of {clips} clips: expected clips with and without the AU")
    tp, fp = np.ogrid[: positives + 1, : clips - positives + 1]
    tn, wrong = clips - positives - fp, positives - tp + fp
    present, absent = 2 * tp + wrong, 2 * tn + wrong  # of each class, what 2 TP is divided by
    whole, sum_of_both = present * absent, 1000 * (tp * absent + tn * present)
    cut, rounded = sum_of_both // whole, (2 * sum_of_both + whole) // (2 * whole)
    return np.bincount(cut.ravel(), minlength=1001) + np.bincount(rounded[rounded != cut], minlength=1001)


def gains() -> pd.DataFrame:
    """What tuning thresholds on the test labels adds to two kinds of scorers on the documented labels.

    Returns:
        One row per data, scorer and x, in percent: ``threshold 0.5``, ``test-tuned``, and ``gain`` with ``low`` and
        ``high`` (2.5 % and 97.5 % quantiles). The scorer is "uninformative", with x the spread of its logits, or
        "skilled", calibrated with the spread SKILL but for x logits that every score is too high (``metrics.tuning``).
    """
    uninformative = [("uninformative", spread, (spread, 0.0, 0.0)) for spread in SPREADS]
    skilled = [("skilled", x, (SKILL, SKILL**2, x)) for x in OFFSETS]
    rows = []
    for release in ("casme2", "samm"):
        for scorer, x, (spread, separation, offset) in (*uninformative, *skilled):
            made = 100 * metrics.tuning(*benchmark(release), spread=spread, separation=separation, offset=offset)
            gain = made.loc["gain"].set_axis(["gain", "low", "high"])
            key = {"data": TITLES[release], "scorer": scorer, "x": x}
            rows.append(key | made["f1_macro"].drop("gain").to_dict() | gain.to_dict())
    return pd.DataFrame(rows)


def _ours(table: pd.DataFrame) -> np.ndarray:
    """Which rows are AU-LLM's: bool."""
    return np.asarray(table.index.str.startswith("AU-"))


def _named(labels: str | Mapping[str, Counts]) -> Mapping[str, Counts]:
    return versions(labels) if isinstance(labels, str) else labels


def _long(cells: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: method, au, printed."""
    return cells.rename_axis("method").melt(var_name="au", value_name="printed", ignore_index=False).reset_index()
