"""The gradient over a whole data set, for cells whose blocks each have a minibatch of their own.

It is the mean of the gradients at single minibatches. Bias is measured block by block against the gradient at the
block's own minibatch: the differences of those from the whole have mean 0, and taking them off leaves the bias as it is
without the noise of the data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from gradbench.core.bank import UNLIMITED
from gradbench.core.errors import MeasurementError
from gradbench.core.types import Gradients, Noise
from gradbench.objectives.base import has_closed_form_kl
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from gradbench.target.exact import EVALUATIONS_AT_ONCE, Exact, exactly, posterior
from gradbench.target.gradients import gradient_of
from gradbench.target.monte_carlo import (
    MONTE_CARLO_SAMPLES,
    block_gradient,
    draws_per_replicate,
    evaluations_per_draw,
    pieces,
)
from gradbench.target.points import Point
from gradbench.target.reference import BlockGradients, Reference

EXACT_EVALUATIONS = 2**23
"""Latent states × datapoints that an exact gradient over a whole data set may take: tens of seconds on one core."""
ROWS_COMPARED = 8
"""Rows whose terms are compared with and without as many more."""
TERM_ROUNDING = 1e-8
"""Of the largest, that terms in float64 may differ by: rounding is 1e-14 of it."""
ROWS_AT_ONCE = 256
"""Datapoints of a data set whose exact gradient is computed together."""


class WholeDataReference:
    """The reference over the whole data set, for cells whose blocks have a minibatch each.

    The gradient is exact where that takes at most ``EXACT_EVALUATIONS``, else Monte-Carlo over all datapoints at the
    price of a minibatch's. At each block's minibatch it is exact where that is cheap, else a Monte-Carlo estimate.
    """

    def __init__(
        self,
        point: Point,
        chosen: ChosenObjective,
        samples: int,
        per_block: int,
        budget: int = UNLIMITED,
        tick: Callable[[float], None] = lambda share: None,
    ) -> None:
        """For cells of ``per_block`` replicates in a block. ``tick`` is told the share of the first work that is done.

        ``budget``: bytes that blocks may take, in the precision of the cell, before they go to a temporary file.
        """
        self.point = point.under(chosen)
        self.chosen, self.samples, self.per_block, self.tick = chosen, samples, per_block, tick
        self.budget = budget
        self._latest: Reference | None = None

    def upto(self, blocks: int) -> Reference:
        """The reference for a cell of so many blocks.

        Raises MeasurementError where there is none, or the terms of a minibatch are more than those of its datapoints.
        """
        if self._latest is None or self._latest.count != blocks:
            self._latest = self._grown(blocks)
        return self._latest

    @cached_property
    def _whole(self) -> tuple[Exact, Gradients] | None:
        check_rows_apart(self.point, self.chosen)
        return _exact_over_data(self.point, self.chosen, self.samples, self.tick)

    @cached_property
    def _own(self) -> BlockGradients:
        """The gradients at the blocks' own minibatches."""
        return self._room()

    @cached_property
    def _blocks(self) -> BlockGradients:
        """The blocks of a Monte-Carlo gradient over all the data."""
        return self._room()

    def _room(self) -> BlockGradients:
        return BlockGradients(self.point, self.budget if self._whole is not None else self.budget // 2)

    def _grown(self, blocks: int) -> Reference:
        precise = self.point.to(torch.float64)
        more = max(blocks - self._own.count, 1)

        def at_minibatch(block: int) -> Gradients:
            self.tick(0.5 / more)
            return self._at_minibatch(precise, block)

        self._own.grow(blocks, at_minibatch)
        if self._whole is not None:
            return Reference(*self._whole, None, self._own.first(blocks))
        self._blocks.grow(blocks, self._whole_block)
        return Reference("monte-carlo", self._blocks.mean(blocks), self._blocks.first(blocks), self._own.first(blocks))

    def _at_minibatch(self, precise: Point, block: int) -> Gradients:
        point, batch = self.point, self.point.axes.parameters.batch
        assert point.rows is not None
        if self._whole is not None and batch == len(point.rows):
            return self._whole[1]
        # as many evaluations as Monte-Carlo would take
        nodes = self.chosen.inside(self.samples) * MONTE_CARLO_SAMPLES * self.per_block
        nodes = math.inf if self.chosen.over_posterior else nodes  # for which there is no Monte-Carlo
        found = exactly(precise.minibatch(block), self.chosen, self.samples, nodes=nodes)
        if found is not None:
            return found[1]
        return block_gradient(point.minibatch(block), self.chosen, self.samples, self.per_block, block)

    def _whole_block(self, block: int) -> Gradients:
        """One block of the Monte-Carlo gradient over all the data: as many evaluations as of a minibatch's."""
        point, chosen, samples = self.point, self.chosen, self.samples
        assert point.rows is not None
        count, batch = len(point.rows), point.axes.parameters.batch
        generator = point.axes.stream("reference", "data", chosen.inside(samples), block, device=point.device)
        draws = math.ceil(draws_per_replicate(chosen, samples) * self.per_block * batch / count)
        draws = draws if chosen.joint else draws + draws % 2  # they come in antithetic pairs
        at_once = max(1, EVALUATIONS_AT_ONCE // (draws * evaluations_per_draw(chosen, samples)))

        def all_pieces() -> Iterator[Tensor]:
            for start in range(0, count, at_once):
                rows = slice(start, min(start + at_once, count))
                here, share = point.at(rows), (rows.stop - rows.start) / count
                yield from (share * piece for piece in pieces(here, chosen, samples, draws, generator))

        return gradient_of(point, all_pieces())


def check_rows_apart(point: Point, chosen: ChosenObjective) -> None:
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
            noise = posterior(both).noise(1, 2, point.axes.stream("rows apart", device=point.device))
            among = _terms(both, chosen, noise)
            halves = slice(0, few), slice(few, 2 * few)
            alone = [_terms(precise.at(rows), chosen, _at(noise, rows)) for rows in halves]
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
            same = ((one - again).abs() <= TERM_ROUNDING * size) | (one.isnan() & again.isnan())
            if not bool(same.all()):
                raise MeasurementError(
                    "noise = 'latent+data': the terms of a datapoint depend on the rest of its minibatch "
                    "(a module mixes rows?), so there is no gradient over the data set; use noise = 'latent'"
                )


def _at(value: Noise, rows: slice) -> Any:
    """The part of some datapoints in [R, L, B, …]; all of it where they have it in common."""
    if isinstance(value, dict):
        return {name: _at(part, rows) for name, part in value.items()}
    return value if value.shape[2] == 1 else value[:, :, rows]


def _terms(point: Point, chosen: ChosenObjective, noise: Noise) -> list[Tensor]:
    """Parameters of q, f and the KL at each datapoint, [1, L, B, …]."""
    problem, theta, q = point.problem, Calls(point.problem.theta), posterior(point)
    f = replace(chosen, kl="monte-carlo").at(problem, theta, point.x).f(q.sample(noise), q)
    kl = [q.kl(problem.prior(theta))] if has_closed_form_kl(problem, theta, q) else []
    return [*q.parameters.values(), f, *kl]


def _exact_over_data(
    point: Point, chosen: ChosenObjective, samples: int, tick: Callable[[float], None]
) -> tuple[Exact, Gradients] | None:
    precise = point.to(torch.float64)
    assert point.rows is not None, "a suite refuses to redraw the minibatch of a problem without data"
    count = len(point.rows)
    total = {name: torch.zeros_like(value) for name, value in precise.problem.named_parameters().items()}
    found = None
    for start in range(0, count, ROWS_AT_ONCE):
        rows = slice(start, min(start + ROWS_AT_ONCE, count))
        found = exactly(precise.at(rows), chosen, samples, EXACT_EVALUATIONS / count)
        if found is None:
            return None
        share = (rows.stop - rows.start) / count
        total = {name: total[name] + share * value for name, value in found[1].items()}
        tick(share / 2)
    assert found is not None
    return found[0], total
