"""Reparameterised rejection sampling of Gamma latents."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import digamma
from scipy.stats import ks_2samp
from torch import Tensor

from gradbench.core.errors import MeasurementError
from gradbench.core.seeding import stream
from gradbench.core.types import Noise
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.pathwise.rejection_reparam import latents
from gradbench.families.gamma import Gamma
from gradbench.families.support import digits
from tests.estimators import measured
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import Estimate, Given, added, mean, weighted
from tests.estimators.by_hand_gamma import GAMMA, quantile
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import mutant, scaled, without
from tests.exactly import CHEAP, exact_moments
from tests.helpers import noise_of, point_of, task_of

NAME = "rejection-reparam"
OWN = ESTIMATORS[NAME]
REACH = 8.0
NODES = {1: 400, 2: 64, 3: 40, 4: 20}
"""Nodes of each variable, by how many there are to integrate over."""
LIGHT = 1e-12
"""Of the heaviest node's weight: where nodes are many, those below it are left out."""


def integrated(task: Task) -> tuple[Tensor, Noise]:
    """The trapezoidal rule in normal scores, of the proposal and of each uniform u = Φ(score).

    The surrogate is a mean over samples and datapoints of the same function of their noise, so that all of them may be
    given the same draw where means are wanted: at one sample of a cost, variances, too.
    """
    example = task.noise(1, stream(0, "shape"))
    assert isinstance(example, dict)
    _, samples, batch, dim, steps = example["exponential"].shape
    each = 1 + steps
    count = NODES[dim * each]
    x = torch.linspace(-REACH, REACH, count, dtype=torch.float64)
    places = digits(torch.arange(count ** (dim * each)), count, dim * each)
    weights = torch.softmax(-(x**2) / 2, 0)[places].prod(-1)
    if len(weights) > CHEAP:
        heavy = weights > LIGHT * weights.max()
        places, weights = places[heavy], weights[heavy]
    scores = x[places].reshape(-1, 1, 1, dim, each).expand(-1, samples, batch, -1, -1)
    return weights, {"raised": scores[..., 0], "exponential": -torch.special.log_ndtr(scores[..., 1:])}


def path_of_uniforms_lost(objective, q, noise, parameters):
    """The augmentation as if its exponents 1 / (α + i − 1) were constants."""
    held = q.parameters["concentration"].detach()
    shift = noise["exponential"] * held[..., None] / q.parameters["concentration"][..., None]
    steps = torch.arange(shift.shape[-1], dtype=shift.dtype)
    lost = noise["exponential"] * (q.parameters["concentration"][..., None] + steps) / (held[..., None] + steps)
    return OWN.surrogate(objective, q, {"raised": noise["raised"], "exponential": lost}, parameters)


COST = {"cost": "exp", "k": 1.0, "shape": 0.5}
MODEL = {"batch": 2, "features": 4}
FACTS = Facts(
    integrated=integrated,
    mutants=(
        Mutant("path of u lost", mutant(OWN, path_of_uniforms_lost), "gamma-cost", 1, "phi.log_shape", COST),
        Mutant("ε not held", without(OWN, "ε"), "gamma-cost", 1, "phi.log_shape", COST),
        Mutant("weight not held", without(OWN, "f as weight"), "gamma-poisson", 1, "theta", MODEL),
        Mutant("sign flipped", scaled(OWN, -1.0), "gamma-poisson", 2, "phi", MODEL),
    ),
)


def by_hand(given: Given) -> Estimate:
    """∇f along z(ε, u), and f times the derivative of log π(ε); in the rate, z only scales."""
    q, exponential = given.q, given.noise["exponential"]
    steps = np.arange(exponential.shape[-1])
    raised = q.concentration + exponential.shape[-1]
    proposed = quantile(raised, given.noise["raised"])
    exponents = q.concentration[..., None] + steps
    z = proposed * np.exp(-(exponential / exponents).sum(-1)) / q.rate
    third = raised - 1 / 3
    root = np.cbrt(proposed / third)
    of_root = (1 - root) / (2 * third)  # root = 1 + ε / √(9 third) at a given ε
    slope = 1 / third + 3 * of_root / root
    of_law = np.log(proposed) + (raised - 1 - proposed) * slope - digamma(raised)
    of_law = of_law + 1 / (2 * third) + 2 * of_root / root
    slope = slope + (exponential / exponents**2).sum(-1)
    here = given.at(z)
    along = (here.dz * z * q.concentration * slope, -here.dz * z)
    correction = weighted(here.f, (q.concentration * of_law, 0 * z))
    return Estimate(mean(added(along, correction), z), z)


