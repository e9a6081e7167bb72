"""The model card: Hugging Face reads it, its numbers are those of independent code, and it tells nothing of people."""

import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard
from sklearn.metrics import f1_score

from aullm_lib import baselines, card, datasets, engine, preprocess, trained
from aullm_lib.experiment import Experiment
from aullm_lib.protocol import Fold
from aullm_lib.recipe import Recipe
from aullm_lib.runs import Result, Run

SUBJECTS = [f"person{k}" for k in range(8)]
DATA = {"dataset": "casme2", "synthetic": True, "rendered": True, "fingerprint": "f" * 64, "clips": 48, "llm": "a" * 64}
INFO = {"seconds": 2.0, "device": "cpu", "threads": 1, "trained_parameters": 1234567, "total_parameters": 7654321}


def predictions(subject: str) -> pd.DataFrame:
    """Six clips of a subject, two AUs."""
    rng = np.random.default_rng(SUBJECTS.index(subject))
    rows = pd.MultiIndex.from_product([range(6), ["AU4", "AU12"]]).to_frame(index=False, name=["clip", "au"])
    rows = rows.assign(label=rng.random(12) < 0.4, subject=subject)
    rows["clip_id"] = [f"casme2/{subject}/secret{clip}" for clip in rows["clip"]]
    rows["probability"] = (0.5 * rng.random(12) + 0.35 * rows["label"]).round(3)
    return rows.astype({"label": int})


def made(out: Path, subjects: int = 8, data: dict | None = None, weights: bool = True, **experiment) -> Run:
    """A run whose folds were finished without training."""
    everything = {name: [f"casme2/{name}/secret{clip}" for clip in range(6)] for name in SUBJECTS}
    folds = [
        Fold(name, tuple(c for other in SUBJECTS if other != name for c in everything[other]), tuple(everything[name]))
        for name in SUBJECTS
    ]
    values = {
        "name": "tiny",
        "aus": (4, 12),
        "recipe": Recipe.released(epochs=3),
        "llm": "Qwen/Qwen2.5-1.5B",
    } | experiment
    split = {"train": ["casme2"], "test": ["casme2"], "protocol": "leave-one-subject-out"}
    run = Run.open(out, Experiment(**values), folds, data or DATA, {"size": 32, "align": "none"}, split)
    for name in SUBJECTS[:subjects]:
        finish(run, name, weights)
    return run


def finish(run: Run, name: str, weights: bool = True) -> None:
    log = pd.DataFrame({"epoch": [1], "loss": [1.0]})
    kept = {"head.weight": torch.zeros(2)} if weights else None
    run.write_fold(name, Result(predictions(name), log, INFO | {"fold": name}, kept), trained.save)


def tables(text: str) -> list[pd.DataFrame]:
    """The card's tables, by their first column."""
    blocks = re.findall(r"(?:^\|.*\n)+", text.replace("\\[", "[") + "\n", re.MULTILINE)
    rows = [
        [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()] for block in blocks
    ]
    return [pd.DataFrame(body, columns=head).set_index(head[0]) for head, _, *body in rows]


def test_hugging_face_reads_the_metadata(tmp_path):
    path = card.write(made(tmp_path))
    assert path and path.name == "README.md"
    read = ModelCard.load(path)
    assert read.data.license == "mit" and read.data.library_name == "aullm_lib"
    assert read.data.pipeline_tag == "video-classification" and read.data.base_model == "Qwen/Qwen2.5-1.5B"
    assert {"rehearsal", "synthetic-data"} <= set(read.data.tags) and read.data.model_name.startswith("Rehearsal")
    everyone = pd.concat(map(predictions, SUBJECTS))
    by_au = [group for _, group in everyone.groupby("au")]
    expected = [
        np.mean([f1_score(g["label"], g["probability"] >= 0.5, average=average) for g in by_au])
        for average in ("macro", "binary")
    ]
    assert [result.metric_value for result in read.data.eval_results] == pytest.approx(
        [100 * e for e in expected], abs=0.05
    )
    assert all(
        result.dataset_name == "a synthetic release in the layout of CASME II" for result in read.data.eval_results
    )
    assert "# Rehearsal: " in read.text and "no number here is a result" in read.text


def test_the_numbers_are_those_of_independent_code(tmp_path):
    text = card.write(made(tmp_path)).read_text()
    macro, eq5, counts, calibrated, _ = tables(text)
    for au, group in pd.concat(map(predictions, SUBJECTS)).groupby("au"):
        label, probability = group["label"].to_numpy(), group["probability"].to_numpy()
        answers = {"this model": probability >= 0.5, "always-negative": 0 * label, "always-positive": 0 * label + 1}
        for name, answer in answers.items():
            for table, average in ((macro, "macro"), (eq5, "binary")):
                expected = 100 * f1_score(label, answer, average=average)
                number, _, rest = table.loc[au, name].partition(" ")
                assert float(number) == pytest.approx(expected, abs=0.051)
                low, high = map(float, rest.strip("[]").split(", ")) if rest else (expected, expected)
                assert low - 0.1 <= expected <= high + 0.1
        assert "[" in macro.loc[au, "this model"] and "[" in macro.loc[au, "base-rate random"]
        row = next(line for name, line in counts.iterrows() if name.startswith(f"{au}, "))
        assert (
            row["clips that show it"] == f"{label.sum()} of 48" and int(row["TP"]) == (label[probability >= 0.5]).sum()
        )
        assert int(row["subjects who do"]) == group.loc[group["label"] == 1, "subject"].nunique()
        bins, error = np.minimum((probability * 10).astype(int), 9), 0.0
        for k in range(10):
            if (bins == k).any():
                error += abs(probability[bins == k].mean() - label[bins == k].mean()) * (bins == k).mean()
        assert float(calibrated.loc[au, "calibration error"]) == pytest.approx(100 * error, abs=0.051)
        assert float(calibrated.loc[au, "frequency"]) == pytest.approx(100 * label.mean(), abs=0.051)


