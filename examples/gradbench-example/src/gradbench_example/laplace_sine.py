"""E[sin(z)] with z Laplace: a cost with a closed form, sin(loc) / (1 + scale²)."""

import torch

import gradbench as gb
from gradbench_example.laplace import Laplace


class LaplaceSine(gb.Problem):
    name = "laplace-sine"
    title = "example: E[sin(z)], z Laplace"
    family = "laplace"
    objective = "cost"
    dtype = "float64"
    checked = (gb.Small(samples=(2, 4, 1)),)

    def __init__(self, parameters, features, generator):
        self.phi = gb.Free(loc=torch.tensor([0.3], dtype=torch.float64), log_scale=torch.zeros(1, dtype=torch.float64))
        self.theta = gb.Free()

    @classmethod
    def latent_dim(cls, parameters):
        return 1

    def posterior(self, phi, x):
        return Laplace(loc=phi.free("loc"), scale=phi.free("log_scale").exp())

    def cost(self, z):
        return z.sin().sum(-1)

    def closed_form(self, phi, theta, x):
        return (phi.free("loc").sin() / (1 + (2 * phi.free("log_scale")).exp())).sum()
