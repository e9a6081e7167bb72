"""READMEs lead somewhere, name every notebook, and hold the numbers that were recorded."""

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from benchmarks import readmes

from aullm_lib import metrics
from aullm_lib.report import document
from aullm_lib.runs import Run
from aullm_lib.support import files

ROOT = readmes.ROOT
PAGES = [path for path in sorted([*ROOT.glob("**/README.md"), ROOT / "CONTRIBUTING.md"]) if readmes.tracked(path)]


def headings(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    return {document.anchor(found.replace("`", "")) for found in re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(path):
    text = path.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    for link in (link for link in links if not re.match(r"https?:", link)):
        target, _, heading = unquote(link).partition("#")
        there = path.parent / target if target else path
        assert there.exists(), link
        assert not heading or heading in headings(there), link


def test_the_first_page_names_every_notebook_and_fits_a_screen():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\(notebooks/\1\.ipynb\)", text, flags=re.MULTILINE)
    assert rows == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert len(text.split()) < 1100


def test_every_table_is_as_recorded():
    pages = readmes.pages(files.read_json(readmes.RECORD))
    drawn = re.findall(r"<!-- ([\w-]+) -->", "".join(pages.values()))
    assert sorted(drawn) == sorted(readmes.DRAWN)
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: make readmes"


def test_scores_are_recorded_from_run_folders(record, tmp_path, monkeypatch):
    """As ``metrics.score`` gives them for each run by itself; what a profile did not run is not there."""
    method, runs = "lbp-top", {}
    for release in ("casme2", "samm"):
        runs[release] = Run(record(release, method=method, costs={"seconds": 2.5})).predictions()
    (tmp_path / "runs" / "demo-full").mkdir(parents=True)
    (tmp_path / "results").rename(tmp_path / "runs" / "demo-full" / "results")
    monkeypatch.chdir(tmp_path)
    found = readmes.of_profile("demo-full")
    assert set(found) == {"baselines"}
    lines = dict(line.strip("| ").split(" | ", 1) for line in readmes.of_baselines(found["baselines"]).split("\n"))
    means = [
        100 * metrics.score(one).loc["mean", ["f1_macro", "f1_macro_low", "f1_macro_high"]] for one in runs.values()
    ]
    ours = " | ".join("{:.1f} [{:.1f}, {:.1f}]".format(*mean) for mean in means)
    assert lines[f"`{method}`"] == f"68.5 | 50.2 | {ours} | 2.5"  # published in Tables 1 and 2
    assert lines["`flow-svm`"] == " | ".join("–" * 5)  # was not run, and is in none of them
    negatives = [100 * metrics.trivial(one)["always-negative"].loc["mean", "f1_macro"] for one in runs.values()]
    assert lines["*always-negative*"].split(" | ")[-2:] == [f"{value:.1f}" for value in negatives]


def test_the_benchmark_s_seconds_are_compared_with_the_released_way(tmp_path):
    """The best of each; a part's is that of one fold."""
    line = {"order": "prompt-first", "folds": 1, "memory": 3e9, "parts": []}
    released = line | {"way": "released", "seconds": [8.0, 6.0], "parts": [{"LLM": [1.0, 2.0]}, {"LLM": [4.0]}]}
    kit = line | {"way": "kit", "seconds": [2.0, 3.0], "folds": 4, "memory": 1e9, "parts": [{"LLM": [0.8, 1.2]}]}
    files.write_json(tmp_path / "training.json", {"machine": "a machine", "tiny": [released, kit]})
    files.write_json(tmp_path / "lbp-top.json", {"values": {"ms": 4.1}})
    found = readmes.of_benchmark(tmp_path)
    assert found["training"]["made"] == "a machine" and found["lbp-top"] == {"values": {"ms": 4.1}}
    table = readmes.training(found["training"]).split("\n")[2:]
    name = "one epoch of a fold, tiny LLM, prompt first, 4 side by side"
    assert table == [
        f"| {name} | 6.0 | 2.0 | 3.0 | 3.0 / 1.0 |",
        f"| {name}, its LLM part alone | 3.0 | 0.5 | 6.0 | 3.0 / 1.0 |",
    ]
