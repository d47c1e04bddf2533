"""What is written with torch.distributions, run as it is written, and the gradient that autograd makes of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch import distributions as td

from gradbench.explaining.bench import Bench
from gradbench.explaining.dropped_hold import COST_K, COST_MEAN

SPELLED_DRAWS = 400_000
"""Independent gradients that each mean is of."""
SPELLINGS = (
    ("z = q.sample()", "f(z)"),
    ("z = q.sample()", "f(z).detach() * q.log_prob(z)"),
    ("z = q.rsample()", "f(z)"),
    ("z = q.rsample()", "f(z).detach() * q.log_prob(z.detach())"),
    ("z = q.rsample()", "f(z).detach() * q.log_prob(z)"),
    ("z = q.rsample()", "f(z) + f(z).detach() * q.log_prob(z)"),
    ("z = q.rsample()", "f(z) + f(z).detach() * q.log_prob(z.detach())"),
)
"""How z is drawn, and what is averaged; these very words are run."""


@dataclass(frozen=True)
class Spelled:
    """The gradient of one spelling in μ and in log σ, each with its standard error; None where autograd finds no φ."""

    draw: str
    averaged: str
    mean: tuple[float, float] | None
    log_scale: tuple[float, float] | None


@dataclass(frozen=True)
class AutogradCase:
    """The spellings, and what torch says of its distributions."""

    k: float
    mean: float
    exact: tuple[float, float]
    """In μ and in log σ: 2 (μ − k) and 2 σ²."""
    draws: int
    rows: list[Spelled]
    sample_has_grad: bool
    """Whether ``q.sample()`` of a Gaussian carries a gradient."""
    rsample_has_grad: bool
    has_rsample: dict[str, bool]
    """Of distributions, by name."""

    def data(self) -> dict[str, Any]:
        """As plain data, for JSON."""
        return asdict(self)


def measure_spellings(bench: Bench) -> AutogradCase:
    """Run every spelling."""
    q = _q(2)[0]
    kinds = (td.Normal, td.Gamma, td.Bernoulli, td.Categorical)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(bench.seed)  # torch.distributions draws from the global generator, which is put back
        return AutogradCase(
            k=COST_K,
            mean=COST_MEAN,
            exact=(2 * (COST_MEAN - COST_K), 2.0),
            draws=SPELLED_DRAWS,
            rows=[_run(draw, averaged) for draw, averaged in SPELLINGS],
            sample_has_grad=q.sample().requires_grad,
            rsample_has_grad=q.rsample().requires_grad,
            has_rsample={kind.__name__: kind.has_rsample for kind in kinds},
        )


def _q(draws: int) -> tuple[td.Normal, Tensor, Tensor]:
    """N(μ, σ²) with parameters of its own for each draw, so that each draw has a gradient of its own."""
    mean = torch.full((draws,), COST_MEAN, dtype=torch.float64, requires_grad=True)
    log_scale = torch.zeros(draws, dtype=torch.float64, requires_grad=True)
    return td.Normal(mean, log_scale.exp()), mean, log_scale


def _run(draw: str, averaged: str) -> Spelled:
    q, mean, log_scale = _q(SPELLED_DRAWS)
    names: dict[str, Any] = {"q": q, "f": lambda z: (z - COST_K) ** 2}
    exec(draw, names)
    value = eval(averaged, names)
    if not value.requires_grad:
        return Spelled(draw, averaged, None, None)
    found = torch.autograd.grad(value.sum(), (mean, log_scale))
    return Spelled(draw, averaged, _mean(found[0]), _mean(found[1]))


def _mean(gradients: Tensor) -> tuple[float, float]:
    return float(gradients.mean()), float(gradients.std()) / len(gradients) ** 0.5
