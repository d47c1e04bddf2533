"""Bounds of several samples: values, the weights that they say of themselves, exact and averaged references."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from gradbench.core.errors import MeasurementError, UsageError
from gradbench.core.seeding import stream
from gradbench.estimators.bounds import iwae_gdreg
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Objective
from gradbench.objectives.chosen import ChosenObjective
from gradbench.objectives.iwae import Iwae
from gradbench.problems.networks import Calls
from gradbench.suite.suites import Settings, resolve
from gradbench.target import monte_carlo
from gradbench.target.exact import exactly, posterior
from gradbench.target.gradients import distance, norm
from tests.estimators.asking import accepts, refuses, setting
from tests.exactly import differentiated, expected_gradient
from tests.helpers import point_of, run_grids, task_of

F64 = torch.float64
BOUNDS = [
    ("iwae", {}),
    ("miwae", {"groups": 1}),
    ("miwae", {"groups": 2}),
    ("miwae", {"groups": 6}),
    ("vr-iwae", {"alpha": 0.0}),
    ("vr-iwae", {"alpha": 0.3}),
    ("vr-iwae", {"alpha": 0.95}),
]


def chosen(name: str, **parameters) -> ChosenObjective:
    return ChosenObjective(name, "monte-carlo", OBJECTIVES[name].Parameters(**parameters))


def at(name: str, parameters: dict, problem: str = "linear-gaussian", **keys) -> Objective:
    point = point_of(problem, **keys)
    return chosen(name, **parameters).at(point.problem, Calls(point.problem.theta), point.x)


def log_weights(samples: int = 6) -> torch.Tensor:
    """[R, L, B], far enough apart for some weights to be next to nothing."""
    return 3 * torch.randn(4, samples, 2, dtype=F64, generator=stream(0, "log weights")) - 40


def same(found, expected):
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-12)


def test_their_values_are_those_of_their_definitions():
    f = log_weights()
    values = f.numpy()
    bound = logsumexp(values, axis=1) - np.log(6)
    same(at("iwae", {}).reduce(f), bound)
    same(at("miwae", {"groups": 1}).reduce(f), bound)
    pairs = [logsumexp(values[:, start : start + 2], axis=1) - np.log(2) for start in (0, 2, 4)]
    same(at("miwae", {"groups": 3}).reduce(f), np.mean(pairs, axis=0))
    same(at("miwae", {"groups": 6}).reduce(f), values.mean(1))
    same(at("vr-iwae", {"alpha": 0.0}).reduce(f), bound)
    same(at("vr-iwae", {"alpha": 0.3}).reduce(f), np.log(np.exp(0.7 * values).mean(1)) / 0.7)
    np.testing.assert_allclose(at("vr-iwae", {"alpha": 1 - 1e-7}).reduce(f), values.mean(1), rtol=1e-7)


@pytest.mark.parametrize(("name", "parameters"), BOUNDS)
def test_the_weights_that_they_say_are_derivatives_of_their_value(name, parameters):
    """Those in closed form against those by differentiation, which any objective has."""
    f, objective = log_weights(), at(name, parameters)
    weights, of_path = objective.weights(f), objective.path_weights(f)
    torch.testing.assert_close(weights, Objective.weights(objective, f), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(of_path, Objective.path_weights(objective, f), rtol=1e-10, atol=1e-13)
    torch.testing.assert_close(weights.sum(1), torch.ones(4, 2, dtype=F64), rtol=1e-12, atol=0)
    step = 1e-5 * torch.eye(6, dtype=F64)[:, None, :, None]  # one sample at a time, [6, 1, 6, 1]
    moved = [[objective.reduce(f + sign * one) for one in step] for sign in (-1, 1)]
    slope = torch.stack([(up - down) / 2e-5 for down, up in zip(*moved, strict=True)], 1)
    torch.testing.assert_close(weights, slope, rtol=1e-6, atol=1e-9)
    if name == "iwae":
        torch.testing.assert_close(of_path, weights**2, rtol=1e-12, atol=0)


def test_a_mean_weighs_all_samples_alike():
    f = log_weights()
    for objective in (at("elbo", {}), at("miwae", {"groups": 6}), at("vr-iwae", {"alpha": 1 - 1e-12})):
        for found in (objective.weights(f), objective.path_weights(f)):
            torch.testing.assert_close(found, torch.full_like(f, 1 / 6), rtol=1e-9, atol=0)


class Squared(Iwae):
    """A bound of a user's own, whose weights are not those of the class that it is made from."""

    name = "squared"
    like = "iwae"

    def reduce(self, f):
        return f.mul(2).logsumexp(1)


def test_what_belongs_to_a_reduction_is_not_inherited_with_another():
    f, given = log_weights(), at("iwae", {})
    own = Squared(given.problem, given.theta, given.x, given.kl, given.parameters)
    torch.testing.assert_close(own.weights(f), 2 * (2 * f).softmax(1), rtol=1e-10, atol=1e-13)
    squared = (2 * f).softmax(1)
    torch.testing.assert_close(own.path_weights(f), 2 * squared - 4 * (squared - squared**2), rtol=1e-9, atol=1e-12)


