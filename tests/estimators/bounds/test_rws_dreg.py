"""The wake-phase update of q, doubly reparameterised."""

from __future__ import annotations

import pytest
import torch
from scipy.special import softmax

from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from tests.estimators.by_hand import GAUSSIAN_BOUNDS_OF_ALL, GAUSSIAN_FORWARD, Estimate, Given, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_variance, expected_gradient
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "rws-dreg"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 1, "features": 3, "batch": 1}
FACTS = Facts(
    evaluations=lambda setting: 2.0 * setting.samples,  # once for φ and once for θ
    mutants=(
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 2, "theta", TOY),
        Mutant("θ not held along the path", without(OWN, "θ along the path"), "linear-gaussian", 2, "theta", TOY),
    ),
    unbiased_groups=("theta",),
)


def by_hand(given: Given) -> Estimate:
    """Σ (w̃_l − w̃_l²) ∇ log w_l along the path (Tucker et al. 2019); θ as that of the bound."""
    z = given.q.sample(given.noise)
    here = given.at(z)
    weight = softmax(here.f, axis=1)
    path = given.q.path(z, here.dz)
    return Estimate(tuple(part.sum(1) for part in weighted(weight * (1 - weight), path)), z, weight)


@pytest.mark.parametrize("spot", [*GAUSSIAN_BOUNDS_OF_ALL, *GAUSSIAN_FORWARD], ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


PLACES = [
    ("rainforth", {"dim": 1, "perturb": 0.3}),
    ("linear-gaussian", {"latent": 1, "features": 3, "batch": 1, "start": "near"}),
]


def means(estimator, problem, parameters, samples):
    """Its exact mean and that of the weighted scores, by integration over the noise of all samples."""
    point = point_of(problem, **parameters)
    chosen = ChosenObjective("forward-kl", "monte-carlo")
    return [expected_gradient(Task(point, e, {}, samples, chosen), 36) for e in (estimator, ESTIMATORS["rws-wake-phi"])]


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize(("problem", "parameters"), PLACES)
def test_it_has_the_mean_of_the_weighted_scores(problem, parameters, samples):
    one, other = means(OWN, problem, parameters, samples)
    size = max(float(value.abs().max()) for value in other.values())
    assert (size > 0.01) == (samples > 1)
    for key, value in one.items():
        assert float((value - other[key]).abs().max()) < 1e-6 * max(size, 1e-3), key


def without_the_square(objective, q, noise):
    z = q.sample(noise)
    log_w = objective.f(z, q.held())
    return (log_w.softmax(1).detach() * log_w).sum(1).mean(-1)


@pytest.mark.parametrize(
    "mistaken",
    [mutant(OWN, without_the_square), without(OWN, "q in f"), scaled(OWN, -1.0)],
    ids=["no square", "q in f", "sign"],
)
def test_a_mistake_has_another_mean(mistaken):
    one, other = means(mistaken, *PLACES[0], 2)
    assert max(float((value - other[key]).abs().max()) for key, value in one.items()) > 0.01


@pytest.mark.parametrize("samples", [1, 3])
def test_at_the_posterior_it_is_zero_draw_by_draw(samples):
    point = point_of("linear-gaussian", latent=2, features=3, batch=2, start="posterior")
    own, plain = (task_of(point, name, samples, "monte-carlo") for name in (NAME, "rws-wake-phi"))
    noise = noise_of(own, 3)
    phi = [key for key in point.names if key.startswith("phi.")]
    assert max(float(gradients_by_loop(own, noise, 3)[key].abs().max()) for key in phi) < 1e-12
    assert max(float(gradients_by_loop(plain, noise, 3)[key].abs().max()) for key in phi) > 0.01


def test_near_the_posterior_it_has_much_less_variance():
    """Of the reweighted wake-sleep update, too, the paper says that its variance is reduced."""
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="near")
    own, plain = (task_of(point, name, 2, "monte-carlo") for name in (NAME, "rws-wake-phi"))
    assert 20 * exact_variance(own) < exact_variance(plain)


def test_one_sample_has_no_gradient_in_phi():
    point = point_of("linear-gaussian", latent=2, features=3, batch=2)
    task = task_of(point, NAME, 1, "monte-carlo")
    found = gradients_by_loop(task, noise_of(task, 2), 2)
    assert all(torch.equal(value, torch.zeros_like(value)) for key, value in found.items() if key.startswith("phi."))
