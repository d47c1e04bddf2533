"""Gradients at fixed noise against formulas written out in numpy. Nothing here is differentiated by a machine.

A `Spot` is a problem with its own derivatives and chain rule. The formula of an estimator, in its test file, is given
what is `Given` there and says what its paper does: the gradient in q's own parameters, datapoint by datapoint, and the
samples that θ sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, logit, logsumexp, softmax

from gradbench.core.seeding import stream
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Setting
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.chosen import ChosenObjective
from gradbench.target.points import Point
from tests.estimators.facts import facts_of
from tests.helpers import gradients_by_loop, noise_of, point_of

REPLICATES = 4

Array = NDArray[np.float64]
Parts = tuple[Array, ...]
"""One array for each parameter of q: (loc, log scale), or (logits,)."""


def array(value: torch.Tensor) -> Array:
    """A tensor as numpy has it."""
    return value.detach().double().numpy()


@dataclass(frozen=True)
class At:
    """f at samples z [R, L, B, D], its derivative in z, and its direct derivatives in q's parameters."""

    f: Array
    dz: Array
    direct: Parts


@dataclass(frozen=True)
class Given:
    """What a formula is given: the noise, q, and f."""

    task: Task
    noise: Any
    """[R, L, B, D], as the estimator draws it."""
    q: Any
    """The law, such as `Gaussian` or `Bits`."""
    at: Callable[[Array], At]


@dataclass(frozen=True)
class Estimate:
    """What a formula gives."""

    phi: Parts
    """The gradient of E_q[f] in q's parameters, each [R, B, D]."""
    z: Array
    """The samples at which θ is differentiated, [R, L, B, D]."""
    mass: Array | float | None = None
    """Their weights [R, L, B], which add up to 1; None: equal ones."""
    theta: dict[str, Array] = field(default_factory=dict)
    """The gradients of parameters of θ, by name, that are not those of such a weighted mean."""

    @property
    def weights(self) -> Array:
        """The weights of the samples, [R, L, B]."""
        if self.mass is None:
            return np.full(self.z.shape[:3], 1 / self.z.shape[1])
        return np.broadcast_to(self.mass, np.broadcast_shapes(np.shape(self.mass), self.z.shape[:3]))


@dataclass(frozen=True)
class Gaussian:
    """N(loc, scale²), its gradients taken in (loc, log scale)."""

    loc: Array
    scale: Array

    def sample(self, noise: Array) -> Array:
        """Samples along the path."""
        return self.loc + self.scale * noise

    def score(self, z: Array) -> Parts:
        """∇ log q(z)."""
        away = (z - self.loc) / self.scale
        return away / self.scale, away**2 - 1

    def slope(self, z: Array) -> Array:
        """The derivative of log q in z."""
        return -(z - self.loc) / self.scale**2

    def path(self, z: Array, slope: Array) -> Parts:
        """``slope`` in z, carried along the path to the parameters."""
        return slope, slope * (z - self.loc)


@dataclass(frozen=True)
class Bits:
    """Independent bits, their gradients taken in the logits."""

    logits: Array

    @property
    def p(self) -> Array:
        """Probabilities of 1."""
        return expit(self.logits)

    def sample(self, noise: Array) -> Array:
        """Bits that are 1 where the uniform noise is below p."""
        return (noise < self.p).astype(float)

    def score(self, z: Array) -> Parts:
        """∇ log q(z)."""
        return (z - self.p,)

    def states(self) -> tuple[Array, Array]:
        """All states [1, N, 1, D] and their masses [1, N, B]."""
        dim = self.logits.shape[-1]
        states = np.array(list(np.ndindex(*[2] * dim)), dtype=float)[None, :, None, :]
        return states, np.prod(np.where(states == 1, self.p, 1 - self.p), axis=-1)


def model(task: Task) -> tuple[dict[str, Array], Array]:
    """The parameters by name, and the minibatch [B, features]."""
    assert task.point.x is not None
    groups = {"phi": task.point.problem.phi, "theta": task.point.problem.theta}  # frozen ones, too
    values = {f"{group}.{key}": array(value) for group, m in groups.items() for key, value in m.named_parameters()}
    return values, array(task.point.x)[0, 0]


def mean(parts: Parts, z: Array) -> Parts:
    """Each part's average over the samples, [R, B, D]."""
    return tuple(np.broadcast_to(part, z.shape).mean(1) for part in parts)


