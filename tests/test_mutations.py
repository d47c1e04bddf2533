"""The bias test catches the mistakes that people make: each mutant is biased, and what it was made from is not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import Tensor

from gradbench.core.types import hold, holding
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.objectives.base import average
from tests.helpers import case, task_of, verdicts_of

GAUSSIAN_COST = case("quadratic", "gaussian-cost", cost="quadratic", k=-3.0)
BITS = case("bits", "bernoulli-cost", prob=0.1, dim=2)
LINEAR = case("linear", "linear-gaussian", latent=2, features=3, batch=2)
BELIEF = case("belief", "sigmoid-belief", latent=4, batch=2)


def mutant(name: str, surrogate) -> Estimator:
    return replace(ESTIMATORS[name], name=f"{name}-mutant", surrogate=surrogate)


def without(name: str, factor: str) -> Estimator:
    """The estimator with one hold dropped."""
    original = ESTIMATORS[name].surrogate

    def surrogate(*arguments, **keys):
        with holding(drop=frozenset({factor})):
            return original(*arguments, **keys)

    return mutant(name, surrogate)


def held_too(name: str, factor: str) -> Estimator:
    """The estimator with one live factor held: a gradient lost."""
    original = ESTIMATORS[name].surrogate

    def surrogate(*arguments, **keys):
        with holding(add=frozenset({factor})):
            return original(*arguments, **keys)

    return mutant(name, surrogate)


def score_with(weight) -> Estimator:
    """The score function with another weight, ``weight(f)``."""

    def surrogate(objective, q, noise: Tensor) -> Tensor:
        z = hold(q.sample(noise), "z")
        f = objective.f(z, hold(q, "q in f"))
        return average(hold(weight(f), "weight") * q.log_prob(z) + f)

    return mutant("score-function-loo", surrogate)


def scaled(name: str, factor: float) -> Estimator:
    original = ESTIMATORS[name].surrogate
    return mutant(name, lambda *arguments, **keys: factor * original(*arguments, **keys))


def one_tensor_doubled(objective, q, noise: Tensor) -> Tensor:
    """Pathwise, with the scale's path counted twice and the mean's left right."""
    z = q.sample(noise)
    value = average(objective.f(z, q))
    extra = objective.held().f(q.parameters["loc"].detach() + q.parameters["scale"] * noise, q.held())
    return value + average(extra) - hold(average(extra), "value")


def disarm_with_wrong_sign(objective, q, noise: Tensor) -> Tensor:
    original = ESTIMATORS["disarm"].surrogate
    return 2 * average(objective.f(hold(q.sample(noise), "b"), q.held())) * 0 - original(objective.held(), q, noise)


MUTANTS = {
    "score: sign flipped": (scaled("score-function", -1.0), BITS, 2, "phi"),
    "score: factor 2": (scaled("score-function", 2.0), BELIEF, 2, "phi"),
    "pathwise: sign flipped": (scaled("pathwise", -1.0), LINEAR, 1, "phi"),
    "pathwise: one tensor doubled": (mutant("pathwise", one_tensor_doubled), GAUSSIAN_COST, 1, "phi.log_scale"),
    "pathwise: z held": (held_too("pathwise", "z"), LINEAR, 1, "phi"),
    "pathwise: f held": (held_too("pathwise", "f"), LINEAR, 1, "theta"),
    "leave-one-out: includes itself": (score_with(lambda f: f - f.mean(1, keepdim=True)), BITS, 2, "phi"),
    "leave-one-out: includes itself, model": (score_with(lambda f: f - f.mean(1, keepdim=True)), BELIEF, 2, "phi"),
    "leave-one-out: sign of the baseline, and itself": (
        score_with(lambda f: f + f.mean(1, keepdim=True)),
        BITS,
        2,
        "phi",
    ),
    "score: z not held": (without("score-function", "z"), LINEAR, 1, "phi"),
    "score: weight not held": (without("score-function", "f as weight"), LINEAR, 1, "theta"),
    "score: log q held": (held_too("score-function", "log q"), BELIEF, 2, "phi"),
    "leave-one-out: weight not held": (without("score-function-loo", "f - baseline"), BELIEF, 2, "theta"),
    "disarm: weight not held": (without("disarm", "weight"), BELIEF, 2, "theta"),
    "disarm: sign flipped": (mutant("disarm", disarm_with_wrong_sign), BELIEF, 2, "phi"),
    "disarm: half of it": (scaled("disarm", 0.5), BITS, 2, "phi"),
    "exact: weight not held": (without("exact", "f as weight"), BELIEF, 2, "theta"),
    "exact: probability not held": (without("exact", "q as weight"), BELIEF, 2, "phi"),
    "gumbel-softmax: θ not held": (without("gumbel-softmax", "θ in relaxed f"), BELIEF, 2, "theta"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_is_biased(name):
    estimator, one, samples, group = MUTANTS[name]
    assert verdicts_of(task_of(one.point(), estimator, samples))[group] == "biased"


ORIGINALS = {(estimator.name.removesuffix("-mutant"), one, samples) for estimator, one, samples, _ in MUTANTS.values()}


@pytest.mark.parametrize(
    ("name", "one", "samples"), sorted(ORIGINALS, key=str), ids=lambda value: getattr(value, "label", str(value))
)
def test_what_it_was_made_from_is_not(name, one, samples):
    """Holm over the groups of one cell: each of these has an error rate of 5 %; the noise is seeded."""
    found = verdicts_of(task_of(one.point(), name, samples))
    groups = ["theta", "theta.decoder.output.weight"] if name == "gumbel-softmax" else list(found)
    assert all(found[group] != "biased" for group in groups), found


def test_the_wrong_tensor_is_told_from_the_right_one():
    estimator, one, samples, _ = MUTANTS["pathwise: one tensor doubled"]
    found = verdicts_of(task_of(one.point(), estimator, samples))
    assert found["phi.mean"] != "biased"


def test_dividing_by_l_without_itself_is_no_bias_but_costs_variance():
    """(Σ f − f_l)/L does not depend on z_l either: the mistake shows as variance, and only there."""
    from gradbench.engine.measure import measure
    from tests.helpers import exact_reference

    point = BITS.point()
    short = score_with(lambda f: f - (f.sum(1, keepdim=True) - f) / f.shape[1])
    assert verdicts_of(task_of(point, short, 2))["phi"] != "biased"
    spread = []
    for estimator in (short, "score-function-loo"):
        moments = measure(task_of(point, estimator, 2), range(32), 128, exact_reference(point).gradient)
        within = moments.within(["phi"])[0] / 127
        spread.append((within.mean(), within.std(ddof=1) / 32**0.5))
    (a, a_error), (b, b_error) = spread
    assert a - b > 4 * (a_error**2 + b_error**2) ** 0.5
