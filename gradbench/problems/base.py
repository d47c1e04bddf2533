"""What a problem is: q_φ, p_θ (or a cost), its parameters, and its exact objective where one is known."""

from __future__ import annotations

import copy
import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel, PositiveInt
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from gradbench.core.errors import BrokenProblemError, UsageError
from gradbench.core.strict import StrictModel
from gradbench.core.types import Latents, PerSample
from gradbench.families import FAMILIES
from gradbench.families.base import Family
from gradbench.problems.networks import Calls, trainable


class ProblemParameters(StrictModel):
    """What a suite may set of a problem; see `StrictModel`."""

    sizes: ClassVar[frozenset[str]] = frozenset()
    """Parameters that set the size of the problem: figures are followed along them."""
    later: ClassVar[frozenset[str]] = frozenset()
    """Parameters that came after results were kept; at their defaults the problem is what it was without them."""


def identity(parameters: BaseModel) -> dict[str, Any]:
    """The parameters that name a target and its random streams: those that came ``later`` only where they are set."""
    later, fields = getattr(parameters, "later", frozenset()), type(parameters).model_fields
    return {k: v for k, v in parameters.model_dump().items() if k not in later or v != fields[k].default}


class ModelParameters(ProblemParameters):
    """The same for a problem with data."""

    batch: PositiveInt = 32
    """Datapoints in the minibatch."""


@dataclass(frozen=True)
class Small:
    """A small version of a problem with an exact gradient: where `gradbench check` measures."""

    kl: Literal["analytic", "monte-carlo"] | None = None
    samples: tuple[int, ...] = (2, 4, 1)
    """The L to try, in order of preference."""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    """Parameters of the problem, over those of its small version."""
    objective: str | None = None
    """The objective; None: the one that the problem has by itself."""
    seed: int = 0
    """What is added to the seed that is asked for."""