def weighted(weight: Array, parts: Parts) -> Parts:
    """Each part times a weight [R, L, B]."""
    return tuple(weight[..., None] * part for part in parts)


def groups_of(given: Given) -> int:
    """How many groups of samples the bound is a mean over."""
    return getattr(given.task.objective.parameters, "groups", 1)


def power_of(given: Given) -> float:
    """The power that the bound takes importance weights to."""
    return 1 - getattr(given.task.objective.parameters, "alpha", 0.0)


def importance_weights(given: Given, f: Array) -> Array:
    """What log weights f [R, L, B] add to the gradient of the bound, by its definition: weights that add up to 1."""
    groups = np.split(power_of(given) * f, groups_of(given), axis=1)
    return np.concatenate([softmax(group, axis=1) for group in groups], axis=1) / len(groups)


def bound_of(given: Given, f: Array) -> Array:
    """The bound, by its definition: log weights f [R, L, B] to [R, B]."""
    power = power_of(given)
    groups = np.split(power * f, groups_of(given), axis=1)
    return np.mean([logsumexp(group, axis=1) - np.log(group.shape[1]) for group in groups], axis=0) / power


def added(*several: Parts) -> Parts:
    """The sum of parts of the same parameters."""
    return tuple(sum(parts) for parts in zip(*several, strict=True))  # pyright: ignore[reportReturnType]


Formula = Callable[[Given], Estimate]


class Spot(ABC):
    """A problem, an objective, and what they make of a gradient in q's parameters."""

    name: str
    samples: tuple[int, ...] = (2, 4)
    """The L that are tried, those of them that the estimator can work with."""
    objective: ChosenObjective
    family: str
    rtol: float = 1e-10
    """What the two may differ by, relative to the formula: more where a derivative is an approximation."""

    def __repr__(self) -> str:
        return self.name

    @abstractmethod
    def point(self) -> Point:
        """The problem."""

    @abstractmethod
    def given(self, task: Task, noise: Any) -> Given:
        """What a formula is given here."""

    @abstractmethod
    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        """The gradient in each parameter, [R or 1, *shape]."""

    def check(self, name: str, formula: Formula, **parameters: Any) -> None:
        """Hold an estimator to its formula, replicate by replicate, in every parameter."""
        estimator = ESTIMATORS[name]
        values = estimator.Parameters(**{**facts_of(name).parameters, **parameters})
        tried = 0
        for samples in self.samples:
            task = Task(self.point(), estimator, values.model_dump(), samples, self.objective)
            if _refused(task):
                continue
            task, tried = task.fitted(), tried + 1
            noise = noise_of(task, REPLICATES)
            drawn = array(noise) if isinstance(noise, torch.Tensor) else {k: array(v) for k, v in noise.items()}
            given = self.given(task, drawn)
            estimate = formula(given)
            expected = {**self.gradients(given, estimate), **estimate.theta}
            if not self.objective.has_theta:
                expected = {key: value for key, value in expected.items() if key.startswith("phi.")}
            found = gradients_by_loop(task, noise, REPLICATES)
            assert set(found) == set(expected)
            for key, value in found.items():
                want = np.broadcast_to(expected[key], value.shape)
                where = f"{key}, L = {samples}"
                np.testing.assert_allclose(array(value), want, rtol=self.rtol, atol=1e-11, err_msg=where)
        assert tried, f"{name} works with no L of {self.samples} on {self.name}"


def _refused(task: Task) -> str | None:
    own = task.estimator.Parameters(**task.parameters)
    kind = type(task.point.problem)
    return task.estimator.why_not(Setting.of(kind, task.point.axes.parameters, task.objective, task.samples, own))


def chosen(objective: str, kl: Any, **parameters: Any) -> ChosenObjective:
    """An objective with its treatment of the KL and parameters of its own."""
    return ChosenObjective(objective, kl, OBJECTIVES[objective].Parameters(**parameters))


COSTS = {
    "quadratic": (lambda z, k: (z - k) ** 2, lambda z, k: 2 * (z - k)),
    "exp": (lambda z, k: np.exp(-k * z**2), lambda z, k: -2 * k * z * np.exp(-k * z**2)),
    "cos": (lambda z, k: np.cos(k * z), lambda z, k: -k * np.sin(k * z)),
}


