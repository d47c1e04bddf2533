"""Plain torch losses with known gradients, right and wrong, as people write them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal, kl_divergence

F64 = torch.float64


class Quadratic:
    """E[(z − 1)²] summed over two z ~ N(mean, exp(log_scale)²), as a loss: its gradient in closed form, and losses."""

    def __init__(self) -> None:
        self.mean = torch.tensor([0.4, -0.2], dtype=F64, requires_grad=True)
        self.log_scale = torch.tensor([0.0, -0.3], dtype=F64, requires_grad=True)
        self.parameters = {"mean": self.mean, "log_scale": self.log_scale}

    @property
    def q(self) -> Normal:
        return Normal(self.mean, self.log_scale.exp())

    @staticmethod
    def f(z: Tensor) -> Tensor:
        return ((z - 1) ** 2).sum(-1)

    def exact(self) -> Tensor:
        """The expectation itself: it draws nothing."""
        return ((self.mean - 1) ** 2 + (2 * self.log_scale).exp()).sum()

    def gradient(self) -> dict[str, Tensor]:
        return {"mean": 2 * (self.mean.detach() - 1), "log_scale": 2 * (2 * self.log_scale.detach()).exp()}

    def pathwise(self) -> Tensor:
        return self.f(self.q.rsample())

    def score(self) -> Tensor:
        z = self.q.sample()
        return self.f(z) * self.q.log_prob(z).sum(-1)

    def sampled(self) -> Tensor:
        """The mistake: sample() for rsample()."""
        return self.f(self.q.sample())

    def own_baseline(self, samples: int = 4) -> Tensor:
        """The mistake: a baseline that holds its own sample, which loses 1/L of the gradient."""
        z = self.q.sample(torch.Size([samples]))
        f = self.f(z)
        return ((f - f.mean(0)) * self.q.log_prob(z).sum(-1)).mean()

    def left_out_baseline(self, samples: int = 4) -> Tensor:
        z = self.q.sample(torch.Size([samples]))
        f = self.f(z)
        others = (f.sum(0) - f) / (samples - 1)
        return ((f - others) * self.q.log_prob(z).sum(-1)).mean()

    def score_of_path(self) -> Tensor:
        """The mistake: the log_prob of a reparameterised sample, as the score is differentiated through it, too."""
        z = self.q.rsample()
        return self.f(z.detach()) * self.q.log_prob(z).sum(-1)


class Autoencoder(nn.Module):
    """A Gaussian VAE with a linear encoder and decoder, at one minibatch."""

    def __init__(self, batch: int = 4, pixels: int = 5, latent: int = 2) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.encoder = nn.Linear(pixels, 2 * latent, dtype=F64)
            self.decoder = nn.Linear(latent, pixels, dtype=F64)
            self.x = torch.bernoulli(torch.full((batch, pixels), 0.4, dtype=F64))

    def q(self) -> Normal:
        mean, log_scale = self.encoder(self.x).chunk(2, -1)
        return Normal(mean, log_scale.exp())

    def prior(self) -> Normal:
        return Normal(torch.zeros((), dtype=F64), torch.ones((), dtype=F64))

    def fit(self, z: Tensor) -> Tensor:
        return Bernoulli(logits=self.decoder(z)).log_prob(self.x).sum(-1)

    def kl(self) -> Tensor:
        return kl_divergence(self.q(), self.prior()).sum(-1)

    def loss(self) -> Tensor:
        return (self.kl() - self.fit(self.q().rsample())).mean()

    def sampled(self) -> Tensor:
        return (self.kl() - self.fit(self.q().sample())).mean()

    def kl_twice(self) -> Tensor:
        q = self.q()
        z = q.rsample()
        joint = self.fit(z) + (self.prior().log_prob(z) - q.log_prob(z)).sum(-1)
        return (self.kl() - joint).mean()

    def summed(self) -> Tensor:
        return (self.kl() - self.fit(self.q().rsample())).sum()

    def log_weights(self, samples: int) -> Tensor:
        q = self.q()
        z = q.rsample(torch.Size([samples]))
        return self.fit(z) + (self.prior().log_prob(z) - q.log_prob(z)).sum(-1)

    def iwae(self, samples: int = 3) -> Tensor:
        return -self.log_weights(samples).logsumexp(0).mean()

    def weighted(self, samples: int = 3) -> Tensor:
        """The same gradient, as weights that are held constant."""
        log_w = self.log_weights(samples)
        return -(log_w.softmax(0).detach() * log_w).sum(0).mean()

    def weighted_live(self, samples: int = 3) -> Tensor:
        """The mistake: the weights are differentiated, too."""
        log_w = self.log_weights(samples)
        return -(log_w.softmax(0) * log_w).sum(0).mean()


def bernoulli_toy(target: float = 0.45) -> tuple[dict[str, Callable[[], Tensor]], Tensor]:
    """(b − target)² of one bit at p = ½: exact, score function, both with and without a baseline; the logit."""
    logit = torch.zeros((), dtype=F64, requires_grad=True)

    def f(b: Tensor) -> Tensor:
        return (b - target) ** 2

    def exact() -> Tensor:
        p = logit.sigmoid()
        return p * f(torch.ones((), dtype=F64)) + (1 - p) * f(torch.zeros((), dtype=F64))

    def score() -> Tensor:
        q = Bernoulli(logits=logit)
        b = q.sample()
        return f(b) * q.log_prob(b)

    def baseline() -> Tensor:
        q = Bernoulli(logits=logit)
        b = q.sample()
        return (f(b) - exact().detach()) * q.log_prob(b)

    return {"exact": exact, "score": score, "baseline": baseline}, logit
