"""A surrogate gives one real floating number per replicate; anything else is refused on every path."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gradbench.core.errors import MeasurementError
from gradbench.engine.measure import measure_moments as measure
from gradbench.engine.options import Options
from gradbench.engine.returned import checked_values
from gradbench.estimators import ESTIMATORS
from tests.helpers import point_of, task_of

F32, F64 = torch.float32, torch.float64
NOISE = torch.zeros(4, 2)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (torch.zeros(4, 3), r"a tensor \[4, 3\] of float32; expected one float32 per replicate, \[4\]"),
        (torch.zeros(1), r"a tensor \[1\] of float32"),
        (torch.zeros(()), r"a tensor \[\]"),
        (torch.zeros(4, dtype=torch.int64), "of int64"),
        (torch.zeros(4, dtype=torch.bool), "of bool"),
        (torch.zeros(4, dtype=torch.complex64), "of complex64"),
        (torch.zeros(4, dtype=torch.float16), "of float16"),
        (torch.zeros(4, dtype=torch.bfloat16), "of bfloat16"),
        (1.0, "a float"),
        (None, "None"),
        ("x", "a str"),
    ],
)
def test_anything_else_is_refused(values: object, says: str) -> None:
    with pytest.raises(MeasurementError, match=says):
        checked_values(values, NOISE, F32)


def test_single_precision_is_too_little_for_a_double_point_and_double_is_enough_for_a_single() -> None:
    with pytest.raises(MeasurementError, match="of float32; expected one float64"):
        checked_values(torch.zeros(4), NOISE, F64)
    assert checked_values(torch.zeros(4, dtype=F64), {"u": NOISE}, F32).dtype == F64


@pytest.mark.parametrize("engine", ["auto", "general"])
@pytest.mark.parametrize("problem", ["gaussian-vae", "bernoulli-cost"])
def test_three_values_per_replicate_are_measured_on_no_path(engine: str, problem: str) -> None:
    """Summed, they would be three times the gradient."""
    point = point_of(problem)
    one = ESTIMATORS["score-function"]
    three = replace(one, surrogate=lambda *given: one.surrogate(*given)[:, None].expand(-1, 3))
    gradient = {name: torch.ones_like(value) for name, value in point.problem.named_parameters().items()}
    with pytest.raises(MeasurementError, match=r", 3\] of float64; expected one float64 per replicate"):
        measure(task_of(point, three), range(2), 4, gradient, options=Options(engine=engine))  # pyright: ignore
