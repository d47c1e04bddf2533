"""The forward KL: its exact gradient against closed forms and sums written out, and what is refused of it."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from gradbench.checking.objective import check_objective
from gradbench.core.errors import MeasurementError, SuiteError, UsageError
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.objectives.forward_kl import ForwardKl
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from gradbench.runner import runs
from gradbench.suite.suites import Settings, resolve
from gradbench.target import monte_carlo, over_posterior, reference
from gradbench.target.exact import exactly
from gradbench.target.points import Point
from tests.helpers import ok_rows, point_of, run_grids

CHOSEN = ChosenObjective("forward-kl", "monte-carlo")
SBN = {"problem": "sigmoid-belief", "latent": 3, "batch": 2, "objective": "forward-kl"}


def linear_gaussian(noise: float = 0.6, away: float = 0.0, **parameters) -> Point:
    """A linear Gaussian model whose q is moved so far from where it starts."""
    point = point_of("linear-gaussian", features=3, batch=2, noise=noise, **{"latent": 2, **parameters})
    with torch.no_grad():
        point.problem.phi.get_parameter("encoder.bias").add_(away)
    return point


def in_closed_form(point: Point) -> dict[str, np.ndarray]:
    """The posterior is N(m, S): E[log q] has slopes (m − μ) / σ² in μ and (S_dd + (m − μ)²) / σ² − 1 in log σ."""
    p = {key: value.detach().numpy() for key, value in point.problem.named_parameters().items()}
    assert point.x is not None
    x, noise = point.x[0, 0].numpy(), point.axes.parameters.noise
    decoder = p["theta.decoder.weight"]
    spread = np.linalg.inv(np.eye(decoder.shape[1]) + decoder.T @ decoder / noise**2)
    mean = (x - p["theta.decoder.bias"]) @ decoder @ spread / noise**2
    away = mean - (x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"])
    variance = np.exp(2 * p["phi.log_scale"])
    loc = away / variance
    return {
        "phi.encoder.weight": loc.T @ x / len(x),
        "phi.encoder.bias": loc.mean(0),
        "phi.log_scale": ((np.diag(spread) + away**2) / variance - 1).mean(0),
    }


def agrees(found: dict[str, torch.Tensor], expected: dict[str, np.ndarray], tolerance: float) -> None:
    assert set(found) == set(expected)
    size = max(float(np.abs(value).max()) for value in expected.values())
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance * size, err_msg=name)


@pytest.mark.parametrize("away", [0.0, 3.0, 40.0])
@pytest.mark.parametrize("noise", [0.6, 0.15])
def test_the_exact_gradient_of_a_linear_gaussian_model_is_the_closed_form(noise, away):
    """Wherever q is: the grid is the prior's."""
    point = linear_gaussian(noise, away)
    found = reference.compute(point, CHOSEN, 4, 64, 8)
    assert found.kind == "quadrature"
    agrees(found.gradient, in_closed_form(point), 1e-9)


def test_where_q_is_the_posterior_the_gradient_is_zero_and_is_found():
    point = point_of("linear-gaussian", latent=2, features=3, batch=2, start="posterior")
    found = reference.compute(point, CHOSEN, 4, 64, 8)
    assert found.kind == "quadrature"
    assert all(float(value.abs().max()) < 1e-12 for value in found.gradient.values())


@pytest.mark.parametrize("layers", [1, 2])
def test_the_exact_gradient_of_a_sigmoid_belief_network_is_the_sum_over_states(layers):
    point = point_of("sigmoid-belief", latent=2, batch=2, stochastic_layers=layers)
    problem, x = point.problem, point.x
    q, theta = problem.posterior(Calls(problem.phi), x), Calls(problem.theta)
    assert x is not None
    terms = []
    for bits in itertools.product((0.0, 1.0), repeat=2 * layers):
        z = torch.tensor(bits, dtype=torch.float64)[None, None, None].expand(1, 1, 2, -1)
        joint = problem.log_likelihood(theta, x, z) + problem.prior(theta).log_prob(z)
        terms.append((joint[0, 0].exp().detach(), q.log_prob(z)[0, 0]))
    total = sum(joint for joint, _ in terms)
    value = sum((joint / total * log_q).mean() for joint, log_q in terms)
    assert isinstance(value, torch.Tensor)
    names = {f"phi.{name}": value for name, value in problem.phi.named_parameters()}
    gradient = torch.autograd.grad(value, list(names.values()))
    found = reference.compute(point, CHOSEN, 4, 64, 8)
    assert found.kind == "enumeration"
    agrees(found.gradient, {n: g.numpy() for n, g in zip(names, gradient, strict=True)}, 1e-12)


