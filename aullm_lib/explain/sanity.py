"""Scores of attribution maps, of ``localisation.measure``: means, paired differences and the sanity check, by subject.

Intervals are delete-one-subject jackknifes, and p values those of swapped subjects (``metrics.significance``).
Differences are in points, that is percent. Most maps miss and a few hit, so differences to chance level are skewed: of
maps placed at random the swap test finds at most 2 % above chance level, but 4 to 26 % below it (simulated, 8 and 26
subjects, 1 to 36 maps each). Whether maps lie above chance level is therefore tested, whether below it is not (p is 1).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from aullm_lib.explain.localisation import MEASURES, RANDOMISED
from aullm_lib.metrics import significance

ALL = "all"  # AUs: every pair of a clip and an AU with the same weight
CHECKED = ("pointing_game", "energy_pointing_game")
FULL, PLAIN = "AU-LLM", "3D-CNN"  # names of the models that the paper's Figure 3 compares
CLAIMED = "Grad-CAM"  # the method whose maps the comparison rests on
CHANCE = "chance level"
FEWEST_HIT = 3  # subjects of whom some map must win the pointing game for an interval or a test
GAIN, ABOVE, REMAINING = "trained − randomised", "trained − chance", "randomised − chance"

Key = tuple[str, str]  # model and method of some maps


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """The mean of every measure with its 95 % interval over subjects (``_low``, ``_high``), by model, method and au.

    ``pairs`` and ``subjects`` count what a row rests on. Intervals are NaN under ``significance.FEWEST`` subjects, and
    may reach beyond what a measure can be.

    Args:
        rows: Of ``measure``, of one or several models. The AU ``ALL`` holds every pair with the same weight.
    """
    aus = [*sorted(rows["au"].unique(), key=lambda au: int(au[2:])), ALL]
    groups = dict(list(pd.concat([rows, rows.assign(au=ALL)]).groupby(["model", "method", "au"])))
    lines = {}
    for model, method in _keys(rows):
        for au in (au for au in aus if (model, method, au) in groups):
            part = groups[model, method, au]
            by_subject = part.groupby("subject")[list(MEASURES)]
            sums, counts = by_subject.sum(min_count=1).to_numpy(), by_subject.size().to_numpy()[:, None]  # s m, s 1
            with np.errstate(invalid="ignore"):  # of a single subject nothing is left
                left_out = (sums.sum(0) - sums) / (counts.sum() - counts)  # s m
            mean = sums.sum(0) / counts.sum()
            low, high, _ = significance.jackknife(mean, left_out)
            ends = zip(MEASURES, mean, low, high, strict=True)
            values = {
                name + end: value for name, *of in ends for end, value in zip(("", "_low", "_high"), of, strict=True)
            }
            lines[model, method, au] = {"pairs": len(part), "subjects": len(sums)} | values
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(["model", "method", "au"])


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """What the paper's Figure 3 claims: Grad-CAM of the full model finds where an AU acts, and the plain 3D-CNN's less.

    Args:
        rows: Of ``measure`` with ground truth: those of ``FULL``, with randomised weights too, and of ``PLAIN``.

    Returns:
        ``family`` by ``measure`` (of ``CHECKED``) and ``against``: ``CHANCE``, "randomised weights" and ``PLAIN``.

    Raises:
        ValueError: There is no ground truth; a model has no maps, or not of the same clips and AUs.
    """
    ours = (FULL, CLAIMED)
    against = {CHANCE: None, RANDOMISED.removeprefix(", "): (FULL + RANDOMISED, CLAIMED), PLAIN: (PLAIN, CLAIMED)}
    return _paired(rows, {name: (ours, other) for name, other in against.items()}, "against")


def sanity(rows: pd.DataFrame) -> pd.DataFrame:
    """Model-randomisation sanity check: both pointing games with trained and with randomised weights, over all pairs.

    A map that reflects what was learned has a ``GAIN``, lies ``ABOVE`` chance level and has nothing ``REMAINING``; what
    remains comes from the clip and the architecture.

    Returns:
        The ``family`` of each model and method, by ``model``, ``method``, ``measure`` and ``comparison`` (those three).

    Raises:
        ValueError: As ``compared``.
    """
    keys, parts = _keys(rows), {}
    for key in keys:
        if (other := (key[0] + RANDOMISED, key[1])) in keys:
            pairs: dict[str, tuple[Key, Key | None]] = {
                GAIN: (key, other),
                ABOVE: (key, None),
                REMAINING: (other, None),
            }
            parts[key] = _paired(rows, pairs, "comparison")
    return pd.concat(parts, names=["model", "method"])


def in_words(scores: pd.DataFrame) -> str:
    """What ``summary`` says of the claimed method's maps of the full model, in two sentences."""
    ours = scores.loc[FULL, CLAIMED, ALL]
    measured = f"{CLAIMED} of the full model was measured on {ours['pairs']:.0f} pairs of a held-out clip and an AU. "
    if np.isnan(ours["pointing_game"]):
        return measured + "Without a ground truth nothing says where it should point."
    hits, chance = f"{ours['pointing_game']:.0%}", f"{ours['area']:.0%}"
    return measured + f"Pointing game: {hits}; the masks cover {chance} of the picture, chance level."


