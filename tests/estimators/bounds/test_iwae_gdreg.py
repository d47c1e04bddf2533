"""The importance-weighted bound, doubly reparameterised for the prior, too."""

from __future__ import annotations

import pytest
import torch

from gradbench.core.errors import MeasurementError
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.bounds import iwae_gdreg
from gradbench.problems import PROBLEMS, rainforth
from tests.estimators.by_hand import (
    GAUSSIAN_BOUNDS,
    Estimate,
    Gaussian,
    Given,
    groups_of,
    importance_weights,
    model,
    weighted,
)
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, mutant, scaled
from tests.exactly import exact_variance, expected_gradient
from tests.helpers import gradients_by_loop, noise_of, point_of, task_of

NAME = "iwae-gdreg"
OWN = ESTIMATORS[NAME]
TOY = {"latent": 1, "features": 3, "batch": 1}
PRIOR = {"dim": 1, "perturb": 0.3}
AT_A_LEAF = "the slopes are taken at a leaf, and are numbers"


def without_its_correction(objective, q, noise):
    """Weights that do not move with z: the first term of the bracket left out."""
    slopes = iwae_gdreg.slopes_at

    def wrong(z, held, held_q):
        found = slopes(z, held, held_q)
        weight, squared = held.weights(found.log_w).detach(), held.path_weights(found.log_w).detach()
        off = iwae_gdreg.times((weight - squared) / weight, found.of_log_w)
        return found._replace(of_log_q_less_prior=found.of_log_q_less_prior - off)

    iwae_gdreg.slopes_at = wrong
    try:
        return OWN.surrogate(objective, q, noise)
    finally:
        iwae_gdreg.slopes_at = slopes


FACTS = Facts(
    evaluations=lambda setting: 3.0 * setting.samples,  # for the slopes, their gradient, and the likelihood in θ
    without_effect={"θ in the slopes": AT_A_LEAF, "q in the slopes": AT_A_LEAF},
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 2, "phi", TOY),
        Mutant("likelihood held", held_too(OWN, "likelihood"), "linear-gaussian", 2, "theta", TOY),
        Mutant("path of the prior held", held_too(OWN, "path of the prior"), "rainforth", 2, "theta", PRIOR),
        Mutant("weights that do not move", mutant(OWN, without_its_correction), "rainforth", 2, "theta", PRIOR),
    ),
)


def by_hand(given: Given) -> Estimate:
    """As DReG for φ; for a prior N(mean, 1), Σ (w̃ − w̃²) ∇ log w + w̃ ∇ (log q − log p), as its path is z = mean + ε̃."""
    assert isinstance(given.q, Gaussian)
    z = given.q.sample(given.noise)
    here, (p, _) = given.at(z), model(given.task)
    weight = importance_weights(given, here.f)
    squared = groups_of(given) * weight**2
    theta = {}
    if "theta.mean" in p:
        slope_of_prior = p["theta.mean"] - z
        along = (weight - squared)[..., None] * here.dz + weight[..., None] * (given.q.slope(z) - slope_of_prior)
        theta["theta.mean"] = along.sum(1).mean(1)
    return Estimate(tuple(part.sum(1) for part in weighted(squared, given.q.path(z, here.dz))), z, weight, theta)


@pytest.mark.parametrize("spot", GAUSSIAN_BOUNDS, ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize(
    ("problem", "parameters"),
    [("linear-gaussian", {"latent": 2, "features": 3, "batch": 2}), ("gaussian-vae", {"hidden": 3, "batch": 2})],
)
def test_where_the_prior_has_no_parameters_it_is_dreg(problem, parameters):
    point = point_of(problem, **parameters)
    one, other = (task_of(point, name, 3, "monte-carlo") for name in (NAME, "iwae-dreg"))
    noise = noise_of(one, 3)
    found, expected = (gradients_by_loop(task, noise, 3) for task in (one, other))
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_of_the_prior_it_has_the_mean_of_the_usual_gradient(samples):
    """Integrated over the noise of all samples; one replicate is another estimate altogether."""
    point = point_of("rainforth", **PRIOR)
    own, usual = (task_of(point, name, samples, "monte-carlo") for name in (NAME, "iwae-dreg"))
    one, other = (expected_gradient(task, 36) for task in (own, usual))
    for key, value in one.items():
        torch.testing.assert_close(value, other[key], rtol=1e-6, atol=1e-8)
    noise = noise_of(own, 1)
    one, other = (gradients_by_loop(task, noise, 1) for task in (own, usual))
    assert torch.allclose(one["phi.encoder.weight"], other["phi.encoder.weight"], rtol=1e-9)
    assert not torch.allclose(one["theta.mean"], other["theta.mean"], rtol=1e-3)


class WithoutAPath:
    """A prior that is known by its log_prob alone."""

    def __init__(self, law):
        self.log_prob = law.log_prob


def test_a_prior_without_a_path_is_refused(monkeypatch):
    kind = PROBLEMS["gaussian-vae"]
    before = kind.prior
    monkeypatch.setattr(kind, "prior", lambda self, theta: WithoutAPath(before(self, theta)))
    task = task_of(point_of("gaussian-vae", hidden=3, batch=2), NAME, 2, "monte-carlo")
    with pytest.raises(MeasurementError, match=r"WithoutAPath, which has no sampling path.*\nuse iwae-dreg"):
        task.gradient(noise_of(task, 1))


@pytest.mark.parametrize(("scale", "less"), [(2 / 3, True), (0.49, False)])
def test_with_one_sample_the_variance_of_the_prior_is_known(scale, less, monkeypatch):
    """q = N(m, s²), prior N(μ, 1), per dimension: s² usually, (1/s − s)² here: more where s² < ½, 0 where s = 1."""
    monkeypatch.setattr(rainforth, "SCALE", scale**0.5)
    point = point_of("rainforth", dim=2, batch=1, perturb=0.3)
    own, usual = (exact_variance(task_of(point, name, 1, "monte-carlo"), "theta", 64) for name in (NAME, "iwae-dreg"))
    assert usual == pytest.approx(2 * scale, rel=1e-9)
    assert own == pytest.approx(2 * (scale**-0.5 - scale**0.5) ** 2, rel=1e-9)
    assert (own < usual) == less


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_where_q_is_the_prior_no_noise_is_left_but_that_of_the_weights(samples, monkeypatch):
    """For one sample the bracket is then ∂ log p(x|z) / ∂z less itself."""
    monkeypatch.setattr(rainforth, "SCALE", 1.0)
    point = point_of("rainforth", dim=1, batch=1, perturb=0.3)
    with torch.no_grad():
        encoder = point.problem.phi["encoder"]
        encoder.weight.zero_()
        encoder.bias.copy_(point.problem.theta.get_parameter("mean"))
    own, usual = (exact_variance(task_of(point, name, samples, "monte-carlo"), "theta") for name in (NAME, "iwae-dreg"))
    assert (own < 1e-20) == (samples == 1)
    assert own < usual
