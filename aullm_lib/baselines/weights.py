"""Initial weights of a baseline: where they are read from, whether they fit, and on whom they were trained.

Only safetensors are read, never a pickle. A ResNet of ``transformers`` starts from a hub name or a checkpoint folder;
any other part of a network from a file that holds exactly the state_dict of that part: nothing is renamed or guessed.

A network that was trained on the people it is tested on proves nothing, so ``teacher.train`` leaves a note beside its
weights and ``check`` reads it. Weights without a note (ImageNet and the like) are accepted.
"""

import hashlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, ResNetConfig, ResNetModel

from aullm_lib.baselines import BY_SYNTHETIC_TEACHER
from aullm_lib.clips import ClipStore
from aullm_lib.support import files, hub, tensors

NOTE = "teacher.json"
SHAPE = (
    "layer_type", "depths", "embedding_size", "hidden_sizes", "num_channels", "hidden_act", "downsample_in_first_stage",
)  # fmt: skip


def check(model: type, recipe: Any, store: ClipStore) -> None:
    """Checks the initial weights of a method before training.

    Args:
        model: the method's ``Model`` class; its ``initial`` says which fields of the recipe name weights.
        recipe: the method's recipe.
        store: the clips of training and test.

    Raises:
        FileNotFoundError: there are no such weights.
        ValueError: they do not fit, or they were trained on clips or people of the store.
    """
    for source, part in _initial(model, recipe).values():
        identity(source, part)
        refuse_leaks(source, store)
        load(source, part)


def sources(model: type, recipe: Any) -> dict[str, str]:
    """The identity of the initial weights, by the recipe's field. Raises FileNotFoundError as ``check``."""
    return {field: identity(source, part) for field, (source, part) in _initial(model, recipe).items()}


def _initial(model: type, recipe: Any) -> dict[str, tuple[str, nn.Module]]:
    """Field -> the weights it names and a part that starts from them, without memory (device "meta")."""
    with torch.device("meta"):
        parts = model(recipe, 1).initial()
    return {field: (source, part) for field, part in parts if (source := getattr(recipe, field))}


def identity(source: str | Path, part: nn.Module) -> str:
    """What the weights are, whatever they are called: a hub name's commit, or a SHA-256 of the content.

    A ResNet's identity also says on what it was trained, where a note does.

    Raises:
        FileNotFoundError: There are no such weights.
    """
    if isinstance(part, ResNetModel):
        return hub.identity(str(source), "weights") + trained_on(read_note(source))
    with _file(source).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(source: str | Path, part: nn.Module) -> None:
    """Copies the weights into ``part``; one on the device "meta" takes them over. Raises as ``check``."""
    path: str | Path = source
    try:
        if isinstance(part, ResNetModel):
            state = _resnet(str(source), part.config)
        else:
            path = _file(source)
            state = load_file(path)
        tensors.refuse_spoilt(state, f"{path}: ")
        part.load_state_dict(state, assign=next(part.parameters()).is_meta)
    except SafetensorError as error:
        raise ValueError(f"{path}: damaged, or no safetensors file: {error}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split("\n\t")[1].split())  # the first tensor that does not fit
        raise ValueError(f"{path}: not the weights of {type(part).__name__} with this recipe: {reason}") from error


def _file(source: str | Path) -> Path:
    """``source`` itself, or the only safetensors file of that folder."""
    path = Path(source).expanduser()
    candidates = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not candidates or not candidates[0].is_file():
        raise FileNotFoundError(f"{str(source)!r}: no safetensors file here; in a recipe '' means random weights")
    if len(candidates) > 1:
        raise ValueError(f"{str(source)!r}: {len(candidates)} safetensors files here; name one of them")
    return candidates[0]


def _resnet(source: str, wanted: ResNetConfig) -> dict[str, Tensor]:
    """The state_dict of a checkpoint's ResNet, alone or below a classifier."""
    place, options = hub.locate(source, "weights")
    try:
        with hub.quiet(), torch.random.fork_rng(devices=[]):
            config = AutoConfig.from_pretrained(place, **options)
            for name in SHAPE:
                if (value := getattr(config, name, None)) != (needed := getattr(wanted, name)):
                    raise ValueError(
                        f"another architecture ({config.model_type}), its {name} is {value}; the recipe needs {needed}"
                    )
            loaded: Any = ResNetModel.from_pretrained(place, use_safetensors=True, output_loading_info=True, **options)
    except OSError as error:
        raise FileNotFoundError(hub.not_had(source, error, "weights")) from error
    except (SafetensorError, RuntimeError, ValueError) as error:
        raise ValueError(f"weights={source!r}: unusable checkpoint: {error}") from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"weights={source!r}: {len(missing)} weights are missing ({', '.join(missing[:3])}, ...)")
    return model.state_dict()


def read_note(source: str | Path) -> dict[str, Any] | None:
    """The note beside weights, of a teacher's folder or of a view inside it; None where there is none.

    Raises:
        ValueError: The note cannot be read.
    """
    folder = Path(source).expanduser()
    for path in (folder / NOTE, folder.parent / NOTE):
        if path.is_file():
            note = files.read_json(path)
            if not isinstance(note, dict) or not {"people", "fingerprint", "data"} <= note.keys():
                raise ValueError(f"{path}: damaged, or written by another version; delete it and train anew")
            return note
    return None


def trained_on(note: dict[str, Any] | None) -> str:
    """ " (trained on ...)", in words, from a note; "" without one."""
    if note is None:
        return ""
    data, made = note["data"], note["data"].get("made")
    if made:
        return f" {BY_SYNTHETIC_TEACHER}{data['dataset']}, intensity {made['intensity']:g}, seed {made['seed']})"
    return f" {BY_SYNTHETIC_TEACHER if data['synthetic'] else '(trained on '}{data['dataset']})"


def people(store: ClipStore) -> list[str]:
    """The people in a store, by names that can be compared between stores.

    Who a synthetic subject is depends on the seed and a number, whatever the release: a seed stands for all its people.
    """
    made = {release["dataset"]: release.get("made") for release in _releases(store.release)}

    def name(dataset: str, subject: str) -> str:
        settings = made.get(dataset)
        return f"synthetic people of seed {settings['seed']}" if settings else f"{dataset}/{subject}"

    return sorted({name(*pair) for pair in zip(store.table["dataset"], store.table["subject"], strict=True)})


def _releases(release: dict[str, Any]) -> list[dict[str, Any]]:
    """The releases that a store was built from: several if it was joined."""
    parts = release.get("parts")
    return [release] if parts is None else [one for part in parts for one in _releases(part["release"])]


def refuse_leaks(source: str | Path, store: ClipStore) -> None:
    """Raises ValueError for weights that were trained on clips or people of this store."""
    note = read_note(source)
    if note is None:
        return
    both = sorted(set(note["people"]) & set(people(store)))
    if both or note["fingerprint"] == store.fingerprint:
        raise ValueError(
            f"{str(source)!r} was trained on {both[0] if both else 'the same clips'}, and {store.path} holds them "
            "too: what it learned of them would leak into the test. Train it on other people"
        )
