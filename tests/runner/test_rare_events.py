"""A rare event that was not drawn is no proof: runs in which nearly all gradients are the same number."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from gradbench.engine.measure import measure_moments as measure
from gradbench.report.hints import hints
from gradbench.results.store import replicates_to_resolve
from gradbench.statistics import summarise
from tests.helpers import exact_reference, ok_rows, point_of, row_of, task_of

RIGHT = ["score-function", "score-function-loo", "disarm", "exact"]
EPS = float(np.finfo(np.float64).eps)
BIT = {"problem": "bernoulli-cost", "samples": 2}


@pytest.mark.slow
def test_no_right_estimator_is_called_biased(tmp_path):
    """The default measurement of 120 rows; their smallest p value is far from 1 in 120."""
    grid = {**BIT, "prob": [0.9, 0.97, 0.991, 0.9985, 0.06, 0.004], "target": [0.3, 0.497]}
    rows = ok_rows(tmp_path / "run", {**grid, "estimators": [*RIGHT, "fixed-sample"], "seed": [0, 1]})
    rows = rows[rows.group == "phi"]
    assert len(rows) == 120
    assert set(rows[rows.estimator == "fixed-sample"].verdict) == {"biased"}
    assert set(rows[rows.estimator == "exact"].verdict) == {"unbiased"}
    noisy = rows[rows.estimator.isin(RIGHT[:3])]
    assert "biased" not in set(noisy.verdict)
    assert noisy.bias_p.min() > 1e-3


def test_a_pair_of_rare_states_that_was_not_drawn(tmp_path):
    """Leave-one-out at p = .99: with the control, gradients differ at two rare bits alone, once in 10 000 pairs."""
    grid = {**BIT, "prob": 0.99, "target": 0.499, "estimators": ["score-function-loo"], "seed": [0, 1, 2, 3, 4, 5]}
    rows = ok_rows(tmp_path / "run", grid)
    assert set(rows.verdict) <= {"unresolved", "unbiased"}
    assert (rows.bias_high > rows.bias_low).all()


def test_a_bit_that_is_all_but_certain(tmp_path):
    rows = ok_rows(tmp_path / "run", {**BIT, "prob": 0.9999, "estimators": RIGHT})
    rows = rows[rows.group == "phi"]
    assert row_of(rows, estimator="exact").verdict == "unbiased"
    for name in RIGHT[:3]:
        row = row_of(rows, estimator=name)
        assert row.verdict == "unresolved"
        assert row.bias_high == row.variance_high == math.inf
        assert "rare event" in row.message
        assert replicates_to_resolve(row.message) is None


def test_four_replicates_decide_nothing_but_structure(tmp_path):
    vae = {"problem": "gaussian-vae", "hidden": 4, "latent": 1, "batch": [1, 3], "samples": 2}
    bits = {**BIT, "prob": [0.5, 0.9, 0.99], "seed": [0, 1, 2]}
    rows = ok_rows(
        tmp_path / "run",
        {**vae, "estimators": ["pathwise", "score-function", "fixed-sample", "double-counted"]},
        {**bits, "estimators": [*RIGHT, "fixed-sample"]},
        replicates=4,
        blocks=4,
    )
    rows = rows[rows.group == "phi"]
    assert set(rows[rows.estimator == "fixed-sample"].verdict) == {"biased"}
    assert set(rows[rows.estimator == "exact"].verdict) == {"unbiased"}
    for row in rows[rows.estimator.isin(["pathwise", "score-function", "score-function-loo", "disarm"])].itertuples():
        exact_by_symmetry = row.estimator == "disarm" and '"prob":0.5' in row.problem_params
        assert row.verdict == ("unbiased" if exact_by_symmetry else "unresolved"), row
    assert len(rows) == 53
    assert "4 blocks are too few to tell a bias among 53 rows: take blocks = 12" in set(hints(rows))


def test_where_every_state_was_drawn_a_bit_is_decided(tmp_path):
    """The noise is thousands of times the gradient, and nothing of it is left by the control."""
    near = {"problem": "bernoulli-cost", "prob": [0.1, 0.5], "target": 0.499, "estimators": ["score-function"]}
    rows = ok_rows(tmp_path / "run", {**near, "samples": [1, 2]}, replicates=2048, blocks=32)
    rows = rows[rows.group == "phi"]
    assert len(rows) == 4
    assert (rows.variance > 1000 * rows.gradient_norm**2).all()
    assert set(rows.verdict) == {"unbiased"}
    assert (rows.bias_high < 1e-6 * rows.gradient_norm).all()


def test_where_every_state_was_drawn_a_bias_without_noise_is_found():
    """Half the score function: all of its blocks are equal with the control, and tell of the bias all the same."""
    task = task_of(point_of("bernoulli-cost", prob=0.1), "score-function", 2)
    original = task.estimator.surrogate
    task = replace(task, estimator=replace(task.estimator, surrogate=lambda *given: 0.5 * original(*given)))
    reference = exact_reference(task.point)
    few, many = (measure(task, range(32), per_block, reference.gradient) for per_block in (4, 64))
    assert not few.every_state_drawn
    plain = summarise(few, reference, EPS)["phi"]
    assert plain.bias_high > plain.gradient_norm  # as noisy as the estimator itself
    assert many.every_state_drawn
    figures = summarise(many, reference, EPS)["phi"]
    assert figures.bias_p < 1e-6
    assert figures.bias_low == pytest.approx(figures.gradient_norm / 2, rel=1e-9)
    assert figures.bias_high == pytest.approx(figures.gradient_norm / 2, rel=1e-9)
