"""Double control variates: leave-one-out, with linear models of f from the slopes at the other samples.

Estimates: ∇E_q[f(z)], from f_l + α c_l compared with the mean of the same over the other L − 1 samples, where
    c_l = g_l·(z_l − μ), μ = E z, and g_l is the mean slope ∇f of the other samples.
Surrogate: (1/L) Σ_l [h(f_l + α c_l − mean_{m≠l} (f_m + α c_m)) log q_φ(h(z_l)|x) + f_l − α h(∇f(z_l))·μ], with q held
    inside f.
Held constant: z; the weight of the score; the slopes, whose own mean is that of g; μ in c; q inside f; α, which is
    fitted beforehand and then frozen.
Unbiased for: φ and θ, whatever α. g_l is independent of z_l: E[c_l s_l] = E[∇f]·∂μ, which the last term takes off; and
    c_m has mean 0 given all samples but z_m, so that it weighs s_l by nothing on average.
Needs: latents with finitely many states and a mean, in one layer; L ≥ 2; f differentiable in z at its states, where
    with a sampled KL log q is the mass function extended linearly. α, one number, is that of least variance over
    ``fit_draws`` draws of all L samples at each datapoint: the variance is quadratic in it.
Cost: 1 evaluation per sample with its gradient in z, after the fit.
Paper: Titsias & Shi 2022 (AISTATS), of bits, who find α by gradient steps while they train.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import Latents, Noise, PerSample, Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, Evaluations, Setting, differentiated, held
from gradbench.estimators.parts.leave_one_out import mean_of_others, needs_others
from gradbench.estimators.parts.own_parameters import OfParameters, apart, beside, derivatives, scores
from gradbench.estimators.parts.slopes import along, value_and_slope
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average

DRAWS_AT_ONCE = 16
"""Draws of all samples at each datapoint that the fit evaluates together."""


class Parameters(EstimatorParameters):
    fit_draws: PositiveInt = 256
    """Independent draws of all L samples at each datapoint that α is fitted on."""


def surrogate(
    objective: Objective, q: Family, noise: Noise, state: dict[str, Tensor], parameters: Parameters
) -> Values:
    z = hold(q.sample(noise), "z")
    value, slope = value_and_slope(objective, z, hold(q, "q in f"))
    f, slope, alpha = live(value, "f"), hold(slope, "slope"), state["alpha"]
    mean = live(q.mean(), "mean of z")
    score = hold(against_others(f, slope, z, hold(mean, "centre"), alpha), "weight") * live(q.log_prob(z), "log q")
    return average(score + f - alpha * along(slope, mean))


def against_others(f: PerSample, slope: Latents, z: Latents, centre: Latents, alpha: Tensor) -> PerSample:
    """f_l + α c_l less the mean of the same over the other samples, [R, L, B]."""
    total = f + alpha * from_slopes(slope, z, centre)
    return total - mean_of_others(total)


def from_slopes(slope: Latents, z: Latents, centre: Latents) -> PerSample:
    """c_l = g_l·(z_l − μ), [R, L, B]."""
    return along(mean_of_others(slope), z - centre)


def parts(q: Family, z: Latents, f: PerSample, slope: Latents) -> tuple[OfParameters, OfParameters]:
    """What the estimate in q's parameters is the sum of: leave-one-out's, and that with the factor α, of mean 0."""
    zero, one, own = f.new_zeros(()), f.new_ones(()), apart(q, z.shape)
    first, second = against_others(f, slope, z, q.mean(), zero), against_others(0 * f, slope, z, q.mean(), one)
    with torch.enable_grad():
        rest = derivatives(-along(slope, own.mean()), own)
    score = scores(q, z)
    left_out = {name: beside(first, q.event) * value for name, value in score.items()}
    return left_out, {name: beside(second, q.event) * value + rest[name] for name, value in score.items()}


def fit(
    objective: Objective, q: Family, samples: int, generator: torch.Generator, parameters: Parameters
) -> dict[str, Tensor]:
    """α of least variance: − Σ Cov(a, b) / Σ Var(b) over q's parameters, a and b as `parts` gives them."""
    rows: list[tuple[OfParameters, OfParameters]] = []
    for start in range(0, parameters.fit_draws, DRAWS_AT_ONCE):
        noise = q.noise(min(DRAWS_AT_ONCE, parameters.fit_draws - start), samples, generator)
        z = q.sample(noise)
        value, slope = value_and_slope(objective, z, q)
        rows.append(parts(q, z, value.detach(), slope))
    product, square = 0.0, 0.0
    for name in rows[0][0]:
        a, b = (torch.cat([row[which][name].double().mean(1) for row in rows]) for which in (0, 1))
        b = b - b.mean(0)
        product, square = product + float((a * b).sum()), square + float(b.square().sum())
    like = next(iter(q.parameters.values()))
    return {"alpha": like.new_tensor(-product / square if square > 0 else 0.0)}


def evaluations(setting: Setting) -> Evaluations:
    return Evaluations(setting.samples, setting.samples)


ESTIMATOR = Estimator(
    name="double-cv",
    title="double control variates (leave-one-out, slopes of the others)",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("slope", "a coefficient of the linear models: a number, with the mean of the others' slopes"),
        held("centre", "c has mean 0 at the q that the samples are from; it is one function of z, whatever φ"),
        held("weight", "f and c compared with the other samples': by the product rule q is differentiated here"),
        differentiated("mean of z", "phi", "the φ-gradient of the mean of the linear models, which is taken off"),
        differentiated("log q", "phi", "grad q = q grad log q: the φ-gradient"),
        differentiated("f", "theta", "f's own θ-gradient; the controls have no part in it"),
    ),
    uses=frozenset({"states", "mean"}),
    needs=needs_others,
    evaluations=evaluations,
    paper="Titsias & Shi 2022",
)
