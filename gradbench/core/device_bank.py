"""Block means that stay on the device that they are made on, until all of them are there."""

from __future__ import annotations

import numpy as np
import torch

from gradbench.core.bank import Bank


class DeviceBank:
    """K rows of every parameter tensor on ``device``; `arrays` are on the CPU, in a file past ``budget`` bytes."""

    def __init__(
        self, rows: int, sizes: dict[str, int], dtype: torch.dtype, budget: int, device: str | torch.device
    ) -> None:
        self.count, self.sizes, self.dtype, self.budget = rows, sizes, dtype, budget
        self.rows = {name: torch.empty(rows, size, dtype=dtype, device=device) for name, size in sizes.items()}

    def arrays(self) -> dict[str, np.ndarray]:
        """The rows as NumPy arrays."""
        bank = Bank(self.count, self.sizes, self.dtype, self.budget, zeroed=False)
        for name, value in self.rows.items():
            bank.rows[name].copy_(value)
        return bank.arrays()
