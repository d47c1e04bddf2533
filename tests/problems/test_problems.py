from pathlib import Path

import pytest
import torch

from gradbench import problems as package
from gradbench.families import FAMILIES
from gradbench.problems import PROBLEMS
from tests.cases import all_places


def test_the_folder_and_the_registry_agree():
    files = {path.stem for path in Path(package.__path__[0]).glob("*.py")} - {
        "__init__",
        "base",
        "networks",
        "independent_cost",
    }
    assert files == {name.replace("-", "_") for name in PROBLEMS}
    for name, problem in PROBLEMS.items():
        assert problem.name == name
        assert problem.__module__ == f"gradbench.problems.{name.replace('-', '_')}"
        assert problem.title
        assert problem.family in FAMILIES


@pytest.mark.parametrize("one", all_places(), ids=lambda one: one.label)
def test_declarations_are_those_of_the_point(one):
    point = one.point()
    problem = point.problem
    q = problem.posterior(package.base.Calls(problem.phi), point.x)
    layers = [part for part, _ in q.chain(q.noise(1, 1, torch.Generator().manual_seed(0)))]
    assert len(layers) == problem.layers(problem.parameters)
    assert {part.name for part in layers} == {problem.family}
    assert problem.latent_dim(problem.parameters) == sum(part.event[0] for part in layers)
    if problem.Parameters.sizes:
        assert problem.size(problem.parameters)
    assert point.dtype() == torch.float64
    assert (point.x is None) == (problem.objective == "cost") == (problem.data is None)


def test_what_came_later_is_known_without_importing_a_problem():
    declared = {
        name: {key: problem.Parameters.model_fields[key].default for key in sorted(problem.Parameters.later)}
        for name, problem in package.PROBLEMS.items()
        if package.PROBLEMS.version_of(name) is None and problem.Parameters.later
    }
    assert declared == package.LATER
