"""Table 5, which is not the publication's: leave-one-release-out, beside what others reached under CD6ME.

CD6ME (Varanka et al. 2024) trains on five of six releases and tests on the sixth, without a validation set; its
headline is the F1 of the positive class (Eq. 5), averaged over 12 AUs, from predictions pooled over all 2,031 clips.
The published rows are averages as printed there, in its public notebooks and in AC4AU (ACM MM 2025). In the public code
an AU that a release does not code counts as absent; here it is unknown, unless ``count_missing="absent"``.
"""

from collections.abc import Sequence

import pandas as pd

from aullm_lib import facs, metrics
from aullm_lib.datasets import TITLES
from aullm_lib.report import tables
from aullm_lib.report.results import ONE_OUT, Result, in_words, made_by
from aullm_lib.report.results import line as provenance_line
from aullm_lib.report.tables import CELL, FRAME, MEASURES, Table

PUBLISHED = {  # method -> F1 of Eq. 5, two-class macro F1 (None: not published), both averaged over the 12 AUs
    "LBP-TOP": (12.1, 53.6), "MDMO": (27.5, None), "GA-ME": (27.0, None), "Optical flow + SVM": (36.2, 65.8),
    "Off-ApexNet": (39.5, None), "STSTNet": (31.8, None), "RCN-A": (28.7, None), "NMER": (14.5, None),
    "SSSNet (flow)": (40.5, None), "ResNet10 (flow)": (33.2, None), "ResNet18 (flow)": (37.2, 66.6),
    "ResNet34 (flow)": (37.1, None), "SCA": (23.6, 57.1), "SSSNet LED": (28.3, 61.4), "ResNet18 (2+1)D": (29.4, None),
    "AC4AU": (40.5, None),
}  # fmt: skip
AVERAGE = "Avg."
CLIPS = 2031
POSITIVES = dict(zip(facs.CD6ME, (304, 280, 708, 134, 60, 252, 117, 75, 176, 277, 52, 86), strict=True))
"""Of the clips of all six releases those that show each AU, as the public notebooks of CD6ME count them."""
MEAN = "by tested release, averaged over the AUs that it codes"


def documented_levels() -> dict[str, pd.DataFrame]:
    """The trivial classifiers on POSITIVES of CLIPS (``metrics.trivial_of_counts``).

    An AU that a release does not code counts as absent there, as in the public protocol.
    """
    return metrics.trivial_of_counts({f"AU{au}": count for au, count in POSITIVES.items()}, CLIPS)


def table(results: Sequence[Result]) -> Table:
    """Table 5. Results of other protocols are left out; without any the table holds what is published."""
    ours = sorted((r for r in results if ONE_OUT in r.test_set and not r.why), key=lambda r: not r.baseline)
    parts: list[pd.DataFrame] = []
    for measure in ("f1", "f1_macro"):
        printed = [(name, pair[measure != "f1"]) for name, pair in PUBLISHED.items()]
        rows = [(name, {AVERAGE: number}) for name, number in printed if number]
        cells = _levels("documented labels", "documented trivial", documented_levels(), measure)
        parts.append(pd.DataFrame(cells + _cells("published", "published", rows, measure)))
        for test_set in dict.fromkeys(r.test_set for r in ours):
            here = [r for r in ours if r.test_set == test_set]
            trivial = pd.DataFrame(_levels(in_words(here), "trivial", here[0].trivial, measure))
            own = pd.DataFrame([c for r in here for c in _scored(f"ours, {in_words(here)}; threshold 0.5", r, measure)])
            parts += [trivial, tables.compared(own, trivial[~trivial["row"].str.contains(tables.TUNED)])]
    parts += [pd.DataFrame(_by_release(ours))] if ours else []
    frame = pd.concat(parts, ignore_index=True)[FRAME]
    made = made_by(ours) | {"table": 5}
    caption = f"leave-one-release-out, {in_words(ours)}" if ours else "leave-one-release-out, published numbers"
    return Table(caption, frame, [*_notes(ours), provenance_line(made)], 5, made, None)


def _cells(group: str, kind: str, rows: list, measure: str, heading: str = "") -> list[dict]:
    """Cells of some rows: name, and column -> value or cell."""
    facts = {
        "measure": heading or MEASURES[measure],
        "group": group,
        "kind": kind,
        "policy": "",
        "span": "",
        "test_set": "",
    }
    return [
        CELL | facts | {"row": name, "column": column} | (value if isinstance(value, dict) else {"value": value})
        for name, columns in rows
        for column, value in columns.items()
    ]


def _levels(data: str, kind: str, levels: dict[str, pd.DataFrame], measure: str) -> list[dict]:
    rows, group = [], f"trivial classifiers, {data}"
    for name, scores in levels.items():
        if name != tables.OUTSIDE:
            ends = ("low", "high") if "random" in name else ()
            rows.append((name, {_column(au): _cell(line, measure, ends) for au, line in scores.iterrows()}))
    return _cells(group, kind, rows, measure)


def _scored(group: str, result: Result, measure: str) -> list[dict]:
    scores = result.score()
    columns = {_column(au): _cell(line, measure, ("low", "high")) for au, line in scores.iterrows()}
    return _cells(group, "ours", [(_name(result), columns)], measure)


def _by_release(results: Sequence[Result]) -> list[dict]:
    """The average of each release that was tested, with its interval over that release's subjects."""
    cells = []
    for measure in ("f1", "f1_macro"):
        rows = []
        for r in results:
            known = [predictions.dropna(subset="label") for predictions in r.predictions]
            parts = {name: [one[one["fold"] == name] for one in known] for name in known[0]["fold"].unique()}
            means = {TITLES.get(name, name): metrics.score(part).loc["mean"] for name, part in parts.items()}
            rows.append((_name(r), {name: _cell(line, measure, ("low", "high")) for name, line in means.items()}))
        cells += _cells(f"ours, {in_words(results)}", "ours", rows, measure, f"{MEASURES[measure]}, {MEAN}")
    return cells


def _column(au: object) -> str:
    return AVERAGE if au == "mean" else str(au)


def _cell(line: pd.Series, measure: str, ends: Sequence[str]) -> dict[str, float]:
    return {"value": 100 * line[measure]} | {end: 100 * line[f"{measure}_{end}"] for end in ends}


def _name(result: Result) -> str:
    whole = result.baseline or result.variant == "all"
    return result.name if whole else f"{result.name}, {result.variant}"


def _notes(results: Sequence[Result]) -> list[str]:
    notes = [
        "CD6ME: six releases, 2,031 clips, 12 AUs; five train, the sixth is tested, all predictions are pooled; no "
        "validation set, last epoch. Its headline is the F1 of Eq. 5. Published averages: CD6ME (Varanka et al. 2024), "
        "its public notebooks, and AC4AU (ACM MM 2025).",
        "The public code counts AUs that a release does not code as absent; here they are unknown, and part of no loss "
        "and no score, unless a row's data say otherwise.",
    ]
    for r in results[:1]:
        frame = r.predictions[0]
        unknown = frame[frame["label"].isna()].groupby("fold")["au"].unique()
        listed = "; ".join(f"{TITLES.get(str(name), name)} {', '.join(aus)}" for name, aus in unknown.items())
        notes.append(
            f"{in_words([r])}: {frame['clip_id'].nunique()} clips of {frame['subject'].nunique()} subjects; intervals "
            f"leave out one subject at a time. Not coded: {listed or 'none'}."
        )
    if any(r.synthetic for r in results):
        notes.append("Synthetic releases are rendered and a check of the path: no result on any of the six.")
    return notes
