"""A control variate that is differentiated along relaxed samples, and along relaxed samples given the states (REBAR's).

c is a function of logits perturbed by noise, of which a sample is the nearest state. E[c ∇ log q] over both is known in
another way: by the product rule it is ∇E c less E ∇E[c | z], and c can be differentiated along either path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gradbench.core.types import Latents, PerSample, Values, hold, live
from gradbench.estimators.base import Estimator, Factor, Setting, differentiated, held
from gradbench.estimators.draws import own
from gradbench.estimators.parts.least_variance import Budget, OfState, State, least_variance
from gradbench.estimators.parts.own_parameters import OfParameters, apart, beside, derivatives, scores
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective, average

RelaxedControl = Callable[[Objective, Relaxable, State, Tensor], PerSample]
"""c: (objective with θ held, q held, state, perturbed logits [R, L, B, *event]) -> [R, L, B]."""
Drawn = dict[str, Tensor]


def both_noises(q: Relaxable, replicates: int, samples: int, generator: torch.Generator, *given: Any) -> Drawn:
    """Noise of each sample, and independent noise of the same law for its relaxation given the sample."""
    return {name: q.noise(replicates, samples, generator) for name in ("z", "given z")}  # pyright: ignore


TWO_RELAXATIONS = own(both_noises, lambda q, noise: q.sample(noise["z"]))
"""L independent samples, each with noise for a second relaxation."""


def surrogate(control: RelaxedControl, objective: Objective, q: Relaxable, noise: Drawn, state: State) -> Values:
    """(1/L) Σ h(f − c(z̃)) log q + c(ζ) − c(z̃) + f, with ζ the perturbed logits and z̃ those given the sample."""
    z = hold(q.sample(noise["z"]), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    free = live(q.perturbed(noise["z"]), "relaxation")
    given = live(q.perturbed_given(z, noise["given z"]), "relaxation given z")
    fixed = hold(objective, "θ in c"), hold(q, "q in c")
    c, c_given = (control(*fixed, state, place) for place in (free, given))
    weight = hold(less_control(f, c_given), "f - c given z")
    return average(weight * live(q.log_prob(z), "log q") + live(c, "c") - live(c_given, "c given z") + f)


def less_control(f: PerSample, c_given: PerSample) -> PerSample:
    """f − c(z̃), [R, L, B]: what the fit differentiates in the state and the surrogate holds."""
    return f - c_given


def relaxed_estimates(
    control: RelaxedControl, objective: Objective, q: Relaxable, at: At, state: State
) -> OfParameters:
    """The surrogate's gradient in each of q's parameters, [R, L, B, *event], differentiable in the state."""
    live_q = apart(q, at.z.shape)
    assert isinstance(live_q, Relaxable)
    c = control(objective, q, state, live_q.perturbed(at.noise["z"]))
    c_given = control(objective, q, state, live_q.perturbed_given(at.z, at.noise["given z"]))
    weight = beside(less_control(at.f, c_given), q.event)
    paths = derivatives(c - c_given, live_q, graph=True)
    return {name: weight * score + paths[name] for name, score in scores(q, at.z).items()}


@dataclass(frozen=True)
class At:
    """Draws with their samples, and f there."""

    noise: Drawn
    z: Latents
    f: PerSample


def with_values(objective: Objective, q: Relaxable, draws: int, generator: torch.Generator) -> At:
    """So many independent draws at each datapoint."""
    noise = both_noises(q, draws, 1, generator)
    with torch.no_grad():
        z = q.sample(noise["z"])
        return At(noise, z, objective.f(z, q))


def fit(
    control: RelaxedControl,
    objective: Objective,
    q: Relaxable,
    generator: torch.Generator,
    state: State,
    trained: tuple[str, ...],
    budget: Budget,
) -> State:
    """``state`` with those of its entries fitted to the variance of the estimate."""

    def drawn_estimate() -> OfState:
        at = with_values(objective, q, budget.fit_draws, generator)
        return lambda values: relaxed_estimates(control, objective, q, at, values)

    return least_variance(drawn_estimate, state, trained, budget)


def evaluations(setting: Setting) -> float:
    """Three of f for each sample: at the sample, and at the two relaxations."""
    return float(3 * setting.samples)


LEDGER: tuple[Factor, ...] = (
    held("z", "the expectation binds z: nothing flows through it where the score is weighed"),
    held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
    held("θ in c", "the control is for φ alone: its evaluations of f must not reach the θ-gradient"),
    held("q in c", "c is one function of the relaxation, whatever φ"),
    held("f - c given z", "the weight of the score: by the product rule q is differentiated here, and this is not"),
    differentiated("relaxation", "phi", "the logits perturbed by noise are a smooth function of φ"),
    differentiated("relaxation given z", "phi", "the same given the sample, which is held: by what law it is drawn"),
    differentiated("log q", "phi", "grad q = q grad log q: the φ-gradient of the mean of f less c"),
    differentiated("c", "phi", "the φ-gradient of the mean of c, which the weight leaves out"),
    differentiated("c given z", "phi", "the part of that gradient that the score does not see: of c given the sample"),
    differentiated("f", "theta", "f's own θ-gradient; the control has no part in it"),
)


def estimator(**declared: Any) -> Estimator:
    """An estimator with what all of them have in common."""
    return Estimator(
        ledger=LEDGER,
        uses=frozenset({"perturbed_given"}),
        draws=TWO_RELAXATIONS,
        evaluations=evaluations,
        **declared,
    )
