"""All draws of a few bits and of what is drawn beside them, for estimators with draws of their own."""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.engine.task import Task
from gradbench.families.support import digits
from tests.exactly import _tuples, nodes_of

Nodes = tuple[Tensor, dict[str, Tensor]]
"""Masses [1, N, B], and noise by name, [1, N, B, …]."""


def uniforms(task: Task) -> tuple[Tensor, Tensor, Tensor]:
    """Masses [1, N, B] of all states of a few bits, uniforms that give them, and the states, [1, N, B, D]."""
    p = task.held_q.parameters["logits"].sigmoid()[0, 0]
    bits = digits(torch.arange(2 ** p.shape[-1]), 2, p.shape[-1])[:, None].to(p.dtype).expand(-1, len(p), -1)
    mass = torch.where(bits == 1, p, 1 - p).prod(-1)
    return mass[None], torch.where(bits == 1, p / 2, (1 + p) / 2)[None], bits[None]


def with_any_bit(mass: Tensor, u: Tensor) -> Nodes:
    """Each of the nodes with each of its bits chosen, all as probable."""
    bits = u.shape[-1]
    chosen = (torch.arange(bits, dtype=u.dtype) + 0.5) / bits
    several = chosen.repeat(mass.shape[1])[None, :, None].expand(1, -1, mass.shape[2])
    return mass.repeat_interleave(bits, 1) / bits, {"u": u.repeat_interleave(bits, 1), "chosen": several}


def with_a_bit_by_weight(mass: Tensor, u: Tensor, weight: Tensor) -> Nodes:
    """Each of the nodes with each of its bits chosen, as probable as its share of ``weight`` [1, N, B, D]."""
    total = weight.sum(-1, keepdim=True)
    share = torch.where(total > 0, weight / total.clamp_min(1e-300), torch.eye(1, weight.shape[-1], dtype=u.dtype))
    middle = share.cumsum(-1) - share / 2
    bits = u.shape[-1]
    masses = (mass[..., None] * share).transpose(2, 3).flatten(1, 2)
    return masses, {"u": u.repeat_interleave(bits, 1), "chosen": middle.transpose(2, 3).flatten(1, 2)}


def pairs(task: Task) -> tuple[Tensor, Tensor]:
    """Masses [1, N, B] of all antithetic pairs, and uniforms that give them, [1, N, B, D]."""
    mass, u = nodes_of(task.held_q, 1)
    assert isinstance(u, Tensor)
    return mass, u


def independent(task: Task, nodes: Nodes, draws: int) -> tuple[Tensor, dict[str, Tensor]]:
    """Weights [N] and noise [N, draws, B, …] of independent draws."""
    mass, noise = nodes
    weights, found = _tuples(mass, noise, draws, mass.shape[2])
    assert isinstance(found, dict)
    return weights, found
