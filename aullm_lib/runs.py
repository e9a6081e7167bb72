"""Where results live: a run is a folder that a person can read, and that a killed job resumes.

    <name>-<key>/
      run.json             what was trained on whom: method, variant, recipe with its name, LLM, seed, train and test
                           release, protocol, the folds with a hash of their clip ids, the data, how they were stored
      folds/<fold>/        one fold, written whole under a temporary name, then renamed
        predictions.csv    clip_id, subject, au, label, probability
        log.csv            epoch, loss
        fold.json          sizes, parameters, seconds, peak memory, device, threads, LLM's dtype, versions, git
                           revision, and the SHA-256 of each CSV file beside it, checked when that is read
        weights.safetensors  what training changed, if it was to be kept: LED, CNN, projector, head
        adapter/           the LLM's adapter in peft's own format, beside it
        probe.csv          epoch, norms and spreads between clips of visual token and hidden state (AU-LLM only)
        trace.csv          epoch, clip_id, au, probability: the test clips after every epoch, if asked for
      progress/<fold>.txt  a line per epoch while the fold is in training
      failed/<fold>/       failure.json and weights: where a fold stopped, and its state before that step
      predictions.csv      all folds, once the last one is there
      README.md            the model card, where weights are kept (``card``)

The key is a hash of experiment, data and folds: another configuration is another folder. Nothing here needs torch.

What is read may come from elsewhere: fields have their types (``Info``, ``Note``), and no name leads out of the folder.
"""

import errno
import hashlib
import json
import os
import reprlib
import shutil
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, NotRequired, TypedDict

import pandas as pd

from aullm_lib.experiment import Experiment
from aullm_lib.metrics.predictions import COLUMNS, TEXT
from aullm_lib.protocol import Fold, fold_sha256, split_sha256
from aullm_lib.support import files
from aullm_lib.support.provenance import MADE_BY, provenance
from aullm_lib.support.typed import refuse_foreign, typed

FORMAT = 2  # of run.json
REPAIR = "copy the file again from where the run was made, or move the folder away and train again"
Save = Callable[[Path, dict[str, Any], Experiment, dict[str, str]], object]  # weights into a folder (``trained.save``)
LARGEST = 1 << 30  # bytes of a fold's table: no larger one is read
REQUIRED = {"predictions.csv": COLUMNS, "log.csv": ["epoch", "loss"]}
COSTS = ["trained_parameters", "total_parameters", "seconds", "peak_memory_mb"]  # of fold.json
POOL = "pool"  # beside runs, a link to the folder where several such folders keep them


class Release(TypedDict):
    """A release, as its adapter describes it."""

    dataset: str
    synthetic: NotRequired[bool]
    variant: NotRequired[int | None]
    made: NotRequired[dict[str, Any]]  # what a synthetic one was rendered from


class Part(TypedDict):
    """One of several stores that were joined."""

    release: Release
    align: NotRequired[str | None]


class Data(Release):
    """What identifies the clips."""

    fingerprint: str
    clips: int
    parts: NotRequired[list[Part]]
    llm: NotRequired[str]  # the identity of the LLM's weights


class Detector(TypedDict):
    """What found the faces."""

    name: str


class Store(TypedDict):
    """More on the clips, for readers."""

    size: NotRequired[int]
    rgb: NotRequired[bool]
    align: NotRequired[str | None]
    detector: NotRequired[Detector | None]
    median_frames: NotRequired[float]
    samples: NotRequired[str]


class Trained(TypedDict):
    """``Experiment.to_dict``, as far as it can be read without the method's recipe."""

    name: str
    aus: list[int]
    recipe: dict[str, Any]
    method: str
    variant: str
    llm: str
    seed: int


class Split(TypedDict):
    """A fold of run.json."""

    name: str
    train_clips: int
    test_clips: int
    sha256: str  # ``protocol.fold_sha256``


class Info(TypedDict):
    """run.json."""

    format: int
    key: str
    recipe_name: str
    experiment: Trained
    data: Data
    train: list[str]
    test: list[str]
    protocol: str
    folds: list[Split]
    store: Store
    llm_folder: NotRequired[str]  # from the run folder to an LLM that was given by a relative path


class Revision(TypedDict):
    """Of the code."""

    revision: str
    changed: bool


