"""The one door to trained models: weights as they lie in a run's folds, and the models that they give back.

A fold's safetensors file holds what training changed (LED, CNN, EFP, context vectors, head) and the batch norms'
running statistics, without which they give other logits; its metadata hold the experiment, from which the model is
built again, and the identity of the LLM's weights. The LLM's adapter lies beside it in peft's own format:
``PeftModel.from_pretrained(base, folder)`` opens it, where base is the checkpoint without its language-model head
(``transformers.AutoModel``). The LLM's own frozen weights stay where they are.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from aullm_lib import model
from aullm_lib.datasets import TITLES
from aullm_lib.experiment import Experiment, family
from aullm_lib.llm import Loaded
from aullm_lib.lora import PREFIX, Adapter, config
from aullm_lib.model import AULLM, load_llm, needs_llm, parts_of, recipe_of
from aullm_lib.preprocess import ALIGNMENTS, faces
from aullm_lib.runs import Run, Trained
from aullm_lib.support import files, hub, tensors
from aullm_lib.support.typed import refuse_foreign, typed

FILE = "weights.safetensors"  # in a fold's folder
ADAPTER = "adapter"  # the folder beside it, in peft's format
MODEL = "adapter_model.safetensors"  # in that folder


def state(module: nn.Module) -> dict[str, Tensor]:
    """What training changed of a model, by name, as copies on the CPU; an adapter's weights by peft's names."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in _kept(module).items()}


def _kept(module: nn.Module) -> dict[str, Tensor]:
    kept, adapter = module.state_dict(), _adapter(module)
    if adapter is None:
        return kept
    return {name: value for name, value in kept.items() if not name.startswith("llm.adapter.")} | adapter.weights()


def _adapter(module: nn.Module) -> Adapter | None:
    return module.llm.adapter if isinstance(module, AULLM) and module.llm is not None else None


def save(folder: Path, weights: dict[str, Tensor], experiment: Experiment, about: Mapping[str, str]) -> None:
    """Writes ``state`` of a model into a fold's folder, with its experiment.

    Args:
        folder: Of the fold.
        weights: Of ``state``.
        experiment: What was trained.
        about: The LLM's identity ("llm") and the type of its weights ("llm_dtype"), as far as there is one.

    Raises:
        OSError: The disk refuses.
    """
    adapter = {name: value for name, value in weights.items() if name.startswith(PREFIX)}
    others = {name: value for name, value in weights.items() if name not in adapter}
    tensors.write(others, folder / FILE, {"format": "pt", "experiment": json.dumps(experiment.to_dict())} | dict(about))
    if adapter:
        (folder / ADAPTER).mkdir()
        tensors.write(adapter, folder / ADAPTER / MODEL, {"format": "pt"})
        random, recipe = parts_of(experiment.variant).random_llm, recipe_of(experiment.variant, experiment.recipe)
        # Whole names: in a multimodal LLM, layers of other parts that end as the recipe's targets have no adapter.
        targets = {name.removeprefix(PREFIX).partition(".lora_")[0] for name in adapter}
        made = config(
            kind=recipe.adapter,
            r=recipe.lora_r,
            alpha=recipe.lora_alpha,
            dropout=recipe.lora_dropout,
            targets=sorted(targets),
        )
        base = f"{experiment.llm} with random weights" if random else experiment.llm
        made.base_model_name_or_path = f"{base}, the first {recipe.llm_layers} layers" if recipe.llm_layers else base
        made.inference_mode = True
        made.save_pretrained(str(folder / ADAPTER))


def load(run: Run | str | Path, fold: str, llm: str | os.PathLike | Loaded | None = None) -> Any:
    """The model of a run's fold in eval mode, on the CPU: the same logits, to the bit, as at the end of training there.

    The LLM's own weights are read in the type that they had in training: after a GPU's float16 they are slow on a CPU,
    so give ``llm`` loaded in another one where speed matters more.

    Args:
        run: The run or its folder.
        fold: One of ``Run.folds``.
        llm: The LLM that it was trained with, loaded or where it lies now; the experiment's own if None.

    Returns:
        ``model.AULLM``, or the baseline's ``Model``.

    Raises:
        FileNotFoundError: The fold's weights were not kept, or the LLM is not there.
        ValueError: The file is damaged, of another run, or does not fit the model of its experiment; a weight is not
            finite; the LLM is another one.
    """
    run = run if isinstance(run, Run) else Run(run)
    return _load(run.fold(fold) / FILE, run, llm)


