"""Sticking the landing."""

from __future__ import annotations

import math

import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators.asking import accepts, refuses, setting
from tests.estimators.by_hand import GAUSSIAN_ELBOS, Estimate, Given, mean
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled
from tests.exactly import exact_variance
from tests.helpers import ok_rows, point_of, task_of

NAME = "sticking-the-landing"
OWN = ESTIMATORS[NAME]
LINEAR = {"latent": 2, "features": 3, "batch": 2}
FACTS = Facts(
    mutants=(
        Mutant("sign flipped", scaled(OWN, -1.0), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("z held", held_too(OWN, "z"), "linear-gaussian", 1, "phi", LINEAR),
        Mutant("f held", held_too(OWN, "f"), "linear-gaussian", 1, "theta", LINEAR),
    )
)


def by_hand(given: Given) -> Estimate:
    """(1/L) Σ ∇f along the path alone."""
    z = given.q.sample(given.noise)
    return Estimate(mean(given.q.path(z, given.at(z).dz), z), z)


@pytest.mark.parametrize("spot", [spot for spot in GAUSSIAN_ELBOS if spot.objective.kl == "monte-carlo"], ids=repr)
def test_the_gradient_at_fixed_noise(spot):
    spot.check(NAME, by_hand)


@pytest.mark.parametrize("samples", [1, 2])
def test_it_has_no_variance_at_the_posterior(samples):
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="posterior")
    landed, plain = (task_of(point, name, samples, "monte-carlo") for name in (NAME, "pathwise"))
    assert exact_variance(landed) < 1e-25
    assert exact_variance(plain) > 0.1


@pytest.mark.parametrize(("noise", "noisier"), [(0.5, True), (0.4, False)])
def test_it_is_not_always_better(noise, noisier):
    """q = N(m, s²), posterior N(·, 1/λ): the gradient in m varies by (λs − 1/s)², the pathwise one by λ²s².

    The former is larger where s² < 1 / (2λ). The model's λ is 1 + w² / noise², and s is set to 0.3.
    """
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, noise=noise)
    s = 0.3
    point.problem.phi.get_parameter("log_scale").data.fill_(math.log(s))
    precision = 1 + float(point.problem.theta.get_parameter("decoder.weight").detach().square().sum()) / noise**2
    landed, plain = (
        exact_variance(task_of(point, name, 1, "monte-carlo"), "phi.encoder.bias") for name in (NAME, "pathwise")
    )
    assert plain == pytest.approx(precision**2 * s**2, rel=1e-9)
    assert landed == pytest.approx((precision * s - 1 / s) ** 2, rel=1e-9)
    assert (landed > plain) == noisier


def test_it_needs_a_sampled_kl():
    refuses(NAME, setting("gaussian-vae"), "use kl = 'monte-carlo'")
    accepts(NAME, setting("gaussian-vae", kl="monte-carlo", samples=1))


@pytest.mark.slow
def test_a_run_says_that_it_has_no_variance_at_the_posterior(tmp_path):
    grid = {"problem": "linear-gaussian", "batch": 4, "kl": "monte-carlo", "start": "posterior", "dtype": "float64"}
    rows = ok_rows(tmp_path / "run", grid | {"estimators": [NAME, "pathwise"], "samples": [1, 3]})
    phi = rows[rows.group == "phi"]
    assert (phi[phi.estimator == NAME].variance < 1e-10).all()
    assert (phi[phi.estimator == "pathwise"].variance > 1e-3).all()
    assert (rows.verdict != "biased").all()
