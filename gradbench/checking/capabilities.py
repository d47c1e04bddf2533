"""Whether what a family says that it can do agrees with the law of its log_prob, at one distribution of it.

States or grid: masses sum to 1, and differentiating the sum over them gives what the score function gives. The path:
it inverts ``noise_of``, and its gradient is that of the score function, too. Weak derivatives have it as their mean, to
the error of their draws. Opposite noise has the law of the noise. The mean is that of the samples, with its derivative,
and the covariance of partners that of draws: bias is measured by taking off what both say.
KL(q ‖ prior) is the sum over states or grid of log q − log p. All in float64, and but for the draws without randomness.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gradbench.checking import laws
from gradbench.checking.posteriors import device_of, wrong
from gradbench.core.errors import BrokenProblemError
from gradbench.core.seeding import stream
from gradbench.core.types import Latents
from gradbench.estimators.parts.own_parameters import apart, beside, derivatives
from gradbench.families.base import Family, grid_of, states_of
from gradbench.families.support import MAX_STATES, Support

MOST_NODES = 2**16
"""Of a grid, over all latent dimensions."""
MOST_NODES_EACH = 256
FEWEST_NODES_EACH = 24
"""With fewer in each dimension, what a grid says is too rough to be held against anything."""
CAPABILITY_TOLERANCE = 1e-3
"""Of the largest derivative: quadrature is exact to far less for smooth functions, and a wrong formula off by more."""
REPLICATES, SAMPLES = 4, 3
PARTNERS, PARTNERS_OFF = 2**15, 6.5
"""Draws on which the covariance of partners is looked at, and the standard errors that it may be off by: 1e-10."""
WEAK_DRAWS, WEAK = 2**14, 6.0
"""Draws of weak derivatives, and the standard errors that their mean may be away: once in 10⁹ numbers by chance."""


def support_of(q: Family) -> Support | None:
    """All states of q, or a grid as fine as can be afforded; None where there is neither."""
    if (states := states_of(q)) is not None:
        return states if states.size <= MAX_STATES else None
    each = min(MOST_NODES_EACH, int(MOST_NODES ** (1 / max(1, q.event.numel())) + 1e-9))
    return grid_of(q, each) if each >= FEWEST_NODES_EACH else None


def check_capabilities(q: Family) -> None:
    """Raise BrokenProblemError where what ``q``, with parameters [1, 1, 1, *event], says is not of its log_prob."""
    q = q.mapped(lambda value: value.detach().requires_grad_())
    with torch.no_grad():
        laws.check_one(q)
        laws.check_normalised(q)
    _inverse(q)
    _opposite(q)
    if q.has("neighbours"):
        _neighbours(q)
    if states_of(q) is not None:
        _linear(q)
    if (support := support_of(q)) is not None:
        _derivatives(q, support)
        _mean(q, support)
    _partners(q)


def _neighbours(q: Family) -> None:
    """Given the others, the probabilities of a variable's values are in the ratios of log_prob, and sum to 1."""
    with torch.no_grad():
        z = q.sample(_noise(q))
        masses = q.neighbour_masses(z)
        moved = q.neighbours(z, torch.arange(masses.shape[2]))
        away = q.log_prob(moved.flatten(1, 2)).unflatten(1, masses.shape[1:3]) - q.log_prob(z).unsqueeze(2)
        ratios = away.exp().unflatten(2, (q.event[0], -1))
        wanted = (ratios / (1 + ratios.sum(3, keepdim=True))).flatten(2, 3)
    if not torch.allclose(masses, wanted, rtol=1e-6, atol=1e-9):
        raise wrong(
            "neighbours",
            "neighbour_masses are not the probabilities, by log_prob, of the values in neighbours",
            "number n moves variable n // (C − 1) by 1 + n mod (C − 1) values from its own; the others stay",
        )


def _inverse(q: Family) -> None:
    if not q.has("noise_of"):
        return
    z = q.sample(_noise(q)).detach()
    again = q.sample(q.held().noise_of(z))
    if not torch.allclose(again, z, rtol=1e-6, atol=1e-9 * float(z.abs().max())):
        away = float((again - z).abs().max())
        raise wrong("inverse", f"sample(noise_of(z)) differs from z by {away:.2g}", "noise_of inverts sample")


