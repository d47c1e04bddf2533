"""A variational autoencoder on digits, trained as such scripts train it: plain torch, its own modules, its own loop.

Nothing in it is written for gradbench but the lines marked ``# gradbench``: three measure the gradient along training,

    python examples/plain_vae.py --epochs 20 --out results/plain-vae

and the names at the end let the command measure it as it stands at the start:

    gradbench measure examples/plain_vae.py
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional

import gradbench as gb  # gradbench

PIXELS = 64


class Encoder(nn.Module):
    """q(z|x): a diagonal Gaussian."""

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(PIXELS, hidden)
        self.mean = nn.Linear(hidden, latent)
        self.log_variance = nn.Linear(hidden, latent)

    def forward(self, x: Tensor) -> Normal:
        h = torch.relu(self.hidden(x))
        return Normal(self.mean(h), (0.5 * self.log_variance(h)).exp())


class Decoder(nn.Module):
    """p(x|z): a Bernoulli for each pixel."""

    def __init__(self, hidden: int, latent: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(latent, hidden)
        self.logits = nn.Linear(hidden, PIXELS)

    def forward(self, z: Tensor) -> Bernoulli:
        return Bernoulli(logits=self.logits(torch.relu(self.hidden(z))))


class VAE(nn.Module):
    """Both, with what is drawn between them."""

    def __init__(self, hidden: int = 64, latent: int = 8) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = Encoder(hidden, latent)
        self.decoder = Decoder(hidden, latent)

    def prior(self) -> Normal:
        return Normal(torch.zeros(self.latent), torch.ones(self.latent))

    def forward(self, x: Tensor) -> tuple[Bernoulli, Normal]:
        q = self.encoder(x)
        return self.decoder(q.rsample()), q


def loss_of(model: VAE, x: Tensor) -> Tensor:
    """The negative ELBO per datapoint: cross entropy of the reconstruction, and a KL in closed form."""
    p, q = model(x)
    reconstruction = functional.binary_cross_entropy_with_logits(p.logits, x, reduction="sum")
    kl = kl_divergence(q, model.prior()).sum()
    return (reconstruction + kl) / len(x)


def monte_carlo_kl(model: VAE, x: Tensor) -> Tensor:
    """The same with the KL sampled as well: as right, and noisier."""
    q = model.encoder(x)
    z = q.rsample()
    joint = model.decoder(z).log_prob(x).sum(-1) + model.prior().log_prob(z).sum(-1)
    return (q.log_prob(z).sum(-1) - joint).mean()


def without_path(model: VAE, x: Tensor) -> Tensor:
    """A mistake that trains all the same: sample() where rsample() is meant."""
    q = model.encoder(x)
    reconstruction = -model.decoder(q.sample()).log_prob(x).sum(-1)
    return (reconstruction + kl_divergence(q, model.prior()).sum(-1)).mean()


def digits(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Training and test pictures, made black and white at random, once."""
    pictures = torch.tensor(load_digits().data / 16, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    pictures = torch.bernoulli(pictures, generator=generator)
    order = torch.randperm(len(pictures), generator=generator)
    return pictures[order[:1500]], pictures[order[1500:]]


def minibatches(data: Tensor, size: int) -> Iterator[Tensor]:
    """All of the data once, in random order."""
    for rows in torch.randperm(len(data)).split(size):
        yield data[rows]


def train_epoch(
    model: VAE, optimiser: torch.optim.Optimizer, data: Tensor, size: int, step: int, tracker: gb.Tracker | None
) -> tuple[float, int]:
    """One pass over the data; the mean loss, and the steps taken so far."""
    model.train()
    total = 0.0
    for x in minibatches(data, size):
        if tracker is not None:
            tracker(step)  # gradbench
        optimiser.zero_grad()
        loss = loss_of(model, x)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 100.0)
        optimiser.step()
        total += loss.item() * len(x)
        step += 1
    return total / len(data), step


@torch.no_grad()
def test_epoch(model: VAE, data: Tensor) -> float:
    """The mean loss on data that it was not trained on."""
    model.eval()
    return float(loss_of(model, data))


@torch.no_grad()
def imagined(model: VAE, count: int) -> str:
    """Digits drawn from the model, as text."""
    pixels = model.decoder(model.prior().sample(torch.Size([count]))).probs.reshape(count, 8, 8)
    rows = ("  ".join("".join(" .:#"[min(int(4 * p), 3)] for p in one[row]) for one in pixels) for row in range(8))
    return "\n".join(rows)


def trained(epochs: int, out: str | None, every: int = 100, size: int = 100, seed: int = 0) -> VAE:
    """Train a model, and say how it went."""
    torch.manual_seed(seed)
    train, test = digits()
    model = VAE()
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    x = train[:32]
    losses = {"analytic KL": lambda: loss_of(model, x), "sampled KL": lambda: monte_carlo_kl(model, x)}
    tracker = gb.Tracker(losses, model, every=every, out=out, reference="analytic KL") if out else None  # gradbench
    step, best = 0, math.inf
    for epoch in range(epochs):
        loss, step = train_epoch(model, optimiser, train, size, step, tracker)
        held_out = test_epoch(model, test)
        best = min(best, held_out)
        print(f"epoch {epoch + 1:3d}: loss {loss:.2f}, on test data {held_out:.2f}")
    print(f"best {best:.2f} after {step} steps\n{imagined(model, 6)}")
    return model


def main() -> None:
    """Read the options and train."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--epochs", type=int, default=20)
    options.add_argument("--out", help="measure the gradient along training, and keep it in this folder")
    options.add_argument("--every", type=int, default=100, help="steps between two measurements")
    given = options.parse_args()
    trained(given.epochs, given.out, given.every)


torch.manual_seed(0)
vae, minibatch = VAE(), digits()[0][:32]
parameters = {"phi": vae.encoder, "theta": vae.decoder}  # gradbench
losses = {  # gradbench
    "analytic KL": lambda: loss_of(vae, minibatch),
    "sampled KL": lambda: monte_carlo_kl(vae, minibatch),
    "without path": lambda: without_path(vae, minibatch),
}
reference = "analytic KL"  # gradbench

if __name__ == "__main__":
    main()
