"""What the tests of relaxations and straight-through estimators share: their algebra in numpy, and their mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import expit, logit, softmax
from torch import Tensor

from gradbench.engine.task import Task
from gradbench.estimators.base import Estimator
from tests.estimators.by_hand import BERNOULLI, Array, Bits, Estimate, Given
from tests.estimators.by_hand_categorical import CATEGORICAL, Categories
from tests.estimators.facts import Mutant
from tests.estimators.mutating import held_too, scaled
from tests.exactly import exact_moments
from tests.families.relaxed import inner_nodes, relaxed_nodes
from tests.helpers import gradients_by_loop, noise_of, point_of, reference_of_point, task_of

SPOTS = (*BERNOULLI, *CATEGORICAL)
BELIEF = {"latent": 4, "batch": 2}
WITHOUT_EFFECT = {"z": "a comparison has no gradient"}


def soft(q: Bits | Categories, perturbed: Array, temperature: float = 1.0) -> Array:
    """Values between the states."""
    return expit(perturbed / temperature) if isinstance(q, Bits) else softmax(perturbed / temperature, -1)


def perturbed(q: Bits | Categories, noise: Array) -> Array:
    """Logits with logistic or Gumbel noise."""
    return q.logits + logit(1 - noise) if isinstance(q, Bits) else q.logits + noise


def perturbed_given(q: Bits | Categories, z: Array, noise: Array) -> Array:
    """The same given the sample: a logistic variable cut off at 0, or Gumbel variables at the largest."""
    if isinstance(q, Bits):
        return np.where(z == 1, q.logits - logit(noise * q.p), q.logits + logit(noise * (1 - q.p)))
    exponential = np.exp(-noise)
    own = (z * exponential).sum(-1, keepdims=True)
    return np.where(z == 1, -np.log(own), -np.log(exponential / q.p + own))


def spread(q: Bits | Categories, mean: Array, slope: Array) -> Array:
    """J(mean) · slope, J the derivative of the mean in the logits where it is ``mean``."""
    if isinstance(q, Bits):
        return mean * (1 - mean) * slope
    return mean * (slope - (mean * slope).sum(-1, keepdims=True))


def at_mean(q: Bits | Categories, mean: Array) -> Bits | Categories:
    """The law with that mean."""
    return Bits(logit(mean)) if isinstance(q, Bits) else Categories(np.log(mean))


def repeated(values: Array, count: int) -> Array:
    """Each sample as often as noise is drawn beside it."""
    return np.repeat(values, count, 1)


def over_inner(values: Array, count: int) -> Array:
    """The average over what is drawn beside each sample."""
    return values.reshape(values.shape[0], -1, count, *values.shape[2:]).mean(2)


def from_slope(given: Given, z: Array, jacobian: Callable[[Array], Array]) -> Estimate:
    """An estimate that carries the slope of f at the samples on to the logits."""
    return Estimate((jacobian(given.at(z).dz).mean(1),), z)


def mean_only(task: Task) -> tuple[Tensor, Any]:
    """Nodes of one draw, the same for all L, and for all that is drawn beside a sample."""
    q: Any = task.held_q
    if task.estimator.draws.of_family:
        return relaxed_nodes(q, task.samples)
    example = task.noise(1, torch.Generator().manual_seed(0))
    assert isinstance(example, dict)
    return inner_nodes(q, task.samples, example["inner"].shape[1] // task.samples)


def with_one_inner(task: Task) -> tuple[Tensor, Any]:
    """Nodes of a whole gradient's draws, of one sample with one draw of noise beside it at one datapoint."""
    weights, noise = mean_only(task)
    if noise["z"].shape[1:3] != (1, 1) or noise["inner"].shape[1] > 1:
        raise LookupError("only the mean is known, not the variance")
    return weights, noise


def mutants_of(own: Estimator) -> tuple[Mutant, ...]:
    """Mistakes in what is unbiased, θ; what φ is is held to its formula, since it is biased by design."""
    return (
        Mutant("f held", held_too(own, "f"), "sigmoid-belief", 2, "theta", BELIEF),
        Mutant("half of it", scaled(own, 0.5), "sigmoid-belief", 2, "theta", BELIEF),
    )


def theta_is_that_of_the_score_function(name: str, problem: str, kl: str, **parameters: Any) -> None:
    """Replicate for replicate, at the same samples."""
    point = point_of(problem, batch=2, **parameters)
    task, plain = (task_of(point, one, 3, kl) for one in (name, "score-function"))
    noise = noise_of(task, 4)
    other = noise["z"] if isinstance(noise, dict) else noise
    torch.testing.assert_close(other, noise_of(plain, 4), rtol=0, atol=0)
    found, expected = (gradients_by_loop(one, own, 4) for one, own in ((task, noise), (plain, other)))
    for key in found:
        if key.startswith("theta."):
            torch.testing.assert_close(found[key], expected[key], rtol=1e-12, atol=1e-14)


def one_bit(name: str, prob: float, power: float = 2.0, target: float = 0.45, **parameters: Any) -> tuple[float, float]:
    """Mean over the true gradient, and variance, on one bit."""
    point = point_of("bernoulli-cost", prob=prob, power=power, target=target)
    mean, variance = exact_moments(task_of(point, name, **parameters), count=800)["phi.logits"]
    return float(mean) / float(reference_of_point(point).gradient["phi.logits"]), variance
