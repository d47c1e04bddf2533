"""The pathwise estimator with zero-variance control variates: polynomials of the noise whose mean is 0.

Estimates: ∇E_ε[f(g(φ, ε))], each entry of the gradient in q's parameters less its regression on functions u_k(ε) of
    mean 0. They are the Stein operator of the standard normal law applied to polynomials P, ΔP − ε · ∇P: up to a factor
    the ε_i for ``degree`` 1, and for 2 the ε_i² − 1 and ε_i ε_j beside them.
Surrogate: (1/L) Σ f(g(φ, ε_l)) − h(Σ_k a_k u_k) · loc − h(Σ_k a'_k u_k) · scale.
Held constant: the control's coefficients; a and a' too, which are fitted beforehand and then frozen.
Unbiased for: φ and θ: the control has mean 0 whatever a and a'.
Needs: Gaussian latents, f differentiable in z. −log q is left out of the gradient that is fitted, as its path has no
    noise. a and a' of each datapoint are found by least squares, with an intercept, on ``fit_draws`` draws of their
    own: more than there are functions, D for ``degree`` 1 and D + D (D + 1) / 2 for 2.
Cost: 1 evaluation per sample, after the fit.
Paper: Ng & Wei 2024 (arXiv 2410.05753), of which the abstract was at hand; the functions are those of Mira, Solgi &
    Imparato 2013 (Statistics and Computing) at the law of the noise.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import Noise, Values
from gradbench.estimators.base import Estimator, EstimatorParameters, Setting
from gradbench.estimators.parts.path_control import CONTROLLED, by_datapoint, controlled, drawn_gradients
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


class Parameters(EstimatorParameters):
    degree: Literal[1, 2] = 1
    """Degree of the polynomials of the noise."""
    fit_draws: PositiveInt = 512
    """Draws, disjoint from those measured, that their coefficients are found on by least squares."""


def surrogate(
    objective: Objective, q: Family, noise: Noise, state: dict[str, Tensor], parameters: Parameters
) -> Values:
    assert isinstance(noise, Tensor)
    features = functions(noise.flatten(3), parameters.degree)[..., None, :]
    of_loc, of_log_scale = (
        -(state[name] * features).sum(-1).unflatten(-1, noise.shape[3:]) for name in ("loc", "log_scale")
    )
    scale = q.parameters["scale"]
    return controlled(objective, q, noise, (of_loc / scale, of_log_scale / scale))


def functions(noise: Tensor, degree: int) -> Tensor:
    """The functions of mean 0 at ``noise`` [R, L, B, D], side by side: [R, L, B, K]."""
    if degree == 1:
        return noise
    row, column = torch.triu_indices(noise.shape[-1], noise.shape[-1], device=noise.device)
    products = noise[..., row] * noise[..., column] - (row == column).to(noise.dtype)
    return torch.cat([noise, products], -1)


def number_of_functions(latent_dim: int, degree: int) -> int:
    """How many there are."""
    return latent_dim if degree == 1 else latent_dim + latent_dim * (latent_dim + 1) // 2


def fit(
    objective: Objective, q: Family, samples: int, generator: torch.Generator, parameters: Parameters
) -> dict[str, Tensor]:
    """Regress the gradient in loc / s and in the log scale on the functions: each [1, 1, B, D, K]."""
    noise, slope = drawn_gradients(objective, q, parameters.fit_draws, generator)
    features = functions(noise, parameters.degree)
    design = torch.cat([torch.ones_like(features[..., :1]), features], -1)[:, 0].transpose(0, 1)
    targets = torch.cat([slope, noise * slope], -1)[:, 0].transpose(0, 1)
    orthonormal, triangle = torch.linalg.qr(design)  # of full rank, having more rows than columns
    found = torch.linalg.solve_triangular(triangle, orthonormal.mT @ targets, upper=True)
    found = found[:, 1:].transpose(1, 2)[None, None]
    of_loc, of_log_scale = found.chunk(2, -2)
    return by_datapoint({"loc": of_loc, "log_scale": of_log_scale}, objective)


def needs(setting: Setting) -> str | None:
    count = number_of_functions(setting.latent_dim, setting.parameters.degree)
    if setting.parameters.fit_draws <= count + 1:
        return f"{count} functions of {setting.latent_dim} latents need more than {count + 1} draws; raise fit_draws"
    return None


ESTIMATOR = Estimator(
    name="zv-cv",
    title="pathwise, zero-variance control variates",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    state_by_datapoint=frozenset({"loc", "log_scale"}),
    ledger=CONTROLLED,
    latents=frozenset({"gaussian"}),
    uses=frozenset({"reparameterised"}),
    scored=False,
    needs=needs,
    paper="Ng & Wei 2024",
)
