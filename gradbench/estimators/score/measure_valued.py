"""The measure-valued gradient: the derivative of q as a difference of two laws, from which f is evaluated.

Estimates: ∇E_q[f(z)] as ∂q/∂λ_n = c_n (q⁺_n − q⁻_n) in each element n of q's own parameters λ.
Surrogate: (1/L) Σ_l Σ_n h(c_n (f(z⁺_l,n) − f(z⁻_l,n))) λ_n + f(h(z_l)), with q held inside f. z± is the sample z with
    the one variable that λ_n is a parameter of replaced by one of its positive or negative law, the two coupled.
Held constant: all samples, which the two laws bind; c and the differences, as numbers; θ in f(z⁺) and f(z⁻). q inside
    f, because that term's φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: φ and θ: q⁺ and q⁻ differ from q in one variable, which is independent of the others.
Needs: latents with weak derivatives, in one layer. Gaussian: in the mean, 1 / (σ √2π) and μ ± σ w with one Rayleigh
    variable w (a Weibull variable of shape 2); in the scale, 1 / σ and a double-sided Maxwell variable m against the
    normal one u m, u uniform, μ + σ m and μ + σ u m. Bernoulli, in the logit: p (1 − p), 1 against 0. Categorical, in
    the logit of c: p_c, c against z as it is.
Cost: 2 evaluations per sample and element of λ, less those at z as it is, and 1 for z: 4 D + 1 for D Gaussian latents,
    2 D + 1 for bits, V C + 1 for V variables of C categories.
Paper: Mohamed, Rosca, Figurnov & Mnih 2020 (JMLR 21), section 6, with the couplings there; that of categories, in
    logits, follows from the derivative of the softmax function.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradbench.core.types import Latents, Noise, PerSample, Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held
from gradbench.estimators.draws import own
from gradbench.estimators.parts.own_parameters import carried
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Any) -> Values:
    z = hold(sample(q, noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    constants = hold(objective, "θ in f(z+) and f(z-)")

    def at(moved: Latents | None) -> Tensor:
        """f at z+ or z- for each element of a parameter, [R, L, N, B]; N = 1 where all of them are z."""
        if moved is None:
            return f.unsqueeze(2)
        flat: PerSample = constants.f(moved.flatten(1, 2), q.held())
        return flat.unflatten(1, moved.shape[1:3])

    with torch.no_grad():
        found = q.weak_derivatives(
            z, {name.removeprefix(WEAK): part for name, part in noise.items() if name.startswith(WEAK)}
        )
    weights = {}
    for name, one in found.items():
        difference = (at(one.positive) - at(one.negative)).movedim(2, -1)
        weights[name] = one.constant * difference.unflatten(-1, one.constant.shape[3:])
    return average(carried(weights, q) + f)


WEAK, PLAIN = "weak.", "z."
"""What the names of the noise begin with: that of the two laws, and that of z where it has several tensors."""


def draw_weak(q: Family, replicates: int, count: int, generator: torch.Generator) -> Noise:
    """The noise of L samples of q, and that of the positive and negative laws."""
    plain, weak = q.noise(replicates, count, generator), q.weak_noise(replicates, count, generator)
    named = {"z": plain} if isinstance(plain, Tensor) else {PLAIN + name: part for name, part in plain.items()}
    return named | {WEAK + name: part for name, part in weak.items()}


def sample(q: Family, noise: dict[str, Tensor]) -> Latents:
    """The L samples of q."""
    if "z" in noise:
        return q.sample(noise["z"])
    return q.sample({name.removeprefix(PLAIN): part for name, part in noise.items() if name.startswith(PLAIN)})


def evaluations(setting: Setting) -> float:
    return float(setting.samples * (1 + setting.family.weak_points(setting.latent_dim, setting.states)))


ESTIMATOR = Estimator(
    name="measure-valued",
    title="measure-valued (weak derivatives, coupled)",
    surrogate=surrogate,
    draws=own(draw_weak, sample),
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("θ in f(z+) and f(z-)", "evaluations for φ alone, which must not reach the θ-gradient"),
        held("weight", "c (f(z+) - f(z-)): the estimate of the derivative in each of q's parameters, a number"),
        differentiated("q's parameters", "phi", "each receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient, at the samples of q"),
    ),
    uses=frozenset({"weak_derivatives"}),
    evaluations=evaluations,
    scored=False,
    paper="Mohamed et al. 2020",
)
