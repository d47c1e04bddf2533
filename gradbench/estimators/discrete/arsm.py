"""ARSM: a Dirichlet vector draws each category, and every swap of two of its shares draws another.

Estimates: ∇E_q[f(z)] from shares π ~ Dirichlet(1, …, 1) of each variable's C categories: z is the category of the
    smallest π_c exp(−logit_c). z^{c⇌j} is drawn with π_c and π_j swapped, in all variables at once, F_cj = f(z^{c⇌j}),
    and F_cc = f(z). Logit c receives (1/C) Σ_j (F_cj − (1/C) Σ_m F_mj) (1 − C π_j).
Surrogate: (1/L) Σ_l Σ_v logits_v · h(weights of v) + f(h(z_l)).
Held constant: z and the swapped ones, which no gradient can flow through; the weight of each logit; θ in f at the
    swapped ones, evaluations for φ alone; q inside f.
Unbiased for: φ and θ.
Needs: categorical latents. With two categories it is ARM of their difference of logits, a sample here a pair there.
Cost: C (C − 1) / 2 + 1 evaluations per sample, of which many are at the same point (the paper leaves those out).
Paper: Yin, Yue & Zhou 2019 (ICML): augment, REINFORCE, swap, merge.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held
from gradbench.estimators.draws import own
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Tensor) -> Values:
    count = noise.shape[-1]
    z = hold(of_shares(q, noise), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    swaps, place = swaps_of(count, noise.device)
    moved = of_shares(q, noise[..., swaps].movedim(-2, 2).flatten(1, 2))
    other = hold(objective, "θ in f at the swapped z").f(moved, q.held()).unflatten(1, (z.shape[1], len(swaps)))
    table = torch.cat([f.unsqueeze(2), other], 2)[:, :, place]  # F, [R, L, C, C, B]
    gain = (table - table.mean(2, keepdim=True)).movedim(-1, 2)
    weight = torch.einsum("rlbcj,rlbvj->rlbvc", gain, 1 / count - noise)
    score = (live(q.parameters["logits"], "logits") * hold(weight, "weight")).sum((-2, -1))
    return average(score) + average(f)


def draw_shares(q: Family, replicates: int, count: int, generator: torch.Generator) -> Tensor:
    """Shares of each variable's categories, Dirichlet(1, …, 1), [R, L, B, V, C]."""
    logits = q.parameters["logits"]
    shape = (replicates, count, *logits.shape[2:])
    uniforms = torch.rand(shape, generator=generator, dtype=torch.float64, device=logits.device)
    exponentials = -torch.log1p(-uniforms)
    return (exponentials / exponentials.sum(-1, keepdim=True)).to(logits.dtype)


def of_shares(q: Family, shares: Tensor) -> Latents:
    """The categories that shares [R, L, B, V, C] draw, one-hot."""
    perturbed = q.parameters["logits"].log_softmax(-1) - shares.log()
    return torch.zeros_like(perturbed).scatter(-1, perturbed.argmax(-1, keepdim=True), 1.0)


def swaps_of(count: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Every swap of two of ``count`` places, as a permutation [S, C]; and for each two places their swap's number.

    The numbers are counted from 1, and 0 on the diagonal.

    >>> swaps_of(3, torch.device("cpu"))[1].tolist()
    [[0, 1, 2], [1, 0, 3], [2, 3, 0]]
    """
    one, other = torch.triu_indices(count, count, 1, device=device)
    number = torch.arange(len(one), device=device)
    swaps = torch.arange(count, device=device).repeat(len(one), 1)
    swaps[number, one], swaps[number, other] = other, one
    place = torch.zeros(count, count, dtype=torch.long, device=device)
    place[one, other] = place[other, one] = number + 1
    return swaps, place


def evaluations(setting: Setting) -> float:
    assert setting.states is not None, "categories are finitely many"
    count = round(setting.states ** (1 / setting.latent_dim))
    return setting.samples * (count * (count - 1) / 2 + 1)


ESTIMATOR = Estimator(
    name="arsm",
    title="ARSM (augment-REINFORCE-swap-merge)",
    surrogate=surrogate,
    ledger=(
        held("z", "one-hots: no gradient flows through a comparison; the expectation binds them"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("θ in f at the swapped z", "evaluations for φ alone, which must not reach the θ-gradient"),
        held("weight", "the estimate of the derivative in each logit: a number, not a function"),
        differentiated("logits", "phi", "each logit receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient, at the samples of q"),
    ),
    latents=frozenset({"categorical"}),
    draws=own(draw_shares, of_shares),
    evaluations=evaluations,
    paper="Yin et al. 2019",
)