def _opposite(q: Family) -> None:
    if not q.has("opposite"):
        return
    noise = _noise(q)
    other = q.opposite(noise)
    if not isinstance(other, Tensor) or noise.shape != other.shape:
        raise wrong("opposite", "the opposite of noise has another shape", "return noise of the same law and shape")
    try:
        with torch.no_grad():
            laws.check_one(q, q.opposite)
    except BrokenProblemError as broken:
        seen = broken.seen.split(": ", 1)[-1]
        raise wrong(
            "opposite", f"samples of opposite noise have another law: {seen}", "as 1 − u for uniform u"
        ) from None


def _linear(q: Family) -> None:
    """log_prob of discrete latents is linear in z: relaxations differentiate −log q between the states."""
    z = q.sample(_noise(q)).detach()
    first, second = z[:, :1], z[:, 1:2]
    between = q.log_prob(0.25 * first + 0.75 * second)
    wanted = 0.25 * q.log_prob(first) + 0.75 * q.log_prob(second)
    if not torch.allclose(between, wanted, rtol=1e-6, atol=1e-9):
        raise wrong("log_prob", "log_prob is not linear in z between two states", "such as (z * log_mass).sum(-1)")


def _derivatives(q: Family, support: Support) -> None:
    """Derivatives of E_q[h] for a few h: through states or grid, and along the path, against the score function."""
    z, mass = support.all()
    if abs(float(mass.detach().sum()) - 1) > 1e-6:
        raise wrong(
            "masses", f"masses sum to {float(mass.detach().sum()):.6g}", "normalise them, as torch.softmax does"
        )
    functions = _functions(z.detach(), mass.detach())
    scores = [_gradient(q, mass.detach() * h(z.detach()) * q.log_prob(z.detach())) for h in functions]
    scale = max(float(value.abs().max()) for value in scores)
    found = [_gradient(q, mass * h(z)) for h in functions]
    name = "states" if states_of(q) is not None else "grid"
    remedy = f"z and masses of {name} are those of the law in log_prob, at its parameters"
    _agree(found, scores, scale, name, f"differentiating the sum over {name}", remedy)
    if q.reparameterised and q.has("noise_of"):
        moved = q.sample(q.held().noise_of(z.detach()))
        found = [_gradient(q, mass.detach() * h(moved)) for h in functions]
        remedy = "sample is z = g(φ, noise) with noise whose law has no φ in it, or the family is not reparameterised"
        _agree(found, scores, scale, "path", "differentiating along the path", remedy)
    if q.has("weak_derivatives"):
        for h, score in zip(functions, scores, strict=True):
            _weak(q, h, score, scale)


def _mean(q: Family, support: Support) -> None:
    """mean is Σ mass · z, and so is its derivative."""
    if not q.has("mean"):
        return
    z, mass = support.all()
    wanted = (beside(mass, z.shape[3:]) * z).sum(1, keepdim=True)
    found = q.mean()
    remedy = "mean gives E z, [1, 1, B, *event], by a formula that is differentiable in the parameters"
    if found.shape != wanted.shape:
        raise wrong("mean", f"mean has shape {list(found.shape)}, expected {list(wanted.shape)}", remedy)
    away = float((found - wanted).detach().abs().max())
    if not away <= CAPABILITY_TOLERANCE * float(z.detach().abs().max()):
        raise wrong("mean", f"mean is off by {away:.2g}", remedy)
    weights = torch.linspace(1.0, 2.0, wanted.numel()).to(wanted).reshape(wanted.shape)
    one, other = (_gradient(q, weights * value) for value in (found, wanted))
    _agree([one], [other], float(other.abs().max()), "mean", "the derivative of mean", remedy)


def _partners(q: Family) -> None:
    """partner_covariance is the mean of slope·(z − E z) ∇ log q(z̃), by draws and a t test."""
    if not (q.has("partner_covariance") and q.has("opposite") and q.has("mean")):
        return
    held = q.held()
    noise = held.noise(PARTNERS, 1, stream(0, "partners", device=device_of(q)))
    with torch.no_grad():
        z, partner = held.sample(noise), held.sample(held.opposite(noise))
        slope = torch.linspace(1.0, 2.0, z[0].numel()).to(z).reshape(1, *z.shape[1:])
        along = (slope * (z - held.mean())).flatten(3).sum(-1)
        said = held.partner_covariance(slope)
    leaf = apart(held, (PARTNERS, 1))
    for name, value in derivatives(leaf.log_prob(partner), leaf).items():
        product = beside(along, value.shape[3:]) * value
        away = (product.mean(0) - said[name]).abs() - 1e-9 * product.abs().amax()
        if bool((away > PARTNERS_OFF * product.std(0) / PARTNERS**0.5).any()):
            raise wrong(
                "partner covariance",
                f"that of {name} is off by {float(away.max()):.2g}",
                "partner_covariance(slope) gives E[slope·(z − E z) ∇ log q(z̃)], by parameter",
            )


