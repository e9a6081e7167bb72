"""The flow of known shifts, cells against a loop, machines against scikit-learn's linear kernel."""

import cv2
import numpy as np
import pytest
import torch
from helpers import picture
from sklearn.svm import SVC

from aullm_lib import baselines, engine, preprocess
from aullm_lib.baselines import flow_svm, views
from aullm_lib.baselines.flow_svm import Model, Recipe
from aullm_lib.baselines.svm import Inputs
from aullm_lib.datasets import folders
from aullm_lib.datasets import table as tables
from aullm_lib.experiment import Experiment
from aullm_lib.facs import ActionUnit
from aullm_lib.runs import Run

SIZE = 48


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Clips whose upper half sinks with AU4 and whose lower half goes right with AU12, to the apex and back."""
    folder, wide, rows = tmp_path_factory.mktemp("moving"), picture((80, 80), smooth=3.0), []
    for s in range(3):
        for c in range(8):
            path = folder / f"s{s}" / f"c{c}"
            path.mkdir(parents=True)
            count, apex, units = 9 + c % 3, 3 + (s + c) % 4, [au for au, bit in ((4, 1), (12, 2)) if c & bit]
            for t in range(count):
                way = t if t <= apex else apex * (count - 1 - t) / (count - 1 - apex)
                image = moved(wide, 0, 0)
                image[: SIZE // 2] = moved(wide, 0, 0.5 * way * (4 in units))[: SIZE // 2]
                image[SIZE // 2 :] = moved(wide, 0.5 * way * (12 in units), 0)[SIZE // 2 :]
                cv2.imwrite(str(path / f"img{20 + t}.png"), image // 2 + 40 * s)  # no two people alike
            rows.append(
                {"subject": f"s{s}", "clip": f"c{c}", "onset": 20, "apex": 20 + apex if s or c else None,
                 "offset": 19 + count, "emotion": "others", "aus": "+".join(map(str, units)) or "?",
                 "frames": folders.frames(path, 20, 99), "units": [ActionUnit(n) for n in units]}
            )  # fmt: skip
    return tables.from_rows(rows, "moving", cropped=True)


def moved(wide: np.ndarray, right: float, down: float) -> np.ndarray:
    """A window of a picture that has moved by some pixels."""
    matrix = np.float32([[1, 0, right - 16], [0, 1, down - 16]])
    return cv2.warpAffine(wide, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def farneback(first, second):
    return cv2.calcOpticalFlowFarneback(first, second, None, *flow_svm.FARNEBACK)


def test_defaults_are_the_documented_ones_and_a_wrong_one_is_named():
    r = baselines.recipe("flow-svm")
    assert (r.size, r.grid, r.C, r.epochs) == (128, 16, 28.0, 1)
    with pytest.raises(ValueError, match=r"Recipe\.grid=17: at most size=16"):
        Recipe(size=16, grid=17)
    with pytest.raises(ValueError, match=r"Recipe\.C=0"):
        Recipe(C=0)


@pytest.mark.parametrize("shift", [(2.0, -1.0), (-0.5, 0.25), (0.0, 0.0)])
def test_the_flow_of_a_moved_picture_is_its_motion(shift):
    wide = picture((80, 80), smooth=3.0)
    first, second = (torch.from_numpy(moved(wide, *by))[None] for by in ((0, 0), shift))
    flow = views.optical_flow(first, second, farneback)
    assert flow.shape == (1, 2, SIZE, SIZE) and flow.dtype == torch.float32
    inside = flow[0, :, 8:-8, 8:-8] - torch.tensor(shift).view(2, 1, 1)
    assert inside.mean((1, 2)).abs().max() < 0.05 and inside.abs().mean() < 0.1


def test_every_clip_is_described_from_its_onset_to_its_apex(table, tmp_path):
    store = preprocess.build(table, tmp_path / "store", size=SIZE)
    inputs = flow_svm.prepare(Recipe(size=SIZE, grid=8), store)
    assert inputs.features.shape == (24, 128) and inputs.features.dtype == torch.float32
    for clip, row, features in zip(store.ids, table.itertuples(), inputs.features, strict=True):
        frames = store[clip]
        apex = len(frames) // 2 if clip == "moving/s0/c0" else row.apex - row.onset
        flow = farneback(frames[0], frames[apex]).reshape(8, 6, 8, 6, 2).mean((1, 3))  # 8 8 2
        flow -= flow.mean((0, 1))
        np.testing.assert_allclose(features, flow.transpose(2, 0, 1).ravel(), rtol=0, atol=1e-5)


def test_held_out_people_are_recognised_by_their_motion(table, tmp_path):
    store = preprocess.build(table, tmp_path / "store", size=SIZE)
    one = Experiment(name="x", aus=(4, 12), recipe=Recipe(size=SIZE, grid=8), method="flow-svm")
    predictions = Run(engine.run(one, store, out=tmp_path / "runs")).predictions()
    assert ((predictions["probability"] > 0.5) == predictions["label"]).mean() > 0.9


def test_a_shift_of_the_whole_head_has_no_features():
    shift = torch.ones(1, 2, 48, 48) * torch.tensor([3.0, -1.5]).view(1, 2, 1, 1)
    assert flow_svm.cells(shift, 8).abs().max() < 1e-6
    part = torch.randn(1, 2, 48, 48)
    torch.testing.assert_close(flow_svm.cells(part + shift, 8), flow_svm.cells(part, 8), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("size", "grid"), [(48, 16), (32, 1), (16, 16), (50, 16)])
def test_cells_are_the_means_of_their_pixels(size, grid):
    flow = torch.randn(2, 2, size, size, dtype=torch.float64)
    want = torch.empty(2, 2, grid, grid, dtype=torch.float64)
    for i in range(grid):
        for j in range(grid):
            y, x = ((k * size // grid, -(-(k + 1) * size // grid)) for k in (i, j))
            want[:, :, i, j] = sum(flow[:, :, a, b] for a in range(*y) for b in range(*x)) / (
                (y[1] - y[0]) * (x[1] - x[0])
            )
    for clip in want:
        for component in clip:
            component -= sum(component.flatten()) / grid**2
    torch.testing.assert_close(flow_svm.cells(flow, grid), want)


def test_decisions_are_those_of_scikit_learns_linear_machine():
    generator = torch.Generator().manual_seed(0)
    r = Recipe(size=16, grid=4, C=3.0)
    features = torch.randn(40, 32, generator=generator)
    noise = torch.randn(40, generator=generator)
    targets = torch.stack([features[:, 0] + 0.5 * noise > 0.3, noise > 0, torch.ones(40)], 1).float()
    model, inputs, train, test = Model(r, 3), Inputs.of(features), torch.arange(30), torch.arange(30, 40)
    model.fit(inputs, train, targets[train], torch.Generator(), lambda epoch, loss: None)
    ours = model.probabilities(inputs, test)
    x = features.double().numpy()
    x = x / np.sqrt(x[:30].var() * x.shape[1])  # the flow's deviation in training; products are a mean over features
    for au in range(2):
        svc = SVC(kernel="linear", C=3.0).fit(x[:30], targets[:30, au].numpy())
        np.testing.assert_allclose(ours[:, au].logit(), svc.decision_function(x[30:]), rtol=1e-6, atol=1e-6)
    assert (ours[:, 2] == 1).all()
    twice = Model(r, 3)  # pixels of twice the size halve all flow, and change nothing
    twice.fit(Inputs.of(features / 2), train, targets[train], torch.Generator(), lambda epoch, loss: None)
    torch.testing.assert_close(twice.probabilities(Inputs.of(features / 2), test), ours, rtol=1e-4, atol=1e-6)


def test_threads_change_nothing(hand_store):
    before = cv2.getNumThreads()
    results = []
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            results.append(flow_svm.prepare(Recipe(size=32, grid=8), hand_store))
            assert cv2.getNumThreads() == threads
    finally:
        cv2.setNumThreads(before)
    assert torch.equal(results[0].features, results[1].features) and results[0].features.any()
