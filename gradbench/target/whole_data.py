"""The gradient over a whole data set, for cells whose blocks each have a minibatch of their own.

It is the mean of the gradients at single minibatches. Bias is measured block by block against the gradient at the
block's own minibatch: the differences of those from the whole have mean 0, and taking them off leaves the bias as it is
without the noise of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from gradbench.core.bank import UNLIMITED, Bank
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients
from gradbench.families.base import Posterior
from gradbench.objectives.base import Objective, closed_form_kl
from gradbench.problems.networks import Calls
from gradbench.target import reference
from gradbench.target.points import Point
from gradbench.target.reference import Reference

EXACT_EVALUATIONS = 2**23
"""Latent states × datapoints that an exact gradient over a whole data set may take: tens of seconds on one core."""
ROWS_COMPARED = 8
"""Rows whose terms are compared with and without as many more."""
ROUNDING = 1e-8
"""Of the largest, that terms in float64 may differ by: rounding is 1e-14 of it."""
ROWS_AT_ONCE = 256
"""Datapoints of a data set whose exact gradient is computed together."""


def compute(
    point: Point,
    replicates: int,
    blocks: int,
    bound: int = 1,
    tick: Callable[[float], None] = lambda share: None,
    budget: int = UNLIMITED,
) -> Reference:
    """The reference over the whole data set, for cells of ``replicates`` in ``blocks`` with a minibatch each.

    The gradient is exact where that takes at most ``EXACT_EVALUATIONS``, else Monte-Carlo over all datapoints at the
    price of `reference.monte_carlo`. At each block's minibatch it is exact where that is cheap, else a Monte-Carlo
    estimate.
    Raises MeasurementError where the terms of a minibatch are more than those of its datapoints.
    ``tick`` is told the share of the work that is done. ``budget``: bytes that blocks may take, in the precision of the
    cell, before they go to a temporary file.
    """
    check_rows_apart(point)
    whole = _exact_over_data(point, bound, tick)
    first = Reference(whole.kind, whole.gradient, None, {}) if whole else Reference("monte-carlo", {}, {}, {})
    return _grown(first, point, replicates // blocks, range(blocks), bound, budget, tick)


def extended(
    known: Reference, point: Point, replicates: int, blocks: int, bound: int = 1, budget: int = UNLIMITED
) -> Reference:
    """``known`` with blocks added until there are ``blocks``, each for ``replicates`` / ``blocks`` of a cell."""
    have = known.count or 0
    return known if have >= blocks else _grown(known, point, replicates // blocks, range(have, blocks), bound, budget)


def check_rows_apart(point: Point) -> None:
    """Raise MeasurementError where the terms of a datapoint depend on what else is in its minibatch.

    Then the mean of the gradients at all minibatches is no sum over the data set, and there is no reference for it.
    """
    precise = point.to(torch.float64)
    assert precise.rows is not None, "a suite refuses to redraw the minibatch of a problem without data"
    few = min(point.axes.parameters.batch, len(precise.rows) // 2, ROWS_COMPARED)
    if few < 1:
        return
    try:
        with torch.no_grad():
            both = precise.at(slice(0, 2 * few))
            noise = _posterior(both).noise(1, 2, point.axes.stream("rows apart", device=point.device))
            among = _terms(both, noise)
            halves = slice(0, few), slice(few, 2 * few)
            alone = [_terms(precise.at(rows), _at(noise, rows)) for rows in halves]
    except Exception as error:  # a module that needs a minibatch of one size may raise anything
        text = " ".join(str(error).split())[:100]
        raise MeasurementError(
            f"noise = 'latent+data': {few} and {2 * few} rows cannot both be a minibatch "
            f"({type(error).__name__}: {text}); use noise = 'latent'"
        ) from error
    for rows, terms in zip(halves, alone, strict=True):
        for one, other in zip(terms, among, strict=True):
            size = float(one.detach().abs().max())
            again = _at(other, rows)
            same = ((one - again).abs() <= ROUNDING * size) | (one.isnan() & again.isnan())
            if not bool(same.all()):
                raise MeasurementError(
                    "noise = 'latent+data': the terms of a datapoint depend on the rest of its minibatch "
                    "(a module mixes rows?), so there is no gradient over the data set; use noise = 'latent'"
                )


def _at(value: Tensor, rows: slice) -> Tensor:
    """The part of some datapoints in [R, L, B, …]; all of it where they have it in common."""
    return value if value.shape[2] == 1 else value[:, :, rows]


def _posterior(point: Point) -> Posterior:
    return point.problem.posterior(Calls(point.problem.phi), point.x)


def _terms(point: Point, noise: Tensor) -> list[Tensor]:
    """Parameters of q, f and the KL at each datapoint, [1, L, B, …]."""
    problem, theta, q = point.problem, Calls(point.problem.theta), _posterior(point)
    f = Objective(problem, theta, point.x, "monte-carlo").f(q.sample(noise), q)
    kl = [q.kl(problem.prior(theta))] if closed_form_kl(problem, theta, q) else []
    return [*q.parameters.values(), f, *kl]


def _exact_over_data(point: Point, bound: int, tick: Callable[[float], None]) -> Reference | None:
    precise = point.to(torch.float64)
    assert point.rows is not None, "a suite refuses to redraw the minibatch of a problem without data"
    count = len(point.rows)
    total = {name: torch.zeros_like(value) for name, value in precise.problem.named_parameters().items()}
    found = None
    for start in range(0, count, ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, count))
        found = reference.exactly(precise.at(rows), bound, EXACT_EVALUATIONS / count)
        if found is None:
            return None
        share = (rows.stop - rows.start) / count
        total = {name: total[name] + share * value for name, value in found.gradient.items()}
        tick(share / 2)
    assert found is not None
    return Reference(found.kind, total)


def _grown(
    known: Reference,
    point: Point,
    per_block: int,
    more: range,
    bound: int,
    budget: int,
    tick: Callable[[float], None] = lambda share: None,
) -> Reference:
    """``known``, a reference over the data set, with the blocks ``more`` added."""
    precise = point.to(torch.float64)
    nodes = bound * reference.MONTE_CARLO_SAMPLES * per_block  # as many evaluations as Monte-Carlo would take
    assert point.rows is not None
    assert known.minibatches is not None
    same = known.blocks is None and point.axes.parameters.batch == len(point.rows)
    share = budget if known.blocks is None else budget // 2
    own = _with_room(known.minibatches, point, more.stop, share)
    whole = None if known.blocks is None else _with_room(known.blocks, point, more.stop, share)
    for block in more:
        found = known if same else reference.exactly(precise.minibatch(block), bound, nodes=nodes)
        if found is None:
            found = reference.estimated(point.minibatch(block), bound, per_block, range(block, block + 1))
        reference.put(own, block, found.gradient)
        if whole is not None:
            reference.put(whole, block, _whole_block(point, per_block, bound, block))
        tick(0.5 / len(more))
    minibatches = reference.shaped(own, point)
    if whole is None:
        return replace(known, minibatches=minibatches)
    return replace(reference.mean_of(whole, point), minibatches=minibatches)


def _with_room(kept: Gradients, point: Point, blocks: int, budget: int) -> Bank:
    """A bank for ``blocks`` that begins with those that there are."""
    bank = reference.bank_for(point, blocks, budget)
    for name, rows in kept.items():
        for row in range(len(rows)):
            bank.rows[name][row] = rows[row].flatten()
    return bank


def _whole_block(point: Point, per_block: int, bound: int, block: int) -> Gradients:
    """One block of the Monte-Carlo gradient over the whole data set: as many evaluations as of a minibatch's."""
    assert point.rows is not None
    count, batch = len(point.rows), point.axes.parameters.batch
    generator = point.axes.stream("reference", "data", bound, block, device=point.device)
    each = reference.BOUND_REPLICATES if bound > 1 else reference.MONTE_CARLO_SAMPLES
    draws = math.ceil(each * per_block * batch / count)
    draws = draws if bound > 1 else draws + draws % 2  # they come in antithetic pairs
    at_once = max(1, reference.EVALUATIONS_AT_ONCE // (draws * bound))

    def pieces() -> Iterator[Tensor]:
        for start in range(0, count, at_once):
            rows = slice(start, min(start + at_once, count))
            here, share = point.at(rows), (rows.stop - rows.start) / count
            found = (
                reference.bound_pieces(here, draws, bound, generator)
                if bound > 1
                else reference.elbo_pieces(here, draws, generator)
            )
            yield from (share * piece for piece in found)

    return reference.gradient_of(point, pieces())
