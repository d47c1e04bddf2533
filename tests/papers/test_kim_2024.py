"""The exact variances behind the claims of Kim et al. 2024's suite: where sticking the landing is the noisier one."""

from __future__ import annotations

import pytest

from tests.exactly import exact_variance
from tests.helpers import point_of, task_of


@pytest.mark.parametrize("width", [0.35, 0.5, 0.7, 0.75, 1.0, 1.5, 2.0])
@pytest.mark.parametrize("group", ["phi.encoder.bias", "phi.log_scale"])
def test_sticking_the_landing_over_the_total_derivative(width, group):
    """q with the posterior's mean and s times its standard deviation: (1 − 1/s²)², above 1 exactly where s² < ½."""
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="posterior", width=width)
    total, path = (
        exact_variance(task_of(point, name, 1, kl="monte-carlo"), group)
        for name in ("pathwise", "sticking-the-landing")
    )
    assert path / total == pytest.approx((1 - 1 / width**2) ** 2, rel=1e-9, abs=1e-12)
    assert (path > total) == (width**2 < 0.5)


@pytest.mark.parametrize("width", [0.5, 1.0, 2.0])
def test_the_variances_themselves_in_units_of_the_posterior(width):
    """2 s⁴ and 2 (s² − 1)² for the log scale: the posterior's scale does not matter to them."""
    point = point_of("linear-gaussian", latent=1, features=3, batch=1, start="posterior", width=width)
    for name, expected in (("pathwise", 2 * width**4), ("sticking-the-landing", 2 * (width**2 - 1) ** 2)):
        found = exact_variance(task_of(point, name, 1, kl="monte-carlo"), "phi.log_scale")
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
