"""The generalised reparameterisation of Gamma latents: log z standardised, whose law keeps a little of φ.

Estimates: ∇E[f(z(ε, φ))] with ε = (log z − ψ(α) + log β) / √ψ′(α), of mean 0 and variance 1 whatever the
    concentration α and rate β. The law π(ε; φ) = q_φ(z(ε, φ)) |dz/dε| still depends on α, so that the gradient is
    that of the path and a correction: E[∇f(z(ε, φ)) + f(z) ∇_φ log π(ε; φ)].
Surrogate: (1/L) Σ f(z(h(ε_l), φ)) + h(f_l) log π(h(ε_l); φ), log π = log q_φ(z(ε, φ)) + log z(ε, φ) + ½ log ψ′(α).
Held constant: ε, because the expectation binds it; f as the weight of the correction; q inside f, because that term's
    own derivative is −score, of mean 0.
Unbiased for: φ and θ.
Needs: one layer of Gamma latents, f differentiable in z.
Cost: 1 evaluation per sample.
Paper: Ruiz, Titsias & Blei 2016 (NeurIPS), with −log q in f sampled where the KL is, in the place of the entropy's
    closed form. The correction is 0 for the rate, which only scales z.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Values, hold, live
from gradbench.estimators.base import Estimator, differentiated, held
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Tensor) -> Values:
    concentration, rate = q.parameters["concentration"], q.parameters["rate"]
    centre, spread = concentration.digamma() - rate.log(), torch.polygamma(1, concentration).sqrt()
    standardised = hold((q.sample(noise).log() - centre) / spread, "ε")
    z = live((standardised * spread + centre).exp(), "z")
    f = live(objective.f(z, hold(q, "q in f")), "f")
    log_law = live(q.log_prob(z) + (z.log() + spread.log()).sum(-1), "log π(ε)")
    return average(f + hold(f, "f as weight") * log_law)


LEDGER = (
    held("ε", "the expectation binds it: z moves with φ at a given ε, and not ε with φ"),
    differentiated("z", "phi", "z is a function of ε and φ"),
    held("q in f", "its derivative is minus the score, of mean 0: dropping it costs no bias"),
    held("f as weight", "the product rule: here the law of ε is differentiated and f is not"),
    differentiated("log π(ε)", "phi", "the law of ε depends on φ: grad π = π grad log π, the correction"),
    differentiated("f", "phi and theta", "the path's own term, and f's own θ-gradient"),
)

ESTIMATOR = Estimator(
    name="generalized-reparam",
    title="generalised reparameterisation (standardised log z)",
    surrogate=surrogate,
    ledger=LEDGER,
    latents=frozenset({"gamma"}),
    paper="Ruiz et al. 2016",
)
