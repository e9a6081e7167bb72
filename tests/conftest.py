"""Small releases, stores and experiments that the tests share. Everything goes to a temporary home."""

import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"

from helpers import AUS, make_table

from aullm_lib import preprocess
from aullm_lib.engine import worker
from aullm_lib.experiment import Experiment
from aullm_lib.recipe import Recipe
from aullm_lib.support import hub, smollm2, tiny

settings.register_profile("kit", deadline=None, derandomize=True)  # the same examples on slow and busy machines too
settings.load_profile("kit")

GPU = torch.cuda.is_available()  # asked before a test hides it, which would hide it for good
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
def device(request, monkeypatch) -> None:
    """Tests run on the CPU, also where there is a GPU: many want numbers equal to the last bit, or spoil a step from
    Python. Those marked ``gpu`` are the GPU's."""
    if request.node.get_closest_marker("gpu"):
        if not GPU:
            pytest.skip("no CUDA device")
    else:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # of processes that a test starts


@pytest.fixture(autouse=True)
def memory(monkeypatch) -> None:
    """No test knows what did not fit in another one's memory."""
    monkeypatch.setattr(worker, "_fitted", {})


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Every test draws the same numbers, whichever ran before it."""
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # some libraries still draw from it


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """An empty folder, the only place where pip looks for packages (``helpers.make_wheel``)."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture(scope="session")
def hand_table(session_folder) -> pd.DataFrame:
    return make_table(session_folder / "hand")


@pytest.fixture(scope="session")
def hand_store(hand_table, session_folder):
    return preprocess.build(hand_table, session_folder / "hand-store", size=32)


@pytest.fixture(scope="session")
def tiny_llm(session_folder) -> str:
    return str(tiny.build_tiny(session_folder / "tiny-llm", hidden=32, layers=1, heads=2, kv_heads=1))


@pytest.fixture(scope="session")
def genuine_llm() -> str:
    """SmolLM2, which is downloaded and converted by the first test that asks for it; skips where it cannot be had."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the other worker may be converting it
        try:
            hub.locate(smollm2.NAME)
        except ConnectionError as error:
            pytest.skip(str(error))
    return smollm2.NAME


@pytest.fixture
def experiment() -> Experiment:
    """A backbone that trains in a second."""
    recipe = Recipe.released(size=32, epochs=3, batch_size=4, lr=1e-3, efp_hidden=16)
    return Experiment(name="tiny", aus=AUS, recipe=recipe, variant="backbone")
