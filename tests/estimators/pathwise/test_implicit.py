"""Implicit reparameterisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.special
import torch

from gradbench.core.seeding import stream
from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from gradbench.target.points import Point
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import Array, At, Estimate, Given, Parts, Spot
from tests.estimators.by_hand_gamma import GAMMA
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled
from tests.estimators.pathwise.test_pathwise import by_hand as along_the_path
from tests.exactly import exact_moments, exact_variance
from tests.helpers import exact_reference, point_of, task_of

NAME = "implicit"
OWN = ESTIMATORS[NAME]
ANGLE = {"cost": "cos", "concentration": 2.0}


def of_one_parameter(objective, q, noise):
    """The path of the first parameter alone."""
    name, *rest = q.parameters
    lost = type(q)(**{name: q.parameters[name]}, **{other: q.parameters[other].detach() for other in rest})
    return OWN.surrogate(objective, lost, noise)


FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "beta-cost", 1, "phi"),
        Mutant("counted twice", scaled(OWN, 2.0), "dirichlet-cost", 2, "phi"),
        Mutant("z held", held_too(OWN, "z"), "beta-cost", 1, "phi"),
        Mutant("a parameter without its path", mutant(OWN, of_one_parameter), "beta-cost", 1, "phi.log_b"),
        Mutant("an angle's concentration without its path", mutant(OWN, of_one_parameter), "von-mises-cost", 1,
               "phi.log_concentration", ANGLE),
    )
)  # fmt: skip


def slope_of(quantile: Any, at: float) -> Array:
    """dz/dφ at constant noise of a quantile as a function of its parameter, by differences: good to some 1e-9."""
    step = 2e-3 * at
    near, far = (quantile(at + k * step) - quantile(at - k * step) for k in (1, 2))
    return (8 * near - far) / (12 * step)


@dataclass(frozen=True)
class BetaLaw:
    """Beta(a, b), its gradients taken in (log a, log b)."""

    a: float
    b: float

    def sample(self, noise: Array) -> Array:
        return scipy.special.betaincinv(self.a, self.b, noise)

    def path(self, noise: Array, slope: Array) -> Parts:
        along_a = slope_of(lambda a: scipy.special.betaincinv(a, self.b, noise), self.a)
        along_b = slope_of(lambda b: scipy.special.betaincinv(self.a, b, noise), self.b)
        return slope * along_a * self.a, slope * along_b * self.b


class BetaCost(Spot):
    """A cost of two Beta variables. Torch's derivatives are held to 5e-3 here, draw by draw."""

    family, name, objective = "beta", "beta-cost", ChosenObjective("cost")
    A, B, K, rtol = 1.7, 2.4, 0.3, 5e-3

    def point(self) -> Point:
        return point_of("beta-cost", a=self.A, b=self.B, k=self.K, dim=2)

    def given(self, task: Any, noise: Any) -> Given:
        return Given(
            task, noise, BetaLaw(self.A, self.B), at_costs(lambda z: (z - self.K) ** 2, lambda z: 2 * (z - self.K))
        )

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        return {"phi.log_a": estimate.phi[0][:, 0], "phi.log_b": estimate.phi[1][:, 0]}


@dataclass(frozen=True)
class DirichletLaw:
    """Dirichlet of one concentration, its gradients taken in the logarithms of all."""

    concentration: float

    def gammas(self, noise: Array) -> Array:
        return scipy.special.gammaincinv(self.concentration, noise)

    def sample(self, noise: Array) -> Array:
        gammas = self.gammas(noise)
        return gammas / gammas.sum(-1, keepdims=True)

    def path(self, noise: Array, slope: Array) -> Parts:
        """g_k moves z_j by (1{j = k} − z_j) / Σ g."""
        along = slope_of(lambda c: scipy.special.gammaincinv(c, noise), self.concentration) * self.concentration
        z, total = self.sample(noise), self.gammas(noise).sum(-1, keepdims=True)
        return ((slope - (slope * z).sum(-1, keepdims=True)) * along / total,)


class DirichletCost(Spot):
    """A cost of two Dirichlet variables of three categories."""

    family, name, objective = "dirichlet", "dirichlet-cost", ChosenObjective("cost")
    CONCENTRATION, rtol = 1.4, 5e-3

    def point(self) -> Point:
        return point_of("dirichlet-cost", concentration=self.CONCENTRATION, variables=2, categories=3)

    def given(self, task: Any, noise: Any) -> Given:
        weights = np.arange(1, 4) / 3
        at = at_costs(lambda z: (weights * z**2).sum(-1), lambda z: 2 * weights * z)
        return Given(task, noise, DirichletLaw(self.CONCENTRATION), at)

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        return {"phi.log_concentration": estimate.phi[0][:, 0]}


