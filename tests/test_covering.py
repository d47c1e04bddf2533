"""The covering design covers what it says, with cases that work, from the registries alone."""

from __future__ import annotations

import itertools
import random

import pytest

from gradbench.estimators import ESTIMATORS
from gradbench.families import FAMILIES
from gradbench.objectives import OBJECTIVES
from gradbench.problems import PROBLEMS
from tests import cases
from tests.cases import all_places, covering, places, tiny, working
from tests.covering import cover


def test_a_cover_reaches_every_goal_and_nothing_in_it_is_superfluous():
    source = random.Random(0)
    for _ in range(50):
        goals = {index: frozenset(source.sample(range(20), source.randint(1, 6))) for index in range(30)}
        found = cover(list(goals), goals.__getitem__)
        assert set().union(*(goals[index] for index in found)) == set().union(*goals.values())
        for index in found:
            assert not goals[index] <= set().union(*(goals[other] for other in found if other != index))
        assert found == cover(list(goals), goals.__getitem__)


def test_all_pairs_of_three_factors_are_covered_by_far_fewer_rows():
    rows = list(itertools.product(range(4), range(4), range(4)))
    found = cover(rows, lambda row: itertools.combinations(enumerate(row), 2))
    assert {(a, b) for a, b, _ in found} == set(itertools.product(range(4), repeat=2))
    assert {(b, c) for _, b, c in found} == set(itertools.product(range(4), repeat=2))
    assert len(found) <= 24 < len(rows)


def test_there_is_nothing_to_cover_without_candidates():
    assert cover([], lambda one: {one}) == []


@pytest.mark.parametrize("name", list(ESTIMATORS.lines))
def test_an_estimator_meets_all_that_it_can_work_with(name):
    every, chosen = working(name, all_places()), covering(name)
    assert set(chosen) <= set(every)
    for what in (
        lambda trial: trial.place,
        lambda trial: trial.place.latents,
        lambda trial: (trial.objective, trial.kl, trial.place.latents),
        lambda trial: (trial.objective, trial.kl, trial.samples),
    ):
        assert set(map(what, chosen)) == set(map(what, every))
    assert {trial.objective for trial in chosen} == set(ESTIMATORS[name].unbiased)


def test_the_design_is_much_smaller_than_the_full_product():
    sizes = [(len(covering(name)), len(working(name, all_places()))) for name in ESTIMATORS.lines]
    assert sum(chosen for chosen, _ in sizes) < sum(every for _, every in sizes) / 3


def test_every_problem_family_and_objective_takes_part():
    chosen = [trial for name in ESTIMATORS.lines for trial in covering(name)]
    assert {trial.place.problem for trial in chosen} == set(PROBLEMS)
    assert {PROBLEMS[trial.place.problem].family for trial in chosen} == {PROBLEMS[name].family for name in PROBLEMS}
    assert {PROBLEMS[trial.place.problem].family for trial in chosen} <= set(FAMILIES)
    assert {trial.objective for trial in chosen} == set(OBJECTIVES)


@pytest.mark.parametrize("problem", list(PROBLEMS.lines))
def test_a_problem_is_met_small_with_every_choice_that_it_offers(problem):
    found = places(problem)
    labels = [place.label for place in found]
    assert len(labels) == len(set(labels))
    for name, value in cases.choices(PROBLEMS[problem].Parameters):
        assert any(getattr(place.values, name) == value for place in found), (name, value)
    assert tiny(problem)
    assert all(place.batch == 1 for place in tiny(problem))