def without_weights(run: Run) -> list[str]:
    """The folds of a run whose weights were not kept."""
    return [name for name in run.folds if not (run.fold(name) / FILE).is_file()]


def stored(path: Path) -> dict[str, Tensor]:
    """The weights in a safetensors file of ours, by name. Raises as ``load``."""
    with _reading(path) as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dictionary
        tensors.refuse_spoilt(weights)
    return weights


@contextmanager
def _reading(path: Path) -> Iterator[Any]:
    """A weights file, opened. Raises FileNotFoundError, and ValueError naming a file that is none of ours."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no trained weights here; train with keep_weights=True into a new run folder")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, LookupError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, or written by another version: {error}") from error


def _described(path: Path, run: Run | None) -> tuple[Experiment, dict[str, str]]:
    """The experiment that a weights file's metadata hold, and what else they say (``save``).

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The metadata are damaged, or not those of the run; the message names the field.
    """
    with _reading(path) as file:
        about = file.metadata() or {}
        try:
            values = files.parse_json(about.get("experiment", "").encode())
            refuse_foreign("", values)
            experiment = Experiment.from_dict(typed("", Trained, values))
        except (TypeError, ValueError) as error:
            raise ValueError(f"experiment in its metadata: {error}") from None
        if run is not None:
            pairs = [(key, getattr(experiment, key), getattr(run.experiment, key)) for key in _OF_THE_MODEL]
            pairs.append(("llm", about.get("llm"), run.info["data"].get("llm", "")))
            for key, here, there in pairs:
                if here is not None and here != there:
                    raise ValueError(f"{key} is {here!r} in its metadata, but {there!r} in {run.path / 'run.json'}")
            about = {"llm": run.info["data"].get("llm", "")} | about
    return experiment, about


_OF_THE_MODEL = ("method", "variant", "aus", "recipe", "seed")  # name and LLM may be called otherwise by now


def _refuse_other(path: Path, llm: str | os.PathLike | Loaded, identity: str | None) -> None:
    """Raises ValueError for another LLM than that whose weights have this identity, as far as both are known.

    A hub name's commit and the hash of a folder cannot be compared. Raises FileNotFoundError where it does not lie.
    """
    place = llm[0].config.name_or_path if isinstance(llm, tuple) else llm
    if not identity or not place:
        return
    now = _IDENTITIES.get(llm[0], "") if isinstance(llm, tuple) else ""
    try:
        now = now or hub.identity(place)
    except FileNotFoundError as error:
        if isinstance(llm, tuple):  # moved since it was loaded
            return
        raise FileNotFoundError(f"{path}: needs the LLM that it was trained with (llm, or --llm): {error}") from error
    if isinstance(llm, tuple):
        _IDENTITIES[llm[0]] = now
    if len(now) == len(identity) and now != identity:
        raise ValueError(
            f"{path}: trained with the LLM whose identity is {identity[:12]}, but that of {place} is {now[:12]}: give "
            "the one that it was trained with (llm)"
        )


_IDENTITIES: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # loaded LLM -> what its weights are


def _load(path: Path, run: Run | None, llm: str | os.PathLike | Loaded | None) -> Any:
    experiment, about = _described(path, run)
    if family(experiment.method) is model and needs_llm(experiment.variant):
        llm = llm or (run.llm if run else experiment.llm)
        _refuse_other(path, llm, about.get("llm"))
        note = run.note(path.parent.name) if run else {}
        dtype = about.get("llm_dtype") or note.get("llm_dtype")
        if dtype and not isinstance(llm, tuple) and experiment.recipe.llm_dtype == "auto":
            try:
                experiment = replace(experiment, recipe=replace(experiment.recipe, llm_dtype=dtype))
            except ValueError as error:
                raise ValueError(f"{path}, llm_dtype in its metadata or in fold.json beside it: {error}") from None
    weights = stored(path)
    try:
        with torch.random.fork_rng(devices=[]):  # the draws of the new model are thrown away at once
            module = family(experiment.method).build(experiment, llm)
    except (RuntimeError, MemoryError, OverflowError, TypeError, ValueError) as error:  # such as sizes too large
        raise ValueError(f"{path}: no model of its experiment can be built: {error}") from error
    if (adapter := _adapter(module)) is not None:
        weights |= stored(path.parent / ADAPTER / MODEL)
    expected = _kept(module)
    if wrong := weights.keys() ^ expected.keys():
        raise ValueError(f"{path}: does not fit the model of its experiment ({min(wrong)})")
    for name, value in weights.items():
        if value.is_floating_point() != expected[name].is_floating_point():
            raise ValueError(f"{path}: {name} is of the type {value.dtype}, expected {expected[name].dtype}")
    try:
        module.load_state_dict({k: value for k, value in weights.items() if not k.startswith(PREFIX)}, strict=False)
        if adapter is not None:
            adapter.load({k: value for k, value in weights.items() if k.startswith(PREFIX)})
    except RuntimeError as error:  # another shape, as with an LLM of another width
        why = " ".join(str(error).split("\n\t")[-1].split())
        raise ValueError(f"{path}: does not fit the model of its experiment ({why})") from None
    if isinstance(module, AULLM):
        module.register_forward_hook(partial(_refuse_overflow, path))
    return module.eval()


def _refuse_overflow(path: Path, module: nn.Module, clips: Any, logits: Tensor) -> None:
    """Raises ValueError for logits that are not finite, as finite weights can give them, too."""
    if not logits.isfinite().all():
        raise ValueError(
            f"{path}: the model's logits are not finite: its weights are far too large, or too large for the type of "
            "the LLM's; train the fold again, or give the LLM in float32 (llm)"
        )


FPS = {"casme2": 200, "samm": 200, "casme": 60, "casme3": 30, "4dme": 60, "mmew": 90}
"""Frames a second of each release, from the paper that describes it."""


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The models of some folds of one experiment, whose predictions are averaged.

    Attributes:
        experiment: What was trained.
        paths: The weights files.
        run: The run that they are from, None for a file that lies outside one.
        llm: Shared by all models, None for variants without an LLM.
        device: Where the models are put.
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
            yield _load(path, self.run, self.llm).to(self.device)

    @cached_property
    def _only(self) -> AULLM:
        return _load(self.paths[0], self.run, self.llm).to(self.device)

    @property
    def synthetic(self) -> bool:
        """Whether training saw a synthetic release; what does not say so is taken for real."""
        return self.run is not None and self.run.info["data"].get("synthetic") is True

    @property
    def median_frames(self) -> float | None:
        """The median length of the run's clips in frames, None without a run."""
        return self.run.info["store"].get("median_frames") if self.run else None

    @property
    def releases(self) -> list[str]:
        """The releases that were trained on."""
        return self.run.info["train"] if self.run else []

    @property
    def fps(self) -> int | None:
        """Frames per second of the training clips, None where it is unknown or differs between them."""
        rates = {FPS.get(name) for name in self.releases}
        return rates.pop() if len(rates) == 1 else None

    def alignment(self, align: str | None = None) -> tuple[str, list[str]]:
        """How to align a user's video: as the training clips were, unless ``align`` says otherwise; and remarks on it.

        Raises:
            ValueError: There is no such alignment.
        """
        if align is not None and align not in ALIGNMENTS:
            raise ValueError(f"align={align!r}: choose one of {', '.join(ALIGNMENTS)}")
        store, data = (self.run.info[key] if self.run else {} for key in ("store", "data"))
        parts = [part for part in data.get("parts", []) if part["release"]["dataset"] in self.releases]
        ways = {part["align"] for part in parts or [store] if part.get("align")}
        training = ways.pop() if len(ways) == 1 else "similarity"  # face crops may be joined with aligned frames
        remarks = []
        if align is None and training == "none":
            align = "similarity"
            remarks.append(
                "training's frames came as face crops; here the eyes are put where such crops have them, near but not "
                'the same (for a video of face crops give align="none")'
            )
        elif align is None and not store:
            remarks.append(f"the weights do not say how training's frames were aligned: taken for {training!r}")
        elif align is not None and align != training:
            remarks.append(f"aligned by {align!r}, but training's frames by {training!r}")
        align, detector = align or training, (store.get("detector") or {}).get("name")
        if align in ("crop", "similarity") and detector not in (None, faces.detector()["name"]):
            remarks.append(f"faces are found by {faces.detector()['name']} here, in training by {detector}")
        return align, remarks

    def about(self) -> dict[str, Any]:
        """What every prediction says of the models: ``limits``, ``synthetic``, and how many ``models``."""
        return {"limits": self.limits(), "synthetic": self.synthetic, "models": len(self.paths)}

    def limits(self) -> tuple[str, ...]:
        """What the models' probabilities mean, and what they do not mean, in sentences."""
        count = len(self.paths)
        which = f"The mean of {count} models, each" if count > 1 else "One model,"
        training = "trained on clips that nothing beside the weights describes"
        if self.run:
            folds = {path.parent.name for path in self.paths}
            sizes = {fold["train_clips"] for fold in self.run.info["folds"] if fold["name"] in folds}
            names = " and ".join(TITLES.get(name, name) for name in self.releases)
            names = f"a synthetic release in the layout of {names}" if self.synthetic else names
            training = f"trained on {' to '.join(map(str, sorted({min(sizes), max(sizes)})))} clips of {names}"
        length = ""
        if self.median_frames:
            rate = f" ({self.median_frames / self.fps:.2f} s)" if self.fps else ""
            length = f"; the run's median clip has {self.median_frames:g} frames{rate}"
        rendered = "Training saw rendered faces only: on a real face the numbers show that the path works, no more."
        return (
            "A number is the probability that the action unit occurs in the clip: not its intensity, and not "
            "calibrated (0.7 does not mean seven times in ten).",
            f"{which} {training}{length}. On other people, cameras, lengths and light it may be wrong.",
            *([rendered] if self.synthetic else []),
            "An action unit is a movement of the face: no emotion and no sign of lying. Please do not judge anybody by "
            "it.",
        )


