"""What an exact gradient owes to values of f that no draw took."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from gradbench.core.types import Gradients
from gradbench.families.base import grid_of, states_of
from gradbench.families.support import MAX_STATES, Support
from gradbench.objectives.chosen import ChosenObjective
from gradbench.target.exact import EVALUATIONS_AT_ONCE, QUADRATURE_NODES, least_noisy, posterior
from gradbench.target.gradients import gradient_of
from gradbench.target.points import Point

ENOUGH_OF_A_GRID, MOST_OF_A_GRID = 2**12, 2**14
"""Values of z that f is evaluated at: as many as the first allows, or else the fewest if the second does. It is asked
where f is out of the ordinary, and not for six digits.
"""


def support_at(precise: Point, chosen: ChosenObjective, samples: int) -> Support | None:
    """The states of q, or a grid of it; None where there is neither, or where the objective is no mean over one sample.

    ``precise`` is in float64.
    """
    if chosen.over_posterior or chosen.inside(samples) > 1:
        return None
    q = posterior(precise).held()
    states = states_of(q)
    if states is not None and states.size <= MAX_STATES:
        return states
    grids = [grid for nodes in QUADRATURE_NODES if (grid := grid_of(q, nodes)) is not None]
    fine = [grid for grid in grids if grid.size <= ENOUGH_OF_A_GRID]
    return fine[-1] if fine else next((grid for grid in grids if grid.size <= MOST_OF_A_GRID), None)


def gradient_beyond(precise: Point, chosen: ChosenObjective, values: Support, low: Tensor, high: Tensor) -> Gradients:
    """The φ-gradient of the mean of f − min(max(f, low), high), with a ``low`` and a ``high`` for each datapoint, [B].

    That by which q moves; what f's own parameters do at such values counts whole, and is no rare event's. ``values``
    are `support_at` the point.
    """

    def pieces() -> Iterator[Tensor]:
        for numbers in torch.arange(values.size, device=values.device).split(max(1, EVALUATIONS_AT_ONCE // len(low))):
            q = posterior(precise)
            with torch.no_grad():
                z, mass = values.at(numbers)
                f = least_noisy(precise, chosen, q).f(z, q)
                weight = mass * (f - f.clamp(low, high))
            # by the score: along the path it would jump where f passes its bounds, and the rule with it
            yield (weight * q.log_prob(z)).sum((0, 1)).mean()

    return gradient_of(precise, pieces())
