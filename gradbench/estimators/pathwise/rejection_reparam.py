"""Reparameterised rejection sampling of Gamma latents (RSVI): the accepted proposal is the noise.

Estimates: ∇E[f(z(ε, u, φ))]. With α̃ = α + B, the accepted ε of Marsaglia & Tsang's sampler gives
    z̃ = (α̃ − ⅓)(1 + ε/√(9α̃ − 3))³ ~ Gamma(α̃, 1), and z = z̃ Π_{i ≤ B} u_i^{1/(α + i − 1)} / β ~ Gamma(α, β) with B
    uniform u_i: the shape augmentation. The accepted ε has the law π(ε; α̃) = q_α̃(z̃) |dz̃/dε|, which depends on φ the
    less the larger α̃ is: a path and the score of the acceptance, E[∇f(z(ε, u, φ)) + f(z) ∇_φ log π(ε; α̃)].
Surrogate: (1/L) Σ f(z(h(ε_l), u_l, φ)) + h(f_l) log π(h(ε_l); α̃).
Held constant: ε and u, because the expectation binds them; f as the weight of the correction; q inside f, because that
    term's own derivative is −score, of mean 0.
Unbiased for: φ and θ.
Needs: one layer of Gamma latents, f differentiable in z; concentrations of at least 1 for ``augmentation`` = 0, as the
    sampler does.
Cost: 1 evaluation per sample.
Paper: Naesseth, Ruiz, Linderman & Blei 2017 (AISTATS), with −log q in f sampled where the KL is, in the place of the
    entropy's closed form. The accepted ε is drawn as the one that gives z̃, a quantile of Gamma(α̃, 1) as for the other
    estimators: the law is that of the rejection loop, and costs compare.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Latents, Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, differentiated, held
from gradbench.estimators.draws import own
from gradbench.families.base import Family
from gradbench.families.gamma import Gamma, kept_positive
from gradbench.objectives.base import Objective, average


class Parameters(EstimatorParameters):
    augmentation: int = Field(1, ge=0, le=1000)
    """B, the steps by which the concentration is raised for the proposal."""


def surrogate(objective: Objective, q: Family, noise: dict[str, Tensor], parameters: Parameters) -> Values:
    raised = _raised(q, noise)
    third = raised.parameters["concentration"] - 1 / 3
    accepted = hold((9 * third).sqrt() * ((raised.sample(noise["raised"]) / third).pow(1 / 3) - 1), "ε")
    root = 1 + accepted / (9 * third).sqrt()
    proposed = third * root**3
    z = live(_lowered(q, proposed, noise["exponential"]), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    # dz̃/dε = √(α̃ − ⅓) (1 + ε/√(9α̃ − 3))²
    log_law = live(raised.log_prob(proposed) + (third.log() / 2 + 2 * root.log()).sum(-1), "log π(ε)")
    return average(f + hold(f, "f as weight") * log_law)


def draw_accepted(
    q: Family, replicates: int, samples: int, generator: torch.Generator, parameters: Parameters
) -> dict[str, Tensor]:
    """Noise of Gamma(α̃, 1), [R, L, B, D], and exponential variables −log u, [R, L, B, D, augmentation].

    Raises MeasurementError where the proposal has no law: concentrations below 1 without augmentation.
    """
    least = float(q.parameters["concentration"].min())
    if not parameters.augmentation and least < 1:
        raise MeasurementError(
            f"rejection-reparam: a concentration of {least:.3g} has no proposal without augmentation\n"
            f"use augmentation = 1 or more, which works for every concentration"
        )
    noise = q.noise(replicates, samples, generator)
    assert isinstance(noise, Tensor)
    # in double precision: uniforms of single precision are multiples of 2⁻²⁴
    shape = (*noise.shape, parameters.augmentation)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=noise.device)
    return {"raised": noise, "exponential": -torch.log1p(-uniform).to(noise.dtype)}


def latents(q: Family, noise: dict[str, Tensor]) -> Latents:
    """The samples of q, [R, L, B, D]."""
    return _lowered(q, _raised(q, noise).sample(noise["raised"]), noise["exponential"])


def _raised(q: Family, noise: dict[str, Tensor]) -> Gamma:
    """Gamma(α + B, 1)."""
    concentration = q.parameters["concentration"] + noise["exponential"].shape[-1]
    return Gamma(concentration=concentration, rate=torch.ones_like(concentration))


def _lowered(q: Family, raised: Latents, exponential: Tensor) -> Latents:
    """Samples of q from those of Gamma(α + B, 1) and B exponential variables −log u."""
    steps = torch.arange(exponential.shape[-1], dtype=raised.dtype, device=raised.device)
    shrunk = (exponential / (q.parameters["concentration"][..., None] + steps)).sum(-1)
    return kept_positive(raised * (-shrunk).exp() / q.parameters["rate"])


ESTIMATOR = Estimator(
    name="rejection-reparam",
    title="reparameterised rejection sampling (RSVI, shape augmentation)",
    surrogate=surrogate,
    Parameters=Parameters,
    ledger=(
        held("ε", "the expectation binds the accepted proposal: z moves with φ at a given ε, and not ε with φ"),
        differentiated("z", "phi", "z is a function of ε, u and φ, and the law of u has no φ in it"),
        held("q in f", "its derivative is minus the score, of mean 0: dropping it costs no bias"),
        held("f as weight", "the product rule: here the law of ε is differentiated and f is not"),
        differentiated("log π(ε)", "phi", "what is accepted depends on φ: the score of the acceptance"),
        differentiated("f", "phi and theta", "the path's own term, and f's own θ-gradient"),
    ),
    latents=frozenset({"gamma"}),
    draws=own(draw_accepted, latents),
    paper="Naesseth et al. 2017",
)
