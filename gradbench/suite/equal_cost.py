"""At equal cost: what estimators are brought to before they are compared, as many evaluations or seconds for each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gradbench.core.errors import UsageError
from gradbench.results.columns import AVERAGED, COMPARED, COSTS, listed

KNOWN_AT_EQUAL_COST = tuple(name for name in COMPARED if name in AVERAGED)
"""Figures that ratios are formed of at equal cost."""
EXAMPLE = "evaluations=64"
"""How a budget is written."""


@dataclass(frozen=True)
class EqualCost:
    """What one gradient costs is counted in ``unit``, a column of the results, and so is the ``budget``.

    The budget buys budget / cost independent gradients, whose average is what is compared. None: one is chosen for each
    target, which ratios of variances do not depend on.
    """

    unit: str
    budget: float | None = None

    @classmethod
    def of(cls, text: str, where: str = "") -> EqualCost:
        """From ``evaluations`` or ``seconds``, alone or with a budget. Raises UsageError for anything else.

        >>> EqualCost.of("evaluations=64")
        EqualCost(unit='evaluations', budget=64.0)
        """
        unit, equals, number = text.partition("=")
        budget = _number(number) if equals else None
        if unit not in COSTS or (budget is not None and not 0 < budget < math.inf):
            raise UsageError(f"{where + ': ' if where else ''}expected {costs_in_words()}, got {text!r}")
        return cls(unit, budget)

    def column(self, figure: str) -> str:
        """The column that holds ``figure`` at equal cost. Raises UsageError for a figure that is not known there.

        >>> EqualCost("seconds").column("variance")
        'variance_at'
        """
        if figure not in KNOWN_AT_EQUAL_COST:
            raise UsageError(f"at equal {self.unit}, {listed(KNOWN_AT_EQUAL_COST)} can be compared, not {figure}")
        return f"{figure}_at"

    def __str__(self) -> str:
        """As it is written.

        >>> str(EqualCost("seconds", 0.01))
        'seconds=0.01'
        """
        return self.unit if self.budget is None else f"{self.unit}={self.budget:g}"


def costs_in_words() -> str:
    """What ``at`` may be, in words.

    >>> costs_in_words()
    'evaluations or seconds, alone or with a budget above 0 (evaluations=64)'
    """
    return f"{listed(COSTS)}, alone or with a budget above 0 ({EXAMPLE})"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
