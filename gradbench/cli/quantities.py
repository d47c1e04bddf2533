"""Times and sizes as they are typed."""

from __future__ import annotations

import math
from collections.abc import Callable


def seconds_of(text: str | None, option: str) -> float | None:
    """A time such as 90s, 10m or 2h in seconds. Raises UsageError, in the name of ``option``, for anything else.

    >>> [seconds_of(text, "--budget") for text in ("90s", "10m", "1.5h", "45")]
    [90.0, 600.0, 5400.0, 45.0]
    """
    if text is None:
        return None
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    return _checked(
        lambda: float(number) * unit, f"{option} {text!r}: expected a time such as 90s, 10m or 2h", above=True
    )


def disk_of(text: str, option: str) -> int:
    """A size such as 2GB in bytes, or 0. Raises UsageError, in the name of ``option``, for anything else.

    >>> disk_of("2GB", "--keep"), disk_of("0", "--keep")
    (2000000000, 0)
    """
    from gradbench.engine.options import parse_bytes

    def found() -> float:
        return 0.0 if text.strip() == "0" else parse_bytes(text)

    return int(_checked(found, f"{option} {text!r}: expected a size such as 2GB or 500MiB, or 0", above=False))


def _checked(find: Callable[[], float], complaint: str, *, above: bool) -> float:
    """What ``find`` gives. Raises UsageError where that is no number, or not above 0 where it must be."""
    from gradbench.core.errors import UsageError

    try:
        value = find()
    except (ValueError, OverflowError):
        raise UsageError(complaint) from None
    if not math.isfinite(value):
        raise UsageError(complaint)
    if value < 0 or (above and value == 0):
        raise UsageError(complaint.replace("such as", "greater than 0, such as"))
    return value
