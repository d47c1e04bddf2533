"""Implicit reparameterisation: the pathwise estimator where the path's derivative is found from the distribution.

Estimates: ∇E_q[f(z)] from dz/dφ = −(∂F/∂φ) / p(z), F the distribution function and p the density: what F(z; φ) = u
    says of a z that moves with φ at a constant u. The inverse of F need not be differentiated.
Surrogate: (1/L) Σ f(z_l), z_l the sample whose derivative is that; everything differentiated.
Held constant: nothing, as for the pathwise estimator.
Unbiased for: φ and θ, to numerical accuracy. Gamma, Beta and Dirichlet latents have torch's approximations of dz/dφ, by
    which mean gradients of smooth costs are off by some 1e-5 (Gamma, Dirichlet) and up to 3e-4 (Beta) of their norm for
    shapes from 0.1 to 100: benchmarks/implicit_bias.py measures it. Von Mises latents have it to rounding.
Needs: latents whose path has an implicit derivative, f differentiable in z.
Cost: 1 evaluation per sample.
Paper: Figurnov, Mohamed & Mnih 2018 (NeurIPS); the derivative itself, Salimans & Knowles 2013.
"""

from __future__ import annotations

from gradbench.core.types import Noise, Values
from gradbench.estimators.base import Estimator, differentiated
from gradbench.estimators.pathwise import pathwise
from gradbench.estimators.scope import Scope, unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    return pathwise.surrogate(objective, q, noise)


ESTIMATOR = Estimator(
    name="implicit",
    title="implicit reparameterisation",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "at a constant F(z; φ), which has a law without φ, z moves with φ"),
        differentiated("q in f", "phi", "the total derivative: -log q depends on φ directly, too"),
        differentiated("f", "phi and theta", "nothing is held: the gradient moves inside the expectation over u"),
    ),
    uses=frozenset({"reparameterised", "implicit"}),
    layered=True,
    unbiased=unbiased("elbo", "cost", phi=Scope.NUMERICALLY),
    scored=False,
    paper="Figurnov et al. 2018",
)
