"""What the tests check at run time: annotated shapes, without a draw from Python's own random stream."""

from __future__ import annotations

import random

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from gradbench.estimators.parts import copula


def test_items_of_a_list_are_looked_at_without_pythons_own_random_numbers():
    @jaxtyped(typechecker=beartype)
    def total(values: list[int]) -> int:
        return sum(values)

    before = random.getstate()
    assert total(list(range(100))) == 4950
    assert random.getstate() == before


def test_modules_of_estimators_are_checked():
    with pytest.raises(TypeCheckError):
        copula.kept_apart("no shape", torch.Generator(), torch.zeros(1))
