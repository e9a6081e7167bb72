"""Where results live: a run is a folder that a person can read, and that a killed job resumes.

    <name>-<key>/
      run.json             what was trained on whom: method, variant, recipe with its name, LLM, seed, train and test
                           release, protocol, the folds with a hash of their clip ids, the data, how they were stored
      folds/<fold>/        one fold, written whole under a temporary name, then renamed
        predictions.csv    clip_id, subject, au, label, probability
        log.csv            epoch, loss
        fold.json          sizes, parameters, seconds, peak memory, device, threads, LLM's dtype, versions, git revision
        weights.safetensors  what training changed, if it was to be kept: LED, CNN, projector, head
        adapter/           the LLM's adapter in peft's own format, beside it
        probe.csv          epoch, norms and spreads between clips of visual token and hidden state (AU-LLM only)
        trace.csv          epoch, clip_id, au, probability: the test clips after every epoch, if asked for
      progress/<fold>.txt  a line per epoch while the fold is in training
      failed/<fold>/       failure.json and weights: where a fold stopped, and its state before that step
      predictions.csv      all folds, once the last one is there

The key is a hash of experiment, data and folds: another configuration is another folder. Nothing here needs torch.
"""

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from aullm_lib.experiment import Experiment
from aullm_lib.metrics.predictions import COLUMNS, TEXT
from aullm_lib.protocol import Fold
from aullm_lib.support import files
from aullm_lib.support.provenance import MADE_BY, provenance

FORMAT = 2  # of run.json
Save = Callable[[Path, dict[str, Any], Experiment], object]  # weights into a folder
COSTS = ["trained_parameters", "total_parameters", "seconds", "peak_memory_mb"]  # of fold.json
POOL = "pool"  # beside runs, a link to the folder where several such folders keep them


class Diverged(RuntimeError):
    """A loss, a gradient or a probability is not finite; the message names fold, epoch and step.

    Attributes:
        where: Fold, epoch, step, and the clip ids of that step's batch.
        weights: Name to tensor, the state before that step.
    """

    def __init__(self, message: str, where: dict, weights: dict[str, Any]):
        super().__init__(message)
        self.where, self.weights = where, weights

    def __reduce__(self) -> tuple:  # by itself an exception comes back from another process with its message only
        return type(self), (str(self), self.where, self.weights)


class Result(NamedTuple):
    """What training a fold returns."""

    predictions: pd.DataFrame  # clip_id, subject, au, label, probability
    log: pd.DataFrame  # epoch, loss (mean per clip)
    info: dict  # sizes, seconds, device, threads
    weights: dict[str, Any] | None = None  # name -> tensor that training changed, if asked for
    trace: pd.DataFrame | None = None  # epoch, clip_id, au, probability: the test clips after every epoch, if asked for
    probe: pd.DataFrame | None = None  # epoch, ``engine.probe.measure``; of AU-LLM


