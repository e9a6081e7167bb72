"""What baselines and cross-domain chapters train: which experiments on whose clips, and on which folds."""

import numpy as np
import pandas as pd
import pytest

from aullm_lib import datasets, facs
from aullm_lib.notebook import jobs, parameters, sources
from aullm_lib.notebook.workspace import Workspace

WORK = Workspace("mine")
SETTINGS = parameters.defaults("05_cross_domain") | {"size": 24, "seeds": [1, 2]}


@pytest.fixture
def tables(home, monkeypatch):
    """Three releases of two clips each."""
    monkeypatch.chdir(home)
    size = {"subjects": 2, "clips_per_subject": 1, "intensity": 0.0, "seed": 1}
    return {name: datasets.load(name, WORK.synthetic(name, **size)) for name in ("casme2", "samm", "casme")}


def named(made):
    return [experiment.name for experiment, _, _ in made]


def test_baselines_and_the_plain_cnn_are_trained_within_each_release_seed_after_seed(tables):
    settings = parameters.defaults("03_baselines") | {"size": 24, "seeds": [2, 1], "plain_cnn": True}
    settings |= {"baselines": ["flow-svm", "resnet18"], "baseline_overrides": {"resnet18": {"size": 28}}}
    two = {name: tables[name] for name in ("casme2", "samm")}
    made = jobs.within(WORK, settings, two)
    methods = ("flow-svm", "resnet18", "3d-cnn")
    names = [f"{release}-{name}-seed{seed}" for seed in (2, 1) for release in two for name in methods]
    assert [experiment.name for experiment, _ in made] == names
    for experiment, store in made:
        release = experiment.name.split("-")[0]
        assert list(store.ids) == list(two[release].index) and experiment.aus == facs.BENCHMARK[release]
        method = experiment.variant if experiment.method == "au-llm" else experiment.method
        assert experiment.name == f"{release}-{method}-seed{experiment.seed}" and not experiment.llm
        assert store.frames.shape[1] == experiment.recipe.size
    assert {s.frames.shape[1:] for e, s in made if e.method == "resnet18"} == {(28, 28, 3)}  # it reads colour
    assert {s.frames.shape[1:] for e, s in made if e.variant == "3d-cnn"} == {(24, 24)}
    assert len(jobs.within(WORK, settings | {"plain_cnn": False}, two)) == len(made) - 4


def test_every_method_is_trained_in_both_directions_and_none_with_one_release(tables):
    two = {name: tables[name] for name in ("casme2", "samm")}
    changed = SETTINGS | {
        "cross_variants": ["all", "no-llm"],
        "more_llms": ["tiny-deep"],
        "cross_baselines": ["flow-svm"],
    }
    made = jobs.between(WORK, changed, two)
    ways = ["casme2-to-samm", "samm-to-casme2"]
    whole = ["all-tiny-qwen2-released", "no-llm-tiny-qwen2-released", "all-tiny-deep-qwen2-released"]
    assert {name.rpartition("-seed")[0] for name in named(made)} >= {f"{way}-flow-svm" for way in ways}
    assert len(set(named(made))) == len(made) == 2 * 2 * (len(whole) + 1)  # seeds, directions; no-llm has one LLM
    seeds = [experiment.seed for experiment, _, _ in made]
    assert seeds == sorted(seeds)
    for experiment, store, (fold,) in made:
        train, test = experiment.name.split("-to-")[0], experiment.name.split("-to-")[1].split("-")[0]
        assert {clip.split("/")[0] for clip in fold.train} == {train} and len(fold.train) == len(two[train])
        assert {clip.split("/")[0] for clip in fold.test} == {test}
        assert experiment.aus == facs.BENCHMARK["samm"] == (2, 4, 7, 12) and set(fold.test) < set(store.ids)
    assert jobs.between(WORK, SETTINGS, {"casme2": tables["casme2"]}) == []


def test_each_release_is_tested_by_what_the_others_taught(tables):
    made = jobs.one_out(WORK, SETTINGS, tables)
    assert named(made) == [
        f"one-out-3-{method}-unknown-seed{seed}" for seed in (1, 2) for method in ("flow-svm", "au-llm")
    ]
    for experiment, store, folds in made:
        assert experiment.aus == facs.CD6ME and bool(experiment.llm) == (experiment.method == "au-llm")
        tested = [{clip.split("/")[0] for clip in fold.test} for fold in folds]
        assert len(tested) == 3 and all({name} in tested for name in tables)
        assert all(set(fold.train) == set(store.ids) - set(fold.test) for fold in folds)
    assert jobs.one_out(WORK, SETTINGS, {"casme2": tables["casme2"]}) == jobs.one_out(WORK, SETTINGS, {}) == []


def test_releases_that_are_tested_on_each_other_have_their_eyes_in_one_place(home, monkeypatch):
    """MMEW's own face crops show the hair: as they are, its eyes lie lower and closer to each other."""
    monkeypatch.chdir(home)
    size = {"subjects": 2, "clips_per_subject": 2, "intensity": 0.0, "seed": 1}
    roots = {name: WORK.synthetic(name, **size) for name in ("samm", "mmew")}
    two = {name: datasets.load(name, root) for name, root in roots.items()}
    changed = SETTINGS | {"size": 64, "seeds": [1], "more_data": "mmew", "cross_baselines": ["flow-svm"]}
    made = [*jobs.one_out(WORK, changed, two), *jobs.more_data(WORK, changed, two)]
    assert {part["align"] for _, store, _ in made for part in store.release["parts"]} == {"similarity"}

    def eyes(name, store):
        """Where the true eyes of the onset frames lie among the stored pixels, on average: (x, y) of both."""
        truth = pd.read_csv(roots[name] / "SYNTHETIC" / "faces.csv").set_index("clip")
        clips = two[name]
        points = truth.loc[clips["clip"], ["eye_left_x", "eye_left_y", "eye_right_x", "eye_right_y"]].to_numpy()
        points = np.insert(points.reshape(-1, 2, 2), 2, 1, axis=2)  # clip eye xy1
        return np.einsum("cij,cej->cei", [store.matrix(clip) for clip in clips.index], points).mean(0)

    (_, joined, _), *_ = (job for job in made if job[0].method == "au-llm")
    assert np.abs(eyes("samm", joined) - eyes("mmew", joined)).max() < 1.5
    own = {name: WORK.store(table, **sources.frames(changed)) for name, table in two.items()}
    assert [store.info["settings"]["align"] for store in own.values()] == ["similarity", "none"]
    assert np.abs(eyes("samm", own["samm"]) - eyes("mmew", own["mmew"])).max() > 4


def test_more_and_more_releases_teach_one_on_the_aus_that_it_codes(tables):
    changed = SETTINGS | {"more_data": "samm", "seeds": [1]}
    made = jobs.more_data(WORK, changed, tables)
    assert named(made) == ["samm-flow-svm-up-to-casme2-seed1", "samm-flow-svm-up-to-casme-seed1"]
    trained = [{clip.split("/")[0] for clip in fold.train} for _, _, (fold,) in made]
    assert trained == [{"casme2"}, {"casme2", "casme"}]
    assert all(f"AU{n}" in tables["samm"] for n in made[0][0].aus) and made[0][0].aus
    assert jobs.more_data(WORK, SETTINGS, tables) == []  # nobody asked
