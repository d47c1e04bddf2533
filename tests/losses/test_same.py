"""What counts as one gradient, where something in it is not finite."""

from __future__ import annotations

import pytest
import torch

from gradbench.losses.same import same_gradient
from gradbench.losses.together import _close

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [
        ([1.0, 2.0], [1.0, 2.0 + 1e-9], True),
        ([1.0, 2.0], [1.0, 2.1], False),
        ([1.0, NAN], [1.0, NAN], True),
        ([1.0, NAN], [1.5, NAN], False),
        ([1.0, 2.0], [1.0, NAN], False),
        ([1.0, NAN], [1.0, 2.0], False),
        ([1.0, INF], [1.0, INF], True),
        ([1.0, 2.0], [1.0, INF], False),
    ],
)
def test_gradients_are_the_same_where_they_are_finite_and_not_finite_at_the_same_places(one, two, same) -> None:
    a, b = torch.tensor(one), torch.tensor(two)
    assert same_gradient([a], [b]) == same
    if one[0] == two[0]:  # held to the rounding of a sum in single precision
        assert _close(a[None], b, 0) == same
