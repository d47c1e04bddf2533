"""The gradient that bias is measured against: closed form, else enumeration, else quadrature, else Monte-Carlo.

The first three are computed in float64 at the parameter values that the cell has. Closed forms and enumeration are
exact to rounding; quadrature is exact to far less than the 1e-6 of the norm that its last refinement may change.
The last is the mean of many unbiased estimates, in as many independent blocks as the cell has, so that its own
error enters every figure of bias. Blocks are kept in the precision of the cell, as block means are, and like them go to
a temporary file past the budget of memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gradbench.core.bank import UNLIMITED, Bank, columns
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients
from gradbench.estimators import ESTIMATORS
from gradbench.families.base import MAX_STATES, Bernoulli, Gaussian, Posterior, is_standard
from gradbench.objectives.base import Objective, exact_kl
from gradbench.problems.networks import Calls
from gradbench.target.points import Point

Kind = Literal["closed-form", "enumeration", "quadrature", "monte-carlo"]

QUADRATURE_DIMENSIONS = 2
QUADRATURE_NODES = (24, 32, 48, 64, 96, 128, 192, 256)
"""Nodes per dimension, tried in turn until the gradient stays the same."""
QUADRATURE_REACH = 8.0
"""Standard deviations to either side; beyond them lies 1e-15 of the mass."""
QUADRATURE_TOLERANCE = 1e-6
"""Of the gradient's norm, that the last step to more nodes may change. Convergence being exponential, what is left
after it is far less."""
EVALUATIONS_AT_ONCE = 2**16
"""Latent states × datapoints (or samples × datapoints) evaluated in one pass."""
MONTE_CARLO_SAMPLES = 64
"""Samples of z behind the reference, per replicate of the cells that it serves."""
BOUND_REPLICATES = 4
"""Gradients behind the reference of a multi-sample bound, per replicate of the cells that it serves."""
UNBIASED = {"gaussian": "pathwise-antithetic", "bernoulli": "disarm"}
"""By family of latents: the estimator that a Monte-Carlo reference averages."""
UNBIASED_FOR_OTHERS = {"gaussian": "pathwise", "bernoulli": "score-function-loo"}
"""The same for posteriors that are subclasses of the family's own: right whatever their law, if they sample it."""


@dataclass(frozen=True)
class Reference:
    """A reference gradient (float64); for Monte-Carlo also its blocks, [K, *shape] per parameter."""

    kind: Kind
    gradient: Gradients
    blocks: Gradients | None = None
    minibatches: Gradients | None = None
    """The gradient at each block's own minibatch, [K, *shape], exact or estimated from draws of its own; None where
    all blocks have the same."""

    @property
    def exact(self) -> bool:
        """Is it exact to rounding?"""
        return self.blocks is None

    @property
    def count(self) -> int | None:
        """K, the number of blocks that it has something for; None where it has nothing by block."""
        each = self.minibatches or self.blocks
        return None if each is None else len(next(iter(each.values())))


def compute(point: Point, replicates: int, blocks: int, bound: int = 1, budget: int = UNLIMITED) -> Reference:
    """The reference at ``point``, for cells of ``replicates`` in ``blocks``.

    ``bound``: samples inside the log of the importance-weighted bound; 1 is the ELBO, or a cost. ``budget``: bytes
    that blocks may take before they go to a temporary file.
    """
    found = exactly(point.to(torch.float64), bound)
    if found is not None:
        return found
    return estimated(point, bound, replicates, range(blocks), budget)


def exactly(precise: Point, bound: int, most: float = math.inf, nodes: float = math.inf) -> Reference | None:
    """The exact reference at a point in float64; None where there is none.

    ``most``: evaluations per datapoint that it may take, and ``nodes``: those of the finest quadrature. A posterior
    that is a subclass of a family has a law of its own: no quadrature or enumeration of that family is exact for it.
    """
    q = _posterior(precise)
    dimensions = bound * q.parameters["loc"].shape[-1] if type(q) is Gaussian else 0
    quadrature = 0 < dimensions <= QUADRATURE_DIMENSIONS and QUADRATURE_NODES[-1] ** dimensions <= nodes
    if bound == 1:
        value = precise.problem.closed_form(Calls(precise.problem.phi), Calls(precise.problem.theta), precise.x)
        if value is not None:
            return Reference("closed-form", gradient_of(precise, iter([value])))
        if type(q) is Bernoulli and 2 ** q.parameters["logits"].shape[-1] <= min(MAX_STATES, most):
            return Reference("enumeration", gradient_of(precise, _enumerated(precise)))
    if quadrature and (gradient := _quadrature(precise, bound, most)) is not None:
        return Reference("quadrature", gradient)
    return None


