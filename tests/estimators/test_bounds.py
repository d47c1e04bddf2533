"""The estimators of the importance-weighted bound: draw by draw against the formulas written out in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax

from gradbench.problems.networks import Calls
from tests.helpers import gradients_by_loop, integrated, noise_of, point_of, task_of

R = 3
BOUNDS = ("iwae-pathwise", "iwae-dreg")


def array(value: torch.Tensor) -> np.ndarray:
    return value.detach().double().numpy()


def through_weights(name: str, log_w: np.ndarray, along: np.ndarray, direct: np.ndarray) -> np.ndarray:
    """The φ-gradient [R, B, D] from log w [R, L, B], its derivative along the path, and that in q's parameters.

    Burda et al.: Σ w̃ (path + direct). Tucker et al.: Σ w̃² path, nothing else.
    """
    weight = softmax(log_w, axis=1)[..., None]
    return ((weight**2 * along) if name == "iwae-dreg" else weight * (along + direct)).sum(1)


@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize("name", BOUNDS)
def test_on_the_linear_gaussian_model(name, samples):
    """Encoder with a bias and a scale of its own, decoder with weight and bias: every tensor, every replicate."""
    task = task_of(point_of("linear-gaussian", latent=2, features=3, batch=2, noise=0.6), name, samples, "monte-carlo")
    noise = noise_of(task, R)
    p = {key: array(value) for key, value in task.point.problem.named_parameters().items()}
    weight, bias = p["theta.decoder.weight"], p["theta.decoder.bias"]
    x = array(task.point.x)[0, 0]
    loc, scale, eps = x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"], np.exp(p["phi.log_scale"]), array(noise)
    z = loc + scale * eps
    residual = x - z @ weight.T - bias
    log_w = -0.5 * (residual**2).sum(-1) / 0.36 - 0.5 * (z**2).sum(-1) + 0.5 * (eps**2).sum(-1) + np.log(scale).sum()
    dz = residual @ weight / 0.36 - z + eps / scale
    g_loc = through_weights(name, log_w, dz, -eps / scale)
    g_scale = through_weights(name, log_w, dz * scale * eps, 1 - eps**2)
    w = softmax(log_w, axis=1)
    expected = {
        "phi.encoder.weight": np.einsum("rbd,bi->rdi", g_loc, x) / 2,
        "phi.encoder.bias": g_loc.mean(1),
        "phi.log_scale": g_scale.mean(1),
        "theta.decoder.weight": np.einsum("rlb,rlbo,rlbd->rod", w, residual / 0.36, z) / 2,
        "theta.decoder.bias": np.einsum("rlb,rlbo->ro", w, residual / 0.36) / 2,
    }
    found = gradients_by_loop(task, noise, R)
    assert set(found) == set(expected)
    for key, value in found.items():
        np.testing.assert_allclose(array(value), expected[key], rtol=1e-10, atol=1e-11, err_msg=key)


@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("name", BOUNDS)
def test_on_the_toy_of_rainforth(name, samples):
    task = task_of(point_of("rainforth", dim=3, batch=2, perturb=0.2), name, samples, "monte-carlo")
    noise = noise_of(task, R)
    p = {key: array(value) for key, value in task.point.problem.named_parameters().items()}
    x, mean, eps = array(task.point.x)[0, 0], p["theta.mean"], array(noise)
    deviation = np.sqrt(2 / 3)
    z = x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"] + deviation * eps
    log_w = 0.5 * (eps**2 - (x - z) ** 2 - (z - mean) ** 2).sum(-1)
    g_loc = through_weights(name, log_w, x + mean - 2 * z + eps / deviation, -eps / deviation)
    w = softmax(log_w, axis=1)
    found = gradients_by_loop(task, noise, R)
    expected = {
        "phi.encoder.weight": np.einsum("rbd,bi->rdi", g_loc, x) / 2,
        "phi.encoder.bias": g_loc.mean(1),
        "theta.mean": np.einsum("rlb,rlbd->rd", w, z - mean) / 2,
    }
    for key, value in found.items():
        np.testing.assert_allclose(array(value), expected[key], rtol=1e-10, atol=1e-12, err_msg=key)


@pytest.mark.parametrize(("name", "single"), [("iwae-pathwise", "pathwise"), ("iwae-dreg", "sticking-the-landing")])
def test_with_one_sample_it_is_the_elbos_own(name, single):
    for point in (
        point_of("linear-gaussian", latent=2, features=3, batch=2),
        point_of("rainforth", dim=3, batch=2, perturb=0.2),
        point_of("gaussian-vae", hidden=3, latent=2, batch=2),
    ):
        bound, elbo = (task_of(point, one, 1, "monte-carlo") for one in (name, single))
        noise = noise_of(bound, R)
        for key, value in gradients_by_loop(bound, noise, R).items():
            torch.testing.assert_close(value, gradients_by_loop(elbo, noise, R)[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 3])
@pytest.mark.parametrize(
    "point",
    [
        point_of("rainforth", dim=1, perturb=0.3),
        point_of("linear-gaussian", latent=1, features=3, batch=1, start="near"),
    ],
    ids=lambda point: point.axes.problem,
)
def test_both_have_the_same_mean(point, samples):
    """The expectation over the noise of all samples, integrated. Weights that are not squared would be biased."""
    path, dreg = (task_of(point, name, samples, "monte-carlo") for name in BOUNDS)
    weights, noise = integrated(path, nodes=36)
    means = [expected_gradient(task, weights, noise) for task in (path, dreg)]
    size = sum(float(value.square().sum()) for value in means[0].values()) ** 0.5
    for key, value in means[0].items():
        assert float((value - means[1][key]).abs().max()) < 1e-6 * size, key
    # one replicate is another estimate altogether
    one, other = (gradients_by_loop(task, noise_of(path, 1), 1) for task in (path, dreg))
    assert any(not torch.allclose(one[key], other[key], rtol=1e-3) for key in one if key.startswith("phi."))
    assert all(torch.allclose(one[key], other[key], rtol=1e-9) for key in one if key.startswith("theta."))


def expected_gradient(task, weights, noise) -> dict[str, torch.Tensor]:
    """The mean of the gradients of the replicates [R] of ``noise``, weighted."""
    problem = task.point.problem
    value = (weights * task.values(noise, Calls(problem.phi), Calls(problem.theta))).sum()
    parameters = problem.named_parameters()
    return dict(zip(parameters, torch.autograd.grad(value, tuple(parameters.values())), strict=True))


@pytest.mark.parametrize("samples", [1, 3])
def test_at_the_posterior_the_doubly_reparameterised_gradient_is_zero_draw_by_draw(samples):
    point = point_of("linear-gaussian", latent=2, features=3, batch=2, start="posterior")
    path, dreg = (task_of(point, name, samples, "monte-carlo") for name in BOUNDS)
    noise = noise_of(path, R)
    phi = [key for key in point.names if key.startswith("phi.")]
    assert max(float(gradients_by_loop(dreg, noise, R)[key].abs().max()) for key in phi) < 1e-12
    assert max(float(gradients_by_loop(path, noise, R)[key].abs().max()) for key in phi) > 0.01
