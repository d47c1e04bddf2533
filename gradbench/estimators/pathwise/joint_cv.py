"""The joint control variate: the pathwise estimator with the noise of the latents and of the minibatch both controlled.

Estimates: ∇E_ε[f(μ + σε)] over all the data, f an average over a minibatch of them. Along the path the gradient of f is
    compared with that of a second-order model of f around q's mean m, g(z) = ∇f(m) + ∇²f(m) (z − m), whose mean over
    both the noise and the data is known: the averages of ∇f(m) and ∇²f(m) over the data are kept.
Surrogate: (1/L) Σ f(z_l) + ⟨h(c_μ), μ⟩ + ⟨h(c_σ), σ⟩, z_l = μ + σε_l, with
    c_μ = E[g] − (1/L) Σ g(z_l),  c_σ = E[g ε] − (1/L) Σ g(z_l) ε_l.
Held constant: the control's coefficients; and, of a sampled KL, q in f, whose own score has mean 0 and no model.
Unbiased for: φ and θ, of the gradient over the data that the averages were taken over. Measured under noise = "latent"
    those are the minibatch itself, and only the noise of the latents is left to be controlled; under "latent+data" they
    are all the data, and at any one minibatch the mean of the estimate is that of the whole.
Needs: Gaussian latents that all datapoints have in common; f differentiable twice.
Cost: 2 evaluations per sample, and 2 gradients: at q's mean, and of its product with z − m. Before that, D + 1 such
    gradients at all the data, once. In training, the averages are of earlier parameters; here, where the parameters
    stay, they are exact, which is the best that the control can do.
Paper: Wang, Geffner & Domke 2024 (AISTATS), derived here from the abstract and the authors' code, which keeps the
    average of ∇f(m) alone and controls μ's gradient alone; that of σ takes the diagonal of ∇²f(m) over the data.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, Noise, Values, hold, live
from gradbench.estimators.base import Estimator, Evaluations, Setting, differentiated, held
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average

CURVATURE_EVALUATIONS = 2**20
"""Columns of ∇²f × datapoints that are evaluated in one pass of the fit."""


def surrogate(objective: Objective, q: Family, noise: Noise, state: dict[str, Tensor]) -> Values:
    assert isinstance(noise, Tensor)
    z = live(q.sample(noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    law = hold(q, "q in the control")
    step = law.sample(noise) - state["mean"]
    model = model_gradient(hold(objective, "f in the control"), law, state["mean"], step)
    away = (state["curvature"] @ (law.parameters["loc"] - state["mean"])[..., None])[..., 0]
    of_loc = state["slope"] + away - model.mean(1, keepdim=True)
    of_scale = state["curvature"].diagonal(dim1=-2, dim2=-1) * law.parameters["scale"]
    of_scale = of_scale - (model * noise).mean(1, keepdim=True)
    loc, scale = (live(q.parameters[name], "q's parameters") for name in ("loc", "scale"))
    return average(f) + (of_loc * loc + of_scale * scale).sum((1, 2, 3))


def model_gradient(objective: Objective, q: Family, mean: Tensor, step: Latents) -> Latents:
    """∇f + ∇²f ``step`` at ``mean`` [1, 1, 1, D], f averaged over the minibatch, for steps [R, L, 1, D]."""
    with torch.enable_grad():
        at = mean.expand_as(step).detach().requires_grad_()
        (slope,) = torch.autograd.grad(objective.f(at, q).mean(2).sum(), at, create_graph=True)
        if not slope.requires_grad:  # f is linear in z
            return slope
        (bend,) = torch.autograd.grad((slope * step.detach()).sum(), at, create_graph=True)
    return slope + bend


def fit(objective: Objective, q: Family, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
    """q's mean m [1, 1, 1, D], and the averages of ∇f(m) and ∇²f(m) [1, 1, 1, D, D] over the data."""
    mean = q.parameters["loc"]
    dim = mean.shape[-1]
    slope = model_gradient(objective, q, mean, torch.zeros_like(mean)).detach()
    units = torch.eye(dim, dtype=mean.dtype, device=mean.device)[None, :, None]
    at_once = max(1, CURVATURE_EVALUATIONS // objective.data.shape[2])
    pieces = [model_gradient(objective, q, mean, some).detach() - slope for some in units.split(at_once, 1)]
    return {"mean": mean, "slope": slope, "curvature": torch.cat(pieces, 1)[0, :, 0][None, None, None]}


def control_evaluations(setting: Setting) -> Evaluations:
    """f at the sample and at q's mean; there its gradient, and that of the gradient's product with the step."""
    return Evaluations(2 * setting.samples, 2 * setting.samples)


def needs_shared_latents(setting: Setting) -> str | None:
    """The need of latents that all the data have in common."""
    if setting.shared:
        return None
    return (
        f"each datapoint of {setting.problem} has latents of its own, and the control's mean over the data is that of "
        f"latents in common, such as weights"
    )


ESTIMATOR = Estimator(
    name="joint-cv",
    title="pathwise, joint control variate for latents and minibatch",
    surrogate=surrogate,
    fit=fit,
    fits_on_all_rows=True,
    ledger=(
        differentiated("z", "phi", "z = μ + σε depends on φ, and the distribution of ε does not"),
        held("q in f", "the score that a sampled KL would add has mean 0, and no model here"),
        differentiated("f", "phi and theta", "the gradient moves inside the expectation over ε"),
        held("q in the control", "c_μ and c_σ are what is added to the gradient in μ and σ: numbers of mean 0"),
        held("f in the control", "c_μ and c_σ are no part of the θ-gradient"),
        differentiated("q's parameters", "phi", "they carry the control to φ"),
    ),
    latents=frozenset({"gaussian"}),
    unbiased=unbiased("elbo"),
    needs=needs_shared_latents,
    evaluations=control_evaluations,
    scored=False,
    paper="Wang et al. 2024",
)
