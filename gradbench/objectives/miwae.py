"""The multiply importance-weighted bound: a mean over M independent groups of the bound of their L / M samples.

Rainforth, Kosiorek, Le, Maddison, Igl, Wood & Teh 2018 (ICML), where it is MIWAE. M = 1 is the importance-weighted
bound of all L samples, M = L the ELBO.
"""

from __future__ import annotations

from typing import Any

from pydantic import PositiveInt
from torch import Tensor

from gradbench.core.types import PerSample
from gradbench.objectives.base import ObjectiveParameters
from gradbench.objectives.iwae import Iwae


class Parameters(ObjectiveParameters):
    groups: PositiveInt = 2
    """M, the groups; it must divide L."""


class Miwae(Iwae):
    """The mean over ``groups`` of the log of their mean importance weight."""

    name = "miwae"
    title = "importance-weighted bound of L / M samples, averaged over M groups"
    Parameters = Parameters
    exchangeable = True

    @classmethod
    def inside(cls, parameters: Any, samples: int) -> int:
        return max(1, samples // parameters.groups)

    @classmethod
    def why_not_samples(cls, parameters: Any, samples: int) -> str | None:
        if samples % parameters.groups:
            return (
                f"miwae has samples in {parameters.groups} groups of one size; samples = {samples} is no multiple of "
                f"it: change samples or groups"
            )
        return None

    def in_groups(self, f: PerSample) -> Tensor:
        return f.unflatten(1, (self.parameters.groups, -1))

    def reduce(self, f: PerSample) -> Tensor:
        groups = self.in_groups(f)
        return self.reduce_inside(groups.flatten(0, 1)).unflatten(0, groups.shape[:2]).mean(1)

    def weights(self, f: PerSample) -> Tensor:
        """w̃_l / M, the weights normalised in each group."""
        return self.in_groups(f).softmax(2).flatten(1, 2) / self.parameters.groups

    def path_weights(self, f: PerSample) -> Tensor:
        """w̃_l² / M."""
        return self.weights(f) ** 2 * self.parameters.groups

    def reduce_inside(self, f: PerSample) -> Tensor:
        return super().reduce(f)
