"""Block means, [K, P] by parameter tensor: allocated once, in memory or, past the budget, in a temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


class Bank:
    """K rows of every parameter tensor, in the precision of the gradients."""

    def __init__(self, rows: int, sizes: dict[str, int], dtype: torch.dtype, budget: int) -> None:
        """Rows that take more than ``budget`` bytes go to a file that vanishes with the last array that uses it."""
        element = torch.empty(0, dtype=dtype).element_size()
        self.spilled = rows * sum(sizes.values()) * element > budget
        numpy_type = np.float32 if dtype == torch.float32 else np.float64
        self.rows: dict[str, Tensor] = {}
        for name, size in sizes.items():
            if self.spilled and size:
                with tempfile.TemporaryFile(prefix="gradbench-") as file:
                    self.rows[name] = torch.from_numpy(np.memmap(file, numpy_type, "w+", shape=(rows, size)))
            else:
                # NumPy asks for huge pages, which are several times faster to touch first
                self.rows[name] = torch.from_numpy(np.zeros((rows, size), numpy_type))

    def arrays(self) -> dict[str, np.ndarray]:
        """The rows as NumPy arrays, without a copy."""
        return {name: value.numpy() for name, value in self.rows.items()}


def columns(width: int, rows: int, elements: int = 2**22) -> Iterable[slice]:
    """Slices of ``width`` columns that keep ``rows`` × columns at ``elements``."""
    step = max(1, elements // max(rows, 1))
    for start in range(0, width, step):
        yield slice(start, min(start + step, width))
