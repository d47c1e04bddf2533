"""REBAR."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad
from scipy.special import expit, logit

from gradbench.core.seeding import stream
from gradbench.engine.general import replicate_gradients
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.discrete import rebar
from gradbench.estimators.parts import relaxed_control
from tests.estimators import measured, relaxed_nodes
from tests.estimators.asking import refuses, setting
from tests.estimators.by_hand import BERNOULLI, Array, Bits, Estimate, Given, added, array, mean, weighted
from tests.estimators.facts import Facts, Mutant
from tests.estimators.mutating import held_too, scaled, without
from tests.exactly import exact_variance
from tests.helpers import exact_reference, gradients_by_loop, noise_of, point_of, task_of

NAME = "rebar"
OWN = ESTIMATORS[NAME]
BELIEF = {"latent": 4, "batch": 2}
CATEGORIES = {"variables": 2, "categories": 3, "hidden": 4, "batch": 2}
SHORT = {"fit_steps": 3}
"""What it is held to does not depend on how good the fit is."""
WITHOUT_EFFECT = {"z": "no gradient flows through a comparison"}


def mutants(own):
    """Mistakes in a relaxed control."""
    return (
        Mutant("sign flipped", scaled(own, -1.0), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("weight not held", without(own, "f - c given z"), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("path of the mean of c lost", held_too(own, "relaxation"), "sigmoid-belief", 2, "phi", BELIEF),
        Mutant("path given z lost", held_too(own, "relaxation given z"), "categorical-vae", 2, "phi", CATEGORIES),
        Mutant("log q held", held_too(own, "log q"), "categorical-vae", 2, "phi", CATEGORIES),
    )


FACTS = Facts(
    parameters=SHORT,
    evaluations=lambda setting: 3.0 * setting.samples,
    without_effect=WITHOUT_EFFECT,
    mutants=mutants(OWN),
    integrated=lambda task: relaxed_nodes.apart(task, 48),
    mean_only=relaxed_nodes.together,
    tuples=relaxed_nodes.tuples,
)


def relaxations(given: Given) -> tuple[Array, tuple[Array, Array], tuple[Array, Array]]:
    """b, the relaxation and the relaxation given b, each with its derivative in the logit."""
    assert isinstance(given.q, Bits)
    p, u, v = given.q.p, given.noise["z"], given.noise["given z"]
    b = given.q.sample(u)
    one = np.log((1 - v * p) / (v * (1 - p))), p * (1 - v) / (1 - v * p)
    zero = -np.log((1 - v * (1 - p)) / (v * p)), (1 - p) * (1 - v) / (1 - v * (1 - p))
    either = [np.where(b == 1, at_one, at_zero) for at_one, at_zero in zip(one, zero, strict=True)]
    return b, (logit(p) - logit(u), np.ones_like(u)), (either[0], either[1])


def of_f(given: Given, perturbed: Array) -> tuple[Array, Array]:
    """η f(σ(ζ/τ)) and its derivative in ζ."""
    scale, tau = float(given.task.state["scale"]), math.exp(float(given.task.state["log temperature"]))
    relaxed = expit(perturbed / tau)
    here = given.at(relaxed)
    return scale * here.f, scale * here.dz * relaxed * (1 - relaxed) / tau


def by_hand(given: Given, control=of_f) -> Estimate:
    """(f(b) − c(z̃)) ∇ log q(b) + ∇c(ζ) − ∇c(z̃)."""
    b, (free, along_free), (conditional, along_given) = relaxations(given)
    (_, slope), (c_given, slope_given) = control(given, free), control(given, conditional)
    paths = slope * along_free - slope_given * along_given
    return Estimate(mean(added(weighted(given.at(b).f - c_given, given.q.score(b)), (paths,)), b), b)


@pytest.mark.parametrize("temperature", [0.5, 1.3])
@pytest.mark.parametrize("spot", BERNOULLI, ids=repr)
def test_the_gradient_at_fixed_noise(spot, temperature):
    spot.check(NAME, by_hand, temperature=temperature, fit_steps=5)


def test_the_gradient_at_fixed_noise_of_categories():
    """The same with softmax for σ; the largest is a Gumbel variable, and the others are cut off below it."""
    task = task_of(point_of("categorical-cost", variables=2, categories=3, power=3.0), NAME, 2, **SHORT)
    problem, noise = task.point.problem, noise_of(task, 4)
    logits, values = array(problem.named_parameters()["phi.logits"]), array(problem.values)
    scale, tau = float(task.state["scale"]), math.exp(float(task.state["log temperature"]))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    gumbel, other = (array(noise[name])[:, :, 0] for name in ("z", "given z"))
    free = np.log(p) + gumbel
    z = np.eye(3)[free.argmax(-1)]

    def f(z):
        total = (z * values).sum((-2, -1)) / np.sqrt(2)
        return np.abs(total) ** 3, (3 * total**2 * np.sign(total))[..., None, None] * values / np.sqrt(2)

    def c(perturbed):
        soft = np.exp(perturbed / tau)
        soft /= soft.sum(-1, keepdims=True)
        value, slope = f(soft)
        return scale * value, scale * soft * (slope - (soft * slope).sum(-1, keepdims=True)) / tau

    largest = (z * other).sum(-1, keepdims=True)
    share = np.exp(-other) / p
    conditional = np.where(z == 1, largest, -np.log(share + np.exp(-largest)))
    moved = np.where(z == 1, 0.0, share / (share + np.exp(-largest)))  # with log p of the category itself
    (_, slope), (c_given, slope_given) = c(free), c(conditional)

    def through_log_p(along):
        return along - p * along.sum(-1, keepdims=True)

    left = (f(z)[0] - c_given)[..., None, None] * (z - p)
    expected = (left + through_log_p(slope) - through_log_p(slope_given * moved)).mean(1)
    found = array(gradients_by_loop(task, noise, 4)["phi.logits"])
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def with_control(point, temperature: float, scale: float, samples: int = 1):
    """The task at a temperature and a scale, whatever a fit would find."""
    task = task_of(point, NAME, samples, **SHORT)
    state = {"log temperature": math.log(temperature), "scale": scale}
    return replace(task, state={name: torch.tensor(value, dtype=torch.float64) for name, value in state.items()})


@pytest.mark.parametrize(("temperature", "scale"), [(0.5, 1.0), (2.0, -1.0), (1.0, 3.0)])
@pytest.mark.parametrize(
    "point",
    [
        point_of("bernoulli-cost", prob=0.2, target=0.45, power=4.0, dim=2),
        point_of("categorical-cost", variables=2, categories=2, power=4.0),
    ],
    ids=["bits", "categories"],
)
def test_the_mean_is_the_gradient_whatever_the_control(point, temperature, scale):
    task = with_control(point, temperature, scale)
    weights, noise = relaxed_nodes.together(task)
    exact = exact_reference(point).gradient
    for name, rows in replicate_gradients(task, noise, len(weights)).items():
        torch.testing.assert_close((weights @ rows).reshape(exact[name].shape), exact[name], rtol=1e-7, atol=1e-8)


def test_both_relaxations_have_one_law_and_are_the_same_where_their_noises_say_so():
    """What the nodes of its mean rest on."""
    for point in (point_of("bernoulli-cost", prob=0.2, dim=3), point_of("categorical-cost", variables=2, categories=4)):
        task = task_of(point, NAME, **SHORT)
        q, noise = task.held_q, task.held_q.noise(2000, 1, stream(0, "noise"))
        z, other = q.sample(noise), q.noise(2000, 1, stream(1, "noise"))
        same = q.perturbed_given(z, relaxed_nodes.given(q, noise))
        torch.testing.assert_close(q.softened(same, 1.0), q.softened(q.perturbed(noise), 1.0), rtol=1e-7, atol=1e-10)
        again = q.softened(q.perturbed_given(z, other), 1e-3)
        torch.testing.assert_close(again.round(), z, rtol=0, atol=0)


@pytest.mark.parametrize("prob", [0.2, 0.5])
def test_the_variance_on_one_bit(prob):
    """Over both noises, by scipy."""
    target, tau, scale = 0.45, 0.7, 0.8
    task = with_control(point_of("bernoulli-cost", prob=prob, target=target), tau, scale)

    def control(perturbed):
        relaxed = expit(perturbed / tau)
        return scale * (relaxed - target) ** 2, scale * 2 * (relaxed - target) * relaxed * (1 - relaxed) / tau

    def estimate(u, v):
        b = float(u < prob)
        if b:
            given, along = np.log((1 - v * prob) / (v * (1 - prob))), prob * (1 - v) / (1 - v * prob)
        else:
            given, along = -np.log((1 - v * (1 - prob)) / (v * prob)), (1 - prob) * (1 - v) / (1 - v * (1 - prob))
        (_, slope), (c_given, slope_given) = control(logit(prob) - logit(u)), control(given)
        return ((b - target) ** 2 - c_given) * (b - prob) + slope - slope_given * along

    def moment(power):
        return sum(
            dblquad(lambda v, u: estimate(u, v) ** power, low, high, 0, 1, epsabs=1e-10)[0]
            for low, high in ((0, prob), (prob, 1))
        )

    assert moment(1) == pytest.approx(prob * (1 - prob) * (1 - 2 * target), abs=1e-8)
    assert exact_variance(task) == pytest.approx(moment(2) - moment(1) ** 2, rel=1e-5)


def test_without_its_control_it_is_the_score_function():
    task = with_control(point_of("sigmoid-belief", **BELIEF), 0.5, 0.0, 2)
    noise = noise_of(task, 3)
    one = gradients_by_loop(task, noise, 3)
    two = gradients_by_loop(task_of(task.point, "score-function", 2), noise["z"], 3)
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-12, atol=1e-12)


def test_theta_is_that_of_the_score_function_replicate_for_replicate():
    task = task_of(point_of("sigmoid-belief", **BELIEF), NAME, 2, **SHORT)
    noise = noise_of(task, 3)
    one = gradients_by_loop(task, noise, 3)
    two = gradients_by_loop(task_of(task.point, "score-function", 2), noise["z"], 3)
    for name in one:
        assert torch.equal(one[name], two[name]) == name.startswith("theta")


def test_the_fit_looks_at_what_the_surrogate_gives():
    """The estimates that it squares are the surrogate's gradients, replicate by replicate."""
    for problem in ("bernoulli-cost", "categorical-cost"):
        task = task_of(point_of(problem), NAME, 2, **SHORT)
        noise, q = noise_of(task, 6), task.held_q
        z = q.sample(noise["z"])
        here, at = task.at(None), relaxed_control.At(noise, z, task.f(z))  # pyright: ignore[reportArgumentType]
        found = relaxed_control.relaxed_estimates(rebar.scaled_f, here, q, at, task.state)["logits"].mean(1)[:, 0]
        expected = gradients_by_loop(task, noise, 6)["phi.logits"]
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("target", "prob"), [(-1.0, 0.5), (2.0, 0.1), (-0.2, 0.7)])
def test_the_fitted_control_leaves_a_part_of_the_score_functions_noise(target, prob):
    point = point_of("bernoulli-cost", target=target, prob=prob)
    found, score = (exact_variance(task_of(point, name)) for name in (NAME, "score-function"))
    assert found < 0.5 * score
    assert found < exact_variance(with_control(point, 0.5, 1.0)), "where the fit begins"


def test_where_f_dips_between_its_states_no_control_of_f_alone_is_a_help():
    """(b − ½)² is nearly the same at both, and 0 between: what is left is a constant that c lacks."""
    point = point_of("bernoulli-cost", target=0.499, prob=0.5)
    found, score = (exact_variance(task_of(point, name)) for name in (NAME, "score-function"))
    assert found == pytest.approx(score, rel=0.01)


def test_what_it_refuses():
    refuses(NAME, setting("gaussian-vae"), "a relaxation given their samples")
    refuses(NAME, setting("sigmoid-belief", layers=2), "one layer")
    refuses(NAME, setting("sigmoid-belief", "iwae", "monte-carlo"), "not iwae")


@pytest.mark.slow
def test_it_is_an_average_of_independent_terms(tmp_path):
    measured.averages(tmp_path / "run", NAME, {"problem": "bernoulli-cost", "prob": 0.1})