class Note(TypedDict):
    """fold.json."""

    seconds: float
    fold: NotRequired[str]
    train_clips: NotRequired[int]
    test_clips: NotRequired[int]
    trained_parameters: NotRequired[int | None]
    total_parameters: NotRequired[int | None]
    peak_memory_mb: NotRequired[float | None]
    llm_dtype: NotRequired[str]
    versions: dict[str, str]
    platform: str
    git: Revision | None
    sha256: NotRequired[dict[str, str]]  # of each CSV file; folds of earlier versions have none and are not checked


def _read(path: Path, kind: Any, advice: str) -> dict[str, Any]:
    """A JSON file whose fields are of their types. Raises ValueError naming the file, the field and what to do."""
    value = files.read_json(path)
    try:
        refuse_foreign("", value)
        return typed("", kind, value)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: {error}; {advice}") from None


def _again(folder: Path) -> str:
    return f"delete the folder {folder}, and the same training makes this fold again"


class OldFormat(ValueError):
    """A run folder of an older version, whose run.json does not describe the run."""


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


def _llm_folder(experiment: Experiment, run: Path) -> dict[str, str]:
    """The way from a run folder to the LLM's, where its path is a relative one."""
    llm = Path(experiment.llm, "config.json")
    there = llm.is_file() and not llm.is_absolute()
    return {"llm_folder": os.path.relpath(llm.parent, run.resolve())} if there else {}


