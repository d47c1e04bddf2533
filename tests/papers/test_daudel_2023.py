"""What the suite of Daudel et al. 2023 says follows from the bound, by exact means."""

from __future__ import annotations

import math

import pytest
import torch

from gradbench.objectives.chosen import ChosenObjective
from gradbench.objectives.vr_iwae import Parameters
from gradbench.suite.suites import load_suite
from gradbench.target.exact import exactly, least_noisy, posterior
from gradbench.target.gradients import distance, norm
from gradbench.target.points import Point
from tests.helpers import point_of


def suite_point() -> Point:
    """The suite's smallest model, of one latent."""
    return point_of("rainforth", dim=1, perturb=1.0)


def phi(gradient: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in gradient.items() if name.startswith("phi")}


def renyi_gradient(point: Point, alpha: float) -> dict[str, torch.Tensor]:
    """The φ-gradient of (1 − α)⁻¹ log E_q[w^{1−α}], the bound's as L grows, by quadrature over q's noise."""
    q = posterior(point)
    z, mass = q.grid(400).all()  # pyright: ignore[reportOptionalMemberAccess]
    log_w = least_noisy(point, ChosenObjective("iwae"), q).f(z, q)
    value = (((1 - alpha) * log_w + mass.log()).logsumexp(1) / (1 - alpha)).mean()
    parameters = {f"phi.{name}": value for name, value in point.problem.phi.named_parameters()}
    return dict(zip(parameters, torch.autograd.grad(value, list(parameters.values())), strict=True))


def bound_gradient(point: Point, alpha: float, samples: int) -> dict[str, torch.Tensor]:
    found = exactly(point, ChosenObjective("vr-iwae", "monte-carlo", Parameters(alpha=alpha)), samples)
    assert found is not None
    return phi(found[1])


def test_the_limit_of_many_samples_has_a_gradient_in_phi_except_for_the_iwae():
    point = suite_point()
    elbo = norm(bound_gradient(point, 0.0, 1))
    assert norm(renyi_gradient(point, 0.0)) < 1e-7 * elbo
    found = [norm(renyi_gradient(point, alpha)) / elbo for alpha in (0.2, 0.4, 0.8, 1 - 1e-6)]
    assert found == sorted(found)
    assert found[0] > 0.01
    assert found[-1] == pytest.approx(1, rel=1e-4), "that of the ELBO"


@pytest.mark.parametrize("alpha", [0.0, 0.4, 0.8])
def test_the_bound_goes_there_as_samples_are_added(alpha):
    point = suite_point()
    away = [distance(bound_gradient(point, alpha, samples), renyi_gradient(point, alpha)) for samples in (1, 2, 3)]
    assert away == sorted(away, reverse=True)
    assert away[0] > 1.2 * away[2] > 0


def test_every_bound_lies_between_the_elbo_and_the_evidence():
    """Rises with L, falls with α."""
    point = suite_point()
    q = posterior(point)
    z, mass = q.grid(400).all()  # pyright: ignore[reportOptionalMemberAccess]
    objective = least_noisy(point, ChosenObjective("iwae"), q)
    log_w, mass = objective.f(z, q).detach().flatten(), mass.flatten()
    elbo = float(mass @ log_w)
    evidence = float((log_w + mass.log()).logsumexp(0))
    pairs = torch.logaddexp(log_w[:, None], log_w[None])
    two = {0.0: float(mass @ (pairs - math.log(2)) @ mass)}
    for alpha in (0.4, 0.8):
        scaled = torch.logaddexp((1 - alpha) * log_w[:, None], (1 - alpha) * log_w[None]) - math.log(2)
        two[alpha] = float(mass @ scaled @ mass) / (1 - alpha)
    assert elbo < two[0.8] < two[0.4] < two[0.0] < evidence
    x, centre = float(point.x), float(point.problem.theta.get_parameter("mean").detach())  # pyright: ignore
    assert evidence == pytest.approx(-((x - centre) ** 2) / 4 - math.log(4 * math.pi) / 2, rel=1e-6)


def test_the_suite_asks_for_alphas_that_it_names():
    """A default value is left out of what names a cell, and could not be selected."""
    alphas = {cell.objective.plain()["alpha"] for cell in load_suite("papers/daudel-2023").cells}
    assert alphas == {0.0, 0.2, 0.4, 0.8}
