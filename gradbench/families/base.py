"""Families of q_φ(z|x): what an estimator may ask of the distribution it samples from.

The parameters are tensors [R or 1, 1, B, *event]; a sample is [R, L, B, *event].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.errors import NoClosedFormError
from gradbench.core.types import Latents, PerSample


class Posterior(ABC):
    """A factorised q_φ(z|x), known by its family name and its parameter tensors."""

    family: ClassVar[str]

    def __init__(self, **parameters: Tensor) -> None:
        self.parameters = parameters
        self.distribution = self._distribution()

    @abstractmethod
    def _distribution(self) -> td.Distribution: ...

    @abstractmethod
    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        """Standard noise [R, L, B, *event], whose distribution does not depend on φ."""

    @abstractmethod
    def sample(self, noise: Tensor) -> Latents:
        """z = g(φ, noise), distributed as q_φ(z|x)."""

    def log_prob(self, z: Tensor) -> PerSample:
        """log q_φ(z|x), summed over the event axes, [R, L, B]."""
        log_prob = self.distribution.log_prob(z)
        return log_prob.flatten(3).sum(-1)

    def kl(self, prior: Any) -> PerSample:
        """KL(q ‖ prior) in closed form, [R or 1, 1, B]: torch's for the two distributions.

        Raises NoClosedFormError where torch has none, or the prior is known by its ``log_prob`` alone.
        """
        fault = NoClosedFormError(
            f"kl = 'analytic': KL({type(self).__name__} ‖ {type(prior).__name__}) has no closed form; "
            f"use kl = 'monte-carlo'"
        )
        if not isinstance(prior, Posterior):
            raise fault
        shape = torch.broadcast_shapes(self.distribution.batch_shape, prior.distribution.batch_shape)
        try:
            divergence = td.kl_divergence(self.distribution.expand(shape), prior.distribution.expand(shape))
        except NotImplementedError:
            raise fault from None
        return divergence.flatten(3).sum(-1)

    def held(self) -> Self:
        """The same q with its parameters held constant."""
        return type(self)(**{name: value.detach() for name, value in self.parameters.items()})

    def to(self, dtype: torch.dtype) -> Self:
        """The same q in another precision."""
        return type(self)(**{name: value.to(dtype) for name, value in self.parameters.items()})

    def _shape(self, replicates: int, samples: int) -> tuple[int, ...]:
        shapes = {value.shape for value in self.parameters.values()}
        shape = shapes.pop() if len(shapes) == 1 else torch.broadcast_shapes(*shapes)
        return (replicates, samples, *shape[2:])

    def _like(self) -> dict:
        value = next(iter(self.parameters.values()))
        return {"dtype": value.dtype, "device": value.device}


class Gaussian(Posterior):
    """N(loc, diag(scale²))."""

    family = "gaussian"

    def _distribution(self) -> td.Distribution:
        return td.Normal(self.parameters["loc"], self.parameters["scale"], validate_args=False)

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        return torch.randn(self._shape(replicates, samples), generator=generator, **self._like())

    def sample(self, noise: Tensor) -> Latents:
        return self.parameters["loc"] + self.parameters["scale"] * noise


class Bernoulli(Posterior):
    """Independent bits with the given logits. ``sample`` compares uniform noise with the probability."""

    family = "bernoulli"

    def _distribution(self) -> td.Distribution:
        return td.Bernoulli(logits=self.parameters["logits"], validate_args=False)

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        return torch.rand(self._shape(replicates, samples), generator=generator, **self._like())

    def sample(self, noise: Tensor) -> Latents:
        return (noise < torch.sigmoid(self.parameters["logits"])).to(noise.dtype)

    def states(self) -> Tensor:
        """Every state of the bits, [1, 2^D, 1, D]."""
        bits = self.parameters["logits"].shape[-1]
        codes = torch.arange(2**bits, device=self.parameters["logits"].device)
        table = (codes[:, None] >> torch.arange(bits, device=codes.device)) & 1
        return table[None, :, None, :].to(self.parameters["logits"].dtype)


def is_standard(q: Posterior) -> bool:
    """Whether q is the family's own law. A subclass may have changed it: nothing is inferred from a base class."""
    return type(q) in (Gaussian, Bernoulli)


MAX_STATES = 2**12
"""The most latent states per datapoint that are summed over exactly."""
