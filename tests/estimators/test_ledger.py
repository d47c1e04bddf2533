"""The ledger of every estimator against what autograd does."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from gradbench.core.types import Noise, holding, watching
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from tests.estimators.facts import facts_of
from tests.estimators.trials import ALL, DESIGN, EACH, values_of
from tests.helpers import noise_of


def gradient_under(task: Task, noise: Noise, **context: set[str]) -> dict[str, Tensor]:
    """The gradient of the surrogate alone, the remainder left out, with holds dropped or added."""
    problem = task.point.problem
    kept = {name: frozenset(factors) for name, factors in context.items()}

    def bare(objective, q, noise, *rest):
        with holding(**kept):
            value = task.estimator.surrogate(objective, q, noise, *rest)
        remainder = objective.remainder(q)
        return value if remainder is None else value - remainder

    found = replace(task, estimator=replace(task.estimator, surrogate=bare)).gradient(noise)
    assert set(found) == set(problem.named_parameters())
    return found


def moved(a: dict[str, Tensor], b: dict[str, Tensor], group: str) -> bool:
    """Whether two gradients differ, beyond rounding, in a group."""
    scale = max([1e-300, *(float(v.abs().max()) for v in (*a.values(), *b.values()))])
    return any(float((a[n] - b[n]).abs().max()) > 1e-11 * scale for n in a if n.startswith(group + "."))


@EACH
def test_the_ledger_names_exactly_the_factors_of_the_surrogate(name):
    declared = {factor.name: factor.held for factor in ESTIMATORS[name].ledger}
    assert len(declared) == len(ESTIMATORS[name].ledger)
    union: dict[str, bool] = {}
    for trial in DESIGN[name]:
        task = trial.task()
        with watching() as seen:
            values_of(task, noise_of(task, 2))
        assert all(union.get(factor, held) == held for factor, held in seen.items())
        union |= seen
    assert union == declared
    assert all(factor.why for factor in ESTIMATORS[name].ledger)


@ALL
def test_the_ledger_is_complete(trial):
    """With all that is differentiated held too, nothing is left to differentiate."""
    task = trial.task()
    factors = {factor.name for factor in task.estimator.ledger if not factor.held}
    found = gradient_under(task, noise_of(task, 3), add=factors)
    # the remainder is added and subtracted again: zero up to its rounding
    assert all(float(value.abs().max()) < 1e-12 for value in found.values())


@EACH
def test_each_live_factor_carries_what_the_ledger_says(name):
    """Holding it changes the φ-gradient, the θ-gradient, or both, on some problem: as declared."""
    carried: dict[str, set[str]] = {factor.name: set() for factor in ESTIMATORS[name].ledger if not factor.held}
    for trial in DESIGN[name]:
        task = trial.task()
        noise = noise_of(task, 3)
        full = gradient_under(task, noise)
        for factor, groups in carried.items():
            without = gradient_under(task, noise, add={factor})
            groups |= {group for group in ("phi", "theta") if moved(full, without, group)}
    for factor in ESTIMATORS[name].ledger:
        if not factor.held:
            declared = {group for group in ("phi", "theta") if getattr(factor, group)}
            assert carried[factor.name] == declared, factor.name


@EACH
def test_each_hold_matters(name):
    """Dropping it changes the gradient on some problem, or nothing could flow there in the first place."""
    for factor in (factor.name for factor in ESTIMATORS[name].ledger if factor.held):
        differs = False
        for trial in DESIGN[name]:
            task = trial.task()
            noise = noise_of(task, 3)
            full, without = gradient_under(task, noise), gradient_under(task, noise, drop={factor})
            differs |= moved(full, without, "phi") or moved(full, without, "theta")
        assert differs != (factor in facts_of(name).without_effect), factor


@EACH
def test_the_exceptions_are_factors_that_exist(name):
    held = {factor.name for factor in ESTIMATORS[name].ledger if factor.held}
    assert set(facts_of(name).without_effect) <= held
