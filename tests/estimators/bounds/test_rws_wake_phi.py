"""The wake-phase update of q."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from gradbench.target import reference
from tests.estimators.by_hand import BOUNDS_OF_ALL, FORWARD, Estimate, Given, weighted
from tests.estimators.enumerated import all_bits
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import differentiated, expected_gradient
from tests.helpers import point_of, task_of

NAME = "rws-wake-phi"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 1, "features": 3, "batch": 1}
BOUND = ChosenObjective("iwae", "monte-carlo")
DIVERGENCE = ChosenObjective("forward-kl", "monte-carlo")
FACTS = Facts(
    summed_elsewhere={
        # a prior that is drawn from the last layer to the first has no grid, and the objective no reference
        (
            "gaussian in layers",
            "forward-kl",
            "monte-carlo",
        ): "the bound's, and the gradient at fixed noise, in test_layered",
    },
    mutants=(
        Mutant("weights not held", without(OWN, "weights"), "linear-gaussian", 2, "theta", TOY),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 2, "theta", TOY),
    ),
    unbiased_groups=("theta",),
)


def by_hand(given: Given) -> Estimate:
    """Σ w̃_l ∇ log q(z_l) (Bornschein & Bengio 2015); θ as that of the bound."""
    z = given.q.sample(given.noise)
    weight = softmax(given.at(z).f, axis=1)
    return Estimate(tuple(part.sum(1) for part in weighted(weight, given.q.score(z))), z, weight)


@pytest.mark.parametrize("spot", [*BOUNDS_OF_ALL, *FORWARD], ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def away(estimator, samples: int) -> dict[str, np.ndarray]:
    """The exact bias for the forward KL, over all draws of one bit."""
    point = point_of("sigmoid-belief", latent=1, batch=1)
    exact = reference.compute(point, DIVERGENCE, samples, 64, 8)
    assert exact.kind == "enumeration"
    task = Task(point, estimator, {}, samples, DIVERGENCE)
    weights, noise = all_bits(task, samples)
    problem = task.point.problem
    found = differentiated(task, weights @ task.values(noise, Calls(problem.phi), Calls(problem.theta)))
    return {name: (value - exact.gradient[name]).numpy() for name, value in found.items()}


def size(found: dict[str, np.ndarray]) -> float:
    """The norm over all parameters."""
    return float(np.linalg.norm(np.concatenate([value.ravel() for value in found.values()])))


def test_its_bias_for_the_forward_kl_falls_as_one_over_the_samples():
    """L times the bias settles: by enumeration of up to 2^14 draws."""
    one, two = (samples * size(away(OWN, samples)) for samples in (7, 14))
    assert one > 0.01
    assert two == pytest.approx(one, rel=0.03)


@pytest.mark.parametrize(
    "mistaken",
    [scaled(OWN, -1.0), scaled(OWN, 0.5), held_too(OWN, "log q"), without(OWN, "q in f")],
    ids=["sign flipped", "half of it", "log q held", "q in f not held"],
)
def test_a_mistake_is_no_consistent_estimator(mistaken):
    right, wrong = ([size(away(estimator, samples)) for samples in (4, 8)] for estimator in (OWN, mistaken))
    assert right[1] < 0.55 * right[0]
    assert wrong[1] > 0.8 * wrong[0]


def test_with_one_sample_its_mean_is_zero():
    task = task_of(point_of("linear-gaussian", latent=1, features=3, batch=1, start="near"), NAME, 1, "monte-carlo")
    found = expected_gradient(task)
    assert all(float(value.abs().max()) < 1e-10 for key, value in found.items() if key.startswith("phi."))


@pytest.mark.parametrize("samples", [2, 3])
def test_for_the_bound_it_is_another_gradient_of_phi_and_the_same_of_theta(samples):
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="near", perturb=0.3)
    own, bound = (Task(point, ESTIMATORS[n], {}, samples, BOUND) for n in (NAME, "iwae-score"))
    one, other = expected_gradient(own), expected_gradient(bound)
    largest = max(float(value.abs().max()) for key, value in other.items() if key.startswith("phi."))
    for key, value in one.items():
        if key.startswith("theta."):
            torch.testing.assert_close(value, other[key], rtol=1e-7, atol=1e-8)
    assert (
        max(float((value - other[key]).abs().max()) for key, value in one.items() if key.startswith("phi."))
        > 0.1 * largest
    )
