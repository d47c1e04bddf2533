"""The problems. To add one: one file here, and one line below."""

from __future__ import annotations

from typing import Any

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


def written_out(problem: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """``parameters`` as kept results have them, with the defaults of those that ``problem`` got later.

    >>> written_out("bernoulli-cost", {"prob": 0.5})
    {'power': 2.0, 'prob': 0.5}
    """
    if problem not in PROBLEMS:  # of a plugin that is not loaded
        return parameters
    kind = PROBLEMS[problem].Parameters
    return {**{name: kind.model_fields[name].default for name in sorted(getattr(kind, "later", ()))}, **parameters}
