"""A sweep as one would write it in JAX: ``jit(vmap(grad))``, one compilation for each estimator and L.

    python benchmarks/sweep_jax.py FOLDER [--replicates N]

Of each cell: the mean gradient and the variance of one. Prints them as JSON with the seconds that compiling took, and
those of all chunks after the first of each cell.
"""

from __future__ import annotations

import argparse
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax  # pyright: ignore[reportMissingImports]
import jax.numpy as jnp  # pyright: ignore[reportMissingImports]
from sweep_cases import Sweep, read

jax.config.update("jax_default_prng_impl", "rbg")  # the fast generator
CHUNK_BYTES = 2**25
"""Of gradients formed at once."""
hold = jax.lax.stop_gradient


def network(parameters: dict[str, Any], name: str, rows: Any) -> Any:
    """A tanh layer and a linear one."""
    hidden = jnp.tanh(rows @ parameters[f"{name}.hidden1.weight"].T + parameters[f"{name}.hidden1.bias"])
    return hidden @ parameters[f"{name}.output.weight"].T + parameters[f"{name}.output.bias"]


def likelihood(parameters: dict[str, Any], x: Any, z: Any) -> Any:
    """log p(x|z), [L, B]."""
    logits = network(parameters, "theta.decoder", z)
    return (x * logits - jax.nn.softplus(logits)).sum(-1)


def weighted(f: Any, log_q: Any, *, others: bool) -> Any:
    """The score function's surrogate, less the mean of the other samples where ``others``."""
    weight = (f - f.mean(0)) * len(f) / (len(f) - 1) if others else f
    return (hold(weight) * log_q + f).mean()


def gaussian(estimator: str, samples: int, parameters: dict[str, Any], x: Any, key: Any) -> Any:
    """The value of one replicate with Gaussian latents."""
    mean, log_scale = jnp.split(network(parameters, "phi.encoder", x), 2, -1)
    scale = jnp.exp(log_scale)
    kl = (0.5 * (scale**2 + mean**2 - 1) - log_scale).sum(-1).mean()
    paired = estimator == "pathwise-antithetic"
    noise = jax.random.normal(key, (samples // 2 if paired else samples, *mean.shape))
    z = mean + scale * (jnp.concatenate([noise, -noise]) if paired else noise)
    if estimator.startswith("pathwise"):
        return likelihood(parameters, x, z).mean() - kl
    z = hold(z)
    log_q = (-0.5 * ((z - mean) / scale) ** 2 - log_scale).sum(-1)
    return weighted(likelihood(parameters, x, z), log_q, others=estimator == "score-function-loo") - kl


def bernoulli(estimator: str, samples: int, parameters: dict[str, Any], x: Any, key: Any) -> Any:
    """The value of one replicate with bits."""
    logits = network(parameters, "phi.encoder", x)
    p, prior = jax.nn.sigmoid(logits), parameters["theta.prior.logits"]
    kl = (p * (logits - prior) + jax.nn.softplus(prior) - jax.nn.softplus(logits)).sum(-1).mean()
    if estimator == "disarm":
        noise = jax.random.uniform(key, (samples // 2, *p.shape))
        bits = hold(jnp.stack([noise < p, 1 - noise < p]).astype(x.dtype))
        f = likelihood(parameters, x, bits)
        weight = 0.5 * (f[0] - f[1])[..., None] * (bits[0] - bits[1]) * jax.nn.sigmoid(jnp.abs(logits))
        return (logits * hold(weight)).sum(-1).mean() + f.mean() - kl
    bits = hold((jax.random.uniform(key, (samples, *p.shape)) < p).astype(x.dtype))
    log_q = (bits * logits - jax.nn.softplus(logits)).sum(-1)
    return weighted(likelihood(parameters, x, bits), log_q, others=estimator == "score-function-loo") - kl


MODELS = {"gaussian-vae": gaussian, "sigmoid-belief": bernoulli}


def measured(sweep: Sweep, cell: tuple[str, int], parameters: dict[str, Any], x: Any, replicates: int, key: Any):
    """‖mean‖² and variance of φ, the seconds of compiling, and those of the chunks after the first."""
    gradients = jax.vmap(jax.grad(partial(MODELS[sweep.problem], *cell)), (None, None, 0))
    size = 4 * sum(value.size for value in parameters.values())
    chunk = min(replicates, 2 ** max(0, (CHUNK_BYTES // size).bit_length() - 1))

    def step(sums: dict[str, Any], key: Any) -> tuple[dict[str, Any], Any]:
        found = gradients(parameters, x, jax.random.split(key, chunk))
        norms = sum(jnp.square(value).sum() for name, value in found.items() if name.startswith("phi."))
        return {name: sums[name] + value.sum(0) for name, value in found.items()}, norms

    clock = time.perf_counter()
    zeros = {name: jnp.zeros_like(value) for name, value in parameters.items()}
    compiled = jax.jit(step).lower(zeros, key).compile()
    compiling, clock = time.perf_counter() - clock, time.perf_counter()
    sums, norms = zeros, []
    for one in jax.random.split(key, replicates // chunk):
        sums, some = compiled(sums, one)
        norms.append(some)
    size_sq = float(sum(norms)) / replicates
    mean_sq = sum(
        float(jnp.square(value / replicates).sum()) for name, value in sums.items() if name.startswith("phi.")
    )
    variance = (size_sq - mean_sq) * replicates / (replicates - 1)
    return mean_sq, variance, compiling, time.perf_counter() - clock


def main() -> None:
    """Print what was found of every cell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--replicates", type=int)
    given = parser.parse_args()
    sweep, arrays, x = read(given.folder)
    parameters = {name: jnp.asarray(value) for name, value in arrays.items()}
    replicates = given.replicates or sweep.replicates
    found, compiling, steady = [], 0.0, 0.0
    for index, cell in enumerate(sweep.cells):
        mean_sq, variance, one, rest = measured(
            sweep, cell, parameters, jnp.asarray(x), replicates, jax.random.key(index)
        )
        found.append([*cell, mean_sq, variance])
        compiling, steady = compiling + one, steady + rest
    print(json.dumps({"cells": found, "compile_s": compiling, "steady_s": steady}))


if __name__ == "__main__":
    main()