def test_an_objective_that_is_like_a_bound_is_not_taken_apart(monkeypatch):
    """Its f may be another than likelihood and prior, which GDReG looks at one by one."""
    monkeypatch.setattr(OBJECTIVES["miwae"], "like", "iwae")
    monkeypatch.setattr(iwae_gdreg, "BOUNDS", ("iwae",))
    refuses("iwae-gdreg", setting("linear-gaussian", "miwae", "monte-carlo"), "may have another f: use iwae-dreg")
    accepts("iwae-dreg", setting("linear-gaussian", "miwae", "monte-carlo"))


def test_the_samples_that_are_inside():
    assert [chosen("vr-iwae").inside(5), chosen("miwae").inside(6), chosen("miwae", groups=6).inside(6)] == [5, 3, 1]
    assert chosen("miwae", groups=3).why_not_samples(6) is None
    assert "samples = 4 is no multiple" in (chosen("miwae", groups=3).why_not_samples(4) or "")
    assert all(chosen(name).why_not_samples(3) is None for name in ("elbo", "iwae", "vr-iwae"))


@pytest.mark.parametrize(("problem", "latent"), [("sigmoid-belief", 2), ("linear-gaussian", 1)])
def test_the_gradient_of_several_groups_is_that_of_one(problem, latent):
    point = point_of(problem, latent=latent, batch=2)
    found, one = exactly(point, chosen("miwae"), 4), exactly(point, chosen("iwae"), 2)
    single, elbo = exactly(point, chosen("miwae", groups=4), 4), exactly(point, chosen("elbo"), 1)
    assert found is not None
    assert one is not None
    assert single is not None
    assert elbo is not None
    assert found[0] == one[0]
    assert distance(found[1], one[1]) < 1e-12 * norm(one[1])
    assert distance(single[1], elbo[1]) < 1e-9 * norm(elbo[1])
    assert distance(one[1], elbo[1]) > 0.01 * norm(elbo[1])


def test_the_gradient_of_several_groups_is_that_of_all_their_samples_enumerated():
    """Over the states of all four samples, by an estimator that knows no groups."""
    point = point_of("sigmoid-belief", latent=2, batch=1)
    objective = chosen("miwae")
    exact = exactly(point, objective, 4)
    assert exact is not None
    q, theta = posterior(point), Calls(point.problem.theta)
    bits = torch.tensor(list(itertools.product((0.0, 1.0), repeat=2)), dtype=F64)
    z = bits[torch.cartesian_prod(*[torch.arange(4)] * 4)][:, :, None]
    log_q = q.log_prob(z)
    log_w = point.problem.log_likelihood(theta, point.x, z) + point.problem.prior(theta).log_prob(z) - log_q
    bounds = [log_w[:, start : start + 2].logsumexp(1) - math.log(2) for start in (0, 2)]
    value = (log_q.sum(1).exp() * (bounds[0] + bounds[1]) / 2).sum()
    expected = differentiated(task_of(point, "iwae-score", 4, "monte-carlo"), value)
    assert distance(exact[1], expected) < 1e-10 * norm(expected)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.9])
def test_the_gradient_of_the_vr_iwae_bound_of_bits_is_a_sum_written_out(alpha):
    point = point_of("sigmoid-belief", latent=2, batch=2)
    found = exactly(point, chosen("vr-iwae", alpha=alpha), 2)
    assert found is not None
    q, theta = posterior(point), Calls(point.problem.theta)
    total = torch.zeros((), dtype=F64)
    for states in itertools.product(itertools.product((0.0, 1.0), repeat=2), repeat=2):
        z = torch.tensor(states, dtype=F64)[None, :, None, :]
        log_q = q.log_prob(z)
        w = (point.problem.log_likelihood(theta, point.x, z) + point.problem.prior(theta).log_prob(z) - log_q).exp()
        bound = (w ** (1 - alpha)).mean(1).log() / (1 - alpha)
        total = total + (log_q.sum(1).exp() * bound).mean()
    expected = differentiated(task_of(point, "iwae-score", 2, "monte-carlo"), total)
    assert found[0] == "enumeration"
    assert distance(found[1], expected) < 1e-11 * norm(expected)
    at_its_end = exactly(point, chosen("iwae"), 2)
    assert at_its_end is not None
    assert (distance(found[1], at_its_end[1]) < 1e-12 * norm(expected)) == (alpha == 0)


@pytest.mark.parametrize(("name", "samples"), [("miwae", 4), ("vr-iwae", 2)])
def test_a_monte_carlo_reference_is_of_the_bound_itself(name, samples):
    """‖mean − exact‖² has the mean tr Σ/K, and at most √2 tr Σ/K as its standard deviation; 4 of them."""
    point = point_of("linear-gaussian", latent=1, features=3, batch=2, start="near", perturb=0.3)
    truth, other = exactly(point, chosen(name), samples), exactly(point, chosen("iwae"), min(samples, 3))
    assert truth is not None
    assert other is not None
    blocks = [monte_carlo.block_gradient(point, chosen(name), samples, 512, block) for block in range(16)]
    rows = torch.stack([torch.cat([value.flatten() for value in block.values()]) for block in blocks])
    expected = torch.cat([value.flatten() for value in truth[1].values()])
    most = (1 + 4 * math.sqrt(2)) * float(rows.var(0, correction=1).sum()) / len(rows)
    assert float((rows.mean(0) - expected).square().sum()) < most
    assert distance(truth[1], other[1]) ** 2 > 4 * most, "the usual bound of so many samples would pass, too"


