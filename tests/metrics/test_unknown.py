"""AUs that a release does not code: unknown, and in no count, score, threshold or level."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics as reference

from aullm_lib import metrics
from aullm_lib.metrics import calibration

RELEASES = {"a": ("AU1", "AU4", "AU9"), "b": ("AU1", "AU4"), "c": ("AU1", "AU9")}


@pytest.fixture
def pooled():
    """Predictions over three releases, a fold each, of which two lack the label of an AU."""
    rng, rows = np.random.default_rng(0), []
    for release, coded in RELEASES.items():
        for s in range(7):
            for c in range(5):
                for au in ("AU1", "AU4", "AU9"):
                    label = float(rng.random() < 0.3)
                    probability = np.clip(0.3 * label + 0.7 * rng.random(), 0, 1)
                    subject = f"{release}/s{s}"
                    rows.append(
                        (f"{subject}/c{c}", subject, au, label if au in coded else np.nan, probability, release)
                    )
    return pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability", "fold"])


def test_scores_are_scikit_learns_over_the_clips_whose_label_is_known(pooled):
    scores = metrics.score(pooled)
    for au, rows in pooled.dropna().groupby("au"):
        label, present = rows["label"].astype(int), rows["probability"] >= 0.5
        expected = {
            "f1": reference.f1_score(label, present), "f1_macro": reference.f1_score(label, present, average="macro"),
            "precision": reference.precision_score(label, present), "recall": reference.recall_score(label, present),
            "roc_auc": reference.roc_auc_score(label, rows["probability"]),
            "average_precision": reference.average_precision_score(label, rows["probability"]),
        }  # fmt: skip
        for name, value in expected.items():
            assert scores.loc[au, name] == pytest.approx(value, abs=1e-12), (au, name)
        assert scores.loc[au, ["TP", "FP", "FN", "TN"]].sum() == len(rows)
        assert scores.loc[au, "positive_subjects"] == rows[rows["label"] == 1]["subject"].nunique()
    assert scores.loc["mean", "f1"] == pytest.approx(scores["f1"].drop("mean").mean())


@pytest.mark.parametrize("policy", ["fixed", "nested", "test-tuned"])
def test_an_au_is_scored_as_if_there_were_no_clip_without_its_label(pooled, policy):
    whole = metrics.score(pooled, policy=policy, interval="none")
    for au, rows in pooled.dropna().groupby("au"):
        alone = metrics.score(rows, policy=policy, interval="none").drop(columns="positive_subjects")
        pd.testing.assert_series_equal(whole.loc[au, alone.columns], alone.loc[au], check_dtype=False)


def test_levels_without_knowledge_of_a_clip_count_known_clips_only(pooled):
    levels = metrics.trivial(pooled, draws=20_000)
    for au, rows in pooled.dropna().groupby("au"):
        label = rows["label"].to_numpy()
        negative = reference.f1_score(label, 0 * label, average="macro", zero_division=0)
        assert levels["always-negative"].loc[au, "f1_macro"] == pytest.approx(negative)
        assert levels["always-positive"].loc[au, "f1"] == pytest.approx(reference.f1_score(label, 0 * label + 1))
        assert levels["base-rate random"].loc[au, ["TP", "FP", "FN", "TN"]].sum() == pytest.approx(len(label))
        assert levels["base-rate random"].loc[au, "f1"] == pytest.approx(label.mean(), abs=0.02)


def test_calibration_counts_known_clips_only(pooled):
    table = calibration.reliability(pooled)
    counted = table.groupby("au")["count"].sum()
    assert counted.to_dict() == pooled.dropna().groupby("au").size().to_dict()


def test_a_difference_is_that_of_two_scores_and_its_clips_must_be_equally_known(pooled):
    other = pooled.assign(probability=pooled["probability"].to_numpy()[::-1])
    difference = metrics.compare(pooled, other)["difference"]
    expected = metrics.score(pooled, interval="none")["f1_macro"] - metrics.score(other, interval="none")["f1_macro"]
    np.testing.assert_allclose(difference, expected)
    for measure in ("roc_auc", "average_precision"):
        ranked = metrics.compare(pooled, other, measure=measure)["difference"]
        both = [metrics.score(one, interval="none")[measure] for one in (pooled, other)]
        np.testing.assert_allclose(ranked, both[0] - both[1])
    with pytest.raises(ValueError, match=r"b/s0/c0, AU9: its label differs between two runs"):
        metrics.compare(pooled, other.fillna({"label": 0}))


def test_one_release_alone_is_scored_without_what_it_does_not_code(pooled):
    here = pooled[pooled["fold"] == "c"]
    with pytest.raises(ValueError, match="c/s0/c0, AU4: label nan, expected 0 or 1"):
        metrics.score(here)
    assert list(metrics.score(here.dropna(subset="label")).index) == ["AU1", "AU9", "mean"]


def test_a_label_that_is_missing_for_some_clips_of_a_release_is_an_error(pooled):
    row = pooled.index[(pooled["clip_id"] == "a/s3/c2") & (pooled["au"] == "AU4")]
    with pytest.raises(ValueError, match="a/s3/c2, AU4: label nan, expected 0 or 1"):
        metrics.score(pooled.assign(label=pooled["label"].where(~pooled.index.isin(row))))


def test_several_seeds_of_folds_with_many_subjects_carry_the_variance_of_seeds(pooled):
    rng = np.random.default_rng(1)
    seeds = [pooled.assign(probability=np.clip(pooled["probability"] + rng.normal(0, 0.3), 0, 1)) for _ in range(3)]
    alone = [seed.assign(fold=seed["subject"]) for seed in seeds]  # as if each subject had a training of its own
    many, few = (metrics.score(tables).loc["mean"] for tables in (seeds, alone))
    assert many["f1"] == few["f1"]
    assert many["f1_high"] - many["f1_low"] > few["f1_high"] - few["f1_low"]
