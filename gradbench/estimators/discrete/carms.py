"""CARMS: leaving one out with L antithetic categorical samples, each pair of them weighted by how seldom it comes.

Estimates: ∇E_q[f(z)] from L samples by inversion of each variable's distribution function, with uniforms that keep
    apart (the Dirichlet copula), the categories in an order drawn for all L: each pair of categories is at the two
    ends of one of the C (C − 1) / 2 orders. So any two categories can be those of two samples, with a joint probability
    P(c, c̃) that is known, and pairs are weighted by w(c, c̃) = q(c) q(c̃) / P(c, c̃).
Surrogate: Σ_v logits_v · h(1 / (L (L − 1)) Σ_{i≠j} (f(z_i) − f(z_j)) w(z_iv, z_jv) z_iv) + (1/L) Σ_l f(z_l). The weight
    of a variable is ½ Σ_{i≠j} (f(z_i) − f(z_j)) w (∇ log q(z_iv) − ∇ log q(z_jv)), by symmetry.
Held constant: z, which no gradient can flow through; the weights; q inside f.
Unbiased for: φ and θ: weighted, two samples of a variable are as independent ones are.
Needs: categorical latents; L ≥ 2. With two categories it is ARMS; with independent samples it would be leave-one-out.
Cost: L evaluations.
Paper: Dimitriev & Zhou 2021 (NeurIPS), and its published code for the orders. Here the less probable of the two ends
    comes first, so that two categories give ARMS at every L, and no weight is cut off: the code's bounds are a bias.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from gradbench.core.types import Latents, Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.estimators.draws import own
from gradbench.estimators.parts.copula import both_below, kept_apart
from gradbench.estimators.parts.leave_one_out import needs_others
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: dict[str, Tensor]) -> Values:
    z = hold(spread_categories(q, noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    count = z.shape[1]
    per_pair = torch.einsum("rlbvc,rbvcd,rmbvd->rlmbv", z, rarity(q, count).to(z.dtype)[:, 0], z)
    gain = (f[:, :, None] - f[:, None])[..., None] * per_pair
    weight = (gain.sum(2)[..., None] * z).sum(1, keepdim=True) / (count * (count - 1))
    score = (live(q.parameters["logits"], "logits") * hold(weight, "weight")).sum((-2, -1))
    return average(score) + average(f)


def draw_ordered(q: Family, replicates: int, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Uniforms ``u`` [R, L, B, V] that keep apart along L, and one that chooses the order, [R, 1, B, V]."""
    logits = q.parameters["logits"]
    u = kept_apart((replicates, count, *logits.shape[2:-1]), generator, logits)
    order = torch.rand(u[:, :1].shape, generator=generator, dtype=u.dtype, device=u.device)
    return {"u": u, "order": order}


def orders(q: Family) -> Tensor:
    """The orders of the categories, [R or 1, L or 1, B, V, C (C − 1) / 2, C]: of each pair, one with it at the ends.

    Of the two the less probable comes first; the categories between them follow the second cyclically.
    """
    logits = q.parameters["logits"].detach()
    table = _table(logits.shape[-1], logits.device)
    turned = torch.cat([table[:, -1:], table[:, 1:-1], table[:, :1]], 1)
    swap = logits[..., table[:, 0]] > logits[..., table[:, -1]]
    return torch.where(swap[..., None], turned, table)


@lru_cache(maxsize=64)
def _table(count: int, device: torch.device) -> Tensor:
    """A row for each pair of ``count`` categories, with the pair at its ends."""
    rows = []
    for first in range(count):
        for last in range(first + 1, count):
            between = [(last + step) % count for step in range(1, count)]
            rows.append([first, *(c for c in between if c != first), last])
    return torch.tensor(rows, device=device)


def edges(q: Family, order: Tensor) -> tuple[Tensor, Tensor]:
    """Where each category's interval begins and ends in an order [R or 1, L or 1, B, V, C], by place."""
    p = q.parameters["logits"].detach().double().softmax(-1)
    shape = np.broadcast_shapes(order.shape, p.shape)
    ends = p.expand(shape).gather(-1, order.expand(shape)).cumsum(-1)
    ends = torch.cat([ends[..., :-1], torch.ones_like(ends[..., :1])], -1)
    return torch.cat([torch.zeros_like(ends[..., :1]), ends[..., :-1]], -1), ends


def spread_categories(q: Family, noise: dict[str, Tensor]) -> Latents:
    """The samples, [R, L, B, V, C]."""
    table = orders(q)
    number = (noise["order"].double() * table.shape[-2]).long().clamp_max(table.shape[-2] - 1)
    wide = table.expand(*number.shape, *table.shape[-2:])
    order = wide.gather(-2, number[..., None, None].expand(*number.shape, 1, table.shape[-1])).squeeze(-2)
    _, ends = edges(q, order)
    place = (noise["u"].double()[..., None] >= ends[..., :-1]).sum(-1, keepdim=True)
    category = order.expand(*place.shape[:-1], -1).gather(-1, place)
    zeros = torch.zeros((*place.shape[:-1], order.shape[-1]), dtype=noise["u"].dtype, device=place.device)
    return zeros.scatter(-1, category, 1.0)


def rarity(q: Family, count: int) -> Tensor:
    """q(c) q(c̃) / P(c, c̃) for two out of ``count`` samples, [R or 1, L or 1, B, V, C, C], and 0 for c = c̃."""
    table = orders(q)
    joint: Tensor | float = 0.0
    for number in range(table.shape[-2]):
        order = table[..., number, :]
        begin, end = edges(q, order)
        by_place = sum(
            sign * sign_too * both_below(one[..., :, None], other[..., None, :], count)
            for sign, one in ((-1, begin), (1, end))
            for sign_too, other in ((-1, begin), (1, end))
        )
        assert isinstance(by_place, Tensor)
        back = order.argsort(-1).expand(by_place.shape[:-1])
        rows = by_place.gather(-2, back[..., :, None].expand(by_place.shape))
        joint = joint + rows.gather(-1, back[..., None, :].expand(by_place.shape)) / table.shape[-2]
    assert isinstance(joint, Tensor)
    p = q.parameters["logits"].detach().double().softmax(-1)
    product = p[..., :, None] * p[..., None, :]
    other = ~torch.eye(p.shape[-1], dtype=torch.bool, device=p.device)
    return torch.where(other & (joint > 0), product / joint.clamp_min(torch.finfo(joint.dtype).tiny), 0.0)


ESTIMATOR = Estimator(
    name="carms",
    title="CARMS (L antithetic categorical samples through a Dirichlet copula)",
    surrogate=surrogate,
    ledger=(
        held("z", "one-hots: no gradient flows through a comparison; the expectation binds them"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("weight", "the estimate of the derivative in each logit: a number, not a function"),
        differentiated("logits", "phi", "each logit receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient, averaged over the samples"),
    ),
    latents=frozenset({"categorical"}),
    draws=own(draw_ordered, spread_categories, coupled=True),
    needs=needs_others,
    paper="Dimitriev & Zhou 2021",
)
