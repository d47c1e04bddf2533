"""DisARM for categories: each variable is a sequence of bits, stick by stick, of which antithetic pairs are drawn.

Estimates: ∇E_q[f(z)]. Of a variable's categories in ascending order of probability, bit k says whether it is the k-th
    if it is none before: of probability σ(α_k), α_k = the k-th logit less the log-sum-exp of those behind. The pair
    (z, z̃) comes from u and 1 − u of each bit; DisARM's weight of bit k is its mean given z and z̃, over bits behind
    the first 1, which they do not show.
Surrogate: (2/L) Σ_pairs Σ_k α_k h(½ (f(z) − f(z̃)) E[b_k − b̃_k | z, z̃] σ(|α_k|)) + the average of f.
Held constant: z and z̃, which no gradient can flow through; the weight of each bit; q inside f.
Unbiased for: φ and θ, whatever the order of the categories.
Needs: categorical latents; L even (a pair is L = 2). With two categories it is DisARM.
Cost: 2 evaluations per pair.
Paper: Dong, Mnih & Tucker 2021 (NeurIPS), sequences of binary variables and Rao-Blackwellisation (DisARM-SB); the mean
    given the pair is derived from the law of antithetic bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gradbench.core.types import Latents, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held, needs_pairs
from gradbench.estimators.draws import own
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


@dataclass(frozen=True)
class Sticks:
    """The bits that a variable of C categories is a sequence of."""

    order: Tensor
    """The categories in ascending order of probability, [R or 1, L or 1, B, V, C]."""
    logits: Tensor
    """α of the bits, [R or 1, L or 1, B, V, C − 1], differentiable in the logits of the categories."""

    def places(self, uniforms: Tensor) -> Tensor:
        """Which category in the order is drawn with uniforms [R, L, B, V, C − 1]: [R, L, B, V, 1]."""
        broken = uniforms < self.logits.sigmoid()
        last = broken.new_ones(*broken.shape[:-1], 1)
        return torch.cat([broken, last], -1).to(torch.int8).argmax(-1, keepdim=True)

    def one_hot(self, places: Tensor) -> Latents:
        """The categories at those places, [R, L, B, V, C]."""
        order = self.order.expand(*places.shape[:-1], -1)
        like = self.logits
        zeros = torch.zeros(order.shape, dtype=like.dtype, device=like.device)
        return zeros.scatter(-1, order.gather(-1, places), 1.0)

    def apart(self, one: Tensor, other: Tensor) -> Tensor:
        """E[b − b̃ | z, z̃] of each bit, [R, L, B, V, C − 1], given the places of z and z̃."""
        bit = torch.arange(self.logits.shape[-1], device=one.device)
        p = self.logits.sigmoid()
        like = p.dtype
        seen, also_seen = bit <= one, bit <= other
        first, second = (bit == one).to(like), (bit == other).to(like)
        given_one = ((2 * p - 1) / p).clamp_min(0)  # P(b = 1 | b̃ = 1)
        given_zero = (p / (1 - p)).clamp_max(1)

        def unseen(partner: Tensor) -> Tensor:
            return torch.where(partner == 1, given_one, given_zero)

        b = torch.where(seen, first, unseen(second))
        partner = torch.where(also_seen, second, unseen(first))
        return torch.where(seen | also_seen, b - partner, torch.zeros_like(b))


def sticks(q: Family) -> Sticks:
    """The bits of q's variables."""
    logits = q.parameters["logits"]
    order = logits.detach().argsort(dim=-1, stable=True)
    ordered = logits.gather(-1, order)
    behind = ordered.flip(-1).logcumsumexp(-1).flip(-1)[..., 1:]
    return Sticks(order, ordered[..., :-1] - behind)


def surrogate(objective: Objective, q: Family, noise: Tensor) -> Values:
    bits = sticks(q)
    one, other = bits.places(noise), bits.places(1 - noise)
    z = hold(torch.cat([bits.one_hot(one), bits.one_hot(other)], dim=1), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    f_one, f_two = f.chunk(2, dim=1)
    weight = 0.5 * (f_one - f_two)[..., None, None] * bits.apart(one, other) * torch.sigmoid(bits.logits.abs())
    score = (live(bits.logits, "logits of the bits") * hold(weight, "weight")).sum((-2, -1))
    return average(score) + average(f)


def draw_sticks(q: Family, replicates: int, count: int, generator: torch.Generator) -> Tensor:
    """A uniform number for each bit of L / 2 pairs, [R, L/2, B, V, C − 1]."""
    logits = q.parameters["logits"]
    shape = (replicates, count // 2, *logits.shape[2:-1], logits.shape[-1] - 1)
    return torch.rand(shape, generator=generator, dtype=logits.dtype, device=logits.device)


def broken_sticks(q: Family, noise: Tensor) -> Latents:
    """The pairs, [R, L, B, V, C]: all first ones, then all partners."""
    bits = sticks(q)
    return torch.cat([bits.one_hot(bits.places(u)) for u in (noise, 1 - noise)], dim=1)


ESTIMATOR = Estimator(
    name="disarm-categorical",
    title="DisARM for categories (stick-breaking, antithetic pairs)",
    surrogate=surrogate,
    ledger=(
        held("z", "one-hots: no gradient flows through a comparison; the pair is bound by the expectation"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("weight", "the estimate of the derivative in the logit of each bit: a number, not a function"),
        differentiated("logits of the bits", "phi", "each receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient, averaged over the pair"),
    ),
    latents=frozenset({"categorical"}),
    draws=own(draw_sticks, broken_sticks, coupled=True),
    needs=needs_pairs,
    paper="Dong et al. 2021",
)
