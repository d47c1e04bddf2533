"""The problems. To add one: one file here, and one line below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gradbench.core.registry import Registry

if TYPE_CHECKING:
    from gradbench.problems.base import Problem

PROBLEMS: Registry[type[Problem]] = Registry(
    "problem",
    __name__,
    {
        "gaussian-cost": "gaussian_cost:GaussianCost",
        "bernoulli-cost": "bernoulli_cost:BernoulliCost",
        "categorical-cost": "categorical_cost:CategoricalCost",
        "gamma-cost": "gamma_cost:GammaCost",
        "poisson-cost": "poisson_cost:PoissonCost",
        "tied-bits": "tied_bits:TiedBits",
        "linear-gaussian": "linear_gaussian:LinearGaussian",
        "rainforth": "rainforth:Rainforth",
        "gamma-poisson": "gamma_poisson:GammaPoisson",
        "logistic-regression": "logistic_regression:LogisticRegression",
        "gaussian-vae": "gaussian_vae:GaussianVae",
        "sigmoid-belief": "sigmoid_belief:SigmoidBelief",
        "categorical-vae": "categorical_vae:CategoricalVae",
        "mixture": "mixture:Mixture",
        "hierarchical-vae": "hierarchical_vae:HierarchicalVae",
        "full-rank-linear-gaussian": "full_rank_linear_gaussian:FullRankLinearGaussian",
        "beta-cost": "beta_cost:BetaCost",
        "dirichlet-cost": "dirichlet_cost:DirichletCost",
        "von-mises-cost": "von_mises_cost:VonMisesCost",
    },
)


LATER: dict[str, dict[str, Any]] = {"bernoulli-cost": {"power": 2.0}, "linear-gaussian": {"width": 1.0}}
"""Parameters of gradbench's own problems that came after results were kept, with their defaults: what `later` declares,
for those who read results and need no model."""


def written_out(problem: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """``parameters`` as kept results have them, with the defaults of those that ``problem`` got later.

    >>> written_out("bernoulli-cost", {"prob": 0.5})
    {'power': 2.0, 'prob': 0.5}
    """
    if problem in PROBLEMS.lines:
        return {**LATER.get(problem, {}), **parameters}
    if problem not in PROBLEMS:  # of a plugin that is not loaded
        return parameters
    kind = PROBLEMS[problem].Parameters
    return {**{name: kind.model_fields[name].default for name in sorted(getattr(kind, "later", ()))}, **parameters}