def estimated(point: Point, bound: int, replicates: int, blocks: range, budget: int = UNLIMITED) -> Reference:
    """The Monte-Carlo reference in the given blocks, which together serve ``replicates``."""
    if bound > 1:
        return importance_weighted(point, replicates, len(blocks), bound, blocks.start, budget)
    return monte_carlo(point, replicates, len(blocks), blocks.start, budget)


def extended(
    reference: Reference, point: Point, replicates: int, blocks: int, bound: int = 1, budget: int = UNLIMITED
) -> Reference:
    """``reference`` with blocks added until there are ``blocks``, each for ``replicates`` / ``blocks`` of a cell.

    An exact one stays as it is. ``budget``: see `compute`.
    """
    have, per_block = reference.count, replicates // blocks
    if have is None or have >= blocks:
        return reference
    extra = estimated(point, bound, per_block * (blocks - have), range(have, blocks), budget)
    assert extra.blocks is not None
    assert reference.blocks is not None
    kept = reference.blocks
    bank = bank_for(point, blocks, budget)
    for name in kept:
        for row in range(blocks):
            bank.rows[name][row] = (kept[name][row] if row < have else extra.blocks[name][row - have]).flatten()
    return mean_of(bank, point)


def monte_carlo(point: Point, replicates: int, blocks: int, first: int = 0, budget: int = UNLIMITED) -> Reference:
    """The mean of an unbiased estimator over ``MONTE_CARLO_SAMPLES`` × ``replicates`` samples.

    They come in ``blocks``, from the block ``first`` on.

    Raises MeasurementError where a block's mean is not finite.
    """
    samples = MONTE_CARLO_SAMPLES * replicates // blocks

    def pieces(block: int) -> Iterator[Tensor]:
        return elbo_pieces(point, samples, point.axes.stream("reference", block, device=point.device))

    return _from_blocks(point, pieces, range(first, first + blocks), budget)


