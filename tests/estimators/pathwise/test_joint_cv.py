"""The joint control variate."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import distributions as td

from gradbench.core.seeding import stream
from gradbench.engine import minibatches
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.families.gaussian import Gaussian
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.base import Free, ModelParameters, Problem
from gradbench.problems.networks import Calls
from gradbench.target.gradients import gradient_of
from gradbench.target.points import Point
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import SHARED, Estimate, Given, array, mean
from tests.estimators.by_hand import Gaussian as Plain
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled
from tests.exactly import exact_moments, exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "joint-cv"
OWN = ESTIMATORS[NAME]
WEIGHTS = {"features": 2, "batch": 2, "start": "near"}


def evaluations(where: Any) -> float:
    """Of each sample f, and f, a gradient and a Hessian product at q's mean."""
    return 4 * where.samples


def mean_not_given_back(objective, q, noise, state):
    """The control without its expectation."""
    nothing = {name: value if name == "mean" else 0 * value for name, value in state.items()}
    return OWN.surrogate(objective, q, noise, nothing)


def diagonal_forgotten(objective, q, noise, state):
    """The control's mean in the scale taken for 0."""
    return OWN.surrogate(objective, q, noise, {**state, "curvature": 0 * state["curvature"]})


FACTS = Facts(
    evaluations=evaluations,
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "logistic-regression", 1, "phi.loc", WEIGHTS),
        Mutant("z held", held_too(OWN, "z"), "logistic-regression", 1, "phi.loc", WEIGHTS),
        Mutant("mean not given back", mutant(OWN, mean_not_given_back), "logistic-regression", 1, "phi.loc", WEIGHTS),
        Mutant("curvature forgotten", mutant(OWN, diagonal_forgotten), "logistic-regression", 2, "phi", WEIGHTS),
    ),
)


