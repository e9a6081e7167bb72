"""The plan of a synthetic release beside what is documented: clips, labels, lengths; and that nothing tells labels."""

from collections import Counter

import numpy as np
import pytest

from aullm_lib.datasets import documented, synthetic
from aullm_lib.datasets.synthetic import release as writer
from aullm_lib.datasets.synthetic.layouts import LAYOUTS
from aullm_lib.datasets.synthetic.plan import PlannedClip, plan
from aullm_lib.datasets.synthetic.specs import SPECS, SUBJECTS
from aullm_lib.report.rehearsal import within_subjects

RELEASES = list(SUBJECTS)
KNOWN = {"casme2": documented.CASME2[256], "samm": documented.OTHERS["samm"]}
LENGTHS = {"casme2": (24, 61, 141), "samm": (30, 78, 101), "casme": (9, 19, 68), "casme3": (8, 14, 40),
           "4dme": (8, 20, 30), "mmew": (14, 50, 108)}  # fmt: skip


def planned(release: str, subjects: int | None = None, clips: int | None = None, seed: int = 1) -> list[PlannedClip]:
    """By default of the documented size."""
    subjects = subjects or len(SUBJECTS[release])
    return plan({"release": release, "subjects": subjects, "clips_per_subject": clips, "intensity": 1.0, "seed": seed})


def shows(clips: list[PlannedClip], au: int) -> np.ndarray:
    return np.array([au in [action.au for action in clip.actions] for clip in clips])


def subjects_with(clips: list[PlannedClip], label: np.ndarray) -> int:
    return len({clip.subject for clip, positive in zip(clips, label, strict=True) if positive})


@pytest.mark.parametrize("release", RELEASES)
def test_a_full_release_has_the_documented_clips_and_positives(release: str) -> None:
    clips = planned(release)
    counts = KNOWN.get(release) or documented.OTHERS[release]
    of_subject = Counter(LAYOUTS[release].name(clip.subject) for clip in clips)
    assert (len(clips), len(of_subject)) == (counts.clips, counts.subjects)
    assert dict(counts.by_subject or of_subject) == of_subject
    assert min(of_subject.values()) <= 2 and max(of_subject.values()) >= 2.5 * len(clips) / len(of_subject)
    assert {au: shows(clips, au).sum() for au in SPECS[release].covered} == {
        au: counts.positives[au] for au in SPECS[release].covered
    }


@pytest.mark.parametrize("release", RELEASES)
def test_the_number_of_clips_is_a_mean(release: str) -> None:
    """Of any size: everybody has a clip, and no two clips of a subject have one name."""
    for subjects, mean in ((1, 1), (1, 6), (2, 1), (3, 4), (8, 8), (len(SUBJECTS[release]), 40), (9, 200)):
        clips = planned(release, subjects, mean)
        assert len(clips) == subjects * mean and len({clip.subject for clip in clips}) == subjects
        assert max(Counter((clip.subject, clip.name) for clip in clips).values()) == 1
        if mean >= 8:
            assert len(set(Counter(clip.subject for clip in clips).values())) >= 5


def test_everything_documented_is_what_none_asks_for(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(writer, "_write", lambda root, settings: (root / "size").write_text(str(len(plan(settings)))))
    for release, clips in {"casme2": 256, "samm": 159, "casme": 189, "casme3": 860, "4dme": 267, "mmew": 300}.items():
        root = synthetic.synthesize(tmp_path / release, release, clips_per_subject=None)
        assert (root / "size").read_text() == str(clips)


@pytest.mark.parametrize("release", list(KNOWN))
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_labels_are_clustered_as_documented(release: str, seed: int) -> None:
    clips = planned(release, seed=seed)
    for au, subjects in KNOWN[release].subjects_with.items():
        assert abs(subjects_with(clips, shows(clips, au)) - subjects) <= 1, au


@pytest.mark.parametrize("release", [release for release in RELEASES if release not in KNOWN])
def test_labels_are_clustered_where_nothing_is_documented(release: str) -> None:
    """Fewer subjects show an AU than if its clips were dealt out at random."""
    clips, rng = planned(release), np.random.default_rng(0)
    for au in SPECS[release].covered:
        label = shows(clips, au)
        random = np.mean([subjects_with(clips, rng.permutation(label)) for _ in range(20)])
        assert 0.5 * random < subjects_with(clips, label) < random


@pytest.mark.parametrize("release", RELEASES)
def test_small_releases_show_every_covered_au_in_three_subjects(release: str) -> None:
    for (subjects, mean), seed in [(size, seed) for size in ((8, 8), (6, 5), (16, 8)) for seed in range(5)]:
        clips = planned(release, subjects, mean, seed)
        assert min(subjects_with(clips, shows(clips, au)) for au in SPECS[release].covered) >= 3, (subjects, seed)


@pytest.mark.parametrize("release", RELEASES)
def test_lengths_have_the_documented_range_and_median(release: str) -> None:
    """And no heap at either end."""
    lengths = np.array([c.offset - c.onset + 1 for seed in range(8) for c in planned(release, seed=seed)])
    low, median, high = LENGTHS[release]
    assert low <= min(lengths) <= low + 1 and high - 1 <= max(lengths) <= high
    assert abs(np.median(lengths) - median) <= 1
    for end, inner in ((low, range(low + 1, low + 4)), (high, range(high - 3, high))):
        assert (lengths == end).mean() < 0.03
        assert (lengths == end).sum() <= 1.5 * max((lengths == k).sum() for k in inner)


@pytest.mark.parametrize("release", list(KNOWN))
def test_numbers_tell_no_label(release: str) -> None:
    """Length, onset, apex, place in the sheet and name's ending, compared within subjects over twelve releases."""
    clips = [(seed, clip) for seed in range(12) for clip in planned(release, seed=seed)]
    subject = np.array([100 * seed + clip.subject for seed, clip in clips])
    facts = {
        "length": [clip.offset - clip.onset for _, clip in clips],
        "onset": [clip.onset for _, clip in clips],
        "apex": [(clip.apex - clip.onset) / (clip.offset - clip.onset) for _, clip in clips],
        "number": [clip.index for _, clip in clips],
        "name": [clip.name.endswith("f") for _, clip in clips],
        "digits": [clip.digits for _, clip in clips],
    }
    for au in KNOWN[release].subjects_with:
        for name, values in facts.items():
            area, error = within_subjects(np.array(values, dtype=float), shows([c for _, c in clips], au), subject)
            assert abs(area - 0.5) <= 4 * error, (au, name)
