"""Settings in a line, for the reasons why an estimator cannot work in them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import EstimatorParameters, Setting
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS


def setting(
    problem: str, objective: str | None = None, kl: Any = "analytic", samples: int = 2, layers: int = 1, **keys: Any
) -> Setting:
    """A setting on a problem at its default parameters but for ``keys``, under its own objective if none is said."""
    kind = PROBLEMS[problem]
    chosen = ChosenObjective(objective or kind.objective, None if kind.objective == "cost" else kl)
    return replace(Setting.of(kind, kind.Parameters(**keys), chosen, samples, EstimatorParameters()), layers=layers)


def refuses(name: str, where: Setting, says: str) -> None:
    """Assert that the estimator cannot work in a setting, and that its reason has ``says`` in it, a pattern."""
    reason = ESTIMATORS[name].why_not(where)
    assert reason is not None, f"{name} works there"
    assert name in reason
    assert re.search(says, reason), reason


def accepts(name: str, where: Setting) -> None:
    """Assert that the estimator works in a setting."""
    assert ESTIMATORS[name].why_not(where) is None
