"""What groups of parameters and verdicts are called in every table, and in which colour. Takes no table to be known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

GREEK = {"phi": "φ", "theta": "θ"}
ZERO_MARK = "°"
"""Marks a bias that is compared with the standard deviation of one gradient."""
HEAVY_TAILS = 30
"""Kurtosis of ‖ĝ − E ĝ‖ above which the tails are called heavy; 3 for one Gaussian parameter, less for more."""
HEAVY_MARK, OTHER_MARK = "†", "‡"
"""Marks of heavy tails, and of another number of replicates than the caption says."""
OF_THE_MEAN = "of the mean; no reference"
STYLES = {"biased": "red", "unbiased": "green", "unresolved": "yellow"}
"""Of verdicts."""


def group_title(group: str) -> str:
    """``phi.encoder.weight`` as ``φ.encoder.weight``."""
    head, dot, rest = group.partition(".")
    return GREEK.get(head, head) + dot + rest


def reference_words(references: Iterable[Any]) -> str:
    """Where gradients that bias is held against are from, in words; losses may be measured without any."""
    known = dict.fromkeys(OF_THE_MEAN if one is None or one != one else str(one) for one in references)
    return ", ".join(known)


def without_gradient(norm: float | None, variance: float | None) -> bool:
    """Whether bias is compared with the standard deviation of one gradient, as the gradient itself is 0."""
    return norm == 0 and variance is not None and variance > 0


def heavy_tailed(kurtosis: float | None) -> bool:
    """Whether a few replicates carry the variance, so that its interval is wide and leans on them."""
    return kurtosis is not None and kurtosis > HEAVY_TAILS