def elbo_pieces(point: Point, samples: int, generator: torch.Generator) -> Iterator[Tensor]:
    """An unbiased estimate of the objective's gradient from ``samples`` per datapoint, in pieces that add up to it."""
    law = UNBIASED if is_standard(_posterior(point)) else UNBIASED_FOR_OTHERS
    estimator = ESTIMATORS[law[point.problem.family]]
    batch = 1 if point.x is None else point.x.shape[2]
    at_once = min(samples, max(2, EVALUATIONS_AT_ONCE // batch // 2 * 2))
    done = 0
    while done < samples:
        count = min(at_once, samples - done)
        q = _posterior(point)
        objective = _objective(point, q)
        noise = estimator.noise(q.held(), 1, count, generator)
        value = estimator.surrogate(objective, q, noise)
        remainder = objective.remainder(q)
        value = value if remainder is None else value + remainder
        yield value.sum() * (count / samples)
        done += count


def importance_weighted(
    point: Point, replicates: int, blocks: int, bound: int, first: int = 0, budget: int = UNLIMITED
) -> Reference:
    """The mean of ``BOUND_REPLICATES`` × ``replicates`` doubly reparameterised gradients of the ``bound``-sample bound.

    Raises MeasurementError where a block's mean is not finite.
    """
    each = BOUND_REPLICATES * replicates // blocks

    def pieces(block: int) -> Iterator[Tensor]:
        return bound_pieces(point, each, bound, point.axes.stream("reference", bound, block, device=point.device))

    return _from_blocks(point, pieces, range(first, first + blocks), budget)


def bound_pieces(point: Point, replicates: int, bound: int, generator: torch.Generator) -> Iterator[Tensor]:
    """The mean of ``replicates`` gradients of the ``bound``-sample bound, in pieces that add up to it."""
    estimator = ESTIMATORS["iwae-dreg"]
    batch = 1 if point.x is None else point.x.shape[2]
    at_once = max(1, min(replicates, EVALUATIONS_AT_ONCE // (batch * bound)))
    for done in range(0, replicates, at_once):
        count = min(at_once, replicates - done)
        q = _posterior(point)
        objective = Objective(point.problem, Calls(point.problem.theta), point.x, "monte-carlo")
        noise = estimator.noise(q.held(), count, bound, generator)
        yield estimator.surrogate(objective, q, noise).sum() / replicates


def _from_blocks(point: Point, pieces: Callable[[int], Iterator[Tensor]], blocks: range, budget: int) -> Reference:
    bank = bank_for(point, len(blocks), budget)
    for row, block in enumerate(blocks):
        put(bank, row, gradient_of(point, pieces(block)))
    return mean_of(bank, point)


def bank_for(point: Point, blocks: int, budget: int) -> Bank:
    """Room for a gradient in each block."""
    sizes = {name: value.numel() for name, value in point.problem.named_parameters().items()}
    return Bank(blocks, sizes, point.dtype(), budget)


def put(bank: Bank, block: int, gradient: Gradients) -> None:
    """Keep the gradient of a block. Raises MeasurementError where it is not finite."""
    if not all(bool(torch.isfinite(value).all()) for value in gradient.values()):
        raise MeasurementError("the reference gradient is not finite")
    for name, value in gradient.items():
        bank.rows[name][block] = value.flatten()


def mean_of(bank: Bank, point: Point) -> Reference:
    """The Monte-Carlo reference that the gradients of the blocks make."""
    gradient = {}
    for name, value in point.problem.named_parameters().items():
        rows = bank.rows[name]
        means = [rows[:, part].mean(0, dtype=torch.float64) for part in columns(value.numel(), len(rows))]
        gradient[name] = torch.cat(means).reshape(value.shape).to(point.device)
    return Reference("monte-carlo", gradient, shaped(bank, point))


def shaped(bank: Bank, point: Point) -> Gradients:
    """The rows of ``bank``, [K, *shape]."""
    return {name: bank.rows[name].unflatten(1, value.shape) for name, value in point.problem.named_parameters().items()}


def _posterior(point: Point) -> Posterior:
    return point.problem.posterior(Calls(point.problem.phi), point.x)


def _objective(point: Point, q: Posterior, bound: int = 1) -> Objective:
    theta = Calls(point.problem.theta)
    kl = exact_kl(point.problem, theta, q) if bound == 1 else "monte-carlo"
    return Objective(point.problem, theta, point.x, kl)


def gradient_of(point: Point, pieces: Iterator[Tensor]) -> Gradients:
    """The gradient of the sum of ``pieces``, in float64; each piece's graph is freed before the next is made."""
    parameters = point.problem.named_parameters()
    total = {name: torch.zeros_like(value, dtype=torch.float64) for name, value in parameters.items()}
    for piece in pieces:
        if not piece.requires_grad:
            continue
        found = torch.autograd.grad(piece, tuple(parameters.values()), allow_unused=True)
        for name, gradient in zip(parameters, found, strict=True):
            if gradient is not None:
                total[name] += gradient
    return total


def _weighted(point: Point, rows: int, part: Callable[[Posterior, slice], Tensor], bound: int = 1) -> Iterator[Tensor]:
    """The exact objective in pieces: ``part`` yields Σ weight · f, [B], over a slice of states or nodes."""
    batch = 1 if point.x is None else point.x.shape[2]
    step = max(1, EVALUATIONS_AT_ONCE // (batch * bound))
    for start in range(0, rows, step):
        yield part(_posterior(point), slice(start, start + step)).mean()
    q = _posterior(point)
    remainder = _objective(point, q, bound).remainder(q)
    if remainder is not None:
        yield remainder.sum()


def _enumerated(point: Point) -> Iterator[Tensor]:
    first = _posterior(point)
    assert isinstance(first, Bernoulli)
    states = first.states()

    def part(q: Posterior, rows: slice) -> Tensor:
        z = states[:, rows]
        return (q.log_prob(z).exp() * _objective(point, q).f(z, q)).sum((0, 1))

    return _weighted(point, states.shape[1], part)


def _quadrature(point: Point, bound: int = 1, most: float = math.inf) -> Gradients | None:
    """The trapezoidal rule under the Gaussian, with more nodes until the gradient settles; None where it does not,

    or not with ``most`` evaluations for each datapoint.

    For analytic integrands on the whole line it converges exponentially, and unlike Gauss-Hermite quadrature not much
    more slowly where a network bends within a fraction of the posterior's width. Of the ``bound``-sample bound, all
    of its samples are integrated over.
    """
    latent = _posterior(point).parameters["loc"].shape[-1]
    before: Gradients | None = None
    spent = 0
    for count in QUADRATURE_NODES:
        spent += count ** (latent * bound)
        if spent > most:
            return None
        x = torch.linspace(-QUADRATURE_REACH, QUADRATURE_REACH, count, dtype=torch.float64, device=point.device)
        w = torch.softmax(-(x**2) / 2, 0)
        nodes = torch.cartesian_prod(*[x] * (latent * bound)).reshape(-1, bound, 1, latent)
        masses = torch.cartesian_prod(*[w] * (latent * bound)).reshape(len(nodes), -1).prod(-1)

        def part(q: Posterior, rows: slice, nodes: Tensor = nodes, masses: Tensor = masses) -> Tensor:
            f = _objective(point, q, bound).f(q.sample(nodes[rows]), q)
            return (masses[rows, None] * (f.logsumexp(1) - math.log(bound))).sum(0)

        gradient = gradient_of(point, _weighted(point, len(masses), part, bound))
        if before is not None and _distance(gradient, before) <= QUADRATURE_TOLERANCE * _norm(gradient):
            return gradient
        before = gradient
    return None


def _norm(gradient: Gradients) -> float:
    return sum(float((value**2).sum()) for value in gradient.values()) ** 0.5


def _distance(a: Gradients, b: Gradients) -> float:
    return _norm({name: a[name] - b[name] for name in a})
