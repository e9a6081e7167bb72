"""The teacher of FitNet, SP, AT and DVASP: trained once on faces with macro-expressions, then frozen.

The published teacher saw EmotioNet and web faces, which cannot be shipped. Whoever has macro-expression clips with AU
labels trains it on them; whoever has none, on a synthetic release of high ``intensity`` whose ``seed``, and so its
people, is another: a true transfer from macro- to micro-expressions. ``two_view`` has the network and its losses.

    <folder>/
      teacher.json             its recipe, AUs, seed, data and people, provenance, losses
      view1/  view2/           its ResNets as checkpoints of ``transformers``: also ``weights`` to begin another from
      classifiers.safetensors  the vectors of both views' classifiers, their relations, the graph network, the third
                           classifier

A teacher must not have been trained on the people that its students are tested on: ``check`` refuses such a one.
"""

import hashlib
import math
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tqdm.auto import tqdm

from aullm_lib.baselines import two_view, weights
from aullm_lib.baselines.two_view import TeacherRecipe as TeacherRecipe
from aullm_lib.baselines.two_view import TwoView
from aullm_lib.clips import ClipStore, labels
from aullm_lib.support import files, tensors
from aullm_lib.support.hub import quiet
from aullm_lib.support.memory import explained_memory
from aullm_lib.support.provenance import provenance
from aullm_lib.support.randomness import Stream, fold_seed, repeatable

CLASSIFIERS, VIEWS = "classifiers.safetensors", ("view1", "view2")
HOW = "aullm_lib.baselines.teacher.train makes one (notebook 03_baselines)"
SETTINGS = ("recipe", "aus", "seed", "fingerprint", "data")


def train(
    store: ClipStore,
    out: str | Path,
    recipe: TeacherRecipe,
    aus: tuple[int, ...],
    seed: int = 1,
    *,
    device: str | None = None,
) -> Path:
    """Trains a teacher and writes its folder, whole or not at all; keeps one with the same settings and clips.

    Warns of AUs that the labelled clips always or never show, which it cannot learn.

    Args:
        store: RGB clips of the recipe's size.
        out: the folder.
        recipe: of the teacher.
        aus: the AUs that it learns.
        seed: of everything random.
        device: the first CUDA device if there is one, else the CPU.

    Returns:
        ``out``.

    Raises:
        ValueError: the clips do not suit, or the loss is not finite.
        FileExistsError: there is something else at ``out``.
        OutOfMemory, OSError: the device or the disk refuses.
    """
    out, shape = Path(out), store.info["settings"]
    if not shape["rgb"] or shape["size"] != recipe.size:
        raise ValueError(
            f"{store.path}: the teacher reads RGB frames of TeacherRecipe.size={recipe.size} pixels: build it with "
            f"size={recipe.size}, rgb=True"
        )
    order = torch.Generator().manual_seed(fold_seed(seed, "teacher"))
    ids = labelled(store, recipe.labelled, order)
    targets = labels(store.table, tuple(ids), aus)
    varies = ((targets.mean(0) > 0) & (targets.mean(0) < 1)).tolist()
    if not any(varies):
        raise ValueError(f"{store.path}: each of aus={aus} is in all or none of the {len(ids)} labelled clips")
    if not all(varies):
        constant = ", ".join(f"AU{n}" for n, v in zip(aus, varies, strict=True) if not v)
        warnings.warn(
            f"the teacher cannot learn {constant}: in all or none of its {len(ids)} labelled clips", stacklevel=2
        )
    settings = {"recipe": recipe.to_dict(), "aus": list(aus), "seed": seed}
    settings |= {"fingerprint": store.fingerprint, "data": shape["release"]}
    if _exists(out, settings):
        return out
    with files.alone(out.with_name(out.name + ".lock"), f"the teacher {out}"):
        if _exists(out, settings):  # trained while this call waited
            return out
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        repeatable()
        losses = list[float]()
        with (
            explained_memory(f"the recipe's batch_size (now {recipe.batch_size}; another training) or crop"),
            Stream(fold_seed(seed, "teacher"), torch.device(device)),
            store.on(device),
            tqdm(total=recipe.epochs, desc="teacher", unit="epoch") as bar,
        ):

            def after(epoch: int, loss: float) -> None:
                if not math.isfinite(loss):
                    raise ValueError(f"teacher, epoch {epoch}: the loss is not finite; lower lr={recipe.lr}")
                losses.append(loss)
                bar.set_postfix_str(f"loss {loss:.3f}", refresh=False)
                bar.update()

            model = TwoView(recipe, len(aus)).to(device)
            inputs = two_view.prepare(recipe, store, order)
            model.fit(inputs, store.positions(ids), targets.to(device), order, after)
        _write(out, model, settings | {"people": weights.people(store), "losses": losses} | provenance())
    return out


