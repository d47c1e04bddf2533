"""The jackknifed importance-weighted bound: its bias in L is of order L⁻² where that of the bound is of order L⁻¹.

J_L = L · B_L − (L − 1) · the mean of the L bounds that leave one sample out, B_L = log (1/L) Σ_l w_l.
Nowozin 2018 (ICLR). At L = 1 there is none.
"""

import math

import gradbench as gb


class Jackknife(gb.Objective):
    name = "jackknife"
    title = "example: importance-weighted bound, jackknifed"
    averaged_by = ("jackknife-pathwise",)  # where there is no exact gradient; single samples would be another objective

    @classmethod
    def why_not(cls, problem):
        return gb.model_needed(cls.name, problem)

    @classmethod
    def treatments(cls, problem, parameters):
        return ("monte-carlo",)

    @classmethod
    def inside(cls, parameters, samples):  # all L are reduced together: exact gradients sum over all L-tuples
        return samples

    def f(self, z, q):
        likelihood = self.problem.log_likelihood(self.theta, self.data, z)
        return likelihood + self.problem.prior(self.theta).log_prob(z) - q.log_prob(z)

    def reduce(self, f):  # [R, L, B] to [R, B]
        count = f.shape[1]
        without = [f[:, [k for k in range(count) if k != left]].logsumexp(1) for left in range(count)]
        others = sum(without) / count - math.log(count - 1)
        return count * (f.logsumexp(1) - math.log(count)) - (count - 1) * others
