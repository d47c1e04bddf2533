"""The score function with a leave-one-out baseline."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.base import average
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from tests.estimators import measured
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import ANY, Estimate, Given, mean, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import mutant, without
from tests.exactly import exact_variance, expected_gradient
from tests.helpers import exact_reference, noise_of, point_of, task_of

NAME = "score-function-loo"
OWN = ESTIMATORS[NAME]
BITS = {"prob": 0.1, "dim": 2}
BELIEF = {"latent": 4, "batch": 2}


def with_weight(weight):
    """The score function with another weight, ``weight(f)``."""

    def surrogate(objective, q, noise):
        z = hold(q.sample(noise), "z")
        f = objective.f(z, hold(q, "q in f"))
        return average(hold(weight(f), "weight") * q.log_prob(z) + f)

    return mutant(OWN, surrogate)


INCLUDING_ITSELF = with_weight(lambda f: f - f.mean(1, keepdim=True))
FACTS = Facts(
    mutants=(
        Mutant("the mean includes the sample itself", INCLUDING_ITSELF, "bernoulli-cost", 2, "phi", BITS),
        Mutant("the mean includes the sample itself, in a model", INCLUDING_ITSELF, "sigmoid-belief", 2, "phi", BELIEF),
        Mutant(
            "sign of the baseline, and the sample itself",
            with_weight(lambda f: f + f.mean(1, keepdim=True)),
            "bernoulli-cost",
            2,
            "phi",
            BITS,
        ),
        Mutant("weight not held", without(OWN, "f - baseline"), "sigmoid-belief", 2, "theta", BELIEF),
    )
)


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ (f_l − mean of the others) ∇ log q(z_l), each sample left out in turn."""
    z = given.q.sample(given.noise)
    f = given.at(z).f
    others = np.stack([np.delete(f, index, axis=1).mean(1) for index in range(f.shape[1])], axis=1)
    return Estimate(mean(weighted(f - others, given.q.score(z)), z), z)


@pytest.mark.parametrize("spot", ANY, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_it_is_vargrad_at_any_l():
    """The φ-gradient of −½ Var(log p − log q) over the L samples (Richter et al. 2020)."""
    point = point_of("linear-gaussian", latent=2, features=3, batch=1)
    task = task_of(point, NAME, 3, "monte-carlo")
    noise = noise_of(task, 1)
    found = task.gradient(noise)
    problem = point.problem
    q = problem.posterior(Calls(problem.phi), point.x)
    z = q.sample(noise).detach()
    f = ChosenObjective("elbo", "monte-carlo").at(problem, Calls(problem.theta), point.x).f(z, q)
    loss = -0.5 * f.squeeze().var(correction=1)
    for name, value in problem.phi.named_parameters():
        expected = torch.autograd.grad(loss, value, retain_graph=True)[0]
        torch.testing.assert_close(found[f"phi.{name}"], expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("target", "prob", "samples", "variance"),
    [
        (0.45, 0.5, 2, 6.25e-4),
        (0.45, 0.1, 2, 3.69e-4),
        (0.499, 0.5, 2, 2.5e-7),
        (0.49, 0.1, 2, 1.476e-5),
        (0.49, 0.1, 4, 6.300e-6),
        (0.49, 0.1, 6, 4.056e-6),
        (0.49, 0.25, 2, 2.344e-5),
        (0.49, 0.25, 4, 7.031e-6),
        (0.49, 0.25, 6, 4.063e-6),
    ],
)
def test_the_published_variances_on_one_bit(target, prob, samples, variance):
    """To the four digits that are printed."""
    task = task_of(point_of("bernoulli-cost", target=target, prob=prob), NAME, samples)
    assert exact_variance(task, count=8) == pytest.approx(variance, rel=2e-4)


def test_dividing_by_l_without_itself_is_no_bias_but_costs_variance():
    """(Σ f − f_l)/L does not depend on z_l either: the mistake shows as variance, and only there."""
    point = point_of("bernoulli-cost", **BITS)
    short = task_of(point, with_weight(lambda f: f - (f.sum(1, keepdim=True) - f) / f.shape[1]), 2)
    exact = exact_reference(point).gradient["phi.logits"]
    torch.testing.assert_close(expected_gradient(short)["phi.logits"], exact, rtol=1e-10, atol=0)
    assert exact_variance(short) > 1.05 * exact_variance(task_of(point, NAME, 2))


def test_its_baseline_lowers_the_variance_of_a_model():
    point = point_of("sigmoid-belief", latent=2, batch=1)
    assert exact_variance(task_of(point, NAME, 2)) < 0.5 * exact_variance(task_of(point, "score-function", 2))


def test_it_needs_two_samples():
    refuses(NAME, setting("gaussian-vae", samples=1), "samples >= 2")
    accepts(NAME, setting("sigmoid-belief"))


@pytest.mark.slow
def test_measured_variances_on_one_bit(tmp_path):
    def table(target, prob):
        f, mass = [target**2, (1 - target) ** 2], [1 - prob, prob]
        return [
            (mass[a] * mass[b], 0.5 * ((f[a] - f[b]) * (a - prob) + (f[b] - f[a]) * (b - prob)))
            for a in (0, 1)
            for b in (0, 1)
        ]

    measured.one_bit(tmp_path / "run", NAME, 2, table)
