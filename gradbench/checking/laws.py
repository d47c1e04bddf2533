"""Whether a posterior of the user's own draws from the law that its log_prob says.

Two tests whose error rate needs no assumption about that law. Factorised continuous latents: the draws of one
coordinate against the distribution function that log_prob integrates to, by the Dvoretzky–Kiefer–Wolfowitz bound.
Finitely many states: log_prob must sum to one over them, and the mean of each entry agree by Hoeffding's bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gradbench.core.errors import BrokenProblemError
from gradbench.core.seeding import stream
from gradbench.core.types import Noise
from gradbench.families import FAMILIES
from gradbench.families.base import Family
from gradbench.families.support import MAX_STATES, Support

DRAWS = 2**15
LAW_FALSE_ALARMS = 1e-9
"""The chance that a right posterior is refused, at most, in each test of one coordinate."""
NODES = 2048
INTEGRATION = 2e-3
"""Allowed for the error of the integral."""
NORMALISED = 1e-2
"""Allowed for an integral's difference from 1, per coordinate: its error, and what lies beyond the draws."""
MOST_COORDINATES = 16


def check_law(q: Family) -> None:
    """Raise BrokenProblemError where the draws of q are not from the law of its log_prob; gradbench's own are known.

    Of layers, each is looked at given one sample of those before it.
    """
    with torch.no_grad():
        noise = q.noise(1, 1, stream(0, "law, given", device=next(iter(q.parameters.values())).device))
        for part, _ in q.chain(noise):
            if not FAMILIES.is_own(type(part)):
                check_one(part.mapped(lambda value: value.detach()[:1, :1, :1]))


def check_one(one: Family, changed: Callable[[Noise], Noise] = lambda noise: noise) -> None:
    """The same of a distribution with parameters [1, 1, 1, *event], whatever its family; its noise is changed first."""
    noise = one.noise(DRAWS, 1, stream(0, "law", device=next(iter(one.parameters.values())).device))
    check_samples(one, one.sample(changed(noise)))


def check_samples(q: Family, z: Tensor) -> None:
    """Raise BrokenProblemError where ``z`` [`DRAWS`, 1, 1, *event] are not samples of q at one datapoint."""
    support = q.states()
    if support is not None:
        if support.size <= MAX_STATES:
            _discrete(q, support, z)
    elif z.ndim == 4:
        _continuous(q, z)


def _discrete(q: Family, support: Support, z: Tensor) -> None:
    states, _ = support.all()
    if not torch.isin(z, states.unique()).all():
        raise _broken(q, f"its samples are no states: not all of their entries are {_listed(states.unique())}")
    mass = q.log_prob(states).exp()
    if abs(float(mass.sum()) - 1) > 1e-6:
        raise _broken(q, f"exp(log_prob) sums to {float(mass.sum()):.4g} over the states, not 1")
    entries = states.flatten(3)
    expected = (mass[..., None] * entries).sum((0, 1, 2))
    away = (z.flatten(3).mean((0, 1, 2)) - expected).abs()
    reach = (entries.amax((0, 1, 2)) - entries.amin((0, 1, 2))).clamp_min(torch.finfo(z.dtype).tiny)
    if float((away / reach).max()) > math.sqrt(math.log(2 * entries.shape[-1] / LAW_FALSE_ALARMS) / (2 * DRAWS)):
        raise _broken(q, f"the mean of its samples is off by {float(away.max()):.2g}")


def _listed(values: Tensor) -> str:
    return " or ".join(f"{value:g}" for value in values[:4].tolist())


def _continuous(q: Family, z: Tensor) -> None:
    draws = z[:, 0, 0]
    if not _factorised(q, draws):
        return
    bound = math.sqrt(math.log(2 / LAW_FALSE_ALARMS) / (2 * DRAWS)) + INTEGRATION
    for index in range(min(draws.shape[-1], MOST_COORDINATES)):
        away = _distance(q, draws, index)
        if away > bound:
            raise _broken(
                q, f"coordinate {index}: their distribution functions differ by {away:.2g} (chance: {bound:.2g})"
            )