@dataclass(frozen=True)
class Angles:
    """Von Mises, its gradients taken in (loc, log concentration); from the Fourier series of F."""

    loc: float
    kappa: float

    def series(self, away: Array) -> tuple[Array, Array, Array]:
        """F, its derivative in κ, and the density."""
        n, ratios = np.arange(1, 60), scipy.special.iv(np.arange(61), self.kappa) / scipy.special.iv(0, self.kappa)
        slopes = (ratios[:-2] + ratios[2:]) / 2 - ratios[1:-1] * ratios[1]
        sines = np.sin(away[..., None] * n) / n / math.pi
        density = np.exp(self.kappa * np.cos(away)) / (2 * math.pi * scipy.special.iv(0, self.kappa))
        return 0.5 + away / (2 * math.pi) + sines @ ratios[1:-1], sines @ slopes, density

    def sample(self, noise: Array) -> Array:
        low, high = np.full(noise.shape, -math.pi), np.full(noise.shape, math.pi)
        for _ in range(60):
            middle = (low + high) / 2
            below = self.series(middle)[0] < noise
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        return self.loc + low

    def path(self, noise: Array, slope: Array) -> Parts:
        _, moved, density = self.series(self.sample(noise) - self.loc)
        return slope, -slope * moved / density * self.kappa


class VonMisesCost(Spot):
    """A cost of two angles, whose derivatives are exact."""

    family, name, objective = "von-mises", "von-mises-cost", ChosenObjective("cost")
    LOC, KAPPA, K, rtol = 0.6, 1.8, 2, 1e-9

    def point(self) -> Point:
        return point_of("von-mises-cost", loc=self.LOC, concentration=self.KAPPA, k=self.K, dim=2)

    def given(self, task: Any, noise: Any) -> Given:
        at = at_costs(lambda z: np.cos(self.K * z), lambda z: -self.K * np.sin(self.K * z))
        return Given(task, noise, Angles(self.LOC, self.KAPPA), at)

    def gradients(self, given: Given, estimate: Estimate) -> dict[str, Array]:
        return {"phi.loc": estimate.phi[0][:, 0], "phi.log_concentration": estimate.phi[1][:, 0]}


