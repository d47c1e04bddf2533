"""A plugin whose problem ends the process that makes it."""

import os

import gradbench as gb


class Fatal(gb.Problem):
    name = "fatal"
    title = "Ends its process"
    family = "gaussian"

    class Parameters(gb.ProblemParameters):
        pass

    def __init__(self, parameters, features, generator):
        os._exit(7)

    @staticmethod
    def latent_dim(parameters):
        return 1

    def posterior(self, phi, x):
        raise NotImplementedError

    def cost(self, theta, z):
        raise NotImplementedError
