"""The one type check of values that people write: fields of recipes and experiments, notebook parameters."""

from typing import Any, get_args, get_origin


def typed(name: str, kind: Any, value: Any) -> Any:
    """Returns ``value`` if it is of the type ``kind``; a whole number becomes a float where a float is wanted.

    Types must be equal: a bool is no number, a list is no tuple.

    Args:
        name: What the value is called in messages.
        kind: A type, ``list[T]``, ``tuple[T, ...]``, or ``Any``.
        value: The value to check.

    Raises:
        TypeError: The value, or an item of it, is of another type.
    """
    container = get_origin(kind)
    if container in (list, tuple) and type(value) is container:
        return container(typed(f"{name}[{i}]", get_args(kind)[0], item) for i, item in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    expected = container or kind
    if expected is not Any and type(value) is not expected:
        hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if expected is float and type(value) is str else ""
        raise TypeError(f"{name}={value!r}: must be {expected.__name__}, not {type(value).__name__}{hint}")
    return value
