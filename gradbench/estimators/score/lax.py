"""LAX: the score function with a learned control variate that is differentiated along the path.

Estimates: ∇E_q[f(z)] as the score function's estimate of f − c_ψ, plus the pathwise estimate of c_ψ.
Surrogate: (1/L) Σ h(f_l − c_ψ(z_l, x)) log q_φ(h(z_l)|x) + c_ψ(g(φ, ε_l), x) + f_l, with q held inside f.
Held constant: z but along the path of c; f − c as the weight of the score; q inside f; ψ, which is fitted beforehand
    and then frozen.
Unbiased for: φ and θ, whatever ψ: the score function's and the pathwise estimate of c_ψ have the same mean.
Needs: reparameterised latents, in one layer. c_ψ is one tanh layer of ``hidden`` units on z, standardised, and on x
    where there is one. ψ is fitted by ``fit_steps`` Adam steps on the variance of the estimate itself, in the own
    parameters of q, each on ``fit_draws`` draws of their own at each datapoint.
Cost: 1 evaluation per sample, after the fit; f is never differentiated in z.
Paper: Grathwohl, Choi, Wu, Roeder & Duvenaud 2018 (ICLR), who fit ψ while they train.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import Latents, Noise, PerSample, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held, needs_entrywise
from gradbench.estimators.parts.free_form import initial, network, trained
from gradbench.estimators.parts.least_variance import Budget, OfState, State, least_variance
from gradbench.estimators.parts.own_parameters import OfParameters, apart, derivatives
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


class Parameters(Budget):
    hidden: PositiveInt = 32
    """Units of the network that is the control, one tanh layer."""


def surrogate(objective: Objective, q: Family, noise: Noise, state: State, parameters: Parameters) -> Values:
    path = live(q.sample(noise), "z along the path")
    z = hold(path, "z in the score")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    weight = hold(weight_of_score(state, z, f, objective.x), "f - c")
    along = live(network(state, path, objective.x), "c")
    return average(weight * live(q.log_prob(z), "log q") + along + f)


def weight_of_score(state: State, z: Latents, f: PerSample, x: Tensor | None) -> PerSample:
    """f − c_ψ at z, [R, L, B]: what the fit differentiates in ψ and the surrogate holds."""
    return f - network(state, z, x)


def estimates(q: Family, noise: Noise, z: Latents, f: PerSample, x: Tensor | None, state: State) -> OfParameters:
    """The surrogate's gradient in each of q's parameters, [R, L, B, *event], differentiable in ψ."""
    own = apart(q, z.shape)
    score = weight_of_score(state, z, f, x) * own.log_prob(z)
    return derivatives(score + network(state, own.sample(noise), x), own, graph=True)


def fit(objective: Objective, q: Family, samples: int, generator: torch.Generator, parameters: Parameters) -> State:
    """ψ of least variance."""

    def draw() -> tuple[Noise, Latents, PerSample]:
        noise = q.noise(parameters.fit_draws, 1, generator)
        with torch.no_grad():
            z = q.sample(noise)
            return noise, z, objective.f(z, q)

    def drawn_estimate() -> OfState:
        noise, z, f = draw()
        return lambda state: estimates(q, noise, z, f, objective.x, state)

    _, z, f = draw()
    state = initial(z, f, objective.x, parameters.hidden, generator)
    return least_variance(drawn_estimate, state, trained(state), parameters)


ESTIMATOR = Estimator(
    name="lax",
    title="LAX (score function, learned control along the path)",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    needs=needs_entrywise,
    uses=frozenset({"reparameterised"}),
    ledger=(
        differentiated("z along the path", "phi", "z = g(φ, ε) depends on φ: c is differentiated through it, f is not"),
        held("z in the score", "the expectation binds z: nothing flows through it where the score is weighed"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("f - c", "the weight of the score: by the product rule q is differentiated here, and f - c is not"),
        differentiated("log q", "phi", "grad q = q grad log q: the φ-gradient of the mean of f - c"),
        differentiated("c", "phi", "the φ-gradient of the mean of c, which the weight leaves out"),
        differentiated("f", "theta", "f's own θ-gradient; the control has no part in it"),
    ),
    paper="Grathwohl et al. 2018",
)
