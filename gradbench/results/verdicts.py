"""Verdicts of a whole run, corrected over its rows, and what would decide those that are open."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from gradbench.statistics import MARGIN, replicates_needed, verdicts

if TYPE_CHECKING:
    import pandas as pd

UNRESOLVED_MESSAGE = "replicates that would decide, about: "
NO_REFERENCE = "no reference was given: what is measured is spread alone"
"""The message of a row that has no bias."""


def with_verdicts(frame: pd.DataFrame, manifest: dict[str, Any]) -> pd.DataFrame:
    """The rows of a run with ``verdict`` and, where it is open, in ``message`` what would decide it."""
    import pandas as pd  # where there are rows: a run begins without

    ok = frame.status == "ok"
    rows = frame[ok]
    margin = _margin(manifest)
    names = ("bias_p", "bias_high", "gradient_norm", "variance", "replicates", "bias_norm")
    p, high, norm, variance, replicates, bias = (np.asarray(rows[name], dtype=float) for name in names)
    verdict = pd.Series([None] * len(frame), index=frame.index, dtype=object)
    verdict[ok] = verdicts(p, high, norm, variance, margin=margin, groups=rows.group.to_numpy(dtype=object))
    message = frame.message.copy()
    needed = replicates_needed(replicates, bias, high, norm, variance, margin=margin)
    message[ok] = _what_would_decide(needed, replicates, high, variance)
    message[ok & (verdict != "unresolved")] = None
    return frame.assign(verdict=verdict, message=message)


def _margin(manifest: dict[str, Any]) -> float:
    margin = manifest["suite_resolved"].get("measure", {}).get("margin", MARGIN)
    return margin if isinstance(margin, float) and 0 < margin < 1 else MARGIN


def _what_would_decide(needed: list[int], replicates: np.ndarray, high: np.ndarray, variance: np.ndarray) -> list[str]:
    """By row, what would resolve it: about so many replicates, or more of them than saw what there is to be seen."""
    return [
        f"{count:.0f} replicates do not bound the bias: a rare event, or rare values of f, may be missing; take more"
        if math.isinf(bound) and spread > 0
        else f"all {count:.0f} replicates gave one gradient, and not the reference: a rare event may be missing, of a "
        f"frequency up to 3 in {count:.0f}; take more replicates"
        if math.isinf(bound)
        else NO_REFERENCE
        if math.isnan(bound)
        else f"{UNRESOLVED_MESSAGE}{enough}"
        for enough, count, bound, spread in zip(needed, replicates, high, variance, strict=True)
    ]


def replicates_to_resolve(message: str | None) -> int | None:
    """The number that the message of an unresolved row holds.

    >>> replicates_to_resolve("replicates that would decide, about: 12000")
    12000
    """
    found = message.partition(UNRESOLVED_MESSAGE)[2] if isinstance(message, str) else ""
    return int(found) if found.isdigit() else None
