"""The training benchmark compares like with like, the faces' truth is where it says, and what tells labels is found."""

import re
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from benchmarks import faces, synthetic, training
from helpers import make_table, picture
from sklearn.metrics import f1_score
from transformers import Qwen2ForCausalLM

from aullm_lib import asl, llm, preprocess
from aullm_lib.model import AULLM
from aullm_lib.support import hub

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an older name
MEASURED_RATES = training.rates
RATES = {"fp32": 1e11, "llm": 1e11, "conv": 1e11, "copy": 1e10}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(training, "rates", lambda device, dtype: RATES)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> str:
    return str(training.write_store(tmp_path_factory.mktemp("small") / "clips", subjects=4, clips=12, size=32).path)


def job(small, way, **more):
    base = {"shape": "tiny", "store": small, "batch": 8, "size": 32, "epochs": 1, "parts": 1, "threads": 2}
    return training.Job(way=way, **base | more)


@pytest.mark.parametrize("training_mode", [False, True])
def test_both_ways_give_the_same_logits_and_gradients(tiny_llm, training_mode):
    recipe = training.Recipe.released(size=32, dropout=0.0, lora_dropout=0.0, llm_dtype="float32")
    kit = AULLM(recipe, len(training.AUS), llm=(llm.load(tiny_llm)[0], training.prompt_ids)).train(training_mode)
    for part in kit.llm.adapter.lora:
        torch.nn.init.normal_(part["B"].weight, std=0.1)  # at zero, half of LoRA's gradients would be zero too
    with hub.quiet():
        causal = Qwen2ForCausalLM.from_pretrained(tiny_llm)
    released = training.ReleasedModel(causal, size=32, dropout=0.0, lora_dropout=0.0).train(training_mode)

    named = dict(released.named_parameters())
    layers = {"block1.0": "conv1", "block1.3": "norm1", "block2.0": "conv2", "block2.2": "norm2", "block2.3": "se"}
    layers |= {f"fc.{i}": f"fc.{i}" for i in range(3)}
    pairs = {}
    for block, layer in layers.items():
        pairs |= {f"backbone.{layer}{n.removeprefix(block)}": p for n, p in named.items() if n.startswith(f"{block}.")}
    pairs |= {f"efp.mlp.{name.removeprefix('efp.')}": p for name, p in named.items() if name.startswith("efp.")}
    pairs |= {name: p for name, p in named.items() if name.startswith("head.")}
    for i, layer in enumerate(kit.llm.adapter.names):
        for side in "AB":
            pairs[f"llm.adapter.lora.{i}.{side}.weight"] = named[
                f"llm.base_model.model.model.{layer}.lora_{side}.default.weight"
            ]
    kits = {name: p for name, p in kit.named_parameters() if p.requires_grad and "led" not in name}
    assert pairs.keys() == kits.keys()
    assert sum(p.requires_grad for p in released.parameters()) == len(pairs) + 3  # and LED's
    with torch.no_grad():
        for name, p in pairs.items():
            p.copy_(kits[name])

    clips = torch.randint(0, 256, (6, 6, 32, 32), dtype=torch.uint8)
    targets = (torch.rand(6, len(training.AUS)) < 0.3).float()
    logits, theirs = kit(clips), released(clips.float())
    torch.testing.assert_close(logits, theirs, rtol=1e-4, atol=1e-4)
    loss = asl.build("asl_released", reduction="sum")(logits, targets)
    other = training.released_loss(theirs, targets)
    torch.testing.assert_close(loss, other, rtol=1e-4, atol=1e-4)
    loss.backward()
    other.backward()
    for name, p in pairs.items():
        scale = p.grad.abs().max().item()
        assert scale > 0 and torch.isfinite(p.grad).all(), name
        torch.testing.assert_close(kits[name].grad, p.grad, rtol=1e-4, atol=1e-4 * scale, msg=name)
    ours, led = kit.backbone.led, released.led
    for rate in (1, 2):  # a logit's gradient is a logarithm's times 1 - r
        mine, their = getattr(ours, f"logit_r{rate}"), getattr(led, f"log_r{rate}")
        torch.testing.assert_close(mine.grad, their.grad * (1 - their.exp()).detach(), rtol=1e-3, atol=1e-4)


