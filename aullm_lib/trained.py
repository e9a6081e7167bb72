"""The one door to trained models: weights as they lie in a run's folds, and the models that they give back.

A fold's safetensors file holds what training changed (LED, CNN, EFP, LoRA or context vectors, head) and the batch
norms' running statistics, without which they give other logits; its metadata hold the experiment, from which the model
is built again. The LLM's own frozen weights stay where they are.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from aullm_lib import model
from aullm_lib.datasets import TITLES
from aullm_lib.experiment import Experiment, family
from aullm_lib.llm import Loaded
from aullm_lib.model import AULLM, load_llm, recipe_of
from aullm_lib.preprocess import ALIGNMENTS, faces
from aullm_lib.runs import Run
from aullm_lib.support import files

FILE = "weights.safetensors"  # in a fold's folder
FROZEN = "llm.llm."  # how the names of the LLM's own weights begin


def state(module: nn.Module) -> dict[str, Tensor]:
    """What training changed of a model, by name, as copies on the CPU."""
    kept = {name: value for name, value in module.state_dict().items() if not name.startswith(FROZEN)}
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in kept.items()}


def save(folder: Path, weights: dict[str, Tensor], experiment: Experiment) -> None:
    """Writes ``state`` of a model into a fold's folder, with its experiment. Raises OSError if the disk refuses."""
    path = folder / FILE
    try:
        save_file(weights, path, metadata={"format": "pt", "experiment": json.dumps(experiment.to_dict())})
    except SafetensorError as error:
        raise OSError(f"cannot write {path}: {error}") from error


def load(run: Run | str | Path, fold: str, llm: str | Loaded | None = None) -> Any:
    """The model of a run's fold in eval mode, on the CPU: the same logits, to the bit, as at the end of training.

    Args:
        run: The run or its folder.
        fold: One of ``Run.folds``.
        llm: The LLM that it was trained with, loaded or where it lies now; the experiment's own if None.

    Returns:
        ``model.AULLM``, or the baseline's ``Model``.

    Raises:
        FileNotFoundError: The fold's weights were not kept, or the LLM is not there.
        ValueError: The file is damaged, or does not fit the model of its experiment.
    """
    run = run if isinstance(run, Run) else Run(run)
    return _load(run.path / "folds" / fold / FILE, llm)


def without_weights(run: Run) -> list[str]:
    """The folds of a run whose weights were not kept."""
    return [name for name in run.folds if not (run.path / "folds" / name / FILE).is_file()]


