"""In which scope an estimator is unbiased, for φ and for θ."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Part = Literal["phi", "theta"]


class Scope(StrEnum):
    """When the mean of a part of the gradient is the exact gradient."""

    EXACTLY = "exactly"
    NUMERICALLY = "to numerical accuracy"
    ONE_SAMPLE = "only for L = 1"
    CONSISTENT = "consistent"
    """In the limit of many samples, and at no finite L."""
    BIASED = "biased"

    def holds(self, samples: int) -> bool:
        """Whether it is unbiased with L = ``samples``."""
        return self in (Scope.EXACTLY, Scope.NUMERICALLY) or (self is Scope.ONE_SAMPLE and samples == 1)


@dataclass(frozen=True)
class Unbiased:
    """The scope of each part of the gradient of one objective."""

    phi: Scope = Scope.EXACTLY
    theta: Scope = Scope.EXACTLY


def unbiased(*objectives: str, phi: Scope = Scope.EXACTLY, theta: Scope = Scope.EXACTLY) -> dict[str, Unbiased]:
    """The same scopes for each of ``objectives``, as `Estimator.unbiased` has them."""
    return {name: Unbiased(phi, theta) for name in objectives}