def model_of(given: Given, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """∇f [D] and ∇²f [D, D] at q's mean, averaged over some of the data."""
    assert isinstance(given.q, Plain)
    assert given.task.point.rows is not None
    count, signed, loc = len(given.task.point.rows), SHARED[0].signed(rows), given.q.loc[0, 0, 0]
    odds = signed @ loc
    slope = count * expit(-odds) @ signed / len(rows)
    bend = -count * (signed * (expit(odds) * expit(-odds))[:, None]).T @ signed / len(rows)
    if given.task.kl == "analytic":
        return slope, bend
    tau = SHARED[0].TAU
    return slope - loc / tau**2, bend + np.diag(given.q.scale**-2 - tau**-2)


def by_hand(given: Given, rows: np.ndarray | None = None) -> Estimate:
    """∇f along the path less that of the model, and the model's mean over the noise and ``rows``."""
    assert isinstance(given.q, Plain)
    assert given.task.point.x is not None
    here = array(given.task.point.x)[0, 0]
    slope, bend = model_of(given, here)
    all_slope, all_bend = model_of(given, here if rows is None else rows)
    z, scale = given.q.sample(given.noise), given.q.scale
    left = given.at(z).dz - slope - (z - given.q.loc) @ bend
    loc, log_scale = mean((left, left * scale * given.noise), z)
    return Estimate((loc + all_slope, log_scale + np.diag(all_bend) * scale**2), z)


@pytest.mark.parametrize("spot", SHARED, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize("spot", SHARED, ids=repr)
def test_the_gradient_at_fixed_noise_is_controlled_by_all_the_data(spot):
    task = minibatches.fitted(Task(spot.point(), OWN, {}, 3, spot.objective))
    assert task.point.rows is not None
    noise = noise_of(task, 2)
    given = spot.given(task, array(noise))  # pyright: ignore[reportArgumentType]
    expected = spot.gradients(given, by_hand(given, array(task.point.rows)))
    for key, value in gradients_by_loop(task, noise, 2).items():
        np.testing.assert_allclose(array(value), np.broadcast_to(expected[key], value.shape), rtol=1e-9, atol=1e-8)


def test_a_state_of_another_mean_keeps_its_expectation():
    """The model is around the mean that was fitted at; q may be elsewhere."""
    task = task_of(point_of("logistic-regression", features=1, batch=1, start="near"), NAME)
    point = task.point
    before = {name: value for name, (value, _) in exact_moments(task).items()}
    moved = {"mean": task.state["mean"] + 0.3}
    objective, q = task.at(Calls(point.problem.theta).held()), task.held_q
    shifted = Gaussian(loc=moved["mean"], scale=q.parameters["scale"])
    elsewhere = replace(task, state=OWN.fit(objective, shifted, 1, stream(0, "fit")))  # pyright: ignore[reportOptionalCall]
    for name, (value, _) in exact_moments(elsewhere).items():
        torch.testing.assert_close(value, before[name], rtol=1e-9, atol=1e-9)


# Over the noise of the latents and of the minibatch, by all minibatches of a small data set


def over_minibatches(task: Task, again: bool = False) -> dict[str, tuple[torch.Tensor, float]]:
    """Exact mean, and variance by (noise, data), of the gradient in each parameter, over every minibatch.

    ``again``: the state is fitted at each minibatch anew, which leaves a control of the latents' noise alone.
    """
    rows, batch = task.point.rows, task.point.axes.parameters.batch
    assert rows is not None
    each = []
    for chosen in itertools.combinations(range(len(rows)), batch):
        here = replace(task, point=task.point.at(torch.tensor(chosen)))
        each.append(exact_moments(here.fitted() if again else here))
    found = {}
    for name in each[0]:
        means = torch.stack([one[name][0] for one in each])
        within = sum(one[name][1] for one in each) / len(each)
        found[name] = (means.mean(0), within + float((means - means.mean(0)).square().sum(1).mean()))
    return found


def variance(found: dict[str, tuple[torch.Tensor, float]]) -> float:
    return sum(value for name, (_, value) in found.items() if name.startswith("phi."))


def few_rows(tmp_path, labels: str = "label") -> str:
    """Five rows of a feature and its label in a file."""
    path = tmp_path / "few.csv"
    path.write_text(f"a,{labels}\n0.3,1\n-1.2,0\n0.8,1\n0.1,0\n2.0,1\n")
    return f"file:{path}#a,{labels}"


def everywhere(point: Point, kl: Any, name: str = NAME) -> Task:
    return minibatches.fitted(Task(point, ESTIMATORS[name], {}, 1, ChosenObjective("elbo", kl)))


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
@pytest.mark.parametrize("start", ["near", "posterior"])
def test_it_is_unbiased_over_the_data_and_below_both_single_controls(tmp_path, start, kl):
    """A control of the latents' noise has the curvature of its own minibatch; one of the data's, slopes alone."""
    point = point_of("logistic-regression", data=few_rows(tmp_path), features=1, batch=2, start=start)
    joint = everywhere(point, kl)
    assert point.rows is not None
    whole = point.at(torch.arange(len(point.rows)))
    value = point.problem.closed_form(Calls(point.problem.phi), Calls(point.problem.theta), whole.x)
    assert value is not None
    exact = gradient_of(point, iter([value]))
    found = over_minibatches(joint)
    size = float(torch.cat([gradient.flatten() for gradient, _ in found.values()]).norm()) + 1
    for name, (gradient, _) in found.items():
        torch.testing.assert_close(gradient, exact[name].flatten(), rtol=0, atol=1e-9 * size)
    slopes = replace(joint, estimator=mutant(OWN, slopes_alone))
    latents_alone, data_alone = variance(over_minibatches(joint, again=True)), variance(over_minibatches(slopes))
    none = variance(over_minibatches(everywhere(point, kl, "sticking-the-landing" if kl != "analytic" else "pathwise")))
    assert variance(found) < 0.5 * min(latents_alone, data_alone)
    assert max(latents_alone, data_alone) < none


def slopes_alone(objective, q, noise, state):
    """A control of the noise of the data alone: the gradients at q's mean, over the data and at the minibatch."""
    z = q.sample(noise)
    mean = state["mean"].expand_as(z).clone().requires_grad_()
    with torch.enable_grad():
        (own,) = torch.autograd.grad(objective.held().f(mean, q.held()).mean(2).sum(), mean)
    f = objective.f(z, q.held()).mean((1, 2))
    change = state["slope"] - own
    return f + (change * q.parameters["loc"]).sum((1, 2, 3)) + (change * noise * q.parameters["scale"]).sum((1, 2, 3))


class LinearRegression(Problem):
    """y ~ N(wᵀx, noise²), w ~ N(0, I): log p is quadratic in w. The label is a number; θ is the log noise."""

    name, title, family, data = "linear-regression", "linear regression, for tests", "gaussian", "breast-cancer"
    independent_datapoints, labelled, unit_interval, dtype = False, True, False, "float64"
    Parameters = ModelParameters

    def __init__(self, parameters: Any, features: int, generator: torch.Generator) -> None:
        self.phi = Free(
            loc=torch.tensor([0.4, -0.7], dtype=torch.float64), log_scale=torch.tensor([-0.5, 0.2], dtype=torch.float64)
        )
        self.theta = Free(log_noise=torch.tensor(-0.3, dtype=torch.float64))

    @classmethod
    def latent_dim(cls, parameters: Any) -> int:
        return 2

    def posterior(self, phi: Any, x: Any) -> Gaussian:
        return Gaussian(loc=phi.free("loc"), scale=phi.free("log_scale").exp())

    def prior(self, theta: Any) -> Gaussian:
        zeros = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
        return Gaussian(loc=zeros, scale=zeros + 1)

    def log_likelihood(self, theta: Any, x: Any, z: Any) -> Any:
        return td.Normal((z * x[..., :2]).sum(-1), theta.free("log_noise").exp()).log_prob(x[..., -1])


@pytest.fixture
def linear(monkeypatch):
    monkeypatch.setitem(PROBLEMS, "linear-regression", LinearRegression)
    return point_of("linear-regression", batch=3)


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
def test_where_log_p_is_quadratic_nothing_of_either_noise_is_left(linear, kl):
    """At every minibatch and every draw the φ-gradient is the one over all the data; the θ-gradient is pathwise's."""
    task, plain = everywhere(linear, kl), everywhere(linear, kl, "pathwise")
    noise = noise_of(task, 4)
    first = {name: value[:1] for name, value in gradients_by_loop(task, noise, 4).items()}
    for block in range(3):
        here, other = (replace(one, point=linear.minibatch(block)) for one in (task, plain))
        found, expected = (gradients_by_loop(one, noise_of(one, 4, block), 4) for one in (here, other))
        for name in ("phi.loc", "phi.log_scale"):
            torch.testing.assert_close(found[name], first[name].expand_as(found[name]), rtol=1e-9, atol=1e-9)
            assert float(expected[name].var(0).sum()) > 1e-3
        torch.testing.assert_close(found["theta.log_noise"], expected["theta.log_noise"], rtol=1e-9, atol=1e-9)


def test_where_it_is_not_quadratic_something_is_left():
    assert exact_variance(task_of(point_of("logistic-regression", features=1, batch=1, start="near"), NAME)) > 0.1


def test_far_from_the_posterior_the_model_can_be_worse_than_none():
    """At a prior of 30 features the log-odds vary by 8 and more, where no parabola is near them."""
    own, plain = (task_of(point_of("logistic-regression", batch=4), name) for name in (NAME, "pathwise"))
    noise = noise_of(own, 256)
    spread = [gradients_by_loop(task, noise, 256)["phi.log_scale"].var(0).sum() for task in (own, plain)]
    assert float(spread[0]) > float(spread[1])


def test_it_is_fitted_on_every_row():
    point = point_of("logistic-regression", batch=3)
    seen = []
    spied = replace(OWN, fit=lambda objective, *rest: seen.append(objective.x) or {})
    task = Task(point, spied, {}, 1, ChosenObjective("elbo", "analytic"))
    assert minibatches.fitted(task).point is point
    assert point.rows is not None
    assert torch.equal(seen[0][0, 0], point.rows)
    task.fitted()
    assert torch.equal(seen[1], point.x)


def test_columns_of_the_curvature_in_pieces_are_those_at_once(monkeypatch):
    from gradbench.estimators.pathwise import joint_cv

    point = point_of("logistic-regression", batch=3, start="near")
    once = everywhere(point, "analytic").state
    monkeypatch.setattr(joint_cv, "CURVATURE_EVALUATIONS", 4 * 569)
    for name, value in everywhere(point, "analytic").state.items():
        torch.testing.assert_close(value, once[name], rtol=1e-12, atol=1e-12)
    assert once["curvature"].shape == (1, 1, 1, 31, 31)
    torch.testing.assert_close(once["curvature"], once["curvature"].mT, rtol=1e-10, atol=1e-10)


def test_what_it_needs():
    accepts(NAME, setting("logistic-regression"))
    accepts(NAME, setting("logistic-regression", kl="monte-carlo", samples=1))
    refuses(NAME, setting("gaussian-vae"), "each datapoint of gaussian-vae has latents of its own")
    refuses(NAME, setting("gaussian-cost"), "estimates elbo gradients, not cost")
