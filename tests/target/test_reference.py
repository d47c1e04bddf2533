import dataclasses
import math

import numpy as np
import pytest
import torch

from gradbench.families.base import states_of
from gradbench.problems.networks import Calls
from gradbench.target import exact, whole_data
from tests.helpers import by_nodes, case, monte_carlo_at, objective_of, over_data, point_of, reference_of_point


def flat(gradient) -> np.ndarray:
    return np.concatenate([value.flatten().numpy() for value in gradient.values()])


def close(a, b, rtol: float) -> bool:
    a, b = flat(a), flat(b)
    return float(np.linalg.norm(a - b)) <= rtol * float(np.linalg.norm(b))


GAUSSIAN = [
    case("quadratic", "gaussian-cost", cost="quadratic", k=-3.0, scale=0.7, dim=2),
    case("exp", "gaussian-cost", cost="exp", k=0.4, mean=-0.3),
    case("cos", "gaussian-cost", cost="cos", k=1.7, mean=0.3, scale=1.2, dim=2),
    case("linear-1", "linear-gaussian", latent=1, features=4, batch=3),
    case("linear-2", "linear-gaussian", latent=2, features=4, batch=3, start="near"),
]


@pytest.mark.parametrize("one", GAUSSIAN, ids=lambda one: one.label)
def test_quadrature_agrees_with_the_closed_form(one):
    point = one.point()
    found = reference_of_point(point, 64, 8)
    assert found.kind == "closed-form"
    quadrature = by_nodes(point)
    assert quadrature is not None
    assert close(quadrature, found.gradient, 1e-9)


@pytest.mark.parametrize("dim", [1, 4])
def test_enumeration_agrees_with_the_closed_form(dim):
    point = point_of("bernoulli-cost", target=0.3, prob=0.2, dim=dim)
    found = reference_of_point(point, 64, 8)
    assert found.kind == "closed-form"
    assert close(exact._summed(point, objective_of(point), states_of, 1), found.gradient, 1e-11)
    np.testing.assert_allclose(flat(found.gradient), 0.2 * 0.8 * (0.49 - 0.09) / dim, rtol=1e-12)


@pytest.mark.parametrize(
    "one",
    [
        case("gaussian-cost", "gaussian-cost", cost="cos", k=1.0),
        case("linear", "linear-gaussian", latent=2, features=4, batch=3),
        case("vae", "gaussian-vae", hidden=4, latent=2, batch=3),
        case("belief", "sigmoid-belief", latent=4, batch=3),
    ],
    ids=lambda one: one.label,
)
def test_monte_carlo_agrees_with_the_exact_reference_within_its_own_error(one):
    point = one.point()
    truth = flat(reference_of_point(point, 64, 8).gradient)
    blocks = 16
    found = monte_carlo_at(point, 512, blocks)
    assert found.blocks is not None
    rows = np.concatenate([value.flatten(1).numpy() for value in found.blocks.values()], axis=1)
    assert rows.shape == (blocks, len(truth))
    np.testing.assert_allclose(rows.mean(0), flat(found.gradient), rtol=1e-10, atol=1e-14)
    # ‖mean − exact‖² has the mean tr Σ/K, and at most √2 tr Σ/K as its standard deviation
    trace = rows.var(0, ddof=1).sum() / blocks
    assert float(np.square(rows.mean(0) - truth).sum()) < (1 + 4 * math.sqrt(2)) * trace
    assert trace > 0
    assert not found.exact


