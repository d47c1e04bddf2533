"""The competitor in JAX: ``jit(vmap(grad))`` over chunks of replicates.

What the engine is compared with where JAX is installed (``pip install gradbench[bench]``, or ``pip install jax``).
The models are written here once more, as one would in JAX: the value of one replicate as a function of the parameters
and the noise, ``vmap(grad)`` of that over a chunk of replicates, and of each parameter tensor the squared norm in
every replicate and the sum over replicates. Noise is drawn inside the compiled function, by the fast generator
(``rbg``). Before anything is timed, gradients at noise that PyTorch drew are compared with PyTorch's, and several
sizes of a chunk are tried: the fastest is the one that counts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gradbench.engine.general import replicate_gradients
from gradbench.engine.task import Task

if TYPE_CHECKING:
    from competitors import Case

jax: Any
jnp: Any
Parameters = dict[str, Any]

CHUNKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)
"""Sizes of a chunk that are tried, as far as the case has replicates and a chunk's gradients fit `MOST_BYTES`."""
MOST_BYTES = 2**30
CHECKED = 2
"""Replicates whose gradients are compared with PyTorch's."""
TOLERANCE = 1e-4


@dataclass(frozen=True)
class JaxStep:
    """All replicates of a case, evaluated by calling this; and the chunk that was found to be the fastest."""

    run: Callable[[], None]
    chunk: int


def start(threads: int | None) -> None:
    """Import JAX, with one thread if ``threads`` is 1 (else it takes what it finds). Raises ImportError without JAX."""
    global jax, jnp
    if threads == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ["NPROC"] = "1"  # the size of XLA's pool of threads
    import jax as found  # pyright: ignore[reportMissingImports]

    jax, jnp = found, found.numpy
    jax.config.update("jax_default_prng_impl", "rbg")
    if threads == 1:
        jax.config.update("jax_cpu_enable_async_dispatch", False)  # else chunks run beside the loop over them


def jax_step(case: Case, task: Task) -> JaxStep:
    """``case`` in JAX, at the parameters and data of ``task``.

    Raises AssertionError where its gradients are not those of PyTorch.
    """
    value, shape, draw = MODELS[case.problem, case.estimator](case)
    assert task.point.x is not None
    x = jnp.asarray(task.point.x[0, 0].numpy())
    parameters = {n: jnp.asarray(v.detach().numpy()) for n, v in task.point.problem.named_parameters().items()}
    gradients = jax.vmap(jax.grad(value), (None, None, 0))
    _agree(task, lambda noise: gradients(parameters, x, noise))

    @jax.jit(static_argnums=0)
    def one(chunk: int, key: Any, sums: Parameters) -> tuple[Parameters, Parameters]:
        found = gradients(parameters, x, draw(key, (chunk, *shape)))
        norms = {name: jnp.square(value).reshape(chunk, -1).sum(1) for name, value in found.items()}
        return norms, {name: sums[name] + value.sum(0) for name, value in found.items()}

    keys = jax.random.split(jax.random.key(0), case.replicates)
    zeros = {name: jnp.zeros_like(value) for name, value in parameters.items()}

    def run(chunk: int) -> None:
        sums, norms = zeros, []
        for start in range(0, case.replicates, chunk):
            some, sums = one(chunk, keys[start], sums)
            norms.append(some)
        jax.block_until_ready((sums, norms))

    size = 4 * sum(value.size for value in parameters.values())
    tried = [chunk for chunk in CHUNKS if chunk <= case.replicates and chunk * size <= MOST_BYTES]
    seconds = {chunk: _seconds(run, chunk) for chunk in tried}
    best = min(seconds, key=lambda chunk: seconds[chunk])
    return JaxStep(lambda: run(best), best)


def _seconds(run: Callable[[int], None], chunk: int) -> float:
    run(chunk)
    times = []
    for _ in range(3):
        begun = time.perf_counter()
        run(chunk)
        times.append(time.perf_counter() - begun)
    return min(times)


def _agree(task: Task, gradients: Callable[[Any], Parameters]) -> None:
    noise = task.noise(CHECKED, torch.Generator().manual_seed(0))
    assert isinstance(noise, torch.Tensor)
    expected = replicate_gradients(task, noise, CHECKED)
    for name, found in gradients(jnp.asarray(noise.numpy())).items():
        ours, theirs = expected[name].detach().numpy(), np.asarray(found).reshape(CHECKED, -1)
        away = float(np.abs(ours - theirs).max())
        assert away <= TOLERANCE * float(np.abs(ours).max()), f"{name}: JAX and PyTorch differ by {away}"


def _mlp(parameters: Parameters, name: str, rows: Any) -> Any:
    hidden = jnp.tanh(rows @ parameters[f"{name}.hidden1.weight"].T + parameters[f"{name}.hidden1.bias"])
    return hidden @ parameters[f"{name}.output.weight"].T + parameters[f"{name}.output.bias"]


def _log_bernoulli(logits: Any, x: Any) -> Any:
    return (x * logits - jax.nn.softplus(logits)).sum(-1)


def _gaussian_vae(case: Case):
    """Pathwise, with the KL in closed form; noise [L, B, D]."""

    def value(parameters: Parameters, x: Any, noise: Any) -> Any:
        mean, log_scale = jnp.split(_mlp(parameters, "phi.encoder", x), 2, -1)
        z = mean + jnp.exp(log_scale) * noise
        likelihood = _log_bernoulli(_mlp(parameters, "theta.decoder", z), x)
        kl = (0.5 * (jnp.exp(2 * log_scale) + mean**2 - 1) - log_scale).sum(-1)
        return likelihood.mean() - kl.mean()

    return value, (case.samples, case.batch, case.latent), lambda key, shape: jax.random.normal(key, shape)


def _sigmoid_belief(case: Case):
    """DisARM, with the KL in closed form; noise [L / 2, B, D] in (0, 1)."""

    def value(parameters: Parameters, x: Any, noise: Any) -> Any:
        logits = _mlp(parameters, "phi.encoder", x)
        p = jax.nn.sigmoid(logits)
        bits = jax.lax.stop_gradient(jnp.stack([noise < p, 1 - noise < p]).astype(x.dtype))
        f = _log_bernoulli(_mlp(parameters, "theta.decoder", bits), x)
        weight = 0.5 * (f[0] - f[1])[..., None] * (bits[0] - bits[1]) * jax.nn.sigmoid(jnp.abs(logits))
        score = (logits * jax.lax.stop_gradient(weight)).sum(-1)
        prior = parameters["theta.prior.logits"]
        kl = p * (logits - prior) + jax.nn.softplus(prior) - jax.nn.softplus(logits)
        return score.mean() + f.mean() - kl.sum(-1).mean()

    return value, (case.samples // 2, case.batch, case.latent), lambda key, shape: jax.random.uniform(key, shape)


MODELS = {("gaussian-vae", "pathwise"): _gaussian_vae, ("sigmoid-belief", "disarm"): _sigmoid_belief}
"""By problem and estimator: the value of one replicate, the shape of its noise, and how that is drawn."""
