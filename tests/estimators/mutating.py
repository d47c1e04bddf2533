"""Estimators with a mistake in them, made from right ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gradbench.core.types import holding
from gradbench.estimators.base import Estimator


def mutant(original: Estimator, surrogate: Callable[..., Any]) -> Estimator:
    """The estimator with another surrogate."""
    return replace(original, name=f"{original.name}-mutant", surrogate=surrogate)


def without(original: Estimator, factor: str) -> Estimator:
    """The estimator with one hold dropped."""

    def surrogate(*arguments: Any) -> Any:
        with holding(drop=frozenset({factor})):
            return original.surrogate(*arguments)

    return mutant(original, surrogate)


def held_too(original: Estimator, factor: str) -> Estimator:
    """The estimator with one live factor held: a gradient lost."""

    def surrogate(*arguments: Any) -> Any:
        with holding(add=frozenset({factor})):
            return original.surrogate(*arguments)

    return mutant(original, surrogate)


def scaled(original: Estimator, factor: float) -> Estimator:
    """The estimator's surrogate times a number."""
    return mutant(original, lambda *arguments: factor * original.surrogate(*arguments))
