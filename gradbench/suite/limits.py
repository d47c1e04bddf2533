"""How large a suite may be, and what it may hold: found before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import date, datetime, time
from typing import Any

from gradbench.core.errors import SuiteError

LARGEST_FILE = 2**20
"""Bytes of a suite file."""
DEEPEST = 8
"""Tables and lists within each other; a suite needs four."""
LARGEST_INTEGER = 2**63 - 1
"""What TOML promises to hold."""
LONGEST_TEXT, LONGEST_KEY = 4096, 200
"""Characters; a path is no longer, and a title ought not to be."""
MOST_CELLS = 100_000
MOST_CLAIMS = 500
MOST_VALUES = 100
"""Of a key in the selection of a claim."""
MOST_NUMBERS = 2**31
"""Numbers that one replicate may draw: L × minibatch × latents."""


def check_values(raw: dict[str, Any], where: str) -> None:
    """Raise SuiteError for what no suite can hold: dates, integers beyond 64 bits, texts and nests without end.

    ``where`` names the suite's file.
    """
    for path, depth, value in _values(raw):
        if depth > DEEPEST:
            raise SuiteError(f"{where}: {path[:40]}…: tables and lists nest more than {DEEPEST} deep; none needs to")
        if isinstance(value, datetime | date | time):
            raise SuiteError(f"{where}: {path}: a suite has no dates, got {value}; put a text in quotes")
        if isinstance(value, str) and len(value) > LONGEST_TEXT:
            raise SuiteError(f"{where}: {path}: a text has at most {LONGEST_TEXT:,} characters, got {len(value):,}")
        if isinstance(value, dict) and (long := next((key for key in value if len(key) > LONGEST_KEY), None)):
            raise SuiteError(f"{where}: {path}: a key of {len(long):,} characters; a key has at most {LONGEST_KEY}")
        if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
            raise SuiteError(f"{where}: {path}: whole numbers lie within ±{LARGEST_INTEGER} (2^63 - 1)")


def _values(raw: dict[str, Any]) -> Iterator[tuple[str, int, Any]]:
    """Every value with its path and its depth; what is too deep without what is within it. Needs no deep stack."""
    left: list[tuple[str, int, Any]] = [("", 0, raw)]
    while left:
        path, depth, value = left.pop()
        yield path, depth, value
        if isinstance(value, dict):
            left += [(f"{path}.{key}" if path else str(key), depth + 1, one) for key, one in reversed(value.items())]
        elif isinstance(value, list):
            left += [(f"{path}[{index}]", depth + 1, one) for index, one in reversed(list(enumerate(value)))]


def check_cells(grids: list[dict[str, Any]], where: str) -> None:
    """Raise SuiteError where ``grids`` make more than `MOST_CELLS`; they are counted, not made."""
    counts = [count_cells(grid) for grid in grids]
    if sum(counts) > MOST_CELLS:
        index = max(range(len(counts)), key=counts.__getitem__)
        most = f", {told(counts[index])} of them of grid[{index}]" if len(counts) > 1 else ""
        raise SuiteError(
            f"{where}: these grids make {told(sum(counts))} cells{most}; a suite has at most {MOST_CELLS:,}; "
            "shorten its lists, or make several suites of it"
        )


def count_cells(grid: dict[str, Any]) -> int:
    """Cells that a ``[[grid]]`` table makes, cells that come twice counted twice.

    >>> count_cells({"samples": [1, 2], "size": [{"k": [1, 2]}, {}], "estimators": ["a", {"name": "b", "t": [1, 2]}]})
    18
    """
    named = ("estimators", "objective", "size")
    plain = math.prod(_count(value) for key, value in grid.items() if key not in named)
    return plain * math.prod(_count_tables(grid[key]) for key in named if key in grid)


def _count(value: Any) -> int:
    return max(len(value), 1) if isinstance(value, list) else 1


def _count_tables(given: Any) -> int:
    """Of names and tables, of which one with lists is several."""
    tables = given if isinstance(given, list) else [given]
    counts = [math.prod(map(_count, one.values())) if isinstance(one, dict) else 1 for one in tables]
    return max(sum(counts), 1)


def told(count: int) -> str:
    """A count in digits, or its power of ten where it has too many to be read.

    >>> told(1234567), told(10**100)
    ('1,234,567', 'about 10^100')
    """
    return f"{count:,}" if count < 10**15 else f"about 10^{math.floor(math.log10(count))}"
