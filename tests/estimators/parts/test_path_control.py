"""The slopes that controls of the path are made of."""

from __future__ import annotations

import pytest
import torch

from gradbench.core.errors import MeasurementError
from gradbench.core.seeding import stream
from gradbench.engine.general import replicate_gradients
from gradbench.estimators.parts.path_control import by_datapoint, gradients_in_z
from gradbench.objectives.chosen import ChosenObjective
from gradbench.objectives.elbo import Elbo
from gradbench.problems.networks import Calls
from tests.helpers import noise_of, point_of, task_of
from tests.models.base import point_of as own_point
from tests.models.legitimate import CommonLatents, Correlated, LaplacePosterior

F64 = torch.float64


@pytest.mark.parametrize(("kl", "beta"), [("monte-carlo", 1.0), ("monte-carlo", 0.3), ("analytic", 1.0)])
def test_log_q_is_left_out_of_the_slope_whatever_its_weight(kl, beta):
    point = point_of("gaussian-vae", hidden=3, latent=2, batch=2)
    chosen = ChosenObjective("elbo", kl, ChosenObjective("elbo").kind.Parameters(beta=beta))
    objective = chosen.at(point.problem, Calls(point.problem.theta), point.x)
    q = task_of(point, "pathwise").held_q
    z = torch.randn(3, 2, 2, 2, dtype=F64, generator=stream(0)).requires_grad_()
    log_q = beta * q.log_prob(z) if kl == "monte-carlo" else 0
    (expected,) = torch.autograd.grad((objective.f(z, q) + log_q).sum(), z)
    found = gradients_in_z(objective, z)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert not found.requires_grad


class InCommon(Elbo):
    """f of latents that three datapoints have in common: (x_b · z)², [R, L, 3]."""

    def f(self, z, q):
        return (self.data * z).sum(-1) ** 2


def in_common() -> InCommon:
    x = torch.tensor([[1.0, 2.0], [0.0, 1.0], [-1.0, 3.0]], dtype=F64)[None, None]
    problem = point_of("linear-gaussian", latent=2, features=2, batch=3).problem
    return InCommon(problem, Calls(problem.theta), x, "analytic")


def test_latents_that_the_minibatch_has_in_common_have_the_slope_of_its_mean():
    objective = in_common()
    z = torch.tensor([0.5, -1.0], dtype=F64)[None, None, None]
    expected = (2 * (objective.data * z).sum(-1, keepdim=True) * objective.data).mean(2, keepdim=True)
    torch.testing.assert_close(gradients_in_z(objective, z), expected, rtol=1e-12, atol=0)


def test_what_is_fitted_to_them_has_an_entry_for_each_datapoint():
    state = by_datapoint({"slope": torch.ones(1, 1, 1, 2)}, in_common())
    assert state["slope"].shape == (1, 1, 3, 2)


WITH_A_CONTROL = {"pathwise-hvp-cv": {}, "pathwise-quadratic-cv": {"fit_steps": 100}, "zv-cv": {}}


@pytest.mark.parametrize("kind", [LaplacePosterior, Correlated], ids=lambda kind: kind.name)
@pytest.mark.parametrize("name", WITH_A_CONTROL)
def test_a_subclass_of_the_gaussian_is_refused(name, kind, monkeypatch):
    """Its noise may have another law, and the control another mean."""
    with pytest.raises(MeasurementError, match="use an estimator without a control"):
        values_of_a_task(kind, name, monkeypatch)


def values_of_a_task(kind, name, monkeypatch):
    task = task_of(own_point(kind, monkeypatch), name, 2, "monte-carlo")
    return task.gradient(noise_of(task, 2))


@pytest.mark.parametrize("name", WITH_A_CONTROL)
def test_latents_in_common_have_less_variance_and_the_same_mean(name, monkeypatch):
    """A control of the minibatch's mean: on fixed draws, its own mean is 0 within 4.5 errors, 7e-6 for each entry."""
    point = own_point(CommonLatents, monkeypatch)
    plain = task_of(point, "pathwise", 1, "monte-carlo")
    task = task_of(point, name, 1, "monte-carlo", **WITH_A_CONTROL[name])
    noise = noise_of(plain, 2000)
    one, other = (replicate_gradients(task, noise, 2000) for task in (plain, task))
    for key in ("phi.loc", "phi.log_scale"):
        control = other[key] - one[key]
        assert float((control.mean(0).abs() / (control.std(0) / 2000**0.5)).max()) < 4.5
        assert float(other[key].var(0).sum()) < 0.9 * float(one[key].var(0).sum())
    for key in one:
        if key.startswith("theta."):
            torch.testing.assert_close(other[key], one[key], rtol=1e-12, atol=1e-14)
