"""The numbers of the READMEs: recorded from runs in ``recorded.json``, and drawn from there into every README.

    make readmes                             draws every table anew
    make readmes ARGS="--record demo-full"   first records what that profile's runs hold
    make readmes ARGS="--record bench"       first records what ``make bench`` left in runs/bench
    make readmes ARGS="--time demo"          first makes the demo, and records how long that took

A table stands between ``<!-- name -->`` and ``<!-- /name -->``; ``tests/report/test_readmes.py`` says which
is out of date.
Every part of the record says when and on what machine it was made. What a profile has not run stays as it was.
"""

import argparse
import os
import re
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from benchmarks.training import machine
from scipy.stats import kendalltau

from aullm_lib import baselines, recipe
from aullm_lib.metrics.thresholds import POLICIES
from aullm_lib.metrics.trivial import CHANCE
from aullm_lib.notebook.workspace import Workspace
from aullm_lib.report import evidence, published, results, tables
from aullm_lib.report.results import RELEASES, Result
from aullm_lib.runs import Run
from aullm_lib.support import files, markdown

ROOT = Path(__file__).resolve().parents[2]
RECORD = Path(__file__).with_name("recorded.json")
VARIANTS = {
    "all": "pretrained", "random-llm": "random weights", "frozen-llm": "pretrained, frozen",
    "random-frozen-llm": "random weights, frozen", "no-llm": "no LLM", "llm-to-mlp": "an MLP in its place",
    "blind": "without sight of the clip",
}  # fmt: skip
"""Variant of ``make demo-llm`` -> how its row is called."""
ONE_THREAD = ("synthetic", "lbp-top")  # whose benchmarks take no more

# From runs


def of_profile(profile: str) -> dict[str, Any]:
    """What the runs of a profile say, by the name of the table; relative to the folder of ``runs`` and ``figures``."""
    work, found = Workspace(profile), {}
    scored = [r for r in results.load(work.results) if not r.why and r.test_set in RELEASES]
    if rows := [r for r in scored if r.method in baselines.METHODS]:
        found["baselines"] = {
            "trivial": {r.test_set: _trivial(r) for r in rows},
            "rows": [{"method": r.method, "test set": r.test_set} | _scored(r) for r in rows],
        }
    if profile == "demo-llm":
        found["pretrained"] = {"rows": [{"variant": r.variant} | _scored(r) for r in scored if r.variant in VARIANTS]}
    if runs := [Run(path.parent) for path in sorted((work.folder / "intensity").glob("*/run.json"))]:
        points = evidence.by_intensity(runs)
        means = points[points["scorer"] == POLICIES["fixed"]].groupby("intensity")
        rows = means[["score", "always-negative", CHANCE]].mean().reset_index()
        found["intensity"] = {"rows": rows.to_dict("records")}
    if (path := work.folder / "localisation" / "scores.csv").is_file():
        scores = pd.read_csv(path).query("au == 'all'")
        columns = ["model", "method", "pairs", "pointing_game", "pointing_game_low", "pointing_game_high", "area"]
        found["localisation"] = {"rows": scores[columns].astype(object).where(scores.notna(), None).to_dict("records")}
    if (path := work.figures / "verdicts.csv").is_file():
        verdicts = pd.read_csv(path, keep_default_na=False)[["claim", "words", "verdict", "supported", "decisive"]]
        found["claims"] = {"rows": verdicts.to_dict("records")}
    return found


def _trivial(result: Result) -> dict[str, float]:
    means = {name: frame.loc["mean", "f1_macro"] for name, frame in result.trivial.items()}
    return {name: 100 * means[name] for name in ("always-negative", CHANCE)}


def _scored(result: Result) -> dict[str, Any]:
    mean = 100 * result.score().loc["mean", ["f1_macro", "f1_macro_low", "f1_macro_high"]]
    seconds = pd.concat([run.costs() for run in result.runs])["seconds"].mean()
    return {
        "f1_macro": [None if pd.isna(value) else value for value in mean],
        "seeds": len(result.runs),
        "seconds": seconds,
    }


def of_benchmark(folder: Path) -> dict[str, Any]:
    """What ``make bench`` left: seconds of the released way and of the kit, and what else it measured."""
    found = {path.stem: files.read_json(path) for path in sorted(folder.glob("*.json"))}
    if training := found.pop("training", None):
        found["training"] = {"made": training.pop("machine"), "rows": [*_training(training)]}
    return found


