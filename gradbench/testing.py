"""For pytest: the check of an estimator as an assertion.

>>> from gradbench.testing import assert_unbiased
>>> from gradbench.estimators import ESTIMATORS
>>> assert_unbiased(ESTIMATORS["exact"], problems=["bernoulli-cost"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gradbench.checking import sequential
from gradbench.checking.verdict import Result, check_estimator
from gradbench.estimators.base import Estimator

__all__ = ["assert_unbiased"]


def assert_unbiased(
    estimator: Estimator | Callable[..., Any],
    *,
    latents: Iterable[str] | None = None,
    problems: Iterable[str] | None = None,
    within: float = sequential.CHECK_MARGIN,
    false_alarms: float = sequential.FALSE_ALARMS,
    replicates: int = sequential.MAX_REPLICATES,
    seed: int = 0,
) -> None:
    """Raise AssertionError unless every tensor's bias is certainly below ``within`` of its exact gradient.

    ``estimator`` is an `Estimator` or a bare surrogate function. The message says what is wrong and where: a broken
    contract with its remedy, a bias with the tensors it is in, or how many replicates certainty would take. A right
    estimator is called biased with probability at most ``false_alarms``; with the same seed the answer is the same.

    Raises UsageError where there is no problem that the estimator can be checked on.
    """
    result = check_estimator(
        estimator,
        latents=latents,
        problems=problems,
        margin=within,
        false_alarms=false_alarms,
        replicates=replicates,
        seed=seed,
    )
    if result.verdict != "unbiased":
        raise AssertionError(message(result))


def message(result: Result) -> str:
    """Why a result is not "unbiased", in a few lines."""
    if result.violations:
        broken = result.violations[0]
        return f"{result.estimator}: {broken.kind} ({broken.target}): {broken.seen}\n{broken.remedy}"
    if result.verdict == "biased":
        lines = [f"{result.estimator} is biased"]
        lines += [f"  {found.part} at {found.target}: {found.message}" for found in result.diagnoses]
        return "\n".join(lines)
    return (
        f"{result.estimator}: no bias found, but none is excluded within {result.margin:.3g}; "
        f"it would take about {result.needed} replicates (replicates={result.needed})"
    )
