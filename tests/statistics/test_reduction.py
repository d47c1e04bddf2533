"""Inner products of block differences, where single precision does not tell the blocks apart."""

import numpy as np
import pytest

from gradbench.statistics.no_bias import no_bias_p
from gradbench.statistics.reduction import _grams


@pytest.mark.parametrize("size", [7, 60_000])
def test_blocks_that_nearly_agree_are_still_told_apart(size):
    """A control may leave a bias with next to no noise: its p value is that of blocks that agree, and not 1."""
    random = np.random.default_rng(0)
    exact = random.normal(size=size)
    means = (1e-5 * random.normal(size=(32, size))).astype(np.float32)
    found = _grams(means, exact, None, np.array([0]))[0]
    away = means.astype(np.float64) - exact
    np.testing.assert_allclose(found, away @ away.T, rtol=1e-13)
    rows = found.mean(-1)
    expected = away.var(0).sum()
    assert found.trace() / 32 - rows.mean() == pytest.approx(expected, rel=1e-3)
    assert no_bias_p(found) < 1e-6