class Run:
    """A run folder, created or resumed. ``Run(path)`` opens a finished or unfinished one for reading.

    Attributes:
        path: The folder.
        info: run.json.
        folds: The folds' names, in order.

    Raises:
        FileNotFoundError: There is no run.
        OldFormat: The folder is of an older format.
        ValueError: run.json is damaged, or was written by something else; the message names the field.
    """

    def __init__(self, path: str | Path):
        self.path, file = Path(path), Path(path, "run.json")
        if not file.is_file():
            raise FileNotFoundError(f"{self.path}: no run here (no run.json)")
        info = files.read_json(file)
        version = info.get("format", 1) if isinstance(info, dict) else None
        if type(version) is int and 0 < version < FORMAT:
            raise OldFormat(
                f"{self.path}: a run folder of an older version, whose run.json does not describe the run; its "
                "predictions.csv can still be read by itself. Move the folder away and train again"
            )
        if version != FORMAT or type(version) is bool:
            raise ValueError(f"{file}: format={reprlib.repr(version)}: this version reads {FORMAT}; {REPAIR}")
        self.info = _read(file, Info, REPAIR)
        self.folds: list[str] = [fold["name"] for fold in self.info["folds"]]
        try:
            _refuse_folds(self.info["folds"])
            trained = self.info["experiment"]
            named, named_there = self.info["recipe_name"], trained["recipe"].get("name", trained["method"])
            if named != named_there:
                raise ValueError(f"recipe_name={named!r}, but the recipe of its experiment is called {named_there!r}")
            listed = {unicodedata.normalize("NFC", name) for name in self.folds}
            for note in self.path.glob("folds/[!.]*/fold.json"):
                if unicodedata.normalize("NFC", note.parent.name) not in listed:
                    raise ValueError(f"folds lacks {note.parent.name!r}, which lies in the folder")
        except ValueError as error:
            raise ValueError(f"{file}: {error}; {REPAIR}") from None

    @cached_property
    def experiment(self) -> Experiment:
        """What was trained. Raises ValueError naming the field of run.json that is none, or out of its range."""
        try:
            return Experiment.from_dict(self.info["experiment"])
        except (TypeError, ValueError) as error:
            raise ValueError(f"{self.path / 'run.json'}: experiment: {error}; {REPAIR}") from None

    @property
    def llm(self) -> str:
        """The experiment's LLM, a hub name or a folder; a relative one as it is found from where this is called."""
        folder = self.path.resolve() / self.info.get("llm_folder", "")
        return str(folder) if os.path.isfile(folder / "config.json") else self.experiment.llm  # noqa: PTH113  # nor raises

    @property
    def split_sha256(self) -> str:
        """Which clips each fold trains on and is tested on (``protocol.split_sha256``)."""
        return split_sha256(fold["sha256"] for fold in self.info["folds"])

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
            ValueError: A fold's name cannot be a folder's; the run that is there has another ``samples``, a hash of
                clips and labels.
            OSError: The folder cannot be written.
        """
        config = {"experiment": experiment.to_dict(), "data": data}
        members = [[fold.name, sorted(fold.train), sorted(fold.test)] for fold in folds]
        what = config["experiment"] | ({"llm": ""} if "llm" in data else {})  # its weights say more than where they lie
        named = json.dumps([config | {"experiment": what}, members], sort_keys=True)
        key = hashlib.sha256(named.encode()).hexdigest()[:10]
        path = Path(out) / f"{experiment.name}-{key}"
        described = [
            {
                "name": name,
                "train_clips": len(train),
                "test_clips": len(test),
                "sha256": fold_sha256(train, test),
            }
            for name, train, test in members
        ]
        _refuse_folds(described)
        if not (path / "run.json").is_file():
            split = split or {"train": [], "test": [], "protocol": "custom"}
            info = {"format": FORMAT, "key": key, "recipe_name": experiment.recipe_name} | config | split
            info |= {"folds": described, "store": about or {}}
            with files.explained(path, "the run"):
                if (pool := path.parent / POOL).is_dir():
                    (pool / path.name).mkdir(exist_ok=True)
                    if not path.is_symlink():
                        path.symlink_to(Path(POOL, path.name), target_is_directory=True)
                if not (path / "run.json").is_file():
                    files.write_json(path / "run.json", info | _llm_folder(experiment, path), durable=True)
        run = cls(path)
        if run.info["experiment"] != config["experiment"]:  # the LLM lies elsewhere now, or is called otherwise
            info = {k: v for k, v in run.info.items() if k != "llm_folder"} | {"experiment": config["experiment"]}
            with files.explained(path, "the run"):
                files.write_json(path / "run.json", info | _llm_folder(experiment, path), durable=True)
            run = cls(path)
        there, given = (stored.get("samples") for stored in (run.info["store"], about or {}))
        if there and given and there != given:
            raise ValueError(
                f"{path}: made with other labels of the same clips; for these labels give another folder (out), or "
                "delete this one"
            )
        os.utime(path)  # of several runs of one configuration, the one that was asked for last counts
        return run

    def fold(self, name: str, kind: str = "folds") -> Path:
        """The folder of one of the run's folds, which need not be there.

        Args:
            name: One of ``folds``.
            kind: "folds", "failed" or "progress".

        Raises:
            ValueError: The run has no such fold; a link stands in the folder's place.
        """
        if name not in self.folds:
            raise ValueError(f"{self.path}: no fold {name!r}; it has {', '.join(self.folds)}")
        for folder in (self.path / kind, self.path / kind / name):
            if folder.is_symlink():
                raise ValueError(f"{folder}: a link; a run's folds lie in its own folder. Put the folder itself here")
        return self.path / kind / name

    @property
    def missing(self) -> list[str]:
        """Folds that are not done, in order."""
        return [name for name in self.folds if not (self.fold(name) / "fold.json").is_file()]

    @property
    def done(self) -> list[str]:
        """Folds that are done, in order."""
        missing = set(self.missing)
        return [name for name in self.folds if name not in missing]

    def note(self, name: str) -> dict[str, Any]:
        """fold.json of a finished fold. Raises ValueError naming the field that is damaged, or of another fold."""
        path = self.fold(name) / "fold.json"
        note = _read(path, Note, _again(path.parent))
        described = self._described(name)
        for key, expected in (("fold", name), *((key, described[key]) for key in ("train_clips", "test_clips"))):
            if note.get(key, expected) != expected:
                raise ValueError(f"{path}: {key}={note[key]!r}, but run.json says {expected!r}; {_again(path.parent)}")
        return note

    def _described(self, name: str) -> Split:
        """What run.json says of a fold."""
        return self.info["folds"][self.folds.index(name)]

    def _notes(self) -> list[dict]:
        return [self.note(name) for name in self.done]

    def _table(self, name: str, file: str) -> pd.DataFrame:
        """A CSV file of a finished fold, with the columns that it must have; checked by its SHA-256 in fold.json."""
        path, written = self.fold(name) / file, self.note(name).get("sha256", {})
        if not path.exists():
            raise FileNotFoundError(
                f"{path}: no such table (trace.csv needs trace=True, probe.csv is AU-LLM's); {_again(path.parent)}"
            )
        try:
            if not path.is_file() or path.stat().st_size > LARGEST:
                raise ValueError(f"no file of at most {LARGEST >> 20} MiB")
            content = path.read_bytes()
            if written and hashlib.sha256(content).hexdigest() != written.get(file):
                raise ValueError("not the file that was written: its SHA-256 is not that in fold.json")
            table = pd.read_csv(BytesIO(content), dtype=TEXT)
            if lacking := [column for column in REQUIRED.get(file, ()) if column not in table]:
                raise ValueError(f"lacks the columns {', '.join(lacking)}")
            clips = self._described(name)["test_clips"]
            if file == "predictions.csv" and (have := table["clip_id"].nunique()) != clips:
                raise ValueError(f"has {have} clips, but run.json says test_clips={clips}")
            if "fold" in table:
                raise ValueError("has a column fold, which no fold's own table has")
        except ValueError as error:
            raise ValueError(f"{path}: {error}; {_again(path.parent)}") from None
        return table

    def _pooled(self, file: str) -> pd.DataFrame:
        """The same CSV file of all finished folds, with the column ``fold`` in front."""
        done = self.done
        if not done:
            raise FileNotFoundError(f"{self.path}: no finished fold yet; run it with engine.run (notebook 02)")
        parts = [self._table(name, file) for name in done]
        return pd.concat(parts, keys=done, names=["fold", None]).reset_index("fold").reset_index(drop=True)

    def write_fold(self, name: str, result: Result, save: Save | None = None) -> None:
        """Stores one fold whole: a reader, or a killed process, never sees half of it. The first of two wins.

        Args:
            name: The fold.
            result: What training returned.
            save: ``trained.save``, where the result has weights: it writes them into the fold's folder.
        """
        with self._whole(self.fold(name), "fold.json", f"fold {name}") as folder:
            result.predictions[COLUMNS].to_csv(folder / "predictions.csv", index=False)
            result.log.to_csv(folder / "log.csv", index=False)
            if result.trace is not None:
                result.trace.to_csv(folder / "trace.csv", index=False)
            if result.probe is not None:
                result.probe.to_csv(folder / "probe.csv", index=False)
            if result.weights:
                assert save, "weights, and nothing to save them with"
                save(folder, result.weights, self.experiment, self._about(result.info))
            sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.csv"))}
            files.write_json(folder / "fold.json", result.info | provenance() | {"sha256": sums})
        shutil.rmtree(self.fold(name, "failed"), ignore_errors=True)
        (self.path / "progress" / f"{name}.txt").unlink(missing_ok=True)

    def _about(self, info: dict[str, Any]) -> dict[str, str]:
        """What the weights say of the LLM that they were trained with: the identity and the type of its weights."""
        about = {"llm": self.info["data"].get("llm"), "llm_dtype": info.get("llm_dtype")}
        return {key: value for key, value in about.items() if value}

    def write_failure(self, error: Diverged, save: Save) -> None:
        """Stores where a fold stopped, with the ids of that step's clips, and the trained weights before that step."""
        target = self.fold(error.where["fold"], "failed")
        shutil.rmtree(target, ignore_errors=True)
        with self._whole(target, "failure.json", "the failed fold") as folder:
            save(folder, error.weights, self.experiment, self._about({}))
            files.write_json(folder / "failure.json", error.where | {"message": str(error)} | provenance())

    def note_epoch(self, name: str, epoch: int, loss: float) -> None:
        """Adds a line to the fold's progress file, for people who look on."""
        folder = self.fold(name, "progress").parent
        with files.explained(folder, "the progress"):
            folder.mkdir(exist_ok=True)
            with (folder / f"{name}.txt").open("a", encoding="utf-8") as file:
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
                for path in (*temporary.rglob("*"), temporary):
                    files.sync(path)
                if not (target / marker).is_file():  # somebody deleted a part of it: it is made anew
                    shutil.rmtree(target, ignore_errors=True)
                try:
                    temporary.rename(target)  # refused if there is a folder with files: the first of two writers wins
                except OSError as error:
                    if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                        raise
                files.sync(target.parent)
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


def _refuse_folds(folds: Sequence[dict[str, Any]]) -> None:
    """Raises ValueError for no fold, a fold without clips, and names that cannot be those of folders side by side."""
    if not folds:
        raise ValueError("folds is empty")
    seen: dict[str, str] = {}
    for i, fold in enumerate(folds):
        name = files.folder_name(f"folds[{i}].name", fold["name"])
        alike = unicodedata.normalize("NFC", name).casefold()  # one folder on some disks
        if alike in seen:
            raise ValueError(f"folds[{i}].name={name!r}: the same folder as {seen[alike]!r} on some disks")
        seen[alike] = name
        for key in ("train_clips", "test_clips"):
            if not fold[key]:
                raise ValueError(f"folds[{i}].{key}=0: a fold trains on clips and is tested on clips")
