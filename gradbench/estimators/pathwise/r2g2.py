"""R2-G2: the pathwise estimator with the noise in its derivative averaged given what the model sees of it.

Estimates: ∇E_ε[f(μ + σε)] where f is a function of W z alone, such as a decoder whose first layer is linear. Given W z,
    the pathwise gradient ∇f ε in σ has the conditional mean ∇f E[ε | W z] = ∇f P ε: P = A⁺A projects on the row space
    of A = W diag(σ).
Surrogate: (1/L) Σ f(z_l), z_l = h(μ + σε_l) + (μ + σ P ε_l) − h(μ + σ P ε_l): the value of the one path, and the
    derivative of the other.
Held constant: the projection, which is part of the law of the noise given W z and not of the path.
Unbiased for: φ and θ. A conditional expectation (Rao-Blackwell): its variance is that of the pathwise estimator or
    less, in every parameter of q. It is the pathwise estimator, sample for sample, where A has as many independent rows
    as there are latents; where W is one row, it is the local reparameterisation (Kingma et al. 2015).
Needs: Gaussian latents; a problem that gives the matrix W (`linear_view`), and a KL in closed form: a sampled one has z
    itself in f.
Cost: 1 evaluation per sample, and a singular value decomposition of A in each pass.
Paper: Lam, Bui, Deligiannidis & Teh 2025 (NeurIPS), derived here from its definition: the abstract defines it as the
    Rao-Blackwellisation of the reparameterisation gradient. P by a decomposition, where the paper solves least squares.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gradbench.core.types import Noise, Values, hold, live
from gradbench.estimators.base import Estimator, Setting, differentiated, held
from gradbench.estimators.scope import unbiased
from gradbench.families.base import Family
from gradbench.objectives.base import Objective, average


def surrogate(objective: Objective, q: Family, noise: Noise) -> Values:
    assert isinstance(noise, Tensor)
    model, law = hold(objective, "W"), hold(q, "q in the projection")
    # every replicate has the same φ and θ: one projection is enough for all
    view = model.problem.linear_view(model.theta, model.x)[:1] * law.parameters["scale"][:1, ..., None, :]
    path = live(q.sample(projected(view, noise)), "path")
    z = hold(q.sample(noise), "z") + path - hold(path, "value of the path")
    return average(live(objective.f(z, q), "f"))


def projected(matrix: Tensor, noise: Tensor) -> Tensor:
    """The noise [R, L, B, D] projected on the row space of a matrix [1, 1, B or 1, M, D] for each datapoint.

    For standard Gaussian noise that is its mean given ``matrix`` times it.
    """
    _, sizes, rows = torch.linalg.svd(matrix, full_matrices=False)
    least = sizes[..., :1] * max(matrix.shape[-2:]) * torch.finfo(matrix.dtype).eps
    rows = rows * (sizes > least)[..., None]
    projection = (rows.mT @ rows)[0, 0]
    return torch.einsum("bij,rlbj->rlbi", projection.expand(noise.shape[2], -1, -1), noise)


def needs_linear_view(setting: Setting) -> str | None:
    """The need of a likelihood that sees z through a known matrix alone."""
    if not setting.linear_view:
        return f"{setting.problem} does not say through which matrix alone it sees z; give it a linear_view"
    if setting.objective.has_log_q:
        return "a sampled KL has z itself in f, not W z alone; use kl = 'analytic'"
    return None


ESTIMATOR = Estimator(
    name="r2g2",
    title="R2-G2: pathwise, its noise averaged given what the model sees",
    surrogate=surrogate,
    ledger=(
        held("W", "it says what is conditioned on, and is no part of f"),
        held("q in the projection", "the projection belongs to the law of the noise given W z, not to the path"),
        held("z", "f is taken at the sample itself; the derivative is that of the averaged path"),
        differentiated("path", "phi", "z = μ + σε with the mean of ε given W z in its place"),
        held("value of the path", "taken off again: the path lends its derivative and no value"),
        differentiated("f", "phi and theta", "the gradient moves inside the expectation over ε"),
    ),
    latents=frozenset({"gaussian"}),
    unbiased=unbiased("elbo"),
    needs=needs_linear_view,
    scored=False,
    paper="Lam et al. 2025",
)
