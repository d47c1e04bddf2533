"""Facts about figures of a whole run that belong to no one estimator; each estimator's own are in its test file."""

from __future__ import annotations

import math

import pytest

from tests.estimators.measured import agrees, by_quadrature
from tests.helpers import ok_rows, row_of

pytestmark = pytest.mark.slow


def test_dimensions_add_up(tmp_path):
    grid = {"problem": "gaussian-cost", "cost": "cos", "k": 1, "dim": 10, "estimators": ["pathwise"]}
    row = row_of(ok_rows(tmp_path / "run", grid, replicates=4096), group="phi.mean")
    gradient, variance = by_quadrature("cos", 1, 1, 1, "mean", lambda f, slope, score: slope)
    assert row.gradient_norm == pytest.approx(abs(gradient) * math.sqrt(10), rel=1e-9)
    agrees(row, 10 * variance)
    assert row.variance_mean == pytest.approx(row.variance / 10, rel=1e-12)
    assert row.num_parameters == 10


def test_a_baseline_lowers_the_measured_variance(tmp_path):
    """The intervals of baselines and pairs lie below that of the plain score function."""
    grid = {"problem": "sigmoid-belief", "latent": 6, "batch": 4, "samples": 2}
    names = ["score-function", "score-function-learned", "score-function-loo", "disarm"]
    rows = ok_rows(tmp_path / "run", grid | {"estimators": names})
    rows = rows[rows.group == "phi"]
    plain = row_of(rows, estimator="score-function")
    for name in names[1:]:
        assert row_of(rows, estimator=name).variance_high < plain.variance_low, name
