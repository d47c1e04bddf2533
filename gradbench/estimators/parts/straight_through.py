"""Samples that are differentiated as if they were something smooth: the straight-through estimators.

f is evaluated at the sample itself, once, for φ and for θ. Its slope there is carried on to the logits by a derivative
that the sample does not have, and each estimator says which.
"""

from __future__ import annotations

from torch import Tensor

from gradbench.core.types import Latents, Values, hold, live
from gradbench.estimators.base import Factor, differentiated, held
from gradbench.families.relaxable import Relaxable
from gradbench.objectives.base import Objective, average

LATENTS = frozenset({"bernoulli", "categorical"})
"""The families that are `Relaxable`."""


def straight_through(objective: Objective, q: Relaxable, z: Latents, tangent: Latents) -> Values:
    """f at ``z`` [R, L, B, *event], which moves with the logits as ``tangent`` does; a tangent is 0 in value."""
    moving = hold(z, "z") + live(tangent, "tangent")
    return average(live(objective.f(moving, hold(q, "q in f")), "f"))


def mean_tangent(q: Relaxable, perturbed: Tensor, temperature: float, inner: int = 1) -> Latents:
    """The tangent of softened values [R, L · inner, B, *event], averaged over ``inner`` of them, [R, L, B, *event]."""
    tangent = q.tangent(q.softened(perturbed.detach(), temperature)) / temperature
    return tangent if inner == 1 else tangent.unflatten(1, (-1, inner)).mean(2)


def ledger(why: str) -> tuple[Factor, ...]:
    """The ledger of an estimator whose tangent is what ``why`` says."""
    return (
        held("z", "states: no gradient flows through a comparison"),
        differentiated("tangent", "phi", why),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        differentiated("f", "phi and theta", "its slope in z goes on to φ, and θ's gradient is that at the sample"),
    )
