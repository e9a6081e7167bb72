"""Markdown whose text comes from data."""

import re
from collections.abc import Iterable, Sequence


def escape(text: str) -> str:
    """Text in one line, none of whose characters marks anything."""
    return re.sub(r"([\\`*_<>\[|~])", r"\\\1", " ".join(text.split()))


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of texts, which are escaped."""
    lines = [heads, *rows]
    drawn = ["| " + " | ".join(map(escape, line)) + " |" for line in lines]
    return "\n".join([drawn[0], "|" + " --- |" * len(heads), *drawn[1:]])
