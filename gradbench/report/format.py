"""Figures as short text."""

from __future__ import annotations

import math


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits, in the shortest form that keeps them; "–" where there is no value.

    >>> [number(x) for x in (0, 0.0123456, 1234.5, 1.5e6, 2e-5, float("inf"), None)]
    ['0', '0.0123', '1230', '1.5e6', '2e-5', '∞', '–']
    """
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    if 1e-3 <= abs(value) < 1e5:
        rounded = float(f"{value:.{digits}g}")
        return f"{rounded:.{max(digits - 1 - math.floor(math.log10(abs(rounded))), 0)}f}"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def count(value: int) -> str:
    """A count in at most four characters.

    >>> [count(n) for n in (950, 1100, 130000, 2500000, 10**15)]
    ['950', '1.1k', '130k', '2.5M', '>1G']
    """
    for unit, sign in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return ">1G" if sign == "G" else f"{value / unit:.3g}{sign}"
    return str(value)


def interval(low: float | None, high: float | None) -> str:
    """``[low, high]``."""
    return f"[{number(low)}, {number(high)}]"


def span(low: float | None, high: float | None) -> str:
    """``low – high``, for columns that have no room for brackets.

    >>> span(0.00683, 0.00914), span(0.0, 0.0)
    ('0.00683–0.00914', '0')
    """
    return number(low) if low == high else f"{number(low)}–{number(high)}"


def read_alike(*values: float | None) -> bool:
    """Whether figures are one number to a reader, so that an interval beside its figure would say nothing.

    >>> read_alike(1.0, 0.9999999, 1.0000001), read_alike(1.0, 0.99, 1.01)
    (True, False)
    """
    return len({number(value) for value in values}) == 1


def percent(value: float | None) -> str:
    """A share as a percentage.

    >>> [percent(x) for x in (0.0, 0.0123, 0.5, 5.594, None)]
    ['0 %', '1.2 %', '50 %', '559 %', '–']
    """
    if value is None or math.isnan(value):
        return "–"
    share = 100 * value
    if share != 0 and abs(share) < 0.05:
        return "<0.1 %"
    return f"{share:.1f} %" if 0 < abs(share) < 9.95 else f"{share:.0f} %" if abs(share) < 1e5 else f"{number(share)} %"


def duration(seconds: float | None) -> str:
    """Seconds in the unit that suits them.

    >>> [duration(x) for x in (3.2e-6, 0.00106, 0.25, 12.3, 150, 7300)]
    ['3.20 µs', '1.06 ms', '250 ms', '12.3 s', '2 min 30 s', '2 h 1 min']
    """
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 1e-3:
        return f"{number(seconds * 1e6)} µs"
    if seconds < 1:
        return f"{number(seconds * 1e3)} ms"
    if seconds < 100:
        return f"{number(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Bytes in the unit that suits them.

    >>> [size(x) for x in (512, 2048, 5.3e9)]
    ['512 B', '2 KiB', '4.94 GiB']
    """
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log(max(count, 1), 1024)), len(units) - 1)
    return f"{number(count / 1024**power).removesuffix('.00')} {units[power]}"