@pytest.mark.parametrize("augmentation", [1, 3])
@pytest.mark.parametrize("spot", GAMMA, ids=repr)
def test_the_gradient_at_fixed_noise(spot, augmentation):
    spot.check(NAME, by_hand, augmentation=augmentation)


def test_the_gradient_without_augmentation():
    GAMMA[0].check(NAME, by_hand, augmentation=0)


@pytest.mark.parametrize(
    ("cost", "shape", "variances"),
    [
        ("quadratic", 1.0, (25.4643, 22.3798, 22.1246)),
        ("quadratic", 2.0, (119.6449, 119.7815, 119.8220)),
        ("quadratic", 5.0, (1384.328, 1402.760, 1412.313)),
        ("exp", 1.0, (0.373813, 0.0340888, 0.0295649)),
        ("exp", 2.0, (0.0552685, 0.0451830, 0.0446975)),
    ],
)
def test_its_variance_by_augmentation(cost, shape, variances):
    """In the log shape, for augmentation 0, 1 and 2, the figures by a quadrature written apart from this one.

    It falls where the score of the acceptance is most of it, and rises a little elsewhere. It stays above the variance
    along the quantile: the uniforms' part of the path is noise of its own.
    """
    point = point_of("gamma-cost", cost=cost, k=0.0 if cost == "quadratic" else 1.0, shape=shape)
    found = [exact_moments(task_of(point, NAME, augmentation=b))["phi.log_shape"] for b in range(3)]
    np.testing.assert_allclose([variance for _, variance in found], variances, rtol=2e-5)
    exact = {"quadratic": shape * (2 * shape + 1), "exp": -shape * math.log(2) * 2**-shape}[cost]
    np.testing.assert_allclose([float(mean) for mean, _ in found], exact, rtol=1e-7)
    _, along = exact_moments(task_of(point, "implicit"))["phi.log_shape"]
    assert min(variances) > along


def test_its_law_is_that_of_the_rejection_loop():
    """Marsaglia and Tsang's loop takes ε where log u < ½ε² + d (1 − v + log v): by Kolmogorov-Smirnov, at 1e-3."""
    concentration, rng = 1.4, np.random.default_rng(0)
    third = concentration - 1 / 3
    proposed, u = rng.standard_normal(40_000), rng.uniform(size=40_000)
    v = (1 + proposed / np.sqrt(9 * third)) ** 3
    with np.errstate(invalid="ignore", divide="ignore"):
        accepted = proposed[(v > 0) & (np.log(u) < proposed**2 / 2 + third * (1 - v + np.log(v)))]
    q = Gamma(concentration=torch.full((1, 1, 1, 1), concentration, dtype=torch.float64), rate=torch.ones(1, 1, 1, 1))
    z = q.sample(q.noise(40_000, 1, stream(0, "loop"))).flatten().numpy()
    ours = np.sqrt(9 * third) * (np.cbrt(z / third) - 1)
    assert ks_2samp(accepted, ours).pvalue > 1e-3


@pytest.mark.parametrize("augmentation", [0, 1, 4])
def test_its_samples_are_samples_of_q(augmentation):
    """E z and E log z by moments of 20000 draws, within 5 standard errors: 6e-7 each."""
    task = task_of(point_of("gamma-cost", shape=1.5, rate=0.4), NAME, augmentation=augmentation)
    noise = noise_of(task, 20_000)
    assert isinstance(noise, dict)
    z = latents(task.held_q, noise).flatten()
    for value, exact in ((z, 1.5 / 0.4), (z.log(), digamma(1.5) - math.log(0.4))):
        assert abs(float(value.mean()) - exact) < 5 * float(value.std()) / len(z) ** 0.5


def test_a_small_concentration_needs_augmentation():
    point = point_of("gamma-cost", shape=0.9)
    with pytest.raises(MeasurementError, match=r"concentration of 0\.9 has no proposal without augmentation"):
        noise_of(task_of(point, NAME, augmentation=0), 1)
    assert noise_of(task_of(point, NAME), 1)


@pytest.mark.parametrize("shape", [0.02, 300.0])
def test_it_stays_finite_at_concentrations_far_from_1(shape):
    task = task_of(point_of("gamma-cost", cost="log", shape=shape), NAME)
    assert all(math.isfinite(float(value)) for value in task.gradient(noise_of(task, 1000)).values())


def test_it_is_for_gamma_latents():
    refuses(NAME, setting("gaussian-vae"), "needs gamma latents; gaussian-vae has gaussian")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "gamma-cost", "cost": "exp", "k": 1})
