"""What measuring a loss as it is costs beside a bare loop of ``backward()`` over the same loss: `loop` over `bare`.

Both take the same number of gradients of a VAE's training loss, turn about, in one process; the ratio is that of the
medians. The loop of `gb.measure` seeds every replicate, checks what the loss leaves changed, and keeps moments of
blocks; the bare one keeps nothing.

    python benchmarks/losses.py
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

from gradbench.losses.measuring import measure

SHAPES = {"small": (16, 8, 2, 8), "digits": (64, 32, 8, 32), "mnist": (784, 200, 20, 64)}
"""Pixels, hidden units, latents, minibatch."""


def vae(pixels: int, hidden: int, latent: int, batch: int) -> tuple[Callable[[], Tensor], nn.ModuleDict]:
    """The loss of a Gaussian VAE at one minibatch, and its networks."""
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent))
    decoder = nn.Sequential(nn.Linear(latent, hidden), nn.Tanh(), nn.Linear(hidden, pixels))
    x = torch.bernoulli(torch.full((batch, pixels), 0.3))

    def loss() -> Tensor:
        mean, log_scale = encoder(x).chunk(2, -1)
        q = Normal(mean, log_scale.exp())
        fit = Bernoulli(logits=decoder(q.rsample())).log_prob(x).sum(-1)
        return (kl_divergence(q, Normal(torch.zeros(()), torch.ones(()))).sum(-1) - fit).mean()

    return loss, nn.ModuleDict({"encoder": encoder, "decoder": decoder})


def bare(loss: Callable[[], Tensor], parameters: nn.Module, replicates: int) -> float:
    """Seconds of a loop of so many backward passes."""
    start = time.perf_counter()
    for _ in range(replicates):
        parameters.zero_grad()
        loss().backward()
    return time.perf_counter() - start


def measured(loss: Callable[[], Tensor], parameters: nn.Module, replicates: int, engine: str) -> float:
    """Seconds of measuring the same number of replicates."""
    start = time.perf_counter()
    measure(loss, parameters, replicates=replicates, blocks=32, engine=engine, timed=False)
    return time.perf_counter() - start


def main() -> None:
    """Print a line for each shape."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--replicates", type=int, default=1024)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--shapes", nargs="*", default=list(SHAPES), choices=list(SHAPES))
    options.add_argument("--engine", default="loop", choices=("loop", "vmap", "auto"))
    given = options.parse_args()
    print(f"{'':8} {'parameters':>10} {'bare':>9} {given.engine:>9} {'ratio':>6}")
    for name in given.shapes:
        loss, parameters = vae(*SHAPES[name])
        times: dict[str, list[float]] = {"bare": [], "measured": []}
        for _ in range(given.rounds):
            times["bare"].append(bare(loss, parameters, given.replicates))
            times["measured"].append(measured(loss, parameters, given.replicates, given.engine))
        one, two = (statistics.median(some) / given.replicates * 1000 for some in times.values())
        count = sum(value.numel() for value in parameters.parameters())
        print(f"{name:8} {count:10d} {one:6.3f} ms {two:6.3f} ms {two / one:6.2f}")


if __name__ == "__main__":
    main()