def test_the_card_names_protocol_recipe_model_and_seed(tmp_path):
    run = made(tmp_path, seed=7)
    text = card.write(run).read_text()
    assert (
        run.split_sha256 in text
        and "a" * 64 in text
        and "Seed 7." in text
        and "other seeds are runs of their own" in text
    )
    assert "8 of 8 folds are finished" in text and "1,234,567" in text and "16 s of training" in text
    recipe = tables(text)[-1]
    assert recipe.loc["epochs", ["here", "paper", "released script"]].tolist() == ["3", "350", "350"]
    assert recipe.loc["reduction", ["here", "paper"]].tolist() == ['"sum"', '"batchmean"'] and "lr" not in recipe.index
    assert "not calibrated" in text and "no sign of lying" in text and "trained.load(run, run.folds[0])" in text


def test_it_is_written_anew_as_folds_finish_and_not_without_weights(tmp_path):
    run = made(tmp_path / "a", subjects=2)
    first = card.write(run).read_text()
    assert "2 of 8 folds are finished" in first and "12 clips of 2 subjects" in first
    assert "[" not in tables(first)[0].loc["mean", "this model"]  # two subjects have no interval
    for name in SUBJECTS[2:]:
        finish(run, name, weights=False)
    second = card.write(run).read_text()
    assert "8 of 8 folds are finished" in second and "2 of 8 folds keep their weights" in second
    before = (run.path / "README.md").stat().st_mtime_ns
    assert card.write(run).stat().st_mtime_ns == before
    bare = made(tmp_path / "b", weights=False)
    assert card.write(bare) is None and not (bare.path / "README.md").exists()


def test_an_au_that_never_occurs_has_no_score(tmp_path):
    text = card.write(made(tmp_path, subjects=1)).read_text()
    assert not re.search(r"\bnan\b", text, re.IGNORECASE) and "–" in text
    assert ModelCard(text).data.license == "mit"


@pytest.mark.parametrize(
    "llm",
    ["/home/jane/models/<b>big|one*", "C:\\Users\\jane\\<b>big|one*", "~/jane/<b>big|one*/", "../jane/<b>big|one*"],
)
def test_no_folder_of_a_machine_and_no_markup_get_in(tmp_path, llm):
    text = card.write(made(tmp_path, llm=llm)).read_text()
    assert "jane" not in text and "\\<b\\>big\\|one\\*;" in text and not re.search(r"(?<!\\)<b", text)
    assert ModelCard(text).data.base_model is None
    recipe = baselines.recipe("resnet18", weights="/home/jane/teacher")
    text = card.write(made(tmp_path / "other", method="resnet18", recipe=recipe, variant="all", llm="")).read_text()
    assert "jane" not in text and '"teacher"' in text


@pytest.mark.parametrize(
    ("changes", "licensed"),
    [
        ({}, False), ({"synthetic": False}, True), ({"rendered": False}, True), ({"only": "frame folder"}, True),
        ({"parts": [{"release": DATA}, {"release": DATA | {"synthetic": False}}]}, True),
        ({"parts": [{"release": DATA}, {"release": DATA}]}, False),
    ],
)  # fmt: skip
def test_what_does_not_say_that_all_of_it_is_rendered_is_licensed(tmp_path, changes, licensed):
    read = ModelCard.load(card.write(made(tmp_path, data=DATA | changes)))
    assert ("rehearsal" in read.data.tags) != licensed and (read.data.license == "other") == licensed
    assert ("under that release's licence" in read.text) == licensed
    assert not re.search(r"person\d|secret\d", str(read))


def test_training_on_a_licensed_release_writes_a_card_that_holds_nothing_licensed(tmp_path):
    root = datasets.synthesize(tmp_path / "Copy of Jane Doe", "casme2", subjects=3, clips_per_subject=2)
    shutil.rmtree(root / "SYNTHETIC")  # now the kit takes it for real
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # fewer clips than are documented
        table = datasets.load("casme2", root)
    store = preprocess.build(table, tmp_path / "store", size=32)
    recipe = Recipe.released(size=32, epochs=1, batch_size=4, efp_hidden=16)
    experiment = Experiment(name="tiny", aus=(4, 7, 12), recipe=recipe, variant="backbone")
    run = Run(engine.run(experiment, store, out=tmp_path / "runs", keep_weights=True, device="cpu"))
    text = (run.path / "README.md").read_text()
    assert "Rehearsal" not in text and "CASME II" in text and ModelCard(text).data.license == "other"
    assert f"6 clips of {datasets.TITLES['casme2']}" in text
    private = {*table.index, *table["subject"], *table["clip"], *table["emotion"], *run.folds, "Jane", str(tmp_path)}
    private |= {path.name for paths in table["frames"] for path in paths} | {path.name for path in root.rglob("*.xlsx")}
    for word in sorted(private):
        assert not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text), word
    assert json.loads((run.path / "run.json").read_text())["data"]["synthetic"] is False
