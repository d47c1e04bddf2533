"""One bit by hand: Q(h = 1) = φ, f(0) and f(1), and every number that differentiating its mean brings up."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch

from gradbench.core.errors import UsageError
from gradbench.core.seeding import stream
from gradbench.explaining.bench import Bench

FEW, MANY = 10, 100_000
"""Bits that are drawn: few enough to print, and many enough to see the mean."""


@dataclass(frozen=True)
class ScoredMean:
    """A mean over drawn bits, and its standard error."""

    value: float
    error: float
    draws: int


@dataclass(frozen=True)
class OneBit:
    """The mean of f under Q(h = 1) = φ, as it is and with φ nudged, and its derivative in four ways."""

    prob: float
    """φ."""
    f: tuple[float, float]
    """f(0) and f(1)."""
    step: float
    """By what φ is nudged."""
    mean: float
    nudged_mean: float
    slope: float
    """(nudged mean − mean) / step."""
    gradient: float
    """What autograd makes of the sum (1 − φ) f(0) + φ f(1)."""
    scores: tuple[float, float]
    """∇ log Q(h) at h = 0 and h = 1, from autograd."""
    by_score: float
    """Σ_h Q(h) f(h) ∇ log Q(h)."""
    bits: tuple[int, ...]
    """The few that were drawn."""
    average: float
    """Of f over the few."""
    average_has_gradient: bool
    """Whether autograd finds any φ in that average."""
    few: ScoredMean
    """The average of f ∇ log Q over the few."""
    many: ScoredMean
    """The same over many."""

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)


def measure_bit(bench: Bench) -> OneBit:
    """The example of the story: φ = 0.3, f(0) = 1, f(1) = 3."""
    return one_bit(seed=bench.seed)


def one_bit(
    prob: float = 0.3, f: tuple[float, float] = (1.0, 3.0), step: float = 0.01, seed: int = 0, few: int = FEW
) -> OneBit:
    """Differentiate the mean of f under Q(h = 1) = ``prob``, f(0) and f(1) being ``f``.

    Raises UsageError unless ``prob`` and ``prob`` + ``step`` are between 0 and 1, ``step`` is not 0, and ``few`` is at
    least 2.
    """
    if not (0 < prob < 1 and 0 < prob + step < 1 and step != 0):
        raise UsageError(f"one bit: expected φ and φ + step between 0 and 1, got {prob:g} and {prob + step:g}")
    if few < 2:
        raise UsageError(f"one bit: expected at least 2 draws, got {few}")
    values = torch.tensor(f, dtype=torch.float64)
    phi = torch.tensor(prob, dtype=torch.float64, requires_grad=True)
    weights = torch.stack([1 - phi, phi])
    mean = (weights * values).sum()
    (gradient,) = torch.autograd.grad(mean, phi, retain_graph=True)
    scores = torch.stack([torch.autograd.grad(weight.log(), phi, retain_graph=True)[0] for weight in weights])
    bits = (torch.rand(MANY, generator=stream(seed, "one bit"), dtype=torch.float64) < phi).long()
    drawn = values[bits[:few]]
    terms = values[bits] * scores[bits]
    nudged = float((1 - prob - step) * values[0] + (prob + step) * values[1])
    return OneBit(
        prob=prob,
        f=f,
        step=step,
        mean=float(mean.detach()),
        nudged_mean=nudged,
        slope=(nudged - float(mean.detach())) / step,
        gradient=float(gradient),
        scores=(float(scores[0]), float(scores[1])),
        by_score=float((weights.detach() * values * scores).sum()),
        bits=tuple(bits[:few].tolist()),
        average=float(drawn.mean()),
        average_has_gradient=drawn.mean().requires_grad,
        few=_estimate(terms[:few]),
        many=_estimate(terms),
    )


def _estimate(terms: torch.Tensor) -> ScoredMean:
    return ScoredMean(float(terms.mean()), float(terms.std()) / len(terms) ** 0.5, len(terms))
