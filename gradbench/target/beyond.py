"""What an exact gradient owes to values of f that no draw took."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gradbench.core.types import Gradients
from gradbench.families.base import Family, grid_of, states_of
from gradbench.families.support import MAX_STATES, Support
from gradbench.objectives.chosen import ChosenObjective
from gradbench.target.exact import EVALUATIONS_AT_ONCE, QUADRATURE_NODES, least_noisy, posterior
from gradbench.target.gradients import gradient_of
from gradbench.target.points import Point

ENOUGH_OF_A_GRID, MOST_OF_A_GRID = 2**12, 2**14
"""Values of z that f is evaluated at: as many as the first allows, or else the fewest if the second does. It is asked
where f is out of the ordinary, and not for six digits.
"""


def gradient_beyond(precise: Point, chosen: ChosenObjective, low: Tensor, high: Tensor) -> Gradients | None:
    """The φ-gradient of the mean of f − min(max(f, low), high), with a ``low`` and a ``high`` for each datapoint, [B].

    That by which q moves; what f's own parameters do at such values counts whole, and is no rare event's.

    ``precise`` is in float64. By the states of q, or a grid of it; None where there is
    neither, or where the objective is no mean of f over one sample of q.
    """
    support_of = _support(precise)
    if support_of is None or chosen.over_posterior:
        return None

    def pieces() -> Iterator[Tensor]:
        first = support_of(posterior(precise))
        for numbers in torch.arange(first.size, device=first.device).split(max(1, EVALUATIONS_AT_ONCE // len(low))):
            q = posterior(precise)
            with torch.no_grad():
                z, mass = support_of(q).at(numbers)
                f = least_noisy(precise, chosen, q).f(z, q)
                weight = mass * (f - f.clamp(low, high))
            # by the score: along the path it would jump where f passes its bounds, and the rule with it
            yield (weight * q.log_prob(z)).sum((0, 1)).mean()

    return gradient_of(precise, pieces())


def _support(precise: Point) -> Callable[[Family], Support] | None:
    q = posterior(precise)
    states = states_of(q)
    if states is not None and states.size <= MAX_STATES:
        return lambda q: _there(states_of(q))
    sizes = {nodes: grid.size for nodes in QUADRATURE_NODES if (grid := grid_of(q, nodes)) is not None}
    fine = [nodes for nodes, size in sizes.items() if size <= ENOUGH_OF_A_GRID]
    fine = fine or [nodes for nodes, size in sizes.items() if size <= MOST_OF_A_GRID][:1]
    return (lambda q: _there(grid_of(q, fine[-1]))) if fine else None


def _there(support: Support | None) -> Support:
    assert support is not None
    return support
