"""Scores of attribution maps, of ``localisation.measure``: means with intervals over subjects, the sanity check."""

import numpy as np
import pandas as pd

from aullm_lib.explain.localisation import MEASURES, RANDOMISED
from aullm_lib.metrics import bootstrap

ALL = "all"  # AUs: every pair of a clip and an AU with the same weight
CHECKED = ("pointing_game", "energy_pointing_game")
FEWEST = 5  # subjects from which on a verdict is given: three give ten resamples that differ


def summary(rows: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """The mean of every measure with its interval over subjects (``_low``, ``_high``), by model, method and au.

    ``pairs`` and ``subjects`` count what a row rests on. Of a single subject there is no interval (NaN): every resample
    that holds it gives the same mean.

    Args:
        rows: Of ``measure``, of one or several models. The AU ``ALL`` holds every pair with the same weight.
    """
    keys, aus, counts, means = _resampled(rows, resamples, seed)
    subjects = (counts > 0).sum(0)  # g a
    low, high = np.where(subjects[..., None] > 1, bootstrap.interval(means[1:]), np.nan)  # g a m
    index = pd.MultiIndex.from_tuples([(*key, au) for key in keys for au in aus], names=["model", "method", "au"])
    columns = {"pairs": counts.sum(0).ravel().astype(int), "subjects": subjects.ravel()}
    for k, name in enumerate(MEASURES):
        for suffix, values in (("", means[0]), ("_low", low), ("_high", high)):
            columns[name + suffix] = values[..., k].ravel()
    return pd.DataFrame(columns, index=index)


def sanity(rows: pd.DataFrame, *, resamples: int = 1000, seed: int = 0) -> pd.DataFrame:
    """Model-randomisation sanity check: both pointing games with trained and with randomised weights, over all pairs.

    One row per (model, method, measure): ``subjects``; the means ``trained``, ``randomised`` and ``chance``; and, each
    with its paired interval over subjects (``_low``, ``_high``), ``gain`` (trained less randomised), ``above`` (trained
    less chance) and ``remaining`` (randomised less chance). A map that reflects what was learned has a gain, lies above
    chance and has nothing remaining; what remains comes from the clip and the architecture.
    """
    keys, _, _, means = _resampled(rows, resamples, seed)
    lines, subjects = {}, rows["subject"].nunique()
    for model, method in keys:
        if (model + RANDOMISED, method) not in keys:
            continue
        one, other = (means[:, keys.index((name, method)), -1] for name in (model, model + RANDOMISED))  # r+1 m
        chance = one[:, MEASURES.index("area")]
        for measure in CHECKED:
            trained, randomised = (of[:, MEASURES.index(measure)] for of in (one, other))
            line = {"trained": trained[0], "randomised": randomised[0], "chance": chance[0], "subjects": subjects}
            differences = {"gain": trained - randomised, "above": trained - chance, "remaining": randomised - chance}
            for name, difference in differences.items():
                low, high = bootstrap.interval(difference[1:])
                line |= {name: difference[0], f"{name}_low": float(low), f"{name}_high": float(high)}
            lines[model, method, measure] = line
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis(["model", "method", "measure"])


def verdicts(checked: pd.DataFrame) -> list[str]:
    """One sentence per row of ``sanity``, in percent; a difference counts if its interval excludes 0."""
    sentences = []
    for key, line in (100 * checked.drop(columns="subjects")).iterrows():
        model, method, measure = key
        spans = [
            f"{line[w]:+.1f}"  # of one subject there is no interval
            + ("" if pd.isna(line[f"{w}_low"]) else f" [{line[f'{w}_low']:+.1f}, {line[f'{w}_high']:+.1f}]")
            for w in ("gain", "above", "remaining")
        ]
        if checked.loc[key, "subjects"] < FEWEST:
            verdict = "too few subjects to tell"
        elif line["gain_high"] < 0:
            verdict = "lost by training"
        elif not line["gain_low"] > 0:
            verdict = "no gain by training that these subjects support"
        elif not line["above_low"] > 0:  # from below chance, say
            verdict = "more than without training, but nothing above chance that these subjects support"
        elif line["remaining_low"] > 0:
            verdict = "gained by training, but a part of it is there without"
        elif line["remaining_high"] < 0:
            verdict = "gained by training, below chance without"
        else:
            verdict = "gained by training, without it nothing above chance that these subjects support"
        sentences.append(
            f"{method}, {model}, {str(measure).replace('_', ' ')}: {line['trained']:.1f} % trained, "
            f"{line['randomised']:.1f} % with randomised weights, chance {line['chance']:.1f} %. Trained less "
            f"randomised {spans[0]}, trained less chance {spans[1]}, randomised less chance {spans[2]}: {verdict}."
        )
    return sentences


def _resampled(
    rows: pd.DataFrame, resamples: int, seed: int
) -> tuple[list[tuple[str, str]], list[str], np.ndarray, np.ndarray]:
    """(model, method) g; AUs a, ALL last; pairs [s, g, a]; means [r + 1, g, a, m], of the data and of r resamples."""
    keys = list(dict.fromkeys(zip(rows["model"], rows["method"], strict=True)))
    aus = sorted(rows["au"].unique(), key=lambda au: int(au[2:]))
    subjects = sorted(rows["subject"].unique())
    at = (
        rows["subject"].map(subjects.index).to_numpy(),
        np.array([keys.index(key) for key in zip(rows["model"], rows["method"], strict=True)]),
        rows["au"].map(aus.index).to_numpy(),
    )
    shape = (len(subjects), len(keys), len(aus))
    sums, counts = np.zeros((*shape, len(MEASURES))), np.zeros(shape)
    np.add.at(sums, at, rows[list(MEASURES)].to_numpy())
    np.add.at(counts, at, 1)
    sums, counts = (np.concatenate([part, part.sum(2, keepdims=True)], 2) for part in (sums, counts))
    weights = np.vstack([np.ones(len(subjects)), bootstrap.draws(len(subjects), resamples, seed)])
    with np.errstate(invalid="ignore"):  # an AU of which a resample holds no subject
        means = np.tensordot(weights, sums, 1) / np.tensordot(weights, counts, 1)[..., None]
    return keys, [*aus, ALL], counts, means