def test_released_sampling_takes_frames_of_its_clip_in_order(small):
    store = training.ClipStore(small)
    clip = store[store.ids[0]].copy()
    clip[:, 0, 0] = range(len(clip))
    labels = torch.zeros(1, 8).numpy()
    for train in (True, False):
        x, _ = training.ReleasedClips([clip], labels, train)[0]
        chosen = x[:, 0, 0]
        assert x.shape == (6, 32, 32) and chosen[0] == 0 and (chosen.diff() > 0).all() and chosen[-1] < len(clip)
    assert chosen[-1] == len(clip) - 1  # the whole clip in the test


@pytest.mark.parametrize("order", training.ORDERS.values())
def test_the_kit_is_measured_with_several_folds_side_by_side(small, order):
    results = training.measure(job(small, "kit", order=order, folds=(1, 2), epochs=2))
    assert [result["folds"] for result in results] == [1, 2]
    for result in results:
        assert len(result["seconds"]) == 2 and min(result["seconds"]) > 0 and result["memory"] > 1e7
        assert result["clips"] == 9 and set(result["parts"][0]) == set(training.PARTS)
        assert result["rates"] == RATES


def test_the_floor_falls_with_folds_side_by_side_and_with_a_shared_prompt():
    shape = training.SHAPES["1.5B"]
    assert 1.2e9 < shape.weights < 1.4e9
    fast = RATES | {"llm": 1e15}  # so that the LLM's weights are waited for
    alone, beside = (training.floor(shape, "prompt-first", k, 247, 256, fast) for k in (1, 8))
    assert 0 < beside < alone
    assert training.floor(shape, "visual-first", 1, 247, 256, RATES) > 10 * training.floor(
        shape, "prompt-first", 1, 247, 256, RATES
    )


def test_rates_are_positive(monkeypatch):
    monkeypatch.setattr(training, "SIDE", 64)
    found = MEASURED_RATES(torch.device("cpu"), "bfloat16")
    assert found.keys() == RATES.keys() and min(found.values()) > 0


def test_the_released_way_is_measured_and_both_stand_in_one_table(small, monkeypatch):
    monkeypatch.setattr(training, "in_a_process", training.measure)
    lines = training.rounds([job(small, "released"), job(small, "kit", folds=(1, 2))], 2)
    assert [len(line.seconds) for line in lines] == [2, 2, 2] and len(lines[0].parts) == 2
    text = training.table(lines)
    for words in ("released way", "kit, prompt first, shared, 2 folds side by side", "CNN with LED", "LLM part"):
        assert words in text
    assert not re.search(r"\bnan\b", text)


def test_a_whole_leave_one_subject_out_is_measured(small):
    for way in ("released", "kit"):
        (result,) = training.measure(job(small, way, kind="loso", folds=(2,), together=2))
        assert len(result["seconds"]) == 1


