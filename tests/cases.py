"""Where the contract tests try estimators: small problems from the registries, and a covering design over them.

A problem, a family or an objective takes part as soon as it is registered; nothing is listed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from itertools import product
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from gradbench.core.errors import GradbenchError
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.estimators.base import EstimatorParameters, Setting
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.base import Kl
from gradbench.objectives.chosen import ChosenObjective
from gradbench.problems import PROBLEMS
from gradbench.target.points import Point
from tests.covering import cover
from tests.estimators.facts import facts_of
from tests.helpers import Case

SAMPLES = (1, 2, 3, 4)
"""The L that are tried: one, an odd one, and even ones for pairs."""
SIZES = (2, 1)
"""Of the problems whose draws are integrated: every size at once."""


@cache
def point_at(place: Case) -> Point:
    """A place's point, the same object for every test: leave it as it is."""
    return place.point()


def choices(parameters: type[Any]) -> Iterator[tuple[str, Any]]:
    """Each parameter that takes one of several named values, with each of the values."""
    for name, field in parameters.model_fields.items():
        if get_origin(field.annotation) is Literal:
            yield from ((name, value) for value in get_args(field.annotation))


def places(problem: str) -> list[Case]:
    """A problem's small version, once with each choice that it offers and each set of parameters it is checked at."""
    kind = PROBLEMS[problem]
    small = {**kind.small, **({"batch": 2} if "batch" in kind.Parameters.model_fields else {})}
    changes = [
        {},
        *({name: value} for name, value in choices(kind.Parameters)),
        *(dict(c.parameters) for c in kind.checked),
    ]
    return _distinct(problem, ({**small, **change} for change in changes))


def tiny(problem: str) -> list[Case]:
    """The smallest versions of a problem, of one datapoint: few enough dimensions to integrate over all draws."""
    found = []
    for place, size in product(places(problem), SIZES):
        kind, values = PROBLEMS[problem].Parameters, dict(place.parameters)
        offered = {name for name, _ in choices(kind)}
        sizes = {name: max(size, _least(kind, name)) for name in kind.sizes - offered}
        values |= sizes | ({"batch": 1} if "batch" in kind.model_fields else {})
        found.append(values)
    return _distinct(problem, found)


def _least(parameters: type[Any], name: str) -> int:
    """The smallest value that a parameter may have."""
    return max((one.ge for one in parameters.model_fields[name].metadata if hasattr(one, "ge")), default=1)


def _distinct(problem: str, sets: Iterable[dict[str, Any]]) -> list[Case]:
    """A place for each set of parameters but repeats, labelled with what tells it from the first."""
    found: dict[Any, Case] = {}
    first: dict[str, Any] | None = None
    for given in sets:
        try:
            values = PROBLEMS[problem].Parameters(**given)
            place = Case("", problem, tuple(given.items()))
            point_at(place)
        except (ValidationError, GradbenchError):  # sizes that do not go together
            continue
        plain = values.model_dump()
        first = plain if first is None else first
        told = [f"{name}={value}" for name, value in plain.items() if value != first[name]]
        found.setdefault(values, replace(place, label="-".join([problem, *told])))
    return list(found.values())


@dataclass(frozen=True)
class Trial:
    """An estimator at work at a place."""

    estimator: str
    place: Case
    objective: str
    kl: Kl | None
    samples: int

    def __str__(self) -> str:
        words = [self.estimator, self.place.label, self.objective, self.kl, f"L{self.samples}"]
        return "-".join(word for word in words if word)

    @cached_property
    def chosen(self) -> ChosenObjective:
        """What is differentiated."""
        return ChosenObjective(self.objective, self.kl)

    @property
    def parameters(self) -> Any:
        """The estimator's parameters."""
        return ESTIMATORS[self.estimator].Parameters(**facts_of(self.estimator).parameters)

    @property
    def setting(self) -> Setting:
        """What the estimator is asked to work with."""
        return Setting.of(PROBLEMS[self.place.problem], self.place.values, self.chosen, self.samples, self.parameters)

    def task(self) -> Task:
        """The task, fitted; the same object for every test."""
        return _task(self)

    def made(self, point: Point | None = None) -> Task:
        """The task, made and fitted anew; at another point where one is given."""
        return self.unfitted(point).fitted()

    def unfitted(self, point: Point | None = None) -> Task:
        """The task as it is before a control variate is fitted."""
        at = point_at(self.place) if point is None else point
        plain = self.parameters.model_dump()
        return Task(at, ESTIMATORS[self.estimator], plain, self.samples, self.chosen)

    def goals(self) -> frozenset[tuple[Any, ...]]:
        """What it covers for its estimator: the place, L, and the objective with its KL on that kind of latents."""
        objective = (self.objective, self.kl)
        return frozenset({("place", self.place), (self.place.latents, *objective), (*objective, self.samples)})


@cache
def _task(trial: Trial) -> Task:
    return trial.made()


@cache
def settings(place: Case) -> list[Setting]:
    """What any estimator may be asked there: each objective with each treatment of its KL, at one sample."""
    kind, found = PROBLEMS[place.problem], []
    for name, objective in OBJECTIVES.items():
        if objective.why_not(kind) is None:
            offered = objective.treatments(kind, place.values)
            chosen = [ChosenObjective(name, kl) for kl in (None, *get_args(Kl)) if kl in offered]
            found += [Setting.of(kind, place.values, one, 1, EstimatorParameters()) for one in chosen]
    return found


def working(estimator: str, at: Iterable[Case], samples: tuple[int, ...] = SAMPLES) -> list[Trial]:
    """Every place × objective × KL × L at which the estimator works."""
    kind, own = ESTIMATORS[estimator], ESTIMATORS[estimator].Parameters(**facts_of(estimator).parameters)
    asked = [(place, setting) for place in at for setting in settings(place)]
    found = [(place, replace(one, samples=count, parameters=own)) for (place, one), count in product(asked, samples)]
    return [
        Trial(estimator, place, setting.objective.name, setting.kl, setting.samples)
        for place, setting in found
        if kind.why_not(setting) is None
    ]


def all_places() -> list[Case]:
    """The places of all problems."""
    return [place for problem in PROBLEMS for place in places(problem)]


def covering(estimator: str) -> list[Trial]:
    """The trials of an estimator in the covering design."""
    return cover(working(estimator, all_places()), Trial.goals)


def few(estimator: str) -> list[Trial]:
    """Two samples of each objective with each treatment of its KL, on each kind of latents: for what is dear."""
    return cover(
        working(estimator, all_places(), (2,)), lambda trial: {(trial.place.latents, trial.objective, trial.kl)}
    )
