"""RELAX: the score function with a learned control variate of relaxed samples, f at them and a function of any form.

Estimates: ∇E_q[f(z)], from f less c(z̃), c(ζ) = η f(σ(ζ/τ)) + r_ψ(σ(ζ), x), plus the gradient of E c along two
    relaxations.
Surrogate: (1/L) Σ h(f_l − c(z̃_l)) log q_φ(h(z_l)|x) + c(ζ_l) − c(z̃_l) + f_l. ζ are the logits with the noise that gives
    z, and z̃ is ζ given z, from noise of its own; q is held inside f and c, θ inside c.
Held constant: z; the weight f − c(z̃); q inside f and c; θ inside c; τ, η and ψ, which are fitted beforehand and then
    frozen.
Unbiased for: φ and θ, whatever τ, η and ψ.
Needs: bits or categories, in one layer; f differentiable between its states, where with a sampled KL log q is the mass
    function extended linearly. r_ψ is one layer of so many tanh ``units`` on the relaxed sample at temperature 1,
    standardised, and on x where there is one. All are fitted by ``fit_steps`` Adam steps on the variance of the
    estimate itself, in the logits, each on ``fit_draws`` draws of their own at each datapoint.
Cost: 3 evaluations per sample, after the fit.
Paper: Grathwohl, Choi, Wu, Roeder & Duvenaud 2018 (ICLR), who fit the control while they train.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import PerSample, Values
from gradbench.estimators.discrete import rebar
from gradbench.estimators.parts import free_form, relaxed_control
from gradbench.estimators.parts.least_variance import State
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective


class Parameters(rebar.Parameters):
    units: PositiveInt = 32
    """Units of r_ψ."""


def of_any_form(objective: Objective, q: Relaxable, state: State, perturbed: Tensor) -> PerSample:
    """η f(σ(ζ/τ)) + r_ψ(σ(ζ), x), [R, L, B]."""
    relaxed = rebar.scaled_f(objective, q, state, perturbed)
    return relaxed + free_form.network(state, q.softened(perturbed, 1.0), objective.x)


def surrogate(
    objective: Objective, q: Relaxable, noise: relaxed_control.Drawn, state: State, parameters: Parameters
) -> Values:
    return relaxed_control.surrogate(of_any_form, objective, q, noise, state)


def fit(objective: Objective, q: Relaxable, samples: int, generator: torch.Generator, parameters: Parameters) -> State:
    """τ, η and ψ of least variance, from r_ψ that is nearly what REBAR's first control leaves of f on average."""
    state = rebar.untuned(q, parameters)
    at = relaxed_control.with_values(objective, q, parameters.fit_draws, generator)
    with torch.no_grad():
        given = q.perturbed_given(at.z, at.noise["given z"])
        left = at.f - rebar.scaled_f(objective, q, state, given)
    any_form = free_form.initial(q.softened(given, 1.0), left, objective.x, parameters.units, generator)
    trained = (*state, *free_form.trained(any_form))
    return relaxed_control.fit(of_any_form, objective, q, generator, {**state, **any_form}, trained, parameters)


ESTIMATOR = relaxed_control.estimator(
    name="relax",
    title="RELAX (score function, learned control of relaxed samples)",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    paper="Grathwohl et al. 2018",
)