def ensemble(
    source: Ensemble | Run | str | Path,
    *,
    folds: Sequence[str] | None = None,
    llm: Loaded | str | os.PathLike | None = None,
    device: str | torch.device | None = None,
) -> Ensemble:
    """The models of several folds of AU-LLM, for ``predict``.

    Args:
        source: A run, its folder, or one weights.safetensors; an ensemble comes back as it is.
        folds: Names of the folds to take, all by default.
        llm: The LLM that they were trained with, loaded or where it lies now; the experiment's own if None.
        device: The first CUDA device by default, or the CPU where there is none.

    Raises:
        FileNotFoundError: There are no such weights, or no such LLM.
        ValueError: The run has no such fold, is of another method than AU-LLM, or a file is damaged; the LLM is another
            one, or is named by the metadata of a file outside a run only.
    """
    if isinstance(source, Ensemble):
        if folds is not None:
            raise ValueError("folds: these weights are loaded already; name the folds to trained.ensemble")
        return source
    run, path = (source, source.path) if isinstance(source, Run) else (None, Path(source).expanduser())
    if run is None and path.is_file():
        if folds is not None:
            raise ValueError(f"folds: {path} is the file of one fold; give the run's folder to choose some")
        if path.parent.parent.name == "folds" and (path.parents[2] / "run.json").is_file():
            run = Run(path.parents[2])
            path = run.fold(path.parent.name) / path.name
        (experiment, about), paths = _described(path, run), [path]
    else:
        run = run or Run(path)
        unknown = [name for name in folds or () if name not in run.folds]
        if unknown or (folds is not None and not len(folds)):
            named = f"no fold {unknown[0]!r}" if unknown else "folds names none"
            raise ValueError(f"{run.path}: {named}; it has {', '.join(run.folds)}")
        experiment, about = run.experiment, run.info["data"]
        paths = [run.fold(name) / FILE for name in run.folds if folds is None or name in folds]
    if family(experiment.method) is not model:
        raise ValueError(f"{path}: made by {experiment.method!r}; user videos go through AU-LLM and its variants")
    missing = [one for one in paths if not one.is_file()]
    if missing:
        raise FileNotFoundError(
            f"{missing[0]}: no trained weights here ({len(missing)} of {len(paths)} folds lack them); train with "
            "keep_weights=True into a new run folder, or name the folds that have them"
        )
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if isinstance(llm, tuple):
        loaded: Loaded | None = llm
    elif not needs_llm(experiment.variant):
        loaded = None
    else:
        place = llm or (run.llm if run else "")
        if not place:
            raise ValueError(
                f"{path}: its metadata name the LLM {experiment.llm!r}, which is not looked up unasked: "
                f"give llm={experiment.llm!r} to trained.ensemble (aullm predict: --llm), or where it lies now"
            )
        _refuse_other(path, place, about.get("llm"))
        recipe = recipe_of(experiment.variant, experiment.recipe)
        loaded = load_llm(experiment.variant, recipe, place, target)
    return Ensemble(experiment, tuple(paths), run, loaded, target)
