"""Sets of states drawn without replacement, by their definition: numpy over one datapoint, and no logarithms."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch

from gradbench.engine.task import Task
from gradbench.families.base import states_of


def masses_of(task: Task) -> np.ndarray:
    """The probabilities of all states, [B, N]."""
    support = states_of(task.held_q)
    assert support is not None
    _, mass = support.all()
    return mass.detach().double().expand(1, -1, mass.shape[2])[0].numpy().T


def set_mass(p: np.ndarray, chosen: tuple[int, ...], without: tuple[int, ...] = ()) -> float:
    """The probability that the first draws are the set, where the states ``without`` are not among the states."""
    if not chosen:
        return 1.0
    left = sum(p[i] for i in range(len(p)) if i not in without)
    return sum(p[s] / left * set_mass(p, tuple(i for i in chosen if i != s), (*without, s)) for s in chosen)


def ratio(p: np.ndarray, chosen: tuple[int, ...], s: int, without: tuple[int, ...] = ()) -> float:
    """R^{D∖without}(S, s) of S without ``without``: how much likelier S is once s is known to be drawn first."""
    others = tuple(i for i in chosen if i not in (s, *without))
    whole = tuple(i for i in chosen if i not in without)
    return set_mass(p, others, (*without, s)) / set_mass(p, whole, without)


def estimate(p: np.ndarray, chosen: tuple[int, ...], f: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Σ_s ∇p(s) R(S, s) (f(s) − Σ_s′ p(s′) R^{D∖s}(S, s′) f(s′)), for f [N] and ∇ log p [N, P]."""
    found = np.zeros(score.shape[-1])
    for s in chosen:
        baseline = 0.0
        if len(chosen) > 1:
            baseline = sum(
                p[other] * (1.0 if other == s else ratio(p, chosen, other, (s,))) * f[other] for other in chosen
            )
        found = found + p[s] * ratio(p, chosen, s) * (f[s] - baseline) * score[s]
    return found


def all_sets(task: Task) -> tuple[torch.Tensor, torch.Tensor]:
    """Every set of L states of one datapoint with its probability, as `unordered-set` draws them."""
    (p,) = masses_of(task)
    sets = list(combinations(range(len(p)), task.samples))
    if len(sets) > 5000:
        raise LookupError("too many sets to sum over")
    weights = torch.tensor([set_mass(p, one) for one in sets], dtype=torch.float64)
    return weights, torch.tensor(sets)[:, :, None]
