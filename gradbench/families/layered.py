"""Layers of latents, each drawn given the samples of the layers before it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gradbench.core.errors import BrokenProblemError, NoClosedFormError
from gradbench.core.types import Latents, Noise, PerSample
from gradbench.families.base import Family, Use, grid_of, noise_at, states_of
from gradbench.families.support import Support

Conditional = Callable[..., Family]
"""(calls, *samples of the layers before) -> the distribution of the next layer, at parameters [R, L, B, *event]."""


class Layered(Family):
    """q(z_1|x) q(z_2|z_1, x) …: z is the layers side by side, [R, L, B, D_1 + D_2 + …].

    ``calls`` is the `Calls` that reaches the parameters: holding q holds those, while z_2 still depends on z_1 through
    the distribution that z_1 gives. The layers are of one family. ``parameters`` are those of the first layer: those of
    the others depend on the sample.
    """

    name = "layered"

    def __init__(self, calls: Any, *conditionals: Conditional) -> None:
        self.calls = calls
        self.layers = conditionals
        self.first = family_of(conditionals[0](calls), 0)
        self.parameters = self.first.parameters

    @property
    def judge(self) -> Use:
        return self.first.judge

    @property
    def event(self) -> torch.Size:
        generator = torch.Generator(self._like()["device"]).manual_seed(0)
        with torch.no_grad():  # a layer tells its size once it is given a sample of those before
            layers = self._drawn(lambda q: q.noise(1, 1, generator))
            return torch.Size([sum(q.event.numel() for q, _ in layers)])

    def noise(self, replicates: int, samples: int, generator: torch.Generator) -> Noise:
        """The noise of each layer under its number, each [R, L, B, *event]; ``1.NAME`` where a layer has several."""
        return _by_number(self._drawn(lambda q: q.noise(replicates, samples, generator)))

    def from_uniforms(self, uniforms: Tensor) -> Noise:
        """The noise of each layer under its number, at ``uniforms`` of all layers side by side, [R, L, B, ΣD].

        Raises MeasurementError where a layer makes none.
        """
        start = 0

        def next_ones(q: Family) -> Noise:
            nonlocal start
            own = uniforms[..., start : start + q.event.numel()]
            start += q.event.numel()
            return noise_at(q, own.unflatten(-1, q.event))

        return _by_number(self._drawn(next_ones))

    def _drawn(self, draw: Callable[[Family], Noise]) -> Iterator[tuple[Family, Noise]]:
        """Each layer's distribution with its own noise from ``draw``, given the samples of the layers before."""
        above: list[Latents] = []
        for index in range(len(self.layers)):
            q = self._conditional(index, above)
            part = draw(q)
            yield q, part
            above.append(q.sample(part))

    def chain(self, noise: Noise) -> list[tuple[Family, Latents]]:
        found: list[tuple[Family, Latents]] = []
        for index in range(len(self.layers)):
            q = self._conditional(index, [z for _, z in found])
            found.append((q, q.sample(_part(noise, index))))
        return found

    def sample(self, noise: Noise) -> Latents:
        return layers_side_by_side([z for _, z in self.chain(noise)])

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
        return _total([q.log_prob(part) for q, part in self.split(z)])

    def kl(self, prior: Any) -> PerSample:
        raise NoClosedFormError(
            f"kl = 'analytic': KL of {len(self.layers)} layers of latents has no closed form; use kl = 'monte-carlo'"
        )

    def opposite(self, noise: Noise) -> Noise:
        """The partner of each layer's noise. Raises NotImplementedError where a layer has none."""
        with torch.no_grad():
            laws = [q for q, _ in self.chain(noise)]
        found: dict[str, Tensor] = {}
        for index, q in enumerate(laws):
            found |= _numbered(q.opposite(_part(noise, index)), index)
        return found

    def noise_of(self, z: Latents) -> Noise:
        found: dict[str, Tensor] = {}
        for index, (q, part) in enumerate(self.split(z)):
            found |= _numbered(q.noise_of(part), index)
        return found

    def states(self) -> Support | None:
        return self._support(states_of)

    def grid(self, nodes: int) -> Support | None:
        """The product of the layers' grids: as many dimensions as are drawn, in all layers."""
        return self._support(lambda q: grid_of(q, nodes))

    def held(self) -> Layered:
        found = copy.copy(self)
        found.calls, found.first = self.calls.held(), self.first.held()
        found.parameters = found.first.parameters
        return found

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Layered:
        raise NotImplementedError("the parameters of deeper layers depend on the samples of those before")

    def law(self) -> str:
        return f"{len(self.layers)} layers of {self.first.law()}"

    def _conditional(self, index: int, above: list[Latents]) -> Family:
        return self.first if index == 0 else family_of(self.layers[index](self.calls, *above), index)

    def _support(self, of: Callable[[Family], Support | None]) -> Support | None:
        """The product of the layers' supports, each at the values of the layers before; None where one has none."""
        sizes: list[int] = []
        above: list[Latents] = []
        for index in range(len(self.layers)):
            support = of(self._conditional(index, above))
            if support is None:
                return None
            sizes.append(support.size)
            above.append(support.at(torch.zeros(1, dtype=torch.long, device=support.device))[0])

        def at(numbers: Tensor) -> tuple[Latents, PerSample]:
            parts: list[Latents] = []
            mass: PerSample | None = None
            left = math.prod(sizes)
            for index, size in enumerate(sizes):
                left //= size
                support = of(self._conditional(index, parts))
                assert support is not None
                z, own = support.at(numbers // left % size)
                parts.append(z)
                mass = own if mass is None else mass * own
            assert mass is not None
            return layers_side_by_side(parts), mass

        return Support(math.prod(sizes), at, above[0].device)


class TopDown:
    """The joint law of layers that are drawn from the last to the first, p(z_N) … p(z_1|z_2, …): a prior.

    ``conditionals`` begin with that of the last layer, and are given the samples of the layers after their own, the
    last one first. z is the layers side by side, the first one first, as a `Layered` posterior draws it.
    """

    def __init__(self, calls: Any, *conditionals: Conditional) -> None:
        self.calls = calls
        self.layers = conditionals

    def split(self, z: Latents) -> list[tuple[Family, Latents]]:
        """Each layer's distribution given the layers after it, with its own part of ``z``, the last layer first."""
        found: list[tuple[Family, Latents]] = []
        stop = z.shape[-1]
        for conditional in self.layers:
            p = conditional(self.calls, *(part for _, part in found))
            start = stop - p.event.numel()
            found.append((p, z[..., start:stop].unflatten(-1, p.event)))
            stop = start
        return found

    def log_prob(self, z: Latents) -> PerSample:
        """log p(z), summed over all layers, [R, L, B]."""
        return _total([p.log_prob(part) for p, part in self.split(z)])


def family_of(value: Any, index: int) -> Family:
    """``value`` as the distribution of the layer ``index``. Raises BrokenProblemError where it is none."""
    if isinstance(value, Family) and not isinstance(value, Layered):
        return value
    raise BrokenProblemError(
        "posterior",
        f"layer {index + 1} of posterior is a {type(value).__name__}",
        "let each function that is given to Layered return a Family of one layer",
    )


def layers_side_by_side(parts: list[Latents]) -> Latents:
    """Samples of several layers as one, [R, L, B, D_1 + D_2 + …]."""
    flat = [part.flatten(3) for part in parts]
    lead = np.broadcast_shapes(*(part.shape[:3] for part in flat))
    return torch.cat([part.expand(*lead, part.shape[3]) for part in flat], -1)


def _total(terms: list[PerSample]) -> PerSample:
    return sum(terms[1:], terms[0])


def _by_number(drawn: Iterable[tuple[Family, Noise]]) -> Noise:
    """The noise of all layers, that of each under its number."""
    found: dict[str, Tensor] = {}
    for index, (_, part) in enumerate(drawn):
        found |= _numbered(part, index)
    return found


def _numbered(part: Noise, index: int) -> dict[str, Tensor]:
    """The noise of one layer under its number."""
    if isinstance(part, Tensor):
        return {str(index): part}
    return {f"{index}.{name}": value for name, value in part.items()}


def _part(noise: Noise, index: int) -> Noise:
    """The noise of one layer, of that of all."""
    assert isinstance(noise, dict)
    own = noise.get(str(index))
    if own is not None:
        return own
    start = f"{index}."
    return {name.removeprefix(start): value for name, value in noise.items() if name.startswith(start)}
