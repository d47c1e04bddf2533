"""What an estimator draws for one gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gradbench.core.types import Latents, Noise
from gradbench.families.base import Family


@dataclass(frozen=True)
class Draws:
    """A law of noise: what is drawn, and which of it are samples of q."""

    words: str
    noise: Callable[..., Noise]
    """(q held, R, L, generator[, parameters]) -> noise, each tensor with R first."""
    latents: Callable[[Family, Any], Latents] | None = None
    """(q, noise) -> samples that are each distributed as q, made of the noise, [R, L, B, *event].

    None where there are none. Where there are, functions of them whose means are known are a control for the bias test.
    """
    coupled: bool = False
    """Whether those samples depend on one another, each being distributed as q all the same."""
    pairs: bool = False
    """Whether their second half are the partners, by opposite noise, of the first, and they depend on nothing else."""
    nothing: bool = False
    """Whether nothing is drawn: every replicate is then the same number."""
    of_family: bool = False
    """Whether the noise is the family's own, of some number of independent draws of q: [R, N, B, *event]."""
    weights: Callable[..., torch.Tensor] | None = None
    """(q, noise[, parameters]) -> what each sample of ``latents`` counts for, [R, L, B], where they are not of q alike.

    Σ_l weight_l g(z_l) then has the mean E_q[g] for every function g.
    """


def draw_samples(q: Family, replicates: int, count: int, generator: torch.Generator, *parameters: Any) -> Noise:
    """Noise of each of L samples, [R, L, B, *event]."""
    return q.noise(replicates, count, generator)


def draw_pairs(q: Family, replicates: int, count: int, generator: torch.Generator, *parameters: Any) -> Noise:
    """Noise of each of L / 2 antithetic pairs, [R, L/2, B, *event]."""
    return q.noise(replicates, count // 2, generator)


def draw_nothing(q: Family, replicates: int, count: int, generator: torch.Generator, *parameters: Any) -> Noise:
    """Nothing, [R, 0]."""
    value = next(iter(q.parameters.values()))
    return value.new_zeros(replicates, 0)


def with_partners(q: Family, noise: Noise) -> Noise:
    """Noise of L samples [R, L, B, *event] from that of L / 2 pairs: theirs, then that of their partners."""
    partners = q.opposite(noise)
    if isinstance(noise, dict):
        assert isinstance(partners, dict)
        return {name: torch.cat([part, partners[name]], dim=1) for name, part in noise.items()}
    assert isinstance(partners, torch.Tensor)
    return torch.cat([noise, partners], dim=1)


SAMPLES = Draws("L independent samples", draw_samples, lambda q, noise: q.sample(noise), of_family=True)
PAIRS = Draws(
    "L / 2 antithetic pairs",
    draw_pairs,
    lambda q, noise: q.sample(with_partners(q, noise)),
    coupled=True,
    pairs=True,
    of_family=True,
)
NOTHING = Draws("nothing", draw_nothing, nothing=True)


def own(
    noise: Callable[..., Noise],
    latents: Callable[[Family, Any], Latents] | None = None,
    *,
    coupled: bool = False,
    weights: Callable[..., torch.Tensor] | None = None,
) -> Draws:
    """A law of the estimator's own; ``latents`` says which samples are in it, each of q or with ``weights``."""
    return Draws("a law of its own", noise, latents, coupled or weights is not None, weights=weights)
