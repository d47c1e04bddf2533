"""Exact reference gradients: a closed form, else a sum over states, else quadrature; for any family and objective.

All are computed in float64 at the parameter values that the cell has. Closed forms and enumeration are exact to
rounding; quadrature is exact to far less than the 1e-6 of the norm that its last refinement may change. Where L samples
are inside the objective, the sum is over all L-tuples of states or nodes (those that differ in their order alone are
taken together, where the objective does not see it); where they are so in independent groups, over the tuples of one
group, whose gradient is that of all. An objective that is a mean under the posterior is summed over that instead
(`over_posterior`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from gradbench.core.errors import UsageError
from gradbench.core.types import Gradients
from gradbench.families.base import Family, grid_of, states_of
from gradbench.families.support import MAX_STATES, Support, digits, each_multiset, multisets
from gradbench.objectives.base import Objective
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from gradbench.target import over_posterior
from gradbench.target.gradients import distance, gradient_of, norm
from gradbench.target.points import Point

Exact = Literal["closed-form", "enumeration", "quadrature"]

QUADRATURE_NODES = (24, 32, 48, 64, 96, 128, 192, 256)
"""Nodes per dimension, tried in turn until the gradient stays the same."""
POSTERIOR_NODES = (384, 512, 768, 1024)
"""More of them, for a posterior: it may be much narrower than the prior, which they are laid over."""
POSTERIOR_TERMS = 2**14
"""Terms that the first grid for a posterior has, where that many are to be had: two coarse grids could both step over a
narrow mode, and agree."""
FEWEST_REFINEMENTS = 3
"""So many of them must be affordable for quadrature to be tried at all."""
QUADRATURE_TOLERANCE = 1e-6
"""Of the gradient's norm, that the last step to more nodes may change. Convergence being exponential, what is left
after it is far less."""
CANCELLATION_TOLERANCE = 1e-11
"""Of parts that cancel in the gradient, that rounding and the last step may change where little of them is left."""
MAX_TUPLES = 2**20
"""The most terms, per datapoint, of a sum over nodes or over tuples of states."""
MAX_EVALUATIONS = 2**25
"""The most terms × datapoints that quadrature may take in all its refinements: about two minutes of a small network."""
EVALUATIONS_AT_ONCE = 2**16
"""Latent states × datapoints (or samples × datapoints) evaluated in one pass."""


def exactly(
    precise: Point, chosen: ChosenObjective, samples: int, most: float = math.inf, nodes: float = math.inf
) -> tuple[Exact, Gradients] | None:
    """The exact gradient of the objective at a point in float64, and how it was found; None where there is none.

    ``most``: evaluations per datapoint that it may take, and ``nodes``: those of the finest quadrature. What a
    posterior inherits from its family is not exact for it: only what its own class says.
    Raises UsageError where the objective has no value for L = ``samples``.
    """
    if (why_not := chosen.why_not_samples(samples)) is not None:
        raise UsageError(f"no reference: {why_not}")
    inside = chosen.inside(samples)
    q = posterior(precise)
    if chosen.over_posterior:
        return _over_posterior(precise, chosen, q, most, nodes)
    objective = least_noisy(precise, chosen, q)
    if inside == 1:
        value = objective.closed_form(Calls(precise.problem.phi), q)
        if value is not None:
            return precise.problem.exact_by, gradient_of(precise, iter([value]))
    states = states_of(q)
    few = states is not None and states.size <= min(MAX_STATES, most)
    if states is not None and few and _terms(states, chosen, inside) <= min(MAX_TUPLES, most):
        return "enumeration", _summed(precise, chosen, states_of, inside)
    if (gradient := _quadrature(precise, chosen, inside, most, nodes)) is not None:
        return "quadrature", gradient
    return None


def posterior(point: Point) -> Family:
    """q_φ(z|x) at the point."""
    return point.problem.posterior(Calls(point.problem.phi), point.x)


def least_noisy(point: Point, chosen: ChosenObjective, q: Family) -> Objective:
    """The objective at the point, its KL in closed form where there is one."""
    theta = Calls(point.problem.theta)
    least = chosen.least_noisy(point.problem, point.axes.parameters, theta, q)
    return least.at(point.problem, theta, point.x)


def _over_posterior(
    point: Point, chosen: ChosenObjective, q: Family, most: float, nodes: float
) -> tuple[Exact, Gradients] | None:
    """The gradient of a mean under the posterior: over q's states, else over the prior's grid."""
    states = states_of(q)
    if states is not None and states.size <= min(MAX_STATES, most):
        found = over_posterior.summed(point, chosen, states, None, EVALUATIONS_AT_ONCE)
        return None if found is None else ("enumeration", found.gradient)
    prior = over_posterior.prior_of(point)
    if prior is None:
        return None

    def at(count: int) -> over_posterior.Sum | None:
        grid = grid_of(prior, count)
        assert grid is not None
        return over_posterior.summed(point, chosen, grid, prior, EVALUATIONS_AT_ONCE)

    grids = [(count, grid_of(prior, count)) for count in QUADRATURE_NODES + POSTERIOR_NODES]
    sizes = [(count, None if grid is None else grid.size) for count, grid in grids]
    fine = [pair for pair in sizes if pair[1] and pair[1] >= POSTERIOR_TERMS]
    gradient = _settled(point, fine or sizes[-FEWEST_REFINEMENTS:], at, most, nodes)
    return None if gradient is None else ("quadrature", gradient)


def _quadrature(point: Point, chosen: ChosenObjective, inside: int, most: float, nodes: float) -> Gradients | None:
    """The gradient by q's grids with more and more nodes, until it settles; None where it does not, or not in time."""
    q = posterior(point)

    def at(count: int) -> over_posterior.Sum:
        return over_posterior.Sum(_summed(point, chosen, lambda q: grid_of(q, count), inside))

    grids = [(count, grid_of(q, count)) for count in QUADRATURE_NODES]
    sizes = [(count, None if grid is None else _terms(grid, chosen, inside)) for count, grid in grids]
    return _settled(point, sizes, at, most, nodes)