def _training(parts: dict[str, list[dict[str, Any]]]) -> Iterable[dict[str, Any]]:
    """One row for each comparison of a part with the released way, the best of all rounds."""
    names = {"tiny": "one epoch of a fold, tiny LLM", "mid": "one epoch of a fold, mid-size LLM",
             "loso": "leave-one-subject-out, 4 folds × 2 epochs, tiny LLM"}  # fmt: skip
    for part, lines in parts.items():
        released = next((line for line in lines if line["way"] == "released"), None)  # of a whole run there is none
        for line in (line for line in lines if released and line is not released):
            order = "visual token first" if line["order"] == "visual-first" else "prompt first"
            how = f", {order}, {line['folds']} side by side" if line["folds"] > 1 or part.startswith("smollm2") else ""
            for what, seconds in (("", _best), (", its LLM part alone", _llm)):
                if seconds(released):
                    row = {"what": f"{names.get(part, part)}{how}{what}", "memory": []}
                    for way, one in (("released", released), ("kit", line)):
                        row[way] = seconds(one)
                        row["memory"].append(one["memory"] / 1e9)
                    yield row


def _best(line: dict[str, Any]) -> float:
    return min(line["seconds"])


def _llm(line: dict[str, Any]) -> float:
    return min((sum(step["LLM"]) for step in line["parts"]), default=0.0) / line["folds"]


# To Markdown


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return markdown.drawn([heads, *rows])


def _score(values: Sequence[float]) -> str:
    return f"{tables.number(values[0])} {tables.interval(*values[1:])}".strip()


def recipes(_: dict[str, Any]) -> str:
    """Both recipes: first what differs, then every field."""
    heads, rows = ("field", "paper's text", "released script", "source"), []
    for name, *values, source in recipe.compared():
        rows.append((f"`{name}`", *(", ".join(v) if isinstance(v, tuple) else str(v) for v in values), source))
    differing, whole = (_table(heads, some) for some in ([row for row in rows if row[1] != row[2]], rows))
    return f"{differing}\n\n<details><summary>Every field, with its source</summary>\n\n{whole}\n\n</details>"


def of_baselines(part: dict[str, Any]) -> str:
    cells = {(row["method"], row["test set"]): row for row in part["rows"]}
    rows = []
    for method in dict.fromkeys([*baselines.METHODS, *(row["method"] for row in part["rows"])]):
        printed = [published.baseline(number, method) for number in (1, 2)]
        theirs = [f"{published.table(n).loc[row, published.AVERAGE]:.1f}" if row else "–"
                  for n, row in enumerate(printed, 1)]  # fmt: skip
        ours = [cells.get((method, release)) for release in RELEASES]
        seconds = [cell["seconds"] for cell in ours if cell]
        rows.append([f"`{method}`", *theirs, *(_score(cell["f1_macro"]) if cell else "–" for cell in ours),
                     f"{seconds[0]:.1f}" if seconds else "–"])  # fmt: skip
    trivial = [
        [f"*{name}*", "", "", *(tables.number(part["trivial"][release][name]) for release in RELEASES), ""]
        for name in ("always-negative", CHANCE)
    ]
    heads = ["method", "published, CASME II", "SAMM", "ours, synthetic as CASME II", "as SAMM", "seconds per fold"]
    orders = " and ".join(filter(None, (_order(part, number, release) for number, release in enumerate(RELEASES, 1))))
    order = f"\n\nKendall's τ with the published order: {orders}." * bool(orders)
    return _table(heads, [*rows, *trivial]) + order


def _order(part: dict[str, Any], number: int, release: str) -> str:
    """How far the order of our scores on a release is that of its published table: Kendall's τ, of two at least."""
    printed = {row["method"]: published.baseline(number, row["method"]) for row in part["rows"]}
    ours = {row["method"]: row["f1_macro"][0] for row in part["rows"] if row["test set"] == release}
    both = [method for method in ours if printed[method]]
    if len(both) < 2:
        return ""
    theirs = [published.table(number).loc[printed[method], published.AVERAGE] for method in both]
    found = kendalltau([ours[method] for method in both], theirs)
    seeds = max(row["seeds"] for row in part["rows"] if row["test set"] == release)
    of = f"{results.title(release)}, {len(both)} methods, {seeds} seed{'s' * (seeds > 1)}"
    return f"{found.statistic:.2f} ({of}, p {found.pvalue:.2f})"


def intensity(part: dict[str, Any]) -> str:
    rows = [[f"{row['intensity']:g}", tables.number(100 * row["score"])] for row in part["rows"]]
    levels = ", ".join(f"{name} {tables.number(100 * part['rows'][0][name])}" for name in ("always-negative", CHANCE))
    return f"{_table(['intensity', 'two-class macro F1 (%)'], rows)}\n\nTrivial classifiers: {levels}."


