"""The problems. To add one: one file here, and one line below."""

from __future__ import annotations

from gradbench.problems.base import Problem
from gradbench.problems.bernoulli_cost import BernoulliCost
from gradbench.problems.gaussian_cost import GaussianCost
from gradbench.problems.gaussian_vae import GaussianVae
from gradbench.problems.linear_gaussian import LinearGaussian
from gradbench.problems.rainforth import Rainforth
from gradbench.problems.sigmoid_belief import SigmoidBelief

PROBLEMS: dict[str, type[Problem]] = {
    problem.name: problem
    for problem in (
        GaussianCost,
        BernoulliCost,
        LinearGaussian,
        Rainforth,
        GaussianVae,
        SigmoidBelief,
    )
}