def check_normalised(one: Family) -> None:
    """Raise BrokenProblemError where exp(log_prob) does not integrate to 1; `check_one` sums it over states.

    For parameters [1, 1, 1, D] and log_prob a sum over coordinates; of other laws nothing is said.
    """
    draws = one.sample(one.noise(DRAWS, 1, stream(0, "law", device=next(iter(one.parameters.values())).device)))
    if one.states() is not None or draws.ndim != 4 or not _factorised(one, draws[:, 0, 0]):
        return
    z = draws[:, 0, 0]
    total = -(z.shape[-1] - 1) * float(one.log_prob(z[:1, None, None]))
    for index in range(z.shape[-1]):
        _, mass, log = _integrated(one, z, index)
        total += math.log(float(mass[-1])) + log
    if abs(math.exp(total) - 1) > NORMALISED * z.shape[-1]:
        raise _broken(one, f"exp(log_prob) integrates to {math.exp(total):.4g}, not 1")


def _factorised(q: Family, draws: Tensor) -> bool:
    """Whether log_prob is a sum over coordinates, at some of the draws: else no coordinate has a density of its own."""
    a, b = draws[:64], draws[64:128]
    for index in range(draws.shape[-1] if draws.shape[-1] > 1 else 0):
        swapped, back = a.clone(), b.clone()
        swapped[:, index], back[:, index] = b[:, index], a[:, index]
        log = [q.log_prob(value[:, None, None])[:, 0, 0] for value in (a, b, swapped, back)]
        if not torch.allclose(log[0] + log[1], log[2] + log[3], rtol=1e-8, atol=1e-8):
            return False
    return True


def _distance(q: Family, draws: Tensor, index: int) -> float:
    """The largest difference between the two distribution functions of a coordinate, on the range of its draws."""
    nodes, mass, _ = _integrated(q, draws, index)
    drawn = torch.searchsorted(draws[:, index].sort().values, nodes, right=True) / DRAWS
    return float((mass / mass[-1] - drawn).abs().max())


def _integrated(q: Family, draws: Tensor, index: int) -> tuple[Tensor, Tensor, float]:
    """The integral of the density in one coordinate up to nodes in the range of its draws, the others as in the first.

    Where draws repeat, as counts do, it is the sum of the masses of the values drawn. Of the density (or mass) over
    its largest value, whose logarithm is the last.
    """
    value = draws[:, index].sort().values
    repeated = value.unique()
    discrete = len(repeated) < DRAWS / 2
    nodes = repeated if discrete else _nodes(value)
    points = draws[:1].expand(len(nodes), -1).clone()
    points[:, index] = nodes
    log = q.log_prob(points[:, None, None])[:, 0, 0]
    density = (log - log.max()).exp()
    if discrete:
        return nodes, density.cumsum(0), float(log.max())
    steps = (density[1:] + density[:-1]) / 2 * nodes.diff()
    return nodes, torch.cat([steps.new_zeros(1), steps.cumsum(0)]), float(log.max())


def _nodes(value: Tensor) -> Tensor:
    """Nodes on the range of sorted draws: quantiles, equal steps, and equal ratios where all are positive.

    The last are for a density that is unbounded at 0.
    """
    low, high = float(value[0]), float(value[-1])
    nodes = [value[torch.linspace(0, DRAWS - 1, NODES, device=value.device).long()]]
    nodes.append(torch.linspace(low, high, NODES).to(value))
    if low > 0:
        ratios = torch.linspace(math.log(low), math.log(high), NODES, dtype=torch.float64)
        nodes.append(ratios.exp().clamp(low, high).to(value))
    return torch.cat(nodes).unique()


def _broken(q: Family, seen: str) -> BrokenProblemError:
    return BrokenProblemError(
        "posterior",
        f"{type(q).__name__} does not draw from the law of its log_prob: {seen}",
        "a law of your own changes noise, sample, and _distribution (or log_prob) together",
    )
