"""IndeCateR: each variable is summed out, around samples of its own of the others.

Estimates: ∇E_q[f(z)] = Σ_v Σ_c ∇q_v(c) E[f(z with z_v = c)], the expectation over the variables beside v, by L samples
    for each v.
Surrogate: (1/L) Σ_v Σ_l Σ_c h(f(z_vl with z_v = c) − f(z_vl)) q_v(c) + (1/L) Σ_l f(h(z_1l)), with q held inside f.
    f(z_vl) takes nothing from the mean, since Σ_c ∇q_v(c) = 0.
Held constant: z, which the expectation binds; the differences, as numbers; θ in them. q inside f, because that term's
    φ-part is E_q[−∇_φ log q_φ] = 0.
Unbiased for: φ and θ.
Needs: independent variables with values that can be listed, bits or categories, in one layer.
Cost: V C evaluations per sample, 2 D for D bits. Variance 0 where one variable is all there is, or f a sum over
    variables.
Paper: De Smet, Sansone & Zuidberg Dos Martires 2023 (NeurIPS). With the same samples for all variables, as in the
    authors' experiments, it is `local-expectation`; the variance in each variable's logits is the same, and with
    samples of their own the variables' estimates are independent, which shows behind a network that they share.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradbench.core.types import Latents, Noise, Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held
from gradbench.estimators.draws import own
from gradbench.estimators.parts.neighbours import at_neighbours, neighbours_of_one, values_of
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: dict[str, Tensor]) -> Values:
    z = hold(q.sample(noise["first"]), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    samples, variables = z.shape[1], z.shape[3]
    constants = hold(objective, "θ in f of the others")
    own_values, parts, each = [], [], neighbours_of_one(z)
    for variable in range(variables):
        around, of_f = z, f
        if variable:
            around = q.sample(noise["others"][:, (variable - 1) * samples : variable * samples])
            with torch.no_grad():
                of_f = constants.f(around, q.held())
        own_values.append(around[:, :, :, variable])
        numbers = torch.arange(variable * each, (variable + 1) * each, device=z.device)
        parts.append(at_neighbours(objective, q, around, numbers) - of_f.unsqueeze(2))
    masses = live(q.neighbour_masses(torch.stack(own_values, 3)), "q of each value")
    return average((masses * hold(torch.cat(parts, 2), "weight")).sum(2) + f)


def _draw(q: Family, replicates: int, samples: int, generator: torch.Generator) -> Noise:
    """The noise of L samples for the first variable, which θ sees, and of L for each of the others."""
    first = q.noise(replicates, samples, generator)
    variables = q.event[0]
    others = q.noise(replicates, samples * (variables - 1), generator)
    assert isinstance(first, Tensor)
    assert isinstance(others, Tensor)
    return {"first": first, "others": others}


def _latents(q: Family, noise: Any) -> Latents:
    """The samples for all variables; they are independent."""
    return torch.cat([q.sample(noise["first"]), q.sample(noise["others"])], 1)


def evaluations(setting: Setting) -> float:
    return float(setting.samples * setting.latent_dim * values_of(setting))


ESTIMATOR = Estimator(
    name="indecater",
    title="IndeCateR (each variable summed out, around samples of its own)",
    surrogate=surrogate,
    draws=own(_draw, _latents),
    ledger=(
        held("z", "discrete: no gradient flows through it, and the expectation binds it"),
        held("q in f", "the mean of the score is 0: differentiating -log q inside f would only add noise"),
        held("θ in f of the others", "evaluations for φ alone, which must not reach the θ-gradient"),
        held("θ in f at neighbours", "evaluations for φ alone, which must not reach the θ-gradient"),
        held("weight", "f at a neighbour less f at z: a number that weighs the neighbour's probability"),
        differentiated("q of each value", "phi", "the sum over values binds them, so their probabilities carry φ"),
        differentiated("f", "theta", "f's own θ-gradient, at the first variable's samples"),
    ),
    uses=frozenset({"neighbours"}),
    evaluations=evaluations,
    scored=False,
    paper="De Smet et al. 2023",
)
