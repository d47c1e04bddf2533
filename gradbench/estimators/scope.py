"""In which scope an estimator is unbiased, for φ and for θ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

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
    at: Mapping[str, Any] = field(default_factory=dict)
    """Values of the estimator's parameters that the scope of φ is for, by name; at any others φ is biased."""

    def under(self, parameters: Any) -> Unbiased:
        """The scopes at ``parameters`` of the estimator.

        >>> from types import SimpleNamespace as Parameters
        >>> half = Unbiased(at={"gamma": 0.0})
        >>> [half.under(Parameters(gamma=value)).phi.value for value in (0.0, 0.5)]
        ['exactly', 'biased']
        """
        if all(getattr(parameters, name) == value for name, value in self.at.items()):
            return self
        return replace(self, phi=Scope.BIASED)


def unbiased(
    *objectives: str, phi: Scope = Scope.EXACTLY, theta: Scope = Scope.EXACTLY, at: Mapping[str, Any] | None = None
) -> dict[str, Unbiased]:
    """The same scopes for each of ``objectives``, as `Estimator.unbiased` has them."""
    return {name: Unbiased(phi, theta, dict(at or {})) for name in objectives}
