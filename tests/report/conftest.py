"""Run folders with predictions of a chosen skill, and their results."""

import itertools
import os

import numpy as np
import pandas as pd
import pytest

from aullm_lib import baselines
from aullm_lib.experiment import Experiment
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Recipe
from aullm_lib.report import results
from aullm_lib.runs import Result, Run

AUS = {"casme2": (1, 2, 4, 7, 12, 14, 15, 17), "samm": (2, 4, 7, 12)}


@pytest.fixture
def record(tmp_path):
    """Writes a run as the engine does, newer than those before, and returns its folder."""
    times = itertools.count(1_000_000_000)

    def write(
        release="samm", variant="all", llm="Qwen/Qwen2.5-1.5B", seed=1, synthetic=False, skill=0.5, folds=None,
        data="f", clips=6, subjects=8, method="au-llm", costs=(), **recipe,
    ):  # fmt: skip
        train, _, test = release.rpartition(" → ")
        aus = AUS["samm" if train else release]
        rng = np.random.default_rng([seed, int(100 * skill)])
        names = [f"{test}-s{s}" for s in range(subjects)]
        split = [Fold(name, ("x",), tuple(f"{test}/{name}/c{c}" for c in range(clips))) for name in names]
        weights = dict.fromkeys(baselines.PRETRAINED.get(method, ()), "given")
        experiment = Experiment(
            name=f"{test}-{variant if method == 'au-llm' else method}-{seed}",
            aus=aus,
            method=method,
            recipe=Recipe.paper(**recipe) if method == "au-llm" else baselines.recipe(method, **weights | recipe),
            variant=variant,
            llm=llm if method == "au-llm" else "",
            seed=seed,
        )
        about = {
            "fingerprint": data + release,
            "clips": subjects * clips,
            "dataset": test,
            "variant": 247,
        } | ({"llm": llm} if llm else {})
        about |= {} if synthetic is None else {"synthetic": synthetic}
        protocol = "cross-domain" if train else "leave-one-subject-out"
        described = {"train": [train or test], "test": [test], "protocol": protocol}
        run = Run.open(tmp_path / "results", experiment, split, about, split=described)
        for k, fold in enumerate(split[:folds]):
            rows = []
            for c, clip in enumerate(fold.test):
                for au in aus:
                    label = int((c + au + k) % 3 == 0)
                    rows.append((clip, fold.name, f"AU{au}", label, skill * label + (1 - skill) * rng.random()))
            frame = pd.DataFrame(rows, columns=["clip_id", "subject", "au", "label", "probability"])
            log = pd.DataFrame({"epoch": [1], "loss": [0.5]})
            run.write_fold(fold.name, Result(frame, log, {"seconds": 1.0} | dict(costs), {}))
        os.utime(run.path, times=(next(times),) * 2)
        return str(run.path)

    return write


@pytest.fixture
def load(tmp_path):
    return lambda: results.load(tmp_path / "results")