class GaussianCost(Spot):
    """A cost of two Gaussian variables."""

    family, objective = "gaussian", ChosenObjective("cost")
    K, MEAN, SCALE = 0.7, -0.4, 1.3

    def __init__(self, cost: str) -> None:
        self.cost, self.name = cost, f"gaussian-cost-{cost}"

    def point(self) -> Point:
        return point_of("gaussian-cost", cost=self.cost, k=self.K, mean=self.MEAN, scale=self.SCALE, dim=2)

    def given(self, task: Task, noise: Any) -> Given:
        value, slope = COSTS[self.cost]
        zero = np.zeros((1, 1, 1, 2))
        q = Gaussian(zero + self.MEAN, zero + self.SCALE)
        return Given(task, noise, q, lambda z: At(value(z, self.K).sum(-1), slope(z, self.K), (zero, zero)))

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        loc, log_scale = estimate.phi
        return {"phi.mean": loc[:, 0], "phi.log_scale": log_scale[:, 0]}


class LinearGaussian(Spot):
    """Encoder with a bias and a scale of its own, decoder with weight and bias."""

    family = "gaussian"
    NOISE = 0.6

    def __init__(self, objective: str, kl: Any, **parameters: Any) -> None:
        self.objective = chosen(objective, kl, **parameters)
        own = [f"{name}={value}" for name, value in parameters.items()]
        self.name = "-".join(filter(None, ["linear-gaussian", "" if objective == "elbo" else objective, kl, *own]))
        if objective != "elbo":
            self.samples = (1, 2, 5, 6)

    def point(self) -> Point:
        return point_of("linear-gaussian", latent=2, features=3, batch=2, noise=self.NOISE)

    def given(self, task: Task, noise: Any) -> Given:
        p, x = model(task)
        q = Gaussian(x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"], np.exp(p["phi.log_scale"]))

        def at(z: Array) -> At:
            away, residual = (z - q.loc) / q.scale, self.residual(task, z)
            log_unit = -np.log(self.NOISE) - 0.5 * np.log(2 * np.pi)
            f = (-0.5 * (residual / self.NOISE) ** 2 + log_unit).sum(-1)
            dz = residual @ p["theta.decoder.weight"] / self.NOISE**2
            if self.objective.kl == "analytic":
                return At(f, dz, (0 * z, 0 * z))
            f = f + (-0.5 * z**2 + 0.5 * away**2 + np.log(q.scale)).sum(-1)
            return At(f, dz - z + away / q.scale, (-away / q.scale, 1 - away**2))

        return Given(task, noise, q, at)

    def residual(self, task: Task, z: Array) -> Array:
        """x less its mean at z."""
        p, x = model(task)
        return x - z @ p["theta.decoder.weight"].T - p["theta.decoder.bias"]

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        _, x = model(given.task)
        loc, scale = estimate.phi
        if self.objective.kl == "analytic":
            assert isinstance(given.q, Gaussian)
            loc, scale = loc - given.q.loc, scale + 1 - given.q.scale**2
        pull = self.residual(given.task, estimate.z) / self.NOISE**2
        mass = estimate.weights
        return {
            "phi.encoder.weight": np.einsum("rbd,bi->rdi", loc, x) / 2,
            "phi.encoder.bias": loc.mean(1),
            "phi.log_scale": scale.mean(1),
            "theta.decoder.weight": np.einsum("rlb,rlbo,rlbd->rod", mass, pull, estimate.z) / 2,
            "theta.decoder.bias": np.einsum("rlb,rlbo->ro", mass, pull) / 2,
        }


class LogisticRegression(Spot):
    """Weights that all datapoints have in common: f is its average over the minibatch, as of one datapoint."""

    family = "gaussian"
    TAU = 1.5

    def __init__(self, kl: Any) -> None:
        self.objective, self.name = ChosenObjective("elbo", kl), f"logistic-regression-{kl}"

    def point(self) -> Point:
        keys = {"features": 2, "batch": 2, "start": "near", "prior": "learned", "prior_scale": self.TAU}
        return point_of("logistic-regression", **keys)

    @staticmethod
    def signed(rows: Array) -> Array:
        """Two features and a 1, with the sign of the label, [N, 3]."""
        return (2 * rows[:, -1:] - 1) * np.column_stack([rows[:, :2], np.ones(len(rows))])

    def given(self, task: Task, noise: Any) -> Given:
        p, x = model(task)
        q, signed = Gaussian(p["phi.loc"] + np.zeros((1, 1, 1, 3)), np.exp(p["phi.log_scale"])), self.signed(x)
        assert task.point.rows is not None
        count = len(task.point.rows)

        def at(z: Array) -> At:
            odds = z[:, :, 0] @ signed.T
            f = -count * np.logaddexp(0, -odds).mean(-1)[..., None]
            dz = count * (expit(-odds) @ signed / len(x))[:, :, None]
            if self.objective.kl == "analytic":
                return At(f, dz, (0 * z, 0 * z))
            away = (z - q.loc) / q.scale
            f = f + (-0.5 * (z / self.TAU) ** 2 - np.log(self.TAU) + 0.5 * away**2 + np.log(q.scale)).sum(-1)
            return At(f, dz - z / self.TAU**2 + away / q.scale, (-away / q.scale, 1 - away**2))

        return Given(task, noise, q, at)

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        assert isinstance(given.q, Gaussian)
        loc, scale = estimate.phi
        if self.objective.kl == "analytic":
            loc, scale = loc - given.q.loc[0] / self.TAU**2, scale + 1 - (given.q.scale / self.TAU) ** 2
            squares = ((given.q.loc**2 + given.q.scale**2) / self.TAU**2).sum((1, 2, 3))
        else:
            squares = ((estimate.z / self.TAU) ** 2).sum((2, 3)).mean(1)
        return {"phi.loc": loc[:, 0], "phi.log_scale": scale[:, 0], "theta.log_prior_scale": squares[:, None] - 3}


class Rainforth(Spot):
    """A model whose prior has a θ of its own, and whose q has no scale to learn."""

    family = "gaussian"
    samples = (1, 4)

    def __init__(self, objective: str = "iwae") -> None:
        self.objective, self.name = ChosenObjective(objective, "monte-carlo"), f"rainforth-{objective}"

    def point(self) -> Point:
        return point_of("rainforth", dim=3, batch=2, perturb=0.2)

    def given(self, task: Task, noise: Any) -> Given:
        p, x = model(task)
        prior = p["theta.mean"]
        q = Gaussian(x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"], np.full(3, np.sqrt(2 / 3)))

        def at(z: Array) -> At:
            away = (z - q.loc) / q.scale
            halves = -(away**2) + (x - z) ** 2 + (z - prior) ** 2 + np.log(2 * np.pi) - 2 * np.log(q.scale)
            dz = x + prior - 2 * z + away / q.scale
            return At(-0.5 * halves.sum(-1), dz, (-away / q.scale, 0 * z))

        return Given(task, noise, q, at)

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        p, x = model(given.task)
        loc = estimate.phi[0]
        return {
            "phi.encoder.weight": np.einsum("rbd,bi->rdi", loc, x) / 2,
            "phi.encoder.bias": loc.mean(1),
            "theta.mean": np.einsum("rlb,rlbd->rd", estimate.weights, estimate.z - p["theta.mean"]) / 2,
        }


class BernoulliCost(Spot):
    """A cost of three bits."""

    family, objective, name = "bernoulli", ChosenObjective("cost"), "bernoulli-cost"
    TARGET, PROB, DIM = 0.45, 0.3, 3

    def point(self) -> Point:
        return point_of("bernoulli-cost", target=self.TARGET, prob=self.PROB, dim=self.DIM)

    def given(self, task: Task, noise: Any) -> Given:
        q = Bits(np.full((1, 1, 1, self.DIM), logit(self.PROB)))

        def at(z: Array) -> At:
            return At(((z - self.TARGET) ** 2).mean(-1), 2 * (z - self.TARGET) / self.DIM, (0 * z,))

        return Given(task, noise, q, at)

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        return {"phi.logits": estimate.phi[0][:, 0]}


class SigmoidBelief(Spot):
    """A sigmoid belief network with a prior that is not uniform."""

    family = "bernoulli"

    def __init__(self, objective: str, kl: Any) -> None:
        self.objective = ChosenObjective(objective, kl)
        self.name = "-".join(filter(None, ["sigmoid-belief", "" if objective == "elbo" else objective, kl]))

    def point(self) -> Point:
        point = point_of("sigmoid-belief", latent=3, batch=2)
        prior = point.problem.theta.get_parameter("prior.logits")
        prior.data = torch.randn(3, dtype=torch.float64, generator=stream(0, "prior"))
        return point

    def given(self, task: Task, noise: Any) -> Given:
        p, x = model(task)
        before = p["theta.prior.logits"]
        logits = x @ p["phi.encoder.output.weight"].T + p["phi.encoder.output.bias"]
        q = Bits(logits)

        def at(z: Array) -> At:
            score = self.score(task, z)
            f = (x * score - np.logaddexp(0, score)).sum(-1)
            dz = (x - expit(score)) @ p["theta.decoder.output.weight"]
            if self.objective.kl == "analytic":
                return At(f, dz, (0 * z,))
            prior = z * before - np.logaddexp(0, before)
            f = f + (prior - z * logits + np.logaddexp(0, logits)).sum(-1)
            return At(f, dz + before - logits, (q.p - z,))

        return Given(task, noise, q, at)

    def score(self, task: Task, z: Array) -> Array:
        """The logits of x at z."""
        p, _ = model(task)
        return z @ p["theta.decoder.output.weight"].T + p["theta.decoder.output.bias"]

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        assert isinstance(given.q, Bits)
        values, x = model(given.task)
        before, p, mass = values["theta.prior.logits"], given.q.p, estimate.weights
        z = estimate.z + 0 * mass[..., None]
        pull = x - expit(self.score(given.task, z))
        (gradient,) = estimate.phi
        if self.objective.kl == "analytic":
            gradient = gradient - p * (1 - p) * (given.q.logits - before)
            of_prior = (p - expit(before)).mean(0)[None]
        else:
            of_prior = np.einsum("rlb,rlbd->rd", mass, z - expit(before)) / 2
        return {
            "phi.encoder.output.weight": np.einsum("rbd,bi->rdi", gradient, x) / 2,
            "phi.encoder.output.bias": gradient.mean(1),
            "theta.prior.logits": of_prior,
            "theta.decoder.output.weight": np.einsum("rlb,rlbo,rlbd->rod", mass, pull, z) / 2,
            "theta.decoder.output.bias": np.einsum("rlb,rlbo->ro", mass, pull) / 2,
        }


GAUSSIAN_COSTS = tuple(GaussianCost(cost) for cost in COSTS)
GAUSSIAN_ELBOS = (LinearGaussian("elbo", "analytic"), LinearGaussian("elbo", "monte-carlo"))
SHARED = (LogisticRegression("analytic"), LogisticRegression("monte-carlo"))
"""Where the minibatch has its latents in common."""
GAUSSIAN_BOUNDS = (
    LinearGaussian("iwae", "monte-carlo"),
    Rainforth(),
    LinearGaussian("miwae", "monte-carlo"),
    LinearGaussian("miwae", "monte-carlo", groups=3),
    Rainforth("miwae"),
)
VR_BOUNDS = (
    *(LinearGaussian("vr-iwae", "monte-carlo", alpha=alpha) for alpha in (0.0, 0.3, 0.9)),
    Rainforth("vr-iwae"),
)
BERNOULLI_ELBOS = (SigmoidBelief("elbo", "analytic"), SigmoidBelief("elbo", "monte-carlo"))
GAUSSIAN: tuple[Spot, ...] = (*GAUSSIAN_COSTS, *GAUSSIAN_ELBOS)
BERNOULLI: tuple[Spot, ...] = (BernoulliCost(), *BERNOULLI_ELBOS)
BERNOULLI_VR_BOUNDS = (SigmoidBelief("vr-iwae", "monte-carlo"),)
BERNOULLI_BOUNDS = (SigmoidBelief("iwae", "monte-carlo"), SigmoidBelief("miwae", "monte-carlo"))
BOUNDS: tuple[Spot, ...] = (*GAUSSIAN_BOUNDS, *BERNOULLI_BOUNDS)
GAUSSIAN_BOUNDS_OF_ALL = tuple(spot for spot in GAUSSIAN_BOUNDS if spot.objective.name == "iwae")
"""Those of all samples together, and not in groups."""
BOUNDS_OF_ALL: tuple[Spot, ...] = tuple(spot for spot in BOUNDS if spot.objective.name == "iwae")
GAUSSIAN_FORWARD: tuple[Spot, ...] = (LinearGaussian("forward-kl", "monte-carlo"),)
FORWARD: tuple[Spot, ...] = (*GAUSSIAN_FORWARD, SigmoidBelief("forward-kl", "monte-carlo"))
ANY: tuple[Spot, ...] = (*GAUSSIAN, *BERNOULLI)
"""Where an estimator of the problem's own objective is tried whose formula asks q alone, whatever its family."""
