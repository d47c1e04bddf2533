"""Every estimator's gradient at fixed noise, against the formula of its paper written out in numpy.

Nothing here is differentiated by a machine. Each family has one function that turns samples into the gradient in
its own parameters, datapoint by datapoint, and each problem its own derivatives and chain rule.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from gradbench.core.seeding import stream
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems.networks import Calls
from tests.helpers import gradients_by_loop, noise_of, point_of, suits, task_of

R = 4


def array(value: torch.Tensor) -> np.ndarray:
    return value.detach().double().numpy()


def others(f: np.ndarray) -> np.ndarray:
    """Mean of f over the other samples, by leaving each out in turn."""
    return np.stack([np.delete(f, index, axis=1).mean(1) for index in range(f.shape[1])], axis=1)


def learned(task) -> np.ndarray | float:
    """C_ψ(x) of NVIL, [1, 1, B], from the fitted state."""
    s = {name: array(value) for name, value in task.state.items()}
    units = s["hidden.bias"]
    if task.point.x is not None:
        units = array(task.point.x) @ s["hidden.weight"] + s["hidden.bias"]
    return (np.tanh(units) @ s["output.weight"])[..., 0] * s["spread"] + s["centre"]


def weight_of_score(name: str, task, f: np.ndarray) -> np.ndarray:
    """f less its baseline, [R, L, B]."""
    match name:
        case "score-function" | "double-counted":
            return f
        case "score-function-loo":
            return f - others(f)
        case "score-function-learned":
            return f - learned(task)
    raise AssertionError(name)


@dataclass
class At:
    """f at samples z [R, L, B, D], its derivative in z, and its direct derivatives in q's parameters."""

    f: np.ndarray
    dz: np.ndarray
    direct: tuple[np.ndarray, ...]


# Gaussian latents: gradients in (loc, log scale)


def gaussian_gradient(name: str, task, loc: np.ndarray, scale: np.ndarray, noise: np.ndarray, at) -> tuple:
    """Gradient of E_q[f] in loc and log scale, each [R, B, D], and the samples that θ sees."""
    if name == "pathwise-antithetic":
        noise = np.concatenate([noise, -noise], axis=1)
    z = loc + scale * noise
    here = at(z)
    path = (here.dz, here.dz * scale * noise)
    score = (noise / scale, noise**2 - 1)

    def weighted(weight):
        return tuple(weight[..., None] * part for part in score)

    match name:
        case "pathwise" | "pathwise-antithetic":
            found = tuple(p + d for p, d in zip(path, here.direct, strict=True))
        case "sticking-the-landing":
            found = path
        case "fixed-sample":
            found = here.direct
        case "double-counted":
            found = tuple(p + d + s for p, d, s in zip(path, here.direct, weighted(here.f), strict=True))
        case _:
            found = weighted(weight_of_score(name, task, here.f))
    return (*(np.broadcast_to(part, z.shape).mean(1) for part in found), z)


GAUSSIAN = [name for name, e in ESTIMATORS.items() if suits(e, "gaussian-vae") and "elbo" in e.unbiased]
COSTS = {
    "quadratic": (lambda z, k: (z - k) ** 2, lambda z, k: 2 * (z - k)),
    "exp": (lambda z, k: np.exp(-k * z**2), lambda z, k: -2 * k * z * np.exp(-k * z**2)),
    "cos": (lambda z, k: np.cos(k * z), lambda z, k: -k * np.sin(k * z)),
}


