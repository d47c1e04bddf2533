"""Weights of k states that were drawn without replacement, as an unordered set.

States are drawn one by one, each with its probability over that of all that are left. With p(S) the probability that
the first k are the set S, and D all states,

    p(S) = Σ_{s ∈ S} p(s) p^{D∖s}(S∖s)      p^{D∖s}: the same where s is not among the states, normalised anew

Divided by the product of S's probabilities, this is a sum of positive terms over its subsets T,

    G(T) = Σ_{s ∈ T} G(T∖s) / (mass of D∖S, and of T)      G(∅) = 1

and the leave-one-out ratios of Kool et al. 2020 are quotients of it. All in logarithms, with k 2^k terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gradbench.core.types import PerSample


@dataclass(frozen=True)
class Weights:
    """What weighs f at the states of a set."""

    own: Tensor
    """p(s) p^{D∖s}(S∖s) / p(S), [R, B, k]; they add up to 1."""
    others: Tensor
    """p(s′) p^{D∖s,s′}(S∖s,s′) / p^{D∖s}(S∖s), and p(s) where s′ is s, [R, B, s, s′]; they add up to 1 over s′.

    So for k ≥ 2; a set of one leaves nothing to compare it with.
    """


def subset_weights(log_p: Tensor, log_rest: Tensor) -> Weights:
    """The weights of a set with log-probabilities [R, B, k], beside states whose mass is exp(log_rest), [R, B]."""
    k, device = log_p.shape[-1], log_p.device
    mass = log_rest[None]  # subsets are the first axis, for contiguous rows
    for own in log_p.unbind(-1):
        mass = torch.cat([mass, torch.logaddexp(mass, own)])
    log_g = torch.zeros_like(mass)
    for of_size, before in _by_size(k, device):
        log_g[of_size] = log_g[before].logsumexp(1) - mass[of_size]
    every = 2**k - 1
    one_less = every ^ (1 << torch.arange(k, device=device))
    two_less = one_less[:, None] & one_less
    others = (log_g[two_less] - log_g[one_less][:, None]).exp().movedim((0, 1), (-2, -1))
    same = torch.eye(k, dtype=torch.bool, device=log_p.device)
    return Weights(
        (log_g[one_less] - log_g[every]).exp().movedim(0, -1),
        torch.where(same, log_p.exp().unsqueeze(-1), others),
    )


@lru_cache(maxsize=64)
def _by_size(k: int, device: torch.device) -> tuple[tuple[Tensor, Tensor], ...]:
    """For each size from 1 to ``k``, the subsets of it as bits, [n], and each less one of its members, [n, size]."""
    subsets = torch.arange(2**k)
    members = (subsets[:, None] >> torch.arange(k) & 1).bool()
    found = []
    for size in range(1, k + 1):
        of_size = subsets[members.sum(1) == size]
        chosen = members[of_size].nonzero()[:, 1].reshape(-1, size)
        found.append((of_size.to(device), (of_size[:, None] ^ (1 << chosen)).to(device)))
    return tuple(found)


def baselines(weights: Weights, f: PerSample) -> PerSample:
    """An estimate of E f for each s of the set, of the others and of f(s) itself, [R, k, B]; 0 for a set of one."""
    if f.shape[1] == 1:
        return torch.zeros_like(f)
    return (weights.others @ f.movedim(1, -1).unsqueeze(-1)).squeeze(-1).movedim(-1, 1)
