"""Exact gradients of objectives that are means under the posterior: E_{p(z|x)}[g(z)], of which g alone is live.

The posterior is the joint p(x, z) over its sum, for each datapoint. Where the states are finitely many, the sum is over
them; else over a grid of the prior's, which reaches wherever a posterior can be: one of q's would leave out, without a
sign, what lies beyond q. A grid that the posterior leaves at its edges is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from gradbench.core.types import Gradients
from gradbench.families.base import Family, grid_of
from gradbench.families.support import Support
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from gradbench.target.gradients import gradient_of, norm
from gradbench.target.points import Point

EDGE = 28.0
"""Logarithm below the heaviest node's mass, from which on a node is at the edge: 7.5 standard deviations of 8."""
AT_THE_EDGE = 1e-9
"""Of the posterior, that may lie there."""
FEWEST_NODES = 8


@dataclass(frozen=True)
class Sum:
    """A gradient that was summed over a support."""

    gradient: Gradients
    cancelled: float = 0.0
    """The norms of its two halves together, where they may cancel: what rounding is measured by."""


def prior_of(point: Point) -> Family | None:
    """The prior, held, where it says a grid; else None."""
    prior = point.problem.prior(Calls(point.problem.theta).held())
    return prior if isinstance(prior, Family) and grid_of(prior, FEWEST_NODES) is not None else None


def summed(point: Point, chosen: ChosenObjective, support: Support, prior: Family | None, at_once: int) -> Sum | None:
    """The gradient of Σ p(z|x) g(z) over ``support``, averaged over the minibatch; None where it does not hold it all.

    ``prior``: the law whose grid the support is; None: states, each of which counts once. ``at_once``: values of z
    times datapoints that are evaluated together.
    """
    batch = 1 if point.x is None else point.x.shape[2]
    step = max(1, at_once // batch)
    weights = _posterior(point, chosen, support, prior, step)
    if weights is None:
        return None
    middle = support.size // 2
    halves = [
        gradient_of(point, _pieces(point, chosen, support, weights, step, *ends))
        for ends in ((0, middle), (middle, support.size))
    ]
    total = {name: value + halves[1][name] for name, value in halves[0].items()}
    return Sum(total, sum(map(norm, halves)))


def _posterior(
    point: Point, chosen: ChosenObjective, support: Support, prior: Family | None, step: int
) -> Tensor | None:
    """p(z|x) of each value in the support, [N, B]; None where its sum is no number, or it reaches past the edges."""
    objective = chosen.at(point.problem, Calls(point.problem.theta), point.x)
    parts: list[Tensor] = []
    masses: list[Tensor] = []
    with torch.no_grad():
        for numbers in torch.arange(support.size, device=point.device).split(step):
            z, mass = support.at(numbers)
            log_weight = objective.log_joint(z)
            if prior is not None:
                masses.append(mass[0].log().amax(-1))
                log_weight = log_weight + mass.log() - prior.log_prob(z)
            parts.append(log_weight[0])
        log_weights = torch.cat(parts)
        weights = log_weights.softmax(0)
        if not bool(torch.isfinite(weights).all()):
            return None
        if masses:
            log_mass = torch.cat(masses)
            if float(weights[log_mass < log_mass.max() - EDGE].sum(0).amax()) > AT_THE_EDGE:
                return None
    return weights


def _pieces(
    point: Point, chosen: ChosenObjective, support: Support, weights: Tensor, step: int, start: int, stop: int
) -> Iterator[Tensor]:
    """The terms from ``start`` to ``stop`` in pieces that add up to them."""
    problem = point.problem
    for numbers in torch.arange(start, stop, device=point.device).split(step):
        q = problem.posterior(Calls(problem.phi), point.x)
        z = support.at(numbers)[0].detach()
        objective = chosen.at(problem, Calls(problem.theta), point.x)
        yield (weights[numbers] * objective.in_posterior(z, q)[0]).sum(0).mean()
