"""Calling the networks of a problem: plainly, held constant, or with one copy of the parameters per replicate.

A problem's φ and θ are each an ``nn.Module``. Problem code never calls them itself: it asks a `Calls` for the
output of a named submodule, or for a free parameter, so that one formula serves training, measuring and holding.
Modules see ordinary batches [N, *features]; the axes R, L and B are flattened into N and restored here. What a module
returns is a tensor [N, *out], or several of them in a tuple, list or dict: those travel as one tensor, joined, and are
taken apart again where the problem's code gets them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from gradbench.core.errors import BrokenProblemError


class NeedsLoopError(Exception):
    """A module cannot be run for all replicates at once; the message says which, and why."""


class Form:
    """How the output of one call is made up, where it is more than one tensor."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec: TreeSpec | None = None
        self.shapes: list[tuple[int, ...]] = []

    def join(self, output: Any, rows: int) -> Tensor:
        """A module's output for ``rows`` rows as one tensor [rows, …]. Raises BrokenProblemError where it is none."""
        if isinstance(output, Tensor):
            self._check(output, rows)
            return output
        parts, self.spec = tree_flatten(output)
        for part in parts:
            self._check(part, rows)
        self.shapes = [tuple(part.shape[1:]) for part in parts]
        return torch.cat([part.reshape(rows, -1) for part in parts], -1)

    def split(self, joined: Tensor) -> Any:
        """What the module returned, from ``joined`` with the axes [R, L, B] in the place of its rows."""
        if self.spec is None:
            return joined
        parts = joined.split([math.prod(shape) for shape in self.shapes], -1)
        shaped = [part.reshape(*part.shape[:3], *shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return tree_unflatten(shaped, self.spec)

    def _check(self, part: Any, rows: int) -> None:
        if isinstance(part, Tensor) and part.ndim and part.shape[0] == rows:
            return
        given = f"a tensor {list(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
        raise BrokenProblemError(
            "wrong shape",
            f"{self.name} returns {given} for {rows} rows",
            f"return a tensor [{rows}, …] with one row for each row of the input, or a tuple of such",
        )


class Calls:
    """Calls of one module with its own parameters; what a training step does."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def call(self, name: str, *inputs: Tensor) -> Any:
        """Output [R, L, B, *out] of submodule ``name`` for inputs [R, L, B, *in]; a tuple where it gives one."""
        form = Form(name)
        return form.split(self._call(name, inputs, form))

    def _call(self, name: str, inputs: tuple[Tensor, ...], form: Form) -> Tensor:
        """The output as one tensor, whose make-up is noted in ``form``."""
        return _batched(self.module.get_submodule(name), inputs, form)

    def free(self, name: str) -> Tensor:
        """The free parameter ``name``, [1, 1, 1, *shape] (R first where each replicate has its own)."""
        return self.module.get_parameter(name)[None, None, None]

    def of(self, function: Callable[[Calls, Tensor, Tensor], Tensor], x: Tensor, z: Tensor) -> Tensor:
        """``function`` of these calls, of data x, and of samples z: the same wherever z is the same."""
        return function(self, x, z)

    def held(self) -> Calls:
        """The same module with its parameters held constant."""
        return HeldCalls(self.module)

    def once(self) -> Calls:
        """The same calls for a term that is the same in every replicate: no axis of replicates, if that is cheaper."""
        return self


def places(module: nn.Module) -> dict[str, Tensor]:
    """The parameter in every place of ``module`` that holds one, by path.

    A parameter in two modules is in two places; a module under two names is one, or `functional_call` would put into
    it what it had just put there, and leave it there.
    """
    return {
        f"{path}.{name}" if path else name: value
        for path, child in module.named_modules()
        for name, value in child.named_parameters(recurse=False, remove_duplicate=False)
    }


class HeldCalls(Calls):
    """Calls whose parameters are constants; inputs are differentiated through all the same."""

    def _call(self, name: str, inputs: tuple[Tensor, ...], form: Form) -> Tensor:
        module = self.module.get_submodule(name)
        constants = {key: value.detach() for key, value in places(module).items()}
        return _batched(lambda *batch: functional_call(module, constants, batch, tie_weights=False), inputs, form)

    def free(self, name: str) -> Tensor:
        return super().free(name).detach()


class PerReplicateCalls(Calls):
    """Calls in which every replicate has its own copy of the parameters, so that its gradient can be told apart.

    What does not depend on the replicate (an encoder fed the same minibatch, a free parameter) is computed once;
    its output is handed out as R copies, and `gradients` takes it back through the one graph, R at a time.
    """

    def __init__(self, module: nn.Module, replicates: int) -> None:
        super().__init__(module)
        self.replicates = replicates
        self.copies: dict[str, Tensor] = {}
        self.shared: list[tuple[Tensor, Tensor]] = []

    def _call(self, name: str, inputs: tuple[Tensor, ...], form: Form) -> Tensor:
        if all(value.shape[0] == 1 and not value.requires_grad for value in inputs):
            return self._share(super()._call(name, inputs, form))
        module = self.module.get_submodule(name)
        names = {id(value): key for key, value in trainable(self.module).items()}
        copies = {
            key: self._copy(names[id(value)], value) for key, value in places(module).items() if value.requires_grad
        }
        lead = (self.replicates, *leading(inputs)[1:])

        def one(parameters: dict[str, Tensor], *batch: Tensor) -> Tensor:
            return form.join(functional_call(module, parameters, batch, tie_weights=False), len(batch[0]))

        flat = [value.expand(*lead, *value.shape[3:]).flatten(1, 2) for value in inputs]
        try:
            return vmap(one, randomness="error")(copies, *flat).unflatten(1, lead[1:])
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            raise _no_rule(name, error) from error

    def free(self, name: str) -> Tensor:
        return self._share(super().free(name))

    def _copy(self, name: str, parameter: Tensor) -> Tensor:
        if name not in self.copies:
            self.copies[name] = parameter.detach().expand(self.replicates, *parameter.shape).requires_grad_()
        return self.copies[name]

    def _share(self, output: Tensor) -> Tensor:
        copies = output.detach().expand(self.replicates, *output.shape[1:]).requires_grad_()
        self.shared.append((output, copies))
        return copies


def gradients_of(total: Tensor, calls: dict[str, PerReplicateCalls], blocks: int | None = None) -> dict[str, Tensor]:
    """Each replicate's gradient of its own value, [R, *shape] by prefixed parameter name, from ``total``, their sum.

    With ``blocks``: the mean gradients [blocks, *shape] of so many equal blocks of replicates instead.
    """

    def reduced(value: Tensor | None) -> Tensor | None:
        return value if blocks is None or value is None else value.unflatten(0, (blocks, -1)).mean(1)

    gradients = {
        prefix + name: value.new_zeros(()).expand(blocks or group.replicates, *value.shape)
        for prefix, group in calls.items()
        for name, value in trainable(group.module).items()
    }
    leaves = [(prefix + name, value) for prefix, group in calls.items() for name, value in group.copies.items()]
    shared = [(prefix, group.module, *pair) for prefix, group in calls.items() for pair in group.shared]
    found = [reduced(value) for value in _grad(total, [v for _, v in leaves] + [copies for *_, copies in shared])]
    for (name, _), gradient in zip(leaves, found, strict=False):
        if gradient is not None:
            gradients[name] = gradients[name] + gradient
    for (prefix, module, output, _), weight in zip(shared, found[len(leaves) :], strict=True):
        if weight is None:
            continue
        parameters = trainable(module)
        found_here = _grad_of_each(output, tuple(parameters.values()), weight.unsqueeze(1))
        for name, gradient in zip(parameters, found_here, strict=True):
            if gradient is not None:
                gradients[prefix + name] = gradients[prefix + name] + gradient
    return gradients


def trainable(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters of ``module`` that are differentiated, by path; a tied one once. Frozen ones are constants."""
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def _grad(output: Tensor, inputs) -> tuple[Tensor | None, ...]:
    if not output.requires_grad or not inputs:
        return (None,) * len(inputs)
    return torch.autograd.grad(output, inputs, allow_unused=True)


def _grad_of_each(output: Tensor, inputs: tuple[Tensor, ...], weights: Tensor) -> list[Tensor | None]:
    """The gradients [R, *shape] for each of R ``weights`` of the output."""
    if not output.requires_grad or not inputs:
        return [None] * len(inputs)
    try:
        return list(torch.autograd.grad(output, inputs, weights, True, is_grads_batched=True, allow_unused=True))
    except (RuntimeError, NotImplementedError):  # an operation whose way back has no batching rule: one by one
        each = [torch.autograd.grad(output, inputs, one, True, allow_unused=True) for one in weights]
        return [None if parts[0] is None else torch.stack(parts) for parts in zip(*each, strict=True)]


def _no_rule(name: str, error: Exception) -> Exception:
    text = " ".join(str(error).split())
    if "randomness" in text:
        return BrokenProblemError("hidden randomness", f"{name} draws random numbers of its own", DRAWS_REMEDY)
    return NeedsLoopError(f"{name} cannot be run for all replicates at once ({type(error).__name__}: {text[:100]})")


DRAWS_REMEDY = "call .eval() on it, or drop dropout and other noise: what is drawn comes from the estimator alone"


def leading(inputs: tuple[Tensor, ...]) -> tuple[int, ...]:
    """The axes R, L, B of what a network reads."""
    if len(inputs) == 1:
        return tuple(inputs[0].shape[:3])
    return tuple(np.broadcast_shapes(*(value.shape[:3] for value in inputs)))


def _batched(module, inputs: tuple[Tensor, ...], form: Form) -> Tensor:
    lead = leading(inputs)
    flat = [value.expand(*lead, *value.shape[3:]).flatten(0, 2) for value in inputs]
    return form.join(module(*flat), math.prod(lead)).unflatten(0, lead)
