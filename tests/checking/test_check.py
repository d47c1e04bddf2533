"""`gradbench check` finds what is wrong and where, lets pass what is right, and keeps its stated error rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy.stats import binom

from gradbench.checking import sequential
from gradbench.checking.sequential import schedule
from gradbench.checking.targets import targets
from gradbench.checking.verdict import as_estimator, check_estimator
from gradbench.core.errors import UsageError
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import Estimator
from gradbench.estimators.draws import NOTHING
from gradbench.estimators.scope import Scope, unbiased
from gradbench.estimators.score.score_function import surrogate as score_function
from gradbench.families import FAMILIES
from gradbench.objectives.base import average
from gradbench.testing import assert_unbiased
from tests.checking.broken import BIASED, VIOLATING, Broken, Violating, draws, pathwise, z_held_in_pathwise
from tests.checking.reinmax import REINMAX, STRAIGHT_THROUGH


@pytest.mark.parametrize("broken", BIASED, ids=lambda broken: broken.name)
def test_finds_the_bias_and_says_where(broken: Broken) -> None:
    result = check_estimator(broken.estimator(), problems=[broken.problem], replicates=broken.most)
    assert result.verdict == "biased"
    assert result.parts[broken.part] == "biased"
    assert result.exit_code == 1
    said = [found for found in result.diagnoses if found.part == broken.part]
    named = [found for found in said if broken.finds in found.message]
    assert named, said
    for found in result.diagnoses:
        assert not [word for word in broken.never if word in found.message], found.message
    if broken.counted is not None:
        # 4 standard errors: 6e-5 for each; and the errors must be small enough to tell 2 from 1.8
        assert all(abs(found.counted - broken.counted) < 4 * found.counted_error < 0.2 for found in named), named
    biased = {finding.tensor for finding in result.findings if finding.verdict == "biased"}
    assert set(broken.tensors) <= biased
    assert not set(broken.clean) & biased


@pytest.mark.parametrize("broken", VIOLATING, ids=lambda broken: broken.name)
def test_finds_the_broken_contract(broken: Violating) -> None:
    result = check_estimator(broken.estimator(), problems=[broken.problem])
    assert result.verdict == "violation"
    assert result.violations[0].kind == broken.kind
    assert result.violations[0].remedy
    assert result.exit_code == 1


def test_there_are_at_least_twenty() -> None:
    assert len(BIASED) >= 20


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ESTIMATORS))
def test_every_estimator_is_what_it_declares(name: str) -> None:
    result = check_estimator(ESTIMATORS[name], margin=0.05)
    assert result.as_declared, (result.parts, result.diagnoses, result.violations)


RUNS = 200


@pytest.mark.slow
@pytest.mark.parametrize("problem", ["gaussian-cost", "bernoulli-cost"])
def test_false_alarms_are_as_rare_as_stated(problem: str) -> None:
    """The score function is right, and heavy-tailed; at a rate of 10 % its alarms can be counted."""
    rate = 0.1
    alarms = sum(
        check_estimator(
            ESTIMATORS["score-function"], problems=[problem], false_alarms=rate, margin=1e-9, replicates=8192, seed=seed
        ).verdict
        == "biased"
        for seed in range(RUNS)
    )
    assert alarms <= binom.ppf(0.999, RUNS, rate)


@pytest.mark.slow
def test_power_is_as_stated() -> None:
    """A bias of the size that is said to be found with 90 % is found about as often."""
    right = check_estimator(ESTIMATORS["pathwise"], problems=["gaussian-cost"], margin=1e-9, replicates=2048)
    size = {finding.tensor: finding.detectable for finding in right.findings}["phi.mean"]
    assert size is not None

    def too_long(objective, q, noise):
        return average(objective.f(q.sample(noise), q)) * (1 + size)

    wrong = Estimator("too-long", "", too_long, ledger=(), paper="-", latents=frozenset({"gaussian"}))
    runs = 60
    found = sum(
        check_estimator(wrong, problems=["gaussian-cost"], margin=1e-9, replicates=2048, seed=seed).verdict == "biased"
        for seed in range(runs)
    )
    assert found >= binom.ppf(0.001, runs, sequential.POWER)


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "unbiased"), (1.005, "biased"), (0.995, "biased")])
def test_an_implicit_path_is_right_to_its_accuracy_and_no_further(factor: float, verdict: str) -> None:
    """Pairs have so little noise along the gradient that torch's derivative shows; half a percent is a bias still."""
    pairs = ESTIMATORS["pathwise-antithetic"]

    def stretched(objective, q, noise):
        return pairs.surrogate(objective, q, noise) * factor

    result = check_estimator(
        replace(pairs, name="stretched", surrogate=stretched), problems=["gamma-poisson"], replicates=8192
    )
    assert result.parts["phi"] == verdict
    assert all(f.p < 1e-6 for f in result.findings if f.part == "phi" and factor != 1)


