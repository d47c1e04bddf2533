"""The score function with a running mean of f as its baseline.

Estimates: ∇E_q[f(z)], each f compared with an exponential moving average of earlier ones.
Surrogate: (1/L) Σ h(f_l − b) log q_φ(h(z_l)|x) + f_l, with q held inside f.
Held constant: as for the score function; b too, which is fitted beforehand and then frozen.
Unbiased for: φ and θ: b is a constant under q_φ(z|x), so E[b · score] = 0.
Needs: any latents. b ← decay · b + (1 − decay) · the mean of f over L samples of the minibatch, for ``fit_steps`` steps
    on draws of their own, begun at the mean of a first draw: one number for all datapoints, as noisy as
    (1 − decay) / (1 + decay) of one draw's variance.
Cost: 1 evaluation per sample, after the fit.
Paper: Mnih & Gregor 2014 (ICML), who centre the learning signal by such a mean, updated while they train; without
    their variance normalisation, which rescales the gradient.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, differentiated, held
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


class Parameters(EstimatorParameters):
    decay: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Weight of the past in the running mean: each step of the fit adds 1 − decay of its own mean."""
    fit_steps: PositiveInt = 100
    """Steps of the running mean before it is frozen, each on draws of its own."""


def surrogate(
    objective: Objective, q: Family, noise: Noise, state: dict[str, Tensor], parameters: Parameters
) -> Values:
    z = hold(q.sample(noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    return average(hold(f - state["baseline"], "f - baseline") * live(q.log_prob(z), "log q") + f)


def fit(
    objective: Objective, q: Family, samples: int, generator: torch.Generator, parameters: Parameters
) -> dict[str, Tensor]:
    """The running mean after ``fit_steps`` draws of L samples at every datapoint of the minibatch."""

    def mean() -> Tensor:
        return objective.f(q.sample(q.noise(1, samples, generator)), q).mean()

    with torch.no_grad():
        baseline = mean()
        for _ in range(parameters.fit_steps):
            baseline = parameters.decay * baseline + (1 - parameters.decay) * mean()
    return {"baseline": baseline}


ESTIMATOR = Estimator(
    name="score-function-ema",
    title="score function, running mean as baseline",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    layered=True,
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held(
            "f - baseline",
            "the weight of the score; the baseline is a number, so its product with the score has mean 0",
        ),
        differentiated("log q", "phi", "grad q = q grad log q: the φ-gradient"),
        differentiated("f", "theta", "f's own θ-gradient; the baseline has no part in it"),
    ),
    paper="Mnih & Gregor 2014",
)
