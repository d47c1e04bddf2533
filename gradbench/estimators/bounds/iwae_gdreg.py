"""The generalised doubly reparameterised estimator (GDReG) of the importance-weighted bound: for θ of the prior, too.

Estimates: ∇_φ as `iwae-dreg`, Σ_l w̃_l² (∂ log w_l / ∂z_l) (∂z_l / ∂φ). Of ∇_θ, the part of the likelihood as usual,
    Σ_l w̃_l ∇_θ log p_θ(x|z_l); that of each conditional p_i = p_θ(z_i|…) of the prior, Σ_l w̃_l ∇_θ log p_i(z_l),
    along its own path z_i = T_i(ε̃; θ), at the noise ε̃ that gives the sample of q, as the mean of
    Σ_l [(w̃_l − w̃_l²) ∂ log w_l / ∂z_i + w̃_l ∂ (log q_φ(z_l|x) − log p_i(z_l)) / ∂z_i] ∂T_i / ∂θ.
    With one layer the bracket is w̃_l ∂ log p_θ(x|z_l) / ∂z − w̃_l² ∂ log w_l / ∂z.
Surrogate: Σ_l h(w̃_l² ∂ log w_l / ∂z_l) · z_l + h(w̃_l) log p_θ(x|h(z_l)) + Σ_i h([…]) · T_i(h(ε̃_l); θ).
Held constant: every weight and slope, which only multiply what moves: z along q's path, z_i along the prior's. The
    noise ε̃ of the prior: not held, T_i would be the sample itself, whatever θ. The samples, in the θ-part.
Unbiased for: φ and θ, of the bound with L samples, or of a mean of bounds; on layers of latents, each conditional of
    the prior given the samples of the others. For any g, integration by parts on p_i gives
    E_q[g ∇_θ log p_i] = E_q[(∂g/∂z_i + g ∂(log q − log p_i)/∂z_i) ∂T_i/∂θ]; here g = w̃_l.
Needs: latents with a differentiable sampling path and its inverse (Gaussian), a prior made of such, the objective
    "iwae" or "miwae".
Cost: 2 evaluations and 1 gradient per sample.
Paper: Bauer & Mnih 2021 (ICML); derived here as said above.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Latents, Noise, PerSample, Values, hold, live
from gradbench.estimators.base import Estimator, Evaluations, Setting, differentiated, held
from gradbench.estimators.parts.own_parameters import beside
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.families.layered import TopDown, layers_side_by_side
from gradbench.objectives.base import Objective


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    z = live(q.sample(noise), "z")
    at = hold(z, "z in the θ-part")
    slopes = slopes_at(at, hold(objective, "θ in the slopes"), hold(q, "q in the slopes"))
    weight, squared = objective.weights(slopes.log_w).detach(), objective.path_weights(slopes.log_w).detach()
    likelihood = live(objective.problem.log_likelihood(objective.theta, objective.data, at), "likelihood")
    along_prior = times(weight - squared, slopes.of_log_w) + times(weight, slopes.of_log_q_less_prior)
    moved = live(moved_with_prior(objective.problem.prior(objective.theta), at), "path of the prior")
    return (
        dot(times(squared, slopes.of_log_w), z) + weight * likelihood + dot(along_prior, moved)
    ).sum(1).mean(-1)  # fmt: skip


def needs_log_w(setting: Setting) -> str | None:
    """The need of f being log p(x|z) + log p(z) − log q(z|x), whose parts are taken one by one."""
    if setting.objective.name in BOUNDS:
        return None
    return f"it takes log w apart into likelihood and prior; {setting.objective.name} may have another f: use iwae-dreg"


class Slopes(NamedTuple):
    """log w [R, L, B] and derivatives in z [R, L, B, *event], all of them constants."""

    log_w: PerSample
    of_log_w: Tensor
    of_log_q_less_prior: Tensor
    """That of log q(z|x) − log p_i(z_i|…) in z_i, for each conditional p_i of the prior."""


def slopes_at(z: Latents, objective: Objective, q: Family) -> Slopes:
    """The slopes of the bound at samples ``z``, with θ and φ held."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        log_w = objective.f(leaf, q)
        (of_log_w,) = torch.autograd.grad(log_w.sum(), leaf)
        # at held parameters each conditional is a function of its own layer alone
        own = [p.held().log_prob(part) for p, part in conditionals(objective.problem.prior(objective.theta), leaf)]
        (rest,) = torch.autograd.grad((q.log_prob(leaf) - sum(own)).sum(), leaf)
    return Slopes(log_w.detach(), of_log_w, rest)


def conditionals(prior: Any, z: Latents) -> list[tuple[Family, Tensor]]:
    """The distributions that a prior is made of, each with its own part of ``z``.

    Raises MeasurementError where one has no path, or no inverse of it.
    """
    found = prior.split(z) if isinstance(prior, TopDown) else [(prior, z)]
    for p, _ in found:
        if not (isinstance(p, Family) and p.has("reparameterised") and p.has("noise_of")):
            raise MeasurementError(
                f"iwae-gdreg: the prior has a {type(p).__name__}, which has no sampling path with an inverse\n"
                f"use iwae-dreg, or give the prior as a Family with noise_of"
            )
    return found


def moved_with_prior(prior: Any, z: Latents) -> Latents:
    """``z`` as the prior's own samples, which move with θ at the noise that gives them."""
    laws = conditionals(prior, z)
    parts = [p.sample(hold(p, "noise of the prior").noise_of(part)) for p, part in laws]
    return layers_side_by_side(parts[::-1]) if isinstance(prior, TopDown) else parts[0]


def times(weight: PerSample, slope: Tensor) -> Tensor:
    """A weight [R, L, B] times a slope [R, L, B, *event]."""
    return beside(weight, slope.shape[3:]) * slope


def dot(slope: Tensor, z: Latents) -> PerSample:
    """The product over the event, [R, L, B]."""
    return (slope * z).flatten(3).sum(-1)


BOUNDS = ("iwae", "miwae")

ESTIMATOR = Estimator(
    name="iwae-gdreg",
    title="importance-weighted bound, doubly reparameterised for the prior, too (GDReG)",
    surrogate=surrogate,
    ledger=(
        differentiated("z", "phi", "z = g(φ, ε) depends on φ, and the distribution of ε does not"),
        held("z in the θ-part", "what φ does to z is counted along q's path alone"),
        held("θ in the slopes", "the slopes only multiply what moves along a path"),
        held("q in the slopes", "the same, and q's score term is reparameterised once more, as in iwae-dreg"),
        differentiated("likelihood", "theta", "log p(x|z) in θ, weighted as usual"),
        held("noise of the prior", "θ moves the sample from where it is, at the noise that put it there"),
        differentiated("path of the prior", "theta", "in the place of the prior's score, which is reparameterised"),
    ),
    uses=frozenset({"reparameterised", "noise_of"}),
    layered=True,
    unbiased=unbiased(*BOUNDS),
    needs=needs_log_w,
    evaluations=lambda setting: Evaluations(2 * setting.samples, setting.samples),
    paper="Bauer & Mnih 2021",
)
