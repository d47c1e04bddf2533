"""The Monte-Carlo reference: the mean of many unbiased estimates, in independent blocks.

Blocks pair with those of the cells, so that the reference's own error enters every figure of bias. What is averaged is
an estimator that is right for the family and the objective; where there is none, there is no reference.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator, Setting
from gradbench.families.base import Family
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from gradbench.target.exact import EVALUATIONS_AT_ONCE, least_noisy, posterior
from gradbench.target.gradients import gradient_of
from gradbench.target.points import Point

MONTE_CARLO_SAMPLES = 8
"""Samples of z behind the reference, per replicate of the cells that it serves."""
BOUND_REPLICATES = 4
"""The same where several samples are inside the objective: whole gradients per replicate."""


def averaged(point: Point, chosen: ChosenObjective, samples: int, q: Family) -> Estimator:
    """The estimator whose mean is the reference with ``samples`` in one gradient.

    Raises MeasurementError where no estimator is right for these latents and this objective.
    """
    if chosen.over_posterior:
        raise MeasurementError(
            f"no reference: {chosen.name} is a mean under the posterior, which no estimator samples: it needs an exact "
            f"posterior\ntake few latents, with finitely many states or a prior with a quadrature that settles"
        )
    if chosen.inside(samples) > 1 and not chosen.joint:
        raise MeasurementError(
            f"no reference: {chosen.name} reduces its samples by more than a mean, and says no estimator to average\n"
            f"name one in its averaged_by"
        )
    if chosen.joint:
        names = chosen.kind.averaged_by
    else:
        own = [q.averaged_by] if q.says("name") and q.averaged_by else []
        names = (*own, q.judge.estimator)
    for name in names:
        estimator = ESTIMATORS[name]
        if _works(point, estimator, chosen, samples) and all(
            estimator.is_unbiased(chosen.name, part, samples) for part in ("phi", "theta")
        ):
            return estimator
    raise MeasurementError(
        f"no reference: the gradient of {chosen.name} with {q.law()} latents has no exact form here, "
        f"and no estimator ({', '.join(names)}) that is right for it to average\n"
        f"take fewer latents or samples, so that it can be enumerated or integrated"
    )


def _works(point: Point, estimator: Estimator, chosen: ChosenObjective, samples: int) -> bool:
    setting = Setting.of(type(point.problem), point.axes.parameters, chosen, samples, estimator.Parameters())
    return estimator.why_not(setting) is None


def block_gradient(point: Point, chosen: ChosenObjective, samples: int, per_block: int, block: int) -> Gradients:
    """The reference's gradient in the block of that number, for cells with ``per_block`` replicates in a block."""
    inside = chosen.inside(samples)
    name = (inside, block) if inside > 1 else (block,)
    generator = point.axes.stream("reference", *name, device=point.device)
    draws = draws_per_replicate(chosen, samples) * per_block
    return gradient_of(point, pieces(point, chosen, samples, draws, generator))


def pieces(
    point: Point, chosen: ChosenObjective, samples: int, draws: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """An unbiased estimate of the gradient in pieces that add up to it.

    ``draws`` counts samples per datapoint where single ones are averaged, else whole gradients of L samples.
    """
    if chosen.joint:
        yield from _whole_gradients(point, chosen, samples, draws, generator)
    else:
        yield from _single_samples(point, chosen, draws, generator)


def evaluations_per_draw(chosen: ChosenObjective, samples: int) -> int:
    """Samples of z in one of the ``draws`` of `pieces`."""
    return samples if chosen.joint else 1


def draws_per_replicate(chosen: ChosenObjective, samples: int) -> int:
    """The ``draws`` of `pieces` that stand behind the reference, per replicate of the cells that it serves."""
    return BOUND_REPLICATES if chosen.inside(samples) > 1 else MONTE_CARLO_SAMPLES


def _single_samples(
    point: Point, chosen: ChosenObjective, samples: int, generator: torch.Generator
) -> Iterator[Tensor]:
    estimator = averaged(point, chosen, 2, posterior(point))  # an even L serves pairs, too
    batch = 1 if point.x is None else point.x.shape[2]
    at_once = min(samples, max(2, EVALUATIONS_AT_ONCE // batch // 2 * 2))
    done = 0
    while done < samples:
        count = min(at_once, samples - done)
        q = posterior(point)
        objective = least_noisy(point, chosen, q)
        noise = estimator.noise(q.held(), 1, count, generator, *estimator.given({}))
        value = estimator.surrogate(objective, q, noise, *estimator.given({}))
        remainder = objective.remainder(q)
        value = value if remainder is None else value + remainder
        yield value.sum() * (count / samples)
        done += count


def _whole_gradients(
    point: Point, chosen: ChosenObjective, samples: int, replicates: int, generator: torch.Generator
) -> Iterator[Tensor]:
    estimator = averaged(point, chosen, samples, posterior(point))
    batch = 1 if point.x is None else point.x.shape[2]
    at_once = max(1, min(replicates, EVALUATIONS_AT_ONCE // (batch * samples)))
    for done in range(0, replicates, at_once):
        count = min(at_once, replicates - done)
        q = posterior(point)
        objective = chosen.at(point.problem, Calls(point.problem.theta), point.x)
        noise = estimator.noise(q.held(), count, samples, generator, *estimator.given({}))
        value = estimator.surrogate(objective, q, noise, *estimator.given({}))
        remainder = objective.remainder(q)
        value = value if remainder is None else value + remainder
        yield value.sum() / replicates
