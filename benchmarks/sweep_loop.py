"""A sweep as one would write it in PyTorch: a loop over replicates with ``torch.autograd.grad``.

    python benchmarks/sweep_loop.py FOLDER [--part 32] [--fewest]

Of each cell a part of the replicates is measured. Prints as JSON, of each cell, ‖mean‖² and the variance of φ's
gradient, its kurtosis, and the seconds of a replicate; and those that all took.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
from sweep_cases import Sweep, read
from torch import Tensor
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn.functional import linear

Parameters = dict[str, Tensor]


def network(parameters: Parameters, name: str, rows: Tensor) -> Tensor:
    """A tanh layer and a linear one."""
    hidden = linear(rows, parameters[f"{name}.hidden1.weight"], parameters[f"{name}.hidden1.bias"]).tanh()
    return linear(hidden, parameters[f"{name}.output.weight"], parameters[f"{name}.output.bias"])


def likelihood(parameters: Parameters, x: Tensor, z: Tensor) -> Tensor:
    """log p(x|z), [L, B]."""
    return Bernoulli(logits=network(parameters, "theta.decoder", z), validate_args=False).log_prob(x).sum(-1)


def weighted(f: Tensor, log_q: Tensor, *, others: bool) -> Tensor:
    """The score function's surrogate, less the mean of the other samples where ``others``."""
    weight = (f - f.mean(0)) * len(f) / (len(f) - 1) if others else f
    return (weight.detach() * log_q + f).mean()


def gaussian(estimator: str, samples: int, parameters: Parameters, x: Tensor) -> Tensor:
    """The value of one replicate with Gaussian latents."""
    mean, log_scale = network(parameters, "phi.encoder", x).chunk(2, -1)
    q = Normal(mean, log_scale.exp(), validate_args=False)
    kl = kl_divergence(q, Normal(torch.zeros(()), torch.ones(()), validate_args=False)).sum(-1).mean()
    if estimator == "pathwise-antithetic":
        noise = torch.randn(samples // 2, *mean.shape)
        return likelihood(parameters, x, mean + log_scale.exp() * torch.cat([noise, -noise])).mean() - kl
    z = q.rsample((samples,))
    if estimator == "pathwise":
        return likelihood(parameters, x, z).mean() - kl
    z = z.detach()
    f, log_q = likelihood(parameters, x, z), q.log_prob(z).sum(-1)
    return weighted(f, log_q, others=estimator == "score-function-loo") - kl


def bernoulli(estimator: str, samples: int, parameters: Parameters, x: Tensor) -> Tensor:
    """The value of one replicate with bits."""
    logits = network(parameters, "phi.encoder", x)
    q = Bernoulli(logits=logits, validate_args=False)
    prior = parameters["theta.prior.logits"].expand_as(logits)  # torch's divergence is of two of one shape
    kl = kl_divergence(q, Bernoulli(logits=prior, validate_args=False)).sum(-1).mean()
    if estimator == "disarm":
        noise, p = torch.rand(samples // 2, *logits.shape), logits.sigmoid()
        bits = torch.stack([noise < p, 1 - noise < p]).to(x)
        f = likelihood(parameters, x, bits)
        weight = 0.5 * (f[0] - f[1])[..., None] * (bits[0] - bits[1]) * logits.abs().sigmoid()
        return (logits * weight.detach()).sum(-1).mean() + f.mean() - kl
    bits = q.sample((samples,))
    f, log_q = likelihood(parameters, x, bits), q.log_prob(bits).sum(-1)
    return weighted(f, log_q, others=estimator == "score-function-loo") - kl


MODELS = {"gaussian-vae": gaussian, "sigmoid-belief": bernoulli}


def measured(sweep: Sweep, cell: tuple[str, int], parameters: Parameters, x: Tensor, part: int) -> tuple[float, ...]:
    """‖mean‖², variance and kurtosis of φ, and the seconds of one replicate."""
    inputs = tuple(parameters.values())
    phi = [index for index, name in enumerate(parameters) if name.startswith("phi.")]
    clock = time.perf_counter()
    kept = []
    total = [torch.zeros_like(value) for value in inputs]
    for _ in range(part):
        found = torch.autograd.grad(MODELS[sweep.problem](*cell, parameters, x), inputs)
        for sums, gradient in zip(total, found, strict=True):
            sums += gradient
        kept.append(torch.cat([found[index].flatten() for index in phi]))
    seconds = (time.perf_counter() - clock) / part
    each = torch.stack(kept).double()
    away = (each - each.mean(0)).square().sum(1)
    variance = float(away.sum()) / (part - 1)
    return float(each.mean(0).square().sum()), variance, float(away.square().mean() / away.mean() ** 2), seconds


def main() -> None:
    """Print what was found of every cell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--part", type=int, default=32)
    parser.add_argument("--fewest", action="store_true", help="only the fewest samples of each estimator")
    given = parser.parse_args()
    sweep, arrays, x = read(given.folder)
    parameters = {name: torch.from_numpy(value).requires_grad_() for name, value in arrays.items()}
    cells = sweep.cells
    if given.fewest:
        cells = [(one, min(count for name, count in cells if name == one)) for one in sweep.estimators]
    clock = time.perf_counter()
    found = [[*cell, *measured(sweep, cell, parameters, torch.from_numpy(x), given.part)] for cell in cells]
    print(json.dumps({"cells": found, "timed_s": time.perf_counter() - clock, "part": given.part}))


if __name__ == "__main__":
    main()
