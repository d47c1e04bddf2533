"""REBAR: the score function with f at a relaxed sample as its control variate.

Estimates: ∇E_q[f(z)], from f less c(z̃), c(ζ) = η f(σ(ζ/τ)), plus the gradient of E c along two relaxations.
Surrogate: (1/L) Σ h(f_l − c(z̃_l)) log q_φ(h(z_l)|x) + c(ζ_l) − c(z̃_l) + f_l. ζ are the logits with the noise that gives
    z, and z̃ is ζ given z, from noise of its own; q is held inside f and c, θ inside c.
Held constant: z; the weight f − c(z̃); q inside f and c; θ inside c; the temperature τ and the scale η, which are fitted
    beforehand and then frozen.
Unbiased for: φ and θ, whatever τ and η.
Needs: bits or categories, in one layer; f differentiable between its states, where with a sampled KL log q is the mass
    function extended linearly. τ and η, one each, are fitted by ``fit_steps`` Adam steps on the variance of the
    estimate itself, in the logits, each on ``fit_draws`` draws of their own at each datapoint.
Cost: 3 evaluations per sample, after the fit.
Paper: Tucker, Mnih, Maddison, Lawson & Sohl-Dickstein 2017 (NeurIPS), with the binary concrete relaxation itself, where
    they use one that becomes MuProp's expansion at high temperatures; independent noise given z, where their code
    reuses that of the sample; η fitted with τ while they train. Of categories: Grathwohl et al. 2018.
"""

from __future__ import annotations

import math

import torch
from pydantic import PositiveFloat
from torch import Tensor

from gradbench.core.types import PerSample, Values
from gradbench.estimators.parts import relaxed_control
from gradbench.estimators.parts.least_variance import Budget, State
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective


class Parameters(Budget):
    temperature: PositiveFloat = 0.5
    """τ of the relaxation where the fit begins."""


def scaled_f(objective: Objective, q: Relaxable, state: State, perturbed: Tensor) -> PerSample:
    """η f(σ(ζ/τ)), [R, L, B]."""
    return state["scale"] * objective.f(q.softened(perturbed, state["log temperature"].exp()), q)


def surrogate(
    objective: Objective, q: Relaxable, noise: relaxed_control.Drawn, state: State, parameters: Parameters
) -> Values:
    return relaxed_control.surrogate(scaled_f, objective, q, noise, state)


def untuned(q: Relaxable, parameters: Parameters) -> State:
    """η = 1, and τ as it is given."""
    one = next(iter(q.parameters.values())).new_ones(())
    return {"log temperature": one * math.log(parameters.temperature), "scale": one}


def fit(objective: Objective, q: Relaxable, samples: int, generator: torch.Generator, parameters: Parameters) -> State:
    """τ and η of least variance."""
    state = untuned(q, parameters)
    return relaxed_control.fit(scaled_f, objective, q, generator, state, tuple(state), parameters)


ESTIMATOR = relaxed_control.estimator(
    name="rebar",
    title="REBAR (score function, relaxed control, tuned)",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    paper="Tucker et al. 2017",
)