@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("cost", COSTS)
@pytest.mark.parametrize("name", [name for name in GAUSSIAN if name != "sticking-the-landing"])
def test_on_a_gaussian_cost(name, cost, samples):
    k, mean, scale = 0.7, -0.4, 1.3
    task = task_of(point_of("gaussian-cost", cost=cost, k=k, mean=mean, scale=scale, dim=2), name, samples)
    noise = noise_of(task, R)
    value, slope = COSTS[cost]
    zero = np.zeros((1, 1, 1, 1))

    def at(z):
        return At(value(z, k).sum(-1), slope(z, k), (zero, zero))

    loc, log_scale, _ = gaussian_gradient(name, task, np.array(mean), np.array(scale), array(noise), at)
    found = gradients_by_loop(task, noise, R)
    np.testing.assert_allclose(array(found["phi.mean"]), loc[:, 0], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(array(found["phi.log_scale"]), log_scale[:, 0], rtol=1e-11, atol=1e-13)


KLS = [(name, kl) for name in GAUSSIAN for kl in ("analytic", "monte-carlo")]


@pytest.mark.parametrize(("name", "kl"), [pair for pair in KLS if pair != ("sticking-the-landing", "analytic")])
def test_on_the_linear_gaussian_model(name, kl):
    task = task_of(point_of("linear-gaussian", latent=2, features=3, batch=2, noise=0.6), name, 4, kl)
    noise = noise_of(task, R)
    p = {key: array(value) for key, value in task.point.problem.named_parameters().items()}
    weight, bias = p["theta.decoder.weight"], p["theta.decoder.bias"]
    x = array(task.point.x)[0, 0]
    loc = x @ p["phi.encoder.weight"].T + p["phi.encoder.bias"]
    scale = np.exp(p["phi.log_scale"])

    def residual(z):
        return x - z @ weight.T - bias

    def at(z):
        away = (z - loc) / scale
        f = (-0.5 * (residual(z) / 0.6) ** 2 - np.log(0.6) - 0.5 * np.log(2 * np.pi)).sum(-1)
        dz = residual(z) @ weight / 0.36
        if kl == "analytic":
            return At(f, dz, (0 * z, 0 * z))
        f = f + (-0.5 * z**2 + 0.5 * away**2 + np.log(scale)).sum(-1)
        return At(f, dz - z + away / scale, (-away / scale, 1 - away**2))

    g_loc, g_scale, z = gaussian_gradient(name, task, loc, scale, array(noise), at)
    if kl == "analytic":
        g_loc, g_scale = g_loc - loc, g_scale + 1 - scale**2
    pull = residual(z) / 0.36
    expected = {
        "phi.encoder.weight": np.einsum("rbd,bi->rdi", g_loc, x) / 2,
        "phi.encoder.bias": g_loc.mean(1),
        "phi.log_scale": g_scale.mean(1),
        "theta.decoder.weight": np.einsum("rlbo,rlbd->rod", pull, z) / 8,
        "theta.decoder.bias": pull.mean((1, 2)),
    }
    for key, found in gradients_by_loop(task, noise, R).items():
        np.testing.assert_allclose(array(found), expected[key], rtol=1e-10, atol=1e-11, err_msg=key)


# Bernoulli latents: the gradient in the logits


def bernoulli_gradient(name: str, task, logits: np.ndarray, noise: np.ndarray, at) -> tuple:
    """Gradient of E_q[f] in the logits, [R, B, D], with the samples [R, L, B, D] and weights that θ sees."""
    p = expit(logits)
    if name == "exact":
        bits = logits.shape[-1]
        states = np.array(list(np.ndindex(*[2] * bits)), dtype=float)[None, :, None, :]
        mass = np.prod(np.where(states == 1, p, 1 - p), axis=-1)
        gradient = (mass[..., None] * at(states).f[..., None] * (states - p)).sum(1)
        return np.repeat(gradient, R, axis=0), states, mass
    if name == "disarm":
        one, two = (noise < p).astype(float), (1 - noise < p).astype(float)
        g = 0.5 * (at(one).f - at(two).f)[..., None] * (-1) ** two * (one != two) * expit(np.abs(logits))
        both = np.concatenate([one, two], axis=1)
        return g.mean(1), both, np.full(both.shape[:3], 1 / both.shape[1])
    b = (noise < p).astype(float)
    equal = np.full(b.shape[:3], 1 / b.shape[1])
    if name == "gumbel-softmax":
        temperature = task.parameters["temperature"]
        relaxed = expit((logits + logit(1 - noise)) / temperature)
        np.testing.assert_array_equal(relaxed > 0.5, b == 1)
        here = at(relaxed)
        return (here.dz * relaxed * (1 - relaxed) / temperature + here.direct[0]).mean(1), b, equal
    here = at(b)
    if name == "fixed-sample":
        return here.direct[0].mean(1), b, equal
    return (weight_of_score(name, task, here.f)[..., None] * (b - p)).mean(1), b, equal


BERNOULLI = [name for name, e in ESTIMATORS.items() if suits(e, "sigmoid-belief") and "elbo" in e.unbiased]


@pytest.mark.parametrize("samples", [2, 4])
@pytest.mark.parametrize("name", BERNOULLI)
def test_on_the_bernoulli_cost(name, samples):
    target, prob, dim = 0.45, 0.3, 3
    task = task_of(point_of("bernoulli-cost", target=target, prob=prob, dim=dim), name, samples)
    noise = noise_of(task, R)

    def at(z):
        return At(((z - target) ** 2).mean(-1), 2 * (z - target) / dim, (0 * z,))

    expected, *_ = bernoulli_gradient(name, task, np.full(dim, logit(prob)), array(noise), at)
    found = gradients_by_loop(task, noise, R)["phi.logits"]
    np.testing.assert_allclose(array(found), expected.reshape(R, dim), rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("kl", ["analytic", "monte-carlo"])
@pytest.mark.parametrize("name", BERNOULLI)
def test_on_the_sigmoid_belief_network(name, kl):
    point = point_of("sigmoid-belief", latent=3, batch=2)
    prior = point.problem.theta.get_parameter("prior.logits")
    prior.data = torch.randn(3, dtype=torch.float64, generator=stream(0, "prior"))
    task = task_of(point, name, 4, kl)
    noise = noise_of(task, R)
    p = {key: array(value) for key, value in point.problem.named_parameters().items()}
    weight, bias, before = p["theta.decoder.output.weight"], p["theta.decoder.output.bias"], p["theta.prior.logits"]
    x = array(point.x)[0, 0]
    logits = x @ p["phi.encoder.output.weight"].T + p["phi.encoder.output.bias"]
    probability = expit(logits)

    def residual(z):
        return x - expit(z @ weight.T + bias)

    def at(z):
        score = z @ weight.T + bias
        f = (x * score - np.logaddexp(0, score)).sum(-1)
        dz = residual(z) @ weight
        if kl == "analytic":
            return At(f, dz, (0 * z,))
        f = f + (z * before - np.logaddexp(0, before) - z * logits + np.logaddexp(0, logits)).sum(-1)
        return At(f, dz + before - logits, (probability - z,))

    gradient, z, mass = bernoulli_gradient(name, task, logits, array(noise), at)
    if kl == "analytic":
        gradient = gradient - probability * (1 - probability) * (logits - before)
        of_prior = (probability - expit(before)).mean(0)[None]
    else:
        of_prior = np.einsum("rlb,rlbd->rd", mass, z - expit(before)) / 2
    expected = {
        "phi.encoder.output.weight": np.einsum("rbd,bi->rdi", gradient, x) / 2,
        "phi.encoder.output.bias": gradient.mean(1),
        "theta.prior.logits": of_prior,
        "theta.decoder.output.weight": np.einsum("rlb,rlbo,rlbd->rod", mass, residual(z), z + 0 * mass[..., None]) / 2,
        "theta.decoder.output.bias": np.einsum("rlb,rlbo->ro", mass, residual(z)) / 2,
    }
    for key, found in gradients_by_loop(task, noise, R).items():
        np.testing.assert_allclose(
            array(found), np.broadcast_to(expected[key], found.shape), rtol=1e-10, atol=1e-11, err_msg=key
        )


# Identities between estimators, draw by draw


def test_leave_one_out_is_vargrad_at_any_l():
    """The φ-gradient of −½ Var(log p − log q) over the L samples (Richter et al. 2020)."""
    point = point_of("linear-gaussian", latent=2, features=3, batch=1)
    samples = 3
    task = task_of(point, "score-function-loo", samples, "monte-carlo")
    noise = noise_of(task, 1)
    found = task.gradient(noise)
    problem = point.problem
    q = problem.posterior(Calls(problem.phi), point.x)
    z = q.sample(noise).detach()  # pyright: ignore
    f = ChosenObjective("elbo", "monte-carlo").at(problem, Calls(problem.theta), point.x).f(z, q)
    loss = -0.5 * f.squeeze().var(correction=1)
    for name, value in problem.phi.named_parameters():
        expected = torch.autograd.grad(loss, value, retain_graph=True)[0]
        torch.testing.assert_close(found[f"phi.{name}"], expected, rtol=1e-9, atol=1e-12)


def test_the_pathwise_gradient_is_sticking_the_landing_less_the_score():
    point = point_of("linear-gaussian", latent=2, features=3, batch=2)
    whole, landed, dropped = (
        task_of(point, name, 2, "monte-carlo") for name in ("pathwise", "sticking-the-landing", "fixed-sample")
    )
    noise = noise_of(whole, 1)
    a, b, c = (task.gradient(noise) for task in (whole, landed, dropped))
    for name in a:
        if name.startswith("phi."):
            torch.testing.assert_close(a[name], b[name] + c[name], rtol=1e-10, atol=1e-12)
        else:
            torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=0)


def test_disarm_is_arm_averaged_over_the_uniforms_that_give_the_same_pair():
    """ARM of one pair: (f(b) − f(b̃)) (u − ½); DisARM is its mean given (b, b̃)."""
    prob, target = 0.3, 0.45
    task = task_of(point_of("bernoulli-cost", prob=prob, target=target), "disarm", 2)
    edges = [0.0, prob, 1 - prob, 1.0]
    for low, high in itertools.pairwise(edges):
        u = (np.arange(1000) + 0.5) / 1000 * (high - low) + low
        b, tilde = (u > 1 - prob).astype(float), (u < prob).astype(float)
        arm = (((b - target) ** 2 - (tilde - target) ** 2) * (u - 0.5)).mean()
        one = task.gradient(torch.tensor([(low + high) / 2], dtype=torch.float64)[:, None, None, None])
        np.testing.assert_allclose(float(one["phi.logits"]), arm, rtol=1e-10, atol=1e-13)
