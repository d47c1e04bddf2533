"""What a suite may choose as an objective, and what is refused before anything runs."""

from __future__ import annotations

import pytest

from gradbench.core.errors import SuiteError, UsageError
from gradbench.objectives import OBJECTIVES
from gradbench.objectives.chosen import ChosenObjective
from gradbench.objectives.elbo import Parameters
from gradbench.objectives.iwae import Iwae
from gradbench.problems import PROBLEMS
from gradbench.suite.cell import Cell
from gradbench.suite.suites import Settings, resolve

VAE = {"problem": "gaussian-vae", "estimators": ["pathwise"]}


def cells(grid: dict) -> tuple[Cell, ...]:
    return resolve({"name": "t", "grid": [grid]}, "t.toml", Settings()).cells


def test_a_table_with_lists_makes_a_grid_of_objectives():
    found = cells(VAE | {"objective": ["iwae", {"name": "elbo", "beta": [0.5, 1.0]}]})
    assert [(cell.objective.name, cell.objective.plain(), cell.kl) for cell in found] == [
        ("iwae", {}, "monte-carlo"),
        ("elbo", {"beta": 0.5}, "analytic"),
        ("elbo", {}, "analytic"),
    ]
    (plain,) = cells(VAE)
    assert plain.cell_id == found[2].cell_id, "at its default a weight names no other cell"
    assert len({cell.cell_id for cell in found}) == len({cell.target() for cell in found}) == 3


@pytest.mark.parametrize(
    ("grid", "says"),
    [
        (VAE | {"objective": "elb"}, r"grid\[0\].objective\[0\]: unknown objective 'elb'; did you mean 'elbo'"),
        (VAE | {"objective": {"name": "elbo", "beta": -1}}, r"objective\[0\] \(elbo\).*beta"),
        (VAE | {"objective": {"name": "elbo", "alpha": 1}}, "alpha"),
        (VAE | {"objective": {"name": "iwae", "beta": 1}}, "beta"),
        (VAE | {"objective": []}, "an empty list leaves nothing"),
        (VAE | {"objective": "iwae", "kl": "analytic"}, "the iwae of gaussian-vae takes kl = 'monte-carlo' alone"),
        (VAE | {"objective": "cost"}, "gaussian-vae has an ELBO, not a cost"),
        (VAE | {"problem": "gaussian-cost", "objective": "iwae"}, "gaussian-cost is a cost, which has no iwae"),
    ],
)
def test_an_objective_that_cannot_be_is_refused(grid, says):
    with pytest.raises(UsageError, match=says):
        cells(grid)


def test_a_bound_is_refused_where_datapoints_have_latents_in_common(monkeypatch):
    """The log of a mean over samples is no sum over datapoints then."""
    monkeypatch.setattr(PROBLEMS["gaussian-vae"], "independent_datapoints", False)
    with pytest.raises(SuiteError, match=r"have latents in common.*use 'elbo'"):
        cells(VAE | {"objective": "iwae"})
    assert cells(VAE)[0].skip is None


def test_the_samples_inside_an_objective():
    assert [ChosenObjective("elbo").inside(5), ChosenObjective("cost").inside(5)] == [1, 1]
    assert ChosenObjective("iwae").inside(5) == 5
    assert Iwae.inside(None, 3) == 3


def test_every_objective_names_itself_and_says_what_it_takes():
    kind = PROBLEMS["gaussian-vae"]
    for name, objective in OBJECTIVES.items():
        assert objective.name == name
        assert objective.title
        assert objective.treatments(kind, kind.Parameters())
    assert ChosenObjective("elbo", None, Parameters(beta=2.0)).plain() == {"beta": 2.0}
