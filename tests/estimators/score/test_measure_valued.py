"""The measure-valued gradient."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from gradbench.core.seeding import stream
from gradbench.engine.general import replicate_gradients
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.score import measure_valued
from gradbench.families.gaussian import Gaussian
from tests.estimators import by_hand as hand
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import ANY, Bits, Estimate, Given, Parts, array
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled, without
from tests.exactly import COUNTS, exact_moments, exact_variance
from tests.families.weak import weak_nodes_of
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "measure-valued"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
LINEAR = {"latent": 2, "features": 3, "batch": 2}
CATEGORIES = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}
FEW = 5000
"""Nodes of z that are integrated over at most."""


def mean_only(task: Task) -> tuple[Tensor, dict[str, Tensor]]:
    """One draw, the same for all L: the estimate is a mean over them. Of one datapoint."""
    q = task.held_q
    for count in COUNTS:
        weights, noise = weak_nodes_of(q, count)
        if len(weights) <= FEW:
            break
    return weights, {name: part.expand(-1, task.samples, *part.shape[2:]) for name, part in noise.items()}


def integrated(task: Task) -> tuple[Tensor, dict[str, Tensor]]:
    """One draw at one datapoint, of a family whose weak derivatives draw nothing. Raises LookupError for others."""
    q = task.held_q
    weights, noise = weak_nodes_of(q, COUNTS[0])
    if task.samples > 1 or noise["z"].shape[2] > 1 or len(noise) > 1:
        raise LookupError("only the mean is known, not the variance")
    return weights, noise


def changed(change):
    """The estimator at weak noise that ``change`` has changed."""
    return mutant(OWN, lambda objective, q, noise: OWN.surrogate(objective, q, noise | change(noise)))


def evaluations(where) -> float:
    count = {"gaussian": 4, "bernoulli": 2}.get(where.family.name)
    if count is None:
        count = where.states ** (1 / where.latent_dim)
    return where.samples * (1 + round(count) * where.latent_dim)


FACTS = Facts(
    evaluations=evaluations,
    integrated=integrated,
    mean_only=mean_only,
    without_effect={
        "θ in f(z+) and f(z-)": "the weight is held as a whole; this keeps those evaluations out of θ's graph"
    },
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("sign flipped, on bits", scaled(OWN, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(OWN, "weight"), "categorical-vae", 2, "theta", CATEGORIES),
        Mutant("parameters held", held_too(OWN, "q's parameters"), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant(
            "a Maxwell variable without its sign",
            changed(lambda noise: {key: noise[key].abs() for key in ("weak.maxwell", "weak.share")}),
            "linear-gaussian",
            1,
            "phi.log_scale",
            LINEAR,
        ),
        Mutant(
            "a Weibull variable of scale 1",
            changed(lambda noise: {"weak.rayleigh": noise["weak.rayleigh"] / math.sqrt(2)}),
            "linear-gaussian",
            1,
            "phi.encoder.bias",
            LINEAR,
        ),
        Mutant(
            "half of the Maxwell variable as its share",
            changed(lambda noise: {"weak.share": noise["weak.maxwell"] / 2}),
            "linear-gaussian",
            1,
            "phi.log_scale",
            LINEAR,
        ),
    ),
)


def by_hand(given: Given) -> Estimate:
    """Variable by variable: c (f at one law's value in its place − f at the other's)."""
    q, noise = given.q, given.noise
    z = q.sample(noise["z"])

    def difference(positive, negative) -> np.ndarray:
        columns = []
        for index in range(z.shape[-1]):
            points = []
            for values in (positive, negative):
                point = z.copy()
                point[..., index] = np.broadcast_to(values, z.shape)[..., index]
                points.append(given.at(point).f)
            columns.append(points[0] - points[1])
        return np.stack(columns, -1)

    parts: Parts
    if isinstance(q, Bits):
        parts = (q.p * (1 - q.p) * difference(1.0, 0.0),)
    else:
        assert isinstance(q, hand.Gaussian)
        w, m, share = (q.scale * noise[f"weak.{name}"] for name in ("rayleigh", "maxwell", "share"))
        mean = difference(q.loc + w, q.loc - w) / (q.scale * math.sqrt(2 * math.pi))
        parts = (mean, difference(q.loc + m, q.loc + share))
    return Estimate(tuple(np.broadcast_to(part, z.shape).mean(1) for part in parts), z)


@pytest.mark.parametrize("spot", ANY, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


def test_the_gradient_at_fixed_noise_of_categories():
    """p_c (f with category c in the place of the variable's own − f)."""
    task = task_of(point_of("categorical-cost", variables=2, categories=3, power=3.0), NAME, 2)
    problem, noise = task.point.problem, noise_of(task, 4)
    logits = array(problem.named_parameters()["phi.logits"])
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    gumbel = array(noise["z"])[:, :, 0]
    z = np.eye(3)[(np.log(p) + gumbel).argmax(-1)]
    values = array(problem.values)

    def f(z):
        return np.abs((z * values).sum((-2, -1)) / math.sqrt(2)) ** 3

    expected = np.empty((4, 2, 2, 3))
    for variable, category in np.ndindex(2, 3):
        moved = z.copy()
        moved[:, :, variable] = np.eye(3)[category]
        expected[:, :, variable, category] = p[variable, category] * (f(moved) - f(z))
    found = array(gradients_by_loop(task, noise, 4)["phi.logits"])
    np.testing.assert_allclose(found, expected.mean(1), rtol=1e-10, atol=1e-12)


def moments(point) -> dict[str, tuple[float, float]]:
    """Mean and variance in the mean and in the log scale of one Gaussian variable, by quadrature over the laws."""
    task = task_of(point, NAME)
    nodes, mass = np.polynomial.legendre.leggauss(80)
    length, share = np.meshgrid((nodes + 1) * 6, (nodes + 1) / 2, indexing="ij")
    maxwell = np.sqrt(2 / np.pi) * length**2 * np.exp(-(length**2) / 2)
    weights = np.outer(mass * 6, mass / 2)
    found = {}
    for name, law in {
        "phi.mean": length * np.exp(-(length**2) / 2),
        "phi.log_scale": maxwell,
    }.items():
        rows = torch.tensor(np.stack([length, -length]).reshape(-1, 1, 1, 1))
        shares = torch.tensor(np.stack([share, share]).reshape(-1, 1, 1, 1))
        noise = {
            "z": torch.zeros_like(rows),
            "weak.rayleigh": rows.abs(),
            "weak.maxwell": rows,
            "weak.share": rows * shares,
        }
        total = np.stack([weights * law / 2] * 2).flatten()
        assert total.sum() == pytest.approx(1, abs=1e-12)
        values = array(replicate_gradients(task, noise, len(rows))[name])[:, 0]
        mean = total @ values
        found[name] = (mean, total @ (values - mean) ** 2)
    return found


@pytest.mark.parametrize(
    ("cost", "k", "gradient", "variance"),
    [
        ("quadratic", -3, 8, 17.487),
        ("quadratic", 0, 2, 1.093),
        ("quadratic", 3, -4, 4.372),
        ("exp", 0.1, -0.139980, 0.002509),
        ("cos", 1, -0.510378, 0.02800),
    ],
)
def test_the_variances_in_the_mean_of_a_gaussian(cost, k, gradient, variance):
    """∇ and variance in the mean of N(1, 1), to the digits that are printed."""
    mean, found = moments(point_of("gaussian-cost", cost=cost, k=k))["phi.mean"]
    assert mean == pytest.approx(gradient, rel=1e-5)
    assert found == pytest.approx(variance, rel=5e-4)


@pytest.mark.parametrize(("mean", "scale", "k"), [(1.0, 1.0, -3.0), (1.0, 1.0, 0.0), (-2.0, 0.3, 1.0), (0.5, 2.5, 0.0)])
def test_the_variances_on_a_quadratic_are_polynomials(mean, scale, k):
    """In the mean 8a² (2 − π/2) / π, a = μ − k: 16 a² Var(w) / 2π, w a Rayleigh variable; in the log scale, coupled,
    4a²σ² + 4σ⁴.
    """
    found, a = moments(point_of("gaussian-cost", cost="quadratic", k=k, mean=mean, scale=scale)), mean - k
    assert found["phi.mean"] == (pytest.approx(2 * a), pytest.approx(8 * a**2 * (2 - math.pi / 2) / math.pi))
    expected = 4 * a**2 * scale**2 + 4 * scale**4
    assert found["phi.log_scale"] == (pytest.approx(2 * scale**2), pytest.approx(expected))


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.8])
def test_one_bit_is_exact(prob):
    """p (1 − p) (f(1) − f(0)) whatever is drawn; of more bits, too, where the cost is a sum over them."""
    for dim in (1, 3):
        assert exact_variance(task_of(point_of("bernoulli-cost", prob=prob, dim=dim), NAME)) < 1e-28


