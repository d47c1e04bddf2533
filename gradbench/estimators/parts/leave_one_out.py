"""Each sample against the others: baselines and controls in which it has no part itself."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gradbench.core.types import Noise, PerSample, Values, hold, live
from gradbench.estimators.base import Setting
from gradbench.families.base import Family
from gradbench.objectives.base import Objective


def needs_others(setting: Setting) -> str | None:
    """The need of estimators that leave one sample out: that there are others."""
    if setting.samples < 2:
        return "leaving one out needs samples >= 2"
    return None


def mean_of_others(values: Tensor) -> Tensor:
    """For each sample, the mean of the values [R, L, B, …] over the other L − 1, of their shape."""
    samples = values.shape[1]
    return (values.sum(1, keepdim=True) - values) / (samples - 1)


def against(control: Callable[[PerSample], Tensor], objective: Objective, q: Family, noise: Noise) -> Values:
    """Σ_l (B − control_l) ∇ log q(z_l), and the bound's own gradient, as a surrogate [R].

    ``control`` maps log weights [R, L, B] to one number for each sample, [R, L, B], in which that sample has no part.
    """
    z = hold(q.sample(noise), "z")
    log_w = live(objective.f(z, live(q, "q in f")), "f")
    bound = objective.reduce(log_w)
    signal = hold(bound[:, None] - control(log_w), "bound - control")
    score = signal * live(q.log_prob(z), "log q")
    return (score.sum(1) + bound).mean(-1)


def of_others(log_w: PerSample) -> Tensor:
    """The log weights of the other samples for each of L, [R, L, L, B], with −∞ in the place of its own."""
    samples = log_w.shape[1]
    own = torch.eye(samples, dtype=torch.bool, device=log_w.device)[None, :, :, None]
    return log_w[:, None].masked_fill(own, -math.inf)
