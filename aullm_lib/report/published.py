"""The numbers of the publication's Tables 1 to 4, as printed, each table with its place (``published.yaml``)."""

from functools import cache
from importlib import resources
from typing import Any

import pandas as pd
import yaml

from aullm_lib import facs, metrics
from aullm_lib.datasets import documented
from aullm_lib.report import audit

AVERAGE = "Avg."
NUMBERS = (1, 2, 3, 4)
LLMS = {
    "deepseek-r1-distill-qwen-1.5b": ("AU-DeepSeek R1(1.5B)", "D.R1"),
    "qwen2-1.5b": ("AU-Qwen2(1.5B)", "Q2"),
    "qwen2.5-1.5b": ("AU-Qwen2.5(1.5B)", "Q2.5"),
}
"""The publication's LLMs, last part of their hub names, -> row of Tables 1 and 2, column of Table 3."""
VARIANTS = {"high": "F_high", "mid": "F_mid", "efp-": "EFP-", "prompt-learning": "Prompt Learning", "all": "all"}
"""Variant of ``model.AULLM`` -> row of Table 3."""
BASELINES: dict[str, dict[int, str]] = {
    "lbp-top": {1: "LBPTOP [27]", 2: "LBP-TOP [27]"},
    "resnet18": {1: "Resnet18 [6]", 2: "ResNet18 [6]", 4: "ResNet-18 [6]"},
    "resnet34": {1: "Resnet34 [6]", 2: "ResNet34 [6]"},
    "fitnet": {1: "Fitnet [16]", 2: "Fit-18 [16]"},
    "sp": {1: "SP [18]", 2: "SP-18 [18]"},
    "at": {1: "AT [26]", 2: "AT-18 [26]"},
    "sca": {1: "SCA [11]", 2: "SCA [11]"},
    "dvasp": {1: "DVASP [12]", 2: "DVASP-18 [12]"},
    "resnet18-led": {1: "Resnet18 LED [20]", 2: "Resnet18 LED [20]"},
    "sssnet-led": {1: "SSSNet LED [20]", 2: "SSSNet LED [20]", 4: "LED SSSNet [20]"},
}
"""Baseline -> its row in each table that has one, in the printed order."""


@cache
def _tables() -> dict[int, dict[str, Any]]:
    text = (resources.files(__package__) / "published.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["tables"]


def _entry(number: int) -> dict[str, Any]:
    if number not in _tables():
        raise ValueError(f"table {number!r}: the publication has tables {', '.join(map(str, _tables()))}")
    return _tables()[number]


def _columns(number: int) -> pd.Index:
    entry = _entry(number)
    ending = [AVERAGE] * any("average" in row for row in entry["rows"])
    if "panels" in entry:
        pairs = [(panel, name) for panel, names in entry["panels"].items() for name in [*names, *ending]]
        return pd.MultiIndex.from_tuples(pairs)
    return pd.Index([*entry["columns"], *ending])


def table(number: int) -> pd.DataFrame:
    """F1s in percent as printed, a row a method, in the printed order; raises ValueError for another number.

    Columns: 1 and 2: ``AU1``.. and ``Avg.``; 3: (data set, LLM); 4: (direction, ``AU2``.. or ``Avg.``).
    """
    rows = {}
    for row in _entry(number)["rows"]:
        cells, average = row["cells"], row.get("average")
        if "panels" not in _entry(number):
            cells, average = [cells], [average]
        ends = [[]] * len(cells) if row.get("average") is None else [[value] for value in average]
        rows[row["method"]] = [value for part, end in zip(cells, ends, strict=True) for value in [*part, *end]]
    return pd.DataFrame.from_dict(rows, orient="index", columns=_columns(number)).rename_axis("method")


def bold(number: int) -> pd.DataFrame:
    """Which cells are printed in bold, in the shape of ``table``."""
    columns = _columns(number)
    rows = {
        row["method"]: [row.get("bold") == "all" or column in row.get("bold", ()) for column in columns]
        for row in _entry(number)["rows"]
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("method")


def place(number: int) -> str:
    """Where in the publication the table stands."""
    return _entry(number)["place"]


def about(number: int) -> str:
    """What the table shows, in our words."""
    return _entry(number)["about"]


def comment(number: int) -> str:
    """What does not agree within the table: averages that are not their cells' means, bold that is not the best."""
    return _entry(number)["comment"]


def disagree(number: int) -> list[dict[str, Any]]:
    """Printed averages more than 0.06 from the mean of their cells: method, panel (if there are any), both values."""
    return _entry(number).get("disagree", [])


def llm(name: str) -> tuple[str, str] | None:
    """Row of Tables 1 and 2 and column of Table 3 for an LLM (hub name or checkpoint folder); None for any other."""
    return LLMS.get(name.rstrip("/").split("/")[-1].lower())


def baseline(number: int, method: str) -> tuple[str, str] | None:
    """A baseline's row in a table, as printed and without its citation; None where that table has none of it."""
    row = BASELINES.get(method, {}).get(number)
    return (row, row.rsplit(" [", 1)[0]) if row else None


@cache
def trivial(release: str, aus: tuple[str, ...] = ()) -> dict[str, pd.DataFrame]:
    """``metrics.trivial`` on the publication's labels, from the documented counts; for some AUs only, or all it scores.

    CASME II with 256 clips, whose constants Table 4 repeats (47.8 and 46.4).
    """
    counts = documented.CASME2[256] if release == "casme2" else documented.OTHERS[release]
    scored = aus or tuple(f"AU{n}" for n in facs.BENCHMARK[release])
    return metrics.trivial_of_counts(audit.positives(counts, scored), counts.clips)
