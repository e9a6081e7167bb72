"""Functions that the tests share; ``conftest`` has the fixtures."""

import warnings
import zipfile
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pandas as pd
import torch

from aullm_lib import datasets, engine, preprocess
from aullm_lib.clips import ClipStore
from aullm_lib.datasets import folders
from aullm_lib.datasets import table as tables
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import Recipe

AUS = (1, 4, 12)


def picture(shape: tuple[int, ...] = (90, 120), smooth: float = 1.5) -> np.ndarray:
    """Smooth noise, uint8."""
    noise = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), smooth), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def naive_f1(labels: np.ndarray, present: np.ndarray) -> tuple[float, float]:
    """Of Eq. 5 and two-class. ``test_scores`` compares both with scikit-learn's, which takes a millisecond for each."""
    each = [
        2 * np.sum((labels == of) & (present == of)) / max(np.sum(labels == of) + np.sum(present == of), 1)
        for of in (1, 0)
    ]
    return each[0], (each[0] + each[1]) / 2


def make_wheel(folder: Path, name: str, release: str, contents: dict[str, bytes]) -> Path:
    """A wheel that pip takes, with these files in it; ``PIP_FIND_LINKS=folder PIP_NO_INDEX=1`` let pip find it."""
    path = folder / f"{name.replace('-', '_')}-{release}-py3-none-any.whl"
    about = path.name.rsplit("-py3")[0] + ".dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {release}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        for member, content in contents.items():
            archive.writestr(member, content)
    return path


def full_frame_run(folder: Path, aus: tuple[int, ...]) -> tuple[pd.DataFrame, ClipStore, Path]:
    """The clip table of a synthetic release of full frames, its aligned store, and a run that kept its weights."""
    root = datasets.synthesize(folder / "release", subjects=2, clips_per_subject=2)
    table = datasets.load("casme2", root, images="raw_selected")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where the face weights are missing, cascades do
        store = preprocess.build(table, folder / "store", size=32)
    recipe = Recipe.paper(size=32, epochs=1, batch_size=4, lr=1e-3)
    experiment = Experiment(name="own", aus=aus, recipe=recipe, variant="backbone")
    return table, store, engine.run(experiment, store, out=folder / "runs", keep_weights=True)


def write_workbook(path: Path, **sheets: list[list]) -> Path:
    """An .xlsx file of sheets, each by its name and its lines."""
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, lines in sheets.items():
        page = book.create_sheet(name)
        for line in lines:
            page.append(line)
    book.save(path)
    return path


def agree(out: torch.Tensor, want: torch.Tensor, inputs: list[torch.Tensor]) -> None:
    """The same values in float64, and the same gradients, none of them 0, for a random direction of the output."""
    torch.testing.assert_close(out, want, rtol=1e-9, atol=1e-10)
    direction = torch.randn_like(want)
    gradients = torch.autograd.grad((out * direction).sum(), inputs)
    for one, other in zip(gradients, torch.autograd.grad((want * direction).sum(), inputs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)
        assert one.abs().max() > 0


def make_table(folder: Path, subjects: int = 3, clips: int = 4, size: int = 40) -> pd.DataFrame:
    """A hand-made release: noise images in which AU12 brightens the lower half, AU4 the upper one, over the clip."""
    rng = np.random.default_rng(0)
    rows = []
    for s in range(subjects):
        for c in range(clips):
            units = [AUS[i] for i in range(3) if (c >> i) & 1 or (s + c) % 5 == i]
            path = folder / f"s{s}" / f"c{c}"
            path.mkdir(parents=True)
            count = 9 + (s + c) % 4
            for t in range(count):
                image = rng.integers(90, 110, (size, size)).astype(float)
                rise = 60 * t / (count - 1)
                image[size // 2 :] += rise * (12 in units)
                image[: size // 2] += rise * (4 in units)
                cv2.imwrite(str(path / f"img{95 + t}.png"), image.clip(0, 255).astype(np.uint8))
            rows.append(
                {"subject": f"s{s}", "clip": f"c{c}", "onset": 95, "apex": 99 if c else None, "offset": 94 + count,
                 "emotion": "others", "aus": "+".join(map(str, units)) or "?", "frames": folders.frames(path, 95, 200),
                 "units": [tables.facs.ActionUnit(n) for n in units]}
            )  # fmt: skip
    return tables.from_rows(rows, "hand", cropped=True)
