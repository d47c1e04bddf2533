"""Plain stacks of linear layers and elementwise activations, taken backwards for many replicates at once.

What is the same in every replicate is run once; only the gradients in its outputs differ. Autograd can take many
such gradients back through one graph (``is_grads_batched``), at several times the price of the products themselves.
For the networks that nearly everybody has, a stack of linear layers with elementwise activations between, the way
back is written out here: δ W at a layer, δ ⊙ φ′(u) at an activation, with φ′(u) found once.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

ELEMENTWISE: tuple[type[nn.Module], ...] = (
    nn.Identity,
    nn.Tanh,
    nn.Sigmoid,
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Softsign,
    nn.LogSigmoid,
    nn.Hardtanh,
)
"""Modules whose output at one place depends on their input at that place alone."""


def steps(module: nn.Module, name: str) -> list[tuple[str, nn.Module]] | None:
    """The stack of ``module`` with the layers' paths; None where it is no plain stack."""
    if type(module) is nn.Sequential and unaltered(module):
        found: list[tuple[str, nn.Module]] = []
        for key, child in module.named_children():
            inner = steps(child, f"{name}.{key}")
            if inner is None:
                return None
            found += inner
        return found
    if type(module) is nn.Linear:
        return [(name, module)] if unaltered(module) else None
    return [(name, module)] if type(module) in ELEMENTWISE and unaltered(module) else None


def unaltered(module: nn.Module) -> bool:
    """Whether a module of torch's does what its class says: no hook, no forward of its own, no other parameters.

    `torch.nn.utils.weight_norm` and the like leave the class as it is, and make the weight in a hook.
    """
    hooks = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    return not hooks and "forward" not in vars(module) and module._parameters.keys() <= {"weight", "bias"}


class Chain:
    """One run of a stack on rows [n, features]."""

    def __init__(self, stack: list[tuple[str, nn.Module]], rows: Tensor) -> None:
        self.back: list[tuple[str, nn.Linear, Tensor] | Tensor] = []
        with torch.no_grad():
            for name, module in stack:
                if isinstance(module, nn.Linear):
                    self.back.append((name, module, rows))
                    rows = module(rows)
                elif self.back and type(module) is not nn.Identity:
                    rows = self._activate(module, rows)
                else:
                    rows = module(rows.clone())
        self.output = rows

    def _activate(self, module: nn.Module, rows: Tensor) -> Tensor:
        with torch.enable_grad():
            leaf = rows.detach().requires_grad_()
            output = module(leaf.clone())  # a copy: the activation may work in place
            (slope,) = torch.autograd.grad(output.sum(), leaf)
        self.back.append(slope)
        return output.detach()

    def pull(self, delta: Tensor) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Each layer's name, input [n, in] and δ [R, n, out], last layer first, from ``delta`` [R, n, out]."""
        layers = sum(isinstance(step, tuple) for step in self.back)
        for step in reversed(self.back):
            if isinstance(step, Tensor):
                delta = delta * step
                continue
            name, layer, rows = step
            yield name, rows, delta
            layers -= 1
            if layers == 0:
                return
            delta = (delta.flatten(0, 1) @ layer.weight.detach()).unflatten(0, delta.shape[:2])
