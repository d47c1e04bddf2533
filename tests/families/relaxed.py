"""How the noise of relaxed latents is integrated: every state exactly, and by quadrature what it leaves open.

Noise enters a relaxation by differences alone, of which there are few for each variable once its state is given.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gradbench.families.bernoulli import Bernoulli
from gradbench.families.relaxable import Relaxable
from gradbench.families.support import digits
from tests.exactly import nodes_of

MOST = 40_000
"""Nodes of one draw, states and what they leave open together."""
FEWEST = 6
"""With fewer nodes in each dimension, points of a Sobol' sequence are taken: good to some 1e-3."""
POINTS = 2**11
"""Of those, at most."""


def uniforms(dimensions: int, most: int) -> tuple[Tensor, Tensor]:
    """Weights [M] and values [M, D] in (0, 1): a product of Gauss-Legendre rules, or a scrambled Sobol' sequence."""
    each = min(64, int(most ** (1 / dimensions) + 1e-9))
    if each < FEWEST:
        count = 2 ** int(np.log2(min(most, POINTS)))
        engine = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=0)
        values = engine.draw(count, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
        return torch.full((count,), 1 / count, dtype=torch.float64), values
    roots, weights = (torch.tensor(part) for part in np.polynomial.legendre.leggauss(each))
    places = digits(torch.arange(each**dimensions), each, dimensions)
    return (weights / 2)[places].prod(1), ((roots + 1) / 2)[places]


def given(q: Relaxable) -> tuple[Tensor, Tensor, Tensor]:
    """Of one datapoint: weights [N], states [N, 1, 1, *event], and noise for `Relaxable.perturbed_given` beside each.

    The noise of a category other than the state's is told by the ratio of its exponential variable to the state's; of
    C − 1 such ratios each, given those before, is a Lomax variable.
    """
    support = q.states()
    assert support is not None
    z, mass = support.all()
    states, event = mass.shape[1], q.event
    variables = event.numel() if isinstance(q, Bernoulli) else event[0] * (event[1] - 1)
    weights, values = uniforms(variables, max(1, MOST // states))
    z = z[0, :, :1].repeat_interleave(len(weights), 0)[:, None]
    values = values.repeat(states, 1)
    if isinstance(q, Bernoulli):
        noise = values.unflatten(1, event)[:, None, None]
    else:
        total = torch.ones(len(values), event[0], dtype=torch.float64)
        ratios = []
        for place, uniform in enumerate(values.unflatten(1, (event[0], -1)).unbind(-1), 1):
            ratios.append(total * (uniform ** (-1 / place) - 1))
            total = total + ratios[-1]
        others = torch.stack(ratios, -1)[:, None, None]
        noise = torch.zeros(z.shape, dtype=torch.float64)
        noise[z == 0] = -others.log().flatten()
    return (mass[0, :, :1] * weights).flatten(), z, noise


def relaxed_nodes(q: Relaxable, samples: int = 1) -> tuple[Tensor, Tensor]:
    """Weights [N] and the family's own noise [N, L, 1, *event], of one draw at one datapoint, the same for all L.

    That is right for the mean of an estimate that is one of its samples.
    """
    if isinstance(q, Bernoulli):
        mass, noise = nodes_of(q, min(400, int(MOST ** (1 / q.event.numel()))))
        weights, own = mass[0, :, 0], noise.transpose(0, 1)  # pyright: ignore[reportAttributeAccessIssue]
    else:
        weights, z, noise = given(q)
        log_p = q.parameters["logits"].detach().log_softmax(-1)
        ratios = (-noise).exp()  # of exponential variables, that of the state 1
        below = -(ratios / log_p.exp() + 1).log() - log_p
        own = torch.where(z > 0, -log_p, below)
    return weights, own.expand(-1, samples, *own.shape[2:])


def inner_nodes(q: Relaxable, samples: int, inner: int) -> tuple[Tensor, dict[str, Tensor]]:
    """The same for samples with K draws of noise beside each that are averaged over: one draw, the same for all K."""
    weights, z, noise = given(q)
    own = torch.where(z > 0, 1e-9, 1 - 1e-9) if isinstance(q, Bernoulli) else 1e3 * z
    each = noise.shape[2:]
    return weights, {"z": own.expand(-1, samples, *each), "inner": noise.expand(-1, samples * inner, *each)}
