"""Laplace latents, independent: z = loc + scale · e with e of the standard Laplace law."""

from torch import distributions as td

import gradbench as gb


class Laplace(gb.Family):
    name = "laplace"
    reparameterised = True
    judged_by = gb.Use("pathwise", 1)

    def _distribution(self):
        return td.Laplace(self.parameters["loc"], self.parameters["scale"], validate_args=False)

    def noise(self, replicates, samples, generator):
        size = self.empty(replicates, samples).exponential_(generator=generator)
        side = self.empty(replicates, samples).uniform_(generator=generator)
        return size.copysign(side - 0.5)

    def sample(self, noise):
        return self.parameters["loc"] + self.parameters["scale"] * noise

    def opposite(self, noise):
        return -noise

    def noise_of(self, z):
        return (z - self.parameters["loc"]) / self.parameters["scale"]
