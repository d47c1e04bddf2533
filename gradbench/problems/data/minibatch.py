"""The rows that every estimator is measured on."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.errors import UsageError
from gradbench.core.seeding import stream


def check_batch(size: int, rows: int, data: str = "the data") -> None:
    """Raise UsageError where a minibatch of ``size`` is asked of fewer ``rows`` of ``data``."""
    if size > rows:
        raise UsageError(f"batch = {size} is more than the {rows} rows of {data}; choose at most {rows}")


def minibatch(rows: Tensor, size: int, seed: int) -> Tensor:
    """The ``size`` rows that every estimator is measured on: the first of a seeded permutation.

    Raises UsageError where there are fewer rows than ``size``.
    """
    check_batch(size, len(rows))
    return rows[torch.randperm(len(rows), generator=stream(seed, "minibatch"))[:size]]
