"""The bias test catches the mistakes that people make: each mutant is biased, and what it was made from is not."""

from __future__ import annotations

import pytest

from gradbench.estimators import ESTIMATORS
from tests.estimators.facts import Mutant, facts_of
from tests.helpers import point_of, task_of, verdicts_of

MUTANTS = [(name, one) for name in ESTIMATORS.lines for one in facts_of(name).mutants]
ORIGINALS = {
    (name, one.problem, tuple(one.parameters.items()), one.samples): one
    for name, one in MUTANTS
}  # fmt: skip


@pytest.mark.parametrize("mutant", [one for _, one in MUTANTS], ids=[f"{name}: {one.mistake}" for name, one in MUTANTS])
def test_a_mutant_is_biased(mutant: Mutant):
    task = task_of(point_of(mutant.problem, **mutant.parameters), mutant.estimator, mutant.samples)
    assert verdicts_of(task)[mutant.group] == "biased"


@pytest.mark.parametrize(
    ("name", "problem", "parameters", "samples"),
    list(ORIGINALS),
    ids=[f"{name}-{problem}-L{samples}" for name, problem, _, samples in ORIGINALS],
)
def test_what_it_was_made_from_is_not(name, problem, parameters, samples):
    """Holm over the groups of one cell: each of these has an error rate of 5 %; the noise is seeded."""
    found = verdicts_of(task_of(point_of(problem, **dict(parameters)), name, samples))
    groups = facts_of(name).unbiased_groups or tuple(found)
    assert all(found[group] != "biased" for group in groups), found


@pytest.mark.parametrize("name", list(ESTIMATORS.lines))
def test_an_estimator_that_is_right_has_mutants(name):
    """Of controls, which are biased by design, there is nothing to break."""
    declared = ESTIMATORS[name].unbiased.values()
    if any(one.phi.holds(2) or one.phi.holds(1) for one in declared):
        assert facts_of(name).mutants