def test_pieces_and_halves_add_up_to_the_whole():
    point = point_of("sigmoid-belief", latent=4, batch=2).under(CHOSEN)
    support = point.problem.posterior(Calls(point.problem.phi), point.x).states()
    assert support is not None
    one, other = (over_posterior.summed(point, CHOSEN, support, None, at_once) for at_once in (2**16, 6))
    assert one is not None
    assert other is not None
    for name, value in one.gradient.items():
        torch.testing.assert_close(value, other.gradient[name], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(lambda: linear_gaussian(noise=0.001, latent=1), id="far narrower than the prior"),
        pytest.param(lambda: far_out(), id="at the edge of the prior"),
        pytest.param(lambda: point_of("gaussian-vae", latent=6, hidden=3, batch=2), id="too many dimensions"),
    ],
)
def test_a_posterior_that_is_not_integrated_has_no_reference(point):
    """None of them gets a figure; no estimator's mean is one either."""
    made = point()
    assert exactly(made.under(CHOSEN), CHOSEN, 2) is None
    with pytest.raises(MeasurementError, match=r"forward-kl is a mean under the posterior.*\n.*few latents"):
        monte_carlo.block_gradient(made.under(CHOSEN), CHOSEN, 2, 4, 0)


def far_out() -> Point:
    """Data 40 prior standard deviations away, with little noise."""
    point = linear_gaussian(noise=0.3, latent=1)
    assert point.x is not None
    decoder = point.problem.theta.get_parameter("decoder.weight").detach()[:, 0]
    return Point(point.axes, point.problem, 40 * decoder.expand_as(point.x).clone(), "cpu", point.rows)


def test_a_prior_without_a_grid_is_no_quadrature(monkeypatch):
    point = linear_gaussian()
    prior = point.problem.prior(Calls(point.problem.theta))
    subclass = type("Other", (type(prior),), {})
    monkeypatch.setattr(type(point.problem), "prior", lambda self, theta: subclass(**prior.parameters))
    assert exactly(point.under(CHOSEN), CHOSEN, 2) is None


@pytest.mark.parametrize("estimator", ["rws-wake-phi", "rws-dreg"])
def test_theta_has_no_gradient_and_is_in_no_task(estimator):
    point = linear_gaussian()
    task = Task(point, ESTIMATORS[estimator], {}, 2, CHOSEN)
    assert task.point.names
    assert all(name.startswith("phi.") for name in task.point.names)
    assert any(name.startswith("theta.") for name in point.names), "the point itself stays as it is"
    assert point.under(ChosenObjective("iwae", "monte-carlo")) is point
    assert task.point.under(CHOSEN) is task.point


def test_a_run_has_rows_for_phi_alone_and_its_figures_are_consistent(tmp_path):
    rows = ok_rows(tmp_path / "run", SBN | {"estimators": ["rws-wake-phi"], "samples": [2, 32]}, replicates=2048)
    assert not rows.group.str.startswith("theta").any()
    assert {"all", "phi"} < set(rows.group)
    assert set(rows.reference) == {"enumeration"}
    for group in ("all", "phi"):
        few, many = (float(rows[(rows.group == group) & (rows.samples == n)].relative_bias.iloc[0]) for n in (2, 32))
        assert many < 0.2 * few
    everything, phi = (rows[(rows.group == group) & (rows.samples == 2)].iloc[0] for group in ("all", "phi"))
    assert (everything.num_parameters, everything.variance) == (phi.num_parameters, phi.variance)


def test_a_cell_without_an_exact_posterior_fails_with_the_reason(tmp_path):
    grid = {"problem": "gaussian-vae", "hidden": 3, "latent": 6, "batch": 2, "objective": "forward-kl"}
    outcome = run_grids(tmp_path / "run", grid | {"estimators": ["rws-dreg"]}, replicates=64)
    (message,) = set(outcome.run.frame.message)
    assert outcome.exit_code != 0
    assert "needs an exact posterior" in message


