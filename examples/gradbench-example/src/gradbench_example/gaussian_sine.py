"""E[sin(z)] with z Gaussian: a cost with a closed form, exp(-σ²/2) sin(μ)."""

import torch

from gradbench.families.base import Gaussian
from gradbench.problems.base import Free, Problem


class GaussianSine(Problem):
    name = "gaussian-sine"
    title = "example: E[sin(z)], z Gaussian"
    family = "gaussian"
    objective = "cost"
    dtype = "float64"

    def __init__(self, parameters, features, generator):
        self.phi = Free(mean=torch.tensor([0.3], dtype=torch.float64), log_scale=torch.zeros(1, dtype=torch.float64))
        self.theta = Free()

    @classmethod
    def latent_dim(cls, parameters):
        return 1

    def posterior(self, phi, x):
        return Gaussian(loc=phi.free("mean"), scale=phi.free("log_scale").exp())

    def cost(self, z):
        return z.sin().sum(-1)

    def closed_form(self, phi, theta, x):
        return ((-(2 * phi.free("log_scale")).exp() / 2).exp() * phi.free("mean").sin()).sum()