def labelled(store: ClipStore, share: float, order: torch.Generator) -> list[str]:
    """The clips whose labels are used: a random share of all."""
    count = math.ceil(share * len(store))
    return [store.ids[i] for i in torch.randperm(len(store), generator=order)[:count].sort().values]


def load(folder: str | Path) -> TwoView:
    """A trained teacher, frozen, in eval mode, on the CPU.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged.
    """
    folder = Path(folder).expanduser()
    note = _note(folder)
    recipe = TeacherRecipe.from_dict(note["recipe"])
    with torch.device("meta"):
        model = TwoView(recipe, len(note["aus"]))
    for name, view in zip(VIEWS, model.views, strict=True):
        weights.load(folder / name, view)
    weights.load(folder / CLASSIFIERS, model.classifiers)
    return model.eval().requires_grad_(False)


def check(folder: str | Path, store: ClipStore) -> TwoView:
    """The teacher, if it may teach what is tested on this store.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is damaged, or was trained on these clips or people.
    """
    if not str(folder):
        raise ValueError(f"Recipe.teacher is empty, and it needs a trained teacher: {HOW}")
    teacher = load(folder)
    weights.refuse_leaks(folder, store)
    return teacher


def identity(folder: str | Path) -> str:
    """A hash of the teacher's weights, and the data they were trained on. Raises as ``load``."""
    folder = Path(folder).expanduser()
    note = _note(folder)
    digest = hashlib.sha256()
    for path in _weights(folder):
        with path.open("rb") as file:
            digest.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest() + weights.trained_on(note)


def _weights(folder: Path) -> list[Path]:
    return [folder / CLASSIFIERS, *(folder / view / "model.safetensors" for view in VIEWS)]


def _note(folder: Path) -> dict[str, Any]:
    note = files.read_json(folder / weights.NOTE, missing=None)
    if note is None or not all(path.is_file() for path in _weights(folder)):
        raise FileNotFoundError(f"teacher={str(folder)!r}: no {'whole ' if note else ''}teacher here; {HOW}")
    if not isinstance(note, dict) or not {*SETTINGS, "people"} <= note.keys():
        raise ValueError(f"{folder / weights.NOTE}: damaged, or written by another version; delete the folder; {HOW}")
    return note


def _exists(out: Path, settings: dict[str, Any]) -> bool:
    """Whether this very teacher is at ``out``. Raises FileExistsError for something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        note = _note(out)
    except (FileNotFoundError, ValueError):
        note = {}
    changed = [name for name in SETTINGS if note.get(name) != settings[name]]
    if changed:
        what = f"a teacher with another {' and '.join(changed)}" if note else "no teacher"
        raise FileExistsError(f"{out} is there and holds {what}; name another folder, or delete it")
    return True


def _write(out: Path, model: TwoView, note: dict[str, Any]) -> None:
    model = model.cpu()
    with files.explained(out, "the teacher"):
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            temporary.chmod(0o755)
            views: Any = model.views
            try:
                for name, view in zip(VIEWS, views, strict=True):
                    with quiet():
                        view.save_pretrained(temporary / name)
                tensors.write(model.classifiers.state_dict(), temporary / CLASSIFIERS, {"format": "pt"})
            except SafetensorError as error:  # of save_pretrained
                number = re.search(r"os error (\d+)", str(error))
                raise OSError(int(number[1]) if number else 0, f"cannot write {temporary}: {error}") from error
            files.write_json(temporary / weights.NOTE, note)
            if out.is_dir():
                out.rmdir()  # empty
            temporary.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