class Problem(ABC):
    """A target of measurement. A subclass builds ``phi`` and ``theta`` in its constructor.

    Networks and free parameters are reached through the `Calls` that each method is given, never through
    ``self``: that is what lets one formula be trained, held, and measured replicate by replicate.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    """The family of its latents, by name; of each layer, where there are several."""
    objective: ClassVar[Literal["elbo", "cost"]] = "elbo"
    Parameters: ClassVar[type[Any]] = ProblemParameters
    data: ClassVar[str | None] = None
    """Default data set; None for a problem without data."""
    independent_datapoints: ClassVar[bool] = True
    """Whether every datapoint draws latents of its own; False for latents that the minibatch has in common."""
    dtype: ClassVar[Literal["float32", "float64"]] = "float32"
    """Default precision, in which it is also trained."""

    unit_interval: ClassVar[bool] = True
    """Whether the likelihood needs data in [0, 1], as one of binary pixels does."""
    labelled: ClassVar[bool] = False
    """Whether the last column of the data is the label of each row, and no feature."""
    exact_by: ClassVar[Literal["closed-form", "quadrature"]] = "closed-form"
    """What ``closed_form`` is: a formula, or one with integrals in it that quadrature does to rounding."""
    start_parameters: ClassVar[tuple[str, ...]] = ()
    """Parameters that what is drawn at the start is scaled or shaped by, such as where q starts.

    Sweeping them leaves the model and its data as they are: they are no part of the stream that those are drawn from.
    """
    small: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    """The parameters of its small version, which `gradbench explain` and `gradbench check` use."""
    checked: ClassVar[tuple[Small, ...]] = ()
    """Where `gradbench check` measures estimators by default; of a problem without any, only where it is named."""
    shown: ClassVar[bool] = False
    """Whether `gradbench explain` shows the estimators of its family here first."""

    phi: nn.Module
    theta: nn.Module

    @abstractmethod
    def __init__(self, parameters: Any, features: int, generator: torch.Generator) -> None:
        """Build phi and theta for data of ``features`` columns.

        Draw from ``generator``; plain ``nn.Module``s, which draw from torch's own stream, find that seeded, too.
        Precision is set by the caller: float64 is best where the first weights are drawn here.
        """

    @classmethod
    @abstractmethod
    def latent_dim(cls, parameters: Any) -> int:
        """Number of latent variables per datapoint."""

    @classmethod
    def layers(cls, parameters: Any) -> int:
        """Layers of latents, each drawn given the one before."""
        return 1

    @classmethod
    def states(cls, parameters: Any) -> int | None:
        """States of a datapoint's latents; None where they are not finitely many."""
        return FAMILIES[cls.family].count(cls.latent_dim(parameters))

    @classmethod
    def kls(cls, parameters: Any) -> tuple[Literal["analytic", "monte-carlo"], ...]:
        """The treatments of the KL that it has: in closed form, or sampled with the rest; the default first.

        That of several layers has no closed form.
        """
        return ("analytic", "monte-carlo") if cls.layers(parameters) == 1 else ("monte-carlo",)

    @classmethod
    def size(cls, parameters: Any) -> str:
        """A short label of the size, for tables."""
        return ""

    @classmethod
    def why_not_rows(cls, parameters: Any, rows: Tensor) -> str | None:
        """Why ``rows`` [N, columns] cannot be its data, with the remedy; None where they can."""
        return None

    def prepare(self, rows: Tensor) -> None:
        """Take note of the whole data set [N, columns], once, before anything is trained or measured.

        For what depends on all of it: a likelihood that counts the datapoints, a start of q that is fitted to them.
        """
        return

    @abstractmethod
    def posterior(self, phi: Calls, x: Tensor | None) -> Family:
        """q_φ(z|x) for x [1, 1, B, features]."""

    def prior(self, theta: Calls) -> Family:
        """p_θ(z), with parameters [1, 1, 1, D]: a `Family`, or anything with a ``log_prob(z)`` [R, L, B].

        The KL is analytic where `Family.kl` knows the pair; else only kl = "monte-carlo" can be measured.
        """
        raise NotImplementedError(f"{self.name} has no prior: its objective is {self.objective}")

    def log_likelihood(self, theta: Calls, x: Tensor, z: Latents) -> PerSample:
        """log p_θ(x|z), [R, L, B]."""
        raise NotImplementedError(f"{self.name} has no likelihood: its objective is {self.objective}")

    def cost(self, z: Latents) -> PerSample:
        """The cost f(z), [R, L, B]."""
        raise NotImplementedError(f"{self.name} has no cost: its objective is {self.objective}")

    def closed_form(self, phi: Calls, theta: Calls, x: Tensor | None) -> Tensor | None:
        """The exact objective as a differentiable scalar, where a formula is known; else None."""
        return None

    def linear_view(self, theta: Calls, x: Tensor | None) -> Tensor:
        """The matrix W [1, 1, B or 1, M, D] through which alone the likelihood or cost sees z: it is a function of W z.

        Where the minibatch has its latents in common, W has the rows of all datapoints together, and B is 1. A
        problem whose first use of z is no linear map of it does not give one.
        """
        raise NotImplementedError(f"{self.name} gives no matrix through which alone it sees z")

    @classmethod
    def has_linear_view(cls) -> bool:
        """Whether it says through which matrix z is seen; not where a class below changes what is done with z."""
        said = _depth(cls, "linear_view")
        return cls.__mro__[said] is not Problem and said <= min(_depth(cls, "log_likelihood"), _depth(cls, "cost"))

    def synthesise(self, rows: int, generator: torch.Generator) -> Tensor:
        """``rows`` datapoints of the model's own, [rows, features] (data = "synthetic")."""
        raise NotImplementedError(f"{self.name} cannot draw data of its own; give it a data set")

    def to(self, dtype: torch.dtype, device: str = "cpu") -> Problem:
        """Move the parameters, in place, and to the device what other tensors are the problem's own attributes."""
        self.phi.to(device=device, dtype=dtype)
        self.theta.to(device=device, dtype=dtype)
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                setattr(self, name, value.to(device))
        return self

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """Every parameter that is differentiated by group name, ``phi.NAME`` or ``theta.NAME``; no frozen one."""
        groups = {"phi.": self.phi, "theta.": self.theta}
        return {prefix + name: value for prefix, m in groups.items() for name, value in trainable(m).items()}


def _depth(kind: type, name: str) -> int:
    """How many classes down the order of resolution the attribute is found."""
    return next(index for index, one in enumerate(kind.__mro__) if name in vars(one))


