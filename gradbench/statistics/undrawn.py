"""Whether a bias may be what the draws missed: values of f beyond all that they took.

Block means agree with one another, and not with the exact gradient, where much of it comes from values of f so rare
that none was drawn: of E[exp(.4 z²)] half is beyond all of 16 000 normal z. n draws bound the frequency of what they
missed, and not its size; but an exact reference knows it. So before a bias is called one, it is held against the
φ-gradient of what f is beyond the least and the greatest value that the draws took.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from gradbench.engine.drawn import are_told, samples
from gradbench.engine.general import block_stream
from gradbench.engine.moments import Moments, groups_of
from gradbench.engine.task import Task
from gradbench.statistics.figures import Figures
from gradbench.statistics.levels import ALPHA, MARGIN
from gradbench.target.beyond import gradient_beyond
from gradbench.target.exact import least_noisy
from gradbench.target.reference import Reference

AS_LARGE = 0.25
"""Share of a bias from which on that is not told from what was not drawn: about as much again is in what was drawn once
or twice."""


class Undrawn:
    """The least and the greatest f among the draws of a task's blocks, [B] each, as far as they were asked for."""

    def __init__(self, task: Task, per_block: int) -> None:
        self.task, self.per_block, self.blocks = task, per_block, 0
        self.low, self.high = torch.empty(0), torch.empty(0)

    def corrected(self, figures: dict[str, Figures], moments: Moments, reference: Reference) -> dict[str, Figures]:
        """The figures of ``moments``; a bias that is not told from what was not drawn is not found in them.

        Of a parameter that no draw reaches there is nothing to be drawn.
        """
        task, chosen = self.task, self.task.objective
        suspects = [group for group, one in figures.items() if one.bias_p <= ALPHA]
        if not suspects or not reference.exact or task.estimator.deterministic or chosen.inside(task.samples) > 1:
            return figures
        self._look(moments.blocks)
        beyond = gradient_beyond(task.point.to(torch.float64), chosen, self.low.double(), self.high.double())
        if beyond is None:
            return figures
        squares = {name: float(value.square().sum()) * (name not in moments.certain) for name, value in beyond.items()}
        members = groups_of(tuple(beyond))
        missed = {group: math.sqrt(sum(squares[name] for name in members[group])) for group in suspects}
        return figures | {
            group: not_told_apart(figures[group], missed[group] / AS_LARGE)
            for group in suspects
            if missed[group] >= AS_LARGE * figures[group].bias_norm and missed[group] > 0
        }

    def _look(self, blocks: int) -> None:
        task = self.task
        told, q = are_told(task), task.held_q
        objective = least_noisy(task.point, task.objective, q)
        for block in range(self.blocks, blocks):
            stream = block_stream(task, block)
            with torch.no_grad():
                if told:
                    z = samples(task, q, task.noise(self.per_block, stream))
                else:  # of the same law, and as many
                    z = q.sample(q.noise(self.per_block, task.samples, stream))
                f = objective.f(z, q).flatten(0, 1)
                low, high = f.amin(0), f.amax(0)
            first = block == 0
            self.low = low if first else torch.minimum(self.low, low)
            self.high = high if first else torch.maximum(self.high, high)
        self.blocks = max(self.blocks, blocks)


def not_told_apart(figures: Figures, missed: float) -> Figures:
    """Figures of a bias that may be a part of what was ``missed``: none is found, and it may be larger by that.

    Where that is more than a bias that would count, nothing is known but what was seen, of the variance neither.
    """
    square = figures.mse_high - figures.bias_high**2
    if missed > MARGIN * figures.gradient_norm:
        missed, square = math.inf, math.inf
        figures = replace(figures, variance_high=math.inf, variance_latent_high=math.inf)
    high = figures.bias_high + missed
    share = None if figures.relative_bias_high is None else high / figures.gradient_norm
    return replace(
        figures, bias_p=1.0, bias_low=0.0, bias_high=high, relative_bias_high=share, mse_high=square + high**2
    )
