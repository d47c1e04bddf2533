"""``key=value`` as it is typed: when does a text mean a value?"""

from __future__ import annotations

from typing import Any


def shown(value: Any) -> str:
    """A value as a filter writes it.

    >>> shown(3.0), shown("exp"), shown(None)
    ('3', 'exp', 'null')
    """
    if value is None or value != value:
        return "null"
    return f"{value:g}" if isinstance(value, float) else str(value)


def means(text: str, value: Any) -> bool:
    """Does ``text`` mean ``value``? Numbers are compared as numbers.

    >>> means("3", 3.0), means("1.0", 1), means("exp", "exp"), means("null", None), means("1", True)
    (True, True, True, True, False)
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value:
        try:
            return float(text) == value
        except ValueError:
            return False
    return shown(value) == text
