"""Small layered posteriors, and the tasks and exact means that their tests are written with."""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor

from gradbench.core.types import Noise
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Setting
from gradbench.families.layered import Layered
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from gradbench.target.exact import posterior
from gradbench.target.points import Axes, Point, build
from tests.exactly import LIGHT

F64 = torch.float64
GAUSSIAN = {"hidden": 3, "latent1": 1, "latent2": 1}
BITS = {"latent": 2, "stochastic_layers": 2}


def point_of(problem: str, away: float = 0.3, **parameters: Any) -> Point:
    """A problem in float64, with parameters ``away`` from their start, where biases are 0 and some gradients, too."""
    kind = PROBLEMS[problem]
    point = build(Axes(problem, kind.Parameters(**parameters), kind.data, 0, 0), "cpu", F64)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for value in point.problem.named_parameters().values():
            value.add_(away * torch.randn(value.shape, generator=generator, dtype=F64))
    return point


def task_of(point: Point, name: str, samples: int, objective: str = "elbo") -> Task:
    """A fitted estimator with a sampled KL."""
    estimator = ESTIMATORS[name]
    chosen = ChosenObjective(objective, "monte-carlo")
    return Task(point, estimator, estimator.Parameters().model_dump(), samples, chosen).fitted()


def suited(point: Point, samples: int, objective: str = "elbo") -> list[str]:
    """The estimators that can work at ``point``."""
    chosen, kind = ChosenObjective(objective, "monte-carlo"), type(point.problem)
    return [
        name
        for name, one in ESTIMATORS.items()
        if one.why_not(Setting.of(kind, point.axes.parameters, chosen, samples, one.Parameters())) is None
    ]


def mean_gradient(task: Task, weights: Tensor, noise: Noise) -> dict[str, Tensor]:
    """The gradient of the weighted mean of the values of replicates: exact where the weights are those of a rule."""
    problem = task.point.problem
    value = (weights * task.values(noise, Calls(problem.phi), Calls(problem.theta))).sum()
    parameters = problem.named_parameters()
    found = torch.autograd.grad(value, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
    }


def all_normal_noise(layers: int, draws: int, nodes: int, reach: float = 7.0) -> tuple[Tensor, Noise]:
    """Weights [R] and noise of ``draws`` samples of ``layers`` of one standard normal each: a trapezoidal rule.

    Tuples lighter than ``LIGHT`` of the heaviest are left out, a part of some 1e-7 of the whole.
    """
    x = torch.linspace(-reach, reach, nodes, dtype=F64)
    w = torch.softmax(-(x**2) / 2, 0)
    places = torch.cartesian_prod(*[torch.arange(nodes)] * (layers * draws)).reshape(-1, draws, layers)
    weights = w[places].prod(-1).prod(-1)
    heavy = weights > LIGHT * weights.max()
    noise = {str(layer): x[places[heavy, :, layer]][:, :, None, None] for layer in range(layers)}
    return weights[heavy], noise


def all_bits(point: Point, draws: int) -> tuple[Tensor, Noise]:
    """Weights [R] and uniform noise that give every tuple of ``draws`` states of one datapoint's layers of bits."""
    q = posterior(point)
    assert isinstance(q, Layered)
    assert point.x is not None
    assert point.x.shape[2] == 1
    with torch.no_grad():
        states = torch.tensor(list(itertools.product((0.0, 1.0), repeat=q.event.numel())), dtype=F64)
        chosen = torch.cartesian_prod(*[torch.arange(len(states))] * draws).reshape(-1, draws)
        z = states[chosen][:, :, None]
        noise = {}
        for layer, (law, bits) in enumerate(q.split(z)):
            p = torch.sigmoid(law.parameters["logits"])
            noise[str(layer)] = torch.where(bits == 1, p / 2, (1 + p) / 2).expand(bits.shape)
        assert torch.equal(q.sample(noise), z)
        return q.log_prob(z).exp()[..., 0].prod(1), noise


def distance(found: dict[str, Tensor], expected: dict[str, Tensor]) -> dict[str, float]:
    """‖found − expected‖ / ‖expected‖ of each tensor."""
    return {name: float((found[name] - value).norm() / value.norm()) for name, value in expected.items()}


def narrow_point(**parameters: Any) -> Point:
    """A Gaussian point whose posterior is narrow: networks bend little within it, and few nodes integrate over it."""
    point = point_of("hierarchical-vae", away=0.1, **GAUSSIAN, **parameters)
    with torch.no_grad():
        for name in ("encoder", "encoder2"):
            point.problem.phi.get_parameter(f"{name}.output.bias")[1].sub_(2.0)
    return point
