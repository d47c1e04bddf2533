"""Layers of latents, each drawn given the samples of the layers before it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from gradbench.core.errors import NoClosedFormError
from gradbench.core.types import Latents, Noise, PerSample
from gradbench.families.base import Family, Use
from gradbench.families.support import Support

Conditional = Callable[..., Family]
"""(calls, *samples of the layers before) -> the distribution of the next layer, at parameters [R, L, B, *event]."""


class Layered(Family):
    """q(z_1|x) q(z_2|z_1, x) …: z is the layers side by side, [R, L, B, D_1 + D_2 + …].

    ``calls`` is the `Calls` that reaches the parameters: holding q holds those, while z_2 still depends on z_1 through
    the distribution that z_1 gives. The layers are of one family. As a prior, it is the joint law of all layers.
    """

    name = "layered"

    def __init__(self, calls: Any, *conditionals: Conditional) -> None:
        self.calls = calls
        self.layers = conditionals
        self.first = conditionals[0](calls)
        self.parameters = self.first.parameters

    @property
    def judge(self) -> Use:
        return self.first.judge

    def _distribution(self) -> td.Distribution:
        raise NotImplementedError("layers have no one distribution of torch's")

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Noise:
        """The noise of each layer under its number, each [R, L, B, *event]."""
        found: dict[str, Tensor] = {}
        above: list[Latents] = []
        for index in range(len(self.layers)):
            q = self._conditional(index, above)
            part = q.noise(replicates, samples, generator)
            assert isinstance(part, Tensor), "layers of layers"
            found[str(index)] = part
            above.append(q.sample(part))
        return found

    def chain(self, noise: Noise) -> list[tuple[Family, Latents]]:
        assert isinstance(noise, dict)
        found: list[tuple[Family, Latents]] = []
        for index in range(len(self.layers)):
            q = self._conditional(index, [z for _, z in found])
            found.append((q, q.sample(noise[str(index)])))
        return found

    def sample(self, noise: Noise) -> Latents:
        return side_by_side([z for _, z in self.chain(noise)])

    def split(self, z: Latents) -> list[tuple[Family, Latents]]:
        """Each layer's distribution given the layers before it, with its own part of ``z``."""
        found: list[tuple[Family, Latents]] = []
        start = 0
        for index in range(len(self.layers)):
            q = self._conditional(index, [part for _, part in found])
            stop = start + q.event.numel()
            found.append((q, z[..., start:stop].unflatten(-1, q.event)))
            start = stop
        return found

    def log_prob(self, z: Latents) -> PerSample:
        parts = [q.log_prob(part) for q, part in self.split(z)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def kl(self, prior: Any) -> PerSample:
        raise NoClosedFormError(
            f"kl = 'analytic': KL of {len(self.layers)} layers of latents has no closed form; use kl = 'monte-carlo'"
        )

    def opposite(self, noise: Noise) -> Noise:
        assert isinstance(noise, dict)
        # a partner is taken of the noise alone, at whatever sample of the layers before
        parts = {name: self.first.opposite(part) for name, part in noise.items()}
        return {name: part for name, part in parts.items() if isinstance(part, Tensor)}

    def states(self) -> Support | None:
        return self._support("states")

    def grid(self, nodes: int) -> Support | None:
        """The product of the layers' grids: as many dimensions as are drawn, in all layers."""
        return self._support("grid", nodes)

    def held(self) -> Layered:
        return Layered(self.calls.held(), *self.layers)

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Layered:
        raise NotImplementedError("the parameters of deeper layers depend on the samples of those before")

    def law(self) -> str:
        return f"{len(self.layers)} layers of {self.first.law()}"

    def _conditional(self, index: int, above: list[Latents]) -> Family:
        return self.first if index == 0 else self.layers[index](self.calls, *above)

    def _support(self, what: str, *arguments: int) -> Support | None:
        """The product of the layers' supports, each at the values of the layers before; None where one has none."""

        def of(q: Family) -> Support | None:
            return getattr(q, what)(*arguments) if q.says(what) else None

        sizes: list[int] = []
        above: list[Latents] = []
        for index in range(len(self.layers)):
            support = of(self._conditional(index, above))
            if support is None:
                return None
            sizes.append(support.size)
            above.append(support.at(torch.zeros(1, dtype=torch.long))[0])

        def at(numbers: Tensor) -> tuple[Latents, PerSample]:
            parts: list[Latents] = []
            mass: PerSample | None = None
            left = torch.Size(sizes).numel()
            for index, size in enumerate(sizes):
                left //= size
                support = of(self._conditional(index, parts))
                assert support is not None
                z, own = support.at(numbers // left % size)
                parts.append(z)
                mass = own if mass is None else mass * own
            assert mass is not None
            return side_by_side(parts), mass

        return Support(torch.Size(sizes).numel(), at)


def side_by_side(parts: list[Latents]) -> Latents:
    """Samples of several layers as one, [R, L, B, D_1 + D_2 + …]."""
    flat = [part.flatten(3) for part in parts]
    lead = torch.broadcast_shapes(*(part.shape[:3] for part in flat))
    return torch.cat([part.expand(*lead, part.shape[3]) for part in flat], -1)
