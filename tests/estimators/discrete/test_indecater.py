"""IndeCateR."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradbench.engine.general import replicate_gradients
from gradbench.estimators import ESTIMATORS
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given, array
from tests.estimators.categories import costs_of
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_moments, exact_variance, nodes_of
from tests.exactly import integrated as everything
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "indecater"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 3, "batch": 2}
CATEGORIES = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}
MOST = 2**15
"""States of all draws that are summed over at most."""


def evaluations(where) -> float:
    """Every value of every variable."""
    return where.samples * where.latent_dim * round(where.states ** (1 / where.latent_dim))


def integrated(task):
    """All tuples of states of the samples for all variables, of one datapoint. Raises LookupError for too many."""
    mass, noise = nodes_of(task.held_q, 8)
    variables = task.held_q.event[0]
    draws, size = task.samples * variables, mass.shape[1]
    if mass.shape[2] > 1 or size**draws > MOST:
        raise LookupError("too many states to sum over")
    chosen = torch.cartesian_prod(*[torch.arange(size)] * draws).reshape(-1, draws)
    rows = noise[0, :, 0][chosen].unsqueeze(2)
    weights = mass[0, :, 0][chosen].prod(1)
    return weights, {"first": rows[:, : task.samples], "others": rows[:, task.samples :]}


def mean_only(task):
    """The same states for all samples: the estimate is a sum over them. Of one datapoint."""
    mass, noise = nodes_of(task.held_q, 8)
    first = noise[0].unsqueeze(1).expand(-1, task.samples, *noise.shape[2:])
    others = noise[0].unsqueeze(1).expand(-1, task.samples * (task.held_q.event[0] - 1), *noise.shape[2:])
    return mass[0, :, 0], {"first": first, "others": others}


FACTS = Facts(
    evaluations=evaluations,
    integrated=integrated,
    mean_only=mean_only,
    without_effect={
        "z": "a comparison has no gradient",
        "θ in f at neighbours": "these evaluations are numbers: this keeps θ out of them before they are",
        "θ in f of the others": "these evaluations are numbers: this keeps θ out of them before they are",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "weight"), "categorical-vae", 2, "theta", CATEGORIES),
        Mutant("probabilities held", held_too(OWN, "q of each value"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Bit by bit, p (1 − p) (f with the bit 1 − f with it 0), around the bit's own samples; θ sees the first's."""
    assert isinstance(given.q, Bits)
    z = given.q.sample(given.noise["first"])
    every = np.concatenate([z, given.q.sample(given.noise["others"])], 1)
    samples, columns = z.shape[1], []
    for index in range(z.shape[-1]):
        one = every[:, index * samples : (index + 1) * samples].copy()
        zero = one.copy()
        one[..., index], zero[..., index] = 1, 0
        columns.append(given.at(one).f - given.at(zero).f)
    return Estimate(((given.q.p * (1 - given.q.p) * np.stack(columns, -1)).mean(1),), z)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_the_gradient_at_fixed_noise_of_categories():
    """Σ_c ∇p_c f(z with category c in the place of the variable's own), each variable with samples of its own."""
    costs = costs_of(NAME, 2)
    noise = noise_of(costs.task, 4)
    around = [costs.sample(array(noise[name])[:, :, 0]) for name in ("first", "others")]
    expected = np.empty((4, 2, 2, 3))
    for variable in range(2):
        f = np.empty((4, 2, 3))
        for category in range(3):
            moved = around[variable].copy()
            moved[:, :, variable] = np.eye(3)[category]
            f[..., category] = costs.f(moved)
        expected[:, :, variable] = costs.derivative(variable, f)
    found = array(gradients_by_loop(costs.task, noise, 4)["phi.logits"])
    np.testing.assert_allclose(found, expected.mean(1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [
        ("bernoulli-cost", {"prob": 0.2}),
        ("bernoulli-cost", {"prob": 0.2, "dim": 3}),
        ("categorical-cost", {"variables": 1, "categories": 5}),
        ("categorical-cost", {"variables": 3, "categories": 3, "cost": "additive"}),
        ("tied-bits", {"logit": -1.0}),
    ],
    ids=["one bit", "a sum over bits", "one variable", "a sum over variables", "tied bits as one variable"],
)
def test_it_has_no_variance_where_a_variable_is_all_that_matters(problem, parameters):
    task = task_of(point_of(problem, **parameters), NAME)
    rows = gradients_by_loop(task, noise_of(task, 20), 20)
    assert sum(float(value.var(0).sum()) for value in rows.values()) < 1e-25


def test_its_variance_in_logits_is_that_of_local_expectation():
    """The trace over variables, each of which has L samples around it, shared or not."""
    for samples in (1, 2):
        point = point_of("categorical-cost", variables=2, categories=3, power=3.0)
        own, shared = (exact_variance(task_of(point, name, samples)) for name in (NAME, "local-expectation"))
        assert own == pytest.approx(shared, rel=1e-9)


def test_its_variables_are_independent():
    """Behind a network that all bits share there is no covariance between them, which local-expectation has."""
    point = point_of("sigmoid-belief", latent=3, batch=1)
    found = {}
    for name in (NAME, "local-expectation"):
        task = task_of(point, name)
        weights, noise = everything(task)
        rows = replicate_gradients(task, noise, len(weights))["phi.encoder.output.bias"]
        away = rows - weights @ rows
        found[name] = (weights[:, None, None] * away[:, :, None] * away[:, None]).sum(0)
    own, shared = found[NAME], found["local-expectation"]
    torch.testing.assert_close(own.diagonal(), shared.diagonal())
    assert float((own - own.diagonal().diag()).abs().max()) < 1e-10 * float(own.diagonal().max())
    assert float((shared - shared.diagonal().diag()).abs().max()) > 0.1 * float(shared.diagonal().max())


def test_the_mean_is_the_exact_gradient():
    point = point_of("categorical-cost", variables=2, categories=3, power=3.0)
    own, exact = (exact_moments(task_of(point, name))["phi.logits"] for name in (NAME, "exact"))
    torch.testing.assert_close(own[0], exact[0])


def test_theta_sees_what_the_plain_estimator_sees():
    point = point_of("sigmoid-belief", latent=3, batch=2)
    own, plain = (task_of(point, name, 2) for name in (NAME, "score-function"))
    noise = noise_of(own, 3)
    assert torch.equal(noise["first"], noise_of(plain, 3))
    found, expected = gradients_by_loop(own, noise, 3), gradients_by_loop(plain, noise["first"], 3)
    for key in found:
        if key.startswith("theta."):
            assert torch.equal(found[key], expected[key])


def test_it_needs_one_layer_of_values_that_can_be_listed():
    refuses(NAME, setting("gaussian-vae"), "values that can be listed")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
