"""R2-G2: the pathwise estimator, Rao-Blackwellised."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gradbench.core.types import hold
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Setting
from gradbench.estimators.pathwise.r2g2 import projected
from gradbench.families.gaussian import Gaussian
from gradbench.objectives.base import average
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.gaussian_vae import GaussianVae
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import GAUSSIAN_ELBOS, SHARED, Estimate, Given, array, mean
from tests.estimators.by_hand import Gaussian as Plain
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import exact_moments, exact_variance
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "r2g2"
OWN = ESTIMATORS[NAME]
LINEAR = {"latent": 2, "features": 3, "batch": 2}
WEIGHTS = {"features": 4, "batch": 1, "start": "near"}


def scale_forgotten(objective, q, noise):
    """The noise projected on the rows of W, and not on those of W diag(σ)."""
    view = objective.problem.linear_view(objective.theta.held(), objective.x)
    path = q.sample(projected(view, noise))
    z = hold(q.sample(noise), "z") + path - hold(path, "value of the path")
    return average(objective.f(z, q))


FACTS = Facts(
    without_effect={
        "W": "where the contract tests go, a layer that is θ's has full rank: the projection is the identity",
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("z not held", without(OWN, "z"), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("path held", held_too(OWN, "path"), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 1, "theta", LINEAR),
        Mutant("σ forgotten", mutant(OWN, scale_forgotten), "logistic-regression", 1, "phi.log_scale", WEIGHTS),
    ),
)
ANALYTIC = [spot for spot in (*GAUSSIAN_ELBOS, *SHARED) if spot.objective.kl == "analytic"]


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ ∇f, and in log σ (1/L) Σ ∇f σ P ε with P = A⁺A, A = W diag(σ)."""
    assert isinstance(given.q, Plain)
    z = given.q.sample(given.noise)
    slope = given.at(z).dz
    point = given.task.point
    if point.axes.problem == "linear-gaussian":
        view = array(point.problem.theta.get_parameter("decoder.weight"))
    else:
        assert point.x is not None
        view = SHARED[0].signed(array(point.x)[0, 0])
    a = view * given.q.scale
    noise = given.noise @ (np.linalg.pinv(a) @ a).T
    return Estimate(mean((slope, slope * given.q.scale * noise), z), z)


@pytest.mark.parametrize("spot", ANALYTIC, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def both(point, samples: int = 1):
    """It, and the pathwise estimator."""
    return task_of(point, NAME, samples), task_of(point, "pathwise", samples)


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [
        ("gaussian-vae", {"hidden": 3, "latent": 3, "batch": 2}),
        ("gaussian-vae", {"hidden": 5, "layers": 2, "latent": 3, "batch": 2}),
        ("gaussian-vae", {"layers": 0, "latent": 4, "batch": 2}),
        ("linear-gaussian", {"latent": 3, "features": 4, "batch": 2}),
        ("logistic-regression", {"features": 3, "batch": 8}),
    ],
    ids=str,
)
def test_it_is_pathwise_draw_by_draw_where_the_layer_has_full_column_rank(problem, parameters):
    own, plain = both(point_of(problem, **parameters), 2)
    noise = noise_of(own, 3)
    found, expected = (gradients_by_loop(task, noise, 3) for task in (own, plain))
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [
        ("gaussian-vae", {"hidden": 1, "latent": 2, "batch": 1}),
        ("logistic-regression", {"features": 1, "batch": 1, "start": "near"}),
        ("logistic-regression", {"features": 2, "batch": 2, "start": "near"}),
    ],
    ids=str,
)
def test_its_variance_is_below_that_of_pathwise_where_the_layer_is_narrower_than_the_latents(problem, parameters):
    """By less in each tensor, and by the same mean; what θ sees is the same."""
    point = point_of(problem, **parameters)
    found, plain = (exact_moments(task, 40) for task in both(point))
    for name, (expected, variance) in plain.items():
        torch.testing.assert_close(found[name][0], expected, rtol=1e-7, atol=1e-8)
        assert found[name][1] <= variance * (1 + 1e-9)
    assert sum(found[name][1] for name in found if "phi" in name) < 0.95 * sum(
        plain[name][1] for name in plain if "phi" in name
    )


