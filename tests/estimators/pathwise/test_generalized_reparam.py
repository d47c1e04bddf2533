"""The generalised reparameterisation of Gamma latents."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import digamma, polygamma
from scipy.stats import gamma

from gradbench.estimators import ESTIMATORS
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import Array, Estimate, Given, added, mean, weighted
from tests.estimators.by_hand_gamma import GAMMA, trigamma
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_moments
from tests.helpers import noise_of, point_of, task_of

NAME = "generalized-reparam"
OWN = ESTIMATORS[NAME]
COST = {"cost": "exp", "k": 1.0, "shape": 0.5}
MODEL = {"batch": 2, "features": 4}
FACTS = Facts(
    mutants=(
        Mutant("correction lost", held_too(OWN, "log π(ε)"), "gamma-cost", 1, "phi.log_shape", COST),
        Mutant("ε not held", without(OWN, "ε"), "gamma-cost", 1, "phi.log_shape", COST),
        Mutant("weight not held", without(OWN, "f as weight"), "gamma-poisson", 1, "theta", MODEL),
        Mutant("sign flipped", scaled(OWN, -1.0), "gamma-poisson", 2, "phi", MODEL),
    )
)


def derivatives(concentration: Array, standard: Array) -> tuple[Array, Array]:
    """Of log z at a given ε, and of log π(ε), in the concentration; ``standard`` is rate × z."""
    log, second = np.log(standard), trigamma(concentration)
    slope = (log - digamma(concentration)) * polygamma(2, concentration) / (2 * second) + second
    of_law = log + (concentration - standard) * slope - digamma(concentration)
    return slope, of_law + polygamma(2, concentration) / (2 * second)


def by_hand(given: Given) -> Estimate:
    """∇f along z(ε), and f times the derivative of log π(ε); in the rate, z only scales."""
    q, z = given.q, given.q.sample(given.noise)
    here = given.at(z)
    slope, of_law = derivatives(q.concentration, q.rate * z)
    along = (here.dz * z * q.concentration * slope, -here.dz * z)
    correction = weighted(here.f, (q.concentration * of_law, 0 * z))
    return Estimate(mean(added(along, correction), z), z)


@pytest.mark.parametrize("spot", GAMMA, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_its_mean_and_variance_on_a_quadratic():
    """z² at shape 2 and rate 1, by scipy's quadrature; in the log rate it is −2z², of variance 4 Var z² = 336."""

    def gradient(z: float) -> float:
        slope, of_law = derivatives(np.array(2.0), np.array(z))
        return 2 * z**2 * (2 * float(slope) + float(of_law))

    def expect(power: int) -> float:
        return quad(lambda z: gradient(z) ** power * gamma.pdf(z, 2), 0, 80, limit=500, epsabs=0, epsrel=1e-10)[0]

    moments = exact_moments(task_of(point_of("gamma-cost", cost="quadratic", shape=2.0), NAME))
    mean, variance = moments["phi.log_shape"]
    assert (float(mean), variance) == pytest.approx((expect(1), expect(2) - expect(1) ** 2), rel=1e-8)
    assert (float(mean), variance) == pytest.approx((10, 251.5934354), rel=2e-8)
    mean, variance = moments["phi.log_rate"]
    assert (float(mean), variance) == pytest.approx((-12, 336), rel=1e-9)


def test_in_the_rate_it_is_the_pathwise_estimator():
    point = point_of("gamma-poisson", batch=2, features=4)
    one, other = (task_of(point, name, 2) for name in (NAME, "implicit"))
    noise = noise_of(one, 3)
    found, expected = one.gradient(noise), other.gradient(noise)
    np.testing.assert_allclose(found["phi.encoder.bias"][2:], expected["phi.encoder.bias"][2:], rtol=1e-10)
    assert not np.allclose(found["phi.encoder.bias"][:2], expected["phi.encoder.bias"][:2], rtol=1e-2)


def test_at_the_posterior_only_the_correction_is_left():
    """f is the evidence there, the same for every z: its slope is 0, and the gradient is log p(x) ∇ log π(ε)."""
    task = task_of(point_of("gamma-poisson", batch=2, features=4, start="posterior"), NAME, 1, "monte-carlo")
    along = task_of(task.point, held_too(OWN, "log π(ε)"), 1, "monte-carlo")
    noise = noise_of(task, 4)
    size = max(float(value.abs().max()) for key, value in task.gradient(noise).items() if key.startswith("phi."))
    left = max(float(value.abs().max()) for key, value in along.gradient(noise).items() if key.startswith("phi."))
    assert left < 1e-12 * size


@pytest.mark.parametrize("shape", [0.02, 300.0])
def test_it_stays_finite_at_concentrations_far_from_1(shape):
    task = task_of(point_of("gamma-cost", cost="log", shape=shape), NAME)
    assert all(math.isfinite(float(value)) for value in task.gradient(noise_of(task, 1000)).values())


def test_it_is_for_gamma_latents():
    refuses(NAME, setting("gaussian-vae"), "needs gamma latents; gaussian-vae has gaussian")
    refuses(NAME, setting("poisson-cost"), "needs gamma latents")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "gamma-cost", "cost": "exp", "k": 1})
