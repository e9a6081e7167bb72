"""Markdown whose text comes from data."""

import re
from collections.abc import Iterable, Sequence


def escape(text: str) -> str:
    """Text in one line, none of whose characters marks anything."""
    return re.sub(r"([\\`*_<>\[|~])", r"\\\1", " ".join(text.split()))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, which are escaped."""
    return drawn([map(escape, line) for line in (heads, *rows)])


def drawn(lines: Iterable[Iterable[str]]) -> str:
    """A table of cells that are Markdown already; the first line holds the heads."""
    cells = [list(line) for line in lines]
    heads, *rows = ["| " + " | ".join(line) + " |" for line in cells]
    return "\n".join([heads, "|" + " --- |" * len(cells[0]), *rows])
