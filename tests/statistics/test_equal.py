from __future__ import annotations

import numpy as np
import pytest

from gradbench.engine.layers.factored import Factored
from gradbench.statistics.equal import unseen_grams, where_equal

EPS = float(np.finfo(np.float64).eps)


def test_a_column_that_the_control_made_equal_is_the_plain_one():
    rng = np.random.default_rng(0)
    plain = rng.standard_normal((8, 3))
    controlled = plain + rng.standard_normal((8, 3))
    controlled[:, 1] = 0.25 + 3 * EPS * rng.standard_normal(8)
    found = where_equal(controlled, plain)
    assert np.array_equal(found[:, 1], plain[:, 1])
    assert np.array_equal(found[:, [0, 2]], controlled[:, [0, 2]])


def test_two_equal_blocks_of_eight_are_not_enough():
    plain = np.random.default_rng(1).standard_normal((8, 1))
    controlled = plain.copy()
    controlled[:2] = 0.0
    assert where_equal(controlled, plain) is controlled


def means_of(kind: str) -> tuple[np.ndarray | Factored, np.ndarray]:
    """Block means of 2 outputs × 3 inputs, those of output 1 all equal; and the same as an ordinary array."""
    rng = np.random.default_rng(2)
    left, right = rng.standard_normal((6, 2, 2)), rng.standard_normal((2, 3))
    left[:, :, 1] = left[0, :, 1]
    factored = Factored(left, right)
    dense = np.asarray(factored).copy()
    dense[:, 3:] = dense[0, 3:]  # to the last bit
    return (factored if kind == "factored" else dense), dense


@pytest.mark.parametrize("kind", ["dense", "factored"])
@pytest.mark.parametrize("reference", ["exact", "by block"])
def test_columns_that_are_all_equal_are_kept_apart(kind, reference):
    means, dense = means_of(kind)
    exact = np.arange(6.0)
    drawn = None if reference == "exact" else exact + np.random.default_rng(3).standard_normal((6, 6))
    away = (dense - (exact if drawn is None else drawn))[:, 3:]
    found = unseen_grams(means, np.ones(6, dtype=bool), exact, drawn, np.array([0]))
    np.testing.assert_allclose(found, [away @ away.T], rtol=1e-12)


def test_tensors_side_by_side_are_told_apart_and_certain_ones_left_out():
    _, dense = means_of("dense")
    exact, starts = np.zeros(6), np.array([0, 4])
    both = unseen_grams(dense, np.ones(6, dtype=bool), exact, None, starts)
    np.testing.assert_allclose(both[0], dense[:, 3:4] @ dense[:, 3:4].T)
    np.testing.assert_allclose(both[1], dense[:, 4:] @ dense[:, 4:].T)
    open_ = np.array([True] * 4 + [False] * 2)
    assert not unseen_grams(dense, open_, exact, None, starts)[1].any()
