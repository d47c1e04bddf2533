"""The mean gradient of each block, as passes add to it: in a bank, or as factors of a product where they are smaller.

Of a layer that reads the same in every replicate the mean is Σ_n δ̄_n a_nᵀ: δ̄ and a may take far less than it does.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gradbench.core.bank import Bank
from gradbench.core.device_bank import DeviceBank
from gradbench.engine.layers import products
from gradbench.engine.layers.datapoints import blocked
from gradbench.engine.layers.factored import Factored
from gradbench.engine.layers.recording import Explicit, Linear
from gradbench.engine.moments import Means
from gradbench.engine.passes import Pass


class BlockMeans:
    """Of each parameter, [blocks, its size], on ``device``; of main memory ``budget`` bytes at most, more in a file."""

    def __init__(
        self, parameters: Mapping[str, Tensor], blocks: int, per_block: int, budget: int, device: torch.device
    ) -> None:
        self.per_block = per_block
        self.shapes = {name: matrix(value) for name, value in parameters.items()}
        sizes = {name: value.numel() for name, value in parameters.items()}
        dtype = next(iter(parameters.values())).dtype
        self.bank: Bank | DeviceBank = (
            Bank(blocks, sizes, dtype, budget, zeroed=False)
            if device.type == "cpu"
            else DeviceBank(blocks, sizes, dtype, budget, device)
        )
        self.factors: dict[str, tuple[Tensor, Tensor]] = {}
        self.written: set[str] = set()
        """Parameters whose means the group at hand has put into the bank."""

    def begin(self, rows: slice) -> None:
        """Forget what passes added to some blocks: they begin anew."""
        for left, _ in self.factors.values():
            left[rows] = 0
        self.written.clear()

    def add(self, linear: list[Linear], explicit: list[Explicit], part: Pass) -> None:
        """Add what a pass tells; 0 where no gradient reaches a parameter."""
        for one in linear:
            delta = blocked(one.delta, part)
            self._add(f"{one.name}.bias", delta.flatten(1, 3).sum(1), part)
            if self._factors(one):
                sums = delta.sum(1).flatten(1, 2)
                self.factors[f"{one.name}.weight"][0][part.rows].add_(sums, alpha=1 / self.per_block)
            elif one.shared:
                a = one.inputs.flatten(1, 2).expand(part.blocks, -1, -1)
                self._add_product(f"{one.name}.weight", delta.sum(1).flatten(1, 2), a, part)
            else:
                a = blocked(one.inputs, part).flatten(1, 3)
                self._add_product(f"{one.name}.weight", delta.flatten(1, 3), a, part)
        for one in explicit:
            self._add(one.name, blocked(one.gradient, part).sum((1, 2)).flatten(1), part)
        for name in self.bank.rows.keys() - self.written - self.factors.keys():
            self.bank.rows[name][part.rows] = 0
            self.written.add(name)

    def take(self, other: BlockMeans, rows: slice) -> None:
        """Let the means of some blocks be those that ``other`` has of all of its own."""
        for name, kept in other.bank.rows.items():
            if name not in other.factors:
                self.bank.rows[name][rows] = kept
        for name, (left, a) in other.factors.items():
            if name not in self.factors:
                mine = self.bank.rows[name]
                self.factors[name] = (mine.new_zeros(len(mine), *left.shape[1:]), a.to(mine.device))
            self.factors[name][0][rows] = left

    def tensors(self) -> list[Tensor]:
        """All that passes add to."""
        kept = [value for name, value in self.bank.rows.items() if name not in self.factors]
        return kept + [left for left, _ in self.factors.values()]

    def put(self, name: str, means: Tensor, part: Pass) -> None:
        """Let the means of a parameter be what is known of them."""
        self.bank.rows[name][part.rows] = means
        self.written.add(name)

    def copy(self, name: str, part: Pass) -> Tensor:
        """Those of a parameter that is in the bank, in the blocks of a pass."""
        return self.bank.rows[name][part.rows].clone()

    def mean(self, name: str, rows: slice) -> Tensor:
        """The mean of some of the block means."""
        if name in self.factors:
            left, a = self.factors[name]
            return left[rows].mean(0).mT @ a
        return self.bank.rows[name][rows].mean(0).reshape(self.shapes[name])

    def squares(self, name: str, rows: slice, origin: Tensor | None) -> Tensor:
        """‖block mean − origin‖², [K] in float64."""
        if name in self.factors:
            left, a = (value.double() for value in self.factors[name])
            left = left[rows]
            square = (left * (a @ a.mT @ left)).sum((1, 2))
            if origin is not None:
                wide = origin.double()
                square = square - 2 * (left * (a @ wide.mT)).sum((1, 2)) + wide.square().sum()
            return square
        away = self.bank.rows[name][rows]
        return products.squares(away if origin is None else away - origin.flatten())

    def are_finite(self, rows: slice) -> Tensor:
        """Whether those of biases and free vectors are: every δ of a layer is in that of its bias."""
        kept = [value[rows] for name, value in self.bank.rows.items() if len(self.shapes[name]) == 1]
        return torch.stack([torch.isfinite(value).all() for value in kept]).all() if kept else torch.tensor(True)

    def arrays(self) -> dict[str, Means]:
        """All of them."""
        factors = {name: Factored(left.cpu().numpy(), a.cpu().numpy()) for name, (left, a) in self.factors.items()}
        return self.bank.arrays() | factors

    def _factors(self, one: Linear) -> bool:
        """Whether the layer's mean is kept as factors: where they are the smaller."""
        name = f"{one.name}.weight"
        if name not in self.factors and one.shared:
            a, outputs = one.inputs.flatten(0, 2), one.delta.shape[-1]
            if 2 * len(a) < a.shape[1]:
                self.factors[name] = (a.new_zeros(len(self.bank.rows[name]), len(a), outputs), a)
        return name in self.factors

    def _add(self, name: str, sums: Tensor, part: Pass) -> None:
        if name not in self.bank.rows:
            return
        rows = self.bank.rows[name][part.rows]
        if name in self.written:
            rows.add_(sums, alpha=1 / self.per_block)
        else:
            rows.copy_(sums).div_(self.per_block)
        self.written.add(name)

    def _add_product(self, name: str, delta: Tensor, a: Tensor, part: Pass) -> None:
        target = self.bank.rows[name][part.rows].unflatten(1, self.shapes[name])
        target.baddbmm_(delta.mT, a, beta=1 if name in self.written else 0, alpha=1 / self.per_block)
        self.written.add(name)


def matrix(value: Tensor) -> tuple[int, ...]:
    """The shape that the gradient of a parameter is handled in: a matrix stays one, all else is flat."""
    return tuple(value.shape) if value.dim() == 2 else (value.numel(),)