class Run:
    """A run folder, created or resumed. ``Run(path)`` opens a finished or unfinished one for reading.

    Attributes:
        path: The folder.
        info: run.json.
        folds: The folds' names, in order.

    Raises:
        FileNotFoundError: There is no run.
        ValueError: The folder is of an older format.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / "run.json").is_file():
            raise FileNotFoundError(f"{self.path}: no run here (no run.json)")
        self.info = files.read_json(self.path / "run.json")
        if self.info.get("format") != FORMAT:
            raise ValueError(
                f"{self.path}: a run folder of an older version, whose run.json does not describe the run; its "
                "predictions.csv can still be read by itself. Move the folder away and train again"
            )
        self.folds: list[str] = [fold["name"] for fold in self.info["folds"]]

    @cached_property
    def experiment(self) -> Experiment:
        """What was trained."""
        return Experiment.from_dict(self.info["experiment"])

    @classmethod
    def open(
        cls,
        out: str | Path,
        experiment: Experiment,
        folds: Sequence[Fold],
        data: dict,
        about: dict | None = None,
        split: dict | None = None,
    ) -> "Run":
        """The run of an experiment on some folds, made if it is not there.

        Args:
            out: The folder that holds runs. If there is a folder or link ``pool`` in it, the run is made there, and
                linked: several folders share their runs so.
            experiment: What is trained.
            folds: On whom, and who is tested.
            data: What identifies the clips (fingerprint, release), as JSON values; a part of the key.
            about: More on the clips, for readers; no part of the key.
            split: ``protocol.described`` of the folds; no part of the key.

        Raises:
            ValueError: The run that is there has another ``samples``, a hash of clips and labels.
            OSError: The folder cannot be written.
        """
        config = {"experiment": experiment.to_dict(), "data": data}
        members = [[fold.name, sorted(fold.train), sorted(fold.test)] for fold in folds]
        key = hashlib.sha256(json.dumps([config, members], sort_keys=True).encode()).hexdigest()[:10]
        path = Path(out) / f"{experiment.name}-{key}"
        if not (path / "run.json").is_file():
            described = [
                {
                    "name": name,
                    "train_clips": len(train),
                    "test_clips": len(test),
                    "sha256": hashlib.sha256(json.dumps([train, test]).encode()).hexdigest(),
                }
                for name, train, test in members
            ]
            info = {"format": FORMAT, "key": key, "recipe_name": experiment.recipe_name} | config | (split or {})
            info |= {"folds": described, "store": about or {}}
            with files.explained(path, "the run"):
                if (pool := path.parent / POOL).is_dir():
                    (pool / path.name).mkdir(exist_ok=True)
                    if not path.is_symlink():
                        path.symlink_to(Path(POOL, path.name), target_is_directory=True)
                if not (path / "run.json").is_file():
                    files.write_json(path / "run.json", info)
        run = cls(path)
        there, given = (stored.get("samples") for stored in (run.info["store"], about or {}))
        if there and given and there != given:
            raise ValueError(
                f"{path}: made with other labels of the same clips; for these labels give another folder (out), or "
                "delete this one"
            )
        os.utime(path)  # of several runs of one configuration, the one that was asked for last counts
        return run

    @property
    def missing(self) -> list[str]:
        """Folds that are not done, in order."""
        return [name for name in self.folds if not (self.path / "folds" / name / "fold.json").is_file()]

    @property
    def done(self) -> list[str]:
        """Folds that are done, in order."""
        missing = set(self.missing)
        return [name for name in self.folds if name not in missing]

    def _notes(self) -> list[dict]:
        return [files.read_json(self.path / "folds" / name / "fold.json") for name in self.done]

    def _pooled(self, file: str) -> pd.DataFrame:
        """The same CSV file of all finished folds, with the column ``fold`` in front."""
        done = self.done
        if not done:
            raise FileNotFoundError(f"{self.path}: no finished fold yet; run it with engine.run (notebook 02)")
        parts = [pd.read_csv(self.path / "folds" / name / file, dtype=TEXT) for name in done]
        return pd.concat(parts, keys=done, names=["fold", None]).reset_index("fold").reset_index(drop=True)

    def write_fold(self, name: str, result: Result, save: Save | None = None) -> None:
        """Stores one fold whole: a reader, or a killed process, never sees half of it. The first of two wins.

        Args:
            name: The fold.
            result: What training returned.
            save: ``trained.save``, where the result has weights: it writes them into the fold's folder.
        """
        with self._whole(self.path / "folds" / name, "fold.json", f"fold {name}") as folder:
            result.predictions[COLUMNS].to_csv(folder / "predictions.csv", index=False)
            result.log.to_csv(folder / "log.csv", index=False)
            if result.trace is not None:
                result.trace.to_csv(folder / "trace.csv", index=False)
            if result.probe is not None:
                result.probe.to_csv(folder / "probe.csv", index=False)
            if result.weights:
                assert save, "weights, and nothing to save them with"
                save(folder, result.weights, self.experiment)
            files.write_json(folder / "fold.json", result.info | provenance())
        shutil.rmtree(self.path / "failed" / name, ignore_errors=True)
        (self.path / "progress" / f"{name}.txt").unlink(missing_ok=True)

    def write_failure(self, error: Diverged, save: Save) -> None:
        """Stores where a fold stopped, with the ids of that step's clips, and the trained weights before that step."""
        target = self.path / "failed" / error.where["fold"]
        shutil.rmtree(target, ignore_errors=True)
        with self._whole(target, "failure.json", "the failed fold") as folder:
            save(folder, error.weights, self.experiment)
            files.write_json(folder / "failure.json", error.where | {"message": str(error)} | provenance())

    def note_epoch(self, name: str, epoch: int, loss: float) -> None:
        """Adds a line to the fold's progress file, for people who look on."""
        with files.explained(self.path / "progress", "the progress"):
            (self.path / "progress").mkdir(exist_ok=True)
            with (self.path / "progress" / f"{name}.txt").open("a", encoding="utf-8") as file:
                file.write(f"{datetime.now().isoformat(' ', 'seconds')}  epoch {epoch}  loss {loss:.6g}\n")

    @contextmanager
    def _whole(self, target: Path, marker: str, what: str) -> Iterator[Path]:
        """A folder that appears with all its files or not at all. marker: A file that each whole one has."""
        with files.explained(target, what):
            target.parent.mkdir(exist_ok=True)
            temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
            try:
                temporary.chmod(0o755)
                yield temporary
                if not (target / marker).is_file():  # somebody deleted a part of it: it is made anew
                    shutil.rmtree(target, ignore_errors=True)
                try:
                    temporary.rename(target)  # refused if there is a folder with files: the first of two writers wins
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def finish(self) -> None:
        """Once every fold is there: writes the pooled predictions, drops what killed processes left behind."""
        if self.missing:
            return
        for leftover in [*self.path.glob("folds/.*"), self.path / "progress"]:
            shutil.rmtree(leftover, ignore_errors=True)
        pooled, text = self.path / "predictions.csv", self.predictions().to_csv(index=False)
        if not pooled.is_file() or pooled.read_text(encoding="utf-8") != text:  # a fold may have been made anew
            with files.explained(self.path, "the pooled predictions"):
                files.write_text(pooled, text)

    def made_by(self) -> list[dict]:
        """The versions and git revisions that made the finished folds, each once: more than one is worth a look."""
        kept = [{k: v for k, v in note.items() if k in MADE_BY} for note in self._notes()]
        return [made for i, made in enumerate(kept) if made not in kept[:i]]

    def predictions(self) -> pd.DataFrame:
        """One row per clip and AU: fold, clip_id, subject, au, label (0/1), probability; all finished folds, pooled.

        Raises:
            FileNotFoundError: No fold is finished.
        """
        return self._pooled("predictions.csv")

    def logs(self) -> pd.DataFrame:
        """Training losses: fold, epoch, loss. Raises FileNotFoundError if no fold is finished."""
        return self._pooled("log.csv")

    def probe(self) -> pd.DataFrame:
        """What reached the head: fold, epoch (0 is before training), and the columns of ``engine.probe.measure``.

        Raises:
            FileNotFoundError: No fold is finished, or the run is a baseline's.
        """
        return self._pooled("probe.csv")

    def trace(self) -> pd.DataFrame:
        """The test clips' probabilities after every epoch: fold, epoch, clip_id, au, probability.

        For showing what the choice of an epoch is worth; no score of this kit rests on it.

        Raises:
            FileNotFoundError: No fold is finished, or one was trained without ``trace``.
        """
        return self._pooled("trace.csv")

    def costs(self) -> pd.DataFrame:
        """What each finished fold took: one row per fold, columns ``COSTS``, NaN where a run did not note it."""
        return pd.DataFrame(self._notes(), self.done).reindex(columns=COSTS).astype(float)

    def devices(self) -> list[str]:
        """Where the finished folds were trained, each once: "cpu, 2 threads"."""
        lines = (f"{note.get('device', '?')}, {note.get('threads', '?')} threads" for note in self._notes())
        return list(dict.fromkeys(lines))

    def seconds(self) -> float:
        """Training and test time of the finished folds, summed."""
        return sum(note["seconds"] for note in self._notes())
