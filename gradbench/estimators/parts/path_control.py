"""Control variates for the path of Gaussian latents: coefficients of mean 0 on q's own parameters.

What is controlled is the gradient of f less its −log q. Along the path, −log q(g(φ, ε)|x) = ½ ‖ε‖² + Σ log scale + c:
its gradient is a constant, and a control of it would only add noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.types import Latents, Noise, PerSample, Values, hold, live
from gradbench.estimators.base import differentiated, held
from gradbench.estimators.pathwise import pathwise
from gradbench.families.base import Family
from gradbench.families.gaussian import Gaussian
from gradbench.objectives.base import Objective, average

Coefficients = tuple[Tensor, Tensor]
"""What is added to the gradient in q's loc, and in its scale, sample by sample: each [R, L, B, *event]."""

CONTROLLED = (
    *pathwise.ESTIMATOR.ledger,
    held("control", "coefficients of mean 0: only loc and scale that they weigh are differentiated"),
    differentiated("loc", "phi", "the control of the gradient in loc"),
    differentiated("scale", "phi", "the control of the gradient in the scale"),
)
"""The ledger of a path with a control."""


def controlled(objective: Objective, q: Family, noise: Noise, control: Coefficients) -> Values:
    """The pathwise surrogate plus the ``control`` of q's loc and scale.

    Raises MeasurementError where q is no Gaussian.
    """
    check_gaussian(q)
    of_loc, of_scale = (hold(part, "control") for part in control)
    loc, scale = live(q.parameters["loc"], "loc"), live(q.parameters["scale"], "scale")
    return pathwise.surrogate(objective, q, noise) + average((of_loc * loc + of_scale * scale).flatten(3).sum(-1))


def check_gaussian(q: Family) -> None:
    """Raise MeasurementError where ``q`` may have another law or path: the control's mean is that of a Gaussian's."""
    if type(q) is not Gaussian:
        raise MeasurementError(
            f"the control variate is for Gaussian latents, and q is {q.law()}\nuse an estimator without a control"
        )


def without_log_q(objective: Objective, z: Latents) -> PerSample:
    """f(z) less its −log q: up to a constant, which no derivative in z sees.

    q has its mean at z here, wherever z is, so that log q(z|x) does not change with z.
    """
    return objective.f(z, Gaussian(loc=z, scale=torch.ones_like(z)))


def total(objective: Objective, z: Latents) -> Tensor:
    """f without its −log q, added up over all z [R, L, B, *event]: its derivative in one z is that z's slope.

    A z that the minibatch has in common, B = 1, has the slope of the minibatch's mean.
    """
    return without_log_q(objective, z).mean(2).sum() * z.shape[2]


def gradients_in_z(objective: Objective, z: Latents) -> Tensor:
    """The gradient of f without its −log q at each z, of the shape of z, as a constant."""
    with torch.enable_grad():
        leaf = z.detach().requires_grad_()
        (found,) = torch.autograd.grad(total(objective, leaf), leaf)
    return found.detach()


def drawn_gradients(objective: Objective, q: Family, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noise of one sample in each of ``draws``, and the gradient in it of f without −log q: both [draws, 1, B, D].

    Raises MeasurementError where q is no Gaussian.
    """
    check_gaussian(q)
    noise = q.noise(draws, 1, generator)
    assert isinstance(noise, Tensor)
    slope = gradients_in_z(objective, q.sample(noise)) * q.parameters["scale"]
    return noise.flatten(3), slope.flatten(3)


def by_datapoint(state: dict[str, Tensor], objective: Objective) -> dict[str, Tensor]:
    """What was fitted, [1, 1, B, …], with an entry for each datapoint also where they have the latents in common."""
    batch = 1 if objective.x is None else objective.x.shape[2]
    return {name: value.expand(1, 1, batch, *value.shape[3:]) for name, value in state.items()}