def _terms(support: Support, chosen: ChosenObjective, inside: int) -> int:
    """Terms of the sum over ``inside``-tuples of the support, those that are alike in all but their order being one."""
    if inside > 1 and chosen.kind.exchangeable:
        return multisets(support.size, inside)
    return support.size**inside


def _chosen_values(
    support: Support, chosen: ChosenObjective, inside: int, at_once: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Numbers [N, inside] of the values in each tuple, and in how many orders each comes."""
    if chosen.kind.exchangeable:
        yield from each_multiset(support.size, inside, at_once)
        return
    terms = support.size**inside
    for start in range(0, terms, at_once):
        numbers = torch.arange(start, min(start + at_once, terms))
        yield digits(numbers, support.size, inside), torch.ones(len(numbers))


def _settled(
    point: Point,
    sizes: list[tuple[int, int | None]],
    at: Callable[[int], over_posterior.Sum | None],
    most: float,
    nodes: float,
) -> Gradients | None:
    """What ``at`` gives with more and more nodes, once it stays the same; None where it does not, or not in time.

    ``sizes``: nodes per dimension, from few to many, with the terms of the whole sum.
    """
    affordable = [(count, size) for count, size in sizes if size and size <= MAX_TUPLES]
    if len(affordable) < FEWEST_REFINEMENTS or affordable[-1][1] > nodes:
        return None
    batch = 1 if point.x is None else point.x.shape[2]
    before: Gradients | None = None
    spent = 0
    for count, size in affordable:
        spent += size
        if spent > most or spent * batch > MAX_EVALUATIONS:
            return None
        found = at(count)
        if found is None:
            before = None
            continue
        gradient = found.gradient
        if before is not None:
            change = distance(gradient, before)
            if change <= max(QUADRATURE_TOLERANCE * norm(gradient), CANCELLATION_TOLERANCE * found.cancelled):
                return gradient
        before = gradient
    return None


def _summed(
    point: Point, chosen: ChosenObjective, support_of: Callable[[Family], Support | None], inside: int
) -> Gradients:
    """The gradient of the sum over the support, or over all its ``inside``-tuples, of mass × f."""
    pieces = _single(point, chosen, support_of) if inside == 1 else _tuples(point, chosen, support_of, inside)
    return gradient_of(point, pieces)


def _evaluated(
    point: Point, chosen: ChosenObjective, support: Support, q: Family, rows: slice
) -> tuple[Tensor, Tensor]:
    """Masses and f, [N, B or 1] and [N, B], of the numbered values ``rows``."""
    numbers = torch.arange(support.size, device=point.device)[rows]
    z, mass = support.at(numbers)
    return mass[0], least_noisy(point, chosen, q).f(z, q)[0]


def _single(point: Point, chosen: ChosenObjective, support_of: Callable[[Family], Support | None]) -> Iterator[Tensor]:
    """The exact objective in pieces that add up to it."""
    batch = 1 if point.x is None else point.x.shape[2]
    step = max(1, EVALUATIONS_AT_ONCE // batch)
    size = _support(posterior(point), support_of).size
    for start in range(0, size, step):
        q = posterior(point)
        mass, f = _evaluated(point, chosen, _support(q, support_of), q, slice(start, start + step))
        yield (mass * f).sum(0).mean()
    q = posterior(point)
    remainder = least_noisy(point, chosen, q).remainder(q)
    if remainder is not None:
        yield remainder.sum()


def _tuples(
    point: Point, chosen: ChosenObjective, support_of: Callable[[Family], Support | None], inside: int
) -> Iterator[Tensor]:
    """One scalar whose gradient is that of Σ over tuples of Π mass × reduced f.

    f is evaluated once at each value of z. The derivatives of the sum in those evaluations and in the masses are
    added up over tuples, and then taken back through them in one pass.
    """
    q = posterior(point)
    support = _support(q, support_of)
    mass, f = _evaluated(point, chosen, support, q, slice(None))
    objective = least_noisy(point, chosen, q)
    leaves = [value.detach().requires_grad_() for value in (mass, f)]
    step = max(1, EVALUATIONS_AT_ONCE // (f.shape[1] * inside))
    for numbers, orders in _chosen_values(support, chosen, inside, step):
        masses, values = (leaf[numbers.to(f.device)] for leaf in leaves)
        reduced = objective.reduce_inside(values)
        (orders.to(reduced)[:, None] * masses.prod(1) * reduced).sum(0).mean().backward()
    derivatives = [leaf.grad for leaf in leaves]
    assert derivatives[0] is not None
    assert derivatives[1] is not None
    yield (mass * derivatives[0]).sum() + (f * derivatives[1]).sum()
    remainder = objective.remainder(q)
    if remainder is not None:
        yield remainder.sum()


def _support(q: Family, support_of: Callable[[Family], Support | None]) -> Support:
    support = support_of(q)
    assert support is not None
    return support
