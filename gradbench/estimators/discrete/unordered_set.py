"""The unordered set estimator: L different states, drawn without replacement.

Estimates: ∇E_q[f(z)] as Σ_{s ∈ S} ∇q(s) R(S, s) (f(s) − B(S, s)) over a set S of L states, with the leave-one-out
    ratio R(S, s) = q^{D∖s}(S∖s) / q(S), and B(S, s) = Σ_{s′ ∈ S} q(s′) R^{D∖s}(S, s′) f(s′) as the baseline, which is
    an estimate of E f with s known.
Surrogate: Σ_{s ∈ S} h(q(s) R(S, s) (f(s) − B(S, s))) log q(s) + h(q(s) R(S, s)) f(s), with q held inside f.
Held constant: the set, which the expectation binds; the ratios, which belong to its probability; the weighted
    differences, as numbers. q inside f, because that term's φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: φ and θ; the weights q(s) R(S, s) add up to 1. With all states in the set it is the exact gradient.
Needs: latents with at most 2^12 states, all of them as one variable, so that bits and several variables are sets of
    joint states; L at most that number, and at most 10, as the ratios are sums over 2^L subsets. L = 1 is the score
    function without a baseline.
Cost: 1 evaluation per state drawn.
Paper: Kool, van Hoof & Welling 2020 (ICLR). Ratios by the recursion over subsets, which has no cancellation.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradbench.core.types import Latents, Noise, Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held
from gradbench.estimators.draws import own
from gradbench.estimators.parts.joint import log_masses, log_rest, needs_states, over_states, with_numbers
from gradbench.estimators.parts.without_replacement import baselines, subset_weights
from gradbench.families.base import Family
from gradbench.objectives.base import Objective

MOST_DRAWN = 10
"""States in a set, at most."""


def surrogate(objective: Objective, q: Family, noise: Tensor) -> Values:
    noise = noise.sort(1).values  # of a set that is drawn in another order, the same numbers to the last bit
    z = hold(with_numbers(q, noise), "set")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    with torch.no_grad():
        log_p = log_masses(q)
        chosen = log_p.expand(len(noise), -1, -1).gather(-1, noise.movedim(1, -1))
        weights = subset_weights(chosen, log_rest(log_p, noise))
        ratio = weights.own.movedim(-1, 1)
    score = hold(ratio * (f - baselines(weights, f)), "weight") * live(q.log_prob(z), "log q")
    return (score + ratio * f).sum(1).mean(-1)


def _draw(q: Family, replicates: int, samples: int, generator: torch.Generator) -> Noise:
    """The numbers of L different states in the order in which they are drawn, [R, L, B]: the largest perturbed ones."""
    law = over_states(q)
    perturbed = (law.log_probabilities + law.noise(replicates, 1, generator))[:, 0, :, 0]
    return perturbed.topk(samples, -1).indices.movedim(-1, 1)


def _first(q: Family, noise: Any) -> Latents:
    """The one that was drawn first is a sample of q."""
    return with_numbers(q, noise[:, :1])


def needs(setting: Setting) -> str | None:
    if (reason := needs_states(setting)) is not None:
        return reason
    assert setting.states is not None
    if setting.samples > min(setting.states, MOST_DRAWN):
        of_what = f"of {setting.states} states" if setting.states < MOST_DRAWN else "for sums over their subsets"
        return f"samples = {setting.samples} are too many to draw without replacement {of_what}; at most " + str(
            min(setting.states, MOST_DRAWN)
        )
    return None


ESTIMATOR = Estimator(
    name="unordered-set",
    title="unordered set (sampling without replacement)",
    surrogate=surrogate,
    draws=own(_draw, _first, coupled=True),
    ledger=(
        held("set", "the expectation binds the states drawn"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("weight", "the weight of each state's score: f less an estimate of its mean, a number"),
        differentiated("log q", "phi", "its score, weighted, carries the whole φ-gradient"),
        differentiated("f", "theta", "f's own θ-gradient, each state with its ratio as weight"),
    ),
    uses=frozenset({"states"}),
    needs=needs,
    scored=False,
    paper="Kool et al. 2020",
)
