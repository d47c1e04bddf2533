"""Exact moments of the φ-gradient on a trained sigmoid belief network of eight bits, by enumeration of the states.

A φ of the linear encoder receives the gradient of one bit of each datapoint, and the noise of a bit given its value is
its own: its mean and its square ask for one integral over that noise beside the sum over states, so that the noise of
all bits may be taken to move together.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradbench.engine.general import replicate_gradients
from gradbench.target.points import Point
from tests.helpers import point_of, reference_of_point, task_of

BATCH, SAMPLES = 4, 2


@cache
def point() -> Point:
    """Linear, 8 bits, 4 digits, 200 training steps, in the precision that it is trained in."""
    return point_of("sigmoid-belief", latent=8, batch=BATCH, train_steps=200, dtype=torch.float32)


@dataclass(frozen=True)
class OnNetwork:
    """With L = 2, of all φ."""

    variance: float
    given_states: float
    """The variance of the mean given the states: what is left of it if the noise beside them is averaged over."""
    relative_bias: float

    def averaged(self, inner: int) -> float:
        """The variance if ``inner`` draws of that noise are averaged over at each sample."""
        return self.given_states + (self.variance - self.given_states) / inner


def moments(name: str, nodes: int = 1, **parameters: Any) -> OnNetwork:
    """Of an estimator that looks at the states, or with ``nodes`` at the noise beside them as well."""
    task = task_of(point(), name, 1, **parameters)
    support = task.held_q.states()
    assert support is not None
    z, mass = (value[0] for value in support.all())
    p = task.held_q.parameters["logits"].sigmoid()[0, 0]
    roots, rule = (torch.tensor(part, dtype=p.dtype) for part in np.polynomial.legendre.leggauss(nodes))
    v, rule = ((roots + 1) / 2)[None, :, None, None], rule / 2
    states = z[:, None].expand(-1, nodes, BATCH, -1)
    uniform = torch.where(states == 1, v * p, p + v * (1 - p)).flatten(0, 1)[:, None]
    inner = v.expand(states.shape).flatten(0, 1)[:, None]
    names = [key for key in task.point.problem.named_parameters() if key.startswith("phi.")]

    def gradients(which: int) -> Tensor:
        """Of all nodes at one datapoint, the first one at the others: [states, nodes, numbers], in double precision."""
        where = torch.arange(BATCH) == which

        def moved(value: Tensor) -> Tensor:
            return torch.where(where[None, None, :, None], value, value[:1])

        drawn: Any = moved(uniform)
        if not task.estimator.draws.of_family:
            drawn = {"z": drawn, "inner": moved(inner)}
        found = replicate_gradients(task, drawn, len(uniform))
        return torch.cat([found[key].flatten(1) for key in names], 1).double().unflatten(0, (-1, nodes))

    variance = given_states = 0.0
    total: Any = 0.0
    for which in range(BATCH):
        rows, weight = gradients(which), mass[:, which].double()
        inside = torch.einsum("n,snp->sp", rule.double(), rows)
        mean = weight @ inside
        variance += float(torch.einsum("s,n,snp->", weight, rule.double(), (rows - mean) ** 2))
        given_states += float(weight @ ((inside - mean) ** 2).sum(1))
        total = total + mean - rows[0, 0] * (1 - 1 / BATCH)
    exact = reference_of_point(point())
    assert exact.exact
    truth = torch.cat([exact.gradient[key].flatten() for key in names]).double()
    return OnNetwork(variance / SAMPLES, given_states / SAMPLES, float((total - truth).norm() / truth.norm()))
