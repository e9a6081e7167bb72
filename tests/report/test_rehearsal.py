"""Synthetic releases: whether anything but motion tells a label, and their counts."""

import re

import numpy as np
import pandas as pd
import pytest

from aullm_lib import datasets, facs
from aullm_lib.datasets import documented
from aullm_lib.report import rehearsal


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release") / "casme2"
    return datasets.synthesize(folder, "casme2", subjects=2, clips_per_subject=3, intensity=0.0)


def test_pairs_within_subjects_are_those_of_a_loop():
    """Subjects' base rates and levels are no use; ties count half; the error is that of shuffled labels."""
    rng = np.random.default_rng(0)
    subject = np.repeat(np.arange(12), rng.integers(1, 9, 12))
    label = rng.random(len(subject)) < 0.4
    value = rng.integers(0, 6, len(subject)) + label + 50.0 * subject
    area, error = rehearsal.within_subjects(value, label, subject)
    wins = [
        (value[i] > value[j]) + 0.5 * (value[i] == value[j])
        for i in np.flatnonzero(label)
        for j in np.flatnonzero(~label & (subject == subject[i]))
    ]
    assert area == pytest.approx(np.mean(wins))
    shuffled = []
    for _ in range(4000):
        order = np.lexsort((rng.random(len(subject)), subject))  # within each subject
        shuffled.append(rehearsal.within_subjects(value, label[order], subject)[0])
    assert np.mean(shuffled) == pytest.approx(0.5, abs=0.01) and np.std(shuffled) == pytest.approx(error, rel=0.05)
    assert np.isnan(rehearsal.within_subjects(value, subject > 5, subject)).all()  # nobody has both


@pytest.mark.parametrize("release", documented.TITLES)
def test_facts_are_those_of_the_full_frames_on_disk(release, tmp_path):
    root = datasets.synthesize(tmp_path / release, release, subjects=1, clips_per_subject=2, intensity=0.0)
    table = datasets.load(release, root)
    facts = rehearsal.facts(table, root)
    assert list(facts.index) == list(table.index) and facts.notna().all(axis=None)
    assert sorted(facts["clip's number"]) == [1, 2]
    cropped = {path for path in root.rglob("*.jpg") if "Cropped" in path.parts}
    of_files = sorted(path.stat().st_size for path in set(root.rglob("*.jpg")) - cropped)
    assert (facts["clip length"] * facts["file size, mean"]).sum() == pytest.approx(sum(of_files))
    assert (facts["clip length"] == table["offset"] - table["onset"] + 1).all()


def test_facts_of_a_clip_are_counted_by_hand(root):
    table = datasets.load("casme2", root)
    clip = table[table["apex"].notna()].iloc[-1]
    facts = rehearsal.facts(table, root).loc[clip.name]
    folder = root / "CASME2_RAW_selected" / clip["subject"] / clip["clip"]
    sizes = [(folder / f"img{k}.jpg").stat().st_size for k in range(clip["onset"], clip["offset"] + 1)]
    assert facts["file size, onset"] == sizes[0] and facts["file size, mean"] == np.mean(sizes)
    apex = clip["apex"] - clip["onset"]
    assert facts["file size, apex : onset"] == sizes[apex] / sizes[0]
    assert facts["apex' place"] == apex / (len(sizes) - 1)


def test_a_label_that_a_fact_gives_away_is_marked_and_named(root, monkeypatch):
    """Longer clips show AU1, in every subject; nothing tells AU2, and nobody is without AU4."""
    rng = np.random.default_rng(0)
    label = np.tile([1, 0, 0, 0], 20)
    table = pd.DataFrame({"subject": np.repeat([f"s{k}" for k in range(8)], 10), "AU1": label, "AU4": 1})
    table["AU2"] = rng.permutation(label)
    given = pd.DataFrame({"clip length": rng.random(80) + label, "brightness": rng.random(80)})
    monkeypatch.setattr(rehearsal, "facts", lambda clips, folder: given)
    found = rehearsal.shortcuts(table, root, [1, 2, 4, 12])
    assert set(found.index.unique("au")) == {"AU1", "AU2", "AU4"}
    assert found.index[found["shortcut"]].tolist() == [("AU1", "clip length")]
    assert found.loc[("AU1", "clip length"), "area"] == 1 and found.loc["AU4", "area"].isna().all()
    assert rehearsal.in_words({"casme2": found, "samm": found.loc[["AU2", "AU4"]]}) == (
        "Synthetic CASME II: of 4 values 1 is more than three standard errors from 0.5 (AU1 by clip length: 1.00); by "
        "chance 0.0 would be. Synthetic SAMM: of 2 values none is more than three standard errors from 0.5; by chance "
        "0.0 would be."
    )
    assert "No release here is synthetic" in rehearsal.in_words({})


@pytest.mark.parametrize("release", ["casme2", "samm"])
def test_counts_stand_beside_the_documented_ones(release):
    frame = rehearsal.counts(release, 1)
    there = documented.CASME2[256] if release == "casme2" else documented.OTHERS[release]
    assert frame.loc["clips", "documented"] == str(there.clips)
    for au in facs.BENCHMARK[release]:
        ours, theirs = (int(re.match(r"\d+", text)[0]) for text in frame.loc[f"AU{au}: clips, subjects"])
        assert theirs == there.positives[au] and 0.5 < ours / theirs < 2
