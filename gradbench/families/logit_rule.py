"""A quadrature for Beta variables, on the scale of their logits."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

LEFT_OUT = math.log(1e-18)
"""The logarithm of the mass that may lie beyond either end."""


def logit_rule(a: Tensor, b: Tensor, nodes: int) -> tuple[Tensor, Tensor]:
    """The logits of ``nodes`` values of each variable z ~ Beta(a, b), and their masses: both [*shape, nodes].

    The logit t has a density ∝ σ(t)^a σ(−t)^b, which falls exponentially, and for shapes below 1 slowly. The
    trapezoidal rule in s, t = centre + width · sinh(s), reaches its tails with few nodes and converges exponentially
    for shapes from 0.1 to 100 and beyond (a double-exponential rule). The nodes are constant, and the masses are
    differentiable in a and b.
    """
    with torch.no_grad():
        centre, width = a.log() - b.log(), (1 / a + 1 / b).sqrt()
        log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
        # P(z < x) ≤ x^a / (a B(a, b)) for b ≥ 1, and little more for smaller b
        lowest = _logit((LEFT_OUT + a.log() + log_beta) / a)
        highest = -_logit((LEFT_OUT + b.log() + log_beta) / b)
        low, high = torch.asinh((lowest - centre) / width), torch.asinh((highest - centre) / width)
        share = torch.linspace(0, 1, nodes, dtype=a.dtype, device=a.device)
        s = low[..., None] + (high - low)[..., None] * share
        t = centre[..., None] + width[..., None] * s.sinh()
        log_step = s.cosh().log()
    return t, torch.softmax(a[..., None] * logsigmoid(t) + b[..., None] * logsigmoid(-t) + log_step, -1)


def _logit(log_z: Tensor) -> Tensor:
    """The logit of z from its logarithm."""
    return log_z - torch.log(-torch.expm1(log_z))
