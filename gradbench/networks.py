"""Calling the networks of a problem: plainly, held constant, or with one copy of the parameters per replicate.

A problem's φ and θ are each an ``nn.Module``. Problem code never calls them itself: it asks a `Calls` for the
output of a named submodule, or for a free parameter, so that one formula serves training, measuring and holding.
Modules see ordinary batches [N, *features]; the axes R, L and B are flattened into N and restored here.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap


class Calls:
    """Calls of one module with its own parameters; what a training step does."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def call(self, name: str, *inputs: Tensor) -> Tensor:
        """Output [R, L, B, *out] of submodule ``name`` for inputs [R, L, B, *in]."""
        return _batched(self.module.get_submodule(name), inputs)

    def free(self, name: str) -> Tensor:
        """The free parameter ``name``, [1, 1, 1, *shape] (R first where each replicate has its own)."""
        return self.module.get_parameter(name)[None, None, None]

    def held(self) -> Calls:
        """The same module with its parameters held constant."""
        return HeldCalls(self.module)

    def once(self) -> Calls:
        """The same calls for a term that is the same in every replicate: no axis of replicates, if that is cheaper."""
        return self


def places(module: nn.Module) -> dict[str, Tensor]:
    """The parameter in every place that holds one, by path.

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

    def call(self, name: str, *inputs: Tensor) -> Tensor:
        module = self.module.get_submodule(name)
        constants = {key: value.detach() for key, value in places(module).items()}
        return _batched(lambda *batch: functional_call(module, constants, batch, tie_weights=False), inputs)

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

    def call(self, name: str, *inputs: Tensor) -> Tensor:
        if all(value.shape[0] == 1 and not value.requires_grad for value in inputs):
            return self._share(super().call(name, *inputs))
        module = self.module.get_submodule(name)
        names = {id(value): f"{name}.{key}" for key, value in module.named_parameters()}
        copies = {key: self._copy(names[id(value)], value) for key, value in places(module).items()}

        def one(parameters: dict[str, Tensor], *batch: Tensor) -> Tensor:
            return functional_call(module, parameters, batch, tie_weights=False)

        lead = (self.replicates, *leading(inputs)[1:])
        flat = [value.expand(*lead, *value.shape[3:]).flatten(1, 2) for value in inputs]
        return vmap(one, randomness="error")(copies, *flat).unflatten(1, lead[1:])

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
        for name, value in group.module.named_parameters()
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
        names, parameters = zip(*module.named_parameters(), strict=True)
        for name, gradient in zip(names, _grad(output, parameters, weight.unsqueeze(1)), strict=True):
            if gradient is not None:
                gradients[prefix + name] = gradients[prefix + name] + gradient
    return gradients


def _grad(output: Tensor, inputs, weight: Tensor | None = None) -> tuple[Tensor | None, ...]:
    if not output.requires_grad:
        return (None,) * len(inputs)
    return torch.autograd.grad(output, inputs, weight, is_grads_batched=weight is not None, allow_unused=True)


def leading(inputs: tuple[Tensor, ...]) -> tuple[int, ...]:
    """The axes R, L, B of what a network reads."""
    if len(inputs) == 1:
        return tuple(inputs[0].shape[:3])
    return tuple(torch.broadcast_shapes(*(value.shape[:3] for value in inputs)))


def _batched(module, inputs: tuple[Tensor, ...]) -> Tensor:
    lead = leading(inputs)
    flat = [value.expand(*lead, *value.shape[3:]).flatten(0, 2) for value in inputs]
    return module(*flat).unflatten(0, lead)
