"""The publication's Tables 1 to 4 as printed, but for the numbers of its references (``published.yaml``).

``printed`` says what they alone decide.
"""

import re
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import pandas as pd
import yaml

AVERAGE = "Avg."
LLMS = {
    "deepseek-r1-distill-qwen-1.5b": ("AU-DeepSeek R1(1.5B)", "D.R1"),
    "qwen2-1.5b": ("AU-Qwen2(1.5B)", "Q2"),
    "qwen2.5-1.5b": ("AU-Qwen2.5(1.5B)", "Q2.5"),
}
"""The publication's LLMs, last part of their hub names, -> row of Tables 1 and 2, column of Table 3."""
VARIANTS = {"high": "F_high", "mid": "F_mid", "efp-": "EFP-", "prompt-learning": "Prompt Learning", "all": "all"}
"""Variant of ``model.AULLM`` -> row of Table 3."""
BASELINES: dict[str, dict[int, str]] = {
    "lbp-top": {1: "LBPTOP", 2: "LBP-TOP"},
    "resnet18": {1: "Resnet18", 2: "ResNet18", 4: "ResNet-18"},
    "resnet34": {1: "Resnet34", 2: "ResNet34"},
    "fitnet": {1: "Fitnet", 2: "Fit-18"},
    "sp": {1: "SP", 2: "SP-18"},
    "at": {1: "AT", 2: "AT-18"},
    "sca": {1: "SCA", 2: "SCA"},
    "dvasp": {1: "DVASP", 2: "DVASP-18"},
    "resnet18-led": {1: "Resnet18 LED", 2: "Resnet18 LED"},
    "sssnet-led": {1: "SSSNet LED", 2: "SSSNet LED", 4: "LED SSSNet"},
}
"""Baseline -> its row in each table that has one, in the printed order."""


@cache
def _tables() -> dict[int, dict[str, Any]]:
    text = (resources.files(__package__) / "published.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)["tables"]


def entry(number: int) -> dict[str, Any]:
    """Everything in ``published.yaml`` about a table. Raises ValueError for a number that is not 1 to 4."""
    if number not in _tables():
        raise ValueError(f"table {number!r}: the publication has tables {', '.join(map(str, _tables()))}")
    return _tables()[number]


def _columns(number: int) -> pd.Index:
    about = entry(number)
    ending = [AVERAGE] * ("average" in about["rows"][0])
    if "panels" in about:
        return pd.MultiIndex.from_tuples(
            [(panel, name) for panel, names in about["panels"].items() for name in [*names, *ending]]
        )
    return pd.Index([*about["columns"], *ending])


def table(number: int) -> pd.DataFrame:
    """F1s in percent as printed: one row per method, in the printed order.

    Columns are ``AU1``, ..., ``Avg.`` for Tables 1 and 2, (data set, LLM) for Table 3, (direction, ``AU2``, ... or
    ``Avg.``) for Table 4.

    Raises:
        ValueError: As ``entry``.
    """
    rows = {}
    for row in entry(number)["rows"]:
        cells = np.atleast_2d(row["cells"])  # panels, columns
        rows[row["method"]] = np.column_stack([cells, *([row["average"]] if "average" in row else [])]).ravel()
    return pd.DataFrame.from_dict(rows, orient="index", columns=_columns(number)).rename_axis("method")


def bold(number: int) -> pd.DataFrame:
    """Which cells are printed in bold, in the shape of ``table``."""
    columns = _columns(number)
    rows = {
        row["method"]: [row.get("bold") == "all" or column in row.get("bold", ()) for column in columns]
        for row in entry(number)["rows"]
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("method")


def place(number: int) -> str:
    """Where in the publication the table stands."""
    return entry(number)["place"]


def comment(number: int) -> str:
    """What is inconsistent in the table: averages that are not the mean of their cells, bold that is not the best."""
    return entry(number)["comment"]


def llm(name: str) -> tuple[str, str] | None:
    """Row of Tables 1 and 2 and column of Table 3 for an LLM (hub name or checkpoint folder); None for any other.

    A folder is known by its name, or as the hub's cache names it.
    """
    cached = re.search(r"models--[^/]+--([^/]+)/snapshots/", name)  # the hub's own folder of a commit
    return LLMS.get((cached[1] if cached else name.rstrip("/").split("/")[-1]).lower())


def baseline(number: int, method: str) -> str | None:
    """A baseline's row in a table; None where that table has none of it."""
    return BASELINES.get(method, {}).get(number)