def at_costs(value: Any, slope: Any) -> Any:
    """f summed over the latents, with its derivative, and none in q's parameters."""
    return lambda z: At(value(z).sum(-1), slope(z), ())


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ f′(z) dz/dφ, with dz/dφ from the distribution function."""
    z = given.q.sample(given.noise)
    parts = given.q.path(given.noise, given.at(z).dz)
    return Estimate(tuple(part.mean(1) for part in parts), z)


@pytest.mark.parametrize("spot", [BetaCost(), DirichletCost(), VonMisesCost()], ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize("spot", GAMMA, ids=repr)
def test_the_gradient_at_fixed_noise_of_gamma_variables(spot):
    spot.check(NAME, along_the_path)


# Exact facts


@pytest.mark.parametrize("a", [0.5, 1.0, 3.0])
def test_variances_on_a_power_of_a_uniform(a):
    """Beta(a, 1): z = u^(1/a), dz/dlog a = −z log z. E[z^n log²z] = 2a / (a + n)³."""
    for cost, mean, square in (
        ("linear", a / (a + 1) ** 2, 2 * a / (a + 2) ** 3),
        ("quadratic", 2 * a / (a + 2) ** 2, 8 * a / (a + 4) ** 3),
        ("log", 1 / a, 2 / a**2),
    ):
        found, variance = exact_moments(task_of(point_of("beta-cost", a=a, b=1.0, cost=cost), NAME))["phi.log_a"]
        assert float(found) == pytest.approx(mean, rel=1e-4)
        assert variance == pytest.approx(square - mean**2, rel=1e-3)


@pytest.mark.parametrize("kappa", [0.5, 2.0, 20.0])
def test_variance_in_the_loc_of_an_angle(kappa):
    """−k sin(k z): ½ k² (1 − r_2k cos 2k loc) − (k r_k sin k loc)², r_n = I_n / I_0."""
    loc, k = 0.6, 2
    r = [scipy.special.ive(n, kappa) / scipy.special.ive(0, kappa) for n in range(5)]
    point = point_of("von-mises-cost", loc=loc, concentration=kappa, k=k)
    mean, variance = exact_moments(task_of(point, NAME))["phi.loc"]
    expected = -k * r[k] * math.sin(k * loc)
    assert float(mean) == pytest.approx(expected, rel=1e-9)
    square = 0.5 * k**2 * (1 - r[2 * k] * math.cos(2 * k * loc))
    assert variance == pytest.approx(square - expected**2, rel=1e-9)


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [("beta-cost", {}), ("dirichlet-cost", {"categories": 2}), ("von-mises-cost", {"concentration": 10.0})],
)
def test_it_is_below_the_score_function(problem, parameters):
    point = point_of(problem, **parameters)
    implicit, score = (exact_variance(task_of(point, name)) for name in (NAME, "score-function"))
    assert implicit < score / 2


def test_it_is_above_the_score_function_where_angles_are_nearly_uniform():
    """cos z moved along a flat law: its slope in loc is of size 1, and the score of size κ."""
    point = point_of("von-mises-cost", concentration=0.1)
    implicit, score = (exact_variance(task_of(point, name), "phi.loc") for name in (NAME, "score-function"))
    assert implicit > 100 * score


def test_a_dirichlet_variable_of_two_moves_more_than_a_beta_variable():
    """Two Gamma variables for one share: the same mean, and more noise."""
    beta = task_of(point_of("beta-cost", a=2.0, b=2.0, cost="linear"), NAME)
    # the weights of two shares are ½ and 1: a cost of ½ z₂, and a constant
    dirichlet = task_of(point_of("dirichlet-cost", concentration=2.0, categories=2, cost="linear"), NAME)
    one, other = exact_moments(beta), exact_moments(dirichlet)["phi.log_concentration"]
    mean = torch.cat([one["phi.log_b"][0], one["phi.log_a"][0]])
    torch.testing.assert_close(2 * other[0], mean, rtol=1e-3, atol=0)
    assert 4 * other[1] > 1.2 * sum(variance for _, variance in one.values())


# How large the numerical bias is


def bias(problem: str, count: int = 100, **parameters: Any) -> float:
    """‖E ĝ − ∇E f‖ / ‖∇E f‖, E over the draws by quadrature of ``count`` nodes for each."""
    point = point_of(problem, **parameters)
    exact = exact_reference(point).gradient
    found = {name: mean for name, (mean, _) in exact_moments(task_of(point, NAME), count).items()}
    away = sum(float((found[name] - value.flatten()).square().sum()) for name, value in exact.items())
    return (away / sum(float(value.square().sum()) for value in exact.values())) ** 0.5


@pytest.mark.parametrize("cost", ["linear", "quadratic", "log"])
def test_the_bias_on_beta_latents_is_below_a_thousandth(cost):
    found = [bias("beta-cost", a=a, b=b, cost=cost) for a in (0.1, 0.3, 1, 3, 10, 100) for b in (0.3, 1, 3, 10, 100)]
    assert max(found) < 1e-3
    assert max(found) > 1e-5, "it is no exact derivative"


@pytest.mark.parametrize("cost", ["linear", "quadratic", "log"])
def test_the_bias_on_dirichlet_latents_is_below_a_thousandth(cost):
    """Of small concentrations, whose shares jump from 0 to 1, with more nodes."""
    found = [
        bias("dirichlet-cost", 300 if c < 0.3 else 100, concentration=c, categories=2, cost=cost)
        for c in (0.1, 0.3, 1, 3, 10, 100)
    ]
    assert max(found) < 1e-3


@pytest.mark.parametrize("cost", ["cos", "exp"])
def test_angles_have_no_bias(cost):
    assert max(bias("von-mises-cost", concentration=c, cost=cost, k=k) for c in (0.1, 1, 10, 50) for k in (1, 3)) < 1e-8


# Where it works


def test_it_is_for_implicit_paths_and_pathwise_for_the_others():
    refuses(NAME, setting("gaussian-cost"), "whose derivative is implicit; the gaussian latents of gaussian-cost")
    for problem in ("beta-cost", "dirichlet-cost", "von-mises-cost"):
        accepts(NAME, setting(problem))
        refuses("pathwise", setting(problem), "implicit derivative; use implicit")
        accepts("pathwise-antithetic", setting(problem))


def test_a_path_is_one_or_the_other():
    """Every family with a path is for exactly one of the two."""
    for name, family in FAMILIES.items():
        if family.reparameterised:
            problem = next(key for key, kind in PROBLEMS.items() if kind.family == name)
            asked = setting(problem, kl="monte-carlo")
            assert (ESTIMATORS[NAME].why_not(asked) is None) == family.implicit
            assert (ESTIMATORS["pathwise"].why_not(asked) is None) != family.implicit


def test_it_is_the_pathwise_surrogate():
    point = point_of("beta-cost", dim=2)
    task = task_of(point, NAME, 2)
    noise = task.noise(3, stream(0, "noise"))
    objective, q = task.at(Calls(point.problem.theta)), point.problem.posterior(Calls(point.problem.phi), None)
    assert torch.equal(OWN.surrogate(objective, q, noise), ESTIMATORS["pathwise"].surrogate(objective, q, noise))
