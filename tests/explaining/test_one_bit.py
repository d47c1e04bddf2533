"""One bit: the sum, the scores and autograd say the same, and the average of drawn f says nothing."""

from __future__ import annotations

import pytest

from gradbench.core.errors import UsageError
from gradbench.explaining.one_bit import one_bit

CASES = [(0.3, (1.0, 3.0)), (0.8, (2.0, -5.0)), (0.05, (0.0, 7.0))]


@pytest.mark.parametrize(("prob", "f"), CASES)
def test_every_way_gives_the_difference_of_f(prob: float, f: tuple[float, float]) -> None:
    found = one_bit(prob, f, 0.01)
    assert found.mean == pytest.approx((1 - prob) * f[0] + prob * f[1])
    for slope in (found.gradient, found.by_score, found.slope):
        assert slope == pytest.approx(f[1] - f[0])
    assert found.scores == pytest.approx((-1 / (1 - prob), 1 / prob))


@pytest.mark.parametrize(("prob", "f"), CASES)
def test_drawn_bits_are_numbers_and_their_scores_find_the_gradient(prob: float, f: tuple[float, float]) -> None:
    found = one_bit(prob, f, 0.01, seed=3)
    assert not found.average_has_gradient
    assert found.average == pytest.approx(sum(f[bit] for bit in found.bits) / len(found.bits))
    by_hand = sum(f[bit] * found.scores[bit] for bit in found.bits) / len(found.bits)
    assert found.few.value == pytest.approx(by_hand)
    # 5 standard errors: 6e-7
    assert abs(found.many.value - (f[1] - f[0])) < 5 * found.many.error
    exact = ((f[0] ** 2 / (1 - prob) + f[1] ** 2 / prob - (f[1] - f[0]) ** 2) / found.many.draws) ** 0.5
    assert found.many.error == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize(
    ("prob", "step", "few"), [(0.0, 0.1, 9), (1.2, 0.1, 9), (0.95, 0.1, 9), (0.5, 0.0, 9), (0.5, 0.1, 1)]
)
def test_what_is_no_bit_is_refused(prob: float, step: float, few: int) -> None:
    with pytest.raises(UsageError, match="one bit: expected"):
        one_bit(prob, (1.0, 3.0), step, few=few)
