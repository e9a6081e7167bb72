"""How much of a score is the protocol: arithmetic on published tables, and what choosing by the test clips is worth.

Everything here takes numbers that are in the repository or in a run folder; nothing is trained, nothing is judged.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import floor, isnan

import pandas as pd

from aullm_lib import metrics
from aullm_lib.datasets.documented import Counts
from aullm_lib.runs import Run

THRESHOLD = 0.5
LEVEL = 0.05  # of the family-wise error


def positives(counts: Counts, aus: Iterable[str]) -> dict[str, int]:
    """Documented positives of some AUs, which must be documented, by name."""
    return {au: counts.positives[int(au[2:])] for au in aus}


def constants(cells: pd.DataFrame, versions: Mapping[str, Counts]) -> pd.DataFrame:
    """The published cells that equal, to the decimal, what a predictor scores that always says the same.

    A printed number may be rounded or cut at its decimal (45.17 is 45.2 or 45.1); both count.

    cells: two-class macro F1 in percent, a row a method, columns AU1..; versions: the label counts that the table may
    have been computed on, by name. Returns a row a cell: method, au, printed, predictor, versions (that fit it).
    """
    fitting: dict[tuple, list[str]] = {}
    for name, counts in versions.items():
        classifiers = metrics.trivial_of_counts(positives(counts, cells.columns), counts.clips)
        for predictor in ("always-negative", "always-positive"):
            for au in cells:
                score = 1000 * classifiers[predictor].loc[au, "f1_macro"]
                for method, printed in cells[au].items():
                    if round(10 * printed) in (round(score), floor(score)):
                        fitting.setdefault((method, au, printed, predictor), []).append(name)
    rows = [(*cell, ", ".join(names)) for cell, names in fitting.items()]
    return pd.DataFrame(rows, columns=["method", "au", "printed", "predictor", "versions"])


def below(cells: pd.DataFrame, counts: Counts) -> pd.DataFrame:
    """The published cells below the always-negative classifier: method, au, printed, always-negative."""
    classifiers = metrics.trivial_of_counts(positives(counts, cells.columns), counts.clips)
    negative = (100 * classifiers["always-negative"]["f1_macro"]).round(1)
    rows = [
        (method, au, printed, negative[au])
        for au in cells
        for method, printed in cells[au].items()
        if printed < negative[au]
    ]
    return pd.DataFrame(rows, columns=["method", "au", "printed", "always-negative"])


def by_epoch(predictions: pd.DataFrame, trace: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The predictions of one run as they would be reported under three ways to choose the epoch.

    "last epoch" uses no test label. "best epoch on test" takes the one epoch with the best pooled two-class macro F1 on
    the test clips; "best epoch a subject", common in the field, takes for each held-out subject the epoch with the most
    right decisions on that subject's own clips (the first of several). Both look at the test labels.
    predictions: ``Run.predictions()``; trace: ``Run.trace()``. Each value is a predictions frame.
    """
    labels = predictions[["clip_id", "au", "fold", "subject", "label"]]
    every = trace.drop(columns="fold", errors="ignore").merge(labels, on=["clip_id", "au"], validate="many_to_one")
    epochs = {epoch: frame.drop(columns="epoch") for epoch, frame in every.groupby("epoch")}
    if any(len(frame) != len(predictions) for frame in epochs.values()):
        raise ValueError("the trace lacks some of the predictions' clips in some epoch")
    pooled = {
        epoch: metrics.score(frame, THRESHOLD, resamples=0).loc["mean", "f1_macro"] for epoch, frame in epochs.items()
    }
    best = max(pooled, key=lambda epoch: (pooled[epoch], -epoch))
    right = ((every["probability"] >= THRESHOLD) == (every["label"] == 1)).groupby([every["fold"], every["epoch"]])
    own = right.mean().unstack("epoch").idxmax(axis=1)  # noqa: PD010  # fold -> epoch, the first of the best
    chosen = every[every["epoch"] == every["fold"].map(own)].drop(columns="epoch")
    return {
        "last epoch": epochs[max(epochs)],
        f"best epoch on test ({best})": epochs[best],
        "best epoch a subject": chosen,
    }


def paired(pairs: Mapping[tuple, tuple[pd.DataFrame, pd.DataFrame] | str], names: Sequence[str]) -> pd.DataFrame:
    """Predictions against others of the same clips and folds, and which of the differences they support.

    pairs: key -> predictions, and those that they are compared with; or why there are none. names: of the key's parts,
    the levels of the index. Returns a row a pair: ``difference`` of the averages (two-class macro F1, first minus
    second) in points with its paired 95 % interval over subjects, ``low`` and ``high``; ``p (Holm)``, corrected over
    all rows; and ``supported``: "yes" if the interval leaves 0 out and the corrected p is below LEVEL, "no" or "not
    compared" with the reason otherwise. Predictions of other clips, folds or labels are not compared. Empty without
    pairs.
    """
    found: dict[tuple, list[float]] = {}
    refused: dict[tuple, str] = {}
    for key, pair in pairs.items():
        found[key] = [float("nan")] * 4
        if isinstance(pair, str):
            refused[key] = pair
            continue
        try:
            mean = metrics.compare(*pair).loc["mean"]
            found[key] = [float(mean[name]) for name in ("difference", "low", "high", "p")]
        except ValueError as error:
            refused[key] = str(error)
    frame = pd.DataFrame(
        found.values(),
        index=pd.MultiIndex.from_tuples(found, names=names),
        columns=pd.Index(["difference", "low", "high", "p (Holm)"]),
    )
    frame["p (Holm)"] = metrics.holm(frame["p (Holm)"].astype(float))
    verdicts = [_verdict(*row) for row in frame[["low", "high", "p (Holm)"]].to_numpy()]
    frame["supported"] = [
        f"not compared: {refused[key]}" if key in refused else verdict
        for key, verdict in zip(found, verdicts, strict=True)
    ]
    points = ["difference", "low", "high"]
    frame[points] = (100 * frame[points].astype(float)).round(1)
    return frame.round({"p (Holm)": 4})


def _verdict(low: float, high: float, p: float) -> str:
    if isnan(low) or isnan(p):
        return "no: too few subjects for an interval"
    if low <= 0 <= high:
        return "no: the interval holds 0"
    return "yes" if p < LEVEL else "no: not among so many comparisons"


def against_whole(entries: Sequence[Mapping], variants: Callable[[str], bool]) -> pd.DataFrame:
    """Recorded runs of some variants against the variant "all" of the same release, LLM and seed: ``paired``.

    entries: release, variant, llm, seed, path of each run, as the notebooks record them. A variant whose whole model
    was not run is left out.
    """
    whole = {(e["release"], e["llm"], e["seed"]): e["path"] for e in entries if e["variant"] == "all"}
    predictions = cache(lambda path: Run(path).predictions())
    pairs = {}
    for entry in entries:
        other = whole.get((entry["release"], entry["llm"], entry["seed"]))
        if other and entry["variant"] != "all" and variants(entry["variant"]):
            llm = entry["llm"].rstrip("/").split("/")[-1]
            key = (entry["release"], llm, entry["variant"], entry["seed"])
            pairs[key] = predictions(entry["path"]), predictions(other)
    return paired(pairs, ["release", "LLM", "variant", "seed"])
