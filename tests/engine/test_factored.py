from __future__ import annotations

import numpy as np
import pytest

from gradbench.engine.layers.factored import Factored, concatenated


@pytest.fixture
def one() -> Factored:
    draw = np.random.default_rng(0)
    return Factored(draw.normal(size=(5, 3, 4)), draw.normal(size=(3, 7)))


def test_rows_are_sums_of_outer_products(one):
    expected = np.einsum("kno,ni->koi", one.left, one.right).reshape(5, 28)
    np.testing.assert_allclose(np.asarray(one), expected, rtol=1e-12)
    np.testing.assert_array_equal(np.asarray(one[1:3]), np.asarray(one)[1:3])


def test_products_are_those_of_the_rows(one):
    rows, target = np.asarray(one), np.random.default_rng(1).normal(size=28)
    np.testing.assert_allclose(one.gram(), rows @ rows.T, rtol=1e-12)
    np.testing.assert_allclose(one.squares(), (rows**2).sum(1), rtol=1e-12)
    np.testing.assert_allclose(one.inner(target), rows @ target, rtol=1e-12)
    np.testing.assert_allclose(one.columns(slice(5, 19)), rows[:, 5:19], rtol=1e-12)
    np.testing.assert_allclose(np.asarray(one.centred()), rows - rows.mean(0), atol=1e-12)
    np.testing.assert_allclose(one.spaced(2, 3), rows.reshape(5, 4, 7)[:, ::2, ::3].reshape(5, -1), rtol=1e-12)


def test_joining_keeps_factors_of_the_same_inputs_alone(one):
    joined = concatenated([one[:2], one[2:]])
    assert isinstance(joined, Factored)
    np.testing.assert_array_equal(joined.left, one.left)
    other = Factored(one.left, one.right + 1)
    mixed = concatenated([one, other])
    assert not isinstance(mixed, Factored)
    np.testing.assert_array_equal(mixed, np.concatenate([np.asarray(one), np.asarray(other)]))
