"""The pathwise estimator on randomised quasi-Monte Carlo points.

Estimates: ∇E_ε[f(g(φ, ε))] from L points that fill the space of ε more evenly than independent draws.
Surrogate: (1/L) Σ f(g(φ, ε_l)), everything differentiated; ε_l is the noise at the l-th point of Sobol's sequence over
    a datapoint's latents, all layers together, scrambled anew for each replicate and datapoint.
Held constant: nothing, as for the pathwise estimator.
Unbiased for: φ and θ: each scrambled point is uniform by itself.
Needs: latents with a differentiable sampling path and noise that is made of uniforms (Gaussian). Any L; a power of two
    is best, since the points of such L make a net. Latents as many as torch knows directions of Sobol's sequence for.
Cost: 1 evaluation per sample.
Paper: Buchholz, Wenzel & Mandt 2018 (ICML), with scrambled Sobol' points.
"""

from __future__ import annotations

import torch

from gradbench.core.types import Noise, Values
from gradbench.estimators.base import Estimator, Setting
from gradbench.estimators.draws import own
from gradbench.estimators.parts.sobol import MOST_DIMENSIONS, scrambled
from gradbench.estimators.pathwise import pathwise
from gradbench.families.base import Family, noise_at
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    return pathwise.surrogate(objective, q, noise)


def draw_points(q: Family, replicates: int, count: int, generator: torch.Generator) -> Noise:
    """The noise at ``count`` scrambled points, [R, L, B, *event]."""
    value = next(iter(q.parameters.values()))
    uniforms = scrambled((replicates, count, value.shape[2], q.event.numel()), generator, value.device)
    return noise_at(q, uniforms.unflatten(-1, q.event))


def needs(setting: Setting) -> str | None:
    if setting.latent_dim > MOST_DIMENSIONS:
        return f"Sobol' points have at most {MOST_DIMENSIONS} dimensions, not the {setting.latent_dim} latents here"
    return None


ESTIMATOR = Estimator(
    name="pathwise-qmc",
    title="pathwise, scrambled Sobol' points",
    surrogate=surrogate,
    ledger=pathwise.ESTIMATOR.ledger,
    uses=frozenset({"reparameterised", "from_uniforms"}),
    layered=True,
    draws=own(draw_points),
    needs=needs,
    scored=False,
    paper="Buchholz et al. 2018",
)