def verdicts(checked: pd.DataFrame) -> list[str]:
    """One sentence per model, method and measure of ``sanity``; a difference counts if its corrected p is below .05."""
    sentences = []
    for (model, method), family in checked.groupby(level=["model", "method"], sort=False):
        subjects = int(family["subjects"].iloc[0])
        unreachable = len(family) * significance.smallest_p(subjects) >= significance.LEVEL
        for measure, of in family.groupby(level="measure", sort=False):
            lines = of.droplevel(["model", "method", "measure"])
            gain, above, remaining = (np.sign(lines["difference"]) * (lines["p (Holm)"] < significance.LEVEL)).loc[
                [GAIN, ABOVE, REMAINING]
            ]
            if unreachable or subjects < significance.FEWEST:
                verdict = "too few subjects to tell"
            elif gain < 0:
                verdict = "lost by training"
            elif gain == 0:
                verdict = "no gain by training that these subjects support"
            elif above <= 0:  # from below chance, say
                verdict = "more than without training, but nothing above chance that these subjects support"
            elif remaining > 0:
                verdict = "gained by training, but a part of it is there without"
            else:
                verdict = "gained by training, without it nothing above chance that these subjects support"
            spans = "; ".join(f"{name} {_span(line)}" for name, line in lines.iterrows())
            trained, randomised = lines.loc[GAIN, ["first", "second"]]
            sentences.append(
                f"{method}, {model}, {str(measure).replace('_', ' ')}: {trained:.1f} % trained, {randomised:.1f} % "
                f"with randomised weights, chance {lines.loc[ABOVE, 'second']:.1f} % ({spans}): {verdict}."
            )
    return sentences


def family(lines: Mapping[tuple[str, str], Mapping[str, float]], names: Sequence[str]) -> pd.DataFrame:
    """Paired differences that are read together, one row each.

    Args:
        lines: Index entry -> ``difference``.
        names: Of the levels of the index.

    Returns:
        In percent ``first`` and ``second`` (the means), ``difference``, its 95 % interval ``low`` to ``high``, and
        ``detectable``, the smallest difference found with a power of 80 %; ``p`` and ``p (Holm)``, corrected over all
        rows; ``subjects``. NaN where something cannot be estimated.
    """
    frame = pd.DataFrame(list(lines.values()), pd.MultiIndex.from_tuples(lines, names=names))
    percent = ["first", "second", "difference", "low", "high", "detectable"]
    frame[percent] *= 100
    frame["p (Holm)"] = significance.holm(frame["p"])
    return frame.astype({"subjects": int})[[*percent, "p", "p (Holm)", "subjects"]]


def difference(values: pd.DataFrame) -> dict[str, float]:
    """``significance.of_values``, of columns ``subject``, ``a`` and ``b`` from 0 to 1, beside both means."""
    return {"first": values["a"].mean(), "second": values["b"].mean()} | significance.of_values(values).to_dict()


def _paired(rows: pd.DataFrame, pairs: Mapping[str, tuple[Key, Key | None]], name: str) -> pd.DataFrame:
    """The ``family`` of differences between the maps of two keys, or one and chance level, for each of ``CHECKED``."""
    if rows["area"].isna().any():
        raise ValueError("no ground truth of where AUs act, so no pointing game: only a synthetic release has masks")
    lines = {}
    for measure in CHECKED:
        for label, (key, other) in pairs.items():
            one = _of(rows, key)
            against = one["area"] if other is None else _of(rows, other)[measure]
            apart = one.index.symmetric_difference(against.index)
            if len(apart):
                raise ValueError(
                    f"{', '.join(apart[0])}: explained by one of {' '.join(key)} and {' '.join(other or ())} only; "
                    "measure both on the same pairs of a clip and an AU"
                )
            values = pd.DataFrame({"subject": one["subject"], "a": one[measure], "b": against})
            line = difference(values)
            if other is None and not line["difference"] > 0:
                line["p"] = 1.0
            hits = values[["a", "b"]].gt(one["area"], axis=0).any(axis=1)  # a constant map scores the area: no hit
            if measure == "pointing_game" and values.loc[hits, "subject"].nunique() < FEWEST_HIT:
                line |= dict.fromkeys(("low", "high", "p", "detectable"), np.nan)
            lines[measure, label] = line
    return family(lines, ["measure", name])


def _keys(rows: pd.DataFrame) -> list[Key]:
    return list(dict.fromkeys(zip(rows["model"], rows["method"], strict=True)))


def _of(rows: pd.DataFrame, key: Key) -> pd.DataFrame:
    part = rows[(rows["model"] == key[0]) & (rows["method"] == key[1])]
    if part.empty:
        raise ValueError(f"no {key[1]} maps of the model {key[0]!r}: run 06_visualize, which measures both models")
    return part.set_index(["clip_id", "au"])


def _span(line: pd.Series) -> str:
    ends = "" if pd.isna(line["low"]) else f" [{line['low']:+.1f}, {line['high']:+.1f}]"
    p = "" if pd.isna(line["p (Holm)"]) else f", p {line['p (Holm)']:.3f}"
    return f"{line['difference']:+.1f}{ends}{p}"
