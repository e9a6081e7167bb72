"""What synthetic releases are like: speed, faces, the dial of intensity, difficulty, what else tells labels, counts.

``make bench``, or ``python tests/benchmarks/synthetic.py [--clips 4] [--only faces,dial]``, prints Markdown for the
layouts of CASME II and SAMM (``difficulty``: of all six). Releases and clip stores go to ``--folder``, whose finished
parts are used again.

- ``speed``: seconds of ``synthesize`` at the size of the demo, and frames a second with their JPEGs.
- ``faces``: the share of frames (first, middle and last of every clip) in which ``preprocess.faces`` finds a face, and
  by how much it misses the onset frame's true eyes: the larger of both errors in % of the distance between them.
- ``dial``: two-class macro F1 of leave-one-subject-out at rising intensity, in percent with 95 % intervals, beside the
  chance level on the same labels: ``flow-svm`` as the kit has it; logistic regression on the same flow (Farneback from
  onset to apex, 16×16 cells); on nothing but the ratio of the apex' and the onset's file sizes.
- ``difficulty``: scores at the default intensity. ``flow-svm`` leaving one subject out, trained on one release and
  tested on the other, and trained on five and tested on the sixth (CD6ME), beside what is published of the six real
  ones, where an AU that a release does not code counts as absent; here it is unknown. Between releases all frames are
  aligned by the eyes. With ``--epochs``, the 3D-CNN with a linear head (binary cross-entropy) and AU-LLM with the tiny
  LLM of random weights (the released recipe), by cross-validation over five parts of the subjects, 8 clips a step,
  learning rate 2e-3. By the paper's recipe AU-LLM is still at the always-negative level after 80 epochs.
- ``tells``: whether anything but motion tells a label, at the default intensity: ROC-AUC over pairs of clips of the
  same subject, of which one shows the AU (``report.rehearsal``). Bold are those more than three standard errors away
  from 0.5: of 132 values that say nothing, one in three such tables has one. The last column is between subjects:
  whether a ridge regression on their faces predicts who shows the AU how often, leaving one out; p of the correlation
  among permuted subjects.
- ``counts``: a release of the documented size beside what is documented. Nothing is rendered for it.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import permutations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold

from aullm_lib import baselines, clips, datasets, engine, facs, metrics, preprocess, protocol
from aullm_lib.baselines import flow_svm
from aullm_lib.clips import ClipStore
from aullm_lib.datasets.synthetic.specs import SUBJECTS
from aullm_lib.experiment import Experiment
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.preprocess import faces
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Recipe
from aullm_lib.report import cd6me, rehearsal
from aullm_lib.runs import Run
from aullm_lib.support import files, images, markdown, tiny

BENCH = Path(__file__).resolve().parents[2] / "runs" / "bench" / "synthetic.json"
RELEASES = ("casme2", "samm")
SECTIONS = ("speed", "faces", "dial", "difficulty", "tells", "counts")
PERMUTATIONS = 999
FLOW = baselines.recipe("flow-svm")


# The measures.


def between_subjects(features: np.ndarray, rate: np.ndarray, seed: int = 0) -> float:
    """p of the correlation between subjects' rates [s] and what their features [s, f] predict, leaving one out."""
    x = (features - features.mean(0)) / (features.std(0) + 1e-9)
    kernel = x @ x.T / x.shape[1]
    hat = kernel @ np.linalg.inv(kernel + 0.5 * np.eye(len(x)))
    rng = np.random.default_rng(seed)
    rates = np.stack([rate, *(rng.permutation(rate) for _ in range(PERMUTATIONS))], 1)
    rates = rates - rates.mean(0)
    predicted = rates - (rates - hat @ rates) / (1 - np.diag(hat))[:, None]
    r = (rates * (predicted - predicted.mean(0))).sum(0) / predicted.std(0)
    return float((r >= r[0] - 1e-12).mean())


def leave_one_out(features: np.ndarray, table: pd.DataFrame, aus: Sequence[int]) -> pd.DataFrame:
    """Predictions of logistic regressions on features [n, f], divided by their deviation in the training clips."""
    position = pd.Series(range(len(table)), index=table.index)
    parts = []
    for fold in protocol.loso(table):
        train, test = (features[position[list(ids)]] for ids in (fold.train, fold.test))
        centre, scale = train.mean(0), train.std() + 1e-12
        for au in aus:
            label = table[f"AU{au}"]
            known, truth = label[list(fold.train)].to_numpy(), label[list(fold.test)].to_numpy()
            probability = np.full(len(test), float(known.mean()))
            if 0 < known.mean() < 1:
                machine = LogisticRegression(max_iter=2000).fit((train - centre) / scale, known)
                probability = machine.predict_proba((test - centre) / scale)[:, 1]
            subject = table.loc[list(fold.test), "subject"].to_numpy()
            parts.append(
                pd.DataFrame(
                    {"clip_id": fold.test, "subject": subject, "au": f"AU{au}", "label": truth,
                     "probability": probability, "fold": fold.name}
                )
            )  # fmt: skip
    return pd.concat(parts, ignore_index=True)


# The parts of the report.