def test_only_the_kit_gets_the_makefiles_settings(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_MAX_", "0")
    assert len([name for name in training.settings("kit", 2) if name.startswith("MALLOC_")]) == 3
    released = training.settings("released", 2)
    assert not [name for name in released if name.startswith(("MALLOC_", "CUBLAS"))]
    assert released["OMP_NUM_THREADS"] == "2" and Path(released["PYTHONPATH"].split(":")[0]).is_dir()


def test_both_ways_read_the_prompt_with_the_genuine_llms_own_tokenizer(genuine_llm, small):
    jobs = [job(small, way, shape="smollm2", checkpoint=hub.locate(genuine_llm)[0]) for way in ("kit", "released")]
    store = training.ClipStore(small)
    released = training.Released(jobs[1], store, training.protocol.loso(store.table)[0])
    kit = training.Kit(jobs[0], store, training.protocol.loso(store.table)[:1], training.load_kit_llm(jobs[0]))
    ids = kit.models[0].llm.prompt_ids
    assert torch.equal(released.model.prompt, ids) and len(ids) == training.SHAPES["smollm2"].prompt
    token = torch.randn(2, training.SHAPES["smollm2"].hidden)
    with torch.no_grad():
        kit.models[0].eval(), released.model.eval()
        torch.testing.assert_close(kit.models[0].llm(token), released.model.reason(token), rtol=1e-3, atol=1e-3)


# Faces


def test_the_staged_truth_lies_where_it_is_drawn(monkeypatch):
    """White dots for eyes and lip corner, found again as the brightest places of the staged frame."""
    monkeypatch.setattr(faces, "background", lambda: np.zeros((*faces.FRAME, 3), np.uint8))
    image, points = np.zeros((200, 160, 3), np.uint8), np.array([[50, 70], [90, 72], [85, 120]])
    for x, y in points:
        cv2.circle(image, (int(x), int(y)), 4, (255, 255, 255), -1)
    shown = faces.Portrait("dots", image, points[:2].astype(float), points[2].astype(float), 100.0)
    for width, angle in ((1 / 3, 0), (1 / 4, -30), (1 / 30, 90), (1 / 10, 180)):
        frame, eyes, lip = faces.staged(shown, width, angle)
        count, _, _, centres = cv2.connectedComponentsWithStats((frame[..., 0] > 90).astype(np.uint8))
        assert count == 4
        for truth in (*eyes, lip):
            assert np.linalg.norm(centres[1:] - truth, axis=1).min() < 0.7
        assert np.linalg.norm(eyes[1] - eyes[0]) == pytest.approx(np.hypot(40, 2) * width * 1920 / 100)


def test_errors_and_gain_are_those_made_on_purpose():
    eyes = np.array([[100.0, 50], [160, 50]])
    turned = np.array([[100.0, 50], [100 + 60 * np.cos(0.1), 50 + 60 * np.sin(0.1)]])
    assert faces.errors(eyes, eyes) == (0, 0)
    assert faces.errors(turned, eyes) == pytest.approx((2 * np.sin(0.05), np.degrees(0.1)))
    image = np.dstack([picture((300, 300), smooth=6.0)] * 3)
    matrix = np.array([[0.25, 0, -3], [0, 0.25, -4]])
    assert faces.gain(image, np.array([150.0, 160]), matrix) == pytest.approx(1, abs=0.03)


def test_faces_are_measured(tmp_path, monkeypatch):
    """Of nearer faces all are found, within 5 % of the distance between the eyes; motion survives."""
    monkeypatch.setattr(faces, "WIDTHS", (1 / 4, 1 / 12))
    table = faces.measure(faces.portraits(tmp_path, 1))
    if not faces.faces.installed():
        pytest.skip("cascades find less")
    assert (table["found"] == 1).all() and (table["largest"] < 6).all() and (table["largest tilt"] < 3).all()
    assert table["gain"].dropna().between(0.95, 1.05).all() and table["gain"].notna().sum() == 4


# Synthetic releases


def test_faces_that_tell_who_shows_an_au_are_noticed():
    rng = np.random.default_rng(0)
    p = [synthetic.between_subjects(rng.normal(size=(26, 40)), rng.random(26)) for _ in range(200)]
    assert np.mean(np.array(p) < 0.2) == pytest.approx(0.2, abs=0.08)
    rate = rng.random(26)
    telling = rng.normal(size=(26, 40)) + 4 * rate[:, None]
    assert synthetic.between_subjects(telling, rate) < 0.01


def test_regressions_leave_their_subject_out():
    """What differs between clips is learned; a feature that is the subject itself gives nothing away."""
    rng = np.random.default_rng(0)
    subject = np.repeat([f"s{k}" for k in range(8)], 8)
    label = rng.random(64) < 0.4
    table = pd.DataFrame({"dataset": "casme2", "subject": subject, "AU4": label}, index=[f"c{k}" for k in range(64)])
    table = table.astype({"AU4": int})
    area = {}
    for name, x in {
        "label": rng.normal(size=(64, 3)) + 3 * label[:, None],
        "subject": np.repeat(np.eye(8), 8, 0),
    }.items():
        made = synthetic.leave_one_out(x, table, [4])
        assert sorted(made["clip_id"]) == sorted(table.index) and (made["label"].sum()) == label.sum()
        area[name] = synthetic.metrics.score(made).loc["AU4", "roc_auc"]
    assert area["label"] > 0.9 and area["subject"] < 0.5


def test_a_synthetic_release_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "RELEASES", ("casme2",))
    bench = synthetic.Bench(tmp_path, subjects=3, clips=5, seed=1)
    (_, found), (heads, dialled), tells = bench.faces(), bench.dial([1.0]), list(bench.tells())
    assert found[:3] == ["casme2", "45", "100.0 %"] and float(found[3].removesuffix(" %")) < 10
    assert len(heads) == len(dialled) == 6 and all(20 < float(text.split()[0]) <= 100 for text in dialled[2:])
    assert [row[1] for row in tells[1:]] == [f"AU{au}" for au in (1, 2, 4, 7, 12, 14, 15, 17)]