def duplicate(problem: Problem) -> Problem:
    """A deep copy. Results that modules keep (a weight made in a hook, an activation) are copied as constants."""
    kept = [
        value
        for root in (problem.phi, problem.theta)
        for module in root.modules()
        for value in tree_leaves(vars(module))
        if isinstance(value, Tensor) and not value.is_leaf
    ]
    return copy.deepcopy(problem, {id(value): value.detach().clone() for value in kept})


def check_parameters(problem: Problem) -> None:
    """Raise BrokenProblemError where nothing of ``problem`` is differentiated, or φ and θ have a parameter in common.

    The gradient of one that they share is a sum of two, which an estimator treats apart. Memory counts, not identity:
    a view of a weight is that weight.
    """
    if not problem.named_parameters():
        raise BrokenProblemError(
            "no parameters",
            f"{problem.name} has no parameter that is differentiated in phi or theta",
            "leave requires_grad on in what is to be measured",
        )
    places = {
        prefix + name: value
        for prefix, module in (("phi.", problem.phi), ("theta.", problem.theta))
        for name, value in (*module.named_parameters(remove_duplicate=False), *module.named_buffers())
    }
    names = [[name for name in places if name.startswith(prefix)] for prefix in ("phi.", "theta.")]
    for one, other in itertools.product(*names):
        first, second = places[one], places[other]
        if (first.requires_grad or second.requires_grad) and _overlap(first, second):
            raise BrokenProblemError(
                "shared parameter",
                f"{one} and {other} are one and the same memory",
                "give phi and theta parameters of their own, or freeze the shared one: requires_grad_(False)",
            )


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors have memory in common; slices of one buffer that lie side by side have none."""
    if not a.numel() or not b.numel() or a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr():
        return False
    return a.storage_offset() < _end(b) and b.storage_offset() < _end(a)


def _end(value: Tensor) -> int:
    reach = sum((size - 1) * step for size, step in zip(value.shape, value.stride(), strict=True))
    return int(value.storage_offset() + reach + 1)


def _check_weights(count: int, what: str) -> None:
    if count > MOST_WEIGHTS:
        raise UsageError(f"{what}: {count:,} weights; a network has at most {MOST_WEIGHTS:,}")


class Free(nn.Module):
    """A module of free parameters."""

    def __init__(self, **parameters: Tensor) -> None:
        super().__init__()
        for name, value in parameters.items():
            self.register_parameter(name, nn.Parameter(value))


MOST_WEIGHTS, MOST_LAYERS = 10**8, 1000
"""Of a network of `mlp` or `linear`; a billion weights would take 8 GB before anything is measured."""


def linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    """A float64 linear layer, Glorot-uniform weight and zero bias, drawn from ``generator``.

    Raises UsageError for more than `MOST_WEIGHTS`.
    """
    _check_weights(inputs * outputs, f"a layer from {inputs} to {outputs} units")
    with torch.random.fork_rng(devices=()):  # what the layer is made with is drawn from the global generator
        layer = nn.Linear(inputs, outputs, dtype=torch.float64)
    nn.init.xavier_uniform_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer


def mlp(inputs: int, hidden: int, layers: int, outputs: int, generator: torch.Generator) -> nn.Sequential:
    """``layers`` tanh layers of ``hidden`` units, then a linear output; ``layers`` = 0 is a linear map.

    Raises UsageError for more than `MOST_LAYERS` or `MOST_WEIGHTS`.
    """
    if layers > MOST_LAYERS:
        raise UsageError(f"layers = {layers}: a network has at most {MOST_LAYERS} hidden layers")
    ends = hidden * (inputs + outputs) if layers else inputs * outputs
    _check_weights(ends + hidden * hidden * max(layers - 1, 0), f"layers = {layers} of hidden = {hidden} units")
    network = nn.Sequential()
    for index in range(layers):
        network.add_module(f"hidden{index + 1}", linear(inputs, hidden, generator))
        network.add_module(f"tanh{index + 1}", nn.Tanh())
        inputs = hidden
    network.add_module("output", linear(inputs, outputs, generator))
    return network
