"""A sample with further noise beside it, that is drawn to average over what the sample leaves open."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import Latents
from gradbench.estimators.base import EstimatorParameters
from gradbench.estimators.draws import Draws, own
from gradbench.families.base import Family
from gradbench.families.relaxable import Relaxable


class Inner(EstimatorParameters):
    """How much is drawn beside each sample."""

    inner_samples: PositiveInt = 10
    """K, the draws that are averaged over for each sample of the latents; no evaluation is made for them."""


def inner_draws(extra: int = 0) -> Draws:
    """The noise ``z`` of L samples, and ``inner`` that of K + ``extra`` more beside each, [R, L (K + extra), B, …]."""

    def draw(q: Family, replicates: int, count: int, generator: torch.Generator, inner: Inner) -> dict[str, Tensor]:
        each = inner.inner_samples + extra
        plain, beside = (q.noise(replicates, number, generator) for number in (count, count * each))
        assert isinstance(plain, Tensor)
        assert isinstance(beside, Tensor)
        return {"z": plain, "inner": beside}

    return own(draw, lambda q, noise: q.sample(noise["z"]))


def perturbed_inside(q: Relaxable, z: Latents, noise: Tensor) -> Tensor:
    """The perturbed logits of ``q`` given its samples z [R, L, B, *event], from noise of L times as many draws."""
    each = noise.shape[1] // z.shape[1]
    return q.perturbed_given(z.repeat_interleave(each, 1), noise)
