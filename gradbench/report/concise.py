"""Figures with their uncertainty in the last digits, as papers print them."""

from __future__ import annotations

import math
from decimal import ROUND_HALF_EVEN, Decimal

WITHOUT_EXPONENT = range(-3, 4)
"""Powers of ten of figures that are written without an exponent."""


def concise(value: float, low: float | None = None, high: float | None = None) -> str:
    """``value`` with the longer arm of its interval in units of the last digit, and powers of ten in threes.

    The arm has one digit, two where the first is a 1. Without an interval: three digits. ∞ and NaN have none.

    >>> [concise(44600, 43900, 45200), concise(4.66, 4.61, 4.71), concise(67.7, 64.5, 71.5), concise(0, 0, 0)]
    ['44.6(7)e3', '4.66(5)', '68(4)', '0']
    >>> [concise(0.00123, 0.00118, 0.00128), concise(15.2, 14.1, 16.4), concise(1234.5), concise(5e-18, 0, 2e-17)]
    ['0.00123(5)', '15.2(12)', '1230', '5(15)e-18']
    """
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    ends = [end for end in (low, high) if end is not None and math.isfinite(end)]
    arm = max((abs(end - value) for end in ends), default=0.0)
    if len(ends) < 2 or arm <= 1e-9 * abs(value):
        return "0" if value == 0 else _without(value)
    lead, power = f"{arm:.1e}".split("e")
    place = int(power) - (lead[0] == "1")  # a 1 alone would be rounded by as much as half of itself
    size = math.floor(math.log10(max(abs(value), arm)))
    exponent = 0 if size in WITHOUT_EXPONENT else 3 * math.floor(size / 3)
    unit = Decimal(1).scaleb(place)
    rounded = (Decimal(repr(value)) / unit).to_integral_value(ROUND_HALF_EVEN) * unit
    error = (Decimal(repr(arm)) / unit).to_integral_value(ROUND_HALF_EVEN) * unit
    decimals = max(exponent - place, 0)
    mantissa = f"{rounded.scaleb(-exponent):.{decimals}f}"
    digits = int(error.scaleb(-exponent + decimals))
    return f"{mantissa}({digits})" + (f"e{exponent}" if exponent else "")


def _without(value: float) -> str:
    size = math.floor(math.log10(abs(value)))
    exponent = 0 if size in WITHOUT_EXPONENT else 3 * math.floor(size / 3)
    scaled = float(f"{value:.3g}") / 10.0**exponent
    decimals = max(2 - (size - exponent), 0)
    return f"{scaled:.{decimals}f}" + (f"e{exponent}" if exponent else "")