def test_a_minibatch_for_every_block_has_exact_references_alone(tmp_path):
    grid = SBN | {"estimators": ["rws-wake-phi"], "samples": 8}
    raw = {"name": "t", "measure": {"replicates": 256, "blocks": 16, "noise": "latent+data"}, "grid": [grid]}
    outcome = runs.run(resolve(raw, "t.toml", Settings()), tmp_path / "run")
    assert outcome.exit_code == 0, outcome.run.frame.message.tolist()
    rows = outcome.run.ok()
    assert not rows.group.str.startswith("theta").any()
    assert set(rows.reference) == {"enumeration"}


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        ({"problem": "gaussian-cost", "objective": "forward-kl", "estimators": ["rws-dreg"]}, "is a cost"),
        (SBN | {"estimators": ["rws-wake-phi"], "kl": "analytic"}, "takes kl = 'monte-carlo' alone"),
    ],
)
def test_what_it_is_no_objective_of_is_refused(grid, says):
    with pytest.raises(UsageError, match=says):
        resolve({"name": "t", "grid": [grid]}, "t.toml", Settings())


def test_a_claim_about_theta_is_refused():
    claim = {"claim": "c", "kind": "value", "above": 0.0, "published": "p", "select": {"group": "theta"}}
    raw = {"name": "t", "grid": [SBN | {"estimators": ["rws-wake-phi"]}], "expect": [claim]}
    with pytest.raises(SuiteError, match="sigmoid-belief has no θ under forward-kl"):
        resolve(raw, "t.toml", Settings())


def test_latents_that_datapoints_share_have_no_posterior_each(monkeypatch):
    kind = PROBLEMS["gaussian-vae"]
    monkeypatch.setattr(kind, "independent_datapoints", False)
    assert "latents in common" in (ForwardKl.why_not(kind) or "")


def test_other_estimators_are_skipped():
    (cell,) = resolve({"name": "t", "grid": [SBN | {"estimators": ["iwae-score"]}]}, "t.toml", Settings()).cells
    assert cell.skip is not None
    assert "not forward-kl" in cell.skip


def test_f_is_the_log_weight_and_theta_is_held():
    point = linear_gaussian()
    problem, theta = point.problem, Calls(point.problem.theta)
    q = problem.posterior(Calls(problem.phi), point.x)
    z = q.sample(q.noise(1, 2, torch.Generator().manual_seed(0))).detach()
    f = CHOSEN.at(problem, theta, point.x).f(z, q)
    bound = ChosenObjective("iwae", "monte-carlo").at(problem, theta, point.x).f(z, q)
    torch.testing.assert_close(f, bound)
    found = torch.autograd.grad(f.sum(), list(problem.theta.parameters()), allow_unused=True)
    assert all(one is None for one in found)
    assert math.isfinite(f.sum().item())


def test_there_is_no_estimator_to_judge_it_by():
    with pytest.raises(UsageError, match="no estimator is unbiased"):
        check_objective(ForwardKl)


@pytest.mark.parametrize("latent", [1, 2, 3])
def test_it_is_integrated_in_up_to_three_dimensions(latent):
    point = linear_gaussian(latent=latent, noise=0.8)
    found = reference.compute(point, CHOSEN, 4, 64, 8)
    assert found.kind == "quadrature"
    agrees(found.gradient, in_closed_form(point), 1e-6)


def test_a_narrow_mode_that_coarse_grids_step_over_is_seen(monkeypatch):
    """Two modes: a tenth of the posterior is a mode of width 0.02, which 24 to 48 nodes of the prior's would miss."""
    point = linear_gaussian(latent=1)
    place, width = 1.7, 0.02

    def log_likelihood(self, theta, x, z):
        wide = torch.full_like(z[..., 0], math.log(0.9))
        prior = -(z[..., 0] ** 2) / 2
        narrow = math.log(0.1 / width) - ((z[..., 0] - place) / width) ** 2 / 2 - prior
        return torch.logaddexp(wide, narrow) + 0 * x[..., 0]

    monkeypatch.setattr(type(point.problem), "log_likelihood", log_likelihood)
    found = reference.compute(point, CHOSEN, 4, 64, 8)
    assert found.kind == "quadrature"
    p = {key: value.detach().numpy() for key, value in point.problem.named_parameters().items()}
    assert point.x is not None
    loc = point.x[0, 0].numpy() @ p["phi.encoder.weight"].T + p["phi.encoder.bias"]
    slope = ((0.1 * place - loc) / np.exp(2 * p["phi.log_scale"])).mean(0)
    np.testing.assert_allclose(found.gradient["phi.encoder.bias"], slope, rtol=1e-6)
