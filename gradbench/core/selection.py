"""``key=value`` as it is typed, and which value a text means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

MOST = 12
"""Values that an error names."""


def shown(value: Any) -> str:
    """A value as a filter writes it.

    >>> shown(3.0), shown("exp"), shown(None)
    ('3', 'exp', 'null')
    """
    if value is None or value != value:
        return "null"
    return f"{value:g}" if isinstance(value, float) else str(value)


def means(text: str, value: Any) -> bool:
    """Whether ``text`` means ``value``. Numbers are compared as numbers.

    >>> means("3", 3.0), means("1.0", 1), means("exp", "exp"), means("null", None), means("1", True)
    (True, True, True, True, False)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        try:
            return float(text) == value
        except ValueError:
            return False
    return shown(value) == text


def choices(values: Iterable[Any]) -> str:
    """The different values, in order: numbers before text; the first dozen of them.

    >>> choices([4, 1.0, "auto", 10, 1])
    '1, 4, 10, auto'
    """

    def order(value: Any) -> tuple[bool, float, str]:
        number = isinstance(value, (int, float)) and value == value
        return not number, value if number else 0.0, shown(value)

    found = list(dict.fromkeys(map(shown, sorted(values, key=order))))
    return ", ".join(found[:MOST] + ["…"] * (len(found) > MOST))
