"""In which table of a suite a key belongs."""

from __future__ import annotations

from gradbench.suite.claims import Claim
from gradbench.suite.grids import OWN_KEYS, GridKeys
from gradbench.suite.measure import Measure

TOP = ("name", "title", "seed")
"""Keys of a suite that stand before its tables."""


def place_of(key: str, table: str) -> str | None:
    """Where a ``key`` belongs that the table named ``table`` does not know, in words; None where nowhere.

    >>> place_of("dtype", ""), place_of("replicates", "grid")
    ('it belongs in a [[grid]]', 'it belongs in [measure]')
    """
    from gradbench.problems import PROBLEMS

    homes = {
        "grid": ({*GridKeys.model_fields, *OWN_KEYS}, "in a [[grid]]"),
        "measure": (set(Measure.model_fields), "in [measure]"),
        "": (set(TOP), "at the top of the file, before the tables"),
        "expect": (set(Claim.model_fields), "in an [[expect]]"),
    }
    for name, (keys, words) in homes.items():
        if name != table and key in keys:
            return f"it belongs {words}"
    if table != "grid":
        owners = [name for name, kind in PROBLEMS.items() if key in kind.Parameters.model_fields]
        if owners:
            return f"it belongs in a [[grid]] of {' or '.join(owners[:3])}"
    return None