def test_how_hard_releases_are_is_measured_within_them_and_between_them(tmp_path):
    """On hand-made clips; the pooled score is that of scikit-learn on the predictions that the run left."""

    clips = {}
    for number, release in enumerate(synthetic.datasets.TITLES):  # each of another size, so that no two share frames
        table = make_table(tmp_path / release, subjects=5, size=40 + number).assign(dataset=release)
        clips[release] = table.set_index(table.index.str.replace("hand", release))
    clips["mmew"] = clips["mmew"].drop(columns="AU12")  # an AU that one release does not code
    asked = set()

    class Bench(synthetic.Bench):
        def store(self, release, intensity, size, align=None):
            asked.add((release, size, align))
            return preprocess.build(clips[release], tmp_path / f"{release}-{size}px", size)

    heads, *rows = Bench(tmp_path, subjects=5, clips=4, seed=1).difficulty(epochs=1)
    told = [(train, test) for train, test, *_ in rows]
    within = ["all other subjects", *["four fifths of subjects"] * 2]
    assert told[:6] == [(train, release) for release in synthetic.RELEASES for train in within]
    assert told[6:9] == [("casme2", "samm"), ("samm", "casme2"), ("five releases", "the sixth, all pooled")]
    assert {test for _, test in told[9:]} == set(synthetic.datasets.TITLES)
    assert [row[-1] for row in rows if row[-1]] == ["65.8"]  # CD6ME, optical flow with an SVM
    assert {row[2] for row in rows} == {"flow-svm", "3D-CNN, linear head, 1 epochs", "AU-LLM, tiny LLM, 1 epochs"}
    assert all(len(row) == len(heads) for row in rows)
    assert {(release, 128, "similarity") for release in clips} < asked

    runs = map(synthetic.Run, (tmp_path / "runs").iterdir())
    six = next(run for run in runs if run.info["experiment"]["name"] == "six")
    shown = six.predictions().dropna(subset="label").groupby("au").filter(lambda au: au["label"].any())
    own = [
        f1_score(au["label"], au["probability"] >= 0.5, labels=[0, 1], average="macro", zero_division=0)
        for _, au in shown.groupby("au")
    ]
    assert float(rows[8][3].split()[0]) == pytest.approx(100 * np.mean(own), abs=0.06)
    guessed = synthetic.metrics.trivial(six.predictions())["base-rate random"].loc["mean", "f1_macro"]
    assert float(rows[8][4]) == pytest.approx(100 * guessed, abs=0.06)


def test_five_parts_hold_every_clip_once_and_every_subject_whole():
    subject = pd.Series([f"s{k}" for k in range(9) for _ in range(k + 1)])
    folds = synthetic.five_parts(pd.DataFrame({"subject": subject}))
    assert sorted(clip for fold in folds for clip in fold.test) == list(subject.index)
    for fold in folds:
        assert not set(subject[list(fold.train)]) & set(subject[list(fold.test)])
        assert len(fold.train) + len(fold.test) == len(subject) and 6 <= len(fold.test) <= 12
