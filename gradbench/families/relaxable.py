"""Latents whose samples are the largest of noisy logits, and what relaxations of them are made of.

The logits perturbed by noise are a smooth function of the parameters; a sample is the state that they are nearest to.
Softened at a temperature, they are values between the states, and at temperature 0 the sample itself.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

from torch import Tensor

from gradbench.core.types import Latents
from gradbench.families.base import Family


class Relaxable(Family):
    """A family with the one parameter ``logits``, and states that its samples can be relaxed between."""

    @abstractmethod
    def perturbed(self, noise: Any) -> Tensor:
        """The logits moved by ``noise`` [R, L, B, *event], whose nearest state is the sample of that noise."""

    @abstractmethod
    def perturbed_given(self, z: Latents, noise: Any) -> Tensor:
        """The same from other noise, given that the sample is ``z``: distributed as `perturbed` is where it gives z.

        Differentiable in the parameters with z held.
        """

    @abstractmethod
    def softened(self, perturbed: Tensor, temperature: float | Tensor) -> Latents:
        """Values between the states, of the shape of ``perturbed``: the softmax or sigmoid function of its quotient."""

    @abstractmethod
    def gapped(self, z: Latents, gap: float) -> Tensor:
        """The logits with that of ``z`` raised to be the largest, and others lowered to be below it by ``gap``."""

    @abstractmethod
    def with_mean(self, mean: Latents) -> Self:
        """The law of the family that has ``mean``."""

    @abstractmethod
    def tangent(self, mean: Latents) -> Latents:
        """Zero, with the derivative in the logits that the mean of the family has where it is ``mean``, held."""