def test_categories_vary_by_what_they_are_compared_with():
    """One variable: p_c (f_c − f(z)), of variance p_c² Var f in each logit."""
    task = task_of(point_of("categorical-cost", variables=1, categories=4, power=3.0), NAME)
    logits = array(task.point.problem.named_parameters()["phi.logits"])[0]
    p = np.exp(logits) / np.exp(logits).sum()
    f = np.abs(array(task.point.problem.values)[0]) ** 3
    spread = p @ f**2 - (p @ f) ** 2
    mean, variance = exact_moments(task)["phi.logits"]
    np.testing.assert_allclose(array(mean), p * (f - p @ f), rtol=1e-9)
    assert variance == pytest.approx((p**2).sum() * spread, rel=1e-9)


def test_its_samples_of_z_are_those_that_other_estimators_draw():
    point = point_of("gaussian-vae", hidden=3, latent=2, batch=2)
    one, other = (noise_of(task_of(point, name, 2), 3) for name in (NAME, "pathwise"))
    torch.testing.assert_close(one["z"], other, rtol=0, atol=0)


def test_it_refuses_layers_and_the_bound():
    refuses(NAME, setting("gaussian-vae", "iwae", "monte-carlo"), "not iwae")
    refuses(NAME, setting("hierarchical-vae", layers=2), "one layer")


class OfTwo(Gaussian):
    """The same law from the sum of two normal variables."""

    def noise(self, replicates, samples, generator):
        one, other = (super(OfTwo, self).noise(replicates, samples, generator) for _ in range(2))
        return {"a": one, "weak.b": other}

    def sample(self, noise):
        return super().sample((noise["a"] + noise["weak.b"]) / math.sqrt(2))


def test_the_noise_of_a_family_with_several_tensors_is_told_apart():
    """Names of z's own noise and of the weak one do not meet, whatever they are."""
    q = OfTwo(loc=torch.zeros(1, 1, 2, 3), scale=torch.ones(1, 1, 1, 3))
    noise = measure_valued.draw_weak(q, 4, 2, stream(0))
    assert set(noise) == {"z.a", "z.weak.b", "weak.rayleigh", "weak.maxwell", "weak.share"}
    torch.testing.assert_close(measure_valued.sample(q, noise), (noise["z.a"] + noise["z.weak.b"]) / math.sqrt(2))