@pytest.mark.parametrize("name", ["iwae", "miwae", "vr-iwae"])
def test_what_a_monte_carlo_reference_averages_is_right_for_the_latents(name):
    bits, gaussian = point_of("sigmoid-belief", latent=1, batch=2), point_of("linear-gaussian", latent=1, batch=2)
    of_bits = {"iwae": "ovis-mc", "miwae": "vimco-geometric", "vr-iwae": "iwae-score"}
    assert monte_carlo.averaged(bits, chosen(name), 4, posterior(bits)).name == of_bits[name]
    assert monte_carlo.averaged(gaussian, chosen(name), 4, posterior(gaussian)).name == OBJECTIVES[name].averaged_by[0]
    if name == "miwae":  # groups of one sample leave none out
        assert monte_carlo.averaged(bits, chosen(name, groups=4), 4, posterior(bits)).name == "iwae-score"


def test_samples_that_do_not_fill_their_groups_are_refused_everywhere(tmp_path):
    grid = {
        "problem": "linear-gaussian",
        "objective": {"name": "miwae", "groups": 3},
        "samples": [3, 4],
        "estimators": ["iwae-pathwise"],
    }
    cells = resolve({"name": "t", "grid": [grid]}, "t.toml", Settings()).cells
    assert [cell.skip is None for cell in cells] == [True, False]
    assert "3 groups of one size; samples = 4 is no multiple of it: change samples or groups" in (cells[1].skip or "")
    point = point_of("linear-gaussian", latent=1, batch=2)
    with pytest.raises(UsageError, match=r"no reference: miwae.*change samples or groups"):
        exactly(point, chosen("miwae", groups=3), 4)
    with pytest.raises(MeasurementError, match="no estimator"):
        monte_carlo.block_gradient(point, chosen("miwae", groups=3), 4, 4, 0)
    outcome = run_grids(tmp_path, grid | {"latent": 1, "features": 3, "batch": 2}, replicates=256)
    assert outcome.exit_code == 0
    assert set(outcome.run.frame.status) == {"ok", "skipped"}


def test_groups_and_alpha_are_axes_of_a_grid(tmp_path):
    toy = {"problem": "linear-gaussian", "latent": 1, "features": 3, "batch": 1, "perturb": 0.3, "start": "near"}
    outcome = run_grids(
        tmp_path,
        toy | {"objective": {"name": "miwae", "groups": [1, 2]}, "samples": 2, "estimators": ["iwae-dreg"]},
        toy | {"objective": {"name": "vr-iwae", "alpha": [0.0, 0.5]}, "samples": 2, "estimators": ["vr-iwae-drep"]},
    )
    rows = outcome.run.ok()
    rows = rows[rows.group == "phi"].set_index(["objective", "objective_params"])
    assert set(rows.reference) == {"quadrature", "closed-form"}
    assert set(rows.verdict) <= {"unbiased", "unresolved"}
    norms = rows.gradient_norm
    assert norms["miwae", '{"groups":1}'] == pytest.approx(norms["vr-iwae", '{"alpha":0.0}'], rel=1e-9)
    elbo = exactly(point_of(**toy), chosen("elbo"), 1)
    assert elbo is not None
    assert norms["miwae", "{}"] == pytest.approx(
        norm({name: value for name, value in elbo[1].items() if name.startswith("phi")}), rel=1e-9
    )
    assert len(set(np.round(norms, 6))) == 3


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_mean_of_an_estimate_knows_its_groups(groups):
    """Integrated over the draws of bits: the estimators that are told of a bound only by `reduce` and `in_groups`."""
    point = point_of("sigmoid-belief", latent=1, batch=1)
    exact = exactly(point, chosen("miwae", groups=groups), 4)
    assert exact is not None
    names = ["iwae-score"] + (["vimco-arithmetic", "vimco-geometric"] if groups < 4 else [])
    for name in names:
        task = task_of(point, name, 4, "monte-carlo")
        found = expected_gradient(type(task)(point, task.estimator, {}, 4, chosen("miwae", groups=groups)))
        assert distance(found, exact[1]) < 1e-9 * norm(exact[1]), name


def test_cells_of_another_bound_have_another_target():
    grid = {"problem": "linear-gaussian", "estimators": ["iwae-pathwise"], "samples": [4, 8]}
    bounds = {"objective": ["iwae", {"name": "miwae", "groups": [2, 4]}]}
    cells = resolve({"name": "t", "grid": [grid | bounds]}, "t.toml", Settings()).cells
    assert len({cell.target() for cell in cells}) == len(cells) == 6
