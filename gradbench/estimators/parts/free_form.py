"""A control variate of any form: one tanh layer on z, standardised, and on x where there is one."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, PerSample
from gradbench.estimators.parts.least_variance import State

TRAINED = ("weight", "bias")
"""How the names of those entries of the state end that are trained."""


def network(state: State, z: Latents, x: Tensor | None) -> PerSample:
    """c_ψ(z, x), [R, L, B]."""
    units = ((z - state["z.mean"]) / state["z.spread"]).flatten(3) @ state["z.weight"] + state["bias"]
    if x is not None:
        units = units + x @ state["x.weight"]
    standard = units.tanh() @ state["output.weight"] + state["output.bias"]
    return standard.squeeze(-1) * state["spread"] + state["centre"]


def initial(z: Latents, wanted: PerSample, x: Tensor | None, hidden: int, generator: torch.Generator) -> State:
    """The state that the fit begins with: nearly constant, at the mean of the values ``wanted`` of a first draw.

    z and c are standardised with means and spreads of that draw.
    """
    rows, smallest = z.flatten(0, 2), torch.finfo(wanted.dtype).eps

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=wanted.dtype, device=wanted.device)

    inputs = rows[0].numel()
    state = {
        "z.mean": rows.mean(0),
        "z.spread": rows.std(0, correction=0).clamp_min(smallest),
        "z.weight": normal(inputs, hidden) / inputs**0.5,
        "bias": normal(hidden),
        "output.weight": normal(hidden, 1) * 0.01,
        "output.bias": wanted.new_zeros(1),
        "centre": wanted.mean(),
        "spread": wanted.std(correction=0).clamp_min(smallest),
    }
    if x is not None:
        state["x.weight"] = normal(x.shape[-1], hidden) / x.shape[-1] ** 0.5
    return state


def trained(state: State) -> tuple[str, ...]:
    """The names of those entries that are trained."""
    return tuple(name for name in state if name.endswith(TRAINED))
