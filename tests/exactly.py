"""Exact expectations over the draws of an estimator, for any family of latents.

A family is asked for what it can do: the values of its `Support` (states, or the nodes of a quadrature) are turned into
noise that gives them. That is exact for an estimator that looks at samples alone. One that uses the noise itself, as
relaxations and antithetic pairs of bits do, needs nodes of the noise: ``noise_nodes(q, count)`` in the test module of
the family, tests/families/test_NAME.py, gives masses [1, N, B] and noise [1, N, B, *event]; ``noise_size(q, count)``
says how many there would be, where they may be more than can be made. Draws that are no noise of
the family are integrated by the estimator's test file, in its `Facts`.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

from gradbench.core.seeding import stream
from gradbench.core.types import Latents, Noise
from gradbench.engine.general import replicate_gradients
from gradbench.engine.task import Task
from gradbench.estimators import ESTIMATORS
from gradbench.families.base import Family, grid_of, states_of
from gradbench.families.support import Support, digits
from gradbench.problems.networks import Calls
from tests.estimators.facts import facts_of

COUNTS = (100, 64, 48, 32)
"""Nodes per dimension of a quadrature: the most that make no more than ``CHEAP`` tuples, or else the fewest."""
CHEAP = 2**15
"""Tuples of draws that take a few hundredths of a second."""
MOST = 2**20
"""Tuples of draws that are summed over at all."""
LIGHT = 1e-9
"""Of the heaviest tuple's weight: where the tuples are more than ``CHEAP``, those below it are left out, a part of some
1e-7 of the whole."""
OTHERS = 8
"""Other noises of the same states, from which an estimator must get the same values."""
TRIES = 64
"""Draws among which noise that gives a state is looked for, in thousands."""


def integrated(task: Task, count: int | None = None) -> tuple[Tensor, Noise]:
    """Weights [N] and noise with N first, whose weighted mean is the expectation over the draws of one gradient.

    ``count`` is the number of nodes per dimension, by default the most that are cheap, or else the fewest. Raises
    LookupError where even those are too many, or where the draws are not the family's and the estimator's test file
    does not integrate over them.
    """
    if task.estimator.deterministic:
        return torch.ones(1, dtype=task.point.dtype()), task.noise(1, stream(0, "nothing"))
    if not task.estimator.draws.of_family:
        own = facts_of(task.estimator.name).integrated
        if own is None:
            raise LookupError(f"{task.estimator.name} has draws of its own; integrate over them in its FACTS")
        return own(task)
    draws, batch = _drawn_together(task)
    size, one = _affordable(task.held_q, draws * batch) if count is None else (0, count)
    if size > MOST:
        raise LookupError(f"{draws} draws at {batch} datapoints are too many to sum over")
    weights, noise = _tuples(*nodes_of(task.held_q, one), draws, batch)
    if _hook(task.held_q) is None and states_of(task.held_q) is not None:
        for again in range(1, OTHERS + 1):
            _, other = _tuples(*nodes_of(task.held_q, one, again * TRIES), draws, batch)
            _check_samples_alone(task, noise, other)
    return weights, noise


def _check_samples_alone(task: Task, noise: Noise, other: Noise) -> None:
    """Raise LookupError where the estimator tells two noises apart that give the same samples."""
    problem = task.point.problem
    with torch.no_grad():
        one, two = (task.values(part, Calls(problem.phi), Calls(problem.theta)) for part in (noise, other))
    if not torch.allclose(one, two, rtol=1e-10, atol=1e-12):
        family = type(problem).family
        raise LookupError(
            f"{task.estimator.name} looks at the noise itself: its mean is no sum over states\n"
            f"give noise_nodes(q, count) in tests/families/test_{family}.py"
        )


def tuples(task: Task) -> int:
    """How many tuples of draws there are for `integrated`; of draws of its own as many as its `Facts` say, or 1."""
    if not task.estimator.draws.of_family:
        own = facts_of(task.estimator.name).tuples if task.estimator.name in ESTIMATORS else None
        return 1 if own is None else own(task)
    draws, batch = _drawn_together(task)
    return _affordable(task.held_q, draws * batch)[0]


def _drawn_together(task: Task) -> tuple[int, int]:
    """Draws of q for one gradient, at each datapoint, and datapoints."""
    example = task.noise(1, stream(0, "shape"))
    first = example if isinstance(example, Tensor) else next(iter(example.values()))
    return first.shape[1], first.shape[2]


def _affordable(q: Family, draws: int) -> tuple[int, int]:
    """Tuples of ``draws`` draws, and nodes per dimension."""
    sizes = [(_size(q, count) ** draws, count) for count in COUNTS]
    return next((found for found in sizes if found[0] <= CHEAP), sizes[-1])


def expected_gradient(task: Task, count: int | None = None) -> dict[str, Tensor]:
    """The exact mean of the estimator's gradient."""
    name = task.estimator.name
    own = facts_of(name).mean_only if name in ESTIMATORS and count is None else None
    weights, noise = integrated(task, count) if own is None else own(task)
    problem = task.point.problem
    values = task.values(noise, Calls(problem.phi), Calls(problem.theta))
    return differentiated(task, weights @ values)


