"""The exact figures behind the claims of the suites on relaxations and straight-through estimators.

By enumeration on one trained belief network, whose moments the estimators' own test files hold to their formulas.
"""

from __future__ import annotations

import pytest

from gradbench.suite.suites import load_suite
from tests.estimators.trained import OnNetwork, moments

ST, RAO, GAPPED = "st-gumbel-softmax", "gumbel-rao", "gapped-st"


def gumbel(name: str, temperature: float) -> OnNetwork:
    """One draw beside each sample, where there are any; integrated over its noise."""
    inner = {"inner_samples": 1} if name not in (ST, GAPPED) else {}
    return moments(name, 1 if name == GAPPED else 40, temperature=temperature, **inner)


def band(suite: str, *words: str) -> float:
    """The middle of the band of the one claim that has all of ``words`` in it."""
    found = [claim for claim in load_suite(f"papers/{suite}").expect if all(word in claim.claim for word in words)]
    assert len(found) == 1, [claim.claim for claim in found]
    return sum(found[0].band()) / 2


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0])
def test_what_ten_draws_leave_of_the_variance(temperature):
    one = gumbel(RAO, temperature)
    claimed = band("paulus-2021", "belief network ten draws", f"temperature {temperature}")
    assert one.averaged(10) / one.variance == pytest.approx(claimed, rel=1e-4)
    assert one.variance == pytest.approx(gumbel(ST, temperature).variance, rel=1e-5)


def test_rao_blackwellisation_leaves_the_mean():
    for name in (ST, RAO):
        assert gumbel(name, 0.5).relative_bias == pytest.approx(band("paulus-2021", "bias of", name), rel=1e-4)


@pytest.mark.parametrize("temperature", [0.5, 0.7, 1.0])
def test_the_gap_saves_the_noise_beside_the_sample(temperature):
    ratio = gumbel(GAPPED, temperature).variance / gumbel(ST, temperature).variance
    assert ratio == pytest.approx(band("fan-2022", "belief network it has", f"temperature {temperature}"), rel=1e-4)


def test_the_bias_of_the_gap():
    assert gumbel(GAPPED, 0.7).relative_bias == pytest.approx(band("fan-2022", "its bias"), rel=1e-4)


def test_reinmax_against_straight_through():
    reinmax, first_order = moments("reinmax"), moments("straight-through")
    ratio = reinmax.variance / first_order.variance
    assert ratio == pytest.approx(band("liu-2023", "larger variance"), rel=1e-4)
    assert first_order.relative_bias == pytest.approx(band("liu-2023", "network straight-through"), rel=1e-4)
    assert reinmax.relative_bias < first_order.relative_bias / 10
    assert reinmax.variance < gumbel(ST, 0.5).variance
    for power in (1.5, 3.0):
        rule = power * (0.55 ** (power - 1) - 0.45 ** (power - 1)) / 2 / (0.55**power - 0.45**power)
        assert abs(rule - 1) == pytest.approx(band("liu-2023", f"power {power}"), rel=1e-4)


def test_reinmax_rao_buys_variance_with_bias():
    reinmax, rao = moments("reinmax"), gumbel("reinmax-rao", 1.0)
    assert rao.averaged(10) / reinmax.variance == pytest.approx(band("wang-2026", "has 0.331"), rel=1e-4)
    assert rao.relative_bias == pytest.approx(band("wang-2026", "0.966"), rel=1e-4)


def test_the_control_of_reinmax_cv_adds_its_own_variance():
    """η² (1 + 1/K) E[Var J_τ f′(b)], which is a quarter of what one draw adds to ReinMax-Rao, whose J_τ is doubled."""
    reinmax, rao = moments("reinmax"), gumbel("reinmax-rao", 0.5)
    control = (rao.variance - rao.given_states) / 4
    ratio = 1 + 0.5**2 * (1 + 1 / 10) * control / reinmax.variance
    assert ratio == pytest.approx(band("wang-2026", "more variance"), rel=1e-4)
