"""The one type check of values that people write, or that files from elsewhere hold."""

import math
import re
import reprlib
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

LARGEST = 2**63 - 1
"""Of whole numbers in files: no count, size or seed is larger."""


def typed(name: str, kind: Any, value: Any) -> Any:
    """Returns ``value`` if it is of the type ``kind``; a whole number becomes a float where a float is wanted.

    Types must be equal: a bool is no number, a list is no tuple.

    Args:
        name: What the value is called in messages.
        kind: A type, ``list[T]``, ``tuple[T, ...]``, ``dict[str, T]``, a ``TypedDict`` (of which a value may have more
            keys than it names), ``T | None``, or ``Any``.
        value: The value to check.

    Raises:
        TypeError: The value, or an item of it, is of another type; a key is missing.
    """
    if isinstance(kind, UnionType):
        (kind,) = [one for one in get_args(kind) if one is not NoneType]
        if value is None:
            return value
    container = dict if is_typeddict(kind) else get_origin(kind)
    if container in (list, tuple) and type(value) is container:
        return container(typed(f"{name}[{i}]", get_args(kind)[0], item) for i, item in enumerate(value))
    if is_typeddict(kind) and type(value) is dict:
        for key in kind.__required_keys__ - value.keys():
            raise TypeError(f"{name} lacks {key!r}" if name else f"{key} is missing")
        kinds = get_type_hints(kind)
        return {key: typed(_part(name, key), kinds.get(key, Any), item) for key, item in value.items()}
    if container is dict and type(value) is dict:
        return {key: typed(_part(name, key), get_args(kind)[1], item) for key, item in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    expected = container or kind
    if expected is not Any and type(value) is not expected:
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if expected is float and type(value) is str else ""
        shown = f"{name}={reprlib.repr(value)}: " if name else ""
        raise TypeError(f"{shown}must be {expected.__name__}, not {type(value).__name__}{hint}")
    return value


def refuse_foreign(name: str, value: Any) -> None:
    """Raises ValueError for a value, however deep inside lists and dictionaries, that no file of the kit holds.

    In its files numbers are counts, sizes, seeds, durations and settings: finite and at least 0, whole ones at most
    ``LARGEST``. Text can be written again: it has no half of a surrogate pair.
    """
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else ((f"[{i}]", item) for i, item in enumerate(value))
        for key, item in pairs:
            refuse_foreign(_part(name, key), item)
    elif isinstance(value, str) and not value.isascii() and re.search(r"[\ud800-\udfff]", value):
        raise ValueError(f"{name}={reprlib.repr(value)}: is no Unicode text")
    elif isinstance(value, int | float) and not (
        value >= 0 and (value <= LARGEST if isinstance(value, int) else math.isfinite(value))
    ):
        raise ValueError(f"{name}={reprlib.repr(value)}: must be a finite number of at least 0, at most {LARGEST}")


def _part(name: str, key: str) -> str:
    return f"{name}.{key}" if name and key[:1] != "[" else name + key
