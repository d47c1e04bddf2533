from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from gradbench.checking.declared import samples_of_q
from gradbench.checking.violation import BrokenError
from gradbench.core.seeding import stream
from gradbench.engine import control, features, general
from gradbench.engine.layers.trust import NeedsGeneralPathError
from gradbench.engine.measure import measure_moments as measure
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.draws import PAIRS, draw_samples, own
from gradbench.families.base import Family
from gradbench.families.bernoulli import Bernoulli
from gradbench.statistics import summarise
from tests.estimators.facts import facts_of
from tests.exactly import integrated
from tests.helpers import case, exact_reference, noise_in_phi, point_of, suits, task_of

EPS = float(np.finfo(np.float64).eps)
BELIEF = case("belief", "sigmoid-belief", latent=4, batch=2)
POINTS = [
    case("cost-1d", "gaussian-cost", cost="quadratic", k=-3.0),
    case("bit", "bernoulli-cost", prob=0.1),
    case("belief-2", "sigmoid-belief", latent=2, batch=1),
    case("linear-1d", "linear-gaussian", latent=1, features=3, batch=1),
]


@pytest.mark.parametrize(
    ("one", "estimator", "samples"),
    [
        *[
            (one, "score-function", count)
            for one in POINTS
            for count in (1, 2)
            if one.label != "belief-2" or count == 1
        ],
        (POINTS[2], "score-function-loo", 2),
        (POINTS[2], "disarm", 2),
        (POINTS[1], "disarm", 4),
    ],
    ids=str,
)
def test_the_control_has_mean_zero_exactly(one, estimator, samples):
    task = task_of(one.point(), estimator, samples)
    found = control.control_for(task)
    assert found is not None
    zero = found.task(task)
    weights, noise = integrated(zero, 48)
    gradients = general.replicate_gradients(zero, noise, len(weights))
    for name, value in gradients.items():
        size = float((weights[:, None] * value.abs()).sum())
        assert float((weights @ value).abs().max()) <= 1e-12 * size, name
        assert (size > 0) == name.startswith("phi.")


@pytest.mark.parametrize("estimator", ["score-function", "score-function-loo", "disarm"])
def test_every_feature_has_mean_zero_exactly(estimator):
    """Each by itself, before any coefficient: that of f's slope between samples, or partners, among them."""
    task = task_of(POINTS[2].point(), estimator, 2)
    weights, noise = integrated(task, 48)
    (found,) = features.Features(task)(noise).values()
    assert len(found) == 3
    for one in found:
        size = float((weights[:, None] * one.flatten(1).abs()).sum())
        assert size > 0
        assert float((weights @ one.flatten(1)).abs().max()) <= 1e-12 * size


def test_it_lowers_the_error_of_bias_and_leaves_the_variance_alone():
    task = task_of(BELIEF.point(), "score-function")
    reference = exact_reference(task.point)
    adjusted = measure(task, range(32), 32, reference.gradient)
    assert adjusted.adjusted
    plain = dataclasses.replace(adjusted, adjusted={})
    a, b = (summarise(moments, reference, EPS)["phi"] for moments in (adjusted, plain))
    # near the prior nearly all of the noise is f's mean times the score: half of the control would leave a quarter
    assert a.bias_sq_se < 0.01 * b.bias_sq_se
    assert a.variance == b.variance
    assert (a.variance_low, a.variance_high) == (b.variance_low, b.variance_high)
    theta = [summarise(moments, reference, EPS)["theta"] for moments in (adjusted, plain)]
    assert theta[0] == theta[1]


def test_it_leaves_a_bias_in_place():
    """Half the score function: the bias is ‖g‖/2 with the control as without."""
    point = BELIEF.point()
    task = task_of(point, "score-function")
    original = task.estimator.surrogate
    halved = dataclasses.replace(task.estimator, surrogate=lambda *given: 0.5 * original(*given))
    task = task_of(point, halved, 1, "monte-carlo")
    reference = exact_reference(point)
    one = summarise(measure(task, range(32), 256, reference.gradient), reference, EPS)["phi"]
    # 4 standard errors: 6e-5
    assert abs(one.bias_sq - one.gradient_norm**2 / 4) < 4 * one.bias_sq_se
    assert one.bias_low < one.gradient_norm / 2 < one.bias_high


def test_there_is_none_for_other_noise():
    assert control.control_for(task_of(BELIEF.point(), "exact", 2)) is None


@pytest.mark.parametrize("name", ["score-function", "score-function-loo", "disarm", "iwae-score", "vimco-arithmetic"])
def test_it_takes_nearly_all_noise_from_what_weighs_scores(name):
    """On a trained net as well, where f is not linear in the bits: a twentieth of the variance is left, or less."""
    task = task_of(point_of("sigmoid-belief", latent=6, batch=2, train_steps=100), name, 2, "monte-carlo")
    moments = measure(task, range(32), 64, exact_reference(task.point).gradient)
    plain, adjusted = noise_in_phi(moments)
    assert adjusted < plain / 20


@pytest.mark.parametrize("name", ["score-function", "iwae-score"])
@pytest.mark.parametrize("layers", [2, 3])
def test_it_takes_nearly_all_noise_from_layers_too(name, layers):
    """A bound asks for log q twice, in its weights and in its scores: both calls are of one layer at one input."""
    point = point_of("sigmoid-belief", latent=4, batch=2, stochastic_layers=layers)
    nothing = {key: torch.zeros_like(value) for key, value in point.problem.named_parameters().items()}
    moments = measure(task_of(point, name, 2, "monte-carlo"), range(32), 32, nothing)
    plain, adjusted = noise_in_phi(moments)
    assert adjusted < plain / 20


