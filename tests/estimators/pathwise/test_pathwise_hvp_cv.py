"""The pathwise estimator with a Taylor model of second order as control variate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.pathwise import pathwise_hvp_cv
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import GAUSSIAN, Array, Estimate, Given
from tests.estimators.curvature import hessian, slope, with_control
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled
from tests.exactly import exact_moments, exact_variance
from tests.helpers import noise_of, point_of, task_of

NAME = "pathwise-hvp-cv"
OWN = ESTIMATORS[NAME]
LINEAR = {"latent": 2, "features": 3, "batch": 2}
COSINE = {"cost": "cos", "k": 1.0}
"""Where a variance is left, without which no test sees a bias."""


def not_centred(objective, q, noise, parameters):
    """The scale's control without the mean that it is to be less."""
    value = pathwise_hvp_cv.surrogate(objective, q, noise, parameters)
    scale, curvature = q.parameters["scale"], -np.cos(1)
    return value - (hold(curvature * scale, "mean") * scale).mean((1, 2)).sum(-1)


FACTS = Facts(
    evaluations=lambda at: at.samples + 1 + 1 + at.latent_dim,
    without_effect={"θ in the model": "its derivatives are taken at once, as numbers: no graph is left of it"},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "gaussian-cost", 1, "phi", COSINE),
        Mutant("z held", held_too(OWN, "z"), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 1, "theta", LINEAR),
        Mutant("scale's control not centred", mutant(OWN, not_centred), "gaussian-cost", 1, "phi.log_scale", COSINE),
    ),
)


def taylor(given: Given) -> tuple[Array, Array, Array]:
    """The gradient at the mean, H(s ∘ ε), and the diagonal of H."""
    h = hessian(given)
    product = np.einsum("rlbde,rlbe->rlbd", h, given.q.scale * given.noise)
    return slope(given, given.q.loc), product, np.einsum("rlbdd->rlbd", h)


def exact(given: Given) -> Estimate:
    """−H(s ∘ ε) in loc, s ∘ (diag(H) ∘ s − ε ∘ (b + H(s ∘ ε))) in the log scale."""
    b, product, diagonal = taylor(given)
    s = given.q.scale
    return with_control(given, -product, s * (diagonal * s - given.noise * (b + product)))


def other_samples(given: Given) -> Estimate:
    """The same with the mean of ε ∘ H(s ∘ ε) over the other samples in place of diag(H) ∘ s."""
    b, product, _ = taylor(given)
    own = given.noise * product
    others = np.stack([np.delete(own, sample, axis=1).mean(1) for sample in range(own.shape[1])], axis=1)
    return with_control(given, -product, given.q.scale * (others - given.noise * (b + product)))


@pytest.mark.parametrize("spot", GAUSSIAN, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, exact)


@pytest.mark.parametrize("spot", GAUSSIAN, ids=repr)
def test_the_gradient_with_a_diagonal_by_other_samples_at_fixed_noise(spot):
    spot.check(NAME, other_samples, diagonal="other-samples")


@pytest.mark.parametrize(("mean", "scale", "k"), [(1.0, 1.0, -3.0), (-2.0, 0.3, 1.0)])
def test_on_a_quadratic_it_has_no_variance(mean, scale, k):
    point = point_of("gaussian-cost", cost="quadratic", k=k, mean=mean, scale=scale, dim=2)
    assert exact_variance(task_of(point, NAME)) < 1e-25
    assert exact_variance(task_of(point, "pathwise")) > 0.1


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_on_a_linear_gaussian_model_it_has_no_variance(kl):
    """Its decoder's columns made oblique: the Hessian has entries off its diagonal."""
    point = point_of("linear-gaussian", latent=2, features=3, batch=1)
    weight = point.problem.theta.get_parameter("decoder.weight")
    weight.data = weight.data @ torch.tensor([[1.0, 0.8], [0.0, 1.0]], dtype=torch.float64)
    assert exact_variance(task_of(point, NAME, 1, kl)) < 1e-20
    assert exact_variance(task_of(point, "pathwise", 1, kl)) > 100


@pytest.mark.parametrize("k", [-3.0, 0.0, 3.0])
def test_the_log_scale_of_a_quadratic_under_a_standard_deviation_of_1(k):
    """4a² + 8 along the path, 0 with the control."""
    point = point_of("gaussian-cost", cost="quadratic", k=k)
    assert exact_variance(task_of(point, "pathwise"), "phi.log_scale") == pytest.approx(4 * (1 - k) ** 2 + 8, rel=1e-9)
    assert exact_variance(task_of(point, NAME), "phi.log_scale") < 1e-25


def test_on_a_cosine_it_is_four_times_worse_in_the_log_scale():
    """The model holds near the mean alone. In the mean it is better all the same: by sums over the noise."""
    point = point_of("gaussian-cost", cost="cos", k=1.0)
    nodes, mass = np.polynomial.hermite_e.hermegauss(80)
    mass = mass / mass.sum()
    plain = -np.sin(1 + nodes) * np.array([1 + 0 * nodes, nodes])
    model = (-np.sin(1) - np.cos(1) * nodes) * np.array([1 + 0 * nodes, nodes])

    def variance(values):
        return values**2 @ mass - (values @ mass) ** 2

    for name, values in (("pathwise", plain), (NAME, plain - model)):
        moments = exact_moments(task_of(point, name))
        found = [moments[key][1] for key in ("phi.mean", "phi.log_scale")]
        np.testing.assert_allclose(found, variance(values), rtol=1e-9)
    mean, log_scale = variance(plain - model) / variance(plain)
    assert log_scale == pytest.approx(4.0435, rel=1e-4)
    assert mean == pytest.approx(0.7676, rel=1e-4)


def test_by_other_samples_the_scale_has_a_model_of_order_one():
    """What Geffner & Domke (2020) observe: averaged over L, ε ∘ H(s ∘ ε) cancels against its own estimates."""
    point = point_of("gaussian-cost", cost="cos", k=1.0, dim=3)
    whole, plain = task_of(point, NAME, 4, diagonal="other-samples"), task_of(point, "pathwise", 4)
    noise = noise_of(plain, 1)
    assert isinstance(noise, torch.Tensor)
    away = whole.gradient(noise)["phi.log_scale"] - plain.gradient(noise)["phi.log_scale"]
    torch.testing.assert_close(away, np.sin(1) * noise.mean((0, 1, 2)), rtol=1e-10, atol=1e-12)


def test_a_diagonal_by_other_samples_is_not_that_of_one():
    at = replace(setting("gaussian-vae", samples=1), parameters=OWN.Parameters(diagonal="other-samples"))
    refuses(NAME, at, 'needs samples >= 2; use diagonal = "exact"')
    accepts(NAME, replace(at, samples=2))
    accepts(NAME, replace(at, parameters=OWN.Parameters()))


@pytest.mark.parametrize(("diagonal", "cost"), [("exact", (5, 4)), ("other-samples", (8, 8))])
def test_what_it_evaluates(diagonal, cost):
    at = replace(setting("gaussian-vae", samples=4, latent=3), parameters=OWN.Parameters(diagonal=diagonal))
    found = OWN.cost(at)
    assert (found.forward, found.gradients) == cost
