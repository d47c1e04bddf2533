"""UGC (unbiased gradient variance clipping): bitflip-1 for bits that are nearly certain, DisARM for the others.

Estimates: ∇E_q[f(b)] logit by logit. Of D bits, those with min(p, 1 − p) < 1 / (2D) receive what bitflip-1 gives them,
    from the first of an antithetic pair and from it with one bit flipped, any of the D; the others DisARM's estimate.
Surrogate: (2/L) Σ_pairs Σ_d α_d h(DisARM's or bitflip-1's weight of d) + the average of f over the pair.
Held constant: the bits, which no gradient can flow through; the weight of each logit; θ in f at the flipped bit, an
    evaluation for φ alone; q inside f.
Unbiased for: φ and θ: each logit has the one estimate or the other by its probability, not by what was drawn.
    At the threshold the two have the same variance where f(b) − f(b̃) is as large as the change of f by one bit; where
    the flips of several bits of the pair cancel in f, DisARM is below it.
Needs: Bernoulli latents; L even (a pair is L = 2).
Cost: 3 evaluations per pair.
Paper: Kunes, Yin, Land, Haviv, Pe'er & Tavaré 2023 (AAAI).
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Latents, Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held, needs_pairs
from gradbench.estimators.draws import Draws, with_partners
from gradbench.estimators.parts.flips import AT_FLIP, any_of, draw_chosen, rise
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: dict[str, Tensor]) -> Values:
    b = hold(pairs_of_bits(q, noise), "b")
    f = live(objective.f(b, hold(q, "q in f")), "f")
    (b_one, b_two), (f_one, f_two) = b.chunk(2, dim=1), f.chunk(2, dim=1)
    bits, logits = b.shape[-1], q.parameters["logits"]
    pair = 0.5 * (f_one - f_two)[..., None] * (b_one - b_two) * torch.sigmoid(logits.abs())
    chosen = any_of(noise["chosen"], bits)
    steep = logits.sigmoid() * (-logits).sigmoid()
    flip = bits * steep * chosen * rise(objective, q, b_one, f_one, chosen)[..., None]
    weight = torch.where(torch.sigmoid(-logits.abs()) < 1 / (2 * bits), flip, pair)
    score = (live(logits, "logits") * hold(weight, "weight")).sum(-1)
    return average(score) + average(f)


def draw_pairs_with_choice(q: Family, replicates: int, count: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Noise ``u`` of L / 2 pairs [R, L/2, B, D], and a uniform number for each that chooses the bit."""
    return {
        "u": torch.as_tensor(q.noise(replicates, count // 2, generator)),
        "chosen": draw_chosen(q, replicates, count // 2, generator),
    }


def pairs_of_bits(q: Family, noise: dict[str, Tensor]) -> Latents:
    """The pairs, [R, L, B, D]: all first ones, then all partners."""
    return q.sample(with_partners(q, noise["u"]))


def evaluations(setting: Setting) -> float:
    return 1.5 * setting.samples


ESTIMATOR = Estimator(
    name="ugc",
    title="UGC (bitflip-1 near certainty, DisARM elsewhere)",
    surrogate=surrogate,
    ledger=(
        held("b", "bits: no gradient flows through a comparison; the pair is bound by the expectation"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held(AT_FLIP, "an evaluation for φ alone, which must not reach the θ-gradient"),
        held("weight", "the estimate of the derivative in each logit: a number, not a function"),
        differentiated("logits", "phi", "each logit receives its weight as gradient, and passes it on to φ"),
        differentiated("f", "theta", "f's own θ-gradient, averaged over the pair"),
    ),
    latents=frozenset({"bernoulli"}),
    draws=Draws(
        "L / 2 antithetic pairs, and a bit of each", draw_pairs_with_choice, pairs_of_bits, coupled=True, pairs=True
    ),
    needs=needs_pairs,
    evaluations=evaluations,
    paper="Kunes et al. 2023",
)
