"""Estimates in q's own parameters λ, such as mean and scale, and the surrogate that carries them on to φ.

An estimate of the derivative in λ is a number for each λ. Its sum with λ live has the gradient Σ estimate · ∂λ/∂φ,
whatever network gives λ: what is weighted, fitted or coupled belongs to q's outputs, not to the weights behind them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, PerSample, hold, live
from gradbench.families.base import Family

OfParameters = dict[str, Tensor]
"""A number for each sample and each element of each of q's parameters by name, [R or 1, L or 1, B, *event]."""


def apart(q: Family, lead: torch.Size | tuple[int, int]) -> Family:
    """q with parameters whose first axes are ``lead``, each entry of its own: constants to take gradients in.

    ``lead`` is [R, L] for parameters of each sample, or the shape of z where all are of that shape.
    Raises NotImplementedError for a q in layers, the parameters of whose deeper layers depend on samples.
    """
    return q.mapped(lambda value: value.detach().expand(*lead, *value.shape[len(lead) :]).requires_grad_())


def derivatives(terms: Tensor, q: Family, *, graph: bool = False) -> OfParameters:
    """The derivative of the sum of ``terms`` in the parameters of ``q``, as `apart` gives it.

    Where each term depends on parameters of its own, that is each term's derivative in those.

    ``graph``: what ``terms`` are made of beside can be differentiated further.
    """
    values = tuple(q.parameters.values())
    if not terms.requires_grad:
        return {name: torch.zeros_like(value) for name, value in q.parameters.items()}
    found = torch.autograd.grad(terms.sum(), values, create_graph=graph, allow_unused=True)
    pairs = zip(q.parameters, values, found, strict=True)
    return {name: torch.zeros_like(value) if part is None else part for name, value, part in pairs}


def scores(q: Family, z: Latents) -> OfParameters:
    """∇_λ log q(z) of each sample, held."""
    with torch.enable_grad():
        own = apart(q, z.shape)
        return derivatives(own.log_prob(z.detach()), own)


def carried(weights: OfParameters, q: Family) -> PerSample:
    """Σ weight · λ over all parameters, [R, L, B]: its φ-gradient is the weights' own, carried through q."""
    parameters = live(q, "q's parameters").parameters
    terms = [(hold(weight, "weight") * parameters[name]).flatten(3).sum(-1) for name, weight in weights.items()]
    return sum(terms[1:], terms[0])


def beside(f: PerSample, event: torch.Size) -> Tensor:
    """f [R, L, B] with axes of length 1 for the event, [R, L, B, 1, …]."""
    return f.reshape(*f.shape, *[1] * len(event))
