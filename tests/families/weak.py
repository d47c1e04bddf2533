"""What a family's weak derivatives are held to, and how their noise is integrated.

The estimate in one element of λ is a constant times f(z⁺) − f(z⁻), either with one variable of z replaced. The
expectation of each term asks for no more than the joint law of the variable in its place and of the others. So nodes
of the weak noise may be functions of the same variable's node of z, from which it is independent in truth.
``weak_nodes(q, noise of z [1, N, B, *event])`` in the test module of a family gives them: masses [S], and weak noise
[S, N, 1, B, *event] by name. A family without weak noise needs none.
"""

from __future__ import annotations

import importlib
import importlib.util

import torch
from torch import Tensor

from gradbench.estimators.score.measure_valued import PLAIN, WEAK
from gradbench.families.base import Family
from tests.exactly import nodes_of


def weak_nodes_of(q: Family, count: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Masses [N] and noise as `measure-valued` draws it, [N, 1, B, …], of one draw at one datapoint.

    Raises LookupError where the family's test module does not say how its weak noise is integrated.
    """
    mass, plain = nodes_of(q, count)
    weights = mass[0, :, 0]
    rows = {"z": plain} if isinstance(plain, Tensor) else {PLAIN + name: part for name, part in plain.items()}
    found = {name: part.transpose(0, 1) for name, part in rows.items()}
    if not q.weak_noise(1, 1, torch.Generator().manual_seed(0)):
        return weights, found
    own = importlib.import_module(f"tests.families.test_{q.name}")
    if not hasattr(own, "weak_nodes"):
        raise LookupError(f"give weak_nodes(q, noise) in tests/families/test_{q.name}.py")
    shares, weak = own.weak_nodes(q, plain)
    several = {name: part.repeat(len(shares), *[1] * (part.ndim - 1)) for name, part in found.items()}
    weak = {WEAK + name: part.flatten(0, 1) for name, part in weak.items()}
    return torch.outer(shares, weights).flatten(), several | weak