def differentiated(task: Task, value: Tensor) -> dict[str, Tensor]:
    """The gradient of a scalar in every parameter, zero where it does not depend on one."""
    parameters = task.point.problem.named_parameters()
    if not value.requires_grad:
        return {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    found = torch.autograd.grad(value, tuple(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), found, strict=True)
    }


def exact_moments(task: Task, count: int | None = None) -> dict[str, tuple[Tensor, float]]:
    """The exact mean, flat, and the exact trace of the variance of the gradient in each parameter."""
    weights, noise = integrated(task, count)
    found = {}
    for name, rows in replicate_gradients(task, noise, len(weights)).items():
        mean = weights @ rows
        found[name] = (mean, float(weights @ ((rows - mean) ** 2).sum(1)))
    return found


def exact_variance(task: Task, group: str = "phi", count: int | None = None) -> float:
    """The exact trace of the variance of a group's gradient: ``phi``, ``theta`` or one parameter's full name."""
    moments = exact_moments(task, count)
    return sum(trace for name, (_, trace) in moments.items() if name == group or name.startswith(f"{group}."))


def nodes_of(q: Family, count: int, seed: int = 0) -> tuple[Tensor, Noise]:
    """Masses [1, N, B] and noise [1, N, B, *event] of one draw from q at each datapoint.

    Of noise that gives a state there is more than one: ``seed`` says where the search begins.
    """
    own = _hook(q)
    if own is not None:
        return own(q, count)
    support = _support(q, count)
    with torch.no_grad():
        z, mass = support.all()
        batch = q.sample(q.noise(1, 1, stream(0, "batch"))).shape[2]
        z = z.expand(-1, -1, batch, *z.shape[3:])
        return mass.expand(1, support.size, batch), giving(q, z, seed)


def giving(q: Family, z: Latents, seed: int = 0) -> Noise:
    """Noise that gives the samples z [1, N, B, *event], layer by layer where there are several."""
    split = getattr(q, "split", None)
    if split is not None:
        return {str(index): giving(part, own, seed) for index, (part, own) in enumerate(split(z))}  # pyright: ignore
    return q.noise_of(z) if states_of(q) is None else _drawn(q, z, seed)


def _drawn(q: Family, z: Latents, start: int) -> Tensor:
    """For each sample in z, noise that happened to give it."""
    wide = q.mapped(lambda value: value.expand(-1, z.shape[1], *value.shape[2:]))
    # one row of noise per value: laws whose parameters depend on the layer before differ from value to value
    like = type(q)(**{name: value.transpose(0, 1) for name, value in wide.parameters.items()})
    wanted = z.transpose(0, 1)
    found: Tensor | None = None
    missing = torch.ones(wanted.shape[0], 1, wanted.shape[2], dtype=torch.bool)
    for seed in range(start, start + TRIES):
        noise = like.noise(wanted.shape[0], 1000, stream(seed, "noise that gives a state"))
        assert isinstance(noise, Tensor)
        gives = (like.sample(noise) == wanted).flatten(3).all(-1)
        first = gives.to(torch.int8).argmax(1, keepdim=True)
        index = first.reshape(*first.shape, *[1] * (noise.ndim - 3)).expand(-1, -1, -1, *noise.shape[3:])
        taken = noise.gather(1, index)
        new = gives.any(1, keepdim=True) & missing
        shaped = new.reshape(*new.shape, *[1] * (noise.ndim - 3))
        found = taken if found is None else torch.where(shaped, taken, found)
        missing = missing & ~new
        if not missing.any():
            return found.transpose(0, 1)
    raise LookupError(f"a state of {q.law()} is too rare to be drawn; give noise_nodes in its family's test module")


def _size(q: Family, count: int) -> int:
    if (size := _hook(q, "noise_size")) is not None:
        return size(q, count)
    own = _hook(q)
    return own(q, count)[0].shape[1] if own is not None else _support(q, count).size


def _support(q: Family, count: int) -> Support:
    support = states_of(q) or grid_of(q, count)
    if support is None:
        raise LookupError(f"{q.law()} has neither states nor a grid; give noise_nodes in its family's test module")
    return support


def _hook(q: Family, what: str = "noise_nodes") -> Any:
    name = f"tests.families.test_{q.name}"
    if importlib.util.find_spec(name) is None:
        return None
    return getattr(importlib.import_module(name), what, None)


def _tuples(mass: Tensor, noise: Noise, draws: int, batch: int) -> tuple[Tensor, Noise]:
    """Every tuple of nodes over draws and datapoints: its weight, and its noise [N, L, B, *event]."""
    size, places = mass.shape[1], draws * batch
    chosen = digits(torch.arange(size**places), size, places).reshape(-1, draws, batch)
    columns = torch.arange(batch)
    weights = mass[0][chosen, columns].prod(-1).prod(-1)
    if size**places > CHEAP:
        heavy = weights > LIGHT * weights.max()
        chosen, weights = chosen[heavy], weights[heavy]
    if isinstance(noise, Tensor):
        return weights, noise[0][chosen, columns]
    return weights, {name: part[0][chosen, columns] for name, part in noise.items()}