@contextmanager
def _reading(path: str | Path) -> Iterator[Any]:
    """A weights file, opened. Raises FileNotFoundError, and ValueError naming a file that is none of ours."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no trained weights here; train with keep_weights=True into a new run folder")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged, or written by another version: {error}") from error


def _experiment(file: Any) -> Experiment:
    return Experiment.from_dict(json.loads((file.metadata() or {})["experiment"]))


def _load(path: Path, llm: str | Loaded | None) -> Any:
    with _reading(path) as file:
        experiment = _experiment(file)
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
    with torch.random.fork_rng(devices=[]):  # the draws of the new model are thrown away at once
        module = family(experiment.method).build(experiment, llm)
    try:
        result = module.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # another shape, as with an LLM of another width
        why = " ".join(str(error).split("\n\t")[-1].split())
        raise ValueError(f"{path}: does not fit the model of its experiment ({why})") from None
    lost = [name for name in result.missing_keys if not name.startswith(FROZEN)]
    if lost or result.unexpected_keys:
        raise ValueError(f"{path}: does not fit the model of its experiment ({(lost + result.unexpected_keys)[0]})")
    return module.eval()


FPS = {"casme2": 200, "samm": 200, "casme": 60, "casme3": 30, "4dme": 60, "mmew": 90}
"""Frames a second of each release, from the paper that describes it."""
UNITS = ("frames", "seconds")


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Models of one experiment, each trained without some subjects, and what is known about them.

    paths: their weights. run: the run they are from, None for a file that lies outside one. llm: shared by all.
    """

    experiment: Experiment
    paths: tuple[Path, ...]
    run: Run | None
    llm: Loaded | None
    device: torch.device

    def models(self) -> Iterator[AULLM]:
        """The models in eval mode, one at a time: only a single one is kept. Raises as ``load``."""
        if len(self.paths) == 1:
            yield self._only
            return
        for path in self.paths:
            yield _load(path, self.llm).to(self.device)

    @cached_property
    def _only(self) -> AULLM:
        return _load(self.paths[0], self.llm).to(self.device)

    @property
    def _data(self) -> dict[str, Any]:
        return self.run.info["data"] if self.run else {}

    @property
    def _stored(self) -> dict[str, Any]:
        """How the training clips were stored; {} where the run does not say."""
        return self.run.info.get("store", {}) if self.run else {}

    @property
    def synthetic(self) -> bool:
        """Whether training saw a synthetic release; what does not say so is taken for real."""
        return self._data.get("synthetic") is True

    @property
    def median_frames(self) -> float | None:
        """The median length of the run's clips in frames, None where the run does not say."""
        return self._stored.get("median_frames")

    @property
    def releases(self) -> list[str]:
        """The releases that were trained on; of a cross-domain fold (``protocol.cross_domain``) not the tested one."""
        source, arrow, _ = self.paths[0].parent.name.partition("-to-")
        every = self._data.get("dataset", "").split("+")
        return source.split("+") if arrow and set(source.split("+")) <= set(every) else every

    @property
    def fps(self) -> int | None:
        """Frames a second of the training clips, None where it is unknown or differs between them."""
        rates = {FPS.get(name) for name in self.releases}
        return rates.pop() if len(rates) == 1 else None

    def alignment(self, asked: str | None = None) -> tuple[str, list[str]]:
        """How to align footage, training's way if nothing is asked for, and remarks on that.

        Raises ValueError for an alignment that does not exist.
        """
        if asked is not None and asked not in ALIGNMENTS:
            raise ValueError(f"align={asked!r}: choose one of {', '.join(ALIGNMENTS)}")
        there = self._stored or self._data  # older runs say at least whether the release was one of face crops
        parts = [part for part in self._data.get("parts", []) if part["release"]["dataset"] in self.releases]
        known = {part["align"] for part in parts or [there] if part.get("align")}
        if not known and "cropped" in there:
            known = {"none" if there["cropped"] else "similarity"}
        trained = known.pop() if len(known) == 1 else "similarity"  # face crops may be joined with aligned frames
        remarks = []
        if asked is None and trained == "none":
            asked = "similarity"
            remarks.append(
                "training's frames came as face crops; here the eyes are put where such crops have them, near but not "
                'the same (for footage of face crops give align="none")'
            )
        elif asked is None and not self._stored:
            remarks.append(f"the weights do not say how training's frames were aligned: taken for {trained!r}")
        elif asked is not None and asked != trained:
            remarks.append(f"aligned by {asked!r}, but training's frames by {trained!r}")
        align, finder = asked or trained, (self._stored.get("detector") or {}).get("name")
        if align in ("crop", "similarity") and finder not in (None, faces.detector()["name"]):
            remarks.append(f"faces are found by {faces.detector()['name']} here, in training by {finder}")
        return align, remarks

    def about(self) -> dict[str, Any]:
        """What every result says of the models: ``limits``, ``synthetic``, and how many ``models``."""
        return {"limits": self.limits(), "synthetic": self.synthetic, "models": len(self.paths)}

    def limits(self) -> tuple[str, ...]:
        """What the models' numbers mean, and what they do not mean, in sentences."""
        count = len(self.paths)
        which = f"The mean of {count} models, each" if count > 1 else "One model,"
        if self.run:
            notes = [files.read_json(path.parent / "fold.json") for path in self.paths]
            clips = sorted({note["train_clips"] for note in notes})
            of = " and ".join(TITLES.get(name, name) for name in self.releases)
            of = f"a synthetic release in the layout of {of}" if self.synthetic else of
            source = f"trained on {' to '.join(map(str, sorted({clips[0], clips[-1]})))} clips of {of}"
        else:
            source = "trained on clips that nothing beside the weights describes"
        length = ""
        if self.median_frames:
            rate = f" ({self.median_frames / self.fps:.2f} s)" if self.fps else ""
            length = f"; the run's median clip has {self.median_frames:g} frames{rate}"
        said = [
            "A number is the probability that the action unit occurs in the clip: not its intensity, and not "
            "calibrated (0.7 does not mean seven times in ten).",
            f"{which} {source}{length}. On other people, cameras, lengths and light it may be wrong.",
            "An action unit is a movement of the face: no emotion and no sign of lying. Please do not judge anybody by "
            "it.",
        ]
        if self.synthetic:
            said.insert(
                2, "Training saw rendered faces only: on a real face the numbers show that the path works, no more."
            )
        return tuple(said)


