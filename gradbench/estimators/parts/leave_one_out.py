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


def needs_others_inside(setting: Setting) -> str | None:
    """The same where the samples that are left out are those of a bound, in each group of it."""
    if setting.objective.inside(setting.samples) < 2:
        where = "" if setting.samples < 2 else f" in each group; samples = {setting.samples} leave one"
        return f"leaving one out needs samples >= 2{where}"
    return None


def mean_of_others(values: Tensor) -> Tensor:
    """For each sample, the mean of the values [R, L, B, …] over the other L − 1, of their shape."""
    samples = values.shape[1]
    return (values.sum(1, keepdim=True) - values) / (samples - 1)


def against(control: Callable[[PerSample], Tensor], objective: Objective, q: Family, noise: Noise) -> Values:
    """Σ_l (B − control_l) ∇ log q(z_l), and the bound's own gradient, as a surrogate [R].

    ``control`` maps log weights [R, L, B] to one number for each sample, [R, L, B], in which that sample has no part.
    Of a mean of bounds, each group of samples has its own bound and its own controls.
    """
    z = hold(q.sample(noise), "z")
    groups = objective.in_groups(live(objective.f(z, live(q, "q in f")), "f"))
    log_w = groups.flatten(0, 1)
    bound = objective.reduce_inside(log_w)
    signal = hold(bound[:, None] - control(log_w), "bound - control")
    score = signal * objective.in_groups(live(q.log_prob(z), "log q")).flatten(0, 1)
    return (score.sum(1) + bound).unflatten(0, groups.shape[:2]).mean((1, -1))


def of_others(log_w: PerSample) -> Tensor:
    """The log weights of the other samples for each of L, [R, L, L, B], with −∞ in the place of its own."""
    samples = log_w.shape[1]
    own = torch.eye(samples, dtype=torch.bool, device=log_w.device)[None, :, :, None]
    return log_w[:, None].masked_fill(own, -math.inf)
