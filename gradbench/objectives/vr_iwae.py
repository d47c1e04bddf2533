"""The VR-IWAE bound: (1 − α)⁻¹ E[log (1/L) Σ_l w_l^{1−α}], w_l = p_θ(x, z_l) / q_φ(z_l|x), with 0 ≤ α < 1.

Daudel, Benton, Shi & Doucet 2023 (JMLR). α = 0 is the importance-weighted bound; as α → 1 it becomes the ELBO, which
it is at L = 1, whatever α.
"""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field
from torch import Tensor

from gradbench.core.types import PerSample
from gradbench.objectives.base import ObjectiveParameters
from gradbench.objectives.iwae import Iwae


class Parameters(ObjectiveParameters):
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """α, of the α-divergence: weights are taken to the power of 1 − α."""


class VrIwae(Iwae):
    """The log of the mean of importance weights to the power of 1 − α, over 1 − α."""

    name = "vr-iwae"
    title = "importance-weighted bound of weights to the power of 1 - alpha"
    Parameters = Parameters
    exchangeable = True
    averaged_by = ("vr-iwae-drep", "iwae-score")

    def reduce(self, f: PerSample) -> Tensor:
        return (self._power * f).logsumexp(1).sub(math.log(f.shape[1])) / self._power

    def weights(self, f: PerSample) -> Tensor:
        """w̃_l, the weights to the power of 1 − α, normalised."""
        return (self._power * f).softmax(1)

    def path_weights(self, f: PerSample) -> Tensor:
        """α w̃_l + (1 − α) w̃_l²."""
        weights = self.weights(f)
        return (1 - self._power) * weights + self._power * weights**2

    @property
    def _power(self) -> float:
        return 1 - self.parameters.alpha
