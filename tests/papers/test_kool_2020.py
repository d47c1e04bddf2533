"""What the suites kool-2020 and liu-2019 derive, exactly: sets and sums of the states of three tied bits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from gradbench.suite.suites import load_suite
from tests.exactly import exact_variance
from tests.helpers import point_of, task_of

BITS = (np.arange(8)[:, None] >> np.arange(3)) & 1
COSTS = ((BITS - np.array([0.6, 0.51, 0.48])) ** 2).sum(1)


def law(logit: float) -> tuple[np.ndarray, np.ndarray]:
    """Masses and scores of the eight states."""
    prob = expit(logit)
    return np.prod(np.where(BITS == 1, prob, 1 - prob), 1), BITS.sum(1) - 3 * prob


def score_function(logit: float) -> float:
    """The variance of one sample of the score function."""
    p, score = law(logit)
    return p @ (COSTS * score - p @ (COSTS * score)) ** 2


def leave_one_out(logit: float) -> float:
    """The variance of ½ (f₁ − f₂)(s₁ − s₂)."""
    p, score = law(logit)
    kernel = 0.5 * (COSTS[:, None] - COSTS) * (score[:, None] - score)
    return p @ (kernel - p @ kernel @ p) ** 2 @ p


def band(suite: str, words: str) -> tuple[float, float]:
    """The band of the claim that has ``words`` in it."""
    (found,) = [claim.band() for claim in load_suite(f"papers/{suite}").expect if words in claim.claim]
    return found


def test_two_different_states_against_two_samples():
    own = exact_variance(task_of(point_of("tied-bits", logit=-4.0), "unordered-set", 2))
    ratio = leave_one_out(-4.0) / own
    assert ratio == pytest.approx(13, rel=0.05)
    low, _ = band("kool-2020", "ten times")
    assert low < ratio / 1.2


def test_one_state_summed_against_none():
    """The share of the rest bounds the ratio, to what the claim says; in truth it is far below."""
    own = exact_variance(task_of(point_of("tied-bits", logit=-4.0), "rao-blackwell", 1, top=1))
    rest = 1 - law(-4.0)[0].max()
    ratio = own / score_function(-4.0)
    assert ratio < rest < band("liu-2019", "5.3 %")[1]
    assert 2 * ratio < band("liu-2019", "at as many evaluations")[1]
    assert ratio == pytest.approx(0.0015, rel=0.05)
