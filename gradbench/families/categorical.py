"""Independent categorical variables, one-hot."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.types import Latents, PerSample
from gradbench.families.relaxable import Relaxable
from gradbench.families.support import Support, digits
from gradbench.families.weak import WeakDerivative

SMALLEST = 2.0**-54
"""In place of an exponential variable that came out as 0, one draw in 2⁵³: half of the smallest other."""


class _OneHot(td.OneHotCategorical):
    """torch's law without its look at the values of the logits, which `validate_args` does not switch off there."""

    def __init__(self, logits: Tensor) -> None:
        self._categorical = td.Categorical(logits=logits, validate_args=False)
        shape = self._categorical.batch_shape
        td.Distribution.__init__(self, shape, self._categorical.param_shape[-1:], validate_args=False)


class Categorical(Relaxable):
    """V independent variables of C categories each, with the given finite ``logits`` [R or 1, L or 1, B, V, C].

    A sample is one-hot, [R, L, B, V, C]. How many states there are follows from V and C, and a problem says it in
    `Problem.states`: its ``latent_dim`` is V alone.

    The noise is one standard Gumbel variable for each category, and the largest logit + noise is the sample. The
    relaxations (Gumbel-softmax and its kin) are smooth functions of that same noise, so that they share their samples
    with all other estimators; the k largest are a sample without replacement; and exp(−noise) are the exponential
    variables whose shares ARSM permutes. One uniform per variable through the inverse distribution function would be
    less noise, but none of these is a function of it. It alone has a natural antithetic partner: estimators that couple
    samples that way draw noise of their own, and there is no ``opposite`` here.
    """

    name = "categorical"

    @cached_property
    def log_probabilities(self) -> Tensor:
        """The log-probability of each category, of the shape of the logits."""
        return self.parameters["logits"].log_softmax(-1)

    def _distribution(self) -> td.Distribution:
        return _OneHot(self.log_probabilities)

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Tensor:
        """Standard Gumbel noise [R, L, B, V, C].

        Drawn in double precision: the uniforms of single precision are multiples of 2⁻²⁴, and a category of less
        probability would never be drawn.
        """
        like = self._like()
        shape = self._shape(replicates, samples)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=like["device"])
        exponential = -torch.log1p(-uniform)
        return -exponential.clamp_min_(SMALLEST).log_().to(like["dtype"])

    def sample(self, noise: Any) -> Latents:
        perturbed = self.perturbed(noise)
        return torch.zeros_like(perturbed).scatter_(-1, perturbed.argmax(-1, keepdim=True), 1.0)

    def perturbed(self, noise: Any) -> Tensor:
        return self.log_probabilities + noise  # as small as they can be: large logits would round the noise off

    def perturbed_given(self, z: Latents, noise: Any) -> Tensor:
        """The noise of the category of ``z`` as the largest, a standard Gumbel variable whichever it is, and the others
        below it: independent Gumbel variables at the log-probabilities, cut off there.
        """
        largest = (z * noise).sum(-1, keepdim=True)
        below = -torch.logaddexp(-self.perturbed(noise), -largest)
        return torch.where(z > 0, largest, below)

    def softened(self, perturbed: Tensor, temperature: float | Tensor) -> Latents:
        return torch.softmax(perturbed / temperature, -1)

    def gapped(self, z: Latents, gap: float) -> Tensor:
        largest = self.log_probabilities.amax(-1, keepdim=True)
        return torch.where(z > 0, largest, self.log_probabilities.clamp_max(largest - gap))

    def with_mean(self, mean: Latents) -> Self:
        return type(self)(logits=mean.log())

    def tangent(self, mean: Latents) -> Latents:
        logits, here = self.parameters["logits"], mean.detach()
        moved = here * (logits - logits.detach())
        return moved - here * moved.sum(-1, keepdim=True)

    def log_prob(self, z: Latents) -> PerSample:
        return (z * self.log_probabilities).sum((-2, -1))

    def kl(self, prior: Any) -> PerSample:
        """KL(q ‖ prior) in closed form, [R or 1, 1, B], finite for finite logits.

        torch's own is infinite once a probability of the prior underflows. Raises NoClosedFormError as `Family.kl`.
        """
        others = getattr(prior, "distribution", None)
        own = self.distribution
        if not (isinstance(own, td.OneHotCategorical) and isinstance(others, td.OneHotCategorical)):
            return super().kl(prior)
        return (own.logits.exp() * (own.logits - others.logits)).sum((-2, -1))

    def mean(self) -> Tensor:
        return self.log_probabilities.exp()

    def weak_derivatives(self, z: Latents, noise: dict[str, Tensor]) -> dict[str, WeakDerivative]:
        """In the logit of category c: c itself against the law as it is, ∂p_k/∂logit_c = p_c (1[k = c] − p_k)."""
        variables, categories = z.shape[3:]
        count = variables * categories
        one_hot = torch.eye(categories, dtype=z.dtype, device=z.device).repeat(variables, 1)[:, None, None]
        own = torch.eye(variables, dtype=torch.bool, device=z.device).repeat_interleave(categories, 0)
        moved = torch.where(own.reshape(count, 1, variables, 1), one_hot, z.unsqueeze(2))
        return {"logits": WeakDerivative(self.log_probabilities.exp(), moved, None)}

    @classmethod
    def weak_points(cls, latent_dim: int, states: int | None) -> int:
        assert states is not None, "categories are finitely many"
        return latent_dim * round(math.exp(math.log(states) / latent_dim))

    def neighbours(self, z: Latents, numbers: Tensor) -> Latents:
        variables, categories = z.shape[3:]
        numbers = numbers.to(z.device)
        own = torch.eye(variables, dtype=torch.bool, device=z.device)[numbers // (categories - 1)]
        places = torch.arange(categories, device=z.device) - (1 + numbers % (categories - 1))[:, None]
        moved = z[..., places % categories].movedim(-2, 2)  # [R, L, N, B, V, C], every variable moved
        return torch.where(own[:, None, :, None], moved, z.unsqueeze(2))

    def neighbour_masses(self, z: Latents) -> Tensor:
        categories = z.shape[-1]
        steps = torch.arange(1, categories, device=z.device)
        reached = (z.argmax(-1, keepdim=True) + steps) % categories
        probabilities = self.mean().expand(*z.shape)
        return probabilities.gather(-1, reached).flatten(3).movedim(-1, 2)

    def states(self) -> Support:
        logits = self.parameters["logits"]
        variables, categories = logits.shape[3:]

        def at(numbers: Tensor) -> tuple[Latents, PerSample]:
            places = digits(numbers.to(logits.device), categories, variables)
            z = torch.nn.functional.one_hot(places, categories).to(logits.dtype)[None, :, None]
            return z, self.log_prob(z).exp()

        return Support(categories**variables, at, logits.device)
