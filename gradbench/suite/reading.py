"""A suite's file to plain data."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from gradbench.core.errors import SuiteError
from gradbench.suite.limits import LARGEST_FILE

MOST_DOTS = 100
"""Of a key. Python takes time that grows with their square: a file of one such key would hang it for hours."""
QUOTED = re.compile(r""""(?:[^"\\\n]|\\[^\n])*"|'[^'\n]*'""")
BETWEEN = re.compile(r"[^\w\-. \t]+")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a suite file. Raises SuiteError, with the file and the remedy, where it cannot be read."""
    try:
        with path.open("rb") as file:
            held = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise SuiteError(f"{path}: cannot be read ({error.strerror})") from error
    if len(held) > LARGEST_FILE:
        raise SuiteError(f"{path}: is larger than {LARGEST_FILE:,} bytes, as no suite is; name a suite file (.toml)")
    try:
        text = held.decode("utf-8")
        if any(key.count(".") > MOST_DOTS for key in BETWEEN.split(QUOTED.sub("q", text))):
            raise SuiteError(f"{path}: a key has more than {MOST_DOTS} dots; no suite needs tables nested as deep")
        return tomllib.loads(text)
    except RecursionError:
        raise SuiteError(f"{path}: lists or tables nest hundreds deep; no suite needs to") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SuiteError(f'{path}: not valid TOML ({_told(error)}); a suite starts with name = "…"') from error
    except ValueError:  # Python reads no integer of thousands of digits
        raise SuiteError(f"{path}: holds a number of thousands of digits; whole numbers are at most 2^63 - 1") from None


def _told(error: ValueError) -> str:
    """The fault; of bytes that are no text, the first."""
    if isinstance(error, UnicodeDecodeError):
        return f"no UTF-8 at byte {error.start}"
    return str(error)
