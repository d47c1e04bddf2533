"""Local expectation gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradbench.engine.general import replicate_gradients
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.parts import neighbours
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Bits, Estimate, Given, array
from tests.estimators.categories import costs_of
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_moments, exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "local-expectation"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
CATEGORIES = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}


def evaluations(where) -> float:
    """One at z, and one for each other value of each variable."""
    values = round(where.states ** (1 / where.latent_dim))
    return where.samples * (1 + where.latent_dim * (values - 1))


FACTS = Facts(
    evaluations=evaluations,
    without_effect={
        "z": "a comparison has no gradient",
        "θ in f at neighbours": "the weight is held as a whole; this keeps those evaluations out of θ's graph",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "weight"), "categorical-vae", 2, "theta", CATEGORIES),
        Mutant("probabilities held", held_too(OWN, "q of each value"), "sigmoid-belief", 2, "phi", BELIEF),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Bit by bit: p (1 − p) (f with the bit 1 − f with it 0)."""
    assert isinstance(given.q, Bits)
    z = given.q.sample(given.noise)
    columns = []
    for index in range(z.shape[-1]):
        one, zero = z.copy(), z.copy()
        one[..., index], zero[..., index] = 1, 0
        columns.append(given.at(one).f - given.at(zero).f)
    return Estimate(((given.q.p * (1 - given.q.p) * np.stack(columns, -1)).mean(1),), z)


@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_the_gradient_at_fixed_noise_of_categories():
    """Σ_c ∇p_c f(z with category c in the place of the variable's own)."""
    costs = costs_of(NAME, 2)
    noise = noise_of(costs.task, 4)
    z = costs.sample(array(noise)[:, :, 0])
    expected = np.empty((4, 2, 2, 3))
    for variable in range(2):
        f = np.empty((4, 2, 3))
        for category in range(3):
            moved = z.copy()
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
    point = point_of(problem, **parameters)
    assert exact_variance(task_of(point, NAME)) < 1e-25
    assert exact_variance(task_of(point, "score-function")) > 1e-6


def test_it_is_the_measure_valued_gradient_on_bits():
    """The bit 1 against the bit 0, around the same sample: draw by draw."""
    point = point_of("sigmoid-belief", latent=3, batch=2)
    tasks = [task_of(point, name, 2, "monte-carlo") for name in (NAME, "measure-valued")]
    noise = noise_of(tasks[0], 3)
    found, expected = (
        gradients_by_loop(task, part, 3) for task, part in zip(tasks, (noise, {"z": noise}), strict=True)
    )
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-12)


def test_it_is_the_mean_of_the_score_function_given_the_other_variables():
    """So that it never varies more, in the logits of a coupled cost."""
    point = point_of("categorical-cost", variables=2, categories=3, power=3.0)
    own, score, weak = (exact_moments(task_of(point, name))["phi.logits"] for name in (NAME, "score-function", "exact"))
    torch.testing.assert_close(own[0], weak[0])
    assert own[1] < score[1]


def test_theta_sees_what_the_plain_estimator_sees():
    point = point_of("sigmoid-belief", latent=3, batch=2)
    tasks = [task_of(point, name, 2) for name in (NAME, "score-function")]
    noise = noise_of(tasks[0], 3)
    found, expected = (gradients_by_loop(task, noise, 3) for task in tasks)
    for key in found:
        if key.startswith("theta."):
            assert torch.equal(found[key], expected[key])


def test_neighbours_are_evaluated_a_few_at_a_time(monkeypatch):
    """How many together changes nothing but the rounding, and a pass never holds more than that."""
    task = task_of(point_of("sigmoid-belief", latent=5, batch=2), NAME, 2)
    noise = noise_of(task, 3)
    whole = task.gradient(noise)
    rows, plain = [], type(task.point.problem).log_likelihood

    def watched(self, theta, x, z):
        rows.append(z.shape[0] * z.shape[1] * z.shape[2])
        return plain(self, theta, x, z)

    monkeypatch.setattr(type(task.point.problem), "log_likelihood", watched)
    monkeypatch.setattr(neighbours, "ROWS", 24)
    some = task.gradient(noise)
    assert rows == [12, 24, 24, 12]
    for key, value in some.items():
        torch.testing.assert_close(value, whole[key], rtol=1e-10, atol=1e-13)


def test_it_needs_one_layer_of_values_that_can_be_listed():
    refuses(NAME, setting("gaussian-vae"), "values that can be listed")
    refuses(NAME, setting("poisson-cost"), "values that can be listed")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")


@pytest.mark.slow
def test_the_variance_on_a_trained_network_by_enumeration():
    """Eight bits, four digits, after 200 steps of training, L = 2: that of the score function is 3220.09."""
    point = point_of("sigmoid-belief", data="digits", latent=8, batch=4, train_steps=200)
    found = {}
    for name in (NAME, "score-function"):
        task, total = task_of(point, name), 0.0
        for datapoint in range(4):
            one = task.datapoints(slice(datapoint, datapoint + 1))
            states, mass = one.held_q.states().all()
            p = one.held_q.mean()
            noise = torch.where(states == 1, p / 2, (1 + p) / 2).transpose(0, 1)
            for key, rows in replicate_gradients(one, noise, len(noise)).items():
                if key.startswith("phi."):
                    away = rows.flatten(1) - mass[0, :, 0] @ rows.flatten(1)
                    total += float(mass[0, :, 0] @ away.square().sum(1)) / 4**2
        found[name] = total / 2
    assert found["score-function"] == pytest.approx(3220.09, rel=1e-5)
    assert found[NAME] == pytest.approx(0.026953, rel=1e-4)
