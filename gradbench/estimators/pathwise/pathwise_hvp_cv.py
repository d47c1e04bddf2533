"""The pathwise estimator less that of a second-order Taylor model of f at q's mean, plus the model's exact gradient.

Estimates: ∇E_ε[f(g(φ, ε))] with the control variate ∇f̃(g(φ, ε)) − E_ε ∇f̃(g(φ, ε)), f̃ the Taylor model of f at the mean
    of q, with gradient b and Hessian H there. In loc: −H(s ∘ ε). In the scale s: diag(H) ∘ s − ε ∘ (b + H(s ∘ ε)).
Surrogate: (1/L) Σ f(g(φ, ε_l)) + h(control of loc) · loc + h(control of the scale) · scale.
Held constant: the control's coefficients. The mean of q, at which the model is taken, is no part of what is estimated.
Unbiased for: φ and θ: the control has mean 0.
Needs: Gaussian latents, f twice differentiable in z. −log q is left out of the model, as its path has no noise.
    ``diagonal`` = "exact": diag(H) and H(s ∘ ε) of D Hessian-vector products, any L. "other-samples": the diagonal is
    the mean of ε ∘ H(s ∘ ε) / s over the other L − 1 samples, of one product for each, L ≥ 2; averaged over the L
    samples that leaves in the scale the control −ε ∘ b of a model of order one (Geffner & Domke 2020).
Cost: 1 evaluation per sample; for "exact" one more, the gradient at the mean and D products; for "other-samples" L
    more, of the mean once per sample, each with a gradient and a product. A product counts as a gradient.
Paper: Miller, Foti, D'Amour & Adams 2017 (NeurIPS). "exact" is their full-Hessian estimator, "other-samples" that of
    their code, which takes leave-one-out estimates of the diagonal where H is too large.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from gradbench.core.types import Noise, Values, hold
from gradbench.estimators.base import Estimator, EstimatorParameters, Evaluations, Setting, held
from gradbench.estimators.parts.path_control import CONTROLLED, Coefficients, controlled, total
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


class Parameters(EstimatorParameters):
    diagonal: Literal["exact", "other-samples"] = "exact"
    """How the control's mean in the scale knows the Hessian's diagonal: ``exact``, by one product a latent variable;
    ``other-samples``, from the products of the other samples."""


def surrogate(objective: Objective, q: Family, noise: Noise, parameters: Parameters) -> Values:
    assert isinstance(noise, Tensor)
    model = hold(objective, "θ in the model")
    control = _exact if parameters.diagonal == "exact" else _by_other_samples
    return controlled(objective, q, noise, control(model, q, noise))


def _exact(model: Objective, q: Family, noise: Tensor) -> Coefficients:
    loc, scale = q.parameters["loc"], q.parameters["scale"]
    away = (scale * noise).flatten(3)
    with torch.enable_grad():
        mean = loc[:1].detach().requires_grad_()  # every replicate has the same q: one Hessian does for all
        (gradient,) = torch.autograd.grad(total(model, mean), mean, create_graph=True)
        rows = [_row(gradient, mean, d) for d in range(away.shape[-1])]
    product = torch.stack([(row * away).sum(-1) for row in rows], -1).reshape(noise.shape)
    diagonal = torch.stack([row[..., d] for d, row in enumerate(rows)], -1).reshape(mean.shape)
    return -product, diagonal * scale - noise * (gradient.detach() + product)


def _row(gradient: Tensor, mean: Tensor, d: int) -> Tensor:
    """Row d of each datapoint's Hessian, [1, 1, B, D]."""
    return _derivative(gradient.flatten(3)[..., d].sum(), mean).flatten(3)


def _by_other_samples(model: Objective, q: Family, noise: Tensor) -> Coefficients:
    loc, scale = q.parameters["loc"], q.parameters["scale"]
    away = scale * noise
    with torch.enable_grad():
        means = loc.detach().expand(away.shape).requires_grad_()
        (gradient,) = torch.autograd.grad(total(model, means), means, create_graph=True)
        product = _derivative((gradient * away.detach()).sum(), means)
    own = noise * product
    others = (own.sum(1, keepdim=True) - own) / (own.shape[1] - 1)
    return -product, others - noise * (gradient.detach() + product)


def _derivative(value: Tensor, z: Tensor) -> Tensor:
    """The derivative of a gradient's part in z; 0 where f is linear in z, whose gradient depends on nothing."""
    if not value.requires_grad:
        return torch.zeros_like(z)
    (found,) = torch.autograd.grad(value, z, retain_graph=True, allow_unused=True)
    return torch.zeros_like(z) if found is None else found


def needs(setting: Setting) -> str | None:
    if setting.parameters.diagonal == "other-samples" and setting.samples < 2:
        return 'diagonal = "other-samples" needs samples >= 2; use diagonal = "exact"'
    return None


def evaluations(setting: Setting) -> Evaluations:
    if setting.parameters.diagonal == "exact":
        return Evaluations(setting.samples + 1, 1 + setting.latent_dim)
    return Evaluations(2 * setting.samples, 2 * setting.samples)


ESTIMATOR = Estimator(
    name="pathwise-hvp-cv",
    title="pathwise, second-order Taylor control variate",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=(*CONTROLLED, held("θ in the model", "evaluations at the mean of q are for φ alone")),
    latents=frozenset({"gaussian"}),
    uses=frozenset({"reparameterised"}),
    scored=False,
    needs=needs,
    evaluations=evaluations,
    paper="Miller et al. 2017",
)