def ensemble(
    source: Ensemble | Run | str | Path,
    *,
    folds: Sequence[str] | None = None,
    llm: Loaded | str | None = None,
    device: str | torch.device | None = None,
) -> Ensemble:
    """The models of a run, its folder, or one weights.safetensors; what was loaded before comes back as it is.

    folds: names of the folds to take, all by default. llm: the LLM that they were trained with, loaded or where it lies
    now; the experiment's own if None. device: the first CUDA device if there is one, else the CPU.
    Raises FileNotFoundError where there are no such weights, or no such LLM; ValueError for a fold that the run does
    not have, a run of another method than AU-LLM, and a file that is damaged.
    """
    if isinstance(source, Ensemble):
        if folds is not None:
            raise ValueError("folds: these weights are loaded already; name the folds to trained.ensemble")
        return source
    run, path = (source, source.path) if isinstance(source, Run) else (None, Path(source).expanduser())
    if run is None and path.is_file():
        if folds is not None:
            raise ValueError(f"folds: {path} is the file of one fold; give the run's folder to choose some")
        with _reading(path) as file:
            experiment, paths = _experiment(file), [path]
        if path.parent.parent.name == "folds" and (path.parents[2] / "run.json").is_file():
            run = Run(path.parents[2])
    else:
        run = run or Run(path)
        unknown = [name for name in folds or () if name not in run.folds]
        if unknown or (folds is not None and not len(folds)):
            named = f"no fold {unknown[0]!r}" if unknown else "folds names none"
            raise ValueError(f"{run.path}: {named}; it has {', '.join(run.folds)}")
        experiment = run.experiment
        paths = [run.path / "folds" / name / FILE for name in run.folds if folds is None or name in folds]
    if family(experiment.method) is not model:
        raise ValueError(f"{path}: made by {experiment.method!r}; footage goes through AU-LLM and its variants")
    missing = [one for one in paths if not one.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]}: no trained weights here ({len(missing)} of {len(paths)} folds lack them); train with "
            "keep_weights=True into a new run folder, or name the folds that have them"
        )
    if isinstance(llm, tuple):
        loaded: Loaded | None = llm
    else:
        recipe = recipe_of(experiment.variant, experiment.recipe)
        loaded = load_llm(experiment.variant, recipe, llm or experiment.llm)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return Ensemble(experiment, tuple(paths), run, loaded, target)


def windowing(
    model: Ensemble, fps: float | None, length: float | None, stride: float | None, unit: str
) -> tuple[int, int, str]:
    """Length and stride of a video's windows in frames, and in words where they come from.

    Takes what ``predict.video`` takes. Raises ValueError naming what is wrong, or cannot be known.
    """
    if unit not in UNITS:
        raise ValueError(f"unit={unit!r}: choose one of {', '.join(UNITS)}")
    if unit == "seconds" and fps is None:
        raise ValueError("unit='seconds': the footage does not say how many frames it has a second; give fps")
    each = fps if unit == "seconds" and fps else 1.0
    for name, value in (("length", length), ("stride", stride)):
        if value is not None and not (0 < value < float("inf") and (unit == "seconds" or value == int(value))):
            raise ValueError(f"{name}={value!r}: expected {'whole ' * (unit == 'frames')}{unit}, above 0")
    source = "as asked for"
    if length is None:
        median = model.median_frames
        if median is None:
            raise ValueError("length=None: the weights do not say how long their training's clips are; give length")
        source = f"as long as the median clip of the run, {median:g} frames"
        ratio = fps / model.fps if fps and model.fps else 1.0
        source += f" at {model.fps} a second" if fps and model.fps else ", whatever the rate"
        frames = max(2, round(median * ratio))
    else:
        frames = round(length * each)
    step = max(1, frames // 2) if stride is None else max(1, round(stride * each))
    if frames < 2:
        raise ValueError(f"length={length!r} {unit}: a window needs at least 2 frames")
    took = f" ({frames / fps:.2f} s)" if fps else ""
    said = f"windows of {frames} frames{took}, {source}; one begins every {step} frames"
    few = model.experiment.recipe.frames
    return frames, step, said + f"; the model takes {few} of each" + ", so some repeat" * (frames < few)
