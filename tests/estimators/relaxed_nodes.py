"""Exact means over relaxations of bits and of two categories, and over relaxations given their samples.

One uniform variable is enough for both: it gives a variable its sample, and how far it is beyond the value at which the
sample changes is distributed as the noise given the sample is. The gradient of a relaxed control is a sum of terms that
see the noise, and of others that see the sample and the noise given it; so their mean is known from where both go
together, though the variance is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradbench.engine.task import Task
from gradbench.families.bernoulli import Bernoulli
from gradbench.families.support import digits
from tests.exactly import MOST

ALONE, SEVERAL = 1000, 100
"""Nodes of a Gauss-Legendre quadrature for each of the two samples of a variable that is alone, and that is not.

So many because a cost may have a kink between its states.
"""


def tuples(task: Task) -> int:
    """How many nodes there are for one datapoint; more than anything sums over where there is no quadrature."""
    q = task.held_q
    variables, states = two_states(q)
    batch = next(iter(q.parameters.values())).shape[2]
    return (2 * nodes(variables)) ** variables if states and batch == 1 else MOST + 1


def nodes(variables: int) -> int:
    """Nodes for each sample of a variable."""
    return ALONE if variables == 1 else SEVERAL


def two_states(q: Any) -> tuple[int, bool]:
    """How many variables there are, and whether each has two states."""
    event = q.event
    return (event.numel(), True) if isinstance(q, Bernoulli) else (event[0], event[1] == 2)


def pieces(p: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Nodes u [2 count, D] in (0, p) and in (p, 1), and their masses.

    They are dense towards 0 and 1, where a relaxation at a temperature above 1 is no smooth function of u.
    """
    roots, weights = np.polynomial.legendre.leggauss(count)
    t, weight = (torch.tensor(value, dtype=p.dtype)[:, None] for value in ((roots + 1) / 2, weights / 2))
    near, mass = t**4, 4 * t**3 * weight
    upper = (1 - (1 - p) * near).clamp_max(1 - 2.0**-53)  # at 1 itself a Gumbel variable is infinite
    return torch.cat([p * near, upper]), torch.cat([p * mass, (1 - p) * mass])


def together(task: Task) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights and noise of one draw at one datapoint, the same for all L, the two relaxations the same."""
    q = task.held_q
    u, mass = pieces(probability(q), nodes(two_states(q)[0]))
    places = digits(torch.arange(len(u) ** u.shape[1]), len(u), u.shape[1])
    columns = torch.arange(u.shape[1])
    weights, noise = mass[places, columns].prod(-1), noise_at(q, u[places, columns])
    found = {"z": noise, "given z": given(q, noise)}
    return weights, {name: part.expand(-1, task.samples, *part.shape[2:]) for name, part in found.items()}


def probability(q: Any) -> Tensor:
    """That of a bit to be 1, or of a variable to be of the first of two categories, [D]."""
    return q.mean().flatten(3)[0, 0, 0] if isinstance(q, Bernoulli) else q.mean()[0, 0, 0, :, 0]


def noise_at(q: Any, u: Tensor) -> Tensor:
    """Noise [N, 1, 1, *event] by which a variable is in its first state where u [N, D] is below its probability."""
    if isinstance(q, Bernoulli):
        return u[:, None, None]
    difference = -u.logit()
    return torch.stack([difference, torch.zeros_like(difference)], -1)[:, None, None]


def given(q: Any, noise: Tensor) -> Tensor:
    """The noise that gives the relaxation given the sample the value of the relaxation of ``noise`` itself."""
    z = q.sample(noise)
    if isinstance(q, Bernoulli):
        p = q.mean()
        return torch.where(z > 0, noise / p, (1 - noise) / (1 - p))
    perturbed = q.perturbed(noise)
    largest = perturbed.amax(-1, keepdim=True)
    beyond = torch.where(z > 0, torch.ones_like(z), (-perturbed).exp() - (-largest).exp())
    return torch.where(z > 0, largest, -beyond.log() - q.log_probabilities)


def apart(task: Task, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights and noise of one draw of one variable, the relaxation given its sample on nodes of its own."""
    q = task.held_q
    first, mass = pieces(probability(q), count)
    assert first.shape[1] == task.samples == 1, "one variable, one sample"
    noise = noise_at(q, first)
    second, share = pieces(torch.full((1,), 0.5, dtype=first.dtype), count)
    size = len(second)
    if isinstance(q, Bernoulli):
        other = second[:, None, None]
    else:  # the category that is not drawn against the one that is: a logistic variable, whichever it is
        difference = second.logit()
        both = [torch.stack([-difference, 0 * difference], -1), torch.stack([0 * difference, -difference], -1)]
        drawn = q.sample(noise)[:, 0, 0, 0, 1].long()
        rows = torch.stack(both)[drawn].reshape(-1, 1, 1, 1, 2)
        return (mass * share.T).flatten(), {"z": noise.repeat_interleave(size, 0), "given z": rows}
    weights = (mass * share.T).flatten()
    return weights, {"z": noise.repeat_interleave(size, 0), "given z": other.repeat(len(first), 1, 1, 1)}
