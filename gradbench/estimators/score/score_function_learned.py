"""The score function with a learned, input-dependent baseline (NVIL).

Estimates: ∇E_q[f(z)], each f compared with a prediction C_ψ(x) that does not see z.
Surrogate: (1/L) Σ h(f_l − C_ψ(x)) log q_φ(h(z_l)|x) + f_l, with q held inside f.
Held constant: as for the score function; ψ too, which is fitted beforehand and then frozen.
Unbiased for: φ and θ: C_ψ(x) is a constant under q_φ(z|x), so E[C_ψ · score] = 0.
Needs: any latents. C_ψ is one tanh layer of ``hidden`` units on x, fitted by ``fit_steps`` Adam steps of least
    squares on draws of their own; a cost has no x, so its baseline is a constant.
Cost: 1 evaluation per sample, after the fit.
Paper: Mnih & Gregor 2014 (ICML), without their variance normalisation, which rescales the gradient.
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, EstimatorParameters, differentiated, held
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average

FIT_REPLICATES = 16
"""Independent draws of the latents per datapoint in one step of the fit."""


class Parameters(EstimatorParameters):
    fit_steps: PositiveInt = 300
    """Adam steps of the fit of the baseline."""
    hidden: PositiveInt = 32
    """Units of the baseline's one layer."""
    learning_rate: PositiveFloat = 0.01
    """That of Adam in the fit."""


def surrogate(
    objective: Objective,
    q: Family,
    noise: Noise,
    state: dict[str, Tensor],
    parameters: Parameters,
) -> Values:
    z = hold(q.sample(noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    advantage = f - baseline(state, objective.x)
    return average(hold(advantage, "f - baseline") * live(q.log_prob(z), "log q") + f)


def baseline(state: dict[str, Tensor], x: Tensor | None) -> Tensor:
    """C_ψ(x), [1, 1, B]."""
    if x is None:
        units = state["hidden.bias"][None, None, None]
    else:
        units = x @ state["hidden.weight"] + state["hidden.bias"]
    return (units.tanh() @ state["output.weight"]).squeeze(-1) * state["spread"] + state["centre"]


def fit(
    objective: Objective,
    q: Family,
    samples: int,
    generator: torch.Generator,
    parameters: Parameters,
) -> dict[str, Tensor]:
    """Fit ψ by least squares; the target is standardised with the mean and spread of a first draw."""
    with torch.no_grad():
        first = _targets(objective, q, samples, generator)
    features = 0 if objective.x is None else objective.x.shape[-1]
    hidden = parameters.hidden

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=first.dtype, device=first.device)

    state = {
        "hidden.weight": draw(features, hidden) / max(features, 1) ** 0.5,
        "hidden.bias": draw(hidden),
        "output.weight": draw(hidden, 1) * 0.01,
        "centre": first.mean(),
        "spread": first.std(correction=0).clamp_min(torch.finfo(first.dtype).eps),
    }
    trained = [state[name].requires_grad_() for name in ("hidden.weight", "hidden.bias", "output.weight")]
    optimiser = torch.optim.Adam(trained, lr=parameters.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, parameters.fit_steps)
    for _ in range(parameters.fit_steps):
        with torch.no_grad():
            target = _targets(objective, q, samples, generator)
        loss = (((target - baseline(state, objective.x)) / state["spread"]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return {name: value.detach() for name, value in state.items()}


def _targets(objective: Objective, q: Family, samples: int, generator: torch.Generator) -> Tensor:
    noise = q.noise(FIT_REPLICATES, samples, generator)
    return objective.f(q.sample(noise), q).mean(1, keepdim=True)


ESTIMATOR = Estimator(
    name="score-function-learned",
    title="score function, learned baseline (NVIL)",
    surrogate=surrogate,
    fit=fit,
    Parameters=Parameters,
    layered=True,
    ledger=(
        held("z", "the expectation binds z: nothing flows through it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held(
            "f - baseline",
            "the weight of the score; the baseline sees x only, so its product with the score has mean 0",
        ),
        differentiated("log q", "phi", "grad q = q grad log q: the φ-gradient"),
        differentiated("f", "theta", "f's own θ-gradient; the baseline has no part in it"),
    ),
    paper="Mnih & Gregor 2014",
)
