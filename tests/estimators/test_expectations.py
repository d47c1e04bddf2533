"""Unbiasedness, by exact expectations over the draws: every declared scope is held to it."""

from __future__ import annotations

from functools import cache
from itertools import groupby, pairwise

import pytest

from gradbench.core.types import Gradients
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.scope import Scope
from gradbench.objectives.base import Kl
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.problems.networks import Calls
from gradbench.target import reference
from gradbench.target.points import Point
from tests.cases import Trial, point_at, tiny, working
from tests.covering import cover
from tests.estimators.facts import facts_of
from tests.estimators.trials import EACH
from tests.exactly import CHEAP, MOST, differentiated, expected_gradient, integrated, tuples
from tests.helpers import Case

EXACT, DEAR = 1e-8, 1e-5
"""Allowed for rounding and quadrature, where the draws are cheap to sum over and where they are not."""
IMPLICIT = 1e-3
"""Allowed along a path whose derivative is an implicit one: torch's are good to some 1e-4."""
BIASED = 1e-3
"""Relative to the norm of the gradient: what is biased is so by more, somewhere."""


def goals(trial: Trial) -> frozenset[tuple[object, ...]]:
    """What is to be covered: problems, objectives with each KL on every kind of latents, and these with every L."""
    objective = (trial.objective, trial.kl)
    return frozenset({("problem", trial.place.problem), (trial.place.latents, *objective), (*objective, trial.samples)})


@cache
def integrable(name: str) -> list[Trial]:
    """The trials of an estimator whose draws are summed over: cheap ones, and dear ones for what these leave out."""
    elsewhere = facts_of(name).summed_elsewhere
    every = [
        trial
        for trial in working(name, [place for problem in PROBLEMS for place in tiny(problem)])
        if (trial.place.latents, trial.objective, trial.kl) not in elsewhere
    ]
    sizes = {trial: tuples(trial.unfitted()) for trial in every}
    cheap = [trial for trial in every if sizes[trial] <= CHEAP]
    reached = frozenset().union(*map(goals, cheap)) if cheap else frozenset()
    dear = sorted((trial for trial in every if CHEAP < sizes[trial] <= MOST), key=lambda trial: sizes[trial])
    return [*cover(cheap, goals), *cover(dear, lambda trial: goals(trial) - reached)]


def bound_gradient(point: Point, objective: ChosenObjective, samples: int) -> Gradients:
    """The gradient of an objective of all L samples itself, integrated over q's noise and then differentiated.

    Of latents without a path, the masses of the samples are what depends on φ: q over q held, sample by sample.
    """
    task = Task(point, ESTIMATORS["iwae-score"], {}, samples, objective)  # one that draws L samples of q
    weights, noise = integrated(task)
    q = point.problem.posterior(Calls(point.problem.phi), point.x)
    here = task.at(Calls(point.problem.theta))
    z = q.sample(noise)
    value = here.reduce(here.f(z, q)).mean(-1)
    if not z.requires_grad:  # a family is asked for its path, and layers of one have it, too
        log_q = q.log_prob(z).sum((1, 2))
        value = value * (log_q - log_q.detach()).exp()
    return differentiated(task, weights @ value)


@cache
def exact_gradient(place: Case, name: str, kl: Kl | None, samples: int) -> Gradients:
    """What an unbiased estimator of an objective has as its mean, the same for all estimators."""
    objective, point = ChosenObjective(name, kl), point_at(place)
    if objective.inside(samples) > 1:
        return bound_gradient(point, objective, samples)
    found = reference.compute(point, objective, samples, 64, 8)
    assert found.exact
    return dict(found.gradient)


@cache
def bias(trial: Trial) -> dict[str, float]:
    """‖E ĝ − g‖ relative to ‖g‖, in φ and in θ."""
    exact = exact_gradient(trial.place, trial.objective, trial.kl, trial.samples)
    found = expected_gradient(trial.task())
    whole = sum(float(value.square().sum()) for value in exact.values()) ** 0.5
    sums = {"phi": 0.0, "theta": 0.0}
    for name, value in found.items():
        sums[name.partition(".")[0]] += float((value - exact[name]).square().sum())
    return {group: value**0.5 / whole for group, value in sums.items()}


def allowed(trial: Trial) -> float:
    """What rounding, quadrature and an implicit path may change, relative to ‖g‖."""
    if type(trial.task().held_q).implicit:
        return IMPLICIT
    return EXACT if tuples(trial.task()) <= CHEAP else DEAR


@pytest.mark.parametrize("trial", [trial for name in ESTIMATORS.lines for trial in integrable(name)], ids=str)
def test_an_unbiased_estimator_has_the_reference_as_its_exact_mean(trial):
    found, estimator = bias(trial), ESTIMATORS[trial.estimator]
    for part in ("phi", "theta"):
        if estimator.is_unbiased(trial.objective, part, trial.samples, trial.parameters):
            assert found[part] < allowed(trial)


@EACH
def test_an_estimator_declared_biased_is_biased(name):
    declared = ESTIMATORS[name].unbiased
    for objective in declared:
        for part in ("phi", "theta"):
            if getattr(declared[objective], part) is not Scope.BIASED or (part == "theta" and objective == "cost"):
                continue  # a cost has no θ
            found = [bias(trial)[part] for trial in integrable(name) if trial.objective == objective]
            assert max(found) > BIASED, (objective, part)


@EACH
def test_an_estimator_declared_consistent_is_biased_less_with_every_sample_more(name):
    """Wherever it is integrated with several L; by how much less is for its own test file."""
    declared = ESTIMATORS[name].unbiased
    for objective in declared:
        for part in ("phi", "theta"):
            if getattr(declared[objective], part) is not Scope.CONSISTENT:
                continue
            every = [
                trial
                for trial in working(name, [place for problem in PROBLEMS for place in tiny(problem)], (1, 2, 3))
                if (trial.place.latents, trial.objective, trial.kl) not in facts_of(name).summed_elsewhere
            ]
            compared = 0
            for _, group in groupby(every, lambda trial: (trial.place, trial.objective, trial.kl)):
                trials = [
                    trial for trial in group if trial.objective == objective and tuples(trial.unfitted()) <= CHEAP
                ]
                found = [bias(trial)[part] for trial in sorted(trials, key=lambda trial: trial.samples)]
                if len(found) < 2 or found[0] > 2:  # of a gradient that is 0 nothing is a part
                    continue
                assert all(later < sooner - 1e-6 for sooner, later in pairwise(found)), (trials[0], found)
                compared += 1
            assert compared > 2, (objective, part)


@EACH
def test_every_declared_scope_is_put_to_the_test(name):
    """Each objective at each kind of latents that the estimator works with is integrated somewhere."""
    every = working(name, [place for problem in PROBLEMS for place in tiny(problem)])
    wanted = {(trial.place.latents, trial.objective, trial.kl) for trial in every}
    found = {(trial.place.latents, trial.objective, trial.kl) for trial in integrable(name)}
    assert wanted - found == set(facts_of(name).summed_elsewhere)
    assert {trial.objective for trial in integrable(name)} == set(ESTIMATORS[name].unbiased)
