"""Text from outside as one visible line, and data as strict JSON can hold them."""

from __future__ import annotations

import datetime
import json
import math
import unicodedata

import pytest

from gradbench.core.printable import OBEYED, one_line, plain, visible

EVERY = [chr(code) for code in range(0x110000)]


def test_no_character_that_a_terminal_obeys_is_left() -> None:
    shown = visible("".join(EVERY))
    assert {char for char in shown if unicodedata.category(char) in OBEYED} == {"\n"}


def test_every_other_character_stays() -> None:
    kept = "".join(char for char in EVERY if unicodedata.category(char) not in OBEYED)
    assert visible(kept) == kept


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("\x1b[31m", "\\x1b[31m"),
        ("\x9b2J", "\\x9b2J"),
        ("\x7f", "\\x7f"),
        ("a\u202eb", "a\\u202eb"),
        ("a\u200bb", "a\\u200bb"),
        ("\udc80", "\\udc80"),
        ("\U000e0041", "\\U000e0041"),
        ("[red]φ · ‖g‖[/x]", "[red]φ · ‖g‖[/x]"),
    ],
)
def test_controls_are_shown_as_escapes(given: str, shown: str) -> None:
    assert visible(given) == one_line(given) == shown


@pytest.mark.parametrize("end", ["\n", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_one_line_is_one_line(end: str) -> None:
    assert one_line(f"a{end}{end}  b") == "a ↵ b"


def test_data_are_what_strict_json_holds() -> None:
    given = {"a": [math.nan, math.inf, -math.inf, 1.5, True], 2: (None, {"x"}), "day": datetime.date(2020, 1, 2)}
    assert json.loads(json.dumps(plain(given), allow_nan=False)) == {
        "a": [None, None, None, 1.5, True],
        "2": [None, ["x"]],
        "day": "2020-01-02",
    }