class Bench:
    """Releases and clip stores of one size, made when they are asked for."""

    def __init__(self, folder: Path, subjects: int | None, clips: int | None, seed: int) -> None:
        self.folder, self.subjects, self.clips, self.seed = folder, subjects, clips, seed

    def root(self, release: str, intensity: float) -> Path:
        subjects = min(self.subjects or len(SUBJECTS[release]), len(SUBJECTS[release]))
        root = self.folder / f"{release}-{subjects}x{self.clips}-{intensity:g}-{self.seed}"
        return datasets.synthesize(
            root, release, subjects=subjects, clips_per_subject=self.clips, intensity=intensity, seed=self.seed
        )

    def store(self, release: str, intensity: float, size: int, align: str | None = None) -> ClipStore:
        root = self.root(release, intensity)
        out = root.with_name(f"{root.name}-{size}px" + (f"-{align}" if align else ""))
        return preprocess.build(datasets.load(release, root), out, size, align=align)

    def predictions(
        self, name: str, store: ClipStore, folds: Sequence[Fold], aus: Sequence[int], **settings: Any
    ) -> pd.DataFrame:
        """Trains and tests an experiment on some folds, ``flow-svm`` where no settings are given."""
        made = settings or {"recipe": FLOW, "method": "flow-svm"}
        experiment = Experiment(name=name, aus=tuple(aus), **made)
        return Run(engine.run(experiment, store, folds=folds, out=self.folder / "runs")).predictions()

    def speed(self) -> Iterator[list[str]]:
        yield ["layout", "release", "seconds", "frames a second"]
        for release in RELEASES:
            with tempfile.TemporaryDirectory() as folder:
                start = time.perf_counter()
                root = datasets.synthesize(Path(folder) / release, release, subjects=8, clips_per_subject=8)
                spent = time.perf_counter() - start
                frames = sum(len(rehearsal.in_order((root / image).parent)) for image in self._truth(root)["image"])
            yield [release, "8 subjects × 8 clips", f"{spent:.1f}", f"{frames / spent:.0f}"]

    def _truth(self, root: Path) -> pd.DataFrame:
        return pd.read_csv(root / "SYNTHETIC" / "faces.csv")

    def faces(self) -> Iterator[list[str]]:
        yield ["layout", "frames", "face found", "eye error, median", "95 % of frames below", "largest"]
        for release in RELEASES:
            root, found, errors = self.root(release, 1.0), [], []
            for row in self._truth(root).itertuples():
                frames = rehearsal.in_order((root / row.image).parent)
                for k in (0, len(frames) // 2, len(frames) - 1):
                    face = faces.find(images.read(frames[k], rgb=True))
                    found.append(face is not None)
                    if k == 0 and face is not None and face.eyes is not None:
                        eyes = np.array([[row.eye_left_x, row.eye_left_y], [row.eye_right_x, row.eye_right_y]])
                        far = np.linalg.norm(face.eyes - eyes, axis=1).max()
                        errors.append(100 * far / np.linalg.norm(eyes[1] - eyes[0]))
            levels = [f"{level:.1f} %" for level in (*np.percentile(errors, (50, 95)), max(errors))]
            yield [release, f"{len(found)}", f"{100 * np.mean(found):.1f} %", *levels]

    def dial(self, intensities: Sequence[float]) -> Iterator[list[str]]:
        heads = ["flow-svm", "flow, logistic regression", "file sizes"]
        yield ["layout", "intensity", "chance level", *heads]
        for release in RELEASES:
            aus = facs.BENCHMARK[release]
            for level in intensities:
                store = self.store(release, level, FLOW.size)
                flow = flow_svm.prepare(FLOW, store).features.numpy()
                ratio = rehearsal.facts(store.table, self.root(release, level))["file size, apex : onset"]
                sizes = np.log(ratio.to_numpy()[:, None])
                predictions = [
                    self.predictions("flow", store, protocol.loso(store.table), aus),
                    *(leave_one_out(x, store.table, aus) for x in (flow, sizes)),
                ]
                yield [release, f"{level:g}", chance(predictions[0]), *map(scored, predictions)]

    def difficulty(self, epochs: int) -> Iterator[list[str]]:
        yield ["trained on", "tested on", "method", "two-class macro F1", "chance level", "published"]
        how = {"epochs": epochs, "batch_size": 8, "lr": 2e-3}
        networks = {
            "3D-CNN, linear head": {"variant": "backbone", "recipe": Recipe.paper(loss="bce", **how)},
            "AU-LLM, tiny LLM": {
                "llm": tiny.checkpoint("tiny", self.folder / "llms"),
                "recipe": Recipe.released(efp_hidden=256, **how),
            },
        } if epochs else {}  # fmt: skip
        for release in RELEASES:
            aus, store = facs.BENCHMARK[release], self.store(release, 1.0, FLOW.size)
            own = self.predictions("flow", store, protocol.loso(store.table), aus)
            yield ["all other subjects", release, "flow-svm", scored(own), chance(own), ""]
            for name, settings in networks.items():
                store = self.store(release, 1.0, settings["recipe"].size)
                own = self.predictions("network", store, five_parts(store.table), aus, **settings)
                yield ["four fifths of subjects", release, f"{name}, {epochs} epochs", scored(own), chance(own), ""]
        stores = {name: self.store(name, 1.0, FLOW.size, "similarity") for name in datasets.TITLES}
        joined = clips.join(list(stores.values()), self.folder / f"six-{self.subjects}x{self.clips}-{self.seed}")
        for train, test in permutations(RELEASES, 2):
            both = set(facs.BENCHMARK[train]) & set(facs.BENCHMARK[test])
            folds = protocol.cross_domain(stores[train].table, stores[test].table)
            own = self.predictions("cross", joined, folds, sorted(both))
            yield [train, test, "flow-svm", scored(own), chance(own), ""]
        own = self.predictions("six", joined, protocol.leave_one_release_out(joined.table), facs.CD6ME)
        published = f"{cd6me.PUBLISHED['Optical flow + SVM'][1]}"
        yield ["five releases", "the sixth, all pooled", "flow-svm", scored(own), chance(own), published]
        for test, some in own.dropna(subset="label").groupby("fold"):
            yield ["the five others", str(test), "flow-svm", scored(some), chance(some), ""]

    def tells(self) -> Iterator[list[str]]:
        for release in RELEASES:
            store, root = self.store(release, 1.0, 128), self.root(release, 1.0)
            table, aus = store.table, facs.BENCHMARK[release]
            measured = rehearsal.shortcuts(table, root, aus)
            if release == RELEASES[0]:
                yield ["layout", "AU", "standard error", *measured.index.unique("fact"), "face, p"]
            subject = table["subject"].to_numpy()
            onset = [cv2.resize(store[clip][0], (16, 16), interpolation=cv2.INTER_AREA).ravel() for clip in table.index]
            shown = pd.DataFrame(np.array(onset, float)).groupby(subject).mean().to_numpy()
            for au, rows in measured.groupby(level="au", sort=False):
                cells = [f"**{row.area:.2f}**" if row.shortcut else f"{row.area:.2f}" for row in rows.itertuples()]
                rate = table[au].astype(float).groupby(subject).mean().to_numpy()
                error = rows["error"].max()  # of a fact without ties
                yield [release, au, f"{error:.2f}", *cells, f"{between_subjects(shown, rate):.2f}"]

    def counts(self) -> Iterator[list[str]]:
        yield ["layout", "", "synthetic", "documented"]
        for release in RELEASES:
            for row in rehearsal.counts(release, self.seed).itertuples():
                yield [release, *row]


def five_parts(table: pd.DataFrame) -> list[Fold]:
    """Five folds of subjects, with about as many clips in each."""
    folds = GroupKFold(5).split(table, groups=table["subject"])
    return [Fold(f"part{k}", *(tuple(table.index[rows]) for rows in fold)) for k, fold in enumerate(folds, start=1)]


def chance(predictions: pd.DataFrame) -> str:
    """Two-class macro F1 of guessing at the base rate, in percent."""
    return f"{100 * metrics.trivial(predictions)[CHANCE].loc['mean', 'f1_macro']:.1f}"


def scored(predictions: pd.DataFrame) -> str:
    """Two-class macro F1 in percent, with its interval."""
    mean = metrics.score(predictions).loc["mean"]
    low, high = 100 * mean["f1_macro_low"], 100 * mean["f1_macro_high"]
    return f"{100 * mean['f1_macro']:.1f}" + ("" if np.isnan(low) else f" ({low:.1f} to {high:.1f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(SECTIONS), help="parts, with commas between them")
    parser.add_argument("--subjects", type=int, help="at most; all by default; for --epochs at least 5")
    parser.add_argument("--clips", type=int, default=4, help="of a subject on average; 0: as documented")
    parser.add_argument("--intensities", default="0,0.25,0.5,1,2")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=0, help="of the networks in difficulty, slow; 0: none")
    parser.add_argument("--folder", type=Path, help="keeps releases, stores and runs; a temporary one by default")
    options = parser.parse_args()
    parts = options.only.split(",")
    if unknown := set(parts) - set(SECTIONS):
        parser.error(f"--only {unknown.pop()}: choose from {','.join(SECTIONS)}")
    torch.set_num_threads(1)
    clips_each = f"{options.clips} clips a subject on average" if options.clips else "clips as in the true release"
    size = f"{clips_each}, {options.subjects or 'all'} subjects"
    with tempfile.TemporaryDirectory() as temporary:
        bench = Bench(options.folder or Path(temporary), options.subjects, options.clips or None, options.seed)
        for part in parts:
            made = getattr(bench, part)
            levels = [float(level) for level in options.intensities.split(",")]
            given = {"dial": (levels,), "difficulty": (options.epochs,)}.get(part, ())
            rows = list(made(*given))
            heading = part if part in ("speed", "counts") else f"{part}: {size}"
            files.write_json(BENCH, {"parts": files.read_json(BENCH, missing={}).get("parts", {}) | {heading: rows}})
            print(f"\n## {heading}\n\n{markdown.drawn(rows)}", flush=True)


if __name__ == "__main__":
    main()
