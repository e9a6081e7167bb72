"""Small releases and stores that the tests share. Everything they write goes to a temporary home."""

import os
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"

from aullm_lib import preprocess
from aullm_lib.datasets import folders
from aullm_lib.datasets import table as tables
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import Recipe
from aullm_lib.support import tiny

settings.register_profile("kit", deadline=None, derandomize=True)  # the same examples on slow and busy machines too
settings.load_profile("kit")

AUS = (1, 4, 12)
LONGEST = ("test_batch.py", "test_ray_tasks.py")  # minutes each: begun first, no worker waits for the other in the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("session")


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    """A home of its own for every test: nothing is ever written into the repository."""
    monkeypatch.setenv("AULLM_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # some libraries still draw from it


def picture(shape: tuple[int, ...] = (90, 120), smooth: float = 1.5) -> np.ndarray:
    """Smooth noise, uint8."""
    noise = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), smooth), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


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


@pytest.fixture(scope="session")
def hand_table(session_folder) -> pd.DataFrame:
    return make_table(session_folder / "hand")


@pytest.fixture(scope="session")
def hand_store(hand_table, session_folder):
    return preprocess.build(hand_table, session_folder / "hand-store", size=32)


@pytest.fixture(scope="session")
def tiny_llm(session_folder) -> str:
    return str(tiny.build_tiny(session_folder / "tiny-llm", hidden=32, layers=1, heads=2, kv_heads=1))


@pytest.fixture
def experiment() -> Experiment:
    """A backbone that trains in a second."""
    recipe = Recipe.released(size=32, epochs=3, batch_size=4, lr=1e-3, efp_hidden=16, llm_dtype="float32")
    return Experiment(name="tiny", aus=AUS, recipe=recipe, variant="backbone")
