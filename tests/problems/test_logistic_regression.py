"""Bayesian logistic regression: its expectation, its starts, its labels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import log_expit, logit

from gradbench.core.errors import UsageError
from gradbench.core.seeding import stream
from gradbench.engine import minibatches
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.problems.data import LABELLED, load_rows
from gradbench.problems.logistic_regression import NARROW_ODDS, Parameters, best_gaussian, laplace, mean_log_sigmoid
from gradbench.problems.networks import Calls
from gradbench.target.exact import exactly
from gradbench.target.points import Point, check_point
from gradbench.target.whole_data import WholeDataReference
from tests.helpers import by_nodes, objective_of, point_of

NAME = "logistic-regression"


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


# E[log σ(a)]


def by_scipy(mean: float, deviation: float) -> float:
    """E[log σ(a)], a ~ N(mean, deviation²), by adaptive quadrature in pieces about the bend and the peak."""

    def integrand(a: float) -> float:
        return log_expit(a) * math.exp(-(((a - mean) / deviation) ** 2) / 2) / (deviation * math.sqrt(2 * math.pi))

    low, high = mean - 13 * deviation, mean + 13 * deviation
    ends = sorted({low, high, *(x for x in (-40.0, -5.0, 0.0, 5.0, 40.0, mean) if low < x < high)})
    pieces = itertools.pairwise(ends)
    return sum(quad(integrand, a, b, epsabs=1e-15, epsrel=1e-13, limit=400)[0] for a, b in pieces)


DEVIATIONS = (0.01, 0.5, 1.0, NARROW_ODDS - 1e-9, NARROW_ODDS, NARROW_ODDS + 1e-9, 3.0, 9.0, 60.0, 1000.0)


@pytest.mark.parametrize("deviation", DEVIATIONS)
@pytest.mark.parametrize("mean", [-30.0, -2.0, 0.0, 0.7, 6.0, 40.0])
def test_the_expectation_is_exact_for_narrow_and_wide_log_odds(mean, deviation):
    found = float(mean_log_sigmoid(f64(mean), f64(deviation)))
    assert found == pytest.approx(by_scipy(mean, deviation), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("deviation", [0.5, NARROW_ODDS - 1e-6, NARROW_ODDS + 1e-6, 20.0])
def test_its_derivatives_are_those_of_the_integral(deviation):
    """In the mean E[σ(−a)], in the deviation E[−σ′(a)] × deviation (Price's theorem)."""
    mean, width = f64(0.4).requires_grad_(), f64(deviation).requires_grad_()
    slope, bend = torch.autograd.grad(mean_log_sigmoid(mean, width).sum(), (mean, width))
    x = np.linspace(-12, 12, 20001)
    a = 0.4 + deviation * x
    mass = np.exp(-(x**2) / 2) * (x[1] - x[0]) / math.sqrt(2 * math.pi)
    sigma = np.exp(log_expit(-a))
    assert float(slope) == pytest.approx(mass @ sigma, rel=1e-10)
    assert float(bend) == pytest.approx(-deviation * mass @ (sigma * (1 - sigma)), rel=1e-10)


def test_nothing_is_lost_at_the_ends():
    mean, deviation = f64(0.0, 500.0, -500.0), f64(1e-12, 1e-12, 1e4)
    found = mean_log_sigmoid(mean.requires_grad_(), deviation.requires_grad_())
    assert found[0].item() == pytest.approx(-math.log(2), rel=1e-12)
    assert found[1].item() == pytest.approx(0, abs=1e-200)
    assert all(bool(torch.isfinite(part).all()) for part in torch.autograd.grad(found.sum(), (mean, deviation)))


# The objective


def whole(point: Point) -> Point:
    """The same parameters at all the data."""
    assert point.rows is not None
    return point.at(torch.arange(len(point.rows)))


@pytest.mark.parametrize("start", ["far", "near"])
def test_the_reference_is_that_of_the_product_grid(start):
    """One integral for each datapoint against one over all weights, of two."""
    point = point_of(NAME, features=1, batch=3, start=start)
    kind, found = exactly(point, objective_of(point), 1) or ("", {})
    assert kind == "quadrature"
    nodes = by_nodes(point)
    for name, value in found.items():
        torch.testing.assert_close(value, nodes[name], rtol=1e-9, atol=1e-9)


def test_the_reference_is_the_mean_of_many_draws_in_full_dimension():
    """5 standard errors in each of 62 coordinates: an error rate of 4e-5."""
    point = whole(point_of(NAME, start="near"))
    found = exactly(point, objective_of(point), 1)
    assert found is not None
    q = point.problem.posterior(Calls(point.problem.phi), point.x)
    noise = q.noise(1, 4096, stream(0, "draws"))
    loc, scale = (q.parameters[name].detach().flatten() for name in ("loc", "scale"))
    signed = point.problem._signed(point.x)[0, 0]  # pyright: ignore[reportAttributeAccessIssue]
    z = loc + scale * noise[0, :, 0]
    each = (-(z @ signed.T)).sigmoid() @ signed  # ∇ Σ log σ
    for name, rows, rest in (("loc", each, -loc), ("log_scale", each * noise[0, :, 0] * scale, 1 - scale**2)):
        error = rows.std(0) / math.sqrt(len(rows))
        away = (rows.mean(0) + rest - found[1][f"phi.{name}"]).abs()
        assert bool((away < 5 * error).all()), name


def test_minibatches_average_to_the_gradient_over_the_data():
    """Five rows, two at a time: f counts all five for each of the two, and the KL is there once."""
    point = point_of(NAME, data="synthetic", features=2, batch=2, start="near", prior="learned")
    assert point.rows is not None
    expected = exactly(whole(point), objective_of(point), 1)
    halves = [exactly(point.at(rows), objective_of(point), 1) for rows in (slice(0, 500), slice(500, 1000))]
    assert expected is not None
    for name, value in expected[1].items():
        mean = sum(half[1][name] for half in halves if half is not None) / 2
        torch.testing.assert_close(mean, value, rtol=1e-10, atol=1e-9)


def test_the_elbo_of_all_the_data_is_below_the_evidence():
    """One feature: the evidence by quadrature over both weights. At the best q the gap is KL(q ‖ posterior)."""
    point = whole(point_of(NAME, features=1, start="posterior"))
    assert point.x is not None
    signed = point.problem._signed(point.x)[0, 0].numpy()  # pyright: ignore[reportAttributeAccessIssue]
    loc, scale = (value.detach().numpy() for value in (point.problem.phi.loc, point.problem.phi.log_scale.exp()))  # pyright: ignore
    axes = [np.linspace(m - 9 * s, m + 9 * s, 121) for m, s in zip(loc, scale, strict=True)]
    z = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    log_joint = log_expit(z @ signed.T).sum(1) - (z**2).sum(1) / 2 - math.log(2 * math.pi)
    cell = np.prod([axis[1] - axis[0] for axis in axes])
    evidence = np.log(np.exp(log_joint - log_joint.max()).sum() * cell) + log_joint.max()
    value = point.problem.closed_form(Calls(point.problem.phi), Calls(point.problem.theta), point.x)
    log_q = -(((z - loc) / scale) ** 2).sum(1) / 2 - np.log(scale).sum() - math.log(2 * math.pi)
    gap = (np.exp(log_q) * (log_q - log_joint)).sum() * cell + evidence
    assert gap > 1e-4
    assert value is not None
    assert value.item() == pytest.approx(evidence - gap, rel=1e-9)


# Where q starts


def test_at_the_prior_the_kl_is_0():
    point = point_of(NAME, prior_scale=2.5)
    q = point.problem.posterior(Calls(point.problem.phi), point.x)
    assert float(q.kl(point.problem.prior(Calls(point.problem.theta))).abs().max()) < 1e-14


def test_near_is_the_mode_with_its_own_curvatures():
    rows = load_rows("breast-cancer")
    signed = (2 * rows[:, -1:] - 1) * torch.cat([rows[:, :-1], torch.ones(len(rows), 1, dtype=torch.float64)], 1)
    for prior_scale in (0.3, 1.0, 30.0):
        loc, scale = laplace(signed, prior_scale)
        odds = signed @ loc
        slope = (-odds).sigmoid() @ signed - loc / prior_scale**2
        assert float(slope.abs().max()) < 1e-6 * float(((-odds).sigmoid() @ signed.abs()).max())
        bend = (odds.sigmoid() * (-odds).sigmoid()) @ signed**2 + prior_scale**-2
        torch.testing.assert_close(scale**-2, bend, rtol=1e-12, atol=0)


@pytest.mark.parametrize("prior_scale", [0.3, 1.0])
def test_the_posterior_start_is_where_the_gradient_over_the_data_is_0(prior_scale):
    point = whole(point_of(NAME, start="posterior", prior_scale=prior_scale))
    found = exactly(point, objective_of(point), 1)
    assert found is not None
    assert max(float(value.norm()) for value in found[1].values()) < 1e-12


def test_the_posterior_start_is_what_another_search_finds():
    """By BFGS from elsewhere, with two features."""
    point = whole(point_of(NAME, features=2, start="posterior"))
    problem = point.problem

    def down(values: np.ndarray) -> tuple[float, np.ndarray]:
        for name, part in zip(("loc", "log_scale"), np.split(values, 2), strict=True):
            problem.phi.get_parameter(name).data = torch.from_numpy(part.copy())
        value = problem.closed_form(Calls(problem.phi), Calls(problem.theta), point.x)
        assert value is not None
        return -float(value), -torch.cat(torch.autograd.grad(value, list(problem.phi.parameters()))).numpy()

    best = np.concatenate([parameter.detach().numpy().copy() for parameter in problem.phi.parameters()])
    found = minimize(down, np.zeros(6), jac=True, method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose(found.x, best, rtol=0, atol=1e-6)


def test_no_optimum_is_an_error(monkeypatch):
    from gradbench.problems import logistic_regression

    monkeypatch.setattr(logistic_regression, "MOST_STEPS", 3)
    with pytest.raises(UsageError, match=r"start = 'posterior' finds no optimum.*\n.*start = 'near'"):
        best_gaussian(f64(1.0, 2.0, -0.5)[:, None], 1.0, f64(3.0), f64(0.01))


def test_starts_share_model_and_data():
    points = [point_of(NAME, data="synthetic", features=3, start=start) for start in ("far", "near", "posterior")]
    assert all(torch.equal(point.rows, points[0].rows) for point in points)  # pyright: ignore[reportArgumentType]
    assert len({float(point.problem.phi.loc[0]) for point in points}) == 3  # pyright: ignore[reportArgumentType]


# Noise of the minibatch, too


def test_the_whole_data_reference_is_the_gradient_over_the_data():
    point = point_of(NAME, batch=16, start="near")
    found = WholeDataReference(point, objective_of(point), 1, 8).upto(4)
    expected = exactly(whole(point), objective_of(point), 1)
    assert expected is not None
    assert found.kind == "quadrature"
    assert found.minibatches is not None
    for name, value in expected[1].items():
        torch.testing.assert_close(found.gradient[name], value, rtol=1e-10, atol=1e-9)
        own = exactly(point.minibatch(2), objective_of(point), 1)
        assert own is not None
        torch.testing.assert_close(found.minibatches[name][2], own[1][name], rtol=1e-10, atol=1e-9)


def test_variance_over_the_data_is_that_of_drawing_rows_without_replacement():
    """At the prior's mean with no width, the gradient is N (½ − …) averaged over the minibatch: ∇_loc = N s̄ / 2."""
    point = point_of(NAME, batch=16)
    point.problem.phi.get_parameter("log_scale").data.fill_(-20.0)
    task = Task(point, ESTIMATORS["pathwise"], {}, 1, objective_of(point))
    moments = minibatches.measure_minibatches(task, range(64), 2, exactly(point, objective_of(point), 1)[1])  # pyright: ignore
    signed = point.problem._signed(point.rows)  # pyright: ignore[reportAttributeAccessIssue]
    count = len(signed)
    expected = float((count * signed / 2).var(0).sum()) / 16 * (1 - 16 / count)
    found = np.asarray(moments.means["phi.loc"]).var(0, ddof=1).sum()
    # 64 minibatches of a sum that is like one with 5 degrees of freedom: a standard error of some 10 %
    assert found == pytest.approx(expected, rel=0.5)


# Labels


def csv(tmp_path, header: str, *rows: str) -> str:
    path = tmp_path / "data.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return f"file:{path}"


def test_breast_cancer_is_standardised_and_labelled():
    rows = load_rows("breast-cancer")
    assert rows.shape == (569, 31)
    torch.testing.assert_close(rows[:, :-1].mean(0), torch.zeros(30, dtype=torch.float64), rtol=0, atol=1e-12)
    torch.testing.assert_close(rows[:, :-1].var(0, correction=0), torch.ones(30, dtype=torch.float64))
    assert rows[:, -1].unique(return_counts=True)[1].tolist() == [212, 357]
    assert "breast-cancer" in LABELLED


def test_a_file_with_its_label_named_last(tmp_path):
    name = csv(tmp_path, "label,a,b", "1,0.5,2", "0,-0.5,1", "1,0.1,0") + "#a,b,label"
    point = point_of(NAME, data=name, features=2, batch=3)
    loc = f64(0.3, -0.2, 0.1)
    point.problem.phi.get_parameter("loc").data = loc
    objective = objective_of(point).at(point.problem, Calls(point.problem.theta), whole(point).x)
    found = objective.f(loc[None, None, None], point.problem.posterior(Calls(point.problem.phi), point.x))
    odds = np.array([0.15 - 0.4 + 0.1, -0.15 - 0.2 + 0.1, 0.03 + 0.1])
    np.testing.assert_allclose(found.flatten().detach().numpy(), 3 * log_expit([1, -1, 1] * odds), rtol=1e-12)


def test_fewer_features_are_the_first_ones():
    point = point_of(NAME, features=3, batch=2)
    assert point.x is not None
    one, other = point.x.clone(), point.x.clone()
    other[..., 3:-1] = 99.0
    q = point.problem.posterior(Calls(point.problem.phi), point.x)
    assert q.event == (4,)
    z = q.sample(q.noise(1, 2, stream(0, "z")))
    values = [point.problem.log_likelihood(Calls(point.problem.theta), x, z) for x in (one, other)]
    assert torch.equal(*values)


@pytest.mark.parametrize(
    ("text", "features", "says"),
    [
        ("#a,b,label", None, r"features = 30, the data 2; write features = 2, or fewer to take the first ones"),
        ("#a,b,label", 3, "features = 3, the data 2"),
        ("#a,label,b", 2, r"the last column as the label, 0 or 1; this one holds values from 0.1 to 2\nname the label"),
        ("#label,a", 1, "the last column as the label"),
    ],
)
def test_rows_that_are_none_of_it(tmp_path, text, features, says):
    name = csv(tmp_path, "label,a,b", "1,0.5,2", "0,-0.5,1", "1,0.1,0.1") + text
    with pytest.raises(UsageError, match=says):
        point_of(NAME, data=name, features=features, batch=2)


def test_a_label_alone_is_refused(tmp_path):
    path = tmp_path / "labels.npy"
    np.save(path, np.array([[0.0], [1.0]]))
    with pytest.raises(UsageError, match="needs features beside the label"):
        point_of(NAME, data=f"file:{path}", features=1, batch=1)


@pytest.mark.parametrize(("problem", "data", "says"), [
    (NAME, "digits", "has no labels, and logistic-regression models them; give it breast-cancer or file:PATH"),
    ("linear-gaussian", "breast-cancer", "has labels, and linear-gaussian models none; give it digits or file:PATH"),
])  # fmt: skip
def test_labels_go_where_they_are_modelled(problem, data, says):
    from gradbench.problems import PROBLEMS
    from gradbench.problems.data import DataSet

    kind = PROBLEMS[problem]
    with pytest.raises(UsageError, match=says):
        check_point(kind, kind.Parameters(), DataSet(data))
    with pytest.raises(UsageError, match=says):
        point_of(problem, data=data)


def test_synthetic_data_have_the_odds_of_the_model():
    """Drawn from the prior: the labels' mean log-likelihood at their own weights is that of fair odds."""
    point = point_of(NAME, data="synthetic", features=2, batch=2, start="near")
    assert point.rows is not None
    assert point.rows.shape == (1000, 3)
    assert set(point.rows[:, -1].tolist()) == {0.0, 1.0}
    assert abs(logit(point.rows[:, -1].mean().item())) < 4
    assert Parameters(features=2).columns == 2
