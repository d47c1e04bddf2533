"""Estimators of bounds: exact means and variances by quadrature over the noise of all samples, and measured ones.

A measured variance must be within CLEAR of its standard errors: with 31 degrees of freedom that is an error rate of
4e-4 each.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch

from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.objectives.chosen import ChosenObjective
from gradbench.target.exact import exactly
from gradbench.target.gradients import norm
from tests.estimators.measured import agrees
from tests.exactly import exact_moments
from tests.helpers import gradients_by_loop, noise_of, ok_rows, point_of, row_of, task_of

GAUSSIAN = {"latent": 1, "features": 3, "batch": 1, "start": "near", "perturb": 0.3}
BITS = {"latent": 1, "batch": 1}
PLACES = {"linear-gaussian": GAUSSIAN, "sigmoid-belief": BITS}
PATHS = ("iwae-pathwise", "iwae-stl", "iwae-dreg", "iwae-gdreg")
SCORES = ("iwae-score", "vimco-arithmetic", "vimco-geometric")
NODES = {1: 100, 2: 64, 3: 32}
"""Nodes per dimension at each L: means are then exact to some 1e-9 of the gradient."""


def works(problem: str, name: str, samples: int) -> bool:
    return not (name in PATHS and problem == "sigmoid-belief") and not (name.startswith("vimco") and samples == 1)


CASES = [
    (problem, name, samples)
    for problem in PLACES
    for name in (*PATHS, *SCORES)
    for samples in (1, 2, 3)
    if works(problem, name, samples)
]


@cache
def moments(problem: str, name: str, samples: int) -> dict[str, tuple[torch.Tensor, float]]:
    """The exact mean and trace variance of the gradient in each parameter."""
    return exact_moments(task_of(point_of(problem, **PLACES[problem]), name, samples, "monte-carlo"), NODES[samples])


def variance(problem: str, name: str, samples: int, group: str = "phi") -> float:
    return sum(trace for key, (_, trace) in moments(problem, name, samples).items() if key.startswith(group))


@pytest.mark.parametrize(("problem", "name", "samples"), CASES)
def test_the_mean_is_the_exact_gradient_of_the_bound(problem, name, samples):
    """The reference is the sum over values of z, this one over the noise; ‖·‖ of φ and of θ."""
    found = exactly(point_of(problem, **PLACES[problem]), ChosenObjective("iwae", "monte-carlo"), samples)
    assert found is not None
    size = norm(found[1])
    for part in ("phi", "theta"):
        away = norm(
            {
                key: mean - found[1][key].flatten()
                for key, (mean, _) in moments(problem, name, samples).items()
                if key.startswith(part)
            }
        )
        right = ESTIMATORS[name].is_unbiased("iwae", part, samples)
        assert away < 1e-8 * size if right else away > 0.005 * size


@pytest.fixture(scope="module")
def measured(tmp_path_factory) -> Any:
    """The rows of one run of all of them."""
    grids = [
        {
            "problem": problem,
            **parameters,
            "objective": "iwae",
            "samples": [1, 2, 3],
            "dtype": "float64",
            "estimators": [name for name in (*PATHS, *SCORES) if works(problem, name, 2)],
        }
        for problem, parameters in PLACES.items()
    ]
    return ok_rows(tmp_path_factory.mktemp("run"), *grids, replicates=2048, seed=0)


@pytest.mark.parametrize(("problem", "name", "samples"), CASES)
def test_the_measured_variance_is_the_exact_one(problem, name, samples, measured):
    for group in ("phi", "theta"):
        row = row_of(measured, problem=problem, estimator=name, samples=samples, group=group)
        agrees(row, variance(problem, name, samples, group))
        assert row.verdict != "biased" or not ESTIMATORS[name].is_unbiased("iwae", group, samples)


@pytest.mark.parametrize("problem", list(PLACES))
def test_both_forms_of_vimco_are_one_at_two_samples_and_two_at_three(problem):
    for samples, alike in ((2, True), (3, False)):
        one, other = (variance(problem, f"vimco-{form}", samples) for form in ("arithmetic", "geometric"))
        assert (one == pytest.approx(other, rel=1e-9)) == alike


@pytest.mark.parametrize("problem", list(PLACES))
@pytest.mark.parametrize("samples", [2, 3])
def test_vimco_takes_most_of_the_score_functions_variance_off(problem, samples):
    for form in ("arithmetic", "geometric"):
        assert 2 * variance(problem, f"vimco-{form}", samples) < variance(problem, "iwae-score", samples)


@pytest.mark.parametrize(
    ("bound", "elbo", "same"),
    [
        ("iwae-pathwise", "pathwise", True),
        ("iwae-stl", "sticking-the-landing", True),
        ("iwae-dreg", "sticking-the-landing", True),
        ("iwae-score", "score-function", False),  # whose −log q in f is held
    ],
)
def test_with_one_sample_the_bound_is_the_elbo(bound, elbo, same):
    point = point_of("linear-gaussian", **GAUSSIAN)
    expected = exact_moments(task_of(point, elbo, 1, "monte-carlo"), NODES[1])
    for key, (mean, trace) in moments("linear-gaussian", bound, 1).items():
        torch.testing.assert_close(mean, expected[key][0], rtol=1e-9, atol=1e-12)
        assert (trace == pytest.approx(expected[key][1], rel=1e-9)) == (same or key.startswith("theta"))


@pytest.mark.parametrize("name", [*PATHS, "vimco-arithmetic", "vimco-geometric"])
@pytest.mark.parametrize(
    ("problem", "parameters"),
    [("linear-gaussian", {"latent": 2, "batch": 2}), ("hierarchical-vae", {"hidden": 3, "batch": 2})],
)
def test_a_mean_of_bounds_has_the_mean_of_their_gradients(name, problem, parameters):
    """Draw by draw: two groups of three samples are two estimates of three samples each."""
    point = point_of(problem, **parameters)
    whole = Task(point, ESTIMATORS[name], {}, 6, ChosenObjective("miwae", "monte-carlo"))
    single = Task(point, ESTIMATORS[name], {}, 3, ChosenObjective("iwae", "monte-carlo"))
    noise = noise_of(whole, 3)

    def of_group(rows: slice) -> Any:
        return noise[:, rows] if isinstance(noise, torch.Tensor) else {k: v[:, rows] for k, v in noise.items()}

    first, second = (gradients_by_loop(single, of_group(rows), 3) for rows in (slice(0, 3), slice(3, 6)))
    for key, value in gradients_by_loop(whole, noise, 3).items():
        torch.testing.assert_close(value, (first[key] + second[key]) / 2, rtol=1e-9, atol=1e-11)
