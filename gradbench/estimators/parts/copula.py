"""Uniforms that keep apart: n of them, each uniform on (0, 1), any two negatively dependent (the Dirichlet copula).

A Dirichlet vector of n ones has shares d_i ~ Beta(1, n − 1), of which P(d_i > a_i for all i) = max(0, 1 − Σ a_i)^{n−1}.
So u_i = (1 − d_i)^{n−1} is uniform, and

    P(u_i < x_i for all i in S) = max(0, Σ_{i∈S} x_i^{1/(n−1)} − |S| + 1)^{n−1}.

With n = 2, u_2 = 1 − u_1: the antithetic pair.
"""

from __future__ import annotations

import torch
from torch import Tensor


def kept_apart(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    """Uniforms of ``shape`` [R, n, …] that keep apart along the second axis, independent elsewhere; n ≥ 2.

    Of the precision and on the device of ``like``.
    """
    uniforms = torch.rand(shape, generator=generator, dtype=torch.float64, device=like.device)
    exponentials = -torch.log1p(-uniforms)
    shares = exponentials / exponentials.sum(1, keepdim=True)
    return (1 - shares).pow(shape[1] - 1).to(like.dtype)


def both_below(x: Tensor, y: Tensor, count: int) -> Tensor:
    """P(u_i < x and u_j < y) of two out of ``count`` uniforms, elementwise.

    >>> x = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    >>> both_below(x, x, 2).tolist()
    [0.0, 0.0, 0.5]
    """
    power = count - 1
    return (x.pow(1 / power) + y.pow(1 / power) - 1).clamp_min(0).pow(power)