@pytest.mark.parametrize("layers", [1, 2])
def test_a_baseline_that_datapoints_share_leaves_the_noise_that_there_is_without_one(layers):
    """f less the baseline has one sign at some datapoints and another at others: no one coefficient fits them all."""
    point = point_of("sigmoid-belief", latent=4, batch=8, train_steps=200, stochastic_layers=layers)
    nothing = {key: torch.zeros_like(value) for key, value in point.problem.named_parameters().items()}

    (_, without), (plain, own) = (
        noise_in_phi(measure(task_of(point, name, 2, "monte-carlo"), range(32), 32, nothing))
        for name in ("score-function", "score-function-ema")
    )
    assert own < plain / 5
    assert own == pytest.approx(without, rel=0.05)


def test_a_mean_that_is_inherited_is_not_taken_for_that_of_another_law():
    """A subclass may have changed the law: what is exact of its base is not exact for it."""
    task = task_of(BELIEF.point(), "score-function", 2)

    class Fewer(Bernoulli):
        def sample(self, noise):
            return (noise < 0.5 * torch.sigmoid(self.parameters["logits"])).to(noise.dtype)

    assert features.slope_of(task) is not None
    object.__setattr__(task, "held_q", Fewer(**task.held_q.parameters))
    assert features.slope_of(task) is None
    assert len(features.Features(task)(task.noise(3, stream(0)))["logits"]) == 1


def test_samples_that_depend_on_one_another_must_say_so():
    """The product of f at one and the score of another has no mean of 0: declared independent, a bias is made up."""
    task = task_of(BELIEF.point(), "disarm", 2)
    told = dataclasses.replace(task.estimator, draws=dataclasses.replace(PAIRS, coupled=False, pairs=False))
    with pytest.raises(BrokenError, match="are not independent, or not of q"):
        samples_of_q(dataclasses.replace(task, estimator=told))
    samples_of_q(task)


def test_it_is_the_same_for_standard_noise_by_another_name():
    point = BELIEF.point()
    plain = task_of(point, "score-function", 2)
    wrapped = task_of(point, dataclasses.replace(plain.estimator, draws=own(lambda *given: draw_samples(*given))), 2)
    halves = task_of(
        point, dataclasses.replace(plain.estimator, draws=own(lambda *given: 0.5 * draw_samples(*given))), 2
    )
    one, other = (control.control_for(task) for task in (plain, wrapped))
    assert one is not None
    assert other is not None
    assert isinstance(one, control.Regressed)
    assert isinstance(other, control.Regressed)
    assert all(torch.equal(value, other.coefficients[name]) for name, value in one.coefficients.items())
    assert control.control_for(halves) is None


def test_there_is_none_where_it_explains_little():
    (one,) = (p for p in POINTS if p.label == "linear-1d")
    assert control.control_for(task_of(one.point(), "fixed-sample")) is None
    task = task_of(one.point(), "fixed-sample")
    assert not measure(task, range(4), 4, exact_reference(task.point).gradient).adjusted


def test_what_is_subtracted_is_what_the_noise_is_made_of():
    """f = (x + 3)² under N(1, 1): of f s in the mean, s (E f) and the slope's product (8 (x − 1)) s."""
    found = control.control_for(task_of(POINTS[0].point(), "score-function"))
    assert isinstance(found, control.Regressed)
    score, slope = found.coefficients["loc"].flatten()
    assert float(found.features.slope) == pytest.approx(8)
    # in the basis of Hermite polynomials f s is 17 ε + 8 ε² + ε³, and of ε³ the part along ε is 3 ε; 256 draws
    assert float(score) == pytest.approx(20, abs=2)
    assert float(slope) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("name", sorted(name for name, one in ESTIMATORS.items() if not one.scored))
@pytest.mark.parametrize("problem", ["gaussian-cost", "linear-gaussian", "bernoulli-cost"])
def test_who_declares_no_score_asks_for_none(name, problem, monkeypatch):
    estimator = ESTIMATORS[name]
    if not suits(estimator, problem):
        pytest.skip(f"{name} needs other latents")
    if name in ("unordered-set", "rao-blackwell"):
        pytest.skip(f"{name} asks the masses of states, with their parameters held, of the same log_prob")
    task = task_of(point_of(problem), dataclasses.replace(estimator, fit=None), 4, **facts_of(name).parameters)
    if estimator.why_not(task.setting) is not None or estimator.fit is not None:
        pytest.skip(f"{name} works elsewhere, or is fitted")
    assert control.control_for(task) is None
    monkeypatch.setattr(Family, "log_prob", lambda self, z: pytest.fail("a score"))
    task.gradient(task.noise(3, torch.Generator().manual_seed(0)))
    scored = task_of(point_of("linear-gaussian"), "score-function")
    with pytest.raises(pytest.fail.Exception, match="a score"):
        scored.gradient(scored.noise(3, torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("problem", ["gaussian-vae", "sigmoid-belief", "linear-gaussian", "bernoulli-cost"])
def test_it_is_taken_back_through_the_encoder_by_layer_as_by_autograd(problem, monkeypatch):
    task = task_of(point_of(problem), "score-function", 2)
    found = control.control_for(task)
    assert isinstance(found, control.Regressed)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(5, *value.shape[2:], generator=generator, dtype=value.dtype)
        for name, value in found.coefficients.items()
    }
    by_layer = control._taken_back(task, weights, 5)

    def refuse(*given, **more):
        raise NeedsGeneralPathError("not by layer")

    monkeypatch.setattr(control, "deltas", refuse)
    by_autograd = control._taken_back(task, weights, 5)
    assert by_layer.keys() == by_autograd.keys()
    assert any(bool(value.any()) for value in by_autograd.values())
    for name, value in by_autograd.items():
        torch.testing.assert_close(by_layer[name].reshape(value.shape), value, rtol=1e-10, atol=1e-12)
