"""The replication report: its numbers are those of the runs, its links lead there, and what lacks is said."""

import ast
import importlib.util
import os
import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib.figure import Figure

from aullm_lib import baselines, metrics
from aullm_lib.datasets import documented
from aullm_lib.report import claims, figures, replication, results, tables
from aullm_lib.runs import Run
from aullm_lib.support import files

QWEN2 = "Qwen/Qwen2-1.5B"


@pytest.fixture
def profile(tmp_path, monkeypatch):
    """The profile whose runs ``record`` writes; what was loaded is forgotten with each call."""
    monkeypatch.chdir(tmp_path)

    def profile(name="paper", not_run=()):
        folders = {key: Path("runs") / key for key in ("localisation", "integrity")}
        return replication.Profile(
            name=name, command=f"make {name}", figures=Path("figures/p"), results=Path("results"), not_run=not_run,
            **folders,
        )  # fmt: skip

    return profile


def written(profile):
    """The report in its three forms, as they lie on the disk."""
    paths = replication.write(profile, replication.blocks(profile))
    assert [path.name for path in paths] == [f"replication.{end}" for end in ("md", "html", "tex", "json")]
    return [path.read_text(encoding="utf-8") for path in paths[:3]]


def section(text, heading):
    """A section of the Markdown form."""
    return re.split(rf"^## \d+\. {heading}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]


def words(page):
    return " ".join(BeautifulSoup(page, "html.parser").get_text(" ").split())


def test_without_any_run_the_report_says_so_and_how_to_begin(profile):
    md, page, tex = written(profile("demo", not_run=["02_train_loso"]))
    assert "No run is in this profile's results" in md
    assert "1 not supported, 13 not run" in md  # the print alone decides C11
    missing = section(md, "What is missing or mixed")
    assert "`make demo` makes them" in missing
    assert '02\\_train\\_loso was not run to its end: `make demo ARGS="--only 02_train_loso"`' in missing
    assert '`make demo ARGS="-p claims=[C6]"`' in missing
    assert "rehearsal" not in words(page) and tex.startswith("\\documentclass")


def test_scores_and_verdicts_are_those_of_the_run_folders(profile, record):
    for seed in (1, 2):
        record("samm", llm=QWEN2, seed=seed, skill=0.3)
        record("samm", "no-llm", llm=QWEN2, seed=seed, skill=0.2)
    md, page, _ = written(profile())
    runs = [Run(path) for path in sorted(Path("results").glob("samm-all-*"))]
    mean = 100 * metrics.score([run.predictions() for run in runs], policy="nested").loc["mean"]
    expected = f"{mean['f1_macro']:.1f} \\[{mean['f1_macro_low']:.1f}, {mean['f1_macro_high']:.1f}]"
    assert f"| SAMM | AU-Qwen2(1.5B) | nested | 2 | {expected} |" in md
    verdicts = claims.verdicts(claims.table(claims.Runs(results.load("results"))))
    for key, verdict in verdicts.iterrows():
        assert f"| {key}: {tables.MARKDOWN.escape(verdict['words'])} | {verdict['verdict']} |" in md
        assert f"### {key}: " in md
    assert "rehearsal" not in words(page) and "From licensed data: SAMM." in md


def test_every_link_leads_to_a_file_and_every_comparison_to_its_runs(profile, record):
    whole, control = (
        record("casme2", llm="tiny", synthetic=True, skill=0.6),
        record("casme2", "no-llm", llm="tiny", synthetic=True, skill=0.2),
    )
    tables.write(Path("figures/p/table1_casme2"), tables.per_release(1, results.load("results")))
    _, page, _ = written(profile("demo"))
    soup = BeautifulSoup(page, "html.parser")
    ids = {tag["id"] for tag in soup.find_all(id=True)}
    for address in {a["href"] for a in soup("a")}:
        if address.startswith("#"):
            assert address[1:] in ids
        elif "://" not in address:
            assert (Path("figures/p") / address).exists(), address
    comparisons = soup.find(id="c6-every-comparison-that-was-run")
    row = next(tr for tr in comparisons("tr") if tr.td and tr.td.text == "no LLM")
    targets = {(Path("figures/p") / a["href"]).resolve() for a in row("a")}
    assert targets == {Path(whole).resolve(), Path(control).resolve()}
    files = {a["href"] for a in soup("a") if a["href"].startswith("table")}
    assert files == {f"table1_casme2{end}" for end in (".md", ".csv", ".tex", "_scores.csv")}  # of those that are there
    assert "A rehearsal on synthetic releases in the layout of CASME II" in words(page)


def test_numbers_of_runs_are_counted_without_gaps_and_spans_are_short(profile, record):
    for seed in (1, 2, 3, 5):
        record("samm", llm=QWEN2, seed=seed)
    report = profile()
    names = [run.path.name for run in report.runs]
    shown = "".join(part if isinstance(part, str) else part.text for part in report.cite([*names[:3], names[3]]))
    assert shown == "R1toR4"
    assert [part.text for part in report.cite([names[0], names[2]]) if not isinstance(part, str)] == ["R1", "R3"]
    assert report.cite(["unknown"]) == []


def test_what_is_mixed_is_said_run_by_run(profile, record, monkeypatch):
    record("samm", llm=QWEN2, skill=0.6)
    other = Path(record("samm", "no-llm", llm=QWEN2, skill=0.2))
    for path in other.glob("folds/*/fold.json"):
        note = files.read_json(path)
        files.write_json(path, note | {"git": {"revision": "f" * 40, "changed": True}})
    info = files.read_json(other / "run.json")
    info["data"]["variant"] = 255
    files.write_json(other / "run.json", info)
    missing = section(written(profile())[0], "What is missing or mixed")
    assert (
        "ffffffffff with uncommitted changes ( [R2]" in missing
        or "ffffffffff with uncommitted changes ([R2]" in missing
    )
    assert "Versions of SAMM are mixed" in missing and "variant 247" in missing and "variant 255" in missing


def test_unfinished_and_other_clips_are_named_and_the_rest_is_scored(profile, record):
    record("samm", llm=QWEN2, skill=0.6)
    half = record("samm", "no-llm", llm=QWEN2, folds=3)
    sheet = record("samm", "efp-", llm=QWEN2, clips=5)
    record("samm", llm=QWEN2, skill=0.6)  # asked for again: the newest clips are its own
    os.utime(record("samm", "high", llm=QWEN2, skill=0.4))
    md = written(profile())[0]
    missing = section(md, "What is missing or mixed")
    assert f"{Path(half).name} is unfinished: 3 of 8 folds" in missing.replace("\\_", "_")
    assert f"{Path(sheet).name} was run on other clips" in missing.replace("\\_", "_")
    assert "run its notebook again" in missing
    assert "high-level features only" in section(md, "Results, claim by claim")


def test_synthetic_runs_beside_licensed_ones_are_left_out_and_named(profile, record):
    record("samm", llm=QWEN2, skill=0.6)
    record("casme2", llm="tiny", synthetic=True)
    md, page, _ = written(profile())
    assert "Synthetic runs lie beside licensed ones" in md
    assert "From licensed data: SAMM." in md and "AU-LLM, tiny" not in words(page)


def test_nothing_of_a_licensed_release_but_counts_and_scores_is_in_it(profile, record):
    record("samm", llm=QWEN2, skill=0.6)
    record("samm", "no-llm", llm=QWEN2, skill=0.2)
    checks = {"check": ["clips of a subject", "duplicate"], "item": ["samm-s3", "samm/samm-s3/c2"]}
    findings = pd.DataFrame(checks | {"status": ["ok", "warning"]})
    Path("runs/integrity").mkdir(parents=True)
    findings.to_csv("runs/integrity/samm.csv", index=False)
    Path("runs/integrity/other.csv").write_text("of,another\nkind,0\n", encoding="utf-8")
    predictions = results.load("results")[0].predictions[0]
    for text in written(profile()):
        for name in {*predictions["clip_id"], *predictions["subject"]}:
            assert name not in text
    assert "1 warnings: duplicate (1)," in written(profile())[0]


def test_runs_of_an_older_version_are_passed_over_with_what_to_do(profile, record):
    record("samm", llm=QWEN2)
    Path("results/old").mkdir()
    files.write_json(Path("results/old/run.json"), {"format": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "passed over, run by an older version: results/old" in written(profile())[0]


def test_the_settings_that_a_profile_changed_are_listed_beside_the_named_ones(profile, record):
    record("samm", llm=QWEN2, epochs=7, lora_targets=("q_proj",))
    record("samm", method="flow-svm", C=2.0)
    table = section(written(profile())[0], "Methods, and every departure with its reason")
    rows = [line for line in table.splitlines() if line.startswith("| ")][2:]
    assert rows == [
        "| paper | `lora_targets` | q\\_proj, v\\_proj | q\\_proj |", "| paper | `epochs` | 350 | 7 |",
        f"| flow-svm | `C` | {baselines.recipe('flow-svm').C:g} | 2 |",
    ]  # fmt: skip


def test_costs_are_sums_and_means_of_the_folds(profile, record):
    costs = {"trained_parameters": 1_500_000, "total_parameters": 2_000_000, "peak_memory_mb": 700, "device": "cpu"}
    for seed in (1, 2):
        record("samm", llm=QWEN2, seed=seed, costs=(costs | {"seconds": 2.5 * seed, "threads": 2}).items())
    line = next(row for row in section(written(profile())[0], "Computing cost").splitlines() if "1.50" in row)
    assert line.startswith("| SAMM | AU-Qwen2(1.5B), all | 1.50 | 2.00 | 3.8 | 16 | 60 s | 700 | cpu, 2 threads |")


@pytest.mark.parametrize(
    "module", [*replication.PARTS, *sorted({f"baselines.{name}" for name in baselines.METHODS.values()})]
)
def test_departures_are_those_that_the_module_states(module):
    points = replication.departures(module)
    source = Path(importlib.util.find_spec(f"aullm_lib.{module}").origin).read_text(encoding="utf-8")
    stated = " ".join(ast.get_docstring(ast.parse(source)).replace("``", "").split())
    assert points and all(point[1:] in stated for point in points)
    after = re.split(r"departs, and why: ", stated)[1]
    assert after.startswith(points[0][1:]) or after[3:].startswith(points[0][1:]) or after[1:].startswith(points[0][1:])


def test_a_baseline_is_given_the_departures_of_what_it_is_built_from():
    assert {"baselines.sca", "baselines.tim"} <= set(replication.behind("sca"))
    assert replication.behind("dvasp")[0] == "baselines.dvasp"
    assert {"baselines.distil", "baselines.two_view", "baselines.resnet"} <= set(replication.behind("dvasp"))
    assert "baselines.sca" not in replication.behind("dvasp")


def test_the_same_runs_give_the_same_bytes(profile, record):
    record("samm", llm=QWEN2, skill=0.6)
    assert written(profile()) == written(profile())


@pytest.mark.parametrize("stale", [False, True])
def test_a_figure_of_other_runs_says_so(profile, record, stale):
    record("samm", llm=QWEN2)
    path = "results/gone" if stale else str(results.load("results")[0].runs[0].path)
    made = {"synthetic": False, "data": {}, "runs": {path: {"recipe": "paper", "made_by": []}}}
    figures.save(Figure(figsize=(2, 1)), Path("figures/p/claims"), made)
    md = written(profile())[0]
    assert ("those of this report: run 07\\_paper again" in md) is stale
    assert "](claims.png)" in md and "claims was not drawn" not in md and "fig2\\_ablations was not drawn" in md


@pytest.mark.parametrize("rows", [255, 256, 247])
def test_the_sheet_of_casme2_is_known_by_its_clips(rows):
    there = documented.CASME2[rows]
    subjects = np.resize(np.arange(there.subjects), rows)
    labels = pd.concat(
        pd.DataFrame({"clip_id": range(rows), "subject": subjects, "au": f"AU{au}", "label": np.arange(rows) < n})
        for au, n in there.positives.items()
    )
    run = SimpleNamespace(info={"data": {}})
    result = SimpleNamespace(runs=[run], predictions=[labels], synthetic=False)
    (grid,) = (block for block in replication._documented({"casme2": result}) if isinstance(block, replication.Grid))
    assert grid.frame["agrees"].tolist() == ["yes"] and grid.frame["clips"].tolist() == [str(rows)]
