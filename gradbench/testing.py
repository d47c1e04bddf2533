"""For pytest: the check of an estimator, or of a loss, as an assertion.

>>> from gradbench.testing import assert_unbiased
>>> from gradbench.estimators import ESTIMATORS
>>> assert_unbiased(ESTIMATORS["exact"], problems=["bernoulli-cost"])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from gradbench.checking import sequential
from gradbench.checking.verdict import Result, check_estimator
from gradbench.core.errors import UsageError
from gradbench.estimators.base import Estimator
from gradbench.losses.asserting import MOST_FOR_A_LOSS, why_not_less_variance, why_not_unbiased
from gradbench.statistics import MARGIN

__all__ = ["assert_less_variance", "assert_unbiased"]


def assert_unbiased(
    estimator: Estimator | Callable[..., Any],
    parameters: Any = None,
    reference: Any = None,
    *,
    latents: Iterable[str] | None = None,
    problems: Iterable[str] | None = None,
    within: float | None = None,
    false_alarms: float = sequential.FALSE_ALARMS,
    replicates: int | None = None,
    seed: int = 0,
    sign: str | int = "loss",
    state: str = "refuse",
) -> None:
    """Raise AssertionError unless every tensor's bias is certainly below ``within`` of its exact gradient.

    ``estimator`` is an `Estimator` or a bare surrogate function, checked on ``problems``; or, with ``parameters`` and
    a ``reference``, a loss as it is: a callable that draws its own randomness, whose mean gradient is to be that of
    another loss, or a fixed gradient (see `measure`, which ``sign`` and ``state`` are of). ``within`` is 2 % for
    estimators and 5 % for losses.

    The message says what is wrong and where: a broken contract with its remedy, a bias with the tensors it is in, or
    how many replicates certainty would take. What is right is called biased with probability at most
    ``false_alarms``; with the same seed the answer is the same. ``replicates``: of the last look, at most.

    Raises UsageError where there is no problem that the estimator can be checked on, or no reference for a loss, and
    MeasurementError where a loss cannot be measured.
    """
    if parameters is not None or reference is not None:
        if parameters is None or reference is None:
            raise UsageError("a loss is held against a reference: assert_unbiased(loss, parameters, reference)")
        why = why_not_unbiased(
            estimator,
            parameters,
            reference,
            within=within or MARGIN,
            false_alarms=false_alarms,
            replicates=replicates or MOST_FOR_A_LOSS,
            seed=seed,
            sign=sign,
            state=state,
        )
        if why is not None:
            raise AssertionError(why)
        return
    result = check_estimator(
        estimator,
        latents=latents,
        problems=problems,
        margin=within or sequential.CHECK_MARGIN,
        false_alarms=false_alarms,
        replicates=replicates or sequential.MAX_REPLICATES,
        seed=seed,
    )
    if result.verdict != "unbiased":
        raise AssertionError(message(result))


def assert_less_variance(
    a: Callable[[], Any],
    b: Callable[[], Any],
    parameters: Any,
    *,
    factor: float = 1.0,
    group: str = "all",
    false_alarms: float = sequential.FALSE_ALARMS,
    replicates: int = MOST_FOR_A_LOSS,
    seed: int = 0,
    state: str = "refuse",
) -> None:
    """Raise AssertionError unless the gradient of loss ``a`` varies less than ``factor`` times that of loss ``b``.

    Both are evaluated under the same seeds, block by block, and looked at again with four times the replicates, up to
    ``replicates``, until it is clear. It passes although it is not so with probability at most ``false_alarms``.
    ``group``: of which parameters. Raises MeasurementError where one cannot be measured.
    """
    why = why_not_less_variance(
        a,
        b,
        parameters,
        factor=factor,
        group=group,
        false_alarms=false_alarms,
        replicates=replicates,
        seed=seed,
        state=state,
    )
    if why is not None:
        raise AssertionError(why)


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
