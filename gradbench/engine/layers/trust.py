"""Two checks, on the first pass of a cell, of whether passes may be read off its linear layers.

A layer's weight has the gradient Σ δ aᵀ only if all that the weight does is in the recorded calls. A surrogate that
differentiates *through* an inner gradient (``create_graph``) uses it once more, on the way back; so does a module that
reaches for ``layer.weight``. Both are seen in the graph: a use of a parameter that is no recorded call.

And a module must treat its rows one by one, for replicates are rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from gradbench.engine.layers.chain import ELEMENTWISE, unaltered

PASSED_ON = ("TBackward", "ViewBackward", "UnsafeViewBackward", "ReshapeAliasBackward", "TransposeBackward")
"""Nodes that hand a weight, or the output of a layer, on as it is."""


class NeedsGeneralPathError(Exception):
    """The task holds something that layers cannot be read off; the message says what."""


class MixesDatapointsError(NeedsGeneralPathError):
    """The variance cannot be added up over datapoints; the message says why."""


def check_uses(total: Tensor, recorded: Iterable[object], names: dict[int, str]) -> None:
    """Raise NeedsGeneralPathError where the graph of ``total`` uses a parameter outside the ``recorded`` nodes.

    ``names`` are those of the parameters, by id.
    """
    known = set(recorded)
    users: defaultdict[object, list[object]] = defaultdict(list)
    seen, queue = {total.grad_fn}, [total.grad_fn]
    parameters: dict[object, str] = {}
    while queue:
        node = queue.pop()
        if node is None:
            continue
        for child, _ in node.next_functions:
            if child is None:
                continue
            users[child].append(node)
            variable = getattr(child, "variable", None)
            if variable is not None and id(variable) in names:
                parameters[child] = names[id(variable)]
            if child not in seen:
                seen.add(child)
                queue.append(child)
    for leaf, name in parameters.items():
        for user in users[leaf]:
            if not _recorded(user, users, known):
                raise NeedsGeneralPathError(f"{name} is used outside the calls of its layer")


def _recorded(node: object, users: dict[object, list[object]], known: set[object]) -> bool:
    """Whether everything that ``node`` gives goes into recorded calls."""
    if node in known:
        return True
    passed_on = type(node).__name__.startswith(PASSED_ON) or (len(users[node]) == 1 and users[node][0] in known)
    return passed_on and bool(users[node]) and all(_recorded(user, users, known) for user in users[node])


def is_plain_stack(module: nn.Module) -> bool:
    """Whether it is a stack of layers that are known to treat rows one by one."""
    if not unaltered(module):
        return False
    if type(module) is nn.Sequential:
        return all(is_plain_stack(child) for child in module.children())
    return type(module) is nn.Linear or type(module) in ELEMENTWISE


def mixes_rows(module: Callable[..., Tensor], rows: tuple[Tensor, ...], output: Tensor, count: int) -> Tensor:
    """Whether the first ``count`` rows alone give another output than among the others, []."""
    with torch.no_grad():
        alone = module(*(value[:count] for value in rows))
        return ~torch.isclose(alone, output[:count], rtol=1e-3, atol=1e-5, equal_nan=True).all()