def _weak(q: Family, h: Any, score: Tensor, scale: float) -> None:
    """The mean of c (h(z⁺) − h(z⁻)), in the order of q's parameters, against the gradient by the score [numbers]."""
    generator = stream(0, "weak", device=device_of(q))
    with torch.no_grad():
        z = q.sample(q.noise(WEAK_DRAWS, 1, generator))
        found = q.weak_derivatives(z, q.weak_noise(WEAK_DRAWS, 1, generator))
        parts = []
        for name in q.parameters:
            one = found[name]
            plus, minus = (h(z if at is None else at.flatten(1, 2)) for at in (one.positive, one.negative))
            parts.append(one.constant.flatten(3).expand(WEAK_DRAWS, -1, -1, -1)[:, 0, 0] * (plus - minus)[..., 0])
        terms = torch.cat(parts, -1)
    error = terms.std(0) / WEAK_DRAWS**0.5
    away = (terms.mean(0) - score).abs()
    if not bool((away <= WEAK * error + CAPABILITY_TOLERANCE * scale).all()):
        worst = float((away / scale).max())
        raise wrong(
            "weak derivatives",
            f"the mean of constant · (h(positive) − h(negative)) is off by {worst:.2g} of the gradient by the score",
            "constant · (positive law − negative law) is the derivative of the density in each element of a parameter",
        )


def _agree(found: list[Tensor], wanted: list[Tensor], scale: float, kind: str, what: str, remedy: str) -> None:
    for one, other in zip(found, wanted, strict=True):
        away = float((one - other).abs().max())
        if not away <= CAPABILITY_TOLERANCE * scale:
            raise wrong(kind, f"{what} is off by {away / scale:.2g} of the gradient that its score gives", remedy)


def _functions(z: Latents, mass: Tensor) -> list[Any]:
    """1, whose expectation has no gradient, and two smooth bounded functions of all latents, of their own spread."""
    flat = z.flatten(3)
    slope = torch.linspace(1.0, 2.0, flat.shape[-1]).to(flat)
    along = (flat * slope).sum(-1)
    mean = (mass * along).sum()
    spread = (mass * (along - mean) ** 2).sum().sqrt()

    def place(value: Tensor) -> Tensor:
        return ((value.flatten(3) * slope).sum(-1) - mean) / spread

    return [lambda z: torch.ones_like(place(z)), lambda z: torch.tanh(place(z) + 0.5), lambda z: torch.cos(place(z))]


def _gradient(q: Family, terms: Tensor) -> Tensor:
    """The derivative of the sum of ``terms`` in all parameters of q, as one vector."""
    parameters = list(q.parameters.values())
    if not terms.requires_grad:
        return torch.cat([torch.zeros_like(value).flatten() for value in parameters])
    found = torch.autograd.grad(terms.sum(), parameters, allow_unused=True, retain_graph=True)
    pairs = zip(parameters, found, strict=True)
    return torch.cat([(torch.zeros_like(v) if g is None else g).flatten() for v, g in pairs])


def check_kl(q: Family, prior: Any) -> None:
    """Raise BrokenProblemError where KL(q ‖ prior) or its gradient is not that of states or grid; without, none."""
    q = q.mapped(lambda value: value.detach().requires_grad_())
    if (support := support_of(q)) is None:
        return
    closed = q.kl(prior)
    z, mass = support.all()
    summed = (mass * (q.log_prob(z) - prior.log_prob(z))).sum(1, keepdim=True)
    away = float((closed - summed).detach().abs().max())
    remedy = "check its formula against a sampled one, or leave kl out: kl = 'monte-carlo' needs none"
    if not away <= CAPABILITY_TOLERANCE * (1 + float(summed.detach().abs().max())):
        raise wrong("kl", f"kl(prior) is off by {away:.2g} from the sum over the law of log_prob", remedy)
    one, other = _gradient(q, closed), _gradient(q, summed)
    away = float((one - other).abs().max())
    if not away <= CAPABILITY_TOLERANCE * max(1.0, float(other.abs().max())):
        raise wrong("kl", f"the gradient of kl(prior) is off by {away:.2g}", remedy)


def _noise(q: Family) -> Any:
    return q.noise(REPLICATES, SAMPLES, stream(0, "capabilities", device=device_of(q)))
