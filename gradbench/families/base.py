"""Families of q_φ(z|x): what an estimator may ask of the distribution it samples from.

A family says itself what it can do: whether its samples have a path, which states it has, what grid integrates over it,
and which estimators train, judge and average on it. Nobody else keeps a table of families.

The parameters are tensors [R or 1, L or 1, B, *event]; a sample is [R, L, B, *event].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.errors import MeasurementError, NoClosedFormError
from gradbench.core.types import Latents, Noise, PerSample
from gradbench.families.support import Support
from gradbench.families.weak import WeakDerivative


@dataclass(frozen=True)
class Use:
    """An estimator, by name, with the L that it is used at."""

    estimator: str
    samples: int


class Family(ABC):
    """A factorised q_φ(z|x) at its parameters. A subclass gives the ``name`` of its family and its law.

    What is exact is never inherited: `states`, `grid`, `from_uniforms` and the estimators below count only where the
    class itself says them, since a subclass may have changed the law (`says`).
    """

    name: ClassVar[str]
    reparameterised: ClassVar[bool] = False
    """Whether ``sample`` is differentiable in the parameters: z = g(φ, ε), with a law of ε that has no φ in it."""
    implicit: ClassVar[bool] = False
    """Whether the derivative of that path is an implicit one, of the distribution function: to numerical accuracy."""
    entrywise: ClassVar[bool] = True
    """Whether each parameter has one entry for each latent variable, of the shape of z."""
    judged_by: ClassVar[Use] = Use("score-function-loo", 2)
    """An estimator that is right whatever the law, as long as it is the law of ``log_prob``."""
    trained_by: ClassVar[Use | None] = None
    """The estimator that ``train_steps`` ascend the ELBO with; None: ``judged_by``."""
    averaged_by: ClassVar[str | None] = None
    """The estimator that a Monte-Carlo reference averages; None: ``judged_by``."""

    def __init__(self, **parameters: Tensor) -> None:
        self.parameters = parameters
        # made at once, never when it is first asked for: that may be under no_grad, and its KL would have no gradient
        self.distribution = self._distribution()

    def _distribution(self) -> td.Distribution | None:
        """The law as torch has it, with event axes after [R, L, B], for ``log_prob`` and KL; None where it has none."""
        return None

    @abstractmethod
    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Noise:
        """Noise [R, L, B, *event] of a standard law, on a q whose parameters are held."""

    @abstractmethod
    def sample(self, noise: Noise) -> Latents:
        """z = g(φ, noise), distributed as q_φ(z|x)."""

    def log_prob(self, z: Latents) -> PerSample:
        """log q_φ(z|x), summed over the event axes, [R, L, B]; linear in z for latents of finitely many states.

        Raises NotImplementedError for a family that gives neither this nor a distribution of torch's.
        """
        if self.distribution is None:
            raise NotImplementedError(f"{type(self).__name__} gives no law; write log_prob(z), or _distribution()")
        return self.distribution.log_prob(z).flatten(3).sum(-1)

    def kl(self, prior: Any) -> PerSample:
        """KL(q ‖ prior) in closed form, [R or 1, 1, B]: torch's for the two distributions.

        Raises NoClosedFormError where torch has none, or the prior is known by its ``log_prob`` alone.
        """
        fault = NoClosedFormError(
            f"kl = 'analytic': KL({type(self).__name__} ‖ {type(prior).__name__}) has no closed form; "
            f"use kl = 'monte-carlo'"
        )
        own, others = self.distribution, getattr(prior, "distribution", None)
        if own is None or not isinstance(others, td.Distribution):
            raise fault
        shape = np.broadcast_shapes(own.batch_shape, others.batch_shape)
        try:
            divergence = td.kl_divergence(own.expand(shape), others.expand(shape))
        except NotImplementedError:
            raise fault from None
        return divergence.flatten(3).sum(-1)

    def from_uniforms(self, uniforms: Tensor) -> Noise:
        """The noise at ``uniforms`` [R, L, B, *event] in (0, 1): uniform draws become draws of the noise's law.

        Uniforms are float64, in which none is 0 or 1, and the noise has the precision of the parameters.
        Each latent variable has a uniform of its own, and moves smoothly with it. Raises NotImplementedError for a
        family without such a map.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no noise of uniforms")

    def opposite(self, noise: Noise) -> Noise:
        """The antithetic partner of ``noise``, of the same law and shape.

        Raises NotImplementedError for a family without one.
        """
        raise NotImplementedError(f"{type(self).__name__} has no antithetic noise")

    def noise_of(self, z: Latents) -> Noise:
        """The noise that gives ``z``: the inverse of the path.

        Raises NotImplementedError for a family without one.
        """
        raise NotImplementedError(f"{type(self).__name__} has no inverse of its path")

    def mean(self) -> Latents:
        """E z, [R, L, B, *event], differentiable in the parameters.

        Raises NotImplementedError for a family that does not say it.
        """
        raise NotImplementedError(f"{type(self).__name__} says no mean")

    def partner_covariance(self, slope: Tensor) -> dict[str, Tensor]:
        """E[slope·(z − E z) ∇ log q(z̃)] for z̃ of the opposite noise of z, by parameter, each of its shape.

        ``slope`` is [1, 1, B, *event]. Of parameters that variables share, it may tell what is of each variable.
        Raises NotImplementedError for a family that does not say it.
        """
        raise NotImplementedError(f"{type(self).__name__} says no covariance of a sample and its partner")

    def lost(self) -> float:
        """The most probability of values that its numbers cannot hold, in whose place samples are others; 0 for most.

        The mean of the score is then not 0 but for so much.
        """
        return 0.0

    def weak_noise(self, replicates: int, samples: int, generator: torch.Generator) -> dict[str, Tensor]:
        """What `weak_derivatives` couples its samples by, beside z: tensors by name, each [R, L, B, …]."""
        return {}

    def weak_derivatives(self, z: Latents, noise: dict[str, Tensor]) -> dict[str, WeakDerivative]:
        """The weak derivative of the law in each parameter by name, at samples z [R, L, B, *event] of q.

        ``noise`` is `weak_noise`, of the same R, L and B. Raises NotImplementedError for a family without any.
        """
        raise NotImplementedError(f"{type(self).__name__} has no weak derivatives")

    @classmethod
    def weak_points(cls, latent_dim: int, states: int | None) -> int:
        """How many values of z beside the one drawn the weak derivatives in all parameters move it to.

        ``latent_dim`` variables with as many ``states`` together, None where they are not finitely many.
        """
        raise NotImplementedError(f"{cls.__name__} has no weak derivatives")

    def neighbours(self, z: Latents, numbers: Tensor) -> Latents:
        """z [R, L, B, *event] with one variable at another of its values, [R, L, N, B, *event], for ``numbers`` [N].

        Of V variables with C values each there are V (C − 1): number n moves variable n // (C − 1) by 1 + n mod (C − 1)
        values, in their order, from its own. Raises NotImplementedError for a family whose values cannot be listed.
        """
        raise NotImplementedError(f"{type(self).__name__} lists no values of single variables")

    def neighbour_masses(self, z: Latents) -> Tensor:
        """The probability of the value that each neighbour's variable is moved to, [R, L, V (C − 1), B].

        Differentiable in the parameters. Raises NotImplementedError for a family whose values cannot be listed.
        """
        raise NotImplementedError(f"{type(self).__name__} lists no values of single variables")

    def states(self) -> Support | None:
        """Every state with its probability; None where they are not finitely many."""
        return None

    def grid(self, nodes: int) -> Support | None:
        """A quadrature of ``nodes`` values per latent dimension, over all of them; None where there is none."""
        return None

    @classmethod
    def count(cls, latent_dim: int) -> int | None:
        """How many states ``latent_dim`` latent variables have; None where they are not finitely many, or unknown."""
        return None

    @classmethod
    def has(cls, what: str) -> bool:
        """Whether the family overrides the method, or sets the flag, called ``what``."""
        found = getattr(cls, what, None)
        return found is not getattr(Family, what, None) and found is not False

    @classmethod
    def says(cls, what: str) -> bool:
        """Whether the class itself, and no base of it, has ``what``."""
        return what in vars(cls)

    def law(self) -> str:
        """Which law it is, for errors: the family's own, or a subclass of it."""
        return self.name if self.says("name") else f"{type(self).__name__}, a subclass of {self.name}"

    @property
    def judge(self) -> Use:
        """An estimator that is right for whatever law it is, with the L to use it at."""
        return self.judged_by

    def chain(self, noise: Noise) -> list[tuple[Family, Latents]]:
        """The distributions that z is drawn from, each given the samples of those before, with its own part of z."""
        return [(self, self.sample(noise))]

    @property
    def event(self) -> torch.Size:
        """The shape of one datapoint's z."""
        return torch.Size(self._shape(1, 1)[3:])

    @property
    def batch(self) -> int:
        """B, the datapoints that it has variables for."""
        return self._shape(1, 1)[2]

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same law at changed parameters."""
        return type(self)(**{name: change(value) for name, value in self.parameters.items()})

    def held(self) -> Self:
        """The same q with its parameters held constant."""
        return self.mapped(Tensor.detach)

    def empty(self, replicates: int, samples: int) -> Tensor:
        """A tensor [R, L, B, *event] to fill with noise, in the precision and on the device of the parameters."""
        return torch.empty(self._shape(replicates, samples), **self._like())

    def _shape(self, replicates: int, samples: int) -> tuple[int, ...]:
        shapes = {value.shape for value in self.parameters.values()}
        shape = shapes.pop() if len(shapes) == 1 else np.broadcast_shapes(*shapes)
        return (replicates, samples, *shape[2:])

    def _like(self) -> dict:
        value = next(iter(self.parameters.values()))
        return {"dtype": value.dtype, "device": value.device}


def states_of(q: Family) -> Support | None:
    """The states of ``q`` where its own class says them."""
    return q.states() if q.says("states") else None


def grid_of(q: Family, nodes: int) -> Support | None:
    """The quadrature of ``q`` where its own class says one."""
    return q.grid(nodes) if q.says("grid") else None


def noise_at(q: Family, uniforms: Tensor) -> Noise:
    """The noise of ``q`` at ``uniforms``. Raises MeasurementError where its own class does not say how that is made."""
    if not q.says("from_uniforms"):
        raise MeasurementError(
            f"{type(q).__name__} has no from_uniforms of its own\nwrite it there: its noise may have another law"
        )
    return q.from_uniforms(uniforms)


def training(q: Family) -> Use:
    """The estimator and L that train on ``q``: its family's own where its law is that, else one right for any law."""
    chosen = q.trained_by if q.says("name") else None
    return chosen or q.judge
