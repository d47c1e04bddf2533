"""A VAE of one's own, from plain modules: convolutions in the encoder. A smooth decoder (tanh, no ReLU)
is what lets quadrature find the exact gradient that `gradbench check` compares with."""

import torch
from torch import distributions as td
from torch import nn

import gradbench as gb


class ConvVae(gb.Problem):
    name, title, family, data = "conv-vae", "VAE with a convolutional encoder", "gaussian", "digits"

    class Parameters(gb.ModelParameters):
        batch: int = 4

    def __init__(self, parameters, features, generator):
        convolution = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU())
        self.phi = nn.ModuleDict({"encoder": nn.Sequential(convolution, nn.Flatten(), nn.Linear(64, 4))})
        self.theta = nn.ModuleDict({"decoder": nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, features))})

    @classmethod
    def latent_dim(cls, parameters):
        return 2

    def posterior(self, phi, x):
        loc, log_scale = phi.call("encoder", x).chunk(2, dim=-1)
        return gb.Gaussian(loc=loc, scale=log_scale.exp())

    def prior(self, theta):
        zeros = next(self.theta.parameters()).new_zeros(1, 1, 1, 2)
        return gb.Gaussian(loc=zeros, scale=torch.ones_like(zeros))

    def log_likelihood(self, theta, x, z):
        return td.Bernoulli(logits=theta.call("decoder", z), validate_args=False).log_prob(x).sum(-1)