def localisation(part: dict[str, Any]) -> str:
    score = ("pointing_game", "pointing_game_low", "pointing_game_high")
    rows = [[f"{row['model']}: {row['method']}", _score([100 * row[name] for name in score])] for row in part["rows"]]
    most = max(row["area"] for row in part["rows"])
    chance = f"Over {part['rows'][0]['pairs']} pairs of clip and AU; chance is {tables.number(100 * most)}."
    return f"{_table(['maps', 'pointing game (%)'], rows)}\n\n{chance}"


def claims(part: dict[str, Any]) -> str:
    heads = ["", "the paper claims", "verdict", "comparisons supported", "which decides"]
    return markdown.table(heads, [list(row.values()) for row in part["rows"]])


def pretrained(part: dict[str, Any]) -> str:
    rows = [[VARIANTS[row["variant"]], _score(row["f1_macro"]), str(row["seeds"])] for row in part["rows"]]
    return _table(["SmolLM2-135M", "two-class macro F1 (%)", "seeds"], rows)


def training(part: dict[str, Any]) -> str:
    rows = []
    for row in part["rows"]:
        times = row.get("times", row["released"] / row["kit"])
        memory = " / ".join(f"{value:.1f}" for value in row.get("memory", ()))
        numbers = (f"{row[way]:.2g}" if row[way] < 1 else f"{row[way]:.1f}" for way in ("released", "kit"))
        rows.append([row["what"], *numbers, f"{times:.1f}" if times < 10 else f"{times:.0f}", memory])
    return _table(["", "released way, s", "kit, s", "times as fast", "memory of each, GB"], rows)


def measured(part: dict[str, Any]) -> str:
    return _table(["", ""], [[name, str(value)] for name, value in part["values"].items()])


def synthetic(part: dict[str, Any]) -> str:
    """Every part under its name."""
    return "\n\n".join(f"**{name}**\n\n{markdown.drawn(rows)}" for name, rows in part["parts"].items())


def targets(part: dict[str, Any]) -> str:
    rows = [[f"`make {name}`", _minutes(row["seconds"]), row["made"]] for name, row in part["rows"].items()]
    return _table(["after set-up", "takes", "measured"], rows)


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)} min {seconds % 60:.0f} s"


DRAWN = {
    "recipes": recipes, "baselines": of_baselines, "intensity": intensity, "localisation": localisation,
    "claims": claims, "pretrained": pretrained, "training": training, "gpu": measured, "preprocess": measured,
    "lbp-top": measured, "synthetic": synthetic, "targets": targets,
}  # fmt: skip
"""Name between the markers -> what draws the table from the part of the record that has its name."""


def pages(record: dict[str, Any], root: Path = ROOT) -> dict[Path, str]:
    """Every README with a table, as it should be."""

    def draw(found: re.Match[str]) -> str:
        part = record.get(found[1], {})
        made = f"*Recorded {part['made']}.*" if "made" in part else ""
        text = "\n\n".join(filter(None, [DRAWN[found[1]](part), made, *part.get("note", [])]))
        return f"<!-- {found[1]} -->\n{text}\n<!-- /{found[1]} -->"

    texts = {path: path.read_text(encoding="utf-8") for path in sorted(root.glob("**/README.md")) if tracked(path)}
    return {
        path: re.sub(r"<!-- ([\w-]+) -->\n(?:.*?\n)?<!-- /\1 -->", draw, text, flags=re.DOTALL)
        for path, text in texts.items()
        if "<!-- /" in text
    }


def tracked(path: Path) -> bool:
    """Whether a file is the repository's own, and not a run's or a package's."""
    return not {".venv", "runs", "figures", ".pytest_cache"} & set(path.relative_to(ROOT).parts[:-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--record", metavar="PROFILE", help="a profile that was run, or bench")
    parser.add_argument("--time", metavar="TARGET", help="a target of the Makefile, which is made")
    options = parser.parse_args()
    record = files.read_json(RECORD)
    made, alone = machine(torch.get_num_threads()), machine(1)
    if options.record:
        os.chdir(os.environ.get("AULLM_HOME") or ROOT)
        bench = options.record == "bench"
        parts = of_benchmark(Path("runs/bench")) if bench else of_profile(options.record)
        record |= {
            name: {"made": f"{alone if name in ONE_THREAD else made}; {options.record}"} | part
            for name, part in parts.items()
        }
    if options.time:
        start = time.monotonic()
        subprocess.run(["make", "-C", str(ROOT), options.time], check=True)
        record["targets"]["rows"][options.time] = {"seconds": round(time.monotonic() - start), "made": made}
    files.write_json(RECORD, record)
    for path, text in pages(record).items():
        files.write_text(path, text)


if __name__ == "__main__":
    main()
