"""What suites/papers/xu-2019.toml derives: the two variances on a quadratic, exactly."""

from __future__ import annotations

import numpy as np
import pytest

from gradbench.suite.suites import load_suite
from tests.exactly import exact_variance
from tests.helpers import point_of, task_of

PLACES = [(mean, scale) for mean in (0.0, 1.0, 4.0) for scale in (0.3, 1.0, 3.0)]


def variances(group: str, count: int | None = None, **parameters) -> tuple[float, float]:
    """The exact variances of the score function's and of the pathwise gradient, one sample of each."""
    point = point_of("gaussian-cost", cost="quadratic", k=0.0, **parameters)
    score, path = (exact_variance(task_of(point, name), group, count) for name in ("score-function", "pathwise"))
    return score, path


def in_the_mean(a: float, scale: float, dim: int = 1) -> float:
    """The score function's variance in one mean: f as a whole weighs its score, own part and ``dim`` − 1 others."""
    own = a**4 / scale**2 + 14 * a**2 + 15 * scale**2
    others, spread = (dim - 1) * (a**2 + scale**2), (dim - 1) * (4 * a**2 * scale**2 + 2 * scale**4)
    return own + (spread + others**2) / scale**2 + 2 * others * (a**2 + 3 * scale**2) / scale**2


@pytest.mark.parametrize(("mean", "scale"), PLACES)
def test_the_score_function_varies_more_in_the_mean(mean, scale):
    score, path = variances("phi.mean", mean=mean, scale=scale)
    assert score == pytest.approx(in_the_mean(mean, scale), rel=1e-9)
    assert path == pytest.approx(4 * scale**2, rel=1e-9)
    assert score >= 3.75 * path * (1 - 1e-9)


@pytest.mark.parametrize(("mean", "scale"), PLACES)
def test_and_in_the_log_scale(mean, scale):
    score, path = variances("phi.log_scale", mean=mean, scale=scale)
    r = mean / scale
    assert score == pytest.approx(scale**4 * (2 * r**4 + 60 * r**2 + 74), rel=1e-9)
    assert path == pytest.approx(scale**4 * (4 * r**2 + 8), rel=1e-9)
    assert score >= 9.25 * path * (1 - 1e-9)


def test_the_ratios_are_least_at_the_minimum_of_the_cost():
    """For every r = a / σ, not only for those of the grid."""
    r = np.linspace(0, 20, 2001)
    for ratio, least in (((r**4 + 14 * r**2 + 15) / 4, 3.75), ((2 * r**4 + 60 * r**2 + 74) / (4 * r**2 + 8), 9.25)):
        assert ratio[0] == least
        assert (np.diff(ratio) > 0).all()


@pytest.mark.parametrize("dim", [1, 2])
def test_several_dimensions_add_to_the_score_functions_alone(dim):
    score, path = variances("phi.mean", 48, mean=1.0, scale=1.3, dim=dim)
    assert score == pytest.approx(dim * in_the_mean(1.0, 1.3, dim), rel=1e-6)
    assert path == pytest.approx(dim * 4 * 1.3**2, rel=1e-6)


def test_the_suite_claims_these_figures():
    bands = {claim.claim: claim.band() for claim in load_suite("papers/xu-2019").expect}
    exact = {"8527": in_the_mean(4, 0.3) / 0.36, "473": in_the_mean(1, 1, 20) / 4, "15/4": 3.75, "37/4": 9.25}
    exact |= {"30 at": in_the_mean(1, 1), "36 at": 36.0}
    for words, figure in exact.items():
        (band,) = [band for claim, band in bands.items() if words in claim]
        assert sum(band) / 2 == pytest.approx(figure, rel=1e-4)
