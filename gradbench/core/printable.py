"""Text from outside as text: what a terminal, a page or a spreadsheet would obey, made visible instead.

Names, titles, paths and messages come from suites, plugins, data files, manifests and exceptions. A control character
in one moves the cursor or hides what stands beside it; here it becomes the escape that Python would write for it.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any

OBEYED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that act instead of being shown: controls (C0, C1), formats (bidirectional
overrides, characters of no width), halves of surrogate pairs, separators of lines and paragraphs."""
BREAK = "↵"
"""Stands for a line break where there is room for one line."""


def visible(text: str) -> str:
    r"""``text`` with every character that a terminal obeys as an escape, but for line breaks.

    >>> visible("red \x1b[31m, reversed \u202e, two\nlines")
    'red \\x1b[31m, reversed \\u202e, two\nlines'
    """
    if text.isprintable():
        return text
    return "".join(_shown(char) for char in text)


def one_line(value: object) -> str:
    r"""``value`` as one line of visible text.

    >>> one_line("boom\n  second line"), one_line("a\tb")
    ('boom ↵ second line', 'a\\tb')
    """
    text = str(value)
    if text.isprintable():
        return text
    return visible(re.sub(r"\s*[\r\n\v\f\x85\u2028\u2029]+\s*", f" {BREAK} ", text.strip("\r\n")))


LONGEST_SHOWN = 80
"""Characters of a value that a message shows."""


def shortened(value: object) -> str:
    """A value as Python writes it, for a message: no longer than a line, whatever it is.

    >>> len(shortened("x" * 100)), shortened([1] * 100)[36:44], shortened(10**5000)
    (81, ' 1, …, 1', 'a value too long to be written out')
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a value nested as deep
        return "a value too long to be written out"
    half = LONGEST_SHOWN // 2
    return text if len(text) <= LONGEST_SHOWN else f"{text[:half]}…{text[-half:]}"


MOST_LISTED = 4
"""Names that a message lists."""


def listed_names(names: Iterable[str]) -> str:
    """The first few names, and how many more there are.

    >>> listed_names("abcde")
    'a, b, c, d and 1 more'
    """
    found = list(names)
    more = f" and {len(found) - MOST_LISTED} more" if len(found) > MOST_LISTED else ""
    return f"{', '.join(found[:MOST_LISTED])}{more}"


def how_many(count: int, noun: str) -> str:
    """A count of things.

    >>> how_many(1, "cell"), how_many(2, "cell"), how_many(0, "row")
    ('1 cell', '2 cells', '0 rows')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _shown(char: str) -> str:
    if char == "\n" or unicodedata.category(char) not in OBEYED:
        return char
    return char.encode("unicode_escape").decode()


def plain(value: Any) -> Any:
    """``value`` as data that strict JSON can hold: null for nothing, NaN and infinity, times in ISO 8601.

    >>> plain({"x": [float("nan"), float("-inf"), 1.5]})
    {'x': [None, None, 1.5]}
    """
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in (sorted(value, key=repr) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return value
