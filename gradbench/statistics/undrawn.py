"""Whether a bias may be what the draws missed: values of f beyond all that they took.

Block means agree with one another, and not with the exact gradient, where much of it comes from values of f so rare
that none was drawn: half of the gradient of E[exp(.4 z²)] is beyond what 16 000 draws take. n draws bound the frequency
of what they missed, and not its size; but an exact reference knows it. So before a bias is called one, it is held
against the φ-gradient of what f is beyond the least and the greatest value that the draws took.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch

from gradbench.engine.drawn import are_told, samples
from gradbench.engine.general import block_stream
from gradbench.engine.moments import Moments, groups_of
from gradbench.engine.passes import plan
from gradbench.engine.task import Task, join_noise
from gradbench.statistics.figures import Figures
from gradbench.statistics.levels import ALPHA, MARGIN
from gradbench.target.beyond import gradient_beyond, support_at
from gradbench.target.exact import least_noisy
from gradbench.target.reference import Reference

AS_LARGE = 0.25
"""Share of a bias from which on that is not told from what was not drawn. At a half right estimators were still called
biased, at 1 % in 2.7 % of 150 runs, for what was drawn once or twice is not told of well either."""


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
        members = groups_of(tuple(moments.means))
        of_phi = [group for group, names in members.items() if any(name.startswith("phi.") for name in names)]
        suspects = [group for group in of_phi if group in figures and figures[group].bias_p <= ALPHA]
        if not suspects or not reference.exact or task.estimator.deterministic:
            return figures
        precise = task.point.to(torch.float64)
        values = support_at(precise, chosen, task.samples)
        if values is None:
            return figures
        self._look(moments.blocks)
        beyond = gradient_beyond(precise, chosen, values, self.low.double(), self.high.double())
        squares = {name: float(value.square().sum()) * (name not in moments.certain) for name, value in beyond.items()}
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
        step = plan(task, self.per_block).together
        for start in range(self.blocks, blocks, step):
            streams = [block_stream(task, block) for block in range(start, min(start + step, blocks))]
            with torch.no_grad():
                if told:
                    z = samples(task, q, join_noise(task.noises(self.per_block, streams)))
                else:  # of the same law, and as many
                    z = q.sample(join_noise([q.noise(self.per_block, task.samples, stream) for stream in streams]))
                f = objective.f(z, q).flatten(0, 1)
                low, high = f.amin(0), f.amax(0)
            self.low = torch.minimum(self.low, low) if self.blocks else low
            self.high = torch.maximum(self.high, high) if self.blocks else high
            self.blocks = start + len(streams)


def not_told_apart(figures: Figures, missed: float) -> Figures:
    """Figures of a bias that may be a part of what was ``missed``: none is found.

    Where that is more than a bias that would count, nothing is known but what was seen, of the variance neither.
    """
    figures = replace(figures, bias_p=1.0, bias_low=0.0)
    if missed <= MARGIN * figures.gradient_norm:
        return figures
    highs = ("bias_high", "relative_bias_high", "mse_high", "variance_high", "variance_latent_high")
    return replace(figures, **{name: math.inf for name in highs if getattr(figures, name) is not None})
