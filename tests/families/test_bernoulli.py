"""Bits, and how their noise is integrated."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gradbench.families.bernoulli import Bernoulli
from gradbench.families.support import digits


def noise_nodes(q: Bernoulli, count: int) -> tuple[Tensor, Tensor]:
    """Masses [1, N, B] and uniform noise [1, N, B, *event] by Gauss-Legendre quadrature, piece by piece.

    No comparison of u or 1 − u with a probability changes within a piece: functions of the bits, or of the bits of an
    antithetic pair, are integrated exactly by any number of nodes, and smooth functions of u by ``count`` / 8.
    """
    p = torch.sigmoid(q.parameters["logits"].detach())[0, 0]
    roots, weights = np.polynomial.legendre.leggauss(max(1, count // 8))
    edges = torch.stack([torch.zeros_like(p), torch.minimum(p, 1 - p), torch.maximum(p, 1 - p), torch.ones_like(p)])
    low, wide = edges[:-1, None], edges.diff(dim=0)[:, None]
    lead = (1, -1, *[1] * p.ndim)
    u = (low + wide * (torch.tensor(roots, dtype=p.dtype).reshape(lead) + 1) / 2).flatten(0, 1)
    mass = (wide * torch.tensor(weights, dtype=p.dtype).reshape(lead) / 2).flatten(0, 1)
    bits = p.shape[1:].numel()
    places = digits(torch.arange(len(u) ** bits), len(u), bits)
    u, mass = (value.flatten(2)[places, :, torch.arange(bits)] for value in (u, mass))
    # indexing by [N, D] puts the datapoints last: [N, D, B]
    return mass.prod(1)[None], u.transpose(1, 2).reshape(1, -1, *p.shape)


def q_of(*probabilities: list[float]) -> Bernoulli:
    return Bernoulli(logits=torch.tensor(probabilities, dtype=torch.float64).logit()[None, None])


@pytest.mark.parametrize("count", [8, 32])
def test_nodes_of_the_noise_have_the_masses_of_the_states(count):
    """Of single samples, and of antithetic pairs: both bits are 1, or 0, with probability max(0, ±(2p − 1))."""
    q = q_of([0.3, 0.8], [0.5, 0.1])
    mass, noise = noise_nodes(q, count)
    assert noise.shape == (1, (3 * count // 8) ** 2, 2, 2)
    torch.testing.assert_close(mass.sum(1), torch.ones(1, 2, dtype=torch.float64))
    states, expected = q.states().all()
    z = q.sample(noise)
    for state, probability in zip(states[0], expected[0], strict=True):
        found = (mass[0] * (z[0] == state).all(-1)).sum(0)
        torch.testing.assert_close(found, probability.expand(2))
    one, two = z[0], q.sample(q.opposite(noise))[0]
    both, neither = ((mass[0, ..., None] * pair).sum(0) for pair in (one * two, (1 - one) * (1 - two)))
    torch.testing.assert_close(both, torch.tensor([[0.0, 0.6], [0.0, 0.0]], dtype=torch.float64))
    torch.testing.assert_close(neither, torch.tensor([[0.4, 0.0], [0.0, 0.8]], dtype=torch.float64))


def test_smooth_functions_of_the_noise_are_integrated_too():
    mass, noise = noise_nodes(q_of([0.3]), 100)
    assert float((mass[..., None] * noise.exp()).sum()) == pytest.approx(math.e - 1, rel=1e-12)