def test_the_closed_form_of_the_linear_gaussian_model_is_that_of_dense_algebra():
    """E_q[log p(x|z)] and KL by traces and log-determinants of full matrices, differentiated by central differences."""
    point = point_of("linear-gaussian", latent=3, features=5, batch=4, noise=0.7, start="near")
    names = list(point.names)
    values = {name: p.detach().numpy().copy() for name, p in point.problem.named_parameters().items()}
    x = point.x.squeeze().numpy()

    def elbo(p: dict) -> float:
        weight, bias = p["theta.decoder.weight"], p["theta.decoder.bias"]
        covariance = np.diag(np.exp(2 * p["phi.log_scale"]))
        precision = np.eye(5) / 0.49
        total = 0.0
        for row in x:
            mean = p["phi.encoder.weight"] @ row + p["phi.encoder.bias"]
            away = row - weight @ mean - bias
            fit = -0.5 * (away @ precision @ away + np.trace(precision @ weight @ covariance @ weight.T))
            fit -= 0.5 * np.linalg.slogdet(2 * np.pi * 0.49 * np.eye(5))[1]
            kl = 0.5 * (np.trace(covariance) + mean @ mean - 3 - np.linalg.slogdet(covariance)[1])
            total += fit - kl
        return total / len(x)

    exact = reference_of_point(point, 64, 8).gradient
    value = point.problem.closed_form(Calls(point.problem.phi), Calls(point.problem.theta), point.x)
    assert value is not None
    assert value.detach().item() == pytest.approx(elbo(values), rel=1e-12)
    step = 1e-5
    for name in names:
        for index in np.ndindex(values[name].shape):
            sides = []
            for sign in (1, -1):
                moved = {key: array.copy() for key, array in values.items()}
                moved[name][index] += sign * step
                sides.append(elbo(moved))
            # the error of a central difference: step² × third derivative, and rounding / step
            assert float(exact[name][index]) == pytest.approx((sides[0] - sides[1]) / (2 * step), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize(
    ("one", "kind"),
    [
        (case("a", "gaussian-cost", cost="cos"), "closed-form"),
        (case("b", "gaussian-vae", hidden=4, latent=2, batch=2), "quadrature"),
        (case("c", "gaussian-vae", hidden=4, latent=4, batch=2), "monte-carlo"),
        (case("d", "sigmoid-belief", latent=5, batch=2), "enumeration"),
        (case("e", "sigmoid-belief", latent=13, batch=1), "monte-carlo"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.problem,
)
def test_the_first_reference_that_exists_is_chosen(one, kind):
    found = reference_of_point(one.point(), 32, 4)
    assert found.kind == kind
    assert found.exact == (kind != "monte-carlo")
    assert all(value.dtype == torch.float64 for value in found.gradient.values())


def test_quadrature_that_does_not_settle_is_no_reference():
    # cos(60 x) under a unit normal turns faster than the nodes can follow
    point = point_of("gaussian-cost", cost="cos", k=60.0, scale=3.0)
    assert by_nodes(point) is None


def test_quadrature_serves_two_latents_far_from_training(monkeypatch):
    """A wide q makes tanh networks hard to integrate: twice the nodes must confirm what was accepted."""
    point = point_of("gaussian-vae", hidden=4, latent=2, batch=2, seed=1)
    found = reference_of_point(point, 64, 8)
    assert found.kind == "quadrature"
    monkeypatch.setattr(exact, "QUADRATURE_NODES", (256, 256, 256))
    finer = by_nodes(point)
    assert finer is not None
    assert close(found.gradient, finer, 1e-6)


def test_pieces_add_up_to_the_whole(monkeypatch):
    point = point_of("sigmoid-belief", latent=5, batch=3)
    whole = reference_of_point(point, 64, 8).gradient
    monkeypatch.setattr(exact, "EVALUATIONS_AT_ONCE", 3 * 7)
    assert close(reference_of_point(point, 64, 8).gradient, whole, 1e-13)


def test_the_reference_does_not_depend_on_the_precision_of_the_cell():
    """It is taken at the values that the float32 cell has, in float64."""
    point = point_of("sigmoid-belief", latent=4, batch=3, dtype=torch.float32)
    assert close(
        reference_of_point(point, 64, 8).gradient, reference_of_point(point.to(torch.float64), 64, 8).gradient, 0
    )


def test_a_monte_carlo_reference_is_the_same_every_time():
    point = point_of("gaussian-vae", hidden=3, latent=4, batch=2)
    first, again = (reference_of_point(point, 32, 4).gradient for _ in range(2))
    assert close(first, again, 0)


# Over a whole data set


OVER_DATA = [
    case("linear", "linear-gaussian", latent=2, features=4, batch=3),
    case("belief", "sigmoid-belief", latent=2, batch=3),
]


@pytest.mark.parametrize("one", OVER_DATA, ids=lambda one: one.label)
def test_the_gradient_over_the_data_is_that_of_one_large_minibatch(one):
    point = one.point()
    found = over_data(point, 64, 4).upto(4)
    assert found.exact
    assert close(found.gradient, reference_of_point(point.at(slice(None)), 64, 4).gradient, 1e-11)
    assert found.minibatches is not None
    for block in range(4):
        own = {name: value[block] for name, value in found.minibatches.items()}
        assert close(own, reference_of_point(point.minibatch(block), 64, 4).gradient, 1e-12)


@pytest.mark.parametrize("one", OVER_DATA, ids=lambda one: one.label)
def test_a_monte_carlo_gradient_over_the_data_agrees_within_its_own_error(one, monkeypatch):
    point = one.point()
    exact = over_data(point, 512, 16).upto(16)
    monkeypatch.setattr(whole_data, "exactly", lambda *given, **keys: None)
    found = over_data(point, 512, 16).upto(16)
    assert found.kind == "monte-carlo"
    for mine, truth in (
        (found.blocks, flat(exact.gradient)),
        # at its own minibatch each block is off by its own draws alone
        ({n: v - exact.minibatches[n] for n, v in found.minibatches.items()}, np.zeros_like(flat(exact.gradient))),
    ):
        rows = np.concatenate([value.flatten(1).numpy() for value in mine.values()], axis=1)
        trace = rows.var(0, ddof=1).sum() / 16
        assert float(np.square(rows.mean(0) - truth).sum()) < (1 + 4 * math.sqrt(2)) * trace


def test_a_bound_over_the_data_agrees_within_its_own_error():
    """One latent and two samples: quadrature of the same bound, at each of 40 datapoints."""
    point = point_of("linear-gaussian", latent=1, features=3, batch=4)
    point = dataclasses.replace(point, rows=point.rows[:40])
    truth = whole_data._exact_over_data(point, objective_of(point, 2), 2, lambda share: None)
    assert truth is not None
    assert truth[0] == "quadrature"
    whole = [over_data(point, 64 * 16, 16, 2)._whole_block(block) for block in range(16)]
    rows = np.stack([flat(one) for one in whole])
    trace = rows.var(0, ddof=1).sum() / 16
    assert float(np.square(rows.mean(0) - flat(truth[1])).sum()) < (1 + 4 * math.sqrt(2)) * trace


def test_an_exact_gradient_that_takes_too_long_is_estimated(monkeypatch):
    point = point_of("sigmoid-belief", latent=4, batch=3)
    monkeypatch.setattr(whole_data, "EXACT_EVALUATIONS", 16 * 1797 - 1)
    found = over_data(point, 32, 4).upto(4)
    assert found.kind == "monte-carlo"
    assert found.minibatches is not None
    # at a minibatch there are few states to sum over
    own = {name: value[2] for name, value in found.minibatches.items()}
    assert close(own, reference_of_point(point.minibatch(2), 32, 4).gradient, 1e-12)
    monkeypatch.setattr(whole_data, "EXACT_EVALUATIONS", 16 * 1797)
    assert over_data(point, 32, 4).upto(4).kind == "enumeration"


@pytest.mark.parametrize("kind", ["closed-form", "monte-carlo"])
def test_blocks_that_are_added_are_those_of_a_longer_reference(kind, monkeypatch):
    point = point_of("linear-gaussian", latent=2, features=4, batch=3)
    if kind == "monte-carlo":
        monkeypatch.setattr(whole_data, "exactly", lambda *given, **keys: None)
    long = over_data(point, 48, 6).upto(6)
    growing = over_data(point, 32, 4)
    growing.upto(4)
    short = growing.upto(6)
    assert short.kind == long.kind == kind
    assert long.minibatches is not None
    assert short.minibatches is not None
    assert close(short.gradient, long.gradient, 0)
    assert close(short.minibatches, long.minibatches, 0)
    growing = over_data(point, 32, 4, budget=1)
    growing.upto(4)
    spilled = growing.upto(6)
    assert close(spilled.gradient, long.gradient, 0)
    assert spilled.minibatches is not None
    assert close(spilled.minibatches, long.minibatches, 0)


def test_progress_over_the_data_adds_up_to_the_whole():
    told = []
    over_data(point_of("sigmoid-belief", latent=2, batch=3), 32, 4, tick=told.append).upto(4)
    assert sum(told) == pytest.approx(1)
    assert len(told) > 8
