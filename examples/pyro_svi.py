"""The estimators of Pyro's SVI, measured as they are: one model with bits, one with a Gaussian latent.

    gradbench measure examples/pyro_svi.py:discrete
    gradbench measure examples/pyro_svi.py:continuous --parameters continuous_parameters --reference exact_continuous

Model and guide are Pyro's own; all that gradbench is given is a call for each estimator.
Needs Pyro: pip install pyro-ppl
"""

from __future__ import annotations

import pyro
import torch
from pyro import distributions as dist
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.enum import config_enumerate
from torch import Tensor, nn

X = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
"""Two datapoints of three bits."""


class Bits(nn.Module):
    """Two bits for each datapoint, and three that are seen."""

    def __init__(self) -> None:
        super().__init__()
        self.prior = nn.Parameter(torch.tensor([0.3, -0.4]))
        self.weight = nn.Parameter(torch.tensor([[0.8, -0.5, 0.3], [-0.6, 0.9, 0.2]]))
        self.guide_logits = nn.Parameter(torch.tensor([[0.2, 0.5], [-0.3, 0.1]]))

    def model(self, x: Tensor) -> None:
        pyro.module("bits", self)
        with pyro.plate("data", len(x)):
            z = [pyro.sample(f"z{i}", dist.Bernoulli(logits=self.prior[i])) for i in range(2)]
            logits = sum(z[i].unsqueeze(-1) * self.weight[i] for i in range(2))
            pyro.sample("x", dist.Bernoulli(logits=logits).to_event(1), obs=x)

    def guide(self, x: Tensor, **infer: dict) -> None:
        with pyro.plate("data", len(x)):
            for i in range(2):
                pyro.sample(f"z{i}", dist.Bernoulli(logits=self.guide_logits[:, i]), infer=dict(infer))

    def guide_with_baseline(self, x: Tensor) -> None:
        """The same, with a running average of the cost as baseline, which Pyro keeps in its parameter store."""
        self.guide(x, baseline={"use_decaying_avg_baseline": True, "baseline_beta": 0.9})


class Gaussian(nn.Module):
    """z ~ N(0, 1), x ~ N(weight · z, 1), for each datapoint; q(z|x) is Gaussian."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.7, -0.4, 0.5]))
        self.mean = nn.Parameter(torch.tensor([0.3, -0.2]))
        self.log_scale = nn.Parameter(torch.tensor([-0.2, 0.1]))

    def model(self, x: Tensor) -> None:
        pyro.module("gaussian", self)
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(len(x)), 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1) * self.weight, 1.0).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.mean, self.log_scale.exp()))

    def negative_elbo(self, x: Tensor) -> Tensor:
        """In closed form: what no estimator can be better than."""
        mean, variance = self.mean, (2 * self.log_scale).exp()
        second = mean.square() + variance
        square = (x.square() - 2 * x * mean.unsqueeze(-1) * self.weight).sum(-1) + self.weight.square().sum() * second
        kl = 0.5 * (second - 1 - variance.log())
        return (0.5 * square + kl).sum()


bits, gaussian = Bits(), Gaussian()
trace, graph, mean_field = Trace_ELBO(), TraceGraph_ELBO(), TraceMeanField_ELBO()
enum, renyi = TraceEnum_ELBO(max_plate_nesting=1), RenyiELBO(alpha=0, num_particles=2)

discrete = {
    "Trace": lambda: trace.differentiable_loss(bits.model, bits.guide, X),
    "TraceGraph": lambda: graph.loss_and_grads(bits.model, bits.guide, X),  # leaves its gradient in .grad
    "with baseline": lambda: graph.loss_and_grads(bits.model, bits.guide_with_baseline, X),
}
parameters = {"phi": {"guide_logits": bits.guide_logits}, "theta": {"prior": bits.prior, "weight": bits.weight}}
state = "keep"  # the running baseline remembers what was drawn before, and may


def reference() -> Tensor:
    """All states of the bits, summed: it draws nothing."""
    return enum.differentiable_loss(config_enumerate(bits.model), config_enumerate(bits.guide), X)


continuous = {
    "Trace": lambda: trace.differentiable_loss(gaussian.model, gaussian.guide, X),
    "TraceGraph": lambda: graph.loss_and_grads(gaussian.model, gaussian.guide, X),
    "MeanField": lambda: mean_field.differentiable_loss(gaussian.model, gaussian.guide, X),
    ("Renyi", 2): lambda: renyi.loss_and_grads(gaussian.model, gaussian.guide, X),
}
continuous_parameters = {
    "phi": {"mean": gaussian.mean, "log_scale": gaussian.log_scale},
    "theta": {"weight": gaussian.weight},
}


def exact_continuous() -> Tensor:
    """The ELBO in closed form. Rényi's bound of two particles is another objective, and comes out as biased for it."""
    return gaussian.negative_elbo(X)