def test_unresolved_says_how_many_replicates_it_takes() -> None:
    few = check_estimator(ESTIMATORS["score-function"], problems=["gaussian-cost"], margin=0.03, replicates=2048)
    assert few.verdict == "unresolved"
    assert few.exit_code == 1
    enough = -(-few.needed // 1024) * 1024
    assert enough > 2048
    assert (
        check_estimator(
            ESTIMATORS["score-function"], problems=["gaussian-cost"], margin=0.03, replicates=enough
        ).verdict
        == "unbiased"
    )


def test_a_declared_bias_is_no_failure_and_a_false_declaration_is() -> None:
    control = check_estimator(ESTIMATORS["fixed-sample"], problems=["gaussian-cost"])
    assert (control.verdict, control.exit_code) == ("biased", 0)
    modest = Estimator(
        "modest",
        "",
        ESTIMATORS["exact"].surrogate,
        (),
        "-",
        unbiased=unbiased("elbo", "cost", phi=Scope.BIASED),
        draws=NOTHING,
    )
    result = check_estimator(modest, problems=["bernoulli-cost"])
    assert (result.verdict, result.exit_code) == ("unbiased", 1)


def test_a_bias_that_a_quadratic_cost_hides_is_found() -> None:
    for estimator in (REINMAX, STRAIGHT_THROUGH):
        result = check_estimator(estimator, problems=["bernoulli-cost"])
        assert (result.verdict, result.exit_code) == ("biased", 0)
    # (f'(0) + f'(1)) / 2 over f(1) - f(0), for f(b) = |b - 0.2|^3
    (found,) = check_estimator(REINMAX, problems=["bernoulli-cost"]).diagnoses
    assert found.counted == pytest.approx(3 * (0.64 - 0.04) / 2 / (0.512 - 0.008), abs=0.03)


def test_the_same_seed_gives_the_same_answer() -> None:
    one, two = (check_estimator(pathwise, problems=["gaussian-cost"], margin=0.1) for _ in range(2))
    assert one.findings == two.findings


def test_a_bare_surrogate_finds_its_latents() -> None:
    costs = {target.family for target in targets() if not target.chosen.has_theta}
    assert {"gaussian", "bernoulli", "categorical", "gamma"} < costs
    assert as_estimator(pathwise).latents == {name for name in costs if FAMILIES[name].reparameterised}
    assert as_estimator(score_function).latents == costs
    assert as_estimator(pathwise, ["bernoulli"]).latents == {"bernoulli"}


def test_assert_unbiased() -> None:
    assert_unbiased(pathwise, problems=["gaussian-cost"], within=0.1)
    with pytest.raises(AssertionError, match="lost"):
        assert_unbiased(z_held_in_pathwise, problems=["gaussian-cost"], latents=["gaussian"], within=0.1)
    with pytest.raises(AssertionError, match="hidden randomness"):
        assert_unbiased(draws, problems=["gaussian-cost"])
    with pytest.raises(AssertionError, match="replicates"):
        assert_unbiased(pathwise, problems=["gaussian-cost"], within=1e-5, replicates=2048)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: check_estimator(pathwise, latents=["laplace"]), "no problem has such"),
        (
            lambda: check_estimator(pathwise, latents=["gaussian"], problems=["bernoulli-cost"]),
            "no problem to check it on",
        ),
        (lambda: check_estimator(pathwise, problems=["gausian-cost"]), "did you mean 'gaussian-cost'"),
        (lambda: check_estimator(pathwise, replicates=100), "multiple of 32"),
        (lambda: check_estimator(42), "expected an Estimator or a surrogate function"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_what_cannot_be_checked_is_said(call, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        call()


def test_looks_grow_to_the_most_that_is_allowed() -> None:
    assert schedule(131072) == [2048, 8192, 32768, 131072]
    assert schedule(1024) == [1024]