def test_a_layer_with_fewer_rows_than_latents_leaves_what_it_does_not_see():
    """Hidden 1, latent 2: of the noise only the part along W diag(σ) is left in the derivative of the scale."""
    noise = torch.randn(5, 3, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = torch.randn(1, 1, 2, 2, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = projected(matrix, noise)
    for datapoint in range(2):
        a = matrix[0, 0, datapoint].numpy()
        # the mean of ε given Aε, by the law of jointly Gaussian variables: Aᵀ (A Aᵀ)⁻¹ Aε
        expected = noise[:, :, datapoint].numpy() @ (a.T @ np.linalg.solve(a @ a.T, a)).T
        np.testing.assert_allclose(found[:, :, datapoint].numpy(), expected, rtol=1e-10, atol=1e-12)


def test_a_layer_of_dependent_rows_is_projected_on_what_they_span():
    row = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    matrix = torch.stack([row, 3 * row, 0 * row])[None, None, None]
    noise = torch.randn(4, 1, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = (noise @ row)[..., None] * row / row.square().sum()
    torch.testing.assert_close(projected(matrix, noise), expected, rtol=1e-10, atol=1e-12)


def test_with_one_row_it_is_the_local_reparameterisation():
    """a ~ N(m, s²), m = ⟨μ, x⟩, s² = ⟨σ², x²⟩, is drawn itself: ∇f x in μ, ∇f ζ σ² x² / s in log σ, ζ = (a − m) / s."""
    point = point_of("logistic-regression", features=1, batch=1, start="near")
    assert point.x is not None
    assert point.rows is not None
    loc, scale = (array(value) for value in (point.problem.phi.loc, point.problem.phi.log_scale.exp()))  # pyright: ignore
    feature, label = array(point.x)[0, 0, 0, [0, -1]]
    x = (2 * label - 1) * np.array([feature, 1.0])
    m, s = loc @ x, np.sqrt(scale**2 @ x**2)
    zeta = np.linspace(-9, 9, 2001)
    mass = np.exp(-(zeta**2) / 2) / np.exp(-(zeta**2) / 2).sum()
    slope = len(point.rows) / (1 + np.exp(m + s * zeta))
    for name, direction in (("loc", slope[:, None] * x), ("log_scale", (slope * zeta)[:, None] * (scale * x) ** 2 / s)):
        variance = mass @ ((direction - mass @ direction) ** 2).sum(1)
        assert exact_variance(task_of(point, NAME), f"phi.{name}") == pytest.approx(variance, rel=1e-8)
        assert name == "loc" or variance < exact_variance(task_of(point, "pathwise"), f"phi.{name}")


def test_the_layer_must_be_held_where_it_has_less_than_full_rank():
    task = task_of(point_of("gaussian-vae", hidden=1, latent=2, batch=2), NAME)
    noise = noise_of(task, 1)
    right, wrong = task.gradient(noise), task_of(task.point, without(OWN, "W")).gradient(noise)
    key = "theta.decoder.hidden1.weight"
    assert float((right[key] - wrong[key]).norm()) > 1e-3 * float(right[key].norm())


def test_what_it_needs():
    accepts(NAME, setting("gaussian-vae"))
    refuses(NAME, setting("gaussian-vae", kl="monte-carlo"), "a sampled KL has z itself in f.*use kl = 'analytic'")
    refuses(NAME, setting("rainforth"), "rainforth does not say through which matrix alone it sees z")
    refuses(NAME, setting("sigmoid-belief"), "needs gaussian latents")


class Skips(GaussianVae):
    """A decoder that also sees z past its first layer, below a class that says what the first layer is."""

    name = "skips"

    def log_likelihood(self, theta, x, z):
        return super().log_likelihood(theta, x, z) - (z**2).sum(-1)


def test_a_matrix_is_not_inherited_by_a_class_that_uses_z_in_another_way():
    assert PROBLEMS["gaussian-vae"].has_linear_view()
    assert not Skips.has_linear_view()
    where = Setting.of(Skips, Skips.Parameters(), ChosenObjective("elbo", "analytic"), 1, OWN.Parameters())
    assert "linear_view" in str(OWN.why_not(where))


def test_the_matrices_are_those_that_the_problems_see_z_through():
    """Moving z within the null space of W changes no likelihood."""
    for problem, parameters in (
        ("gaussian-vae", {"hidden": 2, "latent": 4, "batch": 3}),
        ("logistic-regression", {"features": 6, "batch": 3}),
    ):
        task = task_of(point_of(problem, **parameters), NAME)
        objective = task.at(_calls(task.point.problem.theta))
        view = task.point.problem.linear_view(objective.theta, task.point.x)
        noise = noise_of(task, 4)
        assert isinstance(noise, torch.Tensor)
        assert isinstance(task.held_q, Gaussian)
        z = task.held_q.sample(noise)
        unseen = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(3))
        moved = z + unseen - projected(view, unseen)
        assert float((moved - z).norm()) > 0.1
        torch.testing.assert_close(objective.f(moved, task.held_q), objective.f(z, task.held_q), rtol=1e-9, atol=1e-9)


def _calls(module):
    from gradbench.problems.networks import Calls

    return Calls(module).held()
